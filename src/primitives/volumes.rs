//! The option `volumes` of `launch_instance`: EBS volumes in addition to the root
//! volume. They are deleted with their instance.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::clients::ec2::{DataVolume, volume_types};
use crate::error::{Error, Result};

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
}

fn gp3() -> String {
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
        let known = volume_types();
        if !known.contains(&option.kind.as_str()) {
            return Err(wrong(format!("unknown `type` `{}`", option.kind))
                .hint(format!("use one of {}", known.join(", "))));
        }
        let device = option.device.clone().or_else(|| free.next());
        let device = device.unwrap_or_default();
        if volumes.iter().any(|before| before.device == device) {
            return Err(wrong(format!("the device `{device}` is used twice")));
        }
        volumes.push(DataVolume {
            size: option.size,
            volume_type: option.kind.clone(),
            iops: option.iops,
            device,
        });
    }
    Ok(volumes)
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
