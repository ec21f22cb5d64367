//! The user and group ids of an instance: a range of host ids without an
//! account, mapped to 0 and above in the instance.

use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use serde::{Deserialize, Serialize};

/// The number of ids of an instance.
const COUNT: u32 = 65_536;

/// The first host id of the first range. `systemd` assigns no ids from here up
/// to 0x7ffe_0000, where the last range ends.
const FIRST: u32 = 0x7000_0000;
const RANGES: u32 = 4_094;

/// A range of ids, by its first host id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Ids(u32);

impl Ids {
    /// Returns the numbers of all ranges in which no account of the host has an
    /// id.
    pub(super) fn free() -> Vec<u32> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut taken = Vec::new();
        for path in ["/etc/passwd", "/etc/group"] {
            taken.extend(read(path).lines().filter_map(account));
        }
        for path in ["/etc/subuid", "/etc/subgid"] {
            taken.extend(read(path).lines().filter_map(subordinate));
        }
        free(&taken)
    }

    /// Returns the range with this number.
    pub(super) fn of_range(number: u32) -> Self {
        Self(FIRST + number * COUNT)
    }

    /// Returns the number of the range.
    pub(super) fn range(self) -> u32 {
        (self.0 - FIRST) / COUNT
    }

    /// Returns the host id of the instance's root.
    pub(super) fn root(self) -> u32 {
        self.0
    }

    /// Writes the id map of a process's user namespace.
    pub(super) fn map(self, process: i32) -> io::Result<()> {
        let map = format!("0 {} {COUNT}\n", self.0);
        let process = Path::new("/proc").join(process.to_string());
        fs::write(process.join("uid_map"), &map)?;
        fs::write(process.join("gid_map"), &map)
    }

    /// Runs file operations with the ids of the instance's root and the
    /// capabilities of the host's root. New files belong to the instance.
    pub(super) fn act_as_root<T>(self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let held = rustix::thread::capabilities(None)?;
        setfsgid(Gid::from_raw(self.0));
        setfsuid(Uid::from_raw(self.0));
        // Changing the file system uid from 0 dropped the file capabilities.
        rustix::thread::set_capabilities(None, held)?;
        let result = work();
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        rustix::thread::set_capabilities(None, held)?;
        result
    }
}

fn free(taken: &[(u32, u32)]) -> Vec<u32> {
    let is_free = |number: &u32| {
        let first = u64::from(Ids::of_range(*number).0);
        let end = first + u64::from(COUNT);
        !taken.iter().any(|(start, count)| {
            let start = u64::from(*start);
            start < end && first < start + u64::from(*count)
        })
    };
    (0..RANGES).filter(is_free).collect()
}

/// Parses the id in a line of passwd or group.
fn account(line: &str) -> Option<(u32, u32)> {
    Some((line.split(':').nth(2)?.parse().ok()?, 1))
}

/// Parses the first id and the count in a line of subuid or subgid.
fn subordinate(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_with_accounts_are_not_used() {
        assert_eq!(free(&[]).len(), 4_094);
        assert_eq!(free(&[(0, 1), (1000, 1), (100_000, 65_536)]).len(), 4_094);
        let taken = [
            account("x:x:1879048192:1000::/:/bin/sh").unwrap(),
            subordinate("ada:1879113729:65536").unwrap(),
        ];
        assert_eq!(free(&taken)[0], 3);
        assert_eq!(subordinate("broken"), None);
    }

    #[test]
    fn the_last_range_ends_below_the_ids_of_systemd() {
        assert_eq!(Ids::of_range(4_093).root() + (COUNT - 1), 0x7ffd_ffff);
    }
}
