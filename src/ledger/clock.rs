//! The time as the ledger counts it.

/// Milliseconds since 1970.
pub type Millis = i64;

/// The time now.
#[must_use]
pub fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
