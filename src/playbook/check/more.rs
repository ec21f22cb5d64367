//! What `autorun check` finds beyond the faults, and the comments that silence it.

use std::collections::{BTreeMap, BTreeSet};

use rhai::Engine;

use super::called;
use super::finding::Finding;
use super::lints::{self, File, Methods};
use super::rules::{Rule, UNKNOWN_ALLOWANCE};
use super::variables::Facts;
use crate::error::{Error, ErrorKind, Place};
use crate::playbook::scan::{Part, Scan};
use crate::playbook::source_file::SourceFile;
use crate::report::text;

/// The beginning of a comment that silences a line.
const ALLOW: &str = "autorun: allow";

/// Returns what these checks find in the files that compiled, in the order of their
/// places; the playbook's own file first.
pub(in crate::playbook) fn findings(
    engine: &Engine,
    main: &str,
    files: &BTreeMap<String, SourceFile>,
) -> Vec<Finding> {
    let methods = Methods::of(engine, files);
    let called = called(files);
    let own_of = |file: &SourceFile| -> BTreeSet<String> {
        file.ast.iter_fn_def().map(|f| f.name.to_string()).collect()
    };
    let main_own = files.get(main).map(own_of).unwrap_or_default();
    let mut ordered: Vec<_> = files.iter().collect();
    ordered.sort_by_key(|(path, _)| path.as_str() != main);
    let mut all = Vec::new();
    for (path, source) in ordered {
        let scan = Scan::of(&source.text);
        let own: BTreeSet<String> = main_own.union(&own_of(source)).cloned().collect();
        let facts = Facts::of(&source.ast, &own);
        let file = File {
            path,
            ast: &source.ast,
            scan: &scan,
            own: &own,
            facts: &facts,
        };
        let mut here = lints::findings(&file, &methods);
        here.extend(lints::unused_imports(&file, files));
        // A file of functions alone is a library.
        if path == main && !source.ast.statements().is_empty() {
            here.extend(lints::functions(&file, &called));
        } else {
            here.extend(lints::private_functions(&file));
        }
        let allowances = Allowances::of(path, &scan);
        here.retain(|finding| finding.is_error() || !allowances.allow(finding));
        here.extend(allowances.unknown);
        here.sort_by_key(Finding::spot);
        all.append(&mut here);
    }
    all
}

/// The comments of a file that silence codes.
struct Allowances {
    /// Lines and codes. A comment alone in a line is for the next line.
    allowed: BTreeSet<(usize, String)>,
    unknown: Vec<Finding>,
}

impl Allowances {
    fn of(path: &str, scan: &Scan) -> Self {
        let mut found = Self {
            allowed: BTreeSet::new(),
            unknown: Vec::new(),
        };
        let mut at = 0;
        while at < scan.chars.len() {
            let begins = scan.part(at) == Part::Comment && scan.is_at(at, "//");
            if begins {
                let rest: String = scan.chars[at..]
                    .iter()
                    .take_while(|c| **c != '\n')
                    .collect();
                found.read(path, scan, at, &rest);
                at += rest.chars().count();
            }
            at += 1;
        }
        found
    }

    /// Reads one comment that begins with `//`.
    fn read(&mut self, path: &str, scan: &Scan, at: usize, comment: &str) {
        let words = comment.trim_start_matches('/').trim_start();
        let Some(codes) = words.strip_prefix(ALLOW) else {
            return;
        };
        // What follows a colon is the reason.
        let codes = codes.split(':').next().unwrap_or_default();
        let (line, column) = scan.place(at);
        let start = scan.index(line, 1);
        let is_alone = scan.chars[start..at].iter().all(|c| c.is_whitespace());
        let silenced = if is_alone { line + 1 } else { line };
        for code in codes.split([' ', ',']).filter(|code| !code.is_empty()) {
            if Rule::named(code).is_some_and(Rule::can_be_allowed) {
                self.allowed.insert((silenced, code.to_owned()));
                continue;
            }
            let mut error = Error::new(
                ErrorKind::Script,
                format!("no warning has the code `{code}`"),
            );
            error.place = Place {
                source: path.to_owned(),
                line,
                column,
            };
            let codes = super::RULES.iter().filter(|rule| rule.can_be_allowed());
            let error = match text::nearest(code, codes.map(|rule| rule.code)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`autorun docs checks` lists all codes"),
            };
            self.unknown.push(Finding::new(&UNKNOWN_ALLOWANCE, error));
        }
    }

    fn allow(&self, finding: &Finding) -> bool {
        let line = finding.error.place.line;
        self.allowed.contains(&(line, finding.rule.code.to_owned()))
    }
}
