//! What is in a VPC, for its deletion.

use aws_sdk_ec2::types::{InstanceStateName, NetworkInterfaceAttachment, Reservation, Tag};

use super::Ec2;
use super::marked::marked_group;
use super::nat_gateways::Nat;
use super::networks::NetworkPart;
use super::tags::{filter, marks};
use crate::aws_error::aws_error;
use crate::error::Result;
use crate::marks::Marks;

/// What is in a VPC.
#[derive(Debug, Default)]
pub struct Contents {
    /// The parts of the network that autorun created, in the order of deletion.
    pub parts: Vec<(NetworkPart, String)>,
    /// Everything else, such as `instance i-0abc`.
    pub others: Vec<String>,
}

impl Contents {
    /// Adds a part of the network, if its tags say that autorun created it.
    fn add(&mut self, part: NetworkPart, words: &str, id: Option<&str>, marks: &Marks) {
        let id = id.unwrap_or_default();
        if marks.run.is_some() {
            self.parts.push((part, id.to_owned()));
        } else {
            self.others.push(format!("{words} {id}"));
        }
    }
}

impl Ec2<'_> {
    /// Returns what is in a VPC.
    pub async fn network_contents(&self, vpc: &str) -> Result<Contents> {
        let mut contents = Contents::default();
        self.add_instances(vpc, &mut contents).await?;
        self.add_groups(vpc, &mut contents).await?;
        let nats = self.nat_gateways_in(vpc).await?;
        self.add_interfaces(vpc, &nats, &mut contents).await?;
        self.add_nat_gateways(&nats, &mut contents).await?;
        self.add_subnets(vpc, &mut contents).await?;
        self.add_route_tables(vpc, &mut contents).await?;
        self.add_internet_gateways(vpc, &mut contents).await?;
        Ok(contents)
    }

    async fn add_instances(&self, vpc: &str, contents: &mut Contents) -> Result<()> {
        let request = self.client.describe_instances();
        let mut pages = request
            .filters(filter("vpc-id", vpc))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for instances in the network", &e))?;
            for known in page.reservations().iter().flat_map(Reservation::instances) {
                let state = known.state().and_then(|state| state.name());
                let (name, id) = (name(known.tags()), known.instance_id().unwrap_or_default());
                // The deletion of the subnet waits for those that are terminating.
                match state {
                    Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown) => {}
                    _ => contents.others.push(format!("instance {id}{name}")),
                }
            }
        }
        Ok(())
    }

    async fn add_groups(&self, vpc: &str, contents: &mut Contents) -> Result<()> {
        let request = self.client.describe_security_groups();
        let mut pages = request
            .filters(filter("vpc-id", vpc))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for security groups", &e))?;
            // The VPC takes its default group with it.
            let own = page.security_groups().iter().map(marked_group);
            let others = own.filter(|group| group.name != "default");
            contents.others.extend(
                others.map(|group| format!("security group {} ({})", group.id, group.name)),
            );
        }
        Ok(())
    }

    /// Adds interfaces of load balancers, endpoints and the like. Those of instances
    /// and NAT gateways go with them.
    async fn add_interfaces(&self, vpc: &str, nats: &[Nat], contents: &mut Contents) -> Result<()> {
        let of_nats: Vec<&String> = nats.iter().flat_map(|nat| &nat.interfaces).collect();
        let request = self.client.describe_network_interfaces();
        let mut pages = request
            .filters(filter("vpc-id", vpc))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for network interfaces", &e))?;
            for known in page.network_interfaces() {
                let id = known.network_interface_id().unwrap_or_default();
                let attachment = known.attachment();
                let instance = attachment.and_then(NetworkInterfaceAttachment::instance_id);
                if instance.is_some() || of_nats.iter().any(|own| *own == id) {
                    continue;
                }
                contents.others.push(match known.description() {
                    None | Some("") => format!("network interface {id}"),
                    Some(text) => format!("network interface {id} ({text})"),
                });
            }
        }
        Ok(())
    }

    /// Adds NAT gateways and their addresses: also the address of one that was
    /// deleted, which an interrupted deletion of the network leaves.
    async fn add_nat_gateways(&self, all: &[Nat], contents: &mut Contents) -> Result<()> {
        for nat in all.iter().filter(|nat| nat.is_up()) {
            contents.add(
                NetworkPart::NatGateway,
                "NAT gateway",
                Some(&nat.id),
                &nat.marks,
            );
        }
        for nat in all.iter().filter(|nat| nat.marks.run.is_some()) {
            for id in &nat.allocations {
                let Some(address) = self.address(id).await? else {
                    continue;
                };
                // An instance may already have it.
                let is_free = address.association_id.is_none();
                if address.marks.run == nat.marks.run && (is_free || !nat.is_gone()) {
                    contents.parts.push((NetworkPart::ElasticIp, id.clone()));
                }
            }
        }
        Ok(())
    }

    async fn add_subnets(&self, vpc: &str, contents: &mut Contents) -> Result<()> {
        let request = self.client.describe_subnets();
        let mut pages = request
            .filters(filter("vpc-id", vpc))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for subnets", &e))?;
            for known in page.subnets() {
                let marks = marks(known.tags());
                contents.add(NetworkPart::Subnet, "subnet", known.subnet_id(), &marks);
            }
        }
        Ok(())
    }

    async fn add_route_tables(&self, vpc: &str, contents: &mut Contents) -> Result<()> {
        let request = self.client.describe_route_tables();
        let mut pages = request
            .filters(filter("vpc-id", vpc))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for route tables", &e))?;
            for known in page.route_tables() {
                // The VPC takes its main table with it.
                if !known
                    .associations()
                    .iter()
                    .any(|of| of.main() == Some(true))
                {
                    let marks = marks(known.tags());
                    let id = known.route_table_id();
                    contents.add(NetworkPart::RouteTable, "route table", id, &marks);
                }
            }
        }
        Ok(())
    }

    async fn add_internet_gateways(&self, vpc: &str, contents: &mut Contents) -> Result<()> {
        let request = self.client.describe_internet_gateways();
        let request = request.filters(filter("attachment.vpc-id", vpc));
        let seen = request.send().await;
        let seen = seen.map_err(|e| aws_error("look for internet gateways", &e))?;
        for known in seen.internet_gateways() {
            let (id, marks) = (known.internet_gateway_id(), marks(known.tags()));
            contents.add(NetworkPart::InternetGateway, "internet gateway", id, &marks);
        }
        Ok(())
    }
}

/// Returns the tag `Name` in parentheses.
fn name(tags: &[Tag]) -> String {
    let name = tags.iter().find(|tag| tag.key() == Some("Name"));
    let name = name.and_then(|tag| tag.value()).unwrap_or_default();
    if name.is_empty() {
        return String::new();
    }
    format!(" ({name})")
}
