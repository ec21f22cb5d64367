//! Block device mappings: the volumes of a launch.

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::images::Image;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::volume_spec::{Spec, snapshot_size};

/// How many volumes a Nitro instance can have.
pub(super) const MAX_VOLUMES: usize = 28;

/// A volume that a launch creates for each of its instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mapping {
    pub(super) device: String,
    pub(super) spec: Spec,
    pub(super) delete_on_termination: bool,
}

/// Returns the volumes of a launch, the root volume first: those of the image,
/// changed by the mappings of the request, and additional ones.
pub(super) fn mappings(call: &Call<'_>, request: &Part<'_>, image: &Image) -> Result<Vec<Mapping>> {
    let root_device = image.root_device();
    let mut root = None;
    let mut others: Vec<Mapping> = Vec::new();
    let mut devices: Vec<&str> = Vec::new();
    for part in request.parts("BlockDeviceMapping") {
        let device = part.required("DeviceName")?;
        check_device(device)?;
        if devices.contains(&device) {
            return Err(invalid(format!(
                "The device '{device}' is used in more than one block-device mapping"
            )));
        }
        devices.push(device);
        if device == root_device {
            root = Some(root_mapping(call, &part, image)?);
        } else if let Some(mapping) = additional(call, &part, device)? {
            others.push(mapping);
        }
    }
    let of_image = image.others().iter();
    others.extend(
        of_image
            .filter(|mapping| !devices.contains(&&*mapping.device))
            .cloned(),
    );
    let mut all = match root {
        Some(root) => vec![root],
        // A structure without parameters: the image's own volume.
        None => vec![root_of(
            call,
            &request.part("BlockDeviceMapping.Ebs"),
            image,
        )?],
    };
    all.append(&mut others);
    if all.len() > MAX_VOLUMES {
        return Err(Refusal::new(
            "AttachmentLimitExceeded",
            format!("An instance can have at most {MAX_VOLUMES} volumes"),
        ));
    }
    Ok(all)
}

pub(super) fn invalid(text: String) -> Refusal {
    Refusal::new("InvalidBlockDeviceMapping", text)
}

/// Refuses what is not a device name, such as `/dev/sdf`, `xvdba` or `/dev/sda1`.
pub(super) fn check_device(device: &str) -> Result<()> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let rest = ["sd", "xvd", "hd"]
        .iter()
        .find_map(|p| name.strip_prefix(p));
    let valid = rest.is_some_and(|rest| {
        let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = rest.len() - letters.len();
        (1..=2).contains(&letters.len())
            && digits <= 2
            && letters.bytes().all(|b| b.is_ascii_lowercase())
    });
    if valid {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidParameterValue",
        format!(
            "Value ({device}) for parameter device is invalid. {device} is not a valid EBS \
             device name."
        ),
    ))
}

const UNSUPPORTED: [&str; 5] = [
    "OutpostArn",
    "AvailabilityZone",
    "AvailabilityZoneId",
    "VolumeInitializationRate",
    "EbsCardIndex",
];

fn root_mapping(call: &Call<'_>, part: &Part<'_>, image: &Image) -> Result<Mapping> {
    let device = image.root_device();
    if part.has("NoDevice") || part.has("VirtualName") {
        return Err(invalid(format!(
            "The root device {device} cannot be suppressed or be an instance store volume"
        )));
    }
    let ebs = part.part("Ebs");
    ebs.unsupported(&UNSUPPORTED)?;
    if ebs
        .text("SnapshotId")
        .is_some_and(|given| given != image.snapshot())
    {
        return Err(invalid(
            "snapshotId cannot be modified on root device".to_owned(),
        ));
    }
    root_of(call, &ebs, image)
}

fn root_of(call: &Call<'_>, ebs: &Part<'_>, image: &Image) -> Result<Mapping> {
    let (smallest, snapshot) = (image.size(), image.snapshot());
    let size = ebs.number("VolumeSize")?.unwrap_or(smallest);
    check_size(size, smallest, &snapshot)?;
    let spec = Spec::read(call, ebs, size, image.volume_type(), Some(snapshot))?;
    if matches!(&*spec.kind, "sc1" | "st1") {
        return Err(Refusal::value(
            "volumeType",
            &spec.kind,
            "The root volume cannot have this type.",
        ));
    }
    Ok(Mapping {
        device: image.root_device().to_owned(),
        spec,
        delete_on_termination: ebs
            .flag("DeleteOnTermination")?
            .unwrap_or(!image.keeps_root()),
    })
}

/// Returns an additional volume, or `None` for a mapping without one: the types of
/// the local cloud have no instance store, whose mappings EC2 ignores then.
pub(super) fn additional(
    call: &Call<'_>,
    part: &Part<'_>,
    device: &str,
) -> Result<Option<Mapping>> {
    let ebs = part.part("Ebs");
    if part.has("NoDevice") {
        part.text("NoDevice");
        return Ok(None);
    }
    if let Some(name) = part.text("VirtualName") {
        let number = name.strip_prefix("ephemeral");
        if number
            .and_then(|n| n.parse::<u8>().ok())
            .is_none_or(|n| n > 23)
        {
            return Err(invalid(format!(
                "The virtual name '{name}' is not one of ephemeral0 to ephemeral23"
            )));
        }
        return Ok(None);
    }
    ebs.unsupported(&UNSUPPORTED)?;
    let snapshot = ebs.text("SnapshotId").map(str::to_owned);
    let smallest = snapshot
        .as_ref()
        .map(|id| snapshot_size(call, id))
        .transpose()?;
    let Some(size) = ebs.number("VolumeSize")?.or(smallest) else {
        return Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter size or snapshotId",
        ));
    };
    if let (Some(smallest), Some(id)) = (smallest, &snapshot) {
        check_size(size, smallest, id)?;
    }
    Ok(Some(Mapping {
        device: device.to_owned(),
        spec: Spec::read(call, &ebs, size, "gp2", snapshot)?,
        delete_on_termination: ebs.flag("DeleteOnTermination")?.unwrap_or(true),
    }))
}

fn check_size(size: u32, smallest: u32, snapshot: &str) -> Result<()> {
    if size >= smallest {
        return Ok(());
    }
    Err(invalid(format!(
        "Volume of size {size}GB is smaller than snapshot '{snapshot}', expect size >= \
         {smallest}GB"
    )))
}

#[cfg(test)]
mod tests {
    use super::check_device;

    #[test]
    fn device_names_have_the_form_of_ec2() {
        for name in ["/dev/sdf", "xvdba", "/dev/sda1", "/dev/xvda", "hdb"] {
            assert!(check_device(name).is_ok(), "{name}");
        }
        for name in ["", "/dev/", "/dev/nvme0n1", "disk", "/dev/sd", "/dev/sdF"] {
            assert!(check_device(name).is_err(), "{name}");
        }
    }
}
