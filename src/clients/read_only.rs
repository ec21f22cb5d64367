//! Lets only requests pass that change nothing, for the second half of a plan.

use aws_sdk_ec2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;

/// The beginnings of the names of operations that only look.
const LOOKS: [&str; 3] = ["Describe", "Get", "List"];

/// Ends a request that could change something, before it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOnly;

impl Intercept for ReadOnly {
    fn name(&self) -> &'static str {
        "ReadOnly"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let body = request.body().bytes().unwrap_or_default();
        if changes_nothing(request.method(), body) {
            return Ok(());
        }
        Err("a plan changes nothing, so this request is not sent".into())
    }
}

/// Returns whether a request only looks: a `GET` or `HEAD` of S3, or a form of EC2
/// or STS whose action looks, or is a dry run.
pub(super) fn changes_nothing(method: &str, body: &[u8]) -> bool {
    if ["GET", "HEAD"].contains(&method) {
        return true;
    }
    let form = std::str::from_utf8(body).unwrap_or_default();
    let values = |name: &'static str| {
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let mut actions = values("Action");
    let (Some(action), None) = (actions.next(), actions.next()) else {
        return false;
    };
    let mut dry_runs = values("DryRun").peekable();
    let is_dry_run = dry_runs.peek().is_some() && dry_runs.all(|value| value == "true");
    is_dry_run || looks(action)
}

/// Returns whether an operation only looks.
pub(super) fn looks(operation: &str) -> bool {
    LOOKS.iter().any(|start| operation.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_change_nothing_pass() {
        for (method, body, passes) in [
            ("GET", "", true),
            ("HEAD", "", true),
            ("PUT", "", false),
            ("DELETE", "", false),
            ("POST", "", false),
            ("POST", "Action=DescribeVpcs&Version=2016-11-15", true),
            ("POST", "Action=GetCallerIdentity", true),
            ("POST", "Action=RunInstances", false),
            ("POST", "Action=RunInstances&DryRun=true", true),
            ("POST", "Action=RunInstances&DryRun=false", false),
            (
                "POST",
                "Action=RunInstances&DryRun=true&DryRun=false",
                false,
            ),
            ("POST", "Action=DescribeVpcs&Action=RunInstances", false),
            ("POST", "UserData=DryRun%3Dtrue&Action=RunInstances", false),
        ] {
            assert_eq!(changes_nothing(method, body.as_bytes()), passes, "{body}");
        }
    }
}
