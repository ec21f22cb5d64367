//! What this machine can do for instances, line by line, and why not.

use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkMessageBuilder, LinkVeth};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::CapabilitySet;

use super::disk::layers;
use super::network::switch::connect;
use super::network::{firewall, subnet};
use super::system::{System, program};

/// One thing that instances need or use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether there are no instances without it.
    pub essential: bool,
    /// One line: what works, or why it does not and what to do.
    pub detail: String,
}

/// Looks at everything; nothing is changed that does not vanish at once.
#[must_use]
pub fn checks(state_dir: &Path) -> Vec<Check> {
    let state_dir = state_dir.to_owned();
    // Namespaces are tried on a thread that ends with them.
    let probes = std::thread::spawn(move || probe(&state_dir)).join();
    let mut checks = vec![root(), capabilities()];
    checks.extend(probes.unwrap_or_default());
    checks.extend([network(), firewall(), sudo(), package_manager()]);
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

fn root() -> Check {
    let is_root = nix::unistd::geteuid().is_root();
    let result = is_root.then_some("running as root");
    check("root", true, result.ok_or("not root: run it with sudo"))
}

fn capabilities() -> Check {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    let result = match rustix::thread::capabilities(None) {
        Ok(sets) if sets.effective.contains(needed) => Ok("CAP_SYS_ADMIN and CAP_NET_ADMIN"),
        _ => Err(
            "CAP_SYS_ADMIN or CAP_NET_ADMIN is missing: run it as root, outside of containers \
                  or in a privileged one",
        ),
    };
    check("capabilities", true, result)
}

fn probe(state_dir: &Path) -> Vec<Check> {
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    let mut checks = Vec::new();
    let mut made = unshare(spaces);
    if made.is_ok() {
        checks.extend([overlay(state_dir), veth()]);
        // Last: after it this thread can start no other one.
        made = unshare(CloneFlags::CLONE_NEWPID);
    }
    let result = made
        .map(|()| "mount, network, uts, ipc, pid")
        .map_err(|error| {
            format!("cannot make namespaces ({error}): is this root, and outside of containers?")
        });
    checks.insert(0, check("namespaces", true, result));
    checks
}

/// Disks in memory are the way out, so this is not essential.
fn overlay(state_dir: &Path) -> Check {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let probe = || -> io::Result<()> {
        mount_change("/", private)?;
        let existing = state_dir.ancestors().find(|path| path.is_dir());
        let place = tempfile_below(existing.unwrap_or(Path::new("/")))?;
        let result = layers::probe(&place);
        std::fs::remove_dir(&place)?;
        result
    };
    let place = state_dir.display();
    let result = match probe() {
        Ok(()) => Ok(format!("overlays of / work on {place}")),
        Err(error) => Err(format!(
            "disks will be in memory and end with the local cloud, because {place} cannot hold \
             overlays ({error}): put the state directory on ext4, xfs or btrfs"
        )),
    };
    check("overlay", false, result)
}

fn tempfile_below(directory: &Path) -> io::Result<std::path::PathBuf> {
    let place = directory.join(format!(".autorun-probe-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    Ok(place)
}

fn veth() -> Check {
    let probe = || -> io::Result<()> {
        on_netlink(async |handle| {
            let cable = LinkMessageBuilder::<LinkVeth>::new("probe0", "probe1").build();
            handle.link().add(cable).execute().await
        })
    };
    let result = probe().map(|()| "virtual cables (veth) work");
    let result = result.map_err(|error| {
        format!("cannot make a virtual cable ({error}): load the kernel module `veth`")
    });
    check("veth", true, result)
}

fn network() -> Check {
    let free = on_netlink(async |handle| subnet::taken(&handle).await);
    let result = match free.map(|taken| subnet::free(&taken, None).next()) {
        Ok(Some(free)) => Ok(format!("{free} is free")),
        Ok(None) => Err("no /24 of 10/8 or 100.64/10 is free of the host's routes".to_owned()),
        Err(error) => Err(format!("cannot read the host's routes: {error}")),
    };
    check("network", true, result)
}

/// On a thread of its own: the caller may be on a runtime.
fn on_netlink<T: Send>(
    work: impl AsyncFnOnce(rtnetlink::Handle) -> Result<T, rtnetlink::Error> + Send,
) -> io::Result<T> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async {
            let (handle, connection) = connect()?;
            let result = work(handle).await.map_err(io::Error::other);
            connection.abort();
            result
        })
    };
    std::thread::scope(|scope| {
        let done = scope.spawn(run).join();
        done.unwrap_or_else(|_| Err(io::Error::other("the probe broke")))
    })
}

/// On a thread of its own, whose namespace ends with it.
fn firewall() -> Check {
    let probe = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        firewall::probe()
    };
    let probed = std::thread::spawn(probe).join();
    let probed = probed.unwrap_or_else(|_| Err(io::Error::other("the probe broke")));
    let result = probed.map(|()| "security groups are enforced by the kernel's nf_tables");
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
            Ok(format!("the login user's sudo works by {}", path.display()))
        }
        (None, None) => Err("instances have no sudo: install `sudo` or `util-linux` (setpriv)"),
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
