//! The boot parameters of an instance's machine.

use ipnet::Ipv4Net;

use super::state::Instance;
use super::user_data::decode;
use super::{images, instance_types};
use crate::faults::{Act, Fault};
use crate::machine::{AgentFault, Boot, Faults, Limits};

/// `network` is the CIDR block of the instance's VPC.
pub(super) fn boot_of(instance: &Instance, network: Ipv4Net, fault: Option<&Fault>) -> Boot {
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
        user: instance
            .user
            .clone()
            .unwrap_or_else(|| images::login_user(&instance.region(), &instance.image).to_owned()),
        snapshot: instance.snapshot.clone(),
        user_data: instance.user_data.as_deref().and_then(decode),
        limits: limits_of(&instance.instance_type),
        faults,
    }
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
