//! Tries every hint that names a command: provokes the error, takes the command
//! from the output and runs it in a shell. Afterwards the playbook succeeds, or
//! the command shows what the hint promises.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use regex_lite::Regex;
use serde_json::json;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, HOST, Lab, at_terminal, conversation, root};

/// The commands in the hints of the sources, each with the test that tries it,
/// or the reason why it cannot be tried.
const TRIED: &[(&str, &str)] = &[
    ("autorun check", "not tried: the golden tests call it"),
    (
        "autorun -C DIR check ..",
        "not tried: playbook_files.rs changes the directory first",
    ),
    (
        "autorun {} ..",
        "not tried: playbook_files.rs writes the command first",
    ),
    (
        "autorun --local {file}",
        "not tried: check.rs runs a new playbook",
    ),
    (
        "autorun check {file}",
        "not tried: check.rs checks a new playbook",
    ),
    (
        "autorun cloud doctor",
        "the_local_cloud_is_started_and_stopped",
    ),
    (
        "autorun cloud down",
        "the_local_cloud_is_started_and_stopped",
    ),
    ("autorun cloud up", "the_local_cloud_is_started_and_stopped"),
    (
        "autorun policy PLAYBOOK",
        "not tried: policy.rs rehearses a playbook",
    ),
    (
        "autorun destroy {run}",
        "a_failed_run_is_resumed_or_removed",
    ),
    ("autorun destroy {}", "a_failed_run_is_resumed_or_removed"),
    (
        "autorun destroy --orphans",
        "a_damaged_ledger_is_read_and_replaced",
    ),
    ("autorun docs", "the_manual_has_the_wanted_entry"),
    (
        "autorun docs checks",
        "not tried: command_line::cli reads the list",
    ),
    (
        "autorun docs {}",
        "not tried: command_line::cli reads every code",
    ),
    (
        "autorun docs --search {words}",
        "not tried: command_line::cli follows it",
    ),
    (
        "autorun docs editors",
        "not tried: it shows a page, as `autorun docs language` does",
    ),
    ("autorun new web", "not tried: check.rs writes a playbook"),
    ("autorun docs NAME", "the_manual_has_the_wanted_entry"),
    ("autorun docs language", "the_manual_has_the_wanted_entry"),
    (
        "autorun docs read_file",
        "not tried: it would need a playbook of 16 MiB; other functions are tried",
    ),
    ("autorun docs render", "the_manual_has_the_wanted_entry"),
    ("autorun docs script_dir", "the_manual_has_the_wanted_entry"),
    ("autorun docs {function}", "the_manual_has_the_wanted_entry"),
    ("autorun resume {}", "a_failed_run_is_resumed_or_removed"),
    (
        "autorun resume {} < FILE",
        "not tried: command_line::playbook_files resumes such a run",
    ),
    ("autorun resume {run}", "a_failed_run_is_resumed_or_removed"),
    (
        "autorun ledger init",
        "not tried: shared_ledger::commands calls it after the hint",
    ),
    (
        "autorun ledger import RUN",
        "not tried: shared_ledger::commands imports an exported run",
    ),
    (
        "autorun ledger export RUN",
        "not tried: it completes an export that was killed",
    ),
    ("autorun plan", "not tried: plan.rs calls it"),
    ("autorun plan PLAYBOOK", "not tried: plan.rs calls it"),
    ("autorun runs", "runs_are_listed_and_shown"),
    ("autorun runs --up", "runs_are_listed_and_shown"),
    (
        "autorun settings",
        "a_settings_file_that_others_can_write_is_corrected",
    ),
    ("autorun show RUN", "runs_are_listed_and_shown"),
    (
        "autorun show RUN --output json",
        "runs_are_listed_and_shown",
    ),
    ("autorun show {}", "runs_are_listed_and_shown"),
    ("autorun ssh {}", "a_failed_run_is_resumed_or_removed"),
    ("autorun ssh {run}", "a_failed_run_is_resumed_or_removed"),
    ("autorun resume RUN", "a_failed_run_is_resumed_or_removed"),
    (
        "aws account enable-region --region-name {region}",
        "not tried: neither moto nor the local cloud has regions to enable",
    ),
    (
        "aws s3control delete-public-access-block --account-id ID",
        "not tried: the local cloud has this setting in its faults file only",
    ),
    ("aws configure", "credentials_are_entered"),
    ("aws configure --profile {}", "credentials_are_entered"),
    (
        "aws configure --profile {profile}",
        "credentials_are_entered",
    ),
    (
        "aws configure export-credentials --format env",
        "not tried: only AWS CLI 2 has it",
    ),
    ("aws configure list", "credentials_are_entered"),
    (
        "aws ec2 get-ebs-default-kms-key-id",
        "a_key_that_aws_cannot_use_is_shown",
    ),
    (
        "aws iam get-instance-profile --instance-profile-name {quoted}",
        "an_instance_profile_is_shown",
    ),
    (
        "aws ec2 delete-key-pair --key-name NAME",
        "an_old_key_pair_is_removed",
    ),
    (
        "aws ec2 describe-addresses",
        "elastic_ip_addresses_are_listed_and_released",
    ),
    (
        "aws ec2 release-address --allocation-id ID",
        "elastic_ip_addresses_are_listed_and_released",
    ),
    (
        "aws ec2 describe-instances",
        "aws_lists_the_existing_resources",
    ),
    (
        "aws ec2 describe-key-pairs",
        "aws_lists_the_existing_resources",
    ),
    (
        "aws ec2 describe-volumes",
        "aws_lists_the_existing_resources",
    ),
    (
        "aws ec2 describe-security-groups",
        "aws_lists_the_existing_resources",
    ),
    (
        "aws ec2 describe-subnets",
        "aws_lists_the_existing_resources",
    ),
    (
        "aws ec2 describe-volumes --filters Name=status,Values=available",
        "a_used_up_quota_of_volumes_is_shown_and_raised",
    ),
    (
        "aws ec2 get-console-output --instance-id {}",
        "the_console_of_an_ended_instance_is_read",
    ),
    (
        "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id ID",
        "termination_protection_is_removed",
    ),
    (
        "aws ec2 modify-instance-attribute --no-disable-api-stop --instance-id ID",
        "not tried: moto and the local cloud ignore the attribute when they stop an instance",
    ),
    (
        "aws configure sso --profile {profile}",
        "not tried: only AWS CLI 2 has it, and it needs a person and a browser",
    ),
    (
        "aws configure sso --profile {}",
        "not tried: only AWS CLI 2 has it, and it needs a person and a browser",
    ),
    (
        "aws configure sso-session",
        "not tried: only AWS CLI 2 has it, and it needs a person",
    ),
    (
        "aws iam get-role --role-name NAME --query Role.Arn",
        "a_role_and_its_session_are_shown",
    ),
    (
        "aws iam get-role --role-name {name}",
        "a_role_and_its_session_are_shown",
    ),
    (
        "aws login",
        "not tried: only AWS CLI 2 has it, and it needs a person and a browser",
    ),
    (
        "aws login --profile {}",
        "not tried: only AWS CLI 2 has it, and it needs a person and a browser",
    ),
    ("aws s3 ls", "aws_lists_the_existing_resources"),
    (
        "aws service-quotas list-service-quotas --service-code ebs",
        "a_used_up_quota_of_volumes_is_shown_and_raised",
    ),
    (
        "aws service-quotas request-service-quota-increase --service-code ebs --quota-code CODE \
         --desired-value VALUE",
        "a_used_up_quota_of_volumes_is_shown_and_raised",
    ),
    (
        "aws sso login",
        "not tried: only AWS CLI 2 has it, and it needs a person and a browser",
    ),
    (
        "aws sso login --profile {}",
        "not tried: only AWS CLI 2 has it, and it needs a person and a browser",
    ),
    (
        "aws sts get-session-token --serial-number ARN --token-code CODE",
        "a_role_and_its_session_are_shown",
    ),
    (
        "aws sts get-caller-identity",
        "aws_lists_the_existing_resources",
    ),
    (
        "chmod go-w {quoted}",
        "a_settings_file_that_others_can_write_is_corrected",
    ),
    (
        "chmod 600 {}",
        "the_mode_of_a_key_that_others_can_read_is_corrected",
    ),
    ("date -u", "credentials_are_entered"),
    ("df -h", "disks_and_directories_are_shown_and_created"),
    ("ls -ld {}", "disks_and_directories_are_shown_and_created"),
    ("mkdir -p {}", "disks_and_directories_are_shown_and_created"),
    ("sqlite3 {} .dump", "a_changed_row_of_a_ledger_is_shown"),
    (
        "sqlite3 {shown} .dump",
        "a_damaged_ledger_is_read_and_replaced",
    ),
    (
        "sqlite3 {} 'UPDATE written SET open = 0'",
        "an_incomplete_copy_of_a_ledger_can_be_used",
    ),
    ("ssh {}", "an_unknown_host_is_added"),
    ("ssh {} -vv true", "ssh_shows_the_algorithms_of_a_server"),
    ("ssh {} true", "ssh_shows_why_an_account_runs_no_commands"),
    ("ssh-add {}", "a_key_is_loaded_into_the_agent"),
    ("ssh-add {file}", "a_key_is_loaded_into_the_agent"),
    ("ssh-keyscan -p {} {}", "the_key_of_a_host_is_scanned"),
    (
        "ssh-keygen -R {name}",
        "the_entry_of_a_reinstalled_host_is_replaced",
    ),
    (
        "ssh-keygen -R {name} -f {}",
        "the_entry_of_a_reinstalled_host_is_replaced",
    ),
    (
        "ssh-keygen -l -f /etc/ssh/ssh_host_{kind}_key.pub",
        "keys_are_created_and_shown",
    ),
    ("ssh-keygen -l -f KEY.pub", "keys_are_created_and_shown"),
    ("ssh-keygen -t ed25519", "keys_are_created_and_shown"),
    ("ssh-keygen -y -f '{}' > '{}'", "keys_are_created_and_shown"),
    ("ssh-keygen -y -f {}", "a_key_is_loaded_into_the_agent"),
    (
        "sudo chown {user} {quoted}",
        "not tried: the unprivileged user of the tests may not use sudo",
    ),
    (
        "sudo chown -R {user} {}",
        "not tried: the unprivileged user of the tests may not use sudo",
    ),
];

/// Returns the string literals of a source file, without its unit tests.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let literal = Regex::new(r#""((?:[^"\\]|\\(?:.|\n))*)""#).unwrap();
    let continued = Regex::new(r"\\\n\s*").unwrap();
    literal
        .captures_iter(&code)
        .map(|found| continued.replace_all(&found[1], "").into_owned())
        .collect()
}

/// Returns the commands that a text asks its reader to run.
fn commands(text: &str) -> Vec<String> {
    let programs = "autorun|aws|cat|chmod|date|df|grep|ls|mkdir|ping|sqlite3|ssh|ssh-[a-z]+|sudo|\
         systemctl|timedatectl|ufw";
    let forms = [
        format!(r"`((?:{programs}) [^`]*)`"),
        format!(r#"ssh_exec\(server, \\"((?:{programs})[^"\\]*)\\"[,)]"#),
        format!(r": +((?:{programs}) [^;`]*)"),
    ];
    let found = forms.iter().flat_map(|form| {
        let form = Regex::new(form).unwrap();
        let found: Vec<String> = form
            .captures_iter(text)
            .map(|found| found[1].trim().to_owned())
            .collect();
        found
    });
    found.collect()
}

/// Returns all commands in the sources, except those of the local cloud's
/// machines.
fn named() -> BTreeSet<String> {
    let mut folders = vec![root().join("src")];
    let mut named = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("localcloud") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let texts = literals(&fs::read_to_string(path).unwrap());
                named.extend(texts.iter().flat_map(|text| commands(text)));
            }
        }
    }
    named
}

#[test]
fn every_command_in_a_hint_is_tried() {
    let tests = include_str!("hints.rs");
    for command in named() {
        let how = TRIED.iter().find(|(tried, _)| *tried == command);
        let (_, how) = how.unwrap_or_else(|| panic!("`{command}` has no row in TRIED"));
        assert!(
            how.starts_with("not tried: ") || tests.contains(&format!("\nfn {how}() {{")),
            "`{command}`: there is no test {how}"
        );
    }
}

#[test]
fn every_row_has_a_command_of_a_hint() {
    let named = named();
    for (command, _) in TRIED {
        assert!(named.contains(*command), "no hint names `{command}`");
    }
}

/// Returns the command in the output that begins like this.
fn hinted(ended: &Ended, beginning: &str) -> String {
    let messages = ended.messages();
    let at = messages
        .find(&format!("`{beginning}"))
        .unwrap_or_else(|| panic!("no `{beginning}` in\n{}", ended.stderr));
    let (command, _) = messages[at + 1..].split_once('`').unwrap();
    command.to_owned()
}

/// Runs a command exactly as printed, in the environment of the program.
fn tried(autorun: &Autorun, command: &str) -> Ended {
    let output = autorun.shell(command).output().unwrap();
    Ended::of(&output, autorun.home.path())
}

/// Runs a command on a terminal and types each answer when its question
/// appears.
fn tried_by_hand(autorun: &Autorun, command: &str, answers: &[(&str, &str)]) -> String {
    let (status, shown) = conversation(&autorun.shell(command), answers);
    assert_eq!(status, Some(0), "{shown}");
    shown
}

fn quick_lab() -> Lab {
    Lab::start(&json!({ "boot": false, "hosts": [] }))
}

fn refusing(code: &str) -> serde_json::Value {
    let rule = json!({ "code": code, "status": 403, "message": "No." });
    json!({ "fail": { "CreateBucket": rule } })
}

#[test]
fn credentials_are_entered() {
    let lab = quick_lab();
    let autorun = lab.autorun().playbook("create_bucket(\"pictures\");");
    fs::remove_dir_all(autorun.home.path().join(".aws")).unwrap();
    let command = hinted(&autorun.run().exits(1), "aws configure");
    let answers = "AKIAIOSFODNN7EXAMPLE\nwJalrXUtnFEMIK7MDENG\neu-central-1\n\n";
    let mut child = autorun.shell(&command);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), answers.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    autorun.run().exits(0);

    lab.set(&refusing("InvalidAccessKeyId"));
    let shown = tried(
        &autorun,
        &hinted(&autorun.run().exits(1), "aws configure list"),
    )
    .exits(0);
    assert!(shown.stdout.contains("access_key"), "{}", shown.stdout);
    assert!(shown.stdout.contains("MPLE"), "{}", shown.stdout);
    lab.set(&refusing("RequestTimeTooSkewed"));
    let shown = tried(&autorun, &hinted(&autorun.run().exits(1), "date ")).exits(0);
    assert!(shown.stdout.contains("UTC"), "{}", shown.stdout);
    lab.set(&json!({ "fail": {} }));

    let half = autorun.args(["--profile", "half"]);
    fs::write(
        half.home.path().join(".aws/config"),
        "[profile half]\nregion = eu-west-1\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n",
    )
    .unwrap();
    let command = hinted(&half.run().exits(1), "aws configure --profile");
    let mut child = half.shell(&command);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), answers.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    half.run().exits(0);
}

#[test]
fn a_role_and_its_session_are_shown() {
    let lab = quick_lab();
    let by_name = lab
        .autorun()
        .playbook("list_instances();")
        .args(["--role", "deploy"]);
    let create = "aws iam create-role --role-name deploy --assume-role-policy-document '{}'";
    let _ = tried(&by_name, create).exits(0);
    let command = hinted(&by_name.run().exits(2), "aws iam get-role").replace("NAME", "deploy");
    let shown = tried(&by_name, &command).exits(0).stdout;
    let arn = shown.trim().trim_matches('"');
    lab.set(&json!({ "fail": { "AssumeRole": { "code": "AccessDenied", "status": 403 } } }));
    let refused = lab
        .autorun()
        .playbook("list_instances();")
        .args(["--role", arn]);
    let command = hinted(&refused.run().exits(1), "aws iam get-role");
    let shown = tried(&refused, &command).exits(0).stdout;
    assert!(shown.contains("AssumeRolePolicyDocument"), "{shown}");

    let device = "arn:aws:iam::123456789012:mfa/me";
    let config = format!(
        "[profile mfa]\nregion = eu-central-1\nrole_arn = {arn}\nmfa_serial = {device}\n\
         source_profile = default\n"
    );
    let mfa = lab
        .autorun()
        .playbook("list_instances();")
        .args(["--profile", "mfa"]);
    fs::write(mfa.home.path().join(".aws/config"), config).unwrap();
    let command = hinted(&mfa.run().exits(2), "aws sts get-session-token");
    let command = command.replace("ARN", device).replace("CODE", "123456");
    let shown = tried(&mfa, &format!("AWS_DEFAULT_REGION=eu-central-1 {command}")).exits(0);
    let session: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let part = |name: &str| session["Credentials"][name].as_str().unwrap().to_owned();
    let with_keys = lab
        .autorun()
        .playbook("list_instances();")
        .env("AWS_ACCESS_KEY_ID", &part("AccessKeyId"))
        .env("AWS_SECRET_ACCESS_KEY", &part("SecretAccessKey"))
        .env("AWS_SESSION_TOKEN", &part("SessionToken"));
    let _ = with_keys.run().exits(0);
}

#[test]
fn aws_lists_the_existing_resources() {
    let lab = quick_lab();
    let made = lab.autorun().playbook(
        "print(create_bucket(\"existing\").name);\n\
         import_key_pair(\"existing\", \"~/.ssh/id_ed25519\");\n\
         create_security_group(\"existing\");\n\
         print(launch_instance(#{ name: \"existing\" }).id);",
    );
    let made = made.run().exits(0).stdout;
    let (bucket, instance) = made.trim().split_once('\n').unwrap();
    for (playbook, command, shows) in [
        ("list_objects(\"nosuch\");", "aws s3 ls", bucket),
        (
            "launch_instance(#{ key_pair: \"nosuch\" });",
            "aws ec2 describe-key-pairs",
            "existing",
        ),
        (
            "launch_instance(#{ security_groups: [\"sg-0123456789abcdef0\"] });",
            "aws ec2 describe-security-groups",
            "existing",
        ),
        (
            "describe_instance(\"i-0123456789abcdef0\");",
            "aws ec2 describe-instances",
            instance,
        ),
        (
            "launch_instance(#{ subnet: \"subnet-0123456789abcdef0\" });",
            "aws ec2 describe-subnets",
            "subnet-",
        ),
        (
            "detach_volume(\"vol-0123456789abcdef0\");",
            "aws ec2 describe-volumes",
            instance,
        ),
    ] {
        let autorun = lab.autorun().playbook(playbook);
        let ended = autorun.run().exits(1);
        let shown = tried(&autorun, &hinted(&ended, command)).exits(0);
        assert!(shown.stdout.contains(shows), "{command}: {}", shown.stdout);
    }

    lab.set(&refusing("AccessDenied"));
    let autorun = lab.autorun().playbook("create_bucket(\"pictures\");");
    let shown = tried(&autorun, &hinted(&autorun.run().exits(1), "aws sts")).exits(0);
    assert!(shown.stdout.contains("arn:aws:"), "{}", shown.stdout);
    lab.set(&json!({ "fail": {} }));
    autorun.run().exits(0);
}

#[test]
fn an_instance_profile_is_shown() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun();
    let faults = autorun.home.path().join("faults.toml");
    let fault = |nth, times| {
        format!(
            "[[fault]]\noperation = \"RunInstances\"\nnth = {nth}\ntimes = {times}\ndo = \
             \"error\"\ncode = \"InvalidParameterValue\"\nmessage = \"No.\"\n"
        )
    };
    // The second request is the dry run.
    fs::write(&faults, [fault(1, 1), fault(3, 0)].concat()).unwrap();
    let autorun = autorun
        .args(["--faults", &faults.display().to_string()])
        .playbook("launch_instance(#{ name: \"web\", iam_profile: \"web\" });");
    let ended = autorun.run().exits(1);
    let messages = ended.messages();
    assert!(
        messages.contains("does not know the instance profile web yet"),
        "{messages}"
    );
    let show = hinted(&ended, "aws iam get-instance-profile");
    let lab = quick_lab();
    let lab = lab.autorun();
    let create = "aws iam create-instance-profile --instance-profile-name web";
    tried(&lab, create).exits(0);
    let shown = tried(&lab, &show).exits(0);
    assert!(
        shown.stdout.contains(":instance-profile/web"),
        "{}",
        shown.stdout
    );
}

#[test]
fn a_key_that_aws_cannot_use_is_shown() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun();
    let faults = autorun.home.path().join("faults.toml");
    let fault = "[[fault]]\noperation = \"boot\"\ndo = \"fail-boot\"\n";
    fs::write(&faults, fault).unwrap();
    let autorun = autorun
        .args(["--faults", &faults.display().to_string()])
        .playbook("launch_instance(#{ name: \"web\" });");
    let show = hinted(&autorun.run().exits(1), "aws ec2 get-ebs");
    let skeleton = format!("{show} --region eu-central-1 --generate-cli-skeleton output");
    tried(&autorun, &skeleton).exits(0);
}

#[test]
fn an_old_key_pair_is_removed() {
    let lab = quick_lab();
    let playbook = "import_key_pair(\"deploy\", \"~/.ssh/id_ed25519\");";
    lab.autorun().playbook(playbook).run().exits(0);
    let autorun = lab.autorun().playbook(playbook);
    tried(&autorun, &hinted(&autorun.run().exits(1), "aws ec2")).exits(0);
    autorun.run().exits(0);
}

#[test]
fn elastic_ip_addresses_are_listed_and_released() {
    let cloud = LocalCloud::start();
    let fill = cloud.autorun().playbook(
        "let server = launch_instance(#{ name: \"many\" });\n\
         for n in 0..5 { elastic_ip(server, #{ tags: #{ number: `${n}` } }); }\n\
         print(find_elastic_ip(#{ tags: #{ number: \"0\" } }).allocation_id);",
    );
    let id = fill.run().exits(0).stdout;
    let autorun = cloud
        .autorun()
        .playbook("elastic_ip(launch_instance(#{ name: \"web\" }));");
    let ended = autorun.run().exits(1);
    let python = Lab::python();
    let tools = Path::new(&python).parent().unwrap().display().to_string();
    let path = format!("{tools}:/usr/bin:/bin");
    let show = |command: &str| {
        let mut aws = cloud.client("bash");
        aws.args(["-c", command]).env("PATH", &path);
        aws.env("AWS_DEFAULT_REGION", "eu-central-1");
        let output = aws.env("AWS_REGION", "eu-central-1").output().unwrap();
        Ended::of(&output, autorun.home.path()).exits(0).stdout
    };
    let listed = show(&hinted(&ended, "aws ec2 describe-addresses"));
    assert!(listed.contains(id.trim()), "{listed}");
    let release = hinted(&ended, "aws ec2 release-address");
    show(&release.replace(" ID", &format!(" {}", id.trim())));
    let _ = autorun.arg("--again").run().exits(0);
}

#[test]
fn a_used_up_quota_of_volumes_is_shown_and_raised() {
    let lab = quick_lab();
    let rule = json!({ "code": "VolumeLimitExceeded", "status": 400, "message": "No." });
    lab.set(&json!({ "fail": { "RunInstances": rule } }));
    let autorun = lab
        .autorun()
        .playbook("launch_instance(#{ name: \"web\" });");
    let ended = autorun.run().exits(1);
    let create = "aws ec2 create-volume --size 1 --availability-zone eu-central-1a \
         --query VolumeId --output text";
    let volume = tried(&autorun, create).exits(0).stdout;
    let shown = tried(&autorun, &hinted(&ended, "aws ec2 describe-volumes")).exits(0);
    assert!(shown.stdout.contains(volume.trim()), "{}", shown.stdout);

    // moto has no quotas of EBS: the AWS CLI checks the arguments and prints the
    // form of the answer, without a request.
    for (beginning, shows) in [
        ("aws service-quotas list", "\"Quotas\""),
        ("aws service-quotas request", "\"RequestedQuota\""),
    ] {
        let command = hinted(&ended, beginning)
            .replace("CODE", "L-7A658B76")
            .replace("VALUE", "60");
        let shown = tried(
            &autorun,
            &format!("{command} --generate-cli-skeleton output"),
        )
        .exits(0);
        assert!(shown.stdout.contains(shows), "{command}: {}", shown.stdout);
    }
}

#[test]
fn termination_protection_is_removed() {
    let lab = quick_lab();
    let autorun = lab.autorun().playbook(
        "let web = launch_instance(#{ name: \"web\" });\n\
         local_exec([\"aws\", \"ec2\", \"modify-instance-attribute\", \"--disable-api-termination\",\n\
             \"--instance-id\", web.id]);\n\
         terminate_instance(web);",
    );
    // The playbook itself calls the AWS CLI.
    let run = autorun.words();
    let ended = tried(&autorun, &run).exits(1);
    tried(&autorun, &hinted(&ended, "aws ec2")).exits(0);
    let messages = ended.messages();
    let (_, id) = messages.split_once("autorun destroy ").unwrap();
    let id = id.split(' ').next().unwrap();
    tried(&autorun, &format!("autorun destroy {id} --yes")).exits(0);
}

#[test]
fn the_console_of_an_ended_instance_is_read() {
    let lab = quick_lab();
    let autorun = lab.autorun().playbook(
        "let web = launch_instance(#{ name: \"web\", wait: false });\n\
         local_exec([\"aws\", \"ec2\", \"terminate-instances\", \"--instance-ids\", web.id]);\n\
         wait_until_running(web);",
    );
    let ended = tried(&autorun, &autorun.words()).exits(1);
    let shown = tried(&autorun, &hinted(&ended, "aws ec2 get-console-output")).exits(0);
    assert!(shown.stdout.contains("InstanceId"), "{}", shown.stdout);
}

#[test]
fn an_unknown_host_is_added() {
    let lab = Lab::start(&json!({ "boot": false }));
    let autorun = lab
        .autorun()
        .playbook(&format!("ssh_exec(\"{HOST}\", \"true\");"));
    fs::remove_file(autorun.home.path().join(".ssh/known_hosts")).unwrap();
    let command = hinted(&autorun.run().exits(1), "ssh ");
    let shown = tried_by_hand(
        &autorun,
        &with_home_files(&autorun, &command),
        &[("yes/no", "yes"), ("$", "exit")],
    );
    assert!(shown.contains("SHA256:"), "{shown}");
    autorun.run().exits(0);
}

/// OpenSSH looks for its files in the home directory of the account, not in
/// `$HOME`.
fn with_home_files(autorun: &Autorun, command: &str) -> String {
    let ssh = autorun.home.path().join(".ssh");
    let files = format!(
        " -o UserKnownHostsFile={0}/known_hosts -i {0}/id_ed25519 ",
        ssh.display()
    );
    command.replacen(" admin@", &format!("{files}admin@"), 1)
}

#[test]
fn the_entry_of_a_reinstalled_host_is_replaced() {
    let lab = Lab::start(&json!({ "boot": false }));
    let autorun = lab
        .autorun()
        .playbook(&format!("ssh_exec(\"{HOST}\", \"true\");"));
    let known = autorun.home.path().join(".ssh/known_hosts");
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    fs::write(&known, format!("{HOST} {other}\n")).unwrap();
    let command = hinted(&autorun.run().exits(1), "ssh-keygen -R");
    tried(&autorun, &format!("{command} -f '{}'", known.display())).exits(0);
    assert_eq!(fs::read_to_string(&known).unwrap(), "");
    assert!(autorun.run().exits(1).messages().contains("is unknown"));
    // The key is in a different file, which the hint names.
    let known = autorun.home.path().join(".ssh/known_hosts2");
    fs::write(&known, format!("{HOST} {other}\n")).unwrap();
    let command = hinted(&autorun.run().exits(1), "ssh-keygen -R");
    tried(&autorun, &command).exits(0);
    assert_eq!(fs::read_to_string(&known).unwrap(), "");
}

#[test]
fn the_key_of_a_host_is_scanned() {
    let lab = Lab::start(&json!({}));
    let autorun = lab
        .autorun()
        .playbook(&format!("ssh_exec(\"{HOST}\", \"true\");"));
    let config = "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n";
    fs::write(autorun.home.path().join(".ssh/config"), config).unwrap();
    let command = hinted(&autorun.run().exits(1), "ssh-keyscan");
    let shown = tried(&autorun, &command).exits(0).stdout;
    // Without the comment of the file.
    let key = lab.host_key(HOST);
    let key = key.split(' ').nth(1).unwrap();
    assert!(shown.contains(key), "{shown}");
}

#[test]
fn ssh_shows_why_an_account_runs_no_commands() {
    let lab = Lab::start(&json!({}));
    let playbook =
        format!("ssh_exec(\"{HOST}\", \"chsh -s /bin/false admin\", #{{ sudo: true }});");
    let _ = lab.autorun().playbook(&playbook).run().exits(0);
    let autorun = lab
        .autorun()
        .playbook(&format!("ssh_exec(\"{HOST}\", \"true\");"));
    let command = hinted(&autorun.run().exits(1), "ssh ");
    // ssh ignores HOME.
    let home = autorun.home.path().join(".ssh").display().to_string();
    let files = format!("ssh -i {home}/id_ed25519 -o UserKnownHostsFile={home}/known_hosts ");
    tried(&autorun, &command.replacen("ssh ", &files, 1)).exits(1);
}

#[test]
fn ssh_shows_the_algorithms_of_a_server() {
    let lab = Lab::start(&json!({ "boot": false }));
    let autorun = lab.autorun().playbook(&format!(
        "ssh_exec(\"{HOST}\", \"/usr/sbin/sshd -p 2201 -o PidFile=none \
         -o KexAlgorithms=sntrup761x25519-sha512@openssh.com\", #{{ sudo: true }});\n\
         ssh_exec(host(\"{HOST}\", #{{ port: 2201 }}), \"true\");"
    ));
    // Whether the server accepts the login does not matter here.
    let command = hinted(&autorun.run().exits(1), "ssh -p");
    let shown = tried(&autorun, &format!("setsid --wait {command}"));
    let offers = "KEX algorithms: sntrup761x25519-sha512@openssh.com";
    assert!(shown.stderr.contains(offers), "{}", shown.stderr);
}

#[test]
fn a_key_is_loaded_into_the_agent() {
    let lab = Lab::start(&json!({ "boot": false }));
    let autorun = lab.autorun();
    let home = autorun.home.path();
    let socket = home.join("agent").display().to_string();
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a", &socket])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let key = home.join(".ssh/id_ed25519").display().to_string();
    let locked = Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "correct horse", "-f", &key])
        .status()
        .unwrap();
    assert!(locked.success());
    let playbook = format!("ssh_exec(host(\"{HOST}\", #{{ key: \"{key}\" }}), \"true\");");
    let autorun = autorun.env("SSH_AUTH_SOCK", &socket).playbook(&playbook);
    let command = hinted(&autorun.run().exits(1), "ssh-add");
    let shown = tried_by_hand(&autorun, &command, &[("passphrase", "correct horse")]);
    let ended = autorun.run();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(shown.contains("Identity added"), "{shown}");
    ended.exits(0);

    // A wrong passphrase, and the command that checks it.
    let autorun = lab.autorun();
    let home = autorun.home.path();
    let key = home.join(".ssh/id_ed25519").display().to_string();
    let locked = Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "correct horse", "-f", &key])
        .status()
        .unwrap();
    assert!(locked.success());
    let autorun = autorun.playbook(&format!(
        "ssh_exec(host(\"{HOST}\", #{{ key: \"{key}\", passphrase: \"wrong one\" }}), \"true\");"
    ));
    let command = hinted(&autorun.run().exits(1), "ssh-keygen -y");
    let shown = tried_by_hand(&autorun, &command, &[("passphrase", "correct horse")]);
    assert!(shown.contains("ssh-ed25519 "), "{shown}");
}

#[test]
fn keys_are_created_and_shown() {
    let lab = Lab::start(&json!({ "boot": false }));
    // A file that is not a key, and the command that saves one.
    let autorun = lab.autorun();
    let home = autorun.home.path().to_owned();
    let key = home.join("deploy").display().to_string();
    fs::write(&key, "nothing\n").unwrap();
    let autorun = autorun.playbook(&format!("import_key_pair(\"deploy\", \"{key}\");"));
    let command = hinted(&autorun.run().exits(1), "ssh-keygen -t");
    let asked = [
        ("save the key", &*key),
        ("Overwrite", "y"),
        ("Enter passphrase", ""),
        ("passphrase again", ""),
    ];
    tried_by_hand(&autorun, &command, &asked);
    autorun.run().exits(0);

    // A PEM key, and the command that shows its public half.
    let pem = home.join("pem").display().to_string();
    let options = ["-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", &pem];
    assert!(
        Command::new("ssh-keygen")
            .args(options)
            .status()
            .unwrap()
            .success()
    );
    fs::remove_file(format!("{pem}.pub")).unwrap();
    let autorun = lab
        .autorun()
        .playbook(&format!("import_key_pair(\"pem\", \"{pem}\");"));
    tried(&autorun, &hinted(&autorun.run().exits(1), "ssh-keygen -y")).exits(0);
    autorun.run().exits(0);

    // An invalid fingerprint, and the command that shows the right one.
    let trusting = |fingerprint: &str| {
        let options = format!("#{{ host_key: \"{fingerprint}\" }}");
        lab.autorun()
            .playbook(&format!("ssh_exec(host(\"{HOST}\", {options}), \"true\");"))
    };
    let autorun = trusting("AAAA");
    let public = home.join("host.pub");
    fs::write(&public, lab.host_key(HOST)).unwrap();
    let command = hinted(&autorun.run().exits(1), "ssh-keygen -l");
    let command = command.replace("KEY.pub", &public.display().to_string());
    let shown = tried(&autorun, &command).exits(0).stdout;
    trusting(shown.split(' ').nth(1).unwrap()).run().exits(0);

    // The fingerprint of another key, and the command that shows the right one on the
    // host.
    let other = format!("SHA256:{}", "A".repeat(43));
    let command = hinted(&trusting(&other).run().exits(1), "ssh-keygen -l");
    let on_host = format!("print(ssh_exec(\"{HOST}\", \"{command}\").stdout);");
    let shown = lab.autorun().playbook(&on_host).run().exits(0).stdout;
    trusting(shown.split(' ').nth(1).unwrap()).run().exits(0);
}

#[test]
fn disks_and_directories_are_shown_and_created() {
    let autorun = Autorun::new().playbook("write_file(\"~/site/css/page.css\", \"\");");
    tried(&autorun, &hinted(&autorun.run().exits(1), "mkdir")).exits(0);
    autorun.run().exits(0);

    let autorun = Autorun::new()
        .playbook("read_file(\"/etc/shadow\");")
        .by_other_user();
    let shown = tried(&autorun, &hinted(&autorun.run().exits(1), "ls")).exits(0);
    assert!(shown.stdout.contains("root"), "{}", shown.stdout);

    // A full disk, in its own mount namespace.
    let autorun = Autorun::new().playbook(
        "local_exec([\"mkdir\", env(\"HOME\") + \"/small\"]);\n\
         local_exec([\"mount\", \"-t\", \"tmpfs\", \"-o\", \"size=16k\", \"tmpfs\", env(\"HOME\") + \"/small\"]);\n\
         let text = \"0123456789abcdef\";\n\
         for n in 0..12 { text += text; }\n\
         write_file(\"~/small/page.html\", text);",
    );
    let call = format!("unshare --mount {}", autorun.words());
    let command = hinted(&tried(&autorun, &call).exits(1), "df");
    let shown = tried(&autorun, &command).exits(0);
    assert!(shown.stdout.contains("Avail"), "{}", shown.stdout);

    // A full disk on a host, for which the hint is a playbook call.
    let lab = Lab::start(&json!({ "boot": false }));
    for (playbook, then) in [
        (
            "scp(server, \"assets/logo.png\", \"site/img/logo.png\");",
            "goes",
        ),
        (
            "scp(server, \"assets/logo.png\", \"/opt/site/logo.png\", #{ sudo: true });",
            "goes",
        ),
        (
            "scp(server, \"/usr/bin/python3\", \"small/python3\");",
            "shows Mounted on",
        ),
    ] {
        let playbook = format!("let server = \"{HOST}\";\n{playbook}");
        let ended = lab.autorun().playbook(&playbook).run().exits(1);
        let messages = ended.messages();
        let call = Regex::new(r"ssh_exec\(server, [^)]*\)").unwrap();
        let call = call.find(&messages).unwrap().as_str();
        let tried = format!("let server = \"{HOST}\";\nprint({call}.stdout);");
        let shown = lab.autorun().playbook(&tried).run().exits(0).stdout;
        match then.strip_prefix("shows ") {
            Some(text) => assert!(shown.contains(text), "{shown}"),
            None => drop(lab.autorun().playbook(&playbook).run().exits(0)),
        }
    }
}

#[test]
fn the_manual_has_the_wanted_entry() {
    let autorun = Autorun::new().playbook("zzzz();");
    let shown = tried(&autorun, &hinted(&autorun.run().exits(3), "autorun docs")).exits(0);
    assert!(shown.stdout.contains("launch_instance"), "{}", shown.stdout);
    // The last line says how to show one entry.
    assert!(shown.stdout.contains("autorun docs NAME shows the details"));
    let shown = tried(&autorun, "autorun docs ssh_exec").exits(0);
    assert!(shown.stdout.contains("Throws"), "{}", shown.stdout);

    let wrong = Autorun::new().playbook("launch_instance(#{ count: \"3\" });");
    let wanted = hinted(&wrong.run().exits(3), "autorun docs launch_instance");
    let shown = tried(&wrong, &wanted).exits(0);
    assert!(
        shown.stdout.contains("- `count` (integer"),
        "{}",
        shown.stdout
    );

    let unknown = Autorun::new().args(["docs", "zzzz"]);
    tried(&unknown, &hinted(&unknown.run().exits(2), "autorun docs")).exits(0);

    for (text, exit, page) in [
        ("read_file(\"nosuch\");", 1, "script_dir"),
        ("name: web\nhosts: all\n", 3, "language"),
    ] {
        let wrong = Autorun::new().playbook(text);
        let ended = wrong.run().exits(exit);
        let wanted = hinted(&ended, &format!("autorun docs {page}"));
        tried(&wrong, &wanted).exits(0);
    }

    let autorun = Autorun::new().playbook("render(\"tests/diagnostics/data/brace.html\", #{});");
    let shown = tried(
        &autorun,
        &hinted(&autorun.run().exits(1), "autorun docs render"),
    )
    .exits(0);
    assert!(shown.stdout.contains("{{ name }}"), "{}", shown.stdout);
}

#[test]
fn runs_are_listed_and_shown() {
    let autorun = Autorun::new().playbook("print(run_id());");
    let id = autorun.run().exits(0).stdout.trim().to_owned();
    let ask = |words: &[&str]| {
        let output = autorun.shell(&format!("autorun {}", shell_words::join(words)));
        let mut output = output;
        Ended::of(&output.output().unwrap(), autorun.home.path())
    };
    let shown = tried(
        &autorun,
        &hinted(&ask(&["show", "zzzzzzz"]).exits(2), "autorun runs"),
    );
    assert!(shown.exits(0).stdout.contains(&id));
    // A second run names the earlier ones' resources with this command.
    let up = ask(&["runs", "--up"]).exits(0).stdout;
    assert_eq!(up, "no run has remaining resources\n");
    let unknown = ask(&["ssh", "zzzzzzz"]).exits(2);
    let command = hinted(&unknown, "autorun show").replace("RUN", &id);
    assert!(tried(&autorun, &command).exits(0).stdout.contains(&id));
    // The report names this command for results that are too long for it.
    let whole = ask(&["show", &id, "--output", "json"]).exits(0).stdout;
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert!(whole["steps"].is_array(), "{whole}");
    let nothing_up = ask(&["ssh", &id]).exits(2);
    let shown = tried(&autorun, &hinted(&nothing_up, "autorun show")).exits(0);
    assert!(shown.stdout.contains(&id), "{}", shown.stdout);
}

/// Returns the command after `label` in the output of a run or of `show`.
fn after(text: &str, label: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let line = line.unwrap_or_else(|| panic!("no `{label}` in\n{text}"));
    line.trim().to_owned()
}

#[test]
fn a_failed_run_is_resumed_or_removed() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook(
        "let key = create_key_pair(\"web-\" + run_id());\n\
         let group = create_security_group(\"web-\" + run_id());\n\
         wait_until_ready(launch_instance(#{ name: \"web\", key_pair: key,\n\
             security_groups: [group] }));\n\
         if !is_file(\"~/proceed\") { fail(\"not yet\"); }",
    );
    let ended = autorun.run().exits(1);
    let login = Regex::new(r"log in with: (ssh -i \S+ \S+)").unwrap();
    let messages = ended.messages();
    let known = autorun.home.path().join(".ssh/known_hosts");
    let login = format!(
        "{} -o StrictHostKeyChecking=no -o UserKnownHostsFile={} whoami",
        &login.captures(&messages).unwrap()[1],
        known.display()
    );
    assert_eq!(tried(&autorun, &login).exits(0).stdout.trim(), "ec2-user");
    let shown = after(&ended.stderr, "remove:").replace("destroy", "show");
    let shown = tried(&autorun, &shown).exits(0).stdout;
    assert_eq!(after(&shown, "log in:"), after(&ended.stderr, "log in:"));
    let login = format!("{} whoami", after(&shown, "log in:"));
    assert_eq!(tried(&autorun, &login).exits(0).stdout.trim(), "ec2-user");
    fs::write(autorun.home.path().join("proceed"), "").unwrap();
    tried(&autorun, &after(&shown, "resume:")).exits(0);
    let remove = after(&shown, "remove:");
    assert_eq!(remove, after(&ended.stderr, "remove:"));
    // `destroy` asks for confirmation.
    tried_by_hand(&autorun, &remove, &[("?", "yes")]);
    let left = tried(&autorun, &remove.replace("destroy", "show")).exits(0);
    assert!(!left.stdout.contains("remove:"), "{}", left.stdout);

    // A resumed run cannot change a variable, but a new run can.
    let other = cloud.autorun().playbook(
        "let name = var(\"name\", \"web\", \"Prefix\");\n\
         create_bucket(name);\n\
         fail(\"not yet\");",
    );
    let ended = other.run().exits(1);
    let proceed = format!("{} --set name=shop", after(&ended.stderr, "resume:"));
    let refused = tried(&other, &proceed).exits(2);
    let removed = hinted(&refused, "autorun destroy");
    tried_by_hand(&other, &removed, &[("?", "yes")]);
}

#[test]
fn the_local_cloud_is_started_and_stopped() {
    let home = tempfile::tempdir().unwrap();
    let autorun = Autorun::new()
        .env("AUTORUN_CLOUD_HOME", &home.path().display().to_string())
        .args(["cloud", "env"]);
    let start = hinted(&autorun.run().exits(2), "autorun cloud up");
    let quietly = |command: &str| {
        let mut shell = autorun.shell(command);
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        shell.status().unwrap()
    };
    assert!(quietly(&start).success());
    let ended = autorun.run();
    assert!(quietly("autorun cloud doctor").success());
    assert!(quietly("autorun cloud down").success());
    assert!(ended.exits(0).stdout.contains("AWS_ENDPOINT_URL"));
    autorun.run().exits(2);
}

#[test]
fn a_damaged_ledger_is_read_and_replaced() {
    let cloud = LocalCloud::start();
    let autorun = cloud
        .autorun()
        .playbook("print(create_bucket(\"kept\").name);");
    let bucket = autorun.run().exits(0).stdout.trim().to_owned();
    let ledger = autorun.home.path().join(".local/share/autorun/ledger.db");
    let database = rusqlite::Connection::open(&ledger).unwrap();
    let whole = "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode";
    database.execute_batch(whole).unwrap();
    drop(database);
    let mut bytes = fs::read(&ledger).unwrap();
    // Damage the table of the runs.
    bytes[2 * 4096..3 * 4096].fill(0x5a);
    fs::write(&ledger, bytes).unwrap();
    let ended = autorun.run().exits(2);
    let shown = tried(&autorun, &hinted(&ended, "sqlite3")).stdout;
    assert!(shown.contains(&bucket), "{shown}");

    // The file is moved away, and the resources are found by their owner tag.
    fs::rename(&ledger, ledger.with_extension("damaged")).unwrap();
    let orphans = format!(
        "{} --local --region eu-central-1",
        hinted(&ended, "autorun destroy")
    );
    let shown = at_terminal(&autorun.shell(&orphans), "\n").1;
    assert!(shown.contains(&bucket), "{shown}");
}

#[test]
fn an_incomplete_copy_of_a_ledger_can_be_used() {
    let autorun = Autorun::new().playbook("print(run_id());");
    let id = autorun.run().exits(0).stdout;
    let ledger = autorun.home.path().join(".local/share/autorun/ledger.db");
    // Like a copy that was made during a run.
    let database = rusqlite::Connection::open(&ledger).unwrap();
    database
        .execute_batch("UPDATE written SET open = 1")
        .unwrap();
    drop(database);
    fs::remove_file(ledger.with_file_name("owner")).unwrap();
    let ended = autorun.run().exits(2);
    assert!(ended.messages().contains("a copy without its `-wal`"));
    tried(&autorun, &hinted(&ended, "sqlite3"));
    let shown = tried(&autorun, "autorun runs").stdout;
    assert!(shown.contains(id.trim()), "{shown}");
}

#[test]
fn a_changed_row_of_a_ledger_is_shown() {
    let autorun = Autorun::new().playbook("print(run_id());");
    let id = autorun.run().exits(0).stdout;
    let ledger = autorun.home.path().join(".local/share/autorun/ledger.db");
    let database = rusqlite::Connection::open(&ledger).unwrap();
    let changed = "UPDATE run SET outcome = 'well'";
    database.execute(changed, []).unwrap();
    drop(database);
    let ended = tried(&autorun, "autorun runs").exits(2);
    assert!(ended.messages().contains("`well`"), "{}", ended.messages());
    let shown = tried(&autorun, &hinted(&ended, "sqlite3")).stdout;
    assert!(shown.contains(id.trim()), "{shown}");
}

#[test]
fn the_mode_of_a_key_that_others_can_read_is_corrected() {
    let lab = Lab::start(&json!({ "boot": false }));
    let playbook = r#"ssh_exec(host("192.0.2.10", #{ key: "~/.ssh/id_ed25519" }), "true");"#;
    let autorun = lab.autorun().playbook(playbook);
    let key = autorun.home.path().join(".ssh/id_ed25519");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    fs::set_permissions(key, open).unwrap();
    let ended = autorun.run().exits(1);
    tried(&autorun, &hinted(&ended, "chmod"));
    autorun.run().exits(0);
}

#[test]
fn a_name_that_is_not_utf_8_is_reported() {
    let home = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.rhai");
    let autorun = Autorun::new();
    let run = |name: &std::path::Path| {
        let output = autorun.command().arg(name).output().unwrap();
        Ended::of(&output, autorun.home.path())
    };
    fs::write(home.path().join(name), "print(1);\n").unwrap();
    let refused = run(&home.path().join(name)).exits(2);
    assert!(
        refused.messages().contains("is not UTF-8 hint: rename"),
        "{}",
        refused.stderr
    );
    fs::rename(home.path().join(name), home.path().join("cafe.rhai")).unwrap();
    run(&home.path().join("cafe.rhai")).exits(0);
}

#[test]
fn a_settings_file_that_others_can_write_is_corrected() {
    let autorun = Autorun::new().playbook("print(1);");
    let file = autorun.home.path().join("autorun.toml");
    fs::write(&file, "ttl = \"2h\"\n").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let ended = autorun.run().exits(2);
    let _ = tried(&autorun, &hinted(&ended, "chmod")).exits(0);
    autorun.run().exits(0);
    let playbook = autorun.home.path().join("playbook.rhai");
    let shown = tried(
        &autorun,
        &format!("autorun settings {}", playbook.display()),
    );
    assert!(shown.exits(0).stdout.contains("2 h"));
}
