//! Messages of an editor.

use serde_json::{Value, json};

use super::{Budget, Mutator, found, playbooks, root};
use crate::support::editor::{Editor, uri};

/// How many messages a session has.
const MESSAGES: usize = 400;

const REQUESTS: [&str; 6] = [
    "textDocument/completion",
    "textDocument/hover",
    "textDocument/signatureHelp",
    "textDocument/definition",
    "textDocument/formatting",
    "initialize",
];

/// The documents of a session. The second one is imported by many playbooks.
fn documents() -> [String; 3] {
    let folder = root().join("tests/check/correct");
    [
        uri(&folder.join("fuzz.rhai")),
        uri(&folder.join("helpers.rhai")),
        "untitled:Untitled-1".to_owned(),
    ]
}

/// Returns a position, which is mostly in the text.
fn position(mutator: &mut Mutator) -> Value {
    let line = match mutator.below(20) {
        0 => u32::MAX,
        n if n < 10 => u32::try_from(mutator.below(10)).unwrap(),
        _ => u32::try_from(mutator.below(60)).unwrap(),
    };
    let character = match mutator.below(20) {
        0 => u32::MAX,
        _ => u32::try_from(mutator.below(50)).unwrap(),
    };
    json!({ "line": line, "character": character })
}

fn change(mutator: &mut Mutator) -> Value {
    let text = mutator.text();
    let short: String = text.chars().take(1 + text.len() % 12).collect();
    match mutator.below(10) {
        0 => json!({ "text": text }),
        _ => json!({
            "range": { "start": position(mutator), "end": position(mutator) },
            "text": short,
        }),
    }
}

/// Sends one message, and checks the response of a request.
fn step(editor: &mut Editor, mutator: &mut Mutator, version: i64) -> Value {
    let uri = mutator.one_of(&documents()).clone();
    let document = json!({ "uri": uri, "version": version });
    match mutator.below(12) {
        0 => {
            let text = mutator.text();
            editor.did_open(&uri, version, &text);
            json!(["didOpen", uri, text])
        }
        1..5 => {
            let changes: Vec<Value> = (0..=mutator.below(3)).map(|_| change(mutator)).collect();
            let params = json!({ "textDocument": document, "contentChanges": changes });
            editor.notify("textDocument/didChange", params.clone());
            params
        }
        5 if version % 7 == 0 => {
            editor.notify("textDocument/didClose", json!({ "textDocument": document }));
            json!(["didClose", uri])
        }
        6 => {
            let wrong = json!({ "textDocument": mutator.text(), "position": [] });
            let method = *mutator.one_of(&["textDocument/didOpen", "textDocument/didChange", "x"]);
            editor.notify(method, wrong.clone());
            wrong
        }
        _ => {
            let method = *mutator.one_of(&REQUESTS);
            let params = json!({ "textDocument": document, "position": position(mutator) });
            let response = editor.ask(method, params.clone());
            assert!(
                response["error"]["code"] != -32603,
                "{method} {params}: {response}"
            );
            params
        }
    }
}

fn session(budget: &Budget, mutator: &mut Mutator) {
    let mut editor = Editor::open(root());
    let mut sent = Vec::new();
    for version in 0..MESSAGES {
        let message = step(&mut editor, mutator, i64::try_from(version).unwrap());
        sent.push(message);
    }
    // The check of what was written last is in time, too.
    let [uri, ..] = documents();
    let text = mutator.text();
    editor.did_open(&uri, -1, &text);
    budget.note(&json!([sent, text]).to_string());
    editor.diagnostics(&uri, -1);
    for message in editor.others() {
        let text = message["params"]["message"].as_str().unwrap_or_default();
        assert!(!text.starts_with("internal error"), "{message}");
    }
    assert_eq!(editor.shut_down(), Some(0));
}

#[test]
fn any_message_is_answered() {
    let mut budget = Budget::new("lsp");
    let mut corpus = playbooks();
    corpus.extend(found("scripts"));
    let mut mutator = Mutator::new(budget.seed, corpus);
    while budget.has_more() {
        session(&budget, &mut mutator);
    }
}
