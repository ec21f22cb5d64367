//! Images of instances of the local cloud.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn an_instance_of_an_image_has_a_copy_of_the_disk_and_its_own_identity() {
    let cloud = LocalCloud::start();
    let mut python = cloud.client(&Lab::python());
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    succeeds(python.arg("tests/cloud/images.py"));
}

#[test]
fn snapshots_and_images_are_copied_registered_and_shared() {
    let cloud = LocalCloud::start();
    let mut python = cloud.client(&Lab::python());
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    succeeds(python.arg("tests/cloud/snapshots.py"));
}
