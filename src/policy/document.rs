//! Joins permissions into the statements of an IAM policy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::grants::{Grant, Reason};
use super::operations::{CREATE_TAGS, PASS_ROLE};
use super::scope::Conditions;
use super::table;

/// The version of the policy language.
const LANGUAGE: &str = "2012-10-17";

/// A statement of the policy.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// Its name in the policy.
    pub(super) sid: String,
    /// The actions, with the reasons for each.
    pub(super) actions: BTreeMap<String, BTreeSet<Reason>>,
    /// The ARNs, with their types in the table of actions.
    pub(super) resources: BTreeMap<String, Option<&'static str>>,
    pub(super) conditions: Conditions,
}

/// Returns the statements that allow exactly these permissions.
pub(super) fn statements(grants: &[Grant]) -> Vec<Statement> {
    let mut statements = by_resources(by_action(without_covered(grants)));
    while let Some((one, other)) = mergeable(&statements) {
        let other = statements.remove(other);
        statements[one].absorb(other);
    }
    statements.sort_by_key(|statement| {
        let resource = statement.resources.keys().next().cloned();
        (statement.rank(), resource)
    });
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    for statement in &mut statements {
        let name = NAMES[statement.rank()];
        let number = used.entry(name).or_default();
        *number += 1;
        statement.sid = match number {
            1 => name.to_owned(),
            number => format!("{name}{number}"),
        };
    }
    statements
}

/// Removes the permissions that another one includes. Their reasons become its own.
fn without_covered(grants: &[Grant]) -> Vec<Grant> {
    let covering = |grant: &Grant| {
        let mut others = grants.iter();
        others.find(|other| other.covers(grant) && !grant.covers(other))
    };
    let widest = |grant: &Grant| {
        let mut widest = grant.clone();
        while let Some(wider) = covering(&widest) {
            widest = wider.clone();
        }
        widest.reason = grant.reason.clone();
        widest
    };
    grants.iter().map(widest).collect()
}

impl Grant {
    /// Returns whether this permission allows all that another one does.
    fn covers(&self, other: &Self) -> bool {
        let covered = match self.resource.strip_suffix('*') {
            Some(prefix) => other.resource.starts_with(prefix),
            None => self.resource == other.resource,
        };
        let mut conditions = self.conditions.iter();
        self.action == other.action
            && covered
            && conditions.all(|(key, values)| other.conditions.get(key) == Some(values))
    }
}

/// Joins the permissions of each action under the same conditions. Tags at creation
/// are one permission, whatever is created.
fn by_action(grants: Vec<Grant>) -> Vec<Statement> {
    let mut joined: BTreeMap<(String, Conditions), Statement> = BTreeMap::new();
    for grant in grants {
        let mut conditions = grant.conditions.clone();
        let created = created_by();
        if grant.action == CREATE_TAGS {
            conditions.remove(&created);
        }
        let is_at_creation = conditions.len() != grant.conditions.len();
        let mut key = conditions.clone();
        if is_at_creation {
            key.insert(created.clone(), BTreeSet::new());
        }
        let statement = joined
            .entry((grant.action.clone(), key))
            .or_insert_with(|| Statement {
                sid: String::new(),
                actions: BTreeMap::new(),
                resources: BTreeMap::new(),
                conditions,
            });
        if let Some(values) = grant.conditions.get(&created) {
            let known = statement.conditions.entry(created).or_default();
            known.extend(values.iter().cloned());
        }
        statement.resources.insert(grant.resource, grant.kind);
        let reasons = statement.actions.entry(grant.action).or_default();
        reasons.insert(grant.reason);
    }
    joined.into_values().collect()
}

/// Returns the condition on the action that creates a tagged resource.
fn created_by() -> (&'static str, String) {
    ("StringEquals", "ec2:CreateAction".to_owned())
}

/// Joins the actions on the same resources under the same conditions.
fn by_resources(statements: Vec<Statement>) -> Vec<Statement> {
    let mut joined: Vec<Statement> = Vec::new();
    for statement in statements {
        let mut same = joined.iter_mut().filter(|known| {
            known.resources == statement.resources && known.conditions == statement.conditions
        });
        match same.next() {
            Some(known) => known.absorb(statement),
            None => joined.push(statement),
        }
    }
    joined
}

/// Finds two statements whose union allows no more than both.
fn mergeable(statements: &[Statement]) -> Option<(usize, usize)> {
    for (one, first) in statements.iter().enumerate() {
        for (other, second) in statements.iter().enumerate().skip(one + 1) {
            let same = first.conditions == second.conditions && first.service() == second.service();
            if same && first.is_apart_from(second) && second.is_apart_from(first) {
                return Some((one, other));
            }
        }
    }
    None
}

/// The names of statements, by rank.
const NAMES: [&str; 12] = [
    "InRegion",
    "Ec2Use",
    "Ec2Create",
    "Ec2TagNew",
    "Ec2Own",
    "PassRole",
    "S3Use",
    "Parameters",
    "Keys",
    "Roles",
    "Commands",
    "Logins",
];

impl Statement {
    fn absorb(&mut self, other: Self) {
        for (action, reasons) in other.actions {
            self.actions.entry(action).or_default().extend(reasons);
        }
        self.resources.extend(other.resources);
    }

    fn service(&self) -> &str {
        let first = self.actions.keys().next().map_or("", String::as_str);
        first.split(':').next().unwrap_or_default()
    }

    /// Returns whether no action of this statement could use the resources that only
    /// the other one has.
    fn is_apart_from(&self, other: &Self) -> bool {
        let new = other.resources.iter();
        let mut new = new.filter(|(arn, _)| !self.resources.contains_key(*arn));
        new.all(|(_, kind)| {
            kind.is_some_and(|kind| {
                self.actions.keys().all(|action| {
                    let types = table::action(action).map_or(&[][..], |action| &action.types);
                    !types.is_empty() && !types.iter().any(|known| known.name == kind)
                })
            })
        })
    }

    /// Returns whether a statement allows nothing but this action.
    fn is_only(&self, action: &str) -> bool {
        self.actions.keys().all(|known| known == action)
    }

    /// Returns the place in the policy: the index of the name.
    fn rank(&self) -> usize {
        let has = |key: &str| {
            self.conditions
                .keys()
                .any(|(_, known)| known.starts_with(key))
        };
        let everywhere = self.resources.contains_key("*");
        match self.service() {
            _ if everywhere => 0,
            "ec2" if has("ec2:CreateAction") => 3,
            "ec2" if has("aws:RequestTag/") => 2,
            "ec2" if has("aws:ResourceTag/") => 4,
            "ec2" => 1,
            "iam" if !self.is_only(PASS_ROLE) => 9,
            "iam" => 5,
            "s3" => 6,
            "ec2-instance-connect" => 11,
            "ssm" if !self.is_only("ssm:GetParameter") => 10,
            "ssm" => 7,
            _ => 8,
        }
    }

    fn json(&self) -> Value {
        let actions = self.actions.keys().cloned().collect::<Vec<_>>();
        let resources = self.resources.keys().cloned().collect::<Vec<_>>();
        let mut statement = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": one_or_many(actions),
            "Resource": one_or_many(resources),
        });
        if !self.conditions.is_empty() {
            let mut conditions = json!({});
            for ((operator, key), values) in &self.conditions {
                conditions[*operator][key] = one_or_many(values.iter().cloned().collect());
            }
            statement["Condition"] = conditions;
        }
        statement
    }
}

fn one_or_many(mut texts: Vec<String>) -> Value {
    if texts.len() == 1 {
        texts.remove(0).into()
    } else {
        texts.into()
    }
}

/// Returns the policy as IAM reads it.
pub(super) fn policy(statements: &[Statement]) -> Value {
    let statements: Vec<Value> = statements.iter().map(Statement::json).collect();
    json!({ "Version": LANGUAGE, "Statement": statements })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::calls::Cause;

    fn grant(action: &str, kind: Option<&'static str>, resource: &str, condition: &str) -> Grant {
        let mut conditions = Conditions::new();
        if let Some((key, value)) = condition.split_once('=') {
            let key = ("StringEquals", key.to_owned());
            conditions.insert(key, BTreeSet::from([value.to_owned()]));
        }
        Grant {
            action: action.to_owned(),
            kind,
            resource: resource.to_owned(),
            conditions,
            reason: Reason {
                cause: Cause::default(),
                later: false,
            },
        }
    }

    fn shown(grants: &[Grant]) -> Vec<String> {
        let statements = statements(grants);
        let statements = statements.iter().map(|statement| {
            let actions: Vec<&str> = statement.actions.keys().map(String::as_str).collect();
            let resources: Vec<&str> = statement.resources.keys().map(String::as_str).collect();
            let conditions: Vec<String> =
                statement.conditions.values().flatten().cloned().collect();
            format!(
                "{}: {} on {} if {}",
                statement.sid,
                actions.join(" "),
                resources.join(" "),
                conditions.join(" ")
            )
        });
        statements.collect()
    }

    const OWN: &str = "aws:ResourceTag/autorun:owner=me";

    #[test]
    fn statements_are_joined_only_if_that_allows_no_more() {
        // Deleting a key pair cannot touch an instance, so one statement will do.
        assert_eq!(
            shown(&[
                grant("ec2:TerminateInstances", Some("instance"), "i/*", OWN),
                grant("ec2:StopInstances", Some("instance"), "i/*", OWN),
                grant("ec2:DeleteKeyPair", Some("key-pair"), "key/*", OWN),
            ]),
            [
                "Ec2Own: ec2:DeleteKeyPair ec2:StopInstances ec2:TerminateInstances on i/* key/* \
                 if me"
            ]
        );
        // Joined, each bucket could be read and written.
        assert_eq!(
            shown(&[
                grant("s3:GetObject", Some("object"), "a/*", ""),
                grant("s3:PutObject", Some("object"), "b/*", ""),
            ]),
            [
                "S3Use: s3:GetObject on a/* if ",
                "S3Use2: s3:PutObject on b/* if "
            ]
        );
    }

    #[test]
    fn what_another_permission_includes_is_left_out() {
        assert_eq!(
            shown(&[
                grant("ec2:RunInstances", Some("subnet"), "subnet/*", OWN),
                grant("ec2:RunInstances", Some("subnet"), "subnet/1", ""),
                grant("ec2:RunInstances", Some("subnet"), "subnet/*", ""),
            ]),
            ["Ec2Use: ec2:RunInstances on subnet/* if "]
        );
        assert_eq!(
            shown(&[
                grant("ec2:AttachVolume", Some("volume"), "volume/1", ""),
                grant("ec2:AttachVolume", Some("volume"), "volume/*", OWN),
            ]),
            [
                "Ec2Use: ec2:AttachVolume on volume/1 if ",
                "Ec2Own: ec2:AttachVolume on volume/* if me"
            ]
        );
    }

    #[test]
    fn tags_at_creation_are_one_permission() {
        assert_eq!(
            shown(&[
                grant(
                    CREATE_TAGS,
                    Some("instance"),
                    "i/*",
                    "ec2:CreateAction=RunInstances"
                ),
                grant(
                    CREATE_TAGS,
                    Some("volume"),
                    "v/*",
                    "ec2:CreateAction=CreateVolume"
                ),
                grant(CREATE_TAGS, Some("volume"), "v/*", OWN),
            ]),
            [
                "Ec2TagNew: ec2:CreateTags on i/* v/* if CreateVolume RunInstances",
                "Ec2Own: ec2:CreateTags on v/* if me"
            ]
        );
    }
}
