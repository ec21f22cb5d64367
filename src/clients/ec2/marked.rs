//! What runs made, found again by its token and its tags.

use aws_sdk_ec2::types::{Reservation, SecurityGroup, Tag};

use super::{Ec2, Instance, filter, instance};
use crate::clients::aws_error::{aws_error, code};
use crate::clients::marks::{Marks, OWNER_TAG, RESOURCE_TAG};
use crate::error::Result;

/// A thing of EC2 with its marks.
#[derive(Clone, Debug)]
pub struct Marked {
    /// AWS's id; of a key pair its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What its tags say.
    pub marks: Marks,
}

impl Ec2<'_> {
    /// The instances that were launched with this token, or carry it as their
    /// tag, terminated ones too.
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

    /// The marks of a key pair; nothing when there is none of this name.
    pub async fn key_pair_marks(&self, name: &str) -> Result<Option<Marks>> {
        match self
            .client
            .describe_key_pairs()
            .key_names(name)
            .send()
            .await
        {
            Ok(answer) => Ok(answer.key_pairs().first().map(|k| marks(k.tags()))),
            Err(e) if code(&e) == "InvalidKeyPair.NotFound" => Ok(None),
            Err(e) => Err(aws_error(&format!("look up key pair `{name}`"), &e)),
        }
    }

    /// AWS's id of a key pair, as `key-0abc`.
    pub async fn key_pair_id(&self, name: &str) -> Result<String> {
        let answer = self
            .client
            .describe_key_pairs()
            .key_names(name)
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up key pair `{name}`"), &e))?;
        let first = answer.key_pairs().first().and_then(|k| k.key_pair_id());
        Ok(first.unwrap_or_default().to_owned())
    }

    /// The marks of a security group; nothing when there is none of this id.
    pub async fn security_group_marks(&self, id: &str) -> Result<Option<Marks>> {
        let request = self.client.describe_security_groups().group_ids(id);
        match request.send().await {
            Ok(answer) => Ok(answer.security_groups().first().map(|g| marks(g.tags()))),
            Err(e) if code(&e).ends_with(".NotFound") => Ok(None),
            Err(e) => Err(aws_error(&format!("look up security group `{id}`"), &e)),
        }
    }

    /// The id of the security group that carries this row as its tag.
    pub async fn security_group_of(&self, row: &str) -> Result<Option<String>> {
        let answer = self
            .client
            .describe_security_groups()
            .filters(filter(&format!("tag:{RESOURCE_TAG}"), row))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look for the security group of `{row}`"), &e))?;
        let first = answer.security_groups().first().and_then(|g| g.group_id());
        Ok(first.map(str::to_owned))
    }

    /// The security groups of this name, one per VPC at most.
    pub async fn security_groups_named(&self, name: &str) -> Result<Vec<Marked>> {
        let answer = self
            .client
            .describe_security_groups()
            .filters(filter("group-name", name))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look for security group `{name}`"), &e))?;
        Ok(answer.security_groups().iter().map(marked_group).collect())
    }

    /// The instances that some ledger owns and that are not terminated.
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
                    .filter(|i| i.state != "terminated")
                    .map(|i| Marked {
                        id: i.id,
                        name: i.name,
                        marks: i.marks,
                    }),
            );
        }
        Ok(owned)
    }

    /// The security groups that some ledger owns.
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

    /// The key pairs that some ledger owns.
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

fn marked_group(group: &SecurityGroup) -> Marked {
    Marked {
        id: group.group_id().unwrap_or_default().to_owned(),
        name: group.group_name().unwrap_or_default().to_owned(),
        marks: marks(group.tags()),
    }
}

pub(super) fn marks(tags: &[Tag]) -> Marks {
    Marks::of(
        tags.iter()
            .filter_map(|tag| Some((tag.key()?, tag.value()?))),
    )
}
