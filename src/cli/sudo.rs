//! The local cloud as root, started through sudo: instances are made of
//! namespaces, mounts and a network of their own, which need it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::confirm;
use super::output::{complain, fitted};

/// Why the local cloud is started as root.
const WHY: &str = "the local cloud makes instances out of namespaces, mounts and a network of \
                   their own, which needs root; autorun itself goes on without it";

/// What the local cloud takes from the environment. sudo hands it on by name,
/// so that no value is in a process argument.
const KEPT: [&str; 7] = [
    "AUTORUN_CLOUD_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Whether sudo may be called without a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sudo {
    /// Only when the person at the terminal agrees.
    Ask,
    /// `--sudo` allows it.
    Allowed,
}

impl Sudo {
    /// What the flag `--sudo` says.
    pub(super) fn from_flag(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Ask }
    }
}

/// Starts root's local cloud through sudo, or gives this user access to it.
pub(super) fn start_cloud(sudo: Sudo) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let shown = program.display().to_string();
    let by_hand = format!("sudo {} cloud up", shell_words::quote(&shown));
    let terminal = confirm::is_at_terminal();
    if sudo == Sudo::Ask {
        if !terminal {
            bail!("nothing was made: {WHY}\nhint: pass `--sudo`, or start it once: {by_hand}");
        }
        complain(&fitted(&format!("{WHY}\nthe command is: {by_hand}")));
        if !confirm::agrees("start it through sudo?")? {
            bail!("nothing was made: the local cloud is not up\nhint: start it once: {by_hand}");
        }
    }
    let mut command = Command::new("sudo");
    if !terminal {
        command.arg("--non-interactive");
    }
    let kept: Vec<&str> = KEPT
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some())
        .collect();
    if !kept.is_empty() {
        command.arg(format!("--preserve-env={}", kept.join(",")));
    }
    let ended = command
        .arg("--")
        .arg(&program)
        .args(["cloud", "up"])
        .stdout(Stdio::null())
        .status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!(
            "nothing was made: the local cloud could not be started through sudo\nhint: the lines \
             above say why; by hand: {by_hand}"
        ),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => bail!(
            "nothing was made: {WHY}; `sudo` is not installed\nhint: as root, run once: {shown} \
             cloud up"
        ),
        Err(e) => Err(e).context("nothing was made: cannot run sudo"),
    }
}
