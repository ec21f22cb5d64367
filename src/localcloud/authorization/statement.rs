//! A statement of a policy. Policies of users and of buckets have the same ones, but
//! for the principals of a bucket's policy.

use serde_json::{Map, Value};

use super::Language;
use super::condition::{self, Condition};
use super::flaw::{Flaw, Flawed};
use super::listed::Listed;
use super::mistake::{Misplaced, Step};
use super::pattern::{Glyph, Template, matches_arn, matches_ignoring_case};
use super::values::Values;

/// A valid statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) allow: bool,
    pub(crate) actions: Listed<String>,
    pub(crate) resources: Listed<Template>,
    pub(crate) conditions: Vec<Condition>,
}

/// What is wrong with a statement. Each kind of policy has its own words for it.
#[derive(Debug)]
pub(crate) enum Fault {
    NotAnObject,
    UnknownElement(String),
    Sid,
    /// A value of `Effect`, if it is a text.
    Effect(Option<String>),
    NoEffect,
    /// An element and its negation are missing.
    Neither([&'static str; 2]),
    /// A statement has an element and its negation.
    Both([&'static str; 2]),
    /// An element is not a text or a list of texts.
    NotTexts(&'static str),
    Flaw(Flaw),
    /// What only one kind of policy refuses, in its words.
    Own(String),
}

impl Statement {
    /// Parses a statement with these elements. `action` and `resource` check and convert
    /// each of the actions and the resources.
    pub(crate) fn parse(
        value: &Value,
        elements: &[&str],
        language: Language,
        action: impl FnMut(&str) -> Result<String, Fault>,
        resource: impl FnMut(&str) -> Result<Template, Fault>,
    ) -> Result<Self, Misplaced<Fault>> {
        let Value::Object(fields) = value else {
            return Err(Misplaced::of(Fault::NotAnObject));
        };
        if let Some(name) = fields.keys().find(|key| !elements.contains(&key.as_str())) {
            return Err(Misplaced::of(Fault::UnknownElement(name.clone())).below(name));
        }
        if fields.get("Sid").is_some_and(|sid| !sid.is_string()) {
            return Err(Misplaced::of(Fault::Sid).below("Sid"));
        }
        let allow = match fields.get("Effect").map(Value::as_str) {
            Some(Some("Allow")) => true,
            Some(Some("Deny")) => false,
            Some(other) => {
                let fault = Fault::Effect(other.map(str::to_owned));
                return Err(Misplaced::of(fault).below("Effect"));
            }
            None => return Err(Misplaced::of(Fault::NoEffect)),
        };
        let actions = listed(fields, ["Action", "NotAction"], action)?;
        let resources = listed(fields, ["Resource", "NotResource"], resource)?;
        let conditions = match fields.get("Condition") {
            None => Vec::new(),
            Some(value) => condition::parse(value, language).map_err(of_condition)?,
        };
        Ok(Self {
            allow,
            actions,
            resources,
            conditions,
        })
    }

    /// Whether the statement applies to an action on a resource, with these values of
    /// condition keys.
    pub(crate) fn applies_to(&self, action: &str, resource: &str, values: &Values) -> bool {
        self.actions
            .includes(|it| matches_ignoring_case(it, action))
            && self
                .resources
                .includes(|it| matches_resource(it, resource, values))
            && self.conditions.iter().all(|it| it.holds(values))
    }
}

/// Whether a pattern of a statement matches a resource.
fn matches_resource(template: &Template, resource: &str, values: &Values) -> bool {
    let expanded = template.expand(values);
    expanded.is_some_and(|glyphs| glyphs == [Glyph::Any] || matches_arn(&glyphs, resource))
}

/// Parses an element that lists something, or everything else.
fn listed<T>(
    fields: &Map<String, Value>,
    names: [&'static str; 2],
    mut parse: impl FnMut(&str) -> Result<T, Fault>,
) -> Result<Listed<T>, Misplaced<Fault>> {
    let [name, negation] = names;
    let (name, value, negated) = match (fields.get(name), fields.get(negation)) {
        (Some(value), None) => (name, value, false),
        (None, Some(value)) => (negation, value, true),
        (None, None) => return Err(Misplaced::of(Fault::Neither(names))),
        (Some(_), Some(_)) => return Err(Misplaced::of(Fault::Both(names)).below(negation)),
    };
    let mut one = |value: &Value| {
        let text = value.as_str().ok_or(Fault::NotTexts(name));
        text.and_then(&mut parse).map_err(Misplaced::of)
    };
    let any_of: Result<Vec<T>, Misplaced<Fault>> = match value {
        Value::Array(values) if !values.is_empty() => {
            let numbered = values.iter().enumerate();
            let parsed = numbered
                .map(|(number, value)| one(value).map_err(|it| it.within(Step::Item(number))));
            parsed.collect()
        }
        value => one(value).map(|only| vec![only]),
    };
    Ok(Listed {
        any_of: any_of.map_err(|misplaced| misplaced.below(name))?,
        negated,
    })
}

fn of_condition(flawed: Flawed) -> Misplaced<Fault> {
    let mut misplaced = Misplaced::of(Fault::Flaw(flawed.flaw));
    for name in flawed.path.iter().rev() {
        misplaced = misplaced.below(name);
    }
    misplaced.below("Condition")
}
