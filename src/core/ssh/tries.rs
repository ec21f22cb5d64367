//! The error for a login that a host refused.

use super::config::IdentityAgent;
use super::errors::tail;
use super::host::Host;
use crate::error::{Error, ErrorKind};

/// How many lines of a host's banner an error shows.
const BANNER_LINES: usize = 3;

/// What was tried to log in.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Tries {
    /// The methods that the host accepts, as far as it was asked.
    pub(super) methods: Vec<String>,
    /// The keys and the password that were offered, as messages name them.
    pub(super) offered: Vec<String>,
    /// Keys that were not offered, because the host closed the connection.
    pub(super) left_out: Vec<String>,
    /// Why key files were not used.
    pub(super) unusable: Vec<Error>,
    /// Whether an agent answered.
    pub(super) agent_runs: bool,
    /// Whether the host refused something.
    pub(super) refused: bool,
    /// Whether the host closed the connection.
    pub(super) closed: bool,
    /// Whether the host accepted a key.
    pub(super) key_accepted: bool,
    /// The methods that the host wants in addition to an accepted key.
    also: Vec<String>,
    /// Questions of the host that had no answer.
    pub(super) questions: Vec<String>,
    /// The reason that the host sent when it closed the connection.
    pub(super) farewell: Option<String>,
    /// The text that the host shows at the login.
    pub(super) banner: Option<String>,
}

impl Tries {
    /// Records the methods after keys were offered. A host that accepts a key and
    /// wants more no longer lists keys.
    pub(super) fn also_wants(&mut self, methods: &[String]) {
        if self.key_accepted && !methods.is_empty() && !lists_keys(methods) {
            self.also = methods.to_vec();
        }
    }

    /// Returns whether the host accepts no keys at all.
    pub(super) fn wants_no_key(&self) -> bool {
        !self.key_accepted && !lists_keys(&self.methods)
    }

    /// Forgets what was tried with keys: it explains nothing to the user of a host
    /// that accepts none.
    pub(super) fn forget_keys(&mut self) {
        self.offered.clear();
        self.unusable.clear();
    }

    /// Creates the error: first what is wrong here, then what the host refused.
    pub(super) fn error(&self, host: &Host) -> Error {
        let login = host.login();
        let without_keys = !lists_keys(&self.methods);
        let (message, hint) = if !self.also.is_empty() {
            let also = self.also.join(", ");
            let key = match host.password {
                None => format!("{login} accepts the key, but also wants {also}"),
                Some(_) => format!("{login} accepts the key, but refused the password"),
            };
            (key, of_password(host))
        } else if self.offered.is_empty() && without_keys {
            let methods = match self.methods.as_slice() {
                [] => "no method".to_owned(),
                methods => format!("only {}", methods.join(", ")),
            };
            (
                format!("cannot log in as {login}: the host accepts {methods}"),
                of_password(host),
            )
        } else if self.offered.is_empty() && host.password.is_some() {
            (
                format!(
                    "cannot log in as {login}: the host accepts only {}",
                    self.methods.join(", ")
                ),
                "pass `key`, or allow PasswordAuthentication in the sshd of the host".to_owned(),
            )
        } else if self.offered.is_empty() {
            self.no_key(host)
        } else {
            (self.refused(&login), self.of_refusal(host))
        };
        let faults: Vec<String> = self.unusable.iter().map(ToString::to_string).collect();
        let message = match faults.as_slice() {
            [] => message,
            faults => format!("{}; {message}", faults.join("; ")),
        };
        let message = match self
            .banner
            .as_ref()
            .map(|text| tail(text.as_bytes(), BANNER_LINES))
        {
            Some(banner) if !banner.trim().is_empty() => {
                format!("{message}; the host shows:\n{}", banner.trim())
            }
            _ => message,
        };
        let repair = self.unusable.iter().find_map(|error| error.hint.clone());
        Error::new(ErrorKind::Denied, message).hint(repair.unwrap_or(hint))
    }

    fn no_key(&self, host: &Host) -> (String, String) {
        let login = host.login();
        let agent = if host.settings.identity_agent == Some(IdentityAgent::None) {
            "the ssh configuration uses no agent (IdentityAgent none)"
        } else if self.agent_runs {
            "the ssh agent has no key"
        } else {
            "no ssh agent answers"
        };
        let excluded = host
            .settings
            .identity_files
            .as_ref()
            .is_some_and(Vec::is_empty);
        if excluded {
            return (
                format!(
                    "cannot log in as {login}: {agent}, and the ssh configuration allows no key \
                     file (IdentityFile none)"
                ),
                "pass `key`, load a key with ssh-add, or name a file with IdentityFile".to_owned(),
            );
        }
        let message = if self.unusable.is_empty() {
            format!(
                "cannot log in as {login}: no ssh key was found: {agent}, and ~/.ssh has no key"
            )
        } else {
            format!("cannot log in as {login}: there is no other key, and {agent}")
        };
        (message, NO_KEY.to_owned())
    }

    fn refused(&self, login: &str) -> String {
        let tried = self.offered.join(", ");
        let mut message = match &self.farewell {
            Some(why) => format!("{login} closed the connection: {why}; tried {tried}"),
            None => format!("{login} refused the login; tried {tried}"),
        };
        if !self.left_out.is_empty() {
            message = format!("{message}; not tried {}", self.left_out.join(", "));
        }
        if !self.questions.is_empty() {
            let questions: Vec<String> = self
                .questions
                .iter()
                .map(|text| format!("`{text}`"))
                .collect();
            message = format!("{message}; the host also asked {}", questions.join(", "));
        }
        message
    }

    fn of_refusal(&self, host: &Host) -> String {
        if host.password.is_some() {
            return "check `user` and `password`, and that the host allows the user to log in"
                .to_owned();
        }
        if self.closed && host.key.is_none() {
            return "the host limits the number of keys (MaxAuthTries): pass `key`, or set \
                    IdentityFile and IdentitiesOnly for the host in ~/.ssh/config"
                .to_owned();
        }
        "check `user` and `key`, and that ~/.ssh/authorized_keys on the host contains the \
         public key"
            .to_owned()
    }
}

fn lists_keys(methods: &[String]) -> bool {
    methods.iter().any(|method| method == "publickey")
}

const NO_KEY: &str =
    "pass `key`, load a key with ssh-add, or create one with `ssh-keygen -t ed25519`";

fn of_password(host: &Host) -> String {
    match host.password {
        None => "pass `password` to host(), from a secret variable".to_owned(),
        Some(_) => "check `user` and `password`".to_owned(),
    }
}
