//! An answer that says no, in AWS's codes.

use std::borrow::Cow;

/// Result of an action.
pub(super) type Result<T> = std::result::Result<T, Refusal>;

/// What an error answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// AWS's code, as `InvalidGroup.NotFound`.
    pub(crate) code: Cow<'static, str>,
    /// AWS's words, or the local cloud's where AWS has none.
    pub(crate) message: String,
    /// HTTP status.
    pub(crate) status: u16,
}

impl Refusal {
    /// With status 400, as most of EC2's errors have.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A value that EC2 does not take.
    pub(super) fn value(parameter: &str, value: &str, why: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            format!("Value ({value}) for parameter {parameter} is invalid. {why}"),
        )
    }
}
