//! The contents of uploads: a file, or a part of one, in memory while it is sent.
//!
//! Each part is read once. So every attempt sends the bytes of which the checksum is,
//! even if the file changes, and the checksum goes before the contents, in a header.
//! The SDK's own reader sends it behind them, reads the file in small pieces on other
//! threads, and over plain HTTP hashes each piece.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError, Length};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::counted::{Signed, counted};
use super::crc::{Counting, Crc, OF_UPLOADS};
use super::pieces::Piece;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Meter;

/// The memory for all contents that are sent at one time.
const MEMORY: u64 = 64 << 20;

/// The least memory that is reserved.
const UNIT: u64 = 64 << 10;

/// Contents up to this size are read at once: a thread of their own would take longer.
const SMALL: u64 = 64 << 10;

/// How much of a file is read at once where it does not fit into memory.
const BUFFER: usize = 128 << 10;

/// Reads the contents of uploads.
#[derive(Debug)]
pub(crate) struct Payloads {
    memory: Semaphore,
    /// Whether another machine could change contents on their way, so that signatures
    /// must cover them.
    is_open: bool,
}

impl Payloads {
    pub(crate) fn new(is_open: bool) -> Self {
        Self {
            memory: Semaphore::new(units(MEMORY)),
            is_open,
        }
    }

    /// Reads a part of a file, as soon as there is memory for it. A part that is larger
    /// than all the memory is read while it is sent.
    pub(super) async fn read(
        &self,
        file: &Path,
        piece: Piece,
        buffers: &Buffers,
        meter: &Meter,
    ) -> Result<Payload<'_>> {
        if piece.length > MEMORY {
            let stream = stream(file, piece)
                .await
                .map_err(|e| unreadable(file, &e))?;
            return Ok(Payload {
                body: counted(stream, meter.clone(), Signed::Headers),
                crc: None,
                _memory: None,
            });
        }
        let wanted = u32::try_from(units(piece.length)).unwrap_or(u32::MAX);
        let memory = self.memory.acquire_many(wanted).await;
        let memory = memory.map_err(|e| Error::internal(format!("cannot reserve memory: {e}")))?;
        let (bytes, crc) = if piece.length <= SMALL {
            read_piece(file, piece, buffers)
        } else {
            let (path, buffers) = (file.to_owned(), buffers.clone());
            let read = tokio::task::spawn_blocking(move || read_piece(&path, piece, &buffers));
            let read = read.await;
            read.map_err(|e| Error::internal(format!("cannot read a part of a file: {e}")))?
        }
        .map_err(|e| unreadable(file, &e))?;
        let signed = if self.is_open || piece.length <= SMALL {
            Signed::Contents
        } else {
            Signed::Headers
        };
        Ok(Payload {
            body: counted(bytes.into(), meter.clone(), signed),
            crc: Some(crc),
            _memory: Some(memory),
        })
    }
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX)
}

/// The contents of one request. Their memory is free again when it is dropped.
pub(super) struct Payload<'a> {
    pub(super) body: ByteStream,
    /// The checksum; `None` if the contents are read while they are sent.
    pub(super) crc: Option<Crc>,
    _memory: Option<SemaphorePermit<'a>>,
}

/// The memory of contents that were sent, for the next contents of the same file: the
/// first use of each page costs as much as copying to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// Returns an empty buffer.
    fn take(&self, capacity: usize) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_default();
        buffer.clear();
        buffer.reserve_exact(capacity);
        buffer
    }
}

/// Contents that give their memory back.
struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(std::mem::take(&mut self.bytes));
    }
}

fn read_piece(file: &Path, piece: Piece, buffers: &Buffers) -> io::Result<(Bytes, Crc)> {
    let length = usize::try_from(piece.length).unwrap_or(usize::MAX);
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(piece.offset))?;
    // Not zeroed first, which would touch the memory once more.
    let mut bytes = buffers.take(length);
    file.take(piece.length).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut counting = Counting::new(OF_UPLOADS);
    counting.update(&bytes);
    let home = buffers.clone();
    Ok((Bytes::from_owner(Lent { bytes, home }), counting.finish()))
}

async fn stream(file: &Path, piece: Piece) -> std::result::Result<ByteStream, ByteStreamError> {
    ByteStream::read_from()
        .path(file)
        .offset(piece.offset)
        .length(Length::Exact(piece.length))
        .buffer_size(BUFFER)
        .build()
        .await
}

fn unreadable(file: &Path, error: &impl fmt::Display) -> Error {
    let message = format!("cannot read `{}`: {error}", file.display());
    Error::new(ErrorKind::NotFound, message)
        .hint("the file must not change or be removed during the upload")
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;

    use super::*;
    use crate::report::Reporter;

    fn meter() -> Meter {
        Reporter::quiet().meter("file", 0)
    }

    fn file(length: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = (0..length).map(|n| u8::try_from(n % 251).unwrap());
        std::fs::write(file.path(), bytes.collect::<Vec<u8>>()).unwrap();
        file
    }

    /// The SDK hashes and signs a body that it finds in memory.
    fn is_hashed(payload: Payload<'_>) -> bool {
        let body: SdkBody = payload.body.into_inner();
        body.bytes().is_some()
    }

    #[tokio::test]
    async fn a_part_is_sent_as_it_is_in_the_file() {
        let length = 3 << 20;
        let file = file(length);
        let piece = Piece {
            number: 1,
            offset: 1 << 20,
            length: 2 << 20,
        };
        let payloads = Payloads::new(false);
        let read = async || {
            payloads
                .read(file.path(), piece, &Buffers::default(), &meter())
                .await
                .unwrap()
        };
        let payload = read().await;
        let sent = payload.body.collect().await.unwrap().into_bytes();
        let whole = std::fs::read(file.path()).unwrap();
        assert_eq!(sent, whole[1 << 20..]);
        let mut counting = Counting::new(OF_UPLOADS);
        counting.update(&sent);
        assert_eq!(payload.crc, Some(counting.finish()));
        assert!(!is_hashed(read().await));
        assert!(is_hashed(
            Payloads::new(true)
                .read(file.path(), piece, &Buffers::default(), &meter())
                .await
                .unwrap()
        ));
        file.as_file().set_len(2 << 20).unwrap();
        let error = payloads
            .read(file.path(), piece, &Buffers::default(), &meter())
            .await;
        assert_eq!(error.err().unwrap().kind, ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn the_memory_of_sent_contents_is_used_again() {
        let file = file(3 << 20);
        let piece = |number: u8, length| Piece {
            number: number.into(),
            offset: u64::from(number - 1) << 20,
            length,
        };
        let (payloads, buffers) = (Payloads::new(false), Buffers::default());
        let whole = std::fs::read(file.path()).unwrap();
        for piece in [piece(1, 1 << 20), piece(2, 1 << 20), piece(3, 5)] {
            let payload = payloads
                .read(file.path(), piece, &buffers, &meter())
                .await
                .unwrap();
            assert!(buffers.0.lock().unwrap().is_empty());
            let sent = payload.body.collect().await.unwrap().into_bytes();
            let from = usize::try_from(piece.offset).unwrap();
            assert_eq!(sent, whole[from..from + sent.len()]);
            assert_eq!(sent.len() as u64, piece.length);
            drop(sent);
            let spare = buffers.0.lock().unwrap();
            assert_eq!((spare.len(), spare[0].capacity()), (1, 1 << 20));
        }
    }

    #[tokio::test]
    async fn contents_wait_for_memory() {
        let file = file(1);
        file.as_file().set_len(MEMORY).unwrap();
        let payloads = Payloads::new(false);
        let all = Piece::whole(MEMORY);
        let first = payloads
            .read(file.path(), all, &Buffers::default(), &meter())
            .await
            .unwrap();
        assert_eq!(payloads.memory.available_permits(), 0);
        drop(first);
        assert_eq!(payloads.memory.available_permits(), units(MEMORY));
        // It does not fit, so it is read while it is sent.
        file.as_file().set_len(MEMORY + 1).unwrap();
        let larger = Piece::whole(MEMORY + 1);
        let larger = payloads
            .read(file.path(), larger, &Buffers::default(), &meter())
            .await
            .unwrap();
        assert_eq!(larger.crc, None);
    }
}
