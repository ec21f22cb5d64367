//! Route tables: create, associate with subnets, delete and describe.

use std::collections::BTreeMap;

use super::super::call::{Call, Effect};
use super::super::filters::{Filtered, Filters, page_after};
use super::super::ids::{ROUTE_TABLE, is_id, new_id};
use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::state::Tags;
use super::super::tags;
use super::super::xml::Xml;
use super::state::{RouteTable, Vpc};
use super::{MAX_ROUTE_TABLES, find_subnet, find_table, find_vpc, in_use, is_hidden};

/// A route as `DescribeRouteTables` shows it.
struct Shown {
    destination: String,
    gateway: String,
    origin: &'static str,
    state: &'static str,
}

/// A route table with what its answer needs.
struct View {
    table: RouteTable,
    routes: Vec<Shown>,
    owner: String,
}

impl View {
    fn of(call: &mut Call<'_>, table: RouteTable) -> Self {
        let networks = &call.region().networks;
        let local = networks.vpcs.get(&table.vpc).map(|vpc: &Vpc| Shown {
            destination: vpc.cidr.to_string(),
            gateway: "local".to_owned(),
            origin: "CreateRouteTable",
            state: "active",
        });
        let others = table.routes.iter().map(|route| Shown {
            destination: route.destination.to_string(),
            gateway: route.gateway.clone(),
            origin: "CreateRoute",
            state: if networks.is_active(route, &table.vpc) {
                "active"
            } else {
                "blackhole"
            },
        });
        Self {
            routes: local.into_iter().chain(others).collect(),
            owner: call.facts.account.clone(),
            table,
        }
    }

    /// Returns the targets of the routes that are of one kind.
    fn targets(&self, kind: impl Fn(&str) -> bool) -> Vec<String> {
        let targets = self.routes.iter().map(|route| &route.gateway);
        targets.filter(|id| kind(id)).cloned().collect()
    }

    fn write(&self, xml: &mut Xml) {
        let table = &self.table;
        xml.text("routeTableId", &table.id);
        xml.text("vpcId", &table.vpc);
        xml.text("ownerId", &self.owner);
        xml.list("routeSet", &self.routes, |xml, route| {
            xml.text("destinationCidrBlock", &route.destination);
            let target = if is_id("nat", &route.gateway) {
                "natGatewayId"
            } else {
                "gatewayId"
            };
            xml.text(target, &route.gateway);
            xml.text("origin", route.origin);
            xml.text("state", route.state);
        });
        let main = table.main.iter().map(|id| (id, None));
        let others = table.associations.iter();
        let others = others.map(|(id, subnet)| (id, Some(subnet)));
        xml.list("associationSet", main.chain(others), |xml, (id, subnet)| {
            xml.text("routeTableAssociationId", id);
            xml.text("routeTableId", &table.id);
            xml.text("main", subnet.is_none());
            xml.option("subnetId", subnet);
            xml.node("associationState", |xml| xml.text("state", "associated"));
        });
        xml.texts("propagatingVgwSet", [] as [&str; 0]);
        tags::write_list(xml, &table.tags);
    }
}

impl Filtered for View {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let table = &self.table;
        let of_routes =
            |value: fn(&Shown) -> &str| self.routes.iter().map(|r| value(r).to_owned()).collect();
        let associations = || table.main.iter().chain(table.associations.keys());
        Some(match name {
            "route-table-id" => vec![table.id.clone()],
            "vpc-id" => vec![table.vpc.clone()],
            "owner-id" => vec![self.owner.clone()],
            "association.main" => {
                let main = table.main.iter().map(|_| "true".to_owned());
                let others = table.associations.keys().map(|_| "false".to_owned());
                main.chain(others).collect()
            }
            "association.route-table-association-id" => associations().cloned().collect(),
            "association.route-table-id" => associations().map(|_| table.id.clone()).collect(),
            "association.subnet-id" => table.associations.values().cloned().collect(),
            "route.destination-cidr-block" => of_routes(|route| &route.destination),
            "route.gateway-id" => self.targets(|id| !is_id("nat", id)),
            "route.nat-gateway-id" => self.targets(|id| is_id("nat", id)),
            "route.origin" => of_routes(|route| route.origin),
            "route.state" => of_routes(|route| route.state),
            // No table has such associations and routes.
            "association.gateway-id"
            | "route.destination-ipv6-cidr-block"
            | "route.destination-prefix-list-id"
            | "route.egress-only-internet-gateway-id"
            | "route.instance-id"
            | "route.transit-gateway-id"
            | "route.vpc-peering-connection-id" => Vec::new(),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.table.tags)
    }
}

/// Stores a changed table.
pub(super) fn put(call: &mut Call<'_>, table: RouteTable) {
    let tables = &mut call.region().networks.route_tables;
    tables.insert(table.id.clone(), table);
    call.effects.push(Effect::Groups);
}

pub(in super::super) fn create_route_table(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let vpc = request.required("VpcId")?;
    let token = request.text("ClientToken");
    let tags = tags::specified(request, &["route-table"], "route-table")?;
    call.read_all()?;
    let vpc = find_vpc(call, vpc)?;
    let tables = call.region().networks.route_tables.values();
    if tables.filter(|table| table.vpc == vpc.id).count() >= MAX_ROUTE_TABLES {
        return Err(Refusal::new(
            "RouteTableLimitExceeded",
            "The maximum number of route tables has been reached.",
        ));
    }
    let table = RouteTable {
        id: new_id("rtb"),
        vpc: vpc.id,
        main: None,
        associations: BTreeMap::new(),
        routes: Vec::new(),
        tags,
    };
    let view = View::of(call, table.clone());
    put(call, table);
    let mut xml = Xml::default();
    xml.node("routeTable", |xml| view.write(xml));
    xml.option("clientToken", token);
    Ok(xml)
}

pub(in super::super) fn delete_route_table(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("RouteTableId")?;
    call.read_all()?;
    let table = find_table(call, id)?;
    if table.main.is_some() || !table.associations.is_empty() {
        return Err(in_use("routeTable", id));
    }
    call.region().networks.route_tables.remove(id);
    Ok(Xml::done())
}

pub(in super::super) fn describe_route_tables(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("RouteTableId");
    let tables = call.region().networks.route_tables.values();
    let mut all: Vec<RouteTable> = tables.cloned().collect();
    all.retain(|table| !is_hidden(call, &table.vpc));
    ROUTE_TABLE.find_all(&ids, |id| all.iter().any(|table| table.id == id))?;
    let asked = all
        .into_iter()
        .filter(|table| ids.is_empty() || ids.contains(&table.id.as_str()))
        .map(|table| View::of(call, table))
        .collect();
    let found = Filters::of(request)?.keep(asked)?;
    let (tables, next) = page_after(request, found, 5, |one| one.table.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("routeTableSet", tables, |xml, view| view.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

pub(in super::super) fn associate_route_table(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    super::refuse(request, &["GatewayId", "PublicIpv4Pool"])?;
    let id = request.required("RouteTableId")?;
    let subnet = request.required("SubnetId")?;
    call.read_all()?;
    let mut table = find_table(call, id)?;
    let subnet = find_subnet(call, subnet)?;
    if subnet.vpc != table.vpc {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!(
                "route table {id} and network subnet {} belong to different networks",
                subnet.id
            ),
        ));
    }
    let mut tables = call.region().networks.route_tables.values();
    let own = table.associations.iter().find(|(_, of)| **of == subnet.id);
    let association = match own {
        // The same association again.
        Some((known, _)) => known.clone(),
        None if tables.any(|other| other.associations.values().any(|of| *of == subnet.id)) => {
            return Err(Refusal::new(
                "Resource.AlreadyAssociated",
                format!(
                    "the specified association for route table {id} conflicts with an existing \
                     association"
                ),
            ));
        }
        None => new_id("rtbassoc"),
    };
    table.associations.insert(association.clone(), subnet.id);
    put(call, table);
    let mut xml = Xml::default();
    xml.text("associationId", association);
    xml.node("associationState", |xml| xml.text("state", "associated"));
    Ok(xml)
}

/// Returns the table with this association.
fn associated(call: &mut Call<'_>, association: &str) -> Result<RouteTable> {
    let mut tables = call.region().networks.route_tables.values();
    let found = tables.find(|table| {
        table.main.as_deref() == Some(association) || table.associations.contains_key(association)
    });
    found.cloned().ok_or_else(|| {
        Refusal::new(
            "InvalidAssociationID.NotFound",
            format!("The association ID '{association}' does not exist"),
        )
    })
}

pub(in super::super) fn disassociate_route_table(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let id = request.required("AssociationId")?;
    call.read_all()?;
    let mut table = associated(call, id)?;
    if table.main.as_deref() == Some(id) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("cannot disassociate the main route table association {id}"),
        ));
    }
    table.associations.remove(id);
    put(call, table);
    Ok(Xml::done())
}

pub(in super::super) fn replace_route_table_association(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let id = request.required("AssociationId")?;
    let to = request.required("RouteTableId")?;
    call.read_all()?;
    let mut from = associated(call, id)?;
    let target = find_table(call, to)?;
    if from.vpc != target.vpc {
        return Err(Refusal::new(
            "InvalidParameterValue",
            format!("association {id} and route table {to} belong to different networks"),
        ));
    }
    let new = new_id("rtbassoc");
    let subnet = from.associations.remove(id);
    if subnet.is_none() {
        from.main = None;
    }
    put(call, from);
    // It may be the same table.
    let mut target = find_table(call, to)?;
    match subnet {
        Some(subnet) => drop(target.associations.insert(new.clone(), subnet)),
        None => target.main = Some(new.clone()),
    }
    put(call, target);
    let mut xml = Xml::default();
    xml.text("newAssociationId", new);
    xml.node("associationState", |xml| xml.text("state", "associated"));
    Ok(xml)
}
