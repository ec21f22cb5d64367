//! Collects all faults in all files of a playbook, in the order of their places.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Expr};
use serde_json::Value;

use super::calls::{Call, Functions, call, modules, variables};
use super::finding::Finding;
use super::subject::{Examined, Subject};
use super::{literals, results};
use crate::playbook::literal::literal;
use crate::playbook::source_file::SourceFile;

/// Returns all faults in all files. The faults of the playbook come first, then those of
/// its imports.
pub(in crate::playbook) fn faults(subject: &Subject) -> Vec<Finding> {
    let all = subject.examined.iter();
    all.flat_map(|file| faults_of(subject, file)).collect()
}

fn faults_of(subject: &Subject, file: &Examined) -> Vec<Finding> {
    let Examined {
        path,
        source,
        own,
        facts,
    } = file;
    let ast = &source.ast;
    let known = Functions::in_file(subject.engine, ast);
    let modules = modules(path, ast, subject.files);
    let variables = variables(ast);
    let mut here = Vec::new();
    ast.walk(&mut |nodes| {
        let Some((call, position)) = nodes.last().and_then(call) else {
            return true;
        };
        let checked = Call {
            expr: call,
            position,
            path,
            values: facts.values(nodes),
        };
        let unknown = checked.unknown(&known, &modules, &variables);
        if unknown.is_none() && !own.contains(call.name.as_str()) {
            here.extend(literals::wrong_argument(&checked));
            here.extend(literals::wrong_options(&checked));
        }
        here.extend(unknown);
        true
    });
    here.extend(results::unknown_fields(path, ast, own, facts));
    here.sort_by_key(Finding::spot);
    here
}

/// Returns the names of all functions that are called in any file: as functions, as
/// methods, or through `Fn("name")`.
pub(in crate::playbook) fn called(files: &BTreeMap<String, SourceFile>) -> BTreeSet<String> {
    let all = files.values().flat_map(|file| called_in(&file.ast));
    all.collect()
}

/// Returns the names of all functions that a file calls.
pub(super) fn called_in(ast: &AST) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    ast.walk(&mut |nodes| {
        names.extend(nodes.last().and_then(called_name));
        true
    });
    names
}

/// Returns line and column of each call of a function in a file.
pub(in crate::playbook) fn places(ast: &AST, function: &str) -> BTreeSet<(usize, usize)> {
    let mut places = BTreeSet::new();
    ast.walk(&mut |nodes| {
        if let Some((call, position)) = nodes.last().and_then(call)
            && call.name.as_str() == function
        {
            let place = (position.line(), position.position());
            places.insert((place.0.unwrap_or(0), place.1.unwrap_or(0)));
        }
        true
    });
    places
}

fn called_name(node: &ASTNode) -> Option<String> {
    if let ASTNode::Expr(Expr::MethodCall(call, _)) = node {
        return Some(call.name.to_string());
    }
    let (call, _) = call(node)?;
    let pointed = (call.name == "Fn").then(|| call.args.first().and_then(literal));
    match pointed.flatten() {
        Some(Value::String(name)) => Some(name),
        _ => Some(call.name.to_string()),
    }
}
