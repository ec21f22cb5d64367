//! Closures that do not accept the arguments with which a function calls them.

use rhai::{ASTNode, Expr, FnCallExpr};

use super::super::calls::call;
use super::super::closures::Closure;
use super::super::finding::Finding;
use super::super::rules::ARGUMENT_COUNT;
use super::File;
use crate::report::text;

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    file.ast.walk(&mut |nodes| {
        if let Some((call, _)) = nodes.last().and_then(|node: &ASTNode| call(node))
            && call.namespace.path.is_empty()
            && !file.own.contains(call.name.as_str())
        {
            for (closure, expected) in callbacks(call) {
                found.extend(misfit(file, call.name.as_str(), closure, expected));
            }
        }
        true
    });
    found
}

/// Returns the closures among the arguments of a call, and the number of arguments with
/// which the function calls each of them.
fn callbacks(call: &FnCallExpr) -> Vec<(&Expr, usize)> {
    match (call.name.as_str(), call.args.as_slice()) {
        ("parallel", [_, closure, ..]) if Closure::of(closure).is_some() => vec![(closure, 1)],
        ("parallel", [Expr::Array(all, _), ..]) => all.iter().map(|one| (one, 0)).collect(),
        ("retry", [_, closure]) => vec![(closure, 1)],
        _ => Vec::new(),
    }
}

fn misfit(file: &File, function: &str, expr: &Expr, expected: usize) -> Option<Finding> {
    let closure = Closure::of(expr)?;
    let mut functions = file.ast.iter_fn_def();
    let parameters = &functions.find(|f| f.name == closure.function)?.params;
    let accepts = parameters.len().checked_sub(closure.captured)?;
    if accepts == expected {
        return None;
    }
    let message = format!(
        "`{function}` calls this closure with {}, but it accepts {}",
        text::count(expected, "argument"),
        text::count(accepts, "argument"),
    );
    let mut found = file.finding(&ARGUMENT_COUNT, expr.position(), message);
    found.error = found.error.hint(match (function, expected) {
        ("retry", _) => "give it one parameter, the number of the attempt: `|n| ..`",
        (_, 0) => "remove its parameters: `|| ..`",
        _ => "give it one parameter, the item: `|item| ..`",
    });
    Some(found)
}
