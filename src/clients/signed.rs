//! Signed requests to services of AWS whose SDK would add minutes to the build: Systems
//! Manager (requests in JSON) and IAM (forms).

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_ec2::config::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;

use super::Network;
use super::aws_error::refused;
use super::fence::Fence;
use super::http::builder_for;
use crate::crash;
use crate::error::{Error, ErrorKind};

/// A service to which signed requests go.
#[derive(Debug)]
pub(super) struct SignedService {
    /// Its name in signatures, such as `ssm`.
    name: &'static str,
    url: String,
    region: String,
    config: SdkConfig,
    client: reqwest::Client,
    app_name: String,
    fence: Fence,
}

/// Where a service is, and how to reach it.
#[derive(Debug)]
pub(super) struct Location<'a> {
    /// The endpoint, without a path.
    pub(super) url: &'a str,
    /// The region of the signature.
    pub(super) region: &'a str,
    /// The network of the local cloud's instances.
    pub(super) local: Option<Network>,
    /// The certificates to trust instead of those of the system, in PEM.
    pub(super) certificates: Option<&'a [u8]>,
    /// Ends requests of a run that another machine has taken over.
    pub(super) fence: &'a Fence,
}

/// A request.
#[derive(Debug)]
pub(super) struct SignedRequest<'a> {
    /// The operation, such as `SendCommand`.
    pub(super) operation: &'a str,
    /// What it is for, such as "send the command".
    pub(super) attempt: &'a str,
    pub(super) content_type: &'static str,
    /// The value of `X-Amz-Target`, for services that read JSON.
    pub(super) target: Option<String>,
    pub(super) body: String,
    pub(super) timeout: Duration,
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) struct Failure {
    /// AWS's error code; empty without an answer.
    pub(super) code: String,
    pub(super) error: Error,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// An answer: HTTP status and body.
#[derive(Debug)]
pub(super) struct SignedAnswer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl SignedService {
    /// Creates the service. `app_name` is the name of this program and run, as the SDK
    /// sends it.
    pub(super) fn new(
        name: &'static str,
        location: &Location<'_>,
        config: &SdkConfig,
        app_name: &str,
    ) -> Result<Self, Error> {
        let unusable = |why: &dyn std::fmt::Display| {
            let message = format!("cannot use the endpoint {}: {why}", location.url);
            Error::new(ErrorKind::InvalidOption, message)
        };
        let url = format!("{}/", location.url.trim_end_matches('/'));
        let parsed: reqwest::Url = url.parse().map_err(|e| unusable(&e))?;
        let mut client = builder_for(&parsed, location.local);
        if let Some(pem) = location.certificates {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            client = client.tls_certs_only(certificates.map_err(|e| unusable(&e))?);
        }
        Ok(Self {
            name,
            url,
            region: location.region.to_owned(),
            config: config.clone(),
            client: client.build().map_err(|e| unusable(&e))?,
            app_name: app_name.to_owned(),
            fence: location.fence.clone(),
        })
    }

    /// Returns the endpoint.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the region of the signatures.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Sends a request once. An error answer is an answer.
    pub(super) async fn send(&self, request: &SignedRequest<'_>) -> Result<SignedAnswer, Failure> {
        let agent = format!("app/{}", self.app_name);
        let mut headers = vec![
            ("content-type", request.content_type),
            ("x-amz-user-agent", agent.as_str()),
        ];
        headers.extend(
            request
                .target
                .iter()
                .map(|target| ("x-amz-target", &**target)),
        );
        let signature = self.signature(request, &headers).await?;
        let mut built = self.client.post(&self.url).timeout(request.timeout);
        built = built.body(request.body.clone());
        for (name, value) in &headers {
            built = built.header(*name, *value);
        }
        for (name, value) in signature {
            built = built.header(name, value);
        }
        crash::reached("before a request");
        let may_send = self.fence.check_operation(request.operation);
        may_send.map_err(|error| Failure {
            code: String::new(),
            error,
        })?;
        let answer = built.send().await;
        crash::reached("before an answer");
        let answer = answer.map_err(|e| unanswered(request.attempt, &e))?;
        let status = answer.status().as_u16();
        let body = answer.text().await;
        let body = body.map_err(|e| unanswered(request.attempt, &e))?;
        crash::reached("after an answer");
        Ok(SignedAnswer { status, body })
    }

    /// Returns the headers of a request's signature.
    async fn signature(
        &self,
        request: &SignedRequest<'_>,
        headers: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, Failure> {
        let unsigned = |why: &dyn std::fmt::Display| Failure {
            code: String::new(),
            error: Error::new(
                ErrorKind::Internal,
                format!(
                    "cannot {}: the request cannot be signed: {why}",
                    request.attempt
                ),
            ),
        };
        let provider = self.config.credentials_provider();
        let provider = provider.ok_or_else(|| unsigned(&"there are no credentials"))?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|e| unsigned(&e))?.into();
        let signing = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.name)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|e| unsigned(&e))?
            .into();
        let payload = SignableBody::Bytes(request.body.as_bytes());
        let signable = SignableRequest::new("POST", &self.url, headers.iter().copied(), payload);
        let signed = sign(signable.map_err(|e| unsigned(&e))?, &signing);
        let (instructions, _) = signed.map_err(|e| unsigned(&e))?.into_parts();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(instructions.headers().map(owned).collect())
    }
}

/// Creates the failure for an error answer.
pub(super) fn failure(
    request: &SignedRequest<'_>,
    (code, message): (&str, &str),
    status: u16,
) -> Failure {
    Failure {
        code: code.to_owned(),
        error: refused(
            (request.operation, request.attempt),
            (code, message),
            status,
        ),
    }
}

fn unanswered(attempt: &str, error: &reqwest::Error) -> Failure {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let kind = if error.is_timeout() {
        ErrorKind::Timeout
    } else {
        ErrorKind::Unreachable
    };
    let message = format!("cannot {attempt}: no response from AWS: {last}");
    let unanswered = Error::new(kind, message).hint("check the network and the region");
    Failure {
        code: String::new(),
        error: if error.is_connect() {
            unanswered.unsent()
        } else {
            unanswered
        },
    }
}

/// Returns the domain of AWS's services in the partition of a region.
pub(super) fn domain(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ => "amazonaws.com",
    }
}

/// The parts of a partition that have no region.
#[derive(Debug)]
pub(super) struct Global {
    /// The name of the partition in ARNs.
    pub(super) partition: &'static str,
    /// The endpoint of IAM.
    pub(super) iam: &'static str,
    /// The region for which requests to IAM are signed.
    pub(super) region: &'static str,
}

/// Returns the parts without a region of the partition of a region.
pub(super) fn global(region: &str) -> Global {
    let of = |partition, iam, region| Global {
        partition,
        iam,
        region,
    };
    match region {
        _ if region.starts_with("cn-") => of(
            "aws-cn",
            "https://iam.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
        ),
        _ if region.starts_with("us-gov-") => of(
            "aws-us-gov",
            "https://iam.us-gov.amazonaws.com",
            "us-gov-west-1",
        ),
        _ if region.starts_with("eusc-") => of(
            "aws-eusc",
            "https://iam.eusc-de-east-1.amazonaws.eu",
            "eusc-de-east-1",
        ),
        _ => of("aws", "https://iam.amazonaws.com", "us-east-1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_own_domain() {
        assert_eq!(domain("eu-west-1"), "amazonaws.com");
        assert_eq!(domain("us-gov-west-1"), "amazonaws.com");
        assert_eq!(domain("cn-north-1"), "amazonaws.com.cn");
    }
}
