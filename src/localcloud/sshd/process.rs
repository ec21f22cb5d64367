//! Starting a program as a user, the way a login does.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::super::accounts::Account;
use super::super::files;
use super::settings::Reaper;
use super::terminal::{self, Terminal};

/// Where programs are looked for before `/etc/environment` or a profile says
/// something else.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// The last of the signals without a real-time number.
const LAST_SIGNAL: i32 = 31;

/// What a client wants to run.
pub(super) enum Program<'a> {
    Shell,
    Command(&'a [u8]),
    /// The file server at this path.
    Sftp(&'a Path),
}

/// The circumstances of a program.
pub(super) struct Circumstances<'a> {
    pub(super) account: &'a Account,
    pub(super) terminal: Option<&'a terminal::Request>,
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) reaper: &'a dyn Reaper,
}

/// A program that was started, and its whole process group.
pub(super) struct Process {
    pid: Pid,
    running: AtomicBool,
}

/// How to talk to a program.
pub(super) enum Streams {
    Pipes {
        stdin: pipe::Sender,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
    },
    Terminal(Arc<Terminal>),
}

/// A program that was just started.
pub(super) struct Started {
    pub(super) process: Arc<Process>,
    pub(super) streams: Streams,
    pub(super) exited: oneshot::Receiver<ExitStatus>,
}

impl<'a> Program<'a> {
    /// What a forced command is told the client asked for.
    pub(super) fn name(&self) -> Option<&'a [u8]> {
        match self {
            Self::Shell => None,
            Self::Command(text) => Some(text),
            Self::Sftp(_) => Some(b"internal-sftp"),
        }
    }
}

impl Streams {
    pub(super) fn terminal(&self) -> Option<Arc<Terminal>> {
        match self {
            Self::Terminal(terminal) => Some(Arc::clone(terminal)),
            Self::Pipes { .. } => None,
        }
    }
}

impl Process {
    /// Sends a signal to the whole group, unless its leader has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.running.load(Ordering::Relaxed)
            && let Err(e) = killpg(self.pid, signal)
        {
            log::debug!("ssh: cannot send {signal} to {}: {e}", self.pid);
        }
    }

    /// Its number may be somebody else's from now on.
    pub(super) fn has_ended(&self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

/// Starts the program in a session of its own.
pub(super) fn start(program: &Program, with: Circumstances) -> io::Result<Started> {
    let mut command = command(program, with.account);
    command.env_clear().envs(with.variables);
    let streams = match with.terminal {
        Some(request) => on_terminal(&mut command, request, with.account)?,
        None => on_pipes(&mut command)?,
    };
    as_user(&mut command, with.account, with.terminal.is_some())?;
    let child = command.spawn()?;
    // Before anything else: the reaper sees the end of this child only once.
    let pid = Pid::from_raw(child.id().cast_signed());
    let exited = with.reaper.exited(pid.as_raw());
    Ok(Started {
        process: Arc::new(Process {
            pid,
            running: AtomicBool::new(true),
        }),
        streams,
        exited,
    })
}

fn command(program: &Program, account: &Account) -> Command {
    let shell = account.shell.file_name().unwrap_or(OsStr::new("sh"));
    match program {
        Program::Shell => {
            let mut name = OsString::from("-");
            name.push(shell);
            let mut command = Command::new(&account.shell);
            command.arg0(name);
            command
        }
        Program::Command(text) => {
            let mut command = Command::new(&account.shell);
            command.arg0(shell).arg("-c").arg(OsStr::from_bytes(text));
            command
        }
        Program::Sftp(path) => {
            let mut command = Command::new(path);
            command.arg0("sftp-server");
            command
        }
    }
}

fn on_pipes(command: &mut Command) -> io::Result<Streams> {
    let (child_stdin, stdin) = io::pipe()?;
    let (stdout, child_stdout) = io::pipe()?;
    let (stderr, child_stderr) = io::pipe()?;
    command
        .stdin(child_stdin)
        .stdout(child_stdout)
        .stderr(child_stderr);
    Ok(Streams::Pipes {
        stdin: pipe::Sender::from_owned_fd(stdin.into())?,
        stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
        stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
    })
}

fn on_terminal(
    command: &mut Command,
    request: &terminal::Request,
    account: &Account,
) -> io::Result<Streams> {
    let (terminal, line) = terminal::open(request, account)?;
    let tty = |fd: &OwnedFd| fd.try_clone().map(Stdio::from);
    command
        .stdin(tty(&line.tty)?)
        .stdout(tty(&line.tty)?)
        .stderr(Stdio::from(line.tty))
        .env("SSH_TTY", line.path)
        .env("TERM", &request.term);
    Ok(Streams::Terminal(Arc::new(terminal)))
}

/// Has the child become the user before it runs the program.
#[expect(unsafe_code, reason = "only the child itself can become another user")]
fn as_user(command: &mut Command, account: &Account, on_terminal: bool) -> io::Result<()> {
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let home = CString::new(account.home.as_os_str().as_bytes())?;
    let root = c"/";
    // SAFETY: between fork and exec only system calls are made; everything
    // they need was allocated above.
    unsafe {
        command.pre_exec(move || {
            // What this process ignores, the program should not.
            for signal in 1..=LAST_SIGNAL {
                libc::signal(signal, libc::SIG_DFL);
            }
            // Nor inherit what was opened without care. A kernel too old for
            // this call has what every file here was opened with.
            libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed());
            nix::unistd::setsid()?;
            if on_terminal {
                nix::errno::Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            nix::unistd::setgroups(&groups)?;
            nix::unistd::setgid(gid)?;
            nix::unistd::setuid(uid)?;
            umask(Mode::from_bits_truncate(0o022));
            nix::unistd::chdir(home.as_c_str()).or_else(|_| nix::unistd::chdir(root))?;
            Ok(())
        });
    }
    Ok(())
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// The variables of a session; what comes later in each list counts.
pub(super) fn variables(
    account: &Account,
    addresses: Addresses,
    configured: &[(String, String)],
    requested: &[(String, String)],
    original_command: Option<&[u8]>,
) -> Vec<(OsString, OsString)> {
    let machine = files::read_text("/etc/environment").unwrap_or_default();
    let Addresses { client, server } = addresses;
    let (client_ip, server_ip) = (client.ip().to_canonical(), server.ip().to_canonical());
    let mut all: Vec<(OsString, OsString)> = vec![("PATH".into(), PATH.into())];
    let owned = |(name, value): &(String, String)| (name.into(), value.into());
    all.extend(machine.lines().filter_map(assignment));
    all.extend(configured.iter().map(owned));
    all.extend(requested.iter().map(owned));
    let name = OsString::from(&account.name);
    let connection = format!(
        "{client_ip} {} {server_ip} {}",
        client.port(),
        server.port()
    );
    all.extend([
        ("USER".into(), name.clone()),
        ("LOGNAME".into(), name),
        ("HOME".into(), account.home.clone().into()),
        ("SHELL".into(), account.shell.clone().into()),
        ("MAIL".into(), format!("/var/mail/{}", account.name).into()),
        (
            "SSH_CLIENT".into(),
            format!("{client_ip} {} {}", client.port(), server.port()).into(),
        ),
        ("SSH_CONNECTION".into(), connection.into()),
    ]);
    if let Some(command) = original_command {
        let command = OsString::from_vec(command.to_vec());
        all.push(("SSH_ORIGINAL_COMMAND".into(), command));
    }
    all
}

/// A line `NAME=value` of `/etc/environment`, as PAM reads it.
fn assignment(line: &str) -> Option<(OsString, OsString)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    if name.is_empty() || name.starts_with('#') || value.contains('\0') {
        return None;
    }
    let value = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value);
    Some((name.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            name: "ec2-user".into(),
            uid: 1000,
            gid: 1000,
            groups: vec![1000],
            home: "/home/ec2-user".into(),
            shell: "/bin/bash".into(),
        }
    }

    #[test]
    fn lines_of_the_machines_environment() {
        let pair = |name: &str, value: &str| Some((name.into(), value.into()));
        assert_eq!(assignment("LANG=C.UTF-8"), pair("LANG", "C.UTF-8"));
        assert_eq!(assignment("export A=\"b c\" "), pair("A", "b c"));
        assert_eq!(assignment("A='b=c'"), pair("A", "b=c"));
        assert_eq!(assignment("# A=b"), None);
        assert_eq!(assignment("nonsense"), None);
    }

    #[test]
    fn a_client_cannot_change_who_the_user_is() {
        let addresses = Addresses {
            client: "[::ffff:10.0.0.1]:4000".parse().unwrap(),
            server: "10.0.0.2:22".parse().unwrap(),
        };
        let requested = [("HOME".to_owned(), "/root".to_owned())];
        let all = variables(&account(), addresses, &[], &requested, None);
        let last = |name: &str| all.iter().rfind(|(n, _)| n == name).unwrap().1.clone();
        assert_eq!(last("HOME"), "/home/ec2-user");
        assert_eq!(last("SSH_CONNECTION"), "10.0.0.1 4000 10.0.0.2 22");
    }
}
