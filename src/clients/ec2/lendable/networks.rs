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
        let gateway = self.nat_gateway_of(subnet).await?;
        if let Some(gateway) = &gateway {
            lent.extend(self.lendable_nat_gateway(gateway, in_default).await?);
        }
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

    /// Returns the id of the NAT gateway to which a subnet sends its packets for the
    /// internet.
    async fn nat_gateway_of(&self, subnet: &types::Subnet) -> Result<Option<String>> {
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
        let to_internet = routes.filter(|it| it.destination_cidr_block() == Some("0.0.0.0/0"));
        let mut gateways = to_internet.filter_map(types::Route::nat_gateway_id);
        Ok(gateways.next().map(str::to_owned))
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
