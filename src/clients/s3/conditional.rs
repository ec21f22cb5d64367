//! Small objects that are written only under a condition, and read whole: those of a
//! shared ledger.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;

use super::S3;
use super::transfer::broken;
use crate::aws_error::{Code, aws_error, code};
use crate::error::Result;

/// The condition of a write.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// The object does not exist.
    Absent,
    /// The object has this ETag.
    Etag(&'a str),
}

/// The result of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionalPut {
    /// The object was written and has this ETag.
    Written(String),
    /// The condition was not met.
    Refused,
    /// Another write of the object was in progress.
    Conflict,
}

impl S3<'_> {
    /// Returns the content of an object and its ETag, or `None` if it does not exist.
    pub async fn read_whole(&self, bucket: &str, key: &str) -> Result<Option<(Vec<u8>, String)>> {
        let attempt = format!("read `{key}` in `{bucket}`");
        let asked = self.client.get_object().bucket(bucket).key(key);
        let answer = match asked.send().await {
            Ok(answer) => answer,
            Err(e) if code(&e) == Code::NoSuchKey => return Ok(None),
            Err(e) => return Err(aws_error(&attempt, &e)),
        };
        let etag = answer.e_tag().unwrap_or_default().to_owned();
        let bytes = answer.body.collect().await;
        let bytes = bytes.map_err(|e| broken(&attempt, &e))?;
        Ok(Some((bytes.to_vec(), etag)))
    }

    /// Writes an object if a condition is met.
    pub async fn put_if(
        &self,
        bucket: &str,
        key: &str,
        condition: Condition<'_>,
        body: &[u8],
    ) -> Result<ConditionalPut> {
        let request = self.client.put_object().bucket(bucket).key(key);
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Etag(etag) => request.if_match(etag),
        };
        let sent = request
            .content_type("application/json")
            .body(ByteStream::from(body.to_vec()))
            .send()
            .await;
        result_of(sent, &format!("write `{key}` in `{bucket}`"))
    }
}

fn result_of(
    sent: std::result::Result<PutObjectOutput, SdkError<PutObjectError, HttpResponse>>,
    attempt: &str,
) -> Result<ConditionalPut> {
    let error = match sent {
        Ok(answer) => {
            let etag = answer.e_tag().unwrap_or_default().to_owned();
            return Ok(ConditionalPut::Written(etag));
        }
        Err(error) => error,
    };
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    match status {
        Some(412) => Ok(ConditionalPut::Refused),
        Some(409) => Ok(ConditionalPut::Conflict),
        // The object of the condition is gone.
        Some(404) if code(&error) == Code::NoSuchKey => Ok(ConditionalPut::Refused),
        _ => Err(aws_error(attempt, &error)),
    }
}
