//! Functions that the parsers of all parts of a policy share.

use hyper::StatusCode;
use s3s::S3Error;
use serde_json::Value;

use crate::authorization::{Fault, Flaw};
use crate::s3::failure::named;

pub(super) fn malformed(message: &str) -> S3Error {
    named(
        "MalformedPolicy",
        StatusCode::BAD_REQUEST,
        message.to_owned(),
    )
}

/// Creates the error for a mistake in a statement, in S3's words.
pub(super) fn faulty(fault: Fault) -> S3Error {
    malformed(&match fault {
        Fault::NotAnObject | Fault::Sid | Fault::Both(_) => "Invalid policy syntax.".to_owned(),
        Fault::UnknownElement(name) => format!("Unknown field {name}"),
        Fault::Effect(Some(other)) => format!("Invalid effect: {other}"),
        Fault::Effect(None) | Fault::NoEffect => {
            "Missing required field Effect cannot be empty!".to_owned()
        }
        Fault::Neither([name, _]) => format!("Missing required field {name}"),
        Fault::NotTexts(name) => format!("Missing required field {name} cannot be empty!"),
        Fault::Flaw(flaw) => return flawed(flaw),
        Fault::Own(message) => message,
    })
}

/// Creates the error for a flaw, in S3's words where S3 has some.
pub(super) fn flawed(flaw: Flaw) -> S3Error {
    malformed(&match flaw {
        Flaw::Syntax => "Invalid policy syntax.".to_owned(),
        Flaw::Operator(name) => format!("Invalid Condition type : {name}"),
        Flaw::Key(name) => {
            format!("Policy has an invalid condition key: the local cloud cannot evaluate {name}")
        }
        Flaw::Value(text) => format!("Policy has an invalid value: {text}"),
        Flaw::Variable(text) => format!("Invalid policy variable in {text}"),
        Flaw::VariableDefault => "Invalid default of a policy variable".to_owned(),
    })
}

/// Returns the strings in a string or a list of strings.
pub(super) fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}
