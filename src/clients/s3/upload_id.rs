//! Uploads in parts as a whole: begins, finds and aborts them.

use std::time::Duration;

use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::types::EncodingType;

use super::{S3, keys};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, ErrorKind, Result};
use crate::pace;

/// The pauses before the second and the last attempt to begin an upload.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The maximum difference between two clocks, in milliseconds.
const SKEW: i64 = 600_000;

/// An upload in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadId {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) id: String,
}

impl UploadId {
    fn new(bucket: &str, key: &str, id: &str) -> Self {
        let [bucket, key, id] = [bucket, key, id].map(str::to_owned);
        Self { bucket, key, id }
    }

    /// Returns the upload that a response names.
    pub(super) fn of((bucket, key): (&str, &str), id: Option<&str>, attempt: &str) -> Result<Self> {
        match id {
            Some(id) if !id.is_empty() => Ok(Self::new(bucket, key, id)),
            _ => Err(Error::internal(format!(
                "cannot {attempt}: the response has no upload id"
            ))),
        }
    }

    pub(super) fn object(&self) -> (&str, &str) {
        (&self.bucket, &self.key)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the id of the resource in the ledger: `bucket/key id`.
    #[must_use]
    pub fn in_ledger(&self) -> String {
        format!("{}/{} {}", self.bucket, self.key, self.id)
    }

    /// Parses the id of the resource in the ledger.
    pub fn from_ledger(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(bucket, rest)| {
            let (key, id) = rest.rsplit_once(' ')?;
            Some(Self::new(bucket, key, id))
        });
        parts.ok_or_else(|| Error::internal(format!("`{text}` is not a multipart upload")))
    }
}

impl S3<'_> {
    /// Begins an upload. The SDK would begin another one for each lost answer,
    /// so it sends the request once, and the upload is looked for.
    pub(super) async fn begin(
        &self,
        (bucket, key): (&str, &str),
        request: CreateMultipartUploadFluentBuilder,
        attempt: &str,
    ) -> Result<UploadId> {
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let since = jiff::Timestamp::now().as_millisecond();
        let mut pause = FIRST_PAUSE;
        loop {
            let request = request.clone().customize();
            let error = match request.config_override(once.clone()).send().await {
                Ok(answer) => return UploadId::of((bucket, key), answer.upload_id(), attempt),
                Err(e) => aws_error(attempt, &e),
            };
            let may_help = error.kind.retryable() || error.kind == ErrorKind::Internal;
            if !may_help || pause > LAST_PAUSE {
                return Err(error);
            }
            pace::sleep(pause, self.cancel).await?;
            pause *= 2;
            if error.proves_no_effect() {
                continue;
            }
            match self.find_upload(bucket, key, since).await {
                Ok(Some(upload)) => return Ok(upload),
                Ok(None) => {}
                // The upload may exist, which another error would hide.
                Err(_) => return Err(error),
            }
        }
    }

    /// Finds an upload whose id is not known because the answer was lost: the
    /// only upload of this key that began at `since` or later, in milliseconds
    /// since 1970, and that has no parts.
    pub async fn find_upload(
        &self,
        bucket: &str,
        key: &str,
        since: i64,
    ) -> Result<Option<UploadId>> {
        let attempt = format!("list the incomplete uploads to `{bucket}`");
        let request = self.client.list_multipart_uploads();
        let request = request.bucket(bucket).prefix(key);
        let request = request.encoding_type(EncodingType::Url);
        let page = match request.send().await {
            Ok(page) => page,
            Err(e) if code(&e) == Code::NoSuchBucket || self.lacks(code(&e)) => return Ok(None),
            Err(e) => return Err(aws_error(&attempt, &e)),
        };
        // The list is in the order of the keys, so this key is first.
        let ids: Vec<&str> = page
            .uploads()
            .iter()
            .filter(|upload| {
                let name = keys::listed(upload.key().unwrap_or_default(), page.encoding_type());
                let began = upload.initiated().and_then(|time| time.to_millis().ok());
                name == key && began.is_some_and(|began| began >= since - SKEW)
            })
            .filter_map(|upload| upload.upload_id())
            .collect();
        let [id] = ids[..] else {
            return Ok(None);
        };
        let upload = UploadId::new(bucket, key, id);
        let parts = self.stored_parts(&upload).await?;
        Ok(parts
            .is_some_and(|parts| parts.is_empty())
            .then_some(upload))
    }

    /// Aborts an upload: S3 deletes its parts. Aborting one that does not exist
    /// is not an error.
    pub async fn abort_upload(&self, upload: &UploadId) -> Result<()> {
        let UploadId { bucket, key, id } = upload;
        let request = self.client.abort_multipart_upload();
        match request.bucket(bucket).key(key).upload_id(id).send().await {
            Ok(_) => Ok(()),
            Err(e) if matches!(code(&e), Code::NoSuchUpload | Code::NoSuchBucket) => Ok(()),
            Err(e) => Err(aws_error(
                &format!("abort the upload of `{key}` to `{bucket}`"),
                &e,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_found_by_its_id_in_the_ledger() {
        for key in ["k", "a/b c", " ", "ü/"] {
            let upload = UploadId::new("pictures", key, "2~abc.DEF_-");
            assert_eq!(UploadId::from_ledger(&upload.in_ledger()), Ok(upload));
        }
        assert!(UploadId::from_ledger("pictures").is_err());
    }
}
