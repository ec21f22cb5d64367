//! What EC2 knows: one small document, replaced as a whole.
//!
//! It is written to disk before a change is answered, so that a daemon that is
//! killed has lost nothing that it acknowledged.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
pub(super) type Millis = u64;

/// Tags of one thing.
pub(super) type Tags = BTreeMap<String, String>;

/// Everything, of all regions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) regions: BTreeMap<String, Region>,
    /// The address given last: one that was freed is not given again at once.
    pub(super) last_address: Option<Ipv4Addr>,
}

/// One region.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Region {
    /// By name.
    pub(super) key_pairs: BTreeMap<String, KeyPair>,
    /// By id.
    pub(super) groups: BTreeMap<String, Group>,
    /// By id.
    pub(super) instances: BTreeMap<String, Instance>,
    /// By client token.
    pub(super) tokens: BTreeMap<String, Token>,
}

/// A launch that was made with a client token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Token {
    /// The request, but for its token.
    pub(super) request: String,
    pub(super) reservation: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyPair {
    pub(super) id: String,
    pub(super) name: String,
    /// `ed25519`, `rsa` or `ecdsa`.
    pub(super) kind: String,
    pub(super) fingerprint: String,
    /// In OpenSSH's form.
    pub(super) public_key: String,
    pub(super) tags: Tags,
    pub(super) created: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) ingress: Vec<Rule>,
    pub(super) egress: Vec<Rule>,
    pub(super) tags: Tags,
    pub(super) created: Millis,
}

/// One rule of a group: one source or destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) permission: Permission,
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) tags: Tags,
}

/// What a rule allows; two rules of one group never allow the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Permission {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` or a protocol's number.
    pub(super) protocol: String,
    pub(super) from: Option<i32>,
    pub(super) to: Option<i32>,
    pub(super) peer: Peer,
}

/// Where from, or where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Peer {
    V4(#[serde(with = "as_text")] ipnet::Ipv4Net),
    V6(#[serde(with = "as_text")] ipnet::Ipv6Net),
    /// The members of a group, by id.
    Group(String),
}

/// What an instance is doing.
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
    /// AWS's code and name.
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

    /// Whether a machine is there, or about to be.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }

    /// Whether it is on its way out, or out.
    pub(super) fn is_ending(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

/// What an operating system's own shutdown does to its instance.
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
    /// Since when it has been in this phase.
    pub(super) since: Millis,
    /// Code and words of the last change.
    pub(super) reason: Option<(String, String)>,
    pub(super) instance_type: String,
    pub(super) image: String,
    pub(super) architecture: String,
    pub(super) address: Ipv4Addr,
    pub(super) public: bool,
    pub(super) zone: String,
    pub(super) key_name: Option<String>,
    /// Of the key pair at the launch: the pair may be deleted meanwhile.
    pub(super) authorized_keys: Vec<String>,
    pub(super) groups: Vec<String>,
    /// In base64, as it came.
    pub(super) user_data: Option<String>,
    pub(super) tags: Tags,
    pub(super) launched: Millis,
    pub(super) token: Option<String>,
    pub(super) on_shutdown: OnShutdown,
    pub(super) protected: bool,
    pub(super) metadata: MetadataOptions,
    pub(super) volume: Volume,
    pub(super) interface: String,
    pub(super) iam_profile: Option<String>,
    /// The run that launched it: its faults are the instance's.
    pub(super) run: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MetadataOptions {
    pub(super) tokens_required: bool,
    pub(super) enabled: bool,
    pub(super) tags: bool,
    pub(super) hop_limit: u8,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) size: u32,
    pub(super) kind: String,
    pub(super) encrypted: bool,
    pub(super) delete_on_termination: bool,
    pub(super) tags: Tags,
}

/// How long a terminated instance can still be described.
const REMEMBERED: Millis = 3_600_000;
/// How many terminated instances can still be described.
const MOST_REMEMBERED: usize = 500;

impl Region {
    /// Forgets what ended long ago.
    pub(super) fn forget_old(&mut self, now: Millis) {
        let mut ended: Vec<(Millis, String)> = self
            .instances
            .values()
            .filter(|i| i.phase == Phase::Terminated)
            .map(|i| (i.since, i.id.clone()))
            .collect();
        ended.sort_unstable();
        let too_many = ended.len().saturating_sub(MOST_REMEMBERED);
        for (index, (since, id)) in ended.into_iter().enumerate() {
            if index < too_many || now.saturating_sub(since) > REMEMBERED {
                self.instances.remove(&id);
            }
        }
        let known: std::collections::BTreeSet<&String> =
            self.instances.values().map(|i| &i.reservation).collect();
        self.tokens
            .retain(|_, token| known.contains(&token.reservation));
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
            instance.reason = reason.map(|(code, words)| (code.to_owned(), words.to_owned()));
        }
    }
}

/// A value in its written form.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
