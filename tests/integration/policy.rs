//! `autorun policy`: what it prints for runs, and that a policy has all that a
//! resumed and a destroyed run send.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended};

/// One local cloud for all tests. Each test has its own ledger.
static CLOUD: LazyLock<LocalCloud> = LazyLock::new(LocalCloud::start);

/// A home with a ledger, and commands that use it.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn ledger(&self) -> PathBuf {
        self.dir.path().join("autorun")
    }

    fn call(&self, args: &[&str]) -> Autorun {
        CLOUD
            .plain()
            .env("AUTORUN_HOME", &self.ledger().display().to_string())
            .args(args)
    }

    /// Runs a playbook on the local cloud. Returns the ID of the run.
    fn run(&self, text: &str, args: &[&str]) -> String {
        let playbook = self.dir.path().join("playbook.rhai");
        fs::write(&playbook, text).unwrap();
        let playbook = playbook.display().to_string();
        let run = self.call(&["--local", "--region", "eu-central-1", &playbook]);
        run.args(args).run().exits(0);
        self.column("id FROM run ORDER BY started DESC LIMIT 1")
    }

    fn policy(&self, run: &str) -> Value {
        let printed = self.call(&["policy", run]).run().exits(0);
        serde_json::from_str(&printed.stdout).unwrap()
    }

    fn with_reasons(&self, run: &str) -> Value {
        let printed = self.call(&["policy", run, "--output", "json"]).run();
        serde_json::from_str(&printed.exits(0).stdout).unwrap()
    }

    fn destroy(&self, run: &str) -> Ended {
        self.call(&["destroy", run, "--yes"]).run()
    }

    /// Returns one value of the ledger.
    fn column(&self, select: &str) -> String {
        self.columns(select).remove(0)
    }

    /// Returns the first column of the ledger's rows.
    fn columns(&self, select: &str) -> Vec<String> {
        let db = rusqlite::Connection::open(self.ledger().join("ledger.db")).unwrap();
        let mut query = db.prepare(&format!("SELECT {select}")).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// Changes the ledger with SQL, without the program.
    fn sql(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.ledger().join("ledger.db")).unwrap();
        db.execute_batch(sql).unwrap();
    }

    /// Makes the ledger forget which answers it got, as after a crash: every
    /// resource that is up may exist or not.
    fn doubt(&self) {
        self.sql(
            "UPDATE step SET state = 'under_way', result = NULL, ended = NULL WHERE key IN \
             (SELECT step FROM resource WHERE resource.run = step.run AND state = 'live'); \
             UPDATE resource SET state = 'intended', id = NULL WHERE state = 'live' \
             AND kind NOT IN ('bucket', 'key_pair', 'key_file', 'object', 'public_access', \
             'ingress'); \
             UPDATE resource SET state = 'intended' WHERE state = 'live'",
        );
    }
}

/// Returns all actions of a policy.
fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(several) => several.clone(),
        one => vec![one.clone()],
    });
    actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

/// Creates a resource of each kind that needs no instance, and one instance.
const SHOP: &str = r#"
let name = var("name", "shop", "");
let bucket = create_bucket(name, #{ versioning: true });
upload_image(bucket, "assets/logo.png", #{ key: "logo.png" });
let key = create_key_pair(`${name}-${run_id()}`);
let group = create_security_group(`${name}-${run_id()}`, #{ ingress: [#{ port: 80 }] });
launch_instance(#{ key_pair: key, security_groups: [group], wait: false });
"#;

#[test]
fn the_policy_of_a_run_is_restricted_to_what_the_run_touches() {
    let home = Home::new();
    let run = home.run(SHOP, &[]);
    let owner = home.column("owner FROM ledger");
    let in_region = json!({ "StringEquals": { "aws:RequestedRegion": "eu-central-1" } });
    let creates = json!({ "StringEquals": { "aws:RequestTag/autorun:owner": owner } });
    let owns = json!({ "StringEquals": { "aws:ResourceTag/autorun:owner": owner } });
    let arns = |kinds: &[&str]| -> Vec<String> {
        kinds
            .iter()
            .map(|kind| format!("arn:aws:ec2:eu-central-1:*:{kind}/*"))
            .collect()
    };
    let mut used = arns(&["network-interface", "subnet", "vpc"]);
    used.push("arn:aws:ec2:eu-central-1::image/*".to_owned());
    let made = arns(&["instance", "key-pair", "security-group", "volume"]);
    let parameter = "aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    let expected = json!([
        {
            "Sid": "InRegion",
            "Effect": "Allow",
            "Action": [
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeInstances",
                "ec2:DescribeKeyPairs",
                "ec2:DescribeSecurityGroups",
                "s3:ListAllMyBuckets",
            ],
            "Resource": "*",
            "Condition": in_region,
        },
        {
            "Sid": "Ec2Use",
            "Effect": "Allow",
            "Action": ["ec2:CreateSecurityGroup", "ec2:RunInstances"],
            "Resource": used,
        },
        {
            "Sid": "Ec2Create",
            "Effect": "Allow",
            "Action": "ec2:RunInstances",
            "Resource": arns(&["instance", "volume"]),
            "Condition": creates,
        },
        {
            "Sid": "Ec2Create2",
            "Effect": "Allow",
            "Action": ["ec2:CreateSecurityGroup", "ec2:ImportKeyPair"],
            "Resource": arns(&["key-pair", "security-group"]),
            "Condition": creates,
        },
        {
            "Sid": "Ec2TagNew",
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": made,
            "Condition": { "StringEquals": {
                "aws:RequestTag/autorun:owner": owner,
                "ec2:CreateAction": ["CreateSecurityGroup", "ImportKeyPair", "RunInstances"],
            } },
        },
        {
            "Sid": "Ec2Own",
            "Effect": "Allow",
            "Action": "ec2:TerminateInstances",
            "Resource": arns(&["instance"])[0],
            "Condition": owns,
        },
        {
            "Sid": "Ec2Own2",
            "Effect": "Allow",
            "Action": [
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:DeleteKeyPair",
                "ec2:DeleteSecurityGroup",
                "ec2:RunInstances",
            ],
            "Resource": arns(&["key-pair", "security-group"]),
            "Condition": owns,
        },
        {
            "Sid": "S3Use",
            "Effect": "Allow",
            "Action": [
                "s3:CreateBucket",
                "s3:DeleteBucket",
                "s3:DeleteObjectVersion",
                "s3:GetBucketPolicy",
                "s3:GetBucketTagging",
                "s3:GetObject",
                "s3:ListBucket",
                "s3:ListBucketMultipartUploads",
                "s3:ListBucketVersions",
                "s3:PutBucketPolicy",
                "s3:PutBucketPublicAccessBlock",
                "s3:PutBucketTagging",
                "s3:PutBucketVersioning",
                "s3:PutObject",
            ],
            "Resource": ["arn:aws:s3:::shop-*", "arn:aws:s3:::shop-*/*"],
            "Condition": in_region,
        },
        {
            "Sid": "Parameters",
            "Effect": "Allow",
            "Action": "ssm:GetParameter",
            "Resource": format!("arn:aws:ssm:eu-central-1::parameter/{parameter}"),
        },
    ]);
    let policy = home.policy(&run);
    assert_eq!(policy["Version"], "2012-10-17");
    let statements = policy["Statement"].as_array().unwrap();
    for (statement, expected) in statements.iter().zip(expected.as_array().unwrap()) {
        assert_eq!(statement, expected);
    }
    assert_eq!(statements.len(), 9, "{policy:#}");
    home.destroy(&run).exits(0);
}

#[test]
fn a_line_of_the_playbook_is_behind_each_action() {
    let home = Home::new();
    let run = home.run(SHOP, &[]);
    let all = home.with_reasons(&run);
    let reasons = all["reasons"].as_array().unwrap().iter();
    let reasons: Vec<&Value> = reasons
        .flat_map(|of| of["actions"].as_array().unwrap())
        .collect();
    let named: BTreeSet<&str> = reasons
        .iter()
        .map(|r| r["action"].as_str().unwrap())
        .collect();
    let allowed = actions(&all["policy"]);
    assert_eq!(named, allowed.iter().map(String::as_str).collect());
    let is_there = |action: &str, line: &str, function: &str, phase: &str| {
        reasons.iter().any(|reason| {
            reason["action"] == action
                && reason["place"]
                    .as_str()
                    .unwrap()
                    .ends_with(&format!("playbook.rhai:{line}"))
                && reason["function"] == function
                && reason["for"] == phase
        })
    };
    assert!(is_there(
        "s3:PutBucketVersioning",
        "3",
        "create_bucket",
        "run"
    ));
    assert!(is_there("s3:PutObject", "4", "upload_image", "run"));
    assert!(is_there("ec2:RunInstances", "7", "launch_instance", "run"));
    assert!(is_there(
        "ec2:TerminateInstances",
        "7",
        "launch_instance",
        "resume and destroy"
    ));
    let words = home
        .call(&["policy", &run, "--explain"])
        .run()
        .exits(0)
        .stdout;
    assert!(words.contains("playbook.rhai:4 upload_image\n"), "{words}");
    assert!(words.contains("s3:PutObject\n"), "{words}");
    // An ARN stays whole, so that it can be copied.
    let fits = |line: &str| line.chars().count() <= 80 || line.starts_with("  arn:");
    assert!(words.lines().all(fits), "{words}");
    home.destroy(&run).exits(0);
    assert_eq!(home.with_reasons(&run), all, "destroy needed more");
}

#[test]
fn a_playbook_is_rehearsed_and_has_the_policy_of_its_run() {
    let home = Home::new();
    let run = home.run(SHOP, &[]);
    let playbook = home.dir.path().join("playbook.rhai").display().to_string();
    let before = home.columns("count(*) || '' FROM run");
    let printed = home
        .call(&["policy", &playbook, "--region", "eu-central-1"])
        .run();
    let policy: Value = serde_json::from_str(&printed.exits(0).stdout).unwrap();
    assert_eq!(policy, home.policy(&run));
    assert_eq!(
        home.columns("count(*) || '' FROM run"),
        before,
        "a run is in the ledger"
    );
    home.destroy(&run).exits(0);

    let other = home.call(&[
        "policy",
        &playbook,
        "--set",
        "name=blog",
        "--region",
        "eu-west-1",
    ]);
    let other = other.run().exits(0).stdout;
    assert!(other.contains("\"arn:aws:s3:::blog-*\""), "{other}");
    assert!(
        other.contains("arn:aws:ec2:eu-west-1:*:instance/*"),
        "{other}"
    );

    let wrong = home.dir.path().join("wrong.rhai");
    fs::write(&wrong, "create_bucket(\"pictures\"); fail(\"no more\");").unwrap();
    let failed = home
        .call(&["policy", &wrong.display().to_string()])
        .run()
        .exits(1);
    let message = failed.messages();
    assert!(message.contains("error: no more"), "{message}");
    assert!(message.contains("wrong.rhai:1:"), "{message}");
    assert_eq!(failed.stdout, "");
}

/// Returns a policy without one action.
fn without(policy: &Value, action: &str) -> Value {
    let mut left = policy.clone();
    for statement in left["Statement"].as_array_mut().unwrap() {
        match &mut statement["Action"] {
            Value::Array(several) => several.retain(|one| one != action),
            one if one == action => *one = json!([]),
            _ => {}
        }
    }
    let statements = left["Statement"].as_array_mut().unwrap();
    statements.retain(|statement| statement["Action"] != json!([]));
    left
}

/// A playbook without an instance.
const PARTS: &str = r#"
let bucket = create_bucket("parts", #{ versioning: true });
upload_file(bucket, "assets/logo.png", #{ key: "logo.png" });
create_key_pair(run_id());
create_security_group(run_id(), #{ ingress: [#{ port: 80 }] });
"#;

/// `tests/policy/sweep.py` does this with the shipped playbooks, also for `resume` and
/// `destroy`.
#[test]
fn a_run_is_denied_without_any_action_of_its_policy() {
    each_action_is_needed(PARTS, 8);
}

/// A playbook with a fleet, whose launch template is deleted by the playbook itself.
const FLEET: &str = r#"
let group = create_security_group(run_id(), #{ ingress: [#{ port: 80 }] });
launch_instance(#{
    types: ["t3.nano", "t3.micro"], count: 2, security_groups: [group], spot: true, wait: false,
});
"#;

#[test]
fn a_fleet_is_denied_without_any_action_of_its_policy() {
    each_action_is_needed(FLEET, 10);
}

/// Asserts that a run succeeds with its own policy, and without an action of it does
/// not.
fn each_action_is_needed(text: &str, fewest: usize) {
    let home = Home::new();
    let run = home.run(text, &[]);
    let all = home.with_reasons(&run);
    home.destroy(&run).exits(0);
    let faults = home.dir.path().join("faults.toml");
    fs::write(&faults, "[account]\npolicy = \"policy.json\"\n").unwrap();
    let faults = faults.display().to_string();
    let playbook = home.dir.path().join("playbook.rhai").display().to_string();
    let held = |policy: &Value| {
        fs::write(home.dir.path().join("policy.json"), policy.to_string()).unwrap();
        let run = [
            "--local",
            "--region",
            "eu-central-1",
            "-v",
            "--faults",
            &faults,
            &playbook,
        ];
        let ended = home.call(&run).run();
        let destroyed = home.call(&["destroy", "--all", "--yes"]).run();
        let _ = destroyed.exits(0);
        ended
    };
    let ended = held(&all["policy"]).exits(0);
    assert!(
        !ended.messages().contains("not authorized"),
        "{}",
        ended.stderr
    );
    let reasons = all["reasons"].as_array().unwrap().iter();
    let actions: BTreeSet<&str> = reasons
        .flat_map(|of| of["actions"].as_array().unwrap())
        .filter(|reason| reason["for"] == "run")
        .map(|reason| reason["action"].as_str().unwrap())
        .collect();
    assert!(actions.len() >= fewest, "{actions:?}");
    // An account that has had a spot instance has the role.
    let done = "iam:CreateServiceLinkedRole";
    for action in actions.into_iter().filter(|action| *action != done) {
        let ended = held(&without(&all["policy"], action));
        let message = ended.messages();
        let denied = format!("not authorized to perform: {action} ");
        assert!(message.contains(&denied), "{action}: {message}");
        // A template that stays is not an error of the playbook, and there is another way
        // to find the newest image.
        let not_needed = ["ec2:DeleteLaunchTemplate", "ssm:GetParameter"];
        let status = i32::from(!not_needed.contains(&action));
        assert_eq!(ended.status, Some(status), "{action}: {message}");
    }
}

#[test]
fn a_run_without_requests_has_no_policy() {
    let home = Home::new();
    let run = home.run("print(1)", &[]);
    let refused = home.call(&["policy", &run]).run().exits(2);
    let message = refused.messages();
    assert!(
        message.contains(&format!("no request to AWS of run {run}")),
        "{message}"
    );
    assert!(message.contains("`autorun policy PLAYBOOK`"), "{message}");
}

#[test]
fn a_playbook_that_calls_no_service_needs_no_permission() {
    let home = Home::new();
    for (playbook, variables) in [
        ("cleanup_expired", vec![]),
        ("hello_hosts", vec!["hosts=admin@192.0.2.10"]),
        (
            "monitor_webserver",
            vec!["url=http://192.0.2.10/", "for=0.1", "every=0.1", "slo=0.0"],
        ),
        (
            "rolling_update",
            vec![
                "hosts=admin@192.0.2.10",
                "command=true",
                "check=true",
                "url=",
            ],
        ),
    ] {
        let file = format!("playbooks/{playbook}.rhai");
        let variables = variables
            .into_iter()
            .flat_map(|variable| ["--set", variable]);
        let arguments: Vec<&str> = ["policy", &file].into_iter().chain(variables).collect();
        let message = home.call(&arguments).run().exits(2).messages();
        assert!(
            message.contains("no request to AWS"),
            "{playbook}: {message}"
        );
    }
}

/// A playbook that creates a resource of each kind, of which some are in a bucket
/// and in a security group that other runs created.
const EVERYTHING: &str = r#"
let name = var("name", "all", "");
let others = var("bucket", "", "A bucket that exists");
let opened = var("group", "", "A security group that exists");
let large = var("large", "", "A file that is sent in parts");
let bucket = create_bucket(name);
upload_file(bucket, "assets/logo.png", #{ key: "logo.png" });
upload_file(bucket, large, #{ key: "large" });
object_url(bucket, "logo.png", #{ public: true });
let existing = create_bucket(others, #{ exact: true });
upload_file(existing, "assets/logo.png", #{ key: "logo.png" });
object_url(existing, "logo.png", #{ public: true });
open_port(opened, #{ port: 443 });
let key = create_key_pair(`${name}-${run_id()}`);
let network = create_network(name, #{ nat: true });
let group = create_security_group(name, #{ network: network, ingress: [#{ port: 22 }] });
let server = launch_instance(#{
    name: name,
    key_pair: key,
    security_groups: [group],
    subnet: network.public_subnet,
    volumes: [#{ size: 1, delete_on_termination: false }],
});
elastic_ip(server);
let data = create_volume(#{ size: 1, zone: server.zone });
attach_volume(server, data);
create_snapshot(data, name);
launch_instance(#{
    types: ["t3.nano"], subnets: network.public_subnets, security_groups: [group], spot: true,
    wait: false,
});
create_image(server, `${name}-${run_id()}`);
"#;

/// What the playbook above finds.
const BEFORE: &str = r#"
let bucket = create_bucket("existing");
let group = create_security_group("existing-" + run_id(), #{ ingress: [] });
print(bucket.name);
print(group.id);
"#;

#[test]
fn resume_and_destroy_need_no_more_than_the_policy_has() {
    let (before, home) = (Home::new(), Home::new());
    let other = before.run(BEFORE, &[]);
    let bucket = before.column("id FROM resource WHERE kind = 'bucket'");
    let group = before.column("id FROM resource WHERE kind = 'security_group'");
    let bucket = format!("bucket={bucket}");
    let group = format!("group={group}");
    let large = home.dir.path().join("large");
    fs::File::create(&large).unwrap().set_len(65 << 20).unwrap();
    let large = format!("large={}", large.display());
    let given = ["--set", &bucket, "--set", &group, "--set", &large];
    let run = home.run(EVERYTHING, &given);
    let kinds = home.columns("DISTINCT kind FROM resource ORDER BY kind");
    assert_eq!(kinds.len(), 19, "{kinds:?}");
    let policy = home.policy(&run);
    home.sql("DELETE FROM request");

    // As if the run had ended before the last request of the upload.
    home.sql("UPDATE resource SET state = 'live' WHERE kind = 'multipart_upload'");
    home.doubt();
    // And before it deleted the launch template of the fleet.
    home.sql("UPDATE resource SET state = 'live' WHERE kind = 'launch_template'");
    home.call(&["resume", &run]).run().exits(0);
    home.doubt();
    home.sql("UPDATE resource SET state = 'intended' WHERE kind = 'launch_template'");
    home.destroy(&run).exits(0);
    let sent: BTreeSet<String> = home
        .columns("DISTINCT service || ':' || operation FROM request")
        .into_iter()
        .collect();
    let needed = actions(&home.policy(&run));
    let missing: Vec<&String> = needed
        .iter()
        .filter(|a| !actions(&policy).contains(*a))
        .collect();
    assert!(missing.is_empty(), "{missing:?} are missing in the policy");
    // What the policy has only for `resume` and `destroy` is sent by them.
    for reason in home.with_reasons(&run)["reasons"].as_array().unwrap() {
        for action in reason["actions"].as_array().unwrap() {
            let name = action["action"].as_str().unwrap();
            // `ec2:CreateTags` is checked when others are sent; the other two are needed
            // if another run uses the volume or the address.
            let unsent = [
                "ec2:CreateTags",
                "ec2:DetachVolume",
                "ec2:DisassociateAddress",
            ];
            if name.starts_with("ec2:") && !unsent.contains(&name) {
                assert!(sent.contains(name), "{action} was not sent");
            }
        }
    }
    before.destroy(&other).exits(0);
}

/// What a beginner may get wrong, and what helps.
#[test]
fn mistakes_are_explained() {
    let home = Home::new();
    let file = |name: &str, text: &str| {
        let path = home.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let web = file("web.rhai", "create_bucket(\"web\");");
    let searching = "stop_instance(find_instance(#{ name: \"db\" }));";
    let without_ending = web.trim_end_matches(".rhai");
    for (arguments, wanted) in [
        (vec![without_ending], "did you mean `"),
        (vec!["playbooks"], "is a directory: name a playbook in it"),
        (
            vec![&*file("empty.rhai", "print(1);")],
            "sent no request to AWS, so it needs no policy",
        ),
        (
            vec![&*file("db.rhai", searching)],
            "run the playbook, then pass the ID",
        ),
        (
            vec![&*web, "--profile", "nosuch"],
            "the AWS profile `nosuch` does not exist",
        ),
    ] {
        let refused = home.call(&["policy"]).args(&arguments).run();
        let message = refused.messages();
        assert!(message.contains(wanted), "no `{wanted}` in {message}");
        assert!(message.contains("hint: "), "{message}");
        assert_ne!(refused.status, Some(0), "{message}");
    }
}
