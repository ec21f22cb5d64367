//! OpenSSH's configuration of a host, such as `~/.ssh/config`.
//!
//! `ssh -G` parses the files, so that every keyword, pattern and `Match` has
//! OpenSSH's meaning. It costs some milliseconds, so it is called only if a file
//! has a line that may apply, and once for each host and run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::local::Local;
use answer::{Lines, settings};
use files::Sources;

mod answer;
mod files;
mod resolve;
mod tokens;

pub(super) use tokens::Tokens;

/// The time limit for `ssh -G`, which may look up a name or run the command of
/// a `Match exec`.
const LIMIT: Duration = Duration::from_secs(15);

/// A host about which OpenSSH's configuration is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// The name or the address, as the playbook writes it.
    pub name: String,
    /// The user that the playbook names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port that the playbook names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The file to read instead of the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Whether the playbook names the jump host, so that `ProxyJump` and
    /// `ProxyCommand` do not count.
    #[serde(default)]
    pub via: bool,
}

/// The agent that has the keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum IdentityAgent {
    /// No agent.
    None,
    /// The agent with this socket.
    Socket(PathBuf),
}

/// The kind of addresses to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AddressFamily {
    /// IPv4 only.
    Inet,
    /// IPv6 only.
    Inet6,
}

/// The settings of a host that differ from OpenSSH's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    host_name: Option<String>,
    user: Option<String>,
    port: Option<u16>,
    proxy_jump: Option<String>,
    pub(super) proxy_command: Option<String>,
    pub(super) identity_files: Option<Vec<PathBuf>>,
    certificate_files: Vec<PathBuf>,
    pub(super) identities_only: bool,
    pub(super) identity_agent: Option<IdentityAgent>,
    pub(super) known_hosts: Option<Vec<PathBuf>>,
    pub(super) system_known_hosts: Option<Vec<PathBuf>>,
    pub(super) host_key_alias: Option<String>,
    /// The value of `StrictHostKeyChecking` that would accept an unknown key.
    pub(super) accepts_unknown: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) address_family: Option<AddressFamily>,
    /// The file with host keys that must not be accepted.
    pub(super) revoked_host_keys: Option<PathBuf>,
    /// Options that autorun does not use, although they may be needed to log in or
    /// change the result of a command.
    unused: Vec<&'static str>,
}

impl Settings {
    /// Returns the texts of the certificates that can be read.
    pub(super) fn certificates(&self) -> Vec<String> {
        let files = self.certificate_files.iter();
        files
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .collect()
    }
}

/// One answer, which concurrent callers wait for.
type Answer = Arc<OnceCell<Result<Arc<Settings>>>>;

/// OpenSSH's configuration, asked once for each host.
#[derive(Debug)]
pub(super) struct SshConfig {
    local: Local,
    cancel: CancellationToken,
    answers: Mutex<HashMap<Question, Answer>>,
    /// What `ssh -G` prints without any file.
    defaults: OnceCell<Result<Arc<Lines>>>,
}

impl SshConfig {
    pub(super) fn new(local: Local, cancel: CancellationToken) -> Self {
        Self {
            local,
            cancel,
            answers: Mutex::default(),
            defaults: OnceCell::new(),
        }
    }

    /// Returns the settings of a host.
    ///
    /// Throws `not_found` if a file may apply and `ssh` is not installed,
    /// `invalid_option` if ssh cannot read a file, `timeout`, `cancelled`.
    pub(super) async fn ask(&self, question: &Question) -> Result<Arc<Settings>> {
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(answers.entry(question.clone()).or_default())
        };
        let asked = answer.get_or_init(|| self.answer(question)).await;
        asked.clone()
    }

    async fn answer(&self, question: &Question) -> Result<Arc<Settings>> {
        let sources = Sources::of(question.file.as_deref(), &self.local);
        let Some(file) = sources.first_that_may_apply()? else {
            return Ok(Arc::default());
        };
        let of_file = sources.arguments();
        let defaults = self.defaults.get_or_init(|| async {
            let nothing = ["-F".to_owned(), "none".to_owned()];
            let printed = self.run(&nothing, "x", &file).await?;
            Ok(Arc::new(Lines::parse(&printed)))
        });
        let arguments = of_file
            .into_iter()
            .chain(question.user.iter().flat_map(|u| ["-l".into(), u.clone()]))
            .chain(
                question
                    .port
                    .iter()
                    .flat_map(|p| ["-p".into(), p.to_string()]),
            );
        let arguments: Vec<String> = arguments.collect();
        let (defaults, printed) =
            tokio::join!(defaults, self.run(&arguments, &question.name, &file));
        let (defaults, printed) = (defaults.clone()?, Lines::parse(&printed?));
        let settings = settings(question, &printed, &defaults, &self.local)?;
        Ok(Arc::new(settings))
    }

    /// Runs `ssh -G` and returns what it prints. `file` is the one that may
    /// apply.
    async fn run(&self, arguments: &[String], name: &str, file: &Path) -> Result<String> {
        let mut command = Command::new("ssh");
        command
            .args(["-T", "-G"])
            .args(arguments)
            // Whatever follows is a name.
            .args(["--", name])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ran = tokio::select! {
            ran = tokio::time::timeout(LIMIT, command.output()) => ran,
            () = self.cancel.cancelled() => return Err(Error::cancelled()),
        };
        let shown = file.display();
        let output = match ran {
            Ok(Ok(output)) => output,
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "`{shown}` may apply to {name}, but the program `ssh`, which reads it, is \
                         not installed"
                    ),
                )
                .hint(
                    "install OpenSSH's client (the package openssh-client), or pass \
                     ssh_config: false to host()",
                ));
            }
            Ok(Err(e)) => return Err(Error::io("run the program", Path::new("ssh"), &e)),
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "ssh did not read `{shown}` for {name} within {} s",
                        LIMIT.as_secs()
                    ),
                )
                .hint("check the commands of `Match exec` and the DNS server"));
            }
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = crate::ssh::tail(&output.stderr, 20);
        let why = stderr.lines().find(|line| !line.trim().is_empty());
        let why = why.unwrap_or("ssh printed no reason").trim_end_matches('.');
        Err(Error::invalid(format!(
            "ssh cannot read its configuration of {name}: {why}"
        ))
        .hint(format!(
            "correct the file: `ssh {}` must succeed; or pass ssh_config: false to host()",
            shell_words::join(arguments.iter().map(String::as_str).chain(["-G", name]))
        )))
    }
}
