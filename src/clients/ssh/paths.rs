//! Files and directories on hosts: the programs that copy them, and what those
//! say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::remote;

/// A program that copies a file, for [`super::Ssh::run`]: it writes a hidden file
/// beside the target, checks its size, sets the mode and renames it.
#[must_use]
pub fn copy(name: &str, target: &str, size: u64, mode: u32) -> String {
    remote::copy(name, target, size, mode)
}

/// How a host unpacks directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tar {
    /// GNU tar, which knows of holes in files.
    Gnu,
    /// Another tar.
    Other,
    /// There is none.
    Missing,
}

impl Tar {
    /// A program that says it.
    pub const COMMAND: &str = remote::TAR;

    /// What [`Tar::COMMAND`] said.
    #[must_use]
    pub fn of(said: &str) -> Self {
        match said.trim() {
            "gnu" => Self::Gnu,
            "tar" => Self::Other,
            _ => Self::Missing,
        }
    }
}

/// A program that makes a directory of what it reads: of [`crate::clients::tree::pack`],
/// or of [`crate::clients::tree::spell`] where there is no tar. It is built under a hidden
/// name and then moved to `target`; with `replace` it takes the place of what is
/// there, else that is added to.
#[must_use]
pub fn make_tree(tar: Tar, name: &str, target: &str, replace: bool) -> String {
    match tar {
        Tar::Missing => remote::build(name, target, replace),
        Tar::Gnu | Tar::Other => remote::unpack(name, target, replace),
    }
}

/// A program that says what a path is: [`Looked`].
#[must_use]
pub fn look(path: &str) -> String {
    remote::look(path)
}

/// What a path on a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A file: its size, and its permissions as `ls` shows them.
    File(u64, u32),
    /// A directory: how it can be packed, and its whole path.
    Directory(Tar, String),
}

impl Looked {
    /// What [`look`] said.
    #[must_use]
    pub fn of(said: &str) -> Option<Self> {
        let (kind, rest) = said.split_once(' ')?;
        let (first, second) = rest.split_once(' ')?;
        Some(match kind {
            "file" => Self::File(first.parse().ok()?, permissions(second)?),
            "directory" => {
                Self::Directory(Tar::of(first), second.trim_end_matches('\n').to_owned())
            }
            _ => return None,
        })
    }
}

/// `-rw-r--r--` as a number; without what makes a file another user's program.
fn permissions(shown: &str) -> Option<u32> {
    let letters: Vec<char> = shown.chars().skip(1).take(9).collect();
    if letters.iter().any(|c| !"rwxstST-".contains(*c)) {
        return None;
    }
    let bit = |(n, c): (usize, &char)| match c {
        'r' | 'w' | 'x' | 's' | 't' => 0o400 >> n,
        _ => 0,
    };
    (letters.len() == 9).then(|| letters.iter().enumerate().map(bit).sum())
}

/// A program that gives so many bytes of a file.
#[must_use]
pub fn give_file(path: &str, size: u64) -> String {
    remote::give_file(path, size)
}

/// A program that gives a directory as a tar stream.
#[must_use]
pub fn give_tree(path: &str) -> String {
    remote::give_tree(path)
}

/// A program that says what is in a directory: [`Listed`].
#[must_use]
pub fn list_tree(path: &str) -> String {
    remote::list_tree(path)
}

/// One thing in a directory of a host without tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `d`, `l` or `f`, as `find` has it.
    pub kind: char,
    /// Its permissions.
    pub mode: u32,
    /// Its path below the directory.
    pub below: PathBuf,
}

impl Listed {
    /// What [`list_tree`] said; nothing if that makes no sense.
    #[must_use]
    pub fn all(said: &[u8]) -> Option<Vec<Self>> {
        let lines = said.split(|b| *b == 0).filter(|line| !line.is_empty());
        lines.map(Self::of).collect()
    }

    fn of(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line.get(..13)?).ok()?;
        let below = OsStr::from_bytes(line.get(13..)?);
        Some(Self {
            kind: text.chars().next().filter(|kind| "dlf".contains(*kind))?,
            mode: permissions(text.get(2..)?)?,
            below: PathBuf::from(below),
        })
    }
}
