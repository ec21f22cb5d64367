//! A statement of a policy: parsing, validation and evaluation.

use serde_json::Value;

use super::actions::{self, Kind};
use super::context::{self, Context};
use super::principal::Principals;
use super::syntax::{faulty, flawed, malformed};
use crate::authorization::{self, Condition, Fault, Language, Listed, Template, known_in_buckets};
use crate::s3::backend::Backend;
use crate::s3::failure::Result;

const ELEMENTS: [&str; 9] = [
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
    principals: Principals,
    rest: authorization::Statement,
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
        let mut arns = Vec::new();
        let resource = |arn: &str| {
            let arn = in_own_partition(arn);
            if !belongs_to(&arn, bucket) {
                return Err(Fault::Own("Policy has invalid resource".to_owned()));
            }
            let template = Template::parse(&arn, language).map_err(Fault::Flaw);
            arns.push(arn);
            template
        };
        let rest = authorization::Statement::parse(value, &ELEMENTS, language, action, resource);
        let rest = rest.map_err(|it| faulty(it.into_what()))?;
        let principals = match value {
            Value::Object(fields) => Principals::parse(fields, backend)?,
            _ => return Err(flawed(authorization::Flaw::Syntax)),
        };
        if !rest.resources.negated && !rest.actions.negated && !apply(&rest.actions, &arns) {
            return Err(malformed(
                "Action does not apply to any resource(s) in statement",
            ));
        }
        let is_for_listings = |it: &Condition| context::is_of_listings(it.key());
        if rest.conditions.iter().any(is_for_listings) && !lists(&rest.actions) {
            return Err(malformed(
                "Conditions do not apply to combination of actions and resources in statement",
            ));
        }
        Ok(Self { principals, rest })
    }

    /// Whether the statement allows what it applies to.
    pub(super) fn allows(&self) -> bool {
        self.rest.allow
    }

    /// Whether the statement is public by AWS's definition.
    pub(super) fn is_public(&self) -> bool {
        let restricted = self.rest.conditions.iter().any(Condition::restricts);
        self.rest.allow && self.principals.are_everyone() && !restricted
    }

    /// Whether the statement applies to a request that executes `action` on `arn`.
    pub(super) fn applies_to(&self, context: &Context, action: &str, arn: &str) -> bool {
        self.principals.include(context, self.rest.allow)
            && self.rest.applies_to(action, arn, context.values())
    }
}

/// Checks the pattern of an action.
fn action(text: &str) -> std::result::Result<String, Fault> {
    match actions::matching(text).next() {
        Some(_) => Ok(text.to_owned()),
        None => Err(Fault::Own("Policy has invalid action".to_owned())),
    }
}

/// Writes a resource of another partition as one of the partition `aws`. The local
/// cloud has the buckets of all regions, each of which knows its own partition only.
fn in_own_partition(arn: &str) -> String {
    let others = ["arn:aws-cn:s3:::", "arn:aws-us-gov:s3:::"];
    let mut rests = others.iter().filter_map(|other| arn.strip_prefix(other));
    match rests.next() {
        Some(rest) => format!("arn:aws:s3:::{rest}"),
        None => arn.to_owned(),
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
fn apply(actions: &Listed<String>, resources: &[String]) -> bool {
    let is_a = |kind| {
        move |arn: &String| match kind {
            Kind::Object => arn.contains('/') || arn.ends_with('*'),
            Kind::Bucket => !arn.contains('/'),
        }
    };
    let applies = |action: &String| {
        actions::matching(action).any(|(_, kind)| resources.iter().any(is_a(kind)))
    };
    actions.any_of.iter().all(applies)
}

/// Whether any of the actions lists objects.
fn lists(actions: &Listed<String>) -> bool {
    let lists = |name: &str| matches!(name, "ListBucket" | "ListBucketVersions");
    let mut all = actions.any_of.iter();
    actions.negated || all.any(|action| actions::matching(action).any(|(name, _)| lists(name)))
}
