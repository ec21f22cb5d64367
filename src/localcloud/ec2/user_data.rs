//! User data: checks the base64 of requests and decodes it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::params::Part;
use super::refusal::{Refusal, Result};

/// AWS's limit of user data, before base64.
const MAX_USER_DATA: usize = 16 * 1024;

/// AWS's limit of user data in base64.
const MAX_ENCODED: usize = 25600;

pub(super) fn user_data(request: &Part<'_>) -> Result<Option<String>> {
    let Some(encoded) = request.text("UserData") else {
        return Ok(None);
    };
    if encoded.len() > MAX_ENCODED {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("Encoded User data is limited to {MAX_ENCODED} bytes"),
        ));
    }
    let decoded = decode(encoded).ok_or_else(|| {
        Refusal::new(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        )
    })?;
    if decoded.len() > MAX_USER_DATA {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("User data is limited to {MAX_USER_DATA} bytes"),
        ));
    }
    Ok(Some(encoded.to_owned()))
}

/// Decodes base64, which may contain line breaks.
pub(super) fn decode(encoded: &str) -> Option<Vec<u8>> {
    let joined: String = encoded.split_whitespace().collect();
    BASE64_STANDARD.decode(joined).ok()
}
