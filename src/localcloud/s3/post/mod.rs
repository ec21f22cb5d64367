//! Uploads by forms of browsers, which S3 calls POST Object. A form becomes the
//! upload that its fields describe, and the answer becomes the one that they ask for.

mod form;
mod policy;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use hyper::header::{
    CONTENT_LENGTH, ETAG, HOST, HeaderName, HeaderValue, LOCATION, REFERER, USER_AGENT,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use s3s::dto::Tagging;
use s3s::xml::{Deserialize as _, Deserializer};
use s3s::{Body, S3Error};

use super::authentication::authenticate_form;
use super::failure::{Result, bad_argument, document_response, malformed_xml, xml};
use crate::query;
use crate::signature::{FormSignature, Keys, Signed};
use form::Fields;

/// The fields that are headers of the upload by the same names.
const HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// The fields of a signature of version 4, as errors name them.
const SIGNATURE: [&str; 4] = [
    "X-Amz-Signature",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
];

/// The upload that a form describes.
pub(super) struct Upload {
    /// The request that would store the file without a form.
    pub(super) parts: Parts,
    pub(super) key: String,
    pub(super) signed: Option<Signed>,
    pub(super) content: BoxStream<'static, Result<Bytes>>,
    pub(super) after: After,
}

/// The answer that a form asks for.
pub(super) struct After {
    status: StatusCode,
    redirect: Option<String>,
    bucket: String,
    key: String,
    location: String,
}

/// Reads a form up to its file, and checks its signature and its policy. The file
/// has at most `max` bytes.
pub(super) async fn read(
    parts: &Parts,
    bucket: &str,
    body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    (keys, now, max): (&Keys, Timestamp, u64),
) -> Result<Upload> {
    let form = form::read(&parts.headers, body.boxed()).await?;
    let fields = &form.fields;
    let key = fields.get("key").ok_or_else(|| missing("key"))?;
    let key = key.replace("${filename}", &form.filename);
    let put = request(parts, bucket, &key, fields)?;
    let (signed, range) = match fields.get("policy") {
        None => (None, (0, max)),
        Some(policy) => {
            let signature = signature(fields)?;
            let signed = authenticate_form(&put, policy, &signature, keys, now)?;
            let range = policy::check(policy, fields, bucket, now, max)?;
            (Some(signed), range)
        }
    };
    let after = After::of(fields, &put.headers, bucket, &key);
    let (_, content) = form.content(range);
    Ok(Upload {
        parts: put,
        key,
        signed,
        content: content.boxed(),
        after,
    })
}

/// Returns the signature in the fields of a form.
fn signature(fields: &Fields) -> Result<FormSignature<'_>> {
    if let (Some(access_key_id), Some(signature)) =
        (fields.get("awsaccesskeyid"), fields.get("signature"))
    {
        return Ok(FormSignature::Version2 {
            access_key_id,
            signature,
        });
    }
    let field = |name: &str| {
        let found = fields.get(&name.to_ascii_lowercase());
        found.ok_or_else(|| missing(name))
    };
    let [signature, algorithm, credential, date] = SIGNATURE;
    Ok(FormSignature::Version4 {
        signature: field(signature)?,
        algorithm: field(algorithm)?,
        credential: field(credential)?,
        date: field(date)?,
    })
}

/// Returns the request that would store the file without a form.
fn request(parts: &Parts, bucket: &str, key: &str, fields: &Fields) -> Result<Parts> {
    let uri = format!("/{bucket}/{}", query::encode(key, query::VALUE));
    let request = Request::builder().method(Method::PUT).uri(uri).body(());
    let mut put = request.map_err(|_| missing("key"))?.into_parts().0;
    for name in [HOST, REFERER, USER_AGENT] {
        if let Some(value) = parts.headers.get(&name) {
            put.headers.insert(name, value.clone());
        }
    }
    for (name, value) in fields.all() {
        let (name, value) = match name {
            "acl" => ("x-amz-acl", value.to_owned()),
            "tagging" => ("x-amz-tagging", tags(value)?),
            // These are about the signature, or would make the upload another one.
            "x-amz-algorithm"
            | "x-amz-content-sha256"
            | "x-amz-copy-source"
            | "x-amz-credential"
            | "x-amz-date"
            | "x-amz-signature"
            | "x-amz-trailer" => continue,
            name if name.starts_with("x-amz-") || HEADERS.contains(&name) => {
                (name, value.to_owned())
            }
            _ => continue,
        };
        let wrong = || bad_argument(name, value.clone(), "The field is not a valid header.");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let content = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
        put.headers.insert(header, content);
    }
    Ok(put)
}

/// Returns the tags of a form, a document, as the header of an upload.
fn tags(document: &str) -> Result<String> {
    let mut reader = Deserializer::new(document.as_bytes());
    let tagging = Tagging::deserialize(&mut reader).map_err(|_| malformed_xml())?;
    let encoded =
        |text: Option<&String>| query::encode(text.map_or("", String::as_str), query::VALUE);
    let pairs = tagging.tag_set.iter().map(|tag| {
        let (key, value) = (encoded(tag.key.as_ref()), encoded(tag.value.as_ref()));
        format!("{key}={value}")
    });
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

impl After {
    fn of(fields: &Fields, headers: &HeaderMap, bucket: &str, key: &str) -> Self {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.unwrap_or_default();
        let redirect = fields
            .get("success_action_redirect")
            .or(fields.get("redirect"));
        let is_url = |url: &&str| url.starts_with("http://") || url.starts_with("https://");
        Self {
            status: match fields.get("success_action_status") {
                Some("200") => StatusCode::OK,
                Some("201") => StatusCode::CREATED,
                _ => StatusCode::NO_CONTENT,
            },
            redirect: redirect.filter(is_url).map(str::to_owned),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            location: format!(
                "http://{host}/{bucket}/{}",
                query::encode(key, query::VALUE)
            ),
        }
    }

    /// Returns the answer to the form for that to the upload.
    pub(super) fn answer(self, stored: Response<Body>) -> Response<Body> {
        if !stored.status().is_success() {
            return stored;
        }
        let etag = stored.headers().get(ETAG).cloned();
        let etag = etag.as_ref().and_then(|etag| etag.to_str().ok());
        let etag = etag.unwrap_or_default().to_owned();
        let mut answer = match self.status {
            StatusCode::CREATED if self.redirect.is_none() => document_response(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>{}</PostResponse>",
                xml(&[
                    ("Location", &self.location),
                    ("Bucket", &self.bucket),
                    ("Key", &self.key),
                    ("ETag", &etag),
                ])
            )),
            _ => Response::new(Body::empty()),
        };
        *answer.status_mut() = self.status;
        for (name, value) in stored.headers() {
            if name != CONTENT_LENGTH {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        let mut location = self.location;
        if let Some(target) = self.redirect {
            *answer.status_mut() = StatusCode::SEE_OTHER;
            let sign = if target.contains('?') { '&' } else { '?' };
            let encoded = |text: &str| query::encode(text, query::VALUE);
            let (bucket, key) = (encoded(&self.bucket), encoded(&self.key));
            let etag = encoded(&etag);
            location = format!("{target}{sign}bucket={bucket}&key={key}&etag={etag}");
        }
        if let Ok(location) = HeaderValue::from_str(&location) {
            answer.headers_mut().insert(LOCATION, location);
        }
        answer
    }
}

fn missing(field: &str) -> S3Error {
    let message = format!(
        "Bucket POST must contain a field named '{field}'.  If it is specified, please check the order of the fields."
    );
    bad_argument(field, "", message)
}
