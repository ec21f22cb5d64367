//! S3 objects and their URLs.

use std::path::Path;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::buckets::bucket_name;
use super::{check_public, file_state, rehearsed, release, uploads};
use crate::clients::SignedUrl;
use crate::clients::s3::{
    Allowed, Content, LONGEST_PRESIGN, PoliciesBefore, Published, Publishing, S3, keys,
};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ledger::{Intent, NewResource, Resource, ResourceKind, State, Step};
use crate::report::text;
use crate::script::{self, Declared, Outcome, Shape};

#[export_module(manifest)]
pub mod api {
    /// Returns the URL of an object.
    ///
    /// The object does not have to exist yet. `bucket` is a map that
    /// `create_bucket` returned, or a bucket name. `key` is used exactly as
    /// given, in this and all other functions. All functions reject the same
    /// keys: blank keys, keys longer than 1024 bytes in UTF-8, keys with a NUL
    /// character, and keys with `.` or `..` between slashes, which a URL cannot
    /// contain.
    ///
    /// Throws `invalid_option` if the key is not valid; with `public: true`,
    /// `not_found` if the bucket does not exist.
    ///
    /// ```rhai
    /// let bucket = create_bucket("pictures");
    /// let url = object_url(bucket, "logo.png", #{ public: true });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn object_url(
        call: NativeCallContext,
        bucket: Dynamic,
        key: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&bucket, &key.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            super::object_url(cx, step, &bucket_name(&bucket)?, &key, options).await
        })
    }

    /// Uploads an image for display in a browser.
    ///
    /// `bucket` is a map that `create_bucket` returned, or a bucket name.
    /// `file` is the path of a file on this machine.
    ///
    /// Throws `invalid_option` if the file is empty or not an image, or if the
    /// key is not valid; `not_found` if the file or the bucket does not exist;
    /// `denied` if the file cannot be read or AWS refuses the request.
    ///
    /// ```rhai
    /// let bucket = create_bucket("pictures");
    /// let image = upload_image(bucket, "assets/logo.png", #{ key: "logo.png" });
    /// print(image.url);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn upload_image(
        call: NativeCallContext,
        bucket: Dynamic,
        file: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let state = file_state(&call, &file);
        let arguments = [
            &bucket,
            &file.clone().into(),
            &options.clone().into(),
            &state,
        ];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            super::upload_image(cx, step, &bucket_name(&bucket)?, &file, options).await
        })
    }

    /// Uploads a file as a private object.
    ///
    /// Only the account can read the object. `bucket` is a map that
    /// `create_bucket` returned, or a bucket name. `file` is the path of a file
    /// on this machine. `url` in the returned map is the plain URL, which needs
    /// credentials; for a link that works without them, use `presigned_url`.
    ///
    /// Throws `not_found` if the file or the bucket does not exist, `denied` if
    /// the file cannot be read or AWS refuses the request, and `invalid_option`
    /// if the path is a directory or the key is not valid.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// upload_file(bucket, "assets/check_webserver.py", #{ key: "check.py" });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn upload_file(
        call: NativeCallContext,
        bucket: Dynamic,
        file: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let state = file_state(&call, &file);
        let arguments = [
            &bucket,
            &file.clone().into(),
            &options.clone().into(),
            &state,
        ];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            super::upload_file(cx, step, &bucket_name(&bucket)?, &file, options).await
        })
    }

    /// Deletes the object with this key.
    ///
    /// `bucket` is a map that `create_bucket` returned, or a bucket name.
    /// Deleting an object that does not exist is not an error. In a bucket with
    /// versioning, S3 keeps the object's versions and adds a delete marker.
    ///
    /// Throws `invalid_option` if the key is not valid, and `denied` if autorun
    /// did not create the bucket, unless this run uploaded the object under a
    /// new key.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// upload_file(bucket, "assets/check_webserver.py", #{ key: "check.py" });
    /// delete_object(bucket, "check.py");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn delete_object(
        call: NativeCallContext,
        bucket: Dynamic,
        key: ImmutableString,
    ) -> Outcome<Dynamic> {
        let arguments = [&bucket, &key.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            keys::check(&key)?;
            let id = format!("{}/{key}", bucket_name(&bucket)?);
            release(cx, step, ResourceKind::Object, &id).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("object_url").options::<ObjectUrl>(),
    Declared::of("upload_image")
        .options::<UploadImage>()
        .returns::<Object>(Shape::One),
    Declared::of("upload_file")
        .options::<UploadFile>()
        .returns::<Object>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectUrl {
    /// Make this one key readable for everyone, with a statement in the bucket
    /// policy. If the account or its organization does not allow that, or if
    /// the key contains `*`, `?` or `${`, which would match other keys in a
    /// policy, the URL is a presigned URL instead. It is valid for at most 7
    /// days, less with temporary credentials; a warning has the reason and the
    /// end.
    #[serde(default)]
    public: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UploadImage {
    /// The key, used exactly as given. By default the path of the file without
    /// `.` and doubled slashes, or only the file name if the path is absolute,
    /// begins with `~/` or contains `..`.
    key: Option<String>,
    /// Make this one key readable for everyone. The default is true in a bucket
    /// that this run created, else false. If the object is not public, or
    /// cannot be made public (see `object_url`), `url` is a presigned URL,
    /// valid for at most 7 days, and `expires` is its end.
    public: Option<bool>,
    /// Content type. The default follows the file name extension.
    content_type: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UploadFile {
    /// The key, used exactly as given. By default the path of the file without
    /// `.` and doubled slashes, or only the file name if the path is absolute,
    /// begins with `~/` or contains `..`.
    key: Option<String>,
    /// Content type. The default follows the file name extension.
    content_type: Option<String>,
}

/// An uploaded object.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Object {
    /// Name of the bucket.
    bucket: String,
    /// Key of the object.
    key: String,
    /// URL of the object.
    url: String,
    /// Size in bytes.
    size: u64,
    /// Content type, such as "image/png".
    content_type: String,
    /// Whether everyone can read the object.
    public: bool,
    /// When a presigned URL ends, such as "2026-11-25T22:10:03Z"; else `()`.
    expires: Option<String>,
}

/// The URL of an object, and whether it is public without a time limit.
struct Link {
    url: String,
    public: bool,
    expires: Option<String>,
}

impl From<SignedUrl> for Link {
    fn from(signed: SignedUrl) -> Self {
        Self {
            public: false,
            expires: Some(signed.end()),
            url: signed.url,
        }
    }
}

async fn object_url(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    key: &str,
    options: ObjectUrl,
) -> Result<String> {
    keys::check(key)?;
    if options.public {
        check_object(cx, key, None)?;
        let link = published(cx, step, bucket, key).await?;
        return Ok(link.url);
    }
    Ok(cx.clients.s3().await?.url(bucket, key))
}

/// Makes a key public, or falls back to a presigned URL with a warning.
async fn published(cx: &Context, step: &mut Step, bucket: &str, key: &str) -> Result<Link> {
    let s3 = cx.clients.s3().await?;
    let ours = cx.ledger.made(ResourceKind::Bucket, bucket);
    let (intent, blocked, changed) = if ours {
        (None, true, true)
    } else {
        match intend_publishing(step, &s3, bucket, key).await? {
            Allowed::Yes(intended) => intended,
            Allowed::No(reason) => return not_public(cx, bucket, key, &reason).await,
        }
    };
    let wanted = Publishing {
        bucket,
        key,
        blocked,
        changed,
    };
    let published = cx.clients.publish(&s3, wanted, &cx.report).await;
    match (&published, intent) {
        (Ok(Published::Public), Some(intent)) => intent.created(&format!("{bucket}/{key}")),
        (Ok(Published::Forbidden(_)), Some(intent)) => intent.not_created(),
        (Err(error), Some(intent)) => intent.abandoned(error),
        (_, None) => {}
    }
    match published? {
        Published::Public => Ok(Link {
            url: s3.url(bucket, key),
            public: true,
            expires: None,
        }),
        Published::Forbidden(reason) => not_public(cx, bucket, key, &reason).await,
    }
}

/// Returns a presigned URL in place of a public one, with a warning.
async fn not_public(cx: &Context, bucket: &str, key: &str, reason: &str) -> Result<Link> {
    let signed = sign(cx, bucket, key).await?;
    cx.report.warn(format!(
        "{bucket}/{key} cannot be made public ({reason}); its URL is a presigned URL, {}",
        signed.validity()
    ));
    Ok(signed.into())
}

/// Records in the ledger that a key becomes public in a bucket that this run did
/// not create. Returns the intent, `None` if the key is already public; whether
/// the bucket blocks public policies; and whether an earlier attempt may have
/// changed that.
async fn intend_publishing(
    step: &mut Step,
    s3: &S3<'_>,
    bucket: &str,
    key: &str,
) -> Result<Allowed<(Option<Intent>, bool, bool)>> {
    let cut_off =
        |row: &Resource| row.kind == ResourceKind::PublicAccess && row.state == State::Intended;
    let earlier = step.made().into_iter().find(cut_off);
    if earlier.is_none() {
        match s3.is_public(bucket, key).await? {
            Allowed::Yes(true) => return Ok(Allowed::Yes((None, false, false))),
            Allowed::Yes(false) => {}
            Allowed::No(reason) => return Ok(Allowed::No(reason)),
        }
    }
    let blocked = match s3.blocks_public_policies(bucket).await? {
        Allowed::Yes(blocked) => blocked,
        Allowed::No(reason) => return Ok(Allowed::No(reason)),
    };
    let changed = earlier.is_some();
    let before = match (earlier, blocked) {
        // An interrupted attempt recorded the state before its own change.
        (Some(row), _) => row.name,
        (None, true) => PoliciesBefore::Blocked.as_str().to_owned(),
        (None, false) => PoliciesBefore::Allowed.as_str().to_owned(),
    };
    let id = format!("{bucket}/{key}");
    let wanted = NewResource::with_id(ResourceKind::PublicAccess, &before, &id);
    let intent = step.intend_one(wanted)?;
    Ok(Allowed::Yes((Some(intent), blocked, changed)))
}

/// Signs the URL of an object that is not public.
async fn sign(cx: &Context, bucket: &str, key: &str) -> Result<SignedUrl> {
    cx.clients.presigned_url(bucket, key, LONGEST_PRESIGN).await
}

/// Logs how long a presigned URL is valid; warns if that is less than requested.
pub(super) fn log_validity(cx: &Context, bucket: &str, key: &str, signed: &SignedUrl) {
    let message = format!("the URL of {bucket}/{key} is {}", signed.validity());
    if signed.ends_early() {
        cx.report.warn(message);
    } else {
        cx.report.info(message);
    }
}

async fn upload_image(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    file: &str,
    options: UploadImage,
) -> Result<Object> {
    let path = rehearsed::source(cx, file);
    let size = size(&path)?;
    let kind = content_type(&path, options.content_type);
    if size == 0 {
        return Err(
            Error::invalid(format!("`{file}` is not an image: the file is empty"))
                .hint("check that it was written in full; upload_file also uploads empty files"),
        );
    }
    if !kind.starts_with("image/") {
        return Err(
            Error::invalid(format!("`{file}` is not an image: its type is {kind}"))
                .hint("pass `content_type`, for example \"image/png\", or use upload_file"),
        );
    }
    let key = key_of(file, options.key)?;
    check_object(cx, &key, Some(&kind))?;
    let made = cx.ledger.made(ResourceKind::Bucket, bucket);
    let link = if options.public.unwrap_or(made) {
        published(cx, step, bucket, &key).await?
    } else {
        let signed = sign(cx, bucket, &key).await?;
        log_validity(cx, bucket, &key, &signed);
        signed.into()
    };
    put(cx, step, bucket, &key, content(&path, size, &kind)).await?;
    Ok(Object {
        bucket: bucket.to_owned(),
        key,
        url: link.url,
        size,
        content_type: kind,
        public: link.public,
        expires: link.expires,
    })
}

async fn upload_file(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    file: &str,
    options: UploadFile,
) -> Result<Object> {
    let path = rehearsed::source(cx, file);
    let key = key_of(file, options.key)?;
    let kind = content_type(&path, options.content_type);
    check_object(cx, &key, Some(&kind))?;
    let size = size(&path)?;
    put(cx, step, bucket, &key, content(&path, size, &kind)).await?;
    let url = cx.clients.s3().await?.url(bucket, &key);
    Ok(Object {
        bucket: bucket.to_owned(),
        key,
        url,
        size,
        content_type: kind,
        public: false,
        expires: None,
    })
}

/// Refuses a secret in the key or the content type, which everyone sees who may
/// list or read the object.
pub(super) fn check_object(cx: &Context, key: &str, kind: Option<&str>) -> Result<()> {
    check_public(cx, "the key of an object", key)?;
    kind.map_or(Ok(()), |kind| {
        check_public(cx, "option `content_type`", kind)
    })
}

/// Uploads a file, unless an earlier attempt did and the object still exists.
async fn put(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    key: &str,
    content: Content<'_>,
) -> Result<()> {
    let s3 = cx.clients.s3().await?;
    let id = format!("{bucket}/{key}");
    if step.recorded::<Object>()?.is_some() {
        if step.was_undone() || s3.object_row(bucket, key).await?.is_some() {
            step.replay();
            return Ok(());
        }
        for row in step.live(ResourceKind::Object) {
            cx.ledger.is_gone(&row);
        }
    }
    let known = cx.ledger.live_row(ResourceKind::Object, &id);
    let again = step
        .made()
        .iter()
        .any(|row| row.kind == ResourceKind::Object && row.state == State::Intended);
    // An object that existed before is not recorded as created: `destroy` must not
    // delete it, even if this run replaces its content.
    let new = again
        || known.is_none()
            && (cx.ledger.made(ResourceKind::Bucket, bucket)
                || s3.object_row(bucket, key).await?.is_none());
    let intent = if new {
        Some(step.intend_one(NewResource::with_id(ResourceKind::Object, &id, &id))?)
    } else {
        step.begin()?;
        None
    };
    let row = intent.as_ref().map(|intent| intent.token().to_owned());
    let row = row.or(known.map(|known| known.row));
    let content = Content {
        row: row.as_deref(),
        ..content
    };
    let object = (bucket, key);
    let upload = uploads::intend(cx, step, object, content).await?;
    let result = uploads::put(cx, object, content, upload, &cx.report).await;
    match (&result, intent) {
        (Ok(()), Some(intent)) => intent.created(&id),
        (Err(_), Some(_)) if uploads::is_begun(cx, &id) => {}
        (Err(error), Some(intent)) => intent.abandoned(error),
        (_, None) => {}
    }
    result?;
    cx.report.info(format!(
        "uploaded {} to {id} ({})",
        content.file.display(),
        text::bytes(content.size)
    ));
    Ok(())
}

/// Returns the key from the options, or the key derived from the path.
fn key_of(file: &str, given: Option<String>) -> Result<String> {
    match given {
        Some(key) => keys::check(&key).map(|()| key),
        None => keys::of_path(file),
    }
}

/// Describes an upload that has no row in the ledger yet.
pub(super) fn content<'a>(file: &'a Path, size: u64, kind: &'a str) -> Content<'a> {
    Content {
        file,
        size,
        kind,
        row: None,
    }
}

pub(super) fn content_type(path: &Path, given: Option<String>) -> String {
    given.unwrap_or_else(|| {
        mime_guess::from_path(path)
            .first_or_octet_stream()
            .to_string()
    })
}

/// Returns the size of a regular file. Fails before the first request if the file
/// cannot be read.
fn size(path: &Path) -> Result<u64> {
    let about = std::fs::metadata(path).map_err(|e| Error::io("read", path, &e))?;
    if !about.is_file() {
        let what = if about.is_dir() {
            "a directory"
        } else {
            "not a regular file"
        };
        return Err(
            Error::invalid(format!("cannot upload `{}`: it is {what}", path.display()))
                .hint("upload_dir uploads the files in a directory"),
        );
    }
    std::fs::File::open(path).map_err(|e| Error::io("read", path, &e))?;
    Ok(about.len())
}
