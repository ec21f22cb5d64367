//! Run Command of the local cloud.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn boto3_runs_commands_through_systems_manager() {
    let cloud = LocalCloud::start();
    let mut client = cloud.client(&Lab::python());
    client.env("AUTORUN_CLOUD_HOME", cloud.home());
    let autorun = env!("CARGO_BIN_EXE_autorun");
    succeeds(client.args(["tests/cloud/ssm_clients.py", autorun]));
}
