//! Ids in AWS's format: random ids, ids derived from names, validation, and what
//! EC2 answers about ids that it does not accept.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::refusal::{Refusal, Result};

/// Returns a new random id, for example `i-0123456789abcdef0`.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}-0{:016x}", rand::random::<u64>())
}

/// Returns an id derived from `words`, for example `ami-0123..`. The same words
/// have the same id in every local cloud.
pub(super) fn stable_id(prefix: &str, words: &[&str]) -> String {
    let digest = hex::encode(Sha256::digest(words.join("/").as_bytes()));
    format!("{prefix}-{}", &digest[..17])
}

/// Whether a text is an id with this prefix, for example `i-0123abcd`. AWS's
/// ids have 17 digits, old ones 8.
pub(super) fn is_id(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| {
            matches!(rest.len(), 8 | 17) && rest.bytes().all(|b| b.is_ascii_hexdigit())
        })
}

/// A kind of ids, with the codes and words of EC2's errors about them.
#[derive(Debug)]
pub(super) struct IdKind {
    prefix: &'static str,
    /// The code for a malformed id. Without it, a malformed id is not found.
    malformed: Option<&'static str>,
    not_found: &'static str,
    /// The message about one id, for which `{}` stands.
    one: &'static str,
    /// The message about several ids. Without it, the first one is reported.
    several: Option<&'static str>,
}

pub(super) const INSTANCE: IdKind = IdKind {
    prefix: "i",
    malformed: Some("InvalidInstanceID.Malformed"),
    not_found: "InvalidInstanceID.NotFound",
    one: "The instance ID '{}' does not exist",
    several: Some("The instance IDs '{}' do not exist"),
};

pub(super) const IMAGE: IdKind = IdKind {
    prefix: "ami",
    malformed: Some("InvalidAMIID.Malformed"),
    not_found: "InvalidAMIID.NotFound",
    one: "The image id '[{}]' does not exist",
    several: Some("The image ids '[{}]' do not exist"),
};

pub(super) const GROUP: IdKind = IdKind {
    prefix: "sg",
    malformed: Some("InvalidGroupId.Malformed"),
    not_found: "InvalidGroup.NotFound",
    one: "The security group '{}' does not exist",
    several: None,
};

pub(super) const GROUP_RULE: IdKind = IdKind {
    prefix: "sgr",
    malformed: Some("InvalidSecurityGroupRuleId.Malformed"),
    not_found: "InvalidSecurityGroupRuleId.NotFound",
    one: "The security group rule ID '{}' does not exist",
    several: None,
};

pub(super) const KEY_PAIR: IdKind = IdKind {
    prefix: "key",
    malformed: None,
    not_found: "InvalidKeyPair.NotFound",
    one: "The key pair '{}' does not exist",
    several: None,
};

pub(super) const VOLUME: IdKind = IdKind {
    prefix: "vol",
    malformed: Some("InvalidVolumeID.Malformed"),
    not_found: "InvalidVolume.NotFound",
    one: "The volume '{}' does not exist.",
    several: None,
};

pub(super) const VPC: IdKind = IdKind {
    prefix: "vpc",
    malformed: None,
    not_found: "InvalidVpcID.NotFound",
    one: "The vpc ID '{}' does not exist",
    several: Some("The vpc IDs '{}' do not exist"),
};

pub(super) const SUBNET: IdKind = IdKind {
    prefix: "subnet",
    malformed: None,
    not_found: "InvalidSubnetID.NotFound",
    one: "The subnet ID '{}' does not exist",
    several: Some("The subnet IDs '{}' do not exist"),
};

pub(super) const INTERNET_GATEWAY: IdKind = IdKind {
    prefix: "igw",
    malformed: Some("InvalidInternetGatewayId.Malformed"),
    not_found: "InvalidInternetGatewayID.NotFound",
    one: "The internetGateway ID '{}' does not exist",
    several: None,
};

pub(super) const NETWORK_INTERFACE: IdKind = IdKind {
    prefix: "eni",
    malformed: Some("InvalidNetworkInterfaceId.Malformed"),
    not_found: "InvalidNetworkInterfaceID.NotFound",
    one: "The networkInterface ID '{}' does not exist",
    several: None,
};

pub(super) const ALLOCATION: IdKind = IdKind {
    prefix: "eipalloc",
    malformed: None,
    not_found: "InvalidAllocationID.NotFound",
    one: "The allocation ID '{}' does not exist",
    several: Some("The allocation IDs '{}' do not exist"),
};

pub(super) const SNAPSHOT: IdKind = IdKind {
    prefix: "snap",
    malformed: Some("InvalidSnapshotID.Malformed"),
    not_found: "InvalidSnapshot.NotFound",
    one: "The snapshot '{}' does not exist.",
    several: None,
};

pub(super) const ROUTE_TABLE: IdKind = IdKind {
    prefix: "rtb",
    malformed: Some("InvalidRouteTableId.Malformed"),
    not_found: "InvalidRouteTableID.NotFound",
    one: "The routeTable ID '{}' does not exist",
    several: Some("The routeTable IDs '{}' do not exist"),
};

pub(super) const NETWORK_ACL: IdKind = IdKind {
    prefix: "acl",
    malformed: Some("InvalidNetworkAclId.Malformed"),
    not_found: "InvalidNetworkAclID.NotFound",
    one: "The networkAcl ID '{}' does not exist",
    several: None,
};

pub(super) const DHCP_OPTIONS: IdKind = IdKind {
    prefix: "dopt",
    malformed: Some("InvalidDhcpOptionsId.Malformed"),
    not_found: "InvalidDhcpOptionID.NotFound",
    one: "The dhcpOption ID '{}' does not exist",
    several: None,
};

pub(super) const NAT_GATEWAY: IdKind = IdKind {
    prefix: "nat",
    malformed: Some("NatGatewayMalformed"),
    not_found: "NatGatewayNotFound",
    one: "The Nat Gateway {} was not found",
    several: None,
};

pub(super) const LAUNCH_TEMPLATE: IdKind = IdKind {
    prefix: "lt",
    malformed: Some("InvalidLaunchTemplateId.Malformed"),
    not_found: "InvalidLaunchTemplateId.NotFound",
    one: "The specified launch template, with template ID {}, does not exist.",
    several: None,
};

/// The kinds of ids whose resources can have tags.
const TAGGED: [IdKind; 15] = [
    LAUNCH_TEMPLATE,
    NAT_GATEWAY,
    NETWORK_INTERFACE,
    ALLOCATION,
    SNAPSHOT,
    INSTANCE,
    IMAGE,
    GROUP,
    GROUP_RULE,
    KEY_PAIR,
    VOLUME,
    VPC,
    SUBNET,
    INTERNET_GATEWAY,
    ROUTE_TABLE,
];

impl IdKind {
    /// Returns the kind of a well-formed id of a resource that can have tags.
    pub(super) fn of(id: &str) -> Option<Self> {
        TAGGED.into_iter().find(|kind| is_id(kind.prefix, id))
    }

    /// Refuses a malformed id. As on AWS, the message names the expected form if
    /// the prefix is another one.
    pub(super) fn check(&self, id: &str) -> Result<()> {
        if is_id(self.prefix, id) {
            return Ok(());
        }
        let Some(malformed) = self.malformed else {
            return Err(self.not_found(&[id]));
        };
        let prefix = format!("{}-", self.prefix);
        let expected = if id.starts_with(&prefix) {
            String::new()
        } else {
            format!(" (expecting \"{prefix}...\")")
        };
        Err(Refusal::new(
            malformed,
            format!("Invalid id: \"{id}\"{expected}"),
        ))
    }

    /// Refuses the first malformed id.
    pub(super) fn check_all(&self, ids: &[&str]) -> Result<()> {
        ids.iter().try_for_each(|id| self.check(id))
    }

    /// Refuses ids for which `exists` does not hold, all together.
    pub(super) fn find_all(&self, ids: &[&str], exists: impl Fn(&str) -> bool) -> Result<()> {
        self.check_all(ids)?;
        let missing: Vec<&str> = ids.iter().copied().filter(|id| !exists(id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(self.not_found(&missing))
    }

    /// Returns the items with these ids, or all items without ids. Refuses ids of
    /// which there is no item. Takes no time for each pair of an item and an id.
    pub(super) fn select<T>(
        &self,
        ids: &[&str],
        mut all: Vec<T>,
        id_of: impl Fn(&T) -> &str,
    ) -> Result<Vec<T>> {
        let known: BTreeSet<&str> = all.iter().map(&id_of).collect();
        self.find_all(ids, |id| known.contains(id))?;
        if !ids.is_empty() {
            let wanted: BTreeSet<&str> = ids.iter().copied().collect();
            all.retain(|item| wanted.contains(id_of(item)));
        }
        Ok(all)
    }

    /// Returns the error about ids that do not exist.
    pub(super) fn not_found(&self, ids: &[&str]) -> Refusal {
        let message = match (ids, self.several) {
            ([_, _, ..], Some(several)) => several.replace("{}", &ids.join(", ")),
            _ => self.one.replace("{}", ids.first().unwrap_or(&"")),
        };
        Refusal::new(self.not_found, message)
    }
}

/// Returns a new request id in AWS's format, a UUID.
pub(crate) fn new_request_id() -> String {
    let (a, b) = (rand::random::<u64>(), rand::random::<u64>());
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_prefix_and_hexadecimal_digits() {
        assert!(is_id("i", "i-0123456789abcdef0"));
        assert!(!is_id("i", "i-xyz"));
        assert!(!is_id("ami", "i-0123456789abcdef0"));
        assert!(is_id("i", "i-0123abcd") && !is_id("i", "i-0123abcde"));
    }

    #[test]
    fn errors_about_ids_have_the_words_of_aws() {
        let text = |refusal: Refusal| format!("{}: {}", refusal.code, refusal.message);
        let malformed = |kind: IdKind, id| text(kind.check(id).unwrap_err());
        assert_eq!(
            malformed(INSTANCE, ""),
            "InvalidInstanceID.Malformed: Invalid id: \"\" (expecting \"i-...\")"
        );
        assert_eq!(
            malformed(VOLUME, "vol-malformedvolume"),
            "InvalidVolumeID.Malformed: Invalid id: \"vol-malformedvolume\""
        );
        assert_eq!(
            malformed(SUBNET, "us-east-1a"),
            "InvalidSubnetID.NotFound: The subnet ID 'us-east-1a' does not exist"
        );
        assert_eq!(
            text(INSTANCE.not_found(&["i-1", "i-2"])),
            "InvalidInstanceID.NotFound: The instance IDs 'i-1, i-2' do not exist"
        );
        assert_eq!(
            text(IMAGE.not_found(&["ami-1", "ami-2"])),
            "InvalidAMIID.NotFound: The image ids '[ami-1, ami-2]' do not exist"
        );
        assert_eq!(
            text(GROUP.not_found(&["sg-1", "sg-2"])),
            "InvalidGroup.NotFound: The security group 'sg-1' does not exist"
        );
    }
}
