//! Files and directories on hosts: the programs that copy them, and what those
//! say.

use super::remote;

/// A program that copies a file, for [`super::Ssh::run`]: it writes a hidden file
/// beside the target, checks its size, sets the mode and renames it.
#[must_use]
pub fn copy(name: &str, target: &str, size: u64, mode: u32) -> String {
    remote::copy(name, target, size, mode)
}

/// How a host packs and unpacks directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tar {
    /// GNU tar, which knows of holes in files.
    Gnu,
    /// Another tar.
    Other,
}

impl Tar {
    /// A program that says it.
    pub const COMMAND: &str = remote::TAR;

    /// What [`Tar::COMMAND`] said; nothing when there is no tar.
    #[must_use]
    pub fn of(said: &str) -> Option<Self> {
        match said.trim() {
            "gnu" => Some(Self::Gnu),
            "tar" => Some(Self::Other),
            _ => None,
        }
    }
}

/// A program that makes a directory of what [`crate::clients::tree::pack`] wrote.
/// It is built under a hidden name and then moved to `target`; with `replace` it
/// takes the place of what is there, else that is added to.
#[must_use]
pub fn make_tree(name: &str, target: &str, replace: bool) -> String {
    remote::unpack(name, target, replace)
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
    /// A directory: how it can be packed, if there is a tar.
    Directory(Option<Tar>),
}

impl Looked {
    /// What [`look`] said.
    #[must_use]
    pub fn of(said: &str) -> Option<Self> {
        let (kind, rest) = said.split_once(' ')?;
        match kind {
            "file" => {
                let (size, mode) = rest.split_once(' ')?;
                Some(Self::File(size.parse().ok()?, permissions(mode)?))
            }
            "directory" => Some(Self::Directory(Tar::of(rest))),
            _ => None,
        }
    }
}

/// `-rw-r--r--` as a number; without what makes a file another user's program.
fn permissions(shown: &str) -> Option<u32> {
    let letters: Vec<char> = shown.chars().skip(1).collect();
    if letters.len() != 9 {
        return None;
    }
    let bit = |(n, letter): (usize, &char)| match (n % 3, letter) {
        (0, 'r') | (1, 'w') | (2, 'x' | 's' | 't') => Some(0o400 >> n),
        (_, '-') | (2, 'S' | 'T') => Some(0),
        _ => None,
    };
    letters.iter().enumerate().map(bit).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_of_a_path_is_understood_whole_or_not_at_all() {
        let file = |said| Looked::of(said);
        assert_eq!(file("file 12 -rw-r-----"), Some(Looked::File(12, 0o640)));
        assert_eq!(file("file 0 -rwsr-Sr-t"), Some(Looked::File(0, 0o745)));
        for odd in [
            "",
            "file",
            "file 12",
            "file -1 -rw-r--r--",
            "file 99999999999999999999 -rw-r--r--",
            "file 12 -rw-r--r-",
            "file 12 -rw-r--r--x",
            "file 12 -wr-r--r--",
            "file 12 wwwwwwwwww",
            "link 12 -rw-r--r--",
            "directory",
        ] {
            assert_eq!(Looked::of(odd), None, "{odd}");
        }
        assert_eq!(
            Looked::of("directory gnu"),
            Some(Looked::Directory(Some(Tar::Gnu)))
        );
        assert_eq!(Looked::of("directory none"), Some(Looked::Directory(None)));
    }
}
