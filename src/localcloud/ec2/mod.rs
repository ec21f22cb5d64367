//! EC2's query API, as far as the primitives and ordinary work need it.
//!
//! An action is one function: it reads its parameters, refuses what it does not
//! know, and changes a copy of the state. Only when the copy is on disk does it
//! take the old state's place, and only then anything happens to a machine: a
//! dry run is the same without that last step.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

mod attributes;
mod authentication;
mod call;
mod catalog;
mod console;
mod filters;
mod groups;
mod instances;
mod key_pairs;
mod launch;
mod machines;
mod network;
mod params;
mod refusal;
mod state;
mod sts;
mod tags;
mod xml;

pub(crate) use authentication::authenticate;
use call::Call;
pub(crate) use call::{CONSISTENCY_SECONDS, Facts};
use groups::Direction;
pub(crate) use machines::Machines;
use params::{Params, Part};
pub(crate) use refusal::Refusal;
use refusal::Result;
use state::{Millis, Phase, State};
use xml::Xml;

use super::faults::{Account, Plans};

type Action = fn(&mut Call<'_>, &Part<'_>) -> Result<Xml>;

/// Every action, by AWS's name.
const ACTIONS: [(&str, Action); 35] = [
    ("AuthorizeSecurityGroupEgress", |call, request| {
        groups::authorize(call, request, Direction::Egress)
    }),
    ("AuthorizeSecurityGroupIngress", |call, request| {
        groups::authorize(call, request, Direction::Ingress)
    }),
    ("CreateKeyPair", key_pairs::create_key_pair),
    ("CreateSecurityGroup", groups::create_security_group),
    ("CreateTags", tags::create_tags),
    ("DeleteKeyPair", key_pairs::delete_key_pair),
    ("DeleteSecurityGroup", groups::delete_security_group),
    ("DeleteTags", tags::delete_tags),
    (
        "DescribeAccountAttributes",
        network::describe_account_attributes,
    ),
    (
        "DescribeAvailabilityZones",
        catalog::describe_availability_zones,
    ),
    ("DescribeImages", catalog::describe_images),
    (
        "DescribeInstanceAttribute",
        attributes::describe_instance_attribute,
    ),
    (
        "DescribeInstanceStatus",
        instances::describe_instance_status,
    ),
    (
        "DescribeInstanceTypeOfferings",
        catalog::describe_instance_type_offerings,
    ),
    ("DescribeInstanceTypes", catalog::describe_instance_types),
    ("DescribeInstances", instances::describe_instances),
    ("DescribeKeyPairs", key_pairs::describe_key_pairs),
    ("DescribeRegions", catalog::describe_regions),
    (
        "DescribeSecurityGroupRules",
        groups::describe_security_group_rules,
    ),
    ("DescribeSecurityGroups", groups::describe_security_groups),
    ("DescribeSubnets", network::describe_subnets),
    ("DescribeTags", tags::describe_tags),
    ("DescribeVolumes", attributes::describe_volumes),
    ("DescribeVpcs", network::describe_vpcs),
    ("GetConsoleOutput", console::get_console_output),
    ("ImportKeyPair", key_pairs::import_key_pair),
    (
        "ModifyInstanceAttribute",
        attributes::modify_instance_attribute,
    ),
    (
        "ModifyInstanceMetadataOptions",
        attributes::modify_instance_metadata_options,
    ),
    ("RebootInstances", instances::reboot_instances),
    ("RevokeSecurityGroupEgress", |call, request| {
        groups::revoke(call, request, Direction::Egress)
    }),
    ("RevokeSecurityGroupIngress", |call, request| {
        groups::revoke(call, request, Direction::Ingress)
    }),
    ("RunInstances", launch::run_instances),
    ("StartInstances", instances::start_instances),
    ("StopInstances", instances::stop_instances),
    ("TerminateInstances", instances::terminate_instances),
];

/// The actions of EC2 and STS, by AWS's names.
pub(crate) fn actions() -> impl Iterator<Item = &'static str> {
    let ec2 = ACTIONS.iter().map(|(name, _)| *name);
    ec2.chain(sts::ACTIONS)
}

/// An answer: HTTP status, request id and XML.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) request: String,
    pub(crate) xml: String,
}

/// EC2 and STS of the local cloud.
#[derive(Clone, Debug)]
pub(crate) struct Ec2(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facts: Facts,
    state: Mutex<State>,
    file: PathBuf,
    plans: Arc<Plans>,
    machines: Option<Machines>,
}

impl Ec2 {
    /// With the state that an earlier daemon left in `file`. Its machines went
    /// with it, so their instances are stopped now.
    pub(crate) fn open(
        facts: Facts,
        file: PathBuf,
        plans: Arc<Plans>,
        machines: Option<Machines>,
    ) -> io::Result<Self> {
        let mut state: State = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| io::Error::other(format!("{} cannot be read: {e}", file.display())))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => State::default(),
            Err(e) => return Err(e),
        };
        put_right(&mut state, facts.subnet, now());
        let ec2 = Self(Arc::new(Inner {
            facts,
            state: Mutex::new(state),
            file,
            plans,
            machines,
        }));
        write(&ec2.0.file, &ec2.state())?;
        if let Some(machines) = &ec2.0.machines {
            let kept = ec2
                .state()
                .regions
                .values()
                .flat_map(|region| region.instances.values())
                .filter(|instance| instance.phase != Phase::Terminated)
                .map(|instance| instance.id.clone())
                .collect();
            machines.begin(&ec2, kept);
        }
        Ok(ec2)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is replaced as a whole, so a panic cannot leave half of one.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state from inside: what machines do by themselves.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Err(e) = write(&self.0.file, &state) {
            log::error!("cannot write {}: {e}", self.0.file.display());
        }
    }

    /// Answers a query request that has been verified.
    pub(crate) fn answer(&self, region: &str, form: &[u8], run: Option<&str>) -> Answer {
        let account = self.0.plans.account(run);
        let request = new_request_id();
        let result = self.act(region, form, run, &account);
        match result {
            Ok((action, xml)) => Answer {
                status: 200,
                xml: format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response \
                     xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{request}\
                     </requestId>{}</{action}Response>",
                    xml.finish()
                ),
                request,
            },
            Err(refusal) => refused(&refusal, &request),
        }
    }

    fn act(
        &self,
        region: &str,
        form: &[u8],
        run: Option<&str>,
        account: &Account,
    ) -> Result<(String, Xml)> {
        let params = Params::parse(form)?;
        let request = params.all();
        let name = request.required("Action")?;
        request.text("Version");
        let dry = request.flag("DryRun")?.unwrap_or(false);
        if !catalog::REGIONS.contains(&region) {
            return Err(Refusal::new(
                "AuthFailure",
                format!("The local cloud has no region '{region}'"),
            )
            .status(401));
        }
        let action = ACTIONS.iter().find(|(known, _)| *known == name);
        let Some((_, action)) = action else {
            return Err(Refusal::new(
                "InvalidAction",
                format!("The action {name} is not valid for this web service (the local cloud)."),
            ));
        };
        let mut current = self.state();
        let mut next = current.clone();
        let mut call = Call {
            region_name: region,
            state: &mut next,
            params: &params,
            facts: &self.0.facts,
            account,
            machines: self.0.machines.as_ref(),
            run,
            now: now(),
            effects: Vec::new(),
        };
        groups::ensure_default(&mut call);
        call.now = now();
        let moment = call.now;
        call.region().forget_old(moment);
        let xml = action(&mut call, &request)?;
        let effects = call.effects;
        if dry {
            return Err(Refusal::new(
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            )
            .status(412));
        }
        if changes(name) {
            write(&self.0.file, &next).map_err(|e| {
                log::error!("cannot write {}: {e}", self.0.file.display());
                Refusal::new("InternalError", "The local cloud cannot write its state").status(500)
            })?;
            *current = next;
            drop(current);
            if let Some(machines) = &self.0.machines {
                machines.follow(region, effects, &self.0.plans, run);
            }
        }
        Ok((name.to_owned(), xml))
    }

    /// STS's answers.
    pub(crate) fn answer_sts(&self, form: &[u8], access_key_id: &str) -> Answer {
        sts::answer(&self.0.facts.account, form, access_key_id)
    }

    /// What `autorun cloud status` tells of instances: id, name, phase, address.
    pub(crate) fn listing(&self) -> Vec<serde_json::Value> {
        let state = self.state();
        let all = state
            .regions
            .iter()
            .flat_map(|(region, known)| known.instances.values().map(move |i| (region, i)));
        all.filter(|(_, instance)| instance.phase != Phase::Terminated)
            .map(|(region, instance)| {
                serde_json::json!({
                    "id": instance.id,
                    "name": instance.tags.get("Name"),
                    "state": instance.phase.code_and_name().1,
                    "address": instance.address,
                    "region": region,
                })
            })
            .collect()
    }

    /// Ends all machines in order; instances stay as they are on record, and
    /// are stopped when the next daemon reads it.
    pub(crate) async fn shut_down(&self) {
        if let Some(machines) = &self.0.machines {
            machines.shut_down().await;
        }
    }
}

/// Whether an action changes anything.
fn changes(action: &str) -> bool {
    !action.starts_with("Describe") && !action.starts_with("Get")
}

fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a daemon that ended in any way has left: no machine runs.
fn put_right(state: &mut State, subnet: ipnet::Ipv4Net, now: Millis) {
    let reason = (
        "Server.InternalError",
        "Server.InternalError: the local cloud ended while the instance was running",
    );
    for region in state.regions.values_mut() {
        let ids: Vec<String> = region.instances.keys().cloned().collect();
        for id in ids {
            let Some(instance) = region.instances.get(&id) else {
                continue;
            };
            // Another network since: an address of the old one reaches nobody.
            let phase = match instance.phase {
                Phase::Pending | Phase::Running | Phase::Stopping => Phase::Stopped,
                Phase::ShuttingDown => Phase::Terminated,
                _ => continue,
            };
            region.set_phase(&id, phase, Some(reason), now);
        }
    }
    readdress(state, subnet);
}

/// Gives instances of a former subnet addresses of this one.
fn readdress(state: &mut State, subnet: ipnet::Ipv4Net) {
    let all = || state.regions.values().flat_map(|r| r.instances.values());
    let taken: Vec<_> = all()
        .map(|i| i.address)
        .filter(|a| subnet.contains(a))
        .collect();
    let mut free = subnet.hosts().skip(1).filter(|a| !taken.contains(a));
    for instance in state
        .regions
        .values_mut()
        .flat_map(|region| region.instances.values_mut())
        .filter(|instance| !subnet.contains(&instance.address))
    {
        if let Some(address) = free.next() {
            instance.address = address;
        }
    }
}

/// Replaces the state on disk as a whole.
fn write(file: &Path, state: &State) -> io::Result<()> {
    let next = file.with_extension("new");
    let text = serde_json::to_vec(state)?;
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    out.write_all(&text)?;
    drop(out);
    fs::rename(next, file)
}

/// A request id as AWS's look.
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

/// EC2's form of an error.
pub(crate) fn refused(refusal: &Refusal, request: &str) -> Answer {
    let mut xml = Xml::default();
    xml.node("Response", |xml| {
        xml.node("Errors", |xml| {
            xml.node("Error", |xml| {
                xml.text("Code", &refusal.code);
                xml.text("Message", &refusal.message);
            });
        });
        xml.text("RequestID", request);
    });
    Answer {
        status: refusal.status,
        request: request.to_owned(),
        xml: format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}",
            xml.finish()
        ),
    }
}

/// The action that a form names, to count and log it before it is answered.
pub(crate) fn action_of(form: &[u8]) -> String {
    form_urlencoded::parse(form)
        .find(|(name, _)| name == "Action")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
