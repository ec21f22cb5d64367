//! Buckets and objects on disk.
//!
//! ```text
//! DIR/buckets/NAME/bucket.json          settings
//! DIR/buckets/NAME/objects/HASH.json    the null version of an object: its key,
//!                                       headers, pieces; or a delete marker
//! DIR/buckets/NAME/objects/HASH-ID.json the version with this id
//! DIR/buckets/NAME/uploads/ID/*.json    a multipart upload and its parts
//! DIR/buckets/NAME/data/ID              content, under a random name
//! ```
//! A key never becomes a path. Content is written first, and an object exists from
//! the moment when its document is renamed into place. A killed process therefore
//! leaves either the old object or the new object, and possibly content that no
//! document names. [`Store::open`] removes this content.

mod blob;
mod bucket;
mod files;
mod listing;
mod load;
mod read;
mod record;
mod version;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use s3s::S3ErrorCode;

use super::failure::{Result, fail, internal, no_such_bucket};

pub(super) use blob::{Received, receive};
pub(super) use bucket::{Bucket, Deleted, Found, Upload, UploadPlace};
pub(super) use listing::{Entry, Listing, Page};
pub(super) use read::{body, content};
pub(super) use record::{
    BucketRecord, Encryption, EncryptionMethod, Object, ObjectRecord, Part, PartRecord, Piece,
    PublicAccessBlock, Tags, UploadRecord, Versioning,
};
pub(super) use version::{MarkerRecord, NULL, Place, Version, is_id};

/// The quota of buckets per account. AWS's default was 100 until 2024.
const MAX_BUCKETS: usize = 100;

/// All buckets.
pub(super) struct Store {
    root: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
}

impl Store {
    /// Opens the directory, creates it if it does not exist, and removes the
    /// remains of a killed process.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let root = dir.join("buckets");
        files::create_dir(dir)?;
        files::create_dir(&root)?;
        let mut buckets = BTreeMap::new();
        for name in files::names(&root)? {
            let bucket = load::bucket(&name, root.join(&name))?;
            buckets.insert(name, Arc::new(bucket));
        }
        Ok(Self {
            root,
            buckets: RwLock::new(buckets),
        })
    }

    pub(super) fn bucket(&self, name: &str) -> Result<Arc<Bucket>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).cloned().ok_or_else(no_such_bucket)
    }

    /// Returns the names and settings of all buckets. [`Store::remove`] holds the
    /// lock until a bucket is deleted from disk and from the map, so this function
    /// never finds a half-deleted bucket.
    pub(super) fn all(&self) -> Result<Vec<(String, BucketRecord)>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        let named =
            |(name, bucket): (&String, &Arc<Bucket>)| Ok((name.clone(), bucket.settings()?));
        buckets.iter().map(named).collect()
    }

    /// Creates a bucket, or returns the existing bucket.
    pub(super) fn create(&self, name: &str, record: BucketRecord) -> Result<Created> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(name) {
            return Ok(Created::Existing(Arc::clone(bucket)));
        }
        if buckets.len() >= MAX_BUCKETS {
            return Err(fail(
                S3ErrorCode::TooManyBuckets,
                "You have attempted to create more buckets than allowed",
            ));
        }
        let bucket = Bucket::create(&self.root, name, record)
            .map_err(|error| internal("create a bucket", &error))?;
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(Created::New)
    }

    /// Deletes an empty bucket.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(name).ok_or_else(no_such_bucket)?;
        bucket.remove(&self.root)?;
        buckets.remove(name);
        Ok(())
    }
}

/// The result of [`Store::create`].
pub(super) enum Created {
    New,
    Existing(Arc<Bucket>),
}
