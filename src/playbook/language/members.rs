//! Functions and methods of Rhai itself, from the metadata of the engine.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use rhai::{Array, Dynamic, FLOAT, INT, ImmutableString, Map};

use super::inference::Type;
use crate::playbook::check::Known;
use crate::playbook::{engine, reference};
use crate::primitives;
use crate::script::schema::Kind;

/// A function or a property of Rhai's.
pub(super) struct Native {
    pub(super) name: String,
    /// Its parameters, such as `len: int`, without the value before the dot.
    pub(super) parameters: Vec<String>,
    /// Its description in Markdown.
    pub(super) text: String,
    /// Whether it is read without parentheses.
    pub(super) is_property: bool,
    of: Class,
}

impl Native {
    /// Returns it as signatures show it.
    pub(super) fn signature(&self) -> String {
        if self.is_property {
            self.name.clone()
        } else {
            format!("{}({})", self.name, self.parameters.join(", "))
        }
    }
}

/// The type of the value before the dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Text,
    List,
    Map,
    Number,
    Bool,
    Any,
    Other,
    /// A function without parameters.
    Nothing,
}

impl Class {
    fn of(id: TypeId) -> Self {
        let is = |other: TypeId| id == other;
        if is(TypeId::of::<ImmutableString>()) || is(TypeId::of::<String>()) {
            Self::Text
        } else if is(TypeId::of::<Array>()) {
            Self::List
        } else if is(TypeId::of::<Map>()) {
            Self::Map
        } else if is(TypeId::of::<INT>()) || is(TypeId::of::<FLOAT>()) {
            Self::Number
        } else if is(TypeId::of::<bool>()) {
            Self::Bool
        } else if is(TypeId::of::<Dynamic>()) {
            Self::Any
        } else {
            Self::Other
        }
    }

    fn of_value(known: &Type) -> Option<Self> {
        match known {
            Type::Result(Known::Map(_)) => Some(Self::Map),
            Type::Result(Known::Array(_)) => Some(Self::List),
            Type::Value(kind) => match kind {
                Kind::String | Kind::Choice(_) => Some(Self::Text),
                Kind::Integer | Kind::Number | Kind::Seconds => Some(Self::Number),
                Kind::Bool => Some(Self::Bool),
                Kind::Array(_) => Some(Self::List),
                Kind::Map(_) | Kind::MapOf(_) => Some(Self::Map),
                Kind::Share | Kind::TextOrMap | Kind::Host | Kind::Any => None,
            },
        }
    }
}

/// All functions and properties, in the order of their names.
static NATIVES: LazyLock<Vec<Native>> = LazyLock::new(natives);

/// Functions that Rhai handles itself and does not list in its metadata.
const KEYWORDS: [(&str, &str, &str); 7] = [
    (
        "print",
        "value",
        "Prints a value as a line on standard output.",
    ),
    (
        "debug",
        "value",
        "Logs a value at the level debug, with its place.",
    ),
    (
        "type_of",
        "value",
        "Returns the name of the type of a value.",
    ),
    (
        "Fn",
        "name: string",
        "Returns a pointer to the function with this name.",
    ),
    ("call", "function", "Calls a function pointer."),
    (
        "is_def_var",
        "name: string",
        "Returns whether a variable exists.",
    ),
    (
        "is_def_fn",
        "name: string, parameters: int",
        "Returns whether a function exists.",
    ),
];

fn natives() -> Vec<Native> {
    let all = engine::lenient().collect_fn_metadata(None, |f| Some(f.metadata.clone()), true);
    let mut found: Vec<Native> = Vec::new();
    for function in all {
        let (name, is_property) = match function.name.strip_prefix("get$") {
            Some(name) => (name, true),
            None => (function.name.as_str(), false),
        };
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || primitives::is_function(name) {
            continue;
        }
        let of = function
            .param_types
            .first()
            .map_or(Class::Nothing, |id| Class::of(*id));
        let skipped = usize::from(of != Class::Nothing);
        // What follows the parameters is the type of the result.
        let parameters = function.params_info.iter().take(function.num_params);
        let parameters = parameters.skip(skipped);
        found.push(Native {
            name: name.to_owned(),
            parameters: parameters.map(|parameter| shown(parameter)).collect(),
            text: reference::text(&function.comments),
            is_property,
            of,
        });
    }
    let keywords = KEYWORDS.iter().map(|(name, parameters, text)| Native {
        name: (*name).to_owned(),
        parameters: parameters.split(", ").map(str::to_owned).collect(),
        text: (*text).to_owned(),
        is_property: false,
        of: Class::Nothing,
    });
    found.extend(keywords);
    found.sort_by(|a, b| {
        (&a.name, a.of, a.parameters.len()).cmp(&(&b.name, b.of, b.parameters.len()))
    });
    found
}

/// Returns a parameter with the names that Rhai's types have in the manual.
fn shown(parameter: &str) -> String {
    let (name, kind) = parameter.split_once(':').unwrap_or((parameter, ""));
    let kind = match kind.trim().trim_start_matches("&mut ") {
        "i64" | "INT" => "integer",
        "f64" | "FLOAT" => "float",
        "Array" => "array",
        "Map" => "map",
        "FnPtr" => "function",
        kind if kind.contains("str") || kind.contains("String") => "string",
        _ => return name.trim().to_owned(),
    };
    format!("{}: {kind}", name.trim())
}

/// Returns the methods and properties of a value, one for each name. Those of texts,
/// arrays and maps if its type is not known.
pub(super) fn methods(known: Option<&Type>) -> Vec<&'static Native> {
    let class = known.and_then(Class::of_value);
    let fits = |native: &&Native| match class {
        Some(class) => native.of == class || native.of == Class::Any,
        None => matches!(
            native.of,
            Class::Text | Class::List | Class::Map | Class::Any
        ),
    };
    unique(NATIVES.iter().filter(fits))
}

/// Returns the functions that are called with their arguments in parentheses.
pub(super) fn functions() -> Vec<&'static Native> {
    let plain = |native: &&Native| {
        let is_plain = matches!(native.of, Class::Nothing | Class::Number);
        is_plain && !native.is_property
    };
    unique(NATIVES.iter().filter(plain))
}

/// Returns a function or method of Rhai's; one with a description, if there is one.
pub(super) fn named(name: &str, known: Option<&Type>) -> Option<&'static Native> {
    let class = known.and_then(Class::of_value);
    let all = NATIVES.iter().filter(|native| native.name == name);
    all.max_by_key(|native| (Some(native.of) == class, !native.text.is_empty()))
}

fn unique(natives: impl Iterator<Item = &'static Native>) -> Vec<&'static Native> {
    let mut seen = BTreeSet::new();
    natives
        .filter(|native| seen.insert(native.name.as_str()))
        .collect()
}
