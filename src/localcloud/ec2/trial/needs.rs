//! What requests need, compared with the verdicts of another simulator; and that a
//! policy holds each action.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::action_resources::ACTION_RESOURCES;
use super::super::actions;
use super::super::service::Sender;
use super::{Cloud, TRUST, element};
use crate::authorization::recorded::{self, ACCOUNT, Request};
use crate::authorization::{Guard, Need, Policy};

/// A cloud with what the recorded requests name. The names are in braces in the
/// requests; the ids are those in the recorded needs.
fn furnished(directory: &std::path::Path, region: &'static str) -> (Cloud, Vec<Name>) {
    let mut cloud = Cloud::open(directory);
    cloud.region = region;
    let group = cloud.ok("CreateSecurityGroup&GroupName=web&GroupDescription=web");
    let key = "KeyName=web&PublicKeyMaterial=c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSU5yN1ZheGZZbVBnTDZMVGdNYWJHRzFxK2c5OHZUL2VMLzJDZHE0L2E2cjA%3D";
    cloud.ok(&format!("ImportKeyPair&{key}"));
    let tag = "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=owner\
               &TagSpecification.1.Tag.1.Value=web";
    let tagged = cloud.launch(tag);
    let untagged = cloud.launch("");
    cloud.iam("CreateInstanceProfile&InstanceProfileName=web");
    cloud.iam(&format!(
        "CreateRole&RoleName=web&AssumeRolePolicyDocument={TRUST}"
    ));
    cloud.iam("AddRoleToInstanceProfile&InstanceProfileName=web&RoleName=web");
    let id = |xml: &str, name: &str| element(xml, name);
    let names = [
        ("image", "ami-00000000000000001", id(&tagged, "imageId")),
        ("group", "sg-00000000000000001", id(&group, "groupId")),
        (
            "subnet",
            "subnet-00000000000000001",
            id(&tagged, "subnetId"),
        ),
        ("tagged", "i-00000000000000001", id(&tagged, "instanceId")),
        (
            "untagged",
            "i-00000000000000002",
            id(&untagged, "instanceId"),
        ),
        ("vpc", "vpc-00000000000000001", id(&tagged, "vpcId")),
        ("default", "sg-00000000000000002", id(&tagged, "groupId")),
    ];
    let names = names.map(|(placeholder, recorded, actual)| Name {
        placeholder,
        recorded,
        actual,
    });
    (cloud, names.into())
}

struct Name {
    placeholder: &'static str,
    recorded: &'static str,
    actual: String,
}

/// Replaces the ids of this cloud by those in the recorded needs.
fn recorded(need: &Need, names: &[Name]) -> Need {
    let renamed = |text: &str| {
        let texts = names.iter();
        texts.fold(text.to_owned(), |text, name| {
            text.replace(&name.actual, name.recorded)
        })
    };
    let mut renamed_need = Need::new(need.action.clone(), renamed(&need.resource));
    for (key, values) in need.values.iter() {
        let values = values.iter().map(|value| renamed(value));
        renamed_need.values.set_all(key, values);
    }
    renamed_need
}

#[test]
fn requests_are_judged_as_by_another_simulator() {
    recorded::check(|row| {
        let (Request::Ec2 { form } | Request::Iam { form }) = &row.request else {
            return None;
        };
        let region = ["us-east-1", "eu-west-1"]
            .into_iter()
            .find(|it| *it == row.region);
        let directory = tempfile::tempdir().unwrap();
        let (cloud, names) = furnished(directory.path(), region.unwrap());
        let form = names.iter().fold(form.clone(), |form, name| {
            form.replace(&format!("{{{}}}", name.placeholder), &name.actual)
        });
        let needs = cloud
            .ec2
            .needs_at(cloud.now + 100, region.unwrap(), form.as_bytes());
        Some(needs.iter().map(|need| recorded(need, &names)).collect())
    });
}

/// Every action of EC2 is refused without a permission, with AWS's code, and a dry run
/// says so as well.
#[test]
fn no_action_is_allowed_without_a_permission() {
    let directory = tempfile::tempdir().unwrap();
    let cloud = Cloud::open(directory.path());
    let policy = Policy::parse(r#"{"Statement": []}"#).unwrap();
    let sender = ("192.0.2.7".parse().unwrap(), Timestamp::UNIX_EPOCH);
    let guard = Guard::of_user(Arc::new(policy), ACCOUNT, "us-east-1", sender);
    for action in actions::of_ec2() {
        for dry in ["", "&DryRun=true"] {
            let form = format!("Version=2016-11-15&Action={action}{dry}");
            let sender = Sender {
                run: None,
                guard: Some(&guard),
            };
            let answer = cloud
                .ec2
                .answer_at(cloud.now, "us-east-1", form.as_bytes(), sender);
            assert_eq!(answer.status, 403, "{action}: {}", answer.xml);
            assert_eq!(element(&answer.xml, "Code"), "UnauthorizedOperation");
            let message = format!("is not authorized to perform: ec2:{action} ");
            assert!(answer.xml.contains(&message), "{}", answer.xml);
        }
    }
}

#[test]
fn the_table_of_resources_has_only_actions_of_the_local_cloud() {
    for (action, _) in ACTION_RESOURCES {
        assert!(actions::of_ec2().any(|known| known == *action), "{action}");
    }
}
