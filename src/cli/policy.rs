//! `autorun policy`: prints the IAM policy that a playbook or a run needs.

use std::fmt::Write as _;

use super::args::{Output, PolicyArgs};
use super::output::{answer, complain, fitted};
use super::settings::{shown, store};
use crate::error::exit;
use crate::policy::{Explained, For, Policy};
use crate::report::text;

pub(super) fn policy(arguments: &PolicyArgs) -> anyhow::Result<u8> {
    let store = store(None)?;
    let prefix = arguments.subject.to_string_lossy();
    let run = store.find(&prefix).map_err(|e| shown(&e))?;
    let wanted = For {
        region: arguments.region.clone(),
        owner: None,
    };
    let policy = Policy::of_run(&store, &run, wanted).map_err(|e| shown(&e))?;
    show(arguments, &policy);
    Ok(exit::DONE)
}

fn show(arguments: &PolicyArgs, policy: &Policy) {
    for note in &policy.notes {
        complain(&fitted(&format!("note: {note}")));
    }
    answer(&match arguments.output {
        Output::Json => format!("{}\n", policy.json_with_reasons()),
        Output::Human if arguments.explain => explained(&policy.explained()),
        Output::Human => format!("{:#}\n", policy.json()),
    });
}

/// Returns the statements in words.
fn explained(statements: &[Explained]) -> String {
    let mut out = String::new();
    for statement in statements {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", statement.sid);
        for resource in &statement.resources {
            let _ = writeln!(out, "  {resource}");
        }
        for condition in &statement.conditions {
            let _ = writeln!(out, "  if {condition}");
        }
        for (call, actions) in &statement.calls {
            let _ = writeln!(out, "{}", text::wrap(&format!("  {call}"), 4));
            let _ = writeln!(
                out,
                "{}",
                text::wrap(&format!("    {}", actions.join(", ")), 4)
            );
        }
    }
    out
}
