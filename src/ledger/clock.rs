//! The time as the ledger counts it.

use std::time::Duration;

/// Milliseconds since 1970.
pub type Millis = i64;

/// The time now.
#[must_use]
pub fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

/// How long it is from one time to another; nothing where the clock went back.
#[must_use]
pub fn between(from: Millis, to: Millis) -> Duration {
    Duration::from_millis(u64::try_from(to - from).unwrap_or(0))
}
