//! The option `volumes` of `launch_instance`: EBS volumes in addition to the root
//! volume. Those that outlive their instance have rows in the ledger.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::clients::ec2::{DataVolume, Ec2, Instance, VolumeState, volume_types};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ledger::{Intent, NewResource, ResourceKind, State, Step};
use crate::script::yes;

/// How many additional volumes there are names for, from `/dev/sdf` to `/dev/sdp`.
const MOST: usize = 11;

/// One volume in the option `volumes`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Volume {
    /// Size in GiB.
    size: i32,
    /// Volume type: `gp3`, `gp2`, `io1`, `io2`, `st1`, `sc1` or `standard`.
    #[serde(rename = "type", default = "gp3")]
    kind: String,
    /// IOPS of a `gp3`, `io1` or `io2` volume. Required for `io1` and `io2`.
    iops: Option<i32>,
    /// Device name. The default is the first free name of `/dev/sdf` to
    /// `/dev/sdp`, which AWS recommends for data volumes.
    device: Option<String>,
    /// Delete the volume when its instance is terminated. With false, the volume
    /// and its data stay until `delete_volume` or `destroy` deletes it.
    #[serde(default = "yes")]
    delete_on_termination: bool,
}

pub(super) fn gp3() -> String {
    "gp3".to_owned()
}

/// Checks the volumes, and gives a device name to those without one.
pub(super) fn volumes(options: &[Volume]) -> Result<Vec<DataVolume>> {
    if options.len() > MOST {
        return Err(Error::invalid(format!(
            "option `volumes`: at most {MOST} volumes, not {}",
            options.len()
        )));
    }
    let named: Vec<&str> = options.iter().filter_map(|v| v.device.as_deref()).collect();
    let mut free = ('f'..='p')
        .map(|letter| format!("/dev/sd{letter}"))
        .filter(|device| !named.contains(&device.as_str()));
    let mut volumes: Vec<DataVolume> = Vec::new();
    for (at, option) in options.iter().enumerate() {
        let wrong = |why: String| Error::invalid(format!("option `volumes[{at}]`: {why}"));
        if option.size < 1 {
            return Err(wrong("its `size` must be at least 1 GiB".to_owned()));
        }
        if let Some(hint) = unknown_type(&option.kind) {
            return Err(wrong(format!("unknown `type` `{}`", option.kind)).hint(hint));
        }
        let device = option.device.clone().or_else(|| free.next());
        let device = device.unwrap_or_default();
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(wrong(format!("`{device}` is not a device name"))
                .hint("use a name such as /dev/sdf"));
        }
        if volumes.iter().any(|before| before.device == device) {
            return Err(wrong(format!("the device `{device}` is used twice")));
        }
        volumes.push(DataVolume {
            size: option.size,
            volume_type: option.kind.clone(),
            iops: option.iops,
            device,
            delete_on_termination: option.delete_on_termination,
        });
    }
    Ok(volumes)
}

/// Returns the hint to a volume type that does not exist.
pub(super) fn unknown_type(kind: &str) -> Option<String> {
    let known = volume_types();
    (!known.contains(&kind)).then(|| format!("use one of {}", known.join(", ")))
}

/// Records in the ledger the volumes that will outlive the instances of these
/// names, before their launch is requested.
pub(super) fn intend(
    step: &mut Step,
    names: &[String],
    volumes: &[DataVolume],
) -> Result<Vec<Intent>> {
    let kept = || volumes.iter().filter(|v| !v.delete_on_termination);
    let rows = names.iter().flat_map(|name| {
        kept().map(move |volume| NewResource::new(ResourceKind::Volume, &row_name(name, volume)))
    });
    let rows: Vec<NewResource> = rows.collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    step.intend(&rows)
}

fn row_name(instance: &str, volume: &DataVolume) -> String {
    format!("{instance} {}", volume.device)
}

/// Returns the rows of volumes whose ids are not known.
fn open(step: &Step) -> Vec<NewResource> {
    let made = step.made().into_iter();
    let open = made.filter(|row| row.kind == ResourceKind::Volume && row.state == State::Intended);
    open.map(|row| NewResource::new(ResourceKind::Volume, &row.name))
        .collect()
}

/// Finds the volumes of a launch that outlive their instances, and records their
/// ids. EC2 may show them only after a moment.
pub(super) async fn record(
    cx: &Context,
    step: &mut Step,
    ec2: &Ec2<'_>,
    launched: &[Instance],
) -> Result<()> {
    let rows = open(step);
    if rows.is_empty() {
        return Ok(());
    }
    let instances = step.made().into_iter();
    let instances = instances.filter(|row| row.kind == ResourceKind::Instance);
    let tokens: Vec<String> = instances.map(|row| row.row).collect();
    let mut pace = cx.pace(
        "the volumes of the new instances to appear".to_owned(),
        cx.clients.consistency() * 2,
    );
    loop {
        let seen = ec2.kept_volumes(&tokens).await?;
        let of_row = |row: &NewResource| {
            seen.iter().find(|volume| {
                let instance = launched
                    .iter()
                    .find(|instance| Some(&instance.id) == volume.instance_id.as_ref());
                let name = instance.map_or("", |instance| &instance.name);
                let device = volume.device.as_deref().unwrap_or_default();
                row.name() == format!("{name} {device}")
            })
        };
        let found: Vec<_> = rows.iter().filter_map(of_row).collect();
        if found.len() < rows.len() {
            pace.pause("not visible yet").await?;
            continue;
        }
        for (intent, volume) in step.intend(&rows)?.into_iter().zip(found) {
            intent.created(&volume.id);
        }
        // An earlier attempt may have launched instances that have ended.
        for volume in &seen {
            let left = volume.state == VolumeState::Available;
            if left && !cx.ledger.made(ResourceKind::Volume, &volume.id) {
                let name = volume.tags.get("Name").map_or("", String::as_str);
                let row = NewResource::with_id(ResourceKind::Volume, name, &volume.id);
                step.intend_one(row)?.created(&volume.id);
            }
        }
        return Ok(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(device: Option<&str>) -> Volume {
        Volume {
            size: 8,
            kind: gp3(),
            iops: None,
            device: device.map(str::to_owned),
            delete_on_termination: true,
        }
    }

    #[test]
    fn volumes_without_a_device_get_free_names() {
        let options = [option(None), option(Some("/dev/sdf")), option(None)];
        let devices: Vec<String> = volumes(&options)
            .unwrap()
            .into_iter()
            .map(|volume| volume.device)
            .collect();
        assert_eq!(devices, ["/dev/sdg", "/dev/sdf", "/dev/sdh"]);
        let twice = [option(Some("/dev/sdf")), option(Some("/dev/sdf"))];
        assert!(volumes(&twice).is_err());
    }
}
