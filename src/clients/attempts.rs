//! Follows the attempts of a request: whether any of them left this machine,
//! and which failures to connect are final.
//!
//! A create request that was certainly not sent has created nothing, so there
//! is nothing to look for. The types of the SDK's errors, over all attempts,
//! show that: a single attempt that may have arrived is enough for doubt.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, UdpSocket};

use aws_sdk_ec2::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextMut,
    FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_sdk_ec2::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::{BoxError, ConnectorError};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use hyper_util::client::legacy::Error as HttpError;

/// The owner of the endpoint to which requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// AWS.
    Aws,
    /// A server whose URL the user passed.
    Given,
    /// The local cloud, on this machine.
    LocalCloud,
}

/// The error of a request of which no attempt was sent.
#[derive(Debug)]
pub(super) struct NotSent {
    pub(super) place: Place,
    /// The endpoint, for example `http://127.0.0.1:4577`.
    pub(super) endpoint: String,
    source: BoxError,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was not sent")
    }
}

impl StdError for NotSent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}

/// The local cloud's network is gone. Its address now belongs to a stranger on
/// another network, or does not answer.
#[derive(Debug)]
struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its address no longer belongs to this machine")
    }
}

impl StdError for Gone {}

/// What is known about a request during its attempts.
#[derive(Clone, Debug, Default)]
struct Sending {
    endpoint: String,
    /// Whether an attempt may have arrived.
    sent: bool,
    /// The value of `sent` before the current attempt.
    before: bool,
}

impl Storable for Sending {
    type Storer = StoreReplace<Self>;
}

/// Follows the attempts of each request to one endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts(pub(super) Place);

type Done = Result<(), BoxError>;

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Done {
        let mut sending = cfg.load::<Sending>().cloned().unwrap_or_default();
        endpoint(context.request().uri()).clone_into(&mut sending.endpoint);
        sending.before = sending.sent;
        let gone = self.0 == Place::LocalCloud && !is_on_this_machine(&sending.endpoint);
        sending.sent |= !gone;
        cfg.interceptor_state().store_put(sending);
        if gone { Err(Gone.into()) } else { Ok(()) }
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Done {
        if never_connected(context.inner())
            && let Some(sending) = cfg.load::<Sending>()
        {
            let sent = sending.before;
            let sending = Sending {
                sent,
                ..sending.clone()
            };
            cfg.interceptor_state().store_put(sending);
        }
        Ok(())
    }

    fn modify_before_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Done {
        let sending = cfg.load::<Sending>().cloned().unwrap_or_default();
        let context = context.inner_mut();
        if sending.sent || !context.is_failed() {
            return Ok(());
        }
        if let Some(Err(error)) = context.take_output_or_error() {
            let not_sent = NotSent {
                place: self.0,
                endpoint: sending.endpoint,
                source: error.into(),
            };
            let error = ConnectorError::io(not_sent.into());
            context.set_output_or_error(Err(OrchestratorError::connector(error)));
        }
        Ok(())
    }
}

/// Forbids retries after a failure to connect if the user named the endpoint,
/// or if it is on this machine: a retry would not help.
impl ClassifyRetry for Attempts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match self.0 {
            Place::Given | Place::LocalCloud if never_connected(context) => {
                RetryAction::RetryForbidden
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Attempts"
    }
}

/// Returns whether an attempt failed before it had a connection: the name did
/// not resolve, no server listened, or the TLS handshake failed.
fn never_connected(context: &InterceptorContext) -> bool {
    let failed = context.output_or_error().and_then(Result::err);
    let connector = failed.and_then(OrchestratorError::as_connector_error);
    connector
        .and_then(|error| find::<HttpError>(error))
        .is_some_and(HttpError::is_connect)
}

/// Finds the first error of a type among an error and its sources.
pub(super) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Returns a URL without its path.
fn endpoint(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..]
        .find(['/', '?'])
        .map_or(url.len(), |at| host + at);
    &url[..end]
}

/// Returns whether the host of an endpoint is an address of this machine.
/// Returns true for a host name, which is not looked up.
pub(super) fn is_on_this_machine(endpoint: &str) -> bool {
    let host = endpoint.split("://").last().unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    // The kernel allows only local addresses in `bind`.
    address.is_err() || address.is_ok_and(|address| UdpSocket::bind((address, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_its_path() {
        for (url, wanted) in [
            ("http://127.0.0.1:1/a?b=c", "http://127.0.0.1:1"),
            (
                "https://b.s3.amazonaws.com?x=/",
                "https://b.s3.amazonaws.com",
            ),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(endpoint(url), wanted);
        }
    }

    #[test]
    fn addresses_of_this_machine_are_recognized() {
        for here in [
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://localhost:1",
        ] {
            assert!(is_on_this_machine(here), "{here}");
        }
        // An address from a network reserved for documentation.
        assert!(!is_on_this_machine("http://192.0.2.77:4577"));
    }
}
