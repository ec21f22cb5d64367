//! What a volume is: size, type, performance and encryption. The limits are those
//! of the service model's documentation of `CreateVolume`.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::ids::{is_id, stable_id};
use super::images::{Image, images};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::snapshots::check_complete;

/// The properties of a volume that `ModifyVolume` can change, and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    /// In GiB.
    pub(super) size: u32,
    /// The volume type.
    pub(super) kind: String,
    pub(super) iops: Option<u32>,
    /// In MiB per second.
    pub(super) throughput: Option<u32>,
    pub(super) multi_attach: bool,
    /// The ARN of the key of an encrypted volume.
    pub(super) kms_key: Option<String>,
    pub(super) snapshot: Option<String>,
}

/// A volume type.
struct Kind {
    name: &'static str,
    sizes: RangeInclusive<u32>,
    /// The IOPS that can be provisioned, and how many for each GiB.
    provisioned: Option<(RangeInclusive<u32>, u32)>,
}

static KINDS: [Kind; 7] = [
    kind("gp2", 1..=16_384, None),
    kind("gp3", 1..=65_536, Some((3_000..=80_000, 500))),
    kind("io1", 4..=16_384, Some((100..=64_000, 50))),
    kind("io2", 4..=65_536, Some((100..=256_000, 1_000))),
    kind("sc1", 125..=16_384, None),
    kind("st1", 125..=16_384, None),
    kind("standard", 1..=1_024, None),
];

/// The throughput of `gp3`, in MiB per second.
const THROUGHPUT: RangeInclusive<u32> = 125..=2_000;

const fn kind(
    name: &'static str,
    sizes: RangeInclusive<u32>,
    provisioned: Option<(RangeInclusive<u32>, u32)>,
) -> Kind {
    Kind {
        name,
        sizes,
        provisioned,
    }
}

fn kind_of(name: &str) -> Result<&'static Kind> {
    const { &KINDS }
        .iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            Refusal::value(
                "volumeType",
                name,
                &format!("Expected one of {}.", known.join(", ")),
            )
        })
}

fn combination(text: String) -> Refusal {
    Refusal::new("InvalidParameterCombination", text)
}

fn wrong(text: String) -> Refusal {
    Refusal::new("InvalidParameterValue", text)
}

impl Spec {
    /// Reads type, performance and encryption of a new volume. `kind` is the type
    /// without a type in the request.
    pub(super) fn read(
        call: &Call<'_>,
        part: &Part<'_>,
        size: u32,
        kind: &str,
        snapshot: Option<String>,
    ) -> Result<Self> {
        let region = call.state.regions.get(call.region_name);
        let of_snapshot = snapshot
            .as_ref()
            .and_then(|id| region?.snapshots.get(id)?.kms_key.as_ref());
        // As on AWS, a request cannot turn off the region's default.
        let encrypted = part.flag("Encrypted")?.unwrap_or(false)
            || of_snapshot.is_some()
            || region.is_some_and(|region| *region.encrypts_volumes);
        let spec = Self {
            size,
            kind: part.text("VolumeType").unwrap_or(kind).to_owned(),
            iops: part.number("Iops")?,
            throughput: part.number("Throughput")?,
            multi_attach: part.flag("MultiAttachEnabled")?.unwrap_or(false),
            kms_key: kms_key(call, part, encrypted)?,
            snapshot,
        };
        spec.checked()
    }

    /// Reads what a modification changes. The performance of another type is the
    /// default of that type.
    pub(super) fn modified(&self, request: &Part<'_>) -> Result<Self> {
        let size = request.number("Size")?.unwrap_or(self.size);
        if size < self.size {
            return Err(wrong(
                "New size cannot be smaller than existing size".to_owned(),
            ));
        }
        let kind = request.text("VolumeType").unwrap_or(&self.kind);
        let kept = kind == self.kind && kind_of(kind)?.provisioned.is_some();
        let default = matches!(kind, "io1" | "io2").then_some(3_000);
        let iops = if kept { self.iops } else { default };
        let throughput = if kept { self.throughput } else { None };
        Self {
            size,
            kind: kind.to_owned(),
            iops: request.number("Iops")?.or(iops),
            throughput: request.number("Throughput")?.or(throughput),
            multi_attach: request
                .flag("MultiAttachEnabled")?
                .unwrap_or(self.multi_attach),
            ..self.clone()
        }
        .checked()
    }

    /// Checks the values, and fills in the performance that the type has by
    /// default.
    pub(super) fn checked(mut self) -> Result<Self> {
        let kind = kind_of(&self.kind)?;
        let (name, size) = (kind.name, self.size);
        if size < *kind.sizes.start() {
            return Err(wrong(format!(
                "Volume of {size}GiB is too small for volume type {name}; minimum is {}GiB.",
                kind.sizes.start()
            )));
        }
        if size > *kind.sizes.end() {
            return Err(wrong(format!(
                "Volume of {size}GiB is too large for volume type {name}; maximum is {}GiB.",
                kind.sizes.end()
            )));
        }
        if self.multi_attach && !matches!(name, "io1" | "io2") {
            return Err(combination(format!(
                "The parameter multiAttachEnabled is not supported for {name} volumes."
            )));
        }
        self.iops = match (&kind.provisioned, self.iops) {
            (Some((range, ratio)), Some(iops)) => {
                check_iops(iops, size, range, *ratio)?;
                Some(iops)
            }
            (Some(_), None) if name == "gp3" => Some(3_000),
            (Some(_), None) => {
                return Err(combination(format!(
                    "The parameter iops must be specified for {name} volumes."
                )));
            }
            (None, Some(_)) => {
                return Err(combination(format!(
                    "The parameter iops is not supported for {name} volumes."
                )));
            }
            // The baseline performance.
            (None, None) if name == "gp2" => Some((3 * size).clamp(100, 16_000)),
            (None, None) => None,
        };
        if name == "gp3" {
            let throughput = self.throughput.unwrap_or(*THROUGHPUT.start());
            check_throughput(throughput, self.iops.unwrap_or(3_000))?;
            self.throughput = Some(throughput);
        } else if self.throughput.is_some() {
            return Err(combination(format!(
                "The parameter throughput is not supported for {name} volumes."
            )));
        }
        Ok(self)
    }
}

fn check_iops(iops: u32, size: u32, range: &RangeInclusive<u32>, ratio: u32) -> Result<()> {
    if iops < *range.start() {
        return Err(wrong(format!(
            "Volume iops of {iops} is too low; minimum is {}.",
            range.start()
        )));
    }
    if iops > *range.end() {
        return Err(wrong(format!(
            "Volume iops of {iops} is too high; maximum is {}.",
            range.end()
        )));
    }
    if iops > 3_000 && u64::from(iops) > u64::from(size) * u64::from(ratio) {
        return Err(combination(format!(
            "Iops to volume size ratio of {:.6} is too high; maximum is {:.6}.",
            f64::from(iops) / f64::from(size),
            f64::from(ratio)
        )));
    }
    Ok(())
}

fn check_throughput(throughput: u32, iops: u32) -> Result<()> {
    if !THROUGHPUT.contains(&throughput) {
        return Err(wrong(format!(
            "Volume throughput of {throughput} MiBps is not in the range {} to {}.",
            THROUGHPUT.start(),
            THROUGHPUT.end()
        )));
    }
    if throughput * 4 > iops {
        return Err(wrong(format!(
            "Throughput (MiBps) to iops ratio of {:.6} is too high; maximum is 0.250000 MiBps \
             per iops.",
            f64::from(throughput) / f64::from(iops)
        )));
    }
    Ok(())
}

/// Returns the ARN of an encrypted volume's key. The local cloud has the account's
/// default key, `alias/aws/ebs`, only.
pub(super) fn kms_key(call: &Call<'_>, part: &Part<'_>, encrypted: bool) -> Result<Option<String>> {
    let (region, account) = (call.region_name, &call.facts.account);
    let id = stable_id("key", &[region, account, "ebs"]);
    let hex = id.trim_start_matches("key-");
    let default = format!(
        "arn:aws:kms:{region}:{account}:key/{}-{}-4{}-8{}-{hex:0>12.12}",
        &hex[..8],
        &hex[8..12],
        &hex[12..15],
        &hex[..3]
    );
    match part.text("KmsKeyId") {
        Some(_) if !encrypted => Err(Refusal::new(
            "InvalidParameterDependency",
            "The parameter [KmsKeyId] requires the parameter Encrypted to be set.",
        )),
        Some(key) if !key.ends_with("alias/aws/ebs") && key != default => Err(Refusal::new(
            "UnsupportedOperation",
            format!("The local cloud has the KMS key alias/aws/ebs only, not {key}"),
        )),
        _ => Ok(encrypted.then_some(default)),
    }
}

/// Returns the size in GiB of the volume that a complete snapshot was taken of.
pub(super) fn snapshot_size(call: &Call<'_>, id: &str) -> Result<u32> {
    if !is_id("snap", id) {
        return Err(Refusal::value("snapshotId", id, "Expected: 'snap-...'."));
    }
    let region = call.state.regions.get(call.region_name);
    let own = region.and_then(|region| region.snapshots.get(id));
    own.map(check_complete).transpose()?;
    let images = images(call.region_name, &call.facts.system);
    let image = images.iter().find(|image| image.snapshot() == id);
    own.map(|own| own.size)
        .or_else(|| image.map(Image::size))
        .ok_or_else(|| {
            Refusal::new(
                "InvalidSnapshot.NotFound",
                format!("The snapshot '{id}' does not exist."),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, size: u32, iops: Option<u32>) -> Result<Spec> {
        Spec {
            size,
            kind: kind.to_owned(),
            iops,
            throughput: None,
            multi_attach: false,
            kms_key: None,
            snapshot: None,
        }
        .checked()
    }

    #[test]
    fn the_performance_follows_from_the_type() {
        let of = |kind, size, iops| {
            let spec = spec(kind, size, iops).unwrap();
            (spec.iops, spec.throughput)
        };
        assert_eq!(of("gp2", 8, None), (Some(100), None));
        assert_eq!(of("gp2", 80, None), (Some(240), None));
        assert_eq!(of("gp3", 8, None), (Some(3_000), Some(125)));
        assert_eq!(of("io1", 100, Some(1_000)), (Some(1_000), None));
        assert_eq!(of("st1", 125, None), (None, None));
    }

    #[test]
    fn values_out_of_range_have_aws_codes() {
        let code = |kind, size, iops| spec(kind, size, iops).unwrap_err().code;
        assert_eq!(code("gp2", 8, Some(100)), "InvalidParameterCombination");
        assert_eq!(code("io1", 8, None), "InvalidParameterCombination");
        assert_eq!(code("gp2", 16_385, None), "InvalidParameterValue");
        assert_eq!(code("st1", 124, None), "InvalidParameterValue");
        assert_eq!(code("gp3", 8, Some(2_999)), "InvalidParameterValue");
        assert_eq!(code("gp9", 8, None), "InvalidParameterValue");
    }
}
