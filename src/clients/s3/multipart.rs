//! Uploads in parts, several at the same time. Parts that S3 already has are not sent
//! again.
//!
//! S3 keeps the parts of an unfinished upload, and charges for them, until the
//! upload is completed or aborted. Callers record an upload before it begins.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::crc::{Counting, Crc, OF_UPLOADS};
use super::payload::Buffers;
use super::pieces::{Piece, pieces};
use super::upload_id::UploadId;
use super::{Content, S3};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::RESOURCE_METADATA;
use crate::report::{Meter, Reporter};

/// The size in bytes above which a file is uploaded in parts.
pub const IN_PARTS_ABOVE: u64 = 16 << 20;

/// The smallest parts: the least that S3 accepts.
const SMALLEST_PART: u64 = 5 << 20;

/// The largest parts, unless the file needs more than 10,000 of them.
const LARGEST_PART: u64 = 16 << 20;

/// How many parts of one file are sent at the same time.
const AT_ONCE: usize = 12;

/// How much of a file is read at once.
const BUFFER: usize = 128 << 10;

/// The end of an upload in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// S3 has the object.
    Complete,
    /// The upload does not exist: it was completed or aborted before.
    Gone,
}

/// A part that S3 has.
pub(super) struct Stored {
    tag: String,
    size: u64,
    crc: Option<Crc>,
}

impl S3<'_> {
    /// Begins an upload in parts, with the metadata of the object.
    pub async fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        content: Content<'_>,
    ) -> Result<UploadId> {
        let attempt = format!("upload `{}` to `{bucket}`", content.file.display());
        pieces(content.size, usual_part(content.size))?;
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .content_type(content.kind);
        if let Some(row) = content.row {
            request = request.metadata(RESOURCE_METADATA, row);
        }
        if self.sends_checksums() {
            request = request
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .checksum_type(ChecksumType::FullObject);
        }
        self.begin((bucket, key), request, &attempt).await
    }

    /// Returns whether an upload is neither complete nor aborted.
    pub async fn upload_exists(&self, upload: &UploadId) -> Result<bool> {
        Ok(self.stored_parts(upload).await?.is_some())
    }

    /// Sends the parts that S3 does not have and completes the upload. A part
    /// that S3 has is kept if its checksum is that of the file's part.
    ///
    /// Throws the same kinds as [`Self::send_parts`].
    pub async fn send_missing_parts(
        &self,
        upload: &UploadId,
        content: Content<'_>,
        report: &Reporter,
    ) -> Result<Sent> {
        match self.stored_parts(upload).await? {
            Some(stored) => self.send_others(upload, content, &stored, report).await,
            None => Ok(Sent::Gone),
        }
    }

    /// Sends all parts of a new upload and completes it.
    ///
    /// Throws `invalid_option` if the file changes meanwhile. After an error,
    /// the parts stay for the next attempt.
    pub async fn send_parts(
        &self,
        upload: &UploadId,
        content: Content<'_>,
        report: &Reporter,
    ) -> Result<Sent> {
        let none = HashMap::new();
        self.send_others(upload, content, &none, report).await
    }

    /// Sends the parts that are not `stored` and completes the upload.
    async fn send_others(
        &self,
        upload: &UploadId,
        content: Content<'_>,
        stored: &HashMap<i32, Stored>,
        report: &Reporter,
    ) -> Result<Sent> {
        let before = state(content.file)?;
        if before.0 != content.size {
            return Err(changed(content.file));
        }
        let meter = &report.meter(&upload.key, content.size);
        let buffers = &Buffers::default();
        let sends = pieces(content.size, usual_part(content.size))?
            .into_iter()
            .map(async |piece| {
                if let Some(part) = stored.get(&piece.number)
                    && is_same(part, content.file, piece).await?
                {
                    meter.add(piece.length);
                    return Ok(Sealed::new(piece, &part.tag, part.crc));
                }
                self.send_part(upload, (content.file, piece), buffers, meter)
                    .await
            });
        let sent = stream::iter(sends).buffer_unordered(AT_ONCE);
        let parts = match sent.try_collect::<Vec<Sealed>>().await {
            Ok(parts) => parts,
            Err(Failed::Gone) => return Ok(Sent::Gone),
            Err(Failed::Because(error)) => return Err(error),
        };
        if state(content.file)? != before {
            return Err(changed(content.file));
        }
        self.complete(upload, content, parts).await
    }

    async fn send_part(
        &self,
        UploadId { bucket, key, id }: &UploadId,
        (file, piece): (&Path, Piece),
        buffers: &Buffers,
        meter: &Meter,
    ) -> std::result::Result<Sealed, Failed> {
        let mut payload = self.payloads.read(file, piece, buffers, meter).await?;
        let mut request = self
            .client
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(id)
            .part_number(piece.number)
            .body(std::mem::take(&mut payload.body));
        if self.sends_checksums() {
            request = match payload.crc {
                Some(crc) => request.checksum_crc64_nvme(crc.encode()),
                None => request.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme),
            };
        }
        match request.send().await {
            Ok(answer) => {
                let crc = answer.checksum_crc64_nvme();
                let crc = crc.and_then(|text| Crc::decode(OF_UPLOADS, text, piece.length));
                Ok(Sealed::new(piece, answer.e_tag().unwrap_or_default(), crc))
            }
            Err(e) if code(&e) == Code::NoSuchUpload => Err(Failed::Gone),
            Err(e) => {
                let attempt = format!("upload `{}` to `{bucket}`", file.display());
                Err(Failed::Because(aws_error(&attempt, &e)))
            }
        }
    }

    /// Makes an object of the parts. If S3 has all their checksums, it compares
    /// the object with their combination.
    async fn complete(
        &self,
        UploadId { bucket, key, id }: &UploadId,
        content: Content<'_>,
        mut parts: Vec<Sealed>,
    ) -> Result<Sent> {
        parts.sort_by_key(|part| part.piece.number);
        let crcs: Option<Vec<Crc>> = parts.iter().map(|part| part.crc).collect();
        let whole = crcs.map(|crcs| {
            let empty = Crc::empty(OF_UPLOADS);
            crcs.into_iter().fold(empty, Crc::followed_by).encode()
        });
        let parts = parts.iter().map(Sealed::named).collect();
        let named = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let kind = whole.as_ref().map(|_| ChecksumType::FullObject);
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(id)
            .multipart_upload(named.build())
            .set_checksum_type(kind)
            .set_checksum_crc64_nvme(whole.clone());
        match request.send().await {
            Ok(_) => Ok(Sent::Complete),
            // The answer to an earlier attempt may have been lost.
            Err(e) if code(&e) == Code::NoSuchUpload => {
                let complete = match whole {
                    Some(whole) => self.has_checksum(bucket, key, content, &whole).await?,
                    None => false,
                };
                Ok(if complete { Sent::Complete } else { Sent::Gone })
            }
            Err(e) => {
                let attempt = format!("upload `{}` to `{bucket}`", content.file.display());
                Err(aws_error(&attempt, &e))
            }
        }
    }

    /// Returns the parts that S3 has, by number, or `None` if the upload does
    /// not exist.
    pub(super) async fn stored_parts(
        &self,
        UploadId { bucket, key, id }: &UploadId,
    ) -> Result<Option<HashMap<i32, Stored>>> {
        let request = self.client.list_parts();
        let request = request.bucket(bucket).key(key).upload_id(id);
        let mut pages = request.into_paginator().send();
        let mut all = HashMap::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(e) if matches!(code(&e), Code::NoSuchUpload | Code::NoSuchBucket) => {
                    return Ok(None);
                }
                // Its parts are not known, so all are sent again.
                Err(e) if self.lacks(code(&e)) => return Ok(Some(HashMap::new())),
                Err(e) => {
                    let attempt = format!("list the parts of the upload of `{key}` to `{bucket}`");
                    return Err(aws_error(&attempt, &e));
                }
            };
            for part in page.parts() {
                let size = part.size().and_then(|size| u64::try_from(size).ok());
                let size = size.unwrap_or(0);
                let crc = part.checksum_crc64_nvme();
                let stored = Stored {
                    tag: part.e_tag().unwrap_or_default().to_owned(),
                    size,
                    crc: crc.and_then(|text| Crc::decode(OF_UPLOADS, text, size)),
                };
                all.insert(part.part_number().unwrap_or(0), stored);
            }
        }
        Ok(Some(all))
    }

    /// Returns whether S3 has the object as the file is, with its row.
    pub async fn has_uploaded(
        &self,
        bucket: &str,
        key: &str,
        content: Content<'_>,
    ) -> Result<bool> {
        let crc = file_crc(content.file, Piece::whole(content.size)).await?;
        self.has_checksum(bucket, key, content, &crc.encode()).await
    }

    async fn has_checksum(
        &self,
        bucket: &str,
        key: &str,
        content: Content<'_>,
        crc: &str,
    ) -> Result<bool> {
        let request = self.client.head_object().bucket(bucket).key(key);
        let request = request.checksum_mode(ChecksumMode::Enabled);
        match request.send().await {
            Ok(about) => {
                let row = about.metadata().and_then(|all| all.get(RESOURCE_METADATA));
                Ok(about.checksum_crc64_nvme() == Some(crc)
                    && row.map(String::as_str) == content.row)
            }
            Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 404) => Ok(false),
            Err(e) => Err(aws_error(&format!("look for `{key}` in `{bucket}`"), &e)),
        }
    }

    /// Returns whether the SDK sends checksums without being asked. It does not
    /// if the configuration says `when_required`, for servers that refuse them.
    pub(super) fn sends_checksums(&self) -> bool {
        let setting = self.client.config().request_checksum_calculation();
        setting != Some(&RequestChecksumCalculation::WhenRequired)
    }
}

/// Returns the usual size of a part of a file.
///
/// Over a long distance, many small parts arrive sooner than a few large ones, because
/// the rate of each connection has to grow. More parts than are sent at the same time
/// would only be more requests.
fn usual_part(size: u64) -> u64 {
    let each = size.div_ceil(AT_ONCE as u64).next_multiple_of(1 << 20);
    each.clamp(SMALLEST_PART, LARGEST_PART)
}

/// A part that is ready for the completion of its upload.
struct Sealed {
    piece: Piece,
    tag: String,
    crc: Option<Crc>,
}

impl Sealed {
    fn new(piece: Piece, tag: &str, crc: Option<Crc>) -> Self {
        Self {
            piece,
            tag: tag.to_owned(),
            crc,
        }
    }

    fn named(&self) -> CompletedPart {
        CompletedPart::builder()
            .part_number(self.piece.number)
            .e_tag(&self.tag)
            .set_checksum_crc64_nvme(self.crc.map(Crc::encode))
            .build()
    }
}

/// Why a part was not sent.
enum Failed {
    /// The upload does not exist.
    Gone,
    Because(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

/// Returns whether S3 has the same content as the file. A part without a
/// checksum is sent again.
async fn is_same(part: &Stored, file: &Path, piece: Piece) -> Result<bool> {
    let Some(crc) = part.crc.filter(|_| part.size == piece.length) else {
        return Ok(false);
    };
    Ok(file_crc(file, piece).await? == crc)
}

async fn file_crc(file: &Path, piece: Piece) -> Result<Crc> {
    let path = file.to_owned();
    let crc = tokio::task::spawn_blocking(move || crc_of(&path, piece)).await;
    crc.map_err(|e| Error::internal(format!("cannot read a part of a file: {e}")))?
        .map_err(|e| Error::io("read", file, &e))
}

fn crc_of(file: &Path, piece: Piece) -> std::io::Result<Crc> {
    let file = File::open(file)?;
    let mut counting = Counting::new(OF_UPLOADS);
    let mut buffer = vec![0; BUFFER];
    let mut done = 0;
    while done < piece.length {
        let left = usize::try_from(piece.length - done).unwrap_or(BUFFER);
        let some = &mut buffer[..left.min(BUFFER)];
        file.read_exact_at(some, piece.offset + done)?;
        counting.update(some);
        done += some.len() as u64;
    }
    Ok(counting.finish())
}

fn changed(file: &Path) -> Error {
    Error::invalid(format!(
        "`{}` changed while it was uploaded",
        file.display()
    ))
    .hint("upload it again when it no longer changes")
}

/// Returns the size of a file and the time of its last change.
fn state(file: &Path) -> Result<(u64, i64, i64)> {
    let about = std::fs::metadata(file).map_err(|e| Error::io("read", file, &e))?;
    Ok((about.size(), about.mtime(), about.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_part_is_that_of_its_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "xx123456789yy").unwrap();
        let piece = Piece {
            number: 1,
            offset: 2,
            length: 9,
        };
        assert_eq!(crc_of(file.path(), piece).unwrap().encode(), "rosUhgp5mIg=");
        let beyond = Piece {
            length: 12,
            ..piece
        };
        assert!(crc_of(file.path(), beyond).is_err());
    }
}
