//! The zygote: a process with one thread whose forks become machines.
//!
//! It has its own mount namespace; its network namespace is the switch.
//! Machines fork from it without exec, so that all share the program's memory.
//! It ends when the daemon ends, and with it the switch and its interfaces.

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

/// The name under which the daemon runs the zygote.
pub(super) const ZYGOTE: &str = "autorun-zygote";

/// The argument of the zygote's second execution.
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

/// Executes this program again in the zygote's own namespaces, from a read-only
/// mount: the file is `/proc/1/exe` in a machine, which must not write to it.
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

/// Serves the daemon until it ends. Returns the parts of a machine in the
/// machine's first process, and `None` in processes that have finished their
/// part.
fn serve() -> io::Result<Option<MachineParts>> {
    let daemon = take_socket()?;
    let Some((ToZygote::Start(config), _)) = message::receive(&daemon)? else {
        return Ok(None);
    };
    let mut zygote = match Zygote::start(&daemon, config) {
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

/// Returns the socket to the daemon. It is passed as standard input, which
/// needs no unsafe code.
fn take_socket() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    Ok(socket)
}

/// The role of this process after a fork.
enum Role {
    Zygote,
    /// A process that helped to create a machine.
    Helper,
    /// The first process of a machine.
    Machine(Box<MachineParts>),
}

struct Zygote {
    config: ZygoteConfig,
    cgroups: Cgroups,
    /// The layers that all machines share above their base layers.
    layers: Vec<PathBuf>,
    /// The ids of all machines ever started.
    used: BTreeSet<Ids>,
}

impl Zygote {
    fn start(daemon: &OwnedFd, config: ZygoteConfig) -> io::Result<Self> {
        message::send(daemon, &FromZygote::Up, &[])?;
        let layers = vec![build_seed(&config)?];
        message::send(daemon, &FromZygote::Seeded, &[])?;
        Ok(Self {
            cgroups: Cgroups::of_host()?,
            layers,
            used: BTreeSet::new(),
            config,
        })
    }

    /// Forks a process that creates a machine.
    fn fork(&mut self, order: Order, mut fds: Vec<OwnedFd>) -> io::Result<Role> {
        let (Some(console), Some(socket)) = (fds.pop(), fds.pop()) else {
            return Ok(Role::Zygote);
        };
        self.used.insert(order.ids);
        match fork() {
            Ok(ForkResult::Child) => {}
            Ok(ForkResult::Parent { .. }) => return Ok(Role::Zygote),
            Err(error) => {
                let reason = format!("cannot fork: {error}");
                message::send(&socket, &FromInit::Failed { reason }, &[])?;
                return Ok(Role::Zygote);
            }
        }
        let creation = Creation {
            config: &self.config,
            cgroups: &self.cgroups,
            layers: &self.layers,
            order,
            socket,
            console,
        };
        let machine = creation.run()?.map(Box::new);
        Ok(machine.map_or(Role::Helper, Role::Machine))
    }

    /// Removes what the daemon could not remove before it ended.
    fn tidy_up(&self) {
        for ids in &self.used {
            // Another cloud may have claimed the ids meanwhile.
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

/// Leaves the daemon's session, descriptors and namespaces.
fn isolate() -> io::Result<()> {
    nix::unistd::setsid()?;
    close_inherited()?;
    // The zygote never waits for its children: the kernel reaps them.
    handle(Signal::SIGCHLD, SigHandler::SigIgn)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", private)?)
}

/// Closes descriptors that a daemon may have inherited from its caller.
/// Descriptors that Rust opened close at exec. The socket is standard input,
/// which stays open.
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
            // The descriptor may be closed already.
            let _ = nix::unistd::close::<std::os::fd::RawFd>(fd);
        }
    }
    Ok(())
}

fn is_close_on_exec(fdinfo: &str) -> bool {
    const CLOEXEC: u32 = 0o2_000_000;
    let mut lines = fdinfo.lines();
    let flags = lines.find_map(|line| line.strip_prefix("flags:"));
    // Without flags, the descriptor is closed already.
    flags.is_none_or(|flags| {
        u32::from_str_radix(flags.trim(), 8).is_ok_and(|flags| flags & CLOEXEC != 0)
    })
}

/// Builds the layer with the files that differ from the base layer in every
/// machine.
fn build_seed(config: &ZygoteConfig) -> io::Result<PathBuf> {
    let seed = Seed::new(config.state_dir.join("seed"), config.base.clone())?;
    standins::place(&seed, &config.subnet)?;
    package_settings::place(&seed)?;
    Ok(seed.root().to_owned())
}

#[cfg(test)]
mod tests {
    use super::is_close_on_exec;

    #[test]
    fn inherited_descriptors_are_known_by_their_flags() {
        assert!(is_close_on_exec("pos:\t0\nflags:\t02100002\nmnt_id:\t1\n"));
        assert!(!is_close_on_exec("pos:\t0\nflags:\t0100002\n"));
        assert!(is_close_on_exec(""));
    }
}
