//! `autorun lsp`: recorded sessions, and how a session ends.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::editor::{Editor, uri};
use crate::support::root;

/// Stands for the folder of the sessions.
const FOLDER: &str = "FOLDER";

fn folder() -> PathBuf {
    root().join("tests/lsp")
}

/// Plays the client's messages of a recorded session, and returns them with the
/// server's. After a change, the server's diagnostics are waited for.
fn play(recorded: &str) -> String {
    let folder = folder().display().to_string();
    let mut editor = Editor::start();
    let mut played = String::new();
    for line in recorded.lines().filter(|line| !line.starts_with("< ")) {
        played.extend([line, "\n"]);
        let Some(message) = line.strip_prefix("> ") else {
            continue;
        };
        let message: Value = serde_json::from_str(&message.replace(FOLDER, &folder)).unwrap();
        editor.send(&message);
        let answer = match (message.get("id"), message["method"].as_str()) {
            (Some(id), _) => editor.response(id),
            (None, Some("textDocument/didOpen" | "textDocument/didChange")) => {
                let document = &message["params"]["textDocument"];
                let uri = document["uri"].as_str().unwrap();
                let version = document["version"].as_i64().unwrap();
                json!(editor.diagnostics(uri, version))
            }
            (None, Some("textDocument/didClose")) => {
                editor.notification("textDocument/publishDiagnostics")
            }
            _ => continue,
        };
        let answer = answer.to_string().replace(&folder, FOLDER);
        played.extend(["< ", &answer, "\n"]);
    }
    assert_eq!(editor.exit(), Some(0));
    played
}

#[test]
fn recorded_sessions_are_answered_as_before() {
    let mut sessions = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "session") {
            continue;
        }
        sessions += 1;
        let recorded = fs::read_to_string(&path).unwrap();
        let played = play(&recorded);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &played).unwrap();
        }
        let recorded = fs::read_to_string(&path).unwrap();
        for (expected, given) in recorded.lines().zip(played.lines()) {
            assert_eq!(given, expected, "{}; BLESS=1 writes it", path.display());
        }
        assert_eq!(recorded, played, "{}; BLESS=1 writes it", path.display());
    }
    assert!(sessions >= 2);
}

#[test]
fn a_session_ends_as_the_protocol_requires() {
    let folder = folder();
    assert_eq!(Editor::open(&folder).shut_down(), Some(0));
    // An exit without a shutdown, and an editor that has ended.
    assert_eq!(Editor::open(&folder).exit(), Some(1));
    assert_eq!(Editor::start().exit(), Some(1));
    assert_eq!(Editor::open(&folder).hang_up(), Some(1));
}

#[test]
fn requests_outside_of_a_session_are_refused() {
    let code = |answer: &Value| answer["error"]["code"].as_i64();
    let mut editor = Editor::start();
    let early = editor.ask("textDocument/hover", json!({}));
    assert_eq!(code(&early), Some(-32002), "{early}");
    editor.request("initialize", json!({ "capabilities": {} }));
    for (method, params, expected) in [
        ("initialize", json!({ "capabilities": {} }), -32600),
        ("textDocument/rename", json!({}), -32601),
        ("textDocument/hover", json!({ "position": 1 }), -32602),
    ] {
        let refused = editor.ask(method, params);
        assert_eq!(code(&refused), Some(expected), "{refused}");
    }
    editor.request("shutdown", Value::Null);
    let late = editor.ask("textDocument/hover", json!({}));
    assert_eq!(code(&late), Some(-32600), "{late}");
    assert_eq!(editor.exit(), Some(0));
}

#[test]
fn unsaved_texts_count_also_for_the_files_that_import_them() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("library.rhai");
    fs::write(&library, "fn start() {\n}\n").unwrap();
    let playbook = dir.path().join("playbook.rhai");
    let text = "import \"library\" as library;\nlibrary::start();\n";
    let mut editor = Editor::open(dir.path());
    // The playbook itself was never saved.
    editor.did_open(&uri(&playbook), 1, text);
    assert_eq!(editor.diagnostics(&uri(&playbook), 1), Vec::<Value>::new());
    editor.did_open(&uri(&library), 1, "fn begin() {\n}\n");
    let found = editor.diagnostics(&uri(&playbook), 1);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["code"], "unknown-function");
    let items = editor.at("completion", &uri(&playbook), (1, 9));
    assert_eq!(items["items"][0]["label"], "begin");
    // A deleted file lives on in the editor.
    fs::remove_file(&library).unwrap();
    let change = json!({
        "textDocument": { "uri": uri(&library), "version": 2 },
        "contentChanges": [{ "text": "fn start( {\n" }],
    });
    editor.notify("textDocument/didChange", change);
    let found = editor.diagnostics(&uri(&playbook), 1);
    assert_eq!(found[0]["code"], "syntax", "{found:?}");
    assert_eq!(
        found[0]["range"]["start"],
        json!({ "line": 0, "character": 7 })
    );
    assert_eq!(
        found[0]["relatedInformation"][0]["location"]["uri"],
        uri(&library)
    );
    let document = json!({ "textDocument": { "uri": uri(&library) } });
    editor.notify("textDocument/didClose", document);
    let found = editor.diagnostics(&uri(&playbook), 1);
    assert_eq!(found[0]["code"], "import", "{found:?}");
    assert_eq!(editor.shut_down(), Some(0));
}

#[test]
fn secrets_of_a_playbook_are_not_in_its_diagnostics() {
    let mut editor = Editor::open(&folder());
    let uri = uri(&folder().join("secret.rhai"));
    let text = "let token = var(\"token\", #{ default: \"hunter2hunter2\", secret: true });\n\
                open_port(\"sg-0\", #{ port: 22, hunter2hunter2: token });\n";
    editor.did_open(&uri, 1, text);
    let found = editor.diagnostics(&uri, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!json!(found).to_string().contains("hunter2"), "{found:?}");
    assert_eq!(editor.shut_down(), Some(0));
}
