//! Listing objects and uploads: the four listing operations of S3.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use hyper::HeaderMap;
use s3s::S3Response;
use s3s::dto::{
    self, CommonPrefix, ETag, EncodingType, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output,
};

use super::super::backend::{Backend, timestamp};
use super::super::call::Call;
use super::super::failure::{Naming as _, Result, bad_argument, invalid_argument};
use super::super::regions;
use super::super::store::{
    Entry, Listing, MarkerRecord, Object, Page, UploadPlace, UploadRecord, Version,
};
use super::versions::check_version;
use super::{Answer, done};
use crate::query::{self, encode};

/// S3's maximum number of entries on a page.
const MAX_PAGE: i32 = 1000;

/// The encoding of keys that a request asks for.
#[derive(Clone, Copy)]
struct Encoding {
    url: bool,
}

impl Encoding {
    fn read(requested: Option<&EncodingType>) -> Result<Self> {
        match requested.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some("url") => Ok(Self { url: true }),
            Some(other) => Err(bad_argument(
                "encoding-type",
                other,
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    fn show(self, text: &str) -> String {
        if self.url {
            encode(text, query::PATH).replace("%20", "+")
        } else {
            text.to_owned()
        }
    }

    fn show_some(self, text: Option<&String>) -> Option<String> {
        text.filter(|text| !text.is_empty())
            .map(|text| self.show(text))
    }
}

/// A page of objects in an answer.
struct Shown {
    objects: Vec<Arc<Object>>,
    prefixes: Vec<CommonPrefix>,
    next: Option<String>,
}

fn list(backend: &Backend, bucket: &str, listing: &Listing, encoding: Encoding) -> Result<Shown> {
    let bucket = backend.store.bucket(bucket)?;
    let mut shown = Shown {
        objects: Vec::new(),
        prefixes: Vec::new(),
        next: None,
    };
    if listing.limit == 0 {
        return Ok(shown);
    }
    let page = bucket.list(listing)?;
    shown.next = page.next;
    for entry in page.entries {
        match entry {
            Entry::Item(object) => shown.objects.push(object),
            Entry::Prefix(prefix) => shown.prefixes.push(CommonPrefix {
                prefix: Some(encoding.show(&prefix)),
            }),
        }
    }
    Ok(shown)
}

/// Returns the size of a page, which is at most [`MAX_PAGE`].
fn page_size(requested: Option<i32>) -> (i32, usize) {
    let size = requested.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
    (size, usize::try_from(size).unwrap_or(0))
}

fn show(object: &Object, encoding: Encoding, owner: Option<dto::Owner>) -> dto::Object {
    let record = &object.record;
    let class = record.storage_class.clone();
    let class = class.unwrap_or_else(|| dto::ObjectStorageClass::STANDARD.to_owned());
    dto::Object {
        checksum_algorithm: Some(vec![algorithm(object)]),
        checksum_type: Some(dto::ChecksumType::from_static(record.checksum.kind.name())),
        e_tag: Some(ETag::Strong(record.etag.clone())),
        key: Some(encoding.show(&record.key)),
        last_modified: Some(timestamp(record.modified)),
        owner,
        restore_status: None,
        size: i64::try_from(record.size).ok(),
        storage_class: Some(dto::ObjectStorageClass::from(class)),
    }
}

fn algorithm(object: &Object) -> dto::ChecksumAlgorithm {
    dto::ChecksumAlgorithm::from_static(object.record.checksum.algorithm.name())
}

/// Lists objects. A token continues the listing on the next page.
pub(super) fn list_objects_v2(
    backend: &Backend,
    _call: &Call,
    input: ListObjectsV2Input,
) -> Answer<ListObjectsV2Output> {
    let encoding = Encoding::read(input.encoding_type.as_ref())?;
    let (max_keys, limit) = page_size(input.max_keys);
    let after = match &input.continuation_token {
        Some(token) => from_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let listing = Listing {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after,
        limit,
        ..Listing::default()
    };
    let shown = list(backend, &input.bucket, &listing, encoding)?;
    let with_owner = input.fetch_owner.unwrap_or(false);
    let owner = || with_owner.then(|| backend.owner());
    let objects = shown.objects.iter();
    let contents: Vec<_> = objects
        .map(|object| show(object, encoding, owner()))
        .collect();
    // S3 ignores `start-after` together with a token.
    let start_after = input
        .start_after
        .filter(|_| input.continuation_token.is_none());
    let start_after = encoding.show_some(start_after.as_ref());
    let key_count = contents.len() + shown.prefixes.len();
    let region = region_of(backend, &input.bucket)?;
    let output = ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoding.show(&listing.prefix)),
        max_keys: Some(max_keys),
        key_count: i32::try_from(key_count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(shown.next.is_some()),
        next_continuation_token: shown.next.as_deref().map(to_token),
        contents: Some(contents),
        common_prefixes: Some(shown.prefixes),
        delimiter: encoding.show_some(input.delimiter.as_ref()),
        encoding_type: input.encoding_type,
        start_after,
        request_charged: None,
    };
    Ok(S3Response::with_headers(output, region))
}

/// Returns the header that names the region of a bucket.
fn region_of(backend: &Backend, bucket: &str) -> Result<HeaderMap> {
    let region = backend.store.bucket(bucket)?.settings()?.region;
    let mut headers = HeaderMap::new();
    if let Ok(region) = region.parse() {
        headers.insert(regions::HEADER, region);
    }
    Ok(headers)
}

/// Returns the token of a page after `key`, the name of a key or bucket.
pub(super) fn to_token(key: &str) -> String {
    BASE64_URL_SAFE.encode(key)
}

pub(super) fn from_token(token: &str) -> Result<String> {
    let bytes = BASE64_URL_SAFE.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|key| !key.is_empty())
        .ok_or_else(|| {
            invalid_argument("The continuation token provided is incorrect")
                .naming("ArgumentName", "continuation-token")
        })
}

/// Lists objects. The last key of a page continues the listing.
pub(super) fn list_objects(
    backend: &Backend,
    _call: &Call,
    input: ListObjectsInput,
) -> Answer<ListObjectsOutput> {
    let encoding = Encoding::read(input.encoding_type.as_ref())?;
    let (max_keys, limit) = page_size(input.max_keys);
    let listing = Listing {
        prefix: input.prefix.unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.marker.unwrap_or_default(),
        past_prefix: true,
        limit,
        ..Listing::default()
    };
    let shown = list(backend, &input.bucket, &listing, encoding)?;
    let objects = shown.objects.iter();
    let contents = objects.map(|object| show(object, encoding, Some(backend.owner())));
    let truncated = shown.next.is_some();
    // As on AWS, only a listing with a delimiter has a next marker. Otherwise the
    // client continues with the last key.
    let next = shown.next.filter(|_| !listing.delimiter.is_empty());
    let region = region_of(backend, &input.bucket)?;
    let output = ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoding.show(&listing.prefix)),
        marker: Some(encoding.show(&listing.after)),
        max_keys: Some(max_keys),
        is_truncated: Some(truncated),
        contents: Some(contents.collect()),
        common_prefixes: Some(shown.prefixes),
        delimiter: encoding.show_some(input.delimiter.as_ref()),
        next_marker: encoding.show_some(next.as_ref()),
        encoding_type: input.encoding_type,
        request_charged: None,
    };
    Ok(S3Response::with_headers(output, region))
}

/// Lists all versions and delete markers by key, the newest first.
pub(super) fn list_object_versions(
    backend: &Backend,
    _call: &Call,
    input: ListObjectVersionsInput,
) -> Answer<ListObjectVersionsOutput> {
    let encoding = Encoding::read(input.encoding_type.as_ref())?;
    let (max_keys, limit) = page_size(input.max_keys);
    let listing = Listing {
        prefix: input.prefix.unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.key_marker.unwrap_or_default(),
        past_prefix: true,
        limit,
        ..Listing::default()
    };
    let after = input.version_id_marker.as_deref();
    let after = after.filter(|marker| !marker.is_empty());
    if after.is_some() && listing.after.is_empty() {
        return Err(bad_argument(
            "version-id-marker",
            after.unwrap_or_default(),
            "A version-id marker cannot be specified without a key marker.",
        ));
    }
    if input.version_id_marker.is_some() && !listing.after.is_empty() {
        check_version(input.version_id_marker.as_deref())?;
    }
    let bucket = backend.store.bucket(&input.bucket)?;
    let page = match limit {
        0 => Page::default(),
        _ => bucket.list_versions(&listing, after)?,
    };
    let next_version = page.next.as_ref().and_then(|_| match page.entries.last() {
        Some(Entry::Item((version, _))) => Some(version.id().to_owned()),
        Some(Entry::Prefix(_)) | None => None,
    });
    let mut output = ListObjectVersionsOutput {
        delimiter: encoding.show_some(input.delimiter.as_ref()),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.next.is_some()),
        key_marker: Some(encoding.show(&listing.after)),
        max_keys: Some(max_keys),
        name: Some(input.bucket),
        next_version_id_marker: next_version,
        next_key_marker: encoding.show_some(page.next.as_ref()),
        prefix: Some(encoding.show(&listing.prefix)),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        ..ListObjectVersionsOutput::default()
    };
    for entry in page.entries {
        match entry {
            Entry::Item((Version::Object(object), is_latest)) => output
                .versions
                .get_or_insert_default()
                .push(show_version(backend, &object, encoding, is_latest)),
            Entry::Item((Version::DeleteMarker(marker), is_latest)) => output
                .delete_markers
                .get_or_insert_default()
                .push(show_marker(backend, marker, encoding, is_latest)),
            Entry::Prefix(prefix) => {
                output
                    .common_prefixes
                    .get_or_insert_default()
                    .push(CommonPrefix {
                        prefix: Some(encoding.show(&prefix)),
                    });
            }
        }
    }
    done(output)
}

fn show_version(
    backend: &Backend,
    object: &Arc<Object>,
    encoding: Encoding,
    is_latest: bool,
) -> dto::ObjectVersion {
    let shown = show(object, encoding, Some(backend.owner()));
    let class = shown.storage_class;
    dto::ObjectVersion {
        checksum_algorithm: shown.checksum_algorithm,
        checksum_type: shown.checksum_type,
        e_tag: shown.e_tag,
        is_latest: Some(is_latest),
        key: shown.key,
        last_modified: shown.last_modified,
        owner: shown.owner,
        restore_status: None,
        size: shown.size,
        storage_class: class.map(|class| class.as_str().to_owned().into()),
        version_id: Some(Version::Object(Arc::clone(object)).id().to_owned()),
    }
}

fn show_marker(
    backend: &Backend,
    marker: Arc<MarkerRecord>,
    encoding: Encoding,
    is_latest: bool,
) -> dto::DeleteMarkerEntry {
    dto::DeleteMarkerEntry {
        is_latest: Some(is_latest),
        key: Some(encoding.show(&marker.key)),
        last_modified: Some(timestamp(marker.modified)),
        owner: Some(backend.owner()),
        version_id: Some(Version::DeleteMarker(marker).id().to_owned()),
    }
}

/// A page of unfinished uploads.
#[derive(Default)]
struct Uploads<'a> {
    found: Vec<(&'a UploadPlace, &'a UploadRecord)>,
    prefixes: Vec<String>,
    truncated: bool,
}

impl<'a> Uploads<'a> {
    /// Returns the page after a key, or after an upload of this key.
    fn page(
        all: &'a BTreeMap<UploadPlace, Arc<UploadRecord>>,
        listing: &Listing,
        upload_marker: Option<&str>,
    ) -> Self {
        let marker = &listing.after;
        let mut page = Self::default();
        for (place, record) in all {
            let (key, id) = place;
            let after = match upload_marker {
                Some(previous) if key == marker => id.as_str() > previous,
                _ => key > marker,
            };
            if !after || !key.starts_with(&listing.prefix) {
                continue;
            }
            let common = listing.common_prefix(key);
            if let Some(common) = &common
                && (marker.starts_with(common) || page.prefixes.last() == Some(common))
            {
                continue;
            }
            if page.found.len() + page.prefixes.len() == listing.limit {
                page.truncated = listing.limit > 0;
                break;
            }
            match common {
                Some(common) => page.prefixes.push(common),
                None => page.found.push((place, record)),
            }
        }
        page
    }

    /// Returns the markers of the next page: those of the last upload, also on the
    /// last page. A page with nothing but prefixes has none on S3.
    fn next(&self) -> UploadPlace {
        let last = self.found.last();
        last.map(|(place, _)| (*place).clone()).unwrap_or_default()
    }
}

/// Lists unfinished uploads by key, then by the time when they began.
pub(super) fn list_multipart_uploads(
    backend: &Backend,
    _call: &Call,
    input: ListMultipartUploadsInput,
) -> Answer<ListMultipartUploadsOutput> {
    let encoding = Encoding::read(input.encoding_type.as_ref())?;
    let (max_uploads, limit) = page_size(input.max_uploads);
    let bucket = backend.store.bucket(&input.bucket)?;
    let listing = Listing {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.key_marker.unwrap_or_default(),
        limit,
        ..Listing::default()
    };
    // S3 ignores the marker of an upload without the marker of its key.
    let upload_marker = input.upload_id_marker;
    let upload_marker = upload_marker.filter(|id| !id.is_empty() && !listing.after.is_empty());
    let all = bucket.all_uploads()?;
    if let Some(id) = &upload_marker
        && all
            .keys()
            .any(|(key, other)| other == id && *key != listing.after)
    {
        return Err(bad_argument(
            "upload-id-marker",
            id,
            "Invalid uploadId marker",
        ));
    }
    let page = Uploads::page(&all, &listing, upload_marker.as_deref());
    let (next_key, next_id) = page.next();
    let uploads = page
        .found
        .iter()
        .map(|((key, id), upload)| dto::MultipartUpload {
            checksum_algorithm: upload
                .chosen
                .then(|| dto::ChecksumAlgorithm::from_static(upload.algorithm.name())),
            checksum_type: upload
                .chosen
                .then(|| dto::ChecksumType::from_static(upload.kind.name())),
            initiated: Some(timestamp(upload.initiated)),
            initiator: Some(backend.initiator()),
            key: Some(encoding.show(key)),
            owner: Some(backend.owner()),
            storage_class: Some(super::multipart::class(upload)),
            upload_id: Some(id.clone()),
        });
    let prefixes = page.prefixes.iter().map(|prefix| CommonPrefix {
        prefix: Some(encoding.show(prefix)),
    });
    done(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        common_prefixes: Some(prefixes.collect()),
        delimiter: encoding.show_some(input.delimiter.as_ref()),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.truncated),
        key_marker: Some(encoding.show(&listing.after)),
        max_uploads: Some(max_uploads),
        next_key_marker: Some(encoding.show(&next_key)),
        next_upload_id_marker: Some(next_id),
        prefix: encoding.show_some(input.prefix.as_ref()),
        request_charged: None,
        upload_id_marker: Some(upload_marker.unwrap_or_default()),
        uploads: Some(uploads.collect()),
    })
}
