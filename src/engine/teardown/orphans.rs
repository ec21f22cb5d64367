//! Orphans: resources that have this ledger's tag but are not in this ledger.
//!
//! They remain if a ledger was repaired or restored from a backup. Resources of
//! other ledgers are counted and kept.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::kind_of;
use crate::clients::Clients;
use crate::clients::ec2::NetworkPart;
use crate::clients::marks::Marks;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{ResourceKind, Store};
use crate::report::{Remaining, Reporter};

/// The maximum number of buckets whose tags are requested concurrently.
const AT_ONCE: usize = 16;

/// The resources with the tag `autorun:owner` in an account and region.
#[derive(Debug, Default)]
pub struct Found {
    /// Resources of this ledger that are not in it, by run.
    pub orphans: BTreeMap<String, Vec<Orphan>>,
    /// The number of resources of other ledgers.
    pub others: usize,
    /// The number of buckets whose tags could not be read.
    pub unread: usize,
    /// Warnings about the journals of a shared ledger.
    pub warnings: Vec<String>,
}

/// An orphan.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// Its resource kind.
    pub kind: ResourceKind,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Finds the orphans of a ledger.
///
/// Reads a shared ledger after the resources: what another machine creates meanwhile was
/// in the ledger before it existed.
pub async fn find(clients: &Clients, store: &Store) -> Result<Found> {
    let mut tagged = Vec::new();
    let ec2 = clients.ec2().await?;
    for (kind, all) in [
        (ResourceKind::Instance, ec2.owned_instances().await?),
        (
            ResourceKind::SecurityGroup,
            ec2.owned_security_groups().await?,
        ),
        (ResourceKind::KeyPair, ec2.owned_key_pairs().await?),
        (ResourceKind::ElasticIp, ec2.owned_addresses().await?),
        (ResourceKind::Image, ec2.owned_images().await?),
        (ResourceKind::Volume, ec2.owned_volumes().await?),
        (ResourceKind::Snapshot, ec2.owned_snapshots().await?),
        (
            ResourceKind::LaunchTemplate,
            ec2.owned_launch_templates().await?,
        ),
    ] {
        let all = all.into_iter();
        tagged.extend(all.map(|thing| (kind, thing.id, thing.name, thing.marks)));
    }
    for part in NetworkPart::ALL {
        let all = ec2.owned_network_parts(part).await?.into_iter();
        tagged.extend(all.map(|thing| (kind_of(part), thing.id, thing.name, thing.marks)));
    }
    let of_iam = of_iam(clients).await;
    let mut found = Found::default();
    let s3 = &clients.s3().await?;
    let names = s3.buckets().await?.into_iter().map(|(name, _)| name);
    let asked = names.map(async |name| (s3.bucket_marks(&name).await, name));
    let answers: Vec<_> = stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (marks, name) in answers {
        match marks {
            Ok(Some(marks)) => tagged.push((ResourceKind::Bucket, name.clone(), name, marks)),
            Ok(None) => {}
            Err(_) => found.unread += 1,
        }
    }
    found.warnings = refreshed(store).await?;
    match of_iam {
        Ok(all) => tagged.extend(all),
        Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
        // Most accounts have none, and many users may not look.
        Err(error) => {
            let warning = format!("roles and instance profiles are not included: {error}");
            found.warnings.push(warning);
        }
    }
    for (kind, id, name, marks) in tagged {
        let Some(owner) = marks.owner else {
            continue;
        };
        if owner != store.owner() {
            found.others += 1;
        } else if !store.knows(kind, &id, marks.row.as_deref().unwrap_or_default())? {
            let run = marks.run.unwrap_or_default();
            let orphan = Orphan { kind, id, name };
            found.orphans.entry(run).or_default().push(orphan);
        }
    }
    for orphans in found.orphans.values_mut() {
        orphans.sort_by(|a, b| (order(a.kind), &a.id).cmp(&(order(b.kind), &b.id)));
    }
    Ok(found)
}

/// A resource with its marks: kind, id, name.
type Tagged = (ResourceKind, String, String, Marks);

/// Returns the roles and the instance profiles of runs.
async fn of_iam(clients: &Clients) -> Result<Vec<Tagged>> {
    let iam = &clients.iam().await?;
    let asked = iam.roles().await?.into_iter().map(async |name| {
        let marks = iam.role_marks(&name).await;
        (ResourceKind::IamRole, name, marks)
    });
    let roles: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let asked = iam.profiles().await?.into_iter().map(async |name| {
        let marks = iam.profile_marks(&name).await;
        (ResourceKind::InstanceProfile, name, marks)
    });
    let profiles: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut found = Vec::new();
    for (kind, name, marks) in roles.into_iter().chain(profiles) {
        // One that is gone meanwhile has no marks.
        found.extend(marks?.map(|marks| (kind, name.clone(), name, marks)));
    }
    Ok(found)
}

/// Reads what other machines have recorded. Returns warnings.
async fn refreshed(store: &Store) -> Result<Vec<String>> {
    let store = store.clone();
    let reads = tokio::task::spawn_blocking(move || store.refresh(""));
    reads
        .await
        .map_err(|e| Error::internal(format!("cannot read the ledger: {e}")))?
}

/// Removes the orphans of one run, in order. Returns those that could not be
/// removed.
pub async fn remove(
    clients: &Clients,
    report: &Reporter,
    orphans: &[Orphan],
) -> Vec<(Remaining, Error)> {
    let mut left = Vec::new();
    for orphan in orphans {
        let removed = async {
            if orphan.kind == ResourceKind::Bucket {
                clients.s3().await?.empty_bucket(&orphan.id).await?;
            }
            super::delete::delete(clients, report, orphan.kind, &orphan.id).await
        };
        match removed.await {
            Ok(()) => report.info(format!("deleted {} {}", orphan.kind.words(), orphan.id)),
            Err(error) => left.push((orphan.remaining(), error)),
        }
    }
    left
}

impl Orphan {
    /// Returns the entry for the list of remaining resources.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        Remaining {
            kind: self.kind.as_str(),
            id: Some(self.id.clone()),
            name: self.name.clone(),
            can_log_in: false,
        }
    }
}

/// Returns the rank for removal: instances before their groups, networks and
/// keys, NAT gateways before their addresses.
fn order(kind: ResourceKind) -> usize {
    match kind {
        ResourceKind::Instance | ResourceKind::NatGateway | ResourceKind::Image => 0,
        // A volume is in use until its instance is terminated, and a snapshot until its
        // image is deregistered.
        ResourceKind::ElasticIp
        | ResourceKind::LaunchTemplate
        | ResourceKind::Volume
        | ResourceKind::Snapshot
        | ResourceKind::Bucket
        | ResourceKind::Object
        | ResourceKind::MultipartUpload
        | ResourceKind::PublicAccess => 1,
        ResourceKind::SecurityGroup | ResourceKind::Ingress => 2,
        ResourceKind::Subnet => 3,
        ResourceKind::RouteTable => 4,
        ResourceKind::InternetGateway => 5,
        ResourceKind::Vpc => 6,
        ResourceKind::KeyPair | ResourceKind::KeyFile => 7,
        ResourceKind::InstanceProfile => 8,
        ResourceKind::IamRole => 9,
    }
}
