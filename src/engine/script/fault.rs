//! Errors in script values, as data. Only this file words their messages.
//!
//! [`Fault`] is the error type of [`super::value::Script`], so users never see
//! serde's own messages.

use std::fmt::{self, Write as _};

use serde::de::{Expected, Unexpected};

use crate::error::Error;
use crate::report::text;

/// A fault in a value, and its place in the value.
#[derive(Debug)]
pub(super) struct Fault {
    what: What,
    /// The path to the fault, innermost step first.
    path: Vec<Step>,
}

/// One step into a map or an array.
#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// The kinds of faults.
#[derive(Debug)]
enum What {
    UnknownField {
        name: String,
        known: &'static [&'static str],
    },
    MissingField(&'static str),
    UnknownVariant {
        name: String,
        known: &'static [&'static str],
    },
    WrongType {
        seen: Seen,
        wanted: Wanted,
    },
    /// The type is right, but the value is not allowed.
    WrongValue {
        seen: Seen,
        wanted: Wanted,
    },
    /// A type that no option can have: a function, a timestamp.
    Foreign(&'static str),
    /// A message of the type that refuses the value.
    Custom(String),
}

/// The wrong value, as a message shows it.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Unit,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Char(char),
    String(String),
    Array,
    Map,
    /// The name of its type.
    Other(&'static str),
}

/// The expected type or values.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Unit,
    Bool,
    /// From the first to the last.
    Integer(i128, i128),
    Number,
    Char,
    String,
    Array,
    Map,
    /// The description by a visitor.
    Described(String),
}

impl Fault {
    fn new(what: What) -> Self {
        Self {
            what,
            path: Vec::new(),
        }
    }

    pub(super) fn wrong_type(seen: Seen, wanted: Wanted) -> Self {
        Self::new(What::WrongType { seen, wanted })
    }

    pub(super) fn wrong_value(seen: Seen, wanted: Wanted) -> Self {
        Self::new(What::WrongValue { seen, wanted })
    }

    pub(super) fn foreign(type_name: &'static str) -> Self {
        Self::new(What::Foreign(type_name))
    }

    /// Adds the key under which the fault is found in the map around it.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.path.push(Step::Key(key.to_owned()));
        self
    }

    /// Adds the index at which the fault is found in the array around it.
    pub(super) fn at(mut self, index: usize) -> Self {
        self.path.push(Step::Index(index));
        self
    }

    /// Returns the error in an options map of a function. The check before the run
    /// words the same mistakes in the same way.
    pub(super) fn in_options_of(&self, function: &str) -> Error {
        self.error("option", Some(function))
    }

    /// Returns the error in any other value.
    pub(super) fn in_value(&self) -> Error {
        self.error("field", None)
    }

    /// `noun` is the word for a key.
    fn error(&self, noun: &str, function: Option<&str>) -> Error {
        match &self.what {
            What::UnknownField { name, known } => {
                let path = self.path_to(Some(name));
                let error = Error::invalid(match function {
                    Some(function) => format!("`{function}` has no {noun} `{path}`"),
                    None => format!("unknown {noun} `{path}`"),
                });
                match text::nearest(name, known.iter().copied()) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None if known.is_empty() => error.hint(format!("it has no {noun}s")),
                    None => error.hint(format!("valid {noun}s: {}", known.join(", "))),
                }
            }
            What::MissingField(name) => {
                let path = self.path_to(Some(name));
                Error::invalid(match function {
                    Some(function) => format!("`{function}` requires the {noun} `{path}`"),
                    None => format!("missing {noun} `{path}`"),
                })
            }
            what => {
                let path = self.path_to(None);
                match path.as_str() {
                    "" => Error::invalid(what.to_string()),
                    path => Error::invalid(format!("{noun} `{path}`: {what}")),
                }
            }
        }
    }

    /// Returns the path to the fault, such as `ingress[1].port`, followed by `last`.
    fn path_to(&self, last: Option<&str>) -> String {
        let mut path = String::new();
        let key = |path: &mut String, key: &str| {
            let plain = |c: char| c.is_alphanumeric() || "_-".contains(c);
            let is_plain = !key.is_empty() && key.chars().all(plain);
            match (is_plain, path.is_empty()) {
                (true, true) => path.push_str(key),
                (true, false) => {
                    path.push('.');
                    path.push_str(key);
                }
                // Quote other keys: a dot in a key would look like another step.
                (false, _) => drop(write!(path, "[{key:?}]")),
            }
        };
        for step in self.path.iter().rev() {
            match step {
                Step::Key(name) => key(&mut path, name),
                Step::Index(n) => drop(write!(path, "[{n}]")),
            }
        }
        if let Some(last) = last {
            key(&mut path, last);
        }
        path
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField { name, .. } => write!(f, "unknown field `{name}`"),
            Self::MissingField(name) => write!(f, "missing field `{name}`"),
            Self::UnknownVariant { name, known } => {
                write!(f, "unknown value {name:?}, expected ")?;
                let quoted: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
                f.write_str(&quoted.join(" or "))
            }
            Self::WrongType { seen, wanted } => {
                write!(f, "invalid type: {seen}, expected {wanted}")
            }
            Self::WrongValue { seen, wanted } => {
                write!(f, "invalid value: {seen}, expected {wanted}")
            }
            Self::Foreign(name) => write!(f, "a {name} cannot be used here"),
            Self::Custom(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool(value) => write!(f, "bool `{value}`"),
            Self::Integer(value) => write!(f, "integer `{value}`"),
            Self::Float(value) => write!(f, "float `{value:?}`"),
            Self::Char(value) => write!(f, "character {value:?}"),
            Self::String(value) => write!(f, "string {value:?}"),
            Self::Array => f.write_str("array"),
            Self::Map => f.write_str("map"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = i128::from(i64::MIN);
        let most = i128::from(i64::MAX);
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool => f.write_str("true or false"),
            // No limits, because integers of a playbook are in this range anyway.
            Self::Integer(from, to) if *from <= least && *to >= most => f.write_str("an integer"),
            Self::Integer(from, to) if *to >= most => write!(f, "an integer of at least {from}"),
            Self::Integer(from, to) => write!(f, "an integer from {from} to {to}"),
            Self::Number => f.write_str("a number"),
            Self::Char => f.write_str("a character"),
            Self::String => f.write_str("a string"),
            Self::Array => f.write_str("an array"),
            Self::Map => f.write_str("a map"),
            Self::Described(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.in_value().fmt(f)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(What::Custom(text.to_string()))
    }

    fn invalid_type(seen: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::wrong_type(seen.into(), Wanted::Described(wanted.to_string()))
    }

    fn invalid_value(seen: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::wrong_value(seen.into(), Wanted::Described(wanted.to_string()))
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        let name = name.to_owned();
        Self::new(What::UnknownVariant { name, known })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        let name = name.to_owned();
        Self::new(What::UnknownField { name, known })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(What::MissingField(name))
    }
}

impl From<Unexpected<'_>> for Seen {
    fn from(seen: Unexpected<'_>) -> Self {
        match seen {
            Unexpected::Bool(value) => Self::Bool(value),
            Unexpected::Signed(value) => Self::Integer(value),
            Unexpected::Unsigned(value) => Self::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
            Unexpected::Float(value) => Self::Float(value),
            Unexpected::Char(value) => Self::Char(value),
            Unexpected::Str(value) => Self::String(value.to_owned()),
            Unexpected::Unit | Unexpected::Option => Self::Unit,
            Unexpected::Seq => Self::Array,
            Unexpected::Map => Self::Map,
            Unexpected::Bytes(_) => Self::Other("blob"),
            _ => Self::Other("value"),
        }
    }
}
