//! Syntax errors of playbooks, as people make them: what is reported, where, and what
//! the hint says.

use super::Playbook;

/// Loads a playbook that has an error. Returns the message, its place, and the hint.
fn fault(text: &str) -> (String, (usize, usize), String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.rhai");
    std::fs::write(&file, text).unwrap();
    let Err(failed) = Playbook::load(&file) else {
        return ("no error".to_owned(), (0, 0), String::new());
    };
    let error = &failed.findings[0].error;
    let hint = error.hint.clone().unwrap_or_default();
    let place = (error.place.line, error.place.column);
    (error.to_string(), place, hint)
}

/// Checks rows of text, place, message and hint.
fn check(rows: &[(&str, (usize, usize), &str, &str)]) {
    let mut wrong = Vec::new();
    for (text, place, message, hint) in rows {
        let seen = fault(text);
        if seen.1 != *place || !seen.0.contains(message) || !seen.2.contains(hint) {
            wrong.push(format!(
                "{text:?}\n  wanted {place:?} {message} / {hint}\n  {seen:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_missing_separator_is_reported_where_it_is_missing() {
    check(&[
        (
            "let a = 1\nlet b = 2;\n",
            (1, 10),
            "expecting `;`",
            "add `;` here",
        ),
        (
            "let a = 1 // one\n\n/* two */ let b = 2;",
            (1, 10),
            "`;`",
            "add `;`",
        ),
        ("let m = #{\n  a: 1\n}\nprint(m);", (3, 2), "`;`", "add `;`"),
        ("let m = [\n  1\n]\nprint(m);", (3, 2), "`;`", "add `;`"),
        ("print(\n 1\n)\nprint(3);", (3, 2), "`;`", "add `;`"),
        ("let x = \"a\"\nprint(x);", (1, 12), "`;`", "add `;`"),
        ("let x = `a\nb`\nprint(x);", (2, 3), "`;`", "add `;`"),
        (
            "if true { let a = 1\n let b = 2; }",
            (1, 20),
            "`;`",
            "add `;`",
        ),
        (
            "fn f() {\n  let a = 1\n  a + 1\n}",
            (2, 12),
            "`;`",
            "add `;`",
        ),
        ("let f = || {\n  1\n}\nf.call();", (3, 2), "`;`", "add `;`"),
        (
            "let s = switch 1 { 1 => 2, _ => 3 }\nprint(s);",
            (1, 36),
            "`;`",
            "add `;`",
        ),
        ("import \"a\" as a\nlet b = 1;", (1, 16), "`;`", "add `;`"),
        ("let a = 1\n// end\nlet b = 1", (1, 10), "`;`", "add `;`"),
        ("let a = 1\r\nlet b = 2;\r\n", (1, 10), "`;`", "add `;`"),
        ("let a = \"日本\"\nlet b = 2;", (1, 13), "`;`", "add `;`"),
        ("let m = #{ a: 1\n b: 2 };", (1, 16), "','", "add `,`"),
        (
            "let m = #{ a: \"x\" // one\n b: 2 };",
            (1, 18),
            "','",
            "add `,`",
        ),
        ("let m = [1\n 2];", (1, 11), "','", "add `,`"),
        ("max(1\n 2);", (1, 6), "','", "add `,`"),
        ("fn f(a b) { a }", (1, 7), "','", "add `,`"),
    ]);
}

#[test]
fn what_is_not_closed_is_reported_where_it_begins() {
    check(&[
        (
            "print(1;\nprint(2);",
            (1, 6),
            "`(` is not closed",
            "add `)` before the `;` in line 1",
        ),
        ("print(1\nprint(2);", (1, 6), "`(` is not closed", "add `)`"),
        ("print(max(1, 2);\n", (1, 6), "`(` is not closed", "add `)`"),
        ("let a = [1, 2;", (1, 9), "`[` is not closed", "add `]`"),
        (
            "let a = #{ a: 1;\nprint(a);",
            (1, 9),
            "`#{` is not closed",
            "add `}`",
        ),
        (
            "let a = #{ a: 1, b: [1, 2 };",
            (1, 21),
            "`[` is not closed",
            "add `]` before the `}`",
        ),
        (
            "if true {\n print(1);\n",
            (1, 9),
            "`{` is not closed",
            "add `}`",
        ),
        (
            "fn a() {\n  if true {\n    print(1);\n}\nfn b() {\n}\n",
            (2, 11),
            "`{` is not closed",
            "",
        ),
        ("print(1", (1, 6), "`(` is not closed", ""),
        (
            "let x = \"abc;\nprint(x);",
            (1, 9),
            "no closing quote",
            "add `\"`",
        ),
        (
            "print(\"abc);\nprint(\"d\");",
            (1, 7),
            "no closing quote",
            "backticks",
        ),
        (
            "let x = `abc;\nprint(x);",
            (1, 9),
            "no closing backtick",
            "backtick",
        ),
        (
            "let b = 1;\nlet x = `a ${b;\n`;",
            (2, 12),
            "`${` is not closed",
            "add `}`",
        ),
        (
            "let x = `abc;\nlet y = `d`;\n",
            (1, 9),
            "ends in line 2",
            "closing backtick",
        ),
        (
            "/* abc\nprint(1);",
            (1, 1),
            "comment that begins here has no end",
            "`*/`",
        ),
        ("print(1); /* /* abc */\n", (1, 11), "comment", "`*/`"),
        ("let x = #\"a\";", (1, 9), "has no end", "as many `#`"),
        (
            "let x = \"\"\"\nabc\n\"\"\";",
            (1, 9),
            "no closing quote",
            "backticks",
        ),
        ("print('abc);", (1, 7), "no closing quote", "double quotes"),
        (
            "print(\"x\"));",
            (1, 11),
            "`)` has no opening bracket",
            "remove it",
        ),
        ("}", (1, 1), "`}` has no opening bracket", "remove it"),
        (
            "if true {\n}\n}\n",
            (3, 1),
            "`}` has no opening bracket",
            "",
        ),
    ]);
}

#[test]
fn habits_of_other_languages_get_a_hint() {
    let rows: Vec<(&str, &str)> = vec![
        ("let a = 1; if a == 1 and a == 2 { }", "`&&`"),
        ("let a = 1; if a == 1 or a == 2 { }", "`||`"),
        ("let a = true; if not a { }", "`!`"),
        ("let a = 1; if a not in [1] { }", "`!(x in list)`"),
        ("let a = 1; if a is 1 { }", "`==`"),
        ("let a = 1; if a === 1 { }", "`==`"),
        ("let a = 1; if a !== 1 { }", "`!=`"),
        ("if true { } elif false { }", "`else if`"),
        ("if true { } elseif false { }", "`else if`"),
        ("if true { }; else { }", "remove the `;`"),
        ("if true then print(1); fi", "braces"),
        ("if true:\n  print(1)\n", "braces"),
        ("if (true) print(1);", "braces"),
        ("while true: print(1)", "braces"),
        ("for i in [1]:\n  print(i)\n", "braces"),
        ("for (i in [1]) { print(i); }", "`for x in list"),
        ("for (let i = 0; i < 3; i++) { }", "`for x in list"),
        ("foreach x in [1] { }", "`for x in list"),
        ("let x = 1; x++;", "`x += 1`"),
        ("let x = 1; x--;", "`x -= 1`"),
        ("let x = 1; ++x;", "+= 1`"),
        ("let name = 1; print(f\"x {name}\");", "backticks"),
        ("let b = f\"x\";", "backticks"),
        ("let b = r\"x\";", "backticks"),
        ("function f() { 1 }", "`fn name"),
        ("def f():\n  return 1\n", "`fn name"),
        ("func f() { 1 }", "`fn name"),
        ("fn f(a: int) { }", "types of parameters"),
        ("fn f(a = 1) { }", "default values"),
        ("fn f(a) -> int { 1 }", "type of result"),
        ("let x: int = 1;", "leave the type out"),
        ("var x = 1;", "`let x = ..`"),
        ("int x = 1;", "`let x = ..`"),
        ("x = 1;", "`let x = ..`"),
        ("x := 1;", "let x"),
        ("import os\nprint(1);", "import \""),
        ("from os import path\n", "import \""),
        ("use std;", "import \""),
        ("print \"x\";", "print(..)"),
        ("echo \"x\"", "print("),
        ("console.log(\"x\");", "print("),
        ("let f = x => x + 1;", "`|x| x + 1`"),
        ("let f = (x) => x + 1;", "`|x| x + 1`"),
        ("let f = lambda x: x;", "`|x| x + 1`"),
        ("# comment\nprint(1);", "`//`"),
        ("#comment\nprint(1);", "`//`"),
        ("### comment\nprint(1);", "`//`"),
        ("print(1); # comment", "`//`"),
        ("let m = { a: 1 };", "`#{`"),
        ("let m = { \"a\": 1 };", "`#{`"),
        ("launch_instance({ name: \"web\" });", "`#{`"),
        ("launch_instance(#{ name = \"web\" });", "`name: value`"),
        ("launch_instance(name=\"web\");", "`#{ name: .. }`"),
        ("{\n  \"name\": \"web\"\n}", "JSON"),
        ("let a = true ? 1 : 2;", "if a { b } else { c }"),
        ("let a = $x;", "without `$`"),
        ("let s = \"a\" . \"b\";", "`+`"),
        ("let a = 1;\\\nlet b = 2;", "remove it"),
        ("try { } except { }", "catch"),
        ("raise \"x\";", "`throw`"),
        ("match 1 { 1 => 2 }", "`switch"),
        ("switch 1 { case 1: 2 }", "`switch"),
        ("let x = new Foo();", "no classes"),
        ("await foo();", "parallel()"),
        ("name: web\nhosts:\n  - a\n", "not YAML"),
        ("---\nname: web\n", "not YAML"),
        ("- name: web\n  hosts: all\n", "not YAML"),
        ("let x = 10GB;", "\"10GB\""),
        ("let x = 5m;", "\"5m\""),
        ("print('it');", "\"it\""),
        ("let p = \"\\d+\";", "`\\\\`"),
        ("let p = \"C:\\Users\";", "`\\\\`"),
        ("let x = None;", "`()`"),
        ("let x = null;", "`()`"),
        ("let x = True;", "`true`"),
    ];
    let mut wrong = Vec::new();
    for (text, hint) in rows {
        let seen = fault(text);
        if !seen.2.contains(hint) {
            wrong.push(format!("{text:?}: wanted {hint}, not {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every word of the tokenizer of Rhai.
const RESERVED: &[&str] = &[
    "as",
    "async",
    "await",
    "break",
    "call",
    "case",
    "catch",
    "const",
    "continue",
    "curry",
    "debug",
    "do",
    "else",
    "eval",
    "export",
    "false",
    "fn",
    "Fn",
    "for",
    "go",
    "goto",
    "if",
    "import",
    "in",
    "is",
    "is_def_var",
    "let",
    "loop",
    "match",
    "module",
    "new",
    "nil",
    "null",
    "package",
    "print",
    "private",
    "protected",
    "return",
    "shared",
    "spawn",
    "static",
    "super",
    "switch",
    "sync",
    "this",
    "thread",
    "throw",
    "true",
    "try",
    "type_of",
    "until",
    "use",
    "void",
    "while",
    "with",
    "yield",
];

#[test]
fn a_reserved_word_is_reported_as_one_in_every_place() {
    let mut wrong = Vec::new();
    for word in RESERVED {
        for (text, column, hint) in [
            ("let W = 1;", 5, "`W_`"),
            ("const W = 1;", 7, "`W_`"),
            ("fn W() { }", 4, "`W_`"),
            ("fn f(W) { }", 6, "`W_`"),
            ("fn f(a, W) { }", 9, "`W_`"),
            ("let f = |W| 1;", 10, "`W_`"),
            ("for W in [1] { }", 5, "`W_`"),
            ("for (a, W) in [1] { }", 9, "`W_`"),
            ("try { } catch (W) { }", 16, "`W_`"),
            ("let m = #{ W: 1 };", 12, "`\"W\": ..`"),
            ("let m = #{ a: 1, W: 1 };", 18, "`\"W\": ..`"),
            ("launch_instance(#{ W: 1 });", 20, "`\"W\": ..`"),
            ("let m = #{}; m.W = 1;", 16, "`[\"W\"]`"),
            ("let m = #{}; let x = m.W;", 24, "`[\"W\"]`"),
            ("let m = #{}; let x = m?.W;", 25, "`?[\"W\"]`"),
        ] {
            let text = text.replace('W', word);
            let hint = hint.replace('W', word);
            let seen = fault(&text);
            let message = format!("`{word}` is a reserved word of Rhai");
            if seen.0 != message || seen.1 != (1, column) || !seen.2.contains(&hint) {
                wrong.push(format!("{text:?}: wanted {hint}, not {seen:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn words_that_are_only_reserved_elsewhere_are_names() {
    for word in [
        "var", "default", "public", "exit", "each", "on", "step", "task", "end",
    ] {
        let text = format!("let m = #{{ {word}: 1 }}; let x = m.{word}; m.{word} = x;");
        assert_eq!(fault(&text).0, "no error", "{text}");
    }
}

#[test]
fn a_word_that_only_a_function_cannot_have_as_name_is_reported() {
    let (message, place, hint) = fault("fn default(a) { a }");
    assert!(
        message.contains("`default` is a reserved word"),
        "{message}"
    );
    assert_eq!(place, (1, 4));
    assert!(hint.contains("`default_`"), "{hint}");
}

#[test]
fn a_file_of_another_program_is_reported_as_one() {
    let (_, _, hint) = fault("#!/bin/bash\nset -e\necho hi\n");
    assert!(
        hint.contains("`#!/bin/bash`, says that another program"),
        "{hint}"
    );
    let deep = format!("let a = 1{};", " + 1".repeat(300));
    assert!(fault(&deep).2.contains("divide it"));
}

#[test]
fn strange_characters_are_reported_where_they_are() {
    check(&[
        ("let a = 1;\nlet\u{a0}b = 2;", (2, 4), "U+00A0", "a space"),
        ("print(\u{201c}hi\u{201d});", (1, 7), "U+201C", "`\"`"),
        ("let a = 2 \u{2013} 1;", (1, 11), "U+2013", "`-`"),
        ("// \u{202e}evil\nprint(1);", (1, 4), "U+202E", "remove it"),
        ("print(\"日本\")\u{ff1b}", (1, 12), "U+FF1B", "`;`"),
        ("print(`${a\u{200b}}`);", (1, 11), "U+200B", "remove it"),
    ]);
    for text in [
        "\u{feff}#!/usr/bin/env autorun\nprint(\"\u{a0}\u{201c}\u{2013}\u{200d}\");",
        "#!/usr/bin/env -S autorun --local",
        "// \u{2018}\u{3000}\u{feff}\nprint(`\u{ad}`);\r\nprint('\u{e9}');",
        "",
        "// nothing",
    ] {
        assert_eq!(fault(text).0, "no error", "{text:?}");
    }
}
