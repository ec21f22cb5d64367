//! The environment variables that have precedence over settings files.

/// A profile. The SDK reads it itself.
const PROFILE: &str = "AWS_PROFILE";

/// Variables with credentials. A profile in a settings file would replace them.
const CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];

const REGION: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

const ENDPOINTS: [&str; 5] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_CHECKIP",
];

/// The environment variables that are set, and not empty.
pub(super) struct Environment<F>(pub(super) F);

impl Environment<fn(&str) -> Option<String>> {
    /// The environment of this process.
    pub(super) fn of_process() -> Self {
        Self(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }
}

/// A variable and its value.
pub(super) type Variable = (&'static str, String);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    pub(super) fn profile(&self) -> Option<Variable> {
        self.first(&[PROFILE])
    }

    pub(super) fn credentials(&self) -> Option<Variable> {
        self.first(&CREDENTIALS)
    }

    pub(super) fn region(&self) -> Option<Variable> {
        self.first(&REGION)
    }

    pub(super) fn endpoint(&self) -> Option<Variable> {
        self.first(&ENDPOINTS)
    }

    /// The URL of `--notify`, which is not shown.
    pub(super) fn notify(&self) -> Option<Variable> {
        self.first(&["AUTORUN_NOTIFY"])
    }

    pub(super) fn ssh_config(&self) -> Option<Variable> {
        self.first(&["AUTORUN_SSH_CONFIG"])
    }

    pub(super) fn ledger(&self) -> Option<Variable> {
        self.first(&["AUTORUN_LEDGER", "AUTORUN_HOME"])
    }

    fn first(&self, names: &[&'static str]) -> Option<Variable> {
        names.iter().find_map(|name| Some((*name, (self.0)(name)?)))
    }
}
