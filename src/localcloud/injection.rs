//! What the faults of `--faults` do to a response.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use s3s::Body;

use super::ec2::Refusal;
use super::faults::{Act, Fault, When};

/// A connection reset instead of a response.
#[derive(Debug)]
pub(super) struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset by a fault")
    }
}

impl std::error::Error for Reset {}

/// Applies a fault before the operation: an error, a reset or a delay.
pub(super) async fn refusal_before(fault: Option<&Fault>) -> Result<Option<Refusal>, Reset> {
    let Some(fault) = fault else { return Ok(None) };
    if fault.act == Act::Hang {
        // Without `seconds`: until the client gives up.
        let seconds = fault.seconds.unwrap_or(86_400.0);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        return Ok(None);
    }
    if fault.when == When::Before {
        return refusal(fault);
    }
    Ok(None)
}

pub(super) fn refusal_after(fault: Option<&Fault>) -> Result<Option<Refusal>, Reset> {
    match fault {
        Some(fault) if fault.when == When::After => refusal(fault),
        _ => Ok(None),
    }
}

fn refusal(fault: &Fault) -> Result<Option<Refusal>, Reset> {
    let message = |default: &str| fault.message.clone().unwrap_or_else(|| default.to_owned());
    match fault.act {
        Act::Reset => Err(Reset),
        Act::Throttle => Ok(Some(
            Refusal::new("RequestLimitExceeded", message("Request limit exceeded.")).status(503),
        )),
        Act::Error => {
            let code = fault.code.clone();
            let status = fault
                .status
                .unwrap_or(if code.is_some() { 400 } else { 500 });
            let code = code.unwrap_or_else(|| "InternalError".to_owned());
            let message = message("An internal error has occurred");
            Ok(Some(Refusal::new(code, message).status(status)))
        }
        _ => Ok(None),
    }
}

/// Returns the same response with a different last byte.
pub(super) async fn corrupted(answer: Response<Body>) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let whole = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let mut bytes = whole.unwrap_or_default().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    Response::from_parts(head, Body::from(Bytes::from(bytes)))
}

/// Translates EC2's throttling error to that of S3.
pub(super) fn slow_down(refusal: Refusal) -> Refusal {
    if refusal.code == "RequestLimitExceeded" {
        return Refusal::new("SlowDown", "Please reduce your request rate.").status(503);
    }
    refusal
}

/// Translates EC2's throttling error to that of Systems Manager.
pub(super) fn rate_exceeded(refusal: Refusal) -> Refusal {
    if refusal.code == "RequestLimitExceeded" {
        return Refusal::new("ThrottlingException", "Rate exceeded");
    }
    refusal
}
