//! The policy of a user.

use serde_json::{Map, Value};

use super::Language;
use super::document;
use super::guard::Need;
use super::keys;
use super::mistake::{Misplaced, Mistake, Step, locate};
use super::statement::Statement;

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

    /// Returns the verdict on a need. A statement that denies takes precedence over
    /// all that allow.
    pub(crate) fn verdict(&self, need: &Need) -> Verdict {
        let mut applicable = self.statements.iter().filter(|it| it.applies_to(need));
        let Some(first) = applicable.next() else {
            return Verdict::Silent;
        };
        if first.allow && applicable.all(|statement| statement.allow) {
            Verdict::Allowed
        } else {
            Verdict::Denied
        }
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
        known: keys::known,
    };
    let parse = |value: &Value| Statement::parse(value, language);
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
