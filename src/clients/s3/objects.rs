//! Objects: uploads, finds and deletes them, and signs URLs.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use super::S3;
use super::crc::Crc;
use super::payload::Buffers;
use super::pieces::Piece;
use super::transfer::broken;
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::RESOURCE_METADATA;
use crate::report::Reporter;

/// AWS's limit for the validity of a presigned URL.
pub const LONGEST_PRESIGN: Duration = Duration::from_secs(7 * 24 * 3600);

/// The content of an upload.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its content type.
    pub kind: &'a str,
    /// The object's row in a ledger, for its metadata.
    pub row: Option<&'a str>,
}

/// The newest version of an object.
struct NewestVersion {
    /// The row in a ledger, empty if the object has none.
    row: String,
    /// The version id. `None` if the bucket never had versioning.
    id: Option<String>,
}

impl S3<'_> {
    /// Uploads a file in one request, with a checksum that S3 verifies. If the file
    /// has grown, only the bytes up to its initial size are uploaded.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        content: Content<'_>,
        report: &Reporter,
    ) -> Result<()> {
        let file = content.file.display();
        let meter = report.meter(key, content.size);
        let whole = Piece::whole(content.size);
        let buffers = Buffers::default();
        let payload = self.payloads.read(content.file, whole, &buffers, &meter);
        let mut payload = payload.await?;
        let mut request = self.client.put_object().bucket(bucket).key(key);
        if let Some(row) = content.row {
            request = request.metadata(RESOURCE_METADATA, row);
        }
        if self.sends_checksums() {
            request = request.set_checksum_crc64_nvme(payload.crc.map(Crc::encode));
        }
        request
            .content_type(content.kind)
            .body(std::mem::take(&mut payload.body))
            .send()
            .await
            .map_err(|e| aws_error(&format!("upload `{file}` to `{bucket}`"), &e))?;
        Ok(())
    }

    /// Returns the row in a ledger from the object's metadata: `None` if the
    /// object does not exist, an empty string if it has no row.
    pub async fn object_row(&self, bucket: &str, key: &str) -> Result<Option<String>> {
        let found = self.newest_version(bucket, key).await?;
        Ok(found.map(|version| version.row))
    }

    /// Returns the newest version of an object. `None` if the object does not
    /// exist or is hidden by a delete marker.
    async fn newest_version(&self, bucket: &str, key: &str) -> Result<Option<NewestVersion>> {
        match self
            .client
            .head_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
        {
            Ok(answer) => {
                let row = answer.metadata().and_then(|all| all.get(RESOURCE_METADATA));
                Ok(Some(NewestVersion {
                    row: row.cloned().unwrap_or_default(),
                    id: answer.version_id().map(str::to_owned),
                }))
            }
            Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 404) => Ok(None),
            Err(e) => Err(aws_error(&format!("look for `{key}` in `{bucket}`"), &e)),
        }
    }

    /// Returns the last bytes of an object, at most `most`, and its size.
    pub async fn end_of_object(
        &self,
        bucket: &str,
        key: &str,
        most: usize,
    ) -> Result<(Vec<u8>, u64)> {
        let attempt = format!("download the end of `{key}` from `{bucket}`");
        let asked = self.client.get_object().bucket(bucket).key(key);
        let answer = asked.range(format!("bytes=-{most}")).send().await;
        let answer = answer.map_err(|e| aws_error(&attempt, &e))?;
        let range = answer
            .content_range()
            .and_then(|range| range.rsplit('/').next());
        let size = range.and_then(|size| size.parse().ok());
        let bytes = answer.body.collect().await;
        let bytes = bytes.map_err(|e| broken(&attempt, &e))?.to_vec();
        Ok((bytes.clone(), size.unwrap_or(bytes.len() as u64)))
    }

    /// Deletes an object. Deleting one that does not exist is not an error. In a
    /// bucket with versioning, S3 keeps its versions and adds a delete marker.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        self.delete_version(bucket, key, None).await
    }

    /// Deletes an object with this row of a ledger. In a bucket with versioning,
    /// deletes its newest versions with this row, so that older versions of
    /// others are again what they were.
    pub async fn delete_own_versions(&self, bucket: &str, key: &str, row: &str) -> Result<()> {
        let mut deleted = None;
        while let Some(version) = self.newest_version(bucket, key).await? {
            if version.row != row {
                return Ok(());
            }
            if deleted == Some(version.id.clone()) {
                return Err(Error::internal(format!(
                    "cannot delete `{key}` from `{bucket}`: S3 still has it after its deletion"
                )));
            }
            let id = version.id.as_deref();
            self.delete_version(bucket, key, id).await?;
            if id.is_none() {
                return Ok(());
            }
            deleted = Some(version.id);
        }
        Ok(())
    }

    async fn delete_version(&self, bucket: &str, key: &str, id: Option<&str>) -> Result<()> {
        match self
            .client
            .delete_object()
            .bucket(bucket)
            .key(key)
            .set_version_id(id.map(str::to_owned))
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == Code::NoSuchBucket => Ok(()),
            Err(e) => Err(aws_error(&format!("delete `{key}` from `{bucket}`"), &e)),
        }
    }

    /// Returns a URL that downloads the object without credentials while it is
    /// valid.
    pub async fn presigned_url(&self, bucket: &str, key: &str, valid: Duration) -> Result<String> {
        let attempt = format!("sign a URL for `{key}` in `{bucket}`");
        let config = PresigningConfig::expires_in(valid)
            .map_err(|e| Error::invalid(format!("cannot {attempt}: {e}")))?;
        let signed = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .presigned(config)
            .await
            .map_err(|e| aws_error(&attempt, &e))?;
        Ok(signed.uri().to_owned())
    }
}
