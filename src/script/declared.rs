//! What a primitive takes and returns, declared once beside it.
//!
//! The manual, the check before the run and the call without options are made
//! from these rows: an option is a field of the struct that a row names.

use std::any::TypeId;

use rhai::{Dynamic, Engine, FuncRegistration, Map, Module, NativeCallContext, RhaiFunc, Shared};
use schemars::JsonSchema;

use super::schema::{Kind, kind_of};

/// The row of one function.
#[derive(Clone, Copy)]
pub struct Declared {
    /// Its name.
    pub function: &'static str,
    /// The argument that is a map of known keys.
    pub takes: Option<Takes>,
    /// What it returns.
    pub gives: Option<Gives>,
}

/// The argument of a function that is a map.
#[derive(Clone, Copy)]
pub struct Takes {
    /// The argument's name.
    pub argument: &'static str,
    /// What the map holds.
    pub kind: fn() -> Kind,
    /// Whether it can be left out if no key is required.
    optional: bool,
}

/// What a function returns.
#[derive(Clone, Copy)]
pub struct Gives {
    /// Whether it is one or several.
    pub shape: Shape,
    /// What the map holds.
    pub kind: fn() -> Kind,
    /// What tells two structs apart.
    pub id: fn() -> TypeId,
}

/// How many maps a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One,
    /// One, or `()`.
    Maybe,
    /// An array of them.
    Many,
    /// One for one first argument, an array for an array.
    LikeArgument,
    /// One, or an array of them if this option is given.
    ManyWith(&'static str),
}

impl Declared {
    /// A function that takes no options and returns nothing of note.
    #[must_use]
    pub const fn of(function: &'static str) -> Self {
        Self {
            function,
            takes: None,
            gives: None,
        }
    }

    /// Its last argument, `options`, which can be left out if no key of it is
    /// required.
    #[must_use]
    pub const fn options<T: JsonSchema>(self) -> Self {
        Self {
            takes: Some(Takes {
                argument: "options",
                kind: kind_of::<T>,
                optional: true,
            }),
            ..self
        }
    }

    /// An argument that is such a map and is never left out.
    #[must_use]
    pub const fn takes<T: JsonSchema>(self, argument: &'static str) -> Self {
        Self {
            takes: Some(Takes {
                argument,
                kind: kind_of::<T>,
                optional: false,
            }),
            ..self
        }
    }

    /// A map of what it returns.
    #[must_use]
    pub const fn gives<T: JsonSchema + 'static>(self, shape: Shape) -> Self {
        Self {
            gives: Some(Gives {
                shape,
                kind: kind_of::<T>,
                id: TypeId::of::<T>,
            }),
            ..self
        }
    }

    /// Whether it can be called without its options.
    fn has_shorter_call(&self) -> bool {
        self.takes.is_some_and(|takes| {
            let kind = (takes.kind)();
            let fields = kind.fields().unwrap_or_default();
            takes.optional && fields.iter().all(|field| !field.required)
        })
    }
}

/// Adds to a family's module the calls without options.
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

/// Calls the function of this name with an empty map behind the arguments.
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
