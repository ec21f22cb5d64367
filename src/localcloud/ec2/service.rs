//! The service: answers query requests and passes their effects to the machines.

use std::io;
use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Response};
use ipnet::Ipv4Net;
use s3s::Body;

use super::Machines;
use super::answer::{Answer, refused};
use super::call::{Call, Consoles};
use super::connect;
use super::filters::check_ids;
use super::ids::new_request_id;
use super::lent::Lent;
use super::needs::needs;
use super::params::Params;
use super::refusal::{Refusal, Result};
use super::regions::has_region;
use super::spot::CREATE_ROLE;
use super::ssm::OutputStore;
use super::state::{Millis, Phase, State};
use super::store::Store;
use super::xml::Xml;
use super::{actions, iam, lent, network, records, ssm, sts};
#[cfg(test)]
use crate::authorization::Need;
use crate::authorization::{Denial, Guard};
use crate::clock;
use crate::faults::{Account, Plans};
use crate::signature::Session;

/// EC2 and STS of the local cloud.
#[derive(Clone, Debug)]
pub(crate) struct Ec2(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    plans: Arc<Plans>,
    machines: Option<Machines>,
    /// What Systems Manager works with.
    managed: Arc<ssm::Cloud>,
}

/// What is known of the sender of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sender<'a> {
    /// The run that the request names.
    pub(crate) run: Option<&'a str>,
    /// The policy that holds the sender, if one does.
    pub(crate) guard: Option<&'a Guard>,
}

/// Creates EC2's error for a request that a policy does not allow.
fn unauthorized(denial: &Denial) -> Refusal {
    if denial.is_of(CREATE_ROLE) {
        return Refusal::new(
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "The provided credentials do not have permission to create the service-linked role \
             for EC2 Spot Instances.",
        )
        .status(403);
    }
    let message = denial.message(false);
    Refusal::new(
        "UnauthorizedOperation",
        format!("You are not authorized to perform this operation. {message}"),
    )
    .status(403)
}

/// Refuses a version of the API that never existed. AWS still answers requests of
/// all versions since the first one.
fn check_version(version: &str) -> Result<()> {
    let date: Option<jiff::civil::Date> = version.parse().ok();
    let first = jiff::civil::date(2006, 6, 26);
    let last = jiff::civil::date(2016, 11, 15);
    if date.is_some_and(|date| (first..=last).contains(&date)) {
        return Ok(());
    }
    Err(Refusal::new(
        "NoSuchVersion",
        format!("The requested version ({version}) of service AmazonEC2 does not exist"),
    ))
}

/// Creates what every account has in a region, and removes what EC2 forgets after
/// some time. Neither depends on the request.
fn keep_house(state: &mut State, name: &str, subnet: Ipv4Net, now: Millis) {
    let region = state.regions.entry(name.to_owned()).or_default();
    network::ensure_default(region, name, subnet, now);
    region.forget_old(now);
}

fn cannot_write(_: io::Error) -> Refusal {
    Refusal::new("InternalError", "The local cloud cannot write its state").status(500)
}

impl Ec2 {
    /// Creates the service. `machines` is `None` if instances cannot boot on
    /// this host.
    /// Agents store complete output in `outputs`.
    pub(crate) fn new(
        store: Arc<Store>,
        plans: Arc<Plans>,
        machines: Option<Machines>,
        outputs: Option<Arc<dyn OutputStore>>,
    ) -> Self {
        let managed = Arc::new(ssm::Cloud {
            store: Arc::clone(&store),
            machines: machines.clone(),
            outputs,
            commands: ssm::Commands::default(),
            sessions: ssm::Sessions::default(),
        });
        Self(Arc::new(Inner {
            store,
            plans,
            machines,
            managed,
        }))
    }

    /// Answers a query request whose signature has been verified.
    pub(crate) fn answer(&self, region: &str, form: &[u8], sender: Sender<'_>) -> Answer {
        self.answer_at(clock::millis(), region, form, sender)
    }

    /// Answers a request that arrives at this time.
    pub(super) fn answer_at(
        &self,
        now: Millis,
        region: &str,
        form: &[u8],
        sender: Sender<'_>,
    ) -> Answer {
        let account = self.0.plans.account(sender.run);
        let request = new_request_id();
        let result = self.act(now, region, form, sender, &account);
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
        now: Millis,
        region: &str,
        form: &[u8],
        sender: Sender<'_>,
        account: &Account,
    ) -> Result<(String, Xml)> {
        let params = Params::parse(form)?;
        let request = params.all();
        let name = request.text("Action").ok_or_else(|| {
            Refusal::new(
                "MissingAction",
                "The request must contain the parameter Action",
            )
        })?;
        check_version(request.required("Version")?)?;
        let dry = request.flag("DryRun")?.unwrap_or(false);
        if !has_region(region) {
            return Err(Refusal::new(
                "AuthFailure",
                format!("The local cloud does not have the region '{region}'"),
            )
            .status(401));
        }
        let Some(action) = actions::find(name) else {
            return Err(Refusal::new(
                "InvalidAction",
                format!("The action {name} is not valid for this web service (the local cloud)."),
            ));
        };
        check_ids(&request)?;
        let mut change = self.0.store.begin();
        keep_house(&mut change, region, self.0.store.facts.subnet, now);
        change.commit().map_err(cannot_write)?;
        let consoles = self.0.machines.as_ref();
        let consoles = consoles.map(|machines| machines as &dyn Consoles);
        let mut call = Call {
            region_name: region,
            state: &mut change,
            params: &params,
            facts: &self.0.store.facts,
            account,
            consoles,
            run: sender.run,
            now,
            effects: Vec::new(),
        };
        if let Some(guard) = sender.guard {
            let asked = Params::parse(form)?;
            let needs = needs(&mut call, &asked.all());
            guard.check(needs).map_err(|denial| unauthorized(&denial))?;
        }
        let xml = action(&mut call, &request)?;
        let effects = call.effects;
        if dry {
            return Err(Refusal::new(
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            )
            .status(412));
        }
        if actions::changes(name) {
            change.commit().map_err(cannot_write)?;
            drop(change);
            match &self.0.machines {
                Some(machines) => {
                    let (of_records, effects) = records::split(&self.0.store, region, effects);
                    records::follow(&self.0.store, region, of_records);
                    machines.follow(region, effects, &self.0.plans, sender.run);
                }
                None if self.0.store.facts.keeps_records => {
                    records::follow(&self.0.store, region, effects);
                }
                None => {}
            }
        }
        Ok((name.to_owned(), xml))
    }

    /// Adds what the user's account lends to the rehearsal for which this cloud
    /// exists.
    pub(crate) fn lend(&self, lent: Lent) -> io::Result<()> {
        let facts = &self.0.store.facts;
        let now = clock::millis();
        let mut change = self.0.store.begin();
        keep_house(&mut change, &lent.region, facts.subnet, now);
        lent::add(&mut change, facts.subnet, lent, now);
        change.commit()
    }

    /// Records that the credentials of a role have signed a request.
    pub(crate) fn record_use(&self, session: &Session, region: &str) {
        let mut change = self.0.store.begin();
        let iam = &mut change.iam;
        if iam.record_use(&session.role_id, region, clock::millis()) {
            // The store logs a failure. The request does not depend on the record.
            let _ = change.commit();
        }
    }

    /// Answers a request to STS.
    pub(crate) fn answer_sts(
        &self,
        form: &[u8],
        access_key_id: &str,
        session: Option<&Session>,
        guard: Option<&Guard>,
    ) -> Answer {
        let account = &self.0.store.facts.account;
        sts::answer(account, form, (access_key_id, session), guard)
    }

    /// Answers a request to IAM.
    pub(crate) fn answer_iam(&self, form: &[u8], guard: Option<&Guard>) -> Answer {
        iam::answer(&self.0.store, form, guard)
    }

    /// Answers a request to Systems Manager, which named this server `host`: HTTP status
    /// and JSON.
    pub(crate) fn answer_ssm(
        &self,
        (region, operation): (&str, &str),
        (host, body): (&str, &[u8]),
        sender: Sender<'_>,
    ) -> (u16, serde_json::Value) {
        let request = ssm::Request {
            region,
            operation,
            body,
            host,
            guard: sender.guard,
            account: &self.0.plans.account(sender.run),
            facts: &self.0.store.facts,
            cloud: &self.0.managed,
        };
        match ssm::answer(&request) {
            Ok(answer) => (200, answer),
            Err(refusal) => (refusal.status, ssm::refused(&refusal)),
        }
    }

    /// Answers a request to EC2 Instance Connect: HTTP status and JSON.
    pub(crate) async fn answer_connect(
        &self,
        place: (&str, &str),
        body: &[u8],
        sender: Sender<'_>,
    ) -> (u16, serde_json::Value) {
        let machines = self.0.machines.as_ref();
        match connect::answer(&self.0.store, machines, place, body, sender).await {
            Ok(answer) => (200, answer),
            Err(refusal) => (refusal.status, ssm::refused(&refusal)),
        }
    }

    /// Opens the data channel of a session. Returns `None` if the path names no session,
    /// or if the request does not ask for a WebSocket.
    pub(crate) fn open_data_channel(
        &self,
        path: &str,
        headers: &HeaderMap,
        upgrade: OnUpgrade,
    ) -> Option<Response<Body>> {
        ssm::open_data_channel(&self.0.managed, (path, headers), upgrade)
    }

    /// Returns the instances for `autorun cloud status`: id, name, state, address
    /// and region of each instance that is not terminated.
    pub(crate) fn listing(&self) -> Vec<serde_json::Value> {
        let state = self.0.store.state();
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
                    "address": instance.public_address().unwrap_or(instance.address),
                    "region": region,
                })
            })
            .collect()
    }

    /// Shuts down all machines, or kills them with `force`. The instances' records
    /// stay as they are; the next daemon marks the instances as stopped when it reads
    /// the records.
    pub(crate) async fn shut_down(&self, force: bool) {
        if let Some(machines) = &self.0.machines {
            machines.shut_down(force).await;
        }
    }
}

#[cfg(test)]
impl Ec2 {
    /// Returns what a request to EC2 or IAM needs.
    pub(super) fn needs_at(&self, now: Millis, region: &str, form: &[u8]) -> Vec<Need> {
        let params = Params::parse(form).unwrap();
        let mut change = self.0.store.begin();
        if iam::actions().any(|name| name == params.all().action()) {
            return iam::needs_of(&mut change.iam, &self.0.store.facts.account, &params);
        }
        let mut call = Call {
            region_name: region,
            state: &mut change,
            params: &params,
            facts: &self.0.store.facts,
            account: &Account::default(),
            consoles: None,
            run: None,
            now,
            effects: Vec::new(),
        };
        needs(&mut call, &params.all())
    }
}
