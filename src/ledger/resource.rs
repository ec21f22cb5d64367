//! What can be made, and the states it goes through.

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
}

impl ResourceKind {
    /// The name that reports use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::KeyPair => "key_pair",
            Self::KeyFile => "key_file",
            Self::SecurityGroup => "security_group",
            Self::Bucket => "bucket",
            Self::Object => "object",
        }
    }
}

/// intended -> live -> releasing -> released; an intended one may turn out to
/// be abandoned. Nothing else is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Written down, the request may have left.
    Intended,
    /// Made, and AWS's id is known.
    Live,
    /// Certainly never made.
    Abandoned,
    /// Removal was asked for.
    Releasing,
    /// Gone.
    Released,
}

impl State {
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
    /// Its id in the cloud, once known.
    pub id: Option<String>,
    /// Where in its life it is.
    pub state: State,
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
