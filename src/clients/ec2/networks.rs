//! VPCs and their parts. One tag query finds a part of any kind.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    AttributeBooleanValue, DomainType, Filter, InternetGateway, ResourceType, RouteTable,
};

use super::marked::Marked;
use super::security_groups::Deletion;
use super::tags::{filter, tag_specification};
use super::{Ec2, once};
use crate::aws_error::{Code, OperationError, aws_error, code};
use crate::error::{Error, ErrorKind, Result};
use crate::marks::{Marks, OWNER_TAG, RESOURCE_TAG, Tags};

/// A kind of part of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkPart {
    /// The VPC itself.
    Vpc,
    /// A subnet.
    Subnet,
    /// An internet gateway.
    InternetGateway,
    /// A route table.
    RouteTable,
    /// The Elastic IP address of a NAT gateway.
    ElasticIp,
    /// A NAT gateway.
    NatGateway,
}

impl NetworkPart {
    /// Every kind of which only networks have resources.
    pub const ALL: [Self; 5] = [
        Self::Vpc,
        Self::Subnet,
        Self::InternetGateway,
        Self::RouteTable,
        Self::NatGateway,
    ];

    fn resource_type(self) -> ResourceType {
        match self {
            Self::Vpc => ResourceType::Vpc,
            Self::Subnet => ResourceType::Subnet,
            Self::InternetGateway => ResourceType::InternetGateway,
            Self::RouteTable => ResourceType::RouteTable,
            Self::ElasticIp => ResourceType::ElasticIp,
            Self::NatGateway => ResourceType::Natgateway,
        }
    }
}

/// A part of a network to create.
#[derive(Clone, Copy, Debug)]
pub enum NewPart<'a> {
    /// A VPC.
    Vpc {
        /// Its CIDR block.
        cidr: &'a str,
    },
    /// A subnet.
    Subnet {
        /// The id of its VPC.
        vpc: &'a str,
        /// Its CIDR block.
        cidr: &'a str,
        /// Its availability zone.
        zone: &'a str,
    },
    /// An internet gateway.
    InternetGateway,
    /// A route table.
    RouteTable {
        /// The id of its VPC.
        vpc: &'a str,
    },
    /// An Elastic IP address.
    ElasticIp,
    /// A NAT gateway.
    NatGateway {
        /// The id of its subnet.
        subnet: &'a str,
        /// The allocation id of its Elastic IP address.
        address: &'a str,
    },
}

impl NewPart<'_> {
    /// Returns the kind of the part.
    #[must_use]
    pub fn part(&self) -> NetworkPart {
        match self {
            Self::Vpc { .. } => NetworkPart::Vpc,
            Self::Subnet { .. } => NetworkPart::Subnet,
            Self::InternetGateway => NetworkPart::InternetGateway,
            Self::RouteTable { .. } => NetworkPart::RouteTable,
            Self::ElasticIp => NetworkPart::ElasticIp,
            Self::NatGateway { .. } => NetworkPart::NatGateway,
        }
    }
}

/// Returns the error of a request, or `None` if its effect exists already or the
/// part does not exist (any more).
fn unless<E: OperationError>(
    attempt: &str,
    error: &aws_sdk_ec2::error::SdkError<E, aws_sdk_ec2::config::http::HttpResponse>,
    fine: &[Code],
) -> Result<()> {
    if fine.contains(&code(error)) {
        return Ok(());
    }
    Err(aws_error(attempt, error))
}

/// Returns the result of a deletion request.
fn deletion<E: OperationError>(
    attempt: &str,
    error: &aws_sdk_ec2::error::SdkError<E, aws_sdk_ec2::config::http::HttpResponse>,
) -> Result<Deletion> {
    if code(error) == Code::DependencyViolation {
        return Ok(Deletion::StillUsed);
    }
    gone(aws_error(attempt, error)).map(|()| Deletion::Done)
}

/// Accepts that a part does not exist (any more).
fn gone(error: Error) -> Result<()> {
    match error.kind {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

impl Ec2<'_> {
    /// Creates a part of a network, and returns its id. Does not repeat the
    /// request.
    pub async fn create_network_part(&self, new: &NewPart<'_>, tags: &Tags) -> Result<String> {
        let tags = tag_specification(new.part().resource_type(), tags);
        let id = match new {
            NewPart::Vpc { cidr } => {
                let request = self.client.create_vpc().cidr_block(*cidr);
                let request = request.tag_specifications(tags).customize();
                let sent = request.config_override(once()).send().await;
                let made = sent.map_err(|e| aws_error(&format!("create a VPC for {cidr}"), &e))?;
                made.vpc.and_then(|vpc| vpc.vpc_id)
            }
            NewPart::Subnet { vpc, cidr, zone } => {
                let request = self.client.create_subnet().vpc_id(*vpc).cidr_block(*cidr);
                let request = request.availability_zone(*zone).tag_specifications(tags);
                let sent = request.customize().config_override(once()).send().await;
                let attempt = format!("create the subnet {cidr} of {vpc} in {zone}");
                let made = sent.map_err(|e| aws_error(&attempt, &e))?;
                made.subnet.and_then(|subnet| subnet.subnet_id)
            }
            NewPart::InternetGateway => {
                let request = self.client.create_internet_gateway();
                let request = request.tag_specifications(tags).customize();
                let sent = request.config_override(once()).send().await;
                let made = sent.map_err(|e| aws_error("create an internet gateway", &e))?;
                made.internet_gateway
                    .and_then(|igw| igw.internet_gateway_id)
            }
            NewPart::RouteTable { vpc } => {
                let request = self.client.create_route_table().vpc_id(*vpc);
                let request = request.tag_specifications(tags).customize();
                let sent = request.config_override(once()).send().await;
                let attempt = format!("create a route table of {vpc}");
                let made = sent.map_err(|e| aws_error(&attempt, &e))?;
                made.route_table.and_then(|table| table.route_table_id)
            }
            NewPart::ElasticIp => {
                let request = self.client.allocate_address().domain(DomainType::Vpc);
                let request = request.tag_specifications(tags).customize();
                let sent = request.config_override(once()).send().await;
                let made = sent.map_err(|e| aws_error("allocate an Elastic IP address", &e))?;
                made.allocation_id
            }
            NewPart::NatGateway { subnet, address } => {
                let request = self.client.create_nat_gateway().subnet_id(*subnet);
                let request = request.allocation_id(*address).tag_specifications(tags);
                let sent = request.customize().config_override(once()).send().await;
                let attempt = format!("create a NAT gateway in {subnet}");
                let made = sent.map_err(|e| aws_error(&attempt, &e))?;
                made.nat_gateway.and_then(|nat| nat.nat_gateway_id)
            }
        };
        id.ok_or_else(|| Error::internal("AWS returned a new part of a network without an id"))
    }

    /// Attaches an internet gateway to a VPC. If it is attached already, this is
    /// not an error.
    pub async fn attach_internet_gateway(&self, gateway: &str, vpc: &str) -> Result<()> {
        let request = self.client.attach_internet_gateway();
        let sent = request
            .internet_gateway_id(gateway)
            .vpc_id(vpc)
            .send()
            .await;
        let attempt = format!("attach {gateway} to {vpc}");
        sent.map(drop)
            .or_else(|e| unless(&attempt, &e, &[Code::ResourceAlreadyAssociated]))
    }

    /// Adds the route to the internet to a table. If the table has it, this is not
    /// an error.
    pub async fn route_to_internet(&self, table: &str, gateway: &str) -> Result<()> {
        let request = self.client.create_route().route_table_id(table);
        let request = request.destination_cidr_block("0.0.0.0/0");
        let sent = request.gateway_id(gateway).send().await;
        let attempt = format!("add a route to {gateway} to {table}");
        sent.map(drop)
            .or_else(|e| unless(&attempt, &e, &[Code::RouteAlreadyExists]))
    }

    /// Associates a route table with a subnet. If they are associated already,
    /// this is not an error.
    pub async fn associate_route_table(&self, table: &str, subnet: &str) -> Result<()> {
        let request = self.client.associate_route_table();
        let sent = request.route_table_id(table).subnet_id(subnet).send().await;
        let attempt = format!("associate {table} with {subnet}");
        sent.map(drop)
            .or_else(|e| unless(&attempt, &e, &[Code::ResourceAlreadyAssociated]))
    }

    /// Changes a subnet so that new instances have public addresses by default.
    pub async fn map_public_ip_on_launch(&self, subnet: &str) -> Result<()> {
        let yes = AttributeBooleanValue::builder().value(true).build();
        let request = self.client.modify_subnet_attribute().subnet_id(subnet);
        let sent = request.map_public_ip_on_launch(yes).send().await;
        let attempt = format!("let instances in {subnet} have public addresses");
        sent.map(drop).map_err(|e| aws_error(&attempt, &e))
    }

    /// Returns the id and the marks of the parts of one kind that have a tag.
    async fn tagged_parts(
        &self,
        part: NetworkPart,
        by: impl IntoIterator<Item = Filter>,
    ) -> Result<Vec<Marked>> {
        let kind = part.resource_type();
        let mut filters = vec![filter("resource-type", kind.as_str())];
        filters.extend(by);
        let mut pages = self
            .client
            .describe_tags()
            .set_filters(Some(filters))
            .into_paginator()
            .send();
        let mut tags: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for networks of autorun", &e))?;
            for tag in page.tags() {
                if let (Some(id), Some(key), Some(value)) =
                    (tag.resource_id(), tag.key(), tag.value())
                {
                    let of_part = tags.entry(id.to_owned()).or_default();
                    of_part.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        let marked = tags.into_iter().map(|(id, tags)| Marked {
            id,
            name: tags.get("Name").cloned().unwrap_or_default(),
            marks: Marks::from_tags(tags.iter().map(|(key, value)| (&**key, &**value))),
        });
        Ok(marked.collect())
    }

    /// Returns the ids of the parts that have this row as their tag.
    pub async fn network_parts_of(&self, part: NetworkPart, row: &str) -> Result<Vec<String>> {
        let by = [filter("key", RESOURCE_TAG), filter("value", row)];
        let found = self.tagged_parts(part, by).await?;
        Ok(found.into_iter().map(|marked| marked.id).collect())
    }

    /// Returns the parts that belong to any ledger.
    pub async fn owned_network_parts(&self, part: NetworkPart) -> Result<Vec<Marked>> {
        let mut owned = Vec::new();
        for found in self.tagged_parts(part, [filter("key", OWNER_TAG)]).await? {
            let all = self.tagged_parts(part, [filter("resource-id", &found.id)]);
            owned.extend(all.await?);
        }
        Ok(owned)
    }

    /// Returns the marks in the tags of a part of a network.
    pub async fn network_part_marks(&self, part: NetworkPart, id: &str) -> Result<Option<Marks>> {
        let found = self.tagged_parts(part, [filter("resource-id", id)]).await?;
        Ok(found.into_iter().next().map(|marked| marked.marks))
    }

    /// Returns whether a part of a network exists.
    pub async fn has_network_part(&self, part: NetworkPart, id: &str) -> Result<bool> {
        let attempt = format!("look up {id}");
        let asked = match part {
            NetworkPart::Vpc => {
                let request = self.client.describe_vpcs().vpc_ids(id);
                let sent = request.send().await.map(drop);
                sent.map_err(|e| aws_error(&attempt, &e))
            }
            NetworkPart::Subnet => {
                let request = self.client.describe_subnets().subnet_ids(id);
                let sent = request.send().await.map(drop);
                sent.map_err(|e| aws_error(&attempt, &e))
            }
            NetworkPart::InternetGateway => {
                let request = self.client.describe_internet_gateways();
                let sent = request.internet_gateway_ids(id).send().await.map(drop);
                sent.map_err(|e| aws_error(&attempt, &e))
            }
            NetworkPart::RouteTable => {
                let request = self.client.describe_route_tables();
                let sent = request.route_table_ids(id).send().await.map(drop);
                sent.map_err(|e| aws_error(&attempt, &e))
            }
            NetworkPart::ElasticIp => return Ok(self.address(id).await?.is_some()),
            NetworkPart::NatGateway => {
                return Ok(self.nat_gateway(id).await?.is_some_and(|nat| nat.is_up()));
            }
        };
        match asked {
            Ok(()) => Ok(true),
            Err(error) => gone(error).map(|()| false),
        }
    }

    /// Deletes a part of a network. Deleting one that does not exist is not an
    /// error.
    pub async fn delete_network_part(&self, part: NetworkPart, id: &str) -> Result<Deletion> {
        match part {
            NetworkPart::Vpc => {
                let sent = self.client.delete_vpc().vpc_id(id).send().await;
                sent.map(|_| Deletion::Done)
                    .or_else(|e| deletion(&format!("delete VPC `{id}`"), &e))
            }
            NetworkPart::Subnet => {
                let sent = self.client.delete_subnet().subnet_id(id).send().await;
                sent.map(|_| Deletion::Done)
                    .or_else(|e| deletion(&format!("delete subnet `{id}`"), &e))
            }
            NetworkPart::InternetGateway => self.delete_internet_gateway(id).await,
            NetworkPart::RouteTable => self.delete_route_table(id).await,
            NetworkPart::ElasticIp => self.release_address(id).await,
            NetworkPart::NatGateway => self.delete_nat_gateway(id).await,
        }
    }

    /// Detaches an internet gateway from its VPC, then deletes it.
    async fn delete_internet_gateway(&self, id: &str) -> Result<Deletion> {
        let request = self.client.describe_internet_gateways();
        let attempt = format!("delete internet gateway `{id}`");
        let seen = match request.internet_gateway_ids(id).send().await {
            Ok(seen) => seen,
            Err(e) => return deletion(&attempt, &e),
        };
        let gateways = seen.internet_gateways().iter();
        for attachment in gateways.flat_map(InternetGateway::attachments) {
            let request = self
                .client
                .detach_internet_gateway()
                .internet_gateway_id(id);
            let request = request.set_vpc_id(attachment.vpc_id().map(str::to_owned));
            match request.send().await {
                Err(e) if code(&e) == Code::GatewayNotAttached => {}
                Err(e) => match deletion(&attempt, &e)? {
                    Deletion::Done => {}
                    other => return Ok(other),
                },
                Ok(_) => {}
            }
        }
        let request = self.client.delete_internet_gateway();
        let sent = request.internet_gateway_id(id).send().await;
        sent.map(|_| Deletion::Done)
            .or_else(|e| deletion(&attempt, &e))
    }

    /// Disassociates a route table from its subnets, then deletes it.
    async fn delete_route_table(&self, id: &str) -> Result<Deletion> {
        let attempt = format!("delete route table `{id}`");
        let request = self.client.describe_route_tables().route_table_ids(id);
        let seen = match request.send().await {
            Ok(seen) => seen,
            Err(e) => return deletion(&attempt, &e),
        };
        let tables = seen.route_tables().iter();
        let associations = tables.flat_map(RouteTable::associations);
        for association in associations.filter(|of| of.main() != Some(true)) {
            let request = self.client.disassociate_route_table();
            let association = association.route_table_association_id();
            let request = request.set_association_id(association.map(str::to_owned));
            if let Err(e) = request.send().await {
                gone(aws_error(&attempt, &e))?;
            }
        }
        let sent = self.client.delete_route_table().route_table_id(id);
        let sent = sent.send().await;
        sent.map(|_| Deletion::Done)
            .or_else(|e| deletion(&attempt, &e))
    }
}
