//! Empties a bucket: all versions of its objects, and incomplete uploads.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};

use super::{S3, keys};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, ErrorKind, Result};

/// The maximum number of objects that one request can delete, AWS's limit.
const BATCH: usize = 1000;

impl S3<'_> {
    /// Deletes everything in a bucket: every version of every object, and
    /// incomplete uploads. Returns the number of objects.
    ///
    /// Emptying a bucket that does not exist is not an error.
    pub async fn empty_bucket(&self, bucket: &str) -> Result<usize> {
        match self.delete_versions(bucket).await? {
            Some(deleted) => self.abort_uploads(bucket).await.map(|()| deleted),
            None => Ok(0),
        }
    }

    /// Returns the number of deleted objects, or `None` if the bucket does not
    /// exist.
    async fn delete_versions(&self, bucket: &str) -> Result<Option<usize>> {
        let attempt = format!("empty bucket `{bucket}`");
        let mut deleted = 0;
        let mut before = Vec::new();
        // Each page is deleted before the next request, so each list starts at
        // the beginning.
        loop {
            let request = self
                .client
                .list_object_versions()
                .bucket(bucket)
                .encoding_type(EncodingType::Url)
                .max_keys(i32::try_from(BATCH).unwrap_or(i32::MAX));
            let objects = match request.send().await {
                Ok(page) => versions_of(&page),
                Err(e) if code(&e) == Code::NoSuchBucket => return Ok(None),
                Err(e) if self.lacks(code(&e)) => self.objects_without_versions(bucket).await?,
                Err(e) => return Err(aws_error(&attempt, &e)),
            };
            let Some(first) = objects.first() else {
                return Ok(Some(deleted));
            };
            if objects == before {
                let key = first.key();
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!("cannot {attempt}: S3 still lists `{key}` after its deletion"),
                ));
            }
            before.clone_from(&objects);
            deleted += objects.len();
            let (alone, together): (Vec<_>, Vec<_>) = objects
                .into_iter()
                .partition(|object| keys::needs_own_request(object.key()));
            for batch in together.chunks(BATCH) {
                self.delete_objects(bucket, batch, &attempt).await?;
            }
            self.delete_each(bucket, &alone, &attempt).await?;
        }
    }

    /// Returns the first objects in a bucket of a server that has no versions.
    async fn objects_without_versions(&self, bucket: &str) -> Result<Vec<ObjectIdentifier>> {
        let request = self.client.list_objects_v2().bucket(bucket);
        let page = request.encoding_type(EncodingType::Url).send().await;
        let page = page.map_err(|e| aws_error(&format!("empty bucket `{bucket}`"), &e))?;
        let keys = page.contents().iter().filter_map(|object| object.key());
        let keys = keys.map(|key| keys::listed(key, page.encoding_type()));
        let objects = keys.map(|key| ObjectIdentifier::builder().key(key).build());
        Ok(objects.filter_map(std::result::Result::ok).collect())
    }

    async fn delete_each(
        &self,
        bucket: &str,
        objects: &[ObjectIdentifier],
        attempt: &str,
    ) -> Result<()> {
        for object in objects {
            self.client
                .delete_object()
                .bucket(bucket)
                .key(object.key())
                .set_version_id(object.version_id().map(str::to_owned))
                .send()
                .await
                .map_err(|e| aws_error(attempt, &e))?;
        }
        Ok(())
    }

    async fn delete_objects(
        &self,
        bucket: &str,
        objects: &[ObjectIdentifier],
        attempt: &str,
    ) -> Result<()> {
        let delete = Delete::builder()
            .set_objects(Some(objects.to_vec()))
            .quiet(true)
            .build()
            .map_err(|e| Error::internal(format!("cannot {attempt}: {e}")))?;
        let request = self.client.delete_objects().bucket(bucket);
        let answer = match request.delete(delete).send().await {
            Ok(answer) => answer,
            // Older servers want an MD5 sum, which the SDK does not send.
            Err(e) if self.lacks(code(&e)) || code(&e) == Code::MissingContentMd5 => {
                return self.delete_each(bucket, objects, attempt).await;
            }
            Err(e) => return Err(aws_error(attempt, &e)),
        };
        match answer.errors().first() {
            None => Ok(()),
            Some(refused) => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "cannot {attempt}: `{}`: {}",
                    refused.key().unwrap_or_default(),
                    refused.message().or(refused.code()).unwrap_or("refused"),
                ),
            )),
        }
    }

    async fn abort_uploads(&self, bucket: &str) -> Result<()> {
        let attempt = format!("abort the incomplete uploads to `{bucket}`");
        loop {
            // Each page is aborted before the next request, so each list starts
            // at the beginning.
            let request = self.client.list_multipart_uploads().bucket(bucket);
            let page = match request.encoding_type(EncodingType::Url).send().await {
                Ok(page) => page,
                Err(e) if self.lacks(code(&e)) => return Ok(()),
                Err(e) => return Err(aws_error(&attempt, &e)),
            };
            if page.uploads().is_empty() {
                return Ok(());
            }
            for upload in page.uploads() {
                let key = keys::listed(upload.key().unwrap_or_default(), page.encoding_type());
                self.client
                    .abort_multipart_upload()
                    .bucket(bucket)
                    .key(key)
                    .set_upload_id(upload.upload_id().map(str::to_owned))
                    .send()
                    .await
                    .map_err(|e| aws_error(&attempt, &e))?;
            }
        }
    }
}

/// Returns the versions of objects and the delete markers in a list.
fn versions_of(page: &ListObjectVersionsOutput) -> Vec<ObjectIdentifier> {
    let encoding = page.encoding_type();
    let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
    let markers = page
        .delete_markers()
        .iter()
        .map(|m| (m.key(), m.version_id()));
    versions
        .chain(markers)
        .filter_map(|(key, version)| {
            let object = ObjectIdentifier::builder().key(keys::listed(key?, encoding));
            object
                .set_version_id(version.map(str::to_owned))
                .build()
                .ok()
        })
        .collect()
}
