//! Elements of documents that s3s 0.14.1 does not read: the tags of a new bucket,
//! and elements of features that are missing. s3s ignores or refuses them.

use std::ops::Range;

use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::Event;
use s3s::S3ErrorCode;
use s3s::dto::{Tag, Tagging};
use s3s::xml::Deserializer;

use super::failure::{Result, fail, malformed_xml, not_implemented};

/// The elements of missing features, by operation.
const MISSING: [(&str, &[&str]); 4] = [
    (
        "CompleteMultipartUpload",
        &[
            "ChecksumMD5",
            "ChecksumSHA512",
            "ChecksumXXHASH128",
            "ChecksumXXHASH3",
            "ChecksumXXHASH64",
        ],
    ),
    ("CreateBucket", &["Bucket", "Location"]),
    ("DeleteObjects", &["LastModifiedTime", "Size"]),
    ("PutBucketEncryption", &["BlockedEncryptionTypes"]),
];

/// Refuses a document with an element of a missing feature. A document that is not
/// XML is left to s3s.
pub(super) fn check(operation: &str, document: &[u8]) -> Result<()> {
    let of_operation = MISSING.iter().find(|(name, _)| *name == operation);
    let Some((_, missing)) = of_operation else {
        return Ok(());
    };
    let mut reader = Reader::from_reader(document);
    loop {
        match reader.read_event() {
            Ok(Event::Start(element) | Event::Empty(element)) => {
                let name = element.local_name();
                let found = missing.iter().find(|it| it.as_bytes() == name.as_ref());
                if let Some(name) = found {
                    return Err(not_implemented(name));
                }
            }
            Ok(Event::Eof) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

/// Completes a document of tags without a set of tags, which S3 takes for an empty
/// set and s3s refuses.
pub(super) fn with_tag_set(operation: &str, document: Bytes) -> Bytes {
    if !matches!(operation, "PutBucketTagging" | "PutObjectTagging") {
        return document;
    }
    let mut reader = Reader::from_reader(&document[..]);
    reader.config_mut().trim_text(true);
    let mut names = Vec::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(element) | Event::Empty(element)) => {
                names.push(element.local_name().as_ref().to_vec());
            }
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(_) => return document,
        }
    }
    if names == [b"Tagging"] {
        Bytes::from_static(b"<Tagging><TagSet/></Tagging>")
    } else {
        document
    }
}

/// Removes the tags of a new bucket from the document that creates it.
pub(super) fn take_tags(document: Bytes) -> Result<(Bytes, Option<Tagging>)> {
    let Some(place) = place_of_tags(&document) else {
        return Ok((document, None));
    };
    let tags = &document[place.clone()];
    let mut reader = Deserializer::new(tags);
    let tags = reader.named_element("Tags", |reader| reader.list_content::<Tag>("Tag"));
    let tags = tags.map_err(|_| malformed_xml())?;
    for tag in &tags {
        let (Some(key), Some(_)) = (&tag.key, &tag.value) else {
            return Err(malformed_xml());
        };
        if key.starts_with("aws:") {
            return Err(fail(
                S3ErrorCode::InvalidTag,
                "User-defined tag keys can't start with \"aws:\". This prefix is reserved for system tags. Remove \"aws:\" from your tag keys and try again.",
            ));
        }
    }
    let rest = [&document[..place.start], &document[place.end..]].concat();
    let tagging = Tagging { tag_set: tags };
    Ok((
        rest.into(),
        Some(tagging).filter(|it| !it.tag_set.is_empty()),
    ))
}

/// Returns where the element `Tags` is in a document.
fn place_of_tags(document: &[u8]) -> Option<Range<usize>> {
    let mut reader = Reader::from_reader(document);
    loop {
        let start = usize::try_from(reader.buffer_position()).ok()?;
        match reader.read_event().ok()? {
            Event::Start(element) if element.local_name().as_ref() == b"Tags" => {
                reader.read_to_end(element.to_end().name()).ok()?;
            }
            Event::Empty(element) if element.local_name().as_ref() == b"Tags" => {}
            Event::Eof => return None,
            _ => continue,
        }
        let end = usize::try_from(reader.buffer_position()).ok()?;
        return Some(start..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_bucket(inside: &str) -> Bytes {
        format!("<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>").into()
    }

    #[test]
    fn elements_of_missing_features_are_refused() {
        let code = |operation, document: &str| {
            let checked = check(operation, document.as_bytes());
            checked.map_err(|error| error.code().as_str().to_owned())
        };
        let blocked = "<A><Rule><BlockedEncryptionTypes/></Rule></A>";
        assert_eq!(
            code("PutBucketEncryption", blocked),
            Err("NotImplemented".into())
        );
        assert_eq!(code("PutBucketTagging", blocked), Ok(()));
        let object = "<Delete><Object><Key>Size</Key></Object></Delete>";
        assert_eq!(code("DeleteObjects", object), Ok(()));
        assert_eq!(code("DeleteObjects", "<Delete><Obj"), Ok(()));
    }

    #[test]
    fn the_tags_of_a_new_bucket_are_separated() {
        let place = "<LocationConstraint>eu-west-1</LocationConstraint>";
        let tag = "<Tag><Key>a&amp;b</Key><Value>c</Value></Tag>";
        let (rest, tags) = take_tags(new_bucket(&format!("{place}<Tags>{tag}</Tags>"))).unwrap();
        assert_eq!(rest, new_bucket(place));
        let tags = tags.unwrap().tag_set;
        assert_eq!((tags.len(), tags[0].key.as_deref()), (1, Some("a&b")));
        for none in ["", "<Tags/>", "<Tags></Tags>"] {
            let (rest, tags) = take_tags(new_bucket(none)).unwrap();
            assert_eq!((rest, tags), (new_bucket(""), None));
        }
        for (wrong, code) in [
            ("<Tag><Key>a</Key></Tag>", "MalformedXML"),
            ("<Tag><Value>a</Value></Tag>", "MalformedXML"),
            ("<Tag><Key>aws:a</Key><Value/></Tag>", "InvalidTag"),
        ] {
            let error = take_tags(new_bucket(&format!("<Tags>{wrong}</Tags>"))).unwrap_err();
            assert_eq!(error.code().as_str(), code, "{wrong}");
        }
    }
}
