//! Starts the background process from a copy of this program, to outlive the
//! caller or to end with it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lifetime::{FOR_CALLER, PACKAGES};
use crate::home::{Home, user};
use crate::logbook;

/// The name under which this program runs as the background process.
pub(crate) const NAME: &str = "autorun-cloud";

/// How long a process that ends with its caller may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The background process of one command. It ends when this value is dropped or
/// the command ends in another way, and removes its home.
#[derive(Debug)]
pub struct OfCaller {
    process: Child,
    /// The process ends when this pipe is closed.
    stdin: Option<ChildStdin>,
}

impl OfCaller {
    /// Tells the process to end, without waiting for it.
    pub fn end(&mut self) {
        drop(self.stdin.take());
    }
}

impl Drop for OfCaller {
    fn drop(&mut self) {
        self.end();
        let began = Instant::now();
        while let Ok(None) = self.process.try_wait() {
            if began.elapsed() > ENDS_WITHIN {
                drop(self.process.kill());
                drop(self.process.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts a background process that ends with this one, in a home that exists
/// only for it. `packages` is a directory of package files that instances of
/// other clouds have downloaded.
///
/// # Errors
/// Fails with the reason why the process did not start; the text is for the
/// user.
pub fn start_for_caller(home: &Home, packages: &Path) -> Result<OfCaller, String> {
    prepared(home)?;
    let (uid, gid) = user();
    let mut call = command(home, &[(uid, gid)])?;
    call.arg(FOR_CALLER)
        .arg(PACKAGES)
        .arg(packages)
        .stdin(Stdio::piped());
    let mut process = launched(home, call)?;
    let stdin = process.stdin.take();
    Ok(OfCaller { process, stdin })
}

/// Starts the background process of this home and waits until it serves
/// requests.
///
/// `grants` lists the users, as uid and gid, who get an access file. Returns
/// one sentence for each repair of the state directory.
///
/// # Errors Fails with the reason why the process did not start; the text is
/// for the user.
pub fn start(home: &Home, grants: &[(u32, u32)]) -> Result<Vec<String>, String> {
    let repaired = prepared(home)?;
    launched(home, command(home, grants)?)?;
    Ok(repaired)
}

fn failed(what: &str, e: &io::Error) -> String {
    format!("{what}: {e}")
}

/// Prepares the directories. Returns one sentence for each repair.
fn prepared(home: &Home) -> Result<Vec<String>, String> {
    let prepared = home.prepare();
    prepared.map_err(|e| failed("cannot prepare the local cloud's state", &e))
}

/// Returns the call of the background process, with the users who get an access
/// file.
fn command(home: &Home, grants: &[(u32, u32)]) -> Result<Command, String> {
    let binary = own_copy(home)
        .map_err(|e| failed("cannot copy this program into the local cloud's state", &e))?;
    let log =
        logbook::open(&home.log()).map_err(|e| failed("cannot open the local cloud's log", &e))?;
    let mut call = Command::new(binary);
    call.arg0(NAME)
        .arg(&home.state)
        .args(grants.iter().map(|(uid, gid)| format!("{uid}:{gid}")))
        .current_dir("/")
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Signals from the user's terminal must not reach the process.
        .process_group(0);
    Ok(call)
}

/// Starts the process and waits until it serves requests.
fn launched(home: &Home, mut call: Command) -> Result<Child, String> {
    let mut child = call
        .spawn()
        .map_err(|e| failed("cannot start the local cloud", &e))?;
    let mut line = String::new();
    let out = child.stdout.take().map(BufReader::new);
    out.map(|mut out| out.read_line(&mut line));
    match serde_json::from_str::<Value>(&line) {
        Ok(reply) if reply["error"].is_null() => Ok(child),
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
