//! Finds the resources of all ledgers by their tags.

use aws_sdk_ec2::types::{Reservation, SecurityGroup};

use super::Ec2;
use super::instances::{InstanceState, instance};
use super::tags::{filter, marks};
use crate::aws_error::aws_error;
use crate::error::Result;
use crate::marks::{Marks, OWNER_TAG};

/// An EC2 resource with its marks.
#[derive(Clone, Debug)]
pub struct Marked {
    /// The resource id; for a key pair, its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The marks in its tags.
    pub marks: Marks,
}

impl Ec2<'_> {
    /// Returns the instances that belong to any ledger and are not terminated.
    pub async fn owned_instances(&self) -> Result<Vec<Marked>> {
        let mut pages = self
            .client
            .describe_instances()
            .filters(filter("tag-key", OWNER_TAG))
            .into_paginator()
            .send();
        let mut owned = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for instances of autorun", &e))?;
            let seen = page.reservations().iter().flat_map(Reservation::instances);
            owned.extend(
                seen.map(instance)
                    .filter(|i| i.state != InstanceState::Terminated)
                    .map(|i| Marked {
                        id: i.id,
                        name: i.name,
                        marks: i.marks,
                    }),
            );
        }
        Ok(owned)
    }

    /// Returns the security groups that belong to any ledger.
    pub async fn owned_security_groups(&self) -> Result<Vec<Marked>> {
        let mut pages = self
            .client
            .describe_security_groups()
            .filters(filter("tag-key", OWNER_TAG))
            .into_paginator()
            .send();
        let mut owned = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for security groups of autorun", &e))?;
            owned.extend(page.security_groups().iter().map(marked_group));
        }
        Ok(owned)
    }

    /// Returns the key pairs that belong to any ledger.
    pub async fn owned_key_pairs(&self) -> Result<Vec<Marked>> {
        let answer = self
            .client
            .describe_key_pairs()
            .filters(filter("tag-key", OWNER_TAG))
            .send()
            .await
            .map_err(|e| aws_error("look for key pairs of autorun", &e))?;
        let named = answer.key_pairs().iter().map(|k| {
            let name = k.key_name().unwrap_or_default().to_owned();
            Marked {
                id: name.clone(),
                name,
                marks: marks(k.tags()),
            }
        });
        Ok(named.collect())
    }
}

pub(super) fn marked_group(group: &SecurityGroup) -> Marked {
    Marked {
        id: group.group_id().unwrap_or_default().to_owned(),
        name: group.group_name().unwrap_or_default().to_owned(),
        marks: marks(group.tags()),
    }
}
