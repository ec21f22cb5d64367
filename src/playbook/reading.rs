//! Reading the text of a playbook: from a file, a pipe or standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::buffers::Buffers;
use crate::error::{Error, Place, Result};
use crate::report::text;

/// The argument that stands for standard input.
const STDIN: &str = "-";

/// The name of a playbook that was read from standard input, in messages and in the
/// ledger.
const STDIN_NAME: &str = "<stdin>";

/// The longest playbook in bytes. A device such as `/dev/zero` does not end.
const LONGEST: u64 = 16 << 20;

/// The text of a playbook, and where its files are.
pub(super) struct Source {
    /// Its path as it was given, or `<stdin>`.
    pub(super) name: String,
    /// Its text, with `\n` at the end of each line.
    pub(super) text: String,
    /// The directory of its imports, as messages show it.
    pub(super) directory: PathBuf,
}

/// Returns the name of a playbook in messages and in the ledger.
#[must_use]
pub fn name_of(playbook: &Path) -> String {
    if is_stdin(playbook) {
        STDIN_NAME.to_owned()
    } else {
        playbook.display().to_string()
    }
}

/// Returns whether this argument stands for standard input.
#[must_use]
pub fn is_stdin(playbook: &Path) -> bool {
    playbook.as_os_str() == STDIN
}

/// Returns whether the playbook of an earlier run can be read again under its name. A
/// pipe cannot.
#[must_use]
pub fn can_be_read_again(name: &str) -> bool {
    let passing = ["/dev/", "/proc/"];
    name != STDIN_NAME
        && !passing.iter().any(|start| name.starts_with(start))
        // A missing file has an error of its own.
        && Path::new(name).metadata().map_or(true, |about| about.is_file())
}

/// Reads a playbook, from its editor if it has unsaved changes there.
///
/// A file that is not a regular one, such as a pipe, has no directory of its own: its
/// imports are relative to the current directory. The directory of a symbolic link is
/// that of the file, as in Python and Node.js.
pub(super) fn read(playbook: &Path, buffers: &Buffers) -> Result<Source> {
    let name = name_of(playbook);
    if let Some(text) = buffers.get(playbook) {
        return Ok(Source {
            text: text_of(&name, text.as_bytes())?,
            directory: directory_of(playbook),
            name,
        });
    }
    if is_stdin(playbook) {
        let text = text_of(&name, std::io::stdin().lock())?;
        if text.trim().is_empty() {
            return Err(Error::invalid("the playbook on standard input is empty")
                .hint("the program that writes it may have failed"));
        }
        return Ok(Source {
            name,
            text,
            directory: PathBuf::new(),
        });
    }
    let failed = |e: std::io::Error| Error::io("read playbook", playbook, &e);
    let file = std::fs::File::open(playbook).map_err(failed)?;
    let is_regular = file.metadata().map_err(failed)?.is_file();
    let text = text_of(&name, file)?;
    let directory = if is_regular {
        directory_of(playbook)
    } else {
        PathBuf::new()
    };
    Ok(Source {
        name,
        text,
        directory,
    })
}

/// Returns the directory of a file; of a symbolic link, that of its target.
fn directory_of(file: &Path) -> PathBuf {
    let target = file
        .is_symlink()
        .then(|| file.canonicalize().ok())
        .flatten();
    let file = target.as_deref().unwrap_or(file);
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// Reads the text and converts its line ends to `\n`, as Python and JavaScript do. So
/// a script in a playbook that has the line ends of Windows works on an instance.
fn text_of(name: &str, file: impl Read) -> Result<String> {
    let path = Path::new(name);
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read playbook", path, &e))?;
    if bytes.len() as u64 > LONGEST {
        let limit = text::bytes(LONGEST);
        return Err(
            Error::invalid(format!("playbook `{name}` is longer than {limit}"))
                .hint("keep data in files of its own: see `autorun docs read_file`"),
        );
    }
    if let Some(encoding) = other_encoding(&bytes) {
        return Err(
            Error::invalid(format!("playbook `{name}` is {encoding} text, not UTF-8"))
                .hint("save it as UTF-8 in your editor"),
        );
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let what = format!("playbook `{name}` is not text: it contains a NUL byte");
        return Err(unreadable(name, &what, &bytes[..at], 0));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let byte = e.as_bytes()[at];
        let what = format!("playbook `{name}` is not UTF-8 text: byte 0x{byte:02x}");
        unreadable(name, &what, &e.as_bytes()[..at], byte)
    })?;
    Ok(normalized(&text))
}

/// Returns the text without a byte order mark, with `\n` at the end of each line.
pub(super) fn normalized(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Returns the encoding that the first bytes show, if it is not UTF-8.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        // With a mark, or without one: playbooks begin with ASCII characters.
        [0xff, 0xfe, ..]
        | [0xfe, 0xff, ..]
        | [1..=0x7f, 0, 1..=0x7f, 0, ..]
        | [0, 1..=0x7f, 0, 1..=0x7f, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// Returns an error about the byte after the bytes `before`.
fn unreadable(name: &str, what: &str, before: &[u8], byte: u8) -> Error {
    let hint = match byte {
        _ if byte == 0 || before.len() < 4 => {
            "a playbook is a text file in the language Rhai; see `autorun docs`".to_owned()
        }
        0xa1.. => format!(
            "save the file as UTF-8; in Latin-1, this byte is `{}`",
            char::from(byte)
        ),
        _ => "save the file as UTF-8 in your editor".to_owned(),
    };
    let mut error = Error::invalid(what).hint(hint);
    let before = String::from_utf8_lossy(before);
    let line = before.rsplit('\n').next().unwrap_or("");
    error.place = Place {
        source: name.to_owned(),
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    };
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String> {
        text_of("p.rhai", bytes)
    }

    #[test]
    fn marks_and_line_ends_are_accepted() {
        for bytes in [
            b"a\nb\n".as_slice(),
            b"\xef\xbb\xbfa\nb\n",
            b"a\r\nb\r\n",
            b"a\rb\r",
            b"\xef\xbb\xbfa\r\nb\n",
        ] {
            assert_eq!(read(bytes).unwrap(), "a\nb\n", "{bytes:?}");
        }
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read(b"a").unwrap(), "a");
    }

    #[test]
    fn other_files_are_named() {
        for (bytes, what, place) in [
            (b"\xff\xfel\0e\0".as_slice(), "UTF-16 text", (0, 0)),
            (b"\xfe\xff\0l\0e", "UTF-16 text", (0, 0)),
            (b"l\0e\0t\0", "UTF-16 text", (0, 0)),
            (b"\0l\0e\0t", "UTF-16 text", (0, 0)),
            (b"\xff\xfe\0\0l\0\0\0", "UTF-32 text", (0, 0)),
            (b"let a;\nlet b = \"\xe9\";", "byte 0xe9", (2, 10)),
            (b"\x7fELF\x02\x01\0", "NUL", (1, 7)),
            (b"\x89PNG", "byte 0x89", (1, 1)),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!((error.place.line, error.place.column), place, "{error}");
        }
        let long = std::io::repeat(b' ').take(LONGEST + 1);
        let error = text_of("p.rhai", long).unwrap_err();
        assert!(
            error.to_string().ends_with("is longer than 16.0 MiB"),
            "{error}"
        );
        let latin = read(b"let b = \"\xe9\";").unwrap_err();
        assert!(
            latin
                .hint
                .as_ref()
                .unwrap()
                .ends_with("this byte is `\u{e9}`")
        );
    }
}
