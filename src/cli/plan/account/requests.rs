//! The requests of a rehearsal, as dry runs for an account that does not have what
//! the rehearsal created.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use regex_lite::Regex;

use super::facts::NEED_VPC;
use crate::clients::calls::{Call, Service};
use crate::clients::ec2::likely_architecture;

/// The beginnings of parameters in which two requests for the same permission may
/// differ.
const VARYING: [&str; 7] = [
    "ClientToken",
    "TagSpecification.",
    "UserData",
    "KeyName",
    "PublicKeyMaterial",
    "GroupName",
    "GroupDescription",
];

/// What is known about the ids and names in the requests.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The texts of the playbook and of its variables: an id in them exists in the
    /// account.
    pub(super) written: Vec<String>,
    /// The images of the rehearsal, with those of the account.
    pub(super) images: BTreeMap<String, String>,
    /// The key pairs that the rehearsal created.
    pub(super) key_pairs: BTreeSet<String>,
    /// What the account has lent to the rehearsal, by id or name.
    pub(super) lent: BTreeSet<String>,
    /// What the rehearsal assumed although the account does not have it.
    pub(super) missing: BTreeSet<String>,
    /// The account's subnet for launches into a subnet of the rehearsal, and its VPC.
    pub(super) subnet: Option<String>,
    pub(super) vpc: Option<String>,
    /// Whether requests that name no network need a default VPC that does not exist.
    pub(super) lacks_default_vpc: bool,
    /// The types that the account does not have, or may not launch.
    pub(super) unknown_types: BTreeSet<String>,
    /// The account's type for launches whose type EC2 proposes.
    pub(super) types: BTreeMap<String, String>,
}

/// Why a request is not checked that needs a network.
const NO_SUBNET: &str = "the account has no subnet to ask with";

/// A request of the rehearsal for the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DryRun {
    pub(super) operation: String,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) place: String,
}

/// A request that cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unchecked {
    pub(super) operation: String,
    pub(super) why: String,
}

/// Returns the distinct requests to EC2 as dry runs, and those that cannot be
/// checked.
pub(super) fn dry_runs(calls: &[Arc<Call>], known: &Known) -> (Vec<DryRun>, BTreeSet<Unchecked>) {
    let (mut runs, mut unchecked) = (Vec::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for call in calls.iter().filter(|call| call.service == Service::Ec2) {
        match known.translated(call) {
            Ok(parameters) => {
                let identity = identity(&call.operation, &parameters);
                if seen.insert(identity) {
                    runs.push(DryRun {
                        operation: call.operation.clone(),
                        parameters,
                        place: call.cause.place.clone(),
                    });
                }
            }
            Err(why) => {
                unchecked.insert(Unchecked {
                    operation: call.operation.clone(),
                    why,
                });
            }
        }
    }
    unchecked.retain(|one| !runs.iter().any(|run| run.operation == one.operation));
    (runs, unchecked)
}

impl Known {
    /// Returns the parameters for the account, or why there are none.
    fn translated(&self, call: &Call) -> Result<Vec<(String, String)>, String> {
        // Whether the caller may look does not depend on what it looks for.
        if call.operation.starts_with("Describe") && !call.operation.ends_with("Attribute") {
            return Ok(Vec::new());
        }
        let is_launch = call.operation == "RunInstances";
        let is_fleet = call.operation == "CreateFleet";
        let mut parameters = Vec::new();
        for (name, value) in &call.parameters {
            let kept = |value: &str| Some((name.clone(), value.to_owned()));
            let translated = match field(name) {
                _ if self.images.contains_key(value) => kept(&self.images[value]),
                "InstanceType" if is_launch || is_fleet => kept(self.known_type(value)),
                "KeyName" if is_launch && self.lacks_key_pair(value) => None,
                // EC2 does not look at what a new template names.
                _ if call.operation == "CreateLaunchTemplate" => kept(value),
                _ if !self.is_of_rehearsal(value) => kept(value),
                "SubnetId" if is_launch => match &self.subnet {
                    Some(subnet) => kept(subnet),
                    None => return Err(NO_SUBNET.to_owned()),
                },
                "SecurityGroupId" if is_launch => None,
                // EC2 looks for the template of a fleet when it launches the instances.
                "LaunchTemplateId" if is_fleet => kept(value),
                "SubnetId" if is_fleet => self.subnet.as_deref().and_then(kept),
                "VpcId" if call.operation == "CreateSecurityGroup" => match &self.vpc {
                    Some(vpc) => kept(vpc),
                    None => return Err(NO_SUBNET.to_owned()),
                },
                _ => {
                    let kind = value.split('-').next().unwrap_or_default();
                    return Err(format!("its `{kind}-..` exists only in the rehearsal"));
                }
            };
            parameters.extend(translated);
        }
        if self.lacks_default_vpc && NEED_VPC.contains(&call.operation.as_str()) {
            self.add_network(is_launch, &mut parameters)?;
        }
        Ok(parameters)
    }

    /// Adds a network to a request that names none. Without the default VPC, EC2 would
    /// say nothing but this about it.
    fn add_network(
        &self,
        is_launch: bool,
        parameters: &mut Vec<(String, String)>,
    ) -> Result<(), String> {
        let names_network = |name: &str| matches!(field(name), "SubnetId" | "VpcId");
        if parameters.iter().any(|(name, _)| names_network(name)) {
            return Ok(());
        }
        let (name, id) = if is_launch {
            ("SubnetId", &self.subnet)
        } else {
            ("VpcId", &self.vpc)
        };
        let id = id.clone().ok_or_else(|| NO_SUBNET.to_owned())?;
        parameters.push((name.to_owned(), id));
        Ok(())
    }

    /// Returns the type of a launch, or one that the account has instead: so EC2 says
    /// what else is wrong.
    fn known_type<'a>(&'a self, name: &'a str) -> &'a str {
        let name = self.types.get(name).map_or(name, String::as_str);
        if !self.unknown_types.contains(name) {
            return name;
        }
        match likely_architecture(name) {
            "arm64" => "t4g.micro",
            _ => "t3.micro",
        }
    }

    fn lacks_key_pair(&self, name: &str) -> bool {
        self.key_pairs.contains(name) || self.missing.contains(name)
    }

    /// Returns whether a value is an id that the account does not have. The dry run
    /// of a launch names a missing image.
    fn is_of_rehearsal(&self, value: &str) -> bool {
        let is_written = || self.written.iter().any(|text| text.contains(value));
        let is_known = || self.lent.contains(value) || is_written();
        let is_missing = self.missing.contains(value) && !value.starts_with("ami-");
        is_id(value) && (is_missing || !is_known())
    }
}

/// Returns the last word of a parameter's name: `SubnetId` of
/// `NetworkInterface.1.SubnetId`.
fn field(name: &str) -> &str {
    let mut words = name.rsplit('.');
    let is_word = |word: &&str| word.parse::<u32>().is_err();
    words.find(is_word).unwrap_or(name)
}

/// Returns whether a value is the id of a resource of EC2.
fn is_id(value: &str) -> bool {
    static ID: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("^[a-z]+-[0-9a-f]{8,17}$").expect("the pattern is a constant"));
    ID.is_match(value)
}

/// Returns what two requests for the same permission have in common.
fn identity(operation: &str, parameters: &[(String, String)]) -> String {
    let fixed = parameters
        .iter()
        .filter(|(name, _)| !VARYING.iter().any(|varying| name.starts_with(varying)));
    let fixed: Vec<String> = fixed
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{operation}&{}", fixed.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::calls::Cause;

    fn call(operation: &str, parameters: &[(&str, &str)]) -> Arc<Call> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Arc::new(Call {
            service: Service::Ec2,
            operation: operation.to_owned(),
            parameters: parameters.iter().map(pair).collect(),
            cause: Cause {
                place: "a.rhai:1".to_owned(),
                function: String::new(),
            },
        })
    }

    fn known() -> Known {
        Known {
            written: vec!["let group = \"sg-0aaaaaaa\";".to_owned()],
            images: BTreeMap::from([("ami-0bbbbbbb".to_owned(), "ami-0ccccccc".to_owned())]),
            key_pairs: BTreeSet::from(["web-key".to_owned()]),
            ..Known::default()
        }
    }

    fn one(call: Arc<Call>) -> Vec<(String, String)> {
        let (mut runs, unchecked) = dry_runs(&[call], &known());
        assert!(unchecked.is_empty(), "{unchecked:?}");
        runs.remove(0).parameters
    }

    #[test]
    fn a_fleet_is_checked_without_what_the_rehearsal_created() {
        let template = "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId";
        let choice = "LaunchTemplateConfigs.1.Overrides.1";
        let (subnet, kind) = (
            format!("{choice}.SubnetId"),
            format!("{choice}.InstanceType"),
        );
        let fleet = call(
            "CreateFleet",
            &[
                (template, "lt-0dddddddddddddddd"),
                (&kind, "t3.micro"),
                (&subnet, "subnet-0dddddddddddddddd"),
            ],
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            one(fleet),
            [
                pair(template, "lt-0dddddddddddddddd"),
                pair(&kind, "t3.micro")
            ]
        );
    }

    #[test]
    fn a_launch_keeps_what_the_account_has() {
        let sent = one(call(
            "RunInstances",
            &[
                ("ImageId", "ami-0bbbbbbb"),
                ("InstanceType", "t3.micro"),
                ("KeyName", "web-key"),
                ("SecurityGroupId.1", "sg-0dddddddd"),
                ("SecurityGroupId.2", "sg-0aaaaaaa"),
                ("NetworkInterface.1.SecurityGroupId.1", "sg-0dddddddd"),
            ],
        ));
        let names: Vec<_> = sent.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            names,
            [
                ("ImageId", "ami-0ccccccc"),
                ("InstanceType", "t3.micro"),
                ("SecurityGroupId.2", "sg-0aaaaaaa"),
            ]
        );
    }

    #[test]
    fn a_request_about_what_the_rehearsal_created_is_not_checked() {
        let calls = [
            call(
                "TerminateInstances",
                &[("InstanceId.1", "i-0123456789abcdef0")],
            ),
            call("RunInstances", &[("SubnetId", "subnet-0123456789abcdef0")]),
        ];
        let (runs, unchecked) = dry_runs(&calls, &known());
        assert!(runs.is_empty());
        let why: Vec<_> = unchecked.iter().map(|one| one.why.as_str()).collect();
        assert_eq!(
            why,
            [
                "the account has no subnet to ask with",
                "its `i-..` exists only in the rehearsal"
            ]
        );
    }

    #[test]
    fn looking_needs_no_ids_and_equal_requests_are_sent_once() {
        let calls = [
            call(
                "DescribeInstances",
                &[("InstanceId.1", "i-0123456789abcdef0")],
            ),
            call("DescribeInstances", &[("Filter.1.Name", "tag:a")]),
            call(
                "ImportKeyPair",
                &[("KeyName", "a"), ("PublicKeyMaterial", "x")],
            ),
            call(
                "ImportKeyPair",
                &[("KeyName", "b"), ("PublicKeyMaterial", "y")],
            ),
        ];
        let (runs, _) = dry_runs(&calls, &known());
        let operations: Vec<_> = runs.iter().map(|run| run.operation.as_str()).collect();
        assert_eq!(operations, ["DescribeInstances", "ImportKeyPair"]);
        assert!(runs[0].parameters.is_empty());
    }
}
