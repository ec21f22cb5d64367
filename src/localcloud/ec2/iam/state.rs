//! Roles and instance profiles.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::journaled::{Row, Table, record};
use super::super::state::{Millis, Tags};
use crate::authorization::{Need, Policy, Verdict};

record! {
/// The state of IAM, which has no regions.
pub(in super::super) struct Iam {
    /// Roles by name.
    pub(super) roles: Table<Role>,
    /// Instance profiles by name.
    pub(super) profiles: Table<Profile>,
}
}

/// A role is found by its id.
impl Row for Role {
    fn aliases(&self) -> Vec<String> {
        vec![self.id.clone()]
    }
}

impl Row for Profile {}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// The policy that says who may take the role, as JSON.
    pub(super) trust: String,
    /// The longest session in seconds.
    pub(super) session: u32,
    /// Inline policies by name, as JSON.
    pub(super) policies: BTreeMap<String, String>,
    /// The ARNs of managed policies.
    pub(super) attached: BTreeSet<String>,
    pub(super) tags: Tags,
    pub(super) created: Millis,
    /// When its credentials signed a request last, and in which region.
    #[serde(default)]
    pub(super) used: Option<(Millis, String)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Profile {
    pub(in super::super) id: String,
    pub(super) path: String,
    pub(in super::super) name: String,
    /// The name of its role.
    pub(super) role: Option<String>,
    pub(super) tags: Tags,
    pub(super) created: Millis,
}

impl Role {
    pub(super) fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:role{}{}", self.path, self.name)
    }

    /// Whether instances may take the role.
    fn trusts_instances(&self) -> bool {
        let policy: Value = serde_json::from_str(&self.trust).unwrap_or_default();
        let has = |value: &Value, wanted: &str| match value {
            Value::Array(all) => all.iter().any(|one| one == wanted),
            one => one == wanted,
        };
        let allows = |statement: &Value| {
            statement["Effect"] == "Allow"
                && has(&statement["Principal"]["Service"], "ec2.amazonaws.com")
                && has(&statement["Action"], "sts:AssumeRole")
        };
        match &policy["Statement"] {
            Value::Array(all) => all.iter().any(allows),
            one => allows(one),
        }
    }
}

impl Profile {
    pub(in super::super) fn arn(&self, account: &str) -> String {
        let (path, name) = (&self.path, &self.name);
        format!("arn:aws:iam::{account}:instance-profile{path}{name}")
    }
}

/// The role of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct InstanceRole {
    pub(in super::super) name: String,
    pub(in super::super) id: String,
    /// Whether the role's trust policy lets instances take it.
    pub(in super::super) trusted: bool,
}

/// Managed policies, with the service of which they allow what instances need.
const MANAGED: [(&str, &str); 6] = [
    ("AmazonSSMManagedInstanceCore", "ssm"),
    ("AmazonSSMManagedEC2InstanceDefaultPolicy", "ssm"),
    ("AmazonSSMFullAccess", "ssm"),
    ("AdministratorAccess", "ssm"),
    ("AdministratorAccess", "s3"),
    ("AmazonS3FullAccess", "s3"),
];

/// How old the recorded use of a role may be. AWS reports a use up to four hours
/// late.
const PRECISION: Millis = 60_000;

impl Iam {
    /// Records a use of a role, unless a recent one is recorded. Returns whether the
    /// record changed.
    pub(in super::super) fn record_use(&mut self, id: &str, region: &str, now: Millis) -> bool {
        let Some(role) = self.roles.find(id).next() else {
            return false;
        };
        let known = role.used.as_ref();
        if known.is_some_and(|(when, place)| place == region && now < when + PRECISION) {
            return false;
        }
        let name = role.name.clone();
        if let Some(role) = self.roles.get_mut(&name) {
            role.used = Some((now, region.to_owned()));
        }
        true
    }

    /// Returns the ARN of the role of the instance profile with this name or ARN.
    pub(in super::super) fn passed_role(
        &self,
        account: &str,
        name: Option<&str>,
        arn: Option<&str>,
    ) -> Option<String> {
        let profile = self.profiles.values().find(|profile| {
            name == Some(profile.name.as_str()) || arn == Some(profile.arn(account).as_str())
        })?;
        let role = self.roles.get(profile.role.as_ref()?)?;
        Some(role.arn(account))
    }

    /// Whether the role of an instance profile allows what a request needs. Of
    /// managed policies, only those for the agent of Systems Manager and for S3 are
    /// known.
    pub(in super::super) fn allows(&self, profile: &str, need: &Need) -> bool {
        let profile = self.profiles.get(profile);
        let role = profile.and_then(|profile| self.roles.get(profile.role.as_ref()?));
        let Some(role) = role.filter(|role| role.trusts_instances()) else {
            return false;
        };
        let (service, _) = need.action.split_once(':').unwrap_or_default();
        let managed = MANAGED.iter().filter(|(_, of)| *of == service);
        let mut managed = managed.map(|(name, _)| format!("arn:aws:iam::aws:policy/{name}"));
        let inline = role.policies.values();
        // A policy that the local cloud cannot evaluate allows nothing.
        let inline = inline.filter_map(|text| Policy::parse(text).ok());
        let verdicts: Vec<Verdict> = inline.map(|policy| policy.verdict(need)).collect();
        !verdicts.contains(&Verdict::Denied)
            && (verdicts.contains(&Verdict::Allowed)
                || managed.any(|arn| role.attached.contains(&arn)))
    }

    /// Returns the role that an instance with this profile has now.
    pub(in super::super) fn role_of(&self, profile: &str) -> Option<InstanceRole> {
        let role = self.roles.get(self.profiles.get(profile)?.role.as_ref()?)?;
        Some(InstanceRole {
            name: role.name.clone(),
            id: role.id.clone(),
            trusted: role.trusts_instances(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(trust: &str) -> Role {
        Role {
            id: "AROA1".into(),
            path: "/app/".into(),
            name: "web".into(),
            description: None,
            trust: trust.into(),
            session: 3600,
            policies: BTreeMap::new(),
            attached: BTreeSet::new(),
            tags: Tags::default(),
            created: 0,
            used: None,
        }
    }

    #[test]
    fn a_use_of_a_role_is_recorded_once_a_minute() {
        let mut iam = Iam::default();
        iam.roles.insert("web".into(), role("{}"));
        assert!(iam.record_use("AROA1", "eu-west-1", 0));
        assert!(!iam.record_use("AROA1", "eu-west-1", PRECISION - 1));
        assert!(iam.record_use("AROA1", "eu-west-2", PRECISION - 1));
        assert!(iam.record_use("AROA1", "eu-west-2", 2 * PRECISION));
        assert!(!iam.record_use("AROA2", "eu-west-2", 0));
    }

    #[test]
    fn a_role_names_who_may_take_it() {
        let one = r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": "ec2.amazonaws.com"}}}"#;
        let several = r#"{"Statement": [{"Effect": "Allow", "Action": ["sts:AssumeRole"],
            "Principal": {"Service": ["lambda.amazonaws.com", "ec2.amazonaws.com"]}}]}"#;
        assert!(role(one).trusts_instances() && role(several).trusts_instances());
        assert!(!role(&one.replace("ec2", "lambda")).trusts_instances());
        assert!(!role(&one.replace("Allow", "Deny")).trusts_instances());
        assert_eq!(role(one).arn("1"), "arn:aws:iam::1:role/app/web");
    }
}
