//! What must never happen: deleting resources that others created, or talking to
//! a host with a changed host key.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use serde_json::json;

use crate::support::{HOST, Lab};

/// Creates an instance, a security group, a key pair and a bucket with another
/// tool.
const OTHERS: &str = r#"
import boto3
config = dict(region_name="eu-central-1", endpoint_url="http://127.0.0.1:5000",
              aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x")
ec2, s3 = boto3.client("ec2", **config), boto3.client("s3", **config)
image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
group = ec2.create_security_group(GroupName="theirs", Description="theirs")["GroupId"]
ec2.create_key_pair(KeyName="theirs")
where = {"LocationConstraint": "eu-central-1"}
s3.create_bucket(Bucket="theirs-1", CreateBucketConfiguration=where)
s3.put_object(Bucket="theirs-1", Key="kept", Body=b"kept")
print(made["Instances"][0]["InstanceId"], group)
"#;

#[test]
fn resources_of_others_are_not_deleted() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let output = lab
        .inside(&Lab::python())
        .args(["-c", OTHERS])
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let (instance, group) = output.trim().split_once(' ').unwrap();
    let playbook = format!(
        r#"
        let n = 0;
        for delete in [
            || terminate_instance("{instance}"),
            || delete_security_group("{group}"),
            || delete_key_pair("theirs"),
            || delete_object("theirs-1", "kept"),
            || delete_bucket("theirs-1"),
        ] {{
            try {{ delete.call(); }} catch (caught) {{
                let err = error_info(caught);
                assert(err.kind == "denied", err.message);
                assert(err.message.contains("was not created by autorun"), err.message);
                n += 1;
            }}
        }}
        assert(n == 5, `only ${{n}} were refused`);
        "#
    );
    let _ = lab.autorun().playbook(&playbook).run().exits(0);
    for action in [
        "TerminateInstances",
        "DeleteSecurityGroup",
        "DeleteKeyPair",
        "DeleteBucket",
    ] {
        assert!(lab.requests_of(action).is_empty(), "{action} was requested");
    }
}

#[test]
fn a_bucket_of_others_stays_private_unless_requested() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let made = lab
        .inside(&Lab::python())
        .args(["-c", OTHERS])
        .status()
        .unwrap();
    assert!(made.success());
    let playbook = r#"
        let bucket = create_bucket("theirs-1", #{ exact: true });
        assert(!bucket.made);
        let image = upload_image(bucket, "assets/logo.png");
        assert(!image.public && http_get(image.url).status == 200);
    "#;
    let ended = lab.autorun().playbook(playbook).run().exits(0);
    assert!(
        ended.messages().contains("using bucket theirs-1"),
        "{}",
        ended.stderr
    );
    for action in [
        "PutPublicAccessBlock",
        "PutBucketPolicy",
        "PutBucketTagging",
    ] {
        assert!(lab.requests_of(action).is_empty(), "{action} was requested");
    }
}

#[test]
fn a_key_other_than_the_known_key_is_refused() {
    let lab = Lab::start(&json!({}));
    let autorun = lab
        .autorun()
        .playbook(&format!("ssh_exec(\"{HOST}\", \"true\");"));
    // A different key of the same type, as after an attack or a new
    // installation.
    let known = autorun.home.path().join(".ssh/known_hosts");
    let other = fs::read_to_string(autorun.home.path().join(".ssh/id_ed25519.pub")).unwrap();
    fs::write(&known, format!("{HOST} {other}")).unwrap();
    let ended = autorun.run().exits(1);
    assert!(
        ended.messages().contains("is not the one in"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.messages().contains("ssh-keygen -R 192.0.2.10"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_instance_whose_key_changed_is_refused() {
    let lab = Lab::start(&json!({ "hosts": [] }));
    let first = r#"
        let key = create_key_pair("k-" + run_id());
        print(wait_until_ready(launch_instance(#{ key_pair: key })).id);
    "#;
    // Both runs have the same user and home directory, where the pinned key is
    // kept.
    let autorun = lab.autorun().playbook(first);
    let ended = autorun.run().exits(0);
    let server = ended.stdout.trim().to_owned();
    let before = lab.host_key(&server);
    lab.set(&json!({ "host_keys": "changed" }));
    while lab.try_host_key(&server).is_none_or(|key| key == before) {
        std::thread::yield_now();
    }
    let again = format!("ssh_exec(\"{server}\", \"true\");");
    fs::write(autorun.home.path().join("playbook.rhai"), again).unwrap();
    let ended = autorun.run().exits(1);
    assert!(
        ended
            .messages()
            .contains("does not match its pinned key: expected SHA256:"),
        "{}",
        ended.stderr
    );
    // A pin file that other users can write, or that is truncated, is neither
    // trusted nor treated as missing.
    let pins = autorun.home.path().join(".local/share/autorun/hosts");
    let pin = pins.join(format!("{server}.json"));
    let whole = fs::read_to_string(&pin).unwrap();
    let refused = |words: &str| {
        let ended = autorun.run().exits(1);
        assert!(ended.messages().contains(words), "{}", ended.stderr);
        assert!(
            ended
                .messages()
                .contains("the next login pins its key again")
        );
    };
    chown(&pin, Some(4711), None).unwrap();
    refused("belongs to user 4711");
    chown(&pin, Some(0), None).unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o666)).unwrap();
    refused("is writable by other users");
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    for truncated in ["", &whole[..whole.len() / 2]] {
        fs::write(&pin, truncated).unwrap();
        refused("is damaged");
    }
}
