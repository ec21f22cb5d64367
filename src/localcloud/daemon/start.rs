//! Starts the background process from a copy of this program.

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

/// The name under which this program runs as the background process.
pub(crate) const NAME: &str = "autorun-cloud";

/// Starts the background process of this home and waits until it serves
/// requests.
///
/// `grants` lists the users, as uid and gid, who get an access file. Returns
/// one sentence for each repair of the state directory.
///
/// # Errors Fails with the reason why the process did not start; the text is
/// for the user.
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
        // Signals from the user's terminal must not reach the process.
        .process_group(0)
        .spawn()
        .map_err(|e| failed("cannot start the local cloud", &e))?;
    let mut line = String::new();
    let out = child.stdout.take().map(BufReader::new);
    out.map(|mut out| out.read_line(&mut line));
    match serde_json::from_str::<Value>(&line) {
        Ok(reply) if reply["error"].is_null() => Ok(repaired),
        Ok(reply) => Err(reply["error"].as_str().unwrap_or_default().to_owned()),
        Err(_) => Err(format!(
            "the local cloud exited during startup; its log is {}",
            home.log().display()
        )),
    }
}

/// Returns the environment of the process: the network settings and the path of
/// this program, but none of the user's other variables, which may be
/// credentials.
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

/// Copies this program into the state directory, so that an upgrade or removal
/// of the program does not affect running instances.
fn own_copy(home: &Home) -> io::Result<PathBuf> {
    let copy = home.state.join("autorun");
    let next = home.state.join(format!(".autorun.{}", std::process::id()));
    fs::copy(std::env::current_exe()?, &next)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    fs::rename(&next, &copy)?;
    Ok(copy)
}
