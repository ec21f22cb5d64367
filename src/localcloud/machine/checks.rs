//! `autorun cloud doctor`: what instances need on this machine, what isolates
//! them, and how to fix what is missing.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::thread::CapabilitySet;

use super::cgroups::Cgroups;
use super::disk::base::{self, BaseSettings, Bases};
use super::disk::image;
use super::network::routing::{Peer, Routing};
use super::network::{firewall, subnet};
use super::system::{System, program};

/// One requirement or optional feature of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether the check succeeded.
    pub ok: bool,
    /// Whether instances are impossible without it.
    pub essential: bool,
    /// One line: what works, or why it does not work and how to fix it.
    pub detail: String,
}

/// Runs all checks. They leave nothing behind.
#[must_use]
pub(crate) fn checks(base: &BaseSettings) -> Vec<Check> {
    // The probe unshares namespaces, which end with its thread.
    let probes = std::thread::spawn(probe).join();
    let mut checks = vec![root(), capabilities()];
    checks.extend(probes.unwrap_or_default());
    checks.extend([
        user_namespace(),
        id_mapping(),
        base_layer(base),
        disks(),
        volumes(),
        limits(),
        system_calls(),
    ]);
    checks.extend([network(), firewall(), sudo(), package_manager(), inside()]);
    checks
}

fn check(
    name: &'static str,
    essential: bool,
    result: Result<impl Into<String>, impl Into<String>>,
) -> Check {
    let (ok, detail) = match result {
        Ok(detail) => (true, detail.into()),
        Err(detail) => (false, detail.into()),
    };
    Check {
        name,
        ok,
        essential,
        detail,
    }
}

/// What instances cannot do on any machine.
fn inside() -> Check {
    let missing = "instances have no docker, mounts (but of volumes), swap, kernel settings and \
        timers: see `autorun docs local-cloud`";
    check("inside", false, Err::<&str, _>(missing))
}

fn root() -> Check {
    let is_root = nix::unistd::geteuid().is_root();
    let result = is_root.then_some("running as root");
    check(
        "root",
        true,
        result.ok_or("not running as root: run the command with sudo"),
    )
}

fn capabilities() -> Check {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    let result = match rustix::thread::capabilities(None) {
        Ok(sets) if sets.effective.contains(needed) => Ok("CAP_SYS_ADMIN and CAP_NET_ADMIN"),
        _ => Err(
            "CAP_SYS_ADMIN or CAP_NET_ADMIN is missing: run as root, and outside of a container \
                           or in a privileged one",
        ),
    };
    check("capabilities", true, result)
}

fn probe() -> Vec<Check> {
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    let mut checks = Vec::new();
    let mut made = unshare(spaces);
    if made.is_ok() {
        checks.push(veth());
        // Last, because afterwards this thread cannot start another one.
        made = unshare(CloneFlags::CLONE_NEWPID);
    }
    let result = made
        .map(|()| "mount, network, uts, ipc, pid")
        .map_err(|error| {
            format!("cannot create namespaces ({error}): run as root, outside of a container")
        });
    checks.insert(0, check("namespaces", true, result));
    checks
}

/// Checks that root in an instance can be an unprivileged id of the host.
fn user_namespace() -> Check {
    let result = match can_make_user_namespace() {
        Ok(()) => Ok("root in an instance has no id on this machine"),
        Err(error) => Err(format!(
            "cannot create a user namespace ({error}): set the sysctl user.max_user_namespaces \
             to at least 1000"
        )),
    };
    check("user ids", true, result)
}

#[expect(
    unsafe_code,
    reason = "code between fork and exec must be async-signal-safe; this code is"
)]
fn can_make_user_namespace() -> io::Result<()> {
    let Some(program) = program("true") else {
        return Err(io::Error::other(
            "the program `true`, which the check runs, is missing",
        ));
    };
    let mut command = std::process::Command::new(program);
    let unshare = || Ok(unshare(CloneFlags::CLONE_NEWUSER)?);
    // SAFETY: one system call, which allocates nothing. The call fails in a
    // process with threads such as this one, so the child makes it.
    unsafe { command.pre_exec(unshare) };
    command.env_clear().status().map(drop)
}

/// The first kernel whose overlays accept ID-mapped layers.
const OLDEST_KERNEL: (u32, u32) = (5, 19);

fn id_mapping() -> Check {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_os_string());
    let release = release.unwrap_or_default();
    let release = release.to_string_lossy();
    let result = match version(&release) {
        Some(version) if version >= OLDEST_KERNEL => Ok(format!("Linux {release}")),
        _ => Err(format!(
            "Linux {release} is too old to map the owners of an instance's files: use 5.19 or newer"
        )),
    };
    check("kernel", true, result)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Checks that the host has a package database. Instances see only the files of
/// packages.
fn base_layer(settings: &BaseSettings) -> Check {
    let how = if settings.copy { "copies" } else { "links" };
    let place = settings.directory.display();
    let result = match (
        base::packages_are_known(),
        Bases::new(settings.clone()).is_built(),
    ) {
        (false, _) => Err(
            "instances need the package database of dpkg or rpm, and neither is installed"
                .to_owned(),
        ),
        (true, true) => Ok(format!("{place} contains {how} of the packages' files")),
        (true, false) => Ok(format!(
            "the first start fills {place} with {how} of the packages' files"
        )),
    };
    check("base layer", true, result)
}

/// Checks that instances can have disks of limited size.
fn disks() -> Check {
    let loops = Path::new("/dev/loop-control").exists();
    let result = match (program("mkfs.ext4"), loops) {
        (Some(_), true) => Ok(format!(
            "each instance has {} GiB of ext4",
            image::GIBIBYTES
        )),
        (None, _) => Err("`mkfs.ext4` is missing: install e2fsprogs".to_owned()),
        (_, false) => Err(
            "/dev/loop-control is missing: load the kernel module `loop`, or give the \
             container that device and /dev/loop*"
                .to_owned(),
        ),
    };
    check("disks", true, result)
}

/// Checks which file systems a volume can have.
fn volumes() -> Check {
    let result = program("mkfs.xfs").map(|_| "volumes can have ext4 or XFS");
    let missing = "volumes can have ext4, but not XFS: `mkfs.xfs` is missing, install xfsprogs";
    check("volumes", false, result.ok_or(missing))
}

/// Checks which resources can be limited.
fn limits() -> Check {
    let missing = Cgroups::of_host().map(|cgroups| cgroups.missing());
    let result = match missing {
        Ok(missing) if missing.is_empty() => {
            Ok("memory, pids and cpu, by instance type".to_owned())
        }
        Ok(missing) => Err(format!(
            "instances are not limited in {}: no mounted cgroup has the controllers",
            missing.join(", ")
        )),
        Err(error) => Err(format!("cannot read the mounted cgroups: {error}")),
    };
    check("limits", false, result)
}

/// Checks that the kernel can filter system calls, the second line of defense
/// behind user namespaces.
fn system_calls() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let result = status
        .lines()
        .any(|line| line.starts_with("Seccomp:"))
        .then_some("seccomp filters block calls that affect the whole kernel");
    check(
        "calls",
        true,
        result.ok_or("this kernel does not have seccomp filters"),
    )
}

fn veth() -> Check {
    let probe = || -> io::Result<()> {
        let peer = Peer {
            name: "probe1",
            process: None,
            mac: None,
        };
        Routing::open()?.add_veth("probe0", false, &peer)
    };
    let result = probe().map(|()| "virtual network interfaces (veth) work");
    let result = result.map_err(|error| {
        format!(
            "cannot create a virtual network interface ({error}): load the kernel module `veth`"
        )
    });
    check("veth", true, result)
}

fn network() -> Check {
    let free = Routing::open().and_then(|host| subnet::taken(&host));
    let result = match free.map(|taken| subnet::free(&taken, None).next()) {
        Ok(Some(free)) => Ok(format!("{free} is free")),
        Ok(None) => Err("the host has routes to every /20 of 10/8 and 100.64/10".to_owned()),
        Err(error) => Err(format!("cannot read the host's routes: {error}")),
    };
    check("network", true, result)
}

/// Probes in a new network namespace, which ends with its thread.
fn firewall() -> Check {
    let probe = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        firewall::probe()
    };
    let probed = std::thread::spawn(probe).join();
    let probed = probed.unwrap_or_else(|_| Err(io::Error::other("the probe panicked")));
    let result = probed.map(|()| "the kernel's nf_tables enforces security groups");
    let result = result.map_err(|error| {
        format!(
            "cannot filter the traffic of instances ({error}): the kernel needs nf_tables \
             with the family `inet` and connection tracking (modules nf_tables, nft_ct)"
        )
    });
    check("firewall", true, result)
}

fn sudo() -> Check {
    let result = match (program("sudo"), program("setpriv")) {
        (Some(path), _) | (None, Some(path)) => {
            Ok(format!("the login user's sudo uses {}", path.display()))
        }
        (None, None) => {
            Err("instances will not have sudo: install `sudo` or `util-linux` (setpriv)")
        }
    };
    check("sudo", false, result)
}

fn package_manager() -> Check {
    let system = System::of_host();
    let result = match system.package_manager {
        Some(manager) => Ok(format!("{} with {}", system.name, manager.as_str())),
        None => Err(format!("{} has neither apt-get nor dnf", system.name)),
    };
    check("packages", false, result)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn kernel_releases_are_compared_by_number() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.4-rc1"), Some((5, 4)));
        assert!(version("5.9.0") < Some((5, 19)) && version("x") < Some((5, 19)));
    }
}
