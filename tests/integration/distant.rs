//! Hosts on a long way: a large file travels on several connections.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{HOST, Lab};

/// Delays all packets to the machines of a lab.
fn delay(lab: &Lab, milliseconds: u32) {
    let ports = lab.inside("ip").args(["-o", "link"]).output().unwrap();
    let ports = String::from_utf8(ports.stdout).unwrap();
    let names = ports
        .lines()
        .filter_map(|line| line.split([':', '@']).nth(1));
    for name in names
        .map(str::trim)
        .filter(|name| name.starts_with("machine"))
    {
        let delayed = lab
            .inside("tc")
            .args(["qdisc", "add", "dev", name, "root", "netem", "delay"])
            .arg(format!("{milliseconds}ms"))
            .status();
        assert!(delayed.unwrap().success());
    }
}

#[test]
fn a_large_file_arrives_whole_on_several_connections() {
    let lab = Lab::start(&json!({}));
    delay(&lab, 150);
    let autorun = lab.autorun();
    let source = autorun.home.path().join("large");
    // No multiple of anything, and no part like another.
    let bytes: Vec<u8> = (0..(20_u32 << 18) + 77)
        .flat_map(u32::to_le_bytes)
        .collect();
    fs::write(&source, &bytes).unwrap();
    let text = format!(
        "let web = host(\"{HOST}\");\n\
         scp(web, \"{}\", \"copy\", #{{ mode: \"0640\" }});\n\
         print(ssh_exec(web, \"stat -c '%a %s' copy; sha256sum <copy; \
           pgrep -c -u admin sshd; ls -A\").stdout);",
        source.display()
    );
    let ended = autorun.playbook(&text).run().exits(0);
    let words: Vec<&str> = ended.stdout.split_whitespace().collect();
    let digest = Command::new("sha256sum").arg(&source).output().unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    let size = bytes.len().to_string();
    let expected = ["640", &size, digest.split(' ').next().unwrap(), "-"];
    assert_eq!(words[..4], expected, "{}", ended.stdout);
    // The other connections are still open.
    assert!(words[4].parse::<u32>().unwrap() > 2, "{}", ended.stdout);
    assert!(!ended.stdout.contains(".autorun"), "{}", ended.stdout);
}
