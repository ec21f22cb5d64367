//! Objects that an account lends to a rehearsal. The account is only read.

use std::collections::HashMap;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::EncodingType;

use super::transfer::broken;
use super::{S3, keys};
use crate::aws_error::aws_error;
use crate::error::Result;

/// What a `HEAD` request shows of an object.
#[derive(Clone, Debug)]
pub struct LendableObject {
    /// Its size in bytes.
    pub size: u64,
    content_type: Option<String>,
    metadata: Option<HashMap<String, String>>,
}

impl LendableObject {
    /// Returns an object that no account was asked for.
    #[must_use]
    pub fn assumed() -> Self {
        Self {
            size: 0,
            content_type: None,
            metadata: None,
        }
    }
}

/// The first objects of a bucket whose keys begin with a text.
#[derive(Debug)]
pub struct LendableList {
    /// Keys and sizes in bytes.
    pub objects: Vec<(String, u64)>,
    /// Whether there are no others.
    pub is_complete: bool,
}

impl S3<'_> {
    /// Returns the first 1,000 objects whose keys begin with `prefix`.
    pub async fn lendable_list(&self, bucket: &str, prefix: &str) -> Result<LendableList> {
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let request = request.encoding_type(EncodingType::Url);
        let page = request.send().await;
        let page = page.map_err(|e| aws_error(&format!("list bucket `{bucket}`"), &e))?;
        let objects = page.contents().iter().map(|object| {
            let key = keys::listed(object.key().unwrap_or_default(), page.encoding_type());
            (
                key,
                u64::try_from(object.size().unwrap_or_default()).unwrap_or(0),
            )
        });
        Ok(LendableList {
            objects: objects.collect(),
            is_complete: page.is_truncated() != Some(true),
        })
    }

    /// Returns what an object is, or `None` if it does not exist.
    pub async fn lendable_object(&self, bucket: &str, key: &str) -> Result<Option<LendableObject>> {
        let head = self.client.head_object().bucket(bucket).key(key);
        match head.send().await {
            Ok(answer) => Ok(Some(LendableObject {
                size: u64::try_from(answer.content_length().unwrap_or_default()).unwrap_or(0),
                content_type: answer.content_type().map(str::to_owned),
                metadata: answer.metadata().cloned(),
            })),
            Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 404) => Ok(None),
            Err(e) => Err(aws_error(&format!("look for `{key}` in `{bucket}`"), &e)),
        }
    }

    /// Returns the contents of a small object.
    pub async fn lendable_contents(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        let attempt = format!("download `{key}` from `{bucket}`");
        let request = self.client.get_object().bucket(bucket).key(key);
        let answer = request.send().await.map_err(|e| aws_error(&attempt, &e))?;
        let contents = answer.body.collect().await;
        Ok(contents.map_err(|e| broken(&attempt, &e))?.to_vec())
    }

    /// Stores a lent object in the cloud of a rehearsal.
    pub async fn store_lent(
        &self,
        bucket: &str,
        key: &str,
        object: &LendableObject,
        contents: Vec<u8>,
    ) -> Result<()> {
        let request = self.client.put_object().bucket(bucket).key(key);
        let request = request
            .set_content_type(object.content_type.clone())
            .set_metadata(object.metadata.clone())
            .body(ByteStream::from(contents));
        let stored = request.send().await;
        stored
            .map(drop)
            .map_err(|e| aws_error(&format!("store `{key}` in `{bucket}`"), &e))
    }
}
