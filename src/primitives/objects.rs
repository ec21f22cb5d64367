//! S3 objects and their URLs.

use std::path::Path;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde::{Deserialize, Serialize};

use super::buckets::bucket_name;
use crate::clients::s3::{LONGEST_PRESIGN, Published};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ledger::ResourceKind;
use crate::report::text;
use crate::script::{self, Outcome};
use crate::teardown;

#[export_module]
pub mod api {
    /// Gives the URL of an object, which need not exist yet.
    ///
    /// `key` may be the path of the file that will be uploaded.
    ///
    /// - `public` (bool, false): let everyone read this one key, by a statement
    ///   in the bucket's policy. Where the account forbids public policies the
    ///   URL is a presigned one, good for 7 days at most, and the log says so.
    ///
    /// Throws `denied`, `not_found` when there is no such bucket.
    ///
    /// ```rhai
    /// let bucket = create_bucket("pictures");
    /// let url = object_url(bucket, "logo.png", #{ public: true });
    /// ```
    #[rhai_fn(name = "object_url", return_raw)]
    pub fn object_url_with(
        call: NativeCallContext,
        bucket: Dynamic,
        key: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options = script::options(options)?;
            super::object_url(cx, &bucket_name(&bucket)?, &key, options).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn object_url(
        call: NativeCallContext,
        bucket: Dynamic,
        key: ImmutableString,
    ) -> Outcome<Dynamic> {
        object_url_with(call, bucket, key, Map::new())
    }

    /// Uploads an image so that a browser can show it.
    ///
    /// The content type follows the file's ending. Gives a map with `bucket`,
    /// `key`, `url`, `size`, `content_type` and `public`.
    ///
    /// - `key` (string): by default the path as given, without a leading `/`
    ///   or `./`.
    /// - `public` (bool): let everyone read this one key; by default true in a
    ///   bucket that this run made. Otherwise, and where the account forbids
    ///   it, `url` is a presigned one, good for 7 days at most.
    /// - `content_type` (string).
    ///
    /// Throws `invalid_option` for what is no image, `not_found`, `denied`.
    ///
    /// ```rhai
    /// let bucket = create_bucket("pictures");
    /// let image = upload_image(bucket, "assets/logo.png", #{ key: "logo.png" });
    /// print(image.url);
    /// ```
    #[rhai_fn(name = "upload_image", return_raw)]
    pub fn upload_image_with(
        call: NativeCallContext,
        bucket: Dynamic,
        file: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options = script::options(options)?;
            super::upload_image(cx, &bucket_name(&bucket)?, &file, options).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn upload_image(
        call: NativeCallContext,
        bucket: Dynamic,
        file: ImmutableString,
    ) -> Outcome<Dynamic> {
        upload_image_with(call, bucket, file, Map::new())
    }

    /// Uploads a file; nobody but the account can read it.
    ///
    /// Gives the same map as `upload_image`; `url` is the plain one.
    ///
    /// - `key` (string): by default the path as given, without a leading `/`
    ///   or `./`.
    /// - `content_type` (string): by default from the file's ending.
    ///
    /// Throws `not_found`, `denied`.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// upload_file(bucket, "assets/check_webserver.py", #{ key: "check.py" });
    /// ```
    #[rhai_fn(name = "upload_file", return_raw)]
    pub fn upload_file_with(
        call: NativeCallContext,
        bucket: Dynamic,
        file: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options = script::options(options)?;
            super::upload_file(cx, &bucket_name(&bucket)?, &file, options).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn upload_file(
        call: NativeCallContext,
        bucket: Dynamic,
        file: ImmutableString,
    ) -> Outcome<Dynamic> {
        upload_file_with(call, bucket, file, Map::new())
    }

    /// Deletes an object; one that is gone is no error.
    ///
    /// Throws `denied` for an object in a bucket that autorun did not make,
    /// unless this run uploaded it under a new key.
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
        script::run(&call, async |cx| {
            super::delete_object(cx, &bucket_name(&bucket)?, &key).await
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectUrl {
    #[serde(default)]
    public: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadImage {
    key: Option<String>,
    public: Option<bool>,
    content_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadFile {
    key: Option<String>,
    content_type: Option<String>,
}

/// An object that was uploaded.
#[derive(Debug, Serialize)]
struct Object {
    bucket: String,
    key: String,
    url: String,
    size: u64,
    content_type: String,
    public: bool,
}

/// A URL and whether everyone may use it for ever.
struct Link {
    url: String,
    public: bool,
}

async fn object_url(cx: &Context, bucket: &str, key: &str, options: ObjectUrl) -> Result<String> {
    let key = object_key(key)?;
    if options.public {
        return published(cx, bucket, &key).await.map(|link| link.url);
    }
    Ok(cx.clients.s3().await?.url(bucket, &key))
}

/// Makes a key public, or falls back to a presigned URL, aloud.
async fn published(cx: &Context, bucket: &str, key: &str) -> Result<Link> {
    let s3 = cx.clients.s3().await?;
    match cx.clients.publish(&s3, bucket, key).await? {
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
    bucket: &str,
    file: &str,
    options: UploadImage,
) -> Result<Object> {
    let path = cx.clients.local.expand(Path::new(file));
    let kind = content_type(&path, options.content_type);
    if !kind.starts_with("image/") {
        return Err(
            Error::invalid(format!("`{file}` is not an image: its type is {kind}"))
                .hint("pass `content_type`, as \"image/png\", or use upload_file"),
        );
    }
    let key = object_key(options.key.as_deref().unwrap_or(file))?;
    let size = size(&path)?;
    let made = cx.ledger.made(ResourceKind::Bucket, bucket);
    let link = match options.public.unwrap_or(made) {
        true => published(cx, bucket, &key).await?,
        false => presigned(cx, bucket, &key).await?,
    };
    put(cx, bucket, &key, &path, &kind, size).await?;
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
    bucket: &str,
    file: &str,
    options: UploadFile,
) -> Result<Object> {
    let path = cx.clients.local.expand(Path::new(file));
    let key = object_key(options.key.as_deref().unwrap_or(file))?;
    let kind = content_type(&path, options.content_type);
    let size = size(&path)?;
    put(cx, bucket, &key, &path, &kind, size).await?;
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

async fn put(
    cx: &Context,
    bucket: &str,
    key: &str,
    file: &Path,
    kind: &str,
    size: u64,
) -> Result<()> {
    let s3 = cx.clients.s3().await?;
    let id = format!("{bucket}/{key}");
    // What was there before is not ours: replacing it does not make it so.
    let new = cx.ledger.made(ResourceKind::Bucket, bucket) || !s3.has_object(bucket, key).await?;
    let again = cx.ledger.made(ResourceKind::Object, &id);
    let intent = (new && !again).then(|| cx.ledger.intend(ResourceKind::Object, &id));
    let result = s3.put(bucket, key, file, kind).await;
    match (&result, intent) {
        (Ok(()), Some(intent)) => intent.created(&id),
        (Err(error), Some(intent)) => intent.abandoned(error),
        (_, None) => {}
    }
    result?;
    cx.report.info(format!(
        "uploaded {} to {id} ({})",
        file.display(),
        text::bytes(size)
    ));
    Ok(())
}

async fn delete_object(cx: &Context, bucket: &str, key: &str) -> Result<()> {
    let id = format!("{bucket}/{}", object_key(key)?);
    teardown::release(
        &cx.clients,
        &cx.ledger,
        &cx.report,
        ResourceKind::Object,
        &id,
    )
    .await
}

/// A key from a path as given: without what begins it or leads upwards.
fn object_key(path: &str) -> Result<String> {
    let parts = path
        .split('/')
        .filter(|part| !["", ".", "..", "~"].contains(part));
    let key = parts.collect::<Vec<_>>().join("/");
    if key.is_empty() || key.len() > 1024 {
        return Err(
            Error::invalid(format!("`{path}` cannot be an object's key"))
                .hint("use 1 to 1024 bytes"),
        );
    }
    Ok(key)
}

fn content_type(path: &Path, given: Option<String>) -> String {
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
        return Err(Error::invalid(format!(
            "`{}` is not a regular file",
            path.display()
        )));
    }
    std::fs::File::open(path).map_err(|e| Error::io("read", path, &e))?;
    Ok(about.len())
}

#[cfg(test)]
mod tests {
    use super::object_key;

    #[test]
    fn keys_come_from_paths() {
        assert_eq!(object_key("assets/logo.png").unwrap(), "assets/logo.png");
        assert_eq!(object_key("./a//b").unwrap(), "a/b");
        assert_eq!(object_key("/home/u/../x.png").unwrap(), "home/u/x.png");
        assert!(object_key("/").is_err());
    }
}
