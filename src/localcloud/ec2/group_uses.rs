//! Where security groups can be used, and where they are.

use super::call::Call;
use super::filters::{Filtered, Filters, page, page_after};
use super::groups;
use super::params::Part;
use super::refusal::Result;
use super::state::{Group, Tags};
use super::tags;
use super::vpc::find_vpc;
use super::xml::Xml;

/// A group of a VPC, with its owner.
struct Usable {
    group: Group,
    owner: String,
}

impl Filtered for Usable {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let group = &self.group;
        let one = match name {
            "description" => &group.description,
            "group-id" => &group.id,
            "group-name" => &group.name,
            "owner-id" => &self.owner,
            "primary-vpc-id" => &group.vpc,
            _ => return None,
        };
        Some(vec![one.clone()])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.group.tags)
    }
}

/// Describes the groups that interfaces in a VPC can have: those of the VPC.
pub(super) fn get_security_groups_for_vpc(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let vpc = find_vpc(call, request.required("VpcId")?)?.id;
    let owner = call.facts.account.clone();
    let groups = call.region().groups.values();
    let mut groups: Vec<Group> = groups.filter(|group| group.vpc == vpc).cloned().collect();
    groups.retain(|group| call.visible(group.created));
    let usable = groups.into_iter().map(|group| Usable {
        group,
        owner: owner.clone(),
    });
    let usable = Filters::of(request)?.keep(usable.collect())?;
    let (usable, next) = page_after(request, usable, 5, |one| one.group.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list(
        "securityGroupForVpcSet",
        usable,
        |xml, Usable { group, owner }| {
            xml.text("description", group.description);
            xml.text("groupName", group.name);
            xml.text("ownerId", owner);
            xml.text("groupId", group.id);
            tags::write_list(xml, &group.tags);
            xml.text("primaryVpcId", group.vpc);
        },
    );
    xml.option("nextToken", next);
    Ok(xml)
}

/// Describes the VPCs whose groups refer to a group. Only peered VPCs can, and there
/// are none.
pub(super) fn describe_security_group_references(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("GroupId");
    if ids.is_empty() {
        request.required("GroupId")?;
    }
    call.read_all()?;
    for id in ids {
        groups::find(call, id)?;
    }
    let mut xml = Xml::default();
    xml.texts("securityGroupReferenceSet", [] as [&str; 0]);
    Ok(xml)
}

/// Describes the groups with rules about groups of a VPC that is no longer peered.
pub(super) fn describe_stale_security_groups(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    find_vpc(call, request.required("VpcId")?)?;
    page(request, Vec::<()>::new(), 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.texts("staleSecurityGroupSet", [] as [&str; 0]);
    Ok(xml)
}
