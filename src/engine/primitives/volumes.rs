//! EBS volumes that outlive instances: for data.

use std::collections::BTreeMap;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::launch_volumes::{gp3, unknown_type};
use super::network::late_or;
use super::readiness::running;
use super::servers::{ServerRef, described};
use super::snapshots::{self, SnapshotRef};
use super::{check_public, release};
use crate::clients::ec2::{self, Attachment, Ec2, InstanceState, NewVolume, VolumeState};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, ResourceKind, Step};
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

/// How long the functions wait for EC2.
const WITHIN: Duration = Duration::from_secs(300);

#[export_module(manifest)]
pub mod api {
    /// Creates an EBS volume, and waits until it is available.
    ///
    /// The volume is encrypted, and empty unless `snapshot` is given. It belongs to
    /// one availability zone: only instances in this zone can have it. AWS charges
    /// for it by size and time, attached or not. `destroy` deletes the volumes that
    /// the run created, after its instances; `delete_volume` deletes one earlier.
    ///
    /// Throws:
    ///
    /// - `invalid_option` if an option is wrong;
    /// - `quota_exceeded` if the account's quota for the type is used up;
    /// - `denied` if AWS refuses the request;
    /// - `timeout` if the volume is not available after 5 minutes.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "db" });
    /// let data = create_volume(#{ name: "db-data", size: 10, zone: server.zone });
    /// attach_volume(server, data);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_volume(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        let arguments = [&options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::create_volume(cx, step, script::options(&call, options)?).await
        })
    }

    /// Returns the one EBS volume of the account that matches, or `()`.
    ///
    /// The volume must match all given options, of which one is required. A later
    /// run of a playbook can use this function to find the volume that an earlier
    /// run created, or a volume of `launch_instance`.
    ///
    /// Throws `invalid_option` if several volumes match, and `denied` if AWS
    /// refuses the request.
    ///
    /// ```rhai
    /// let server = launch_instance(#{
    ///     name: "db",
    ///     volumes: [#{ size: 10, device: "/dev/sdf", delete_on_termination: false }],
    /// });
    /// let data = find_volume(#{ server: server, device: "/dev/sdf" });
    /// assert(data.size == 10 && data.instance_id == server.id);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn find_volume(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::find_volume(cx, script::options(&call, options)?).await
        })
    }

    /// Attaches an EBS volume to an instance, and waits until it is attached.
    ///
    /// `server` is a map that `launch_instance` returned, or an instance id, and
    /// `volume` a map that `create_volume` or `find_volume` returned, or a volume
    /// id. The function waits until a pending instance is running, and returns
    /// the map of the volume. The instance's own commands make a file system on
    /// the volume and mount it; on Nitro types (`t3` and newer) it is an NVMe
    /// disk there, such as `/dev/nvme1n1`. In the local cloud, ext4 and XFS work,
    /// and `autorun docs local-cloud` lists what does not.
    ///
    /// Attaching a volume to the instance that has it already is not an error.
    ///
    /// Throws:
    ///
    /// - `invalid_option` if another instance has the volume, if instance and
    ///   volume are in different zones, or if the instance is terminated;
    /// - `not_found` if the instance or the volume does not exist;
    /// - `denied` if AWS refuses the request;
    /// - `timeout` if the volume is not attached after 5 minutes.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "db" });
    /// let data = create_volume(#{ size: 10, zone: server.zone });
    /// let data = attach_volume(server, data, #{ device: "/dev/sdg" });
    /// print(data.instance_id);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn attach_volume(
        call: NativeCallContext,
        server: Dynamic,
        volume: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&server, &volume, &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            let server = ServerRef::from_value(cx, &server)?;
            let volume: VolumeRef = script::argument("volume", &volume)?;
            super::attach_volume(cx, step, server, volume, options).await
        })
    }

    /// Detaches an EBS volume from its instance, and waits until it is available.
    ///
    /// `volume` is a map that `create_volume` or `find_volume` returned, or a
    /// volume id. Unmount its file system first: what the instance has not
    /// written yet is lost, and EC2 waits until the volume is not in use.
    /// Detaching a volume that no instance has is not an error. The function
    /// returns the map of the volume.
    ///
    /// Throws `not_found` if the volume does not exist, `denied` if AWS refuses
    /// the request, and `timeout` if the volume is not detached after 5 minutes.
    ///
    /// ```rhai
    /// let old = launch_instance(#{ name: "old" });
    /// let data = attach_volume(old, create_volume(#{ size: 10, zone: old.zone }));
    /// let data = detach_volume(data);
    /// assert(data.instance_id == ());
    /// ```
    #[rhai_fn(return_raw)]
    pub fn detach_volume(call: NativeCallContext, volume: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&volume], async |cx, step| {
            let volume: VolumeRef = script::argument("volume", &volume)?;
            super::detach_volume(cx, step, volume).await
        })
    }

    /// Deletes an EBS volume with its data.
    ///
    /// `volume` is a map that `create_volume` or `find_volume` returned, or a
    /// volume id. An instance that has the volume loses it first. Deleting a
    /// volume that does not exist is not an error.
    ///
    /// Throws `denied` if autorun did not create it, and `timeout` if an instance
    /// still uses it after 10 minutes.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "db" });
    /// let data = create_volume(#{ size: 10, zone: server.zone });
    /// delete_volume(data);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn delete_volume(call: NativeCallContext, volume: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&volume], async |cx, step| {
            let volume: VolumeRef = script::argument("volume", &volume)?;
            release(cx, step, ResourceKind::Volume, &id_of(volume)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("create_volume")
        .options::<CreateVolume>()
        .returns::<FoundVolume>(Shape::One),
    Declared::of("find_volume")
        .options::<FindVolume>()
        .returns::<FoundVolume>(Shape::Maybe),
    Declared::of("attach_volume")
        .options::<AttachVolume>()
        .returns::<FoundVolume>(Shape::One),
    Declared::of("detach_volume").returns::<FoundVolume>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateVolume {
    /// Tag `Name` of the volume, and its name in the log. The default is
    /// "autorun-" and the run id.
    name: Option<String>,
    /// Size in GiB. Required without `snapshot`, whose size is the default.
    size: Option<i32>,
    /// A snapshot with the data of the volume: a map that `create_snapshot` or
    /// `find_snapshot` returned, or a snapshot id. Without it, the volume is empty.
    snapshot: Option<SnapshotRef>,
    /// Availability zone, such as `zone` of an instance.
    zone: String,
    /// Volume type: `gp3`, `gp2`, `io1`, `io2`, `st1`, `sc1` or `standard`.
    #[serde(rename = "type", default = "gp3")]
    kind: String,
    /// IOPS of a `gp3`, `io1` or `io2` volume. Required for `io1` and `io2`.
    iops: Option<i32>,
    /// Additional tags.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FindVolume {
    /// Tag `Name` of the volume. The volumes of `launch_instance` have the name of
    /// their instance.
    name: Option<String>,
    /// Tags that the volume must have.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// The instance that has the volume: a map that `launch_instance` returned, or
    /// an instance id.
    server: Option<NameOr<ServerRef>>,
    /// Device name of the volume at its instance.
    device: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AttachVolume {
    /// Device name. The default is the first free name of `/dev/sdf` to
    /// `/dev/sdp`, which AWS recommends for data volumes.
    device: Option<String>,
}

/// The map of a volume.
#[derive(Debug, Serialize, JsonSchema)]
struct FoundVolume {
    /// "volume".
    kind: ResultKind,
    /// The volume id, such as `vol-0abc`.
    id: String,
    /// The value of the tag `Name`.
    name: String,
    /// `creating`, `available`, `in-use` or `error`.
    state: &'static str,
    /// Size in GiB.
    size: i32,
    /// Volume type, for example `gp3`.
    #[serde(rename = "type")]
    volume_type: String,
    /// The availability zone.
    zone: String,
    /// Id of the instance that has the volume; `()` if none has it.
    instance_id: Option<String>,
    /// The device name at that instance; `()` if no instance has the volume.
    device: Option<String>,
    /// All tags of the volume.
    tags: BTreeMap<String, String>,
}

impl From<ec2::Volume> for FoundVolume {
    fn from(volume: ec2::Volume) -> Self {
        Self {
            kind: ResultKind::Volume,
            name: volume.tags.get("Name").cloned().unwrap_or_default(),
            id: volume.id,
            state: volume.state.as_str(),
            size: volume.size,
            volume_type: volume.volume_type,
            zone: volume.zone,
            instance_id: volume.instance_id,
            device: volume.device,
            tags: volume.tags,
        }
    }
}

/// A volume as an argument.
pub(super) type VolumeRef = NameOr<VolumeMap>;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct VolumeMap {
    id: String,
}

impl Named for VolumeMap {
    const EXPECTED: &'static str =
        "an id like \"vol-0abc\", or the map that create_volume or find_volume returned";
}

/// Returns the id in the argument `volume`.
pub(super) fn id_of(volume: VolumeRef) -> Result<String> {
    let id = match volume {
        NameOr::Map(volume) => volume.id,
        NameOr::Name(id) => id,
    };
    if id.starts_with("vol-") {
        return Ok(id);
    }
    let message = format!("argument `volume`: `{id}` is not a volume id");
    Err(Error::invalid(message).hint(format!("pass {}", VolumeMap::EXPECTED)))
}

fn shown(volume: ec2::Volume) -> Result<Value> {
    serde_json::to_value(FoundVolume::from(volume))
        .map_err(|e| Error::internal(format!("cannot convert the volume: {e}")))
}

async fn create_volume(cx: &Context, step: &mut Step, options: CreateVolume) -> Result<Value> {
    check(cx, &options)?;
    let ec2 = cx.clients.ec2().await?;
    let own = created_before(cx, step, &ec2).await?;
    if let Some(recorded) = step.recorded::<Value>()?
        && (own.is_some() || step.was_undone())
    {
        step.replay();
        return Ok(recorded);
    }
    let id = if let Some(id) = own {
        // An earlier attempt did not wait until it was available.
        step.begin_unwritten();
        id
    } else {
        request(cx, step, &ec2, &options).await?
    };
    let mut pace = cx.pace(format!("volume {id} to be available"), WITHIN);
    loop {
        let volume = known(cx, &ec2, &id).await?;
        if volume.state != VolumeState::Creating {
            return shown(volume);
        }
        pace.pause(volume.state.as_str()).await?;
    }
}

/// Checks before the first request what AWS would refuse.
fn check(cx: &Context, options: &CreateVolume) -> Result<()> {
    if let Some(name) = &options.name {
        check_public(cx, "the name of a volume", name)?;
    }
    match options.size {
        Some(size) if size < 1 => {
            return Err(Error::invalid("option `size`: it must be at least 1 GiB"));
        }
        None if options.snapshot.is_none() => {
            return Err(Error::invalid("option `size`: it is missing")
                .hint("pass `size` in GiB, or the `snapshot` with the data"));
        }
        _ => {}
    }
    if options.zone.is_empty() {
        return Err(Error::invalid("option `zone`: it is empty")
            .hint("pass the zone of an instance: `zone: server.zone`"));
    }
    if let Some(hint) = unknown_type(&options.kind) {
        let message = format!("option `type`: unknown type `{}`", options.kind);
        return Err(Error::invalid(message).hint(hint));
    }
    cx.report.mask().keep_out_of_tags(&options.tags)
}

/// Returns the id of the volume that an earlier attempt of this step created, if it
/// still exists.
async fn created_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Option<String>> {
    for row in step.live(ResourceKind::Volume) {
        let id = row.id.clone().unwrap_or_default();
        let ask = async || ec2.volume(&id).await;
        if cx.seen(&row, ask).await?.is_some() {
            return Ok(Some(id));
        }
        cx.report
            .warn(format!("volume {id} no longer exists; creating a new one"));
        cx.ledger.is_gone(&row);
    }
    Ok(None)
}

/// Sends `CreateVolume`. If the answer to an earlier request was lost, finds the
/// volume that this step has already created. Returns the volume's id.
async fn request(
    cx: &Context,
    step: &mut Step,
    ec2: &Ec2<'_>,
    options: &CreateVolume,
) -> Result<String> {
    let name = options
        .name
        .clone()
        .unwrap_or_else(|| format!("autorun-{}", cx.ledger.run()));
    let snapshot = options.snapshot.clone();
    let snapshot = snapshot.map(|given| snapshots::id_of(given, "option `snapshot`"));
    let snapshot = snapshot.transpose()?;
    let intent = step.intend_one(NewResource::new(ResourceKind::Volume, &name))?;
    let row = [intent.token().to_owned()];
    let of_row = async || Ok(ec2.kept_volumes(&row).await?.into_iter().next());
    if intent.is_retried()
        && let Some(volume) = cx.find_created(&format!("volume {name}"), of_row).await?
    {
        intent.created(&volume.id);
        return Ok(volume.id);
    }
    let tags = cx.tags(&name, intent.token(), &options.tags);
    let created = ec2
        .create_volume(NewVolume {
            token: intent.token(),
            zone: &options.zone,
            size: options.size,
            snapshot: snapshot.as_deref(),
            volume_type: &options.kind,
            iops: options.iops,
            tags: &tags,
        })
        .await;
    match created {
        Ok(id) => {
            intent.created(&id);
            cx.report
                .info(format!("created volume {id} ({name}) in {}", options.zone));
            Ok(id)
        }
        Err(error) => {
            intent.abandoned(&error);
            Err(error)
        }
    }
}

/// Returns a volume. EC2 may not show a new one for a moment.
pub(super) async fn known(cx: &Context, ec2: &Ec2<'_>, id: &str) -> Result<ec2::Volume> {
    let own = cx.ledger.made(ResourceKind::Volume, id);
    let found = if own {
        cx.find_created(&format!("volume {id}"), async || ec2.volume(id).await)
            .await?
    } else {
        ec2.volume(id).await?
    };
    found.ok_or_else(|| {
        let message = format!("volume `{id}` does not exist in {}", ec2.region());
        Error::new(ErrorKind::NotFound, message)
            .hint("`aws ec2 describe-volumes` lists the volumes of a region")
    })
}

async fn find_volume(cx: &Context, wanted: FindVolume) -> Result<Option<FoundVolume>> {
    let tag = |(key, value): (String, String)| (format!("tag:{key}"), value);
    let name = wanted.name.map(|name| ("Name".to_owned(), name));
    let mut filters: Vec<_> = wanted.tags.into_iter().chain(name).map(tag).collect();
    if let Some(server) = wanted.server {
        let id = match server {
            NameOr::Map(server) => server.id,
            NameOr::Name(id) => id,
        };
        filters.push(("attachment.instance-id".to_owned(), id));
    }
    if let Some(device) = wanted.device {
        filters.push(("attachment.device".to_owned(), device));
    }
    if filters.is_empty() {
        return Err(Error::invalid("option `name`: it is missing")
            .hint("pass `name`, `tags`, `server` or `device` to select one volume"));
    }
    let mut found = cx.clients.ec2().await?.find_volumes(&filters).await?;
    if found.len() > 1 {
        let ids: Vec<_> = found.iter().map(|volume| volume.id.as_str()).collect();
        return Err(Error::invalid(format!("{} volumes match", found.len()))
            .hint(format!("narrow the filter: {}", ids.join(", "))));
    }
    Ok(found.pop().map(FoundVolume::from))
}

async fn attach_volume(
    cx: &Context,
    step: &mut Step,
    server: ServerRef,
    volume: VolumeRef,
    options: AttachVolume,
) -> Result<Value> {
    let id = id_of(volume)?;
    if let Some(recorded) = step.recorded::<Value>()? {
        step.replay();
        return Ok(recorded);
    }
    let ec2 = cx.clients.ec2().await?;
    let volume = known(cx, &ec2, &id).await?;
    let mut instance = described(cx, &server.id).await?;
    if instance.state == InstanceState::Pending {
        instance = running(cx, server, WITHIN).await?.instance;
    }
    if instance.state.has_ended() {
        return Err(Error::invalid(format!(
            "instance `{}` is {}, so it cannot have a volume",
            instance.id, instance.state
        )));
    }
    if volume.zone != instance.zone {
        return Err(Error::invalid(format!(
            "volume `{id}` is in {}, and instance `{}` in {}",
            volume.zone, instance.id, instance.zone
        ))
        .hint("create the volume in the zone of the instance: `zone: server.zone`"));
    }
    let device = match options.device {
        Some(device) => device,
        None => free_device(&ec2, &instance.id, &volume).await?,
    };
    step.begin()?;
    let volume = attach(cx, &ec2, &id, &instance.id, &device).await?;
    cx.report.info(format!(
        "volume {id} is attached to {} as {}",
        instance.id,
        volume.device.as_deref().unwrap_or_default()
    ));
    shown(volume)
}

/// Returns the name of the device that the volume has at this instance, or the first
/// free one.
async fn free_device(ec2: &Ec2<'_>, instance: &str, volume: &ec2::Volume) -> Result<String> {
    if volume.instance_id.as_deref() == Some(instance)
        && let Some(device) = &volume.device
    {
        return Ok(device.clone());
    }
    let of_instance = [("attachment.instance-id".to_owned(), instance.to_owned())];
    let others = ec2.find_volumes(&of_instance).await?;
    ('f'..='p')
        .map(|letter| format!("/dev/sd{letter}"))
        .find(|name| {
            others
                .iter()
                .all(|other| other.device.as_ref() != Some(name))
        })
        .ok_or_else(|| {
            Error::invalid(format!(
                "the device names /dev/sdf to /dev/sdp of `{instance}` are in use"
            ))
            .hint("detach a volume, or pass another name as `device`")
        })
}

/// Attaches the volume, and waits until it is attached. An earlier attempt may have
/// done so.
async fn attach(
    cx: &Context,
    ec2: &Ec2<'_>,
    id: &str,
    instance: &str,
    device: &str,
) -> Result<ec2::Volume> {
    let mut pace = cx.pace(format!("volume {id} to be attached"), WITHIN);
    let mut refused = None;
    loop {
        let volume = known(cx, ec2, id).await?;
        match (&volume.instance_id, &volume.device) {
            (Some(other), _) if other != instance => {
                return Err(Error::invalid(format!(
                    "volume `{id}` is attached to instance `{other}`"
                ))
                .hint("detach it first: `detach_volume(volume)`"));
            }
            (Some(_), Some(other)) if other != device => {
                return Err(Error::invalid(format!(
                    "volume `{id}` is attached to `{instance}` as `{other}`, not as `{device}`"
                ))
                .hint("detach it first: `detach_volume(volume)`"));
            }
            (Some(_), _) if volume.attached => return Ok(volume),
            (Some(_), _) => {}
            (None, _) => match ec2.attach_volume(id, instance, device).await? {
                Attachment::Accepted => continue,
                Attachment::NotNow(error) => refused = Some(error),
            },
        }
        let paused = pace.pause("not attached yet").await;
        paused.map_err(|late| match refused.take() {
            Some(error) => late_or(late, error),
            None => late,
        })?;
    }
}

async fn detach_volume(cx: &Context, step: &mut Step, volume: VolumeRef) -> Result<Value> {
    let id = id_of(volume)?;
    if let Some(recorded) = step.recorded::<Value>()? {
        step.replay();
        return Ok(recorded);
    }
    let ec2 = cx.clients.ec2().await?;
    let volume = known(cx, &ec2, &id).await?;
    step.begin()?;
    let volume = detach(cx, &ec2, volume).await?;
    shown(volume)
}

/// Detaches the volume, and waits until it is available.
async fn detach(cx: &Context, ec2: &Ec2<'_>, mut volume: ec2::Volume) -> Result<ec2::Volume> {
    let id = volume.id.clone();
    let mut pace = cx.pace(format!("volume {id} to be detached"), WITHIN);
    let mut requested = false;
    while let Some(instance) = &volume.instance_id {
        if volume.attached && !requested {
            match ec2.detach_volume(&id, instance).await? {
                Attachment::Accepted => {
                    requested = true;
                    cx.report
                        .info(format!("detaching volume {id} from {instance}"));
                }
                Attachment::NotNow(error) => cx.report.debug(error.to_string()),
            }
        }
        pace.pause("attached").await.map_err(|e| match e.kind {
            ErrorKind::Timeout => e.hint(format!(
                "unmount its file system in {instance}, or stop the instance, and try again"
            )),
            _ => e,
        })?;
        volume = known(cx, ec2, &id).await?;
    }
    Ok(volume)
}
