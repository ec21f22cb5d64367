//! `autorun plan` names what the account would refuse: fifteen seeded faults.

use std::fs;

use serde_json::Value;

use crate::plan::{Account, plan_of};
use crate::support::Autorun;

#[track_caller]
fn names(faults: &[String], wanted: &str) {
    let found = faults.iter().any(|fault| fault.contains(wanted));
    assert!(found, "no fault with `{wanted}` in {faults:#?}");
}

/// A playbook that meets eleven faults. It continues after each of them, because the
/// rehearsal does not have them; the last one is also a fault of the rehearsal.
const SERVER: &str = r##"
let net = create_network("net");
let key = create_key_pair("existing");
let group = create_security_group("web", #{ vpc: net.vpc_id, ingress: [#{ port: 80 }] });
let bucket = create_bucket("pictures-of-another", #{ exact: true });
let server = launch_instance(#{ name: "web", image: "ami-0123456789abcdef0", type: "t3.micro",
    key_pair: key, wait: false });
launch_instance(#{ name: "abroad", image: "ABROAD", type: "t3.micro", wait: false });
launch_instance(#{ name: "huge", type: "t9.huge", wait: false });
launch_instance(#{ name: "placed", type: "t3.small", subnet: net.public_subnet,
    security_groups: [group], wait: false });
elastic_ip(wait_until_running(server));
upload_image(bucket, "assets/logo.png", #{ public: true });
let script = "#!/bin/sh\n";
for n in 0..1700 { script += "# 3456789\n"; }
launch_instance(#{ name: "long", user_data: script, wait: false });
"##;

/// The settings of an account in which [`SERVER`] meets its faults.
const REFUSING: &str = r#"
[account]
no_default_vpc = true
blocks_public = true
elastic_ips = 0
taken_buckets = ["pictures-of-another"]
not_offered = { "t3.small" = ["us-east-1a"] }
[[fault]]
operation = "CreateSecurityGroup"
times = 0
do = "error"
code = "UnauthorizedOperation"
status = 403
message = "You are not authorized to perform this operation."
"#;

/// Returns the id of the newest Amazon Linux image of another region.
fn image_abroad(account: &Account) -> String {
    let playbook = "print(latest_amazon_linux().id);";
    let other = account.autorun().playbook(playbook);
    let other = other.args(["--region", "eu-central-1"]).run();
    other.exits(0).stdout.trim().to_owned()
}

/// The other four of the fifteen faults cannot be among these: without credentials, with
/// an expired token, with a clock that is wrong, or in a region that is not enabled, AWS
/// refuses every request, and so says nothing else.
#[test]
fn one_plan_names_eleven_faults_and_changes_nothing() {
    let account = Account::with("");
    let existing = "create_key_pair(\"existing\"); create_network(\"existing\");";
    let _ = account.autorun().playbook(existing).run().exits(0);
    let abroad = image_abroad(&account);
    account.set(REFUSING);
    let before = account.mutations();
    let faults = account.faults(&SERVER.replace("ABROAD", &abroad));
    for wanted in [
        "no default VPC",
        "not authorized",
        "EC2 accepts at most",
        "pictures-of-another",
        "us-east-1 does not offer the instance type t9.huge",
        "us-east-1a does not offer the instance type t3.small",
        "ami-0123456789abcdef0",
        abroad.as_str(),
        "key pair `existing` already exists",
        "Elastic IP address",
        "blocks public access",
    ] {
        names(&faults, wanted);
    }
    assert_eq!(account.mutations(), before);
}

#[test]
fn faults_that_hide_all_others_are_named() {
    let account = Account::with("[account]\nexpired_token = true\n");
    let before = account.mutations();
    let server = "launch_instance(#{ name: \"web\", wait: false });";
    for (settings, wanted) in [
        ("expired_token = true", "expired"),
        ("clock_skew_seconds = 3600", "Signature expired"),
    ] {
        account.set(&format!("[account]\n{settings}\n"));
        let faults = account.faults(server);
        names(&faults, wanted);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
    account.set("");
    assert_eq!(account.mutations(), before);
}

/// In such a region, AWS does not know the access key of the account.
#[test]
fn a_region_that_is_not_enabled_is_named_by_plan_and_run() {
    let account = Account::with("[account]\ndisabled_regions = [\"ap-northeast-3\"]\n");
    let before = account.mutations();
    let wanted = "the account has not enabled the region ap-northeast-3";
    let there = ["--region", "ap-northeast-3"];
    for playbook in [
        "launch_instance(#{ name: \"web\", wait: false });",
        "create_bucket(\"pictures\");",
    ] {
        let plan = plan_of(&account.plan_with(playbook, &there).exits(1));
        let faults = plan["account"]["faults"].as_array().unwrap();
        assert_eq!(faults.len(), 1, "{plan:#}");
        assert_eq!(faults[0]["message"], wanted);
        let hint = faults[0]["hint"].as_str().unwrap();
        assert!(
            hint.contains("enable-region --region-name ap-northeast-3"),
            "{hint}"
        );
        let run = account.autorun().playbook(playbook).args(there);
        let run = run.run().exits(1).messages();
        assert!(run.contains(&format!("error: {wanted}")), "{run}");
    }
    assert_eq!(account.mutations(), before);
}

#[test]
fn an_account_without_credentials_is_a_fault() {
    let cloud = tempfile::tempdir().unwrap();
    let autorun = Autorun::new()
        .env("AUTORUN_CLOUD_HOME", &cloud.path().display().to_string())
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_REGION", "eu-central-1");
    let file = autorun.home.path().join("planned.rhai");
    fs::write(&file, "create_bucket(\"pictures\");").unwrap();
    let file = file.display().to_string();
    let ended = autorun.args(["plan", &file]).run().exits(1);
    assert!(ended.stdout.contains("1 fault"), "{}", ended.stdout);
    assert!(ended.stdout.contains("credentials"), "{}", ended.stdout);
}

#[test]
fn a_type_that_the_free_plan_does_not_have_is_a_fault() {
    let account = Account::with("[account]\nfree_plan = true\n");
    let large = "launch_instance(#{ type: \"m5.large\", wait: false });";
    let faults = account.faults(large);
    names(&faults, "free plan, which does not have the type m5.large");
    let small = account.plan("launch_instance(#{ type: \"t3.micro\", wait: false });");
    let _ = small.exits(0);
    account.set("");
    let _ = account.plan(large).exits(0);
}

#[test]
fn blocked_public_access_is_a_note_unless_the_playbook_demands_it() {
    let account = Account::with("[account]\nblocks_public = true\n");
    let upload = |options: &str| {
        format!("let b = create_bucket(\"pics\"); upload_image(b, \"assets/logo.png\"{options});")
    };
    let ended = account.plan(&upload("")).exits(0);
    let plan = plan_of(&ended);
    let notes = plan["account"]["notes"].to_string();
    assert!(notes.contains("presigned"), "{plan:#}");
    names(
        &account.faults(&upload(", #{ public: true }")),
        "no object can be public",
    );
}

#[test]
fn all_files_that_cannot_be_read_are_named() {
    let account = Account::with("");
    let ended = account.plan(
        "let bucket = create_bucket(\"files\");\n\
         import_key_pair(\"key\", \"no-such-key.pub\");\n\
         upload_image(bucket, \"no-such-picture.png\");\n\
         try { read_file(\"optional\"); } catch { log_info(\"none\"); }\n",
    );
    let plan = plan_of(&ended.exits(1));
    let files = plan["unreadable"].as_array().unwrap();
    let messages: Vec<&str> = files
        .iter()
        .map(|f| f["message"].as_str().unwrap())
        .collect();
    assert_eq!(messages.len(), 2, "{plan:#}");
    assert!(messages[0].contains("no-such-key.pub"), "{messages:?}");
    assert!(messages[1].contains("no-such-picture.png"), "{messages:?}");
}

#[test]
fn a_plan_names_what_differs_from_the_last_run() {
    let account = Account::with("");
    let autorun = account.autorun();
    let file = autorun.home.path().join("planned.rhai");
    let home = autorun.home.path().display().to_string();
    let same = || account.autorun().env("HOME", &home);
    let path = file.display().to_string();
    let playbook = |step: &str| {
        let name = "let name = var(\"name\", \"shop\", \"\");";
        let size = "let size = var(\"size\", 1, \"\");";
        let text = format!("{name} {size}\ncreate_security_group(`${{name}}-${{size}}`);\n{step}");
        fs::write(&file, text).unwrap();
    };
    let plan = |size: &str| -> Value {
        let plan = [
            "plan",
            &path,
            "--offline",
            "--output",
            "json",
            "--set",
            size,
        ];
        let plan = same().args(plan);
        plan_of(&plan.run().exits(0))["differences"].clone()
    };
    playbook("create_key_pair(\"old-step\");");
    assert_eq!(plan("size=1"), Value::Null);
    let _ = same().args(["run", &path]).run().exits(0);
    let none = plan("size=1");
    assert_eq!(none["variables"], serde_json::json!({}));
    assert_eq!(none["added"], serde_json::json!([]));
    assert!(none["up"].as_u64().unwrap() > 0, "{none:#}");
    playbook("create_bucket(\"new-step\");");
    let differs = plan("size=2");
    assert_eq!(differs["variables"], serde_json::json!({ "size": [1, 2] }));
    let steps = |of: &str| differs[of].to_string();
    assert!(steps("added").contains("create_bucket"), "{differs:#}");
    assert!(steps("missing").contains("create_key_pair"), "{differs:#}");
}
