//! User data on instances of a local cloud, run by the distribution's own cloud-init.

use std::fs;

use crate::clean_system::{CleanSystem, NEWER};
use crate::support::cloud::LocalCloud;
use crate::support::{Lab, root};

#[test]
fn the_distributions_cloud_init_runs_what_is_not_a_plain_script() {
    let cloud = LocalCloud::start();
    let ended = cloud
        .client(&Lab::python())
        .arg("tests/cloud_init/on_instances.py")
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// On such a system instances have that version as well: first from the package
/// source, then from the system itself, where the package is installed.
#[test]
fn a_system_with_a_newer_cloud_init_has_it_in_its_instances() {
    let system = CleanSystem::unpacked(NEWER);
    fs::copy(
        env!("CARGO_BIN_EXE_autorun"),
        system.path("usr/bin/autorun"),
    )
    .unwrap();
    let playbook = root().join("tests/cloud_init/newer.rhai");
    fs::copy(playbook, system.path("root/newer.rhai")).unwrap();
    let installed = "apt-get -q update
        apt-get -q install -y --no-install-recommends ca-certificates e2fsprogs openssl";
    system.succeeds(installed);
    let run = "cd
        autorun --local newer.rhai
        autorun destroy --all --yes
        autorun cloud down";
    system.succeeds(run);
    system.succeeds("apt-get -q install -y --no-install-recommends cloud-init iproute2");
    system.succeeds(run);
}

#[test]
fn without_its_package_the_launch_fails_and_says_so() {
    // No name can be resolved, so no package source answers.
    let cloud = LocalCloud::start_after(
        "mount --bind /dev/null /etc/resolv.conf && mount --bind /dev/null /etc/hosts",
    );
    let text = r##"
let name = "no-package-" + run_id();
let server = launch_instance(#{
    name: name,
    key_pair: create_key_pair(name),
    security_groups: [create_security_group(name)],
    user_data: "#cloud-config\nruncmd: [date]\n",
});
wait_until_ready(server);
"##;
    let ended = cloud.autorun().playbook(text).run().exits(1);
    for expected in [
        "is stopped: Server.InternalError: ",
        "whose package cannot be installed: ",
    ] {
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}
