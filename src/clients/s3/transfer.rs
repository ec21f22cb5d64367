//! Lists, downloads and copies objects.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_sdk_s3::types::{ChecksumMode, EncodingType, MetadataDirective};
use schemars::JsonSchema;
use serde::Serialize;

use super::{S3, keys};
use crate::clients::aws_error::{Code, aws_error, code};
use crate::clients::marks::RESOURCE_METADATA;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;

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
    /// complete. Verifies the size, and the checksum if S3 has one. Returns the
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
        let mut written = 0;
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk.map_err(|e| {
                // The source of the SDK's error distinguishes a wrong checksum
                // from a broken connection.
                let reason = std::error::Error::source(&e)
                    .map_or_else(|| e.to_string(), ToString::to_string);
                Error::new(
                    ErrorKind::Unreachable,
                    format!("cannot {attempt}: {reason}"),
                )
                .hint("try again; the partial file was discarded")
            })?;
            unfinished.write_all(&chunk).map_err(failed)?;
            written += chunk.len() as u64;
            meter.add(chunk.len() as u64);
        }
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

    /// Copies an object of up to 5 GiB within S3. The content type stays; `row`
    /// replaces the metadata.
    pub async fn copy(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        row: Option<&str>,
    ) -> Result<()> {
        let attempt = format!("copy `{}/{}` to `{}/{}`", from.0, from.1, to.0, to.1);
        let head = self.client.head_object().bucket(from.0).key(from.1);
        let about = head.send().await.map_err(|e| aws_error(&attempt, &e))?;
        let mut request = self
            .client
            .copy_object()
            .copy_source(format!("{}/{}", from.0, keys::in_url(from.1)))
            .bucket(to.0)
            .key(to.1)
            .metadata_directive(MetadataDirective::Replace)
            .set_content_type(about.content_type().map(str::to_owned));
        if let Some(row) = row {
            request = request.metadata(RESOURCE_METADATA, row);
        }
        request
            .send()
            .await
            .map(drop)
            .map_err(|e| aws_error(&attempt, &e))
    }
}
