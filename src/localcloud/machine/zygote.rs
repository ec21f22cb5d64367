//! The zygote: one thread whose namespaces all machines start from.
//!
//! Its mount namespace is its own, its network namespace is the switch. Instances
//! fork from it without exec, so that all share the memory of the program. It
//! ends when the daemon does, and with it the switch and its interfaces.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::ForkResult;
use rustix::mount::{MountPropagationFlags, mount_change};

use super::cgroups::Cgroups;
use super::claims::{Claim, Kind};
use super::creation::Creation;
use super::disk::seed::Seed;
use super::disk::{package_settings, standins};
use super::hooks::Hooks;
use super::ids::Ids;
use super::init::{self, MachineParts};
use super::jail;
use super::message::{self, FromInit, FromZygote, Order, ToZygote, ZygoteConfig};
use super::process::{fork, handle};
use super::stderr_log;

/// Name by which the daemon runs the zygote.
pub(super) const ZYGOTE: &str = "autorun-zygote";

/// Says that this is the zygote's second life.
const SETTLED: &str = "settled";

/// Runs the zygote, and the processes that fork from it.
pub(super) fn run(life: Option<&OsStr>, hooks: Hooks) -> ExitCode {
    stderr_log::start();
    let served = match life {
        Some(life) if life == SETTLED => serve(),
        _ => begin_second_life().map(|never| match never {}),
    };
    match served {
        Ok(Some(machine)) => init::run(machine, hooks),
        Ok(None) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs this program again in the zygote's own namespaces, from a file that
/// cannot be written there: a machine's `/proc/1/exe` is this file.
fn begin_second_life() -> io::Result<Infallible> {
    let failed = isolate().and_then(|()| {
        let program = fs::read_link("/proc/self/exe")?;
        jail::bind_read_only(&program, &program)?;
        let mut command = Command::new(&program);
        Err(command.arg0(ZYGOTE).arg(SETTLED).exec())
    });
    if let Err(error) = &failed {
        let reason = error.to_string();
        message::send(io::stdin(), &FromZygote::Failed { reason }, &[])?;
    }
    failed
}

/// Serves the daemon until it is gone; returns what a machine is made of in its
/// first process, and nothing in processes that have done their part.
fn serve() -> io::Result<Option<MachineParts>> {
    let daemon = take_socket()?;
    let Some((ToZygote::Start(ground), _)) = message::receive(&daemon)? else {
        return Ok(None);
    };
    let mut zygote = match Zygote::start(&daemon, ground) {
        Ok(zygote) => zygote,
        Err(error) => {
            let reason = error.to_string();
            message::send(&daemon, &FromZygote::Failed { reason }, &[])?;
            return Err(error);
        }
    };
    while let Some((order, fds)) = message::receive(&daemon)? {
        match order {
            ToZygote::Boot(order) => match zygote.fork(*order, fds)? {
                Role::Zygote => {}
                Role::Helper => return Ok(None),
                Role::Machine(machine) => return Ok(Some(*machine)),
            },
            ToZygote::Packages(layer) => zygote.layers.push(layer),
            ToZygote::Start(_) => {}
        }
    }
    zygote.tidy_up();
    Ok(None)
}

/// The socket is standard input, so that nothing unsafe is needed to pass it on.
fn take_socket() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    Ok(socket)
}

/// Which process this is after a fork.
enum Role {
    Zygote,
    /// One that has helped to make a machine.
    Helper,
    /// The first process of a machine.
    Machine(Box<MachineParts>),
}

struct Zygote {
    ground: ZygoteConfig,
    cgroups: Cgroups,
    /// What all instances have in common above their base layers.
    layers: Vec<PathBuf>,
    /// The ids of all instances that there were.
    used: BTreeSet<Ids>,
}

impl Zygote {
    fn start(daemon: &OwnedFd, ground: ZygoteConfig) -> io::Result<Self> {
        message::send(daemon, &FromZygote::Up, &[])?;
        let layers = vec![build_seed(&ground)?];
        message::send(daemon, &FromZygote::Seeded, &[])?;
        Ok(Self {
            cgroups: Cgroups::of_host()?,
            layers,
            used: BTreeSet::new(),
            ground,
        })
    }

    /// Forks a process that makes a machine.
    fn fork(&mut self, order: Order, mut fds: Vec<OwnedFd>) -> io::Result<Role> {
        let (Some(console), Some(socket)) = (fds.pop(), fds.pop()) else {
            return Ok(Role::Zygote);
        };
        self.used.insert(order.ids);
        match fork() {
            Ok(ForkResult::Child) => {}
            Ok(ForkResult::Parent { .. }) => return Ok(Role::Zygote),
            Err(error) => {
                let reason = format!("cannot start a process: {error}");
                message::send(&socket, &FromInit::Failed { reason }, &[])?;
                return Ok(Role::Zygote);
            }
        }
        let creation = Creation {
            ground: &self.ground,
            cgroups: &self.cgroups,
            layers: &self.layers,
            order,
            socket,
            console,
        };
        let machine = creation.run()?.map(Box::new);
        Ok(machine.map_or(Role::Helper, Role::Machine))
    }

    /// The daemon is gone: what it could not remove any more is removed here.
    fn tidy_up(&self) {
        for ids in &self.used {
            // Meanwhile another cloud may have them.
            let claimed = Claim::first(Kind::UserIds, [ids.range()]);
            let removed = match &claimed {
                Ok(Some(_)) => self.cgroups.group(*ids).remove(),
                Ok(None) => Ok(()),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            if let Err(error) = removed {
                log::warn!("{error}");
            }
        }
    }
}

/// Leaves the daemon's terminal, descriptors and namespaces.
fn isolate() -> io::Result<()> {
    nix::unistd::setsid()?;
    close_inherited()?;
    // Children are not waited for; the kernel forgets them at once.
    handle(Signal::SIGCHLD, SigHandler::SigIgn)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", private)?)
}

/// Closes what a daemon started by hand may have inherited from a terminal;
/// everything opened by Rust is closed at exec, and the socket is not listed.
fn close_inherited() -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        inherited.push(fd);
    }
    for fd in inherited {
        let flags = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        if fd > 2 && !is_close_on_exec(&flags) {
            // Gone already is as good as closed.
            let _ = nix::unistd::close::<std::os::fd::RawFd>(fd);
        }
    }
    Ok(())
}

fn is_close_on_exec(fdinfo: &str) -> bool {
    const CLOEXEC: u32 = 0o2_000_000;
    let mut lines = fdinfo.lines();
    let flags = lines.find_map(|line| line.strip_prefix("flags:"));
    // Not readable means that it is not open any more.
    flags.is_none_or(|flags| {
        u32::from_str_radix(flags.trim(), 8).is_ok_and(|flags| flags & CLOEXEC != 0)
    })
}

/// The layer of all that differs from the base layer in every instance.
fn build_seed(ground: &ZygoteConfig) -> io::Result<PathBuf> {
    let seed = Seed::new(ground.state_dir.join("seed"), ground.base.clone())?;
    standins::place(&seed, &ground.subnet)?;
    package_settings::place(&seed)?;
    Ok(seed.root().to_owned())
}

#[cfg(test)]
mod tests {
    use super::is_close_on_exec;

    #[test]
    fn inherited_descriptors_are_told_by_their_flags() {
        assert!(is_close_on_exec("pos:\t0\nflags:\t02100002\nmnt_id:\t1\n"));
        assert!(!is_close_on_exec("pos:\t0\nflags:\t0100002\n"));
        assert!(is_close_on_exec(""));
    }
}
