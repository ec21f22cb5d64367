//! The run that a call belongs to.

use rhai::NativeCallContext;

use crate::context::Context;

/// Returns the context of the run that a call belongs to.
///
/// # Panics
///
/// Panics if the tag of the engine is not a context. Engines of this program always
/// have one.
#[must_use]
pub fn context(call: &NativeCallContext) -> Context {
    call.tag()
        .and_then(|tag| tag.clone().try_cast::<Context>())
        .expect("the engine's tag is the context")
}
