//! A statement of a policy: parsing, validation and evaluation.

use serde_json::{Map, Value};

use super::actions::{self, Kind};
use super::context::{self, Context};
use super::principal::Principals;
use super::syntax::{flawed, malformed, strings};
use crate::authorization::{
    Condition, Language, Listed, Template, known_in_buckets, matches_ignoring_case,
    parse_conditions,
};
use crate::s3::backend::Backend;
use crate::s3::failure::Result;

const FIELDS: [&str; 9] = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// A valid statement of a bucket's policy.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) allow: bool,
    principals: Principals,
    actions: Listed<String>,
    resources: Listed<Template>,
    conditions: Vec<Condition>,
}

impl Statement {
    /// Parses a statement of the policy of `bucket`.
    pub(super) fn parse(
        value: &Value,
        (bucket, backend): (&str, &Backend),
        variables: bool,
    ) -> Result<Self> {
        let language = Language {
            variables,
            known: known_in_buckets,
        };
        let Value::Object(fields) = value else {
            return Err(malformed("Invalid policy syntax."));
        };
        if let Some(field) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(malformed(&format!("Unknown field {field}")));
        }
        if fields.get("Sid").is_some_and(|sid| !sid.is_string()) {
            return Err(malformed("Invalid policy syntax."));
        }
        let allow = match fields.get("Effect").map(Value::as_str) {
            Some(Some("Allow")) => true,
            Some(Some("Deny")) => false,
            Some(Some(other)) => return Err(malformed(&format!("Invalid effect: {other}"))),
            _ => return Err(malformed("Missing required field Effect cannot be empty!")),
        };
        let principals = Principals::parse(fields, backend)?;
        let actions = listed(fields, "Action", "NotAction")?;
        if actions.any_of.iter().any(|it| is_unknown(it)) {
            return Err(malformed("Policy has invalid action"));
        }
        let mut resources = listed(fields, "Resource", "NotResource")?;
        resources.any_of.iter_mut().for_each(in_own_partition);
        if !resources.any_of.iter().all(|arn| belongs_to(arn, bucket)) {
            return Err(malformed("Policy has invalid resource"));
        }
        if !resources.negated && !actions.negated && !apply(&actions, &resources) {
            return Err(malformed(
                "Action does not apply to any resource(s) in statement",
            ));
        }
        let conditions = match fields.get("Condition") {
            None => Vec::new(),
            Some(value) => parse_conditions(value, language).map_err(|it| flawed(it.flaw))?,
        };
        let is_for_listings = |it: &Condition| context::is_of_listings(it.key());
        if conditions.iter().any(is_for_listings) && !lists(&actions) {
            return Err(malformed(
                "Conditions do not apply to combination of actions and resources in statement",
            ));
        }
        let templates = resources
            .any_of
            .iter()
            .map(|arn| Template::parse(arn, language).map_err(flawed));
        Ok(Self {
            allow,
            principals,
            resources: Listed {
                any_of: templates.collect::<Result<_>>()?,
                negated: resources.negated,
            },
            actions,
            conditions,
        })
    }

    /// Whether the statement is public by AWS's definition.
    pub(super) fn is_public(&self) -> bool {
        let restricted = self.conditions.iter().any(Condition::restricts);
        self.allow && self.principals.are_everyone() && !restricted
    }

    /// Whether the statement applies to a request that executes `action` on `arn`.
    pub(super) fn applies_to(&self, context: &Context, action: &str, arn: &str) -> bool {
        self.principals.include(context, self.allow)
            && self
                .actions
                .includes(|it| matches_ignoring_case(it, action))
            && self
                .resources
                .includes(|it| it.matches(arn, context.values()))
            && self.conditions.iter().all(|it| it.holds(context.values()))
    }
}

fn listed(fields: &Map<String, Value>, name: &str, negated: &str) -> Result<Listed<String>> {
    let (value, negated) = match (fields.get(name), fields.get(negated)) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => {
            return Err(malformed(&format!("Missing required field {name}")));
        }
        (Some(_), Some(_)) => return Err(malformed("Invalid policy syntax.")),
    };
    match strings(value) {
        Some(any_of) if !any_of.is_empty() => Ok(Listed { any_of, negated }),
        _ => Err(malformed(&format!(
            "Missing required field {name} cannot be empty!"
        ))),
    }
}

fn is_unknown(action: &str) -> bool {
    actions::matching(action).next().is_none()
}

/// Writes a resource of another partition as one of the partition `aws`. The local
/// cloud has the buckets of all regions, each of which knows its own partition only.
fn in_own_partition(arn: &mut String) {
    for other in ["arn:aws-cn:s3:::", "arn:aws-us-gov:s3:::"] {
        if let Some(rest) = arn.strip_prefix(other) {
            *arn = format!("arn:aws:s3:::{rest}");
            return;
        }
    }
}

/// Whether a resource is the bucket or its objects.
fn belongs_to(arn: &str, bucket: &str) -> bool {
    arn.strip_prefix("arn:aws:s3:::")
        .and_then(|rest| rest.strip_prefix(bucket))
        .is_some_and(|rest| rest.is_empty() || rest == "*" || rest.starts_with('/'))
}

/// Whether each action applies to at least one of the resources. `s3:GetObject`
/// does not apply to a bucket, and `s3:ListBucket` does not apply to objects.
fn apply(actions: &Listed<String>, resources: &Listed<String>) -> bool {
    let is_a = |kind| {
        move |arn: &String| match kind {
            Kind::Object => arn.contains('/') || arn.ends_with('*'),
            Kind::Bucket => !arn.contains('/'),
        }
    };
    let applies = |action: &String| {
        actions::matching(action).any(|(_, kind)| resources.any_of.iter().any(is_a(kind)))
    };
    actions.any_of.iter().all(applies)
}

/// Whether any of the actions lists objects.
fn lists(actions: &Listed<String>) -> bool {
    let lists = |name: &str| matches!(name, "ListBucket" | "ListBucketVersions");
    let mut all = actions.any_of.iter();
    actions.negated || all.any(|action| actions::matching(action).any(|(name, _)| lists(name)))
}
