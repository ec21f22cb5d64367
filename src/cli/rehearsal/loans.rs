//! The resources that a rehearsal has and did not create.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde::Serialize;

/// From where a rehearsal has a resource that it did not create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Source {
    /// The account has it.
    Account,
    /// The account was not asked.
    Assumed,
    /// The account does not have it.
    Missing,
}

/// The kind of a resource that a rehearsal can borrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Kind {
    Bucket,
    ElasticIp,
    Image,
    Instance,
    InstanceType,
    KeyPair,
    Object,
    SecurityGroup,
    Snapshot,
    Subnet,
    Volume,
    Vpc,
}

impl Kind {
    /// Returns the kind in words.
    pub(in crate::cli) fn words(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::ElasticIp => "Elastic IP address",
            Self::Image => "image",
            Self::Instance => "instance",
            Self::InstanceType => "instance type",
            Self::KeyPair => "key pair",
            Self::Object => "object",
            Self::SecurityGroup => "security group",
            Self::Snapshot => "snapshot",
            Self::Subnet => "subnet",
            Self::Volume => "volume",
            Self::Vpc => "VPC",
        }
    }

    /// Returns the name of the kind in what the local cloud reads.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::ElasticIp => "elastic_ip",
            Self::Image => "image",
            Self::Instance => "instance",
            Self::InstanceType => "instance_type",
            Self::KeyPair => "key_pair",
            Self::Object => "object",
            Self::SecurityGroup => "security_group",
            Self::Snapshot => "snapshot",
            Self::Subnet => "subnet",
            Self::Volume => "volume",
            Self::Vpc => "vpc",
        }
    }

    /// Returns the kind of the resource with an id.
    pub(super) fn of(id: &str) -> Option<Self> {
        let is_whole = ID.find(id).is_some_and(|found| found.as_str() == id);
        match id.split('-').next().filter(|_| is_whole)? {
            "eipalloc" => Some(Self::ElasticIp),
            "i" => Some(Self::Instance),
            "ami" => Some(Self::Image),
            "sg" => Some(Self::SecurityGroup),
            "snap" => Some(Self::Snapshot),
            "subnet" => Some(Self::Subnet),
            "vol" => Some(Self::Volume),
            "vpc" => Some(Self::Vpc),
            _ => None,
        }
    }
}

/// A resource that the rehearsal did not create.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct Loan {
    pub(in crate::cli) kind: Kind,
    /// Its id or its name; empty for a search that was not made.
    pub(in crate::cli) name: String,
    /// The value of the tag `Name`.
    pub(in crate::cli) label: Option<String>,
    pub(in crate::cli) source: Source,
    /// The place in the playbook that needs it.
    pub(in crate::cli) place: String,
}

/// The ids of resources that can be borrowed.
pub(super) static ID: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"\b(eipalloc|i|ami|sg|snap|subnet|vol|vpc)-[0-9a-f]{8,17}\b";
    Regex::new(pattern).expect("the pattern is a constant")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_kinds() {
        assert_eq!(Kind::of("i-0123456789abcdef0"), Some(Kind::Instance));
        assert_eq!(Kind::of("sg-01234567"), Some(Kind::SecurityGroup));
        assert_eq!(Kind::of("vol-0123456789abcdef0"), Some(Kind::Volume));
        assert_eq!(Kind::of("my-i-0123456789abcdef0"), None);
        assert_eq!(Kind::of("key-0123456789abcdef0"), None);
    }
}
