//! Network interfaces of the local cloud, and facts that AWS's answers always have.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn interfaces_are_described_and_changed_as_on_aws() {
    let cloud = LocalCloud::start();
    let program = "tests/cloud/network_interfaces.py";
    print!("{}", succeeds(cloud.client(&Lab::python()).arg(program)));
}
