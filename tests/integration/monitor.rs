//! The shipped monitoring playbook, with a server that goes down.

use crate::support::cloud::LocalCloud;

#[test]
fn a_server_is_monitored_restarted_and_rated() {
    let cloud = LocalCloud::start();
    let home = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| {
        cloud
            .plain()
            .env("AUTORUN_HOME", &home.path().display().to_string())
            .args(args)
            .run()
    };
    call(&[
        "--local",
        "playbooks/run_newwebserver.rhai",
        "--set",
        "name=watched",
    ])
    .exits(0);
    let runs = call(&["runs", "--output", "json"]).exits(0).stdout;
    let run: serde_json::Value = serde_json::from_str(&runs).unwrap();
    let run = run["run"].as_str().unwrap();
    let instance = format!("instance=watched-{run}");
    let monitor = |more: &[&str]| {
        let usual = [
            "--local",
            "playbooks/monitor_webserver.rhai",
            "--set",
            &instance,
        ];
        let usual = usual
            .iter()
            .chain(&["--set", "every=0.1", "--set", "for=0.3"]);
        let all: Vec<&str> = usual.chain(more).copied().collect();
        call(&all)
    };
    let up = monitor(&[]).exits(0);
    for text in [
        "200 in ",
        "check ok, cpu ",
        ", running\n",
        "samples: 3, failures: 0, availability: 100.0 %",
        "p99",
    ] {
        assert!(up.stdout.contains(text), "no `{text}` in\n{}", up.stdout);
    }
    // A server that is down is rated as such. With `heal`, the playbook restarts it.
    call(&["ssh", run, "sudo systemctl stop nginx"]).exits(0);
    let down = monitor(&[]).exits(1);
    assert!(
        down.stdout.contains("down: ") && down.stdout.contains("check failed"),
        "{}",
        down.stdout
    );
    assert!(
        down.messages().contains("less than the slo of 99.0 %"),
        "{}",
        down.stderr
    );
    let healed = monitor(&["--set", "heal=true", "--set", "slo=50"]).exits(0);
    assert!(
        healed.messages().contains("restarting the web server"),
        "{}",
        healed.stderr
    );
    assert!(
        healed.stdout.contains("samples: 3, failures: 1"),
        "{}",
        healed.stdout
    );
    let json = monitor(&["--output", "json"]).exits(0).stdout;
    let samples = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["event"] == "sampled");
    let samples: Vec<_> = samples.map(|event| event["sample"].clone()).collect();
    assert_eq!(samples.len(), 3, "{json}");
    for sample in samples {
        assert_eq!(sample["status"], 200, "{sample}");
        assert_eq!(
            (&sample["check"], &sample["state"]),
            (&true.into(), &"running".into())
        );
        assert!(sample["host"]["load"].is_number() && sample["seconds"].is_number());
    }
    call(&["destroy", run, "--yes"]).exits(0);
}
