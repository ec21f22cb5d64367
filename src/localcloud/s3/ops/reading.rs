//! Reading objects, their metadata and their attributes.

use std::ops::Range;

use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use s3s::dto::{
    self, ETag, GetObjectAclInput, GetObjectAclOutput, GetObjectAttributesInput,
    GetObjectAttributesOutput, GetObjectInput, GetObjectOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, HeadObjectInput, HeadObjectOutput, StorageClass, StreamingBlob,
};
use s3s::{S3Error, S3ErrorCode, S3Response};

use super::super::backend::{Backend, timestamp};
use super::super::call::Call;
use super::super::condition::{self, Outcome};
use super::super::failure::{Result, fail, invalid_argument, invalid_request, named};
use super::super::range;
use super::super::store::{self, ObjectRecord};
use super::settings::owners_grant;
use super::stored::{answer_headers, insert_checksum};
use super::versions::{FoundObject, check_version, find, tagged};
use super::{Answer, done, encryption, tags};

/// The part of an object that a request asks for.
struct Selection {
    range: Range<u64>,
    /// Whether the request names a range or part, even if it is the whole object.
    partial: bool,
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
}

fn select(call: &Call, record: &ObjectRecord, part: Option<i32>) -> Result<Selection> {
    let header = call.header("range");
    let requested = header.and_then(|header| range::requested(header, record.size));
    match (part, requested) {
        (Some(_), _) if header.is_some() => Err(invalid_request(
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some(number), _) => select_part(record, number),
        (None, Some(Err(_))) => Err(unsatisfiable(record.size)),
        (None, Some(Ok(range))) => Ok(Selection {
            range,
            partial: true,
            parts_count: None,
        }),
        (None, None) => Ok(Selection {
            range: 0..record.size,
            partial: false,
            parts_count: None,
        }),
    }
}

fn select_part(record: &ObjectRecord, number: i32) -> Result<Selection> {
    let index = usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1));
    let index = index
        .filter(|index| *index < record.pieces.len())
        .ok_or_else(|| {
            named(
                "InvalidPartNumber",
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The requested partnumber is not satisfiable",
            )
        })?;
    let start = record.pieces[..index].iter().map(|piece| piece.size).sum();
    let count = i32::try_from(record.pieces.len()).unwrap_or(i32::MAX);
    Ok(Selection {
        range: start..start + record.pieces[index].size,
        partial: record.size > 0,
        parts_count: record.multipart.then_some(count),
    })
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut error = fail(
        S3ErrorCode::InvalidRange,
        "The requested range is not satisfiable",
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
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
        Outcome::NotModified => {
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
/// the request asks for it and the answer is the whole object.
fn headers(call: &Call, record: &ObjectRecord, selection: &Selection) -> Result<HeaderMap> {
    let mut headers = answer_headers(record, call)?;
    let asked = call.header("x-amz-checksum-mode");
    if asked.is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED")) && !selection.partial {
        insert_checksum(&mut headers, &record.checksum)?;
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
    Ok(S3Response::with_headers(
        output,
        headers(call, record, &selection)?,
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
    let FoundObject { object, version_id } = tagged(call, bucket.version(&input.key, id)?, id)?;
    done(GetObjectTaggingOutput {
        tag_set: tags::show(&object.record.tags),
        version_id,
    })
}

/// Returns the requested attributes of an object: entity tag, checksum, parts,
/// storage class and size.
pub(super) fn get_object_attributes(
    backend: &Backend,
    call: &Call,
    input: GetObjectAttributesInput,
) -> Answer<GetObjectAttributesOutput> {
    let place = (input.bucket.as_str(), input.key.as_str());
    let FoundObject { object, version_id } =
        find(backend, call, place, input.version_id.as_deref())?;
    let record = &object.record;
    let mut output = GetObjectAttributesOutput {
        version_id,
        last_modified: Some(timestamp(record.modified)),
        ..GetObjectAttributesOutput::default()
    };
    // Some clients send one header with commas, others one header per attribute.
    let names = input.object_attributes.iter();
    for name in names
        .flat_map(|names| names.as_str().split(','))
        .map(str::trim)
    {
        match name {
            "ETag" => output.e_tag = Some(ETag::Strong(record.etag.clone())),
            "Checksum" => output.checksum = Some(checksum(record)),
            "ObjectParts" if record.multipart => {
                output.object_parts =
                    Some(parts(record, input.part_number_marker, input.max_parts));
            }
            "ObjectParts" => {}
            "StorageClass" => {
                let class = record.storage_class.clone();
                let class = class.unwrap_or_else(|| StorageClass::STANDARD.to_owned());
                output.storage_class = Some(StorageClass::from(class));
            }
            "ObjectSize" => output.object_size = i64::try_from(record.size).ok(),
            _ => return Err(invalid_argument("Invalid attribute name specified.")),
        }
    }
    done(output)
}

fn checksum(record: &ObjectRecord) -> dto::Checksum {
    let mut shown = dto::Checksum {
        checksum_type: Some(dto::ChecksumType::from_static(record.checksum.kind.name())),
        ..dto::Checksum::default()
    };
    let value = Some(record.checksum.value.clone());
    show_checksum!(shown, record.checksum.algorithm, value);
    shown
}

fn parts(
    record: &ObjectRecord,
    marker: Option<i32>,
    limit: Option<i32>,
) -> dto::GetObjectAttributesParts {
    let marker = marker.unwrap_or(0).max(0);
    let limit = limit.unwrap_or(1000).clamp(0, 1000);
    let numbered = record.pieces.iter().zip(1_i32..);
    let rest = numbered.filter(|(_, number)| *number > marker);
    let page: Vec<_> = rest.take(usize::try_from(limit).unwrap_or(0)).collect();
    let last = page.last().map_or(marker, |(_, number)| *number);
    let count = i32::try_from(record.pieces.len()).unwrap_or(i32::MAX);
    let shown = page.into_iter().map(|(piece, number)| {
        let mut part = dto::ObjectPart {
            part_number: Some(number),
            size: i64::try_from(piece.size).ok(),
            ..dto::ObjectPart::default()
        };
        show_checksum!(part, record.checksum.algorithm, piece.checksum.clone());
        part
    });
    dto::GetObjectAttributesParts {
        is_truncated: Some(last < count),
        max_parts: Some(limit),
        next_part_number_marker: Some(last),
        part_number_marker: Some(marker),
        parts: Some(shown.collect()),
        total_parts_count: Some(count),
    }
}
