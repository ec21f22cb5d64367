//! Network interfaces of the local cloud, and queries of the account.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[track_caller]
fn passes(program: &str) {
    let cloud = LocalCloud::start();
    print!("{}", succeeds(cloud.client(&Lab::python()).arg(program)));
}

#[test]
fn interfaces_are_described_and_changed_as_on_aws() {
    passes("tests/cloud/network_interfaces.py");
}

#[test]
fn settings_and_resources_that_the_account_does_not_have_can_be_queried() {
    passes("tests/cloud/account_queries.py");
}
