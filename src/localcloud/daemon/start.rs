//! Starts the background process, from the program that its user called.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::home::Home;
use crate::logbook;

/// The name by which this program is the background process.
pub(crate) const NAME: &str = "autorun-cloud";

/// Starts the background process of this home and waits until it serves.
///
/// `grants` are the users, as uid and gid, who get an access file. Gives what
/// was repaired of the state, in words.
///
/// # Errors
/// What kept it from starting, in words for the user.
pub fn start(home: &Home, grants: &[(u32, u32)]) -> Result<Vec<String>, String> {
    let failed = |what: &str, e: &io::Error| format!("{what}: {e}");
    let repaired = home
        .prepare()
        .map_err(|e| failed("cannot prepare the local cloud's state", &e))?;
    let binary = own_copy(home)
        .map_err(|e| failed("cannot copy this program into the local cloud's state", &e))?;
    let log =
        logbook::open(&home.log()).map_err(|e| failed("cannot open the local cloud's log", &e))?;
    let mut child = Command::new(binary)
        .arg0(NAME)
        .arg(&home.state)
        .args(grants.iter().map(|(uid, gid)| format!("{uid}:{gid}")))
        .current_dir("/")
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // A signal for this terminal's programs is none for it.
        .process_group(0)
        .spawn()
        .map_err(|e| failed("cannot start the local cloud", &e))?;
    let mut line = String::new();
    let out = child.stdout.take().map(BufReader::new);
    out.map(|mut out| out.read_line(&mut line));
    match serde_json::from_str::<Value>(&line) {
        Ok(said) if said["error"].is_null() => Ok(repaired),
        Ok(said) => Err(said["error"].as_str().unwrap_or_default().to_owned()),
        Err(_) => Err(format!(
            "the local cloud ended while it was starting; its log is {}",
            home.log().display()
        )),
    }
}

/// What the process gets to know of the user's environment: how to reach the
/// network, and how this program was called. Credentials, say, it does not.
fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let kept = |name: &str| {
        let lower = name.to_lowercase();
        ["path", "lang", "http_proxy", "https_proxy", "no_proxy"].contains(&&*lower)
    };
    let program = std::env::current_exe().ok().map(PathBuf::into_os_string);
    std::env::vars_os()
        .filter(move |(name, _)| name.to_str().is_some_and(kept))
        .chain(program.map(|program| ("AUTORUN_PROGRAM".into(), program)))
}

/// The binary goes with the process: an upgrade or removal of the program does
/// not pull it away from under running instances.
fn own_copy(home: &Home) -> io::Result<PathBuf> {
    let copy = home.state.join("autorun");
    let next = home.state.join(format!(".autorun.{}", std::process::id()));
    fs::copy(std::env::current_exe()?, &next)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    fs::rename(&next, &copy)?;
    Ok(copy)
}
