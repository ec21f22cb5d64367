//! The user data of the web server with the real dnf and rpm, which Debian
//! packages, in an instance.

use crate::support::cloud::LocalCloud;

#[test]
fn the_web_server_is_set_up_by_dnf() {
    let cloud = LocalCloud::start();
    let playbook = r#"
        let key = create_key_pair("dnf");
        let group = create_security_group("dnf");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
        scp(server, "tests/cloud/dnf.sh", "dnf.sh");
        scp(server, "userdata/webserver.sh", "webserver.sh");
        fn step(server, name) {
            ssh_exec(server, "bash dnf.sh " + name, #{ sudo: true, timeout: 120 });
        }
        step(server, "prepare");
        step(server, "check");
        reboot_instance(server);
        wait_until_ready(server);
        step(server, "check_after_reboot");
    "#;
    let _ = cloud.autorun().playbook(playbook).run().exits(0);
}
