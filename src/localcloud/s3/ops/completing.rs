//! Completes a multipart upload: parts become an object.

use std::sync::Arc;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{
    self, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETag,
};
use s3s::{S3Error, S3ErrorCode};

use super::super::backend::Backend;
use super::super::call::Call;
use super::super::checksum::{self, Algorithm, Checksum, Kind};
use super::super::condition;
use super::super::failure::{Result, fail, invalid_request, malformed_xml};
use super::super::store::{Object, ObjectRecord, Part, Place, Upload, UploadRecord};
use super::encryption::show_encryption;
use super::writing::etag;
use super::{Answer, done, versions};
use crate::clock;

/// S3's minimum size of a part, except the last.
const MIN_PART: u64 = 5 << 20;

/// Creates the object from the parts that the request names.
pub(super) fn complete_multipart_upload(
    backend: &Backend,
    call: &Call,
    input: CompleteMultipartUploadInput,
) -> Answer<CompleteMultipartUploadOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let upload = bucket.upload(&input.upload_id, &input.key)?;
    let named = input.multipart_upload.and_then(|named| named.parts);
    let named = named.filter(|parts| !parts.is_empty());
    let parts = choose(&upload, &named.ok_or_else(malformed_xml)?)?;
    let object = assemble(&upload.record, &parts);
    check_whole(call, &upload.record, &object.record, input.mpu_object_size)?;
    let record = object.record.clone();
    let version_id = bucket.complete_upload(&input.upload_id, object, |before| {
        condition::of_write(&call.headers, etag(before))
    })?;
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        checksum_type: Some(dto::ChecksumType::from_static(record.checksum.kind.name())),
        e_tag: Some(ETag::Strong(record.etag)),
        key: Some(input.key),
        version_id: versions::of_upload(version_id),
        ..CompleteMultipartUploadOutput::default()
    };
    show_encryption!(output, &record.encryption);
    show_checksum!(
        output,
        record.checksum.algorithm,
        Some(record.checksum.value)
    );
    done(output)
}

/// Returns the parts that a client names. Fails if they are not in ascending
/// order or differ from the uploaded parts.
fn choose<'a>(upload: &'a Upload, named: &[CompletedPart]) -> Result<Vec<&'a Part>> {
    let mut chosen: Vec<&Part> = Vec::new();
    for name in named {
        let number = name.part_number.ok_or_else(malformed_xml)?;
        if chosen
            .last()
            .is_some_and(|last| i32::from(last.record.number) >= number)
        {
            return Err(fail(
                S3ErrorCode::InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ));
        }
        let number = u16::try_from(number).map_err(|_| invalid_part())?;
        let part = upload.parts.get(&number).ok_or_else(invalid_part)?;
        check_part(&upload.record, part, name)?;
        chosen.push(part);
    }
    let (_, all_but_last) = chosen.split_last().ok_or_else(malformed_xml)?;
    if all_but_last
        .iter()
        .all(|part| part.record.piece.size >= MIN_PART)
    {
        Ok(chosen)
    } else {
        Err(fail(
            S3ErrorCode::EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size",
        ))
    }
}

fn check_part(upload: &UploadRecord, part: &Part, name: &CompletedPart) -> Result<()> {
    let etag = name.e_tag.as_ref().map(ETag::value);
    let given = match upload.algorithm {
        Algorithm::Crc32 => &name.checksum_crc32,
        Algorithm::Crc32c => &name.checksum_crc32c,
        Algorithm::Crc64Nvme => &name.checksum_crc64nvme,
        Algorithm::Sha1 => &name.checksum_sha1,
        Algorithm::Sha256 => &name.checksum_sha256,
    };
    if etag != Some(&part.record.etag) || (given.is_some() && *given != part.record.piece.checksum)
    {
        return Err(invalid_part());
    }
    if given.is_none() && upload.chosen && upload.kind == Kind::Composite {
        return Err(invalid_request(format!(
            "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {} in the request.",
            upload.algorithm.name().to_ascii_lowercase(),
            part.record.number
        )));
    }
    Ok(())
}

fn invalid_part() -> S3Error {
    fail(
        S3ErrorCode::InvalidPart,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    )
}

/// Returns the object that consists of the parts. The content is not copied: the
/// object uses the parts' files.
fn assemble(upload: &UploadRecord, parts: &[&Part]) -> Object {
    let mut digests = Md5::new();
    let mut sums = Vec::new();
    for part in parts {
        digests.update(&hex::decode(&part.record.etag).unwrap_or_default());
        let sum = part.record.piece.checksum.clone().unwrap_or_default();
        sums.push((sum, part.record.piece.size));
    }
    let record = ObjectRecord {
        key: upload.key.clone(),
        etag: format!("{}-{}", hex::encode(digests.finalize()), parts.len()),
        modified: clock::seconds(),
        size: sums.iter().map(|(_, size)| size).sum(),
        multipart: true,
        pieces: parts.iter().map(|part| part.record.piece.clone()).collect(),
        checksum: checksum::of_parts(upload.algorithm, upload.kind, &sums),
        headers: upload.headers.clone(),
        storage_class: upload.storage_class.clone(),
        tags: upload.tags.clone(),
        encryption: upload.encryption.clone(),
        place: Place::default(),
    };
    Object {
        record,
        blobs: parts.iter().map(|part| Arc::clone(&part.blob)).collect(),
    }
}

/// Compares the object with the size and the checksum in the request.
fn check_whole(
    call: &Call,
    upload: &UploadRecord,
    record: &ObjectRecord,
    size: Option<i64>,
) -> Result<()> {
    if let Some(kind) = call.header("x-amz-checksum-type")
        && Kind::named(kind)? != upload.kind
    {
        return Err(invalid_request(format!(
            "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
            upload.kind.name()
        )));
    }
    if size.is_some_and(|size| u64::try_from(size) != Ok(record.size)) {
        return Err(invalid_request(format!(
            "The provided 'x-amz-mp-object-size' header does not match the actual object size of {}.",
            record.size
        )));
    }
    let Checksum {
        algorithm, value, ..
    } = &record.checksum;
    // A request may omit the number of parts at the end of a composite checksum.
    let bare = value.split('-').next();
    match call.header(algorithm.header()) {
        Some(given) if given != value && Some(given) != bare => Err(checksum::mismatch(*algorithm)),
        _ => Ok(()),
    }
}
