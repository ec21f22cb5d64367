//! The instances on which a command runs.

use std::collections::{BTreeMap, HashSet};

use rhai::{Dynamic, Map};
use serde::Deserialize;

use crate::clients::ec2::Instance;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::primitives::servers::{described, ids};
use crate::report::text;
use crate::script;

/// How many ids one request of EC2 describes: the most values that its filters have.
const PAGE: usize = 200;

/// An instance.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) id: String,
    /// The value of its tag `Name`, or its id.
    pub(super) name: String,
    pub(super) instance: Instance,
    /// Whether it does not exist in a rehearsal, which assumes it.
    pub(super) is_assumed: bool,
}

/// The argument `#{ tags: .. }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged {
    tags: BTreeMap<String, String>,
}

impl Target {
    fn new(instance: Instance) -> Self {
        let id = instance.id.clone();
        let name = Some(&instance.name).filter(|name| !name.is_empty());
        Self {
            name: name.unwrap_or(&id).clone(),
            id,
            instance,
            is_assumed: false,
        }
    }

    fn assumed(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_owned(),
            instance: Instance::default(),
            is_assumed: true,
        }
    }
}

/// Returns the instances that the first argument selects.
pub(super) async fn find(cx: &Context, targets: &Dynamic) -> Result<Vec<Target>> {
    let tagged = targets.read_lock::<Map>();
    let is_tagged = tagged.is_some_and(|map| map.contains_key("tags") && !map.contains_key("id"));
    if is_tagged {
        let Tagged { tags } = script::argument("targets", targets)?;
        return with_tags(cx, &tags).await;
    }
    let ids = ids(cx, targets).map_err(|error| match error.hint {
        Some(_) => error,
        None => error.hint(
            "pass an array of maps that launch_instance returned, or \
             #{ tags: #{ role: \"web\" } }",
        ),
    })?;
    if ids.is_empty() {
        cx.report
            .warn("the array of instances is empty: nothing to do");
    }
    let mut seen = HashSet::new();
    if let Some(id) = ids.iter().find(|id| !seen.insert(*id)) {
        let message = format!("argument `targets`: {id} is in it twice");
        return Err(Error::invalid(message));
    }
    with_ids(cx, &ids).await
}

async fn with_ids(cx: &Context, ids: &[String]) -> Result<Vec<Target>> {
    let mut found = BTreeMap::new();
    for some in ids.chunks(PAGE) {
        let wanted = [("instance-id".to_owned(), some.to_vec())];
        let instances = cx.clients.ec2().await?.find_instances(&wanted).await?;
        found.extend(instances.into_iter().map(|one| (one.id.clone(), one)));
    }
    let mut targets = Vec::new();
    for id in ids {
        targets.push(match found.remove(id) {
            Some(instance) => Target::new(instance),
            None if cx.rehearsal.is_some() => Target::assumed(id),
            // It may have been launched a moment ago.
            None => Target::new(described(cx, id).await?),
        });
    }
    Ok(targets)
}

async fn with_tags(cx: &Context, tags: &BTreeMap<String, String>) -> Result<Vec<Target>> {
    if tags.is_empty() {
        let message = "argument `targets`: `tags` is empty, which would select every instance";
        return Err(Error::invalid(message).hint("name at least one tag"));
    }
    let states = ["pending", "running", "stopping", "stopped"];
    let states = states.map(str::to_owned).to_vec();
    let mut wanted = vec![("instance-state-name".to_owned(), states)];
    for (key, value) in tags {
        wanted.push((format!("tag:{key}"), vec![value.clone()]));
    }
    let mut found = cx.clients.ec2().await?.find_instances(&wanted).await?;
    // EC2 takes `*` and `?` in a value for wildcards.
    found.retain(|one| {
        tags.iter()
            .all(|(key, value)| one.tags.get(key) == Some(value))
    });
    if !found.is_empty() {
        cx.report.info(format!(
            "{} have the tags",
            text::count(found.len(), "instance")
        ));
        return Ok(found.into_iter().map(Target::new).collect());
    }
    let shown = tags.iter().map(|(key, value)| format!("{key}={value}"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    if cx.rehearsal.is_some() {
        cx.assume(
            format!("run on the instances with {shown}"),
            "there are none",
        );
        cx.clients.ssm().await?.note_command();
        return Ok(Vec::new());
    }
    let message = format!("no instance has the tags {shown}");
    Err(Error::new(ErrorKind::NotFound, message).hint(format!(
        "check the tags and the region, which is {}; upper and lower case differ",
        cx.clients.ec2().await?.region()
    )))
}
