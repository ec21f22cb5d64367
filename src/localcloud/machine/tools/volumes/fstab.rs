//! `/etc/fstab`, and `mount -a`.

use std::fs;

use super::super::super::init::control::Reply;
use super::super::super::volumes::Volume;
use super::{MOUNT_FAILURE, canonical, find, mount, run_own, volumes};

/// A line of `/etc/fstab`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) source: String,
    pub(super) directory: String,
    pub(super) kind: String,
    pub(super) options: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line
            .split_whitespace()
            .map(|field| field.replace("\\040", " "));
        Some(Self {
            source: fields.next()?,
            directory: fields.next()?,
            kind: fields.next().unwrap_or_else(|| "auto".to_owned()),
            options: fields.next().unwrap_or_default(),
        })
    }

    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }

    /// Whether `mount -a` leaves it out.
    fn is_left_out(&self) -> bool {
        self.has("noauto") || self.kind == "swap" || self.directory == "none"
    }

    /// Whether the source is a disk, and no name that only its type explains.
    fn is_of_disk(&self) -> bool {
        let names = ["/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];
        names.iter().any(|name| self.source.starts_with(name))
    }
}

/// Returns the entries of `/etc/fstab`.
pub(super) fn entries() -> Vec<Entry> {
    let text = fs::read_to_string("/etc/fstab").unwrap_or_default();
    text.lines().filter_map(Entry::parse).collect()
}

/// Mounts what is in `/etc/fstab` and is not mounted yet.
pub(super) fn mount_all() -> Reply {
    let all = volumes();
    let mut total = Reply::default();
    for entry in entries().iter().filter(|entry| !entry.is_left_out()) {
        let reply = mount_one(&all, entry);
        total.err.push_str(&reply.err);
        total.code |= reply.code;
    }
    total
}

fn mount_one(all: &[Volume], entry: &Entry) -> Reply {
    let directory = canonical(&entry.directory);
    match find(all, &entry.source) {
        Some(volume) if volume.mounts.contains(&directory) => Reply::default(),
        Some(volume) => {
            let kind = Some(entry.kind.as_str());
            mount::mount(volume, &entry.directory, kind, &entry.options)
        }
        None if entry.is_of_disk() && entry.has("nofail") => Reply::default(),
        None if entry.is_of_disk() => {
            let (directory, source) = (&entry.directory, &entry.source);
            let message = format!("mount: {directory}: can't find {source}.");
            Reply::failure(message, MOUNT_FAILURE)
        }
        None => Reply {
            code: run_own("mount", &[&entry.directory]),
            ..Reply::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fstab_are_read() {
        let entry = Entry::parse("UUID=ab /srv/my\\040data xfs defaults,nofail 0 2").unwrap();
        assert_eq!(entry.directory, "/srv/my data");
        assert!(entry.has("nofail") && entry.is_of_disk() && !entry.is_left_out());
        assert_eq!(Entry::parse("# a comment"), None);
        assert_eq!(Entry::parse(""), None);
        assert!(Entry::parse("/dev/sdf none swap sw").unwrap().is_left_out());
        assert!(!Entry::parse("tmpfs /scratch tmpfs").unwrap().is_of_disk());
    }

    #[test]
    fn a_disk_that_is_missing_is_an_error_unless_it_may_be() {
        let reply = |line: &str| mount_one(&[], &Entry::parse(line).unwrap());
        let missing = reply("/dev/nvme7n1 /data ext4 defaults");
        assert_eq!(missing.err, "mount: /data: can't find /dev/nvme7n1.\n");
        assert_eq!(missing.code, MOUNT_FAILURE);
        assert_eq!(reply("/dev/nvme7n1 /data ext4 nofail").code, 0);
    }
}
