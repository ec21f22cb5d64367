//! Lists and downloads objects.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use aws_sdk_s3::types::{ChecksumMode, EncodingType};
use schemars::JsonSchema;
use serde::Serialize;

use super::ranges::{IN_RANGES_ABOVE, Version};
use super::{S3, keys};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Meter, Reporter};

/// An object in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The size in bytes.
    pub size: i64,
    /// The time of the last change, for example `2026-11-25T22:10:03Z`.
    pub modified: String,
    /// The entity tag, without quotes.
    pub etag: String,
}

impl S3<'_> {
    /// Returns the objects whose keys begin with `prefix`, in the order of
    /// their keys.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .encoding_type(EncodingType::Url)
            .into_paginator()
            .send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error(&format!("list bucket `{bucket}`"), &e))?;
            let encoding = page.encoding_type();
            all.extend(page.contents().iter().map(|object| {
                Listed {
                    key: keys::listed(object.key().unwrap_or_default(), encoding),
                    size: object.size().unwrap_or(0),
                    modified: object
                        .last_modified()
                        .map_or_else(String::new, ToString::to_string),
                    etag: object
                        .e_tag()
                        .unwrap_or_default()
                        .trim_matches('"')
                        .to_owned(),
                }
            }));
        }
        Ok(all)
    }

    /// Downloads an object into a file, which gets its name once it is
    /// complete. Verifies the size, and the checksum if S3 has one. A large
    /// object is downloaded in several ranges at the same time. Returns the
    /// size in bytes.
    ///
    /// Throws `not_found`, `quota_exceeded` if the disk is full.
    pub async fn download(
        &self,
        bucket: &str,
        key: &str,
        file: &Path,
        report: &Reporter,
    ) -> Result<u64> {
        let attempt = format!("download `{key}` from `{bucket}`");
        let mut answer = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(|e| match code(&e) {
                Code::NoSuchKey => aws_error(&attempt, &e).hint(format!(
                    "list_objects(\"{bucket}\") returns the existing keys"
                )),
                _ => aws_error(&attempt, &e),
            })?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let failed = |e: std::io::Error| Error::io("write", file, &e);
        let mut unfinished = tempfile::Builder::new()
            .prefix(".autorun-")
            .tempfile_in(folder)
            .map_err(failed)?;
        let announced = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let meter = report.meter(key, announced.unwrap_or(0));
        let large = announced.is_some_and(|size| size > IN_RANGES_ABOVE);
        let written = match Version::of(bucket, key, &answer).filter(|_| large) {
            Some(version) => {
                // The rest of this response is not read.
                drop(std::mem::take(&mut answer.body));
                let target = (unfinished.as_file(), file);
                self.download_ranges(&version, target, &meter).await?;
                version.size
            }
            None => receive(answer.body, &attempt, (&mut unfinished, file), &meter).await?,
        };
        if announced.is_some_and(|announced| announced != written) {
            return Err(Error::new(
                ErrorKind::Unreachable,
                format!("cannot {attempt}: the response ended after {written} bytes"),
            ));
        }
        // A download is readable by all users, like other files; temporary
        // files are not.
        let usual = std::fs::Permissions::from_mode(0o644);
        unfinished
            .as_file()
            .set_permissions(usual)
            .map_err(failed)?;
        unfinished.persist(file).map_err(|e| failed(e.error))?;
        Ok(written)
    }
}

/// Writes the body of a response to a file. Returns the number of bytes.
async fn receive(
    mut body: ByteStream,
    attempt: &str,
    (file, path): (&mut impl std::io::Write, &Path),
    meter: &Meter,
) -> Result<u64> {
    let mut written = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| broken(attempt, &e))?;
        file.write_all(&chunk)
            .map_err(|e| Error::io("write", path, &e))?;
        written += chunk.len() as u64;
        meter.add(chunk.len() as u64);
    }
    Ok(written)
}

/// Returns the error for a response whose body could not be read to its end.
pub(super) fn broken(attempt: &str, error: &ByteStreamError) -> Error {
    // The source of the SDK's error distinguishes a wrong checksum from a
    // broken connection.
    let reason =
        std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {attempt}: {reason}"),
    )
    .hint("try again; the partial file was discarded")
}
