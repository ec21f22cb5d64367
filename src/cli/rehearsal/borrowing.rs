//! What a rehearsal borrows from the user's account: resources that the playbook
//! names and that its own cloud does not have.
//!
//! The account is only read. If it is not asked, or does not have a resource, the
//! resource is assumed, so that the rehearsal shows what comes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use super::loans::{ID, Kind, Loan, Source};
use super::searches::{filters, filters_by, searched};
use crate::cli::local::Cloud;
use crate::clients::Clients;
use crate::clients::calls::{Call, Service};
use crate::clients::ec2::likely_architecture;
use crate::clients::lending::Lender;
use crate::clients::marks::{OWNER_TAG, RESOURCE_TAG};
use crate::clients::s3::{LendableObject, NameOwner};
use crate::context::Uncertain;
use crate::error::Result;
use crate::report::Reporter;

/// Borrows from an account.
#[derive(Debug)]
pub(in crate::cli) struct Borrower {
    pub(super) cloud: Arc<Cloud>,
    /// Clients of the rehearsal's cloud that borrow nothing.
    pub(super) stage: Clients,
    pub(super) region: String,
    /// The clients of the account; `None` if it must not be asked.
    pub(super) account: Option<Arc<Clients>>,
    /// The texts that may have ids of the account.
    pub(super) texts: Vec<String>,
    /// The tag of the user's ledger, and that of the rehearsal's.
    pub(super) owners: Option<[String; 2]>,
    pub(super) uncertain: Arc<Uncertain>,
    pub(super) report: Reporter,
    pub(super) can_ask: OnceCell<bool>,
    pub(super) known: Mutex<Known>,
}

/// What the borrower has asked and lent.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) asked: BTreeSet<String>,
    /// What the rehearsal's cloud has now, and the ids that it contains.
    pub(super) lent: BTreeSet<String>,
    loans: Vec<Loan>,
    /// The objects without the contents that they have in the account. Of a listed one,
    /// only key and size are known.
    pub(super) incomplete: BTreeMap<String, Option<LendableObject>>,
}

impl Lender for Borrower {
    fn before<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, ()> {
        let work = async {
            let done = match call.service {
                Service::Ec2 => self.borrow_searched(call).await,
                Service::S3 => self.before_reading(call).await,
                Service::Ssm | Service::InstanceConnect | Service::Sts | Service::Iam => Ok(false),
            };
            self.note_failure(done);
        };
        work.boxed()
    }

    fn after_refusal<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, bool> {
        let work = async {
            let done = match call.service {
                Service::Ec2 => self.borrow_named(call).await,
                Service::S3 => self.borrow_from_s3(call).await,
                Service::Ssm | Service::InstanceConnect | Service::Sts | Service::Iam => Ok(false),
            };
            self.note_failure(done)
        };
        work.boxed()
    }
}

impl Borrower {
    /// Returns what the rehearsal has borrowed.
    pub(in crate::cli) async fn loans(&self) -> Vec<Loan> {
        self.known.lock().await.loans.clone()
    }

    /// Logs a failure. The request that borrows has an error of its own.
    fn note_failure(&self, done: anyhow::Result<bool>) -> bool {
        done.unwrap_or_else(|error| {
            self.report
                .debug(format!("cannot borrow from the account: {error}"));
            false
        })
    }

    /// Returns the clients of the account, if it can be asked.
    pub(super) async fn account(&self) -> Option<&Clients> {
        let account = self.account.as_deref()?;
        let can_ask = || async { account.caller().await.is_ok() };
        self.can_ask.get_or_init(can_ask).await.then_some(account)
    }

    /// Borrows what a request searches for.
    async fn borrow_searched(&self, call: &Call) -> anyhow::Result<bool> {
        match searched(call) {
            Some((kind, id)) if filters_by(call, id) => self.borrow_ids(call, Some(kind)).await,
            Some((kind, _)) => self.search(call, kind).await,
            // The rehearsal's cloud accepts the id of any image.
            None => self.borrow_ids(call, Some(Kind::Image)).await,
        }
    }

    /// Borrows the resources and the key pair that a request names.
    async fn borrow_named(&self, call: &Call) -> anyhow::Result<bool> {
        let mut added = self.borrow_ids(call, None).await?;
        // Other requests look whether a name is free.
        if call.operation == "RunInstances" {
            if let Some(name) = call.parameter("KeyName") {
                added |= self.borrow_key_pair(call, name).await?;
            }
            if let Some(name) = call.parameter("InstanceType") {
                added |= self.borrow_type(call, name).await?;
            }
        }
        Ok(added)
    }

    /// Borrows the resources whose ids are in a request, or only those of one kind.
    /// Returns whether the rehearsal's cloud has one of them now.
    async fn borrow_ids(&self, call: &Call, only: Option<Kind>) -> anyhow::Result<bool> {
        let mut added = false;
        for (_, id) in &call.parameters {
            let wanted = |kind: &Kind| only.is_none_or(|only| only == *kind);
            let Some(kind) = Kind::of(id).filter(wanted) else {
                continue;
            };
            let mut known = self.known.lock().await;
            if !known.lent.contains(id) && !self.is_written(id) {
                continue;
            }
            if known.asked.insert(id.clone()) {
                let found = match self.account().await {
                    Some(account) => self.heard(resource(account, id).await),
                    None => None,
                };
                let (resources, source) = settled(found, || assumed(kind, id, &known.loans));
                self.lend(&resources).await?;
                known.add(call, kind, id, source, &resources);
                self.mark(call, source);
            }
            added |= known.lent.contains(id);
        }
        Ok(added)
    }

    /// Returns whether an id is in the playbook, in its variables or in the environment.
    fn is_written(&self, id: &str) -> bool {
        self.texts.iter().any(|text| text.contains(id))
    }

    async fn borrow_key_pair(&self, call: &Call, name: &str) -> anyhow::Result<bool> {
        let mut known = self.known.lock().await;
        let key = format!("key pair {name}");
        if known.asked.insert(key.clone()) && !self.has_key_pair(name).await? {
            let found = match self.account().await {
                Some(account) => self.heard(key_pair(account, name).await),
                None => None,
            };
            let assumed = || vec![json!({ "key_pair": { "id": "key-0", "name": name } })];
            let (resources, source) = settled(found, assumed);
            self.lend(&resources).await?;
            known.add(call, Kind::KeyPair, name, source, &resources);
            known.lent.insert(key.clone());
            self.mark(call, source);
        }
        Ok(known.lent.contains(&key))
    }

    /// Borrows an instance type. Without an account that knows it, it may be misspelt.
    async fn borrow_type(&self, call: &Call, name: &str) -> anyhow::Result<bool> {
        let Some(account) = self.account().await else {
            return Ok(false);
        };
        let mut known = self.known.lock().await;
        let key = format!("type {name}");
        if known.asked.insert(key.clone()) && !self.has_type(name).await? {
            let found = self.heard(instance_type(account, name).await);
            let architecture = likely_architecture(name);
            let assumed =
                || vec![json!({ "instance_type": { "name": name, "architecture": architecture } })];
            let (resources, source) = settled(found, assumed);
            self.lend(&resources).await?;
            known.add(call, Kind::InstanceType, name, source, &resources);
            known.lent.insert(key.clone());
            self.mark(call, source);
        }
        Ok(known.lent.contains(&key))
    }

    /// Returns whether the rehearsal's cloud has an instance type.
    async fn has_type(&self, name: &str) -> Result<bool> {
        Ok(!self.stage.ec2().await?.zones_with(name).await?.is_empty())
    }

    /// Returns whether the rehearsal's cloud has a key pair.
    async fn has_key_pair(&self, name: &str) -> Result<bool> {
        Ok(self
            .stage
            .ec2()
            .await?
            .key_pair_marks(name)
            .await?
            .is_some())
    }

    /// Borrows the bucket of a request: an empty one.
    pub(super) async fn borrow_bucket(&self, call: &Call) -> anyhow::Result<bool> {
        let Some(bucket) = call.parameter("bucket") else {
            return Ok(false);
        };
        let mut known = self.known.lock().await;
        let key = of_bucket(bucket);
        if known.lent.contains(&key) {
            return Ok(true);
        }
        let s3 = self.stage.s3().await?;
        if s3.owns(bucket).await? {
            return Ok(false);
        }
        let owner = match self.account().await {
            Some(account) => Some(account.s3().await?.owner_of(bucket).await?),
            None => None,
        };
        // Such a request asks whether the bucket exists.
        let is_question = call.operation == "HEAD" && call.parameter("key").is_none();
        let source = match owner {
            Some(NameOwner::ThisAccount) => Source::Account,
            _ if is_question => return Ok(false),
            Some(NameOwner::Free) => Source::Missing,
            Some(NameOwner::Unknown(_)) | None => Source::Assumed,
        };
        s3.create_bucket(bucket).await?;
        known.add(call, Kind::Bucket, bucket, source, &[]);
        known.lent.insert(key);
        self.mark(call, source);
        Ok(true)
    }

    /// Borrows the resources of one kind that a request searches for.
    async fn search(&self, call: &Call, kind: Kind) -> anyhow::Result<bool> {
        let filters = filters(call);
        // These search for what a step of the rehearsal has launched.
        let resource = format!("tag:{RESOURCE_TAG}");
        let of_step = |(name, _): &(String, _)| *name == resource || name == "client-token";
        let mut known = self.known.lock().await;
        // The account has nothing that belongs to a resource of the rehearsal.
        let is_new = |id: &String| {
            Kind::of(id).is_some() && !known.lent.contains(id) && !self.is_written(id)
        };
        let of_rehearsal = |(_, values): &(_, Vec<String>)| values.iter().all(is_new);
        if filters
            .iter()
            .any(|filter| of_step(filter) || of_rehearsal(filter))
        {
            return Ok(false);
        }
        if !known.asked.insert(format!("{kind:?} {filters:?}")) {
            return Ok(false);
        }
        let Some(account) = self.account().await else {
            known.add(call, kind, "", Source::Assumed, &[]);
            self.mark(call, Source::Assumed);
            return Ok(false);
        };
        let ec2 = account.ec2().await?;
        let found = match kind {
            Kind::Image => ec2.lendable_images(Some("self"), &filters).await?,
            Kind::ElasticIp => ec2.lendable_addresses(&filters).await?,
            Kind::Snapshot => ec2.lendable_snapshots(&filters).await?,
            Kind::Volume => ec2.lendable_volumes(&filters).await?,
            _ => ec2.lendable_instances(&filters).await?,
        };
        // What the playbook has deleted since does not come back.
        let is_known = |resource: &Value| {
            let id = resource[kind.key()]["id"].as_str();
            id.is_some_and(|id| known.asked.contains(id))
        };
        let found: Vec<Value> = found.into_iter().filter(|it| !is_known(it)).collect();
        self.lend(&found).await?;
        for resource in &found {
            let Some(id) = resource[kind.key()]["id"].as_str() else {
                continue;
            };
            if known.asked.insert(id.to_owned()) {
                known.add(
                    call,
                    kind,
                    id,
                    Source::Account,
                    std::slice::from_ref(resource),
                );
            }
        }
        Ok(!found.is_empty())
    }

    /// Returns what the account answered, or `None` if it did not answer.
    pub(super) fn heard<T>(&self, answer: Result<T>) -> Option<T> {
        answer
            .inspect_err(|error| self.report.debug(error.to_string()))
            .ok()
    }

    /// Adds resources to the rehearsal's cloud. What the user's ledger owns, the
    /// rehearsal's ledger owns there: the playbook may delete it.
    async fn lend(&self, resources: &[Value]) -> anyhow::Result<()> {
        if resources.is_empty() {
            return Ok(());
        }
        let mut resources = resources.to_vec();
        if let Some([user, rehearsal]) = &self.owners {
            let each = resources.iter_mut().filter_map(Value::as_object_mut);
            for resource in each.flat_map(|all| all.values_mut()) {
                if resource["tags"][OWNER_TAG] == user.as_str() {
                    resource["tags"][OWNER_TAG] = json!(rehearsal);
                }
            }
        }
        self.cloud.lend(&self.region, &resources).await
    }

    /// Marks what comes after a resource that the account may not have.
    pub(super) fn mark(&self, call: &Call, source: Source) {
        if source != Source::Account {
            self.uncertain.begin(&call.cause.place);
        }
    }
}

async fn resource(account: &Clients, id: &str) -> Result<Vec<Value>> {
    account.ec2().await?.lendable(id).await
}

async fn key_pair(account: &Clients, name: &str) -> Result<Vec<Value>> {
    account.ec2().await?.lendable_key_pair(name).await
}

async fn instance_type(account: &Clients, name: &str) -> Result<Vec<Value>> {
    account.ec2().await?.lendable_type(name).await
}

/// Returns the name of a bucket among what was lent.
pub(super) fn of_bucket(bucket: &str) -> String {
    format!("bucket {bucket}")
}

impl Known {
    pub(super) fn add(
        &mut self,
        call: &Call,
        kind: Kind,
        name: &str,
        source: Source,
        resources: &[Value],
    ) {
        self.lent.insert(name.to_owned());
        for resource in resources {
            let text = resource.to_string();
            self.lent
                .extend(ID.find_iter(&text).map(|id| id.as_str().to_owned()));
        }
        self.loans.push(Loan {
            kind,
            name: name.to_owned(),
            label: resources.iter().find_map(|resource| label(kind, resource)),
            source,
            place: call.cause.place.clone(),
        });
    }
}

/// Returns the value of the tag `Name` of a resource of this kind.
fn label(kind: Kind, resource: &Value) -> Option<String> {
    let name = resource[kind.key()]["tags"]["Name"].as_str();
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Returns what the account has, else what is assumed.
fn settled(
    found: Option<Vec<Value>>,
    assumed: impl FnOnce() -> Vec<Value>,
) -> (Vec<Value>, Source) {
    match found {
        None => (assumed(), Source::Assumed),
        Some(found) if found.is_empty() => (assumed(), Source::Missing),
        Some(found) => (found, Source::Account),
    }
}

/// Returns a resource that the account may have. All are in one VPC.
fn assumed(kind: Kind, id: &str, loans: &[Loan]) -> Vec<Value> {
    let vpcs = loans.iter().filter(|loan| loan.kind == Kind::Vpc).count();
    // Reserved for documentation, so no host has it.
    let public = format!("198.51.100.{}", loans.len() % 254 + 1);
    match kind {
        Kind::Vpc if vpcs == 0 => vec![json!({ "default_vpc": { "id": id } })],
        Kind::Vpc => vec![json!({ "vpc": { "id": id, "cidr": format!("10.{vpcs}.0.0/16") } })],
        Kind::Subnet => vec![json!({ "subnet": { "id": id, "maps_public_ip": true } })],
        Kind::SecurityGroup => vec![json!({ "security_group": { "id": id, "name": id } })],
        Kind::Instance => vec![json!({ "instance": {
            "id": id,
            "type": "t3.micro",
            "image": "",
            "state": "running",
            "public_ip": public,
            "private_ip": format!("192.0.2.{}", loans.len() % 254 + 1),
        }})],
        Kind::ElasticIp => vec![json!({ "elastic_ip": { "id": id, "address": public } })],
        Kind::Snapshot => vec![json!({ "snapshot": { "id": id, "size": 8 } })],
        Kind::Volume => vec![json!({ "volume": { "id": id, "size": 8, "type": "gp3" } })],
        // The rehearsal's cloud accepts the id of any image.
        Kind::Image | Kind::Bucket | Kind::InstanceType | Kind::KeyPair | Kind::Object => {
            Vec::new()
        }
    }
}
