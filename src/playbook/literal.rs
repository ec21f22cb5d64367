//! Values that are written out in a script.

use rhai::Dynamic;
use serde_json::Value;

/// A literal in a script as JSON; nothing for what must be computed.
pub(super) fn literal(expression: &rhai::Expr) -> Option<Value> {
    let value: Dynamic = expression.get_literal_value(None)?;
    crate::script::to_json(&value).ok()
}
