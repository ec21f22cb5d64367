//! The documents of buckets, objects and uploads, as stored on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::checksum::{Algorithm, Checksum, Kind};
use super::blob::Blob;
use super::version::Place;

/// Tags by key.
pub(in super::super) type Tags = BTreeMap<String, String>;

/// A bucket's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct BucketRecord {
    pub(in super::super) region: String,
    /// The location constraint with which the bucket was created.
    pub(in super::super) constraint: Option<String>,
    /// Seconds since 1970, as all times in these documents.
    pub(in super::super) created: i64,
    pub(in super::super) tags: Option<Tags>,
    pub(in super::super) policy: Option<String>,
    pub(in super::super) public_access_block: Option<PublicAccessBlock>,
    /// `None` if versioning was never enabled nor suspended.
    pub(in super::super) versioning: Option<Versioning>,
    /// The encryption of new objects whose upload names none. The key is as the
    /// request named it.
    #[serde(default)]
    pub(in super::super) encryption: Encryption,
    /// Who owns the objects: `BucketOwnerEnforced` disables access control lists.
    pub(in super::super) ownership: Option<String>,
}

/// Server-side encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Encryption {
    pub(in super::super) method: EncryptionMethod,
    /// The KMS key: its ARN, except in the settings of a bucket.
    pub(in super::super) key: Option<String>,
    pub(in super::super) bucket_key: Switch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum EncryptionMethod {
    #[default]
    Aes256,
    Kms,
    KmsDsse,
}

/// The versioning of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Versioning {
    /// Whether versioning is enabled. Otherwise it is suspended.
    pub(in super::super) enabled: Switch,
    /// Whether a request named MFA delete, which answers then show as disabled.
    pub(in super::super) names_mfa_delete: Switch,
}

/// The four settings of Block Public Access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PublicAccessBlock {
    pub(in super::super) acls: Switch,
    pub(in super::super) ignored_acls: Switch,
    pub(in super::super) policy: Switch,
    pub(in super::super) restricted: Switch,
}

/// On or off.
pub(in super::super) type Switch = bool;

impl PublicAccessBlock {
    /// The settings of a new bucket.
    pub(in super::super) const ALL: Self = Self {
        acls: true,
        ignored_acls: true,
        policy: true,
        restricted: true,
    };
}

/// A file of content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Piece {
    pub(in super::super) file: String,
    pub(in super::super) size: u64,
    /// The checksum of a part, in the algorithm of its upload.
    pub(in super::super) checksum: Option<String>,
}

/// An object's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct ObjectRecord {
    pub(in super::super) key: String,
    pub(in super::super) etag: String,
    pub(in super::super) modified: i64,
    pub(in super::super) size: u64,
    pub(in super::super) multipart: bool,
    /// The id of the multipart upload that became this object.
    pub(in super::super) upload: Option<String>,
    pub(in super::super) pieces: Vec<Piece>,
    pub(in super::super) checksum: Checksum,
    /// The stored headers, which are returned with the object: `content-type`,
    /// `x-amz-meta-..`.
    pub(in super::super) headers: BTreeMap<String, String>,
    pub(in super::super) storage_class: Option<String>,
    pub(in super::super) tags: Tags,
    #[serde(default)]
    pub(in super::super) encryption: Encryption,
    #[serde(default)]
    pub(in super::super) place: Place,
}

/// An object: its document and its content. The content exists at least as long
/// as this value.
#[derive(Debug)]
pub(in super::super) struct Object {
    pub(in super::super) record: ObjectRecord,
    pub(in super::super) blobs: Vec<Arc<Blob>>,
}

impl Object {
    /// Discards the content. It is deleted when no request reads it any more.
    pub(super) fn discard(&self) {
        self.blobs.iter().for_each(|blob| blob.discard());
    }
}

/// A multipart upload's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct UploadRecord {
    pub(in super::super) key: String,
    pub(in super::super) initiated: i64,
    pub(in super::super) algorithm: Algorithm,
    pub(in super::super) kind: Kind,
    /// Whether the client chose the algorithm. Otherwise answers do not show it.
    pub(in super::super) chosen: bool,
    pub(in super::super) headers: BTreeMap<String, String>,
    pub(in super::super) storage_class: Option<String>,
    pub(in super::super) tags: Tags,
    #[serde(default)]
    pub(in super::super) encryption: Encryption,
}

/// A part's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct PartRecord {
    pub(in super::super) number: u16,
    pub(in super::super) etag: String,
    pub(in super::super) modified: i64,
    pub(in super::super) piece: Piece,
}

/// A part and its content.
#[derive(Clone, Debug)]
pub(in super::super) struct Part {
    pub(in super::super) record: PartRecord,
    pub(in super::super) blob: Arc<Blob>,
}
