//! Tests of directories as streams: a copied directory is unchanged, and a
//! stream that a host should not send is refused without leaving anything
//! behind.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tar::{EntryType, Header};

use super::*;
use crate::error::ErrorKind;

/// Creates two files, a link that forms a loop, a directory that is not
/// writable, a socket and an odd name.
fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("closed")).unwrap();
    fs::write(at("closed/file"), "inside").unwrap();
    fs::write(at("two words\n"), "odd").unwrap();
    symlink("..", at("closed/loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    dir
}

fn packed(dir: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    pack(dir, &walk(dir).unwrap(), false, &mut tar).unwrap();
    tar
}

/// Packs a directory with the system's tar, as hosts do.
fn sent(dir: &Path) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(["-cf", "-", "-C"]).arg(dir).arg(".");
    let output = tar.output().unwrap();
    assert!(!output.stdout.is_empty());
    output.stdout
}

/// Returns everything below a directory: mode, and contents or link target.
fn snapshot(dir: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let entries = walk(dir).unwrap().into_iter().map(|entry| {
        let mode = fs::symlink_metadata(&entry.path).unwrap().mode();
        let what = match entry.kind {
            Kind::File => fs::read(&entry.path).unwrap(),
            Kind::Link => {
                let target = fs::read_link(&entry.path).unwrap();
                target.into_os_string().into_encoded_bytes()
            }
            _ => Vec::new(),
        };
        (entry.below, mode, what)
    });
    let own = fs::metadata(dir).unwrap().mode();
    entries.chain([(PathBuf::new(), own, Vec::new())]).collect()
}

#[test]
fn a_host_unpacks_the_same_files_that_were_packed() {
    let (from, to) = (sample(), tempfile::tempdir().unwrap());
    let mut tar = Command::new("tar");
    tar.args(["-xpf", "-", "-C"]).arg(to.path());
    let mut child = tar.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &packed(from.path())).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let at = |name: &str| to.path().join("tree").join(name);
    assert_eq!(fs::read_to_string(at("closed/file")).unwrap(), "inside");
    assert_eq!(fs::read_to_string(at("two words\n")).unwrap(), "odd");
    assert_eq!(fs::read_link(at("closed/loop")).unwrap(), Path::new(".."));
    assert!(!at("socket").exists() && to.path().join("done").exists());
    let listed = fs::read_to_string(to.path().join("closed")).unwrap();
    assert_eq!(listed, "500 closed\n");
}

#[test]
fn a_directory_is_unpacked_unchanged() {
    let (from, to) = (sample(), tempfile::tempdir().unwrap());
    let before = snapshot(from.path());
    let stream = sent(from.path());
    let unpacked = unpack(&stream[..], to.path()).unwrap();
    assert_eq!((unpacked.files, unpacked.size), (2, 9));
    let target = to.path().join("target");
    let tree = to.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let unpacked = unpack(&stream[..], &tree).unwrap();
    settle(&tree, &target, false, &unpacked.modes).unwrap();
    let without_socket = |all: &[(PathBuf, u32, Vec<u8>)]| -> Vec<_> {
        let kept = all.iter().filter(|(below, ..)| below != "socket");
        kept.cloned().collect::<Vec<_>>()
    };
    assert_eq!(without_socket(&snapshot(&target)), without_socket(&before));
}

#[test]
fn an_entry_that_changed_its_kind_is_not_sent() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("a link", |path| symlink("/etc/passwd", path).unwrap()),
        ("a pipe", |path| {
            let status = Command::new("mkfifo").arg(path).status().unwrap();
            assert!(status.success());
        }),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("nothing", |_| {}),
    ];
    for (what, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/file");
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(&file, "x").unwrap();
        let entries = walk(dir.path()).unwrap();
        fs::remove_file(&file).unwrap();
        change(&file);
        let packed = pack(dir.path(), &entries, true, &mut Vec::new());
        assert!(packed.is_err(), "{what} was sent");
    }
    // A file is not read through a directory that became a link.
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("tree/sub")).unwrap();
    fs::create_dir(at("secret")).unwrap();
    fs::write(at("tree/sub/file"), "x").unwrap();
    fs::write(at("secret/file"), "secret").unwrap();
    let entries = walk(&at("tree")).unwrap();
    fs::remove_dir_all(at("tree/sub")).unwrap();
    symlink(at("secret"), at("tree/sub")).unwrap();
    let mut stream = Vec::new();
    assert!(pack(&at("tree"), &entries, false, &mut stream).is_err());
    assert!(!stream.windows(6).any(|part| part == b"secret"));
    // A file that is not regular is not opened, so that nothing waits for a
    // pipe.
    assert!(open_file(&at("tree")).is_err());
}

#[test]
fn a_cut_stream_is_an_error() {
    let from = sample();
    let stream = sent(from.path());
    for length in (0..stream.len()).step_by(512).filter(|n| *n < 3000) {
        let to = tempfile::tempdir().unwrap();
        let cut = unpack(&stream[..length], to.path());
        assert!(cut.is_err(), "{length} bytes were accepted");
    }
}

/// Creates a header that contains the name unchanged.
fn header(name: &[u8], kind: EntryType, size: u64, link: &[u8], mode: u32) -> Header {
    let mut header = Header::new_ustar();
    let ustar = header.as_ustar_mut().unwrap();
    let short = |to: &mut [u8], text: &[u8]| {
        let length = text.len().min(to.len());
        to[..length].copy_from_slice(&text[..length]);
    };
    short(&mut ustar.name, name);
    short(&mut ustar.linkname, link);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// Unpacks random streams with any names, kinds and sizes, some of them
/// damaged. Nothing outside may change, no special file may appear, and no
/// setuid or similar bit may be set. Failure messages contain the seed, and
/// AUTORUN_TEST_SEED repeats it.
#[test]
fn no_stream_reaches_anything_outside() {
    let seed: u64 = std::env::var("AUTORUN_TEST_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "mine").unwrap();
    let out = outside.to_string_lossy().into_owned();
    let names = [
        ".",
        "./",
        "a",
        "./a",
        "a/",
        "./a/b",
        "a/b/c",
        "b",
        "..",
        "../outside/x",
        "a/../../outside/x",
        "/",
        "",
        "//a",
        "way",
        "way/x",
        "./way/victim",
        "a\u{1b}[2J",
        "a//b",
        "a/./b",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([out.clone(), format!("{out}/victim"), format!("{out}/new")])
    .collect::<Vec<_>>();
    let kinds = b"0123456717LKxgSVMDZ\0";
    let before = snapshot(&outside);
    let mut accepted = 0;
    for round in 0..3000 {
        let mut stream = header(b"./", EntryType::Directory, 0, b"", 0o755)
            .as_bytes()
            .to_vec();
        for _ in 0..random.random_range(1..6) {
            let name = names.choose(&mut random).unwrap().as_bytes();
            let link = names.choose(&mut random).unwrap().as_bytes();
            let kind = EntryType::new(*kinds.choose(&mut random).unwrap());
            let data: Vec<u8> = match random.random_range(0..3) {
                0 => Vec::new(),
                1 => b"data".to_vec(),
                _ => format!("{} path={out}/pax\n", out.len() + 13).into_bytes(),
            };
            let mode = random.random_range(0..0o10000);
            stream.extend(header(name, kind, data.len() as u64, link, mode).as_bytes());
            stream.extend(&data);
            stream.resize(stream.len().next_multiple_of(512), 0);
        }
        stream.extend([0; 1024]);
        for _ in 0..random.random_range(0..2) {
            let at = random.random_range(0..stream.len());
            stream[at] = random.random();
        }
        let into = dir.path().join("into");
        fs::create_dir(&into).unwrap();
        let unpacked = unpack(&stream[..], &into);
        if let Ok(unpacked) = unpacked {
            accepted += 1;
            let target = dir.path().join("target");
            settle(&into, &target, false, &unpacked.modes).unwrap();
            for entry in walk(&target).unwrap() {
                let about = fs::symlink_metadata(&entry.path).unwrap();
                assert_eq!(
                    about.mode() & 0o7000,
                    0,
                    "seed {seed}, round {round}: {entry:?}"
                );
                assert_ne!(
                    entry.kind,
                    Kind::Other,
                    "seed {seed}, round {round}: {entry:?}"
                );
            }
            let stage = dir.path().join("gone");
            fs::rename(&target, &stage).unwrap();
            drop(Stage::of(stage));
        } else {
            drop(Stage::of(into));
        }
        assert_eq!(snapshot(&outside), before, "seed {seed}, round {round}");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "seed {seed}, round {round}"
        );
    }
    assert!(
        accepted > 30,
        "only {accepted} streams were accepted: the test is too weak"
    );
}

#[test]
fn existing_files_stay_unless_they_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let make = |name: &str| {
        fs::create_dir_all(at(name).join("sub")).unwrap();
        fs::write(at(name).join("sub/new"), name).unwrap();
    };
    let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o777;
    let modes = [("sub".into(), 0o500), (PathBuf::new(), 0o711)];
    fs::create_dir_all(at("target/sub")).unwrap();
    fs::write(at("target/sub/old"), "old").unwrap();
    fs::set_permissions(at("target/sub"), fs::Permissions::from_mode(0o550)).unwrap();
    fs::set_permissions(at("target"), fs::Permissions::from_mode(0o750)).unwrap();
    make("tree");
    settle(&at("tree"), &at("target"), false, &modes).unwrap();
    assert!(at("target/sub/old").exists() && at("target/sub/new").exists());
    assert_eq!((mode("target"), mode("target/sub")), (0o750, 0o550));
    make("tree2");
    settle(&at("tree2"), &at("target"), true, &modes).unwrap();
    assert_eq!((mode("target"), mode("target/sub")), (0o711, 0o500));
    assert!(!at("target/sub/old").exists());
    assert_eq!(fs::read_to_string(at("target/sub/new")).unwrap(), "tree2");
    // A file does not replace a directory, and then nothing moves at all.
    fs::create_dir_all(at("tree3")).unwrap();
    fs::write(at("tree3/sub"), "file").unwrap();
    fs::write(at("tree3/a"), "file").unwrap();
    let error = settle(&at("tree3"), &at("target"), false, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    assert!(!at("target/a").exists() && mode("target") == 0o711);
    // A link in the place of a directory is not followed.
    fs::create_dir(at("outside")).unwrap();
    symlink(at("outside"), at("target/way")).unwrap();
    fs::create_dir_all(at("tree4/way")).unwrap();
    fs::write(at("tree4/way/file"), "hi").unwrap();
    let error = settle(&at("tree4"), &at("target"), false, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0);
    // A stage is removed with its contents, including directories that are not
    // writable.
    let stage = Stage::within(&at("target")).unwrap();
    let path = stage.path().to_owned();
    fs::create_dir_all(path.join("a/b")).unwrap();
    fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
    drop(stage);
    assert!(!path.exists());
}
