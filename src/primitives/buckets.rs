//! S3 buckets.

use std::collections::BTreeMap;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_public, release};
use crate::clients::s3::{Creation, S3, bucket_name_fault};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, ResourceKind, Step};
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

#[export_module]
pub mod api {
    /// Creates a bucket under a free name that begins with `prefix`.
    ///
    /// The name is the prefix and the run's id. Nothing in the bucket is public
    /// until something is made so.
    ///
    /// Throws `already_exists` when somebody else has the exact name,
    /// `invalid_option` for a name that S3 refuses, `quota_exceeded`.
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
            super::create_bucket(cx, step, &prefix, script::options(options)?).await
        })
    }

    /// Deletes an empty bucket.
    ///
    /// `bucket` is what `create_bucket` gave, or a name. One that is gone is no
    /// error.
    ///
    /// Throws `invalid_option` while it holds objects, `denied` for a bucket
    /// that autorun did not make.
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
    .gives::<Bucket>(Shape::One)];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateBucket {
    /// Take `prefix` as the whole name. A bucket of yours that exists already
    /// is then used as it is, and `made` is false.
    #[serde(default)]
    exact: bool,
}

/// A bucket of the account.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Bucket {
    /// "bucket".
    kind: ResultKind,
    /// Its name.
    name: String,
    /// The region it is in.
    region: String,
    /// Its URL.
    url: String,
    /// Whether this run made it.
    made: bool,
}

/// A bucket as a playbook passes it on.
#[derive(Deserialize)]
struct KnownBucket {
    name: String,
}

impl Named for KnownBucket {
    const EXPECTED: &'static str = "a name, or what create_bucket returned";
}

/// The name of a bucket, from a name or from what `create_bucket` gave.
///
/// Throws `invalid_option` for a name that no bucket can have: a slash would make
/// the rest a part of the key. Old buckets have names that S3 refuses today.
pub(super) fn bucket_name(value: &Dynamic) -> Result<String> {
    let name = match script::argument("bucket", value)? {
        NameOr::Name(name) | NameOr::Map(KnownBucket { name }) => name,
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if (3..=255).contains(&name.len()) && name.chars().all(fits) {
        Ok(name)
    } else {
        Err(Error::invalid(format!(
            "`{name}` cannot name a bucket: it takes three or more letters, digits, \
         hyphens, dots and underscores"
        )))
    }
}

async fn create_bucket(
    cx: &Context,
    step: &mut Step,
    prefix: &str,
    options: CreateBucket,
) -> Result<Bucket> {
    // Before anything is asked about it: the name is in the URL.
    check_public(cx, "the name of a bucket", prefix)?;
    if let Some(bucket) = step.recorded::<Bucket>()? {
        if step.was_undone() || is_there(cx, step, &bucket).await? {
            step.replay();
            return Ok(bucket);
        }
        cx.report
            .warn(format!("bucket {} is gone; it is made anew", bucket.name));
    }
    if options.exact {
        check_name(prefix)?;
        let s3 = cx.clients.s3().await?;
        // One that an earlier attempt of this step may have made is no other.
        if step.made().is_empty() && s3.owns(prefix).await? {
            cx.report
                .info(format!("using bucket {prefix}, which exists already"));
            return Ok(bucket(&s3, prefix, false));
        }
        return make(cx, step, &s3, prefix).await;
    }
    // A few names, should somebody have the first: the id is short.
    let names = (1..=5).map(|n| match n {
        1 => format!("{prefix}-{}", cx.ledger.run()),
        n => format!("{prefix}-{}-{n}", cx.ledger.run()),
    });
    let mut taken = Error::internal("no name was tried");
    for name in names {
        check_name(&name)?;
        let s3 = cx.clients.s3().await?;
        match make(cx, step, &s3, &name).await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => taken = error,
            result => return result,
        }
    }
    Err(taken)
}

/// Whether a recorded bucket is still the one that was made.
async fn is_there(cx: &Context, step: &Step, bucket: &Bucket) -> Result<bool> {
    let s3 = cx.clients.s3().await?;
    if !bucket.made {
        return s3.owns(&bucket.name).await;
    }
    for row in step.live(ResourceKind::Bucket) {
        let ask = async || s3.bucket_marks(&bucket.name).await;
        let marks = cx.seen(&row, ask).await?;
        if marks.is_some_and(|marks| marks.run.as_deref() == Some(cx.ledger.run())) {
            return Ok(true);
        }
        cx.ledger.is_gone(&row);
    }
    Ok(false)
}

fn check_name(name: &str) -> Result<()> {
    match bucket_name_fault(name) {
        Some(fault) => Err(Error::invalid(format!(
            "`{name}` cannot name a bucket: {fault}"
        ))),
        None => Ok(()),
    }
}

async fn make(cx: &Context, step: &mut Step, s3: &S3<'_>, name: &str) -> Result<Bucket> {
    let intent = step.intend_one(NewResource::with_id(ResourceKind::Bucket, name, name))?;
    let tags = cx.tags(name, intent.token(), &BTreeMap::new());
    match s3.create_bucket(name).await {
        // This request once before, its answer lost; or an earlier attempt.
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
    if let Err(error) = s3.tag_bucket(name, &tags).await {
        // It is there, whatever became of its tags. Empty as it is, it goes
        // again; else it is found by its name and its age.
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
