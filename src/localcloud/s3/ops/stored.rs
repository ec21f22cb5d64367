//! The metadata that is stored with an object and returned unchanged.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use s3s::S3ErrorCode;

use super::super::backend::Backend;
use super::super::call::Call;
use super::super::checksum::Checksum;
use super::super::encoded_word;
use super::super::failure::{Naming as _, Result, fail, fail_as, invalid_argument};
use super::super::store::{Bucket, Encryption, Object, ObjectRecord, Piece, Place, Received, Tags};
use super::{encryption, tags};
use crate::clock;

/// S3's limit of an object's user-defined metadata in bytes.
const MAX_METADATA: usize = 2048;
const METADATA: &str = "x-amz-meta-";
const DEFAULT_TYPE: &str = "binary/octet-stream";
/// Where a website redirects requests for an object. Websites are not supported,
/// but the header is stored and returned as any other.
pub(super) const REDIRECT: &str = "x-amz-website-redirect-location";
const SYSTEM: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// The headers, tags and storage class of an upload.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) headers: BTreeMap<String, String>,
    pub(super) storage_class: Option<String>,
    pub(super) tags: Tags,
    pub(super) encryption: Encryption,
}

impl Stored {
    pub(super) fn read(backend: &Backend, call: &Call, bucket: &Bucket) -> Result<Self> {
        Ok(Self {
            headers: headers(&call.headers)?,
            storage_class: storage_class(call)?,
            tags: tags::of_header(call.header("x-amz-tagging"))?,
            encryption: encryption::of_object(backend, call, bucket)?,
        })
    }

    /// Returns the object for content that was uploaded in one request.
    pub(super) fn object(self, key: &str, received: Received) -> Object {
        let record = ObjectRecord {
            key: key.to_owned(),
            etag: encryption::etag(&self.encryption, &received),
            modified: clock::seconds(),
            size: received.size,
            multipart: false,
            upload: None,
            pieces: vec![Piece {
                file: received.blob.name().to_owned(),
                size: received.size,
                checksum: None,
            }],
            checksum: received.checksum,
            headers: self.headers,
            storage_class: self.storage_class,
            tags: self.tags,
            encryption: self.encryption,
            place: Place::default(),
        };
        Object {
            record,
            blobs: vec![received.blob],
        }
    }
}

/// Refuses a target of a redirect that a browser could not follow.
fn check_redirect(target: &str) -> Result<()> {
    let mut prefixes = ["/", "http://", "https://"].into_iter();
    if prefixes.any(|prefix| target.starts_with(prefix)) {
        return Ok(());
    }
    Err(fail_as(
        "InvalidRedirectLocation",
        400,
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    ))
}

fn headers(all: &HeaderMap) -> Result<BTreeMap<String, String>> {
    let mut stored = BTreeMap::new();
    let mut metadata = 0;
    for name in all.keys().map(HeaderName::as_str) {
        let own = name.strip_prefix(METADATA);
        if own.is_none() && !SYSTEM.contains(&name) && name != REDIRECT {
            continue;
        }
        let mut value = joined(all, name)?;
        if name == REDIRECT {
            check_redirect(&value)?;
        }
        if name == "content-encoding" {
            value = without_chunking(&value);
        }
        if own.is_some() {
            value = encoded_word::decode(&value);
        }
        metadata += own.map_or(0, |own| own.len() + value.len());
        if own.is_some() || !value.is_empty() {
            stored.insert(name.to_owned(), value);
        }
    }
    if metadata > MAX_METADATA {
        return Err(fail(
            S3ErrorCode::MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size",
        )
        .naming("Size", metadata.to_string())
        .naming("MaxSizeAllowed", MAX_METADATA.to_string()));
    }
    let content_type = stored.entry("content-type".to_owned());
    content_type.or_insert_with(|| DEFAULT_TYPE.to_owned());
    Ok(stored)
}

fn joined(all: &HeaderMap, name: &str) -> Result<String> {
    let values = all.get_all(name).iter();
    let values = values.map(|value| std::str::from_utf8(value.as_bytes()));
    let values = values.collect::<std::result::Result<Vec<_>, _>>();
    let values =
        values.map_err(|_| invalid_argument(format!("The value of {name} is not valid UTF-8")))?;
    Ok(values.join(","))
}

/// Removes `aws-chunked`, which is an encoding of the request and not of the
/// object.
fn without_chunking(value: &str) -> String {
    let codings = value.split(',');
    let codings = codings.filter(|coding| coding.trim() != "aws-chunked");
    codings.collect::<Vec<_>>().join(",").trim().to_owned()
}

pub(super) fn storage_class(call: &Call) -> Result<Option<String>> {
    match call.header("x-amz-storage-class") {
        None | Some("STANDARD") => Ok(None),
        Some(
            class @ ("STANDARD_IA"
            | "ONEZONE_IA"
            | "INTELLIGENT_TIERING"
            | "GLACIER"
            | "GLACIER_IR"
            | "DEEP_ARCHIVE"
            | "REDUCED_REDUNDANCY"),
        ) => Ok(Some(class.to_owned())),
        Some(other) => Err(fail(
            S3ErrorCode::InvalidStorageClass,
            "The storage class you specified is not valid",
        )
        .naming("StorageClassRequested", other)),
    }
}

/// Refuses to read the content of an archived object, which S3 would have to
/// restore first.
pub(super) fn check_archive(record: &ObjectRecord) -> Result<()> {
    match record.storage_class.as_deref() {
        Some(class @ ("GLACIER" | "DEEP_ARCHIVE")) => Err(fail(
            S3ErrorCode::InvalidObjectState,
            "The operation is not valid for the object's storage class",
        )
        .naming("StorageClass", class)),
        _ => Ok(()),
    }
}

/// Returns the headers of an answer with an object: the stored headers, replaced
/// by `response-..` parameters in the query of a signed request.
pub(super) fn answer_headers(record: &ObjectRecord, call: &Call) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &record.headers {
        if name.starts_with(METADATA) {
            insert(&mut headers, name, &encoded_word::encode(value))?;
        } else {
            insert(&mut headers, name, value)?;
        }
    }
    for name in SYSTEM {
        if let Some(value) = call.query.get(&format!("response-{name}")) {
            insert(&mut headers, name, value)?;
        }
    }
    Ok(headers)
}

/// Adds a checksum to the headers of an answer.
pub(super) fn insert_checksum(headers: &mut HeaderMap, checksum: &Checksum) -> Result<()> {
    insert(headers, checksum.algorithm.header(), &checksum.value)?;
    insert(headers, "x-amz-checksum-type", checksum.kind.name())
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<()> {
    let invalid = || invalid_argument(format!("The value of {name} is not a valid header value"));
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_stored_unchanged() {
        let mut all = HeaderMap::new();
        for (name, value) in [
            ("content-type", "Text/HTML;  Charset=utf-8"),
            ("content-encoding", "deflate, gzip,aws-chunked"),
            ("expires", "0"),
            ("x-amz-meta-b", "ü"),
            ("user-agent", "x"),
        ] {
            all.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let stored = headers(&all).unwrap();
        assert_eq!(stored["content-type"], "Text/HTML;  Charset=utf-8");
        assert_eq!(stored["content-encoding"], "deflate, gzip");
        assert_eq!(stored["expires"], "0");
        assert_eq!(stored["x-amz-meta-b"], "ü");
        assert_eq!(stored.len(), 4);
        assert_eq!(
            headers(&HeaderMap::new()).unwrap()["content-type"],
            DEFAULT_TYPE
        );
        all.insert("x-amz-meta-long", "x".repeat(2100).parse().unwrap());
        assert!(headers(&all).is_err());
    }
}
