//! `autorun plan` of playbooks that name what exists only in the account: it is read
//! there, and nothing is changed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::plan::{Account, plan_of};

/// Creates one resource of each kind in the account, and prints their ids.
const EXISTING: &str = r#"
let network = create_network("existing-network");
let group = create_security_group("existing-group", #{ ingress: [#{ port: 22 }] });
let inside = create_security_group("existing-inside", #{ vpc: network.vpc_id });
create_key_pair("existing-key");
create_bucket("existing-bucket-of-account", #{ exact: true });
let server = launch_instance(#{ name: "existing-db", security_groups: [group],
    tags: #{ role: "db" } });
let image = create_image(server, "existing-image", #{ no_reboot: true });
let vpc = create_default_vpc();
let volume = create_volume(#{ name: "existing-data", size: 20, zone: server.zone });
attach_volume(server, volume);
let free = create_volume(#{ name: "existing-free", size: 10, zone: server.zone });
let snapshot = create_snapshot(volume, "existing-copy");
let address = elastic_ip(server);
upload_file("existing-bucket-of-account", "README.md", #{ key: "read/me" });
print(format_json(#{ vpc: network.vpc_id, subnet: network.public_subnet, group: group.id,
    inside: inside.id, server: server.id, image: image.id, default_subnet: vpc.subnets[0],
    default_vpc: vpc.id, volume: volume.id, free: free.id, snapshot: snapshot.id,
    address: address.allocation_id, public_ip: address.public_ip, zone: server.zone }));
"#;

/// Playbooks that name what exists, with what they take from the account.
const NAMING: [(&str, &[&str]); 15] = [
    (
        "open_port(\"GROUP\", #{ port: 8080 });
         launch_instance(#{ name: \"web\", security_groups: [\"GROUP\"], wait: false });",
        &["security_group GROUP"],
    ),
    (
        "launch_instance(#{ name: \"web\", subnet: \"SUBNET\", security_groups: [\"INSIDE\"],
            wait: false });",
        &["subnet SUBNET", "security_group INSIDE"],
    ),
    (
        "let group = create_security_group(\"new\", #{ vpc: \"VPC\" });
         launch_instance(#{ subnet: \"SUBNET\", security_groups: [group], wait: false });",
        &["vpc VPC", "subnet SUBNET"],
    ),
    (
        "let before = create_security_group(\"before\");
         let group = create_security_group(\"new\", #{ vpc: \"DEFAULT_VPC\" });
         launch_instance(#{ subnet: \"DEFAULT_SUBNET\", security_groups: [before, group],
             wait: false });",
        &["vpc DEFAULT_VPC", "subnet DEFAULT_SUBNET"],
    ),
    (
        "launch_instance(#{ key_pair: \"existing-\" + \"key\", wait: false });",
        &["key_pair existing-key"],
    ),
    (
        "let image = latest_image(#{ owner: \"self\", name: \"existing-*\" });
         launch_instance(#{ image: image, wait: false });",
        &["image IMAGE"],
    ),
    (
        "launch_instance(#{ image: \"IMAGE\", wait: false });",
        &["image IMAGE"],
    ),
    (
        "let db = find_instance(#{ tags: #{ role: \"db\" } });
         assert(db.name == \"existing-db\" && db.state == \"running\");
         ssh_exec(db, \"uptime\");
         tag(db, #{ seen: \"yes\" });
         stop_instance(db);
         assert(list_instances(#{ name: \"existing-*\" })[0].state == \"stopped\");
         start_instance(\"SERVER\");
         wait_until_ready(describe_instance(\"SERVER\"));",
        &["instance SERVER"],
    ),
    (
        "upload_file(\"existing-bucket-of-account\", \"assets/logo.png\", #{ key: \"a\" });
         create_bucket(\"existing-bucket-of-account\", #{ exact: true });",
        &["bucket existing-bucket-of-account"],
    ),
    (
        "let server = launch_instance(#{ name: \"new\", wait: false });
         elastic_ip(wait_until_running(server), #{ address: \"ADDRESS\" });",
        &["elastic_ip ADDRESS"],
    ),
    (
        "let found = find_elastic_ip(#{ name: \"existing-\" + \"db\" });
         assert(found.public_ip == \"PUBLIC_IP\" && found.instance_id == \"SERVER\");",
        &["elastic_ip ADDRESS"],
    ),
    (
        "let data = find_volume(#{ name: \"existing-data\" });
         assert(data.size == 20 && data.instance_id == \"SERVER\");
         detach_volume(data);
         let server = launch_instance(#{ name: \"new\", wait: false });
         attach_volume(wait_until_running(server), \"FREE\");",
        &["volume VOLUME", "volume FREE"],
    ),
    (
        "let copy = find_snapshot(#{ name: \"existing-copy\" });
         assert(copy.size == 20);
         create_volume(#{ snapshot: \"SNAPSHOT\", zone: \"ZONE\" });",
        &["snapshot SNAPSHOT"],
    ),
    (
        "download_file(\"existing-bucket-of-account\", \"read/me\", \"/tmp/plan-copy\");
         assert(read_file(\"/tmp/plan-copy\") == read_file(\"README.md\"));
         copy_object(\"existing-bucket-of-account\", \"read/me\",
             \"existing-bucket-of-account\", \"copy\");",
        &[
            "bucket existing-bucket-of-account",
            "object existing-bucket-of-account/read/me",
        ],
    ),
    (
        "download_dir(\"existing-bucket-of-account\", \"read/\", \"/tmp/plan-copies\");
         assert(read_file(\"/tmp/plan-copies/me\") == read_file(\"README.md\"));",
        &[
            "bucket existing-bucket-of-account",
            "object existing-bucket-of-account/read/*",
        ],
    ),
];

/// An account that has one resource of each kind.
struct Existing {
    account: Account,
    ids: Vec<(String, String)>,
}

impl Existing {
    fn new() -> Self {
        let account = Account::with("");
        let made = account.autorun().playbook(EXISTING).run().exits(0);
        let printed: Value = serde_json::from_str(made.stdout.trim()).unwrap();
        let ids = printed.as_object().unwrap().iter();
        let ids = ids.map(|(name, id)| (name.to_uppercase(), id.as_str().unwrap().to_owned()));
        let mut ids: Vec<_> = ids.collect();
        // `VPC` is a part of `DEFAULT_VPC`.
        ids.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { account, ids }
    }

    fn with_ids(&self, text: &str) -> String {
        let ids = self.ids.iter();
        ids.fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }
}

/// Returns what a plan borrowed, as `kind name`, from one source.
fn borrowed(plan: &Value, source: &str) -> BTreeSet<String> {
    let loans = plan["borrowed"].as_array().unwrap().iter();
    let loans = loans.filter(|loan| loan["source"] == source);
    let named = loans.map(|loan| {
        let (kind, name) = (loan["kind"].as_str(), loan["name"].as_str());
        format!("{} {}", kind.unwrap(), name.unwrap())
    });
    named.collect()
}

fn follows(plan: &Value) -> bool {
    let steps = plan["steps"].as_array().unwrap();
    steps.iter().any(|step| step["follows"].is_string())
}

#[test]
fn what_the_account_has_and_the_playbook_names_is_taken_from_the_account() {
    let existing = Existing::new();
    let before = existing.account.mutations();
    // All local clouds have the same default VPC.
    let is_own = |(playbook, _): &&(&str, _)| !playbook.contains("DEFAULT_VPC");
    for (playbook, wanted) in NAMING.iter().filter(is_own) {
        let ended = existing.account.plan(&existing.with_ids(playbook));
        let plan = plan_of(&ended);
        assert_eq!(plan["error"], Value::Null, "{playbook}: {plan:#}");
        let wanted: BTreeSet<String> = wanted.iter().map(|one| existing.with_ids(one)).collect();
        // The image of an instance is looked up too, for its login user.
        let lent = borrowed(&plan, "account");
        assert!(lent.is_superset(&wanted), "{playbook}: {lent:?}");
        assert_eq!(
            plan["account"]["faults"],
            serde_json::json!([]),
            "{playbook}"
        );
        assert!(!follows(&plan), "{playbook}: {plan:#}");
        let _ = ended.exits(0);
    }
    assert_eq!(existing.account.mutations(), before);
}

#[test]
fn a_borrowed_list_changes_with_the_playbook() {
    let existing = Existing::new();
    let before = existing.account.mutations();
    let ended = existing.account.plan(
        r#"
        let bucket = "existing-bucket-of-account";
        let found = list_objects(bucket);
        assert(found.len == 1 && found[0].key == "read/me" && found[0].size > 1000);
        upload_file(bucket, "assets/logo.png", #{ key: "read/new" });
        let keys = || list_objects(bucket, #{ prefix: "read" }).map(|one| one.key);
        assert(keys.call() == ["read/me", "read/new"]);
        delete_object(bucket, "read/new");
        assert(keys.call() == ["read/me"]);
        "#,
    );
    let plan = plan_of(&ended);
    assert_eq!(plan["error"], Value::Null, "{plan:#}");
    // Times of change are not those of the account.
    assert!(follows(&plan), "{plan:#}");
    assert_eq!(existing.account.mutations(), before);
}

#[test]
fn borrowed_addresses_do_not_count_toward_the_quota_of_the_rehearsal() {
    let account = Account::with("[account]\nelastic_ips = 9\n");
    let held =
        "for server in launch_instance(#{ name: \"held\", count: 5 }) { elastic_ip(server); }";
    let _ = account.autorun().playbook(held).run().exits(0);
    let before = account.mutations();
    let ended = account.plan(
        "for n in 1..=5 { assert(find_elastic_ip(#{ name: `held-${n}` }) != ()); }
         let server = launch_instance(#{ name: \"new\", wait: false });
         elastic_ip(wait_until_running(server));",
    );
    let plan = plan_of(&ended);
    assert_eq!(plan["error"], Value::Null, "{plan:#}");
    let lent = borrowed(&plan, "account");
    let addresses = lent.iter().filter(|it| it.starts_with("elastic_ip "));
    assert_eq!(addresses.count(), 5, "{lent:?}");
    assert_eq!(account.mutations(), before);
}

#[test]
fn what_the_account_lacks_is_a_fault_and_hides_no_other() {
    let account = Account::with("[account]\nelastic_ips = 0\n");
    let before = account.mutations();
    let faults = account.faults(
        "let server = launch_instance(#{ subnet: \"subnet-0123456789abcdef0\",
             security_groups: [\"sg-0123456789abcdef0\"], key_pair: \"no-such-key\" });
         describe_instance(\"i-0123456789abcdef0\");
         upload_file(\"no-such-bucket-anywhere\", \"assets/logo.png\");
         elastic_ip(server);",
    );
    for wanted in [
        "no subnet `subnet-0123456789abcdef0`",
        "no security group `sg-0123456789abcdef0`",
        "no key pair `no-such-key`",
        "no instance `i-0123456789abcdef0`",
        "no bucket `no-such-bucket-anywhere`",
        "Elastic IP address",
    ] {
        let found = faults.iter().any(|fault| fault.contains(wanted));
        assert!(found, "no fault with `{wanted}` in {faults:#?}");
    }
    assert_eq!(account.mutations(), before);
}

#[test]
fn without_the_account_what_the_playbook_names_is_assumed_and_marked() {
    let names = |text: &str| {
        let ids = [
            ("DEFAULT_VPC", "vpc-0123456789abcdef0"),
            ("DEFAULT_SUBNET", "subnet-0123456789abcdef1"),
            ("VPC", "vpc-0123456789abcdef2"),
            ("SUBNET", "subnet-0123456789abcdef3"),
            ("GROUP", "sg-0123456789abcdef4"),
            ("INSIDE", "sg-0123456789abcdef5"),
            ("IMAGE", "ami-0123456789abcdef6"),
            ("SERVER", "i-0123456789abcdef7"),
            ("ADDRESS", "eipalloc-0123456789abcdef8"),
            ("SNAPSHOT", "snap-0123456789abcdef9"),
            ("ZONE", "us-east-1a"),
        ];
        let ids = ids.iter();
        ids.fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    };
    let account = Account::with("");
    // A search finds nothing if no account is asked.
    let playbooks = NAMING.iter().filter(|(text, _)| {
        !["self", "find_", "README"]
            .iter()
            .any(|it| text.contains(it))
    });
    let object = (
        "download_file(\"bucket-of-account\", \"read/me\", \"/tmp/plan-copy\");
         read_file(\"/tmp/plan-copy\");
         create_bucket(\"after\");",
        &[
            "bucket bucket-of-account",
            "object bucket-of-account/read/me",
        ][..],
    );
    let more = (
        "let db = describe_instance(\"SERVER\"); ssh_exec(db, \"uptime\"); stop_instance(db);
         assert(find_instance(#{ name: \"any\" }) == ());
         launch_instance(#{ image: \"IMAGE\", type: \"t4g.micro\", wait: false });",
        &["instance SERVER", "instance ", "image IMAGE"][..],
    );
    for (playbook, wanted) in playbooks.chain([&more, &object]) {
        let ended = account.plan_with(&names(playbook), &["--offline"]);
        let plan = plan_of(&ended);
        assert_eq!(plan["error"], Value::Null, "{playbook}: {plan:#}");
        let wanted: BTreeSet<String> = wanted.iter().map(|one| names(one)).collect();
        assert_eq!(borrowed(&plan, "assumed"), wanted, "{playbook}");
        assert!(follows(&plan), "{playbook}: {plan:#}");
        let _ = ended.exits(0);
    }
}

#[test]
fn a_plan_says_what_it_took_from_the_account() {
    let existing = Existing::new();
    let playbook = existing.with_ids("stop_instance(\"SERVER\");");
    let autorun = existing.account.autorun();
    let file = autorun.home.path().join("planned.rhai");
    std::fs::write(&file, playbook).unwrap();
    let file = file.display().to_string();
    let plan = autorun.args(["plan", &file]).run().exits(0).stdout;
    let wanted = existing.with_ids("taken from the account\n  instance existing-db (SERVER)");
    assert!(plan.contains(&wanted), "{plan}");
}

#[test]
fn the_end_of_what_was_borrowed_is_listed_and_not_done() {
    let account = Account::with("");
    let home = tempfile::tempdir().unwrap();
    let autorun = || {
        let home = home.path().display().to_string();
        account.autorun().env("HOME", &home)
    };
    let existing = r#"
        let server = launch_instance(#{ name: "old-db" });
        let volume = create_volume(#{ name: "old-data", size: 1, zone: server.zone });
        print(format_json([server.id, volume.id]));
    "#;
    let made = autorun().playbook(existing).run().exits(0);
    let ids: Vec<String> = serde_json::from_str(made.stdout.trim()).unwrap();
    let file = home.path().join("planned.rhai");
    let ending = r#"
        terminate_instance(find_instance(#{ name: "old-db" }));
        assert(find_instance(#{ name: "old-db" }) == ());
        delete_volume("VOLUME");
        assert(find_volume(#{ name: "old-data" }) == ());
    "#;
    std::fs::write(&file, ending.replace("VOLUME", &ids[1])).unwrap();
    let before = account.mutations();
    let file = file.display().to_string();
    let planned = autorun().args(["plan", &file]).run().exits(0).stdout;
    let ends = [
        format!("delete\n  instance {}", ids[0]),
        format!("\n  volume {}", ids[1]),
    ];
    for wanted in ends {
        assert!(planned.contains(&wanted), "no `{wanted}` in {planned}");
    }
    assert_eq!(account.mutations(), before);
    let state = "print(find_instance(#{ name: \"old-db\" }).state);
        print(find_volume(#{ name: \"old-data\" }).state);";
    let state = autorun().playbook(state).run().exits(0).stdout;
    assert_eq!(state, "running\navailable\n");
}
