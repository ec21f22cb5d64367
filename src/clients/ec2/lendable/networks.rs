//! Networks that an account lends: VPCs, subnets with their route to the internet,
//! security groups.

use std::collections::BTreeMap;

use aws_sdk_ec2::types;
use serde_json::{Value, json};

use super::super::Ec2;
use super::super::security_groups::rules;
use super::super::tags::filter;
use super::tags;
use crate::aws_error::aws_error;
use crate::error::Result;

/// Where a private subnet sends its packets for the internet.
#[derive(Debug)]
enum WayOut {
    NatGateway(String),
    /// A transit gateway, or a host that forwards them, such as a NAT instance.
    Other(String),
}

impl WayOut {
    fn of(route: &types::Route) -> Option<Self> {
        if let Some(id) = route.nat_gateway_id() {
            return Some(Self::NatGateway(id.to_owned()));
        }
        let host = route.instance_id().or(route.network_interface_id());
        let target = route.transit_gateway_id().or(host)?;
        Some(Self::Other(target.to_owned()))
    }
}

/// Returns the id of the NAT gateway that takes the place of another target.
fn in_place_of(target: &str) -> String {
    let (_, digits) = target.split_once('-').unwrap_or_default();
    format!("nat-{digits}")
}

impl Ec2<'_> {
    pub(super) async fn lendable_vpc(&self, id: &str) -> Result<Vec<Value>> {
        let answer = self
            .client
            .describe_vpcs()
            .filters(filter("vpc-id", id))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up VPC `{id}`"), &e))?;
        let Some(vpc) = answer.vpcs().first() else {
            return Ok(Vec::new());
        };
        if vpc.is_default() == Some(true) {
            return Ok(vec![self.lendable_default_vpc(id).await?]);
        }
        Ok(vec![
            json!({ "vpc": { "id": id, "cidr": vpc.cidr_block() } }),
        ])
    }

    async fn lendable_default_vpc(&self, id: &str) -> Result<Value> {
        let subnets = self
            .client
            .describe_subnets()
            .filters(filter("vpc-id", id))
            .filters(filter("default-for-az", "true"))
            .send()
            .await
            .map_err(|e| aws_error("look up the default subnets", &e))?;
        let subnets = subnets.subnets().iter();
        let subnets: BTreeMap<&str, &str> = subnets
            .filter_map(|subnet| Some((subnet.availability_zone()?, subnet.subnet_id()?)))
            .collect();
        let groups = self
            .client
            .describe_security_groups()
            .filters(filter("vpc-id", id))
            .filters(filter("group-name", "default"))
            .send()
            .await
            .map_err(|e| aws_error("look up the default security group", &e))?;
        let group = groups.security_groups().first();
        Ok(json!({ "default_vpc": {
            "id": id,
            "subnets": subnets,
            "security_group": group.and_then(|group| group.group_id()),
        }}))
    }

    pub(super) async fn lendable_subnet(&self, id: &str) -> Result<Vec<Value>> {
        let answer = self
            .client
            .describe_subnets()
            .filters(filter("subnet-id", id))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up subnet `{id}`"), &e))?;
        let Some(subnet) = answer.subnets().first() else {
            return Ok(Vec::new());
        };
        let mut lent = self
            .lendable_vpc(subnet.vpc_id().unwrap_or_default())
            .await?;
        let in_default = is_default(&lent);
        let way = self.way_out(subnet).await?;
        match &way {
            Some(WayOut::NatGateway(id)) => {
                lent.extend(self.lendable_nat_gateway(id, in_default).await?);
            }
            Some(WayOut::Other(target)) => lent.push(json!({ "nat_gateway": {
                "id": in_place_of(target),
                "vpc": subnet.vpc_id(),
            }})),
            None => {}
        }
        let gateway = way.map(|way| match way {
            WayOut::NatGateway(id) => id,
            WayOut::Other(target) => in_place_of(&target),
        });
        lent.push(subnet_of(subnet, in_default, gateway.as_deref()));
        Ok(lent)
    }

    pub(super) async fn lendable_group(&self, id: &str) -> Result<Vec<Value>> {
        let answer = self
            .client
            .describe_security_groups()
            .filters(filter("group-id", id))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up security group `{id}`"), &e))?;
        let Some(group) = answer.security_groups().first() else {
            return Ok(Vec::new());
        };
        let mut lent = self
            .lendable_vpc(group.vpc_id().unwrap_or_default())
            .await?;
        let in_default = is_default(&lent);
        let ingress: Vec<Value> = rules(group)
            .map(|rule| {
                json!({
                    "protocol": rule.protocol,
                    "port": rule.port,
                    "to_port": rule.to_port,
                    "from": rule.from,
                })
            })
            .collect();
        lent.push(json!({ "security_group": {
            "id": id,
            "name": group.group_name(),
            "vpc": group.vpc_id().filter(|_| !in_default),
            "ingress": ingress,
            "tags": tags(group.tags()),
        }}));
        Ok(lent)
    }

    /// Returns where a subnet sends its packets for the internet, if that is not an
    /// internet gateway.
    async fn way_out(&self, subnet: &types::Subnet) -> Result<Option<WayOut>> {
        let own = [filter(
            "association.subnet-id",
            subnet.subnet_id().unwrap_or_default(),
        )];
        let of_vpc = [
            filter("association.main", "true"),
            filter("vpc-id", subnet.vpc_id().unwrap_or_default()),
        ];
        let table = match self.route_table(&own).await? {
            None => self.route_table(&of_vpc).await?,
            own => own,
        };
        let routes = table.iter().flat_map(types::RouteTable::routes);
        let mut to_internet = routes.filter(|it| it.destination_cidr_block() == Some("0.0.0.0/0"));
        Ok(to_internet.find_map(WayOut::of))
    }

    async fn route_table(&self, filters: &[types::Filter]) -> Result<Option<types::RouteTable>> {
        let request = self.client.describe_route_tables();
        let answer = request.set_filters(Some(filters.to_vec())).send().await;
        let answer = answer.map_err(|e| aws_error("look for the routes of a subnet", &e))?;
        Ok(answer.route_tables.unwrap_or_default().pop())
    }

    /// Returns a NAT gateway, and before it its subnet.
    async fn lendable_nat_gateway(&self, id: &str, in_default: bool) -> Result<Vec<Value>> {
        let request = self.client.describe_nat_gateways();
        let answer = request.filter(filter("nat-gateway-id", id)).send().await;
        let answer = answer.map_err(|e| aws_error(&format!("look up {id}"), &e))?;
        let Some(gateway) = answer.nat_gateways().first() else {
            return Ok(Vec::new());
        };
        let subnet = gateway.subnet_id().unwrap_or_default();
        let answer = self
            .client
            .describe_subnets()
            .filters(filter("subnet-id", subnet))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up subnet `{subnet}`"), &e))?;
        let subnets = answer.subnets().iter();
        let mut lent: Vec<Value> = subnets
            .map(|subnet| subnet_of(subnet, in_default, None))
            .collect();
        let mut addresses = gateway.nat_gateway_addresses().iter();
        lent.push(json!({ "nat_gateway": {
            "id": id,
            "vpc": gateway.vpc_id(),
            "subnet": subnet,
            "allocation": addresses.find_map(types::NatGatewayAddress::allocation_id),
            "tags": tags(gateway.tags()),
        }}));
        Ok(lent)
    }
}

/// Returns a subnet. The rehearsal has one block of addresses for all subnets of the
/// default VPC.
fn subnet_of(subnet: &types::Subnet, in_default: bool, gateway: Option<&str>) -> Value {
    json!({ "subnet": {
        "id": subnet.subnet_id(),
        "vpc": subnet.vpc_id().filter(|_| !in_default),
        "cidr": subnet.cidr_block().filter(|_| !in_default),
        "zone": subnet.availability_zone(),
        "maps_public_ip": subnet.map_public_ip_on_launch().unwrap_or_default(),
        "nat_gateway": gateway,
    }})
}

/// Returns whether these resources are the default VPC.
fn is_default(lent: &[Value]) -> bool {
    lent.iter()
        .any(|resource| resource.get("default_vpc").is_some())
}
