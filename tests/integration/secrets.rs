//! No secret appears in any output, file or process argument.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Autorun, Lab};

const SECRET: &str = "correct-horse-battery";

#[test]
fn a_declared_secret_is_masked_in_every_output() {
    let playbook = r#"
        let token = var("token", #{ type: "string", secret: true, help: "" });
        print(token);
        print(#{ inside: [token] });
        log_info("the token is " + token);
        debug(token);
        fail("refused: " + token);
    "#;
    for output in ["human", "json"] {
        let autorun = Autorun::new()
            .env("AUTORUN_VAR_token", SECRET)
            .playbook(playbook);
        let log = autorun.home.path().join("run.log");
        let log_file = log.display().to_string();
        let autorun = autorun.args(["-v", "--output", output, "--log-file", &log_file]);
        let ended = autorun.run().exits(1);
        for text in [
            &ended.stdout,
            &ended.stderr,
            &fs::read_to_string(log).unwrap(),
        ] {
            assert!(!text.contains(SECRET), "{text}");
        }
        assert!(ended.stdout.contains("****") && ended.messages().contains("refused: ****"));
    }
}

#[test]
fn a_secret_on_the_command_line_leads_to_a_warning() {
    let playbook = r#"let token = var("token", #{ type: "string", secret: true });"#;
    let set = format!("token={SECRET}");
    let ended = Autorun::new()
        .playbook(playbook)
        .args(["--set", &set])
        .run()
        .exits(0);
    assert!(
        ended.messages().contains("is on the command line"),
        "{}",
        ended.stderr
    );
    assert!(!ended.messages().contains(SECRET));

    let autorun = Autorun::new().playbook(playbook);
    let file = autorun.home.path().join("token");
    fs::write(&file, SECRET).unwrap();
    let ended = autorun
        .args(["--set", &format!("token=@{}", file.display())])
        .run()
        .exits(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn an_invalid_secret_is_not_shown_either() {
    let playbook = r#"let pin = var("pin", #{ type: "int", secret: true });"#;
    let ended = Autorun::new()
        .playbook(playbook)
        .args(["--set", "pin=hunter22"])
        .run()
        .exits(2);
    assert!(!ended.messages().contains("hunter22"), "{}", ended.stderr);
}

#[test]
fn keys_of_aws_and_ssh_are_masked() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let playbook = r#"
        let key = create_key_pair("k-" + run_id());
        print(read_file(key.private_key));
        print(read_file(".aws/credentials"));
        log_info(read_file(key.private_key));
        delete_key_pair(key);
    "#;
    let autorun = lab.autorun();
    let credentials = autorun.home.path().join(".aws/credentials");
    let playbook = playbook.replace(".aws/credentials", &credentials.display().to_string());
    let ended = autorun.playbook(&playbook).run().exits(0);
    for text in [&ended.stdout, &ended.stderr] {
        assert!(
            !text.contains("b3BlbnNzaC1rZXktdjE"),
            "a private key is in the output:\n{text}"
        );
        assert!(!text.contains("wJalrXUtnFEMI"), "{text}");
    }
    assert!(
        ended.stdout.contains("aws_secret_access_key = ****"),
        "{}",
        ended.stdout
    );
}

#[test]
fn user_data_with_a_secret_leads_to_a_warning() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let playbook = r##"
        let token = var("token", #{ type: "string", secret: true });
        launch_instance(#{ user_data: "#!/bin/sh\nexport TOKEN=" + token + "\n", wait: false });
    "##;
    let ended = lab
        .autorun()
        .env("AUTORUN_VAR_token", SECRET)
        .env("RUST_LOG", "trace")
        .playbook(playbook)
        .arg("-v")
        .run()
        .exits(0);
    assert!(
        ended.messages().contains("the user data contains a secret"),
        "{}",
        ended.stderr
    );
    // The SDK does not log.
    assert_no_trace("stderr", ended.stderr.as_bytes(), SECRET);
    assert_no_trace("stdout", ended.stdout.as_bytes(), SECRET);
}

#[test]
fn environment_and_stdin_are_in_no_process_argument_on_the_host() {
    let lab = Lab::start(&json!({}));
    let playbook = r#"
        let token = var("token", #{ type: "string", secret: true });
        let seen = ssh_exec("192.0.2.10", "cat >/dev/null; cat /proc/[0-9]*/cmdline | tr '\\0' ' '", #{
            env: #{ TOKEN: token },
            stdin: token,
        });
        print(if seen.stdout.contains(token) { "leaked" } else { "kept" });
        print(ssh_exec("192.0.2.10", "printf %s \"$TOKEN\" | wc -c", #{ env: #{ TOKEN: token } }).stdout);
    "#;
    let ended = lab
        .autorun()
        .env("AUTORUN_VAR_token", SECRET)
        .playbook(playbook)
        .run()
        .exits(0);
    assert_eq!(ended.stdout.trim(), format!("kept\n{}", SECRET.len()));
}

/// The forms of a secret that must not appear: the secret as several programs
/// encode it.
fn traces(secret: &str) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    let hex = |upper: bool| -> String {
        let digits = secret.bytes().map(|b| {
            if upper {
                format!("{b:02X}")
            } else {
                format!("{b:02x}")
            }
        });
        digits.collect()
    };
    let encoded = |before: &str| {
        let all = STANDARD_NO_PAD.encode(format!("{before}{secret}"));
        // Only the part that the neighbouring bytes do not influence.
        all[4..all.len() - 2].to_owned()
    };
    let percent = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC)
        .to_string();
    let json = serde_json::Value::from(secret).to_string();
    let quoted = secret.replace('\'', r"'\''");
    let mut all = vec![
        secret.to_owned(),
        json.trim_matches('"').to_owned(),
        format!("{secret:?}").trim_matches('"').to_owned(),
        quoted,
        percent.replace("%20", "+"),
        percent,
        hex(false),
        hex(true),
    ];
    all.extend(["", "x", "xy"].map(encoded));
    // Half of the secret is too much as well.
    all.push(secret[..secret.len() / 2].to_owned());
    all.push(secret[secret.len() / 2..].to_owned());
    all.into_iter().map(String::into_bytes).collect()
}

fn assert_no_trace(place: &str, content: &[u8], secret: &str) {
    for trace in traces(secret) {
        let found = content.windows(trace.len()).position(|w| w == trace);
        let around = found.map(|at| {
            let from = at.saturating_sub(80);
            String::from_utf8_lossy(&content[from..content.len().min(at + 120)]).into_owned()
        });
        assert_eq!(
            around,
            None,
            "{place} holds {}",
            String::from_utf8_lossy(&trace)
        );
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap().is_dir() {
            true => all.extend(files(&path)),
            false if path.is_file() => all.push(path),
            false => {}
        }
    }
    all
}

/// Prints a secret in every form and through every output.
const LEAKS: &str = r#"
    let pw = var("pw", #{ type: "string", secret: true });
    let web = "192.0.2.10";

    // Unchanged, in results and in texts.
    print(pw); print(#{ inside: [pw] }); debug(pw);
    log_debug(pw); log_info("it is " + pw); log_warn(pw); log_error(`${[pw]}`);
    print(format_json([pw])); print(format_json([format_json([pw])]));
    print(format_toml(#{ pw: pw }));

    // In the encodings of other programs.
    let write = |program| {
        let done = local_exec(["python3", "-c", "import sys; s = sys.stdin.read(); " + program], #{ stdin: pw });
        print(done.stdout);
        log_info(done.stdout);
        done.stdout
    };
    for before in ["", "x", "xy"] {
        write.call(`import base64; print(base64.b64encode(('${before}' + s).encode()).decode())`);
        write.call(`import base64; print(base64.urlsafe_b64encode(('${before}' + s + 'z').encode()).decode().rstrip('='))`);
    }
    write.call("import base64; print(base64.encodebytes((s * 9).encode()).decode())");
    write.call("print(s.encode().hex()); print(s.encode().hex().upper()); print(s.encode().hex(':'))");
    write.call("import urllib.parse as u; print(u.quote(s)); print(u.quote_plus(s)); print(u.quote(s, safe='').lower())");
    write.call("print(''.join(f'%{b:02x}' for b in s.encode()))");
    write.call("import json; print(json.dumps(s)); print(json.dumps(json.dumps({s: s})))");
    write.call("import shlex; print(shlex.quote(s)); print(repr(s)); print(ascii(s)); print(repr(s.encode()))");
    write.call("import html; print(html.escape(s)); print(''.join(f'&#{ord(c)};' for c in s))");
    write.call("print('    ' + s.replace('\\n', '\\n    '))");
    write.call("import textwrap; print('\\n'.join(textwrap.wrap('word ' * 14 + s, 80)))");
    write.call("w = 'x' * 70 + s; print('\\n'.join(w[i:i + 80] for i in range(0, len(w), 80)))");

    // In the output of a host during a command, also in parts and in wrapped
    // lines.
    let on_host = |command| ssh_exec(web, command, #{ env: #{ PW: pw }, stdin: pw, check: false });
    on_host.call("cat; echo; printenv PW; printenv PW >&2; env | sort");
    on_host.call("printenv PW | base64; printenv PW | base64 -w 10; printenv PW | od -An -tx1");
    on_host.call("printenv PW | fold -w 7; printenv PW | fold -w 7 >&2; printenv PW | fold -w 3");
    on_host.call("p=$(printenv PW); printf '%s' \"${p%????????}\"; sleep 0.3; printf '%s\\n' \"${p#\"${p%????????}\"}\"");
    on_host.call("p=$(printenv PW); printf '%s\\n' \"${p%????????}\"; printf '   %s\\n' \"${p#\"${p%????????}\"}\"");
    on_host.call(`set -x; : "$PW"; printf '%s\n' "$PW" >&2; exit 3`);

    // In errors.
    let caught_all = |work| { try { work.call(); } catch (caught) {
        let err = error_info(caught);
        log_error(err.message); log_error(`${err}`); print(err);
    } };
    caught_all.call(|| throw pw);
    caught_all.call(|| throw #{ message: pw, kind: "x", hint: pw });
    caught_all.call(|| write_file("/tmp/" + pw, "x"));
    caught_all.call(|| fail(pw));
    caught_all.call(|| read_file("/nowhere/" + pw));
    caught_all.call(|| ssh_exec(web, "printenv PW; printenv PW >&2; exit 3", #{ env: #{ PW: pw } }));
    caught_all.call(|| local_exec(["sh", "-c", "printenv PW >&2; exit 3"], #{ env: #{ PW: pw } }));
    caught_all.call(|| local_exec(["echo", pw]));
    caught_all.call(|| http_get("http://127.0.0.1:9/?pw=" + pw));
    caught_all.call(|| parse_json(pw));
    caught_all.call(|| parse_toml(pw));
    caught_all.call(|| glob(pw + "/***"));
    caught_all.call(|| utc_now("%" + pw));
    caught_all.call(|| host(pw));
    caught_all.call(|| ssh_exec(host("a b " + pw), "true"));
    caught_all.call(|| parallel([pw], |item| fail(item)));
    caught_all.call(|| retry(#{ attempts: 2, delay: 0.01 }, |n| throw pw));
    caught_all.call(|| #{ a: 1 }[pw]);
    caught_all.call(|| parse_int(pw));
    caught_all.call(|| wait_until_serving("http://127.0.0.1:9/" + pw, #{ timeout: 0.2 }));

    // No process on this machine or on the host has the secret in its
    // arguments.
    let cmdlines = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
    let seen = local_exec(["sh", "-c", cmdlines], #{ env: #{ PW: pw }, stdin: pw }).stdout
        + ssh_exec(web, cmdlines, #{ env: #{ PW: pw }, stdin: pw }).stdout;
    assert(!seen.contains(pw), "it is in the arguments of a process");
    fail("at last: " + pw);
"#;

#[test]
fn a_secret_leaves_no_trace() {
    let lab = Lab::start(&json!({}));
    for secret in [
        "correct'horse\"battery \\$table",
        "längliches Kennwort: 50% & <mehr>",
    ] {
        for output in ["human", "json"] {
            let elsewhere = tempfile::tempdir().unwrap();
            let file = elsewhere.path().join("secret");
            fs::write(&file, secret).unwrap();
            let autorun = lab.autorun();
            let home = autorun.home.path().to_owned();
            let data = home.join("data").display().to_string();
            let log = home.join("run.log").display().to_string();
            let autorun = autorun
                .env("AUTORUN_HOME", &data)
                .env("RUST_LOG", "trace")
                .env("RUST_BACKTRACE", "full")
                .playbook(LEAKS);
            let autorun = autorun.args(["-v", "--log-file", &log, "--output", output]);
            let set = format!("pw=cmd:cat {}", file.display());
            let autorun = autorun.arg("--set").arg(&set);
            let ended = autorun.run().exits(1);
            assert!(
                ended.messages().contains("at last: ****"),
                "{}",
                ended.stderr
            );
            assert!(
                !ended.messages().contains("arguments of a process"),
                "{}",
                ended.stderr
            );
            assert_no_trace("stdout", ended.stdout.as_bytes(), secret);
            assert_no_trace("stderr", ended.stderr.as_bytes(), secret);

            let again = |args: &[&str]| {
                let call = Autorun::new().env("AUTORUN_HOME", &data).args(args);
                call.run().exits(0).stdout
            };
            let runs = again(&["runs", "--output", "json"]);
            let run: serde_json::Value = serde_json::from_str(&runs).unwrap();
            let run = run["run"].as_str().unwrap();
            for args in [
                &["show", run][..],
                &["show", run, "--output", "json"],
                &["show", run, "--html", "-"],
                &["show", run, "--svg", "-"],
            ] {
                assert_no_trace(&args.join(" "), again(args).as_bytes(), secret);
            }
            for file in files(&home) {
                assert_no_trace(
                    &file.display().to_string(),
                    &fs::read(&file).unwrap(),
                    secret,
                );
            }
        }
    }
}

#[test]
fn a_secret_in_a_command_line_is_refused_before_anything_runs() {
    let lab = Lab::start(&json!({}));
    let playbook = r#"
        let pw = var("pw", #{ type: "string", secret: true });
        let encoded = |program| local_exec(["python3", "-c",
            "import sys, base64, shlex, urllib.parse, json; s = sys.stdin.read(); print(" + program + ", end='')"],
            #{ stdin: pw }).stdout;
        let texts = [
            pw, "--password=" + pw, "mysql -p'" + pw + "' -e 'select 1'", "a\n" + pw + "\nb",
            encoded.call("shlex.quote(s)"), encoded.call("json.dumps(s)"),
            encoded.call("urllib.parse.quote(s)"), encoded.call("urllib.parse.quote_plus(s)"),
            "http://user:" + encoded.call("urllib.parse.quote(s, safe='')") + "@192.0.2.1/",
            encoded.call("base64.b64encode(s.encode()).decode()"),
            "Authorization: Basic " + encoded.call("base64.b64encode(('user:' + s).encode()).decode()"),
            encoded.call("base64.b64encode(('xy' + s).encode()).decode()"),
            encoded.call("s.encode().hex()"),
        ];
        let marker = env("HOME") + "/ran";
        let refused = 0;
        let expect = |work| {
            let kind = ();
            try { work.call(); } catch (caught) {
                let err = error_info(caught);
                kind = err.kind;
                assert(err.hint.contains("`env`") && err.hint.contains("`stdin`"), `${err}`);
            }
            assert(kind == "invalid_option", `${kind}`);
        };
        for text in texts {
            expect.call(|| local_exec(["sh", "-c", "touch " + marker + "; echo " + text]));
            expect.call(|| local_exec(["touch", marker, text]));
            expect.call(|| local_exec([text]));
            expect.call(|| ssh_exec("192.0.2.10", "touch /tmp/ran; echo " + text));
            refused += 4;
        }
        // The secret's words as separate arguments.
        let words = ["touch", marker];
        for word in pw.split(" ") { words.push(word); }
        expect.call(|| local_exec(words));
        assert(!is_file(marker), "it ran on this machine");
        assert(ssh_exec("192.0.2.10", "ls /tmp/ran", #{ check: false }).status != 0, "it ran there");
        for path in ["/tmp/" + pw, "/tmp/" + encoded.call("s.encode().hex()")] {
            for work in [|| scp("192.0.2.10", "assets/logo.png", path), || scp_from("192.0.2.10", path, "/tmp/x")] {
                let kind = ();
                try { work.call(); } catch (caught) { kind = error_info(caught).kind; }
                assert(kind == "invalid_option", `${kind}`);
            }
        }
        print(refused);
    "#;
    let ended = lab
        .autorun()
        .env("AUTORUN_VAR_pw", "correct horse's \"battery\"")
        .playbook(playbook)
        .run()
        .exits(0);
    assert_eq!(ended.stdout.trim(), "52");
}

#[test]
fn no_name_tag_or_description_contains_a_secret() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let playbook = r#"
        let pw = var("pw", #{ type: "string", secret: true });
        let hex = local_exec(["python3", "-c", "import sys; print(sys.stdin.read().encode().hex(), end='')"], #{ stdin: pw }).stdout;
        let bucket = create_bucket("fine");
        let group = create_security_group("fine-" + run_id(), #{ ingress: [] });
        let server = launch_instance(#{ name: "fine", wait: false });
        upload_file(bucket, "assets/logo.png", #{ key: "fine.png" });
        let refused = 0;
        for text in [pw, "x-" + pw + "-y", hex] {
            for work in [
                || create_bucket(text), || create_bucket(text, #{ exact: true }),
                || create_key_pair(text), || create_key_pair("k-" + run_id(), #{ path: "/tmp/" + text }),
                || import_key_pair(text, "~/.ssh/id_ed25519"),
                || create_security_group(text),
                || create_security_group("g", #{ description: text }),
                || create_security_group("g", #{ ingress: [#{ port: 80, description: text }] }),
                || open_port(group, #{ port: 81, description: text }),
                || launch_instance(#{ name: text, wait: false }),
                || launch_instance(#{ tags: #{ pw: text }, wait: false }),
                || launch_instance(#{ tags: parse_json(`{"${text}": "x"}`), wait: false }),
                || tag(server, #{ pw: text }), || tag(server, parse_json(`{"${text}": "x"}`)),
                || upload_file(bucket, "assets/logo.png", #{ key: text }),
                || upload_file(bucket, "assets/logo.png", #{ key: "k", content_type: text }),
                || upload_image(bucket, "assets/logo.png", #{ key: text + ".png" }),
                || upload_image(bucket, "assets/logo.png", #{ key: "k.png", content_type: "image/" + text }),
                || upload_dir(bucket, "assets", #{ prefix: text + "/" }),
                || copy_object(bucket, "fine.png", bucket, text),
                || object_url(bucket, text, #{ public: true }),
            ] {
                let err = ();
                try { work.call(); } catch (caught) { err = error_info(caught); }
                assert(err != () && err.kind == "invalid_option" && err.message.contains("contains a secret"), `${refused}: ${err}`);
                assert(err.hint.contains("other") && !err.message.contains(text), `${err}`);
                refused += 1;
            }
        }
        print(refused);
    "#;
    let secret = "correct-horse-battery";
    let ended = lab
        .autorun()
        .env("AUTORUN_VAR_pw", secret)
        .playbook(playbook)
        .run()
        .exits(0);
    assert_eq!(ended.stdout.trim(), "63");
    let requests = serde_json::to_string(&lab.requests()).unwrap();
    assert_no_trace("a request", requests.as_bytes(), secret);

    let ended = Autorun::new()
        .env("AUTORUN_VAR_pw", secret)
        .playbook(r#"let pw = var("pw", #{ type: "string", secret: true });"#)
        .args(["--tag", &format!("team={secret}")])
        .run()
        .exits(2);
    assert!(
        ended
            .messages()
            .contains("the tag `team` contains a secret"),
        "{}",
        ended.stderr
    );
    assert!(!ended.messages().contains(secret), "{}", ended.stderr);
}

#[test]
fn a_short_secret_is_refused_and_named() {
    let declared = r#"let pin = var("pin", #{ type: "string", secret: true });"#;
    let given = |args: &[&str]| {
        let autorun = Autorun::new()
            .env("AUTORUN_VAR_unused", "")
            .playbook(declared);
        autorun.args(args).run()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("v.toml");
    fs::write(&file, "pin = \"q7z\"\n").unwrap();
    let file = file.display().to_string();
    for ended in [
        given(&["--set", "pin=q7z"]),
        given(&["--set", "pin=cmd:echo q7z"]),
        given(&["--vars", &file]),
        Autorun::new()
            .env("AUTORUN_VAR_pin", "q7z")
            .playbook(declared)
            .run(),
    ] {
        let ended = ended.exits(2);
        let messages = ended.messages();
        assert!(
            messages.contains("the secret `pin` has fewer than 6 characters"),
            "{messages}"
        );
        assert!(!messages.contains("q7z"), "{messages}");
    }
    for declared in [
        r#"let pin = var("pin", #{ default: "q7z", secret: true });"#,
        r#"let pin = var("pin", #{ default: "", choices: ["", "q7z"], secret: true });"#,
        r#"let pin = var("pin", #{ default: 777, secret: true });"#,
        r#"let pin = var("pin", #{ default: true, secret: true });"#,
    ] {
        let ended = Autorun::new().playbook(declared).run().exits(3);
        let messages = ended.messages();
        assert!(messages.contains("variable `pin`"), "{messages}");
        assert!(
            !messages.contains("q7z") && !messages.contains("777"),
            "{messages}"
        );
    }
}

#[test]
fn errors_do_not_show_a_playbook_line_with_a_secret_default() {
    let playbook = r#"let pw = var("pw", #{ default: "correct-horse", secret: true }); nosuch(1);"#;
    let autorun = Autorun::new().playbook(playbook);
    let path = autorun.home.path().join("playbook.rhai");
    for ended in [
        autorun.run(),
        Autorun::new()
            .args(["docs", &path.display().to_string()])
            .run(),
    ] {
        let ended = ended.exits(3);
        assert!(
            ended.stderr.contains("default: \"****\""),
            "{}",
            ended.stderr
        );
        assert!(
            !ended.messages().contains("correct-horse"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_program_returns_the_secret_and_resume_runs_it_again() {
    let autorun = Autorun::new();
    let home = autorun.home.path().to_owned();
    let data = home.join("data").display().to_string();
    let playbook = r#"
        let pw = var("pw", #{ type: "string", secret: true });
        let plain = var("plain", "", "Plain");
        let done = local_exec(["sh", "-c", "echo it is; cat"], #{ stdin: pw });
        print(`${plain} ${done.stdout.contains(pw)} ${pw.len()}`);
        fail("once");
    "#;
    // A password manager that counts its calls.
    fs::write(home.join("vault"), SECRET).unwrap();
    let manager = format!("echo x >>{0}/asked; cat {0}/vault", home.display());
    let autorun = autorun.env("AUTORUN_HOME", &data).playbook(playbook);
    let plain = format!("plain=cmd:echo x >>{}/plain; echo plain", home.display());
    let autorun = autorun.args(["--set", &format!("pw=cmd:{manager}"), "--set", &plain]);
    let ended = autorun.run().exits(1);
    assert_eq!(ended.stdout, format!("plain true {}\n", SECRET.len()));
    assert!(
        !ended.messages().contains("command line"),
        "{}",
        ended.stderr
    );
    fs::write(
        home.join("playbook.rhai"),
        playbook.replace("fail(\"once\");", ""),
    )
    .unwrap();
    let call = |args: &[&str]| Autorun::new().env("AUTORUN_HOME", &data).args(args);
    let runs = call(&["runs", "--output", "json"]).run().exits(0).stdout;
    let run: serde_json::Value = serde_json::from_str(&runs).unwrap();
    let run = run["run"].as_str().unwrap().to_owned();
    // From a different directory: the command still runs in the directory of
    // the first run.
    let mut resume = call(&["resume", &run]).command();
    let resumed = resume.current_dir("/").output().unwrap();
    let messages = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert_eq!(resumed.status.code(), Some(0), "{messages}");
    assert!(
        messages.contains("an earlier attempt completed it"),
        "{messages}"
    );
    let stdout = String::from_utf8_lossy(&resumed.stdout);
    assert_eq!(stdout, format!("plain true {}\n", SECRET.len()));
    let asked = |file: &str| fs::read_to_string(home.join(file)).unwrap().lines().count();
    assert_eq!((asked("asked"), asked("plain")), (2, 1));
    for file in files(&home.join("data")) {
        assert_no_trace(
            &file.display().to_string(),
            &fs::read(&file).unwrap(),
            SECRET,
        );
    }

    // A failing program is reported with its output.
    fs::write(home.join("vault"), "").unwrap();
    let ended = call(&["resume", &run]).run().exits(2);
    let messages = ended.messages();
    assert!(
        messages.contains("the command for `pw` printed nothing"),
        "{messages}"
    );
}

#[test]
fn a_command_that_contains_the_secret_is_not_recorded() {
    let autorun = Autorun::new();
    let data = autorun.home.path().join("data");
    let autorun = autorun
        .env("AUTORUN_HOME", &data.display().to_string())
        .playbook(r#"let pw = var("pw", #{ type: "string", secret: true });"#);
    let autorun = autorun.args(["--set", &format!("pw=cmd:echo {SECRET}")]);
    let ended = autorun.run().exits(0);
    assert!(
        ended.messages().contains("contains a secret itself"),
        "{}",
        ended.stderr
    );
    for file in files(&data) {
        assert_no_trace(
            &file.display().to_string(),
            &fs::read(&file).unwrap(),
            SECRET,
        );
    }
}

#[test]
fn a_program_can_ask_on_the_terminal() {
    let playbook = r#"let pw = var("pw", #{ type: "string", secret: true }); print(pw.len());"#;
    let autorun = Autorun::new().playbook(playbook);
    let asking =
        "pw=cmd:printf 'master key? ' >&2; read -r key; test \"$key\" = open && echo correct-horse";
    let (status, shown) = autorun.args(["--set", asking]).at_terminal("open\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(
        shown.contains("master key?") && shown.contains("13"),
        "{shown}"
    );
    assert!(!shown.contains("correct-horse"), "{shown}");

    // Without a value, the program asks for it.
    let autorun = Autorun::new().playbook(playbook);
    let (status, shown) = autorun.at_terminal("correct-horse\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(
        shown.contains("secret `pw`:") && shown.contains("13"),
        "{shown}"
    );
}
