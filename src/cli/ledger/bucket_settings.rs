//! The settings that the bucket of a ledger should have.

use std::fmt::Write as _;

use crate::cli::shared::Bucket;
use crate::clients::s3::{Allowed, DefaultEncryption, EncryptionMethod, S3};
use crate::error::{Error, ErrorKind, Result};

/// A setting of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Versioning,
    PublicAccess,
    Encryption,
    Tls,
}

/// The state of a setting.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// It is as it should be.
    Good,
    Bad,
    /// It does not apply to this store, for this reason.
    Inapplicable(&'static str),
    /// It cannot be read.
    Unknown(Error),
}

impl Setting {
    pub(super) const ALL: [Self; 4] = [
        Self::Versioning,
        Self::PublicAccess,
        Self::Encryption,
        Self::Tls,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Versioning => "versioning",
            Self::PublicAccess => "block public access",
            Self::Encryption => "encryption",
            Self::Tls => "only with TLS",
        }
    }

    /// Reads the setting.
    pub(super) fn read(self, bucket: &Bucket) -> State {
        if self == Self::Tls && bucket.is_plain_http() {
            return State::Inapplicable("the endpoint has no TLS");
        }
        match bucket.ask(async |s3, name| self.is_good(&s3, name).await) {
            Ok(true) => State::Good,
            Ok(false) => State::Bad,
            Err(error) => State::Unknown(error),
        }
    }

    async fn is_good(self, s3: &S3<'_>, bucket: &str) -> Result<bool> {
        match self {
            Self::Versioning => s3.has_versioning(bucket).await,
            Self::Encryption => Ok(s3.encryption(bucket).await?.is_some()),
            Self::Tls => s3.requires_tls(bucket).await,
            Self::PublicAccess => match s3.blocks_public_policies(bucket).await? {
                Allowed::Yes(blocks) => Ok(blocks),
                Allowed::No(reason) => Err(Error::new(ErrorKind::Denied, reason)),
            },
        }
    }

    /// Sets it as it should be.
    pub(super) fn set(self, bucket: &Bucket) -> Result<()> {
        bucket.ask(async |s3, name| match self {
            Self::Versioning => s3.enable_versioning(name).await,
            Self::PublicAccess => s3.block_public_policies(name, true).await,
            Self::Encryption => {
                let wanted = DefaultEncryption {
                    method: EncryptionMethod::Aes256,
                    kms_key_id: None,
                };
                s3.set_encryption(name, &wanted).await
            }
            Self::Tls => s3.require_tls(name).await,
        })
    }
}

/// Returns a line for each setting of a bucket.
pub(super) fn table(bucket: &Bucket) -> String {
    let mut table = String::new();
    for setting in Setting::ALL {
        let state = match setting.read(bucket) {
            State::Good => "yes".to_owned(),
            State::Bad => "no: `autorun ledger init` sets it".to_owned(),
            State::Inapplicable(why) => format!("-- {why}"),
            State::Unknown(error) => format!("unknown: {error}"),
        };
        let _ = writeln!(table, "{:<20} {state}", setting.name());
    }
    table
}
