//! What a policy depends on in a request: the resources and the tags that it names.
//! Contents, such as user data, are not among them, so the ledger can have them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::table;
use crate::clients::calls::{Call, Cause, KMS_KEY, Service};
use crate::clients::marks::OWNER_TAG;
use crate::error::{Error, Result};
use crate::ledger::Request;
use crate::report::Mask;

/// The types of resources that the ids of EC2 begin with.
const PREFIXES: [(&str, &str); 15] = [
    ("ami", "image"),
    ("eipalloc", "elastic-ip"),
    ("eipassoc", ADDRESS_ASSOCIATION),
    ("eni", "network-interface"),
    ("i", "instance"),
    ("igw", "internet-gateway"),
    ("lt", "launch-template"),
    ("nat", "natgateway"),
    ("rtb", "route-table"),
    ("rtbassoc", TABLE_ASSOCIATION),
    ("sg", "security-group"),
    ("snap", "snapshot"),
    ("subnet", "subnet"),
    ("vol", "volume"),
    ("vpc", "vpc"),
];

/// The association of an Elastic IP address with an instance, which has no ARN.
pub(super) const ADDRESS_ASSOCIATION: &str = "address-association";

/// The association of a route table with a subnet, which has no ARN.
pub(super) const TABLE_ASSOCIATION: &str = "route-table-association";

/// An EC2 resource in a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Named(pub(super) String, pub(super) String);

/// What a request names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    /// The EC2 resources: type and id, or name of a key pair.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) resources: BTreeSet<Named>,
    /// The types of the EC2 resources that get the tag `autorun:owner`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) tagged: BTreeSet<String>,
    /// The bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    /// The bucket that objects are copied from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    /// Whether a version of an object is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) version: bool,
    /// The KMS key of a bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kms_key: Option<String>,
    /// Whether it launches spot instances.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) spot: bool,
    /// The instance profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<String>,
    /// The name of a parameter of Systems Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameter: Option<String>,
}

/// A request as far as a policy depends on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Need {
    pub(super) service: Service,
    pub(super) operation: String,
    pub(super) about: About,
    pub(super) cause: Cause,
}

impl Need {
    /// Extracts what a policy depends on from a request.
    pub(super) fn of(call: &Call) -> Self {
        let about = match call.service {
            Service::Ec2 => of_ec2(call),
            Service::S3 => of_s3(call),
            Service::Ssm => About {
                parameter: call.parameter("Name").map(str::to_owned),
                ..About::default()
            },
            Service::Sts | Service::Iam | Service::InstanceConnect => About::default(),
        };
        Self {
            service: call.service,
            operation: call.operation.clone(),
            about,
            cause: call.cause.clone(),
        }
    }

    /// Converts the request for the ledger, without secrets.
    pub(super) fn recorded(&self, mask: &Mask) -> Request {
        let mut about = serde_json::to_value(&self.about).unwrap_or_default();
        mask.apply_json(&mut about);
        Request {
            service: self.service.as_str().to_owned(),
            operation: self.operation.clone(),
            about: about.to_string(),
            function: self.cause.function.clone(),
            place: self.cause.place.clone(),
        }
    }

    /// Reads a request from the ledger.
    ///
    /// Fails with [`ErrorKind::Internal`] if this program did not write it.
    ///
    /// [`ErrorKind::Internal`]: crate::error::ErrorKind::Internal
    pub(super) fn read(request: &Request) -> Result<Self> {
        let unknown = |why: &str| {
            Error::internal(format!(
                "cannot read the recorded request {}:{}: {why}",
                request.service, request.operation
            ))
            .hint("run the playbook again with this version, or use `autorun policy PLAYBOOK`")
        };
        let mut services = Service::ALL.into_iter();
        let service = services.find(|service| service.as_str() == request.service);
        Ok(Self {
            service: service.ok_or_else(|| unknown("the service is not known"))?,
            operation: request.operation.clone(),
            about: serde_json::from_str(&request.about).map_err(|e| unknown(&e.to_string()))?,
            cause: Cause {
                place: request.place.clone(),
                function: request.function.clone(),
            },
        })
    }
}

fn of_ec2(call: &Call) -> About {
    let mut about = About::default();
    let types = table::of_ec2(&call.operation).map_or(&[][..], |action| &action.types);
    // Requests that cannot be restricted to resources have nothing to record.
    if types.is_empty() {
        return about;
    }
    for (name, value) in &call.parameters {
        let (path, last) = last_name(name);
        match last {
            "KeyName" => {
                let key = Named("key-pair".to_owned(), value.clone());
                about.resources.insert(key);
            }
            // The source of a rule is not a resource of the request.
            _ if path.starts_with("IpPermissions") => {}
            _ if last.ends_with("Id") => about.resources.extend(named(value)),
            "ResourceType" if path.starts_with("TagSpecification") && tags_owner(call, path) => {
                about.tagged.insert(value.clone());
            }
            "MarketType" if path == "InstanceMarketOptions" => about.spot = value == "spot",
            "Name" | "Arn" if path == "IamInstanceProfile" => {
                about.profile = Some(value.clone());
            }
            _ => {}
        }
    }
    about
}

/// Splits the name of a parameter into its beginning and its last name without the
/// number: `TagSpecification.1` and `ResourceType`, or an empty text and `InstanceId`.
fn last_name(name: &str) -> (&str, &str) {
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let name = match name.rsplit_once('.') {
        Some((rest, number)) if is_number(number) => rest,
        _ => name,
    };
    name.rsplit_once('.').unwrap_or(("", name))
}

fn named(id: &str) -> Option<Named> {
    let (prefix, _) = id.split_once('-')?;
    let (_, kind) = PREFIXES.iter().find(|(known, _)| *known == prefix)?;
    Some(Named((*kind).to_owned(), id.to_owned()))
}

/// Returns whether one of the tags below this parameter is `autorun:owner`.
fn tags_owner(call: &Call, path: &str) -> bool {
    let mut parameters = call.parameters.iter();
    parameters.any(|(name, value)| {
        name.strip_prefix(path)
            .is_some_and(|rest| rest.starts_with(".Tag.") && rest.ends_with(".Key"))
            && value == OWNER_TAG
    })
}

fn of_s3(call: &Call) -> About {
    let text = |name| call.parameter(name).map(str::to_owned);
    About {
        bucket: text("bucket"),
        source: call.parameter("x-amz-copy-source").and_then(|source| {
            let source = source.trim_start_matches('/');
            source.split_once('/').map(|(bucket, _)| bucket.to_owned())
        }),
        version: call.parameter("versionId").is_some(),
        kms_key: text(KMS_KEY),
        ..About::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(service: Service, operation: &str, parameters: &[(&str, &str)]) -> Call {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Call {
            service,
            operation: operation.to_owned(),
            parameters: parameters.iter().map(owned).collect(),
            cause: Cause::default(),
        }
    }

    fn about(service: Service, operation: &str, parameters: &[(&str, &str)]) -> String {
        let need = Need::of(&call(service, operation, parameters));
        serde_json::to_string(&need.about).unwrap()
    }

    #[test]
    fn a_launch_names_resources_and_tags_and_no_contents() {
        let launch = [
            ("Action", "RunInstances"),
            ("ImageId", "ami-1"),
            ("KeyName", "web"),
            ("SecurityGroupId.1", "sg-1"),
            ("UserData", "c2VjcmV0"),
            ("ClientToken", "i-am-a-token"),
            ("IamInstanceProfile.Name", "reader"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "autorun:owner"),
            ("TagSpecification.1.Tag.1.Value", "i-value"),
            ("TagSpecification.2.ResourceType", "volume"),
            ("TagSpecification.2.Tag.1.Key", "Name"),
        ];
        assert_eq!(
            about(Service::Ec2, "RunInstances", &launch),
            r#"{"resources":[["image","ami-1"],["key-pair","web"],["security-group","sg-1"]],"tagged":["instance"],"profile":"reader"}"#
        );
    }

    #[test]
    fn the_source_of_a_rule_is_not_a_resource_of_the_request() {
        let rule = [
            ("GroupId", "sg-1"),
            ("IpPermissions.1.Groups.1.GroupId", "sg-2"),
        ];
        assert_eq!(
            about(Service::Ec2, "AuthorizeSecurityGroupIngress", &rule),
            r#"{"resources":[["security-group","sg-1"]]}"#
        );
        let list = [("InstanceId.1", "i-1")];
        assert_eq!(about(Service::Ec2, "DescribeInstances", &list), "{}");
        assert_eq!(
            about(Service::Ec2, "StopInstances", &list),
            r#"{"resources":[["instance","i-1"]]}"#
        );
    }

    #[test]
    fn a_copy_names_both_buckets() {
        let copy = [
            ("method", "PUT"),
            ("bucket", "to"),
            ("key", "k"),
            ("x-amz-copy-source", "from/a/b"),
        ];
        assert_eq!(
            about(Service::S3, "CopyObject", &copy),
            r#"{"bucket":"to","source":"from"}"#
        );
    }

    #[test]
    fn the_ledger_returns_what_was_recorded() {
        let parameters = [("bucket", "secret-name"), ("versionId", "null")];
        let need = Need::of(&call(Service::S3, "DeleteObject", &parameters));
        let mask = Mask::default();
        assert_eq!(Need::read(&need.recorded(&mask)).unwrap(), need);
        mask.add("secret-name");
        let recorded = need.recorded(&mask);
        assert!(!recorded.about.contains("secret-name"), "{recorded:?}");
        assert!(Need::read(&recorded).is_ok());
        let unknown = Request {
            service: "other".to_owned(),
            ..recorded
        };
        assert!(Need::read(&unknown).is_err());
    }
}
