//! Downloads of large objects: several ranges at the same time, all of the same
//! version of the object.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use crc_fast::CrcAlgorithm;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::S3;
use super::crc::{Counting, Crc, Whole};
use super::pieces::{Piece, pieces};
use super::transfer::broken;
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, ErrorKind, Result};
use crate::pace;
use crate::report::Meter;

/// The size in bytes above which an object is downloaded in ranges.
pub(super) const IN_RANGES_ABOVE: u64 = 64 << 20;

/// The size of a range.
const RANGE: u64 = 16 << 20;

/// How many ranges of one object are requested at the same time.
const AT_ONCE: usize = 8;

/// How often a range is requested if the connection breaks.
const ATTEMPTS: u32 = 5;

/// The pause after the first broken connection; later ones take longer.
const PAUSE: Duration = Duration::from_millis(200);

/// The version of an object that is downloaded.
pub(super) struct Version<'a> {
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) size: u64,
    tag: String,
    whole: Option<Whole>,
}

impl<'a> Version<'a> {
    /// Returns the version that a response begins to return, or `None` if it
    /// has no entity tag to ask for again.
    pub(super) fn of(bucket: &'a str, key: &'a str, answer: &GetObjectOutput) -> Option<Self> {
        let size = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let checksums = [
            (CrcAlgorithm::Crc64Nvme, answer.checksum_crc64_nvme()),
            (CrcAlgorithm::Crc32IsoHdlc, answer.checksum_crc32()),
            (CrcAlgorithm::Crc32Iscsi, answer.checksum_crc32_c()),
        ];
        Some(Self {
            bucket,
            key,
            size: size?,
            tag: answer.e_tag()?.to_owned(),
            whole: Whole::choose(answer.checksum_type(), checksums),
        })
    }

    fn attempt(&self) -> String {
        format!("download `{}` from `{}`", self.key, self.bucket)
    }
}

impl S3<'_> {
    /// Writes all ranges of an object into `file`, and compares its checksum if
    /// S3 has one for the whole object. `path` is the file's name in errors.
    pub(super) async fn download_ranges(
        &self,
        version: &Version<'_>,
        (file, path): (&File, &Path),
        meter: &Meter,
    ) -> Result<()> {
        let failed = |e: std::io::Error| Error::io("write", path, &e);
        reserve(file, version.size).map_err(failed)?;
        let ranges = pieces(version.size, RANGE)?;
        let crcs = ranges.into_iter().map(async |range| {
            self.download_range(version, range, (file, path), meter)
                .await
        });
        let crcs: Vec<Option<Crc>> = stream::iter(crcs).buffered(AT_ONCE).try_collect().await?;
        let Some(whole) = &version.whole else {
            return Ok(());
        };
        let empty = Crc::empty(whole.algorithm);
        let crc = crcs.into_iter().flatten().fold(empty, Crc::followed_by);
        if whole.matches(crc) {
            return Ok(());
        }
        let message = format!("cannot {}: the checksum is wrong", version.attempt());
        Err(Error::new(ErrorKind::Unreachable, message)
            .hint("try again; the partial file was discarded"))
    }

    /// Writes one range. After a broken connection, requests the rest of it.
    async fn download_range(
        &self,
        version: &Version<'_>,
        range: Piece,
        (file, path): (&File, &Path),
        meter: &Meter,
    ) -> Result<Option<Crc>> {
        let mut counting = version
            .whole
            .as_ref()
            .map(|whole| Counting::new(whole.algorithm));
        let mut done = 0;
        let mut attempts = 0;
        while done < range.length {
            attempts += 1;
            let rest = Piece {
                offset: range.offset + done,
                length: range.length - done,
                ..range
            };
            let mut answer = self.request_range(version, rest).await?;
            let broke = loop {
                let chunk = match answer.body.next().await {
                    Some(Ok(chunk)) => chunk,
                    Some(Err(e)) => break broken(&version.attempt(), &e),
                    None => break ended(version),
                };
                // A server must not write beyond its range.
                let left = usize::try_from(range.length - done).unwrap_or(usize::MAX);
                let chunk = &chunk[..chunk.len().min(left)];
                file.write_all_at(chunk, range.offset + done)
                    .map_err(|e| Error::io("write", path, &e))?;
                if let Some(counting) = &mut counting {
                    counting.update(chunk);
                }
                done += chunk.len() as u64;
                meter.add(chunk.len() as u64);
                if done == range.length {
                    return Ok(counting.map(|counting| counting.finish()));
                }
            };
            if attempts == ATTEMPTS {
                return Err(broke);
            }
            pace::sleep(PAUSE * attempts, self.cancel).await?;
        }
        Ok(counting.map(|counting| counting.finish()))
    }

    async fn request_range(&self, version: &Version<'_>, range: Piece) -> Result<GetObjectOutput> {
        let request = self.client.get_object();
        let request = request.bucket(version.bucket).key(version.key);
        let request = request.if_match(&version.tag).range(range.range());
        let answer = request.send().await.map_err(|e| match code(&e) {
            Code::PreconditionFailed | Code::NoSuchKey => changed(version),
            _ => aws_error(&version.attempt(), &e),
        })?;
        // Some servers ignore the condition.
        if answer.e_tag().is_some_and(|tag| tag != version.tag) {
            return Err(changed(version));
        }
        // A server that ignores the range would send the beginning of the
        // object.
        let expected = format!("bytes {}-", range.offset);
        if answer
            .content_range()
            .is_some_and(|given| given.starts_with(&expected))
        {
            return Ok(answer);
        }
        Err(Error::internal(format!(
            "cannot {}: the server does not return ranges of objects",
            version.attempt()
        )))
    }
}

fn changed(version: &Version<'_>) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {}: the object changed meanwhile", version.attempt()),
    )
    .hint("try again; the partial file was discarded")
}

fn ended(version: &Version<'_>) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {}: the response ended early", version.attempt()),
    )
}

/// Sets the size of a file. Reserves the space if the file system can, so that
/// a full disk fails before the transfer.
fn reserve(file: &File, size: u64) -> std::io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(size),
        reserved => reserved.map_err(Into::into),
    }
}
