//! The default network ACL of each VPC. It allows everything, and cannot be
//! changed here.

use super::super::call::Call;
use super::super::filters::{Filtered, Filters, page};
use super::super::ids::{NETWORK_ACL, stable_id};
use super::super::params::Part;
use super::super::refusal::Result;
use super::super::state::Tags;
use super::super::tags;
use super::super::xml::Xml;
use super::is_hidden;

/// The entries of a default network ACL: number and action, for each direction.
const ENTRIES: [(u32, &str); 2] = [(100, "allow"), (32767, "deny")];

/// The default network ACL of a VPC.
struct Acl {
    id: String,
    vpc: String,
    subnets: Vec<String>,
    owner: String,
    tags: Tags,
}

fn association(subnet: &str) -> String {
    stable_id("aclassoc", &[subnet])
}

impl Filtered for Acl {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let each = |value: fn(&(u32, &str)) -> String| ENTRIES.iter().map(value).collect();
        Some(match name {
            "network-acl-id" => vec![self.id.clone()],
            "vpc-id" => vec![self.vpc.clone()],
            "owner-id" => vec![self.owner.clone()],
            "default" => vec!["true".to_owned()],
            "association.association-id" => self.subnets.iter().map(|id| association(id)).collect(),
            "association.network-acl-id" => self.subnets.iter().map(|_| self.id.clone()).collect(),
            "association.subnet-id" => self.subnets.clone(),
            "entry.cidr" => vec!["0.0.0.0/0".to_owned()],
            "entry.protocol" => vec!["-1".to_owned()],
            "entry.rule-action" => each(|(_, action)| (*action).to_owned()),
            "entry.rule-number" => each(|(number, _)| number.to_string()),
            "entry.egress" => vec!["true".to_owned(), "false".to_owned()],
            // No entry has these.
            "entry.icmp.code"
            | "entry.icmp.type"
            | "entry.ipv6-cidr"
            | "entry.port-range.from"
            | "entry.port-range.to" => Vec::new(),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

pub(in super::super) fn describe_network_acls(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("NetworkAclId");
    let owner = call.facts.account.clone();
    let mut vpcs: Vec<String> = call.region().networks.vpcs.keys().cloned().collect();
    vpcs.retain(|vpc| !is_hidden(call, vpc));
    let networks = &call.region().networks;
    let of = |vpc: String| Acl {
        id: stable_id("acl", &[&vpc]),
        subnets: networks
            .subnets
            .values()
            .filter(|subnet| subnet.vpc == vpc)
            .map(|subnet| subnet.id.clone())
            .collect(),
        vpc,
        owner: owner.clone(),
        tags: Tags::new(),
    };
    let all: Vec<Acl> = vpcs.into_iter().map(of).collect();
    NETWORK_ACL.find_all(&ids, |id| all.iter().any(|acl| acl.id == id))?;
    let asked = all
        .into_iter()
        .filter(|acl| ids.is_empty() || ids.contains(&acl.id.as_str()))
        .collect();
    let (acls, next) = page(request, Filters::of(request)?.keep(asked)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("networkAclSet", acls, |xml, acl| write(xml, &acl));
    xml.option("nextToken", next);
    Ok(xml)
}

fn write(xml: &mut Xml, acl: &Acl) {
    xml.text("networkAclId", &acl.id);
    xml.text("vpcId", &acl.vpc);
    xml.text("ownerId", &acl.owner);
    xml.text("default", true);
    let entries = [true, false]
        .into_iter()
        .flat_map(|egress| ENTRIES.map(|(number, action)| (egress, number, action)));
    xml.list("entrySet", entries, |xml, (egress, number, action)| {
        xml.text("ruleNumber", number);
        xml.text("protocol", "-1");
        xml.text("ruleAction", action);
        xml.text("egress", egress);
        xml.text("cidrBlock", "0.0.0.0/0");
    });
    xml.list("associationSet", &acl.subnets, |xml, subnet| {
        xml.text("networkAclAssociationId", association(subnet));
        xml.text("networkAclId", &acl.id);
        xml.text("subnetId", subnet);
    });
    tags::write_list(xml, &acl.tags);
}
