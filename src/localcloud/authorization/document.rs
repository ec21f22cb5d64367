//! Parses a policy's JSON strictly. A repeated field is an error; most parsers
//! would silently use the last one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value without repeated fields in any object.
struct Strict(Value);

/// Parses a document.
///
/// # Errors
/// Fails if it is not valid JSON, not an object, or has a repeated field.
pub(crate) fn read(text: &str) -> serde_json::Result<Map<String, Value>> {
    match serde_json::from_str(text)? {
        Strict(Value::Object(fields)) => Ok(fields),
        Strict(_) => Err(serde_json::Error::custom("a policy is an object: `{ .. }`")),
    }
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Strict(value))) = fields.next_entry::<String, Strict>()? {
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a field is repeated"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_field_is_found_at_any_depth() {
        assert!(read(r#"{"a": [{"b": 1, "c": null}], "b": -1.5}"#).is_ok());
        assert!(read(r#"{"a": 1, "a": 1}"#).is_err());
        assert!(read(r#"{"a": [{"b": 1, "c": 2, "b": 1}]}"#).is_err());
        assert!(read(r#"{"a": 1, "\u0061": 1}"#).is_err());
        assert!(read("[]").is_err());
        assert!(read("{").is_err());
        assert!(read("{} {}").is_err());
    }
}
