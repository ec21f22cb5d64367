//! Hosts on a long way, where a large file travels on several connections; and many
//! hosts at once.

use std::process::Command;

use serde_json::json;

use crate::support::{Ended, HOST, Lab, root};

#[test]
fn a_large_file_arrives_whole_on_several_connections() {
    let ended = Command::new(Lab::python())
        .arg(root().join("tests/distant.py"))
        .arg(env!("CARGO_BIN_EXE_autorun"))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{output}");
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
