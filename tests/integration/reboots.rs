//! Reboots: by EC2, by a command and by the user data. Waits do not take the old
//! boot for the new one. And user data that never ends.

use std::fs;
use std::sync::LazyLock;

use crate::support::Ended;
use crate::support::cloud::LocalCloud;

static CLOUD: LazyLock<LocalCloud> = LazyLock::new(LocalCloud::start);

/// Runs a playbook with `launch(user_data)`, on instances whose reboots take this
/// many seconds.
fn run(name: &str, seconds: f64, text: &str) -> Ended {
    let autorun = CLOUD.autorun();
    let faults = autorun.home.path().join("faults.toml");
    let slow =
        format!("[[fault]]\noperation = 'boot'\ndo = 'slow-reboot'\nseconds = {seconds:?}\n");
    fs::write(&faults, slow).unwrap();
    let text = format!(
        "fn launch(user_data) {{\n\
           let key = create_key_pair(\"{name}-\" + run_id());\n\
           let group = create_security_group(\"{name}-\" + run_id());\n\
           launch_instance(#{{ name: \"{name}\", key_pair: key, security_groups: [group],\n\
             user_data: user_data }})\n\
         }}\n\
         fn boot(server) {{\n\
           ssh_exec(server, \"cat /proc/sys/kernel/random/boot_id\").stdout\n\
         }}\n{text}"
    );
    autorun
        .args(["--faults", &faults.display().to_string()])
        .playbook(&text)
        .run()
}

#[test]
fn waits_after_a_reboot_see_the_new_boot() {
    for seconds in [0.0, 3.0] {
        let ended = run(
            "rebooted",
            seconds,
            r##"
let server = wait_until_ready(launch("#!/bin/sh\n"));
let boots = [boot(server)];
reboot_instance(server);
server = wait_until_ready(server);
boots.push(boot(server));
reboot_instance(server);
wait_for_ssh(server);
boots.push(boot(server));
for command in ["sudo reboot", "sudo systemctl reboot", "sudo shutdown -r now",
        "(sleep 1; sudo reboot) >/dev/null 2>&1 </dev/null & true"] {
    try { ssh_exec(server, command); }
    catch (err) {
        assert(err.kind == "unreachable" && err.message.contains("went down while"), `${err}`);
    }
    wait_for_ssh(server);
    boots.push(boot(server));
}
for n in 1..boots.len {
    assert(boots[n] != boots[n - 1] && boots[n].len == 37, `${boots}`);
}
let again = boot(server);
assert(again == boots.pop());
"##,
        );
        assert_eq!(ended.status, Some(0), "{seconds}: {}", ended.stderr);
    }
}

#[test]
fn a_connection_that_a_reboot_broke_is_reported_as_that() {
    let ended = run(
        "broken",
        1.0,
        r##"
let server = wait_until_ready(launch("#!/bin/sh\n"));
ssh_exec(server, "sudo reboot; sleep 60");
"##,
    )
    .exits(1);
    let messages = ended.messages();
    assert!(
        messages.contains("went down while `sudo reboot; sleep 60` ran")
            || messages.contains("was ended by SIG"),
        "{messages}"
    );
}

#[test]
fn a_host_that_does_not_reboot_is_reported() {
    let ended = run(
        "stays",
        0.0,
        r##"
let server = wait_until_ready(launch("#!/bin/sh\n"));
let before = boot(server);
ssh_exec(server, "echo reboot");
wait_for_ssh(server);
assert(boot(server) == before);
"##,
    )
    .exits(0);
    let messages = ended.messages();
    assert!(
        messages.contains("did not reboot within 15.0 s after `echo reboot`"),
        "{messages}"
    );
}

#[test]
fn user_data_that_reboots_is_waited_for() {
    let ended = run(
        "again",
        2.0,
        r##"
let server = launch("#!/bin/sh\ncp /proc/sys/kernel/random/boot_id /var/first\nreboot\n");
server = wait_until_ready(server);
assert(ssh_exec(server, "cat /var/first").stdout != boot(server));
"##,
    );
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
}

#[test]
fn user_data_that_never_ends_is_named() {
    let ended = run(
        "endless",
        0.0,
        r##"
let server = launch("#!/bin/sh\necho step one\nsleep 300\n");
wait_until_ready(server, #{ timeout: 6 });
"##,
    )
    .exits(1);
    let messages = ended.messages();
    assert!(
        messages.contains("still running (`sleep 300` (process"),
        "{messages}"
    );
    assert!(messages.contains("step one"), "{messages}");
}
