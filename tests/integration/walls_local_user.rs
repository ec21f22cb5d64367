//! A user of this machine without the access key must not be able to do
//! anything to a local cloud of root.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::cloud::LocalCloud;
use crate::support::root;

#[test]
fn a_local_user_without_the_key_has_no_access() {
    let cloud = LocalCloud::start();
    // Isolation must come from the cloud's own directories, not from the
    // directory above them.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(cloud.home(), open).unwrap();
    // A process of user 1000 in the instance, a user id that may exist on this
    // machine.
    let playbook = cloud.home().join("p.rhai");
    let text = r#"
        let key = create_key_pair("probe");
        let group = create_security_group("probe");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
        ssh_exec(server, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &");
        print(server.public_ip);
    "#;
    std::fs::write(&playbook, text).unwrap();
    let playbook = playbook.display().to_string();
    let ended = cloud.autorun().arg(&playbook).run().exits(0);

    let probe = Command::new("python3")
        .arg(root().join("tests/walls/local_user.py"))
        .arg(env!("CARGO_BIN_EXE_autorun"))
        .arg(cloud.home())
        .arg(ended.stdout.trim())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&probe.stdout);
    assert!(
        probe.status.success(),
        "{output}{}",
        String::from_utf8_lossy(&probe.stderr)
    );
    let refused = output
        .lines()
        .filter(|line| line.starts_with("refused "))
        .count();
    assert!(refused >= 100, "{output}");
    println!("{}", output.lines().last().unwrap_or_default());
}
