//! Public parameters, such as the id of AWS's default image.

use std::time::Duration;

use serde_json::json;

use super::Ssm;
use crate::error::{Error, Result};

/// Limit for the request. Without an answer, the caller has another way.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Ssm<'_> {
    /// Returns the value of a public parameter.
    pub async fn public_parameter(&self, name: &str) -> Result<String> {
        let attempt = format!("read the parameter `{name}`");
        let body = json!({ "Name": name });
        let asked = self.once(("GetParameter", &attempt), &body, TIMEOUT);
        let answer = tokio::select! {
            () = self.cancel.cancelled() => return Err(Error::cancelled()),
            answer = asked => answer?,
        };
        match answer["Parameter"]["Value"].as_str() {
            Some(value) => Ok(value.to_owned()),
            None => Err(Error::internal(format!(
                "cannot {attempt}: it has no value"
            ))),
        }
    }
}
