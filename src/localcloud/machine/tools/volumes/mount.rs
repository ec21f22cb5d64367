//! `mount`, for volumes.

use std::path::Path;

use super::super::super::init::client::ask_for_volumes;
use super::super::super::init::control::Reply;
use super::super::super::volumes::{Flags, Mount, Request, Volume};
use super::super::options::{Known, Value, parse};
use super::super::unsupported;
use super::fstab::{self, Entry};
use super::{MOUNT_FAILURE, canonical, find, pass_on, volumes};

const KNOWN: [Known; 12] = [
    (Some('a'), "all", Value::No),
    (Some('t'), "types", Value::Required),
    (Some('o'), "options", Value::Required),
    (Some('r'), "read-only", Value::No),
    (Some('w'), "rw", Value::No),
    (Some('v'), "verbose", Value::No),
    (Some('n'), "no-mtab", Value::No),
    (Some('m'), "mkdir", Value::Optional),
    (Some('L'), "label", Value::Required),
    (Some('U'), "uuid", Value::Required),
    (None, "source", Value::Required),
    (None, "target", Value::Required),
];

/// What the options ask for.
#[derive(Debug, Default)]
struct Asked {
    all: bool,
    kind: Option<String>,
    options: String,
    makes_directory: bool,
    source: Option<String>,
    target: Option<String>,
}

pub(super) fn run(args: &[String]) -> Reply {
    // An option that is not known here is one of the system's own program.
    let Ok((given, words)) = parse("mount", &KNOWN, args) else {
        return pass_on("mount", args);
    };
    let mut asked = Asked::default();
    for (name, value) in given {
        let value = value.unwrap_or_default();
        match name {
            "all" => asked.all = true,
            "types" => asked.kind = Some(value),
            "options" => add(&mut asked.options, &value),
            "read-only" => add(&mut asked.options, "ro"),
            "mkdir" => asked.makes_directory = true,
            "label" => asked.source = Some(format!("LABEL={value}")),
            "uuid" => asked.source = Some(format!("UUID={value}")),
            "source" => asked.source = Some(value),
            "target" => asked.target = Some(value),
            _ => {}
        }
    }
    if asked.all {
        return if words.is_empty() && asked.kind.is_none() && asked.options.is_empty() {
            fstab::mount_all()
        } else {
            unsupported("mount", "-a with a type, an option or a directory")
        };
    }
    let mut words = words.into_iter();
    if asked.source.is_none() && asked.target.is_none() && words.len() == 1 {
        let word = words.next().unwrap_or_default();
        return mount_entry(&word, &asked, args);
    }
    let source = asked.source.take().or_else(|| words.next());
    let target = asked.target.take().or_else(|| words.next());
    let (Some(source), Some(target)) = (source, target) else {
        return pass_on("mount", args);
    };
    let all = volumes();
    match find(&all, &source) {
        Some(volume) => {
            if asked.makes_directory
                && let Err(error) = std::fs::create_dir_all(&target)
            {
                return Reply::failure(format!("mount: {target}: {error}"), MOUNT_FAILURE);
            }
            mount(volume, &target, asked.kind.as_deref(), &asked.options)
        }
        None => pass_on("mount", args),
    }
}

fn add(options: &mut String, more: &str) {
    if !options.is_empty() {
        options.push(',');
    }
    options.push_str(more);
}

/// Mounts what `/etc/fstab` has for a device or a directory.
fn mount_entry(word: &str, asked: &Asked, args: &[String]) -> Reply {
    let all = volumes();
    let is_wanted =
        |entry: &Entry| entry.source == word || canonical(&entry.directory) == canonical(word);
    let entry = fstab::entries().into_iter().find(is_wanted);
    match entry.and_then(|entry| Some((find(&all, &entry.source)?, entry))) {
        Some((volume, entry)) => {
            let mut options = entry.options;
            add(&mut options, &asked.options);
            mount(volume, &entry.directory, Some(&entry.kind), &options)
        }
        None => pass_on("mount", args),
    }
}

/// Mounts a volume.
pub(super) fn mount(volume: &Volume, target: &str, kind: Option<&str>, options: &str) -> Reply {
    let failure =
        |reason: &str| Reply::failure(format!("mount: {target}: {reason}."), MOUNT_FAILURE);
    let flags = match flags(options) {
        Ok(flags) => flags,
        Err(option) => return unsupported("mount", &format!("-o {option}")),
    };
    let content = volume.content.as_ref();
    let found = content.map(|content| content.kind.as_str());
    if let (Some(kind), Some(found)) = (kind, found)
        && kind != "auto"
        && kind != found
    {
        return failure(&format!(
            "wrong fs type, bad option, bad superblock on {}: it has the file system {found}",
            volume.device
        ));
    }
    let directory = canonical(target);
    if !Path::new(&directory).is_dir() {
        return failure("mount point does not exist");
    }
    let request = Mount {
        device: volume.device.clone(),
        directory,
        flags,
    };
    match ask_for_volumes(&Request::Mount(request)) {
        Ok(_) => Reply::default(),
        Err(reason) => failure(&reason),
    }
}

/// Reads the options of a mount. Fails with one that would have no effect.
fn flags(options: &str) -> Result<Flags, &str> {
    let mut flags = Flags::default();
    for option in options.split(',').map(str::trim) {
        match option {
            "ro" => flags.read_only = true,
            "rw" => flags.read_only = false,
            "noexec" => flags.no_exec = true,
            "exec" => flags.no_exec = false,
            "nosuid" => flags.no_suid = true,
            "suid" => flags.no_suid = false,
            "noatime" => flags.no_atime = true,
            "atime" | "relatime" => flags.no_atime = false,
            // What every mount of a volume here does, what decides about boots
            // only, and what a copy of a volume needs elsewhere.
            "" | "defaults" | "auto" | "noauto" | "nofail" | "nodev" | "nouser" | "async"
            | "_netdev" | "nodiratime" | "nouuid" | "discard" => {}
            other if other.starts_with("x-systemd.") || other.starts_with("comment=") => {}
            other => return Err(other),
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_mount_are_known_or_refused() {
        let read = flags("defaults,nofail,ro,noatime,x-systemd.device-timeout=5").unwrap();
        assert!(read.read_only && read.no_atime && !read.no_exec && !read.no_suid);
        assert!(!flags("ro,rw").unwrap().read_only);
        assert_eq!(flags("defaults,usrquota"), Err("usrquota"));
        assert_eq!(flags("remount,ro"), Err("remount"));
    }
}
