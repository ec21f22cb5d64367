//! S3 buckets.

use std::collections::BTreeMap;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_public, release};
use crate::clients::marks::Tags;
use crate::clients::s3::{
    Creation, DefaultEncryption, EncryptionMethod, S3, Tagged, bucket_name_fault,
};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, RUN_ID_LETTERS, ResourceKind, Step};
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

#[export_module(manifest)]
pub mod api {
    /// Creates a bucket with a unique name.
    ///
    /// The name is `prefix`, a hyphen and the run id. If that name is taken, a
    /// number is appended. Objects in the bucket are private until the playbook
    /// makes one public.
    ///
    /// Throws:
    ///
    /// - `already_exists` if the name belongs to another account;
    /// - `invalid_option` if S3 does not allow the name, or if the bucket exists
    ///   with other settings than the options;
    /// - `quota_exceeded` if the account has too many buckets;
    /// - `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let bucket = create_bucket("pictures");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_bucket(
        call: NativeCallContext,
        prefix: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&prefix.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::create_bucket(cx, step, &prefix, script::options(&call, options)?).await
        })
    }

    /// Deletes an empty bucket.
    ///
    /// `bucket` is a map that `create_bucket` returned, or a bucket name.
    /// Deleting a bucket that does not exist is not an error.
    ///
    /// Throws `invalid_option` if the bucket contains objects (see
    /// `empty_bucket`), and `denied` if autorun did not create it.
    ///
    /// ```rhai
    /// let bucket = create_bucket("pictures");
    /// delete_bucket(bucket);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn delete_bucket(call: NativeCallContext, bucket: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&bucket], async |cx, step| {
            let name = super::bucket_name(&bucket)?;
            release(cx, step, ResourceKind::Bucket, &name).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[Declared::of("create_bucket")
    .options::<CreateBucket>()
    .returns::<Bucket>(Shape::One)];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateBucket {
    /// Use `prefix` as the whole name. If the account already has this bucket,
    /// it is used as it is, and `made` is false.
    #[serde(default)]
    exact: bool,
    /// Enable versioning: S3 keeps the versions of objects that are overwritten
    /// or deleted, until the bucket is emptied.
    #[serde(default)]
    versioning: bool,
    /// Encryption of new objects: "AES256", with keys of S3, or "aws:kms", with a
    /// KMS key. AWS's default is "AES256". Objects that a KMS key encrypts cannot
    /// be public.
    encryption: Option<EncryptionMethod>,
    /// Id, ARN or alias of the KMS key for `encryption: "aws:kms"`. The default
    /// is the key that AWS manages for S3.
    kms_key_id: Option<String>,
}

impl CreateBucket {
    /// Returns the default encryption. Fails if the options do not fit together.
    fn default_encryption(&self) -> Result<Option<DefaultEncryption>> {
        if self.kms_key_id.is_some() && self.encryption != Some(EncryptionMethod::Kms) {
            return Err(
                Error::invalid("`kms_key_id` needs `encryption: \"aws:kms\"`")
                    .hint("add `encryption: \"aws:kms\"`, or omit `kms_key_id`"),
            );
        }
        Ok(self.encryption.map(|method| DefaultEncryption {
            method,
            kms_key_id: self.kms_key_id.clone(),
        }))
    }
}

/// The settings of a new bucket in addition to its tags.
struct Settings {
    versioning: bool,
    encryption: Option<DefaultEncryption>,
}

/// A bucket of the account.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Bucket {
    /// "bucket".
    kind: ResultKind,
    /// Name of the bucket.
    name: String,
    /// Region of the bucket.
    region: String,
    /// URL of the bucket.
    url: String,
    /// Whether this run created the bucket.
    made: bool,
}

/// A bucket as an argument of a function.
#[derive(Deserialize)]
struct KnownBucket {
    name: String,
}

impl Named for KnownBucket {
    const EXPECTED: &'static str = "a name, or the map that create_bucket returned";
}

/// Returns the name of a bucket, from a name or from a map that `create_bucket`
/// returned.
///
/// Fails with [`ErrorKind::InvalidOption`] if no bucket can have the name: a slash
/// would make the rest a part of the key. The check is looser than today's rules of
/// S3, because old buckets have names that S3 no longer allows.
pub(super) fn bucket_name(value: &Dynamic) -> Result<String> {
    let name = match script::argument("bucket", value)? {
        NameOr::Name(name) | NameOr::Map(KnownBucket { name }) => name,
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if (3..=255).contains(&name.len()) && name.chars().all(fits) {
        Ok(name)
    } else {
        Err(Error::invalid(format!(
            "`{name}` is not a bucket name: use 3 to 255 letters, digits, hyphens, dots and \
             underscores"
        )))
    }
}

async fn create_bucket(
    cx: &Context,
    step: &mut Step,
    prefix: &str,
    options: CreateBucket,
) -> Result<Bucket> {
    // Before the first request, because its URL contains the name.
    check_public(cx, "the name of a bucket", prefix)?;
    let settings = Settings {
        versioning: options.versioning,
        encryption: options.default_encryption()?,
    };
    let bucket = find_or_create(cx, step, prefix, options.exact, &settings).await?;
    if options.encryption == Some(EncryptionMethod::Kms) {
        let reason = "a KMS key encrypts the objects in the bucket";
        cx.clients.forbid_public_keys(&bucket.name, reason).await;
    }
    Ok(bucket)
}

async fn find_or_create(
    cx: &Context,
    step: &mut Step,
    prefix: &str,
    exact: bool,
    settings: &Settings,
) -> Result<Bucket> {
    if let Some(bucket) = step.recorded::<Bucket>()? {
        if step.was_undone() || still_exists(cx, step, &bucket).await? {
            step.replay();
            return Ok(bucket);
        }
        cx.report.warn(format!(
            "bucket {} no longer exists; creating it again",
            bucket.name
        ));
    }
    if exact {
        check_name(prefix)?;
        let s3 = cx.clients.s3().await?;
        // A bucket that an earlier attempt of this step may have created does not
        // count as existing before.
        if step.made().is_empty() && s3.owns(prefix).await? {
            check_settings(&s3, prefix, settings).await?;
            cx.report
                .info(format!("using bucket {prefix}, which already exists"));
            return Ok(bucket(&s3, prefix, false));
        }
        return create(cx, step, (&s3, prefix), settings).await;
    }
    // Try several names, because the run id is short and bucket names are shared by
    // all accounts.
    let names = (1..=5).map(|n| match n {
        1 => format!("{prefix}-{}", cx.ledger.run()),
        n => format!("{prefix}-{}-{n}", cx.ledger.run()),
    });
    let mut taken = Error::internal("no name was tried");
    for name in names {
        check_name(&name)?;
        let s3 = cx.clients.s3().await?;
        match create(cx, step, (&s3, &name), settings).await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => taken = error,
            result => return result,
        }
    }
    Err(taken)
}

/// Returns whether a recorded bucket still exists and is the same bucket.
async fn still_exists(cx: &Context, step: &Step, bucket: &Bucket) -> Result<bool> {
    let s3 = cx.clients.s3().await?;
    if !bucket.made {
        return s3.owns(&bucket.name).await;
    }
    for row in step.live(ResourceKind::Bucket) {
        let ask = async || s3.bucket_marks(&bucket.name).await;
        let same = match cx.seen(&row, ask).await? {
            Some(marks) if marks.unsupported => {
                s3.was_created(&bucket.name, row.intended, row.changed)
                    .await?
            }
            marks => marks.is_some_and(|marks| marks.run.as_deref() == Some(cx.ledger.run())),
        };
        if same {
            return Ok(true);
        }
        cx.ledger.is_gone(&row);
    }
    Ok(false)
}

/// Checks the first argument of `create_bucket`. Without `exact`, the name of the
/// bucket is the text and the id of the run.
pub(super) fn check_prefix(prefix: &str, is_exact: bool) -> Result<()> {
    if is_exact {
        return check_name(prefix);
    }
    let name = format!("{prefix}-{}", "0".repeat(RUN_ID_LETTERS));
    match bucket_name_fault(&name) {
        Some(fault) => Err(Error::invalid(format!(
            "no bucket name can begin with `{prefix}` and end with the id of the run: {fault}"
        ))),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<()> {
    match bucket_name_fault(name) {
        Some(fault) => Err(Error::invalid(format!(
            "`{name}` is not a valid bucket name: {fault}"
        ))),
        None => Ok(()),
    }
}

/// Refuses an existing bucket whose settings differ from the options.
async fn check_settings(s3: &S3<'_>, name: &str, wanted: &Settings) -> Result<()> {
    let differs = |what: &str| {
        Error::invalid(format!(
            "bucket `{name}` already exists {what}, and autorun does not change it"
        ))
        .hint("omit the option, or change the setting yourself")
    };
    if wanted.versioning && !s3.has_versioning(name).await? {
        return Err(differs("without versioning"));
    }
    if wanted.encryption.is_some() && s3.encryption(name).await? != wanted.encryption {
        return Err(differs("with another encryption"));
    }
    Ok(())
}

/// Tags a new bucket and changes its settings.
async fn set_up(
    cx: &Context,
    (s3, name): (&S3<'_>, &str),
    tags: &Tags,
    settings: &Settings,
) -> Result<()> {
    if s3.tag_bucket(name, tags).await? == Tagged::Unsupported {
        cx.report.info(format!(
            "bucket {name} has no tags: the server does not support them"
        ));
    }
    if settings.versioning {
        s3.enable_versioning(name).await?;
    }
    if let Some(encryption) = &settings.encryption {
        s3.set_encryption(name, encryption).await?;
    }
    Ok(())
}

async fn create(
    cx: &Context,
    step: &mut Step,
    (s3, name): (&S3<'_>, &str),
    settings: &Settings,
) -> Result<Bucket> {
    let intent = step.intend_one(NewResource::with_id(ResourceKind::Bucket, name, name))?;
    let tags = cx.tags(name, intent.token(), &BTreeMap::new());
    match s3.create_bucket(name).await {
        // The bucket may come from this request, if its answer was lost and it was
        // sent again, or from an earlier attempt.
        Ok(Creation::OwnedBefore(error)) => match s3.bucket_marks(name).await? {
            Some(marks) if marks.untagged => {}
            Some(marks) if marks.row.as_deref() == Some(intent.token()) => {}
            _ => {
                intent.abandoned(&error);
                return Err(error);
            }
        },
        Err(error) => {
            intent.abandoned(&error);
            return Err(error);
        }
        Ok(Creation::Created) => {}
    }
    if let Err(error) = set_up(cx, (s3, name), &tags, settings).await {
        // The bucket exists without its tags or settings. Delete it, as it is still
        // empty. If this fails, a later run finds it by its tags, or by its name and
        // its age.
        if s3.delete_bucket(name).await.is_ok() {
            intent.not_created();
        }
        return Err(error);
    }
    intent.created(name);
    cx.report
        .info(format!("created bucket {name} in {}", s3.region()));
    Ok(bucket(s3, name, true))
}

fn bucket(s3: &S3<'_>, name: &str, made: bool) -> Bucket {
    Bucket {
        kind: ResultKind::Bucket,
        name: name.to_owned(),
        region: s3.region().to_owned(),
        url: s3.url(name, ""),
        made,
    }
}
