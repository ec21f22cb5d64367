//! The command line: variables, outputs, exit codes, help.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};

use crate::support::Autorun;

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
        ended.said().contains("AUTORUN_VAR_stray"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_json_variables_file_names_its_fault() {
    let autorun = Autorun::new().playbook("let a = var(\"a\", 1, \"\");");
    let vars = autorun.home.path().join("vars.json");
    fs::write(&vars, "{\n  \"a\": 1,,\n}\n").unwrap();
    let ended = autorun
        .args(["--vars", &vars.display().to_string()])
        .run()
        .exits(2);
    assert!(ended.said().contains("vars.json:2:10"), "{}", ended.stderr);
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
        ended.said().contains("error: x"),
        "a person still reads stderr"
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
        ended.said().contains("the command `docs`"),
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
fn docs_offer_the_nearest_name() {
    let ended = Autorun::new()
        .args(["docs", "lanch_instance"])
        .run()
        .exits(2);
    assert!(
        ended.said().contains("did you mean `launch_instance`?"),
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
        ended.said().contains("unknown function `nosuch`"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.said().contains("lib/deep/two.rhai:1:"),
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
        ended.said().contains("too many nested function calls"),
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
        ended.said().contains(r"\u{1b}[2Jgone"),
        "{:?}",
        ended.stderr
    );
}

#[test]
fn a_closed_stdout_is_no_failure() {
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

/// As of a network that shows a page to log in to, whatever is asked for.
#[test]
fn what_answers_in_the_place_of_aws_is_told() {
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
            // What is left of the request is taken, or it would reset the answer.
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    for call in ["list_objects(\"bucket\")", "list_instances(#{})"] {
        let autorun = Autorun::new()
            .credentials()
            .env("AWS_ENDPOINT_URL", &endpoint);
        let ended = autorun.playbook(call).run().exits(1);
        let said = ended.said();
        assert!(
            said.contains("the answer (HTTP 200) is not one of AWS's"),
            "{said}"
        );
        assert!(said.contains("wants a login in the browser"), "{said}");
    }
}
