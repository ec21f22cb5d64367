//! Hosts on a long way, where a large file travels on several connections; and many
//! hosts at once.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{Ended, HOST, Lab};

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

#[test]
fn too_few_open_files_are_reported_before_any_connection() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun().playbook(&format!(
        "let hosts = []; for n in 0..64 {{ hosts.push(host(\"{HOST}\", #{{ name: `web${{n}}` }})); }}\n\
         print(ssh_exec(hosts, \"echo hello\").len);"
    ));
    let limited = |soft: u32, hard: u32| {
        let line = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; {}", autorun.words());
        Ended::of(&autorun.shell(&line).output().unwrap(), autorun.home.path())
    };
    let refused = limited(200, 200).exits(1);
    let message = refused.messages();
    let expected = "work on 64 hosts at the same time may need 448 open files, but this process \
                    may open only 200";
    assert!(message.contains(expected), "{message}");
    assert!(
        message.contains("`ulimit -n 448`, or pass `at_once: 2`"),
        "{message}"
    );
    // The limit is raised as far as the system allows.
    assert_eq!(limited(200, 1024).exits(0).stdout, "64\n");
}
