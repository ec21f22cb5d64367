//! Setup of the Rhai engine: functions, limits, hooks.

use std::path::Path;
use std::sync::Arc;

use rhai::{Dynamic, Engine, Module, OptimizationLevel, Token};

use crate::context::Context;
use crate::primitives::{FAMILIES, Family};
use crate::report::Event;

/// Limit on nested calls. It is sufficient for playbooks that people write, and far
/// below the number of calls that overflows the stack of a thread.
const MOST_CALL_LEVELS: usize = 64;

/// Returns an engine with every primitive, which does not belong to a run yet.
pub(super) fn build() -> Engine {
    with(Family::module)
}

fn with(module: impl Fn(&Family) -> Module) -> Engine {
    let mut engine = Engine::new();
    for family in &FAMILIES {
        engine.register_global_module(module(family).into());
    }
    // An unknown variable is a compile error. A missing key of a map is an error at
    // run time.
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    engine.set_max_call_levels(MOST_CALL_LEVELS);
    // Large option maps exceed Rhai's default limit on nested expressions.
    engine.set_max_expr_depths(256, 256);
    // Optimization removes the places of keys in literals, which error messages need.
    // `Full` would even call primitives during compilation.
    engine.set_optimization_level(OptimizationLevel::None);
    // Interning makes string interpolation four times slower.
    engine.set_max_strings_interned(0);
    // Rhai reserves these words without a use for them. Here they are a function and
    // keys of options.
    #[expect(
        deprecated,
        reason = "not deprecated: Rhai uses this mark for unstable functions"
    )]
    engine.on_parse_token(|token, _, _| match token {
        Token::Reserved(word) if matches!(word.as_str(), "var" | "default" | "public") => {
            Token::Identifier(word)
        }
        token => token,
    });
    // Code that is built at run time cannot be checked before the run.
    engine.disable_symbol("eval");
    engine
}

/// Returns an engine that compiles parts of a playbook, whose variables it does not know.
pub(super) fn lenient() -> Engine {
    let mut engine = build();
    engine.set_strict_variables(false);
    engine
}

/// Writes definition files of all functions, which editors read. Returns the names of
/// the files.
pub fn write_definitions(directory: &Path) -> std::io::Result<Vec<String>> {
    std::fs::create_dir_all(directory)?;
    let engine = with(|family| family.documented(|_| true));
    let definitions = engine.definitions().with_headers(true);
    let written = definitions
        .iter_files()
        .map(|(name, text)| std::fs::write(directory.join(&name), text).map(|()| name));
    written.collect()
}

/// Connects the engine to a run.
pub(super) fn attach(engine: &mut Engine, cx: &Context) {
    engine.set_default_tag(Dynamic::from(cx.clone()));
    let report = cx.report.clone();
    engine.on_print(move |text| {
        report.report(&Event::Printed {
            text: text.to_owned(),
        });
    });
    let report = cx.report.clone();
    engine.on_debug(move |text, source, position| {
        report.debug(format!(
            "{}:{position:?}: {text}",
            source.unwrap_or_default()
        ));
    });
    // Primitives check for cancellation themselves. This ends loops that call none.
    let cancel = Arc::new(cx.cancel.clone());
    engine.on_progress(move |_| cancel.is_cancelled().then_some(Dynamic::UNIT));
}
