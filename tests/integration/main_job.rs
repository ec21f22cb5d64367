//! `playbooks/run_newwebserver.rhai` from end to end: real user data, real
//! nginx and real ssh, with moto for AWS.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use crate::support::{Autorun, Ended, Lab, root};

const PLAYBOOK: &str = "playbooks/run_newwebserver.rhai";

/// Returns what a browser in the lab's network receives: status, type, body.
fn fetch(lab: &Lab, url: &str) -> (u16, String, String) {
    let answer = lab
        .inside("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code} %{content_type}",
            url,
        ])
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    let (body, facts) = answer.rsplit_once('\n').unwrap();
    let (status, kind) = facts.split_once(' ').unwrap();
    (status.parse().unwrap(), kind.to_owned(), body.to_owned())
}

fn last_line(ended: &Ended) -> &str {
    ended.stdout.trim_end().lines().last().unwrap_or_default()
}

fn picture_of(page: &str) -> String {
    let source = page
        .split("<img src=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    source
        .expect("the page has no image")
        .replace("&amp;", "&")
        .replace("&#x2f;", "/")
}

#[test]
fn creates_a_page_with_its_image_and_runs_twice() {
    let lab = Lab::start(&json!({}));
    let first = lab.autorun();
    let ended = first.run_playbook().exits(0);
    let url = last_line(&ended);
    let (status, _, page) = fetch(&lab, url);
    assert_eq!(status, 200);
    assert!(page.contains("It works!"), "{page}");
    let (status, kind, _) = fetch(&lab, &picture_of(&page));
    assert_eq!((status, kind.as_str()), (200, "image/png"));
    assert!(
        ended.messages().contains("verified the ssh host key"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.messages().contains("ok: nginx is running"),
        "{}",
        ended.stderr
    );

    // Only the user can read the private key.
    let keys = first.home.path().join(".local/share/autorun/keys");
    let key = fs::read_dir(keys).unwrap().next().unwrap().unwrap();
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    check_the_requests(&lab);

    // Names contain the run id, so a second run does not collide. This run has
    // an existing key, a different title and a different log. It starts in another
    // directory, with a picture of its own and through a link, as from ~/bin.
    let second = lab.autorun();
    let log = second.home.path().join("run.log");
    let second = second
        .args([
            "--set",
            "key=~/.ssh/id_ed25519",
            "--set",
            "title=Second <one>",
        ])
        .args(["-q", "--log-file", &log.display().to_string()]);
    let home = second.home.path();
    fs::copy(root().join("assets/logo.png"), home.join("mine.png")).unwrap();
    symlink(root().join(PLAYBOOK), home.join("newweb")).unwrap();
    let mut command = second.command();
    command.args(["--set", "image=./mine.png", "newweb"]);
    let output = command.current_dir(home).output().unwrap();
    let ended = Ended::of(&output, home).exits(0);
    assert_eq!(ended.stderr, "", "-q shows warnings and errors only");
    let (_, _, page) = fetch(&lab, last_line(&ended));
    assert!(page.contains("Second &lt;one&gt;"), "{page}");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("INFO  launched i-"), "{log}");
    assert!(
        !second
            .home
            .path()
            .join(".local/share/autorun/keys")
            .exists(),
        "no key pair was created"
    );
}

#[test]
fn a_missing_picture_is_reported_before_anything_is_created() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let autorun = lab.autorun().args(["--set", "image=assets/nosuch.png"]);
    let ended = autorun.run_playbook().exits(1);
    assert!(
        ended.messages().contains("assets/nosuch.png is not a file"),
        "{}",
        ended.stderr
    );
    // The only requests ask for the caller's identity.
    let asked = lab.requests();
    assert!(
        asked.iter().all(|r| r["action"] == "GetCallerIdentity"),
        "{asked:?}"
    );
}

/// Checks the safe defaults in the requests that were sent.
fn check_the_requests(lab: &Lab) {
    let launch = &lab.requests_of("RunInstances")[0]["params"];
    let text = launch.to_string();
    let has = |name: &str, value: &str| {
        assert_eq!(
            launch[name].as_str().or(launch[name][0].as_str()),
            Some(value),
            "{text}"
        );
    };
    has("MetadataOptions.HttpTokens", "required");
    has("BlockDeviceMapping.1.Ebs.Encrypted", "true");
    has("InstanceType", "t3.micro");
    assert!(
        text.contains("ClientToken") && text.contains("autorun:run"),
        "{text}"
    );
    let ingress = lab.requests_of("AuthorizeSecurityGroupIngress")[0].to_string();
    assert!(
        ingress.contains("203.0.113.7/32"),
        "ssh is open only to the caller: {ingress}"
    );
    let bucket = lab.requests_of("CreateBucket")[0].to_string();
    assert!(
        bucket.contains("<LocationConstraint>eu-central-1<"),
        "{bucket}"
    );
    let tags = lab.requests_of("PutBucketTagging")[0].to_string();
    assert!(tags.contains("autorun:run"), "{tags}");
}

#[test]
fn credentials_come_only_from_the_users_files() {
    // Without credentials, the job stops before anything is created.
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let without = lab.autorun();
    fs::remove_file(without.home.path().join(".aws/credentials")).unwrap();
    let ended = without.run_playbook().exits(1);
    assert!(
        ended.messages().contains("no AWS credentials were found"),
        "{}",
        ended.stderr
    );
    assert_eq!(lab.requests().len(), 0);
    assert!(
        !ended.messages().contains("remaining resources"),
        "{}",
        ended.stderr
    );

    // No shipped file contains anything that looks like a credential, except
    // AWS's example key.
    let key_id = regex_lite::Regex::new(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b").unwrap();
    let secret = regex_lite::Regex::new(r"secret_access_key\W+[A-Za-z0-9/+]{40}\b").unwrap();
    for file in shipped_files() {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for found in key_id.find_iter(&text) {
            assert!(
                found.as_str().ends_with("EXAMPLE"),
                "{}: {}",
                file.display(),
                found.as_str()
            );
        }
        for found in secret.find_iter(&text) {
            let example = found.as_str().ends_with("EXAMPLEKEY");
            assert!(example, "{}", file.display());
        }
    }
}

fn shipped_files() -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    let mut folders = ["src", "playbooks", "userdata", "assets"]
        .map(|f| root().join(f))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push(path);
            }
        }
    }
    all
}

#[test]
fn a_forbidden_public_policy_is_detected_before_the_launch() {
    let lab = Lab::start(&json!({ "hosts": [], "account_blocks_public": true }));
    let ended = lab.autorun().run_playbook().exits(0);
    assert!(
        ended.messages().contains("cannot be made public"),
        "{}",
        ended.stderr
    );
    let (_, _, page) = fetch(&lab, last_line(&ended));
    let picture = picture_of(&page);
    assert!(picture.contains("X-Amz-Signature="), "{picture}");
    let (status, kind, _) = fetch(&lab, &picture);
    assert_eq!((status, kind.as_str()), (200, "image/png"));
    // The page contains the URL, so the URL was chosen before the launch.
    let order: Vec<Value> = lab.requests();
    let at = |action: &str| {
        order
            .iter()
            .position(|r| r["action"] == action || r["operation"] == action)
    };
    assert!(at("PutBucketPolicy") < at("RunInstances"));
    let signature = picture.split("X-Amz-Signature=").nth(1).unwrap();
    assert!(
        !ended.messages().contains(signature),
        "a signature is a secret"
    );
}

#[test]
fn a_web_server_that_is_down_is_started() {
    let lab = Lab::start(&json!({ "hosts": [] }));
    // The same job with user data that stops the web server at its end.
    let text = fs::read_to_string(root().join(PLAYBOOK)).unwrap();
    let stopped = text.replace(
        "server = wait_until_ready(server);",
        "server = wait_until_ready(server); ssh_exec(server, \"sudo -n systemctl stop nginx\");",
    );
    assert_ne!(stopped, text);
    // The copy is in another directory than its files.
    let stopped = stopped.replace(
        "script_dir()",
        &format!("\"{}/playbooks\"", root().display()),
    );
    let ended = lab.autorun().playbook(&stopped).run().exits(0);
    assert!(
        ended.messages().contains("down: no process named nginx"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .messages()
            .contains("the web server is down; starting it"),
        "{}",
        ended.stderr
    );
    assert_eq!(fetch(&lab, last_line(&ended)).0, 200);
}

#[test]
fn a_failure_lists_what_is_still_up() {
    let fail = json!({ "RunInstances": {
        "code": "VcpuLimitExceeded", "status": 400,
        "message": "You have requested more vCPU capacity than your current vCPU limit.",
    }});
    let lab = Lab::start(&json!({ "hosts": [], "fail": fail }));
    let ended = lab.autorun().run_playbook().exits(1);
    for text in [
        "the web server is not up: a quota is reached, or AWS has no capacity",
        "VcpuLimitExceeded",
        "playbooks/run_newwebserver.rhai:",
        "remaining resources of this run:",
        "security group sg-",
        "bucket newwebserver-",
    ] {
        assert!(
            ended.messages().contains(text),
            "no `{text}` in\n{}",
            ended.stderr
        );
    }
    assert!(
        !ended.messages().contains("possibly created"),
        "the launch was certainly refused\n{}",
        ended.stderr
    );
}

#[test]
fn after_a_lost_response_the_instance_is_possibly_made() {
    // The response arrives after the SDK and the user have given up.
    let lab = Lab::start(&json!({ "hosts": [], "fail": { "RunInstances": {
        "code": "InternalError", "status": 500, "message": "An internal error has occurred",
    }}}));
    let ended = lab
        .autorun()
        .playbook("launch_instance(#{ name: \"web\" });")
        .run()
        .exits(1);
    assert!(
        ended.messages().contains("possibly created"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.messages().contains("instance web"),
        "{}",
        ended.stderr
    );
}

#[test]
fn hello_hosts_runs_on_every_host() {
    let lab = Lab::start(&json!({}));
    let ended = lab
        .autorun()
        .args([
            "playbooks/hello_hosts.rhai",
            "--set",
            "hosts=192.0.2.10,admin@192.0.2.11",
        ])
        .args(["--set", "command=echo hello from $USER"])
        .run()
        .exits(0);
    assert_eq!(
        ended.stdout,
        "192.0.2.10: hello from admin\n\nadmin@192.0.2.11: hello from admin\n\n"
    );
    assert!(
        ended.messages().contains("[192.0.2.10] 192.0.2.10 | hello"),
        "{}",
        ended.stderr
    );
}

#[test]
fn us_east_1_has_no_location_constraint() {
    let lab = Lab::start(&json!({ "hosts": [], "boot": false }));
    let playbook = "delete_bucket(create_bucket(\"pictures\"));";
    let autorun = lab
        .autorun()
        .playbook(playbook)
        .args(["--region", "us-east-1"]);
    let _ = autorun.run().exits(0);
    let bucket = lab.requests_of("CreateBucket")[0].to_string();
    assert!(!bucket.contains("LocationConstraint"), "{bucket}");
}

trait RunPlaybook {
    fn run_playbook(&self) -> Ended;
}

impl RunPlaybook for Autorun {
    /// Runs the shipped playbook with the arguments so far.
    fn run_playbook(&self) -> Ended {
        let mut command = self.command();
        command.arg(PLAYBOOK);
        Ended::of(&command.output().unwrap(), self.home.path())
    }
}
