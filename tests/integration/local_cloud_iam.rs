//! Instance profiles on the local cloud, and the credentials of their roles.

use std::fs;

use crate::local_cloud::{python, succeeds};
use crate::support::Lab;
use crate::support::cloud::LocalCloud;

#[test]
fn boto3_in_an_instance_has_the_credentials_of_its_role() {
    let cloud = LocalCloud::start();
    let mut client = cloud.client(&Lab::python());
    succeeds(client.args(["tests/cloud/iam_clients.py", "web"]));
}

const CREATE: &str = r#"
    import boto3, json
    iam = boto3.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.create_role(RoleName="web", AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    iam.create_instance_profile(InstanceProfileName="web")
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
"#;

#[test]
fn a_launch_waits_for_a_new_instance_profile() {
    let cloud = LocalCloud::start();
    let launch = "let server = launch_instance(#{ name: \"web\", iam_profile: \"web\" });\n\
        print(server.id);";
    // There is none of this name.
    let refused = cloud.autorun().playbook(launch).run().exits(1).messages();
    for wanted in [
        "Invalid IAM Instance Profile name",
        "the instance profile may not exist",
    ] {
        assert!(refused.contains(wanted), "no `{wanted}` in\n{refused}");
    }
    // EC2 knows a new one only after a while. A dry run without the profile shows that
    // nothing else is wrong.
    python(&cloud, CREATE);
    let autorun = cloud.autorun();
    let faults = autorun.home.path().join("faults.toml");
    let fault = "[[fault]]\noperation = 'RunInstances'\ndo = 'error'\n\
        code = 'InvalidParameterValue'\nmessage = 'Value (web) for parameter \
        iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name'\n";
    fs::write(&faults, fault).unwrap();
    let autorun = autorun.args(["--faults", &faults.display().to_string()]);
    let ended = autorun.playbook(launch).run().exits(0);
    let waits = "EC2 does not know the instance profile web yet";
    assert!(ended.messages().contains(waits), "{}", ended.stderr);
}
