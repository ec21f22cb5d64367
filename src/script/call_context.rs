//! Which run a call belongs to.

use rhai::NativeCallContext;

use crate::context::Context;

/// The context of the run that this call belongs to.
///
/// # Panics
///
/// Never with an engine of ours: its tag is the context.
#[must_use]
pub fn context(call: &NativeCallContext) -> Context {
    call.tag()
        .and_then(|tag| tag.clone().try_cast::<Context>())
        .expect("the engine's tag is the context")
}
