//! Literal paths of files that cannot be read. A call in `try` may fail.

use std::path::Path;

use rhai::{ASTNode, Expr, Position, Stmt};

use super::super::calls::{Call, call};
use super::super::finding::Finding;
use super::super::literals::overloads;
use super::super::rules::MISSING_FILE;
use super::File;
use crate::primitives::literals;

/// The arguments that name a local file or directory to read.
pub(in crate::playbook) const READ: &[(&str, &str)] = &[
    ("import_key_pair", "file"),
    ("read_file", "path"),
    ("render", "path"),
    ("scp", "source"),
    ("upload_dir", "directory"),
    ("upload_file", "file"),
    ("upload_image", "file"),
];

/// Functions that create local files, or ask whether one exists. A playbook that calls
/// one may know what it does.
const CREATE: [&str; 7] = [
    "write_file",
    "append_file",
    "scp_from",
    "download_file",
    "download_dir",
    "local_exec",
    "is_file",
];

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut creates = false;
    file.ast.walk(&mut |nodes| {
        let Some((expr, position)) = nodes.last().and_then(call) else {
            creates |= matches!(nodes.last(), Some(ASTNode::Expr(Expr::MethodCall(call, _)))
                if CREATE.contains(&call.name.as_str()));
            return true;
        };
        let name = expr.name.as_str();
        creates |= CREATE.contains(&name);
        if is_tried(nodes, position) {
            return true;
        }
        if expr.namespace.path.is_empty() && !file.own.contains(name) {
            let checked = Call {
                expr,
                position,
                path: file.path,
                values: file.facts.values(nodes),
            };
            found.extend(in_call(file, &checked));
        }
        true
    });
    if creates { Vec::new() } else { found }
}

/// Returns whether a `catch` handles the error of a call at this place.
fn is_tried(nodes: &[ASTNode], position: Position) -> bool {
    nodes.iter().any(|node| match node {
        ASTNode::Stmt(Stmt::TryCatch(flow, _)) => {
            let body = &flow.body;
            (body.position()..=body.end_position()).contains(&position)
        }
        _ => false,
    })
}

fn in_call(file: &File, call: &Call) -> Option<Finding> {
    let name = call.expr.name.as_str();
    let (_, argument) = READ.iter().find(|(function, _)| *function == name)?;
    let parameters = overloads(call).next()?;
    let at = parameters.iter().position(|p| p.name == *argument)?;
    let given = call.expr.args.get(at)?;
    let Expr::StringConstant(path, _) = call.values.literal(given) else {
        return None;
    };
    let error = literals::check_readable(path).err()?;
    let mut found = file.finding(&MISSING_FILE, given.position(), error.to_string());
    if Path::new(path.as_str()).is_relative() && !path.starts_with('~') {
        found.error = found.error.hint(
            "a relative path starts at the current directory: change it with -C, or write \
             script_dir() + \"/FILE\" for a file beside the playbook",
        );
    }
    Some(found)
}
