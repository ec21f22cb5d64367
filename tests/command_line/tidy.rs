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
    let mut packages = ["src/core", "src/engine", "src"].into_iter();
    let path = packages
        .find_map(|package| path.strip_prefix(root().join(package)).ok())
        .unwrap();
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
fn modules_use_only_the_modules_listed_for_them() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("main", &["cli"][..]),
        ("lib", &[]),
        (
            "cli",
            &[
                "playbook",
                "page",
                "policy",
                "primitives",
                "script",
                "context",
                "clients",
                "ledger",
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
        ("page", &["primitives", "ledger", "report", "error"]),
        ("policy", &["clients", "ledger", "report", "error"]),
        (
            "script",
            &["context", "clients", "ledger", "report", "error"],
        ),
        ("context", &["clients", "ledger", "report", "error"]),
        (
            "teardown",
            &["clients", "ledger", "report", "error", "crash"],
        ),
        (
            "ssh",
            &[
                "confinement",
                "tree",
                "keys",
                "key_file",
                "local",
                "report",
                "error",
            ],
        ),
        ("confinement", &["ssh", "error"]),
        ("tree", &["report", "error"]),
        ("keys", &["key_file", "error", "crash"]),
        ("key_file", &["keys", "openssh_key", "error"]),
        ("openssh_key", &[]),
        ("local", &[]),
        ("ledger", &["report", "error", "crash"]),
        ("crash", &[]),
        ("report", &["error"]),
        ("error", &[]),
    ]);
    // Between packages, the compiler enforces the boundaries.
    let packages =
        ["src/clients", "src/localcloud", "src/private"].map(|package| root().join(package));
    let of_this_one = |path: &PathBuf| !packages.iter().any(|package| path.starts_with(package));
    for path in files("src", "rs").into_iter().filter(of_this_one) {
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
fn every_module_has_a_header() {
    for path in files("src", "rs").into_iter().chain(files("tests", "rs")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} has no `//!` header",
            path.display()
        );
    }
}

#[test]
fn no_task_marker_is_left() {
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
        let playbook = Playbook::load(&path)
            .unwrap_or_else(|e| panic!("{}: {:?}", path.display(), e.findings));
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
fn the_legacy_http_stack_is_not_a_dependency() {
    // The SDK's default features would add a second HTTP stack.
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for old in [
        "name = \"hyper\"\nversion = \"0.14",
        "name = \"rustls\"\nversion = \"0.21",
    ] {
        assert!(!lock.contains(old), "{old}");
    }
}

/// The playbooks that fail, with their text and their expected error output.
fn golden_texts() -> Vec<(PathBuf, String, String)> {
    let playbooks = fs::read_dir(root().join("tests/diagnostics")).unwrap();
    let playbooks = playbooks.map(|entry| entry.unwrap().path());
    playbooks
        .filter(|path| path.extension().is_some_and(|e| e == "rhai"))
        .map(|path| {
            let playbook = fs::read_to_string(&path).unwrap();
            let shown = fs::read_to_string(path.with_extension("stderr")).unwrap();
            (path, playbook, shown)
        })
        .collect()
}

/// The names of the error kinds.
fn kinds() -> Vec<String> {
    let source = fs::read_to_string(root().join("src/core/error.rs")).unwrap();
    let names = source.lines().filter_map(|line| {
        let (_, name) = line.trim().split_once("=> \"")?;
        Some(name.strip_suffix("\",")?.to_owned())
    });
    let names: Vec<String> = names.collect();
    assert_eq!(names.len(), 13);
    names
}

#[test]
fn the_shipped_playbook_handles_every_kind_of_error() {
    let playbook = fs::read_to_string(root().join("playbooks/run_newwebserver.rhai")).unwrap();
    // A playbook cannot catch `cancelled`, and its last arm handles `internal`.
    let caught = kinds()
        .into_iter()
        .filter(|kind| !["cancelled", "internal"].contains(&&**kind));
    for kind in caught {
        let arm = format!("\"{kind}\" => \"");
        assert!(
            playbook.contains(&arm),
            "the playbook has no arm for `{kind}`"
        );
    }
}

#[test]
fn every_kind_of_error_has_a_golden_file() {
    let texts = golden_texts();
    for name in kinds() {
        // An interruption shows no error with a kind, only an exit status.
        let line = match &*name {
            "cancelled" => "// exit: 130".to_owned(),
            name => format!("// kind: {name}"),
        };
        let shown = texts
            .iter()
            .any(|(_, playbook, _)| playbook.lines().any(|of_head| of_head == line));
        assert!(shown, "no playbook in tests/diagnostics has `{line}`");
    }
}

#[test]
fn golden_texts_fit_80_columns_and_name_a_place() {
    for (path, playbook, shown) in golden_texts() {
        // Source lines are shown unchanged, and paths are never wrapped.
        let error = shown.lines().skip_while(|line| !line.starts_with("error:"));
        for line in error.filter(|line| !line.contains(" | ") && !line.contains("-->")) {
            let long = line.chars().count() > 80 && line.trim().contains(' ');
            assert!(!long, "{}: {line}", path.display());
        }
        assert!(!shown.contains("stack backtrace"), "{}", path.display());
        let of_the_call = ["// exit: 2", "// exit: 130", "// call: "];
        let placeless = of_the_call.iter().any(|head| playbook.contains(head));
        assert!(
            placeless || shown.contains("\n  --> tests/diagnostics/"),
            "{} names no place",
            path.display()
        );
    }
}

/// The first of these lines that does not occur in the text after those before
/// it, indentation aside.
fn first_missing<'a>(lines: &[&'a str], text: &str) -> Option<&'a str> {
    let mut rest = text.lines().map(str::trim);
    let missing = lines.iter().find(|line| !rest.any(|other| other == **line));
    missing.copied()
}

#[test]
fn the_code_in_the_contributing_guide_is_in_the_tree() {
    let guide = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let texts: Vec<String> = [("src", "rs"), ("tests/primitives", "rhai")]
        .iter()
        .flat_map(|(folder, ending)| files(folder, ending))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut blocks = 0;
    for block in guide.split("\n```r").skip(1) {
        let (_, block) = block.split_once('\n').unwrap();
        let (block, _) = block.split_once("\n```").unwrap();
        let lines = block.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !["", "// .."].contains(line)).collect();
        let missing = texts.iter().map(|text| first_missing(&lines, text));
        // Of the file that comes closest.
        let place = |line: Option<&str>| {
            let at = line.and_then(|line| lines.iter().position(|other| *other == line));
            at.unwrap_or(lines.len())
        };
        let closest = missing.max_by_key(|line| place(*line)).flatten();
        assert!(
            closest.is_none(),
            "CONTRIBUTING.md quotes code that is not in the tree; first line not found: \
             `{}`, in\n{block}",
            closest.unwrap_or_default()
        );
        blocks += 1;
    }
    assert!(blocks >= 6, "{blocks} blocks of code were found");
}
