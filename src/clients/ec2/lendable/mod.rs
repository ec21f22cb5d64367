//! What an account lends to a rehearsal, in the form in which the local cloud reads
//! it. Every request here only looks, and finds nothing instead of failing.

mod networks;
mod storage;

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{self, Filter, Reservation};
use serde_json::{Value, json};

use super::Ec2;
use super::images::user;
use super::instances::instance;
use super::tags::filter;
use crate::aws_error::aws_error;
use crate::error::Result;

/// The name of a filter, and the values of which one must match.
type Wanted = (String, Vec<String>);

fn named(name: &str, value: &str) -> [Wanted; 1] {
    [(name.to_owned(), vec![value.to_owned()])]
}

fn all(filters: &[Wanted]) -> Vec<Filter> {
    let one = |(name, values): &Wanted| {
        let filter = Filter::builder().name(name);
        filter.set_values(Some(values.clone())).build()
    };
    filters.iter().map(one).collect()
}

impl Ec2<'_> {
    /// Returns the resource with an id, and before it those that contain it.
    pub async fn lendable(&self, id: &str) -> Result<Vec<Value>> {
        match id.split('-').next().unwrap_or_default() {
            "vpc" => self.lendable_vpc(id).await,
            "subnet" => self.lendable_subnet(id).await,
            "sg" => self.lendable_group(id).await,
            "ami" => self.lendable_images(None, &named("image-id", id)).await,
            "i" => self.lendable_instances(&named("instance-id", id)).await,
            "vol" => self.lendable_volumes(&named("volume-id", id)).await,
            "snap" => self.lendable_snapshots(&named("snapshot-id", id)).await,
            "eipalloc" => {
                let by_id = named("allocation-id", id);
                self.lendable_addresses(&by_id).await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the key pair with a name, and its public key.
    pub async fn lendable_key_pair(&self, name: &str) -> Result<Vec<Value>> {
        let answer = self
            .client
            .describe_key_pairs()
            .filters(filter("key-name", name))
            .include_public_key(true)
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up key pair `{name}`"), &e))?;
        let pairs = answer.key_pairs().iter().map(|pair| {
            json!({ "key_pair": {
                "id": pair.key_pair_id(),
                "name": pair.key_name(),
                "public_key": pair.public_key().map(str::trim),
                "tags": tags(pair.tags()),
            }})
        });
        Ok(pairs.collect())
    }

    /// Returns the instance type with a name.
    pub async fn lendable_type(&self, name: &str) -> Result<Vec<Value>> {
        let wanted = BTreeMap::from([("instance-type".to_owned(), name.to_owned())]);
        let types = self.types(&wanted).await?.into_iter();
        let types = types.map(|known| {
            let architecture = known.architectures.last();
            json!({ "instance_type": { "name": known.name, "architecture": architecture } })
        });
        Ok(types.collect())
    }

    /// Returns the instances that match all filters.
    pub async fn lendable_instances(&self, filters: &[Wanted]) -> Result<Vec<Value>> {
        let request = self.client.describe_instances();
        let mut pages = request
            .set_filters(Some(all(filters)))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for instances", &e))?;
            let seen = page.reservations().iter().flat_map(Reservation::instances);
            found.extend(seen.map(lendable_instance));
        }
        Ok(found)
    }

    /// Returns the images that match all filters: those of this account, or also
    /// those of others if no owner is given.
    pub async fn lendable_images(
        &self,
        owner: Option<&str>,
        filters: &[Wanted],
    ) -> Result<Vec<Value>> {
        let answer = self
            .client
            .describe_images()
            .set_owners(owner.map(|owner| vec![owner.to_owned()]))
            .set_filters(Some(all(filters)))
            .include_deprecated(true)
            .send()
            .await
            .map_err(|e| aws_error("look for images", &e))?;
        let images = answer.images().iter().map(|image| {
            json!({ "image": {
                "id": image.image_id(),
                "name": image.name().unwrap_or_default(),
                "owner": image.owner_id().unwrap_or_default(),
                "is_own": owner == Some("self"),
                "architecture": image.architecture().map(types::ArchitectureValues::as_str),
                "created": image.creation_date().unwrap_or_default(),
                "user": user(image),
                "tags": tags(image.tags()),
            }})
        });
        Ok(images.collect())
    }
}

fn lendable_instance(seen: &types::Instance) -> Value {
    let known = instance(seen);
    json!({ "instance": {
        "id": known.id,
        "type": known.instance_type,
        "image": known.image,
        "state": known.state,
        "zone": known.zone,
        "vpc": seen.vpc_id(),
        "subnet": seen.subnet_id(),
        "private_ip": known.private_ip,
        "public_ip": known.public_ip,
        "key_pair": known.key_pair,
        "security_groups": known.security_groups,
        "launched": known.launched_at,
        "root_device": seen.root_device_name(),
        "tags": known.tags,
    }})
}

fn tags(tags: &[types::Tag]) -> BTreeMap<&str, &str> {
    let pairs = tags
        .iter()
        .filter_map(|tag| Some((tag.key()?, tag.value()?)));
    pairs.collect()
}
