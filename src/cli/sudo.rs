//! Starts the local cloud as root, through sudo: instances consist of namespaces,
//! mounts and a network, which only root can create.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::confirm;
use super::output::{complain, fitted};

/// Why the local cloud is started as root.
const WHY: &str = "the local cloud needs root to create instances (namespaces, mounts and a \
                   network); autorun itself continues without root";

/// The environment variables that the local cloud reads. sudo receives only
/// their names, so that no value appears in a process argument.
const KEPT: [&str; 7] = [
    "AUTORUN_CLOUD_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Whether sudo may be called without asking the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sudo {
    /// Only if the user at the terminal agrees.
    Ask,
    /// `--sudo` allows it.
    Allowed,
}

impl Sudo {
    /// Converts the flag `--sudo`.
    pub(super) fn from_flag(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Ask }
    }
}

/// Starts root's local cloud through sudo. If it is running, only grants this
/// user access.
pub(super) fn start_cloud(sudo: Sudo) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let shown = program.display().to_string();
    let by_hand = format!("sudo {} cloud up", shell_words::quote(&shown));
    let terminal = confirm::is_at_terminal();
    if sudo == Sudo::Ask {
        if !terminal {
            bail!("nothing was created: {WHY}\nhint: pass `--sudo`, or start it once: {by_hand}");
        }
        complain(&fitted(&format!("{WHY}\nthe command is: {by_hand}")));
        if !confirm::agrees("start it through sudo?")? {
            bail!("nothing was created: the local cloud is not up\nhint: start it once: {by_hand}");
        }
    }
    let mut command = Command::new("sudo");
    if !terminal {
        // Without a terminal, sudo must fail instead of asking for a password.
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
            "nothing was created: cannot start the local cloud through sudo\nhint: see the lines \
             above for the reason, or start it once: {by_hand}"
        ),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => bail!(
            "nothing was created: {WHY}; `sudo` is not installed\nhint: as root, run once: \
             {shown} cloud up"
        ),
        Err(e) => Err(e).context("nothing was created: cannot run sudo"),
    }
}
