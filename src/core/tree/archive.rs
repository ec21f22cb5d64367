//! Reads a tar stream from an untrusted host, one header at a time, with a
//! limit on everything that it keeps in memory.
//!
//! The long names that GNU tar and pax put before a header are supported. Other
//! attributes are ignored, and sparse files are refused, because the copy did
//! not request them.

use std::io::{Error, ErrorKind, Read, Result};

use tar::{EntryType, Header};

/// The block size of tar.
const BLOCK: usize = 512;

/// The longest name or attribute record before a header, in bytes.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// The maximum number of records before one header.
const MOST_EXTENSIONS: usize = 8;

/// The longest padding after the end, in bytes. tar pads its last record, whose
/// size the host chooses.
const LONGEST_PADDING: u64 = 1 << 20;

/// An entry of the stream.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Vec<u8>,
    pub(super) kind: EntryType,
    /// The target of a link.
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u32,
    /// The modification time, in seconds since 1970.
    pub(super) changed: u64,
}

/// The values from the records before a header.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// A tar stream; see the module.
pub(super) struct Archive<R> {
    from: R,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from }
    }

    /// Returns the next entry, or `None` at the end of the stream, after
    /// checking that only padding follows. The caller must already have read
    /// the contents of the previous file.
    pub(super) fn next_item(&mut self) -> Result<Option<Item>> {
        let mut before = Extension::default();
        for _ in 0..=MOST_EXTENSIONS {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number_of(header.entry_size())?;
            match header.entry_type() {
                EntryType::GNULongName => before.name = Some(self.text(size)?),
                EntryType::GNULongLink => before.link = Some(self.text(size)?),
                EntryType::XHeader => before.read(&self.extension(size)?)?,
                // Global attributes that would apply to all entries; none of
                // them matters here.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                kind => {
                    let link = header.link_name_bytes().unwrap_or_default();
                    return Ok(Some(Item {
                        name: before.name.unwrap_or(header.path_bytes().into_owned()),
                        kind,
                        link: before.link.unwrap_or(link.into_owned()),
                        size: before.size.unwrap_or(size),
                        mode: number_of(header.mode())? & 0o777,
                        changed: number_of(header.mtime())?,
                    }));
                }
            }
        }
        Err(invalid("too many records before one header"))
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return self.end().map(|()| None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum counts its own field as blanks.
        let (place, around) = (148..156, block.iter().enumerate());
        let bytes = around.map(|(at, byte)| if place.contains(&at) { b' ' } else { *byte });
        if bytes.map(u32::from).sum::<u32>() == number_of(header.cksum())? {
            Ok(Some(header))
        } else {
            Err(invalid("a damaged header"))
        }
    }

    /// Checks that only zeros follow the end, and not without limit.
    fn end(&mut self) -> Result<()> {
        let mut left = LONGEST_PADDING;
        let mut rest = [0; 8 * BLOCK];
        loop {
            let n = match self.from.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            left = left.saturating_sub(n as u64);
            if left == 0 || rest[..n].iter().any(|byte| *byte != 0) {
                return Err(invalid("data after its end"));
            }
        }
    }

    /// Fills the buffer.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.from.read_exact(bytes).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => invalid("it is incomplete"),
            _ => e,
        })
    }

    /// Reads a record before a header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LONGEST_EXTENSION {
            return Err(invalid("a name that is too long"));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill(&mut bytes)?;
        self.skip_padding(size)?;
        Ok(bytes)
    }

    /// Reads a name, which may end with a NUL.
    fn text(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut text = self.extension(size)?;
        if text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    /// Passes the contents of a file to `consume` piece by piece.
    pub(super) fn content(
        &mut self,
        size: u64,
        mut consume: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut piece = vec![0; 64 << 10];
        let mut left = size;
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            self.fill(&mut piece[..n])?;
            consume(&piece[..n])?;
            left -= n as u64;
        }
        self.skip_padding(size)
    }

    /// Skips the padding to a full block.
    fn skip_padding(&mut self, size: u64) -> Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        let mut padding = [0; BLOCK];
        match over {
            0 => Ok(()),
            over => self.fill(&mut padding[over..]),
        }
    }
}

impl Extension {
    /// Reads the relevant attributes from lines of the form `LENGTH KEY=VALUE`,
    /// whose values may contain any bytes.
    fn read(&mut self, mut lines: &[u8]) -> Result<()> {
        let odd = || invalid("attributes in an unknown form");
        while !lines.is_empty() {
            let blank = lines
                .iter()
                .position(|byte| *byte == b' ')
                .ok_or_else(odd)?;
            let length: usize = number(&lines[..blank]).ok_or_else(odd)?;
            let line = lines.get(blank + 1..length).ok_or_else(odd)?;
            let line = line.strip_suffix(b"\n").ok_or_else(odd)?;
            let equals = line.iter().position(|byte| *byte == b'=').ok_or_else(odd)?;
            let (key, value) = (&line[..equals], &line[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value).ok_or_else(odd)?),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(invalid("a sparse file"));
                }
                _ => {}
            }
            lines = &lines[length..];
        }
        Ok(())
    }
}

/// Converts the error of a number in a header. The error of the crate repeats
/// the whole header.
fn number_of<T>(number: Result<T>) -> Result<T> {
    number.map_err(|_| invalid("a damaged header"))
}

/// Parses decimal digits, without a sign or spaces.
fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Creates the error for a stream that the host should not have sent.
pub(super) fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
