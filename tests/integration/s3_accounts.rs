//! Accounts that forbid public objects, and the real end of presigned URLs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

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
    at_endpoint(&value(cloud, "AWS_ENDPOINT_URL"), profile, playbook)
}

fn at_endpoint(url: &str, profile: &str, playbook: &str) -> Autorun {
    let autorun = Autorun::new();
    let folder = autorun.home.path().join(".aws");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config"), profile).unwrap();
    autorun.env("AWS_ENDPOINT_URL", url).playbook(playbook)
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

/// Another server: it accepts everything. Returns its URL, and the heads of uploads.
fn recorder() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || answer(&stream.unwrap(), &sender));
        }
    });
    (url, heads)
}

fn answer(stream: &TcpStream, uploads: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: u64 = length.map_or(0, |length| length.trim().parse().unwrap());
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).unwrap();
        if head.starts_with("put ") {
            // The test may have ended.
            let _ = uploads.send(head);
        }
        let accepted = b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n";
        let mut output = stream;
        if output.write_all(accepted).is_err() {
            return;
        }
    }
}

#[test]
fn another_server_gets_checksums_only_where_they_are_configured() {
    let plain = "[default]\nregion = eu-central-1\n".to_owned();
    let asks = format!("{plain}request_checksum_calculation = when_supported\n");
    let (url, heads) = recorder();
    let sends = |profile: &str, calculation: Option<&str>| {
        let playbook = "upload_file(\"checksums\", \"assets/logo.png\", #{ key: \"k\" });";
        let mut autorun = at_endpoint(&url, profile, playbook)
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "not-a-secret");
        if let Some(calculation) = calculation {
            autorun = autorun.env("AWS_REQUEST_CHECKSUM_CALCULATION", calculation);
        }
        let _ = autorun.run().exits(0);
        heads
            .recv()
            .unwrap()
            .contains("\r\nx-amz-checksum-crc64nvme: ")
    };
    assert!(!sends(&plain, None));
    assert!(sends(&plain, Some("when_supported")));
    assert!(sends(&asks, None));
    assert!(!sends(&asks, Some("when_required")));
}
