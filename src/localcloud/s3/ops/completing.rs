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
use super::super::failure::{Naming as _, Result, fail, invalid_request, malformed_xml};
use super::super::store::{Bucket, Object, ObjectRecord, Part, Place, Upload, UploadRecord};
use super::encryption::show_encryption;
use super::writing::etag;
use super::{Answer, done, versions};
use crate::clock;

/// S3's minimum size of a part, except the last.
const MIN_PART: u64 = 5 << 20;

/// Creates the object from the parts that the request names. A request for an
/// upload that already became the object has the same answer again, because a
/// client that lost the first answer repeats its request.
pub(super) fn complete_multipart_upload(
    backend: &Backend,
    call: &Call,
    input: CompleteMultipartUploadInput,
) -> Answer<CompleteMultipartUploadOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let named = input.multipart_upload.and_then(|named| named.parts);
    let named = named.unwrap_or_default();
    let (record, version_id) = match bucket.upload(&input.upload_id, &input.key) {
        Err(missing) => completed(&bucket, &input.upload_id, &input.key, &named)?.ok_or(missing)?,
        Ok(upload) => {
            check_list(call, &named)?;
            check_kind(call, &upload.record)?;
            let parts = choose(&upload, &input.upload_id, &named)?;
            let object = assemble(&upload.record, &input.upload_id, &parts);
            check_whole(call, &upload.record, &object.record, input.mpu_object_size)?;
            let record = object.record.clone();
            let complete = |before: Option<&Object>, overtaken| {
                condition::of_write(&call.headers, etag(before))?;
                match condition::conflict(&call.headers, &input.key) {
                    Some(conflict) if overtaken => Err(conflict),
                    _ => Ok(()),
                }
            };
            let version_id = bucket.complete_upload(&input.upload_id, object, complete)?;
            (record, version_id)
        }
    };
    let mut output = CompleteMultipartUploadOutput {
        location: Some(call.location(&input.bucket, &input.key)),
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

/// Returns the object that this upload became, if it is still the newest version
/// and its parts are the named ones, and the version id that answers show.
fn completed(
    bucket: &Bucket,
    id: &str,
    key: &str,
    named: &[CompletedPart],
) -> Result<Option<(ObjectRecord, Option<String>)>> {
    let etags = named
        .iter()
        .map(|part| part.e_tag.as_ref().map_or("", ETag::value));
    let etag = etag_of_parts(etags);
    let Some(found) = bucket.version(key, None)? else {
        return Ok(None);
    };
    let object = found.version.object();
    let record = object.map(|object| object.record.clone());
    let record =
        record.filter(|record| record.upload.as_deref() == Some(id) && record.etag == etag);
    Ok(record.map(|record| (record, found.shown)))
}

fn check_list(call: &Call, named: &[CompletedPart]) -> Result<()> {
    match (named, call.header("content-length")) {
        ([], None | Some("0")) => Err(invalid_request("You must specify at least one part")),
        ([], Some(_)) => Err(malformed_xml()),
        _ => Ok(()),
    }
}

/// Returns the parts that a client names. Fails if they are not in ascending
/// order or differ from the uploaded parts.
fn choose<'a>(upload: &'a Upload, id: &str, named: &[CompletedPart]) -> Result<Vec<&'a Part>> {
    let mut chosen: Vec<&Part> = Vec::new();
    for name in named {
        let number = name.part_number.ok_or_else(malformed_xml)?;
        if chosen
            .last()
            .is_some_and(|last| i32::from(last.record.number) >= number)
        {
            let error = fail(
                S3ErrorCode::InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            );
            return Err(error.naming("UploadId", id));
        }
        let part = u16::try_from(number).ok();
        let part = part.and_then(|number| upload.parts.get(&number));
        let part = part.ok_or_else(|| invalid_part(id, name))?;
        check_part(&upload.record, part, id, name)?;
        chosen.push(part);
    }
    let all_but_last = chosen.split_last().map_or(&[][..], |(_, others)| others);
    let small = all_but_last
        .iter()
        .find(|part| part.record.piece.size < MIN_PART);
    match small {
        Some(part) => Err(too_small(part)),
        None => Ok(chosen),
    }
}

fn too_small(part: &Part) -> S3Error {
    let error = fail(
        S3ErrorCode::EntityTooSmall,
        "Your proposed upload is smaller than the minimum allowed size",
    );
    error
        .naming("ProposedSize", part.record.piece.size.to_string())
        .naming("MinSizeAllowed", MIN_PART.to_string())
        .naming("PartNumber", part.record.number.to_string())
        .naming("ETag", &part.record.etag)
}

/// Compares what a client names with the uploaded part. An upload without an
/// algorithm does not have checksums to compare with.
fn check_part(upload: &UploadRecord, part: &Part, id: &str, name: &CompletedPart) -> Result<()> {
    let etag = name.e_tag.as_ref().map(ETag::value);
    let given = given_checksum(name);
    if etag != Some(&part.record.etag) || (given.is_some() && !upload.chosen) {
        return Err(invalid_part(id, name));
    }
    match given {
        Some((algorithm, _)) if algorithm != upload.algorithm => Err(fail(
            S3ErrorCode::BadDigest,
            format!(
                "The {} you specified for part {} did not match what we received.",
                algorithm.small_name(),
                part.record.number
            ),
        )),
        Some((_, value)) if Some(value) != part.record.piece.checksum.as_ref() => {
            Err(invalid_part(id, name))
        }
        None if upload.chosen && upload.kind == Kind::Composite => Err(invalid_request(format!(
            "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {} in the request.",
            upload.algorithm.small_name(),
            part.record.number
        ))),
        _ => Ok(()),
    }
}

/// Returns the checksum that a client names for a part.
fn given_checksum(name: &CompletedPart) -> Option<(Algorithm, &String)> {
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let value = match algorithm {
            Algorithm::Crc32 => &name.checksum_crc32,
            Algorithm::Crc32c => &name.checksum_crc32c,
            Algorithm::Crc64Nvme => &name.checksum_crc64nvme,
            Algorithm::Sha1 => &name.checksum_sha1,
            Algorithm::Sha256 => &name.checksum_sha256,
        };
        Some((algorithm, value.as_ref()?))
    })
}

fn invalid_part(id: &str, name: &CompletedPart) -> S3Error {
    let error = fail(
        S3ErrorCode::InvalidPart,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    );
    let etag = name.e_tag.as_ref().map_or("", ETag::value);
    let number = name.part_number.unwrap_or_default();
    error
        .naming("UploadId", id)
        .naming("PartNumber", number.to_string())
        .naming("ETag", etag)
}

/// Returns the entity tag of an object from those of its parts.
fn etag_of_parts<'a>(etags: impl Iterator<Item = &'a str>) -> String {
    let mut digests = Md5::new();
    let mut count = 0;
    for etag in etags {
        digests.update(&hex::decode(etag).unwrap_or_default());
        count += 1;
    }
    format!("{}-{count}", hex::encode(digests.finalize()))
}

/// Returns the object that consists of the parts. The content is not copied: the
/// object uses the parts' files.
fn assemble(upload: &UploadRecord, id: &str, parts: &[&Part]) -> Object {
    let sums: Vec<_> = parts
        .iter()
        .map(|part| {
            let sum = part.record.piece.checksum.clone().unwrap_or_default();
            (sum, part.record.piece.size)
        })
        .collect();
    let record = ObjectRecord {
        key: upload.key.clone(),
        etag: etag_of_parts(parts.iter().map(|part| part.record.etag.as_str())),
        upload: Some(id.to_owned()),
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

/// Compares the kind of checksum that the request names with that of the upload.
fn check_kind(call: &Call, upload: &UploadRecord) -> Result<()> {
    let Some(kind) = call.header("x-amz-checksum-type") else {
        return Ok(());
    };
    let expected = if upload.chosen {
        upload.kind.name()
    } else {
        "null"
    };
    if Kind::named(kind)?.name() == expected {
        return Ok(());
    }
    Err(invalid_request(format!(
        "The upload was created using the {expected} checksum mode. The complete request must use the same checksum mode."
    )))
}

/// Compares the object with the size and the checksum in the request. S3 takes a
/// checksum for a composite one unless the request names its kind, and ignores
/// the checksum if the upload does not have an algorithm.
fn check_whole(
    call: &Call,
    upload: &UploadRecord,
    record: &ObjectRecord,
    size: Option<i64>,
) -> Result<()> {
    if let Some(size) = size
        && u64::try_from(size) != Ok(record.size)
    {
        return Err(invalid_request(format!(
            "The provided 'x-amz-mp-object-size' header value {size} does not match what was computed: {}",
            record.size
        )));
    }
    let mut given = Algorithm::ALL
        .into_iter()
        .filter_map(|algorithm| Some((algorithm, call.header(algorithm.header())?)));
    let Some((algorithm, value)) = given.next().filter(|_| upload.chosen) else {
        return Ok(());
    };
    let Checksum { value: whole, .. } = &record.checksum;
    // A request may omit the number of parts at the end of a composite checksum.
    let bare = whole.split('-').next();
    let kind_is_clear =
        upload.kind == Kind::Composite || call.headers.contains_key("x-amz-checksum-type");
    if kind_is_clear && algorithm == upload.algorithm && (value == whole || Some(value) == bare) {
        Ok(())
    } else {
        Err(checksum::mismatch(&upload.algorithm.small_name()))
    }
}
