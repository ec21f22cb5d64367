//! The map that `host` returns.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::clients::ssh::{Configuration, Host, Secret, SsmTarget, Trust};
use crate::script::{HostValue, ResultKind};

/// A host as a playbook sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct KnownHost {
    /// "host".
    kind: ResultKind,
    /// Its name in the log.
    name: String,
    /// Its IP address or host name.
    address: String,
    /// The TCP port of its ssh server.
    port: u16,
    /// The user that `ssh_exec` and `scp` log in as.
    user: String,
    /// Path of the private key file. `()` means the ssh agent and the usual
    /// files in `~/.ssh`.
    key: Option<PathBuf>,
    /// How its host key is verified.
    #[schemars(with = "Value")]
    trust: Trust,
    /// Passphrase of the key file. Present only if it was passed to `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    passphrase: Option<Secret>,
    /// Password for the login. Present only if it was passed to `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    password: Option<Secret>,
    /// Password for sudo on the host. Present only if it was passed to `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    sudo_password: Option<Secret>,
    /// The jump host. Present only if it was passed to `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HostValue")]
    via: Option<Box<KnownHost>>,
    /// The instance that is reached through Systems Manager. Present only with
    /// `via: "ssm"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    ssm: Option<SsmTarget>,
    /// The name under which the ssh configuration was asked about the host.
    /// Present only for an address, or with the option `ssh_config`.
    #[serde(skip_serializing_if = "Configuration::is_open")]
    #[schemars(with = "Value")]
    configuration: Configuration,
}

impl From<Host> for KnownHost {
    fn from(host: Host) -> Self {
        Self {
            kind: ResultKind::Host,
            name: host.name,
            address: host.address,
            port: host.port,
            user: host.user,
            key: host.key,
            trust: host.trust,
            passphrase: host.passphrase,
            password: host.password,
            sudo_password: host.sudo_password,
            via: host.via.map(|via| Box::new(Self::from(*via))),
            ssm: host.ssm,
            configuration: host.configuration,
        }
    }
}
