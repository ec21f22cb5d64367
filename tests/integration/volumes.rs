//! Volumes of instances of the local cloud.

use std::fs;

use crate::local_cloud::{becomes_true, succeeds};
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn a_volume_is_formatted_mounted_moved_and_copied() {
    let cloud = LocalCloud::start();
    let mut python = cloud.client(&Lab::python());
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    succeeds(python.arg("tests/cloud/volumes.py"));
    for place in ["volumes", "snapshots"] {
        let place = cloud.home().join("state").join(place);
        becomes_true(
            "the files of deleted volumes and snapshots are removed",
            || fs::read_dir(&place).unwrap().next().is_none(),
        );
    }
}

#[test]
fn a_playbook_keeps_data_on_a_volume() {
    let cloud = LocalCloud::start();
    let playbook = r#"
        let key = create_key_pair("data");
        let group = create_security_group("data");
        let options = #{ key_pair: key, security_groups: [group] };
        let first = wait_until_ready(launch_instance(options));
        let data = create_volume(#{ size: 1, zone: first.zone });
        attach_volume(first, data);
        ssh_exec(first, "sudo mkfs -t ext4 /dev/sdf && sudo mount /dev/sdf /srv");
        ssh_exec(first, "echo kept | sudo tee /srv/file && sudo umount /srv");
        detach_volume(data);
        let second = wait_until_ready(launch_instance(options));
        attach_volume(second, data);
        ssh_exec(second, "sudo mount /dev/sdf /srv");
        print(ssh_exec(second, "cat /srv/file").stdout);
        stop_instance(second);
        wait_until_ready(start_instance(second));
        ssh_exec(second, "test -b /dev/sdf && sudo mount /dev/sdf /srv");
        print(ssh_exec(second, "cat /srv/file").stdout);
    "#;
    let ended = cloud.autorun().playbook(playbook).run().exits(0);
    assert_eq!(ended.stdout.matches("kept").count(), 2, "{}", ended.stdout);
}
