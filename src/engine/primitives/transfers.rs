//! S3: directories, lists, downloads, presigned URLs, copies.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures_util::StreamExt as _;
use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::buckets::bucket_name;
use super::objects::{check_object, content, content_type, log_validity};
use super::side_by_side::side_by_side;
use super::{check_public, file_state, rehearsed, uploads};
use crate::clients::s3::{Content, LONGEST_PRESIGN, Listed, check_file, keys, places};
use crate::clients::tree::{self, Kind};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, Remover, ResourceKind, Step};
use crate::report::text;
use crate::script::{self, Declared, Outcome, Seconds, Shape, seconds};

#[export_module(manifest)]
pub mod api {
    /// Uploads all files in a directory.
    ///
    /// Files in subdirectories are uploaded too. `bucket` is a map that
    /// `create_bucket` returned, or a bucket name. The key of an object is
    /// `prefix` followed by the path of the file relative to the directory.
    /// Links to files in the directory are followed. Other links, sockets and
    /// devices are skipped with a warning.
    ///
    /// Throws `not_found` if the directory or the bucket does not exist,
    /// `denied` if a file cannot be read or AWS refuses a request, and
    /// `invalid_option` if the path is not a directory, a file name is not
    /// UTF-8, or a key is not valid.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// upload_dir(bucket, "userdata", #{ prefix: "2026/" });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn upload_dir(
        call: NativeCallContext,
        bucket: Dynamic,
        directory: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let state = file_state(&call, &directory);
        let arguments = [
            &bucket,
            &directory.clone().into(),
            &options.clone().into(),
            &state,
        ];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            super::upload_dir(cx, step, &bucket_name(&bucket)?, &directory, options).await
        })
    }

    /// Downloads an object into a file on this machine.
    ///
    /// `bucket` is a map that `create_bucket` returned, or a bucket name. The
    /// object is written to a temporary file, which is renamed after its size
    /// and its checksum are verified. (S3 has a checksum for every object that
    /// autorun uploaded.) An existing file is replaced; a link is replaced, not
    /// followed.
    ///
    /// Throws:
    ///
    /// - `not_found` if the object, the bucket or the directory of the file
    ///   does not exist;
    /// - `denied` if the file cannot be written or AWS refuses the request;
    /// - `quota_exceeded` if the disk is full;
    /// - `invalid_option` if the key is not valid or `file` is a directory or a
    ///   device.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// upload_file(bucket, "assets/logo.png", #{ key: "logo.png" });
    /// download_file(bucket, "logo.png", "/tmp/logo.png");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn download_file(
        call: NativeCallContext,
        bucket: Dynamic,
        key: ImmutableString,
        file: ImmutableString,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::download_file(cx, &bucket_name(&bucket)?, &key, &file).await
        })
    }

    /// Downloads all objects with a prefix into a directory.
    ///
    /// These are the objects whose keys begin with `prefix`. `bucket` is a map
    /// that `create_bucket` returned, or a bucket name. The path of a file
    /// relative to the directory is the key without the prefix. If the prefix
    /// does not end in a slash, a slash after it is removed too. An empty
    /// object whose key ends in a slash is a directory. Missing directories are
    /// created.
    ///
    /// All keys are checked before the first file is written. These are errors:
    /// a key that is not a path inside the directory (such as `/a`, `a//b` or
    /// `../a`), two keys that need the same path (such as `a` and `a/b`: a file
    /// and a directory), a directory in the place of a file, a file in the
    /// place of a directory, and a link in the place of either.
    ///
    /// Throws:
    ///
    /// - `not_found` if no key begins with `prefix` or the bucket does not
    ///   exist;
    /// - `denied` if a file cannot be written or AWS refuses a request;
    /// - `quota_exceeded` if the disk is full;
    /// - `invalid_option` if a check of the keys fails.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// upload_dir(bucket, "userdata", #{ prefix: "2026/" });
    /// download_dir(bucket, "2026/", "/tmp/restored");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn download_dir(
        call: NativeCallContext,
        bucket: Dynamic,
        prefix: ImmutableString,
        directory: ImmutableString,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::download_dir(cx, &bucket_name(&bucket)?, &prefix, &directory).await
        })
    }

    /// Returns the objects in a bucket.
    ///
    /// The objects are in the order of their keys. `bucket` is a map that
    /// `create_bucket` returned, or a bucket name.
    ///
    /// Throws `not_found` if the bucket does not exist, and `denied` if AWS
    /// refuses the request.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// for object in list_objects(bucket, #{ prefix: "2026/" }) {
    ///     print(`${object.key} ${object.size}`);
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn list_objects(
        call: NativeCallContext,
        bucket: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options: ListObjects = script::options(&call, options)?;
            let s3 = cx.clients.s3().await?;
            s3.list(&bucket_name(&bucket)?, &options.prefix).await
        })
    }

    /// Returns a temporary URL for reading an object.
    ///
    /// Everyone who has the URL can read the object without credentials, so the
    /// URL is masked in every output. `bucket` is a map that `create_bucket`
    /// returned, or a bucket name. The object does not have to exist yet. `key`
    /// is used exactly as given; see `object_url`.
    ///
    /// Throws `invalid_option` if the key or `valid` is not valid.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// let url = presigned_url(bucket, "logo.png", #{ valid: 600 });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn presigned_url(
        call: NativeCallContext,
        bucket: Dynamic,
        key: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options = script::options(&call, options)?;
            super::presigned_url(cx, &bucket_name(&bucket)?, &key, options).await
        })
    }

    /// Copies an object within S3.
    ///
    /// The object is not downloaded to this machine. `bucket` and `to_bucket`
    /// are maps that `create_bucket` returned, or bucket names. The content
    /// type is copied too. An object of more than 5 GiB is copied in parts. Both
    /// keys are used exactly as given; see `object_url`.
    ///
    /// Throws `not_found` if the object or a bucket does not exist, `denied` if
    /// AWS refuses the request, and `invalid_option` if a key is not valid.
    ///
    /// ```rhai
    /// let bucket = create_bucket("backup");
    /// upload_file(bucket, "assets/logo.png", #{ key: "logo.png" });
    /// copy_object(bucket, "logo.png", bucket, "logo-old.png");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn copy_object(
        call: NativeCallContext,
        bucket: Dynamic,
        key: ImmutableString,
        to_bucket: Dynamic,
        to_key: ImmutableString,
    ) -> Outcome<Dynamic> {
        let arguments = [
            &bucket,
            &key.clone().into(),
            &to_bucket,
            &to_key.clone().into(),
        ];
        script::effect(&call, &arguments, async |cx, step| {
            let from = (bucket_name(&bucket)?, key.to_string());
            let to = (bucket_name(&to_bucket)?, to_key.to_string());
            super::copy_object(cx, step, from, to).await
        })
    }

    /// Deletes all objects in a bucket.
    ///
    /// Returns the number of deleted objects. Object versions, delete markers and
    /// unfinished uploads are deleted too; each version and each delete marker
    /// counts as an object. `bucket` is a
    /// map that `create_bucket` returned, or a bucket name.
    ///
    /// Throws `denied` if autorun did not create the bucket, and `not_found` if
    /// it does not exist.
    ///
    /// ```rhai
    /// let bucket = create_bucket("scratch");
    /// upload_file(bucket, "assets/logo.png");
    /// assert(empty_bucket(bucket) == 1);
    /// delete_bucket(bucket);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn empty_bucket(call: NativeCallContext, bucket: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&bucket], async |cx, step| {
            super::empty_bucket(cx, step, &bucket_name(&bucket)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("upload_dir")
        .options::<UploadDir>()
        .returns::<Uploaded>(Shape::One),
    Declared::of("download_file").returns::<Downloaded>(Shape::One),
    Declared::of("download_dir").returns::<Restored>(Shape::One),
    Declared::of("list_objects")
        .options::<ListObjects>()
        .returns::<Listed>(Shape::Many),
    Declared::of("presigned_url").options::<PresignedUrl>(),
    Declared::of("copy_object").returns::<Copied>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UploadDir {
    /// Text that all keys begin with, such as "backup/".
    #[serde(default)]
    prefix: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListObjects {
    /// List only objects whose keys begin with this text.
    #[serde(default)]
    prefix: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PresignedUrl {
    /// How long the URL is valid, at most 604800 (7 days). With temporary
    /// credentials, the URL expires at the latest with them; a warning then has
    /// the real end.
    #[serde(default = "seconds::<3600>")]
    valid: Seconds,
}

/// The map that `upload_dir` returns.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Uploaded {
    /// Name of the bucket.
    bucket: String,
    /// Number of uploaded files.
    files: usize,
    /// Total size of the files in bytes.
    size: u64,
    /// Keys of the objects.
    keys: Vec<String>,
}

/// The map that `download_file` returns.
#[derive(Debug, Serialize, JsonSchema)]
struct Downloaded {
    /// Path of the file.
    path: PathBuf,
    /// Size of the file in bytes.
    size: u64,
}

/// The map that `download_dir` returns.
#[derive(Debug, Serialize, JsonSchema)]
struct Restored {
    /// Path of the directory.
    directory: PathBuf,
    /// Number of downloaded files.
    files: usize,
    /// Total size of the files in bytes.
    size: u64,
}

/// The map that `copy_object` returns.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Copied {
    /// Bucket of the copy.
    bucket: String,
    /// Key of the copy.
    key: String,
}

/// A file to upload, with its path relative to the directory.
struct Found {
    path: PathBuf,
    below: String,
    size: u64,
}

/// Returns all files below a directory in the order of their paths, and the paths
/// that are skipped.
fn walk(directory: &Path) -> Result<(Vec<Found>, Vec<PathBuf>)> {
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    let top = std::fs::canonicalize(directory).map_err(|e| Error::io("read", directory, &e))?;
    for entry in tree::walk(directory)? {
        let file = match entry.kind {
            Kind::Directory => continue,
            Kind::File => Some((entry.path.clone(), entry.size())),
            Kind::Link => file_below(&top, &entry.path),
            Kind::Other => None,
        };
        let Some((path, size)) = file else {
            skipped.push(entry.path);
            continue;
        };
        let Some(below) = entry.below.to_str() else {
            let name = entry.path.display();
            return Err(Error::invalid(format!("the name of `{name}` is not UTF-8"))
                .hint("rename the file: keys in S3 must be UTF-8"));
        };
        found.push(Found {
            below: below.to_owned(),
            size,
            path,
        });
    }
    Ok((found, skipped))
}

/// Returns the target of a link if it is a file below `top`. A directory from
/// another source must not be able to publish other files of this machine.
fn file_below(top: &Path, link: &Path) -> Option<(PathBuf, u64)> {
    let path = std::fs::canonicalize(link).ok()?;
    let about = std::fs::metadata(&path).ok()?;
    (about.is_file() && path.starts_with(top)).then_some((path, about.len()))
}

async fn upload_dir(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    directory: &str,
    options: UploadDir,
) -> Result<Uploaded> {
    let path = rehearsed::source_directory(cx, directory);
    let about = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?;
    if !about.is_dir() {
        return Err(Error::invalid(format!("`{directory}` is not a directory"))
            .hint("use upload_file for a single file"));
    }
    let (files, skipped) = walk(&path)?;
    if let Some(recorded) = step.recorded::<Uploaded>()?
        && still_exist(cx, step, bucket, &recorded.keys).await?
    {
        step.replay();
        return Ok(recorded);
    }
    if !skipped.is_empty() {
        cx.report.warn(format!(
            "skipped because they are not files of this directory: {}",
            text::some_of(skipped.iter().map(|path| path.display().to_string()), 5)
        ));
    }
    let keys: Vec<String> = files
        .iter()
        .map(|file| format!("{}{}", options.prefix, file.below))
        .collect();
    for key in &keys {
        keys::check(key)?;
        check_object(cx, key, None)?;
    }
    let ours = cx.ledger.made(ResourceKind::Bucket, bucket);
    let rows = intend(cx, step, bucket, &keys, ours).await?;
    let mut planned = Vec::new();
    for ((file, key), intent) in files.iter().zip(&keys).zip(rows) {
        let kind = content_type(&file.path, None);
        let row = intent.as_ref().map(|intent| intent.token().to_owned());
        let content = Content {
            row: row.as_deref(),
            ..content(&file.path, file.size, &kind)
        };
        let upload = uploads::intend(cx, step, (bucket, key), content).await?;
        planned.push((file, key, intent, upload));
    }
    let uploads = planned
        .into_iter()
        .map(async |(file, key, intent, upload)| {
            let row = intent.as_ref().map(|intent| intent.token().to_owned());
            let kind = content_type(&file.path, None);
            let report = cx.report.working(key);
            let content = Content {
                row: row.as_deref(),
                ..content(&file.path, file.size, &kind)
            };
            let result = uploads::put(cx, (bucket, key), content, upload, &report).await;
            match (&result, intent) {
                (Ok(()), Some(intent)) => intent.created(&format!("{bucket}/{key}")),
                (Err(_), Some(_)) if uploads::is_begun(cx, &format!("{bucket}/{key}")) => {}
                (Err(error), Some(intent)) => intent.abandoned(error),
                (_, None) => {}
            }
            result
        });
    // If one upload fails, the others still finish: the ledger must record them.
    let done: Vec<Result<()>> = side_by_side(uploads).collect().await;
    done.into_iter().collect::<Result<()>>()?;
    let size = files.iter().map(|file| file.size).sum();
    cx.report.info(format!(
        "uploaded {} of {directory} to {bucket} ({})",
        text::count(files.len(), "file"),
        text::bytes(size)
    ));
    Ok(Uploaded {
        bucket: bucket.to_owned(),
        files: files.len(),
        size,
        keys,
    })
}

/// Returns whether the recorded objects still exist, or the playbook itself has
/// deleted them.
async fn still_exist(cx: &Context, step: &Step, bucket: &str, keys: &[String]) -> Result<bool> {
    if step.was_undone()
        || cx
            .ledger
            .was_removed_by_playbook(ResourceKind::Bucket, bucket)
    {
        return Ok(true);
    }
    let prefix = common_prefix(keys);
    let existing = cx.clients.s3().await?.list(bucket, prefix).await?;
    let existing: HashSet<&str> = existing.iter().map(|o| o.key.as_str()).collect();
    let complete = keys.iter().all(|key| existing.contains(key.as_str()));
    if !complete {
        for row in step.live(ResourceKind::Object) {
            cx.ledger.is_gone(&row);
        }
    }
    Ok(complete)
}

/// Returns the text that all keys begin with. Only such objects are listed: the bucket
/// may have many others.
fn common_prefix(keys: &[String]) -> &str {
    let Some((first, others)) = keys.split_first() else {
        return "";
    };
    let same = |key: &String| {
        let mut pairs = first.char_indices().zip(key.chars());
        let different = pairs.find(|((_, a), b)| a != b);
        different.map_or(first.len().min(key.len()), |((at, _), _)| at)
    };
    &first[..others.iter().map(same).min().unwrap_or(first.len())]
}

/// Records uploads under new keys in the ledger, if this run did not create the
/// bucket. Objects in a bucket of the run need no rows, because they are deleted
/// together with the bucket.
async fn intend(
    cx: &Context,
    step: &mut Step,
    bucket: &str,
    keys: &[String],
    ours: bool,
) -> Result<Vec<Option<crate::ledger::Intent>>> {
    if ours {
        step.begin()?;
        return Ok(keys.iter().map(|_| None).collect());
    }
    let s3 = cx.clients.s3().await?;
    let existing = s3.list(bucket, common_prefix(keys)).await?;
    let existing: HashSet<&str> = existing.iter().map(|o| o.key.as_str()).collect();
    let retried = step.made();
    let is_new = |key: &String| {
        let id = format!("{bucket}/{key}");
        !existing.contains(key.as_str()) || retried.iter().any(|row| row.name == id)
    };
    let wanted: Vec<NewResource> = keys
        .iter()
        .filter(|key| is_new(key))
        .map(|key| {
            let id = format!("{bucket}/{key}");
            NewResource::with_id(ResourceKind::Object, &id, &id)
        })
        .collect();
    let mut intents = step.intend(&wanted)?.into_iter();
    Ok(keys
        .iter()
        .map(|key| is_new(key).then(|| intents.next()).flatten())
        .collect())
}

async fn download_file(cx: &Context, bucket: &str, key: &str, file: &str) -> Result<Downloaded> {
    check_public(cx, "argument `file`", file)?;
    keys::check(key)?;
    let shown = cx
        .clients
        .local
        .shown(&cx.clients.local.expand(Path::new(file)));
    let path = rehearsed::output(cx, Path::new(file));
    check_file(&path, file)?;
    rehearsed::not_written(cx, &shown);
    let size = cx
        .clients
        .s3()
        .await?
        .download(bucket, key, &path, &cx.report)
        .await?;
    cx.report.info(format!(
        "downloaded {bucket}/{key} to {file} ({})",
        text::bytes(size)
    ));
    Ok(Downloaded { path: shown, size })
}

async fn download_dir(
    cx: &Context,
    bucket: &str,
    prefix: &str,
    directory: &str,
) -> Result<Restored> {
    check_public(cx, "argument `directory`", directory)?;
    let shown = cx
        .clients
        .local
        .shown(&cx.clients.local.expand(Path::new(directory)));
    let path = rehearsed::output(cx, Path::new(directory));
    let s3 = &cx.clients.s3().await?;
    let objects = s3.list(bucket, prefix).await?;
    if objects.is_empty() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("no object of `{bucket}` has a key that begins with `{prefix}`"),
        ));
    }
    let places = places(&path, prefix, objects)?;
    rehearsed::not_written(cx, &shown);
    for folder in &places.directories {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create directory", folder, &e))?;
    }
    let downloads = places.files.iter().map(async |(object, file)| {
        let report = cx.report.working(&object.key);
        s3.download(bucket, &object.key, file, &report).await
    });
    let mut done = pin!(side_by_side(downloads));
    let mut size = 0;
    while let Some(result) = done.next().await {
        size += result?;
    }
    let files = places.files.len();
    cx.report.info(format!(
        "downloaded {} of {bucket} to {directory} ({})",
        text::count(files, "object"),
        text::bytes(size)
    ));
    Ok(Restored {
        directory: shown,
        files,
        size,
    })
}

async fn presigned_url(
    cx: &Context,
    bucket: &str,
    key: &str,
    options: PresignedUrl,
) -> Result<String> {
    keys::check(key)?;
    let valid = options.valid.duration();
    if valid.is_zero() || valid > LONGEST_PRESIGN {
        return Err(Error::invalid(
            "option `valid`: it must be from 1 to 604800 seconds (7 days)",
        ));
    }
    let signed = cx.clients.presigned_url(bucket, key, valid).await?;
    log_validity(cx, bucket, key, &signed);
    Ok(signed.url)
}

async fn copy_object(
    cx: &Context,
    step: &mut Step,
    from: (String, String),
    to: (String, String),
) -> Result<Copied> {
    keys::check(&from.1)?;
    keys::check(&to.1)?;
    check_object(cx, &to.1, None)?;
    let s3 = cx.clients.s3().await?;
    let id = format!("{}/{}", to.0, to.1);
    let copied = Copied {
        bucket: to.0.clone(),
        key: to.1.clone(),
    };
    let exists = s3.object_row(&to.0, &to.1).await?.is_some();
    if step.recorded::<Copied>()?.is_some() && (exists || step.was_undone()) {
        step.replay();
        return Ok(copied);
    }
    let source = s3.copy_source((&from.0, &from.1)).await?;
    let again = step.made().iter().any(|row| row.state.may_be_up());
    let known = cx
        .ledger
        .live_row(ResourceKind::Object, &id)
        .map(|row| row.row);
    let intent = if known.is_none() && (!exists || again) {
        Some(step.intend_one(NewResource::with_id(ResourceKind::Object, &id, &id))?)
    } else {
        step.begin()?;
        None
    };
    let row = intent
        .as_ref()
        .map(|intent| intent.token().to_owned())
        .or(known);
    let to = (to.0.as_str(), to.1.as_str());
    let result = if source.needs_parts() {
        uploads::copy(cx, step, &source, to, row.as_deref()).await
    } else {
        s3.copy(&source, to, row.as_deref()).await
    };
    match (&result, intent) {
        (Ok(()), Some(intent)) => intent.created(&id),
        (Err(error), Some(intent)) => intent.abandoned(error),
        (_, None) => {}
    }
    result?;
    cx.report
        .info(format!("copied {}/{} to {id}", from.0, from.1));
    Ok(copied)
}

async fn empty_bucket(cx: &Context, step: &mut Step, bucket: &str) -> Result<usize> {
    let s3 = cx.clients.s3().await?;
    // Replay only if the playbook deleted the bucket in a later step. Otherwise
    // empty it again, because its objects may have been uploaded again since.
    if let Some(recorded) = step.recorded::<usize>()?
        && cx
            .ledger
            .was_removed_by_playbook(ResourceKind::Bucket, bucket)
    {
        step.replay();
        return Ok(recorded);
    }
    match s3.bucket_marks(bucket).await? {
        Some(marks) if marks.run.is_some() => {}
        Some(marks) if marks.unsupported && cx.ledger.made(ResourceKind::Bucket, bucket) => {}
        Some(_) => {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("bucket `{bucket}` was not created by autorun, so it is not emptied"),
            )
            .hint("autorun empties only buckets with the tag autorun:run"));
        }
        None => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("bucket `{bucket}` does not exist"),
            ));
        }
    }
    step.begin()?;
    let deleted = s3.empty_bucket(bucket).await?;
    let inside = format!("{bucket}/");
    for row in cx.ledger.resources() {
        let emptied = matches!(
            row.kind,
            ResourceKind::Object | ResourceKind::MultipartUpload
        );
        if emptied && row.name.starts_with(&inside) {
            cx.ledger.removed_with(&row, Remover::Playbook);
        }
    }
    cx.report.info(format!(
        "deleted {} of {bucket}",
        text::count(deleted, "object")
    ));
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_listed_by_the_beginning_of_all_keys() {
        let common = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            common_prefix(&keys).to_owned()
        };
        assert_eq!(common(&[]), "");
        assert_eq!(common(&["a/b"]), "a/b");
        assert_eq!(common(&["a/b", "a/bc", "a/bd"]), "a/b");
        assert_eq!(common(&["a/bc", "a/b"]), "a/b");
        assert_eq!(common(&["a", "b"]), "");
        // These begin with the same byte.
        assert_eq!(common(&["x\u{e9}", "x\u{ea}"]), "x");
    }

    #[test]
    fn loops_sockets_and_links_to_the_outside_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("sub/file"), "x").unwrap();
        std::os::unix::fs::symlink(at("sub/file"), at("link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), at("sub/loop")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("broken")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("out")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let (found, skipped) = walk(dir.path()).unwrap();
        let below: Vec<&str> = found.iter().map(|f| f.below.as_str()).collect();
        assert_eq!(below, ["link", "sub/file"]);
        assert_eq!(skipped.len(), 4);
    }
}
