//! Methods: those that do not exist, and those that return nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use rhai::{ASTNode, Engine, Expr, FnCallExpr, Position, Stmt};

use super::super::calls::{native, natives};
use super::super::chain::{Link, chain};
use super::super::finding::Finding;
use super::super::rules::{ARGUMENT_COUNT, NO_VALUE, UNKNOWN_METHOD};
use super::super::walk::{Visitor, walk};
use super::File;
use crate::playbook::reference;
use crate::playbook::source_file::SourceFile;
use crate::primitives;
use crate::report::text;

/// Methods that Rhai handles itself.
const KEYWORDS: [&str; 4] = ["call", "curry", "is_shared", "type_of"];

/// The methods that values can have.
pub(in crate::playbook::check) struct Methods<'a> {
    engine: &'a Engine,
    /// Functions of Rhai that return nothing in all their forms.
    silent: &'static BTreeSet<String>,
    /// Functions of the playbook, and keys of maps, which may hold functions.
    others: BTreeSet<String>,
}

impl<'a> Methods<'a> {
    pub(in crate::playbook::check) fn of(
        engine: &'a Engine,
        files: &BTreeMap<String, SourceFile>,
    ) -> Self {
        let mut others = BTreeSet::new();
        for file in files.values() {
            others.extend(file.ast.iter_fn_def().map(|f| f.name.to_string()));
            file.ast.walk(&mut |nodes| {
                others.extend(nodes.last().map(keys).unwrap_or_default());
                true
            });
        }
        Self {
            engine,
            silent: silent(engine),
            others,
        }
    }

    pub(super) fn findings(&self, file: &File) -> Vec<Finding> {
        let mut visit = Visit {
            methods: self,
            file,
            found: Vec::new(),
        };
        walk(file.ast, &mut visit);
        visit.found
    }
}

/// Returns the functions of Rhai that return nothing, which are the same in every
/// engine. Those of autorun all return a value.
fn silent(engine: &Engine) -> &'static BTreeSet<String> {
    static SILENT: OnceLock<BTreeSet<String>> = OnceLock::new();
    SILENT.get_or_init(|| {
        let mut results: BTreeMap<String, bool> = BTreeMap::new();
        let returned = engine.collect_fn_metadata(
            None,
            |f| {
                let returned = f.metadata.return_type.replace(' ', "");
                let is_unit = matches!(&*returned, "" | "()") || returned.ends_with("<()>");
                Some((f.metadata.name.to_string(), is_unit))
            },
            true,
        );
        for (name, is_unit) in returned {
            *results.entry(name).or_insert(true) &= is_unit;
        }
        results.retain(|name, is_unit| *is_unit && !primitives::is_function(name));
        results.into_keys().collect()
    })
}

/// Returns the keys that a node writes to maps, or declares in one.
fn keys(node: &ASTNode) -> Vec<String> {
    match node {
        ASTNode::Expr(Expr::Map(map, _)) => {
            map.0.iter().map(|(key, _)| key.name.to_string()).collect()
        }
        ASTNode::Expr(Expr::DynamicConstant(value, _)) => {
            let map = value.read_lock::<rhai::Map>();
            map.iter()
                .flat_map(|m| m.keys())
                .map(ToString::to_string)
                .collect()
        }
        ASTNode::Stmt(Stmt::Assignment(parts)) => {
            let links = chain(&parts.1.lhs)
                .map(|(_, links)| links)
                .unwrap_or_default();
            let keys = links.iter().filter_map(Link::key);
            keys.map(|(key, _)| key.to_owned()).collect()
        }
        // `map.set("key", ..)`
        ASTNode::Expr(Expr::MethodCall(call, _)) if call.name == "set" => {
            let key = call.args.first();
            let text = key.and_then(|key| match key {
                Expr::StringConstant(text, _) => Some(text.to_string()),
                _ => None,
            });
            text.into_iter().collect()
        }
        _ => Vec::new(),
    }
}

struct Visit<'a> {
    methods: &'a Methods<'a>,
    file: &'a File<'a>,
    found: Vec<Finding>,
}

impl Visitor for Visit<'_> {
    fn expression(&mut self, expr: &Expr, is_used: bool) {
        match expr {
            Expr::MethodCall(call, position) => {
                let found = self
                    .unknown(call, *position)
                    .or_else(|| self.count(call, *position));
                self.found.extend(found);
            }
            Expr::Dot(..) if is_used => {
                let found = last_method(expr).and_then(|(call, at)| self.silent(call, at));
                self.found.extend(found);
            }
            _ => {}
        }
    }
}

impl Visit<'_> {
    fn unknown(&self, call: &FnCallExpr, position: Position) -> Option<Finding> {
        let name = call.name.as_str();
        let Methods { engine, others, .. } = self.methods;
        if KEYWORDS.contains(&name) || native(engine, name).is_some() || others.contains(name) {
            return None;
        }
        let message = format!("unknown method `{name}`");
        let mut found = self.file.finding(&UNKNOWN_METHOD, position, message);
        let own = others.iter().map(String::as_str);
        let near = text::nearest(name, natives(engine).chain(own));
        found.error = found.error.hint(match foreign(name).or(near) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see `autorun docs language` for the methods of texts, arrays and maps".into(),
        });
        Some(found)
    }

    /// A function of autorun that is called as a method of its first argument.
    fn count(&self, call: &FnCallExpr, position: Position) -> Option<Finding> {
        let name = call.name.as_str();
        if !primitives::is_function(name) || self.methods.others.contains(name) {
            return None;
        }
        let given = call.args.len() + 1;
        let arities = primitives::arities(name)?;
        if arities.contains(&given) {
            return None;
        }
        let expected: Vec<String> = arities.iter().map(ToString::to_string).collect();
        let expected = expected.join(" or ");
        let message = format!(
            "`{name}` expects {expected} arguments, got {given} with the value before the dot"
        );
        let mut found = self.file.finding(&ARGUMENT_COUNT, position, message);
        let calls = reference::signatures(name).join(" or ");
        found.error = found.error.hint(format!("call it as {calls}"));
        Some(found)
    }

    fn silent(&self, call: &FnCallExpr, position: Position) -> Option<Finding> {
        let name = call.name.as_str();
        if !self.methods.silent.contains(name) || self.methods.others.contains(name) {
            return None;
        }
        let message = format!("`{name}` returns nothing: it changes the value in place");
        let mut found = self.file.finding(&NO_VALUE, position, message);
        found.error = found.error.hint(format!(
            "call `{name}` in a statement of its own, then use the variable"
        ));
        Some(found)
    }
}

/// Returns the method at the end of a chain.
fn last_method(expr: &Expr) -> Option<(&FnCallExpr, Position)> {
    match expr {
        Expr::Dot(parts, ..) | Expr::Index(parts, ..) => last_method(&parts.rhs),
        Expr::MethodCall(call, position) => Some((call, *position)),
        _ => None,
    }
}

/// How Rhai names a method of other languages.
fn foreign(name: &str) -> Option<&'static str> {
    Some(match name {
        "upper" | "uppercase" | "to_uppercase" | "toUpperCase" => "to_upper",
        "lower" | "lowercase" | "to_lowercase" | "toLowerCase" => "to_lower",
        "length" | "size" | "count" => "len",
        "strip" => "trim",
        "append" | "add" => "push",
        "startswith" | "startsWith" => "starts_with",
        "endswith" | "endsWith" => "ends_with",
        "includes" | "has" | "has_key" => "contains",
        "to_str" | "toString" | "str" => "to_string",
        _ => return None,
    })
}
