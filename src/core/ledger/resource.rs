//! Resources that a run can create, and their states.

use serde::{Deserialize, Serialize};

use super::clock::{Millis, now};
use crate::report::Remaining;

/// The kinds of resources that a run can create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// An EC2 instance; AWS assigns the ID.
    Instance,
    /// An EC2 key pair; the ID is its name.
    KeyPair,
    /// A private key file on this machine; the ID is its path.
    KeyFile,
    /// A security group; AWS assigns the ID.
    SecurityGroup,
    /// An S3 bucket; the ID is its name.
    Bucket,
    /// An S3 object; the ID is `bucket/key`.
    Object,
    /// An unfinished upload of an S3 object in parts; the ID is `bucket/key` and
    /// AWS's upload ID, the name is `bucket/key`.
    MultipartUpload,
    /// Public read access to an object in a bucket that already existed. The ID is
    /// `bucket/key`; the name records the bucket's previous settings.
    PublicAccess,
    /// An ingress rule of a security group that already existed; the ID is
    /// `sg-0abc tcp 80-80 0.0.0.0/0`.
    Ingress,
    /// An Elastic IP address; the ID is its allocation ID.
    ElasticIp,
    /// An image of an instance, with its snapshots; AWS assigns the ID.
    Image,
    /// An EBS volume that outlives its instance; AWS assigns the ID.
    Volume,
    /// A snapshot of a volume; AWS assigns the ID.
    Snapshot,
    /// A VPC; AWS assigns the ID.
    Vpc,
    /// A subnet; AWS assigns the ID.
    Subnet,
    /// An internet gateway; AWS assigns the ID.
    InternetGateway,
    /// A route table; AWS assigns the ID.
    RouteTable,
    /// A NAT gateway; AWS assigns the ID.
    NatGateway,
    /// The launch template of a fleet; AWS assigns the ID.
    LaunchTemplate,
    /// An IAM role for instances; the ID is its name.
    IamRole,
    /// An instance profile, which has the role of the same name; the ID is its name.
    InstanceProfile,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Instance,
        Self::KeyPair,
        Self::KeyFile,
        Self::SecurityGroup,
        Self::Bucket,
        Self::Object,
        Self::MultipartUpload,
        Self::PublicAccess,
        Self::Ingress,
        Self::ElasticIp,
        Self::Image,
        Self::Volume,
        Self::Snapshot,
        Self::Vpc,
        Self::Subnet,
        Self::InternetGateway,
        Self::RouteTable,
        Self::NatGateway,
        Self::LaunchTemplate,
        Self::IamRole,
        Self::InstanceProfile,
    ];

    /// Returns the name that reports and the ledger use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::KeyPair => "key_pair",
            Self::KeyFile => "key_file",
            Self::SecurityGroup => "security_group",
            Self::Bucket => "bucket",
            Self::Object => "object",
            Self::MultipartUpload => "multipart_upload",
            Self::PublicAccess => "public_access",
            Self::Ingress => "ingress",
            Self::ElasticIp => "elastic_ip",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::Vpc => "vpc",
            Self::Subnet => "subnet",
            Self::InternetGateway => "internet_gateway",
            Self::RouteTable => "route_table",
            Self::NatGateway => "nat_gateway",
            Self::LaunchTemplate => "launch_template",
            Self::IamRole => "iam_role",
            Self::InstanceProfile => "instance_profile",
        }
    }

    /// Returns the name for sentences, such as `security group`.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::KeyFile => "private key".to_owned(),
            Self::ElasticIp => "Elastic IP address".to_owned(),
            Self::Vpc => "VPC".to_owned(),
            Self::NatGateway => "NAT gateway".to_owned(),
            Self::IamRole => "IAM role".to_owned(),
            kind => kind.as_str().replace('_', " "),
        }
    }
}

/// The state of a resource: intended -> live -> releasing -> released. An intended
/// resource becomes abandoned if it was not created. `may_become` has the valid
/// transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Recorded; the create request may have been sent.
    Intended,
    /// Created; the ID is known.
    Live,
    /// Certainly not created.
    Abandoned,
    /// The removal was requested.
    Releasing,
    /// Removed.
    Released,
    /// Not removed; dropped from the ledger by `--forget`.
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

    /// Returns whether the transition from `self` to `next` is valid.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Intended, Self::Live | Self::Abandoned)
                | (Self::Live, Self::Releasing)
                | (Self::Releasing, Self::Live | Self::Released)
        )
    }

    /// Returns the name that the ledger uses.
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

    /// Returns whether the resource may exist.
    #[must_use]
    pub fn may_be_up(self) -> bool {
        matches!(self, Self::Intended | Self::Live | Self::Releasing)
    }
}

/// A row of the ledger: a resource that a run created or was about to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// ID of the row: the request's `ClientToken` and the tag `autorun:resource`.
    pub row: String,
    /// Kind of the resource.
    pub kind: ResourceKind,
    /// Name of the resource.
    pub name: String,
    /// ID of the resource, once it is known. For a key pair, a bucket, an object
    /// and a file, it is known from the start.
    pub id: Option<String>,
    /// State of the resource.
    pub state: State,
    /// Key of the step that creates it.
    pub step: String,
    /// When it was recorded.
    pub intended: Millis,
    /// When its state last changed.
    pub changed: Millis,
    /// Whether the playbook itself removed it.
    pub removed_by_playbook: bool,
    /// Whether the playbook stopped it and has not started it again.
    pub stopped: bool,
}

impl Resource {
    /// Creates the row that is recorded before the create request is sent.
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

    /// Returns whether the resource was created and is not removed.
    #[must_use]
    pub fn exists(&self) -> bool {
        matches!(self.state, State::Live | State::Releasing)
    }

    /// Returns when an instance terminates itself.
    #[must_use]
    pub fn ends(&self, ttl_seconds: Option<u64>) -> Option<Millis> {
        let ttl = ttl_seconds.and_then(|ttl| Millis::try_from(ttl).ok())?;
        (self.kind == ResourceKind::Instance).then(|| self.intended + ttl * 1000)
    }

    /// Returns the resource as reports list it.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        Remaining {
            kind: self.kind.as_str(),
            // An ID that is known from the start does not mean that the resource
            // exists.
            id: self.id.clone().filter(|_| self.state != State::Intended),
            name: self.name.clone(),
            can_log_in: self.kind == ResourceKind::Instance && self.state == State::Live,
        }
    }
}

/// A resource to create.
#[derive(Clone, Debug)]
pub struct NewResource {
    pub(super) kind: ResourceKind,
    pub(super) name: String,
    pub(super) id: Option<String>,
}

impl NewResource {
    /// Describes a resource whose ID AWS will assign.
    #[must_use]
    pub fn new(kind: ResourceKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            id: None,
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Describes a resource whose ID is known from the start.
    #[must_use]
    pub fn with_id(kind: ResourceKind, name: &str, id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::new(kind, name)
        }
    }
}

/// Who removes a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remover {
    /// The playbook: a resumed run does not create the resource again.
    Playbook,
    /// The user, by `autorun destroy` or `--on-error destroy`.
    User,
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_released_resource_stays_released() {
        assert!(State::Intended.may_become(State::Live));
        assert!(!State::Released.may_become(State::Live));
        assert!(!State::Intended.may_become(State::Released));
    }
}
