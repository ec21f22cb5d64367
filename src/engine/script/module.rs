//! Rhai modules of primitives, made from the manifests of `#[export_module]`, with the
//! calls without options.
//!
//! A run needs only names, types and code. The documentation, of which Rhai copies
//! every line into a module, is for the reference and for editors.

use std::any::TypeId;

use rhai::plugin::{FnManifestEntry, ModuleManifest};
use rhai::{
    Dynamic, Engine, FnNamespace, FuncRegistration, Map, Module, NativeCallContext, RhaiFunc,
    Shared,
};

use super::declared::Declared;

/// Returns a module without documentation.
#[must_use]
pub fn module(functions: &'static ModuleManifest, rows: &[Declared]) -> Module {
    let mut module = Module::new();
    let shorter = with_shorter_calls(rows);
    for function in functions.functions() {
        let name = function.name();
        function.with_param_types(&mut |types| {
            let func = function.func();
            registration(name, function.namespace()).set_into_module_raw(
                &mut module,
                types,
                RhaiFunc::StaticPlugin { func },
            );
            if let Some((name, types)) = shorter_call(&shorter, name, types) {
                registration(name, function.namespace()).set_into_module_raw(
                    &mut module,
                    types,
                    without_options(name),
                );
            }
        });
    }
    module
}

/// Returns a module with the documentation of each function that is `wanted`, and
/// without the other functions.
#[must_use]
pub fn documented_module(
    functions: &'static ModuleManifest,
    rows: &[Declared],
    wanted: impl Fn(&str) -> bool,
) -> Module {
    let mut module = Module::new();
    let functions = functions.functions().iter();
    for function in functions.filter(|function| wanted(function.name())) {
        function.register_into(&mut module);
    }
    let mut engine = Engine::new_raw();
    engine.register_global_module(module.clone().into());
    let shorter = with_shorter_calls(rows);
    for long in engine.collect_fn_metadata(None, |f| Some(f.metadata.clone()), false) {
        let Some((name, types)) = shorter_call(&shorter, &long.name, &long.param_types) else {
            continue;
        };
        let parameters = long.params_info.iter().take(long.params_info.len() - 1);
        registration(name, long.namespace)
            .with_params_info(parameters.chain([&long.return_type]))
            .with_comments(&long.comments)
            .set_into_module_raw(&mut module, types, without_options(name));
    }
    module
}

/// Returns the name and the number of arguments of each function, and of each call
/// without options.
pub fn arities(
    functions: &'static ModuleManifest,
    rows: &[Declared],
) -> impl Iterator<Item = (&'static str, usize)> {
    let shorter = with_shorter_calls(rows);
    let of = move |function: &'static FnManifestEntry| {
        let mut all = Vec::new();
        function.with_param_types(&mut |types| {
            let call = shorter_call(&shorter, function.name(), types);
            all.push((function.name(), types.len()));
            all.extend(call.map(|(name, types)| (name, types.len())));
        });
        all
    };
    functions.functions().iter().flat_map(of)
}

fn registration(name: &str, namespace: FnNamespace) -> FuncRegistration {
    FuncRegistration::new(name).with_namespace(namespace)
}

/// Returns the functions that can be called without options.
fn with_shorter_calls(rows: &[Declared]) -> Vec<&'static str> {
    let rows = rows.iter().filter(|row| row.has_shorter_call());
    rows.map(|row| row.function).collect()
}

/// Returns the name and the types of the call without options, if the last parameter of
/// the function is its options.
fn shorter_call<'a>(
    functions: &[&'static str],
    name: &str,
    types: &'a [TypeId],
) -> Option<(&'static str, &'a [TypeId])> {
    let (last, types) = types.split_last()?;
    let name = functions.iter().find(|known| **known == name)?;
    (*last == TypeId::of::<Map>()).then_some((*name, types))
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
