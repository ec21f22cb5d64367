//! What playbooks call: one file per family, one function per primitive.
//!
//! A family registers itself by its line in [`FAMILIES`]; a primitive by
//! standing in its family's `api` module; what it takes and returns by its row in
//! the family's `DECLARED`.

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

pub mod buckets;
pub mod control;
pub mod copies;
pub mod data;
mod families;
pub mod fleet;
mod host_keys;
mod host_map;
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

pub use families::{FAMILIES, Family, LAUNCHES, Realm, ask_aws, declared, realms};

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
