//! Accounts that forbid public objects, and the real end of presigned URLs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab};

const PUBLISH: &str = r#"
    let bucket = create_bucket("accounts");
    let url = object_url(bucket, "logo.png", #{ public: true });
    let image = upload_image(bucket, "assets/logo.png", #{ key: "logo.png" });
    print(`${image.public} ${http_get(image.url).status} ${url.contains("Signature")}`);
    empty_bucket(bucket);
    delete_bucket(bucket);
"#;

/// Runs a playbook with these faults.
fn with(cloud: &LocalCloud, faults: &str, playbook: &str) -> Ended {
    let autorun = cloud.autorun();
    let file = autorun.home.path().join("faults.toml");
    fs::write(&file, faults).unwrap();
    let file = file.display().to_string();
    autorun.args(["--faults", &file]).playbook(playbook).run()
}

fn aws(cloud: &LocalCloud) -> Command {
    let program = Path::new(&Lab::python()).with_file_name("aws");
    cloud.client(program.to_str().unwrap())
}

fn refused(operation: &str, times: u32) -> String {
    format!(
        "[[fault]]\noperation = \"{operation}\"\ntimes = {times}\ndo = \"error\"\n\
         code = \"AccessDenied\"\nstatus = 403\nmessage = \"Access Denied\"\n"
    )
}

#[test]
fn a_refusal_after_the_change_of_the_block_is_waited_out() {
    let cloud = LocalCloud::start();
    // More refusals than 4 seconds of doubled pauses, starting at 250 ms, see.
    let ended = with(&cloud, &refused("PutBucketPolicy", 8), PUBLISH).exits(0);
    assert_eq!(ended.stdout.trim(), "true 200 false", "{}", ended.stderr);
    // S3 is still busy with the creation of the bucket.
    for operation in ["PutPublicAccessBlock", "PutBucketPolicy"] {
        let busy = refused(operation, 3).replace("AccessDenied", "OperationAborted");
        let ended = with(&cloud, &busy.replace("403", "409"), PUBLISH).exits(0);
        assert_eq!(ended.stdout.trim(), "true 200 false", "{}", ended.stderr);
    }
}

#[test]
fn a_lasting_refusal_leads_to_a_presigned_url_and_the_block_is_on_again() {
    let cloud = LocalCloud::start();
    let playbook = PUBLISH.replace("empty_bucket(bucket);", "print(bucket.name);");
    let playbook = playbook.replace("delete_bucket(bucket);", "");
    let ended = with(&cloud, &refused("PutBucketPolicy", 0), &playbook).exits(0);
    let (result, bucket) = ended.stdout.trim().split_once('\n').unwrap();
    assert_eq!(result, "false 200 true", "{}", ended.stderr);
    let messages = ended.messages();
    assert!(
        messages.contains("(PutBucketPolicy is refused: Access Denied); its URL is a presigned"),
        "{messages}"
    );
    let mut block = aws(&cloud);
    block.args(["s3api", "get-public-access-block", "--bucket", bucket]);
    let block = String::from_utf8(block.output().unwrap().stdout).unwrap();
    assert!(block.contains("\"BlockPublicPolicy\": true"), "{block}");
}

#[test]
fn in_a_bucket_of_others_nothing_unknown_is_changed() {
    let cloud = LocalCloud::start();
    let create = "create_bucket(\"theirs-accounts\", #{ exact: true });";
    let _ = cloud.autorun().playbook(create).run().exits(0);
    let playbook = r#"
        let bucket = create_bucket("theirs-accounts", #{ exact: true });
        upload_file(bucket, "assets/logo.png", #{ key: "k" });
        print(http_get(object_url(bucket, "k", #{ public: true })).status);
    "#;
    for operation in [
        "GetBucketPolicy",
        "GetPublicAccessBlock",
        "PutPublicAccessBlock",
        "PutBucketPolicy",
    ] {
        let ended = with(&cloud, &refused(operation, 0), playbook).exits(0);
        assert_eq!(ended.stdout.trim(), "200", "{operation}\n{}", ended.stderr);
        let reason = format!("({operation} is refused: Access Denied); its URL is a presigned");
        assert!(ended.messages().contains(&reason), "{}", ended.stderr);
        let about = |what: &str| {
            let mut call = aws(&cloud);
            call.args(["s3api", what, "--bucket", "theirs-accounts"]);
            String::from_utf8(call.output().unwrap().stdout).unwrap()
        };
        let block = about("get-public-access-block");
        assert!(block.contains("\"BlockPublicPolicy\": true"), "{block}");
        assert_eq!(about("get-bucket-policy"), "", "no policy was added");
    }
}

/// A run on AWS's side of the local cloud: with a profile instead of `--local`.
fn with_profile(cloud: &LocalCloud, profile: &str, playbook: &str) -> Autorun {
    let autorun = Autorun::new();
    let folder = autorun.home.path().join(".aws");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config"), profile).unwrap();
    let env = cloud.env();
    let endpoint = env.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL");
    autorun
        .env("AWS_ENDPOINT_URL", &endpoint.unwrap().1)
        .playbook(playbook)
}

fn value(cloud: &LocalCloud, wanted: &str) -> String {
    let env = cloud.env();
    let found = env.into_iter().find(|(name, _)| name == wanted);
    found.unwrap().1
}

#[test]
fn a_presigned_url_ends_with_temporary_credentials() {
    let cloud = LocalCloud::start();
    let dir = tempfile::tempdir().unwrap();
    let ends = Timestamp::now() + SignedDuration::from_hours(1);
    let ends = ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let script = dir.path().join("credentials.sh");
    let (id, secret) = (
        value(&cloud, "AWS_ACCESS_KEY_ID"),
        value(&cloud, "AWS_SECRET_ACCESS_KEY"),
    );
    fs::write(
        &script,
        format!(
            "#!/bin/sh\necho '{{\"Version\": 1, \"AccessKeyId\": \"{id}\", \
             \"SecretAccessKey\": \"{secret}\", \"Expiration\": \"{ends}\"}}'\n"
        ),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let profile = format!(
        "[default]\nregion = eu-central-1\ncredential_process = {}\n",
        script.display()
    );
    let playbook = r#"
        let bucket = create_bucket("ends");
        let url = presigned_url(bucket, "k", #{ valid: 60 });
        let url = presigned_url(bucket, "k", #{ valid: 7200 });
        let image = upload_image(bucket, "assets/logo.png", #{ public: false });
        print(image.expires);
        empty_bucket(bucket);
        delete_bucket(bucket);
    "#;
    let ended = with_profile(&cloud, &profile, playbook).run().exits(0);
    assert_eq!(ended.stdout.trim(), ends);
    let messages = ended.messages();
    assert!(messages.contains("/k is valid until"), "{messages}");
    assert!(messages.contains("(1 min)"), "{messages}");
    let end = format!("is valid until {ends} (59 min");
    assert!(messages.contains(&end), "{messages}");
    assert!(messages.contains("when the temporary credentials end"));
    // Only what ends early is a warning.
    let quiet = with_profile(&cloud, &profile, playbook).arg("-q").run();
    let quiet = quiet.exits(0);
    assert_eq!(quiet.messages().matches("is valid until").count(), 2);
    assert!(!quiet.stderr.contains(&secret));
}

#[test]
fn an_unknown_end_of_a_session_is_stated() {
    let cloud = LocalCloud::start();
    let session = |autorun: Autorun| {
        autorun
            .env("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE")
            .env(
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
            )
            .env("AWS_SESSION_TOKEN", "FwoGZXIvYXdzEXAMPLETOKEN")
    };
    let profile = "[default]\nregion = eu-central-1\n";
    let playbook = "presigned_url(\"pictures\", \"k\");";
    let ended = session(with_profile(&cloud, profile, playbook)).run();
    let messages = ended.exits(0).messages();
    assert!(messages.contains("at the latest"), "{messages}");
    assert!(messages.contains("whose end is not known"), "{messages}");
    // `aws configure export-credentials --format env` exports the end.
    let ends = (Timestamp::now() + SignedDuration::from_mins(10))
        .strftime("%Y-%m-%dT%H:%M:%S+00:00")
        .to_string();
    let ended = session(with_profile(&cloud, profile, playbook))
        .env("AWS_CREDENTIAL_EXPIRATION", &ends)
        .run();
    let messages = ended.exits(0).messages();
    let end = format!("valid until {}", ends.replace("+00:00", "Z"));
    assert!(messages.contains(&end), "{messages}");
}

#[test]
fn another_server_gets_checksums_only_where_they_are_configured() {
    let cloud = LocalCloud::start();
    let dir = tempfile::tempdir().unwrap();
    let plain = "[default]\nregion = eu-central-1\n".to_owned();
    let asks = format!("{plain}request_checksum_calculation = when_supported\n");
    let playbook = |key: &str| {
        format!(
            "let bucket = create_bucket(\"checksums\", #{{ exact: true }});\n\
             upload_file(bucket, \"assets/logo.png\", #{{ key: \"{key}\" }});\n\
             download_file(bucket, \"{key}\", \"{}\");\n",
            dir.path().join(key).display()
        )
    };
    let run = |profile: &str, key: &str, calculation: Option<&str>| {
        let mut autorun = with_profile(&cloud, profile, &playbook(key))
            .env("AWS_ACCESS_KEY_ID", &value(&cloud, "AWS_ACCESS_KEY_ID"))
            .env(
                "AWS_SECRET_ACCESS_KEY",
                &value(&cloud, "AWS_SECRET_ACCESS_KEY"),
            );
        if let Some(calculation) = calculation {
            autorun = autorun.env("AWS_REQUEST_CHECKSUM_CALCULATION", calculation);
        }
        let _ = autorun.run().exits(0);
        let mut about = aws(&cloud);
        about.args(["s3api", "head-object", "--bucket", "checksums", "--key"]);
        about.args([key, "--checksum-mode", "ENABLED"]);
        let about = String::from_utf8(about.output().unwrap().stdout).unwrap();
        about.contains("ChecksumCRC32")
    };
    // Without a checksum from the client, S3 adds one of its own algorithm.
    assert!(!run(&plain, "by-default", None));
    assert!(run(&plain, "by-environment", Some("when_supported")));
    assert!(run(&asks, "by-profile", None));
    assert!(!run(&asks, "environment-wins", Some("when_required")));
}
