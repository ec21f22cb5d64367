//! The project's own rules, read from its sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use autorun::playbook::{Playbook, reference};

use crate::support::root;

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

fn module_of(path: &Path) -> String {
    let path = path.strip_prefix(root().join("src")).unwrap();
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_use_only_what_stands_to_their_right() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("main", &["cli"][..]),
        ("lib", &[]),
        (
            "cli",
            &[
                "playbook",
                "script",
                "context",
                "clients",
                "ledger",
                "localcloud",
                "report",
                "error",
                "teardown",
            ],
        ),
        (
            "playbook",
            &["primitives", "script", "context", "report", "error"],
        ),
        (
            "primitives",
            &[
                "script", "context", "clients", "ledger", "report", "error", "teardown", "crash",
            ],
        ),
        ("script", &["context", "ledger", "report", "error"]),
        ("context", &["clients", "ledger", "report", "error"]),
        (
            "teardown",
            &["clients", "ledger", "report", "error", "crash"],
        ),
        ("clients", &["report", "error", "crash"]),
        ("ledger", &["report", "error", "crash"]),
        ("crash", &[]),
        ("localcloud", &["error"]),
        ("report", &["error"]),
        ("error", &[]),
    ]);
    for path in files("src", "rs") {
        let module = module_of(&path);
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some((_, used)) = line.split_once("crate::") else {
                continue;
            };
            let used = used
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
                .unwrap();
            let fine = used == module || used.is_empty() || allowed[&*module].contains(&used);
            assert!(fine, "{}: {line}", path.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in files("src", "rs").into_iter().chain(files("tests", "rs")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} has no header", path.display());
    }
}

#[test]
fn no_marker_is_left_over() {
    let markers = ["TO", "FIX"].map(|start| match start {
        "TO" => format!("{start}DO"),
        start => format!("{start}ME"),
    });
    let sources = ["rs", "rhai", "sh", "py"].iter().flat_map(|ending| {
        ["src", "tests", "playbooks", "userdata", "assets"].map(|folder| files(folder, ending))
    });
    for path in sources.flatten() {
        let text = fs::read_to_string(&path).unwrap();
        for marker in &markers {
            assert!(
                !text.contains(marker.as_str()),
                "{}: {marker}",
                path.display()
            );
        }
    }
}

#[test]
fn every_primitive_has_a_test_playbook() {
    let tests = files("tests/primitives", "rhai");
    let names: Vec<String> = tests
        .iter()
        .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    for entry in reference::ENTRIES.iter() {
        assert!(
            names.contains(&entry.name),
            "tests/primitives/{}.rhai is missing",
            entry.name
        );
    }
}

#[test]
fn every_shipped_playbook_compiles_and_describes_itself() {
    for path in files("playbooks", "rhai") {
        let playbook =
            Playbook::load(&path).unwrap_or_else(|e| panic!("{}: {:?}", path.display(), e.errors));
        assert!(!playbook.description().is_empty(), "{}", path.display());
        for variable in &playbook.variables {
            assert!(
                !variable.help.is_empty(),
                "{}: {}",
                path.display(),
                variable.name
            );
        }
    }
}

#[test]
fn the_legacy_http_stack_stays_out() {
    // The SDK's default features would build a second one.
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for old in [
        "name = \"hyper\"\nversion = \"0.14",
        "name = \"rustls\"\nversion = \"0.21",
    ] {
        assert!(!lock.contains(old), "{old}");
    }
}
