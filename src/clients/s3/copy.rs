//! Copies objects within S3. One request copies up to 5 GiB; a larger object is
//! copied in parts.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, MetadataDirective};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::pieces::{LARGEST, pieces};
use super::upload_id::UploadId;
use super::{S3, keys};
use crate::aws_error::aws_error;
use crate::error::{Error, Result};
use crate::marks::RESOURCE_METADATA;

/// The size of a part of a copy, unless the object needs more than 10,000.
const PART: u64 = 512 << 20;

/// How many parts are copied at the same time.
const AT_ONCE: usize = 8;

/// An object that is about to be copied, as S3 described it.
#[derive(Debug)]
pub struct Source {
    /// Bucket and key.
    object: (String, String),
    size: u64,
    about: HeadObjectOutput,
}

impl Source {
    /// Returns the source as copy requests name it.
    fn name(&self) -> String {
        format!("{}/{}", self.object.0, keys::in_url(&self.object.1))
    }

    /// Returns whether the object is too large for one request.
    #[must_use]
    pub fn needs_parts(&self) -> bool {
        self.size > LARGEST
    }
}

impl S3<'_> {
    /// Returns the object to copy.
    ///
    /// Throws `not_found`.
    pub async fn copy_source(&self, from: (&str, &str)) -> Result<Source> {
        let head = self.client.head_object().bucket(from.0).key(from.1);
        let about = head
            .send()
            .await
            .map_err(|e| aws_error(&format!("copy `{}/{}`", from.0, from.1), &e))?;
        let size = about.content_length().and_then(|n| u64::try_from(n).ok());
        Ok(Source {
            object: (from.0.to_owned(), from.1.to_owned()),
            size: size.unwrap_or(0),
            about,
        })
    }

    /// Copies an object of up to 5 GiB. The content type stays; `row` replaces
    /// the metadata.
    pub async fn copy(&self, from: &Source, to: (&str, &str), row: Option<&str>) -> Result<()> {
        let mut request = self
            .client
            .copy_object()
            .copy_source(from.name())
            .bucket(to.0)
            .key(to.1)
            .metadata_directive(MetadataDirective::Replace)
            .set_content_type(from.about.content_type().map(str::to_owned));
        if let Some(row) = row {
            request = request.metadata(RESOURCE_METADATA, row);
        }
        let done = request.send().await;
        done.map(drop)
            .map_err(|e| aws_error(&attempt(from, to), &e))
    }

    /// Begins a copy in parts, as [`Self::copy`].
    pub async fn begin_copy(
        &self,
        from: &Source,
        to: (&str, &str),
        row: Option<&str>,
    ) -> Result<UploadId> {
        pieces(from.size, PART)?;
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(to.0)
            .key(to.1)
            .set_content_type(from.about.content_type().map(str::to_owned));
        if let Some(row) = row {
            request = request.metadata(RESOURCE_METADATA, row);
        }
        self.begin(to, request, &attempt(from, to)).await
    }

    /// Copies all parts of an object, if it is still the same, and completes the
    /// upload. Parts of an earlier attempt are copied again.
    pub async fn copy_parts(&self, from: &Source, upload: &UploadId) -> Result<()> {
        let to = upload.object();
        let failed = || attempt(from, to);
        let copies = pieces(from.size, PART)?.into_iter().map(async |piece| {
            let request = self
                .client
                .upload_part_copy()
                .bucket(to.0)
                .key(to.1)
                .upload_id(upload.id())
                .part_number(piece.number)
                .copy_source(from.name())
                .set_copy_source_if_match(from.about.e_tag().map(str::to_owned))
                .copy_source_range(piece.range());
            let answer = request.send().await.map_err(|e| aws_error(&failed(), &e))?;
            let part = answer.copy_part_result().ok_or_else(|| {
                Error::internal(format!("cannot {}: the response has no part", failed()))
            })?;
            let named = CompletedPart::builder().part_number(piece.number);
            Ok::<_, Error>(
                named
                    .set_e_tag(part.e_tag().map(str::to_owned))
                    .set_checksum_crc64_nvme(part.checksum_crc64_nvme().map(str::to_owned))
                    .build(),
            )
        });
        let copies = stream::iter(copies).buffered(AT_ONCE);
        let parts = copies.try_collect::<Vec<CompletedPart>>().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(to.0)
            .key(to.1)
            .upload_id(upload.id())
            .multipart_upload(parts.build());
        let done = request.send().await;
        done.map(drop).map_err(|e| aws_error(&failed(), &e))
    }
}

fn attempt(from: &Source, to: (&str, &str)) -> String {
    let (bucket, key) = &from.object;
    format!("copy `{bucket}/{key}` to `{}/{}`", to.0, to.1)
}
