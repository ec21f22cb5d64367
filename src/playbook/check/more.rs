//! What `autorun check` finds beyond the faults, and the comments that silence it.

use std::collections::BTreeSet;

use super::called;
use super::finding::Finding;
use super::lints::{self, File, Methods};
use super::rules::{Rule, UNKNOWN_ALLOWANCE};
use super::subject::{Examined, Subject};
use crate::error::{Error, ErrorKind, Place};
use crate::playbook::scan::{Part, Scan};
use crate::report::text;

/// The beginning of a comment that silences a line.
const ALLOW: &str = "autorun: allow";

/// Returns what these checks find in the files that compiled, in the order of their
/// places; the playbook's own file first.
pub(in crate::playbook) fn findings(subject: &Subject) -> Vec<Finding> {
    let methods = Methods::of(subject.engine, subject.files);
    let called = called(subject.files);
    let all = subject.examined.iter();
    all.flat_map(|file| findings_of(subject, file, &methods, &called))
        .collect()
}

fn findings_of(
    subject: &Subject,
    examined: &Examined,
    methods: &Methods,
    called: &BTreeSet<String>,
) -> Vec<Finding> {
    let Examined {
        path,
        source,
        own,
        facts,
    } = examined;
    let scan = Scan::of(&source.text);
    let file = File {
        path,
        ast: &source.ast,
        scan: &scan,
        own,
        facts,
    };
    let mut here = lints::findings(&file, methods);
    here.extend(lints::unused_imports(&file, subject.files));
    // A file of functions alone is a library.
    if *path == subject.main && !source.ast.statements().is_empty() {
        here.extend(lints::functions(&file, called));
    } else {
        here.extend(lints::private_functions(&file));
    }
    let allowances = Allowances::of(path, &scan);
    here.retain(|finding| finding.is_error() || !allowances.allow(finding));
    here.extend(allowances.unknown);
    here.sort_by_key(Finding::spot);
    here
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
