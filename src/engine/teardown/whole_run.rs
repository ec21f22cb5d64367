//! Removes all resources of a run, newest first, concurrently where the order
//! allows.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::Teardown;
use super::release::id_of;
use crate::error::{Error, ErrorKind};
use crate::ledger::{Resource, ResourceKind, State};

/// The maximum number of concurrent removals.
const AT_ONCE: usize = 16;

/// A resource that could not be removed.
#[derive(Clone, Debug)]
pub struct NotRemoved {
    /// Its row in the ledger.
    pub row: Resource,
    /// Why it could not be removed.
    pub error: Error,
}

impl Teardown<'_> {
    /// Removes all remaining resources of the run. Returns those that could not
    /// be removed; a second call continues with them.
    pub async fn everything(&self) -> Vec<NotRemoved> {
        let mut left: Vec<NotRemoved> = self
            .resolve()
            .await
            .into_iter()
            .map(|(row, error)| NotRemoved { row, error })
            .collect();
        if let Err(error) = self.ledger.committed().await {
            left.extend(self.remaining().into_iter().map(|row| NotRemoved {
                row,
                error: error.clone(),
            }));
            return left;
        }
        // Objects and uploads go with their bucket. Those in buckets that this
        // run did not create are removed one by one.
        left.extend(self.all_of(|row| self.goes_first(row)).await);
        // A NAT gateway has its address until it is deleted.
        left.extend(self.all_of(|row| row.kind == ResourceKind::ElasticIp).await);
        let instance_stays = self
            .remaining()
            .iter()
            .any(|row| row.kind == ResourceKind::Instance);
        if instance_stays {
            // The user needs the key to find out why the instance remains, and
            // the instance needs its network and its volumes.
            left.extend(
                self.all_of(|row| row.kind == ResourceKind::SecurityGroup)
                    .await,
            );
            let why = "kept, because an instance still exists";
            left.extend(
                self.remaining()
                    .into_iter()
                    .filter(stays_with_instances)
                    .map(|row| NotRemoved {
                        row,
                        error: Error::new(ErrorKind::Denied, why),
                    }),
            );
        } else {
            let last =
                |row: &Resource| !self.goes_first(row) && row.kind != ResourceKind::ElasticIp;
            left.extend(self.all_of(last).await);
        }
        left
    }

    fn goes_first(&self, row: &Resource) -> bool {
        match row.kind {
            ResourceKind::Instance
            | ResourceKind::NatGateway
            | ResourceKind::Image
            | ResourceKind::Snapshot
            | ResourceKind::Bucket
            | ResourceKind::PublicAccess
            | ResourceKind::Ingress => true,
            ResourceKind::Object | ResourceKind::MultipartUpload => {
                let bucket = id_of(row).split('/').next().unwrap_or_default();
                !self.ledger.made(ResourceKind::Bucket, bucket)
            }
            ResourceKind::ElasticIp
            | ResourceKind::KeyPair
            | ResourceKind::KeyFile
            | ResourceKind::LaunchTemplate
            | ResourceKind::IamRole
            | ResourceKind::InstanceProfile
            | ResourceKind::SecurityGroup
            | ResourceKind::Volume
            | ResourceKind::Vpc
            | ResourceKind::Subnet
            | ResourceKind::InternetGateway
            | ResourceKind::RouteTable => false,
        }
    }

    /// Returns the remaining resources, newest first.
    fn remaining(&self) -> Vec<Resource> {
        let mut rows = self.ledger.resources();
        rows.retain(|row| matches!(row.state, State::Live | State::Releasing));
        rows.reverse();
        rows
    }

    async fn all_of(&self, wanted: impl Fn(&Resource) -> bool) -> Vec<NotRemoved> {
        let mut rows: Vec<Resource> = self.remaining().into_iter().filter(wanted).collect();
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert((row.kind, id_of(row).to_owned())));
        let removals = rows.into_iter().map(async |row| {
            let released = self.release(row.kind, id_of(&row)).await;
            let written = self.ledger.committed().await;
            let error = released.and(written).err()?;
            Some(NotRemoved { row, error })
        });
        let done = stream::iter(removals).buffer_unordered(AT_ONCE);
        done.collect::<Vec<_>>()
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

fn stays_with_instances(row: &Resource) -> bool {
    matches!(
        row.kind,
        ResourceKind::KeyPair
            | ResourceKind::KeyFile
            | ResourceKind::Volume
            | ResourceKind::Vpc
            | ResourceKind::Subnet
            | ResourceKind::InternetGateway
            | ResourceKind::RouteTable
    )
}
