//! What a check is about: the compiled files of a playbook, and what is known of them.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, Engine};

use super::variables::Facts;
use crate::playbook::source_file::SourceFile;

/// The files of a playbook. Both passes of a check read them.
pub(in crate::playbook) struct Subject<'a> {
    pub(super) engine: &'a Engine,
    /// The path of the playbook itself.
    pub(super) main: &'a str,
    pub(super) files: &'a BTreeMap<String, SourceFile>,
    /// The playbook, then its imports.
    pub(super) examined: Vec<Examined<'a>>,
}

/// A file, and what is known of it.
pub(super) struct Examined<'a> {
    pub(super) path: &'a str,
    pub(super) source: &'a SourceFile,
    /// Functions of the playbook and of this file. They take precedence over primitives.
    pub(super) own: BTreeSet<String>,
    pub(super) facts: Facts,
}

impl<'a> Subject<'a> {
    pub(in crate::playbook) fn new(
        engine: &'a Engine,
        main: &'a str,
        files: &'a BTreeMap<String, SourceFile>,
    ) -> Self {
        let of_main = files.get(main).map(|file| functions(&file.ast));
        let of_main = of_main.unwrap_or_default();
        let mut ordered: Vec<_> = files.iter().collect();
        ordered.sort_by_key(|(path, _)| path.as_str() != main);
        let examined = ordered.into_iter().map(|(path, source)| {
            let own = &of_main | &functions(&source.ast);
            Examined {
                path,
                source,
                facts: Facts::of(&source.ast, &own),
                own,
            }
        });
        Self {
            engine,
            main,
            files,
            examined: examined.collect(),
        }
    }
}

/// Returns the names of the functions that a file defines.
fn functions(ast: &AST) -> BTreeSet<String> {
    ast.iter_fn_def().map(|f| f.name.to_string()).collect()
}
