//! EC2 instances: describes, finds, starts, stops, reboots and terminates them.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_ec2::types::{
    Filter, InstanceLifecycleType, InstanceStateName, InstanceType, Placement, Reservation,
    StateReason, Tag,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Ec2;
use super::tags::{aws_tags, filter, marks};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, ErrorKind, Result};
use crate::marks::{Marks, RESOURCE_TAG, Tags};

/// How many instances one answer has at most, so that those of a large fleet are not
/// all in memory as an answer.
const PAGE: i32 = 500;

/// The state of an instance, as EC2 reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// The instance is starting.
    #[default]
    Pending,
    /// The instance is running.
    Running,
    /// The instance is stopping.
    Stopping,
    /// The instance is stopped and can be started again.
    Stopped,
    /// The instance is being terminated.
    ShuttingDown,
    /// The instance is terminated; EC2 shows it for about an hour.
    Terminated,
    /// A state that this program does not know.
    Unknown,
}

impl InstanceState {
    /// Every state of EC2 that this program knows.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::ShuttingDown,
        Self::Terminated,
    ];

    /// Returns EC2's name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Unknown => "unknown",
        }
    }

    /// Returns whether the instance is terminated or is being terminated.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }

    fn from_name(name: &InstanceStateName) -> Self {
        match name {
            InstanceStateName::Pending => Self::Pending,
            InstanceStateName::Running => Self::Running,
            InstanceStateName::Stopping => Self::Stopping,
            InstanceStateName::Stopped => Self::Stopped,
            InstanceStateName::ShuttingDown => Self::ShuttingDown,
            InstanceStateName::Terminated => Self::Terminated,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why EC2 stopped or terminated an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndReason {
    /// Any other reason, or none.
    #[default]
    Other,
    /// A lack of capacity, or a limit.
    NoRoom,
    /// The KMS key of a volume cannot be used. AWS reports a refused key also as
    /// a client error without details.
    KeyRefused,
}

/// An instance as EC2 describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Instance {
    /// The instance id, for example `i-0abc`.
    pub id: String,
    /// The value of the tag `Name`.
    pub name: String,
    /// `pending`, `running`, `stopping`, `stopped`, `shutting-down` or
    /// `terminated`.
    pub state: InstanceState,
    /// Instance type, for example `t3.micro`.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// The image id.
    pub image: String,
    /// The availability zone, for example `eu-central-1a`.
    pub zone: String,
    /// The public IPv4 address; `()` while the instance has none.
    pub public_ip: Option<String>,
    /// The private IPv4 address.
    pub private_ip: Option<String>,
    /// `http://` and the public address, whether or not a web server runs; `()`
    /// without a public address.
    pub url: Option<String>,
    /// The name of the key pair that the instance was launched with.
    pub key_pair: Option<String>,
    /// The ids of the security groups of the instance.
    pub security_groups: Vec<String>,
    /// Whether it is a spot instance.
    pub spot: bool,
    /// Why EC2 changed the state, if EC2 reports a reason.
    pub state_reason: Option<String>,
    /// Why EC2 did not start it, as far as the program distinguishes reasons.
    #[serde(skip)]
    pub ended_by: EndReason,
    /// Whether it has an instance profile, and so a role.
    #[serde(skip)]
    pub has_profile: bool,
    /// The time of the launch, for example `2026-11-25T22:10:03Z`.
    pub launched_at: Option<String>,
    /// All tags of the instance.
    pub tags: BTreeMap<String, String>,
    /// The marks in its tags.
    #[serde(skip)]
    pub marks: Marks,
}

/// EC2's response to a request to start an instance.
#[derive(Debug)]
pub enum Start {
    /// The instance starts, or already runs.
    Accepted,
    /// The state of the instance does not allow it, for example while it stops.
    NotNow(Error),
}

/// The console output of an instance.
#[derive(Clone, Debug)]
pub struct Console {
    /// The end of the output.
    pub text: String,
    /// Whether the output is current. AWS provides current output of Nitro
    /// types only. For other types, it dates from some minutes after a start or
    /// a stop.
    pub live: bool,
}

impl Ec2<'_> {
    /// Describes instances, in the order of the ids.
    ///
    /// Throws `not_found`, also for a moment after a launch.
    pub async fn instances(&self, ids: &[String]) -> Result<Vec<Instance>> {
        let answer = self
            .client
            .describe_instances()
            .set_instance_ids(Some(ids.to_vec()))
            .send()
            .await
            .map_err(|e| aws_error(&format!("describe {}", ids.join(", ")), &e))?;
        let seen: Vec<Instance> = answer
            .reservations()
            .iter()
            .flat_map(aws_sdk_ec2::types::Reservation::instances)
            .map(instance)
            .collect();
        ids.iter()
            .map(|id| {
                let named = seen.iter().find(|i| i.id == *id);
                named.cloned().ok_or_else(|| no_instance(id))
            })
            .collect()
    }

    /// Describes one instance. Returns `None` if EC2 does not know it.
    pub async fn instance(&self, id: &str) -> Result<Option<Instance>> {
        match self.instances(&[id.to_owned()]).await {
            Ok(mut seen) => Ok(seen.pop()),
            Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Returns the instances that match every filter, oldest launch first.
    pub async fn find_instances(&self, wanted: &[(String, Vec<String>)]) -> Result<Vec<Instance>> {
        let mut request = self.client.describe_instances();
        for (name, values) in wanted {
            let one_of = Filter::builder()
                .name(name)
                .set_values(Some(values.clone()));
            request = request.filters(one_of.build());
        }
        let mut pages = request.into_paginator().page_size(PAGE).send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for instances", &e))?;
            let seen = page.reservations().iter().flat_map(Reservation::instances);
            found.extend(seen.map(instance));
        }
        found.sort_by(|a, b| (&a.launched_at, &a.id).cmp(&(&b.launched_at, &b.id)));
        Ok(found)
    }

    /// Returns the instances that were launched with this token or have it as a
    /// tag, including terminated ones.
    pub async fn launched(&self, token: &str) -> Result<Vec<Instance>> {
        let mut found: Vec<Instance> = Vec::new();
        for by in ["client-token".to_owned(), format!("tag:{RESOURCE_TAG}")] {
            let answer = self
                .client
                .describe_instances()
                .filters(filter(&by, token))
                .send()
                .await
                .map_err(|e| aws_error(&format!("look for instances of `{token}`"), &e))?;
            let seen = answer
                .reservations()
                .iter()
                .flat_map(Reservation::instances)
                .map(instance);
            for instance in seen {
                if !found.iter().any(|known| known.id == instance.id) {
                    found.push(instance);
                }
            }
        }
        Ok(found)
    }

    /// Requests an instance to stop. Stopping a stopped instance is not an
    /// error.
    pub async fn stop(&self, id: &str) -> Result<()> {
        let request = self.client.stop_instances().instance_ids(id);
        let asked = request.send().await;
        asked
            .map(drop)
            .map_err(|e| aws_error(&format!("stop `{id}`"), &e))
    }

    /// Requests an instance to start. Starting a running instance is not an
    /// error.
    pub async fn start(&self, id: &str) -> Result<Start> {
        let request = self.client.start_instances().instance_ids(id);
        let asked = request.send().await;
        match asked {
            Ok(_) => Ok(Start::Accepted),
            Err(e) => {
                let error = aws_error(&format!("start `{id}`"), &e);
                match code(&e) {
                    Code::IncorrectInstanceState => Ok(Start::NotNow(error)),
                    _ => Err(error),
                }
            }
        }
    }

    /// Requests an instance to reboot.
    pub async fn reboot(&self, id: &str) -> Result<()> {
        let request = self.client.reboot_instances().instance_ids(id);
        let asked = request.send().await;
        asked
            .map(drop)
            .map_err(|e| aws_error(&format!("reboot `{id}`"), &e))
    }

    /// Sets tags of any EC2 resource.
    pub async fn tag(&self, id: &str, tags: &Tags) -> Result<()> {
        let request = self.client.create_tags().resources(id);
        let asked = request.set_tags(Some(aws_tags(tags))).send().await;
        asked
            .map(drop)
            .map_err(|e| aws_error(&format!("tag `{id}`"), &e))
    }

    /// Requests the termination of an instance. A second request is not an
    /// error.
    pub async fn terminate(&self, id: &str) -> Result<()> {
        self.client
            .terminate_instances()
            .instance_ids(id)
            .send()
            .await
            .map_err(|e| aws_error(&format!("terminate `{id}`"), &e))?;
        Ok(())
    }

    /// Returns the console output of an instance, the current one if AWS has
    /// it.
    pub async fn console(&self, id: &str) -> Result<Console> {
        let attempt = format!("read the console of `{id}`");
        let request = self.client.get_console_output().instance_id(id);
        let (answer, live) = match request.clone().latest(true).send().await {
            Ok(answer) => (answer, true),
            // AWS has current output of Nitro types only.
            Err(e) if code(&e) == Code::Unsupported => {
                let answer = request.send().await;
                (answer.map_err(|e| aws_error(&attempt, &e))?, false)
            }
            Err(e) => return Err(aws_error(&attempt, &e)),
        };
        let bytes = BASE64_STANDARD
            .decode(answer.output().unwrap_or_default())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Console { text, live })
    }
}

/// Creates the error for an instance that EC2 does not know (any more).
#[must_use]
pub fn no_instance(id: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("instance `{id}` does not exist"),
    )
    .hint(
        "an instance id is valid in one region of one account: check `--region` and `--profile`; \
         `aws ec2 describe-instances` lists the instances of a region",
    )
}

/// Returns the meaning of the code of a state reason, such as
/// `Server.InsufficientInstanceCapacity` or `Client.VolumeLimitExceeded`.
fn end_reason(code: &str) -> EndReason {
    let reason = code.split_once('.').map_or(code, |(_, reason)| reason);
    match code {
        "Client.InternalError" => EndReason::KeyRefused,
        _ if reason.starts_with("InvalidKMSKey.") => EndReason::KeyRefused,
        _ if reason.starts_with("Insufficient") || reason.ends_with("LimitExceeded") => {
            EndReason::NoRoom
        }
        _ => EndReason::Other,
    }
}

pub(super) fn instance(instance: &aws_sdk_ec2::types::Instance) -> Instance {
    let tag = |key| {
        instance
            .tags()
            .iter()
            .find(|t| t.key() == Some(key))
            .and_then(Tag::value)
    };
    let known = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let public_ip = known(instance.public_ip_address());
    Instance {
        id: instance.instance_id().unwrap_or_default().to_owned(),
        name: tag("Name").unwrap_or_default().to_owned(),
        state: instance
            .state()
            .and_then(aws_sdk_ec2::types::InstanceState::name)
            .map_or(InstanceState::Pending, InstanceState::from_name),
        instance_type: instance
            .instance_type()
            .map_or("", InstanceType::as_str)
            .to_owned(),
        image: instance.image_id().unwrap_or_default().to_owned(),
        zone: instance
            .placement()
            .and_then(Placement::availability_zone)
            .unwrap_or_default()
            .to_owned(),
        url: public_ip.as_ref().map(|ip| format!("http://{ip}/")),
        public_ip,
        private_ip: known(instance.private_ip_address()),
        key_pair: known(instance.key_name()),
        security_groups: instance
            .security_groups()
            .iter()
            .filter_map(|g| g.group_id().map(str::to_owned))
            .collect(),
        spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        state_reason: instance.state_reason().and_then(|r| known(r.message())),
        ended_by: instance
            .state_reason()
            .and_then(StateReason::code)
            .map(end_reason)
            .unwrap_or_default(),
        has_profile: instance.iam_instance_profile().is_some(),
        launched_at: instance.launch_time().map(ToString::to_string),
        tags: instance
            .tags()
            .iter()
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect(),
        marks: marks(instance.tags()),
    }
}
