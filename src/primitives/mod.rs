//! What playbooks call: one file per family, one function per primitive.
//!
//! A family registers itself by its line in [`FAMILIES`]; a primitive by
//! standing in its family's `api` module.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use rhai::{Dynamic, Module, NativeCallContext, exported_module};
use serde_json::Value;

use crate::clients::tree;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ledger::{Remover, ResourceKind, Step};
use crate::script;
use crate::teardown::Teardown;
use data::sha256;

pub mod buckets;
pub mod control;
pub mod copies;
pub mod data;
pub mod fleet;
mod host_keys;
mod hosts;
pub mod http;
pub mod images;
pub mod instances;
pub mod key_pairs;
pub mod local;
pub mod logging;
pub mod machine;
pub mod monitoring;
pub mod objects;
mod readiness;
pub mod remote;
pub mod security_groups;
mod servers;
pub mod transfers;
mod ttl;
pub mod variables;

/// A group of primitives, in the order of the manual.
pub struct Family {
    /// Heading in the manual.
    pub title: &'static str,
    /// Where its functions act.
    pub realm: Realm,
    /// Whether its functions ask AWS.
    pub aws: bool,
    /// Builds the module that holds its functions.
    pub module: fn() -> Module,
}

/// Where the functions of a family act: the colour of their calls in `autorun show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// EC2.
    Ec2,
    /// S3.
    S3,
    /// Hosts, by ssh or HTTP.
    Hosts,
    /// This machine.
    Here,
    /// The playbook alone.
    Playbook,
}

impl Realm {
    /// Every realm, in the order of a legend.
    pub const ALL: [Self; 5] = [Self::Ec2, Self::S3, Self::Hosts, Self::Here, Self::Playbook];
}

/// Every family.
pub const FAMILIES: [Family; 18] = [
    Family {
        title: "Variables",
        realm: Realm::Playbook,
        aws: false,
        module: || exported_module!(variables::api),
    },
    Family {
        title: "Images",
        realm: Realm::Ec2,
        aws: true,
        module: || exported_module!(images::api),
    },
    Family {
        title: "Instances",
        realm: Realm::Ec2,
        aws: true,
        module: || exported_module!(instances::api),
    },
    Family {
        title: "Instances that are there",
        realm: Realm::Ec2,
        aws: true,
        module: || exported_module!(fleet::api),
    },
    Family {
        title: "Key pairs",
        realm: Realm::Ec2,
        aws: true,
        module: || exported_module!(key_pairs::api),
    },
    Family {
        title: "Security groups",
        realm: Realm::Ec2,
        aws: true,
        module: || exported_module!(security_groups::api),
    },
    Family {
        title: "Buckets",
        realm: Realm::S3,
        aws: true,
        module: || exported_module!(buckets::api),
    },
    Family {
        title: "Objects",
        realm: Realm::S3,
        aws: true,
        module: || exported_module!(objects::api),
    },
    Family {
        title: "Directories, downloads and copies",
        realm: Realm::S3,
        aws: true,
        module: || exported_module!(transfers::api),
    },
    Family {
        title: "Remote hosts",
        realm: Realm::Hosts,
        aws: false,
        module: || exported_module!(remote::api),
    },
    Family {
        title: "Copies to and from hosts",
        realm: Realm::Hosts,
        aws: false,
        module: || exported_module!(copies::api),
    },
    Family {
        title: "HTTP",
        realm: Realm::Hosts,
        aws: false,
        module: || exported_module!(http::api),
    },
    Family {
        title: "Monitoring",
        realm: Realm::Hosts,
        aws: false,
        module: || exported_module!(monitoring::api),
    },
    Family {
        title: "Local files",
        realm: Realm::Here,
        aws: false,
        module: || exported_module!(local::api),
    },
    Family {
        title: "This machine",
        realm: Realm::Here,
        aws: false,
        module: || exported_module!(machine::api),
    },
    Family {
        title: "Values",
        realm: Realm::Playbook,
        aws: false,
        module: || exported_module!(data::api),
    },
    Family {
        title: "Control",
        realm: Realm::Playbook,
        aws: false,
        module: || exported_module!(control::api),
    },
    Family {
        title: "Logging",
        realm: Realm::Playbook,
        aws: false,
        module: || exported_module!(logging::api),
    },
];

/// The one function that launches instances.
pub const LAUNCHES: &str = "launch_instance";

/// The names of the functions that ask AWS.
#[must_use]
pub fn ask_aws() -> BTreeSet<String> {
    let families = FAMILIES.iter().filter(|family| family.aws);
    families.flat_map(Family::functions).collect()
}

/// Where each function acts.
#[must_use]
pub fn realms() -> HashMap<String, Realm> {
    let families = FAMILIES.iter();
    let named = families.flat_map(|family| {
        let functions = family.functions().into_iter();
        functions.map(|name| (name, family.realm))
    });
    named.collect()
}

impl Family {
    /// The names of its functions.
    fn functions(&self) -> BTreeSet<String> {
        let module = (self.module)();
        let signatures = module.gen_fn_signatures_with_mapper(Into::into);
        let name = |signature: String| signature.split('(').next().unwrap_or_default().to_owned();
        signatures.map(name).collect()
    }
}

/// Seconds as scripts give them -> a duration.
fn seconds(name: &str, value: f64) -> Result<Duration> {
    /// Ten years: clocks can count that far.
    const LONGEST: f64 = 315_360_000.0;
    match value {
        0.0..=LONGEST => Ok(Duration::from_secs_f64(value)),
        _ => Err(Error::invalid(format!(
            "`{name}` must be a number of seconds from 0 to {LONGEST} (10 years)"
        ))),
    }
}

/// Refuses a secret in what others can read: whoever may look at AWS, other users
/// of a host or of this machine.
fn check_public(cx: &Context, what: &str, text: &str) -> Result<()> {
    let checked = cx.report.mask().keep_out_of(what, text);
    checked.map_err(|error| error.hint("others can read it: pass the secret in another way"))
}

/// Removes something, as a step of the playbook.
async fn release(cx: &Context, step: &mut Step, kind: ResourceKind, id: &str) -> Result<()> {
    if step.recorded::<Value>()?.is_some() {
        step.replay();
        return Ok(());
    }
    step.begin_unwritten();
    teardown(cx).release(kind, id).await
}

/// The deletion path, for what the playbook asks for.
fn teardown(cx: &Context) -> Teardown<'_> {
    Teardown {
        clients: &cx.clients,
        ledger: &cx.ledger,
        report: &cx.report,
        by: Remover::Playbook,
    }
}

/// What tells one content of a local file or directory from another, among the
/// arguments of a step: one that was corrected is copied again.
fn file_state(call: &NativeCallContext, file: &str) -> Dynamic {
    use std::os::unix::fs::MetadataExt as _;
    let path = script::context(call).clients.local.expand(Path::new(file));
    match std::fs::metadata(&path) {
        // One element, so that a summary of the call does not show it.
        Ok(about) if about.is_dir() => {
            let state = tree::state(&path).unwrap_or_default();
            vec![Dynamic::from(sha256(state.join("\n").as_bytes()))].into()
        }
        Ok(about) => vec![
            about.size().cast_signed(),
            about.mtime(),
            about.mtime_nsec(),
        ]
        .into(),
        Err(_) => Dynamic::UNIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_acts_in_one_realm() {
        let realms = realms();
        for family in &FAMILIES {
            let functions = family.functions();
            assert!(!functions.is_empty(), "{}", family.title);
            for function in functions {
                assert_eq!(realms[&function], family.realm, "{function}");
            }
            // What asks AWS is coloured as what it asks.
            let is_aws = matches!(family.realm, Realm::Ec2 | Realm::S3);
            assert_eq!(is_aws, family.aws, "{}", family.title);
        }
    }
}
