//! The manual: every example in it runs.

use std::fs;
use std::process::Command;

use autorun::playbook::reference;
use serde_json::json;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Lab};

mod page;
mod shell;

use page::Page;

#[test]
fn the_examples_of_the_reference_run() {
    let lab = Lab::start(&json!({}));
    // Serves the page that the HTTP examples expect.
    let setup = "ssh_exec(\"192.0.2.10\", \"nohup python3 -c 'import http.server as h, os; \
        os.makedirs(\\\"www\\\", exist_ok=True); os.chdir(\\\"www\\\"); \
        open(\\\"index.html\\\", \\\"w\\\").write(\\\"Welcome\\\"); \
        h.HTTPServer((\\\"\\\", 8080), h.SimpleHTTPRequestHandler).serve_forever()' \
        >/dev/null 2>&1 </dev/null & true\");\nwait_until_serving(\"http://192.0.2.10:8080/\");";
    lab.autorun().playbook(setup).run().exits(0);
    // moto does not tag the snapshots of images, and its instances have no agents.
    let cloud = LocalCloud::start();
    let on_cloud = [
        "create_image",
        "deregister_image",
        "fleet_exec",
        "instance_role",
    ];
    for entry in reference::ENTRIES.iter() {
        for example in entry.examples() {
            let example = example.replace("http://192.0.2.10/", "http://192.0.2.10:8080/");
            let autorun = if on_cloud.contains(&&*entry.name) {
                cloud.autorun()
            } else {
                lab.autorun()
            };
            let ended = autorun.playbook(&example).run();
            assert_eq!(
                ended.status,
                Some(0),
                "{}:\n{example}\n{}",
                entry.name,
                ended.stderr
            );
        }
    }
}

/// Runs the examples of one page.
fn runs(name: &str, at_least: usize) {
    let examples = Page::read(name).run();
    assert!(
        examples >= at_least,
        "{name}.md has only {examples} examples"
    );
}

#[test]
fn getting_started() {
    runs("getting-started", 8);
}

#[test]
fn language() {
    runs("language", 12);
}

#[test]
fn recipes() {
    runs("recipes", 20);
}

#[test]
fn coming_from() {
    runs("coming-from", 6);
}

#[test]
fn runs_page() {
    runs("runs", 4);
}

#[test]
fn ci() {
    runs("ci", 2);
}

#[test]
fn shared_ledger_page() {
    runs("shared-ledger", 1);
}

#[test]
fn local_cloud_page() {
    runs("local-cloud", 3);
}

#[test]
fn editors() {
    // `editors.rs` runs its Lua; nothing else in it is a program that tests have.
    runs("editors", 0);
}

#[test]
fn permissions() {
    runs("permissions", 2);
}

#[test]
fn errors() {
    runs("errors", 4);
}

#[test]
fn security() {
    runs("security", 2);
}

#[test]
fn no_page_is_forgotten() {
    let known = [
        "ci",
        "coming-from",
        "editors",
        "errors",
        "getting-started",
        "language",
        "local-cloud",
        "permissions",
        "recipes",
        "reference",
        "runs",
        "security",
        "shared-ledger",
    ];
    assert_eq!(page::names(), known);
}

#[test]
fn groff_accepts_the_man_pages() {
    let run = Autorun::new();
    let directory = run.home.path().join("man");
    let run = run.args(["man", &directory.display().to_string()]);
    let _ = run.run().exits(0);
    let mut pages = 0;
    for section in ["man1", "man7"] {
        for page in fs::read_dir(directory.join(section)).unwrap() {
            let page = page.unwrap().path();
            let checked = Command::new("groff")
                .args(["-man", "-Tutf8", "-ww", "-z"])
                .arg(&page)
                .output()
                .unwrap();
            let complaints = String::from_utf8_lossy(&checked.stderr);
            assert_eq!(complaints, "", "{}", page.display());
            pages += 1;
        }
    }
    assert!(pages > 10, "{pages} pages");
}
