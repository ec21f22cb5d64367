//! The settings of a profile that are not credentials: region, endpoints, and
//! how to reach them.

use super::{Environment, Files, Section};

/// The settings that the SDK would read by rules of its own.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The name of the profile.
    pub(crate) name: String,
    /// The profile's region, if the environment has none.
    pub(crate) region: Option<String>,
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
        let in_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .any(|name| environment.get(name).is_some());
        let set = |key: &str| profile.get(key).filter(|value| !value.is_empty());
        Self {
            name: name.to_owned(),
            region: set("region").filter(|_| !in_environment).cloned(),
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
        let ignored = self.flag(
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "ignore_configured_endpoint_urls",
        );
        if ignored == Some(true) {
            return None;
        }
        let variable = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase());
        let in_services = self.services.get(&format!("{service}.endpoint_url"));
        self.environment
            .get(&variable)
            .or_else(|| self.environment.get("AWS_ENDPOINT_URL"))
            .or(in_services.map(String::as_str))
            .or(self.set("endpoint_url"))
            .map(str::to_owned)
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
