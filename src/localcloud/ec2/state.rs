//! The state of EC2: tables of resources.
//!
//! A change is written to disk before its request is answered. A daemon that is
//! killed therefore loses no change that it has acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::block_devices::Mapping;
use super::create_fleet::InstantFleet;
use super::iam::Iam;
use super::journaled::{Row, Single, Table, record};
use super::launch_templates::LaunchTemplate;
use super::lent::{LentImage, LentType};
use super::options::Options;
use super::spot::Spot;
use super::volume_spec::Spec;
use super::vpc::state::Networks;
use crate::as_text;
use crate::clock::iso;

/// Milliseconds since 1970.
pub(super) type Millis = u64;

/// The tags of one resource.
pub(super) type Tags = BTreeMap<String, String>;

impl Row for Token {}
impl Row for Snapshot {}
impl Row for ElasticIp {}

/// A key pair is found by its id.
impl Row for KeyPair {
    fn aliases(&self) -> Vec<String> {
        vec![self.id.clone()]
    }
}

/// A group is found by its name, by its rules, and by the groups to which its
/// rules refer.
impl Row for Group {
    fn aliases(&self) -> Vec<String> {
        let rules = || self.ingress.iter().chain(&self.egress);
        let ids = rules().map(|rule| rule.id.clone());
        let peers = rules().filter_map(|rule| match &rule.permission.peer {
            Peer::Group(id) => Some(peer(id)),
            _ => None,
        });
        let name = group_name(&self.vpc, &self.name);
        ids.chain(peers).chain([name]).collect()
    }
}

/// Returns the alias of the group with this name.
pub(super) fn group_name(vpc: &str, name: &str) -> String {
    format!("{vpc} {name}")
}

/// Returns the alias of the groups whose rules refer to a group.
pub(super) fn peer(group: &str) -> String {
    format!("peer {group}")
}

/// An instance is found by its launch, its network interface and its groups.
impl Row for Instance {
    fn aliases(&self) -> Vec<String> {
        let mut aliases = vec![self.reservation.clone(), self.interface.clone()];
        aliases.extend(self.groups.iter().cloned());
        aliases
    }
}

/// An image is found by its name and its snapshots.
impl Row for OwnImage {
    fn aliases(&self) -> Vec<String> {
        let snapshots = self.snapshots().map(str::to_owned);
        std::iter::once(self.name.clone())
            .chain(snapshots)
            .collect()
    }
}

/// A volume is found by its client token.
impl Row for Volume {
    fn aliases(&self) -> Vec<String> {
        self.token.iter().map(|(token, _)| token.clone()).collect()
    }
}

record! {
/// The state of all regions.
pub(super) struct State {
    pub(super) regions: BTreeMap<String, Region>,
    /// The first address of the subnet that all regions share.
    pub(super) shared: Single<Option<Ipv4Addr>>,
    /// The addresses assigned last, by CIDR block. A freed address is not assigned
    /// again at once.
    pub(super) last_addresses: Table<Ipv4Addr>,
    /// Roles and instance profiles.
    pub(super) iam: Iam,
    /// Whether the account has the role of the spot service, which its first spot
    /// instance creates.
    #[serde(default)]
    pub(super) has_spot_role: Single<bool>,
}
}

record! {
/// The resources of one region.
pub(super) struct Region {
    /// Key pairs by name.
    pub(super) key_pairs: Table<KeyPair>,
    /// Security groups by id.
    pub(super) groups: Table<Group>,
    /// Instances by id.
    pub(super) instances: Table<Instance>,
    /// Volumes by id, attached or not.
    pub(super) volumes: Table<Volume>,
    /// Whether new volumes are encrypted by default.
    pub(super) encrypts_volumes: Single<bool>,
    /// Images of the account by id.
    pub(super) images: Table<OwnImage>,
    /// Images that the user's account lends to a rehearsal, by id.
    #[serde(default)]
    pub(super) lent_images: Table<LentImage>,
    /// Instance types of that account that are not known here, by name.
    #[serde(default)]
    pub(super) lent_types: Table<LentType>,
    /// When images of the account were deregistered, by id.
    pub(super) deregistered: Table<Millis>,
    /// Snapshots by id.
    pub(super) snapshots: Table<Snapshot>,
    /// Elastic IP addresses by allocation id.
    pub(super) elastic_ips: Table<ElasticIp>,
    /// Launches by client token.
    pub(super) tokens: Table<Token>,
    /// Launch templates by id.
    #[serde(default)]
    pub(super) launch_templates: Table<LaunchTemplate>,
    /// Fleets by id.
    #[serde(default)]
    pub(super) fleets: Table<InstantFleet>,
    /// Whether the region had a default VPC once.
    pub(super) has_begun: Single<bool>,
    /// The runs that created what their accounts lacked, each with a space and the
    /// zone of a default subnet, or with a space for the default VPC.
    pub(super) default_vpcs: Single<BTreeSet<String>>,
    pub(super) networks: Networks,
}
}

/// A launch with a client token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Token {
    /// The canonical request without its token.
    pub(super) request: String,
    pub(super) reservation: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyPair {
    pub(super) id: String,
    pub(super) name: String,
    /// `ed25519` or `rsa`: AWS does not accept other types.
    pub(super) kind: String,
    pub(super) fingerprint: String,
    /// The public key in OpenSSH's format.
    pub(super) public_key: String,
    pub(super) tags: Tags,
    pub(super) created: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) vpc: String,
    pub(super) ingress: Vec<Rule>,
    pub(super) egress: Vec<Rule>,
    pub(super) tags: Tags,
    pub(super) created: Millis,
}

/// One rule of a group, with one source or destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) permission: Permission,
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) tags: Tags,
}

/// The traffic that a rule allows. Two rules of one group and direction never
/// have the same permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Permission {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` or a protocol's number.
    pub(super) protocol: String,
    pub(super) from: Option<i32>,
    pub(super) to: Option<i32>,
    pub(super) peer: Peer,
}

/// The source of incoming traffic or the destination of outgoing traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Peer {
    V4(#[serde(with = "as_text")] ipnet::Ipv4Net),
    V6(#[serde(with = "as_text")] ipnet::Ipv6Net),
    /// The members of a group, by id.
    Group(String),
}

/// The lifecycle state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl Phase {
    /// Returns AWS's code and name of the state.
    pub(super) fn code_and_name(self) -> (u8, &'static str) {
        match self {
            Self::Pending => (0, "pending"),
            Self::Running => (16, "running"),
            Self::ShuttingDown => (32, "shutting-down"),
            Self::Terminated => (48, "terminated"),
            Self::Stopping => (64, "stopping"),
            Self::Stopped => (80, "stopped"),
        }
    }

    /// Whether the instance's machine is running or booting.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }

    /// Whether the instance is being terminated or is terminated.
    pub(super) fn is_ending(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

/// The effect of a shutdown by the instance's own operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnShutdown {
    #[default]
    Stop,
    Terminate,
}

impl OnShutdown {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Terminate => "terminate",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "`type` is AWS's name, and a keyword"
)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) reservation: String,
    pub(super) launch_index: u32,
    pub(super) phase: Phase,
    /// When the instance entered this phase.
    pub(super) since: Millis,
    /// Code and message of the last change.
    pub(super) reason: Option<(String, String)>,
    /// Who caused the last change, as AWS's `StateTransitionReason`.
    #[serde(default)]
    pub(super) transition: String,
    pub(super) instance_type: String,
    pub(super) image: String,
    /// The snapshot of which the disk is a copy, and the login user, if the image
    /// is one of the account.
    #[serde(default)]
    pub(super) snapshot: Option<String>,
    #[serde(default)]
    pub(super) user: Option<String>,
    pub(super) architecture: String,
    /// The private address. In the default VPC, it is also the public one.
    pub(super) address: Ipv4Addr,
    /// Whether the instance has a public address without an Elastic IP address.
    pub(super) public: bool,
    #[serde(default)]
    pub(super) elastic_ip: Option<Association>,
    /// In other VPCs than the default one, the address outside the VPC. It is
    /// closed if the instance has no public address.
    pub(super) outside: Option<Ipv4Addr>,
    pub(super) vpc: String,
    pub(super) subnet: String,
    pub(super) zone: String,
    pub(super) key_name: Option<String>,
    /// The public key at the time of the launch. The key pair may be deleted
    /// afterwards.
    pub(super) authorized_keys: Vec<String>,
    pub(super) groups: Vec<String>,
    /// User data in base64, as received.
    pub(super) user_data: Option<String>,
    pub(super) tags: Tags,
    /// When the instance was created.
    pub(super) created: Millis,
    /// When the instance was started last, which is AWS's `LaunchTime`.
    pub(super) launched: Millis,
    pub(super) token: Option<String>,
    pub(super) on_shutdown: OnShutdown,
    pub(super) protected: bool,
    pub(super) metadata: MetadataOptions,
    pub(super) options: Options,
    pub(super) root_device: String,
    /// The attached volumes, the root volume first.
    pub(super) attachments: Vec<Attachment>,
    pub(super) interface: String,
    pub(super) iam_profile: Option<InstanceProfile>,
    /// The credit option of a burstable type.
    #[serde(default)]
    pub(super) cpu_credits: Option<String>,
    /// What it has if it is a spot instance.
    #[serde(default)]
    pub(super) spot: Option<Spot>,
    /// The run that launched the instance. The faults of this run apply to it.
    pub(super) run: Option<String>,
    /// Whether it has no machine, although instances boot on this host.
    #[serde(default)]
    pub(super) is_record: bool,
}

/// An image that `CreateImage`, `CopyImage` or `RegisterImage` made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OwnImage {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    /// The image of the catalogue from which it descends.
    pub(super) origin: String,
    /// The instance of which it was made.
    pub(super) instance: Option<String>,
    /// The image of that instance, or the image of which it is a copy, with its
    /// region.
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) source_region: Option<String>,
    /// What `RegisterImage` chose.
    #[serde(default)]
    pub(super) registered: Option<Registered>,
    pub(super) architecture: String,
    pub(super) snapshot: String,
    /// The size and the type of the root volume.
    pub(super) size: u32,
    pub(super) kind: String,
    pub(super) encrypted: bool,
    /// The volumes in addition to the root volume.
    pub(super) others: Vec<Mapping>,
    pub(super) created: Millis,
    pub(super) saving: Saving,
    pub(super) tags: Tags,
    /// Whether instances require tokens of the metadata service.
    #[serde(default)]
    pub(super) tokens_required: bool,
    /// The accounts that may launch it, or `all`.
    #[serde(default)]
    pub(super) permissions: BTreeSet<String>,
    /// When it is or becomes deprecated.
    #[serde(default)]
    pub(super) deprecated: Option<Millis>,
    #[serde(default)]
    pub(super) disabled: bool,
    #[serde(default)]
    pub(super) protection: Protection,
    /// The client token of its creation, and the canonical request.
    #[serde(default)]
    pub(super) token: Option<(String, String)>,
}

impl OwnImage {
    /// Returns the ids of its snapshots, that of the root volume first.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = &str> {
        let others = self
            .others
            .iter()
            .filter_map(|m| m.spec.snapshot.as_deref());
        std::iter::once(self.snapshot.as_str()).chain(others)
    }

    pub(super) fn uses(&self, snapshot: &str) -> bool {
        self.snapshots().any(|id| id == snapshot)
    }

    /// Whether one of its volumes is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted || self.others.iter().any(|m| m.spec.kms_key.is_some())
    }
}

/// What `RegisterImage` chooses, and other images inherit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Registered {
    pub(super) root_device: String,
    /// Whether the root volume outlives its instance.
    pub(super) keeps_root: bool,
    pub(super) virtualization: String,
    pub(super) ena: bool,
    pub(super) sriov: bool,
    pub(super) boot_mode: Option<String>,
}

/// Whether an image can be deregistered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protection {
    #[default]
    Disabled,
    WithCooldown,
    WithoutCooldown,
}

impl Protection {
    /// Returns AWS's name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::WithCooldown => "enabled-with-cooldown",
            Self::WithoutCooldown => "enabled-without-cooldown",
        }
    }
}

/// A snapshot of a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) id: String,
    pub(super) volume: String,
    pub(super) size: u32,
    pub(super) description: String,
    /// The ARN of the key of an encrypted snapshot.
    #[serde(default)]
    pub(super) kms_key: Option<String>,
    pub(super) started: Millis,
    pub(super) saving: Saving,
    /// The copy of an instance's disk: the id of the snapshot that made it, which
    /// copies of the snapshot share.
    #[serde(default)]
    pub(super) disk: Option<String>,
    /// The copy of the data of another volume than a root volume: the id of the
    /// snapshot that made it, which copies of the snapshot share.
    #[serde(default)]
    pub(super) data: Option<String>,
    /// The image of the catalogue from which the disk descends.
    #[serde(default)]
    pub(super) origin: Option<String>,
    /// The accounts that may create volumes from it, or `all`.
    #[serde(default)]
    pub(super) permissions: BTreeSet<String>,
    pub(super) tags: Tags,
}

/// The progress of a copy of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Saving {
    Pending,
    #[default]
    Done,
    Failed,
}

/// An Elastic IP address of the account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ElasticIp {
    /// The allocation id.
    pub(super) id: String,
    pub(super) address: Ipv4Addr,
    pub(super) tags: Tags,
    pub(super) created: Millis,
    /// Whether the user's account lends it to a rehearsal. Such an address does not count
    /// toward the quota, because the rehearsal does not know all that the account has.
    #[serde(default)]
    pub(super) is_lent: bool,
}

/// The association of an Elastic IP address with the instance that has this
/// value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Association {
    pub(super) id: String,
    /// The allocation id of the address.
    pub(super) allocation: String,
    pub(super) address: Ipv4Addr,
}

/// The association of an instance with an instance profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstanceProfile {
    /// The id of the association.
    pub(super) association: String,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) since: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one of AWS's options"
)]
pub(super) struct MetadataOptions {
    pub(super) tokens_required: bool,
    pub(super) enabled: bool,
    pub(super) tags: bool,
    pub(super) hop_limit: u8,
    /// Whether the service has an IPv6 address too. The local cloud stores it only.
    #[serde(default)]
    pub(super) ipv6: bool,
}

/// A volume's attachment to an instance, which contains it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Attachment {
    /// The volume's id.
    pub(super) volume: String,
    pub(super) device: String,
    pub(super) delete_on_termination: bool,
    pub(super) since: Millis,
    /// Whether it ends as soon as the instance has unmounted the volume.
    #[serde(default)]
    pub(super) detaching: bool,
}

/// A volume. An instance's root volume is the disk of its machine, and the others
/// are disks that are attached to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) spec: Spec,
    pub(super) zone: String,
    pub(super) tags: Tags,
    pub(super) created: Millis,
    /// The id of the instance that the volume is attached to.
    pub(super) instance: Option<String>,
    /// The client token of its creation, and the canonical request.
    pub(super) token: Option<(String, String)>,
    /// What the last modification changed, and when.
    pub(super) modified: Option<(Spec, Millis)>,
    /// Whether I/O is enabled after a failed check.
    #[serde(default)]
    pub(super) auto_enable_io: bool,
    /// The progress of the copy of its snapshot.
    #[serde(default)]
    pub(super) filling: Saving,
}

/// How long a terminated instance can still be described, and a deregistered image
/// is not unknown.
pub(super) const REMEMBERED: Millis = 3_600_000;

impl Region {
    /// Removes instances that were terminated long ago, and the client tokens of
    /// launches without remaining instances.
    pub(super) fn forget_old(&mut self, now: Millis) {
        let is_old = |since: Millis| now.saturating_sub(since) > REMEMBERED;
        self.instances
            .retain(|_, i| i.phase != Phase::Terminated || !is_old(i.since));
        self.deregistered.retain(|_, when| !is_old(*when));
        self.fleets.retain(|_, fleet| !is_old(fleet.created));
        self.networks.forget_old(now);
        let instances = &self.instances;
        self.tokens
            .retain(|_, token| instances.find(&token.reservation).next().is_some());
    }

    /// Whether an instance is reached from the internet. As on AWS, this takes a
    /// public address and a route to an internet gateway.
    pub(super) fn is_public(&self, instance: &Instance) -> bool {
        let has_address = instance.public || instance.elastic_ip.is_some();
        has_address && self.networks.reaches_internet(&instance.subnet)
    }

    /// Whether an instance reaches the internet: as a public instance, or through
    /// a NAT gateway.
    pub(super) fn reaches_internet(&self, instance: &str, now: Millis) -> bool {
        let instance = self.instances.get(instance);
        instance
            .is_some_and(|i| self.is_public(i) || self.networks.nat_of(&i.subnet, now).is_some())
    }

    /// Changes an instance's phase.
    pub(super) fn set_phase(
        &mut self,
        id: &str,
        phase: Phase,
        reason: Option<(&str, &str)>,
        now: Millis,
    ) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.phase = phase;
            instance.since = now;
            if phase.is_ending() {
                instance.elastic_ip = None;
            }
            if reason.map(|(code, _)| code) != instance.reason.as_ref().map(|(code, _)| &**code) {
                instance.transition = transition(reason, now);
            }
            instance.reason = reason.map(|(code, message)| (code.to_owned(), message.to_owned()));
            match phase {
                Phase::Terminated => self.release_volumes(id),
                Phase::Stopped => self.finish_detaching(id),
                _ => {}
            }
        }
    }

    /// Ends the attachment of a volume.
    pub(super) fn detach(&mut self, volume: &str) {
        let Some(volume) = self.volumes.get_mut(volume) else {
            return;
        };
        let Some(instance) = volume.instance.take() else {
            return;
        };
        if let Some(instance) = self.instances.get_mut(&instance) {
            instance.attachments.retain(|one| one.volume != volume.id);
        }
    }

    /// Detaches the volumes that only waited for the end of the machine.
    pub(super) fn finish_detaching(&mut self, instance: &str) {
        let Some(instance) = self.instances.get(instance) else {
            return;
        };
        let waiting = instance.attachments.iter().filter(|one| one.detaching);
        let waiting: Vec<String> = waiting.map(|one| one.volume.clone()).collect();
        for volume in waiting {
            self.detach(&volume);
        }
    }

    /// Deletes the volumes of a terminated instance, and detaches those that
    /// outlive it.
    fn release_volumes(&mut self, id: &str) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        for attachment in std::mem::take(&mut instance.attachments) {
            if attachment.delete_on_termination {
                self.volumes.remove(&attachment.volume);
            } else if let Some(volume) = self.volumes.get_mut(&attachment.volume) {
                volume.instance = None;
            }
        }
    }
}

/// Returns AWS's `StateTransitionReason` of a change.
fn transition(reason: Option<(&str, &str)>, now: Millis) -> String {
    match reason {
        None => String::new(),
        Some(("Client.UserInitiatedShutdown", _)) => {
            let time = iso(now);
            format!("User initiated ({} {} GMT)", &time[..10], &time[11..19])
        }
        Some((_, message)) => message.to_owned(),
    }
}
