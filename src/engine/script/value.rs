//! A serde deserializer for script values, whose errors are data ([`Fault`]).
//!
//! It is written here, although Rhai has one, because an error must name the key
//! and the value. It is stricter than Rhai's: an array is not accepted as a map,
//! and values that no option can have (functions, timestamps) are refused.

use rhai::{Array, Blob, Dynamic, ImmutableString, Map};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::fault::{Fault, Seen, Wanted};

type Result<T> = std::result::Result<T, Fault>;

/// A value of a playbook.
pub(super) enum Script {
    Unit,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Char(char),
    String(ImmutableString),
    Array(Array),
    Map(Map),
    Blob(Blob),
    /// A value without a counterpart in data: the name of its type.
    Foreign(&'static str),
}

impl From<&Dynamic> for Script {
    fn from(value: &Dynamic) -> Self {
        Self::from(value.flatten_clone())
    }
}

impl From<Dynamic> for Script {
    fn from(value: Dynamic) -> Self {
        let value = value.flatten();
        if value.is_unit() {
            return Self::Unit;
        }
        if let Ok(value) = value.as_bool() {
            return Self::Bool(value);
        }
        if let Ok(value) = value.as_int() {
            return Self::Integer(value);
        }
        if let Ok(value) = value.as_float() {
            return Self::Float(value);
        }
        if let Ok(value) = value.as_char() {
            return Self::Char(value);
        }
        let name = if value.is_fnptr() {
            "function"
        } else if value.is_timestamp() {
            "timestamp"
        } else {
            value.type_name()
        };
        let value = match value.try_cast_result::<ImmutableString>() {
            Ok(text) => return Self::String(text),
            Err(other) => other,
        };
        let value = match value.try_cast_result::<Array>() {
            Ok(items) => return Self::Array(items),
            Err(other) => other,
        };
        let value = match value.try_cast_result::<Map>() {
            Ok(map) => return Self::Map(map),
            Err(other) => other,
        };
        match value.try_cast_result::<Blob>() {
            Ok(bytes) => Self::Blob(bytes),
            Err(_) => Self::Foreign(name),
        }
    }
}

impl Script {
    fn seen(&self) -> Seen {
        match self {
            Self::Unit => Seen::Unit,
            Self::Bool(value) => Seen::Bool(*value),
            Self::Integer(value) => Seen::Integer(*value),
            Self::Float(value) => Seen::Float(*value),
            Self::Char(value) => Seen::Char(*value),
            Self::String(value) => Seen::String(value.to_string()),
            Self::Array(_) => Seen::Array,
            Self::Map(_) => Seen::Map,
            Self::Blob(_) => Seen::Other("blob"),
            Self::Foreign(name) => Seen::Other(name),
        }
    }

    fn is_not(&self, wanted: Wanted) -> Fault {
        Fault::wrong_type(self.seen(), wanted)
    }
}

/// Methods for integers. A wrong type and a value out of range are different
/// errors.
macro_rules! integers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let wanted = Wanted::Integer(<$type>::MIN.into(), <$type>::MAX.into());
            let Self::Integer(value) = self else {
                return Err(self.is_not(wanted));
            };
            match <$type>::try_from(value) {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Fault::wrong_value(self.seen(), wanted)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Script {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Unit => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Integer(value) => visitor.visit_i64(value),
            Self::Float(value) => visitor.visit_f64(value),
            Self::Char(value) => visitor.visit_char(value),
            Self::String(value) => visitor.visit_str(&value),
            Self::Array(items) => visitor.visit_seq(Items::new(items)),
            Self::Map(map) => visitor.visit_map(Entries::new(map)),
            Self::Blob(bytes) => {
                let items = bytes.into_iter().map(|b| Dynamic::from_int(b.into()));
                visitor.visit_seq(Items::new(items.collect()))
            }
            Self::Foreign(name) => Err(Fault::foreign(name)),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Float(value) => visitor.visit_f64(value),
            Self::Integer(value) => visitor.visit_i64(value),
            _ => Err(self.is_not(Wanted::Number)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.is_not(Wanted::Bool)),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Char(value) => visitor.visit_char(value),
            _ => Err(self.is_not(Wanted::Char)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::String(value) => visitor.visit_str(&value),
            Self::Char(value) => visitor.visit_char(value),
            _ => Err(self.is_not(Wanted::String)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Unit => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Unit => visitor.visit_unit(),
            _ => Err(self.is_not(Wanted::Unit)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Array(_) | Self::Blob(_) => self.deserialize_any(visitor),
            _ => Err(self.is_not(Wanted::Array)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Map(map) => visitor.visit_map(Entries::new(map)),
            _ => Err(self.is_not(Wanted::Map)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self {
            Self::String(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Self::Map(mut map) if map.len() == 1 => match map.pop_first() {
                Some((name, value)) => visitor.visit_enum(Variant {
                    name: name.into(),
                    value,
                }),
                None => Err(Self::Map(map).is_not(Wanted::String)),
            },
            _ => Err(self.is_not(Wanted::String)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}

/// The items of an array. A fault in an item gets the index.
struct Items {
    left: std::iter::Enumerate<std::vec::IntoIter<Dynamic>>,
}

impl Items {
    fn new(items: Array) -> Self {
        Self {
            left: items.into_iter().enumerate(),
        }
    }
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some((index, value)) = self.left.next() else {
            return Ok(None);
        };
        let read = seed.deserialize(Script::from(value));
        read.map(Some).map_err(|fault| fault.at(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// The entries of a map. A fault in a value gets the key.
struct Entries {
    left: <Map as IntoIterator>::IntoIter,
    value: Option<(String, Dynamic)>,
}

impl Entries {
    fn new(map: Map) -> Self {
        Self {
            left: map.into_iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((key, value)) = self.left.next() else {
            return Ok(None);
        };
        let name = seed.deserialize(StrDeserializer::<Fault>::new(&key))?;
        self.value = Some((key.into(), value));
        Ok(Some(name))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let (key, value) = self.value.take().unwrap_or_default();
        let read = seed.deserialize(Script::from(value));
        read.map_err(|fault| fault.under(&key))
    }
}

/// An enum variant with a value, such as `#{ fingerprint: "SHA256:.." }`.
struct Variant {
    name: String,
    value: Dynamic,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let variant = seed.deserialize(StrDeserializer::<Fault>::new(&self.name))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = Fault;

    fn unit_variant(self) -> Result<()> {
        Err(Script::from(self.value).is_not(Wanted::String))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        let read = seed.deserialize(Script::from(self.value));
        read.map_err(|fault| fault.under(&self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        Script::from(self.value).deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        Script::from(self.value).deserialize_map(visitor)
    }
}
