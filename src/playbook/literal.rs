//! Literals in a script.

use rhai::Dynamic;
use serde_json::Value;

/// Converts a literal to JSON. Returns `None` for other expressions.
pub(super) fn literal(expression: &rhai::Expr) -> Option<Value> {
    let value: Dynamic = expression.get_literal_value(None)?;
    crate::script::to_json(&value).ok()
}
