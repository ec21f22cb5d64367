//! Reads content from disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::Body;
use tokio::task::spawn_blocking;

use super::super::failure::{Result, internal};
use super::blob::Blob;
use super::record::Object;

/// How many bytes are read at a time.
const CHUNK: u64 = 1 << 20;
/// How many reads run concurrently for one answer.
const AHEAD: usize = 2;

/// A part of a file.
struct Slice {
    blob: Arc<Blob>,
    offset: u64,
    size: u64,
}

impl Slice {
    fn read(&self) -> io::Result<Bytes> {
        let size = usize::try_from(self.size).map_err(io::Error::other)?;
        let mut bytes = vec![0; size];
        File::open(self.blob.path())?.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes.into())
    }
}

/// Returns a range of an object as an answer's body. A small range is read at
/// once, so this function must run on a thread that may block.
pub(in super::super) fn body(object: &Object, range: Range<u64>) -> Result<Body> {
    let slices = slices(object, range);
    if let [slice] = &slices[..] {
        let bytes = slice.read().map_err(|error| lost(&error))?;
        return Ok(Body::from(bytes));
    }
    let frames = stream(slices).map_ok(Frame::data);
    Ok(Body::http_body_unsync(StreamBody::new(frames)))
}

/// Returns a range of an object as a stream of pieces.
pub(in super::super) fn content(
    object: &Object,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    stream(slices(object, range))
}

fn stream(slices: Vec<Slice>) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::iter(slices)
        .map(|slice| spawn_blocking(move || slice.read()))
        .buffered(AHEAD)
        .map(|read| read.map_err(io::Error::other).flatten())
        .map_err(|error| lost(&error))
}

fn lost(error: &io::Error) -> s3s::S3Error {
    internal("read content", error)
}

/// Returns the slices of files that contain a range of an object, each of at most
/// [`CHUNK`] bytes.
fn slices(object: &Object, range: Range<u64>) -> Vec<Slice> {
    let mut slices = Vec::new();
    let mut start = 0;
    for (piece, blob) in object.record.pieces.iter().zip(&object.blobs) {
        let end = start + piece.size;
        let mut at = range.start.max(start);
        while at < range.end.min(end) {
            let size = CHUNK.min(range.end.min(end) - at);
            slices.push(Slice {
                blob: Arc::clone(blob),
                offset: at - start,
                size,
            });
            at += size;
        }
        start = end;
    }
    slices
}
