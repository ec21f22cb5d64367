//! The description of a cloud, for EC2 and for its users.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::hosting::Hosting;
use crate::ec2::{CONSISTENCY_SECONDS, CloudInfo};
use crate::signature::Keys;

/// Describes the cloud for EC2. In a rehearsal, instances that cannot boot exist as
/// records.
pub(super) fn facts(hosting: Option<&Hosting>, keys: &Keys, is_rehearsal: bool) -> CloudInfo {
    let keeps_records = is_rehearsal && hosting.is_none();
    CloudInfo {
        keys: keys.clone(),
        account: ACCOUNT.to_owned(),
        subnet: hosting.map_or_else(no_subnet, Hosting::subnet),
        system: hosting.map_or_else(
            || "none: instances cannot boot here".to_owned(),
            Hosting::system,
        ),
        cannot_boot: (hosting.is_none() && !keeps_records).then(cannot_boot),
        is_rehearsal,
        keeps_records,
    }
}

/// Returns a subnet in AWS's default range, for EC2's records where instances
/// cannot boot.
fn no_subnet() -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::new(172, 31, 0, 0), 20).unwrap_or_default()
}

/// Explains why instances cannot boot and names the whole command that fixes
/// it.
fn cannot_boot() -> String {
    if !cfg!(target_os = "linux") {
        return "this local cloud cannot boot instances: they are made of Linux namespaces, \
                and this is not Linux; buckets and objects work"
            .to_owned();
    }
    let program = std::env::var_os("AUTORUN_PROGRAM").map(PathBuf::from);
    let program = program.unwrap_or_else(|| "autorun".into());
    format!(
        "this local cloud cannot boot instances: it was started without root, which \
         namespaces and mounts need; run once: sudo {} cloud up",
        program.display()
    )
}

/// Returns the public status of a cloud, including its differences from AWS.
pub(super) fn status(endpoint: &str, hosting: Option<&Hosting>) -> Value {
    let Some(hosting) = hosting else {
        return json!({
            "endpoint": endpoint,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "boots": false,
            "consistency_seconds": CONSISTENCY_SECONDS,
            "cannot_boot": cannot_boot(),
        });
    };
    json!({
        "endpoint": endpoint,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "boots": true,
        "consistency_seconds": CONSISTENCY_SECONDS,
        "subnet": hosting.subnet().to_string(),
        "system": hosting.system(),
        "held_packages": hosting.held_packages(),
        "unlimited": hosting.unlimited(),
    })
}

/// The account that owns everything.
pub(crate) const ACCOUNT: &str = "123456789012";
