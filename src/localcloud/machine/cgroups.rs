//! The cgroup of an instance, which limits memory, processes and CPU time
//! according to the instance type.
//!
//! It uses version 2 where that has the controllers, and version 1 otherwise.
//! On a host with both, each limit is set where its controller is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::boot::Limits;
use super::ids::Ids;

/// The period of the CPU quota, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// How long to wait for the last process of a cgroup to end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Limits {
    fn memory(self) -> u64 {
        u64::from(self.mebibytes) << 20
    }

    /// The limit of processes and threads, far above what a small server needs.
    fn processes(self) -> u32 {
        self.mebibytes.saturating_mul(2).clamp(1024, 16_384)
    }

    fn processor_time(self) -> u64 {
        u64::from(self.vcpus) * PERIOD
    }

    /// The files that set the limits of a controller, with their content.
    fn settings(self, controller: Controller, version: Version) -> Vec<(&'static str, String)> {
        match (controller, version) {
            (Controller::Memory, Version::Two) => vec![
                ("memory.max", self.memory().to_string()),
                ("memory.swap.max", "0".to_owned()),
            ],
            (Controller::Memory, Version::One) => {
                vec![("memory.limit_in_bytes", self.memory().to_string())]
            }
            (Controller::Pids, _) => vec![("pids.max", self.processes().to_string())],
            (Controller::Cpu, Version::Two) => {
                vec![("cpu.max", format!("{} {PERIOD}", self.processor_time()))]
            }
            (Controller::Cpu, Version::One) => vec![
                ("cpu.cfs_period_us", PERIOD.to_string()),
                ("cpu.cfs_quota_us", self.processor_time().to_string()),
            ],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A controller, which limits one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// A mounted cgroup hierarchy, and the controllers that are used in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    place: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// The hierarchies of this host that have controllers.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroups(Vec<Hierarchy>);

impl Cgroups {
    /// Reads the mounted hierarchies.
    pub(super) fn of_host() -> io::Result<Self> {
        let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo")?);
        let controllers = |place: &Path| {
            let text = fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
            Controller::ALL
                .into_iter()
                .filter(|wanted| text.split_whitespace().any(|name| name == wanted.name()))
                .collect()
        };
        let with_controllers = mounts.into_iter().map(|mut found| {
            if found.version == Version::Two {
                found.controllers = controllers(&found.place);
            }
            found
        });
        let used = with_controllers.filter(|found| !found.controllers.is_empty());
        Ok(Self(used.collect()))
    }

    /// The names of the resources that this host cannot limit.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let is_mounted = |wanted: &Controller| {
            let mut hierarchies = self.0.iter();
            hierarchies.any(|hierarchy| hierarchy.controllers.contains(wanted))
        };
        let missing = Controller::ALL
            .into_iter()
            .filter(|wanted| !is_mounted(wanted));
        missing.map(Controller::name).collect()
    }

    /// The cgroup of the instance with these ids, which no other instance has.
    pub(super) fn group(&self, ids: Ids) -> Group {
        let name = format!("autorun-{}", ids.root());
        let places = self.0.iter().map(|hierarchy| Hierarchy {
            place: hierarchy.place.join(&name),
            ..hierarchy.clone()
        });
        Group(places.collect())
    }
}

/// The cgroup of one instance, in every hierarchy.
#[derive(Clone, Debug)]
pub(super) struct Group(Vec<Hierarchy>);

impl Group {
    /// Creates the cgroup with its limits. Removes the remains of an earlier
    /// instance with these ids first.
    pub(super) fn make(&self, limits: Limits) -> io::Result<()> {
        self.remove()?;
        for Hierarchy {
            place,
            version,
            controllers,
        } in &self.0
        {
            if *version == Version::Two {
                enable(place, controllers);
            }
            fs::create_dir(place)?;
            for controller in controllers {
                for (file, value) in limits.settings(*controller, *version) {
                    let path = place.join(file);
                    match fs::write(&path, value) {
                        // A kernel without swap accounting does not have all of
                        // the files.
                        Err(error)
                            if error.kind() != io::ErrorKind::NotFound
                                && error.kind() != io::ErrorKind::PermissionDenied =>
                        {
                            let message = format!("cannot write {}: {error}", path.display());
                            return Err(io::Error::new(error.kind(), message));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves the calling process into the cgroup. Its future children start
    /// there.
    pub(super) fn join(&self) -> io::Result<()> {
        for hierarchy in &self.0 {
            fs::write(hierarchy.place.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Kills the remaining processes and removes the cgroup.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|hierarchy| {
            let removed = remove(&hierarchy.place);
            removed.map_err(|error| {
                let place = hierarchy.place.display();
                io::Error::new(error.kind(), format!("cannot remove {place}: {error}"))
            })
        })
    }
}

/// Enables controllers for the children of the parent cgroup. A
/// failure is only logged: another program may manage the parent.
fn enable(place: &Path, controllers: &[Controller]) {
    let Some(parent) = place.parent() else {
        return;
    };
    for controller in controllers {
        let file = parent.join("cgroup.subtree_control");
        if let Err(error) = fs::write(&file, format!("+{}", controller.name())) {
            log::debug!(
                "cannot enable {} in {}: {error}",
                controller.name(),
                file.display()
            );
        }
    }
}

/// Removes a cgroup. The kernel keeps it busy for a while after its last
/// process.
fn remove(place: &Path) -> io::Result<()> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match fs::remove_dir(place) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                if began.elapsed() > PATIENCE {
                    return Err(error);
                }
                kill_all(place);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn kill_all(place: &Path) {
    let text = fs::read_to_string(place.join("cgroup.procs")).unwrap_or_default();
    for process in text.lines().filter_map(|line| line.parse().ok()) {
        // The process may have ended already.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(process),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

/// Returns the hierarchies in a `mountinfo`. For version 1 the controllers are
/// among the file system's options.
fn mounts(mountinfo: &str) -> Vec<Hierarchy> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let place = PathBuf::from(front.split(' ').nth(4)?);
        let mut back = back.split(' ');
        let version = match back.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        let options = back.nth(1)?;
        let controllers = Controller::ALL.into_iter().filter(|controller| {
            version == Version::One && options.split(',').any(|name| name == controller.name())
        });
        Some(Hierarchy {
            place,
            version,
            controllers: controllers.collect(),
        })
    });
    mounts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read() {
        let mountinfo = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw
";
        let found = mounts(mountinfo);
        let places: Vec<_> = found.iter().map(|found| found.place.clone()).collect();
        let expected = ["cpu,cpuacct", "memory", "unified"];
        assert_eq!(
            places,
            expected.map(|name| Path::new("/sys/fs/cgroup").join(name))
        );
        assert_eq!(found[0].controllers, [Controller::Cpu]);
        assert_eq!(found[1].controllers, [Controller::Memory]);
        assert_eq!(found[2].version, Version::Two);
        assert_eq!(Cgroups(found).missing(), ["pids"]);
    }

    #[test]
    fn limits_are_those_of_the_type() {
        let micro = Limits {
            mebibytes: 1024,
            vcpus: 2,
        };
        let settings = |controller, version| micro.settings(controller, version);
        assert_eq!(
            settings(Controller::Memory, Version::One),
            [("memory.limit_in_bytes", "1073741824".to_owned())]
        );
        assert_eq!(
            settings(Controller::Cpu, Version::Two),
            [("cpu.max", "200000 100000".to_owned())]
        );
        assert_eq!(
            settings(Controller::Pids, Version::Two),
            [("pids.max", "2048".to_owned())]
        );
    }
}
