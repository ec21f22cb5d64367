//! Uploads of files: small ones in one request, large ones in parts.
//!
//! An upload in parts is a resource until it is complete: S3 charges for its
//! parts. It is recorded before it begins, so that `resume` continues it and
//! `destroy` aborts it.

use crate::clients::s3::{Content, IN_PARTS_ABOVE, Sent, Source, UploadId};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Intent, NewResource, Remover, Resource, ResourceKind, State, Step};
use crate::report::Reporter;

/// How the upload of one file begins.
#[derive(Debug)]
pub(super) enum Upload {
    /// In one request, without a record.
    Whole,
    /// In parts, by an upload that is about to begin.
    Parts(Box<Intent>),
    /// In parts, by an upload that an earlier attempt has begun.
    Begun(Box<Resource>),
    /// An earlier attempt completed it, but did not record that.
    Complete,
}

/// Records the upload of a file to `bucket/key`, if it needs parts.
pub(super) async fn intend(
    cx: &Context,
    step: &mut Step,
    (bucket, key): (&str, &str),
    content: Content<'_>,
) -> Result<Upload> {
    if content.size <= IN_PARTS_ABOVE {
        return Ok(Upload::Whole);
    }
    let name = format!("{bucket}/{key}");
    let mut begun = step.live(ResourceKind::MultipartUpload).into_iter();
    if let Some(row) = begun.find(|row| row.name == name) {
        let s3 = cx.clients.s3().await?;
        let upload = UploadId::from_ledger(row.id.as_deref().unwrap_or_default())?;
        if s3.upload_exists(&upload).await? {
            return Ok(Upload::Begun(Box::new(row)));
        }
        cx.ledger.is_gone(&row);
        if s3.has_uploaded(bucket, key, content).await? {
            return Ok(Upload::Complete);
        }
    }
    let wanted = NewResource::new(ResourceKind::MultipartUpload, &name);
    Ok(Upload::Parts(Box::new(step.intend_one(wanted)?)))
}

/// Returns whether an upload to `bucket/key` has begun and is not complete. Its
/// object then keeps its row in the ledger, because the upload already has it in
/// its metadata.
pub(super) fn is_begun(cx: &Context, object: &str) -> bool {
    let rows = cx.ledger.resources();
    rows.iter().any(|row| {
        row.kind == ResourceKind::MultipartUpload && row.state == State::Live && row.name == object
    })
}

/// Uploads a file.
pub(super) async fn put(
    cx: &Context,
    object: (&str, &str),
    content: Content<'_>,
    upload: Upload,
    report: &Reporter,
) -> Result<()> {
    let (bucket, key) = object;
    let s3 = cx.clients.s3().await?;
    let (upload, sent) = match upload {
        Upload::Whole => return s3.put(bucket, key, content, report).await,
        Upload::Complete => return Ok(()),
        Upload::Parts(intent) => {
            let upload = begin(cx, object, content, *intent).await?;
            let sent = s3.send_parts(&upload, content, report).await?;
            (upload, sent)
        }
        Upload::Begun(row) => {
            report.info(format!("continuing the upload of {bucket}/{key}"));
            let upload = UploadId::from_ledger(row.id.as_deref().unwrap_or_default())?;
            let sent = s3.send_missing_parts(&upload, content, report).await?;
            (upload, sent)
        }
    };
    ended(cx, &upload);
    match sent {
        Sent::Complete => Ok(()),
        Sent::Gone => Err(Error::new(
            ErrorKind::NotFound,
            format!("the upload of `{key}` to `{bucket}` was aborted by another client"),
        )
        .hint("check the lifecycle rules of the bucket, and upload the file again")),
    }
}

/// Begins an upload in parts, or finds the one whose answer was lost.
async fn begin(
    cx: &Context,
    (bucket, key): (&str, &str),
    content: Content<'_>,
    intent: Intent,
) -> Result<UploadId> {
    let s3 = cx.clients.s3().await?;
    let upload = match lost(cx, (bucket, key), &intent).await? {
        Some(upload) => upload,
        None => match s3.begin_upload(bucket, key, content).await {
            Ok(upload) => upload,
            Err(error) => {
                intent.abandoned(&error);
                return Err(error);
            }
        },
    };
    intent.created(&upload.in_ledger());
    // Before the first part, because only an upload without parts is looked
    // for.
    cx.ledger.commit()?;
    Ok(upload)
}

/// Copies an object that is too large for one request, in parts. A copy that an
/// earlier attempt has begun is begun again, because S3 does not show which
/// version its parts are from.
pub(super) async fn copy(
    cx: &Context,
    step: &mut Step,
    from: &Source,
    to: (&str, &str),
    row: Option<&str>,
) -> Result<()> {
    let name = format!("{}/{}", to.0, to.1);
    let s3 = cx.clients.s3().await?;
    for begun in step.live(ResourceKind::MultipartUpload) {
        let upload = UploadId::from_ledger(begun.id.as_deref().unwrap_or_default())?;
        s3.abort_upload(&upload).await?;
        cx.ledger.is_gone(&begun);
    }
    let intent = step.intend_one(NewResource::new(ResourceKind::MultipartUpload, &name))?;
    let upload = match lost(cx, to, &intent).await? {
        Some(upload) => upload,
        None => match s3.begin_copy(from, to, row).await {
            Ok(upload) => upload,
            Err(error) => {
                intent.abandoned(&error);
                return Err(error);
            }
        },
    };
    intent.created(&upload.in_ledger());
    cx.ledger.commit()?;
    s3.copy_parts(from, &upload).await?;
    ended(cx, &upload);
    Ok(())
}

/// Finds the upload of an earlier attempt whose answer was lost.
async fn lost(
    cx: &Context,
    (bucket, key): (&str, &str),
    intent: &Intent,
) -> Result<Option<UploadId>> {
    if intent.is_retried() {
        let s3 = cx.clients.s3().await?;
        s3.find_upload(bucket, key, intent.intended()).await
    } else {
        Ok(None)
    }
}

/// Records that an upload is no longer incomplete.
fn ended(cx: &Context, upload: &UploadId) {
    let release = cx.ledger.intend_release(
        ResourceKind::MultipartUpload,
        &upload.in_ledger(),
        Remover::User,
    );
    if let Some(release) = release {
        release.released();
    }
}
