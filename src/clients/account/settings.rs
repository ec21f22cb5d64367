//! The settings of a profile that are not credentials: region, endpoints, and
//! how to reach them.

use super::{Environment, Files, Section};
use crate::error::{Error, Result};

/// A value, and what names it, as errors show that.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) value: String,
    pub(crate) source: String,
}

impl Given {
    fn new(value: &str, source: impl Into<String>) -> Self {
        Self {
            value: value.to_owned(),
            source: source.into(),
        }
    }
}

/// Checks that a region can be part of the name of a server.
///
/// Throws `invalid_option`, naming the source.
pub(crate) fn check_region(region: &str, source: &str) -> Result<()> {
    let is_label = (1..=63).contains(&region.len())
        && region
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !region.starts_with('-')
        && !region.ends_with('-');
    if is_label {
        return Ok(());
    }
    let message = format!("`{region}` is not an AWS region (from {source})");
    Err(Error::invalid(message).hint("write it as in eu-central-1, without quotes and blanks"))
}

/// The settings that the SDK would read by rules of its own.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The name of the profile.
    pub(crate) name: String,
    /// The region of the environment or the profile.
    pub(crate) region: Option<Given>,
    /// S3's `addressing_style`.
    pub(crate) addressing: Option<String>,
    /// The file with the certificates to trust.
    pub(crate) ca_bundle: Option<std::path::PathBuf>,
    profile: Section,
    services: Section,
    environment: Environment,
}

impl Settings {
    pub(super) fn new(name: &str, files: &Files, environment: &Environment) -> Self {
        let profile = files.profiles.get(name).cloned().unwrap_or_default();
        let services = profile
            .get("services")
            .and_then(|name| files.services.get(name))
            .cloned()
            .unwrap_or_default();
        let of_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|variable| Some(Given::new(environment.get(variable)?, *variable)));
        let set = |key: &str| profile.get(key).filter(|value| !value.is_empty());
        let of_profile = || {
            let source = format!("`region` of the AWS profile `{name}`");
            Some(Given::new(set("region")?, source))
        };
        Self {
            name: name.to_owned(),
            region: of_environment.or_else(of_profile),
            addressing: set("s3.addressing_style").map(|style| style.to_lowercase()),
            ca_bundle: environment
                .get("AWS_CA_BUNDLE")
                .or(set("ca_bundle").map(String::as_str))
                .map(|path| environment.expanded(path)),
            services,
            environment: environment.clone(),
            profile,
        }
    }

    /// Returns the URL that the environment or the profile sets for a service:
    /// the environment has precedence, and what is for one service has
    /// precedence over what is for all.
    pub(crate) fn endpoint(&self, service: &str) -> Option<String> {
        self.given_endpoint(service).map(|given| given.value)
    }

    /// Checks a URL that [`Self::endpoint`] returned.
    ///
    /// Throws `invalid_option` if no request can be sent to it.
    pub(crate) fn check_endpoint(&self, service: &str) -> Result<()> {
        let Some(Given { value, source }) = self.given_endpoint(service) else {
            return Ok(());
        };
        let url = reqwest::Url::parse(&value).ok();
        if url.is_some_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https")) {
            return Ok(());
        }
        let message = format!("`{value}` is not the URL of a server (from {source})");
        Err(Error::invalid(message).hint("write it with https:// or http://, and the port"))
    }

    fn given_endpoint(&self, service: &str) -> Option<Given> {
        let ignored = self.flag(
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "ignore_configured_endpoint_urls",
        );
        if ignored == Some(true) {
            return None;
        }
        let variable = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase());
        let in_services = self.services.get(&format!("{service}.endpoint_url"));
        let name = &self.name;
        [variable.as_str(), "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(|variable| Some(Given::new(self.environment.get(variable)?, variable)))
            .or_else(|| {
                let source = format!("`services` of the AWS profile `{name}`");
                Some(Given::new(in_services?, source))
            })
            .or_else(|| {
                let source = format!("`endpoint_url` of the AWS profile `{name}`");
                Some(Given::new(self.set("endpoint_url")?, source))
            })
    }

    /// Returns a setting that is `true` or `false`, of the environment or of the
    /// profile.
    pub(crate) fn flag(&self, variable: &str, key: &str) -> Option<bool> {
        let value = self.environment.get(variable).or(self.set(key))?;
        Some(value.eq_ignore_ascii_case("true"))
    }

    fn set(&self, key: &str) -> Option<&str> {
        let value = self.profile.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }
}
