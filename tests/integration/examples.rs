//! Runs the example playbooks on the local cloud and checks what they change and
//! what they leave unchanged.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::local_cloud::{becomes_true, last_line, python, succeeds};
use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, root, signal, started};

const EXAMPLES: [&str; 5] = [
    "backup_directory",
    "blue_green",
    "cleanup_expired",
    "fleet_patch",
    "rolling_update",
];

#[test]
fn examples_are_short_and_named_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for name in EXAMPLES {
        let file = format!("playbooks/{name}.rhai");
        let text = fs::read_to_string(root().join(&file)).unwrap();
        assert!(text.starts_with("//! "), "{file}");
        assert!(text.lines().count() < 60, "{file}");
        assert!(readme.contains(&file), "{file}");
    }
}

/// A local cloud, and a ledger that all calls share.
struct Machine {
    cloud: LocalCloud,
    home: TempDir,
}

impl Machine {
    fn start() -> Self {
        Self {
            cloud: LocalCloud::start(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.home.path().join(name), text).unwrap();
        self.path(name)
    }

    fn plain(&self) -> Autorun {
        let data = self.path("data");
        self.cloud.plain().env("AUTORUN_HOME", &data)
    }

    fn call(&self, args: &[&str]) -> Ended {
        self.plain().args(args).run()
    }

    /// Runs an example, or a playbook with this text, with these variables.
    fn run(&self, playbook: &str, variables: &[&str]) -> Ended {
        playbook_call(self.plain().arg("--local"), playbook, variables).run()
    }

    /// The runs that still have resources, newest first.
    fn up(&self) -> Vec<Value> {
        let runs = self.call(&["runs", "--up", "--output", "json"]).exits(0);
        let lines = runs.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The names of the running instances.
    fn running(&self) -> BTreeSet<String> {
        let list =
            "for server in list_instances(#{ states: [\"running\"] }) { print(server.name); }";
        let listed = self.run(list, &[]).exits(0).stdout;
        listed.lines().map(str::to_owned).collect()
    }
}

fn playbook_call(autorun: Autorun, playbook: &str, variables: &[&str]) -> Autorun {
    let sets = variables.iter().flat_map(|set| ["--set", set]);
    let autorun = autorun.args(sets);
    if EXAMPLES.contains(&playbook) {
        autorun.arg(format!("playbooks/{playbook}.rhai"))
    } else {
        autorun.playbook(playbook)
    }
}

/// Sends one request. Returns the page of a response with status 200, or else the
/// problem.
fn get(host: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer)
            if answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.0 200 ") =>
        {
            Ok(answer)
        }
        Ok(answer) => Err(answer),
        Err(error) => Err(error.to_string()),
    }
}

/// Sends requests continuously while `work` runs. Returns the result of each
/// request.
fn requested_during<T>(host: &str, work: impl FnOnce() -> T) -> (T, Vec<Result<String, String>>) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(get(host));
            }
            answers
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        let answers = asking.join().unwrap();
        match done {
            Ok(done) => (done, answers),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Returns the versions that the responses show, in the order of their first
/// appearance, and then the last one again. (While nginx reloads, old and new
/// workers both respond.)
#[track_caller]
fn versions(answers: &[Result<String, String>]) -> Vec<&str> {
    let shown = answers.iter().map(|answer| {
        let page = answer
            .as_ref()
            .unwrap_or_else(|what| panic!("a request failed: {what}"));
        let (_, version) = page.split_once("version ").unwrap();
        version.trim_end()
    });
    let all: Vec<&str> = shown.collect();
    assert!(all.len() > 20, "only {} requests", all.len());
    let mut seen: Vec<&str> = Vec::new();
    for version in &all {
        if !seen.contains(version) {
            seen.push(version);
        }
    }
    seen.extend(all.last());
    seen
}

/// Serves the expected page three times, and then only errors.
const BROKEN: &str = r#"#!/bin/sh
cat >/opt/app.py <<'PY'
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    requests = 0
    def do_GET(self):
        Handler.requests += 1
        self.send_response(200 if Handler.requests <= 3 else 500)
        self.end_headers()
        self.wfile.write(b"version {{ version }}")
http.server.ThreadingHTTPServer(("", {{ port }}), Handler).serve_forever()
PY
(setsid python3 /opt/app.py >/dev/null 2>&1 </dev/null &)
"#;

#[test]
fn blue_green_moves_its_address_without_a_failed_request_and_back() {
    let machine = Machine::start();
    let deploy = |more: &[&str]| {
        let more: Vec<&str> = [&["drain=1"], more].concat();
        machine.run("blue_green", &more)
    };
    // The first run fails. The application is repaired, and the run is resumed.
    let app = machine.write("app.sh", "#!/bin/sh\nexit 7\n");
    let _ = deploy(&["version=one", &format!("app={app}")]).exits(1);
    fs::copy(root().join("userdata/app.sh"), &app).unwrap();
    let run = machine.up()[0]["run"].as_str().unwrap().to_owned();
    let first = machine.call(&["resume", &run]).exits(0);
    let host = last_line(&first).trim_start_matches("http://");
    let host = host.trim_end_matches('/').to_owned();

    // Deploy twice more, at the same address. The instances of earlier runs are
    // removed, the failed one too.
    let ((), answers) = requested_during(&host, || {
        for version in ["version=two", "version=three"] {
            let next = deploy(&[version]).exits(0);
            assert_eq!(last_line(&next), last_line(&first));
            assert_eq!(machine.running().len(), 1);
        }
    });
    assert_eq!(versions(&answers), ["one", "two", "three", "three"]);

    // An application that fails once it has the address, one that fails at once,
    // and user data that fails.
    let broken = format!("app={}", machine.write("broken.sh", BROKEN));
    let ended = deploy(&["version=broken", &broken]).exits(1);
    assert!(
        ended.messages().contains("the address is back"),
        "{}",
        ended.stderr
    );
    assert!(get(&host).unwrap().contains("version three"));
    let unwell = format!("app={}", machine.write("unwell.sh", "#!/bin/sh\nexit 7\n"));
    let (ended, answers) = requested_during(&host, || deploy(&[&unwell]).exits(1));
    assert!(ended.messages().contains("user data"), "{}", ended.stderr);
    assert_eq!(versions(&answers), ["three", "three"]);

    // The next working version replaces them. The others are kept if requested.
    let (_, answers) = requested_during(&host, || {
        deploy(&["version=four", "keep_old=true"]).exits(0)
    });
    assert_eq!(versions(&answers), ["three", "four", "four"]);
    assert_eq!(machine.running().len(), 4, "three, broken, unwell and four");
    let _ = deploy(&["version=five"]).exits(0);
    assert_eq!(machine.running().len(), 1);
    let _ = machine.call(&["destroy", "--all", "--yes"]).exits(0);
    assert_eq!(machine.running().len(), 0);
    assert!(machine.up().is_empty());
}

/// Three hosts with an application, launched by a separate run.
const THREE_HOSTS: &str = r#"
    let key = create_key_pair("rolling");
    let group = create_security_group("rolling", #{ ingress: [#{ port: 22 }, #{ port: 8080 }] });
    let servers = [];
    for n in 1..=3 {
        servers.push(launch_instance(#{ name: `web-${n}`, tags: #{ role: "web" }, key_pair: key,
            security_groups: [group], wait: false,
            user_data: render("userdata/app.sh", #{ version: "1", port: 8080 }) }));
    }
    for server in wait_until_ready(servers) { print(`${server.name} ${server.public_ip}`); }
"#;

#[test]
fn a_rolling_update_stops_at_the_first_host_that_fails() {
    let machine = Machine::start();
    let made = machine.run(THREE_HOSTS, &[]).exits(0).stdout;
    let address = |name: &str| {
        let line = made.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    let shows = |name: &str| get(&format!("{}:8080", address(name))).unwrap();
    let page = machine.write("page.html", "release 2");
    let file = format!("file={page}");
    let usual = [
        "target=/opt/app/index.html",
        "command=systemctl restart app",
        "url=http://{host}:8080/",
        &file,
    ];
    let roll = |more: &[&str]| machine.run("rolling_update", &[&usual[..], more].concat());
    let second = roll(&["tag=role=web", "contains=release 2"]).exits(0);
    let order: Vec<&str> = second
        .stdout
        .lines()
        .map(|line| line.strip_prefix("updated ").unwrap())
        .collect();
    assert_eq!(order.len(), 3, "{}", second.stdout);
    assert!(order.iter().all(|host| shows(host).ends_with("release 2")));

    // The application of the second host no longer starts.
    let unit = "/etc/systemd/system/app.service";
    let cripple =
        format!("sudo sed -i 's/http.server/no.server/' {unit}; sudo systemctl daemon-reload");
    let _ = machine.call(&["ssh", order[1], &cripple]).exits(0);
    fs::write(&page, "release 3").unwrap();
    let third = roll(&["tag=role=web", "contains=release 3", "patience=2"]).exits(1);
    for wanted in [
        format!("[{}]: ", order[1]),
        format!("not begun: {}", order[2]),
    ] {
        assert!(third.messages().contains(&wanted), "{}", third.stderr);
    }
    assert!(third.messages().contains("http://"), "{}", third.stderr);
    assert!(shows(order[0]).ends_with("release 3"));
    assert!(shows(order[2]).ends_with("release 2"));

    // After a manual repair, the resumed run continues at this host.
    let mend = format!(
        "sudo sed -i 's/no.server/http.server/' {unit}; sudo systemctl daemon-reload; sudo systemctl restart app"
    );
    let _ = machine.call(&["ssh", order[1], &mend]).exits(0);
    let runs = machine.call(&["runs", "--output", "json"]).exits(0).stdout;
    let failed: Value = serde_json::from_str(runs.lines().next().unwrap()).unwrap();
    assert_eq!(failed["status"], "failed");
    let _ = machine
        .call(&["resume", failed["run"].as_str().unwrap()])
        .exits(0);
    assert!(order.iter().all(|host| shows(host).ends_with("release 3")));

    // Hosts by address, in one batch, with a command as the health gate.
    fs::write(&page, "release 4").unwrap();
    let hosts: Vec<String> = order
        .iter()
        .map(|host| format!("ec2-user@{}", address(host)))
        .collect();
    let call = playbook_call(
        machine.plain().arg("--local"),
        "rolling_update",
        &[
            &format!("hosts={}", hosts.join(",")),
            &format!("key={}", machine.path("data/keys/rolling")),
            &format!("file={page}"),
            "target=/opt/app/index.html",
            "url=",
            "check=grep -q 'release 4' /opt/app/index.html",
            "batch=5",
        ],
    );
    let known: Vec<String> = order
        .iter()
        .map(|host| succeeds(Command::new("ssh-keyscan").args(["-t", "ed25519", &address(host)])))
        .collect();
    fs::create_dir(call.home.path().join(".ssh")).unwrap();
    fs::write(call.home.path().join(".ssh/known_hosts"), known.concat()).unwrap();
    let fourth = call.run().exits(0);
    assert_eq!(fourth.stdout.lines().count(), 3, "{}", fourth.stdout);
    assert!(order.iter().all(|host| shows(host).ends_with("release 4")));

    // Wrong options are reported before any host is changed.
    for (wrong, message) in [
        (
            &["tag=role=web", "check=", "url="][..],
            "a health check is required",
        ),
        (&["tag=role=nosuch"], "there is no host"),
        (
            &["hosts=192.0.2.1", "tag=role=web"],
            "set `hosts`, or `tag`",
        ),
        (&["tag=role=web", "file=/nosuch"], "a file that can be read"),
    ] {
        let ended = roll(wrong).exits(1);
        assert!(ended.messages().contains(message), "{}", ended.stderr);
    }
}

/// Creates a directory with everything that can go wrong in a backup.
fn odd_directory(directory: &Path) {
    let at = |name: &str| directory.join(name);
    fs::create_dir_all(at("a b/empty")).unwrap();
    for name in [
        "a b/ü 'q' \"d\" $HOME.txt",
        "-n",
        ".hidden",
        "line\nbreak",
        "back\\slash",
        "empty file",
    ] {
        fs::write(at(name), if name == "empty file" { "" } else { name }).unwrap();
    }
    let not_utf8 = std::ffi::OsStr::from_bytes(b"not utf-8: \xff");
    fs::write(directory.join(not_utf8), "x").unwrap();
    fs::write(at("secret"), "only for me").unwrap();
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("a b/empty", at("link")).unwrap();
    symlink("nowhere", at("broken link")).unwrap();
}

/// Returns the names, permissions, links and contents of all files in a
/// directory.
fn contents(directory: &Path) -> Vec<String> {
    let list = "find . -printf '%P %M %l\\0' | sort -z | tr '\\0' '\\n'; \
        find . -type f -print0 | sort -z | xargs -0r sha256sum";
    let listed = Command::new("sh")
        .args(["-c", list])
        .current_dir(directory)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_directory_is_backed_up_and_restored_as_it_was() {
    let machine = Machine::start();
    let data = PathBuf::from(machine.path("odd data"));
    odd_directory(&data);
    let room = machine.path("room");
    fs::create_dir(&room).unwrap();
    let call = |more: &[String]| {
        let usual = [
            "bucket=backups-of-the-tests".to_owned(),
            format!("room={room}"),
        ];
        let all: Vec<&str> = usual.iter().chain(more).map(String::as_str).collect();
        machine.run("backup_directory", &all)
    };
    let back_up = |more: &[&str]| {
        let mut all = vec![format!("directory={}", data.display())];
        all.extend(more.iter().map(|set| (*set).to_owned()));
        let output = call(&all).exits(0).stdout;
        let (_, rest) = output.split_once("/backup/").unwrap();
        rest.split(' ').next().unwrap().to_owned()
    };
    let restore = |date: &str, into: &str| {
        let into = machine.path(into);
        call(&[format!("restore={date}"), format!("into={into}")])
    };

    let first = back_up(&[]);
    let was = contents(&data);
    fs::write(data.join(".hidden"), "changed").unwrap();
    fs::remove_file(data.join("-n")).unwrap();
    fs::write(data.join("new"), "new").unwrap();
    let second = back_up(&["keep=2"]);
    assert!(first < second);

    let _ = restore(&first, "first").exits(0);
    assert_eq!(contents(Path::new(&machine.path("first"))), was);
    let _ = restore("latest", "latest").exits(0);
    let latest = contents(Path::new(&machine.path("latest")));
    assert_eq!(latest, contents(&data));
    assert_ne!(latest, was);
    let refused = restore("latest", "first").exits(1);
    assert!(
        refused.messages().contains("is not empty"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        contents(Path::new(&machine.path("first"))),
        was,
        "untouched"
    );

    // A third backup exceeds the limit, so the first is removed.
    let third = back_up(&["keep=2"]);
    let gone = restore(&first, "gone").exits(1);
    assert!(
        gone.messages().contains("there is no backup"),
        "{}",
        gone.stderr
    );
    let _ = restore(&second, "second").exits(0);
    assert_eq!(contents(Path::new(&machine.path("second"))), latest);

    // A changed object under the same name is detected.
    let forge = format!(
        "let it = \"backups-of-the-tests\";
        local_exec([\"tar\", \"-C\", \"{}\", \"-czf\", \"{room}/forged\", \".\"]);
        upload_file(it, \"{room}/forged\", #{{ key: \"backup/{third}/files.tar.gz\" }});
        local_exec([\"rm\", \"{room}/forged\"]);",
        machine.path("first")
    );
    let _ = machine.run(&forge, &[]).exits(0);
    let forged = restore("latest", "forged").exits(1);
    assert!(
        forged.messages().contains("did NOT match"),
        "{}",
        forged.stderr
    );

    // An empty directory, perhaps because a disk is not mounted, is not backed
    // up.
    let empty = machine.path("empty");
    fs::create_dir(&empty).unwrap();
    let refused = call(&[format!("directory={empty}"), "keep=1".to_owned()]).exits(1);
    assert!(
        refused.messages().contains("there are no files in"),
        "{}",
        refused.stderr
    );
    let _ = restore(&second, "again").exits(0);
    assert_eq!(
        fs::read_dir(&room).unwrap().count(),
        0,
        "the temporary directory is empty"
    );
}

#[test]
fn expired_runs_are_removed_and_others_are_not() {
    let machine = Machine::start();
    let make = "create_key_pair(\"expiring-\" + run_id()); create_bucket(\"expiring\");";
    let make = |more: &[&str]| {
        let call = machine.plain().arg("--local").args(more).playbook(make);
        let _ = call.run().exits(0);
        machine.up()[0]["run"].as_str().unwrap().to_owned()
    };
    let expired = make(&["--ttl", "1s"]);
    let fresh = make(&["--ttl", "1h"]);
    let endless = make(&[]);
    // A run that is in progress and has expired.
    let busy = machine.plain().args(["--local", "--ttl", "1s"]);
    let busy = busy.playbook("create_key_pair(\"busy\"); log_info(\"made\"); sleep(1000);");
    let (mut busy, _stderr) = started(&busy, "made");
    let up = || -> Vec<String> {
        let runs = machine.up().into_iter();
        runs.map(|run| run["run"].as_str().unwrap().to_owned())
            .collect()
    };
    let busy_run = up()[0].clone();
    let clean = |more: &[&str]| machine.run("cleanup_expired", more).exits(0).stdout;
    becomes_true("the busy run has expired", || {
        let shown = machine
            .call(&["show", &busy_run, "--output", "json"])
            .exits(0);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        shown["resources"][0]["up_seconds"].as_u64() > Some(1)
    });

    let dry = clean(&[]);
    assert!(
        dry.starts_with(&format!("would remove run {expired} ")),
        "{dry}"
    );
    assert_eq!(dry.lines().count(), 1, "{dry}");
    assert_eq!(up().len(), 4, "a dry run removes nothing");
    let removed = clean(&["dry_run=false"]);
    assert!(
        removed.starts_with(&format!("removed run {expired} ")),
        "{removed}"
    );
    assert_eq!(up(), [busy_run.clone(), endless.clone(), fresh.clone()]);
    assert_eq!(clean(&["dry_run=false"]), "", "no expired run is left");

    // By age: runs without an expiry time, unless they are spared.
    let spare = format!("spare={endless}");
    assert_eq!(clean(&["dry_run=false", "older_than=0.0001", &spare]), "");
    assert_eq!(clean(&["dry_run=false", "older_than=1"]), "");
    let removed = clean(&["dry_run=false", "older_than=0.0001"]);
    assert!(
        removed.starts_with(&format!("removed run {endless} ")),
        "{removed}"
    );
    assert_eq!(up(), [busy_run, fresh]);
    signal(&busy, "TERM");
    assert!(!busy.wait().unwrap().success());

    // A resource that cannot be removed is reported, and the other runs are still
    // removed.
    let (stuck, other) = (make(&["--ttl", "1s"]), make(&["--ttl", "1s"]));
    let unmark = format!(
        "import boto3; boto3.client('s3').delete_bucket_tagging(Bucket='expiring-{stuck}')"
    );
    python(&machine.cloud, &unmark);
    let listed = || clean(&[]);
    becomes_true("both have expired", || {
        listed().contains(&stuck) && listed().contains(&other)
    });
    // The ledger records the runs' clouds: neither `--local` nor credentials are
    // needed.
    let nightly = playbook_call(machine.plain(), "cleanup_expired", &["dry_run=false"]);
    let ended = nightly.run().exits(1);
    assert!(
        ended.stdout.contains(&format!("removed run {other} ")),
        "{}",
        ended.stdout
    );
    for text in [
        &format!("run {stuck}: "),
        &format!("expiring-{stuck}"),
        "could not remove",
    ] {
        assert!(
            ended.messages().contains(text),
            "no `{text}` in\n{}",
            ended.stderr
        );
    }
}

const PATCHED_HOSTS: &str = r#"
allow_again();
let role = instance_role("patch");
for name in ["one", "two", "three"] {
    launch_instance(#{ name: name, iam_profile: role.profile, tags: #{ "patch-group": "web" } });
}
"#;

#[test]
fn a_fleet_is_patched_until_the_second_failure() {
    let machine = Machine::start();
    let _ = machine.run(PATCHED_HOSTS, &[]).exits(0);
    let patch =
        |more: &[&str]| machine.run("fleet_patch", &[&["tag=patch-group=web"], more].concat());
    let first = patch(&["check=echo once >> /root/checked"]).exits(0);
    for name in ["one", "two", "three"] {
        let line = format!("updated {name} (i-");
        assert!(first.stdout.contains(&line), "{}", first.stdout);
    }
    let failed = patch(&["check=exit 1"]).exits(1).messages();
    assert!(
        failed.contains("failed on 2 of 3 hosts; 1 not begun"),
        "{failed}"
    );
    let missing = machine
        .run("fleet_patch", &["tag=patch-group=none"])
        .exits(1);
    assert!(
        missing.messages().contains("no instance has the tags"),
        "{}",
        missing.stderr
    );
    let checked = "for result in fleet_exec(#{ tags: #{ \"patch-group\": \"web\" } }, \
        \"cat /root/checked\") { print(result.stdout); }";
    let checked = machine.run(checked, &[]).exits(0).stdout;
    assert_eq!(checked, "once\n\nonce\n\nonce\n\n");
}
