//! The console output, which `GetConsoleOutput` returns.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Instant;

/// The length in bytes at which the console loses its beginning.
const LONGEST: u64 = 1024 * 1024;

/// The number of bytes that remain then.
const KEPT: usize = 256 * 1024;

/// The console file, which lies outside the machine's file system.
#[derive(Clone, Debug)]
pub(super) struct Console(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    length: Cell<u64>,
    booted: Instant,
}

impl Console {
    /// Wraps a file that is open for reading and appending.
    pub(super) fn new(file: File) -> Self {
        let length = Cell::new(file.metadata().map_or(0, |metadata| metadata.len()));
        let booted = Instant::now();
        Self(Rc::new(Inner {
            file,
            length,
            booted,
        }))
    }

    /// Writes a line in the kernel's format, with the seconds since boot.
    pub(super) fn stamped(&self, text: &str) {
        let seconds = self.0.booted.elapsed().as_secs_f64();
        self.line(&format!("[{seconds:12.6}] {text}"));
    }

    /// Writes a line.
    pub(super) fn line(&self, text: &str) {
        self.write(format!("{text}\r\n").as_bytes());
    }

    /// Writes bytes unchanged. Errors are only logged: a boot must not depend
    /// on its console.
    pub(super) fn write(&self, bytes: &[u8]) {
        if let Err(error) = self.try_write(bytes) {
            log::debug!("cannot write the console: {error}");
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<()> {
        let inner = &self.0;
        (&inner.file).write_all(bytes)?;
        inner.length.set(inner.length.get() + bytes.len() as u64);
        if inner.length.get() > LONGEST {
            self.shorten()?;
        }
        Ok(())
    }

    fn shorten(&self) -> io::Result<()> {
        let inner = &self.0;
        let mut end = vec![0; KEPT];
        let start = inner.length.get().saturating_sub(KEPT as u64);
        let read = inner.file.read_at(&mut end, start)?;
        inner.file.set_len(0)?;
        (&inner.file).write_all(&end[..read])?;
        inner.length.set(read as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_bounded_and_keeps_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = File::options().read(true).append(true).open(file.path());
        let console = Console::new(open.unwrap());
        for number in 0..30_000 {
            console.line(&format!("a line of the console with the number {number}"));
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.len() as u64 <= LONGEST);
        assert!(text.ends_with("number 29999\r\n"));
    }
}
