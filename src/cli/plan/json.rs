//! A plan as one JSON object on one line.

use serde_json::{Value, json};

use super::Plan;

/// Renders a plan.
pub(super) fn json(plan: &Plan) -> Value {
    json!({
        "event": "plan",
        "playbook": plan.playbook,
        "name": plan.name,
        "run": plan.run,
        "outcome": plan.outcome.as_str(),
        "error": plan.error,
        "hint": plan.hint,
        "cannot_boot": plan.cannot_boot,
        "seconds": plan.took.as_secs_f64(),
        "skipped_seconds": plan.skipped.as_secs_f64(),
        "variables": plan.variables,
        "steps": plan.outline.steps,
        "open": plan.outline.open,
        "public": plan.outline.public,
        "stays_up": plan.outline.stays_up,
        "unreadable": plan.unreadable,
        "borrowed": plan.loans,
        "differences": plan.differences,
        "account": plan.account,
    })
}
