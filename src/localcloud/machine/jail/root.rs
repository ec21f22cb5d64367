//! The mounts of a machine: its root, `/proc`, `/sys`, `/dev`, `/run`, `/tmp`.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::Mode;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_bind, mount_change, mount_remount, move_mount, open_tree, unmount,
};

use super::super::boot::Limits;
use super::super::disk::standins::BINARY;
use super::super::dmi;

/// The devices of a machine: harmless ones that the kernel implements.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The parts of `/proc` that control the whole kernel.
const READ_ONLY: [&str; 5] = ["sys", "sysrq-trigger", "irq", "bus", "fs"];

/// The parts of `/proc` that reveal data of the whole kernel.
const HIDDEN: [&str; 5] = ["kcore", "keys", "timer_list", "kallsyms", "sched_debug"];

/// The directories of `/sys` that reveal or control the host's hardware.
const HIDDEN_SYS: [&str; 2] = ["firmware", "fs/selinux"];

/// Attaches the root file system in this process's own mount namespace.
pub(super) fn attach(mount: &OwnedFd, root: &Path) -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount, "", CWD, root, flags)?)
}

/// Returns a detached mount of one file.
pub(super) fn clone(file: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, file, flags)?)
}

/// Makes the root the current directory and returns it as a relative path,
/// which needs no access to the host's directories.
pub(super) fn enter(root: &Path) -> io::Result<&'static Path> {
    std::env::set_current_dir(root)?;
    Ok(Path::new("."))
}

/// Mounts all file systems below `root`.
pub(super) fn build(root: &Path, program: &OwnedFd, limits: Limits) -> io::Result<()> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    place(root, "proc", "proc", plain, c"")?;
    place(root, "sys", "sysfs", plain | MountFlags::RDONLY, c"")?;
    let part = |name: &str, mode: &str, divisor: u32| {
        let options = format!("mode={mode},size={}m", limits.mebibytes / divisor);
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let options = CString::new(options).map_err(io::Error::other)?;
        place(root, name, "tmpfs", flags, &options)
    };
    build_devices(root)?;
    part("dev/shm", "1777", 2)?;
    part("run", "755", 5)?;
    part("tmp", "1777", 2)?;
    fill_run(root, program)
}

fn place(root: &Path, at: &str, kind: &str, flags: MountFlags, options: &CStr) -> io::Result<()> {
    mount(kind, root.join(at), kind, flags, options).map_err(|error| {
        let kind_of_error = io::Error::from(error).kind();
        io::Error::new(
            kind_of_error,
            format!("cannot mount {kind} at /{at}: {error}"),
        )
    })
}

fn build_devices(root: &Path) -> io::Result<()> {
    let dev = root.join("dev");
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    place(root, "dev", "tmpfs", flags, c"mode=755,size=1m")?;
    for name in DEVICES {
        fs::write(dev.join(name), "")?;
        mount_bind(Path::new("/dev").join(name), dev.join(name))?;
    }
    fs::create_dir(dev.join("pts"))?;
    let options = c"newinstance,gid=5,mode=620,ptmxmode=666";
    place(root, "dev/pts", "devpts", flags, options)?;
    fs::create_dir(dev.join("shm"))?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("log", "/run/systemd/journal/dev-log"),
    ];
    for (name, target) in links {
        symlink(target, dev.join(name))?;
    }
    // Init reads this fifo and writes to the console output.
    nix::unistd::mkfifo(&dev.join("console"), Mode::from_bits_truncate(0o622))?;
    Ok(())
}

fn fill_run(root: &Path, program: &OwnedFd) -> io::Result<()> {
    let run = root.join("run");
    // Maintainer scripts test for the last directory to decide whether systemd
    // runs.
    for name in ["autorun", "lock", "systemd/journal", "systemd/system"] {
        fs::create_dir_all(run.join(name))?;
    }
    let inside = root.join(BINARY.trim_start_matches('/'));
    fs::write(&inside, "")?;
    // The mount stays read-only: /proc/PID/exe leads to a process's program.
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(program, "", CWD, &inside, flags)?)
}

/// Mounts a file or directory read-only at another path, or over itself.
pub(in super::super) fn bind_read_only(from: &Path, to: &Path) -> io::Result<()> {
    mount_bind(from, to)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount(to, flags, c"")?)
}

/// Sets kernel parameters of this machine's namespaces, before they become
/// read-only.
pub(super) fn settle_kernel(hostname: &str) -> io::Result<()> {
    nix::unistd::sethostname(hostname)?;
    // Lets all groups use ping without raw sockets.
    let range = Path::new("/proc/sys/net/ipv4/ping_group_range");
    if let Err(error) = fs::write(range, "0 65535") {
        log::debug!("ping needs root in this instance: {error}");
    }
    // In namespaces of its own, root would have more privileges.
    fs::write("/proc/sys/user/max_user_namespaces", "0")
}

/// Makes the kernel-wide parts of `/proc` and `/sys` read-only or hides them.
pub(super) fn protect_kernel(root: &Path) -> io::Result<()> {
    let proc = root.join("proc");
    for name in READ_ONLY {
        let path = proc.join(name);
        if path.exists() {
            bind_read_only(&path, &path)?;
        }
    }
    number_boot(root)?;
    for name in HIDDEN {
        let path = proc.join(name);
        if path.exists() {
            mount_bind("/dev/null", &path)?;
        }
    }
    for name in HIDDEN_SYS {
        if root.join("sys").join(name).is_dir() {
            let flags = MountFlags::RDONLY;
            place(root, &format!("sys/{name}"), "tmpfs", flags, c"size=4k")?;
        }
    }
    Ok(())
}

/// Describes the hardware as EC2's. The kernel has the directory only on hosts with
/// such a description.
pub(super) fn describe_hardware(root: &Path, id: &str) -> io::Result<()> {
    let files = dmi::write(root, id)?;
    let kernel = root.join("sys/devices/virtual/dmi/id");
    if kernel.is_dir() {
        bind_read_only(&files, &kernel)?;
    }
    Ok(())
}

/// Sets an id of its own for this boot: programs find out by it whether a machine
/// has rebooted, and the kernel has booted only once.
fn number_boot(root: &Path) -> io::Result<()> {
    let id = fs::read("/proc/sys/kernel/random/uuid")?;
    let file = root.join("run/autorun/boot_id");
    fs::write(&file, id)?;
    bind_read_only(&file, &root.join("proc/sys/kernel/random/boot_id"))?;
    // The mount keeps the file, which nothing can change from now on.
    fs::remove_file(file)
}

/// Makes the current directory the root directory and detaches the host's.
pub(super) fn pivot() -> io::Result<()> {
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}
