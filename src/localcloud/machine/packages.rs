//! Finds the host's outdated packages. Machines hold them, so that a rehearsal
//! of "upgrade the system" takes seconds.
//!
//! apt runs with separate package lists and without the host's hooks, so that
//! nothing on the host changes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::system::program;
use crate::clock;

const HOST_LISTS: &str = "/var/lib/apt/lists";
const HOST_STATUS: &str = "/var/lib/dpkg/status";

/// How many seconds an answer stays valid.
const FRESH: i64 = 12 * 3600;

/// The name of the file with the cached answer.
const ANSWER: &str = "behind.json";

/// How long apt may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The packages of the host.
#[derive(Clone, Debug)]
pub(super) struct Packages {
    /// The text of a `dpkg` status file that holds the outdated packages.
    pub(super) status: String,
    /// A directory of package lists, up to date if they could be fetched.
    pub(super) lists: PathBuf,
    /// The number of held packages.
    pub(super) held: usize,
}

/// The cached answer in the state directory.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// The time of the answer, in seconds since 1970.
    at: i64,
    /// The host's status file: its modification time and its size.
    status: (i64, i64, u64),
    /// The directory of package lists.
    lists: PathBuf,
    /// The names of outdated packages, such as `libc6:amd64` or `nginx`.
    behind: BTreeSet<String>,
}

/// Returns the packages of the host, if possible from the cache. Returns `None`
/// where they cannot be determined; failures are only logged.
pub(super) async fn prepare(state_dir: &Path) -> Option<Packages> {
    let apt_get = program("apt-get")?;
    let place = Place {
        apt_get,
        directory: state_dir.join("packages"),
    };
    match place.answer().await.and_then(packages_of) {
        Ok(packages) => Some(packages),
        Err(error) => {
            log::warn!("cannot determine the host's outdated packages: {error}");
            None
        }
    }
}

/// Copies what another cloud has determined, so that this one need not do it again.
/// A failure costs only time.
pub(crate) fn adopt(from: &Path, to: &Path) {
    let copied = fs::create_dir_all(to)
        .and_then(|()| fs::copy(from.join(ANSWER), to.join(ANSWER)).map(drop));
    if let Err(error) = copied {
        log::info!("the outdated packages are not known from another cloud: {error}");
    }
}

struct Place {
    apt_get: PathBuf,
    directory: PathBuf,
}

impl Place {
    async fn answer(&self) -> io::Result<Answer> {
        let status = fingerprint()?;
        if let Some(answer) = self.remembered(status) {
            return Ok(answer);
        }
        fs::create_dir_all(&self.directory)?;
        let lists = match self.fetch_lists().await {
            Ok(lists) => lists,
            Err(error) => {
                log::warn!("cannot fetch package lists, using the host's: {error}");
                self.copy_of_host()?
            }
        };
        let behind = self.simulate(&lists).await?;
        let at = clock::seconds();
        let answer = Answer {
            at,
            status,
            lists,
            behind,
        };
        fs::write(self.answer_file(), serde_json::to_vec(&answer)?)?;
        self.remove_old_lists(&answer.lists)?;
        Ok(answer)
    }

    fn answer_file(&self) -> PathBuf {
        self.directory.join(ANSWER)
    }

    fn remembered(&self, status: (i64, i64, u64)) -> Option<Answer> {
        let text = fs::read(self.answer_file()).ok()?;
        let answer: Answer = serde_json::from_slice(&text).ok()?;
        let age = clock::seconds() - answer.at;
        let lists_exist = answer.lists.is_dir();
        let is_good = (0..FRESH).contains(&age) && answer.status == status && lists_exist;
        is_good.then_some(answer)
    }

    async fn fetch_lists(&self) -> io::Result<PathBuf> {
        let lists = self.directory.join(format!("lists-{}", clock::seconds()));
        let model = self.old_lists().pop().unwrap_or_else(|| HOST_LISTS.into());
        copy_lists(&model, &lists)?;
        fs::create_dir_all(lists.join("partial"))?;
        self.apt_get(&lists, &["update", "--error-on=any"]).await?;
        Ok(lists)
    }

    fn copy_of_host(&self) -> io::Result<PathBuf> {
        let lists = self
            .directory
            .join(format!("lists-{}-host", clock::seconds()));
        copy_lists(Path::new(HOST_LISTS), &lists)?;
        Ok(lists)
    }

    async fn simulate(&self, lists: &Path) -> io::Result<BTreeSet<String>> {
        let output = self.apt_get(lists, &["-s", "dist-upgrade"]).await?;
        Ok(upgradable(&output))
    }

    async fn apt_get(&self, lists: &Path, args: &[&str]) -> io::Result<String> {
        let settings = self.directory.join("apt.conf");
        fs::write(&settings, apt_settings(lists))?;
        let output = Command::new(&self.apt_get)
            .arg("-qq")
            .arg("-c")
            .arg(&settings)
            .args(args)
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await??;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().next().unwrap_or("no error message");
        Err(io::Error::other(format!(
            "apt-get {}: {first}",
            args.join(" ")
        )))
    }

    /// Returns the directories of package lists, the oldest first.
    fn old_lists(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let paths = entries.map(|entry| entry.path());
        let is_lists = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(b"lists-")
        };
        let mut found: Vec<_> = paths.filter(is_lists).collect();
        found.sort();
        found
    }

    fn remove_old_lists(&self, current: &Path) -> io::Result<()> {
        for old in self.old_lists() {
            if old != current {
                fs::remove_dir_all(old)?;
            }
        }
        Ok(())
    }
}

/// Applies an answer to the host's status file.
fn packages_of(answer: Answer) -> io::Result<Packages> {
    let text = fs::read_to_string(HOST_STATUS)?;
    let (status, held) = with_holds(&text, &answer.behind);
    Ok(Packages {
        status,
        lists: answer.lists,
        held,
    })
}

fn fingerprint() -> io::Result<(i64, i64, u64)> {
    let found = fs::metadata(HOST_STATUS)?;
    Ok((found.mtime(), found.mtime_nsec(), found.len()))
}

/// Returns apt settings that override the host's. apt reads them last.
fn apt_settings(lists: &Path) -> String {
    let lists = lists.display();
    format!(
        "#clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         Dir::State::lists \"{lists}\";\n\
         Dir::Cache::pkgcache \"\";\n\
         Dir::Cache::srcpkgcache \"\";\n\
         Debug::NoLocking \"true\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"1\";\n\
         Acquire::http::Timeout \"15\";\n\
         Acquire::https::Timeout \"15\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
    )
}

/// Copies package lists with their modification times, from which apt tells
/// servers what it already has.
fn copy_lists(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let metadata = entry.metadata()?;
        let name = entry.file_name();
        let is_desktop = name.to_string_lossy().contains("_dep11_");
        if metadata.is_file() && name != "lock" && !is_desktop {
            let copy = to.join(name);
            fs::copy(entry.path(), &copy)?;
            fs::File::open(&copy)?.set_modified(metadata.modified()?)?;
        }
    }
    Ok(())
}

/// Returns the names in lines such as `Inst bash [5.2-1] (5.2-2 Debian:12
/// [amd64])`. A line without the first brackets is about a package that is not
/// yet installed.
fn upgradable(simulation: &str) -> BTreeSet<String> {
    let lines = simulation.lines();
    let names = lines.filter_map(|line| {
        let mut words = line.strip_prefix("Inst ")?.split(' ');
        let name = words.next()?;
        words.next()?.starts_with('[').then(|| name.to_owned())
    });
    names.collect()
}

const INSTALLED: &str = "Status: install ok installed";

/// Returns the status file with these packages held, and the number of held
/// packages.
fn with_holds(status: &str, behind: &BTreeSet<String>) -> (String, usize) {
    let mut held = 0;
    let mut result = String::with_capacity(status.len());
    for paragraph in status.split_inclusive("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let name = field("Package:").unwrap_or_default();
        let arch = field("Architecture:").unwrap_or_default();
        let is_behind = behind.contains(name) || behind.contains(&format!("{name}:{arch}"));
        if is_behind && paragraph.contains(INSTALLED) {
            held += 1;
            result += &paragraph.replacen(INSTALLED, "Status: hold ok installed", 1);
        } else {
            result += paragraph;
        }
    }
    (result, held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_are_outdated() {
        let simulation = "Inst bash [5.2-1] (5.2-2 Debian:12 [amd64])\n\
            Inst linux-image-6.1 (6.1.2 Debian [amd64])\n\
            Inst libx:i386 [1] (2 Debian [i386]) []\nConf bash (5.2-2)\n";
        let names: Vec<_> = upgradable(simulation).into_iter().collect();
        assert_eq!(names, ["bash", "libx:i386"]);
    }

    #[test]
    fn packages_are_held_in_the_status_file() {
        let status = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\n\n\
            Package: dash\nStatus: install ok installed\nArchitecture: amd64\n\n\
            Package: libx\nStatus: install ok installed\nArchitecture: amd64\n\n\
            Package: libx\nStatus: install ok installed\nArchitecture: i386\n";
        let behind = BTreeSet::from(["bash".to_owned(), "libx:i386".to_owned()]);
        let (text, held) = with_holds(status, &behind);
        assert_eq!(held, 2);
        assert!(text.starts_with("Package: bash\nStatus: hold ok installed\n"));
        assert!(text.ends_with("Status: hold ok installed\nArchitecture: i386\n"));
        assert_eq!(text.matches("Status: install ok installed").count(), 2);
    }
}
