//! Large objects: uploads in parts, which continue, and downloads in ranges.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab, started};

/// More than the 16 MiB from which an upload has parts, and the 64 MiB from which a
/// download has ranges: 12 parts of 6 MiB.
const SIZE: usize = 72 << 20;

/// A user with a ledger, on a local cloud.
struct Desk {
    cloud: LocalCloud,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            cloud: LocalCloud::start(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a large file whose parts differ.
    fn file(&self, name: &str, seed: u64) -> String {
        let mut file = fs::File::create(self.at(name)).unwrap();
        for block in 0..(SIZE as u64 >> 16) {
            let words = (0..8192_u64).flat_map(|n| {
                let word = (block << 13 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (word ^ seed).to_le_bytes()
            });
            file.write_all(&words.collect::<Vec<u8>>()).unwrap();
        }
        self.at(name).display().to_string()
    }

    fn call(&self, args: &[&str]) -> Autorun {
        let ledger = self.at("ledger").display().to_string();
        self.cloud.plain().env("AUTORUN_HOME", &ledger).args(args)
    }

    /// Describes a run with these faults.
    fn playbook(&self, faults: &str, text: &str) -> Autorun {
        let [playbook, file] = ["playbook.rhai", "faults.toml"].map(|name| self.at(name));
        fs::write(&playbook, text).unwrap();
        fs::write(&file, faults).unwrap();
        let [playbook, file] = [playbook, file].map(|path| path.display().to_string());
        self.call(&[
            "--local",
            "--region",
            "eu-central-1",
            &playbook,
            "--faults",
            &file,
        ])
    }

    /// Creates a bucket that is not in this ledger.
    fn others_bucket(&self, name: &str) {
        let text = format!("create_bucket(\"{name}\", #{{ exact: true }});");
        let _ = self.cloud.autorun().playbook(&text).run().exits(0);
    }

    fn newest(&self) -> Value {
        let all = self.call(&["runs", "--output", "json"]).run().exits(0);
        serde_json::from_str(all.stdout.lines().next().unwrap()).unwrap()
    }

    fn resume(&self) -> Ended {
        let run = self.newest()["run"].as_str().unwrap().to_owned();
        self.call(&["resume", &run]).run()
    }

    fn destroy(&self) -> Ended {
        self.call(&["destroy", "--all", "--yes"]).run()
    }

    /// Calls `aws s3api` and returns its answer.
    fn aws(&self, args: &[&str]) -> Value {
        let program = Path::new(&Lab::python()).with_file_name("aws");
        let mut aws = self.cloud.client(program.to_str().unwrap());
        let done = aws.arg("s3api").args(args).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{args:?}: {error}");
        serde_json::from_slice(&done.stdout).unwrap_or(Value::Null)
    }

    fn uploads(&self, bucket: &str) -> usize {
        let uploads = self.aws(&["list-multipart-uploads", "--bucket", bucket]);
        uploads["Uploads"].as_array().map_or(0, Vec::len)
    }

    /// How often the newest run has called an operation.
    fn calls(&self, operation: &str) -> usize {
        let run = self.newest()["run"].as_str().unwrap().to_owned();
        let log = fs::read_to_string(self.cloud.home().join("state/cloud.log")).unwrap();
        log.matches(&format!("{run} {operation} ")).count()
    }
}

fn fault(operation: &str, more: &str) -> String {
    format!("[[fault]]\noperation = \"{operation}\"\n{more}\n")
}

const DENIED: &str = "do = \"error\"\ncode = \"AccessDenied\"\nstatus = 403";

fn same(one: &str, other: &str) -> bool {
    let compared = Command::new("cmp").args([one, other]).status().unwrap();
    compared.success()
}

#[test]
fn a_large_file_goes_up_in_parts_and_comes_down_in_ranges() {
    let desk = Desk::new();
    let file = desk.file("video.mp4", 1);
    let back = desk.at("back").display().to_string();
    let text = format!(
        r#"
        let bucket = create_bucket("large-up", #{{ exact: true }});
        let sent = upload_file(bucket, "{file}", #{{ key: "a b/ü.mp4" }});
        assert(sent.size == {SIZE} && sent.content_type == "video/mp4");
        assert(download_file(bucket, "a b/ü.mp4", "{back}").size == {SIZE});
        "#
    );
    let _ = desk.playbook("", &text).run().exits(0);
    assert!(same(&file, &back));
    let at = ["--bucket", "large-up", "--key", "a b/ü.mp4"];
    let mode = ["--checksum-mode", "ENABLED"];
    let about = desk.aws(&[&["head-object"], &at[..], &mode].concat());
    assert_eq!(about["ContentType"], "video/mp4");
    assert!(
        about["ETag"].as_str().unwrap().ends_with("-12\""),
        "{about}"
    );
    assert_eq!(about["ChecksumType"], "FULL_OBJECT");
    assert!(about["ChecksumCRC64NVME"].is_string(), "{about}");
    assert!(about["Metadata"]["autorun-resource"].is_string());
    assert_eq!(desk.uploads("large-up"), 0);
    assert_eq!(desk.newest()["up"], 2, "the bucket and the object");
    let _ = desk.destroy().exits(0);
}

#[test]
fn an_upload_that_failed_continues_with_the_parts_that_s3_has() {
    let desk = Desk::new();
    let file = desk.file("big.bin", 2);
    let back = desk.at("back").display().to_string();
    // In a bucket of others, where nothing else would remove the parts.
    desk.others_bucket("theirs-large");
    let text = format!(
        r#"
        upload_file("theirs-large", "{file}", #{{ key: "big" }});
        download_file("theirs-large", "big", "{back}");
        "#
    );
    let denied = fault("CompleteMultipartUpload", DENIED);
    let ended = desk.playbook(&denied, &text).run().exits(1);
    assert!(
        ended
            .messages()
            .contains("multipart upload theirs-large/big"),
        "{}",
        ended.stderr
    );
    assert_eq!(desk.uploads("theirs-large"), 1);
    let ended = desk.resume().exits(0);
    assert!(
        ended
            .messages()
            .contains("continuing the upload of theirs-large/big"),
        "{}",
        ended.stderr
    );
    // All parts were stored before the refusal, and none is sent again.
    assert_eq!(desk.calls("UploadPart"), 12);
    assert_eq!(desk.calls("CreateMultipartUpload"), 1);
    assert!(same(&file, &back));
    assert_eq!(desk.uploads("theirs-large"), 0);
    // The object has the row of the ledger, so it is removed.
    assert_eq!(desk.newest()["up"], 1);
    let _ = desk.destroy().exits(0);
    let list = desk.aws(&["list-objects-v2", "--bucket", "theirs-large"]);
    assert_eq!(list["Contents"], Value::Null);
}

#[test]
fn parts_of_a_changed_file_are_not_mixed() {
    let desk = Desk::new();
    let file = desk.file("big.bin", 3);
    let back = desk.at("back").display().to_string();
    let text = format!(
        r#"
        let bucket = create_bucket("large-changed", #{{ exact: true }});
        upload_file(bucket, "{file}", #{{ key: "big" }});
        download_file(bucket, "big", "{back}");
        "#
    );
    let denied = fault("CompleteMultipartUpload", DENIED);
    let _ = desk.playbook(&denied, &text).run().exits(1);
    // Another seventh part with the same size and time: only its checksum differs.
    let changed = fs::File::options().write(true).open(&file).unwrap();
    let time = changed.metadata().unwrap().modified().unwrap();
    changed.write_all_at(b"changed", 40 << 20).unwrap();
    changed.set_modified(time).unwrap();
    let ended = desk.resume().exits(0);
    assert!(
        ended.messages().contains("continuing the upload"),
        "{}",
        ended.stderr
    );
    assert_eq!(desk.calls("UploadPart"), 13, "only one part is sent again");
    assert!(same(&file, &back));
    let _ = desk.destroy().exits(0);
}

#[test]
fn an_upload_whose_answer_was_lost_is_aborted() {
    let desk = Desk::new();
    let file = desk.file("big.bin", 5);
    desk.others_bucket("theirs-lost");
    let text = format!("upload_file(\"theirs-lost\", \"{file}\", #{{ key: \"big\" }});");
    let lost = fault(
        "CreateMultipartUpload",
        "times = 0\ndo = \"reset\"\nwhen = \"after\"",
    );
    let hidden = fault("ListMultipartUploads", &format!("times = 0\n{DENIED}"));
    let ended = desk.playbook(&format!("{lost}{hidden}"), &text).run();
    let ended = ended.exits(1);
    assert!(
        ended.messages().contains("possibly created"),
        "{}",
        ended.stderr
    );
    assert_eq!(desk.uploads("theirs-lost"), 1, "it is not begun again");
    let _ = desk.destroy().exits(0);
    assert_eq!(desk.uploads("theirs-lost"), 0);
    // If the upload can be looked for, the run finds it and continues.
    let _ = desk.playbook(&lost, &text).run().exits(0);
    assert_eq!(desk.calls("CreateMultipartUpload"), 1);
    assert_eq!(desk.uploads("theirs-lost"), 0);
    let _ = desk.destroy().exits(0);
}

#[test]
fn a_lost_answer_to_the_completion_is_not_an_error() {
    let desk = Desk::new();
    let file = desk.file("big.bin", 6);
    let text = format!(
        r#"
        let bucket = create_bucket("large-lost");
        upload_file(bucket, "{file}", #{{ key: "big" }});
        "#
    );
    let lost = fault(
        "CompleteMultipartUpload",
        "do = \"reset\"\nwhen = \"after\"",
    );
    let _ = desk.playbook(&lost, &text).run().exits(0);
    assert_eq!(desk.calls("CompleteMultipartUpload"), 2);
    let _ = desk.destroy().exits(0);
}

#[test]
fn a_wrong_byte_in_a_range_is_found() {
    let desk = Desk::new();
    let file = desk.file("big.bin", 7);
    let back = desk.at("back").display().to_string();
    let text = format!(
        r#"
        let bucket = create_bucket("large-wrong");
        upload_file(bucket, "{file}", #{{ key: "big" }});
        try {{ download_file(bucket, "big", "{back}"); fail("not found"); }}
        catch (caught) {{
            let err = error_info(caught);
            assert(err.kind == "unreachable" && err.message.contains("checksum"), err.message);
        }}
        assert(!is_file("{back}"));
        "#
    );
    let corrupt = fault("GetObject", "nth = 4\ndo = \"corrupt\"");
    let _ = desk.playbook(&corrupt, &text).run().exits(0);
    // Nothing is left of the download.
    let left = fs::read_dir(desk.dir.path()).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with(".autorun-")).count(), 0);
    let _ = desk.destroy().exits(0);
}

#[test]
fn ranges_of_two_versions_are_not_mixed() {
    let desk = Desk::new();
    let file = desk.file("big.bin", 8);
    let back = desk.at("back").display().to_string();
    let text = format!(
        r#"
        let bucket = create_bucket("large-versions", #{{ exact: true }});
        upload_file(bucket, "{file}", #{{ key: "big" }});
        print("stored");
        download_file(bucket, "big", "{back}");
        "#
    );
    // All requests for ranges wait until the object is another one.
    let hang = fault(
        "GetObject",
        "nth = 2\ntimes = 0\ndo = \"hang\"\nseconds = 10.0",
    );
    let (mut child, mut stderr) = started(&desk.playbook(&hang, &text), "uploaded");
    desk.aws(&["put-object", "--bucket", "large-versions", "--key", "big"]);
    let mut messages = String::new();
    stderr.read_to_string(&mut messages).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{messages}");
    let messages: Vec<&str> = messages.split_whitespace().collect();
    let messages = messages.join(" ");
    assert!(
        messages.contains("the object changed meanwhile"),
        "{messages}"
    );
    assert!(!Path::new(&back).exists());
    let _ = desk.destroy().exits(0);
}
