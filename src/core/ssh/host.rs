//! The host to connect to, and how to connect.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::{Question, Settings};
use super::ssm::SsmTarget;

/// A host, with everything needed to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// The name in log lines.
    pub name: String,
    /// Address or host name.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The private key file; without it, the ssh agent and the usual files are
    /// used.
    pub key: Option<PathBuf>,
    /// How the host key is verified.
    pub trust: Trust,
    /// The passphrase of the private key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Secret>,
    /// The password for the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The password for sudo; without it, sudo must not ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_password: Option<Secret>,
    /// The jump host on the way to this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Box<Host>>,
    /// The instance, if the host is reached through Systems Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssm: Option<SsmTarget>,
    /// Whether OpenSSH's configuration applies to the host.
    #[serde(default, skip_serializing_if = "Configuration::is_open")]
    pub configuration: Configuration,
    /// The settings of the configuration. `Ssh::remembered` fills them in for a
    /// host that a playbook passes.
    #[serde(skip)]
    pub settings: Arc<Settings>,
}

/// Whether OpenSSH's configuration applies to a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Configuration {
    /// It has not been asked. For an instance, only its jump host counts.
    #[default]
    Open,
    /// It does not apply, or what applies to an instance has been applied.
    Off,
    /// It has been asked about this name.
    Of(Question),
}

impl Configuration {
    /// Returns whether the configuration has not been asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// How a host key is verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// `~/.ssh/known_hosts` and the other files that OpenSSH reads.
    KnownHosts,
    /// Only this fingerprint, for example `SHA256:...`.
    Fingerprint(String),
    /// The key pinned for this EC2 instance.
    Instance(String),
}

impl Host {
    /// Returns whether a `ProxyCommand` leads to this host.
    #[must_use]
    pub fn has_proxy(&self) -> bool {
        self.settings.proxy_command.is_some()
    }

    /// Returns `user@address`, with the port if it is not 22.
    #[must_use]
    pub fn login(&self) -> String {
        match self.port {
            22 => format!("{}@{}", self.user, self.address),
            port => format!("{}@{}:{port}", self.user, self.address),
        }
    }

    /// Returns OpenSSH's arguments to connect to this host, quoted for a shell.
    /// A jump host is a `ProxyCommand`, because `-J` has no option for the jump
    /// host's key; so is Systems Manager. If OpenSSH's configuration applies, ssh reads it again.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut arguments = Vec::new();
        let configured = match &self.configuration {
            Configuration::Of(question) if *self.settings != Settings::default() => Some(question),
            _ => None,
        };
        if let Some(file) = configured.and_then(|question| question.file.as_ref()) {
            arguments.push(format!(
                "-F {}",
                shell_words::quote(&file.to_string_lossy())
            ));
        }
        if let Some(key) = &self.key {
            let key = key.to_string_lossy();
            arguments.push(if key.contains('%') {
                // In OpenSSH, `%` begins a token. The option has an escape for
                // it, but `-i` has not.
                let option = format!("IdentityFile=\"{}\"", key.replace('%', "%%"));
                format!("-o {}", shell_words::quote(&option))
            } else {
                format!("-i {}", shell_words::quote(&key))
            });
        }
        match configured {
            Some(Question { port: None, .. }) => {}
            _ if self.port == 22 => {}
            _ => arguments.push(format!("-p {}", self.port)),
        }
        if let Some(via) = &self.via
            && !self.settings.have_a_way()
        {
            // This ssh must pass the tokens of the jump host's ssh on
            // unchanged.
            let way = via.arguments().replace('%', "%%");
            let proxy = format!("ProxyCommand=ssh -W '[%h]:%p' {way}");
            arguments.push(format!("-o {}", shell_words::quote(&proxy)));
        }
        if let Some(target) = &self.ssm {
            let proxy = format!("ProxyCommand={}", target.proxy_command());
            arguments.push(format!("-o {}", shell_words::quote(&proxy)));
        }
        let login = match configured {
            Some(Question { name, user, .. }) => match user {
                Some(user) => format!("{user}@{name}"),
                None => name.clone(),
            },
            None => format!("{}@{}", self.user, self.address),
        };
        arguments.push(shell_words::quote(&login).into_owned());
        arguments.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_connect_through_every_jump_host() {
        let mut host = Host {
            name: "web".to_owned(),
            address: "10.0.0.7".to_owned(),
            port: 22,
            user: "admin".to_owned(),
            key: None,
            trust: Trust::KnownHosts,
            passphrase: None,
            password: None,
            sudo_password: None,
            via: None,
            ssm: None,
            configuration: Configuration::Open,
            settings: Arc::default(),
        };
        assert_eq!(host.arguments(), "admin@10.0.0.7");
        let jump = Host {
            address: "203.0.113.7".to_owned(),
            port: 2222,
            key: Some("/keys/50% off".into()),
            ..host.clone()
        };
        assert_eq!(
            jump.arguments(),
            "-o 'IdentityFile=\"/keys/50%% off\"' -p 2222 admin@203.0.113.7"
        );
        host.via = Some(Box::new(jump));
        let arguments = shell_words::split(&host.arguments()).unwrap();
        assert_eq!(
            arguments,
            [
                "-o",
                "ProxyCommand=ssh -W '[%h]:%p' -o 'IdentityFile=\"/keys/50%%%% off\"' -p 2222 \
                 admin@203.0.113.7",
                "admin@10.0.0.7",
            ]
        );
    }

    #[test]
    fn arguments_connect_through_systems_manager() {
        let target = SsmTarget {
            instance: "i-0a".to_owned(),
            region: "eu-west-1".to_owned(),
            profile: None,
        };
        let proxy = format!("ProxyCommand={}", target.proxy_command());
        let mut host: Host = serde_json::from_value(serde_json::json!({
            "name": "web", "address": "10.0.0.7", "port": 22, "user": "ec2-user", "key": null,
            "trust": { "instance": "i-0a" },
        }))
        .unwrap();
        host.ssm = Some(target);
        let arguments = shell_words::split(&host.arguments()).unwrap();
        assert_eq!(arguments, ["-o", &proxy, "ec2-user@10.0.0.7"]);
        // The ssh of the host behind it passes the port of the instance on.
        let inner = Host {
            via: Some(Box::new(host.clone())),
            ssm: None,
            address: "10.0.0.8".to_owned(),
            ..host
        };
        let arguments = shell_words::split(&inner.arguments()).unwrap();
        assert!(arguments[1].contains("portNumber=%%p"), "{arguments:?}");
    }
}
