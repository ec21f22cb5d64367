//! The examples of the rules, and playbooks without mistakes.

use std::path::Path;

use crate::playbook::Playbook;
use crate::playbook::check::RULES;

/// Checks a playbook in a directory with the library `helpers.rhai`. Returns the
/// findings as `LINE CODE`.
fn findings(script: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let helpers = dir.path().join("helpers.rhai");
    std::fs::write(helpers, "fn start() {\n    print(\"started\");\n}\n").unwrap();
    let file = dir.path().join("p.rhai");
    std::fs::write(&file, script).unwrap();
    found(&file)
}

fn found(file: &Path) -> Vec<String> {
    let checked = Playbook::check(file);
    let shown = checked.findings.iter().map(|finding| {
        let code = finding.rule.code;
        format!("{} {code}", finding.error.place.line)
    });
    shown.collect()
}

#[test]
fn the_examples_of_a_rule_break_it_and_keep_it() {
    let mut unlike = Vec::new();
    for rule in RULES {
        let wrong = findings(rule.wrong);
        let only = |found: &String| found.ends_with(&format!(" {}", rule.code));
        if wrong.len() != 1 || !wrong.iter().all(only) {
            unlike.push(format!("{}, wrong: {wrong:?}", rule.code));
        }
        let right = findings(rule.right);
        if !right.is_empty() {
            unlike.push(format!("{}, right: {right:?}", rule.code));
        }
    }
    assert_eq!(unlike, Vec::<String>::new());
}

#[test]
fn a_comment_silences_one_line() {
    let unused = "let size = 8;";
    for (script, expected) in [
        (
            format!("{unused} // autorun: allow unused-variable"),
            vec![],
        ),
        (
            format!("// autorun: allow unused-variable: later\n{unused}"),
            vec![],
        ),
        (
            format!("// autorun: allow unused-variable\n\n{unused}"),
            vec!["3 unused-variable"],
        ),
        (
            format!("// autorun: allow empty-catch, unused-variable\n{unused}"),
            vec![],
        ),
        (
            format!("{unused} // autorun: allow unused-varible"),
            vec!["1 unused-variable", "1 unknown-allowance"],
        ),
        (
            "no_such(); // autorun: allow unknown-function".to_owned(),
            vec!["1 unknown-function", "1 unknown-allowance"],
        ),
        (
            format!("let text = \"// autorun: allow unused-variable\"; {unused}\nprint(text);"),
            vec!["1 unused-variable"],
        ),
    ] {
        assert_eq!(findings(&script), expected, "{script}");
    }
}

#[test]
fn the_shipped_playbooks_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
    let mut number = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "rhai") {
            number += 1;
            assert_eq!(found(&path), Vec::<String>::new(), "{}", path.display());
        }
    }
    assert!(number > 5);
}
