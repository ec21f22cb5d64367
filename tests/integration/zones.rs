//! The availability zones of the local cloud.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn instances_in_three_zones_reach_each_other() {
    let cloud = LocalCloud::start();
    let mut python = cloud.client(&Lab::python());
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    succeeds(python.arg("tests/cloud/zones.py"));
}
