//! The boot parameters of an instance's machine.

use ipnet::Ipv4Net;

use super::state::{Attachment, Instance, Region};
use super::user_data::decode;
use super::{images, instance_types};
use crate::faults::{Act, Fault};
use crate::machine::{AgentFault, Boot, DataVolume, Faults, Limits, Naming};

/// The login user of Amazon Linux.
const AMAZON_LINUX_USER: &str = "ec2-user";

/// `network` is the CIDR block of the instance's VPC, and `volumes` are those of
/// [`data_volumes`].
pub(super) fn boot_of(
    instance: &Instance,
    network: Ipv4Net,
    volumes: Vec<DataVolume>,
    fault: Option<&Fault>,
) -> Boot {
    let mut faults = Faults::default();
    if let Some(fault) = fault {
        match fault.act {
            Act::FailUserData => {
                faults.user_data_exit = Some(i32::from(fault.status.unwrap_or(1)));
            }
            Act::DegradeUserData => faults.degraded = true,
            Act::DropSsh => faults.drop_ssh_after = Some(fault.bytes.unwrap_or(20_000)),
            Act::NoSsh => faults.no_ssh = true,
            Act::NoCloudInit => faults.no_cloud_init = true,
            Act::NoConsoleKeys => faults.host_keys_not_in_console = true,
            Act::OtherConsoleKeys => faults.other_host_keys_in_console = true,
            Act::LateConsoleKeys => faults.host_keys_late_in_console = true,
            Act::NoAgent => faults.agent = Some(AgentFault::Missing),
            Act::AgentOffline => faults.agent = Some(AgentFault::Offline),
            _ => {}
        }
    }
    let user = instance
        .user
        .clone()
        .unwrap_or_else(|| images::login_user(&instance.region(), &instance.image).to_owned());
    Boot {
        id: instance.id.clone(),
        address: instance.address,
        network,
        outside: instance.outside,
        hostname: instance
            .private_name()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned(),
        authorized_keys: instance.authorized_keys.clone(),
        naming: Naming {
            nvme: instance_types::instance_type(&instance.instance_type)
                .is_none_or(|known| known.nitro),
            // Amazon's rules for udev are part of Amazon Linux.
            links: user == AMAZON_LINUX_USER,
        },
        volumes,
        user,
        snapshot: instance.snapshot.clone(),
        user_data: instance.user_data.as_deref().and_then(decode),
        limits: limits_of(&instance.instance_type),
        faults,
    }
}

/// Returns the volumes of an instance besides its root volume.
pub(super) fn data_volumes(region: &Region, instance: &Instance) -> Vec<DataVolume> {
    let others = instance.attachments.iter();
    let others = others.filter(|one| one.device != instance.root_device && !one.detaching);
    let volume = |one: &Attachment| {
        Some(DataVolume {
            id: one.volume.clone(),
            device: one.device.clone(),
            gibibytes: region.volumes.get(&one.volume)?.spec.size,
        })
    };
    others.filter_map(volume).collect()
}

/// Returns the limits of an instance type. An unknown type, which only a state
/// of another version can contain, has the limits of `t3.micro`.
fn limits_of(instance_type: &str) -> Limits {
    let known = instance_types::instance_type(instance_type);
    known.map_or(
        Limits {
            mebibytes: 1024,
            vcpus: 2,
        },
        |known| Limits {
            mebibytes: known.mebibytes,
            vcpus: known.vcpus,
        },
    )
}
