//! Options of a launch that an instance keeps and returns, and that do not change
//! its machine. Options that would change it are refused.

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::instance_types::InstanceType;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Instance, Phase, Tags};
use super::xml::Xml;

/// The options of one instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one of AWS's options"
)]
pub(super) struct Options {
    /// Whether detailed monitoring is on.
    pub(super) monitoring: bool,
    pub(super) ebs_optimized: bool,
    /// Whether `StopInstances` is refused.
    pub(super) stop_protected: bool,
    /// `open` or `none`.
    capacity_preference: String,
    /// `default` or `disabled`.
    auto_recovery: String,
    /// `default` or `disabled`.
    reboot_migration: String,
    /// Whether the host name is the instance's id, not its address.
    pub(super) named_by_id: bool,
    /// Whether the host name that is the instance's id has an A record.
    a_record: bool,
    /// The description of the network interface.
    pub(super) interface: String,
    /// The tags of the network interface.
    pub(super) interface_tags: Tags,
}

/// Parameters whose effect the local cloud does not have.
const UNSUPPORTED: [&str; 13] = [
    "AdditionalInfo",
    "CapacityReservationSpecification.CapacityReservationTarget",
    "ElasticGpuSpecification",
    "ElasticInferenceAccelerator",
    "Ipv6Address",
    "Ipv6AddressCount",
    "KernelId",
    "LicenseSpecification",
    "Monitoring.MetricCategoryId",
    "Operator",
    "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord",
    "RamdiskId",
    "SecondaryInterface",
];

/// Reads a parameter with a fixed set of values, the first of which is the default.
fn choice(request: &Part<'_>, name: &str, values: &[&str]) -> Result<String> {
    match request.text(name) {
        None => Ok(values[0].to_owned()),
        Some(given) if values.contains(&given) => Ok(given.to_owned()),
        Some(given) => Err(Refusal::value(
            name,
            given,
            &format!("Expected one of {}.", values.join(", ")),
        )),
    }
}

/// Refuses any value but the one that asks for what the local cloud has.
fn only(request: &Part<'_>, name: &str, value: &str) -> Result<()> {
    match request.text(name) {
        Some(given) if given != value => Err(Refusal::new(
            "UnsupportedOperation",
            format!("The local cloud supports the value {value} of {name} only, not {given}"),
        )),
        _ => Ok(()),
    }
}

/// The options of a launch that names none.
impl Default for Options {
    fn default() -> Self {
        let default = || "default".to_owned();
        Self {
            monitoring: false,
            ebs_optimized: false,
            stop_protected: false,
            capacity_preference: "open".to_owned(),
            auto_recovery: default(),
            reboot_migration: default(),
            named_by_id: false,
            a_record: false,
            interface: String::new(),
            interface_tags: Tags::new(),
        }
    }
}

impl Options {
    pub(super) fn read(request: &Part<'_>, instance_type: InstanceType) -> Result<Self> {
        request.unsupported(&UNSUPPORTED)?;
        check_placement(&request.part("Placement"))?;
        only(request, "EnablePrimaryIpv6", "false")?;
        only(
            request,
            "NetworkPerformanceOptions.BandwidthWeighting",
            "default",
        )?;
        only(request, "EnclaveOptions.Enabled", "false")?;
        check_hibernation(request)?;
        check_cpu(&request.part("CpuOptions"), instance_type)?;
        let ebs_optimized = request.flag("EbsOptimized")?.unwrap_or(false);
        if ebs_optimized && !instance_type.nitro {
            return Err(Refusal::new(
                "Unsupported",
                "EBS-optimized instances are not supported for your requested configuration. \
                 Please check the documentation for supported configurations.",
            ));
        }
        let names = request.part("PrivateDnsNameOptions");
        let host_name = choice(&names, "HostnameType", &["ip-name", "resource-name"])?;
        Ok(Self {
            monitoring: request.flag("Monitoring.Enabled")?.unwrap_or(false),
            ebs_optimized,
            stop_protected: request.flag("DisableApiStop")?.unwrap_or(false),
            capacity_preference: choice(
                &request.part("CapacityReservationSpecification"),
                "CapacityReservationPreference",
                &["open", "none"],
            )?,
            auto_recovery: choice(
                &request.part("MaintenanceOptions"),
                "AutoRecovery",
                &["default", "disabled"],
            )?,
            reboot_migration: "default".to_owned(),
            named_by_id: host_name == "resource-name",
            a_record: names.flag("EnableResourceNameDnsARecord")?.unwrap_or(false),
            interface: String::new(),
            interface_tags: Tags::new(),
        })
    }

    /// Writes what `DescribeInstances` returns of the options.
    pub(super) fn write(&self, xml: &mut Xml) {
        xml.node("capacityReservationSpecification", |xml| {
            xml.text("capacityReservationPreference", &self.capacity_preference);
        });
        xml.node("hibernationOptions", |xml| xml.text("configured", false));
        xml.node("enclaveOptions", |xml| xml.text("enabled", false));
        xml.node("privateDnsNameOptions", |xml| {
            let kind = if self.named_by_id {
                "resource-name"
            } else {
                "ip-name"
            };
            xml.text("hostnameType", kind);
            xml.text("enableResourceNameDnsARecord", self.a_record);
            xml.text("enableResourceNameDnsAAAARecord", false);
        });
        xml.node("maintenanceOptions", |xml| {
            xml.text("autoRecovery", &self.auto_recovery);
            xml.text("rebootMigration", &self.reboot_migration);
        });
        xml.node("networkPerformanceOptions", |xml| {
            xml.text("bandwidthWeighting", "default");
        });
    }
}

/// Returns the instance that a request changes.
fn named(call: &mut Call<'_>, request: &Part<'_>) -> Result<Instance> {
    let id = request.required("InstanceId")?;
    Ok(call.instances(&[id])?.swap_remove(0))
}

fn store(call: &mut Call<'_>, instance: Instance) {
    let id = instance.id.clone();
    call.region().instances.insert(id, instance);
}

fn must_be_stopped(instance: &Instance) -> Result<()> {
    if instance.phase == Phase::Stopped {
        return Ok(());
    }
    Err(Refusal::new(
        "IncorrectInstanceState",
        format!(
            "The instance '{}' is not in the 'stopped' state.",
            instance.id
        ),
    ))
}

pub(super) fn modify_instance_maintenance_options(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let mut instance = named(call, request)?;
    let options = &mut instance.options;
    if request.has("AutoRecovery") {
        options.auto_recovery = choice(request, "AutoRecovery", &["default", "disabled"])?;
    }
    if request.has("RebootMigration") {
        options.reboot_migration = choice(request, "RebootMigration", &["default", "disabled"])?;
    }
    call.read_all()?;
    let mut xml = Xml::default();
    xml.text("instanceId", &instance.id);
    xml.text("autoRecovery", &instance.options.auto_recovery);
    xml.text("rebootMigration", &instance.options.reboot_migration);
    store(call, instance);
    Ok(xml)
}

pub(super) fn modify_private_dns_name_options(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let mut instance = named(call, request)?;
    only(request, "EnableResourceNameDnsAAAARecord", "false")?;
    if request.has("PrivateDnsHostnameType") {
        let kinds = ["ip-name", "resource-name"];
        let kind = choice(request, "PrivateDnsHostnameType", &kinds)?;
        must_be_stopped(&instance)?;
        instance.options.named_by_id = kind == "resource-name";
    }
    let a_record = request.flag("EnableResourceNameDnsARecord")?;
    instance.options.a_record = a_record.unwrap_or(instance.options.a_record);
    call.read_all()?;
    store(call, instance);
    Ok(Xml::done())
}

pub(super) fn modify_instance_capacity_reservation_attributes(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let mut instance = named(call, request)?;
    let specification = request.part("CapacityReservationSpecification");
    specification.unsupported(&["CapacityReservationTarget"])?;
    specification.required("CapacityReservationPreference")?;
    let preferences = ["open", "none"];
    let preference = choice(
        &specification,
        "CapacityReservationPreference",
        &preferences,
    )?;
    call.read_all()?;
    must_be_stopped(&instance)?;
    instance.options.capacity_preference = preference;
    store(call, instance);
    Ok(Xml::done())
}

/// Refuses placements on hosts and in groups. The account has no placement groups.
fn check_placement(placement: &Part<'_>) -> Result<()> {
    placement.unsupported(&[
        "Affinity",
        "GroupId",
        "HostId",
        "HostResourceGroupArn",
        "PartitionNumber",
        "SpreadDomain",
    ])?;
    only(placement, "Tenancy", "default")?;
    match placement.text("GroupName") {
        None => Ok(()),
        Some(name) => Err(Refusal::new(
            "InvalidPlacementGroup.Unknown",
            format!("The Placement Group '{name}' is unknown."),
        )),
    }
}

fn check_hibernation(request: &Part<'_>) -> Result<()> {
    if request
        .flag("HibernationOptions.Configured")?
        .unwrap_or(false)
    {
        return Err(Refusal::new(
            "UnsupportedHibernationConfiguration",
            "Instances of the local cloud cannot hibernate",
        ));
    }
    Ok(())
}

/// Refuses other CPU options than those of the type, whose CPU time the machine
/// has.
fn check_cpu(cpu: &Part<'_>, instance_type: InstanceType) -> Result<()> {
    only(cpu, "AmdSevSnp", "disabled")?;
    only(cpu, "NestedVirtualization", "disabled")?;
    only(cpu, "CoreCount", &instance_type.cores().to_string())?;
    only(cpu, "ThreadsPerCore", &instance_type.threads().to_string())
}

/// Refuses what the one network interface of an instance cannot have. Returns its
/// description.
pub(super) fn read_interface(interface: &Part<'_>) -> Result<String> {
    interface.unsupported(&[
        "AssociateCarrierIpAddress",
        "ConnectionTrackingSpecification",
        "EnaQueueCount",
        "EnaSrdSpecification",
        "Ipv4Prefix",
        "Ipv4PrefixCount",
        "Ipv6AddressCount",
        "Ipv6Addresses",
        "Ipv6Prefix",
        "Ipv6PrefixCount",
        "SecondaryPrivateIpAddressCount",
    ])?;
    only(interface, "PrimaryIpv6", "false")?;
    only(interface, "InterfaceType", "interface")?;
    only(interface, "NetworkCardIndex", "0")?;
    only(interface, "DeviceIndex", "0")?;
    // The local cloud has no network interfaces without instances.
    only(interface, "DeleteOnTermination", "true")?;
    if let Some(id) = interface.text("NetworkInterfaceId") {
        return Err(Refusal::new(
            "InvalidNetworkInterfaceID.NotFound",
            format!("The networkInterface ID '{id}' does not exist"),
        ));
    }
    Ok(interface.text("Description").unwrap_or_default().to_owned())
}
