//! A tar stream as a host sends it, read without trust: a header at a time, and
//! nothing of it is kept that is not bounded.
//!
//! The names that GNU tar and pax put before a header are joined to it. What else
//! they can say, as of files with holes, was not asked for.

use std::io::{Error, ErrorKind, Read, Result};

use tar::{EntryType, Header};

/// tar moves in blocks of this size.
const BLOCK: usize = 512;

/// A name or attributes before a header are no longer.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// So many of them stand before one header at most.
const MOST_EXTENSIONS: usize = 8;

/// tar fills up its last record, whose size the host chooses.
const LONGEST_FILLING: u64 = 1 << 20;

/// One thing in the stream.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Vec<u8>,
    pub(super) kind: EntryType,
    /// Where a link leads to.
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u32,
    /// Seconds.
    pub(super) changed: u64,
}

/// What stood before a header.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// See the module.
pub(super) struct Archive<R> {
    from: R,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from }
    }

    /// The next thing; nothing at the end of the stream, behind which nothing
    /// more came. The bytes of a file must have been taken.
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
                // It says of all what matters to none here.
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
        Err(nonsense("too many names for one thing"))
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        self.take(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return self.end().map(|()| None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The sum counts its own place as blanks.
        let (place, around) = (148..156, block.iter().enumerate());
        let bytes = around.map(|(at, byte)| if place.contains(&at) { b' ' } else { *byte });
        if bytes.map(u32::from).sum::<u32>() == number_of(header.cksum())? {
            Ok(Some(header))
        } else {
            Err(nonsense("a damaged header"))
        }
    }

    /// Behind the end come zeros, and not for ever.
    fn end(&mut self) -> Result<()> {
        let mut left = LONGEST_FILLING;
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
                return Err(nonsense("more behind its end"));
            }
        }
    }

    /// Reads all that fits.
    fn take(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.from.read_exact(bytes).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => nonsense("not all of it"),
            _ => e,
        })
    }

    /// What stands before a header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LONGEST_EXTENSION {
            return Err(nonsense("a name without end"));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.take(&mut bytes)?;
        self.skip_filling(size)?;
        Ok(bytes)
    }

    /// A name, which ends with a NUL.
    fn text(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut text = self.extension(size)?;
        if text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    /// Gives the bytes of a file piece by piece.
    pub(super) fn content(
        &mut self,
        size: u64,
        mut give: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut piece = vec![0; 64 << 10];
        let mut left = size;
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            self.take(&mut piece[..n])?;
            give(&piece[..n])?;
            left -= n as u64;
        }
        self.skip_filling(size)
    }

    /// Content fills whole blocks.
    fn skip_filling(&mut self, size: u64) -> Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        let mut filling = [0; BLOCK];
        match over {
            0 => Ok(()),
            over => self.take(&mut filling[over..]),
        }
    }
}

impl Extension {
    /// Takes what matters of lines as `LENGTH KEY=VALUE`, whose values may hold
    /// anything.
    fn read(&mut self, mut lines: &[u8]) -> Result<()> {
        let odd = || nonsense("attributes in an unknown form");
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
                    return Err(nonsense("a file with holes"));
                }
                _ => {}
            }
            lines = &lines[length..];
        }
        Ok(())
    }
}

/// A number in a header. tar's own error repeats the header.
fn number_of<T>(number: Result<T>) -> Result<T> {
    number.map_err(|_| nonsense("a damaged header"))
}

/// Decimal digits and nothing else.
fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// What a host should not have sent.
pub(super) fn nonsense(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
