//! Snapshots of EBS volumes: copies from which new volumes are created.

use std::collections::BTreeMap;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::volumes::{self, VolumeRef};
use super::{check_public, release};
use crate::clients::ec2::{self, Ec2, SnapshotState};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, ResourceKind, Step};
use crate::report::text;
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Seconds, Shape, seconds};

#[export_module(manifest)]
pub mod api {
    /// Creates a snapshot of an EBS volume, and waits until it is complete.
    ///
    /// `volume` is a map that `create_volume` or `find_volume` returned, or a volume
    /// id. `name` is the tag `Name` of the snapshot. The snapshot has what was
    /// written to the volume when the function was called: let the instance flush
    /// its file system first (`sync`). A snapshot is in the region, not in a zone:
    /// `create_volume` makes a new volume of it in any zone.
    ///
    /// AWS charges for a snapshot by its size. `destroy` deletes the snapshots that
    /// the run created; `delete_snapshot` deletes one earlier.
    ///
    /// Throws:
    ///
    /// - `not_found` if the volume does not exist;
    /// - `quota_exceeded` if too many snapshots are in progress;
    /// - `denied` if AWS refuses the request;
    /// - `timeout` if the snapshot is not complete in time;
    /// - `internal` if EC2 cannot complete it.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "db" });
    /// let data = create_volume(#{ name: "db-data", size: 10, zone: server.zone });
    /// let backup = create_snapshot(data, "db-backup");
    /// let again = create_volume(#{ snapshot: backup, zone: server.zone });
    /// assert(again.size == 10);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_snapshot(
        call: NativeCallContext,
        volume: Dynamic,
        name: &str,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&volume, &name.into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            let volume: VolumeRef = script::argument("volume", &volume)?;
            super::create_snapshot(cx, step, volume, name, options).await
        })
    }

    /// Returns the newest complete snapshot of the account that matches, or `()`.
    ///
    /// The snapshot must match all given options, of which one is required. A later
    /// run of a playbook can use this function to find a snapshot that an earlier
    /// run created.
    ///
    /// Throws `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let backup = find_snapshot(#{ name: "db-backup" });
    /// if backup != () {
    ///     print(`${backup.id} of ${backup.started_at}`);
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn find_snapshot(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::find_snapshot(cx, script::options(&call, options)?).await
        })
    }

    /// Deletes a snapshot.
    ///
    /// `snapshot` is a map that `create_snapshot` or `find_snapshot` returned, or a
    /// snapshot id. Volumes that were created from it stay. Deleting a snapshot that
    /// does not exist is not an error.
    ///
    /// Throws `denied` if autorun did not create it.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "db" });
    /// let data = create_volume(#{ size: 10, zone: server.zone });
    /// let backup = create_snapshot(data, "db-backup");
    /// delete_snapshot(backup);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn delete_snapshot(call: NativeCallContext, snapshot: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&snapshot], async |cx, step| {
            let snapshot: SnapshotRef = script::argument("snapshot", &snapshot)?;
            let id = id_of(snapshot, "argument `snapshot`")?;
            release(cx, step, ResourceKind::Snapshot, &id).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("create_snapshot")
        .options::<CreateSnapshot>()
        .returns::<FoundSnapshot>(Shape::One),
    Declared::of("find_snapshot")
        .options::<FindSnapshot>()
        .returns::<FoundSnapshot>(Shape::Maybe),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateSnapshot {
    /// Description of the snapshot in the AWS console, at most 255 characters.
    description: Option<String>,
    /// Additional tags.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// How long to wait until the snapshot is complete.
    #[serde(default = "seconds::<3600>")]
    timeout: Seconds,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FindSnapshot {
    /// Tag `Name` of the snapshot.
    name: Option<String>,
    /// Tags that the snapshot must have.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Id of the volume.
    volume: Option<String>,
}

/// The map of a snapshot.
#[derive(Debug, Serialize, JsonSchema)]
struct FoundSnapshot {
    /// "snapshot".
    kind: ResultKind,
    /// The snapshot id, such as `snap-0abc`.
    id: String,
    /// The value of the tag `Name`.
    name: String,
    /// Id of the volume.
    volume_id: String,
    /// Size of the volume in GiB.
    size: i32,
    /// The time of the request, for example `2026-11-25T22:10:03Z`.
    started_at: String,
    /// All tags of the snapshot.
    tags: BTreeMap<String, String>,
}

impl From<ec2::Snapshot> for FoundSnapshot {
    fn from(snapshot: ec2::Snapshot) -> Self {
        Self {
            kind: ResultKind::Snapshot,
            name: snapshot.tags.get("Name").cloned().unwrap_or_default(),
            id: snapshot.id,
            volume_id: snapshot.volume_id,
            size: snapshot.size,
            started_at: snapshot.started_at,
            tags: snapshot.tags,
        }
    }
}

/// A snapshot as an argument or option.
pub(super) type SnapshotRef = NameOr<SnapshotMap>;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SnapshotMap {
    id: String,
}

impl Named for SnapshotMap {
    const EXPECTED: &'static str =
        "an id like \"snap-0abc\", or the map that create_snapshot or find_snapshot returned";
}

/// Returns the id. `what` names the argument in the error.
pub(super) fn id_of(snapshot: SnapshotRef, what: &str) -> Result<String> {
    let id = match snapshot {
        NameOr::Map(snapshot) => snapshot.id,
        NameOr::Name(id) => id,
    };
    if id.starts_with("snap-") {
        return Ok(id);
    }
    let message = format!("{what}: `{id}` is not a snapshot id");
    Err(Error::invalid(message).hint(format!("pass {}", SnapshotMap::EXPECTED)))
}

async fn create_snapshot(
    cx: &Context,
    step: &mut Step,
    volume: VolumeRef,
    name: &str,
    options: CreateSnapshot,
) -> Result<Value> {
    check(cx, name, &options)?;
    let volume = volumes::id_of(volume)?;
    let ec2 = cx.clients.ec2().await?;
    let own = created_before(cx, step, &ec2).await?;
    if let Some(recorded) = step.recorded::<Value>()?
        && (own.is_some() || step.was_undone())
    {
        step.replay();
        return Ok(recorded);
    }
    let id = if let Some(id) = own {
        // An earlier attempt did not wait until it was complete.
        step.begin_unwritten();
        id
    } else {
        request(cx, step, &ec2, &volume, name, &options).await?
    };
    let snapshot = complete(cx, &ec2, &id, options.timeout.duration()).await?;
    serde_json::to_value(FoundSnapshot::from(snapshot))
        .map_err(|e| Error::internal(format!("cannot convert the snapshot: {e}")))
}

/// Checks before the first request what AWS would refuse.
fn check(cx: &Context, name: &str, options: &CreateSnapshot) -> Result<()> {
    check_public(cx, "the name of a snapshot", name)?;
    if name.is_empty() {
        return Err(Error::invalid("argument `name`: it is empty")
            .hint("pass a name by which people find the snapshot"));
    }
    if let Some(description) = &options.description {
        check_public(cx, "the description of a snapshot", description)?;
        if description.chars().count() > 255 {
            return Err(Error::invalid(
                "option `description`: it has more than 255 characters",
            ));
        }
    }
    cx.report.mask().keep_out_of_tags(&options.tags)
}

/// Returns the id of the snapshot that an earlier attempt of this step created, if
/// it still exists.
async fn created_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Option<String>> {
    for row in step.live(ResourceKind::Snapshot) {
        let id = row.id.clone().unwrap_or_default();
        let ask = async || ec2.snapshot(&id).await;
        match cx.seen(&row, ask).await? {
            Some(own) if own.state != SnapshotState::Failed => return Ok(Some(id)),
            Some(_) => ec2.delete_snapshot(&id).await?,
            None => {}
        }
        cx.ledger.is_gone(&row);
    }
    Ok(None)
}

/// Sends `CreateSnapshot`. If the answer to an earlier request was lost, finds the
/// snapshot that this step has already created. Returns the snapshot's id.
async fn request(
    cx: &Context,
    step: &mut Step,
    ec2: &Ec2<'_>,
    volume: &str,
    name: &str,
    options: &CreateSnapshot,
) -> Result<String> {
    volumes::known(cx, ec2, volume).await?;
    let intent = step.intend_one(NewResource::new(ResourceKind::Snapshot, name))?;
    // AWS has no client token for snapshots, so the tag must find it.
    let of_row = async || ec2.snapshot_of(intent.token()).await;
    if intent.is_retried()
        && let Some(own) = cx.find_created(&format!("snapshot {name}"), of_row).await?
    {
        intent.created(&own.id);
        return Ok(own.id);
    }
    let tags = cx.tags(name, intent.token(), &options.tags);
    let description = options.description.as_deref();
    match ec2.create_snapshot(volume, description, &tags).await {
        Ok(id) => {
            intent.created(&id);
            cx.report
                .info(format!("creating snapshot {id} ({name}) of {volume}"));
            Ok(id)
        }
        Err(error) => {
            intent.abandoned(&error);
            Err(error)
        }
    }
}

/// Waits until the snapshot is complete.
async fn complete(
    cx: &Context,
    ec2: &Ec2<'_>,
    id: &str,
    timeout: Duration,
) -> Result<ec2::Snapshot> {
    let mut pace = cx.pace(format!("snapshot {id} to be complete"), timeout);
    loop {
        let may_hide = pace.elapsed() < cx.clients.consistency();
        match ec2.snapshot(id).await? {
            Some(own) if own.state == SnapshotState::Completed => {
                cx.report.info(format!(
                    "snapshot {id} is complete after {}",
                    text::duration(pace.elapsed())
                ));
                return Ok(own);
            }
            Some(own) if own.state == SnapshotState::Failed => {
                let reason = own.reason.unwrap_or_else(|| "no reason".to_owned());
                return Err(Error::internal(format!(
                    "EC2 cannot complete snapshot {id}: {reason}"
                )));
            }
            Some(own) => pace.pause(&format!("pending {}", own.progress)).await?,
            None if may_hide => pace.pause("not visible yet").await?,
            None => {
                let message = format!("snapshot {id} does not exist (any more)");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
    }
}

async fn find_snapshot(cx: &Context, wanted: FindSnapshot) -> Result<Option<FoundSnapshot>> {
    let tag = |(key, value): (String, String)| (format!("tag:{key}"), value);
    let name = wanted.name.map(|name| ("Name".to_owned(), name));
    let mut filters: Vec<_> = wanted.tags.into_iter().chain(name).map(tag).collect();
    filters.extend(wanted.volume.map(|id| ("volume-id".to_owned(), id)));
    if filters.is_empty() {
        return Err(Error::invalid("option `name`: it is missing")
            .hint("pass `name`, `tags` or `volume` to select a snapshot"));
    }
    filters.push(("status".to_owned(), "completed".to_owned()));
    let mut found = cx.clients.ec2().await?.find_snapshots(&filters).await?;
    Ok(found.pop().map(FoundSnapshot::from))
}
