//! The options and the result of a primitive, declared once beside it.
//!
//! The manual, the check before the run and the call without options are generated
//! from these rows. An option is a field of the struct that the row names.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use rhai::Map;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::options::options_of;
use super::schema::{Kind, kind_of};
use crate::error::Result;

/// The row of one function.
#[derive(Clone, Copy)]
pub struct Declared {
    /// Its name.
    pub function: &'static str,
    /// The argument that is a map with known keys.
    pub takes: Option<Takes>,
    /// The result, if it is a map or an array of maps.
    pub returns: Option<Returns>,
}

/// An argument that is a map with known keys.
#[derive(Clone, Copy)]
pub struct Takes {
    /// The argument's name.
    pub argument: &'static str,
    /// Describes the keys of the map.
    describe: fn() -> Kind,
    /// Reads a map as the function does, and returns what is wrong with it.
    pub read: fn(&str, Map) -> Result<()>,
    /// Whether the argument can be omitted if no key is required.
    optional: bool,
}

/// The result of a function.
#[derive(Clone, Copy)]
pub struct Returns {
    /// Whether it is one map or several.
    pub shape: Shape,
    /// Describes the keys of the map.
    describe: fn() -> Kind,
    /// Identifies the struct, to find functions with the same result.
    pub id: fn() -> TypeId,
}

/// Options of which some exclude others, whatever else the function finds out.
pub trait Consistent {
    /// Checks them together.
    ///
    /// Throws `invalid_option`.
    fn check_together(&self) -> Result<()>;
}

impl Takes {
    /// Returns the keys of the map.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        described(self.describe)
    }
}

impl Returns {
    /// Returns the keys of the map.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        described(self.describe)
    }
}

/// Returns a description, which is computed once: a schema takes longer than the rest
/// of the check of a call. There are only as many as rows.
fn described(describe: fn() -> Kind) -> &'static Kind {
    type Described = HashMap<fn() -> Kind, &'static Kind>;
    static ALL: LazyLock<Mutex<Described>> = LazyLock::new(Mutex::default);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(describe)
        .or_insert_with(|| Box::leak(Box::new(describe())))
}

/// How many maps a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One map.
    One,
    /// One map, or `()`.
    Maybe,
    /// An array of maps.
    Many,
    /// An array of maps if the first argument is an array, else one map.
    LikeArgument,
    /// An array of maps if this option is present, else one map.
    ManyWith(&'static str),
}

impl Declared {
    /// Returns a row without options and without a result.
    #[must_use]
    pub const fn of(function: &'static str) -> Self {
        Self {
            function,
            takes: None,
            returns: None,
        }
    }

    /// Declares the keys of the last argument, `options`. The argument can be omitted
    /// if no key is required.
    #[must_use]
    pub const fn options<T: JsonSchema + DeserializeOwned>(self) -> Self {
        Self {
            takes: Some(Takes {
                argument: "options",
                describe: kind_of::<T>,
                read: read::<T>,
                optional: true,
            }),
            ..self
        }
    }

    /// Declares the keys of the last argument, which are checked together as well.
    #[must_use]
    pub const fn consistent_options<T>(self) -> Self
    where
        T: Consistent + JsonSchema + DeserializeOwned,
    {
        Self {
            takes: Some(Takes {
                argument: "options",
                describe: kind_of::<T>,
                read: read_together::<T>,
                optional: true,
            }),
            ..self
        }
    }

    /// Declares the keys of an argument that cannot be omitted.
    #[must_use]
    pub const fn takes<T: JsonSchema + DeserializeOwned>(self, argument: &'static str) -> Self {
        Self {
            takes: Some(Takes {
                argument,
                describe: kind_of::<T>,
                read: read::<T>,
                optional: false,
            }),
            ..self
        }
    }

    /// Declares the keys of the result.
    #[must_use]
    pub const fn returns<T: JsonSchema + 'static>(self, shape: Shape) -> Self {
        Self {
            returns: Some(Returns {
                shape,
                describe: kind_of::<T>,
                id: TypeId::of::<T>,
            }),
            ..self
        }
    }

    /// Returns whether the function can be called without its options: whether an
    /// empty map is valid. Reading one is much cheaper than the schema.
    pub(super) fn has_shorter_call(&self) -> bool {
        let takes = self.takes.filter(|takes| takes.optional);
        takes.is_some_and(|takes| (takes.read)(self.function, Map::new()).is_ok())
    }
}

fn read<T: DeserializeOwned>(function: &str, map: Map) -> Result<()> {
    options_of::<T>(function, map).map(drop)
}

fn read_together<T: Consistent + DeserializeOwned>(function: &str, map: Map) -> Result<()> {
    options_of::<T>(function, map)?.check_together()
}
