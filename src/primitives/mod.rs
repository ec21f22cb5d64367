//! What playbooks call: one file per family, one function per primitive.
//!
//! A family registers itself by its line in [`FAMILIES`]; a primitive by
//! standing in its family's `api` module.

use rhai::{Module, exported_module};

pub mod buckets;
pub mod control;
mod host_keys;
pub mod http;
pub mod images;
pub mod instances;
pub mod key_pairs;
pub mod local;
pub mod logging;
pub mod objects;
mod readiness;
pub mod remote;
pub mod security_groups;
mod servers;
pub mod variables;

/// A group of primitives, in the order of the manual.
pub struct Family {
    /// Heading in the manual.
    pub title: &'static str,
    /// Builds the module that holds its functions.
    pub module: fn() -> Module,
}

/// Every family.
pub const FAMILIES: [Family; 12] = [
    Family {
        title: "Variables",
        module: || exported_module!(variables::api),
    },
    Family {
        title: "Images",
        module: || exported_module!(images::api),
    },
    Family {
        title: "Instances",
        module: || exported_module!(instances::api),
    },
    Family {
        title: "Key pairs",
        module: || exported_module!(key_pairs::api),
    },
    Family {
        title: "Security groups",
        module: || exported_module!(security_groups::api),
    },
    Family {
        title: "Buckets",
        module: || exported_module!(buckets::api),
    },
    Family {
        title: "Objects",
        module: || exported_module!(objects::api),
    },
    Family {
        title: "Remote hosts",
        module: || exported_module!(remote::api),
    },
    Family {
        title: "HTTP",
        module: || exported_module!(http::api),
    },
    Family {
        title: "Local files",
        module: || exported_module!(local::api),
    },
    Family {
        title: "Control",
        module: || exported_module!(control::api),
    },
    Family {
        title: "Logging",
        module: || exported_module!(logging::api),
    },
];

/// Seconds as scripts give them -> a duration.
fn seconds(name: &str, value: f64) -> crate::error::Result<std::time::Duration> {
    std::time::Duration::try_from_secs_f64(value).map_err(|_| {
        crate::error::Error::invalid(format!("`{name}` must be a number of seconds from 0 up"))
    })
}
