//! Answers for places in texts. `¦` is the cursor; most texts do not compile.

use std::path::Path;

use super::*;
use crate::playbook::Buffers;

/// Returns a document in a directory without files, and the place of the cursor.
fn at_cursor(text: &str) -> (Document, usize) {
    let at = text.chars().position(|c| c == '¦').expect("a cursor");
    let text = text.replacen('¦', "", 1);
    (Document::new(Path::new("/none/playbook.rhai"), &text), at)
}

/// Returns the labels of the completions at the cursor.
fn labels(text: &str) -> Vec<String> {
    let (document, at) = at_cursor(text);
    let found = document.completions(at, &Buffers::default());
    found.into_iter().map(|found| found.label).collect()
}

fn has(text: &str, label: &str) -> bool {
    labels(text).iter().any(|found| found == label)
}

#[test]
fn keys_of_a_result_are_offered_after_a_dot() {
    for text in [
        "let server = launch_instance(#{});\nprint(server.¦",
        "let server = launch_instance(#{ name: \"x\" });\nserver.pub¦;\nlet b = 1;",
        "let server = launch_instance(#{}); if server.¦\n}",
        "const SERVER = launch_instance(#{}); print(`at ${SERVER.¦`);",
        "let server = (); server = launch_instance(#{}); server.¦",
        "let a = launch_instance(#{}); let b = wait_until_ready(a); b.¦",
        "for server in list_instances(#{}) {\n    print(server.¦\n}",
        "let all = list_instances(#{}); all[0].¦",
        "let all = list_instances(#{}); all.map(|one| one.¦)",
        "launch_instance(#{}).¦",
        "fn f() { let s = describe_instance(\"i-0\"); s.¦ }",
        "let f = || { let s = find_instance(#{}); s?.¦ };",
        "let server = launch_instance(#{\n});\r\nserver.¦",
    ] {
        assert!(has(text, "public_ip"), "{text}: {:?}", labels(text));
    }
    for text in [
        "let server = launch_instance(#{}); server.id.¦",
        "fn f(server) { server.¦ } let server = launch_instance(#{});",
        "let server = #{}; server.¦",
        "fn launch_instance(o) { o } let server = launch_instance(#{}); server.¦",
        "let a = b; let b = a; a.¦",
        "1.¦",
        "server.¦",
        ".¦",
    ] {
        assert!(!has(text, "public_ip"), "{text}");
    }
}

#[test]
fn methods_of_the_type_are_offered_after_a_dot() {
    for (text, method) in [
        ("\"a\".¦", "to_upper"),
        ("let a = \"b\"; a.¦", "split"),
        ("let a = var(\"a\", \"b\", \"c\"); a.¦", "split"),
        ("let a = var(\"a\", #{ type: \"string\" }); a.¦", "split"),
        ("let server = launch_instance(#{}); server.id.¦", "split"),
        ("[1].¦", "push"),
        ("#{ a: 1 }.¦", "keys"),
        ("unknown.¦", "push"),
        ("unknown.¦", "split"),
    ] {
        assert!(has(text, method), "{text}: {:?}", labels(text));
    }
    assert!(!has("\"a\".¦", "push"));
    assert!(!has("[1].¦", "to_upper"));
    assert!(!has("\"a\".¦", "launch_instance"));
}

#[test]
fn options_that_are_not_written_yet_are_offered_in_a_map() {
    for text in [
        "launch_instance(#{ ¦",
        "launch_instance(#{ na¦ })",
        "let a = launch_instance(#{\n    type: \"t3.micro\",\n    ¦\n});",
        "launch_instance(#{ tags: #{ a: \"b\" }, ¦",
    ] {
        assert!(has(text, "name"), "{text}: {:?}", labels(text));
    }
    assert!(!has("launch_instance(#{ name: \"x\", ¦ })", "name"));
    assert!(!has("launch_instance(#{ ¦ })", "print"));
    assert!(has(
        "create_security_group(\"x\", #{ ingress: [#{ ¦ }] })",
        "port"
    ));
    assert!(has(
        "create_security_group(\"x\", #{ ingress: [#{ port: 1 }, #{ ¦",
        "port"
    ));
    assert!(has("open_port(\"sg-0\", #{ ¦ })", "port"));
    assert!(has("ssh_exec(server, \"uptime\", #{ ¦", "timeout"));
    assert_eq!(labels("let a = #{ ¦ };"), Vec::<String>::new());
    assert_eq!(
        labels("fn ssh_exec(a, b) {} ssh_exec(1, #{ ¦ })"),
        Vec::<String>::new()
    );
}

#[test]
fn an_option_is_written_with_its_colon_once() {
    let insert = |text: &str| {
        let (document, at) = at_cursor(text);
        let found = document.completions(at, &Buffers::default());
        let name = found.into_iter().find(|found| found.label == "name");
        name.unwrap().insert
    };
    assert_eq!(insert("launch_instance(#{ na¦ })"), "name: ");
    assert_eq!(insert("launch_instance(#{ na¦: \"x\" })"), "name");
}

#[test]
fn possible_values_are_offered() {
    for (text, value) in [
        ("launch_instance(#{ credits: ¦ })", "\"unlimited\""),
        ("launch_instance(#{ credits: \"¦\" })", "unlimited"),
        ("launch_instance(#{ credits: \"un¦", "unlimited"),
        ("launch_instance(#{ wait: ¦", "false"),
        ("let a = var(\"a\", #{ type: \"¦", "bool"),
    ] {
        assert!(has(text, value), "{text}: {:?}", labels(text));
    }
    assert!(has("let s = launch_instance(#{}); s[\"¦\"]", "public_ip"));
    assert_eq!(
        labels("launch_instance(#{ name: \"¦\" })"),
        Vec::<String>::new()
    );
}

#[test]
fn names_in_scope_are_offered() {
    let text = "const LIMIT = 1;\nlet outer = 1;\nfn own(first) {\n    let inner = 1;\n    \
                ¦\n}\nlet later = 1;";
    for (name, is_offered) in [
        ("first", true),
        ("inner", true),
        ("own", true),
        ("launch_instance", true),
        ("while", true),
        ("print", true),
        ("outer", false),
        ("later", false),
    ] {
        assert_eq!(has(text, name), is_offered, "{name}");
    }
    assert_eq!(
        labels("const LIMIT = 1; let a = 1; fn f() { global::¦ }"),
        ["LIMIT"]
    );
    assert!(has(
        "let outer = 1; if a { let b = |x| { x + out¦ } }",
        "outer"
    ));
    assert!(has("try { } catch (err) { er¦ }", "err"));
    assert!(has("let all = [1].map(|item| ite¦);", "item"));
    assert!(has("for (item, count) in [1] { cou¦ }", "count"));
    assert!(!has("{ let inner = 1; } ¦", "inner"));
}

#[test]
fn nothing_is_offered_for_what_only_the_author_knows() {
    for text in [
        "// a¦",
        "/* a¦ */",
        "let a¦",
        "fn a¦",
        "fn f(a¦",
        "for a¦",
        "\"text ¦\"",
        "`text ¦`",
        "print(\"¦",
        "12¦",
    ] {
        assert_eq!(labels(text), Vec::<String>::new(), "{text}");
    }
    assert!(has("`text ${pr¦}`", "print"));
    assert!(has("¦", "launch_instance"));
}

#[test]
fn files_are_offered_in_paths() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("assets")).unwrap();
    for file in ["lib.rhai", "assets/logo.png", ".hidden"] {
        std::fs::write(dir.path().join(file), "").unwrap();
    }
    let offered = |text: &str| {
        let at = text.chars().position(|c| c == '¦').unwrap();
        let text = text.replace('¦', "");
        let document = Document::new(&dir.path().join("playbook.rhai"), &text);
        let found = document.completions(at, &Buffers::default());
        found
            .into_iter()
            .map(|found| found.insert)
            .collect::<Vec<_>>()
    };
    assert_eq!(offered("import \"¦\""), ["assets/", "lib"]);
    assert_eq!(offered("import \"l¦"), ["lib"]);
    assert_eq!(
        offered("read_file(script_dir() + \"/¦\")"),
        ["assets/", "lib.rhai"]
    );
    assert_eq!(
        offered("render(script_dir() + \"/assets/¦\")"),
        ["logo.png"]
    );
    assert_eq!(offered("print(\"¦\")"), Vec::<String>::new());
}

#[test]
fn descriptions_come_from_the_manual() {
    let described = |text: &str| {
        let (document, at) = at_cursor(text);
        document
            .hover(at, &Buffers::default())
            .map(|hover| hover.text)
    };
    for (text, part) in [
        ("laun¦ch_instance(#{})", "launch_instance(options: map)"),
        (
            "launch_instance(#{ na¦me: \"x\" })",
            "Option of `launch_instance`",
        ),
        (
            "let s = launch_instance(#{}); s.public¦_ip",
            "public_ip: string",
        ),
        ("let s = launch_instance(#{}); print(s¦);", "- `public_ip`"),
        ("\"a\".to_up¦per()", "to_upper()"),
        ("/// Greets.\nfn greet(name) { }\ngre¦et(1);", "Greets."),
        ("fn greet(name) { na¦me }", "parameter"),
        ("let si¦ze = 8;", "size = 8"),
        ("import \"lib\" as li¦b;", "/none/lib.rhai"),
        ("const A = 1; fn f() { global::A¦ }", "A = 1"),
    ] {
        let found = described(text).unwrap_or_default();
        assert!(found.contains(part), "{text}: {found}");
    }
    for text in ["¦", "// laun¦ch_instance", "\"laun¦ch_instance\"", "1¦2"] {
        assert_eq!(described(text), None, "{text}");
    }
}

#[test]
fn signatures_show_the_argument_that_is_written() {
    let shown = |text: &str| {
        let (document, at) = at_cursor(text);
        let found = document.signatures(at, &Buffers::default())?;
        let active = &found.all[found.active];
        Some((
            active.label.clone(),
            active.parameters.get(found.argument).cloned(),
        ))
    };
    for (text, label, parameter) in [
        (
            "ssh_exec(¦",
            "ssh_exec(server, command: string)",
            Some("server"),
        ),
        (
            "ssh_exec(server, ¦",
            "ssh_exec(server, command: string)",
            Some("command: string"),
        ),
        (
            "ssh_exec(server, \"a, b\", ¦)",
            "ssh_exec(server, command: string, options: map)",
            Some("options: map"),
        ),
        (
            "ssh_exec(f(1, 2), ¦)",
            "ssh_exec(server, command: string)",
            Some("command: string"),
        ),
        (
            "fn greet(who, how) {} greet(1, ¦",
            "greet(who, how)",
            Some("how"),
        ),
        (
            "launch_instance(#{ name: [¦",
            "launch_instance(options: map)",
            Some("options: map"),
        ),
    ] {
        let parameter = parameter.map(str::to_owned);
        assert_eq!(shown(text), Some((label.to_owned(), parameter)), "{text}");
    }
    for text in ["¦", "ssh_exec¦(", "f(|| { ¦ })", "if (¦", "fn f(¦"] {
        assert_eq!(shown(text), None, "{text}");
    }
}

#[test]
fn definitions_are_found_in_the_file_and_in_imports() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("lib.rhai");
    std::fs::write(&library, "// A library.\nfn start() { }\n").unwrap();
    let found = |text: &str| {
        let at = text.chars().position(|c| c == '¦').unwrap();
        let text = text.replace('¦', "");
        let document = Document::new(&dir.path().join("p.rhai"), &text);
        let target = document.definition(at, &Buffers::default())?;
        let name = target
            .path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        Some((name, target.start))
    };
    for (text, file, place) in [
        ("let a = 1;\nprint(a¦);", "p.rhai", (1, 5)),
        ("let a = 1; {\n  let a = 2; print(a¦); }", "p.rhai", (2, 7)),
        ("fn f() { }\nf¦();", "p.rhai", (1, 4)),
        ("fn f() { }\nlet g = Fn(\"¦f\");", "p.rhai", (1, 4)),
        ("fn f(a) {\n  a¦ }", "p.rhai", (1, 6)),
        ("import \"lib\" as l;\nl::st¦art();", "lib.rhai", (2, 4)),
        ("import \"lib\" as l;\nl¦::start();", "lib.rhai", (1, 1)),
        ("import \"li¦b\" as l;", "lib.rhai", (1, 1)),
        ("const A = 1;\nfn f() { global::A¦ }", "p.rhai", (1, 7)),
        (
            "read_file(script_dir() + \"/lib¦.rhai\");",
            "lib.rhai",
            (1, 1),
        ),
    ] {
        assert_eq!(found(text), Some((file.to_owned(), place)), "{text}");
    }
    for text in [
        "launch_ins¦tance();",
        "import \"no¦ne\" as l;",
        "¦",
        "// a¦",
    ] {
        assert_eq!(found(text), None, "{text}");
    }
}

#[test]
fn no_place_of_a_broken_text_panics() {
    for text in [
        "",
        "\u{feff}let a = \"\r\n`${ #{ a: [ ( |x, y| server.",
        "fn f( { ( } ] ; :: . ?. \" ' ` ${ /* #\"",
        "import import as as for in in let const fn catch ( ) { } | | || => #{ : : }",
        "\u{1f600}.\u{1f600}::\u{1f600}(\u{1f600}",
    ] {
        let document = Document::new(Path::new(""), text);
        let buffers = Buffers::default();
        for at in 0..text.chars().count() + 3 {
            let _ = document.completions(at, &buffers);
            let _ = document.hover(at, &buffers);
            let _ = document.signatures(at, &buffers);
            let _ = document.definition(at, &buffers);
            let _ = document.token_around(at);
        }
    }
}
