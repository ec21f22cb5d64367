//! Tags: set when a resource is created, added, removed and described.

use super::call::Call;
use super::filters::{Filtered, Filters, page};
use super::ids::is_id;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Region, Tags};
use super::xml::Xml;

/// AWS's limit of tags per resource.
const MAX_TAGS: usize = 50;

/// Returns the tags in `TagSpecification.N` for one kind of resource.
///
/// Refuses kinds of resources that the action does not create.
pub(super) fn specified(request: &Part<'_>, kinds: &[&str], kind: &str) -> Result<Tags> {
    let mut tags = Tags::new();
    for specification in request.parts("TagSpecification") {
        let given = specification.required("ResourceType")?;
        if !kinds.contains(&given) {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!("'{given}' is not a valid taggable resource type for this operation."),
            ));
        }
        let these = read(&specification, "Tag")?;
        if given == kind {
            tags.extend(these);
        }
    }
    Ok(tags)
}

fn read(part: &Part<'_>, name: &str) -> Result<Tags> {
    let mut tags = Tags::new();
    for tag in part.parts(name) {
        let key = tag.required("Key")?;
        let value = tag.text("Value").unwrap_or_default();
        if key.chars().count() > 127 || value.chars().count() > 255 || key.starts_with("aws:") {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!(
                    "Tag key '{key}' or its value is invalid: a key has at most 127 characters \
                     and does not start with 'aws:', a value has at most 255 characters"
                ),
            ));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!("Duplicate tag key '{key}' specified."),
            ));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(limit());
    }
    Ok(tags)
}

fn limit() -> Refusal {
    Refusal::new(
        "TagLimitExceeded",
        format!("The maximum number of tags is {MAX_TAGS}"),
    )
}

pub(super) fn write(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.text("key", key);
        xml.text("value", value);
    });
}

/// Returns the kind and the tags of the resource with this id.
fn of<'a>(region: &'a mut Region, id: &str) -> Option<(&'static str, &'a mut Tags)> {
    if is_id("key", id) {
        let pair = region.key_pairs.values_mut().find(|pair| pair.id == id)?;
        return Some(("key-pair", &mut pair.tags));
    }
    if is_id("sg", id) {
        return Some(("security-group", &mut region.groups.get_mut(id)?.tags));
    }
    if is_id("sgr", id) {
        let rule = region
            .groups
            .values_mut()
            .flat_map(|group| group.ingress.iter_mut().chain(group.egress.iter_mut()))
            .find(|rule| rule.id == id)?;
        return Some(("security-group-rule", &mut rule.tags));
    }
    if is_id("vol", id) {
        let owner = region
            .instances
            .values_mut()
            .find(|instance| instance.volume.id == id)?;
        return Some(("volume", &mut owner.volume.tags));
    }
    let instance = region.instances.get_mut(id)?;
    Some(("instance", &mut instance.tags))
}

fn not_found(id: &str) -> Refusal {
    let (family, what) = match id.split('-').next() {
        Some("sg" | "sgr") => ("InvalidGroup", "security group"),
        Some("key") => ("InvalidKeyPair", "key pair"),
        Some("vol") => ("InvalidVolume", "volume"),
        Some("i") => ("InvalidInstanceID", "instance ID"),
        _ => ("InvalidID", "ID"),
    };
    Refusal::new(
        format!("{family}.NotFound"),
        format!("The {what} '{id}' does not exist"),
    )
}

pub(super) fn create_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let ids = request.list("ResourceId");
    let tags = read(request, "Tag")?;
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
    let ids = request.list("ResourceId");
    let unwanted: Vec<(&str, Option<&str>)> = request
        .parts("Tag")
        .iter()
        .map(|tag| Ok((tag.required("Key")?, tag.text("Value"))))
        .collect::<Result<_>>()?;
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
            _ => return None,
        };
        Some(vec![one.to_owned()])
    }
}

pub(super) fn describe_tags(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let region = call.region();
    let mut ids: Vec<String> = region.instances.keys().cloned().collect();
    ids.extend(region.instances.values().map(|i| i.volume.id.clone()));
    ids.extend(region.groups.keys().cloned());
    ids.extend(region.key_pairs.values().map(|pair| pair.id.clone()));
    let mut all = Vec::new();
    for id in ids {
        if let Some((kind, tags)) = of(region, &id) {
            all.extend(tags.iter().map(|(key, value)| Tag {
                id: id.clone(),
                kind,
                key: key.clone(),
                value: value.clone(),
            }));
        }
    }
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
