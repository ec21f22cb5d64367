//! Multipart uploads.

use std::sync::Arc;

use s3s::S3Error;
use s3s::dto::{
    self, AbortMultipartUploadInput, AbortMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ETag, ListPartsInput, ListPartsOutput, StorageClass,
    UploadPartInput, UploadPartOutput,
};

use super::super::backend::{Backend, timestamp};
use super::super::call::Call;
use super::super::checksum::{self, Algorithm, Kind};
use super::super::failure::{Result, bad_argument, invalid_request};
use super::super::store::{Bucket, Part, PartRecord, Piece, Received, UploadRecord, receive};
use super::encryption::show_encryption;
use super::stored::Stored;
use super::{Answer, blocking, content_of, done, encryption};
use crate::clock;

/// S3's limit of part numbers.
const MAX_NUMBER: i32 = 10_000;
/// S3's maximum number of parts on a page.
const MAX_PAGE: i32 = 1000;

pub(super) fn check_number(number: i32) -> Result<u16> {
    u16::try_from(number)
        .ok()
        .filter(|number| (1..=MAX_NUMBER).contains(&i32::from(*number)))
        .ok_or_else(|| wrong_number(&number.to_string()))
}

/// Returns the error for a value of `partNumber`.
pub(in super::super) fn wrong_number(value: &str) -> S3Error {
    bad_argument(
        "partNumber",
        value,
        "Part number must be an integer between 1 and 10000, inclusive",
    )
}

pub(super) fn class(upload: &UploadRecord) -> StorageClass {
    let class = upload.storage_class.clone();
    StorageClass::from(class.unwrap_or_else(|| StorageClass::STANDARD.to_owned()))
}

/// Begins an upload. This request contains the metadata and tags of the object.
pub(super) fn create_multipart_upload(
    backend: &Backend,
    call: &Call,
    input: CreateMultipartUploadInput,
) -> Answer<CreateMultipartUploadOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let stored = Stored::read(backend, call, &bucket)?;
    let chosen = call.header("x-amz-checksum-algorithm");
    let algorithm = chosen.map_or(Ok(Algorithm::Crc64Nvme), Algorithm::named)?;
    let kind = call.header("x-amz-checksum-type");
    if kind.is_some() && chosen.is_none() {
        return Err(invalid_request(
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        ));
    }
    let kind = kind.map_or(Ok(algorithm.default_kind()), Kind::named)?;
    if !algorithm.supports(kind) {
        return Err(invalid_request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            kind.name(),
            algorithm.small_name()
        )));
    }
    let upload_id = bucket.begin_upload(UploadRecord {
        key: input.key.clone(),
        initiated: clock::seconds(),
        algorithm,
        kind,
        chosen: chosen.is_some(),
        headers: stored.headers,
        storage_class: stored.storage_class,
        tags: stored.tags,
        encryption: stored.encryption.clone(),
    })?;
    let shown = chosen.is_some();
    let mut output = CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: shown.then(|| dto::ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: shown.then(|| dto::ChecksumType::from_static(kind.name())),
        key: Some(input.key),
        upload_id: Some(upload_id),
        ..CreateMultipartUploadOutput::default()
    };
    show_encryption!(output, &stored.encryption);
    done(output)
}

/// Stores a part. It replaces a part with the same number. A part may announce a
/// checksum of any kind if the upload does not have an algorithm; the SDKs do so
/// unasked.
pub(super) async fn upload_part(
    backend: &Backend,
    call: &Call,
    input: UploadPartInput,
) -> Answer<UploadPartOutput> {
    let number = check_number(input.part_number)?;
    let bucket = backend.store.bucket(&input.bucket)?;
    let upload = bucket.upload(&input.upload_id, &input.key)?.record;
    let announced = checksum::Announced::read(&call.headers)?;
    if let Some(algorithm) = announced.algorithm {
        check_algorithm(&upload, algorithm)?;
    }
    let shown = announced.algorithm.unwrap_or(upload.algorithm);
    let content = content_of(input.body);
    let received = receive(&bucket.data, content, upload.algorithm, Some(shown)).await?;
    let calculated = received.checksum_in(shown).cloned();
    announced.verify(calculated.as_ref(), &received.md5, &call.trailers)?;
    let part = store_part(bucket, (input.upload_id, &upload), number, received).await?;
    let mut output = UploadPartOutput {
        e_tag: Some(ETag::Strong(part.etag)),
        ..UploadPartOutput::default()
    };
    show_encryption!(output, &upload.encryption);
    show_checksum!(output, shown, calculated.map(|checksum| checksum.value));
    done(output)
}

fn check_algorithm(upload: &UploadRecord, actual: Algorithm) -> Result<()> {
    if !upload.chosen || upload.algorithm == actual {
        return Ok(());
    }
    Err(invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        upload.algorithm.small_name(),
        actual.small_name()
    )))
}

pub(super) async fn store_part(
    bucket: Arc<Bucket>,
    (upload_id, upload): (String, &UploadRecord),
    number: u16,
    received: Received,
) -> Result<PartRecord> {
    let record = PartRecord {
        number,
        etag: encryption::etag(&upload.encryption, &received),
        modified: clock::seconds(),
        piece: Piece {
            file: received.blob.name().to_owned(),
            size: received.size,
            checksum: Some(received.checksum.value),
        },
    };
    let part = Part {
        record: record.clone(),
        blob: received.blob,
    };
    blocking(move || bucket.put_part(&upload_id, part)).await?;
    Ok(record)
}

/// Aborts an upload and removes its parts.
pub(super) fn abort_multipart_upload(
    backend: &Backend,
    _call: &Call,
    input: AbortMultipartUploadInput,
) -> Answer<AbortMultipartUploadOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    bucket.abort_upload(&input.upload_id, &input.key)?;
    done(AbortMultipartUploadOutput::default())
}

/// Lists the parts of an upload by number. Only an upload with an algorithm shows
/// checksums.
pub(super) fn list_parts(
    backend: &Backend,
    _call: &Call,
    input: ListPartsInput,
) -> Answer<ListPartsOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let upload = bucket.upload(&input.upload_id, &input.key)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let max_parts = input.max_parts.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let limit = usize::try_from(max_parts).unwrap_or(0);
    let after = u16::try_from(marker).unwrap_or(u16::MAX);
    let mut rest = upload
        .parts
        .values()
        .filter(|part| part.record.number > after);
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let truncated = limit > 0 && rest.next().is_some();
    let record = &upload.record;
    let parts = page.iter().map(|part| {
        let mut shown = dto::Part {
            e_tag: Some(ETag::Strong(part.record.etag.clone())),
            last_modified: Some(timestamp(part.record.modified)),
            part_number: Some(i32::from(part.record.number)),
            size: i64::try_from(part.record.piece.size).ok(),
            ..dto::Part::default()
        };
        if record.chosen {
            show_checksum!(shown, record.algorithm, part.record.piece.checksum.clone());
        }
        shown
    });
    let last = page.last().map_or(0, |part| i32::from(part.record.number));
    let algorithm = || dto::ChecksumAlgorithm::from_static(record.algorithm.name());
    let kind = || dto::ChecksumType::from_static(record.kind.name());
    done(ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: record.chosen.then(algorithm),
        checksum_type: record.chosen.then(kind),
        initiator: Some(backend.initiator()),
        is_truncated: Some(truncated),
        key: Some(input.key),
        max_parts: Some(max_parts),
        next_part_number_marker: Some(last),
        owner: Some(backend.owner()),
        part_number_marker: Some(marker),
        parts: Some(parts.collect()),
        storage_class: Some(class(record)),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    })
}
