//! The check of arbitrary scripts.

use autorun::playbook::{Buffers, Playbook};

use super::{Budget, Mutator, found, playbooks, root};

/// Checks a script, and that each finding has a place in the text.
fn check(script: &str) {
    let path = root().join("tests/check/correct/fuzz.rhai");
    let mut buffers = Buffers::default();
    buffers.insert(&path, script);
    let checked = Playbook::check_with(&path, &buffers);
    let lines = script.split(['\n', '\r']).count();
    for finding in &checked.findings {
        let place = &finding.error.place;
        assert!(place.line <= lines, "{place:?} is outside of the text");
        assert!(!finding.error.to_string().is_empty());
    }
}

#[test]
fn the_check_of_any_script_ends_with_an_answer() {
    let mut budget = Budget::new("scripts");
    for script in found("scripts") {
        budget.note(&script);
        check(&script);
    }
    let mut mutator = Mutator::new(budget.seed, playbooks());
    while budget.has_more() {
        let script = mutator.text();
        budget.note(&script);
        check(&script);
    }
}
