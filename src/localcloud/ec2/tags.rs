//! Tags: set when a resource is created, added, removed and described.

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::ids::{IdKind, is_id};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Phase, Region, Tags};
use super::xml::Xml;

/// AWS's limit of tags per resource.
const MAX_TAGS: usize = 50;

/// AWS's limit of the characters in a key.
const MAX_KEY: usize = 127;

/// AWS's limit of the characters in a value.
const MAX_VALUE: usize = 256;

/// Returns the tags in `TagSpecification.N` for one kind of resource.
///
/// Refuses kinds of resources that the action does not create.
pub(super) fn specified(request: &Part<'_>, kinds: &[&str], kind: &str) -> Result<Tags> {
    let mut tags = Tags::new();
    for specification in request.parts("TagSpecification") {
        let given = specification
            .text("ResourceType")
            .ok_or_else(|| invalid("Tag specification resource type must have a value"))?;
        if !kinds.contains(&given) {
            return Err(invalid(format!(
                "'{given}' is not a valid taggable resource type for this operation."
            )));
        }
        let these = read(&specification)?;
        if these.is_empty() {
            return Err(invalid("Tag specification must have at least one tag"));
        }
        if given == kind {
            tags.extend(these);
        }
    }
    Ok(tags)
}

/// Returns the tags `Tag.N`.
fn read(part: &Part<'_>) -> Result<Tags> {
    let mut tags = Tags::new();
    for tag in part.parts("Tag") {
        let key = tag.text("Key").unwrap_or_default();
        let value = tag.given("Value");
        check_key(key)?;
        let Some(value) = value else {
            return Err(invalid(
                "Tag value cannot be null. Use empty string instead.",
            ));
        };
        if value.chars().count() > MAX_VALUE {
            return Err(invalid(format!(
                "Tag value exceeds the maximum length of {MAX_VALUE} characters"
            )));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(limit());
    }
    Ok(tags)
}

/// Refuses a key that a user's tag cannot have.
fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(invalid("Not empty key must be present"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(invalid(
            "Tag keys starting with 'aws:' are reserved for internal use",
        ));
    }
    if key.chars().count() > MAX_KEY {
        return Err(invalid(format!(
            "Tag key exceeds the maximum length of {MAX_KEY} characters"
        )));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidParameterValue", message)
}

fn limit() -> Refusal {
    Refusal::new(
        "TagLimitExceeded",
        "The maximum number of Tags for a resource has been reached.",
    )
}

/// Writes the tags of a resource. As on AWS, a resource without tags has no list
/// of them.
pub(super) fn write(xml: &mut Xml, tags: &Tags) {
    if !tags.is_empty() {
        write_list(xml, tags);
    }
}

/// Writes the tags of a resource of a kind that AWS returns with an empty list, such
/// as key pairs and internet gateways.
pub(super) fn write_list(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.text("key", key);
        xml.text("value", value);
    });
}

/// Returns the kind and the tags of the resource with this id.
fn of<'a>(region: &'a mut Region, id: &str) -> Option<(&'static str, &'a mut Tags)> {
    if is_id("key", id) {
        let name = region.key_pairs.find(id).next()?.name.clone();
        return Some(("key-pair", &mut region.key_pairs.get_mut(&name)?.tags));
    }
    if is_id("sg", id) {
        return Some(("security-group", &mut region.groups.get_mut(id)?.tags));
    }
    if is_id("sgr", id) {
        let group = region.groups.find(id).next()?.id.clone();
        let group = region.groups.get_mut(&group)?;
        let mut rules = group.ingress.iter_mut().chain(&mut group.egress);
        let rule = rules.find(|rule| rule.id == id)?;
        return Some(("security-group-rule", &mut rule.tags));
    }
    if is_id("eipalloc", id) {
        return Some(("elastic-ip", &mut region.elastic_ips.get_mut(id)?.tags));
    }
    if is_id("ami", id) {
        return Some(("image", &mut region.images.get_mut(id)?.tags));
    }
    if is_id("snap", id) {
        return Some(("snapshot", &mut region.snapshots.get_mut(id)?.tags));
    }
    if is_id("lt", id) {
        let template = region.launch_templates.get_mut(id)?;
        return Some(("launch-template", &mut template.tags));
    }
    if is_id("vol", id) {
        return Some(("volume", &mut region.volumes.get_mut(id)?.tags));
    }
    if is_id("eni", id) {
        let owner = {
            let mut owners = region.instances.find(id);
            owners.find(|i| i.phase != Phase::Terminated)?.id.clone()
        };
        let owner = region.instances.get_mut(&owner)?;
        return Some(("network-interface", &mut owner.options.interface_tags));
    }
    let networks = &mut region.networks;
    if is_id("vpc", id) {
        return Some(("vpc", &mut networks.vpcs.get_mut(id)?.tags));
    }
    if is_id("subnet", id) {
        return Some(("subnet", &mut networks.subnets.get_mut(id)?.tags));
    }
    if is_id("igw", id) {
        let gateway = networks.internet_gateways.get_mut(id)?;
        return Some(("internet-gateway", &mut gateway.tags));
    }
    if is_id("rtb", id) {
        let table = networks.route_tables.get_mut(id)?;
        return Some(("route-table", &mut table.tags));
    }
    if is_id("nat", id) {
        let gateway = networks.nat_gateways.get_mut(id)?;
        return Some(("natgateway", &mut gateway.tags));
    }
    let instance = region.instances.get_mut(id)?;
    Some(("instance", &mut instance.tags))
}

/// Returns the resources of a request that changes tags.
fn resources<'a>(request: &Part<'a>) -> Result<Vec<&'a str>> {
    let ids = request.list("ResourceId");
    if ids.is_empty() {
        return Err(missing("resourceIdSet"));
    }
    Ok(ids)
}

fn missing(parameter: &str) -> Refusal {
    Refusal::new(
        "MissingParameter",
        format!("The request must contain the parameter {parameter}"),
    )
}

/// Returns the error about the id of a resource without tags: it is malformed, or
/// the resource does not exist.
fn not_found(id: &str) -> Refusal {
    match IdKind::of(id) {
        Some(kind) => kind.not_found(&[id]),
        None => Refusal::new("InvalidID", format!("The ID '{id}' is not valid")),
    }
}

pub(super) fn create_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = resources(request)?;
    let tags = read(request)?;
    if tags.is_empty() {
        return Err(missing("tagSet"));
    }
    call.read_all()?;
    for id in ids {
        let (_, own) = of(call.region(), id).ok_or_else(|| not_found(id))?;
        own.extend(tags.clone());
        if own.len() > MAX_TAGS {
            return Err(limit());
        }
    }
    Ok(Xml::done())
}

pub(super) fn delete_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = resources(request)?;
    // Without a value, a tag is deleted whatever its value is.
    let mut unwanted: Vec<(&str, Option<&str>)> = Vec::new();
    for tag in request.parts("Tag") {
        let key = tag.text("Key").unwrap_or_default();
        check_key(key)?;
        unwanted.push((key, tag.given("Value")));
    }
    call.read_all()?;
    for id in ids {
        let (_, own) = of(call.region(), id).ok_or_else(|| not_found(id))?;
        own.retain(|key, value| {
            let goes = |(k, v): &(&str, Option<&str>)| k == key && v.is_none_or(|v| v == value);
            !unwanted.is_empty() && !unwanted.iter().any(goes)
        });
    }
    Ok(Xml::done())
}

/// A tag and its resource.
struct Tag {
    id: String,
    kind: &'static str,
    key: String,
    value: String,
}

impl Filtered for Tag {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "key" => &self.key,
            "value" => &self.value,
            "resource-id" => &self.id,
            "resource-type" => self.kind,
            _ => {
                let key = name.strip_prefix("tag:")?;
                return (key == self.key).then(|| vec![self.value.clone()]);
            }
        };
        Some(vec![one.to_owned()])
    }
}

/// Returns the tags of all resources.
fn all(region: &Region) -> Vec<Tag> {
    let mut all = Vec::new();
    let mut add = |kind, id: &str, tags: &Tags| {
        all.extend(tags.iter().map(|(key, value)| Tag {
            id: id.to_owned(),
            kind,
            key: key.clone(),
            value: value.clone(),
        }));
    };
    for instance in region.instances.values() {
        add("instance", &instance.id, &instance.tags);
    }
    for volume in region.volumes.values() {
        add("volume", &volume.id, &volume.tags);
    }
    for instance in region.instances.values() {
        if instance.phase != Phase::Terminated {
            let tags = &instance.options.interface_tags;
            add("network-interface", &instance.interface, tags);
        }
    }
    for group in region.groups.values() {
        add("security-group", &group.id, &group.tags);
    }
    for group in region.groups.values() {
        for rule in group.ingress.iter().chain(&group.egress) {
            add("security-group-rule", &rule.id, &rule.tags);
        }
    }
    for own in region.elastic_ips.values() {
        add("elastic-ip", &own.id, &own.tags);
    }
    for image in region.images.values() {
        add("image", &image.id, &image.tags);
    }
    for snapshot in region.snapshots.values() {
        add("snapshot", &snapshot.id, &snapshot.tags);
    }
    for template in region.launch_templates.values() {
        add("launch-template", &template.id, &template.tags);
    }
    for fleet in region.fleets.values() {
        add("fleet", &fleet.id, &fleet.tags);
    }
    for pair in region.key_pairs.values() {
        add("key-pair", &pair.id, &pair.tags);
    }
    let networks = &region.networks;
    for vpc in networks.vpcs.values() {
        add("vpc", &vpc.id, &vpc.tags);
    }
    for subnet in networks.subnets.values() {
        add("subnet", &subnet.id, &subnet.tags);
    }
    for gateway in networks.internet_gateways.values() {
        add("internet-gateway", &gateway.id, &gateway.tags);
    }
    for table in networks.route_tables.values() {
        add("route-table", &table.id, &table.tags);
    }
    for gateway in networks.nat_gateways.values() {
        add("natgateway", &gateway.id, &gateway.tags);
    }
    all
}

pub(super) fn describe_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let all = all(call.region());
    let (tags, next) = page(request, Filters::of(request)?.keep(all)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("tagSet", tags, |xml, tag| {
        xml.text("resourceId", tag.id);
        xml.text("resourceType", tag.kind);
        xml.text("key", tag.key);
        xml.text("value", tag.value);
    });
    xml.option("nextToken", next);
    Ok(xml)
}
