//! Buckets: creates, tags, deletes and lists them, and finds out who owns them.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, Tag, Tagging};

use super::S3;
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::{Marks, Tags};

/// The region that S3 does not accept as a location constraint.
const US_EAST_1: &str = "us-east-1";

/// S3's response to [`S3::create_bucket`].
#[derive(Debug)]
pub enum Creation {
    /// The bucket is new.
    Created,
    /// The account already has a bucket of this name.
    OwnedBefore(Error),
}

/// S3's response to [`S3::tag_bucket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// The bucket has the tags.
    Yes,
    /// The server, which is not AWS's, has no tags.
    Unsupported,
}

/// The maximum difference between two clocks, in milliseconds.
const SKEW: i64 = 600_000;

/// Who has a bucket name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOwner {
    /// The name is free.
    Free,
    /// This account has the bucket.
    ThisAccount,
    /// Another account has it, or this one may not look at it. S3 names the region of
    /// a bucket that exists.
    Unknown(Option<String>),
}

impl S3<'_> {
    /// Returns whether a bucket with this name exists and belongs to this
    /// account.
    pub async fn owns(&self, bucket: &str) -> Result<bool> {
        match self.client.head_bucket().bucket(bucket).send().await {
            Ok(_) => Ok(true),
            // S3 returns 403 for a bucket of another account.
            Err(e)
                if matches!(
                    e.raw_response().map(|r| r.status().as_u16()),
                    Some(403 | 404)
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(aws_error(&format!("look for bucket `{bucket}`"), &e)),
        }
    }

    /// Returns who has a bucket name.
    pub async fn owner_of(&self, bucket: &str) -> Result<NameOwner> {
        match self.client.head_bucket().bucket(bucket).send().await {
            Ok(_) => Ok(NameOwner::ThisAccount),
            Err(e) => match e.raw_response().map(|r| r.status().as_u16()) {
                Some(404) => Ok(NameOwner::Free),
                Some(403) => {
                    let answer = e.raw_response();
                    let region = answer.and_then(|r| r.headers().get("x-amz-bucket-region"));
                    Ok(NameOwner::Unknown(region.map(str::to_owned)))
                }
                // The bucket is in another region; only its owner learns that.
                Some(301) => Ok(NameOwner::ThisAccount),
                _ => Err(aws_error(&format!("look for bucket `{bucket}`"), &e)),
            },
        }
    }

    /// Creates a bucket in the configured region.
    ///
    /// Throws `already_exists` if another account owns the name.
    pub async fn create_bucket(&self, bucket: &str) -> Result<Creation> {
        let place = (self.region() != US_EAST_1).then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region()))
                .build()
        });
        let request = self
            .client
            .create_bucket()
            .bucket(bucket)
            .set_create_bucket_configuration(place);
        match request.send().await {
            Ok(_) => Ok(Creation::Created),
            Err(e) => {
                let error = aws_error(&format!("create bucket `{bucket}`"), &e);
                match code(&e) {
                    Code::BucketAlreadyOwnedByYou => Ok(Creation::OwnedBefore(error)),
                    _ => Err(error),
                }
            }
        }
    }

    /// Tags a bucket that was just created.
    pub async fn tag_bucket(&self, bucket: &str, tags: &Tags) -> Result<Tagged> {
        let attempt = format!("tag bucket `{bucket}`");
        let tags: Vec<Tag> = tags
            .iter()
            .filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok())
            .collect();
        let tagging = Tagging::builder()
            .set_tag_set(Some(tags))
            .build()
            .map_err(|e| Error::internal(format!("cannot {attempt}: {e}")))?;
        let request = self.client.put_bucket_tagging();
        match request.bucket(bucket).tagging(tagging).send().await {
            Ok(_) => Ok(Tagged::Yes),
            Err(e) if self.lacks(code(&e)) => Ok(Tagged::Unsupported),
            Err(e) => Err(aws_error(&attempt, &e)),
        }
    }

    /// Deletes an empty bucket. Deleting one that does not exist is not an error.
    pub async fn delete_bucket(&self, bucket: &str) -> Result<()> {
        match self.client.delete_bucket().bucket(bucket).send().await {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == Code::NoSuchBucket => Ok(()),
            Err(e) => Err(aws_error(&format!("delete bucket `{bucket}`"), &e)),
        }
    }

    /// Returns the marks of a bucket, or `None` if it does not exist.
    pub async fn bucket_marks(&self, bucket: &str) -> Result<Option<Marks>> {
        match self.client.get_bucket_tagging().bucket(bucket).send().await {
            Ok(answer) => Ok(Some(Marks::from_tags(
                answer.tag_set().iter().map(|t| (t.key(), t.value())),
            ))),
            Err(e) if code(&e) == Code::NoSuchTagSet => Ok(Some(Marks::from_tags([]))),
            Err(e) if code(&e) == Code::NoSuchBucket => Ok(None),
            Err(e) if self.lacks(code(&e)) => Ok(self.owns(bucket).await?.then(|| Marks {
                unsupported: true,
                ..Marks::from_tags([])
            })),
            Err(e) => Err(aws_error(
                &format!("read the tags of bucket `{bucket}`"),
                &e,
            )),
        }
    }

    /// Returns when a bucket of the account was created, in milliseconds since
    /// 1970, or `None` if the account does not have it.
    pub async fn bucket_created(&self, bucket: &str) -> Result<Option<i64>> {
        let all = self.buckets().await?;
        let found = all.into_iter().find(|(name, _)| name == bucket);
        Ok(found.map(|(_, created)| created))
    }

    /// Returns whether a bucket of the account was created between these times,
    /// in milliseconds since 1970. This replaces the tags of a run where there
    /// are none.
    pub async fn was_created(&self, bucket: &str, from: i64, to: i64) -> Result<bool> {
        let created = self.bucket_created(bucket).await?;
        Ok(created.is_some_and(|created| (from - SKEW..=to + SKEW).contains(&created)))
    }

    /// Returns every bucket of the account with its creation time.
    pub async fn buckets(&self) -> Result<Vec<(String, i64)>> {
        let mut pages = self.client.list_buckets().into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("list the buckets", &e))?;
            all.extend(page.buckets().iter().map(|bucket| {
                let created = bucket.creation_date().and_then(|d| d.to_millis().ok());
                (
                    bucket.name().unwrap_or_default().to_owned(),
                    created.unwrap_or(0),
                )
            }));
        }
        Ok(all)
    }
}

/// Returns why S3 would refuse a bucket name, or `None` if it would accept it.
#[must_use]
pub fn bucket_name_fault(name: &str) -> Option<&'static str> {
    let ends_well = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(3..=63).contains(&name.len()) {
        Some("it must have 3 to 63 characters")
    } else if !name.chars().all(|c| ends_well(c) || c == '-' || c == '.') {
        Some("only lower-case letters, digits, hyphens and dots are allowed")
    } else if !name.starts_with(ends_well) || !name.ends_with(ends_well) {
        Some("it must begin and end with a letter or digit")
    } else if name.contains("..") {
        Some("it must not contain two dots in a row")
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        Some("it must not look like an IP address")
    } else if ["xn--", "sthree-", "amzn-s3-demo-"]
        .iter()
        .any(|p| name.starts_with(p))
    {
        Some("AWS reserves this prefix")
    } else if ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
        .iter()
        .any(|s| name.ends_with(s))
    {
        Some("AWS reserves this suffix")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn bucket_names_are_checked_by_the_rules_of_s3() {
        assert_eq!(bucket_name_fault("newwebserver-7k2m"), None);
        for bad in [
            "ab",
            "Upper",
            "a..b",
            "-a1",
            "192.168.0.1",
            "xn--abc",
            "abc-s3alias",
        ] {
            assert!(bucket_name_fault(bad).is_some(), "{bad}");
        }
    }
}
