//! What people use who do not compile: the Debian package, installed in a clean
//! Debian, and the container image. Both systems have a minimal set of packages
//! and none of this machine's files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::clean_system::{CleanSystem, MINIMAL};
use crate::support::cloud::LocalCloud;
use crate::support::root;

/// Packs the program that the tests are built with. Returns the .deb and the
/// .tar.gz.
fn packed(folder: &Path) -> (PathBuf, PathBuf) {
    let script = Command::new(root().join(".ci/package"))
        .arg(env!("CARGO_BIN_EXE_autorun"))
        .arg(folder)
        .env("PACKAGE_FAST", "1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&script.stderr);
    assert!(script.status.success(), "{errors}");
    let files = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort_by_key(|file| file.extension().is_some_and(|end| end == "gz"));
    let [deb, archive] = <[PathBuf; 2]>::try_from(files).unwrap();
    (deb, archive)
}

#[test]
fn the_package_installs_runs_the_main_job_and_leaves_nothing() {
    let packed_in = tempfile::tempdir().unwrap();
    let (deb, archive) = packed(packed_in.path());
    has_the_name_for_binstall(&archive);

    let debian = CleanSystem::unpacked(MINIMAL);
    fs::copy(deb, debian.path("tmp/autorun.deb")).unwrap();
    debian.succeeds(
        "apt-get -q update && apt-get -q install -y --no-install-recommends /tmp/autorun.deb",
    );
    // The manual, completions and man pages.
    let shown = debian.succeeds("autorun --version; autorun docs getting-started");
    assert!(shown.starts_with("autorun 0."), "{shown}");
    assert!(shown.contains("launch_instance"), "{shown}");
    let completed = debian.succeeds(
        "bash -c '. /usr/share/bash-completion/completions/autorun; complete -p autorun'",
    );
    assert!(completed.contains("-F _autorun"), "{completed}");
    for page in [
        "man1/autorun.1.gz",
        "man1/autorun-run.1.gz",
        "man7/autorun-functions.7.gz",
    ] {
        let page = debian.path("usr/share/man").join(page);
        let shown = Command::new("sh")
            .args(["-c", "zcat \"$0\" | groff -ww -man -Tutf8 2>&1 >/dev/null"])
            .arg(&page)
            .output()
            .unwrap();
        assert!(
            page.exists() && shown.status.success(),
            "{}",
            page.display()
        );
        assert!(shown.stdout.is_empty(), "{}: {shown:?}", page.display());
    }

    // The local cloud of the package runs while the package is removed.
    let job = debian.succeeds(
        "cd /usr/share/autorun
         autorun --local playbooks/run_newwebserver.rhai
         autorun destroy --all --yes >&2
         [ -e /run/autorun/0.json ]
         dpkg --purge autorun >&2
         ! ls -l /proc/[0-9]*/exe 2>/dev/null | grep autorun >&2",
    );
    let page = job.trim_end().lines().last().unwrap_or_default();
    assert!(page.starts_with("http://10."), "{job}");
    let left = debian.succeeds(
        "find / -xdev -path /proc -prune -o -path /tmp -prune -o -path /root -prune \
            -o -path /run/autorun -prune -o -iname '*autorun*' -print",
    );
    assert_eq!(left, "", "dpkg --purge left files");
}

/// Asserts that the archive has the name and the program has the place that
/// `cargo binstall` computes.
fn has_the_name_for_binstall(archive: &Path) {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let metadata = &manifest["package"]["metadata"]["binstall"];
    let version = env!("CARGO_PKG_VERSION");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let filled = |key: &str| {
        let template = metadata[key].as_str().unwrap();
        let values = [
            ("name", "autorun"),
            ("version", version),
            ("target", target.as_str()),
            ("bin", "autorun"),
        ];
        values
            .iter()
            .fold(template.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{ {name} }}"), value)
            })
    };
    let file = archive.file_name().unwrap().to_str().unwrap();
    assert!(
        filled("pkg-url").ends_with(&format!("/v{version}/{file}")),
        "{file}"
    );
    let listed = Command::new("tar")
        .arg("-tzf")
        .arg(archive)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let program = filled("bin-dir");
    assert!(
        listed.lines().any(|line| line == program),
        "{program}: {listed}"
    );
}

/// Buildah with a storage of its own. It runs containers as `chroot` does, so
/// that it needs no control groups.
struct Buildah {
    storage: TempDir,
}

impl Buildah {
    /// Runs buildah, which must succeed. Returns its output.
    #[track_caller]
    fn succeeds<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        let storage = self.storage.path().display();
        let output = Command::new("buildah")
            .args(["--root", &format!("{storage}/root")])
            .args(["--runroot", &format!("{storage}/run")])
            .args(["--storage-driver", "vfs"])
            .args(args)
            .env("BUILDAH_ISOLATION", "chroot")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The files of a build of the Dockerfile, with the program of the tests.
fn build_context() -> TempDir {
    let context = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .args([
            "-r",
            "Dockerfile",
            ".dockerignore",
            "playbooks",
            "userdata",
            "assets",
        ])
        .arg(context.path())
        .current_dir(root())
        .status()
        .unwrap();
    assert!(copied.success());
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(context.path().join("autorun"))
        .arg(env!("CARGO_BIN_EXE_autorun"))
        .status()
        .unwrap();
    assert!(stripped.success());
    context
}

#[test]
fn the_container_image_runs_a_playbook_without_root_rights() {
    let buildah = Buildah {
        storage: tempfile::tempdir().unwrap(),
    };
    let base = buildah.succeeds(["from", "scratch"]);
    let minimal = root().join(MINIMAL).display().to_string();
    buildah.succeeds(["add", "--quiet", base.trim(), &minimal, "/"]);
    buildah.succeeds([
        "commit",
        "--quiet",
        "--rm",
        base.trim(),
        "localhost/minimal",
    ]);
    let context = build_context();
    buildah.succeeds([
        "build",
        "--quiet",
        "--build-arg=RUNTIME=localhost/minimal",
        "--build-arg=PROGRAM=built",
        "--tag=localhost/autorun",
        &context.path().display().to_string(),
    ]);

    // The user's ~/.aws and playbook, with the local cloud in the place of AWS.
    let cloud = LocalCloud::start();
    let user = tempfile::tempdir().unwrap();
    let env: HashMap<String, String> = cloud.env().into_iter().collect();
    let files = [
        (
            "aws/config",
            format!(
                "[default]\nregion = us-east-1\nendpoint_url = {}\n",
                env["AWS_ENDPOINT_URL"]
            ),
        ),
        (
            "aws/credentials",
            format!(
                "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
            ),
        ),
        ("work/web.rhai", PLAYBOOK.to_owned()),
    ];
    for (name, text) in files {
        let file = user.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let owned = Command::new("chown")
        .args(["-R", "1000:1000"])
        .arg(user.path())
        .status();
    assert!(owned.unwrap().success());

    let container = buildah.succeeds(["from", "localhost/autorun"]);
    let home = user.path().display();
    let shown = buildah.succeeds([
        "run",
        &format!("--volume={home}/aws:/home/autorun/.aws:ro"),
        &format!("--volume={home}/work:/work"),
        &format!(
            "--env=AWS_ENDPOINT_URL_CHECKIP={}",
            env["AWS_ENDPOINT_URL_CHECKIP"]
        ),
        container.trim(),
        "--",
        "sh",
        "-ec",
        "id -u; autorun web.rhai; autorun destroy --all --yes; ! touch /usr/local/bin/autorun",
    ]);
    assert_eq!(shown, "1000\nec2-user\n\n");
    let config = buildah.succeeds([
        "inspect",
        "--format={{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.WorkingDir}}",
        container.trim(),
    ]);
    assert_eq!(config.trim(), "autorun [autorun] /work");
}

/// Launches an instance and runs a command on it.
const PLAYBOOK: &str = r#"
let name = "box-" + run_id();
let server = wait_until_ready(launch_instance(#{
    name: name,
    key_pair: create_key_pair(name),
    security_groups: [create_security_group(name)],
}));
print(ssh_exec(server, "id -un").stdout);
"#;

#[test]
fn the_local_cloud_needs_no_ca_certificates() {
    // `start_after` asserts that `cloud up` succeeds, with this directory empty.
    drop(LocalCloud::start_after(
        "mount -t tmpfs none /etc/ssl/certs",
    ));
}
