//! Elastic IP addresses of the local cloud.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn an_elastic_ip_address_moves_between_instances() {
    let cloud = LocalCloud::start();
    let mut python = cloud.client(&Lab::python());
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    succeeds(python.arg("tests/cloud/elastic_ips.py"));
}
