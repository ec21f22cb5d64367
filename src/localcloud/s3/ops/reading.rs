//! Reading objects, their metadata and their attributes.

use std::ops::Range;

use hyper::header::{CONTENT_RANGE, ETAG, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use s3s::dto::{
    ETag, GetObjectAclInput, GetObjectAclOutput, GetObjectInput, GetObjectOutput,
    GetObjectTaggingInput, GetObjectTaggingOutput, HeadObjectInput, HeadObjectOutput, StorageClass,
    StreamingBlob,
};
use s3s::{S3Error, S3ErrorCode, S3Response};

use super::super::backend::{Backend, timestamp};
use super::super::call::Call;
use super::super::checksum::{Checksum, Kind};
use super::super::condition::{self, Outcome};
use super::super::failure::{Naming as _, Result, fail, invalid_request, named};
use super::super::range;
use super::super::store::{self, ObjectRecord};
use super::multipart::check_number;
use super::settings::owners_grant;
use super::stored::{answer_headers, check_archive, insert_checksum};
use super::versions::{FoundObject, check_version, find, tagged};
use super::{Answer, done, encryption, tags, with_status};

/// The part of an object that a request asks for.
struct Selection {
    range: Range<u64>,
    /// Whether the request names a range or part, even if it is the whole object.
    partial: bool,
    /// The index of the requested part.
    part: Option<usize>,
    parts_count: Option<i32>,
}

impl Selection {
    fn content_range(&self, size: u64) -> Option<String> {
        let last = self.range.end.saturating_sub(1);
        self.partial
            .then(|| format!("bytes {}-{last}/{size}", self.range.start))
    }

    fn length(&self) -> i64 {
        i64::try_from(self.range.end - self.range.start).unwrap_or(i64::MAX)
    }

    fn status(&self) -> StatusCode {
        if self.partial {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        }
    }

    /// Returns the checksum of what is selected: of the whole object, or of a part
    /// if the checksums of parts are kept.
    fn checksum(&self, record: &ObjectRecord) -> Option<Checksum> {
        let whole = &record.checksum;
        match self.part {
            Some(index) if whole.kind == Kind::Composite => Some(Checksum {
                value: record.pieces.get(index)?.checksum.clone()?,
                ..whole.clone()
            }),
            Some(_) if record.pieces.len() == 1 => Some(whole.clone()),
            None if self.range == (0..record.size) => Some(whole.clone()),
            _ => None,
        }
    }
}

fn select(call: &Call, record: &ObjectRecord, part: Option<i32>) -> Result<Selection> {
    let header = call.header("range");
    let requested = header.and_then(|header| range::requested(header, record.size));
    match (part, requested) {
        (Some(_), _) if header.is_some() => Err(invalid_request(
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some(number), _) => select_part(record, number),
        (None, Some(Err(_))) => Err(unsatisfiable(record.size, header.unwrap_or_default())),
        (None, Some(Ok(range))) => Ok(Selection {
            range,
            partial: true,
            part: None,
            parts_count: None,
        }),
        (None, None) => Ok(Selection {
            range: 0..record.size,
            partial: false,
            part: None,
            parts_count: None,
        }),
    }
}

fn select_part(record: &ObjectRecord, number: i32) -> Result<Selection> {
    let index = usize::from(check_number(number)?) - 1;
    let count = record.pieces.len();
    if index >= count {
        let error = named(
            "InvalidPartNumber",
            StatusCode::RANGE_NOT_SATISFIABLE,
            "The requested partnumber is not satisfiable",
        );
        return Err(error
            .naming("PartNumberRequested", number.to_string())
            .naming("ActualPartCount", count.to_string()));
    }
    let start = record.pieces[..index].iter().map(|piece| piece.size).sum();
    let parts_count = i32::try_from(count).unwrap_or(i32::MAX);
    Ok(Selection {
        range: start..start + record.pieces[index].size,
        partial: record.size > 0,
        part: Some(index),
        parts_count: record.multipart.then_some(parts_count),
    })
}

fn unsatisfiable(size: u64, requested: &str) -> S3Error {
    let mut error = fail(
        S3ErrorCode::InvalidRange,
        "The requested range is not satisfiable",
    )
    .naming("RangeRequested", requested)
    .naming("ActualObjectSize", size.to_string());
    let mut headers = HeaderMap::new();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(CONTENT_RANGE, range);
    }
    error.set_headers(headers);
    error
}

fn check_conditions(call: &Call, record: &ObjectRecord) -> Result<()> {
    match condition::of_read(&call.headers, &record.etag, record.modified) {
        Outcome::Go => Ok(()),
        Outcome::Failed(header) => Err(condition::precondition_failed(header)),
        Outcome::NotModified(_) => {
            let mut error = fail(S3ErrorCode::NotModified, "Not Modified");
            error.set_status_code(StatusCode::NOT_MODIFIED);
            let mut headers = HeaderMap::new();
            if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", record.etag)) {
                headers.insert(ETAG, etag);
            }
            error.set_headers(headers);
            Err(error)
        }
    }
}

/// Returns the headers of an answer with an object. They include the checksum if
/// the request asks for it.
fn headers(call: &Call, record: &ObjectRecord, selection: &Selection) -> Result<HeaderMap> {
    let mut headers = answer_headers(record, call)?;
    let asked = call.header("x-amz-checksum-mode");
    if asked.is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"))
        && let Some(checksum) = selection.checksum(record)
    {
        insert_checksum(&mut headers, &checksum)?;
    }
    Ok(headers)
}

/// Creates the answer to `GetObject` or `HeadObject`. The two types of s3s have
/// these fields in common.
macro_rules! described {
    ($output:ident, $record:expr, $selection:expr) => {
        $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some($selection.length()),
            content_range: $selection.content_range($record.size),
            e_tag: Some(ETag::Strong($record.etag.clone())),
            last_modified: Some(timestamp($record.modified)),
            parts_count: $selection.parts_count,
            bucket_key_enabled: $record.encryption.bucket_key.then_some(true),
            server_side_encryption: Some(encryption::method(&$record.encryption)),
            ssekms_key_id: $record.encryption.key.clone(),
            storage_class: $record.storage_class.clone().map(StorageClass::from),
            ..$output::default()
        }
    };
}

/// Returns an object or a range of an object.
pub(super) fn get_object(
    backend: &Backend,
    call: &Call,
    input: GetObjectInput,
) -> Answer<GetObjectOutput> {
    let place = (input.bucket.as_str(), input.key.as_str());
    let FoundObject { object, version_id } =
        find(backend, call, place, input.version_id.as_deref())?;
    let record = &object.record;
    encryption::check_signed(call, record.encryption.method)?;
    check_conditions(call, record)?;
    check_archive(record)?;
    let selection = select(call, record, input.part_number)?;
    let body = store::body(&object, selection.range.clone())?;
    let output = GetObjectOutput {
        tag_count: tag_count(record),
        body: Some(StreamingBlob::from(body)),
        version_id,
        ..described!(GetObjectOutput, record, selection)
    };
    Ok(S3Response::with_headers(
        output,
        headers(call, record, &selection)?,
    ))
}

fn tag_count(record: &ObjectRecord) -> Option<i32> {
    let count = i32::try_from(record.tags.len()).ok();
    count.filter(|count| *count > 0)
}

/// Returns the headers of [`get_object`] without the content.
pub(super) fn head_object(
    backend: &Backend,
    call: &Call,
    input: HeadObjectInput,
) -> Answer<HeadObjectOutput> {
    let place = (input.bucket.as_str(), input.key.as_str());
    let FoundObject { object, version_id } =
        find(backend, call, place, input.version_id.as_deref())?;
    let record = &object.record;
    encryption::check_signed(call, record.encryption.method)?;
    check_conditions(call, record)?;
    let selection = select(call, record, input.part_number)?;
    let output = HeadObjectOutput {
        version_id,
        ..described!(HeadObjectOutput, record, selection)
    };
    let mut headers = headers(call, record, &selection)?;
    if let Some(count) = tag_count(record) {
        headers.insert("x-amz-tagging-count", HeaderValue::from(count));
    }
    let status = selection.status();
    Ok(with_status(
        S3Response::with_headers(output, headers),
        status,
    ))
}

/// Returns the access control list of every object: full control for the bucket's
/// owner.
pub(super) fn get_object_acl(
    backend: &Backend,
    call: &Call,
    input: GetObjectAclInput,
) -> Answer<GetObjectAclOutput> {
    let place = (input.bucket.as_str(), input.key.as_str());
    find(backend, call, place, input.version_id.as_deref())?;
    done(GetObjectAclOutput {
        grants: Some(vec![owners_grant(backend)]),
        owner: Some(backend.owner()),
        request_charged: None,
    })
}

pub(super) fn get_object_tagging(
    backend: &Backend,
    call: &Call,
    input: GetObjectTaggingInput,
) -> Answer<GetObjectTaggingOutput> {
    let id = input.version_id.as_deref();
    check_version(id)?;
    let bucket = backend.store.bucket(&input.bucket)?;
    let found = tagged(call, bucket.version(&input.key, id)?, id);
    // Only here S3 names the bucket, too.
    let found = found.map_err(|error| match error.code() {
        S3ErrorCode::NoSuchKey => error.naming("Key", format!("{}/{}", input.bucket, input.key)),
        _ => error,
    })?;
    let FoundObject { object, version_id } = found;
    done(GetObjectTaggingOutput {
        tag_set: tags::show(&object.record.tags),
        version_id,
    })
}
