//! The policy of a user.

use serde_json::{Map, Value};

use super::Language;
use super::document;
use super::flaw::Flaw;
use super::guard::Need;
use super::keys::known_in_users;
use super::mistake::{Misplaced, Mistake, Step, locate, unknown_element};
use super::pattern::Template;
use super::statement::{Fault, Statement};

/// The elements of a statement.
const ELEMENTS: [&str; 7] = [
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// A policy that holds the owner of the access key.
#[derive(Clone, Debug)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// The verdict of a policy on one need of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// A statement denies it.
    Denied,
    /// No statement allows it.
    Silent,
}

impl Verdict {
    /// Returns the verdict of the statements that apply: whether each allows. One that
    /// denies takes precedence over all that allow.
    pub(crate) fn of(mut applicable: impl Iterator<Item = bool>) -> Self {
        match applicable.next() {
            None => Self::Silent,
            Some(true) if applicable.all(|allows| allows) => Self::Allowed,
            Some(_) => Self::Denied,
        }
    }
}

impl Policy {
    /// Parses a policy document.
    ///
    /// # Errors
    /// Fails if AWS would refuse the policy, or if it has an operator, an element or
    /// a condition key that the local cloud cannot evaluate.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let document = document::read(text).map_err(|e| Mistake::of_json(text, &e))?;
        let statements = statements(&document);
        let statements = statements.map_err(|misplaced| locate(text, misplaced))?;
        Ok(Self { statements })
    }

    /// Returns the verdict on a need.
    pub(crate) fn verdict(&self, need: &Need) -> Verdict {
        let applies = |it: &&Statement| it.applies_to(&need.action, &need.resource, &need.values);
        let applicable = self.statements.iter().filter(applies);
        Verdict::of(applicable.map(|statement| statement.allow))
    }
}

fn statements(document: &Map<String, Value>) -> Result<Vec<Statement>, Misplaced> {
    let known = ["Version", "Id", "Statement"];
    if let Some(name) = document.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(Misplaced::unknown_element(name, &known));
    }
    // Only the newer version of the language has variables.
    let variables = match document.get("Version").map(Value::as_str) {
        None | Some(Some("2008-10-17")) => false,
        Some(Some("2012-10-17")) => true,
        Some(_) => {
            let message = "a policy has the version \"2012-10-17\"";
            return Err(Misplaced::new(message).below("Version"));
        }
    };
    let language = Language {
        variables,
        known: known_in_users,
    };
    let parse = |value: &Value| {
        let resource = |text: &str| resource(text, language);
        let parsed = Statement::parse(value, &ELEMENTS, language, action, resource);
        parsed.map_err(|misplaced| misplaced.explained(explain))
    };
    match document.get("Statement") {
        None => Err(Misplaced::new("a policy needs the element `Statement`")),
        Some(Value::Array(statements)) => {
            let numbered = statements.iter().enumerate();
            let parsed = numbered.map(|(number, value)| {
                let of_list = |misplaced: Misplaced| misplaced.within(Step::Item(number));
                parse(value).map_err(of_list)
            });
            let parsed: Result<_, _> = parsed.collect();
            parsed.map_err(|misplaced: Misplaced| misplaced.below("Statement"))
        }
        Some(value) => {
            let parsed = parse(value).map_err(|misplaced| misplaced.below("Statement"));
            Ok(vec![parsed?])
        }
    }
}

/// Checks the pattern of an action: `*`, or `SERVICE:NAME`.
fn action(text: &str) -> Result<String, Fault> {
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
        Err(Fault::Own(format!(
            "`{text}` is not an action; write `SERVICE:NAME`, such as `ec2:RunInstances`"
        )))
    }
}

/// Parses the pattern of a resource: `*`, or an ARN of six parts. As on AWS, those that
/// are missing at the end are `*`.
fn resource(text: &str, language: Language) -> Result<Template, Fault> {
    const PARTS: usize = 6;
    if text != "*" && !text.starts_with("arn:") {
        return Err(Fault::Own(format!(
            "`{text}` is not a resource; write `*` or an ARN, such as \
             `arn:aws:ec2:*:*:instance/*`"
        )));
    }
    let missing = match text {
        "*" => 0,
        arn => PARTS - arn.splitn(PARTS, ':').count(),
    };
    let whole = text.to_owned() + &":*".repeat(missing);
    Template::parse(&whole, language).map_err(Fault::Flaw)
}

/// Describes a mistake in a statement of a user's policy.
fn explain(fault: Fault) -> String {
    match fault {
        Fault::NotAnObject => "a statement is an object: `{ .. }`".to_owned(),
        Fault::UnknownElement(name) if ["Principal", "NotPrincipal"].contains(&&*name) => {
            format!("`{name}` belongs to the policy of a resource; this policy is a user's")
        }
        Fault::UnknownElement(name) => unknown_element(&name, &ELEMENTS),
        Fault::Sid => "`Sid` is a text".to_owned(),
        Fault::Effect(_) => "`Effect` is \"Allow\" or \"Deny\"".to_owned(),
        Fault::NoEffect => "a statement needs the element `Effect`".to_owned(),
        Fault::Neither([name, negation]) => {
            format!("a statement needs the element `{name}` or `{negation}`")
        }
        Fault::Both([name, negation]) => {
            format!("a statement has either `{name}` or `{negation}`")
        }
        Fault::NotTexts(_) => "expected a text".to_owned(),
        Fault::Flaw(flaw) => explain_flaw(flaw),
        Fault::Own(message) => message,
    }
}

fn explain_flaw(flaw: Flaw) -> String {
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
