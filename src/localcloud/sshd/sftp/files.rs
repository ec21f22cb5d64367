//! Executes the requests on files. `wire` parses and writes the packets.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, ReadDir};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::statvfs::{Statvfs, fstatvfs, statvfs};

use super::attributes::{self, Attributes};
use super::kind;
use super::paths::{expand, real, rename};
use super::status::{Answer, END, FAILURE, Failure, UNSUPPORTED, failed, success};
use super::wire::{Fields, MAX_PACKET, Packet};

/// The maximum number of bytes in a read or write request, as in OpenSSH.
const MAX_DATA: usize = MAX_PACKET - 1024;

/// The version of the protocol.
const VERSION: u32 = 3;

/// The maximum number of names in an answer.
const MAX_NAMES: u32 = 100;

// The flags of an open request in the protocol.
const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;
const EXCLUSIVE: u32 = 32;

const EXTENSIONS: [(&str, &str); 8] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

/// The files and directories that a client has opened.
#[derive(Default)]
pub(super) struct Files {
    open: HashMap<u32, Open>,
    last: u32,
}

enum Open {
    File { file: File, append: bool },
    Directory { path: PathBuf, entries: Entries },
}

/// The names of a directory, `.` and `..` first.
struct Entries {
    dots: std::array::IntoIter<&'static str, 2>,
    rest: ReadDir,
}

impl Files {
    /// Returns the answer to a packet.
    pub(super) fn answer(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut fields = Fields(packet);
        let kind = fields.byte().unwrap_or_default();
        if kind == kind::INIT {
            return version();
        }
        let id = fields.number().unwrap_or_default();
        self.act(kind, &mut fields)
            .unwrap_or_else(|failure| failed(&failure))
            .finish(id)
    }

    fn act(&mut self, kind: u8, fields: &mut Fields) -> Answer {
        match kind {
            kind::OPEN => self.open(fields),
            kind::CLOSE => self.close(fields),
            kind::READ => self.read(fields),
            kind::WRITE => self.write(fields),
            kind::LSTAT => stat(fields, Path::symlink_metadata),
            kind::STAT => stat(fields, Path::metadata),
            kind::FSTAT => self.fstat(fields),
            kind::SETSTAT => set(fields, Attributes::set_on_path),
            kind::FSETSTAT => self.fsetstat(fields),
            kind::OPENDIR => self.opendir(fields),
            kind::READDIR => self.readdir(fields),
            kind::REMOVE => done(fs::remove_file(fields.path()?)),
            kind::MKDIR => mkdir(fields),
            kind::RMDIR => done(fs::remove_dir(fields.path()?)),
            kind::REALPATH => Ok(name(&real(fields.path()?)?)),
            kind::RENAME => done(rename(fields.path()?, fields.path()?)),
            kind::READLINK => Ok(name(&fs::read_link(fields.path()?)?)),
            // OpenSSH's order of the arguments, which all clients use: the target
            // of the link, then its path. The draft has the reverse order.
            kind::SYMLINK => done(std::os::unix::fs::symlink(fields.path()?, fields.path()?)),
            kind::EXTENDED => self.extended(fields),
            _ => Err(Failure::Status(UNSUPPORTED, "Operation unsupported")),
        }
    }

    fn extended(&mut self, fields: &mut Fields) -> Answer {
        match fields.string()? {
            b"posix-rename@openssh.com" => done(fs::rename(fields.path()?, fields.path()?)),
            b"hardlink@openssh.com" => done(fs::hard_link(fields.path()?, fields.path()?)),
            b"fsync@openssh.com" => match self.get(fields)? {
                Open::File { file, .. } => done(file.sync_all()),
                Open::Directory { .. } => Err(no_handle()),
            },
            b"statvfs@openssh.com" => Ok(space(&statvfs(fields.path()?)?)),
            b"fstatvfs@openssh.com" => match self.get(fields)? {
                Open::File { file, .. } => Ok(space(&fstatvfs(file)?)),
                Open::Directory { path, .. } => Ok(space(&statvfs(path.as_path())?)),
            },
            b"lsetstat@openssh.com" => set(fields, Attributes::set_on_link),
            b"limits@openssh.com" => Ok(limits()),
            b"expand-path@openssh.com" => Ok(name(&real(&expand(fields.path()?)?)?)),
            _ => Err(Failure::Status(UNSUPPORTED, "Operation unsupported")),
        }
    }

    fn open(&mut self, fields: &mut Fields) -> Answer {
        let path = fields.path()?;
        let flags = fields.number()?;
        let attributes = Attributes::parse(fields)?;
        let on = |flag| flags & flag != 0;
        let file = OpenOptions::new()
            .read(on(READ) || !on(WRITE))
            .write(on(WRITE))
            // As flags of the system call: the methods of `OpenOptions` with these
            // names require that the file is opened for writing; SFTP does not.
            .custom_flags(system_flags(flags))
            .mode(attributes.mode_or(0o666))
            .open(path)?;
        let append = on(APPEND);
        Ok(self.add(Open::File { file, append }))
    }

    fn opendir(&mut self, fields: &mut Fields) -> Answer {
        let path = fields.path()?.to_owned();
        let entries = Entries {
            dots: [".", ".."].into_iter(),
            rest: fs::read_dir(&path)?,
        };
        Ok(self.add(Open::Directory { path, entries }))
    }

    fn add(&mut self, open: Open) -> Packet {
        while self.open.contains_key(&self.last) {
            self.last = self.last.wrapping_add(1);
        }
        self.open.insert(self.last, open);
        Packet::new(kind::HANDLE).string(self.last.to_be_bytes())
    }

    fn get(&mut self, fields: &mut Fields) -> Result<&mut Open, Failure> {
        let handle = handle(fields)?;
        self.open.get_mut(&handle).ok_or_else(no_handle)
    }

    fn file(&mut self, fields: &mut Fields) -> Result<(&mut File, bool), Failure> {
        match self.get(fields)? {
            Open::File { file, append } => Ok((file, *append)),
            Open::Directory { .. } => Err(no_handle()),
        }
    }

    fn close(&mut self, fields: &mut Fields) -> Answer {
        let handle = handle(fields)?;
        self.open.remove(&handle).ok_or_else(no_handle)?;
        Ok(success())
    }

    fn read(&mut self, fields: &mut Fields) -> Answer {
        let (file, _) = self.file(fields)?;
        let offset = fields.long()?;
        let length = (fields.number()? as usize).min(MAX_DATA);
        let mut data = vec![0; length];
        let read = file.read_at(&mut data, offset)?;
        if read == 0 && length > 0 {
            return Err(Failure::Status(END, "End of file"));
        }
        Ok(Packet::new(kind::DATA).string(&data[..read]))
    }

    fn write(&mut self, fields: &mut Fields) -> Answer {
        let (file, append) = self.file(fields)?;
        let offset = fields.long()?;
        let data = fields.string()?;
        done(if append {
            file.write_all(data)
        } else {
            file.write_all_at(data, offset)
        })
    }

    fn fstat(&mut self, fields: &mut Fields) -> Answer {
        let found = match self.get(fields)? {
            Open::File { file, .. } => file.metadata()?,
            Open::Directory { path, .. } => path.metadata()?,
        };
        Ok(attributes::put(Packet::new(kind::ATTRS), &found))
    }

    fn fsetstat(&mut self, fields: &mut Fields) -> Answer {
        let open = self.get(fields)?;
        let attributes = Attributes::parse(fields)?;
        done(match open {
            Open::File { file, .. } => attributes.set_on_file(file),
            Open::Directory { path, .. } => attributes.set_on_path(path),
        })
    }

    fn readdir(&mut self, fields: &mut Fields) -> Answer {
        let Open::Directory { path, entries } = self.get(fields)? else {
            return Err(no_handle());
        };
        let mut names = Packet::new(kind::NAME).number(0);
        let mut count = 0;
        while count < MAX_NAMES {
            let Some(name) = entries.next().transpose()? else {
                break;
            };
            // Skip an entry that was removed meanwhile.
            let Ok(found) = path.join(&name).symlink_metadata() else {
                continue;
            };
            let line = attributes::line(name.as_bytes(), &found);
            names = attributes::put(names.string(name.as_bytes()).string(line), &found);
            count += 1;
        }
        if count == 0 {
            return Err(Failure::Status(END, "End of file"));
        }
        Ok(names.count(count))
    }
}

impl Iterator for Entries {
    type Item = io::Result<OsString>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.dots.next() {
            Some(dots) => Some(Ok(dots.into())),
            None => Some(self.rest.next()?.map(|entry| entry.file_name())),
        }
    }
}

/// Returns the answer to INIT. It contains the version in place of the id of a
/// request.
fn version() -> Vec<u8> {
    let packet = Packet::new(kind::VERSION);
    let with = |packet: Packet, (name, version)| packet.string(name).string(version);
    EXTENSIONS.into_iter().fold(packet, with).finish(VERSION)
}

fn system_flags(flags: u32) -> i32 {
    [
        (APPEND, libc::O_APPEND),
        (CREATE, libc::O_CREAT),
        (TRUNCATE, libc::O_TRUNC),
        (EXCLUSIVE, libc::O_EXCL),
    ]
    .iter()
    .filter(|(flag, _)| flags & flag != 0)
    .fold(0, |all, (_, system)| all | system)
}

fn handle(fields: &mut Fields) -> Result<u32, Failure> {
    let bytes = fields.string()?.try_into().map_err(|_| no_handle())?;
    Ok(u32::from_be_bytes(bytes))
}

fn no_handle() -> Failure {
    Failure::Status(FAILURE, "No such handle")
}

fn done(result: io::Result<()>) -> Answer {
    result?;
    Ok(success())
}

fn stat(fields: &mut Fields, look: impl FnOnce(&Path) -> io::Result<fs::Metadata>) -> Answer {
    let found = look(fields.path()?)?;
    Ok(attributes::put(Packet::new(kind::ATTRS), &found))
}

fn set(fields: &mut Fields, apply: impl FnOnce(&Attributes, &Path) -> io::Result<()>) -> Answer {
    let path = fields.path()?;
    let attributes = Attributes::parse(fields)?;
    done(apply(&attributes, path))
}

fn mkdir(fields: &mut Fields) -> Answer {
    let path = fields.path()?;
    let mode = Attributes::parse(fields)?.mode_or(0o777);
    done(DirBuilder::new().mode(mode).create(path))
}

fn name(path: &Path) -> Packet {
    let path = path.as_os_str().as_bytes();
    let packet = Packet::new(kind::NAME).number(1);
    // The attributes are empty.
    packet.string(path).string(path).number(0)
}

fn space(found: &Statvfs) -> Packet {
    /// The flags that the protocol defines: read-only and no set-user-id programs.
    /// They have the same values as in `statvfs`.
    const FLAGS: u64 = 3;
    Packet::new(kind::EXTENDED_REPLY)
        .long(found.block_size())
        .long(found.fragment_size())
        .long(found.blocks())
        .long(found.blocks_free())
        .long(found.blocks_available())
        .long(found.files())
        .long(found.files_free())
        .long(found.files_available())
        .long(found.filesystem_id())
        .long(found.flags().bits() & FLAGS)
        .long(found.name_max())
}

fn limits() -> Packet {
    Packet::new(kind::EXTENDED_REPLY)
        .long(MAX_PACKET as u64)
        .long(MAX_DATA as u64)
        .long(MAX_DATA as u64)
        // The number of open handles has no limit except the system's.
        .long(0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::status::{NO_SUCH_FILE, OK};
    use super::*;

    fn status_of(answer: &[u8]) -> u32 {
        let mut fields = Fields(&answer[4..]);
        assert_eq!(fields.byte(), Ok(kind::STATUS));
        assert_eq!(fields.number(), Ok(7));
        fields.number().unwrap()
    }

    fn ask(files: &mut Files, packet: Packet) -> Vec<u8> {
        files.answer(&packet.finish(7)[4..])
    }

    fn open(files: &mut Files, path: &Path, flags: u32) -> Vec<u8> {
        let path = path.as_os_str().as_bytes();
        let packet = Packet::new(kind::OPEN).string(path).number(flags).number(0);
        ask(files, packet)
    }

    fn opened(files: &mut Files, path: &Path, flags: u32) -> [u8; 4] {
        let answer = open(files, path, flags);
        assert_eq!(answer[4], kind::HANDLE);
        *answer.last_chunk().unwrap()
    }

    #[test]
    fn files_are_written_appended_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut files = Files::default();
        let file = opened(&mut files, &path, WRITE | CREATE | EXCLUSIVE);
        let write = Packet::new(kind::WRITE).string(file).long(2).string("cd");
        assert_eq!(status_of(&ask(&mut files, write)), OK);
        let write = Packet::new(kind::WRITE).string(file).long(0).string("ab");
        assert_eq!(status_of(&ask(&mut files, write)), OK);
        let more = opened(&mut files, &path, WRITE | APPEND);
        let write = Packet::new(kind::WRITE).string(more).long(0).string("ef");
        assert_eq!(status_of(&ask(&mut files, write)), OK);
        assert_eq!(fs::read(&path).unwrap(), b"abcdef");
        let read = opened(&mut files, &path, READ);
        let answer = ask(
            &mut files,
            Packet::new(kind::READ).string(read).long(4).number(9),
        );
        assert_eq!((answer[4], answer.last_chunk()), (kind::DATA, Some(b"ef")));
        let answer = ask(
            &mut files,
            Packet::new(kind::READ).string(read).long(6).number(9),
        );
        assert_eq!(status_of(&answer), END);
        let again = open(&mut files, &path, WRITE | CREATE | EXCLUSIVE);
        assert_eq!(status_of(&again), FAILURE);
        assert_eq!(
            status_of(&open(&mut files, Path::new("/no/file"), READ)),
            NO_SUCH_FILE
        );
    }

    #[test]
    fn only_posix_rename_replaces_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        let mut files = Files::default();
        let paths = |packet: Packet| {
            packet
                .string(from.as_os_str().as_bytes())
                .string(to.as_os_str().as_bytes())
        };
        let answer = ask(&mut files, paths(Packet::new(kind::RENAME)));
        assert_eq!(status_of(&answer), FAILURE);
        let posix = Packet::new(kind::EXTENDED).string("posix-rename@openssh.com");
        assert_eq!(status_of(&ask(&mut files, paths(posix))), OK);
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert!(!from.exists());
    }

    #[test]
    fn names_may_be_any_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(OsStr::from_bytes(b"caf\xe9"));
        let mut files = Files::default();
        opened(&mut files, &path, WRITE | CREATE);
        assert!(path.exists());
        let listed = directory.path().as_os_str().as_bytes();
        let answer = ask(&mut files, Packet::new(kind::OPENDIR).string(listed));
        let handle: [u8; 4] = *answer.last_chunk().unwrap();
        let names = ask(&mut files, Packet::new(kind::READDIR).string(handle));
        assert!(names.windows(4).any(|name| name == b"caf\xe9"));
        let remove = Packet::new(kind::REMOVE).string(path.as_os_str().as_bytes());
        assert_eq!(status_of(&ask(&mut files, remove)), OK);
        assert!(!path.exists());
    }

    #[test]
    fn a_closed_handle_is_invalid() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::default();
        let path = directory.path().as_os_str().as_bytes();
        let answer = ask(&mut files, Packet::new(kind::OPENDIR).string(path));
        let handle: [u8; 4] = *answer.last_chunk().unwrap();
        let read = || Packet::new(kind::READDIR).string(handle);
        assert_eq!(ask(&mut files, read())[4], kind::NAME);
        assert_eq!(status_of(&ask(&mut files, read())), END);
        let close = Packet::new(kind::CLOSE).string(handle);
        assert_eq!(status_of(&ask(&mut files, close)), OK);
        assert_eq!(status_of(&ask(&mut files, read())), FAILURE);
    }
}
