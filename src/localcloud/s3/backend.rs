//! The state that all operations share.

use std::time::UNIX_EPOCH;

use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto;

use super::store::Store;
use crate::USER_NAME;

/// The state behind the operations.
pub(super) struct Backend {
    pub(super) store: Store,
    pub(super) account: String,
}

impl Backend {
    /// Returns the canonical user id of the account.
    pub(super) fn owner_id(&self) -> String {
        hex::encode(Sha256::checksum(self.account.as_bytes()))
    }

    /// Returns the ARN of the account's only user.
    pub(super) fn user_arn(&self) -> String {
        format!("arn:aws:iam::{}:user/{USER_NAME}", self.account)
    }

    #[cfg(test)]
    pub(super) fn for_tests(dir: &std::path::Path, account: &str) -> Self {
        Self {
            store: Store::open(dir).unwrap(),
            account: account.to_owned(),
        }
    }

    /// Returns the initiator of multipart uploads.
    pub(super) fn initiator(&self) -> dto::Initiator {
        dto::Initiator {
            display_name: Some(USER_NAME.to_owned()),
            id: Some(self.user_arn()),
        }
    }

    pub(super) fn owner(&self) -> dto::Owner {
        dto::Owner {
            display_name: None,
            id: Some(self.owner_id()),
        }
    }
}

/// Converts seconds since 1970 to the time type of s3s.
pub(super) fn timestamp(seconds: i64) -> dto::Timestamp {
    let elapsed = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    dto::Timestamp::from(UNIX_EPOCH + elapsed)
}
