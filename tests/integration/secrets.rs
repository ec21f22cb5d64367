//! No secret in any output, file or process argument.

use std::fs;

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
        assert!(ended.stdout.contains("****") && ended.said().contains("refused: ****"));
    }
}

#[test]
fn a_secret_in_the_command_line_draws_a_warning() {
    let playbook = r#"let token = var("token", #{ type: "string", secret: true });"#;
    let set = format!("token={SECRET}");
    let ended = Autorun::new()
        .playbook(playbook)
        .args(["--set", &set])
        .run()
        .exits(0);
    assert!(
        ended.said().contains("stands in the command line"),
        "{}",
        ended.stderr
    );
    assert!(!ended.said().contains(SECRET));

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
fn a_wrong_secret_is_not_shown_either() {
    let playbook = r#"let pin = var("pin", #{ type: "int", secret: true });"#;
    let ended = Autorun::new()
        .playbook(playbook)
        .args(["--set", "pin=hunter22"])
        .run()
        .exits(2);
    assert!(!ended.said().contains("hunter22"), "{}", ended.stderr);
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
fn user_data_with_a_secret_draws_a_warning() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let playbook = r##"
        let token = var("token", #{ type: "string", secret: true });
        launch_instance(#{ user_data: "#!/bin/sh\nexport TOKEN=" + token + "\n", wait: false });
    "##;
    let ended = lab
        .autorun()
        .env("AUTORUN_VAR_token", SECRET)
        .playbook(playbook)
        .run()
        .exits(0);
    assert!(
        ended.said().contains("the user data holds a secret"),
        "{}",
        ended.stderr
    );
}

#[test]
fn environment_and_stdin_are_in_no_process_argument_there() {
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
