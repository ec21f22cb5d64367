//! The command line: variables, outputs, exit codes, help.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};

use crate::support::{Autorun, root};

#[test]
fn variables_come_from_everywhere_in_their_type() {
    let playbook = r#"
        let flag = var("flag", true, "");
        let count = var("count", 1, "");
        let ratio = var("ratio", 0.5, "");
        let name = var("name", "a", "");
        let hosts = var("hosts", #{ type: "array", default: [] });
        let text = var("text", "", "");
        print([flag, count, ratio, name, hosts, text]);
    "#;
    let autorun = Autorun::new().playbook(playbook);
    let text = autorun.home.path().join("text");
    fs::write(&text, "from a file\n").unwrap();
    let vars = autorun.home.path().join("vars.toml");
    fs::write(&vars, "ratio = 2\nhosts = [\"x\", \"y\"]\n").unwrap();
    let text = format!("text=@{}", text.display());
    let ended = autorun
        .env("AUTORUN_VAR_name", "env")
        .env("AUTORUN_VAR_stray", "x")
        .args([
            "--vars",
            &vars.display().to_string(),
            "--set",
            "flag=false",
            "--set",
            "count=7",
        ])
        .args(["--set", &text])
        .run()
        .exits(0);
    assert_eq!(
        ended.stdout,
        "[false, 7, 2.0, \"env\", [\"x\", \"y\"], \"from a file\"]\n"
    );
    assert!(
        ended.messages().contains("AUTORUN_VAR_stray"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_error_in_a_json_variables_file_has_its_position() {
    let autorun = Autorun::new().playbook("let a = var(\"a\", 1, \"\");");
    let vars = autorun.home.path().join("vars.json");
    fs::write(&vars, "{\n  \"a\": 1,,\n}\n").unwrap();
    let ended = autorun
        .args(["--vars", &vars.display().to_string()])
        .run()
        .exits(2);
    assert!(
        ended.messages().contains("vars.json:2:10"),
        "{}",
        ended.stderr
    );
}

#[test]
fn json_output_is_json_lines_only() {
    let playbook = r#"print("one\ntwo"); log_info("hi"); parallel([1], |n| print(n)); fail("x");"#;
    let ended = Autorun::new()
        .playbook(playbook)
        .args(["--output", "json"])
        .run()
        .exits(1);
    let events: Vec<serde_json::Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    assert_eq!(names.first(), Some(&"run_started"));
    assert_eq!(names.last(), Some(&"run_finished"));
    let printed = events.iter().find(|e| e["event"] == "printed").unwrap();
    assert_eq!(printed["text"], "one\ntwo");
    let failed = events.iter().find(|e| e["event"] == "run_failed").unwrap();
    assert_eq!(
        (&failed["error"]["kind"], &failed["error"]["place"]["line"]),
        (&"script".into(), &1.into())
    );
    assert!(
        ended.messages().contains("error: x"),
        "the error is also on stderr, for people"
    );
}

#[test]
fn exit_codes_are_as_documented() {
    Autorun::new().playbook("print(1);").run().exits(0);
    Autorun::new().playbook("fail(\"no\");").run().exits(1);
    Autorun::new()
        .playbook("print(1);")
        .arg("--nosuch")
        .run()
        .exits(2);
    Autorun::new()
        .playbook("print(1);")
        .args(["--set", "a"])
        .run()
        .exits(2);
    Autorun::new().playbook("print(").run().exits(3);
    Autorun::new().arg("nosuch.rhai").run().exits(2);
    let ended = Autorun::new().arg("dosc").run().exits(2);
    assert!(
        ended.messages().contains("the command `docs`"),
        "{}",
        ended.stderr
    );
    Autorun::new().run().exits(2);
    let help = Autorun::new().arg("--help").run().exits(0);
    for code in ["0  done", "1  the playbook failed", "130  interrupted"] {
        assert!(help.stdout.contains(code), "{}", help.stdout);
    }
}

#[test]
fn help_and_manual_fit_80_columns() {
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["docs"],
        &["docs", "launch_instance"],
    ] {
        let ended = Autorun::new().args(args).run().exits(0);
        for line in ended.stdout.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
    }
}

#[test]
fn completions_are_for_real_shells() {
    let ended = Autorun::new().args(["completions", "bash"]).run().exits(0);
    assert!(
        ended.stdout.contains("complete -F _autorun"),
        "{}",
        ended.stdout
    );
    Autorun::new()
        .args(["completions", "nosuch"])
        .run()
        .exits(2);
}

#[test]
fn man_pages_are_written_for_every_command_and_the_functions() {
    let run = Autorun::new();
    let directory = run.home.path().join("man");
    let run = run.args(["man", &directory.display().to_string()]);
    let _ = run.run().exits(0);
    let page = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    assert!(page("man1/autorun.1").contains("EXTRA"));
    assert!(page("man1/autorun-run.1").contains("endpoint"));
    assert!(page("man7/autorun-functions.7").contains(".SS launch_instance"));
}

#[test]
fn every_page_of_the_manual_is_shown() {
    let folder = root().join("playbooks/manual");
    for file in fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".md").unwrap();
        if name == "reference" {
            continue; // `autorun docs` and `autorun docs NAME` are this page.
        }
        let shown = Autorun::new().args(["docs", name]).run().exits(0).stdout;
        assert!(shown.starts_with("# "), "{name}: {shown}");
        assert!(!shown.contains("<!--"), "{name} shows a comment");
    }
}

#[test]
fn docs_offer_the_nearest_name() {
    let ended = Autorun::new()
        .args(["docs", "lanch_instance"])
        .run()
        .exits(2);
    assert!(
        ended.messages().contains("did you mean `launch_instance`?"),
        "{}",
        ended.stderr
    );
}

#[test]
fn imports_are_relative_to_the_importing_file_and_checked() {
    let autorun = Autorun::new();
    let home = autorun.home.path().to_owned();
    fs::create_dir_all(home.join("lib/deep")).unwrap();
    fs::write(home.join("lib/deep/two.rhai"), "fn two() { 2 }").unwrap();
    let one = "import \"deep/two\" as deep;\nlet size = var(\"size\", 5, \"\");\n\
        export size;\nfn one() { 1 + deep::two() }\n";
    fs::write(home.join("lib/one.rhai"), one).unwrap();
    let main = "import \"lib/one\" as lib;\nprint(lib::one() + lib::size);";
    let autorun = autorun.playbook(main).args(["--set", "size=10"]);
    assert_eq!(autorun.run().exits(0).stdout, "13\n");

    fs::write(home.join("lib/deep/two.rhai"), "fn two() { nosuch() }").unwrap();
    let ended = autorun.run().exits(3);
    assert!(
        ended.messages().contains("unknown function `nosuch`"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.messages().contains("lib/deep/two.rhai:1:"),
        "{}",
        ended.stderr
    );
}

#[test]
fn deep_recursion_is_an_error_not_a_crash() {
    let ended = Autorun::new()
        .playbook("fn f(n) { f(n + 1) }\nf(0);")
        .run()
        .exits(1);
    assert!(
        ended.messages().contains("too many nested function calls"),
        "{}",
        ended.stderr
    );
}

#[test]
fn remote_text_cannot_steer_the_terminal() {
    let ended = Autorun::new()
        .playbook(r#"log_info("\x1b[2Jgone");"#)
        .run()
        .exits(0);
    assert!(
        ended.messages().contains(r"\u{1b}[2Jgone"),
        "{:?}",
        ended.stderr
    );
}

#[test]
fn a_closed_stdout_is_not_a_failure() {
    use std::process::Stdio;
    let autorun = Autorun::new().playbook("for i in 0..2000 { print(i); }");
    let mut child = autorun
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Like a network that returns a login page for every request.
#[test]
fn an_answer_that_is_not_from_aws_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let page = "<html>Log in first</html>";
            let length = page.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
            )
            .unwrap();
            // Read the rest of the request: closing with unread data would reset
            // the connection and discard the response.
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    for call in ["list_objects(\"bucket\")", "list_instances(#{})"] {
        let autorun = Autorun::new()
            .credentials()
            .env("AWS_ENDPOINT_URL", &endpoint);
        let ended = autorun.playbook(call).run().exits(1);
        let messages = ended.messages();
        assert!(
            messages.contains("the response (HTTP 200) is not from AWS"),
            "{messages}"
        );
        assert!(
            messages.contains("requires a login in the browser"),
            "{messages}"
        );
    }
}

#[test]
fn the_manual_is_searched_and_written_for_editors() {
    let found = Autorun::new().args(["docs", "--search", "host key console"]);
    let found = found.run().exits(0).stdout;
    assert!(found.contains("wait_until_ready"), "{found}");
    let codes = Autorun::new().args(["docs", "--search", "dropped"]);
    assert!(codes.run().exits(0).stdout.contains("empty-catch"));
    let none = Autorun::new().args(["docs", "--search", "zebra crossing"]);
    let none = none.run().exits(2).stderr;
    assert!(none.contains("nothing contains all these words"), "{none}");
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("definitions");
    let written = Autorun::new()
        .args(["docs", "--definitions", &directory.display().to_string()])
        .run()
        .exits(0)
        .stdout;
    let names = std::fs::read_dir(&directory).unwrap();
    let texts = names.map(|name| {
        let path = name.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(written.contains(name), "no `{name}` in {written}");
        std::fs::read_to_string(path).unwrap()
    });
    let all = texts.collect::<String>();
    assert!(all.contains("fn launch_instance("), "{all}");
    assert!(all.contains("/// Launches an instance"), "{all}");
}

#[test]
fn every_code_of_the_check_is_explained() {
    let list = Autorun::new()
        .args(["docs", "checks"])
        .run()
        .exits(0)
        .stdout;
    let codes: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(codes.len() > 20, "{list}");
    for code in codes {
        let text = Autorun::new().args(["docs", code]).run().exits(0).stdout;
        assert!(text.contains("Wrong:") && text.contains("Right:"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

/// What a beginner may get wrong in the commands about texts, and what helps.
#[test]
fn mistakes_of_beginners_are_explained() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    fs::write(at("web.rhai"), "print(1)").unwrap();
    for (arguments, wanted) in [
        (
            ["check", &at("web")],
            format!("did you mean `{}`", at("web.rhai")),
        ),
        (
            ["check", &at("wep.rhai")],
            "relative paths start".to_owned(),
        ),
        (["check", &at("")], "is a directory".to_owned()),
        (["new", &at("web")], "already exists".to_owned()),
        (
            ["new", &at("sites/web")],
            format!("mkdir -p {}", at("sites")),
        ),
        (["new", &at("")], "not the name of a file".to_owned()),
        (["docs", "s3"], "`autorun docs --search s3`".to_owned()),
        (["docs", "Launch_Instance"], "`launch_instance`".to_owned()),
        (
            ["docs", "zebra crossing"],
            "`autorun docs` lists".to_owned(),
        ),
    ] {
        let refused = Autorun::new().args(arguments).run().exits(2);
        let message = refused.messages();
        assert!(message.contains(&wanted), "no `{wanted}` in {message}");
        assert!(message.contains("hint: "), "{message}");
        assert!(!message.contains("os error"), "{message}");
    }
    let found = Autorun::new().args(["docs", "--search", "s3"]).run();
    assert!(found.exits(0).stdout.contains("create_bucket"));
    let spaced = Autorun::new().args(["new", &at("my site")]).run().exits(0);
    let command = format!("`autorun check '{}'`", at("my site.rhai"));
    assert!(spaced.stdout.contains(&command), "{}", spaced.stdout);
    for (arguments, wanted) in [
        (
            ["web.rhai", "--dry-run"],
            "hint: `autorun plan PLAYBOOK` shows",
        ),
        (["apply", "web.rhai"], "hint: name one playbook"),
    ] {
        let refused = Autorun::new().args(arguments).run().exits(2);
        assert!(refused.stderr.contains(wanted), "{}", refused.stderr);
    }
    let other = Autorun::new().args(["new", &at("web.txt")]).run().exits(0);
    let wanted = "web.txt.rhai, because the name of a playbook ends in .rhai";
    assert!(other.stdout.contains(wanted), "{}", other.stdout);
}
