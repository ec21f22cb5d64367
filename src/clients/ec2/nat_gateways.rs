//! NAT gateways.

use aws_sdk_ec2::types::{NatGateway, NatGatewayAddress, NatGatewayState};

use super::Ec2;
use super::security_groups::Deletion;
use super::tags::{filter, marks};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{ErrorKind, Result};
use crate::marks::Marks;

/// The state of a NAT gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatState {
    /// EC2 is creating it.
    Pending,
    /// It forwards packets.
    Available,
    /// EC2 is deleting it.
    Deleting,
    /// It is deleted. EC2 describes it for another hour.
    Deleted,
    /// EC2 could not create it: code and message.
    Failed(String),
}

/// A NAT gateway.
#[derive(Clone, Debug)]
pub struct Nat {
    /// Its id, for example `nat-0abc`.
    pub id: String,
    /// Its state.
    pub state: NatState,
    /// The allocation ids of its Elastic IP addresses.
    pub allocations: Vec<String>,
    /// The ids of its network interfaces.
    pub interfaces: Vec<String>,
    /// The marks in its tags.
    pub marks: Marks,
}

impl Nat {
    /// Whether it exists, or will.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, NatState::Pending | NatState::Available)
    }

    /// Whether it has no addresses any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.state, NatState::Deleted | NatState::Failed(_))
    }
}

impl Ec2<'_> {
    /// Returns the NAT gateway with this id, or `None` if EC2 does not know it.
    pub async fn nat_gateway(&self, id: &str) -> Result<Option<Nat>> {
        let request = self.client.describe_nat_gateways().nat_gateway_ids(id);
        match request.send().await {
            Ok(answer) => Ok(answer.nat_gateways().first().map(nat)),
            Err(e) => {
                let error = aws_error(&format!("look up {id}"), &e);
                match error.kind {
                    ErrorKind::NotFound => Ok(None),
                    _ => Err(error),
                }
            }
        }
    }

    /// Returns the NAT gateways of a VPC, also those that were deleted within the
    /// last hour.
    pub async fn nat_gateways_in(&self, vpc: &str) -> Result<Vec<Nat>> {
        let request = self.client.describe_nat_gateways();
        let mut pages = request
            .filter(filter("vpc-id", vpc))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for NAT gateways", &e))?;
            found.extend(page.nat_gateways().iter().map(nat));
        }
        Ok(found)
    }

    /// Deletes a NAT gateway. EC2 does this within a minute or two: call this
    /// method again until it is done.
    pub(super) async fn delete_nat_gateway(&self, id: &str) -> Result<Deletion> {
        match self.nat_gateway(id).await?.map(|nat| nat.state) {
            // EC2 removes a failed one itself.
            None | Some(NatState::Deleted | NatState::Failed(_)) => return Ok(Deletion::Done),
            Some(NatState::Deleting) => return Ok(Deletion::Begun),
            Some(NatState::Pending | NatState::Available) => {}
        }
        let request = self.client.delete_nat_gateway().nat_gateway_id(id);
        match request.send().await {
            Ok(_) => Ok(Deletion::Begun),
            Err(e) => {
                let error = aws_error(&format!("delete NAT gateway `{id}`"), &e);
                match error.kind {
                    ErrorKind::NotFound => Ok(Deletion::Done),
                    _ => Err(error),
                }
            }
        }
    }

    /// Adds the route of a private subnet to the internet to a table. Replaces a
    /// route to a NAT gateway that no longer exists.
    pub async fn route_to_nat_gateway(&self, table: &str, gateway: &str) -> Result<()> {
        let request = self.client.create_route().route_table_id(table);
        let request = request.destination_cidr_block("0.0.0.0/0");
        let attempt = format!("add a route to {gateway} to {table}");
        match request.nat_gateway_id(gateway).send().await {
            Ok(_) => return Ok(()),
            Err(e) if code(&e) == Code::RouteAlreadyExists => {}
            Err(e) => return Err(aws_error(&attempt, &e)),
        }
        let request = self.client.replace_route().route_table_id(table);
        let request = request.destination_cidr_block("0.0.0.0/0");
        let sent = request.nat_gateway_id(gateway).send().await;
        sent.map(drop).map_err(|e| aws_error(&attempt, &e))
    }
}

fn nat(known: &NatGateway) -> Nat {
    let of_addresses = |id: fn(&NatGatewayAddress) -> Option<&str>| {
        let ids = known.nat_gateway_addresses().iter().filter_map(id);
        ids.map(str::to_owned).collect()
    };
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Nat {
        id: text(known.nat_gateway_id()),
        state: match known.state() {
            Some(NatGatewayState::Available) => NatState::Available,
            Some(NatGatewayState::Deleting) => NatState::Deleting,
            Some(NatGatewayState::Deleted) => NatState::Deleted,
            Some(NatGatewayState::Failed) => {
                let (code, message) = (text(known.failure_code()), text(known.failure_message()));
                NatState::Failed(format!("{code}: {message}"))
            }
            _ => NatState::Pending,
        },
        allocations: of_addresses(NatGatewayAddress::allocation_id),
        interfaces: of_addresses(NatGatewayAddress::network_interface_id),
        marks: marks(known.tags()),
    }
}
