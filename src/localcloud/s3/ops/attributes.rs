//! The attributes of an object. The document is written here, because that of s3s
//! 0.14.1 has quotes around the entity tag and another order.

use hyper::Response;
use hyper::header::{HeaderName, HeaderValue, LAST_MODIFIED};
use s3s::Body;

use super::super::backend::Backend;
use super::super::call::Call;
use super::super::checksum::Kind;
use super::super::failure::{Result, bad_argument, document_response, invalid_argument, xml};
use super::super::store::ObjectRecord;
use super::versions::{FoundObject, find, http_date};

/// S3's maximum number of parts in an answer.
const MAX_PARTS: usize = 1000;
const NAMES: [&str; 5] = [
    "ETag",
    "Checksum",
    "ObjectParts",
    "StorageClass",
    "ObjectSize",
];

/// Returns the attributes of an object that a request names.
pub(in super::super) fn get_object_attributes(
    backend: &Backend,
    call: &Call,
    (bucket, key): (&str, &str),
) -> Result<Response<Body>> {
    let id = call.query.get("versionId");
    let FoundObject { object, version_id } = find(backend, call, (bucket, key), id)?;
    let record = &object.record;
    // Some clients send one header with commas, others one header per attribute.
    let headers = call.headers.get_all("x-amz-object-attributes").iter();
    let lists = headers.map(|value| value.to_str().unwrap_or_default());
    let asked: Vec<&str> = lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    if asked.is_empty() || asked.iter().any(|name| !NAMES.contains(name)) {
        return Err(invalid_argument("Invalid attribute name specified."));
    }
    let mut document = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<GetObjectAttributesResponse \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
    );
    for name in NAMES.into_iter().filter(|name| asked.contains(name)) {
        match name {
            "ETag" => document.push_str(&xml(&[("ETag", &record.etag)])),
            "Checksum" => document.push_str(&nested("Checksum", &checksum(record))),
            "ObjectParts" if record.multipart => {
                document.push_str(&nested("ObjectParts", &parts(call, record)?));
            }
            "StorageClass" => {
                let class = record.storage_class.as_deref().unwrap_or("STANDARD");
                document.push_str(&xml(&[("StorageClass", class)]));
            }
            "ObjectSize" => document.push_str(&xml(&[("ObjectSize", &record.size.to_string())])),
            _ => {}
        }
    }
    document.push_str("</GetObjectAttributesResponse>");
    let mut response = document_response(document);
    let version = version_id.map(|id| (HeaderName::from_static("x-amz-version-id"), id));
    let modified = (LAST_MODIFIED, http_date(record.modified));
    for (name, value) in [modified].into_iter().chain(version) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn nested(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

/// Returns the checksum, without the number of parts at the end of a composite one.
fn checksum(record: &ObjectRecord) -> String {
    let checksum = &record.checksum;
    let value = checksum.value.split('-').next().unwrap_or_default();
    let name = format!("Checksum{}", checksum.algorithm.name());
    xml(&[(&name, value), ("ChecksumType", checksum.kind.name())])
}

/// Returns the parts of an object. S3 keeps only their number if the checksum is
/// that of the whole object.
fn parts(call: &Call, record: &ObjectRecord) -> Result<String> {
    let count = record.pieces.len();
    let total = xml(&[("PartsCount", &count.to_string())]);
    if record.checksum.kind == Kind::FullObject {
        return Ok(total);
    }
    let marker = number(call, "part-number-marker")?.unwrap_or(0);
    let limit = number(call, "max-parts")?
        .unwrap_or(MAX_PARTS)
        .min(MAX_PARTS);
    let numbered = (1..).zip(&record.pieces).skip(marker).take(limit);
    let field = format!("Checksum{}", record.checksum.algorithm.name());
    let mut shown = String::new();
    let mut last = 0;
    for (number, piece) in numbered {
        let sum = piece.checksum.as_deref().unwrap_or_default();
        let part = xml(&[
            (&field, sum),
            ("PartNumber", &number.to_string()),
            ("Size", &piece.size.to_string()),
        ]);
        shown.push_str(&nested("Part", &part));
        last = number;
    }
    let truncated = last > 0 && last < count;
    let place = xml(&[
        ("PartNumberMarker", &marker.to_string()),
        ("NextPartNumberMarker", &last.to_string()),
        ("MaxParts", &limit.to_string()),
        ("IsTruncated", &truncated.to_string()),
    ]);
    Ok(format!("{total}{place}{shown}"))
}

fn number(call: &Call, name: &str) -> Result<Option<usize>> {
    let Some(text) = call.header(&format!("x-amz-{name}")) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let message = format!("Provided {name} not an integer or within integer range");
        bad_argument(name, text, message)
    })
}
