//! `autorun lsp` in an editor that others wrote, with the settings of the manual.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{Autorun, root};

/// Returns the block of Lua in the manual.
fn settings() -> String {
    let page = fs::read_to_string(root().join("playbooks/manual/editors.md")).unwrap();
    let (_, block) = page.split_once("```lua\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block.to_owned()
}

#[test]
fn neovim_shows_what_the_language_server_answers() {
    let autorun = Autorun::new();
    let folder = tempfile::tempdir().unwrap();
    let site = "import \"helpers\" as helpers;\n\
        let name = \"site\";\n\
        let server = launch_instance(#{ name: name, typ: \"t3.micro\" });\n\
        helpers::greet(server.public_ip);\n";
    fs::write(folder.path().join("site.rhai"), site).unwrap();
    fs::copy(
        root().join("tests/lsp/helpers.rhai"),
        folder.path().join("helpers.rhai"),
    )
    .unwrap();
    let written = folder.path().join("init.lua");
    fs::write(&written, settings()).unwrap();
    let seen = folder.path().join("seen.json");
    let script = root().join("tests/lsp/neovim.lua").display().to_string();
    // Neovim finds `autorun` on the PATH.
    let shell = autorun.shell(&format!("nvim --headless -u '{script}'"));
    let mut command = Command::new(shell.get_program());
    command.args(shell.get_args()).env_clear();
    for (name, value) in shell.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let ended = command
        .env("SETTINGS", &written)
        .env("SEEN", &seen)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&ended.stderr);
    let seen = fs::read_to_string(&seen).unwrap_or_else(|e| panic!("{e}: {messages}"));
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert!(seen.get("problem").is_none(), "{seen:#}");
    let mistake = "3:`launch_instance` has no option `typ`\nhint: did you mean `type`?";
    assert_eq!(
        seen["diagnostics"],
        serde_json::json!([mistake]),
        "{seen:#}"
    );
    let hover = seen["hover"].as_str().unwrap();
    assert!(hover.contains("launch_instance(options: map)"), "{seen:#}");
    let completion = seen["completion"].as_array().unwrap();
    assert!(completion.contains(&"public_ip".into()), "{seen:#}");
    assert_eq!(seen["definition"], "helpers.rhai:4", "{seen:#}");
}
