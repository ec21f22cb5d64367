//! A statement of a user's policy.

use serde_json::{Map, Value};

use super::Language;
use super::condition::{self, Condition};
use super::flaw::{Flaw, Flawed};
use super::guard::Need;
use super::listed::Listed;
use super::mistake::{Misplaced, Step};
use super::pattern::{Glyph, Template, matches_arn, matches_ignoring_case};

const ELEMENTS: [&str; 7] = [
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// A valid statement.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) allow: bool,
    actions: Listed<String>,
    resources: Listed<Template>,
    conditions: Vec<Condition>,
}

impl Statement {
    pub(super) fn parse(value: &Value, language: Language) -> Result<Self, Misplaced> {
        let Value::Object(elements) = value else {
            return Err(Misplaced::new("a statement is an object: `{ .. }`"));
        };
        if let Some(name) = elements
            .keys()
            .find(|key| !ELEMENTS.contains(&key.as_str()))
        {
            return Err(match name.as_str() {
                "Principal" | "NotPrincipal" => Misplaced::new(format!(
                    "`{name}` belongs to the policy of a resource; this policy is a user's"
                ))
                .below(name),
                _ => Misplaced::unknown_element(name, &ELEMENTS),
            });
        }
        if elements.get("Sid").is_some_and(|sid| !sid.is_string()) {
            return Err(Misplaced::new("`Sid` is a text").below("Sid"));
        }
        let allow = match elements.get("Effect").map(Value::as_str) {
            Some(Some("Allow")) => true,
            Some(Some("Deny")) => false,
            Some(_) => {
                let message = "`Effect` is \"Allow\" or \"Deny\"";
                return Err(Misplaced::new(message).below("Effect"));
            }
            None => return Err(Misplaced::new("a statement needs the element `Effect`")),
        };
        let conditions = match elements.get("Condition") {
            None => Vec::new(),
            Some(value) => condition::parse(value, language).map_err(of_condition)?,
        };
        Ok(Self {
            allow,
            actions: listed(elements, ["Action", "NotAction"], action)?,
            resources: listed(elements, ["Resource", "NotResource"], |text| {
                resource(text, language)
            })?,
            conditions,
        })
    }

    /// Whether the statement applies to a need of a request.
    pub(super) fn applies_to(&self, need: &Need) -> bool {
        self.actions
            .includes(|it| matches_ignoring_case(it, &need.action))
            && self.resources.includes(|it| matches_resource(it, need))
            && self.conditions.iter().all(|it| it.holds(&need.values))
    }
}

/// Whether a pattern of a statement matches the resource of a need.
fn matches_resource(template: &Template, need: &Need) -> bool {
    let expanded = template.expand(&need.values);
    expanded.is_some_and(|glyphs| glyphs == [Glyph::Any] || matches_arn(&glyphs, &need.resource))
}

/// Parses an element that lists something, or everything else.
fn listed<T>(
    elements: &Map<String, Value>,
    [name, negated]: [&str; 2],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Listed<T>, Misplaced> {
    let (name, value, negated) = match (elements.get(name), elements.get(negated)) {
        (Some(value), None) => (name, value, false),
        (None, Some(value)) => (negated, value, true),
        (None, None) => {
            let message = format!("a statement needs the element `{name}` or `{negated}`");
            return Err(Misplaced::new(message));
        }
        (Some(_), Some(_)) => {
            let message = format!("a statement has either `{name}` or `{negated}`");
            return Err(Misplaced::new(message).below(negated));
        }
    };
    let one = |value: &Value| {
        let text = value.as_str().ok_or_else(|| "expected a text".to_owned());
        text.and_then(&parse).map_err(Misplaced::new)
    };
    let any_of = match value {
        Value::Array(values) if !values.is_empty() => {
            let numbered = values.iter().enumerate();
            let parsed = numbered
                .map(|(number, value)| one(value).map_err(|it| it.within(Step::Item(number))));
            parsed.collect()
        }
        value => one(value).map(|only| vec![only]),
    };
    Ok(Listed {
        any_of: any_of.map_err(|misplaced: Misplaced| misplaced.below(name))?,
        negated,
    })
}

/// Checks the pattern of an action: `*`, or `SERVICE:NAME`.
fn action(text: &str) -> Result<String, String> {
    let is_name = |name: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '*' | '?');
        !name.is_empty() && name.chars().all(inner)
    };
    let is_action = text == "*"
        || text.split_once(':').is_some_and(|(service, name)| {
            is_name(service) && !service.contains(['*', '?']) && is_name(name)
        });
    if is_action {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is not an action; write `SERVICE:NAME`, such as `ec2:RunInstances`"
        ))
    }
}

/// Parses the pattern of a resource: `*`, or an ARN of six parts. As on AWS, those that
/// are missing at the end are `*`.
fn resource(text: &str, language: Language) -> Result<Template, String> {
    const PARTS: usize = 6;
    if text != "*" && !text.starts_with("arn:") {
        return Err(format!(
            "`{text}` is not a resource; write `*` or an ARN, such as \
             `arn:aws:ec2:*:*:instance/*`"
        ));
    }
    let missing = match text {
        "*" => 0,
        arn => PARTS - arn.splitn(PARTS, ':').count(),
    };
    let whole = text.to_owned() + &":*".repeat(missing);
    Template::parse(&whole, language).map_err(explain)
}

fn of_condition(flawed: Flawed) -> Misplaced {
    let mut misplaced = Misplaced::new(explain(flawed.flaw));
    for name in flawed.path.iter().rev() {
        misplaced = misplaced.below(name);
    }
    misplaced.below("Condition")
}

fn explain(flaw: Flaw) -> String {
    match flaw {
        Flaw::Syntax => "a condition has the form `{\"OPERATOR\": {\"KEY\": VALUE}}`; a value is \
                         a text or a list of texts"
            .to_owned(),
        Flaw::Operator(name) => format!("the operator `{name}` does not exist"),
        Flaw::Key(name) => format!("the local cloud cannot evaluate the condition key `{name}`"),
        Flaw::Value(text) => format!("`{text}` is not a value of this operator"),
        Flaw::Variable(text) => format!("a variable in `{text}` does not end with `}}`"),
        Flaw::VariableDefault => {
            "the default of a variable is a text in quotes: `${KEY, 'DEFAULT'}`".to_owned()
        }
    }
}
