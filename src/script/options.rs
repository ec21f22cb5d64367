//! Script values -> checked Rust structs, with errors that name the key.

use rhai::Dynamic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::report::text;

/// An options map as a struct (`deny_unknown_fields`): a misspelt key, a wrong
/// type or a missing key is an error that names it.
pub fn options<T: DeserializeOwned>(map: rhai::Map) -> Result<T> {
    decode(&Dynamic::from_map(map)).map_err(|fault| fault.error("option"))
}

/// One argument, named in the error.
pub fn argument<T: DeserializeOwned>(name: &str, value: &Dynamic) -> Result<T> {
    // Of an array serde would make a struct, field by field.
    if value.is_array() {
        return Err(Error::invalid(format!(
            "argument `{name}`: an array cannot be used here"
        )));
    }
    argument_or_array(name, value)
}

/// One argument that is an array, named in the error.
pub fn array_argument<T: DeserializeOwned>(name: &str, values: rhai::Array) -> Result<Vec<T>> {
    argument_or_array(name, &Dynamic::from_array(values))
}

fn argument_or_array<T: DeserializeOwned>(name: &str, value: &Dynamic) -> Result<T> {
    decode(value).map_err(|fault| {
        let error = fault.error("field");
        error.while_doing(&format!("argument `{name}`"))
    })
}

/// A script value as JSON. Functions and other foreign types are errors.
pub fn to_json(value: &Dynamic) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|e| Error::invalid(format!("a {} cannot be used here: {e}", value.type_name())))
}

/// A result as a script value.
pub fn to_dynamic<T: Serialize>(value: &T) -> Result<Dynamic> {
    rhai::serde::to_dynamic(value)
        .map_err(|e| Error::internal(format!("cannot hand the result to the playbook: {e}")))
}

/// Arguments by which a call is known again in another attempt: what AWS gave
/// an id to is that id, whatever its state; a key pair is its fingerprint.
pub(super) fn identity(arguments: &[&Dynamic]) -> Value {
    let one = |argument: &&Dynamic| match to_json(argument) {
        Ok(value) => identity_of(value),
        // Refused by whoever gets it.
        Err(_) => Value::from(argument.type_name()),
    };
    arguments.iter().map(one).collect()
}

fn identity_of(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(identity_of).collect(),
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str);
            let is_key = text("id").is_some_and(|id| id.starts_with("key-"));
            if let (true, Some(fingerprint)) = (is_key, text("fingerprint")) {
                return serde_json::json!({ "key_pair": fingerprint, "name": text("name") });
            }
            if let Some(id) = text("id")
                && ["i-", "sg-", "ami-"].iter().any(|p| id.starts_with(p))
            {
                return serde_json::json!({ "id": id, "user": text("user") });
            }
            if let (Some(name), Some(Value::Bool(_))) = (text("name"), map.get("made")) {
                return serde_json::json!({ "bucket": name });
            }
            let entries = map
                .into_iter()
                .map(|(key, value)| (key, identity_of(value)));
            Value::Object(entries.collect())
        }
        other => other,
    }
}

fn decode<T: DeserializeOwned>(value: &Dynamic) -> std::result::Result<T, Fault> {
    let json = to_json(value).map_err(|e| Fault {
        path: String::new(),
        said: e.message.clone(),
    })?;
    serde_path_to_error::deserialize(json).map_err(|e| Fault {
        path: e.path().to_string(),
        said: e.inner().to_string(),
    })
}

/// What serde says about a value, and where in it.
struct Fault {
    path: String,
    said: String,
}

impl Fault {
    fn error(&self, noun: &str) -> Error {
        let ticked = |part: &str| {
            part.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        if let Some(rest) = self.said.strip_prefix("unknown field ") {
            let names: Vec<String> = ticked(rest);
            let [unknown, known @ ..] = names.as_slice() else {
                return Error::invalid(self.said.clone());
            };
            let error = Error::invalid(format!("unknown {noun} `{}`", self.path_of(unknown)));
            return match text::nearest(unknown, known.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None if known.is_empty() => error.hint("it takes none"),
                None => error.hint(format!("there are {}", known.join(", "))),
            };
        }
        if let Some(rest) = self.said.strip_prefix("missing field ") {
            let names: Vec<String> = ticked(rest);
            let missing = names.first().map_or("", String::as_str);
            return Error::invalid(format!("missing {noun} `{}`", self.path_of(missing)));
        }
        let said = in_words(&self.said);
        match self.path.as_str() {
            "" | "." => Error::invalid(said),
            path => Error::invalid(format!("{noun} `{path}`: {said}")),
        }
    }

    /// The path with the field's own name at its end.
    fn path_of(&self, field: &str) -> String {
        match self.path.as_str() {
            "" | "." => field.to_owned(),
            path if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
            path => format!("{path}.{field}"),
        }
    }
}

/// serde's words in those of the playbook's language.
fn in_words(said: &str) -> String {
    let (seen, expected) = said.split_once(", expected ").unwrap_or((said, ""));
    let seen = seen.replace("null", "()").replace("sequence", "array");
    let seen = seen
        .replace("unknown variant", "unknown value")
        .replace("floating point", "float");
    let expected = match expected {
        "" => return seen,
        "f64" | "f32" => "a number",
        "i64" => "an integer",
        "u16" => "an integer from 0 to 65535",
        "i32" | "u32" | "u64" => "an integer that is not so large",
        "a sequence" => "an array",
        text if text.starts_with("struct ") => "a map",
        text => text,
    };
    format!("{seen}, expected {expected}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_server_is_its_id_whatever_its_state() {
        let server = |state: &str| {
            let map = serde_json::json!({ "id": "i-0a", "state": state, "user": "admin" });
            super::super::to_dynamic(&map).unwrap()
        };
        let identity = |state: &str| super::identity(&[&server(state), &"uptime".into()]);
        assert_eq!(identity("pending"), identity("running"));
        assert_eq!(identity("pending")[0]["id"], "i-0a");
    }

    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Launch {
        #[expect(dead_code, reason = "only its type counts")]
        image: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only its type counts")]
        tags: BTreeMap<String, String>,
    }

    fn fault(script: &str) -> (String, Option<String>) {
        let map: rhai::Map = rhai::Engine::new().eval(script).unwrap();
        let error = options::<Launch>(map).unwrap_err();
        (error.message.clone(), error.hint.clone())
    }

    #[test]
    fn faults_name_the_key_and_the_nearest() {
        assert_eq!(
            fault("#{ imgae: 1 }"),
            (
                "unknown option `imgae`".to_owned(),
                Some("did you mean `image`?".to_owned())
            )
        );
        assert_eq!(fault("#{}"), ("missing option `image`".to_owned(), None));
        assert_eq!(
            fault(r#"#{ image: "a", tags: #{ Name: 1 } }"#).0,
            "option `tags.Name`: invalid type: integer `1`, expected a string"
        );
    }
}
