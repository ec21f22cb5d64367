//! The socket over which the programs of the init system reach init.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedWriteHalf, SocketAddr};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::super::boot::Ending;
use super::super::tools::unsupported;
use super::super::units::Manager;
use super::super::volumes;
use super::cloud_init::{Progress, describe};
use super::power::{self, Delay};
use super::records;

/// The path of the socket in the machine.
pub(super) const SOCKET: &str = "/run/autorun/init.sock";

/// The request of `hostnamectl` for a host name of the kernel.
pub(super) const SET_NAME: &str = "set-name";

/// The request of the programs for volumes. Its argument is a request in JSON.
pub(super) const VOLUMES: &str = "volumes";

/// A request about volumes, and where its answer goes.
pub(super) type OfVolumes = (volumes::Request, oneshot::Sender<volumes::Answer>);

/// The maximum size, in bytes, of a request.
const LONGEST: u64 = 256 * 1024;

/// The maximum number of concurrent calls of root, and of all other users.
const MOST_CALLS: usize = 128;

/// The maximum number of requests that are being read; beyond that the oldest
/// one is aborted.
const MOST_READING: usize = 64;

/// How long a request may take to arrive, and a reply to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the server pauses if it cannot accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A call of one of the programs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) tool: String,
    pub(super) args: Vec<String>,
}

/// The output of the program and its exit status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Reply {
    pub(in super::super) out: String,
    pub(in super::super) err: String,
    pub(in super::super) code: u8,
}

impl Reply {
    /// Returns a success with this output.
    pub(in super::super) fn success(out: impl Into<String>) -> Self {
        Self {
            out: out.into(),
            ..Self::default()
        }
    }

    /// Returns a failure with one line of error output.
    pub(in super::super) fn failure(text: impl Into<String>, code: u8) -> Self {
        let mut err = text.into();
        err.push('\n');
        let out = String::new();
        Self { out, err, code }
    }
}

/// The state that the programs act on.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) units: Manager,
    pub(super) progress: Rc<watch::Sender<Progress>>,
    /// Plans to end the machine. The last plan counts.
    /// Whether the machine shuts down now.
    pub(super) ends: Rc<Cell<bool>>,
    pub(super) plans: mpsc::UnboundedSender<Option<(Ending, Delay)>>,
    /// Requests a host name of the kernel, which only the daemon may set.
    pub(super) names: mpsc::UnboundedSender<String>,
    /// Passes requests about volumes to the daemon, which mounts them.
    pub(super) volumes: mpsc::UnboundedSender<OfVolumes>,
}

impl Control {
    /// Binds the socket.
    pub(super) fn bind() -> io::Result<UnixListener> {
        let listener = UnixListener::bind(SOCKET)?;
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    }

    /// Serves until the machine ends.
    pub(super) async fn serve(self, listener: UnixListener) -> io::Result<()> {
        let of_root = Arc::new(Semaphore::new(MOST_CALLS));
        let of_others = Arc::new(Semaphore::new(MOST_CALLS));
        let mut reading: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let accepted = listener.accept().await;
            let Ok((stream, uid)) = accepted.and_then(with_uid) else {
                // Probably no descriptors are left, which passes.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let calls = Arc::clone(if uid == 0 { &of_root } else { &of_others });
            let control = self.clone();
            let task = spawn_local(async move {
                if let Err(error) = control.read(stream, uid, &calls).await {
                    log::debug!("cannot read the request of an init program: {error}");
                }
            });
            // A complete request is read at once, so tasks that wait have
            // incomplete ones.
            reading.retain(|task| !task.is_finished());
            reading.push_back(task.abort_handle());
            if reading.len() > MOST_READING
                && let Some(oldest) = reading.pop_front()
            {
                oldest.abort();
            }
        }
    }

    /// Reads a request and starts its answer, unless too many calls are
    /// running.
    async fn read(self, stream: UnixStream, uid: u32, calls: &Arc<Semaphore>) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(reader.take(LONGEST));
        timeout(PATIENCE, reader.read_line(&mut line)).await??;
        let request: Request = serde_json::from_str(&line)?;
        let permit = Arc::clone(calls).try_acquire_owned();
        let permit = permit.map_err(io::Error::other)?;
        spawn_local(async move {
            if let Err(error) = self.answer(writer, &request, uid).await {
                log::debug!("cannot answer an init program: {error}");
            }
            drop(permit);
        });
        Ok(())
    }

    async fn answer(
        self,
        mut writer: OwnedWriteHalf,
        request: &Request,
        uid: u32,
    ) -> io::Result<()> {
        let reply = self.act(request, uid).await;
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        timeout(PATIENCE, writer.write_all(&line)).await?
    }

    async fn act(&self, request: &Request, uid: u32) -> Reply {
        match request.tool.as_str() {
            "systemctl" => match power_verb(&request.args) {
                Some(ending) => self.end(ending, uid),
                None if self.ends.get() && asks_for_state(&request.args) => Reply {
                    out: "stopping\n".to_owned(),
                    code: 1,
                    ..Reply::default()
                },
                None => self.units.systemctl(&request.args, uid).await,
            },
            "cloud-init" => self.cloud_init(&request.args).await,
            SET_NAME => self.set_name(&request.args, uid).await,
            VOLUMES => self.ask_for_volumes(&request.args, uid).await,
            "shutdown" => self.shutdown(&request.args, uid),
            "reboot" => self.end(Ending::Reboot, uid),
            "poweroff" | "halt" => self.end(Ending::PowerOff, uid),
            "init" | "telinit" => match &request.args[..] {
                [level] if level == "0" => self.end(Ending::PowerOff, uid),
                [level] if level == "6" => self.end(Ending::Reboot, uid),
                // Reload unit files, which are read whenever they are needed.
                [level] if matches!(level.as_str(), "q" | "Q" | "u" | "U") => Reply::default(),
                args => unsupported(&request.tool, &args.join(" ")),
            },
            other => Reply::failure(format!("{other}: unknown program"), 127),
        }
    }

    fn end(&self, ending: Ending, uid: u32) -> Reply {
        self.plan(Some((ending, Delay::Now)), uid)
    }

    fn plan(&self, plan: Option<(Ending, Delay)>, uid: u32) -> Reply {
        if uid != 0 {
            return Reply::failure("Interactive authentication required.", 1);
        }
        self.ends.set(matches!(plan, Some((_, Delay::Now))));
        // The receiver lives as long as the machine.
        let _ = self.plans.send(plan);
        Reply::default()
    }

    fn shutdown(&self, args: &[String], uid: u32) -> Reply {
        match power::shutdown(args) {
            Ok(power::Request::End(ending, delay)) => {
                let mut reply = self.plan(Some((ending, delay)), uid);
                if reply.code == 0 && delay != Delay::Now {
                    let what = match ending {
                        Ending::Reboot => "Reboot",
                        Ending::PowerOff | Ending::Killed => "Shutdown",
                    };
                    let seconds = delay.left().as_secs();
                    reply.err = format!(
                        "{what} scheduled in {seconds} seconds, use 'shutdown -c' to cancel.\n"
                    );
                }
                reply
            }
            Ok(power::Request::Cancel) => self.plan(None, uid),
            Ok(power::Request::Warn) => Reply::default(),
            Err(message) => Reply::failure(message, 1),
        }
    }

    /// Sets the host name of the kernel, and waits until it is set.
    async fn set_name(&self, args: &[String], uid: u32) -> Reply {
        let [name] = args else {
            return Reply::failure("Too few arguments.", 1);
        };
        if uid != 0 {
            return Reply::failure("Interactive authentication required.", 1);
        }
        // The receiver lives as long as the machine.
        let _ = self.names.send(name.clone());
        let is_set = async {
            while !nix::unistd::gethostname().is_ok_and(|now| now == name.as_str()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match timeout(PATIENCE, is_set).await {
            Ok(()) => Reply::default(),
            Err(_) => Reply::failure(format!("cannot set the host name `{name}`"), 1),
        }
    }

    /// Passes a request about volumes to the daemon. The output is its answer, in
    /// JSON.
    async fn ask_for_volumes(&self, args: &[String], uid: u32) -> Reply {
        let request = args.first();
        let request = request.map(|text| serde_json::from_str::<volumes::Request>(text));
        let Some(Ok(request)) = request else {
            return Reply::failure("the request is malformed", 1);
        };
        let answer = if uid == 0 || matches!(request, volumes::Request::List) {
            let (sender, receiver) = oneshot::channel();
            // The receiver lives as long as the machine.
            let _ = self.volumes.send((request, sender));
            let ended = |_| Err("the instance is ending".to_owned());
            receiver.await.unwrap_or_else(ended)
        } else {
            Err("must be superuser".to_owned())
        };
        match serde_json::to_string(&answer) {
            Ok(text) => Reply::success(text),
            Err(error) => Reply::failure(error.to_string(), 1),
        }
    }

    async fn cloud_init(&self, args: &[String]) -> Reply {
        let Some((verb, options)) = args.split_first() else {
            return Reply::failure("usage: cloud-init status [--wait] [--long]", 2);
        };
        match verb.as_str() {
            "status" => {}
            "--version" | "-v" => {
                return Reply {
                    out: format!("/usr/bin/cloud-init {}\n", records::VERSION),
                    ..Reply::default()
                };
            }
            other => {
                let message =
                    format!("cloud-init: the local cloud supports only `status`, not `{other}`");
                return Reply::failure(message, 2);
            }
        }
        match status_options(options) {
            Ok((wait, is_long)) => self.cloud_init_status(wait, is_long).await,
            Err(message) => Reply::failure(message, 2),
        }
    }

    async fn cloud_init_status(&self, wait: bool, is_long: bool) -> Reply {
        let mut progress = self.progress.subscribe();
        if wait {
            // `self` holds the sender, so the channel cannot close.
            let _ = progress.wait_for(|now| *now != Progress::Running).await;
        }
        let (out, code) = describe(&progress.borrow(), is_long);
        let err = String::new();
        Reply { out, err, code }
    }
}

fn with_uid((stream, _): (UnixStream, SocketAddr)) -> io::Result<(UnixStream, u32)> {
    let uid = stream.peer_cred()?.uid();
    Ok((stream, uid))
}

/// Returns whether to wait, and whether to print the long form.
fn status_options(options: &[String]) -> Result<(bool, bool), String> {
    let (mut wait, mut is_long) = (false, false);
    for option in options {
        match option.as_str() {
            "--wait" | "-w" => wait = true,
            "--long" | "-l" => is_long = true,
            option => {
                return Err(format!(
                    "cloud-init: error: unrecognized arguments: {option}"
                ));
            }
        }
    }
    Ok((wait, is_long))
}

fn asks_for_state(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "is-system-running")
}

/// Returns the ending for `systemctl reboot` and similar verbs.
fn power_verb(args: &[String]) -> Option<Ending> {
    let verb = args.iter().find(|arg| !arg.starts_with('-'))?;
    match verb.as_str() {
        "reboot" | "kexec" | "soft-reboot" => Some(Ending::Reboot),
        "poweroff" | "halt" => Some(Ending::PowerOff),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<(bool, bool), String> {
        let options: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        status_options(&options)
    }

    #[test]
    fn status_options_are_those_of_version_22_2_2() {
        assert_eq!(options("--wait --long"), Ok((true, true)));
        assert_eq!(options("-w"), Ok((true, false)));
        assert!(options("--waitt").is_err() && options("--format json").is_err());
    }
}
