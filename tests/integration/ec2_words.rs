//! The local cloud's EC2 speaks as AWS does: errors, filters, pages, names.

use crate::local_cloud::succeeds;
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[track_caller]
fn passes(program: &str) {
    let cloud = LocalCloud::start();
    let output = succeeds(cloud.client(&Lab::python()).arg(program));
    print!("{output}");
}

#[test]
fn bad_requests_get_the_codes_and_words_of_aws() {
    passes("tests/cloud/ec2_errors.py");
}

#[test]
fn every_filter_that_aws_documents_is_known() {
    passes("tests/cloud/ec2_filters.py");
}
