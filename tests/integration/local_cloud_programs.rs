//! The programs of an init system in instances, and logins as root.

use std::process::Command;
use std::thread;

use crate::support::cloud::LocalCloud;

#[test]
fn programs_of_systemd_do_what_scripts_use() {
    let cloud = LocalCloud::start();
    let playbook = r#"
        let key = create_key_pair("programs");
        let group = create_security_group("programs");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
        scp(server, "tests/cloud/instance_programs.sh", "test.sh");
        print(ssh_exec(server, "bash test.sh").stdout);
        reboot_instance(server);
        wait_until_ready(server);
        print(ssh_exec(server, "bash test.sh after_reboot").stdout);
    "#;
    let ended = cloud.autorun().playbook(playbook).run().exits(0);
    let ok = ended.stdout.matches("instance_programs.sh: ok").count();
    assert_eq!(ok, 2, "{}\n{}", ended.stdout, ended.stderr);
}

#[test]
fn a_login_as_root_names_the_user_to_use() {
    let cloud = LocalCloud::start();
    let playbook = r#"
        let key = create_key_pair("root");
        let group = create_security_group("root");
        for image in [latest_amazon_linux(), latest_image(#{ family: "ubuntu-24.04" }),
                latest_image(#{ family: "debian-13" })] {
            let options = #{ key_pair: key, security_groups: [group], image: image };
            let server = wait_until_ready(launch_instance(options));
            print(`${server.public_ip} ${server.user} ${server.key}`);
        }
    "#;
    let autorun = cloud.autorun().playbook(playbook);
    let ended = autorun.run().exits(0);
    let logins = ended.stdout.lines().map(|line| {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let [address, user, key] = words.try_into().unwrap();
        thread::spawn(move || {
            let mut ssh = Command::new("ssh");
            ssh.args(["-i", &key, "-oBatchMode=yes", "-oStrictHostKeyChecking=no"])
                .args(["-oUserKnownHostsFile=/dev/null", "-oLogLevel=error"])
                .args([&format!("root@{address}"), "id"]);
            let output = ssh.output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let expected =
                format!("Please login as the user \"{user}\" rather than the user \"root\".\n\n");
            assert_eq!(text, expected);
            assert_eq!(output.status.code(), Some(142));
            user
        })
    });
    let logins: Vec<_> = logins.collect();
    let users: Vec<_> = logins
        .into_iter()
        .map(|login| login.join().unwrap())
        .collect();
    assert_eq!(users, ["ec2-user", "ubuntu", "admin"]);
}
