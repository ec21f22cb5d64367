//! Elastic IP addresses.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{DomainType, Filter, ResourceType};

use super::marked::Marked;
use super::security_groups::Deletion;
use super::tags::{filter, marks, tag_specification};
use super::{Ec2, once};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::{Marks, OWNER_TAG, RESOURCE_TAG, Tags};

/// An Elastic IP address of the account.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// The allocation id, for example `eipalloc-0abc`.
    pub allocation_id: String,
    /// The IPv4 address.
    pub public_ip: String,
    /// The id of its association with an instance or a network interface.
    pub association_id: Option<String>,
    /// The id of the instance that has the address.
    pub instance_id: Option<String>,
    /// All tags of the address.
    pub tags: BTreeMap<String, String>,
    /// The marks in its tags.
    pub marks: Marks,
}

/// EC2's response to [`Ec2::associate_address`].
#[derive(Debug)]
pub enum Associated {
    /// The instance has the address.
    Done,
    /// EC2 does not know the address, or does not know it yet; or the instance is
    /// not in a state in which it can have one.
    NotNow(Error),
}

impl Ec2<'_> {
    /// Allocates an Elastic IP address. Does not repeat the request.
    ///
    /// Throws `quota_exceeded`.
    pub async fn allocate_address(&self, tags: &Tags) -> Result<Address> {
        let answer = self
            .client
            .allocate_address()
            .domain(DomainType::Vpc)
            .tag_specifications(tag_specification(ResourceType::ElasticIp, tags))
            .customize()
            .config_override(once())
            .send()
            .await
            .map_err(|e| aws_error("allocate an Elastic IP address", &e))?;
        Ok(Address {
            allocation_id: answer.allocation_id().unwrap_or_default().to_owned(),
            public_ip: answer.public_ip().unwrap_or_default().to_owned(),
            ..Address::default()
        })
    }

    /// Associates an address with an instance. The instance loses an address that
    /// it has, and another instance loses this one.
    pub async fn associate_address(&self, id: &str, instance: &str) -> Result<Associated> {
        let request = self
            .client
            .associate_address()
            .allocation_id(id)
            .instance_id(instance)
            .allow_reassociation(true);
        match request.send().await {
            Ok(_) => Ok(Associated::Done),
            Err(e) => {
                let error = aws_error(&format!("associate `{id}` with `{instance}`"), &e);
                match code(&e) {
                    Code::InvalidAllocationIdNotFound | Code::InvalidInstanceId => {
                        Ok(Associated::NotNow(error))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Releases an address. If an instance has it, the instance loses it first.
    /// Releasing one that does not exist is not an error.
    ///
    /// EC2 refuses this with `AuthFailure` while a NAT gateway or a load balancer
    /// has the address, and for a moment afterwards. The credentials are right: the
    /// address was found with them.
    pub async fn release_address(&self, id: &str) -> Result<Deletion> {
        let Some(address) = self.address(id).await? else {
            return Ok(Deletion::Done);
        };
        if let Some(association) = address.association_id {
            let request = self.client.disassociate_address();
            match request.association_id(&association).send().await {
                Ok(_) => {}
                Err(e) => match code(&e) {
                    // The instance was terminated meanwhile.
                    Code::InvalidAssociationIdNotFound => {}
                    Code::AuthFailure => return Ok(Deletion::StillUsed),
                    _ => return Err(aws_error(&format!("disassociate `{id}`"), &e)),
                },
            }
        }
        let request = self.client.release_address().allocation_id(id);
        match request.send().await {
            Ok(_) => Ok(Deletion::Done),
            Err(e) => match code(&e) {
                Code::InvalidAllocationIdNotFound => Ok(Deletion::Done),
                Code::AuthFailure | Code::InvalidIpAddressInUse => Ok(Deletion::StillUsed),
                _ => Err(aws_error(&format!("release `{id}`"), &e)),
            },
        }
    }

    /// Returns the address with this allocation id, or `None` if it does not
    /// exist.
    pub async fn address(&self, id: &str) -> Result<Option<Address>> {
        let found = self.addresses(&[filter("allocation-id", id)]).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the Elastic IP address with this IPv4 address.
    pub async fn address_at(&self, public_ip: &str) -> Result<Option<Address>> {
        let found = self.addresses(&[filter("public-ip", public_ip)]).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the address that has this row as its tag.
    pub async fn address_of(&self, row: &str) -> Result<Option<Address>> {
        let tag = format!("tag:{RESOURCE_TAG}");
        let found = self.addresses(&[filter(&tag, row)]).await?;
        Ok(found.into_iter().next())
    }

    /// Returns the Elastic IP addresses that have all of these tags.
    pub async fn tagged_addresses(&self, tags: &Tags) -> Result<Vec<Address>> {
        let wanted = tags
            .iter()
            .map(|(key, value)| filter(&format!("tag:{key}"), value));
        self.addresses(&wanted.collect::<Vec<_>>()).await
    }

    /// Returns the Elastic IP addresses that belong to any ledger.
    pub async fn owned_addresses(&self) -> Result<Vec<Marked>> {
        let found = self.addresses(&[filter("tag-key", OWNER_TAG)]).await?;
        let marked = found.into_iter().map(|address| Marked {
            id: address.allocation_id,
            name: address.tags.get("Name").cloned().unwrap_or_default(),
            marks: address.marks,
        });
        Ok(marked.collect())
    }

    // Filters, because a missing id would be an error. EC2 returns all addresses
    // in one answer.
    async fn addresses(&self, wanted: &[Filter]) -> Result<Vec<Address>> {
        let answer = self
            .client
            .describe_addresses()
            .set_filters(Some(wanted.to_vec()))
            .send()
            .await
            .map_err(|e| aws_error("look for Elastic IP addresses", &e))?;
        Ok(answer.addresses().iter().map(address).collect())
    }
}

fn address(address: &aws_sdk_ec2::types::Address) -> Address {
    let known = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let tags = address.tags().iter();
    Address {
        allocation_id: address.allocation_id().unwrap_or_default().to_owned(),
        public_ip: address.public_ip().unwrap_or_default().to_owned(),
        association_id: known(address.association_id()),
        instance_id: known(address.instance_id()),
        tags: tags
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect(),
        marks: marks(address.tags()),
    }
}
