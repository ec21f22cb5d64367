//! What can be made, and the states it goes through.

use super::clock::{Millis, now};
use crate::report::Remaining;

/// Kinds of things a run can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// An EC2 instance; its id is AWS's.
    Instance,
    /// An EC2 key pair; its id is its name.
    KeyPair,
    /// A private key file on this machine; its id is the path.
    KeyFile,
    /// A security group; its id is AWS's.
    SecurityGroup,
    /// An S3 bucket; its id is its name.
    Bucket,
    /// An S3 object; its id is `bucket/key`.
    Object,
    /// That everybody may read an object in a bucket that was there before; its
    /// id is `bucket/key`, its name says what the bucket did before.
    PublicAccess,
    /// An open port of a security group that was there before; its id is
    /// `sg-0abc tcp 80-80 0.0.0.0/0`.
    Ingress,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Instance,
        Self::KeyPair,
        Self::KeyFile,
        Self::SecurityGroup,
        Self::Bucket,
        Self::Object,
        Self::PublicAccess,
        Self::Ingress,
    ];

    /// The name that reports and the ledger use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::KeyPair => "key_pair",
            Self::KeyFile => "key_file",
            Self::SecurityGroup => "security_group",
            Self::Bucket => "bucket",
            Self::Object => "object",
            Self::PublicAccess => "public_access",
            Self::Ingress => "ingress",
        }
    }

    /// The name in a sentence, as `security group`.
    #[must_use]
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }
}

/// intended -> live -> releasing -> released; an intended one may turn out to
/// be abandoned, or be released as soon as it was found. Nothing else is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Written down, the request may have left.
    Intended,
    /// Made, and its id is known.
    Live,
    /// Certainly never made.
    Abandoned,
    /// Removal was asked for.
    Releasing,
    /// Gone.
    Released,
    /// It could not be removed, and the user said to drop it.
    Forgotten,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Intended,
        Self::Live,
        Self::Abandoned,
        Self::Releasing,
        Self::Released,
        Self::Forgotten,
    ];

    /// Whether this state may follow `self`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Intended, Self::Live | Self::Abandoned)
                | (Self::Live, Self::Releasing)
                | (Self::Releasing, Self::Live | Self::Released)
        )
    }

    /// The name that the ledger uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Live => "live",
            Self::Abandoned => "abandoned",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Forgotten => "forgotten",
        }
    }

    /// Whether it may still be there.
    #[must_use]
    pub fn may_be_up(self) -> bool {
        matches!(self, Self::Intended | Self::Live | Self::Releasing)
    }
}

/// One row: something this run made or was about to make.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The row's own id: the request's `ClientToken` and the tag
    /// `autorun:resource`.
    pub row: String,
    /// What it is.
    pub kind: ResourceKind,
    /// The name it was given.
    pub name: String,
    /// Its id in the cloud, once known; for a key pair, a bucket, an object and
    /// a file that is from the start.
    pub id: Option<String>,
    /// Where in its life it is.
    pub state: State,
    /// The step that makes it.
    pub step: String,
    /// When it was written down.
    pub intended: Millis,
    /// When its state last changed.
    pub changed: Millis,
    /// Whether the playbook itself removed it.
    pub removed_by_playbook: bool,
    /// Whether the playbook stopped it, and has not started it since.
    pub stopped: bool,
}

impl Resource {
    /// A row that is written down before the request leaves.
    pub(super) fn intended(row: String, wanted: &NewResource, step: &str) -> Self {
        Self {
            row,
            kind: wanted.kind,
            name: wanted.name.clone(),
            id: wanted.id.clone(),
            state: State::Intended,
            step: step.to_owned(),
            intended: now(),
            changed: now(),
            removed_by_playbook: false,
            stopped: false,
        }
    }

    /// Whether it was made and is not gone.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.state, State::Live | State::Releasing)
    }

    /// When an instance ends itself.
    #[must_use]
    pub fn ends(&self, ttl_seconds: Option<u64>) -> Option<Millis> {
        let ttl = ttl_seconds.and_then(|ttl| Millis::try_from(ttl).ok())?;
        (self.kind == ResourceKind::Instance).then(|| self.intended + ttl * 1000)
    }

    /// As it is listed.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        Remaining {
            kind: self.kind.as_str(),
            // The id that is known from the start proves nothing yet.
            id: self.id.clone().filter(|_| self.state != State::Intended),
            name: self.name.clone(),
            can_log_in: self.kind == ResourceKind::Instance && self.state == State::Live,
        }
    }
}

/// Something that is about to be made.
#[derive(Clone, Debug)]
pub struct NewResource {
    pub(super) kind: ResourceKind,
    pub(super) name: String,
    pub(super) id: Option<String>,
}

impl NewResource {
    /// Something whose id the cloud will give.
    #[must_use]
    pub fn new(kind: ResourceKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            id: None,
        }
    }

    /// Something whose id is known from the start.
    #[must_use]
    pub fn with_id(kind: ResourceKind, name: &str, id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::new(kind, name)
        }
    }
}

/// Who removes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remover {
    /// The playbook: a resumed run takes it as done.
    Playbook,
    /// The user, by `autorun destroy` or `--on-error destroy`.
    User,
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn what_is_released_stays_released() {
        assert!(State::Intended.may_become(State::Live));
        assert!(!State::Released.may_become(State::Live));
        assert!(!State::Intended.may_become(State::Released));
    }
}
