//! The target paths of a download: a different path below one directory for
//! each object. All paths are checked before anything is written.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Listed, keys};
use crate::error::{Error, Result};

/// The longest file name of common file systems, in bytes.
const LONGEST_NAME: usize = 255;

/// The longest path, in bytes. The system's limit is 4095; the difference
/// leaves room for the temporary name of a file while it is written.
const LONGEST_PATH: usize = 4000;

/// The files and directories that a download creates.
#[derive(Debug)]
pub struct Places {
    /// Directories, parents first.
    pub directories: Vec<PathBuf>,
    /// Each object with the path of its file.
    pub files: Vec<(Listed, PathBuf)>,
}

/// Determines a path below `directory` for each object; all keys begin with
/// `prefix`. An empty object whose key ends with a slash is a directory, as
/// S3's console creates them.
///
/// Throws `invalid_option` if a key does not result in a path below the
/// directory, if two keys need the same file or one of them needs a file where
/// the other needs a directory, and if something else already exists at a path.
pub fn places(directory: &Path, prefix: &str, objects: Vec<Listed>) -> Result<Places> {
    let entries = objects
        .into_iter()
        .map(|object| Entry::new(directory, prefix, object))
        .collect::<Result<Vec<_>>>()?;
    check_clashes(directory, &entries)?;
    check_top(directory)?;
    let needed = directories(&entries, str::to_owned);
    for (name, key) in &needed {
        check_free(&directory.join(name), key, true)?;
    }
    let below = needed.keys().map(|name| directory.join(name));
    let directories = std::iter::once(directory.to_owned()).chain(below).collect();
    let files: Vec<_> = entries
        .into_iter()
        .filter(|entry| !entry.is_directory)
        .map(|entry| {
            let path = directory.join(&entry.name);
            (entry.object, path)
        })
        .collect();
    for (object, path) in &files {
        check_free(path, &object.key, false)?;
    }
    Ok(Places { directories, files })
}

/// Refuses a target path that cannot be a regular file; `given` is the path in
/// the playbook, which may end with a slash.
///
/// Throws `invalid_option`.
pub fn check_file(path: &Path, given: &str) -> Result<()> {
    let what = match fs::metadata(path) {
        Ok(about) if about.is_dir() => "a directory",
        _ if given.ends_with('/') => "the name of a directory",
        // Writing replaces the target, which must not happen to a device.
        Ok(about) if !about.is_file() => "a device, a pipe or a socket",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("`{given}` is {what}")).hint("pass the path of a file"))
}

/// An object and its path below the directory; the path of the directory itself
/// is empty.
struct Entry {
    object: Listed,
    name: String,
    is_directory: bool,
}

impl Entry {
    fn new(directory: &Path, prefix: &str, object: Listed) -> Result<Self> {
        let key = &object.key;
        let is_directory = key.ends_with('/');
        let fault = |fault: &str| {
            let directory = directory.display();
            Error::invalid(format!(
                "the key `{key}` is not a valid path below `{directory}`: {fault}"
            ))
            .hint(match keys::fault(key) {
                None => "use download_file and choose a file name for it",
                Some(_) => "pass a prefix that excludes it",
            })
        };
        if let Some(found) = keys::fault(key) {
            return Err(fault(found));
        }
        let Some(rest) = key.strip_prefix(prefix) else {
            return Err(fault(&format!("it does not begin with `{prefix}`")));
        };
        // A prefix may name a directory without the slash at its end.
        let rest = if prefix.is_empty() || prefix.ends_with('/') {
            rest
        } else {
            rest.strip_prefix('/').unwrap_or(rest)
        };
        if is_directory && object.size > 0 {
            return Err(fault("it ends with a slash, but the object is not empty"));
        }
        if is_directory && rest.is_empty() {
            return Ok(Self {
                object,
                name: String::new(),
                is_directory,
            });
        }
        let name = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(found) = name_fault(name) {
            return Err(fault(found));
        }
        if directory.join(name).as_os_str().len() > LONGEST_PATH {
            return Err(fault("the path is too long"));
        }
        Ok(Self {
            name: name.to_owned(),
            object,
            is_directory,
        })
    }
}

fn name_fault(name: &str) -> Option<&'static str> {
    let mut parts = name.split('/');
    if name.contains('\0') {
        Some("it contains a NUL character")
    } else if name.split('/').any(str::is_empty) {
        Some("a name between its slashes is empty")
    } else if name.split('/').any(|part| part == "." || part == "..") {
        Some("it contains `.` or `..` between slashes")
    } else if parts.any(|part| part.len() > LONGEST_NAME) {
        Some("a name between its slashes has more than 255 bytes")
    } else {
        None
    }
}

/// Returns the directories that entries need, parents first, each with a key
/// that needs it.
fn directories(entries: &[Entry], fold: fn(&str) -> String) -> BTreeMap<String, &str> {
    let mut needed = BTreeMap::new();
    for entry in entries {
        let slashes = entry.name.match_indices('/').map(|(at, _)| at);
        let own = entry.is_directory.then_some(entry.name.len());
        for end in slashes.chain(own).filter(|end| *end > 0) {
            let name = fold(&entry.name[..end]);
            needed.entry(name).or_insert(entry.object.key.as_str());
        }
    }
    needed
}

/// Finds two keys that need the same file, or of which one needs a file where
/// the other needs a directory.
fn clash(entries: &[Entry], fold: fn(&str) -> String) -> Option<(&str, &str)> {
    let directories = directories(entries, fold);
    let mut files = HashMap::new();
    for entry in entries.iter().filter(|entry| !entry.is_directory) {
        let name = fold(&entry.name);
        let key = entry.object.key.as_str();
        if let Some(other) = directories.get(&name) {
            return Some((key, other));
        }
        if let Some(other) = files.insert(name, key) {
            return Some((other, key));
        }
    }
    None
}

fn check_clashes(directory: &Path, entries: &[Entry]) -> Result<()> {
    let error = |(one, other): (&str, &str), why: &str| {
        let directory = directory.display();
        Err(Error::invalid(format!(
            "the keys `{one}` and `{other}` cannot both be downloaded below `{directory}`: {why}"
        ))
        .hint("use download_file for one of them and choose its file name"))
    };
    if let Some(keys) = clash(entries, str::to_owned) {
        return error(keys, "they result in the same path");
    }
    match clash(entries, str::to_lowercase) {
        Some(keys) if ignores_case(directory) => error(
            keys,
            "the file system does not distinguish upper case from lower case",
        ),
        _ => Ok(()),
    }
}

/// Returns whether the file system of a directory, which need not exist,
/// ignores the case of names.
fn ignores_case(directory: &Path) -> bool {
    let existing = directory.ancestors().find(|path| path.is_dir());
    let existing = existing.unwrap_or(Path::new("."));
    let probe = tempfile::Builder::new()
        .prefix(".autorun-case-")
        .tempfile_in(existing);
    // If nothing can be written, no names can clash.
    probe.is_ok_and(|probe| {
        let name = probe.path().file_name().unwrap_or_default();
        let capitals = name.to_ascii_uppercase();
        probe
            .path()
            .with_file_name(capitals)
            .symlink_metadata()
            .is_ok()
    })
}

/// Checks the directory itself, which may be a link because the user chose it.
fn check_top(directory: &Path) -> Result<()> {
    match fs::metadata(directory) {
        Ok(about) if !about.is_dir() => Err(Error::invalid(format!(
            "`{}` is not a directory",
            directory.display()
        ))),
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("read", directory, &e)),
        _ => Ok(()),
    }
}

/// Refuses a path at which something exists that is neither a file to replace
/// nor a directory to use. Links are not followed: they may lead out of the
/// directory, or to the path of another object.
fn check_free(path: &Path, key: &str, for_directory: bool) -> Result<()> {
    let about = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        about => about.map_err(|e| Error::io("write", path, &e))?,
    };
    let what = match about.file_type() {
        kind if kind.is_dir() && for_directory => return Ok(()),
        kind if kind.is_file() && !for_directory => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_file() => "a file",
        _ => "a device, a pipe or a socket",
    };
    Err(Error::invalid(format!(
        "cannot write the key `{key}`: `{}` is {what}",
        path.display()
    ))
    .hint("move it to another place, or choose another directory"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn objects(keys: &[&str]) -> Vec<Listed> {
        let object = |key: &&str| Listed {
            key: (*key).to_owned(),
            size: i64::from(!key.ends_with('/')),
            modified: String::new(),
            etag: String::new(),
        };
        keys.iter().map(object).collect()
    }

    fn files(directory: &Path, prefix: &str, keys: &[&str]) -> Result<Vec<String>> {
        let places = places(directory, prefix, objects(keys))?;
        let below = |path: &PathBuf| path.strip_prefix(directory).unwrap().display().to_string();
        Ok(places.files.iter().map(|(_, path)| below(path)).collect())
    }

    #[test]
    fn the_path_is_the_key_without_the_prefix() {
        let directory = Path::new("/nonexistent");
        let at = |prefix: &str, keys: &[&str]| files(directory, prefix, keys).unwrap();
        assert_eq!(at("", &["a", "b/c", ".d/..e"]), ["a", "b/c", ".d/..e"]);
        assert_eq!(at("2026/", &["2026/", "2026/a"]), ["a"]);
        assert_eq!(at("2026", &["2026/", "2026/a", "2026b"]), ["a", "b"]);
        let created = places(directory, "", objects(&["a/b/", "c/d"])).unwrap();
        let expected = ["", "a", "a/b", "c"].map(|name| directory.join(name));
        assert_eq!(created.directories, expected);
    }

    #[test]
    fn no_key_leads_out_of_the_directory() {
        let long = "x".repeat(256);
        for key in [
            "/a", "a//b", "//", "a//", "..", "../a", "a/../b", "./a", "a/.", "a\0", &long,
        ] {
            let refused = files(Path::new("/nonexistent"), "", &["fine", key]).unwrap_err();
            assert!(refused.to_string().contains(key), "{key:?}: {refused}");
        }
        for (prefix, key) in [
            ("a", "a"),
            ("a", "a//b"),
            ("a/", "a//"),
            ("a.", "a../b"),
            ("a/../", "a/../b"),
            ("b", "a"),
        ] {
            let refused = files(Path::new("/nonexistent"), prefix, &[key]);
            assert!(refused.is_err(), "{prefix} {key}");
        }
        let mut marker = objects(&["a/"]);
        marker[0].size = 1;
        assert!(places(Path::new("/nonexistent"), "", marker).is_err());
    }

    #[test]
    fn two_keys_cannot_share_a_path() {
        for (prefix, one, other) in [
            ("p", "p/a", "pa"),
            ("", "a", "a/b"),
            ("", "a", "a/"),
            ("", "x/a/b", "x/a"),
            ("", "a/b/c/d", "a/b"),
        ] {
            let refused = files(Path::new("/nonexistent"), prefix, &[one, other]).unwrap_err();
            let message = refused.to_string();
            assert!(message.contains(&format!("`{one}`")), "{message}");
            assert!(message.contains(&format!("`{other}`")), "{message}");
        }
        let dir = tempfile::tempdir().unwrap();
        let both = files(dir.path(), "", &["a", "A", "b/c", "B/c"]).unwrap();
        assert_eq!(both.len(), 4);
        // These clash only on a file system that ignores case.
        let entry = |object| Entry::new(dir.path(), "", object).unwrap();
        for (one, other, clashes) in [("a", "A", true), ("a/x", "A", true), ("a/x", "A/y", false)] {
            let entries: Vec<_> = objects(&[one, other]).into_iter().map(entry).collect();
            assert_eq!(clash(&entries, str::to_lowercase).is_some(), clashes);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_file_replaces_a_file_and_only_a_directory_is_reused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink("/etc", at("out")).unwrap();
        symlink(at("directory"), at("in")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let go = |key: &str| files(dir.path(), "", &["new", key]);
        assert!(go("file").is_ok() && go("directory/x").is_ok() && go("directory/").is_ok());
        for key in [
            "directory",
            "file/x",
            "file/",
            "out/passwd",
            "in/x",
            "link",
            "out",
            "dangling",
            "dangling/x",
            "socket",
            "socket/x",
        ] {
            let refused = go(key).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{key}`")), "{refused}");
        }
        assert!(places(&at("file"), "", objects(&["a"])).is_err());
        assert!(places(&at("in"), "", objects(&["a"])).is_ok());
        let check = |name: &str| check_file(&at(name), name);
        assert!(check("file").is_ok() && check("new").is_ok() && check("link").is_ok());
        for name in ["directory", "new/", "file/", "socket", "in"] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check_file(Path::new("/dev/null"), "/dev/null").is_err());
    }
}
