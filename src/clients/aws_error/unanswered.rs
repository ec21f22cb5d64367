//! Errors of requests without a response: no credentials, no connection.

use crate::attempts::{NotSent, Place, find};
use crate::error::{Error, ErrorKind};
use crate::transport::proxy_to;

/// A URL for which the environment names the proxy of most requests.
const AWS: &str = "https://ec2.amazonaws.com";

/// Creates the error for a request without a response: no credentials, no
/// connection, or a broken one.
pub(super) fn unanswered(
    attempt: &str,
    error: &(dyn std::error::Error + 'static),
    not_sent: Option<&NotSent>,
) -> Error {
    // The credentials failed, with an error of our own.
    if let Some(error) = find::<Error>(error) {
        return error.clone();
    }
    let innermost = innermost(error);
    // Rust's messages end with " (os error 111)".
    let last = innermost
        .split(" (os error")
        .next()
        .unwrap_or(&innermost)
        .to_lowercase();
    match not_sent {
        Some(not_sent) if not_sent.place == Place::LocalCloud => {
            no_cloud(attempt, &not_sent.endpoint)
        }
        Some(not_sent) if not_sent.place == Place::Given => Error::new(
            ErrorKind::Unreachable,
            format!(
                "cannot {attempt}: no response from {}: {last}",
                not_sent.endpoint
            ),
        )
        .hint(
            "check the URL in `--endpoint-url`, AWS_ENDPOINT_URL or the AWS profile, and check \
             that a server runs there",
        ),
        not_sent => {
            let endpoint = not_sent.map_or(AWS, |not_sent| not_sent.endpoint.as_str());
            let (through, hint) = match proxy_to(endpoint) {
                None => (
                    String::new(),
                    "check the network and the region; HTTPS_PROXY names a proxy, AWS_CA_BUNDLE \
                     the certificates of one that ends TLS",
                ),
                Some(proxy) => (
                    format!(" through the proxy {proxy}"),
                    "check the proxy that HTTPS_PROXY names, and what it allows; NO_PROXY names \
                     hosts to reach without it, AWS_CA_BUNDLE the certificates of a proxy that \
                     ends TLS",
                ),
            };
            let message = format!("cannot {attempt}: no response from AWS{through}: {last}");
            Error::new(ErrorKind::Unreachable, message).hint(hint)
        }
    }
}

/// Creates the error for a local cloud that is gone.
pub(crate) fn no_cloud(attempt: &str, endpoint: &str) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {attempt}: the local cloud no longer runs at {endpoint}"),
    )
    .hint("`autorun cloud up` starts it again; then resume the run")
}

/// Returns the message of the innermost source of an error.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = "no connection".to_owned();
    let mut source = error.source();
    while let Some(inner) = source {
        innermost = inner.to_string();
        source = inner.source();
    }
    innermost
}
