//! Stores the output of commands, for the agents of instances.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Seek as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt as _;

use super::super::backend::Backend;
use super::super::checksum::Algorithm;
use super::super::failure::{Result, internal};
use super::super::store::{Encryption, Tags, receive};
use super::blocking;
use super::stored::Stored;

/// How much of a file is read at a time.
const PIECE: usize = 1 << 20;

/// Stores a file as an object.
pub(in super::super) async fn store_output(
    backend: &Backend,
    bucket: &str,
    key: &str,
    mut content: File,
) -> Result<()> {
    let bucket = backend.store.bucket(bucket)?;
    let rewound = content.rewind();
    rewound.map_err(|error| internal("read the output of a command", &error))?;
    let pieces = pieces(tokio::fs::File::from_std(content));
    let received = receive(&bucket.data, pieces, Algorithm::Crc64Nvme, None).await?;
    let stored = Stored {
        headers: BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]),
        storage_class: None,
        tags: Tags::default(),
        encryption: Encryption::default(),
    };
    let object = stored.object(key, received);
    blocking(move || Arc::clone(&bucket).put(object, |_| Ok(()))).await?;
    Ok(())
}

/// Returns the content of a file, piece by piece.
fn pieces(file: tokio::fs::File) -> impl Stream<Item = Result<Bytes>> {
    stream::try_unfold(file, async |mut file| {
        let mut piece = Vec::with_capacity(PIECE);
        let read = file.read_buf(&mut piece).await;
        let read = read.map_err(|error| internal("read the output of a command", &error))?;
        Ok((read > 0).then(|| (Bytes::from(piece), file)))
    })
}
