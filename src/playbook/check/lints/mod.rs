//! Checks beyond those that run before every playbook: what is probably a mistake, or
//! fails for sure when it runs.

use std::collections::BTreeSet;

use rhai::{AST, Position};

use super::finding::Finding;
use super::rules::Rule;
use super::variables::Facts;
use crate::error::{Error, ErrorKind};
use crate::playbook::imports;
use crate::playbook::scan::Scan;

mod blocks;
mod callbacks;
mod comparisons;
mod files;
mod methods;
mod secrets;
mod switches;
mod unused;
mod values;

pub(in crate::playbook) use files::READ;
pub(super) use methods::Methods;
pub(super) use unused::{functions, imports as unused_imports, private_functions};

/// A file under check.
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) ast: &'a AST,
    pub(super) scan: &'a Scan,
    /// Functions that the playbook itself defines.
    pub(super) own: &'a BTreeSet<String>,
    pub(super) facts: &'a Facts,
}

impl File<'_> {
    fn finding(&self, rule: &'static Rule, position: Position, message: String) -> Finding {
        let mut error = Error::new(ErrorKind::Script, message);
        error.place = imports::place(self.path, position);
        Finding::new(rule, error)
    }
}

/// Returns what these checks find in one file.
pub(super) fn findings(file: &File, methods: &Methods) -> Vec<Finding> {
    let mut all = unused::variables(file);
    all.extend(blocks::findings(file));
    all.extend(callbacks::findings(file));
    all.extend(comparisons::findings(file));
    all.extend(methods.findings(file));
    all.extend(secrets::findings(file));
    all.extend(switches::findings(file));
    all.extend(values::findings(file));
    all.extend(files::findings(file));
    all
}
