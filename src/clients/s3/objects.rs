//! Objects: uploads, finds and deletes them, and signs URLs.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use super::S3;
use super::counted::counted;
use super::multipart::body;
use crate::clients::aws_error::{Code, aws_error, code};
use crate::clients::marks::RESOURCE_METADATA;
use crate::error::{Error, Result};
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

impl S3<'_> {
    /// Uploads a file in one request; the SDK adds a checksum that S3 verifies. If the file
    /// grows during the upload, only the bytes up to its initial size are
    /// uploaded.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        content: Content<'_>,
        report: &Reporter,
    ) -> Result<()> {
        let file = content.file.display();
        let body = body(content.file, 0, content.size).await?;
        let mut request = self.client.put_object().bucket(bucket).key(key);
        if let Some(row) = content.row {
            request = request.metadata(RESOURCE_METADATA, row);
        }
        request
            .content_type(content.kind)
            .body(counted(body, report.meter(key, content.size)))
            .send()
            .await
            .map_err(|e| aws_error(&format!("upload `{file}` to `{bucket}`"), &e))?;
        Ok(())
    }

    /// Returns the row in a ledger from the object's metadata: `None` if the
    /// object does not exist, an empty string if it has no row.
    pub async fn object_row(&self, bucket: &str, key: &str) -> Result<Option<String>> {
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
                Ok(Some(row.cloned().unwrap_or_default()))
            }
            Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 404) => Ok(None),
            Err(e) => Err(aws_error(&format!("look for `{key}` in `{bucket}`"), &e)),
        }
    }

    /// Deletes an object. Deleting one that does not exist is not an error.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        match self
            .client
            .delete_object()
            .bucket(bucket)
            .key(key)
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
