//! Error answers with AWS's codes.

use std::borrow::Cow;

/// Result of an action.
pub(super) type Result<T> = std::result::Result<T, Refusal>;

/// The content of an error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// AWS's code, for example `InvalidGroup.NotFound`.
    pub(crate) code: Cow<'static, str>,
    /// AWS's message, or the local cloud's own where AWS does not have one.
    pub(crate) message: String,
    /// HTTP status.
    pub(crate) status: u16,
}

impl Refusal {
    /// Creates an error with status 400, the status of most of EC2's errors.
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

    /// Creates the error for an invalid value of a parameter.
    pub(super) fn value(parameter: &str, value: &str, why: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            format!("Value ({value}) for parameter {parameter} is invalid. {why}"),
        )
    }
}
