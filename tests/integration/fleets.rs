//! Fleets and spot instances of the local cloud, as boto3 sees them, and as playbooks
//! launch them.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn boto3_launches_fleets() {
    let cloud = LocalCloud::start();
    let mut python = cloud.client(&Lab::python());
    python.env("AUTORUN_CLOUD_HOME", cloud.home());
    succeeds(
        python
            .arg("tests/cloud/fleets.py")
            .arg(env!("CARGO_BIN_EXE_autorun")),
    );
}
