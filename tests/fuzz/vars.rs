//! Variables files, as `autorun run --vars` reads them.

use std::fs;

use crate::support::Autorun;

use super::{Budget, Mutator, found};

/// A playbook with a variable of each type.
const PLAYBOOK: &str = r#"
let text = var("text", #{ default: "a", pattern: "[a-z]*" });
let number = var("number", #{ default: 1, choices: [1, 2, 3] });
let fraction = var("fraction", #{ default: 0.5 });
let flag = var("flag", #{ default: false });
let list = var("list", #{ default: [], type: "array" });
let map = var("map", #{ default: #{}, type: "map" });
let token = var("token", #{ default: "", secret: true });
print([text, number, fraction, flag, list, map, token].len);
"#;

/// Variables files to begin with.
const TOML: &str = "text = \"abc\"\nnumber = 2\nfraction = 1.5\nflag = true\n\
    list = [\"a\", \"b\"]\ntoken = 'secret-secret'\n[map]\nkey = \"value\"\n";
const JSON: &str = r#"{"text": "abc", "number": 2, "fraction": 1.5, "flag": true,
    "list": ["a", "b\u00e9"], "map": {"key": [null, {"a": 1e3}]}, "token": "secret-secret"}"#;

fn read(text: &str, ending: &str) {
    let autorun = Autorun::new().arg("run").playbook(PLAYBOOK);
    let file = autorun.home.path().join(format!("vars.{ending}"));
    fs::write(&file, text).unwrap();
    let ended = autorun.args(["--vars", &file.display().to_string()]).run();
    let code = ended.status;
    assert!(matches!(code, Some(0..=2)), "{code:?}: {}", ended.stderr);
    assert!(!ended.stderr.contains("internal error"), "{}", ended.stderr);
    assert!(
        code == Some(0) || ended.stderr.contains("error: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn any_variables_file_is_read_or_refused() {
    let mut budget = Budget::new("vars");
    for text in found("vars") {
        read(&text, "toml");
        read(&text, "json");
    }
    let mut toml = Mutator::new(budget.seed, vec![TOML.to_owned()]);
    let mut json = Mutator::new(budget.seed, vec![JSON.to_owned()]);
    while budget.has_more() {
        let (mutator, ending) = match budget.count % 2 {
            0 => (&mut toml, "toml"),
            _ => (&mut json, "json"),
        };
        let text = mutator.text();
        budget.note(&text);
        read(&text, ending);
    }
}
