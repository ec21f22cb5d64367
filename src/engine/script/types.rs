//! Types and defaults of options that several functions use.

use std::borrow::Cow;
use std::time::Duration;

use rhai::Dynamic;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema::{self, marked};

/// Ten years. Adding such a duration to the current time does not overflow.
const LONGEST: f64 = 315_360_000.0;

/// A number of seconds from 0 to 10 years.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(Duration);

impl Seconds {
    /// Returns the duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match f64::deserialize(from)? {
            value @ 0.0..=LONGEST => Ok(Self(Duration::from_secs_f64(value))),
            _ => Err(D::Error::custom(format!(
                "expected a number of seconds from 0 to {LONGEST} (10 years)"
            ))),
        }
    }
}

/// Serializes a default for the manual: whole seconds without a fraction.
impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => to.serialize_u64(self.0.as_secs()),
            _ => to.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        marked(schema::SECONDS)
    }
}

/// Returns the default of an option in seconds.
#[must_use]
pub fn seconds<const N: u64>() -> Seconds {
    Seconds(Duration::from_secs(N))
}

/// Returns the default of an option that is a whole number.
#[must_use]
pub fn integer<const N: i64>() -> i64 {
    N
}

/// Returns the default of an option that is true by default.
#[must_use]
pub fn yes() -> bool {
    true
}

/// The returned map of a resource that can also be given by name.
pub trait Named {
    /// The accepted values, for errors: "an id like .., or the map that ..".
    const EXPECTED: &'static str;
}

/// A resource as an argument: its name or id, or its map.
#[derive(Clone, Debug)]
pub enum NameOr<T> {
    /// The name or id.
    Name(String),
    /// The map.
    Map(T),
}

impl<'de, T: Deserialize<'de> + Named> Deserialize<'de> for NameOr<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Both<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Named> Visitor<'de> for Both<T> {
            type Value = NameOr<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(NameOr::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(NameOr::Map)
            }
        }

        from.deserialize_any(Both(std::marker::PhantomData))
    }
}

impl<T> JsonSchema for NameOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NameOrMap".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        marked(schema::TEXT_OR_MAP)
    }
}

/// A host as an option: an address, or the map of a host or of an instance.
#[derive(Clone, Debug, Deserialize)]
pub struct HostValue(pub Dynamic);

impl JsonSchema for HostValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Host".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        marked(schema::HOST)
    }
}
