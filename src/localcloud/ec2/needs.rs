//! What a request to EC2 needs from the policy of its sender.
//!
//! `action_resources` has the kinds of resources of each action. Those that exist are
//! found by the ids in the request, wherever these are: AWS's names for parameters
//! differ from action to action, and the form of an id tells its kind. What a request
//! refers to in another way (by a name, by an association, or not at all because
//! EC2 takes the default) is looked up.

use std::collections::BTreeSet;

use super::action_resources::ACTION_RESOURCES;
use super::call::Call;
use super::ids::is_id;
use super::images::resolve_image;
use super::launch_templates::with_template;
use super::network::{Sought, subnet_of, vpc_of, zone_of_launch};
use super::params::{Params, Part};
use super::state::{Region, Tags};
use super::{fleet_request, groups, spot};
use crate::authorization::{Need, Values};

/// The kinds of resources, by the prefixes of their ids.
const KINDS: [(&str, &str); 15] = [
    ("ami", "image"),
    ("eipalloc", "elastic-ip"),
    ("eni", "network-interface"),
    ("i", "instance"),
    ("igw", "internet-gateway"),
    ("key", "key-pair"),
    ("lt", "launch-template"),
    ("nat", "natgateway"),
    ("rtb", "route-table"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("snap", "snapshot"),
    ("subnet", "subnet"),
    ("vol", "volume"),
    ("vpc", "vpc"),
];

/// Parameters whose ids are not resources of the action: filters, tags, and the
/// groups to which rules refer.
const ASIDE: [&str; 5] = [
    "ClientToken",
    "Filter",
    "IpPermissions",
    "Tag",
    "TagSpecification",
];

/// Returns what a request needs. `request` is not that of the action, which refuses
/// parameters that it has not read itself.
///
/// What a launch template names is a resource of the launches from it. A fleet makes
/// these with the permissions of its sender.
pub(super) fn needs(call: &mut Call<'_>, request: &Part<'_>) -> Vec<Need> {
    match request.action() {
        "CreateFleet" => {
            let mut needs = of_request(call, request);
            for (template, params) in fleet_request::launches(call, request) {
                needs.extend(of_request(call, &of_launch(params, &template).all()));
            }
            let mut seen = Vec::new();
            needs.retain(|need| {
                let is_new = !seen.contains(need);
                if is_new {
                    seen.push(need.clone());
                }
                is_new
            });
            needs
        }
        "RunInstances" => match with_template(call, request) {
            Ok(Some((template, params))) => of_request(call, &of_launch(params, &template).all()),
            _ => of_request(call, request),
        },
        _ => of_request(call, request),
    }
}

/// Adds what makes parameters a request: the action, and the template.
fn of_launch(params: Params, template: &str) -> Params {
    let mut values = params.into_values();
    for (name, value) in [
        ("Action", "RunInstances"),
        ("LaunchTemplate.LaunchTemplateId", template),
    ] {
        values.insert(name.to_owned(), value.to_owned());
    }
    Params::of(values)
}

fn of_request(call: &mut Call<'_>, request: &Part<'_>) -> Vec<Need> {
    let action = request.action();
    let row = ACTION_RESOURCES.iter().find(|(known, _)| *known == action);
    let Some((_, kinds)) = row else {
        let need = Need::of_action(format!("ec2:{action}"));
        return vec![in_region(call, need)];
    };
    let existing = existing(call, request);
    let mut needs = Vec::new();
    for kind in kinds.split(' ') {
        match kind.strip_prefix('+') {
            // AWS checks the creation of rules only if they get tags.
            Some(new @ "security-group-rule") if specified(request, new).is_empty() => {}
            // The volumes of a fleet are those of its launches, unless it tags them.
            Some(new @ "volume")
                if action == "CreateFleet" && specified(request, new).is_empty() => {}
            Some("spot-instances-request") if !wants_spot(request) => {}
            Some(new) => needs.push(creation(call, request, action, new)),
            None => {
                let all = existing.iter().filter(|(of, _)| kind == "*" || *of == kind);
                needs.extend(all.map(|(kind, id)| use_of(call, request, kind, id)));
            }
        }
    }
    if needs.is_empty() {
        // The request names no resource. The action refuses it, unless the policy does.
        let kind = kinds.split(' ').next().unwrap_or_default();
        needs.push(use_of(call, request, kind, "*"));
    }
    needs.extend(tagging(call, request));
    needs.extend(pass_role(call, request));
    if action == "RunInstances" && wants_spot(request) {
        needs.extend(spot::role_need(call));
    }
    needs
}

fn wants_spot(request: &Part<'_>) -> bool {
    spot::is_wanted(request).unwrap_or(false)
}

fn in_region(call: &Call<'_>, mut need: Need) -> Need {
    need.values.set("ec2:Region", call.region_name);
    need
}

fn arn(call: &Call<'_>, kind: &str, id: &str) -> String {
    let region = call.region_name;
    match kind {
        // These can belong to another account, so their ARNs have none.
        "image" | "snapshot" => format!("arn:aws:ec2:{region}::{kind}/{id}"),
        "*" => "*".to_owned(),
        _ => call.arn(kind, id),
    }
}

/// Returns the need to create a resource. It has no id yet, and its tags are those
/// of the request.
fn creation(call: &Call<'_>, request: &Part<'_>, action: &str, kind: &str) -> Need {
    let id = match (kind, request.text("KeyName")) {
        ("key-pair", Some(name)) => name,
        _ => "*",
    };
    let mut need = Need::new(format!("ec2:{action}"), arn(call, kind, id));
    set_tags(&mut need.values, &specified(request, kind));
    if kind == "instance" && action == "RunInstances" {
        let instance_type = request.text("InstanceType").unwrap_or("m1.small");
        need.values.set("ec2:InstanceType", instance_type);
    }
    in_region(call, need)
}

/// Returns the need to use a resource that exists.
fn use_of(call: &Call<'_>, request: &Part<'_>, kind: &str, id: &str) -> Need {
    let action = request.action();
    let mut need = Need::new(format!("ec2:{action}"), arn(call, kind, id));
    if matches!(action, "CreateTags" | "DeleteTags") {
        set_tags(&mut need.values, &tags_in(request));
    }
    let vpc = |id: &str| call.arn("vpc", id);
    if let Some(region) = call.known() {
        set_attributes(&mut need.values, region, (kind, id), &vpc);
    }
    in_region(call, need)
}

/// Sets the tags and attributes of a resource.
fn set_attributes(
    values: &mut Values,
    region: &Region,
    (kind, id): (&str, &str),
    vpc: &dyn Fn(&str) -> String,
) {
    for (key, value) in tags_of(region, kind, id).into_iter().flatten() {
        values.set(&format!("aws:ResourceTag/{key}"), value);
        values.set(&format!("ec2:ResourceTag/{key}"), value);
    }
    match kind {
        "image" => values.set("ec2:ImageID", id),
        "instance" => {
            values.set("ec2:InstanceID", id);
            if let Some(instance) = region.instances.get(id) {
                values.set("ec2:InstanceType", &instance.instance_type);
            }
        }
        "key-pair" => values.set("ec2:KeyPairName", id),
        "security-group" => {
            values.set("ec2:SecurityGroupID", id);
            if let Some(group) = region.groups.get(id) {
                values.set("ec2:Vpc", vpc(&group.vpc));
            }
        }
        "subnet" => {
            values.set("ec2:SubnetID", id);
            if let Some(subnet) = region.networks.subnets.get(id) {
                values.set("ec2:Vpc", vpc(&subnet.vpc));
                values.set("ec2:AvailabilityZone", &subnet.zone);
            }
        }
        "volume" => values.set("ec2:VolumeID", id),
        "vpc" => values.set("ec2:VpcID", id),
        _ => {}
    }
}

/// Returns the tags of a resource, or `None` if it does not exist.
fn tags_of<'a>(region: &'a Region, kind: &str, id: &str) -> Option<&'a Tags> {
    let networks = &region.networks;
    Some(match kind {
        "elastic-ip" => &region.elastic_ips.get(id)?.tags,
        "image" => &region.images.get(id)?.tags,
        "instance" => &region.instances.get(id)?.tags,
        "internet-gateway" => &networks.internet_gateways.get(id)?.tags,
        "key-pair" => &region.key_pairs.get(id)?.tags,
        "launch-template" => &region.launch_templates.get(id)?.tags,
        "natgateway" => &networks.nat_gateways.get(id)?.tags,
        "network-interface" => &region.instances.find(id).next()?.options.interface_tags,
        "route-table" => &networks.route_tables.get(id)?.tags,
        "security-group" => &region.groups.get(id)?.tags,
        "security-group-rule" => {
            let group = region.groups.find(id).next()?;
            let mut rules = group.ingress.iter().chain(&group.egress);
            &rules.find(|rule| rule.id == id)?.tags
        }
        "snapshot" => &region.snapshots.get(id)?.tags,
        "subnet" => &networks.subnets.get(id)?.tags,
        "volume" => &region.volumes.get(id)?.tags,
        "vpc" => &networks.vpcs.get(id)?.tags,
        _ => return None,
    })
}

/// Sets the tags of a request. A tag to delete may have no value.
fn set_tags(values: &mut Values, tags: &[(&str, Option<&str>)]) {
    if tags.is_empty() {
        return;
    }
    let keys = tags.iter().map(|(key, _)| (*key).to_owned());
    values.set_all("aws:TagKeys", keys);
    for (key, value) in tags {
        if let Some(value) = value {
            values.set(&format!("aws:RequestTag/{key}"), *value);
        }
    }
}

/// Returns the tags that a request gives to new resources of a kind.
fn specified<'a>(request: &Part<'a>, kind: &str) -> Vec<(&'a str, Option<&'a str>)> {
    let specifications = request.parts("TagSpecification");
    let of_kind = specifications
        .iter()
        .filter(|specification| specification.text("ResourceType") == Some(kind));
    of_kind.flat_map(tags_in).collect()
}

/// Returns the tags `Tag.N`.
fn tags_in<'a>(part: &Part<'a>) -> Vec<(&'a str, Option<&'a str>)> {
    let tags = part.parts("Tag");
    let tags = tags
        .iter()
        .filter_map(|tag| Some((tag.text("Key")?, tag.given("Value"))));
    tags.collect()
}

/// Returns the needs to tag what an action creates: AWS checks `ec2:CreateTags` for
/// each kind in the request's tag specifications.
fn tagging(call: &Call<'_>, request: &Part<'_>) -> Vec<Need> {
    let specifications = request.parts("TagSpecification");
    let kinds = specifications
        .iter()
        .filter_map(|specification| specification.text("ResourceType"));
    let kinds: BTreeSet<&str> = kinds.collect();
    let need = |kind: &str| {
        let mut need = creation(call, request, "CreateTags", kind);
        need.values.set("ec2:CreateAction", request.action());
        need
    };
    kinds.into_iter().map(need).collect()
}

/// Returns the need to pass the role of the instance profile that a request names.
fn pass_role(call: &Call<'_>, request: &Part<'_>) -> Option<Need> {
    let profile = request.part("IamInstanceProfile");
    let (name, arn) = (profile.text("Name"), profile.text("Arn"));
    let role = call.state.iam.passed_role(&call.facts.account, name, arn)?;
    let mut need = Need::new("iam:PassRole", role);
    need.values.set("iam:PassedToService", "ec2.amazonaws.com");
    Some(need)
}

/// Returns the kinds and ids of the existing resources that a request uses. The id of
/// a key pair is its name, as in its ARN.
fn existing(call: &mut Call<'_>, request: &Part<'_>) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in request.pairs() {
        let first = name.split('.').next().unwrap_or_default();
        if ASIDE.contains(&first) {
            continue;
        }
        let kind = KINDS.iter().find(|(prefix, _)| is_id(prefix, value));
        match (first, kind) {
            ("FleetId", _) => found.push(("fleet", value.to_owned())),
            ("KeyName", _) => found.push(("key-pair", value.to_owned())),
            (_, Some((_, "key-pair"))) => found.extend(key_pair(call, value)),
            (_, Some((_, kind))) => found.push((kind, value.to_owned())),
            ("AssociationId", None) => found.extend(associated(call, value)),
            ("PublicIp", None) => found.extend(elastic_ip(call, value)),
            _ => {}
        }
    }
    found.extend(named_groups(call, request));
    found.extend(resolved_image(call, request));
    match request.action() {
        "CreateSecurityGroup" => found.extend(default_vpc(call, request)),
        "CreateSnapshots" => found.extend(volumes(call, request)),
        "RunInstances" => found.extend(defaults_of_launch(call, request)),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    found.retain(|resource| seen.insert(resource.clone()));
    found
}

fn key_pair(call: &Call<'_>, id: &str) -> Option<(&'static str, String)> {
    let pair = call.known()?.key_pairs.find(id).next()?;
    Some(("key-pair", pair.name.clone()))
}

fn elastic_ip(call: &Call<'_>, address: &str) -> Option<(&'static str, String)> {
    let mut all = call.known()?.elastic_ips.values();
    let own = all.find(|own| own.address.to_string() == address)?;
    Some(("elastic-ip", own.id.clone()))
}

/// Returns what an association associates: an address, a route table with a subnet,
/// or the profile of an instance.
fn associated(call: &Call<'_>, id: &str) -> Vec<(&'static str, String)> {
    let Some(region) = call.known() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for instance in region.instances.values() {
        let profile = instance.iam_profile.as_ref();
        if profile.is_some_and(|profile| profile.association == id) {
            found.push(("instance", instance.id.clone()));
        }
        if let Some(own) = instance.elastic_ip.as_ref().filter(|own| own.id == id) {
            found.push(("elastic-ip", own.allocation.clone()));
            found.push(("network-interface", instance.interface.clone()));
        }
    }
    for table in region.networks.route_tables.values() {
        let subnet = table.associations.get(id);
        if subnet.is_some() || table.main.as_deref() == Some(id) {
            found.push(("route-table", table.id.clone()));
        }
        found.extend(subnet.map(|subnet| ("subnet", subnet.clone())));
    }
    found
}

/// Returns the groups that a request names by their names in the default VPC.
fn named_groups(call: &mut Call<'_>, request: &Part<'_>) -> Vec<(&'static str, String)> {
    let mut names = request.list("SecurityGroup");
    if request.action() != "CreateSecurityGroup" {
        names.extend(request.text("GroupName"));
    }
    let ids = names
        .into_iter()
        .filter_map(|name| groups::id_by_name(call, name).ok());
    ids.map(|id| ("security-group", id)).collect()
}

/// Returns the image that a launch names by a public parameter.
fn resolved_image(call: &mut Call<'_>, request: &Part<'_>) -> Option<(&'static str, String)> {
    let name = request.text("ImageId")?;
    if !name.starts_with("resolve:") {
        return None;
    }
    Some(("image", resolve_image(call, name).ok()?.id))
}

fn default_vpc(call: &mut Call<'_>, request: &Part<'_>) -> Option<(&'static str, String)> {
    if request.text("VpcId").is_some() {
        return None;
    }
    Some(("vpc", vpc_of(call, None).ok()?.id))
}

/// Returns the volumes of the instance whose snapshots a request creates.
fn volumes(call: &Call<'_>, request: &Part<'_>) -> Vec<(&'static str, String)> {
    let instance = request.part("InstanceSpecification").text("InstanceId");
    let instance = instance.and_then(|id| call.known()?.instances.get(id));
    let attachments = instance.into_iter().flat_map(|it| &it.attachments);
    attachments
        .map(|attachment| ("volume", attachment.volume.clone()))
        .collect()
}

/// Returns the subnet and the security group that a launch gets without naming them.
fn defaults_of_launch(call: &mut Call<'_>, request: &Part<'_>) -> Vec<(&'static str, String)> {
    let interface = request.part("NetworkInterface.1");
    let names_group = ["SecurityGroup", "SecurityGroupId"]
        .iter()
        .any(|name| request.has(name) || interface.has(name));
    let subnet = request.text("SubnetId").or(interface.text("SubnetId"));
    let zone = zone_of_launch(call, &request.part("Placement")).ok();
    let zone = zone.flatten();
    let instance_type = request.text("InstanceType").unwrap_or_default();
    let sought = Sought {
        instance_type,
        count: 1,
        spot: wants_spot(request),
    };
    let Ok(subnet) = subnet_of(call, subnet, zone.as_deref(), sought) else {
        return Vec::new();
    };
    let mut found = vec![("subnet", subnet.id)];
    if !names_group {
        let group = groups::default_of(call, &subnet.vpc);
        found.extend(group.map(|id| ("security-group", id)));
    }
    found
}
