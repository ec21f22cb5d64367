//! The options and the result of a primitive, declared once beside it.
//!
//! The manual, the check before the run and the call without options are generated
//! from these rows. An option is a field of the struct that the row names.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use rhai::{Dynamic, Engine, FuncRegistration, Map, Module, NativeCallContext, RhaiFunc, Shared};
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

    /// Returns whether the function can be called without its options.
    fn has_shorter_call(&self) -> bool {
        self.takes.is_some_and(|takes| {
            let fields = takes.kind().fields().unwrap_or_default();
            takes.optional && fields.iter().all(|field| !field.required)
        })
    }
}

fn read<T: DeserializeOwned>(function: &str, map: Map) -> Result<()> {
    options_of::<T>(function, map).map(drop)
}

/// Adds the calls without options to the module of a family.
pub fn add_shorter_calls(module: &mut Module, rows: &[Declared]) {
    let mut engine = Engine::new_raw();
    engine.register_global_module(module.clone().into());
    let all = engine.collect_fn_metadata(None, |f| Some(f.metadata.clone()), false);
    for row in rows.iter().filter(|row| row.has_shorter_call()) {
        for long in all.iter().filter(|f| f.name == row.function) {
            let Some((last, types)) = long.param_types.split_last() else {
                continue;
            };
            if *last != TypeId::of::<Map>() {
                continue;
            }
            let parameters = long.params_info.iter().take(long.params_info.len() - 1);
            FuncRegistration::new(row.function)
                .with_namespace(long.namespace)
                .with_params_info(parameters.chain([&long.return_type]))
                .with_comments(&long.comments)
                .set_into_module_raw(module, types, without_options(row.function));
        }
    }
}

/// Returns a function that calls the function of this name with the same arguments and
/// an empty map.
fn without_options(name: &'static str) -> RhaiFunc {
    let call = move |context: Option<NativeCallContext>, arguments: &mut [&mut Dynamic]| {
        let context = context.ok_or_else(|| format!("{name} is called without a context"))?;
        let mut options = Dynamic::from_map(Map::new());
        let given = arguments.iter_mut().map(|argument| &mut **argument);
        let mut all: Vec<&mut Dynamic> = given.chain([&mut options]).collect();
        context.call_native_fn_raw(name, false, &mut all)
    };
    RhaiFunc::Pure {
        func: Shared::new(call),
        has_context: true,
        is_pure: false,
        is_volatile: true,
    }
}
