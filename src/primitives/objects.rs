//! S3 objects and their URLs.

use std::path::Path;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::buckets::bucket_name;
use super::{check_public, file_state, release};
use crate::clients::s3::{Content, LONGEST_PRESIGN, PoliciesBefore, Published, S3, keys};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ledger::{Intent, NewResource, Resource, ResourceKind, State, Step};
use crate::report::text;
use crate::script::{self, Declared, Outcome, Shape};

#[export_module]
pub mod api {
    /// Gives the URL of an object, which need not exist yet.
    ///
    /// `key` is used as it is, like every key that a playbook names. A key that
    /// some function could not use is refused by all of them: a blank one, one of
    /// more than 1024 bytes in UTF-8, one with a NUL, and one with `.` or `..`
    /// between its slashes, which no URL can have.
    ///
    /// Throws `denied`, `not_found` when there is no such bucket,
    /// `invalid_option`.
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
            let options = script::options(options)?;
            super::object_url(cx, step, &bucket_name(&bucket)?, &key, options).await
        })
    }

    /// Uploads an image so that a browser can show it.
    ///
    /// The content type follows the file's ending.
    ///
    /// Throws `invalid_option` for what is no image, `not_found`, `denied`.
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
            let options = script::options(options)?;
            super::upload_image(cx, step, &bucket_name(&bucket)?, &file, options).await
        })
    }

    /// Uploads a file; nobody but the account can read it.
    ///
    /// `url` in the map is the plain one.
    ///
    /// Throws `not_found`, `denied`, `invalid_option` for what cannot be a key.
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
            let options = script::options(options)?;
            super::upload_file(cx, step, &bucket_name(&bucket)?, &file, options).await
        })
    }

    /// Deletes the object of this key; one that is gone already is fine.
    ///
    /// Throws `invalid_option` for what cannot be a key, `denied` for an object in
    /// a bucket that autorun did not make, unless this run uploaded it under a new
    /// key.
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
        .gives::<Object>(Shape::One),
    Declared::of("upload_file")
        .options::<UploadFile>()
        .gives::<Object>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectUrl {
    /// Let everyone read this one key, by a statement in the bucket's policy.
    /// Where the account forbids public policies, and for a key with `*`, `?`
    /// or `${`, by which a policy means other keys as well, the URL is a
    /// presigned one, good for 7 days at most, and the log says so.
    #[serde(default)]
    public: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UploadImage {
    /// Used as it is. By default a relative path, without `.` and doubled
    /// slashes; the file's name alone of a path that is absolute, begins with
    /// `~/` or has `..`.
    key: Option<String>,
    /// Let everyone read this one key; by default true in a bucket that this
    /// run made. Otherwise, and where `object_url` could not make it public,
    /// `url` is a presigned one, good for 7 days at most.
    public: Option<bool>,
    content_type: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UploadFile {
    /// Used as it is. By default a relative path, without `.` and doubled
    /// slashes; the file's name alone of a path that is absolute, begins with
    /// `~/` or has `..`.
    key: Option<String>,
    /// By default from the file's ending.
    content_type: Option<String>,
}

/// An object that was uploaded.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Object {
    /// The bucket's name.
    bucket: String,
    /// Its key.
    key: String,
    /// Its URL.
    url: String,
    /// Its size in bytes.
    size: u64,
    /// Its content type, as "image/png".
    content_type: String,
    /// Whether everyone can read it.
    public: bool,
}

/// A URL and whether everyone may use it for ever.
struct Link {
    url: String,
    public: bool,
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

/// Makes a key public, or falls back to a presigned URL, aloud.
async fn published(cx: &Context, step: &mut Step, bucket: &str, key: &str) -> Result<Link> {
    let s3 = cx.clients.s3().await?;
    let (intent, blocked) = if cx.ledger.made(ResourceKind::Bucket, bucket) {
        (None, true)
    } else {
        intend_publishing(step, &s3, bucket, key).await?
    };
    let published = cx.clients.publish(&s3, bucket, key, blocked).await;
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
        }),
        Published::Forbidden(said) => {
            cx.report.warn(format!(
                "{bucket}/{key} cannot be made public ({said}); its URL is a presigned one, \
                 good for 7 days at most, less with temporary credentials"
            ));
            presigned(cx, bucket, key).await
        }
    }
}

/// Writes down that a key in a bucket that was there before becomes public.
/// Gives no intent when it is public already, and whether the bucket blocks
/// public policies.
async fn intend_publishing(
    step: &mut Step,
    s3: &S3<'_>,
    bucket: &str,
    key: &str,
) -> Result<(Option<Intent>, bool)> {
    let cut_off =
        |row: &Resource| row.kind == ResourceKind::PublicAccess && row.state == State::Intended;
    let earlier = step.made().into_iter().find(cut_off);
    if earlier.is_none() && s3.is_public(bucket, key).await? {
        return Ok((None, false));
    }
    let blocked = s3.blocks_public_policies(bucket).await?;
    let before = match (earlier, blocked) {
        // Of an attempt that was cut off, the row tells what it was before that.
        (Some(row), _) => row.name,
        (None, true) => PoliciesBefore::Blocked.as_str().to_owned(),
        (None, false) => PoliciesBefore::Allowed.as_str().to_owned(),
    };
    let id = format!("{bucket}/{key}");
    let wanted = NewResource::with_id(ResourceKind::PublicAccess, &before, &id);
    Ok((Some(step.intend_one(wanted)?), blocked))
}

async fn presigned(cx: &Context, bucket: &str, key: &str) -> Result<Link> {
    let url = cx
        .clients
        .s3()
        .await?
        .presigned_url(bucket, key, LONGEST_PRESIGN)
        .await?;
    Ok(Link { url, public: false })
}

async fn upload_image(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    file: &str,
    options: UploadImage,
) -> Result<Object> {
    let path = cx.clients.local.expand(Path::new(file));
    let size = size(&path)?;
    let kind = content_type(&path, options.content_type);
    if size == 0 {
        return Err(
            Error::invalid(format!("`{file}` is empty, so it is no image"))
                .hint("was it written in full? upload_file uploads empty files too"),
        );
    }
    if !kind.starts_with("image/") {
        return Err(
            Error::invalid(format!("`{file}` is not an image: its type is {kind}"))
                .hint("pass `content_type`, as \"image/png\", or use upload_file"),
        );
    }
    let key = key_of(file, options.key)?;
    check_object(cx, &key, Some(&kind))?;
    let made = cx.ledger.made(ResourceKind::Bucket, bucket);
    let link = if options.public.unwrap_or(made) {
        published(cx, step, bucket, &key).await?
    } else {
        presigned(cx, bucket, &key).await?
    };
    put(cx, step, bucket, &key, content(&path, size, &kind)).await?;
    Ok(Object {
        bucket: bucket.to_owned(),
        key,
        url: link.url,
        size,
        content_type: kind,
        public: link.public,
    })
}

async fn upload_file(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    file: &str,
    options: UploadFile,
) -> Result<Object> {
    let path = cx.clients.local.expand(Path::new(file));
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
    })
}

/// Refuses a secret in what everyone sees of an object who may list or get it.
pub(super) fn check_object(cx: &Context, key: &str, kind: Option<&str>) -> Result<()> {
    check_public(cx, "the key of an object", key)?;
    kind.map_or(Ok(()), |kind| {
        check_public(cx, "option `content_type`", kind)
    })
}

/// Uploads, unless an earlier attempt did and the object is still there.
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
    // What was there before is not ours: replacing it does not make it so.
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
    let result = s3.put(bucket, key, content, &cx.report).await;
    match (&result, intent) {
        (Ok(()), Some(intent)) => intent.created(&id),
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

/// The key that was given, or the one that the file's path makes.
fn key_of(file: &str, given: Option<String>) -> Result<String> {
    match given {
        Some(key) => keys::check(&key).map(|()| key),
        None => keys::of_path(file),
    }
}

/// What is uploaded, as long as it has no row.
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

/// The size of a regular file, before the first request.
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
