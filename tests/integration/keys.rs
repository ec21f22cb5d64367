//! Object keys: every function accesses exactly the object with the given key,
//! and changes nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::cloud::LocalCloud;
use crate::support::{Ended, Lab};

static CLOUD: LazyLock<LocalCloud> = LazyLock::new(LocalCloud::start);

/// Parts of keys: characters with a meaning in URLs, XML, policies, shells, paths
/// and terminals, and characters that look alike or that case folding or
/// normalization makes equal.
const PIECES: [&str; 62] = [
    "a",
    "A",
    "b",
    "key",
    "/",
    "/",
    "/",
    "//",
    ".",
    "...",
    "..x",
    "x..",
    ".x",
    "~",
    "-",
    "_",
    " ",
    "  ",
    "+",
    "%",
    "%2F",
    "%2f",
    "%25",
    "%20",
    "%00",
    "?",
    "#",
    "&",
    "&amp;",
    "=",
    "?versionId=1",
    "<",
    ">",
    "\"",
    "'",
    "`",
    "$",
    "${aws:username}",
    "{",
    "}",
    "*",
    "\\",
    "..\\",
    "|",
    "^",
    "[",
    "]",
    ":",
    "@",
    "!",
    "(",
    ";",
    ",",
    "\t",
    "\n",
    "\r",
    "\u{1}",
    "\u{7f}",
    "ü",
    "u\u{308}",
    "日本",
    "\u{1f600}",
];

/// Keys that each exposed an error in the past.
const NAMED: [&str; 33] = [
    "a//b",
    "a/b",
    "/a/b",
    "a/b/",
    "a/b//",
    "/",
    "//",
    "A/B",
    "a%2Fb",
    "a%252Fb",
    "a\\b",
    "~/a",
    "~",
    "...",
    "a/.../b",
    " a",
    "a ",
    "a+b",
    "a b",
    "a%20b",
    "a%2Bb",
    "*",
    "a*",
    "?",
    "a?",
    "${*}",
    "\u{e9}",
    "e\u{301}",
    "\u{feff}a",
    "a\u{2028}",
    "a\r\n",
    "arn:aws:s3:::b/a",
    "soap",
];

/// Returns the seed of this run's keys. `AUTORUN_TEST_SEED` sets it.
fn seed() -> u64 {
    let given = std::env::var("AUTORUN_TEST_SEED").ok();
    given.map_or_else(rand::random, |seed| seed.parse().unwrap())
}

fn is_valid(key: &str) -> bool {
    let dots = |part: &str| part == "." || part == "..";
    !key.trim().is_empty() && key.len() <= 1024 && !key.split('/').any(dots)
}

/// Generates random keys, each with some nearly equal keys.
fn keys(seed: u64) -> BTreeSet<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all: BTreeSet<String> = NAMED.map(str::to_owned).into();
    for _ in 0..16 {
        let pieces = random.random_range(1..10);
        let key: String = (0..pieces)
            .map(|_| PIECES[random.random_range(0..PIECES.len())])
            .collect();
        let longest = "ü".repeat(512);
        let end = longest.floor_char_boundary(1024_usize.saturating_sub(key.len()));
        for near in [
            key.clone(),
            key.replacen('/', "//", 1),
            format!("{key}/"),
            format!("/{key}"),
            key.to_uppercase(),
            key.trim().to_owned(),
            percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC)
                .to_string(),
            percent_encoding::percent_decode_str(&key)
                .decode_utf8_lossy()
                .replace('\0', ""),
            format!("{key}{}", &longest[..end]),
        ] {
            // A policy has room for only a few long keys.
            if is_valid(&near) && (near.len() < 500 || random.random_ratio(1, 4)) {
                all.insert(near);
            }
        }
    }
    all
}

/// Stores keys that the program rejects, with a client that sends paths
/// unchanged. Reads `BUCKET KEYS` as JSON from standard input, with a size for
/// each key.
const PLANT: &str = r#"
import http.client, json, sys
from urllib.parse import quote, urlsplit
import botocore.auth, botocore.awsrequest, botocore.session
session = botocore.session.get_session()
s3 = session.create_client("s3")
end = urlsplit(s3.meta.endpoint_url)
given = json.load(sys.stdin)
found = s3.head_bucket(Bucket=given["bucket"])["ResponseMetadata"]["HTTPHeaders"]
region = found["x-amz-bucket-region"]
for key, size in given["keys"].items():
    url = s3.meta.endpoint_url.rstrip("/") + "/" + given["bucket"] + "/" + quote(key)
    request = botocore.awsrequest.AWSRequest("PUT", url, data=b"x" * size)
    botocore.auth.S3SigV4Auth(session.get_credentials(), "s3", region).add_auth(request)
    line = http.client.HTTPConnection(end.hostname, end.port)
    path = url[len(s3.meta.endpoint_url.rstrip("/")):]
    line.request("PUT", path, body=b"x" * size, headers=dict(request.headers.items()))
    answer = line.getresponse()
    assert answer.status == 200, (key, answer.status, answer.read())
"#;

/// Lists the objects of a bucket with another client. Returns their sizes by key.
const LIST: &str = r#"
import boto3, json, sys
pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=json.load(sys.stdin)["bucket"])
print(json.dumps({o["Key"]: o["Size"] for page in pages for o in page.get("Contents", [])}))
"#;

/// Runs a Python program whose only configuration is the environment of a client.
fn python(program: &str, input: &Value) -> String {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = CLOUD
        .client(&Lab::python())
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn listed(bucket: &str) -> BTreeMap<String, u64> {
    serde_json::from_str(&python(LIST, &json!({ "bucket": bucket }))).unwrap()
}

/// Calls every function with every key, while all other objects exist. The size
/// identifies an object.
const USE: &str = r#"
    fn sizes(bucket) { list_objects(bucket).map(|o| `${o.size} ${o.key}`) }
    let data = parse_json(read_file("~/keys.json"));
    let bucket = create_bucket(data.bucket, #{ exact: true });
    let copies = create_bucket("copies");
    for object in data.objects {
        let done = upload_file(bucket, `~/content/${object.size}`, #{ key: object.key });
        assert(done.key == object.key && done.size == object.size, `${done}`);
    }
    let existing = sizes(bucket);
    assert(existing == data.all, `${existing}`);
    for object in data.objects {
        let key = object.key;
        let url = object_url(bucket, key, #{ public: object.public });
        let seen = http_get(url);
        let expected = if object.public { 200 } else { 403 };
        assert(seen.status == expected && (!object.public || seen.size == object.size), `${object}: ${seen.status}`);
        let seen = http_get(presigned_url(bucket, key));
        assert(seen.status == 200 && seen.size == object.size, `${object}: ${seen}`);
        let got = download_file(bucket, key, "~/got");
        assert(got.size == object.size && read_file("~/got").len == object.size, `${object}: ${got}`);
        copy_object(bucket, key, copies, key);
        assert(sizes(copies) == [`${object.size} ${key}`], `${object}: ${sizes(copies)}`);
        delete_object(copies, key);
        assert(sizes(copies) == [], `${object}: ${sizes(copies)}`);
        assert(list_objects(bucket, #{ prefix: key }).filter(|o| o.key == key).len == 1, `${object}`);
    }
    assert(sizes(bucket) == existing, `${sizes(bucket)}`);
    for object in data.objects.filter(|o| o.size % 2 == 0) {
        delete_object(bucket, object.key);
        existing = existing.filter(|line| line != `${object.size} ${object.key}`);
        assert(sizes(bucket) == existing, `${object}: ${sizes(bucket)}`);
    }
    print(bucket.name);
"#;

#[test]
fn every_function_accesses_exactly_the_object_with_this_key() {
    let seed = seed();
    let keys = keys(seed);
    let autorun = CLOUD.autorun();
    let home = autorun.home.path().to_owned();
    let bucket = format!("keys-{seed:x}");
    fs::create_dir(home.join("content")).unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let objects: Vec<Value> = keys
        .iter()
        .zip(1_usize..)
        .map(|(key, size)| {
            fs::write(home.join(format!("content/{size}")), "x".repeat(size)).unwrap();
            let public = key.len() < 200 && random.random_ratio(1, 3);
            json!({ "key": key, "size": size, "public": public })
        })
        .collect();
    // Keys that the program rejects. A client that resolves dots would confuse
    // some of them with other keys.
    let size = objects.len() + 1;
    let planted = BTreeMap::from([
        ("./a/b".to_owned(), size),
        ("a/./b".to_owned(), size + 1),
        ("x/../a/b".to_owned(), size + 2),
        ("a/b/.".to_owned(), size + 3),
    ]);
    let mut all: BTreeMap<String, usize> = keys.iter().cloned().zip(1..).collect();
    all.extend(planted.clone());
    let line = |(key, size): (&String, &usize)| format!("{size} {key}");
    let about = json!({
        "bucket": bucket, "objects": objects, "all": all.iter().map(line).collect::<Vec<_>>(),
    });
    fs::write(home.join("keys.json"), about.to_string()).unwrap();
    CLOUD
        .autorun()
        .playbook(&format!("create_bucket(\"{bucket}\", #{{ exact: true }});"))
        .run()
        .exits(0);
    python(PLANT, &json!({ "bucket": bucket, "keys": planted }));
    let ended = autorun.playbook(USE).run();
    assert_eq!(ended.status, Some(0), "seed {seed}: {}", ended.stderr);
    all.retain(|key, size| planted.contains_key(key) || *size % 2 == 1);
    let left: BTreeMap<String, u64> = all.into_iter().map(|(k, n)| (k, n as u64)).collect();
    assert_eq!(listed(&bucket), left, "seed {seed}");
    // `empty_bucket` also deletes objects that no single-object request can name.
    let number = left.len();
    let empty = format!("assert(empty_bucket(\"{bucket}\") == {number});");
    let _ = CLOUD.autorun().playbook(&empty).run().exits(0);
    assert!(listed(&bucket).is_empty(), "seed {seed}");
}

#[test]
fn all_functions_reject_the_same_keys_with_the_same_message() {
    let playbook = r#"
        let bucket = create_bucket("refused");
        let long = "";
        long.pad(513, "ü");
        let n = 0;
        for key in ["", " ", "\t\n", "\u00a0", ".", "..", "./a", "a/./b", "a/../b", "../a", "/..", "a\x00b", long] {
            let messages = [];
            for use_it in [
                || object_url(bucket, key),
                || object_url(bucket, key, #{ public: true }),
                || upload_image(bucket, "assets/logo.png", #{ key: key }),
                || upload_file(bucket, "assets/logo.png", #{ key: key }),
                || download_file(bucket, key, "~/got"),
                || presigned_url(bucket, key),
                || copy_object(bucket, key, bucket, "x"),
                || copy_object(bucket, "x", bucket, key),
                || delete_object(bucket, key),
            ] {
                try { use_it.call(); } catch (caught) {
                    let err = error_info(caught);
                    assert(err.kind == "invalid_option", `${err}`);
                    messages += err.message;
                    n += 1;
                }
            }
            let first = messages[0];
            assert(messages.len == 9 && messages.all(|message| message == first), `${messages}`);
        }
        assert(n == 13 * 9 && list_objects(bucket) == []);
        for name in ["a/b", "", "ab", "..", "arn:aws:s3:eu-central-1:1:accesspoint/x"] {
            let err = ();
            try { upload_file(name, "assets/logo.png"); } catch (caught) { err = error_info(caught); }
            assert(err != () && err.kind == "invalid_option" && err.message.contains(name), `${name}: ${err}`);
        }
    "#;
    let _ = CLOUD.autorun().playbook(playbook).run().exits(0);
}

#[test]
fn a_local_path_does_not_reveal_its_directories() {
    let autorun = CLOUD.autorun();
    let home = autorun.home.path().to_owned();
    fs::create_dir_all(home.join("secret plans/sub")).unwrap();
    fs::copy("assets/logo.png", home.join("secret plans/x.png")).unwrap();
    let playbook = r#"
        let bucket = create_bucket("derived");
        for path in ["HOME/secret plans/x.png", "~/secret plans/x.png", "HOME//./secret plans/x.png",
                     "HOME/secret plans/sub/../x.png", "assets/../assets/./logo.png"] {
            let name = path.split("/").pop();
            for image in [upload_image(bucket, path), upload_file(bucket, path)] {
                assert(image.key == name && !image.url.contains("secret"), `${image}`);
            }
            assert(list_objects(bucket).map(|o| o.key) == [name]);
            delete_object(bucket, name);
        }
        assert(upload_image(bucket, "./assets//logo.png").key == "assets/logo.png");
    "#;
    let playbook = playbook.replace("HOME", &home.display().to_string());
    let _ = autorun.playbook(&playbook).run().exits(0);
}

#[test]
fn a_download_writes_everything_or_nothing_to_distinct_files() {
    let playbook = r#"
        let bucket = create_bucket("down");
        let cases = [
            ["a", "a/b"], ["a/b/c", "a/b"], ["a", "a/"], ["/a"], ["a//b"], ["a//"],
            ["into/x"], ["plain/x"], ["plain/"], ["dir"], ["link"], ["dangling"],
        ];
        for number in 0..cases.len {
            let keys = cases[number];
            for key in keys + ["fine"] {
                let file = if key.ends_with("/") { "tests/primitives/data/empty" } else { "assets/logo.png" };
                upload_file(bucket, file, #{ key: `${number}/${key}` });
            }
            let err = ();
            try { download_dir(bucket, `${number}/`, "~/down"); } catch (caught) { err = error_info(caught); }
            assert(err != () && err.kind == "invalid_option", `${keys}: ${err}`);
            for key in keys { assert(err.message.contains("`" + `${number}/${key}` + "`"), `${keys}: ${err.message}`); }
            assert(!is_file("~/down/fine"), `${keys}`);
        }
        // A prefix with and without a slash at its end.
        for key in ["p/a", "pa"] { upload_file(bucket, "assets/logo.png", #{ key: key }); }
        let err = ();
        try { download_dir(bucket, "p", "~/down"); } catch (caught) { err = error_info(caught); }
        assert(err.message.contains("`p/a`") && err.message.contains("`pa`"), `${err}`);
        // Directory objects of S3's console, and names without a special meaning
        // on this machine.
        for key in ["ok/", "ok/empty/", "ok/A/x", "ok/a/X", "ok/ .autorun-x", "ok/~", "ok/a\\..\\b", "ok/*\n"] {
            let file = if key.ends_with("/") { "tests/primitives/data/empty" } else { "assets/logo.png" };
            upload_file(bucket, file, #{ key: key });
        }
        let done = download_dir(bucket, "ok", "~/whole");
        assert(done.files == 6 && done.size == 6 * 14715, `${done}`);
        let found = local_exec(["find", ".", "-type", "f"], #{ cwd: "~/whole" }).stdout.split("./").len - 1;
        assert(found == 6, `${found}`);
        local_exec(["test", "-d", "empty"], #{ cwd: "~/whole" });
        for file in ["~/down", "~/down/", "~/new/", "/dev/null"] {
            let err = ();
            try { download_file(bucket, "pa", file); } catch (caught) { err = error_info(caught); }
            assert(err != () && err.kind == "invalid_option", `${file}`);
        }
    "#;
    let autorun = CLOUD.autorun();
    let home = autorun.home.path().to_owned();
    let outside = home.join("outside");
    let down = home.join("down");
    for directory in [&outside, &down, &down.join("dir")] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(down.join("plain"), "kept").unwrap();
    fs::write(outside.join("file"), "kept").unwrap();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(outside.join(to), down.join(name)).unwrap();
    };
    link("", "into");
    link("file", "link");
    link("nowhere", "dangling");
    let autorun = autorun.playbook(playbook);
    let _ = autorun.run().exits(0);
    let names = |directory| {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<_>>()
    };
    let untouched = ["dangling", "dir", "into", "link", "plain"].map(str::to_owned);
    assert_eq!(names(&down), untouched.into());
    assert_eq!(names(&outside), ["file".to_owned()].into());
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(down.join("plain")).unwrap(), "kept");
    assert!(
        fs::symlink_metadata(down.join("link"))
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn a_directory_comes_back_unchanged_with_any_file_names() {
    let autorun = CLOUD.autorun();
    let home = autorun.home.path().to_owned();
    let long = "x".repeat(255);
    let names = [
        " a", "a ", "a\n", "%2F", "%252F", "~", "a\\b", "...", "..a", "*", "?#&=+", "\u{e9}",
        "e\u{301}", "\u{1}", "A/x", "a/X", "in/a/b", &long,
    ];
    for name in names {
        let path = home.join("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let playbook = r#"
        let bucket = create_bucket("names");
        for prefix in ["", "/", "p//", "p"] {
            let up = upload_dir(bucket, "~/tree", #{ prefix: prefix });
            let down = download_dir(bucket, prefix, "~/back");
            assert(up.files == FILES && down.files == FILES && down.size == up.size, `${down}`);
            let keys = up.keys;
            keys.sort();
            assert(list_objects(bucket).map(|o| o.key) == keys && keys.all(|key| key.starts_with(prefix)));
            local_exec(["diff", "-r", "HOME/tree", "HOME/back"]);
            local_exec(["rm", "-r", "HOME/back"]);
            empty_bucket(bucket);
        }
    "#;
    let playbook = playbook
        .replace("FILES", &names.len().to_string())
        .replace("HOME", &home.display().to_string());
    let _ = autorun.playbook(&playbook).run().exits(0);
}

/// A run with its own ledger.
fn with_ledger(ledger: &std::path::Path, args: &[&str]) -> Ended {
    let autorun = CLOUD
        .plain()
        .env("AUTORUN_HOME", &ledger.display().to_string())
        .args(args);
    autorun.run()
}

#[test]
fn resume_finds_and_destroy_removes_exactly_the_recorded_key() {
    let dir = tempfile::tempdir().unwrap();
    let playbook = dir.path().join("playbook.rhai");
    let run = |ledger: &str, text: &str| {
        fs::write(&playbook, text).unwrap();
        let playbook = playbook.display().to_string();
        let local = ["--local", "--region", "eu-central-1", &playbook];
        with_ledger(&dir.path().join(ledger), &local)
    };
    let theirs = [
        "a/b", "/a/b", "a/b/", "A//B", "a%2F%2Fb", "a", "~", "x y", "*x", "e\u{301}",
    ];
    let ours = [
        "a//b", "//a/b", "a/b//", "~/", "x+y", " x", "*", "?\n", "\u{e9}", "a\u{1}",
    ];
    let upload = |keys: &[&str]| {
        format!(
            r#"
            let bucket = create_bucket("recorded", #{{ exact: true }});
            for key in {} {{ upload_file(bucket, "assets/check_webserver.py", #{{ key: key }}); }}
            "#,
            json!(keys)
        )
    };
    run("theirs", &upload(&theirs)).exits(0);
    let proceed = dir.path().join("proceed").display().to_string();
    let more = format!(
        r#"
        for key in ["//a/b", "*"] {{ object_url(bucket, key, #{{ public: true }}); }}
        copy_object(bucket, "a//b", bucket, "b//a");
        if !is_file("{proceed}") {{ fail("not yet"); }}
        "#
    );
    run("ours", &format!("{}{more}", upload(&ours))).exits(1);
    fs::write(&proceed, "").unwrap();
    let ledger = dir.path().join("ours");
    let runs = with_ledger(&ledger, &["runs", "--output", "json"]).exits(0);
    let newest: Value = serde_json::from_str(runs.stdout.lines().next().unwrap()).unwrap();
    let resumed = with_ledger(&ledger, &["resume", newest["run"].as_str().unwrap()]).exits(0);
    assert!(!resumed.stderr.contains("uploaded"), "{}", resumed.stderr);
    assert!(!resumed.stderr.contains("copied"), "{}", resumed.stderr);
    assert_eq!(listed("recorded").len(), theirs.len() + ours.len() + 1);
    with_ledger(&ledger, &["destroy", "--all", "--yes"]).exits(0);
    let left: BTreeSet<String> = listed("recorded").into_keys().collect();
    assert_eq!(left, theirs.map(str::to_owned).into());
    with_ledger(&dir.path().join("theirs"), &["destroy", "--all", "--yes"]).exits(0);
}
