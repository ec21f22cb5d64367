//! Assembles the Rhai engine: families, limits, hooks.

use std::sync::Arc;

use rhai::{Dynamic, Engine, OptimizationLevel, Token};

use crate::context::Context;
use crate::primitives::FAMILIES;
use crate::report::Event;

/// Deep enough for people, far below what the thread's stack holds.
const MOST_CALL_LEVELS: usize = 64;

/// An engine that knows every primitive but belongs to no run yet.
pub(super) fn build() -> Engine {
    let mut engine = Engine::new();
    for family in &FAMILIES {
        engine.register_global_module(family.module().into());
    }
    // Unknown variables are compile errors; a missing map key is an error.
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    engine.set_max_call_levels(MOST_CALL_LEVELS);
    // Large option maps nest deeper than Rhai's default.
    engine.set_max_expr_depths(256, 256);
    // Optimised literals lose the places of their keys, which carets need;
    // `Full` would even call primitives while compiling.
    engine.set_optimization_level(OptimizationLevel::None);
    // Interning slows string interpolation down fourfold.
    engine.set_max_strings_interned(0);
    // Rhai reserves these words and does nothing with them: for us they
    // are a function and keys of options.
    #[expect(
        deprecated,
        reason = "not deprecated: Rhai marks what may still change so"
    )]
    engine.on_parse_token(|token, _, _| match token {
        Token::Reserved(word) if matches!(word.as_str(), "var" | "default" | "public") => {
            Token::Identifier(word)
        }
        token => token,
    });
    // What is put together at run time could not be checked before.
    engine.disable_symbol("eval");
    engine
}

/// Ties the engine to a run.
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
    // Natives see the cancellation themselves; this ends loops of pure script.
    let cancel = Arc::new(cx.cancel.clone());
    engine.on_progress(move |_| cancel.is_cancelled().then_some(Dynamic::UNIT));
}
