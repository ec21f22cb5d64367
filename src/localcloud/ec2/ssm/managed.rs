//! The instances that Systems Manager manages: those whose agent has registered,
//! because the role of the instance allows it.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Machines;
use super::super::refusal::{Refusal, Result};
use super::super::state::{Instance, Millis, Phase, State};
use super::commands::Registration;
use super::{Cloud, Request, check_number, page, read, seconds};
use crate::authorization::Need;
use crate::clock;
use crate::faults::Account;

/// The version of the agent, which all instances have.
pub(super) const VERSION: &str = "3.3.3050.0";

/// Limits of the size of a page, and its default.
const PAGE: (u64, u64, usize) = (5, 50, 10);

/// An instance with a registered agent.
#[derive(Clone, Debug)]
pub(super) struct Managed {
    pub(super) instance: Instance,
    pub(super) is_online: bool,
    since: Millis,
    last_ping: Millis,
}

/// The state of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Agent {
    Online,
    /// It has registered, and has lost its connection.
    Offline,
    /// It is not installed, or the instance does not run.
    Absent,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeInstanceInformation {
    #[serde(default)]
    instance_information_filter_list: Vec<OldFilter>,
    #[serde(default)]
    filters: Vec<NewFilter>,
    max_results: Option<u64>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldFilter {
    key: String,
    value_set: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct NewFilter {
    key: String,
    values: Vec<String>,
}

impl Managed {
    fn answer(&self, system: &str) -> Value {
        let instance = &self.instance;
        let ping = if self.is_online {
            "Online"
        } else {
            "ConnectionLost"
        };
        json!({
            "InstanceId": instance.id,
            "PingStatus": ping,
            "LastPingDateTime": seconds(self.last_ping),
            "AgentVersion": VERSION,
            "IsLatestVersion": true,
            "PlatformType": "Linux",
            "PlatformName": system,
            "ResourceType": "EC2Instance",
            "IPAddress": instance.address.to_string(),
            "ComputerName": instance.private_name(),
            "SourceId": instance.id,
            "SourceType": "AWS::EC2::Instance",
            "RegistrationDate": seconds(self.since),
        })
    }

    /// Returns the value that a filter compares.
    fn value(&self, key: &str) -> Option<String> {
        let value = match key {
            "InstanceIds" | "SourceIds" => &self.instance.id,
            "PingStatus" if self.is_online => "Online",
            "PingStatus" => "ConnectionLost",
            "PlatformTypes" => "Linux",
            "ResourceType" => "EC2Instance",
            "SourceTypes" => "AWS::EC2::Instance",
            "AgentVersion" => VERSION,
            key => self.instance.tags.get(key.strip_prefix("tag:")?)?,
        };
        Some(value.to_owned())
    }
}

/// Returns the managed instances of a region, in the order of their launches.
pub(super) fn managed(cloud: &Cloud, region: &str, account: &Account) -> Vec<Managed> {
    chosen(cloud, region, account, None)
}

/// Returns those of these instances that are managed, without a look at the others.
pub(super) fn managed_of(
    cloud: &Cloud,
    region: &str,
    account: &Account,
    ids: &[String],
) -> Vec<Managed> {
    chosen(cloud, region, account, Some(ids))
}

fn chosen(cloud: &Cloud, region: &str, account: &Account, ids: Option<&[String]>) -> Vec<Managed> {
    let state = cloud.store.state();
    let Some(known) = state.regions.get(region) else {
        return Vec::new();
    };
    let mut register = Register {
        cloud,
        account,
        state: &state,
        entries: cloud.commands.agents(),
        allowed: BTreeMap::new(),
        now: clock::millis(),
    };
    let instances = &known.instances;
    let mut found: Vec<Managed> = match ids {
        None => instances
            .values()
            .filter_map(|instance| register.managed(instance))
            .collect(),
        Some(ids) => ids
            .iter()
            .filter_map(|id| register.managed(instances.get(id)?))
            .collect(),
    };
    found.sort_by(|one, other| place(one).cmp(&place(other)));
    found
}

/// Returns what determines the place of an instance in lists.
fn place(managed: &Managed) -> (Millis, u32, &str) {
    let Instance {
        created,
        launch_index,
        ref id,
        ..
    } = managed.instance;
    (created, launch_index, id)
}

/// Decides which instances are managed.
struct Register<'a> {
    cloud: &'a Cloud,
    account: &'a Account,
    state: &'a State,
    entries: MutexGuard<'a, BTreeMap<String, Registration>>,
    /// Whether an instance profile lets agents register, as far as it was looked up.
    allowed: BTreeMap<String, bool>,
    now: Millis,
}

impl Register<'_> {
    /// Returns the instance, if its agent has registered.
    fn managed(&mut self, instance: &Instance) -> Option<Managed> {
        if instance.phase.is_ending() {
            return None;
        }
        let agent = agent_of(self.cloud, instance);
        let may_register = agent != Agent::Absent && self.may_register(instance);
        if may_register {
            let entry = self.entries.entry(instance.id.clone());
            let registration = entry.or_insert(Registration {
                since: self.now,
                last_ping: self.now,
            });
            if agent == Agent::Online {
                registration.last_ping = self.now;
            }
        }
        let registration = self.entries.get(&instance.id)?;
        Some(Managed {
            instance: instance.clone(),
            is_online: may_register && agent == Agent::Online,
            since: registration.since,
            last_ping: registration.last_ping,
        })
    }

    /// Whether the agent of an instance may register: by the account's default, or by
    /// the role of the instance.
    fn may_register(&mut self, instance: &Instance) -> bool {
        if self.account.default_host_management {
            return true;
        }
        let Some(profile) = &instance.iam_profile else {
            return false;
        };
        let iam = &self.state.iam;
        let allows = || {
            let need = Need::of_action("ssm:UpdateInstanceInformation");
            iam.allows(&profile.name, &need)
        };
        let known = self.allowed.entry(profile.name.clone());
        *known.or_insert_with(allows)
    }
}

/// Returns the state of an instance's agent. In a rehearsal, every running instance
/// without a machine has one.
fn agent_of(cloud: &Cloud, instance: &Instance) -> Agent {
    if instance.phase != Phase::Running {
        return Agent::Absent;
    }
    if instance.is_record {
        return Agent::Online;
    }
    let machines = cloud.machines.as_ref();
    machines.map_or(Agent::Online, |machines: &Machines| {
        machines.agent(&instance.id)
    })
}

pub(super) fn describe_instance_information(request: &Request<'_>) -> Result<Value> {
    request.allow_operation()?;
    let wanted: DescribeInstanceInformation = read(request.body)?;
    let (least, most, default) = PAGE;
    check_number(wanted.max_results, "maxResults", least, most)?;
    let old = wanted.instance_information_filter_list;
    let old = old.into_iter().map(|filter| (filter.key, filter.value_set));
    let new = wanted.filters.into_iter();
    let new = new.map(|filter| (filter.key, filter.values));
    let filters: Vec<(String, Vec<String>)> = old.chain(new).collect();
    let named = filters.iter().find(|(key, _)| key == "InstanceIds");
    let ids = named.map(|(_, ids)| ids.as_slice());
    let mut all = chosen(request.cloud, request.region, request.account, ids);
    if filters.iter().any(|(key, _)| !is_known(key)) {
        let message = "The specified key isn't valid.";
        return Err(Refusal::new("InvalidFilterKey", message));
    }
    all.retain(|managed| {
        let mut filters = filters.iter();
        filters.all(|(key, wanted)| managed.value(key).iter().any(|it| wanted.contains(it)))
    });
    let size = wanted
        .max_results
        .map_or(default, |size| usize::try_from(size).unwrap_or(default));
    let id = |it: &Managed| it.instance.id.clone();
    let (shown, next) = page(all, id, size, wanted.next_token.as_deref())?;
    let system = &request.facts.system;
    let list: Vec<Value> = shown.iter().map(|it| it.answer(system)).collect();
    let mut answer = json!({ "InstanceInformationList": list });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}

/// Whether the service has a filter.
fn is_known(key: &str) -> bool {
    const KEYS: [&str; 10] = [
        "ActivationIds",
        "AgentVersion",
        "AssociationStatus",
        "IamRole",
        "InstanceIds",
        "PingStatus",
        "PlatformTypes",
        "ResourceType",
        "SourceIds",
        "SourceTypes",
    ];
    KEYS.contains(&key) || key.strip_prefix("tag:").is_some_and(|tag| !tag.is_empty())
}
