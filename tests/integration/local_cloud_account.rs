//! What an account can lack or forbid on the local cloud, and policies that hold the
//! owner of the access key.

use std::fs;

use crate::local_cloud::succeeds;
use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Lab};

#[test]
fn boto3_meets_what_the_account_lacks_or_forbids() {
    let cloud = LocalCloud::start();
    let mut client = cloud.client(&Lab::python());
    client
        .args([
            "tests/cloud/account_settings.py",
            env!("CARGO_BIN_EXE_autorun"),
        ])
        .env("AUTORUN_CLOUD_HOME", cloud.home());
    succeeds(&mut client);
}

/// A policy that allows a playbook to create a key pair and a group, but no rule.
const POLICY: &str = r#"{
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Action": ["ec2:Describe*", "ec2:CreateKeyPair", "ec2:ImportKeyPair", "ec2:CreateSecurityGroup",
            "ec2:CreateTags", "ec2:DeleteKeyPair", "ec2:DeleteSecurityGroup"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-central-1"}}
    }
}"#;

/// Writes a faults file that names the policy, into the home of a run.
fn with_policy(autorun: Autorun, policy: &str) -> Autorun {
    let home = autorun.home.path();
    fs::write(home.join("policy.json"), policy).unwrap();
    let faults = home.join("faults.toml");
    fs::write(&faults, "[account]\npolicy = \"policy.json\"\n").unwrap();
    autorun.args(["--faults", &faults.display().to_string()])
}

#[test]
fn a_run_is_held_to_its_policy() {
    let cloud = LocalCloud::start();
    let playbook = "create_key_pair(\"held\");\ncreate_security_group(\"held\");";
    let ended = with_policy(cloud.autorun(), POLICY)
        .playbook(playbook)
        .run();
    let messages = ended.exits(1).messages();
    for wanted in [
        "imported key pair held",
        "ec2:AuthorizeSecurityGroupIngress",
        "because no identity-based policy allows",
    ] {
        assert!(messages.contains(wanted), "no `{wanted}` in\n{messages}");
    }
    // Another run has all permissions.
    cloud
        .autorun()
        .playbook(&playbook.replace("held", "free"))
        .run()
        .exits(0);
}
