//! Public parameters of AWS Systems Manager, such as the id of AWS's default
//! image.
//!
//! This is one signed request. The SDK's crate for Systems Manager would add
//! minutes to the build for it.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_ec2::config::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use serde_json::{Value, json};

use super::http::builder_for;
use super::transport::Network;
use crate::error::{Error, ErrorKind, Result};

/// The timeout of the request. Without an answer, the caller has another way.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request for a parameter.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    pub(super) config: &'a SdkConfig,
    pub(super) region: &'a str,
    /// The endpoint, without a path.
    pub(super) url: &'a str,
    /// The network of the local cloud's instances.
    pub(super) local: Option<Network>,
    /// The certificates to trust instead of those of the system, in PEM.
    pub(super) certificates: Option<&'a [u8]>,
    /// The name of this program and run, as the SDK sends it.
    pub(super) app_name: &'a str,
}

impl Lookup<'_> {
    /// Returns the value of a parameter.
    pub(super) async fn value(self, name: &str) -> Result<String> {
        let failed = |kind, why: &dyn std::fmt::Display| {
            Error::new(kind, format!("cannot read the parameter `{name}`: {why}"))
        };
        let unsigned = |why: &dyn std::fmt::Display| failed(ErrorKind::Internal, why);
        let body = json!({ "Name": name }).to_string();
        let agent = format!("app/{}", self.app_name);
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "AmazonSSM.GetParameter"),
            ("x-amz-user-agent", agent.as_str()),
        ];
        let provider = self.config.credentials_provider();
        let provider = provider.ok_or_else(|| unsigned(&"there are no credentials"))?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|e| unsigned(&e))?.into();
        let signing = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name("ssm")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|e| unsigned(&e))?
            .into();
        let url = format!("{}/", self.url.trim_end_matches('/'));
        let payload = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", &url, headers.into_iter(), payload);
        let signed = sign(request.map_err(|e| unsigned(&e))?, &signing);
        let (instructions, _) = signed.map_err(|e| unsigned(&e))?.into_parts();

        let unanswered = |e: reqwest::Error| {
            let mut last: &dyn std::error::Error = &e;
            while let Some(source) = last.source() {
                last = source;
            }
            failed(ErrorKind::Unreachable, &last)
        };
        let url: reqwest::Url = url.parse().map_err(|e| unsigned(&e))?;
        let mut client = builder_for(&url, self.local).timeout(TIMEOUT);
        if let Some(pem) = self.certificates {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            client = client.tls_certs_only(certificates.map_err(unanswered)?);
        }
        let mut request = client.build().map_err(unanswered)?.post(url).body(body);
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(unanswered)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unanswered)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        match answer["Parameter"]["Value"].as_str() {
            Some(value) if status.is_success() => Ok(value.to_owned()),
            _ => Err(failed(
                if status.is_client_error() {
                    ErrorKind::Denied
                } else {
                    ErrorKind::Unreachable
                },
                &refusal(&answer, status.as_u16()),
            )),
        }
    }
}

/// Returns the reason in an error response.
fn refusal(answer: &Value, status: u16) -> String {
    // AWS's services write the member with either letter.
    let message = answer["message"].as_str().or(answer["Message"].as_str());
    let code = answer["__type"].as_str().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    match (message, code) {
        (Some(message), _) if !message.is_empty() => message.trim_end_matches('.').to_owned(),
        (_, "") => format!("HTTP {status}"),
        (_, code) => format!("AWS returned {code}"),
    }
}

/// Returns AWS's endpoint of Systems Manager in a region.
pub(super) fn endpoint(region: &str) -> String {
    let suffix = match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("https://ssm.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_reported_in_awss_words() {
        let denied = json!({
            "__type": "AccessDeniedException",
            "Message": "User: arn:aws:iam::1:user/a is not authorized to perform: ssm:GetParameter",
        });
        assert!(refusal(&denied, 400).ends_with("perform: ssm:GetParameter"));
        let missing = json!({ "__type": "com.amazonaws.ssm#ParameterNotFound" });
        assert_eq!(refusal(&missing, 400), "AWS returned ParameterNotFound");
        assert_eq!(refusal(&Value::Null, 503), "HTTP 503");
    }

    #[test]
    fn each_partition_has_its_own_domain() {
        assert_eq!(endpoint("eu-west-1"), "https://ssm.eu-west-1.amazonaws.com");
        assert_eq!(
            endpoint("us-gov-west-1"),
            "https://ssm.us-gov-west-1.amazonaws.com"
        );
        assert_eq!(
            endpoint("cn-north-1"),
            "https://ssm.cn-north-1.amazonaws.com.cn"
        );
    }
}
