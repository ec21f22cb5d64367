//! Starts a program as a user, as a login does.

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

/// The search path of programs, unless `/etc/environment` or a profile sets another
/// path.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// The last signal before the real-time signals.
const LAST_SIGNAL: i32 = 31;

/// The program that a client requests.
pub(super) enum Program<'a> {
    Shell,
    Command(&'a [u8]),
    /// The SFTP server at this path.
    Sftp(&'a Path),
}

/// The user, terminal and environment of a program.
pub(super) struct Circumstances<'a> {
    pub(super) account: &'a Account,
    pub(super) terminal: Option<&'a terminal::Request>,
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) reaper: &'a dyn Reaper,
}

/// A started program and its process group.
pub(super) struct Process {
    pid: Pid,
    running: AtomicBool,
}

/// The input and output of a program.
pub(super) enum Streams {
    Pipes {
        stdin: pipe::Sender,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
    },
    Terminal(Arc<Terminal>),
}

/// A newly started program.
pub(super) struct Started {
    pub(super) process: Arc<Process>,
    pub(super) streams: Streams,
    pub(super) exited: oneshot::Receiver<ExitStatus>,
}

impl<'a> Program<'a> {
    /// Returns the value of `SSH_ORIGINAL_COMMAND`, from which a forced command
    /// learns what the client requested.
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
    /// Sends a signal to the process group, unless its leader has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.running.load(Ordering::Relaxed)
            && let Err(e) = killpg(self.pid, signal)
        {
            log::debug!("ssh: cannot send {signal} to {}: {e}", self.pid);
        }
    }

    /// Marks the leader as ended. From now on another process may get its id, so
    /// signals are no longer sent.
    pub(super) fn set_ended(&self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

/// Starts a program in a new session.
pub(super) fn start(program: &Program, with: Circumstances) -> io::Result<Started> {
    let mut command = command(program, with.account);
    command.env_clear().envs(with.variables);
    let streams = match with.terminal {
        Some(request) => on_terminal(&mut command, request, with.account)?,
        None => on_pipes(&mut command)?,
    };
    switch_user(&mut command, with.account, with.terminal.is_some())?;
    let child = command.spawn()?;
    // Register the child before anything else: the reaper learns of its end only
    // once.
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

/// Makes the child switch to the user before it executes the program.
#[expect(
    unsafe_code,
    reason = "only the child itself can switch to another user"
)]
fn switch_user(command: &mut Command, account: &Account, on_terminal: bool) -> io::Result<()> {
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let home = CString::new(account.home.as_os_str().as_bytes())?;
    let root = c"/";
    // SAFETY: the closure only makes system calls between fork and exec. All
    // memory that it needs was allocated above.
    unsafe {
        command.pre_exec(move || {
            // The program would inherit which signals this process ignores.
            for signal in 1..=LAST_SIGNAL {
                libc::signal(signal, libc::SIG_DFL);
            }
            // The program must not inherit descriptors. A failure of this call is
            // ignored: old kernels do not have it, and all files of this program
            // are opened with close-on-exec anyway.
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

/// The two addresses of a connection.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// Returns the variables of a session. Of several variables with the same name the
/// last one applies.
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

/// Parses a line `NAME=value` of `/etc/environment`, as PAM does.
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
    fn lines_of_etc_environment_are_parsed() {
        let pair = |name: &str, value: &str| Some((name.into(), value.into()));
        assert_eq!(assignment("LANG=C.UTF-8"), pair("LANG", "C.UTF-8"));
        assert_eq!(assignment("export A=\"b c\" "), pair("A", "b c"));
        assert_eq!(assignment("A='b=c'"), pair("A", "b=c"));
        assert_eq!(assignment("# A=b"), None);
        assert_eq!(assignment("nonsense"), None);
    }

    #[test]
    fn a_client_cannot_override_the_variables_of_the_user() {
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
