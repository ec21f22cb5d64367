//! The zygote: one thread whose namespaces all machines start from.
//!
//! Its mount namespace holds the seed, its network namespace is the switch. It
//! forks a machine without exec, so that all share the memory of the program.
//! It ends when the daemon does, and with it the switch and its interfaces.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{ForkResult, Pid};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::boot::Boot;
use super::disk::layers::{Layer, probe};
use super::disk::seed::Seed;
use super::disk::{masks, package_settings, standins};
use super::init::{self, Machine};
use super::jail;
use super::message::{self, FromInit, FromZygote, Ground, Packages, ToZygote};
use super::multicall::{Hooks, ZYGOTE};
use super::stderr_log;

/// Says that this is the zygote's second life.
const SETTLED: &str = "settled";

/// Runs the zygote, and the processes that fork from it.
pub(super) fn run(life: Option<&OsStr>, hooks: Hooks) -> ExitCode {
    stderr_log::start();
    let served = match life {
        Some(life) if life == SETTLED => serve(),
        _ => begin_second_life(),
    };
    match served {
        Ok(Some(machine)) => init::run(machine, hooks),
        Ok(None) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs this program again in the zygote's own namespaces, from a file that
/// cannot be written there: a machine's `/proc/1/exe` is this file.
fn begin_second_life() -> io::Result<Option<Machine>> {
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

/// Serves the daemon until it is gone; gives back a machine in its process.
fn serve() -> io::Result<Option<Machine>> {
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
            ToZygote::Boot(boot) => {
                if let Role::Machine(machine) | Role::Midwife(machine) = zygote.fork(*boot, fds)? {
                    return Ok(machine);
                }
            }
            ToZygote::Packages(packages) => zygote.use_packages(packages)?,
            ToZygote::Start(_) => {}
        }
    }
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
    /// Makes the namespaces and goes; no machine.
    Midwife(Option<Machine>),
    /// The first process of a machine.
    Machine(Option<Machine>),
}

struct Zygote {
    ground: Ground,
    seed: Seed,
    layers: Vec<Layer>,
    disks: PathBuf,
    root: PathBuf,
}

impl Zygote {
    fn start(daemon: &OwnedFd, ground: Ground) -> io::Result<Self> {
        let state = &ground.state_dir;
        let disks_in_memory = prepare_disks(state)?;
        message::send(daemon, &FromZygote::Up { disks_in_memory }, &[])?;
        let seed = build_seed(&ground)?;
        let layers = Layer::of_host(&seed)?;
        message::send(daemon, &FromZygote::Seeded, &[])?;
        Ok(Self {
            seed,
            layers,
            disks: state.join("instances"),
            root: state.join("root"),
            ground,
        })
    }

    fn use_packages(&mut self, packages: Packages) -> io::Result<()> {
        package_settings::place_packages(&self.seed, &packages)?;
        if let Some(lists) = packages.lists {
            let at = Path::new("/var/lib/apt/lists");
            self.layers.push(Layer::of_directory(&lists, at));
        }
        Ok(())
    }

    /// Forks a machine.
    fn fork(&self, boot: Boot, mut fds: Vec<OwnedFd>) -> io::Result<Role> {
        let (Some(console), Some(socket)) = (fds.pop(), fds.pop()) else {
            return Ok(Role::Zygote);
        };
        match fork() {
            Ok(ForkResult::Child) => {}
            Ok(ForkResult::Parent { .. }) => return Ok(Role::Zygote),
            Err(error) => {
                let reason = format!("cannot start a process: {error}");
                message::send(&socket, &FromInit::Failed { reason }, &[])?;
                return Ok(Role::Zygote);
            }
        }
        let machine = Machine {
            disk: self.disks.join(&boot.id),
            layers: self.layers.clone(),
            root: self.root.clone(),
            binary: self.ground.binary.clone(),
            subnet: self.ground.subnet.clone(),
            console,
            socket,
            boot,
        };
        Ok(deliver(machine))
    }
}

/// Makes the namespaces of a machine, and its first process in them.
fn deliver(machine: Machine) -> Role {
    match namespaces_and_fork() {
        Ok(ForkResult::Child) => return Role::Machine(Some(machine)),
        Ok(ForkResult::Parent { child }) => {
            if let Err(error) = announce(&machine, child) {
                log::error!("cannot tell about a new instance: {error}");
            }
        }
        Err(error) => {
            let reason = format!("cannot make the namespaces of an instance: {error}");
            // Nobody is left to tell if this fails too: the daemon is gone.
            let _ = message::send(&machine.socket, &FromInit::Failed { reason }, &[]);
        }
    }
    Role::Midwife(None)
}

fn namespaces_and_fork() -> io::Result<ForkResult> {
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID,
    )?;
    Ok(fork()?)
}

fn announce(machine: &Machine, child: Pid) -> io::Result<()> {
    let pid = rustix::process::Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::NotFound)?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let pid = child.as_raw();
    message::send(
        &machine.socket,
        &FromInit::Started { pid },
        &[pidfd.as_fd()],
    )
}

#[expect(unsafe_code, reason = "fork copies the process, which std cannot do")]
fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the zygote and its children up to here have one thread, so that
    // no lock can be held by a thread that does not exist in the child.
    unsafe { nix::unistd::fork() }
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

/// Sets how a signal is met: ignored or by default.
#[expect(unsafe_code, reason = "signal handlers can be unsafe; these are none")]
pub(super) fn handle(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    // SAFETY: no code is run on the signal.
    unsafe { nix::sys::signal::signal(signal, handler) }.map(drop)
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

/// Why the disks are in memory, if they are: for want of a better place.
fn prepare_disks(state: &Path) -> io::Result<Option<String>> {
    let Err(error) = probe(state) else {
        return Ok(None);
    };
    let disks = state.join("instances");
    mount_memory(&disks, c"mode=700,size=80%")?;
    probe(&disks)?;
    Ok(Some(error.to_string()))
}

fn build_seed(ground: &Ground) -> io::Result<Seed> {
    let place = ground.state_dir.join("seed");
    mount_memory(&place, c"mode=755")?;
    let seed = Seed::new(place);
    masks::apply(&seed, &ground.state_dir, &ground.mask_files)?;
    standins::place(&seed, &ground.subnet)?;
    package_settings::place(&seed)?;
    Ok(seed)
}

fn mount_memory(place: &Path, options: &std::ffi::CStr) -> io::Result<()> {
    Ok(mount(
        "autorun",
        place,
        "tmpfs",
        MountFlags::NODEV,
        options,
    )?)
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
