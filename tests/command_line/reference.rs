//! The manual is complete and current.

use std::fs;

use autorun::playbook::reference;

use crate::support::root;

#[test]
fn every_function_is_documented_with_an_example() {
    for entry in reference::ENTRIES.iter() {
        let first = entry.summary().replace('\n', " ");
        assert!(
            first.ends_with('.') && first.len() > 10,
            "{}: `{first}`",
            entry.name
        );
        assert!(
            !entry.examples().is_empty(),
            "{} has no example",
            entry.name
        );
        for line in entry.text.lines() {
            assert!(line.chars().count() <= 80, "{}: {line}", entry.name);
        }
    }
}

#[test]
fn the_reference_is_current() {
    let path = root().join("playbooks/manual/reference.md");
    let current = reference::markdown();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == current,
        "the reference is out of date: BLESS=1 cargo test the_reference_is_current rewrites it"
    );
}
