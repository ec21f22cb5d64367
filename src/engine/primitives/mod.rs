//! The functions of playbooks (primitives): one file per family.
//!
//! To add a family, add it to [`FAMILIES`]. To add a function, add it to the `api`
//! module of its family; its options and its result are declared in a row of the
//! family's `DECLARED`. The doc comments of both are the manual.

use std::path::Path;

use rhai::{Dynamic, NativeCallContext};
use serde_json::Value;

use crate::clients::tree;
use crate::context::Context;
use crate::error::Result;
use crate::ledger::{Remover, ResourceKind, Step};
use crate::script;
use crate::teardown::Teardown;
use data::sha256;

pub mod addresses;
pub mod buckets;
mod cloud_init;
pub mod control;
pub mod copies;
pub mod data;
mod effects;
mod families;
mod fanout;
pub mod fleet;
pub mod fleet_exec;
mod fleet_launch;
mod host_keys;
mod host_map;
mod hosts;
pub mod http;
mod http_request;
pub mod images;
pub mod instances;
pub mod key_pairs;
mod launch_volumes;
mod launches;
pub mod literals;
pub mod local;
pub mod logging;
pub mod machine;
pub mod monitoring;
pub mod network;
mod network_nat;
mod network_removal;
mod networks;
pub mod objects;
mod own_images;
mod readiness;
mod reboots;
mod rehearsed;
pub mod remote;
pub mod roles;
pub mod security_groups;
mod servers;
mod side_by_side;
pub mod snapshots;
pub mod spot;
mod templates;
pub mod transfers;
mod ttl;
mod uploads;
mod user_data;
mod user_data_reasons;
pub mod variables;
pub mod volumes;

pub use effects::{Effect, Reach, effect_of};
pub use families::{
    ALLOWS_AGAIN, FAMILIES, Family, LAUNCHES, Realm, arities, declared, family_of, is_aws_function,
    is_function, names, realms,
};
pub use host_keys::{WayTo, pin_before_login};

/// Refuses a secret in a text that others can read: users of the AWS account, of a
/// host or of this machine. `what` names the text in the error.
fn check_public(cx: &Context, what: &str, text: &str) -> Result<()> {
    let checked = cx.report.mask().keep_out_of(what, text);
    checked.map_err(|error| error.hint("pass the secret in another way: other users can read this"))
}

/// Deletes a resource as a step of the playbook.
async fn release(cx: &Context, step: &mut Step, kind: ResourceKind, id: &str) -> Result<()> {
    if step.recorded::<Value>()?.is_some() {
        step.replay();
        return Ok(());
    }
    step.begin_unwritten();
    teardown(cx).release(kind, id).await
}

/// Returns the teardown for deletions that the playbook requests.
fn teardown(cx: &Context) -> Teardown<'_> {
    Teardown {
        clients: &cx.clients,
        ledger: &cx.ledger,
        report: &cx.report,
        by: Remover::Playbook,
    }
}

/// Returns a value that changes with the content of a local file or directory. As an
/// argument of a step, it makes a resumed run copy a changed file again.
fn file_state(call: &NativeCallContext, file: &str) -> Dynamic {
    use std::os::unix::fs::MetadataExt as _;
    let path = script::context(call).clients.local.expand(Path::new(file));
    match std::fs::metadata(&path) {
        // An array, so that the summary of the call does not show the digest.
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
