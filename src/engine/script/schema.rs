//! The fields of a struct with their types, defaults and descriptions.
//!
//! They are read from the JSON schema that `schemars` derives from the struct, its
//! serde attributes and its doc comments. The manual and the check before the run
//! use only this description of options and results.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The key.
    pub name: String,
    /// Type of the value.
    pub kind: Kind,
    /// Whether the key must be present.
    pub required: bool,
    /// Whether the value may be `()`.
    pub nullable: bool,
    /// The value if the key is missing.
    pub default: Option<Value>,
    /// Description, from the doc comment.
    pub text: String,
}

/// The type of a value, as the manual describes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text.
    String,
    /// One of these texts.
    Choice(Vec<String>),
    /// Whole number.
    Integer,
    /// Number.
    Number,
    /// A number of seconds.
    Seconds,
    /// A number of things, or a percentage of all of them.
    Share,
    /// `true` or `false`.
    Bool,
    /// Array of values of one type.
    Array(Box<Kind>),
    /// A map with arbitrary keys and values of one type.
    MapOf(Box<Kind>),
    /// A map with these keys.
    Map(Vec<Field>),
    /// A name or id, or the map of a resource.
    TextOrMap,
    /// A host: an address, or a map.
    Host,
    /// Any value.
    Any,
}

/// Returns the type that describes a struct.
#[must_use]
pub fn kind_of<T: JsonSchema>() -> Kind {
    let settings = SchemaSettings::default().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    kind(schema.as_value())
}

/// Returns a schema that only this file understands, for types that JSON schema
/// cannot express.
pub(super) fn marked(format: &str) -> Schema {
    schemars::json_schema!({ "format": format })
}

/// The formats of [`marked`].
pub(super) const SECONDS: &str = "seconds";
pub(super) const SHARE: &str = "share";
pub(super) const TEXT_OR_MAP: &str = "text-or-map";
pub(super) const HOST: &str = "host";

impl Kind {
    /// Returns the name of the type in the manual.
    #[must_use]
    pub fn in_manual(&self) -> Option<String> {
        Some(match self {
            Self::String | Self::Choice(_) => "string".to_owned(),
            Self::Integer => "integer".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Seconds => "seconds".to_owned(),
            Self::Share => "integer or string".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Array(items) => match items.plural() {
                Some(items) => format!("array of {items}"),
                None => "array".to_owned(),
            },
            Self::MapOf(values) => match values.plural() {
                Some(values) => format!("map of {values}"),
                None => "map".to_owned(),
            },
            Self::Map(_) => "map".to_owned(),
            Self::TextOrMap => "string or map".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Any => return None,
        })
    }

    fn plural(&self) -> Option<&'static str> {
        match self {
            Self::String | Self::Choice(_) => Some("strings"),
            Self::Integer => Some("integers"),
            Self::Number | Self::Seconds => Some("numbers"),
            Self::Map(_) | Self::MapOf(_) => Some("maps"),
            Self::Share => Some("integers or strings"),
            Self::Bool | Self::Array(_) | Self::TextOrMap | Self::Host | Self::Any => None,
        }
    }

    /// Returns the name of the type in an error.
    #[must_use]
    pub fn with_article(&self) -> String {
        match self {
            Self::Choice(all) => {
                let quoted: Vec<String> = all.iter().map(|one| format!("\"{one}\"")).collect();
                quoted.join(" or ")
            }
            Self::Seconds => "a number of seconds".to_owned(),
            Self::Share => "a number or a percentage".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::TextOrMap => "a string or a map".to_owned(),
            Self::Any => "any value".to_owned(),
            kind => {
                let name = kind.in_manual().unwrap_or_default();
                let article = if name.starts_with(['a', 'i']) {
                    "an"
                } else {
                    "a"
                };
                format!("{article} {name}")
            }
        }
    }

    /// Returns the keys, if this is a map with known keys.
    #[must_use]
    pub fn fields(&self) -> Option<&[Field]> {
        match self {
            Self::Map(fields) => Some(fields),
            _ => None,
        }
    }
}

fn kind(schema: &Value) -> Kind {
    match schema["format"].as_str() {
        Some(SECONDS) => return Kind::Seconds,
        Some(SHARE) => return Kind::Share,
        Some(TEXT_OR_MAP) => return Kind::TextOrMap,
        Some(HOST) => return Kind::Host,
        _ => {}
    }
    if let Some(one) = schema["const"].as_str() {
        return Kind::Choice(vec![one.to_owned()]);
    }
    for key in ["enum", "oneOf", "anyOf"] {
        if let Some(variants) = schema[key].as_array() {
            return one_of(variants);
        }
    }
    match type_name(schema) {
        Some("string") => Kind::String,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Bool,
        Some("array") => Kind::Array(Box::new(kind(&schema["items"]))),
        Some("object") => match (&schema["properties"], &schema["additionalProperties"]) {
            (Value::Object(_), _) | (_, Value::Bool(false)) => Kind::Map(fields(schema)),
            (_, values) => Kind::MapOf(Box::new(kind(values))),
        },
        _ => Kind::Any,
    }
}

/// Returns the type that is not null.
fn type_name(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ => None,
    }
}

/// Returns the type of an enum of texts, or of one type and null.
fn one_of(variants: &[Value]) -> Kind {
    let mut texts = Vec::new();
    for variant in variants.iter().filter(|variant| !is_null(variant)) {
        match variant {
            Value::String(text) => texts.push(text.clone()),
            schema => match kind(schema) {
                Kind::Choice(mut more) => texts.append(&mut more),
                kind => return kind,
            },
        }
    }
    Kind::Choice(texts)
}

fn is_null(schema: &Value) -> bool {
    schema.is_null() || schema["type"] == "null"
}

fn is_nullable(schema: &Value) -> bool {
    let listed = |key: &str| {
        schema[key]
            .as_array()
            .is_some_and(|all| all.iter().any(is_null))
    };
    schema["type"]
        .as_array()
        .is_some_and(|names| names.iter().any(|name| name == "null"))
        || listed("anyOf")
        || listed("oneOf")
        || listed("enum")
}

fn fields(schema: &Value) -> Vec<Field> {
    let required = |name: &str| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|one| one == name))
    };
    let properties = schema["properties"].as_object();
    let field = |(name, schema): (&String, &Value)| Field {
        name: name.clone(),
        kind: kind(schema),
        required: required(name),
        nullable: is_nullable(schema),
        default: schema
            .get("default")
            .filter(|d| is_worth_showing(d))
            .cloned(),
        text: schema["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    properties.into_iter().flatten().map(field).collect()
}

/// Returns whether the manual shows a default. Null and an empty text, array or map are
/// what the reader expects for a missing key.
fn is_worth_showing(default: &Value) -> bool {
    match default {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::script::{Seconds, seconds, yes};

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Options {
        /// The name,
        /// in two lines.
        name: Option<String>,
        #[serde(rename = "type")]
        instance_type: String,
        #[serde(default = "yes")]
        wait: bool,
        #[serde(default = "seconds::<300>")]
        timeout: Seconds,
        limit: Option<Seconds>,
        #[serde(default)]
        tags: BTreeMap<String, String>,
        rules: Option<Vec<Rule>>,
        demand: Option<Demand>,
        anything: Option<Value>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Rule {
        port: u16,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Demand {
        /// Accepted.
        FirstUse,
        /// Not accepted.
        Strict,
    }

    #[test]
    fn the_fields_of_a_struct_are_read() {
        let Kind::Map(fields) = kind_of::<Options>() else {
            panic!("not a map");
        };
        let shown = |field: &Field| {
            let kind = field.kind.in_manual().unwrap_or_default();
            let default = field.default.as_ref().map(ToString::to_string);
            format!(
                "{} {kind} {} {}",
                field.name,
                default.unwrap_or_default(),
                field.required
            )
        };
        let shown: Vec<String> = fields.iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                "name string  false",
                "type string  true",
                "wait bool true false",
                "timeout seconds 300 false",
                "limit seconds  false",
                "tags map of strings  false",
                "rules array of maps  false",
                "demand string  false",
                "anything   false",
            ]
        );
        assert_eq!(fields[0].text, "The name,\nin two lines.");
        assert!(fields[0].nullable && !fields[1].nullable);
        let demand = Kind::Choice(vec!["first_use".to_owned(), "strict".to_owned()]);
        assert_eq!(fields[7].kind, demand);
        assert_eq!(demand.with_article(), "\"first_use\" or \"strict\"");
    }
}
