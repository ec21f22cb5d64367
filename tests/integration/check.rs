//! `autorun check` and `autorun new`: the output for code hosts, and the playbook to
//! begin with.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::local_cloud::succeeds;
use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Lab, root};

/// All playbooks with a mistake, by path.
fn mistakes() -> Vec<String> {
    let entries = fs::read_dir(root().join("tests/check/wrong")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "rhai"))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    paths.sort();
    paths
}

#[test]
fn sarif_is_valid_and_has_the_findings_of_json() {
    let all = mistakes();
    assert!(all.len() >= 150, "{}", all.len());
    let check = |format: &str| {
        let autorun = Autorun::new().args(["check", "--output", format]);
        autorun.args(&all).run().exits(1).stdout
    };
    let json = check("json");
    let lines: Vec<Value> = json
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let sarif = check("sarif");
    let document: Value = serde_json::from_str(&sarif).unwrap();
    let results = document["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), lines.len());
    for (result, line) in results.iter().zip(&lines) {
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(result["ruleId"], line["code"]);
        assert_eq!(place["artifactLocation"]["uri"], line["file"]);
        assert_eq!(place["region"]["startLine"], line["line"]);
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("findings.sarif");
    fs::write(&file, sarif).unwrap();
    let validate = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        jsonschema.Draft7Validator.check_schema(schema)\n\
        jsonschema.validate(json.load(open(sys.argv[2])), schema)\n";
    let schema = root().join("tests/check/sarif-2.1.0.json");
    succeeds(
        Command::new(Lab::python())
            .args(["-c", validate])
            .arg(schema)
            .arg(file),
    );
}

#[test]
fn a_new_playbook_has_no_mistakes_and_runs_on_the_local_cloud() {
    let cloud = LocalCloud::start();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("first");
    let shown = path.display().to_string();
    let made = Autorun::new().args(["new", &shown]).run().exits(0);
    assert!(
        made.stdout.contains(&format!("created {shown}.rhai")),
        "{}",
        made.stdout
    );
    let playbook = format!("{shown}.rhai");
    let checked = Autorun::new().args(["check", "--deny", "warnings", &playbook]);
    checked.run().exits(0);
    let text = fs::read_to_string(&playbook).unwrap();
    assert!(text.lines().count() < 40);
    let ended = cloud
        .autorun()
        .args(["--on-error", "destroy", &playbook])
        .run()
        .exits(0);
    assert!(ended.stdout.contains("load average"), "{}", ended.stdout);
    // An existing playbook is never overwritten.
    let again = Autorun::new().args(["new", &shown]).run().exits(2);
    assert!(again.stderr.contains("already exists"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&playbook).unwrap(), text);
}
