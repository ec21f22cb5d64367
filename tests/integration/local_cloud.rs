//! The local cloud: the main job on it, real clients, its start and its end.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab, root};

const PLAYBOOK: &str = "playbooks/run_newwebserver.rhai";

pub(crate) fn last_line(ended: &Ended) -> &str {
    ended.stdout.trim_end().lines().last().unwrap_or_default()
}

/// Runs a program, asserts that it succeeds, and returns its output.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let both = [output.stdout.clone(), output.stderr.clone()].concat();
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&both)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Repeats a check until it is true. Fails after a hundred seconds.
#[track_caller]
pub(crate) fn becomes_true(what: &str, mut ask: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ask() {
        assert!(began.elapsed() < Duration::from_secs(100), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_main_job_runs_and_a_browser_shows_the_image() {
    let cloud = LocalCloud::start();
    let ended = cloud.autorun().arg(PLAYBOOK).run().exits(0);
    let messages = ended.messages();
    for wanted in [
        "using the local cloud at http://10.",
        "here, whatever the image",
        "verified the ssh host key",
        "ok: nginx is running",
    ] {
        assert!(
            messages.contains(wanted),
            "no `{wanted}` in\n{}",
            ended.stderr
        );
    }
    let url = last_line(&ended);
    let shown = succeeds(
        Command::new("python3")
            .arg(root().join("tests/cloud/browser.py"))
            .args([url, &cloud.home().join("page.png").display().to_string()]),
    );
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["heading"], "It works!");
    assert!(
        shown["width"].as_u64() > Some(0),
        "the image is shown: {shown}"
    );
    // The server outlives the run, and one command removes it.
    let status = cloud.cloud("status").exits(0).stdout;
    assert!(
        status.contains("running") && status.contains("newwebserver-"),
        "{status}"
    );
}

#[test]
fn the_main_job_runs_with_another_image_family() {
    let cloud = LocalCloud::start();
    let family = ["--set", "image_family=debian-13"];
    let ended = cloud.autorun().arg(PLAYBOOK).args(family).run().exits(0);
    let messages = ended.messages();
    for wanted in ["debian-13-amd64-", " admin@10.", "ok: nginx is running"] {
        assert!(messages.contains(wanted), "no `{wanted}` in\n{messages}");
    }
}

#[test]
fn a_closed_port_is_not_reachable() {
    let cloud = LocalCloud::start();
    let playbook = r##"
        let key = create_key_pair("ports");
        let group = create_security_group("ports");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group],
            user_data: "#!/bin/sh\ncd /var/tmp && echo here >index.html\n(setsid python3 -m http.server 80 >/dev/null 2>&1 &)\n" }));
        ssh_exec(server, "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 80))'; do sleep 0.1; done");
        print(server.url);
        try { wait_until_serving(server.url, #{ timeout: 2 }); fail("reachable"); }
        catch (e) { print(error_info(e).kind); }
    "##;
    let ended = cloud.autorun().playbook(playbook).run().exits(0);
    assert_eq!(last_line(&ended), "timeout", "{}", ended.stdout);
    let url = ended.stdout.lines().next().unwrap();
    // An open port is reachable at once.
    let open = format!(
        r#"
        import time, urllib.request, boto3
        ec2 = boto3.client("ec2")
        group = ec2.describe_security_groups(GroupNames=["ports"])["SecurityGroups"][0]["GroupId"]
        rule = dict(IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
        ec2.authorize_security_group_ingress(GroupId=group, **rule)
        print(urllib.request.urlopen("{url}", timeout=20).read().decode())
    "#
    );
    assert_eq!(python(&cloud, &open).trim(), "here");
}

#[test]
fn sftp_and_scp_of_openssh_copy_files() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook(
        r#"
        let key = create_key_pair("files");
        let group = create_security_group("files");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
        print(server.public_ip + " " + server.key);
        "#,
    );
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name).display().to_string();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    fs::write(at("sent"), &content).unwrap();
    // A file name that is not UTF-8 is as valid as any other.
    let odd = here.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::write(&odd, "odd").unwrap();

    let ended = autorun.run().exits(0);
    let (address, key) = last_line(&ended).split_once(' ').unwrap();
    let client = |program: &str| {
        let mut command = Command::new(program);
        command.args(["-q", "-i", key, "-oBatchMode=yes"]).args([
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
        ]);
        command
    };
    let host = format!("ec2-user@{address}");
    let batch = format!(
        "put {sent} sent\nchmod 600 sent\nrename sent moved\nln -s moved link\n\
         mkdir sub\nput {directory}/caf* sub/\nls -l\nget link {back}\n-get nothing\n",
        sent = at("sent"),
        directory = here.path().display(),
        back = at("back"),
    );
    fs::write(at("batch"), batch).unwrap();
    let listed = succeeds(client("sftp").args(["-b", &at("batch"), &host]));
    assert!(listed.contains("-rw-------"), "{listed}");
    assert_eq!(fs::read(at("back")).unwrap(), content);
    succeeds(client("scp").args(["-r", &format!("{host}:sub"), &at("sub")]));
    let back = here.path().join("sub").join(odd.file_name().unwrap());
    assert_eq!(fs::read(back).unwrap(), b"odd");
}

/// Each member of the requests and answers of S3 in AWS's model has a class in
/// `tests/cloud/members`, which real requests confirm.
#[test]
fn every_member_of_s3_is_classified() {
    let cloud = LocalCloud::start();
    let python = Lab::python();
    print!(
        "{}",
        succeeds(cloud.client(&python).arg("tests/cloud/members/s3.py"))
    );
}

#[test]
fn rclone_and_s3cmd_create_fill_share_and_empty_buckets() {
    let cloud = LocalCloud::start();
    succeeds(
        cloud
            .client("bash")
            .args(["tests/cloud/rclone_s3cmd.sh", "clients"]),
    );
}

/// Runs a Python program whose only configuration is `cloud env` and the region
/// eu-central-1.
#[track_caller]
pub(crate) fn python(cloud: &LocalCloud, text: &str) -> String {
    let text: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut python = cloud.client(&Lab::python());
    succeeds(
        python
            .args(["-c", &text.join("\n")])
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_REGION", "eu-central-1"),
    )
}

#[test]
fn boto3_and_the_aws_cli_need_only_cloud_env() {
    let cloud = LocalCloud::start();
    let python = Lab::python();
    succeeds(
        cloud
            .client(&python)
            .args(["tests/cloud/ec2_clients.py", "clients-ec2"]),
    );
    succeeds(cloud.client(&python).arg("tests/cloud/vpc_clients.py"));
    for part in ["clients", "answers", "versions", "encryption"] {
        let program = format!("tests/cloud/s3_{part}.py");
        succeeds(cloud.client(&python).arg(program));
    }
    let tools = Path::new(&python).parent().unwrap().display().to_string();
    let path = format!("{tools}:/usr/sbin:/usr/bin:/sbin:/bin");
    succeeds(
        cloud
            .client("bash")
            .args(["tests/cloud/aws_cli.sh", "clients-cli"])
            .env("PATH", path),
    );
    // Last: it leaves what it creates.
    succeeds(cloud.client(&python).arg("tests/cloud/paginators.py"));
}

#[test]
fn every_member_of_the_services_models_is_classified() {
    let cloud = LocalCloud::start();
    // The second check has names of its own, and finds what the first has left.
    for _ in 0..2 {
        let mut check = cloud.client(&Lab::python());
        let counts = succeeds(check.arg("tests/cloud/members/check.py"));
        print!("{counts}");
    }
}

#[test]
fn additional_volumes_of_a_launch_are_deleted_with_the_instance() {
    let cloud = LocalCloud::start();
    let shown = || {
        let volumes = r#"
            import boto3
            volumes = boto3.client("ec2").describe_volumes()["Volumes"]
            row = lambda v: (v["Attachments"][0]["Device"], v["Size"], v["VolumeType"], v["Iops"], v["Encrypted"])
            print(*sorted(map(row, volumes)), sep="\n")
        "#;
        python(&cloud, volumes)
    };
    let playbook = r#"
        let volumes = [#{ size: 10 }, #{ size: 20, type: "io2", iops: 1000, device: "/dev/sdp" }];
        print(launch_instance(#{ volumes: volumes }).id);
    "#;
    let ended = cloud.autorun().playbook(playbook).run().exits(0);
    let id = last_line(&ended).to_owned();
    assert_eq!(
        shown().lines().collect::<Vec<_>>(),
        [
            "('/dev/sdf', 10, 'gp3', 3000, True)",
            "('/dev/sdp', 20, 'io2', 1000, True)",
            "('/dev/xvda', 8, 'gp3', 3000, True)"
        ]
    );
    let playbook = format!("terminate_instance(\"{id}\");");
    let _ = cloud.autorun().playbook(&playbook).run().exits(0);
    assert_eq!(shown().trim(), "");
    let playbook = r#"launch_instance(#{ volumes: [#{ size: 8, type: "io1" }] });"#;
    let refused = cloud.autorun().playbook(playbook).run().exits(1);
    let why = "iops must be specified for io1 volumes";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
}

#[test]
fn a_request_that_differs_from_the_signed_one_is_refused() {
    let cloud = LocalCloud::start();
    let mut signed = cloud.client(&Lab::python());
    let output = succeeds(signed.arg("tests/cloud/signed_requests.py"));
    print!("{output}");
}

#[test]
fn fifty_instances_at_once() {
    let cloud = LocalCloud::start();
    let playbook = r#"
        let servers = launch_instance(#{ name: "many", count: 50 });
        print(servers.len);
        terminate_instance(servers);
    "#;
    let ended = cloud.autorun().playbook(playbook).run().exits(0);
    assert_eq!(last_line(&ended), "50", "{}", ended.stderr);
}

#[test]
fn two_hundred_launches_leave_no_traces() {
    let cloud = LocalCloud::start();
    let before = Traces::of(&cloud);
    let playbook = "for round in 0..20 { terminate_instance(launch_instance(#{ count: 10 })); }";
    let _ = cloud.autorun().playbook(playbook).run().exits(0);
    becomes_true("everything is gone", || Traces::of(&cloud) == before);
}

/// The traces that machines leave on the host.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    processes: usize,
    interfaces: usize,
    mounts: usize,
    disks: usize,
}

impl Traces {
    fn of(cloud: &LocalCloud) -> Self {
        let descendants = descendants(cloud.pid());
        // The first child process has the machines' mounts and their network.
        let first = format!("/proc/{}", descendants.iter().min().unwrap());
        let count = |path: &str| fs::read_to_string(path).map_or(0, |text| text.lines().count());
        let disks = fs::read_dir(cloud.home().join("state/instances")).unwrap();
        Self {
            processes: descendants.len(),
            interfaces: count(&format!("{first}/net/dev")),
            mounts: count(&format!("{first}/mounts")),
            disks: disks.count(),
        }
    }
}

/// The direct children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// All descendants of a process.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let mut open = children(pid);
    while let Some(next) = open.pop() {
        open.extend(children(next));
        all.push(next);
    }
    all
}

#[test]
fn a_killed_cloud_ends_all_its_processes_and_loses_no_data() {
    let cloud = LocalCloud::start();
    let playbook = r#"
        let bucket = create_bucket("kept");
        upload_image(bucket, "assets/logo.png");
        let key = create_key_pair("kept");
        let group = create_security_group("kept");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
        ssh_exec(server, "echo kept >kept; (setsid sleep 1000 >/dev/null 2>&1 </dev/null &)");
        print(server.id);
        print(bucket.name);
    "#;
    let first = cloud.autorun().playbook(playbook);
    let ended = first.run().exits(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [id, bucket] = lines[..] else {
        panic!("{}", ended.stdout)
    };

    let machines = descendants(cloud.pid());
    assert!(machines.len() >= 2, "{machines:?}");
    succeeds(Command::new("kill").args(["-KILL", &cloud.pid().to_string()]));
    let began = Instant::now();
    let alive = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            !stat
                .rsplit(')')
                .next()
                .unwrap()
                .trim_start()
                .starts_with('Z')
        })
    };
    becomes_true("the machines are gone", || !machines.iter().any(alive));
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );

    // The next cloud still knows the instance, which is stopped and has kept its
    // disk.
    let check = format!(
        r#"
        import boto3
        ec2, s3 = boto3.client("ec2"), boto3.client("s3")
        instance = ec2.describe_instances(InstanceIds=["{id}"])["Reservations"][0]["Instances"][0]
        assert instance["State"]["Name"] == "stopped", instance
        assert ec2.describe_key_pairs(KeyNames=["kept"])["KeyPairs"]
        assert ec2.describe_security_groups(GroupNames=["kept"])["SecurityGroups"]
        assert s3.head_object(Bucket="{bucket}", Key="assets/logo.png")["ContentType"] == "image/png"
        ec2.start_instances(InstanceIds=["{id}"])
        ec2.get_waiter("instance_running").wait(InstanceIds=["{id}"])
    "#
    );
    let _ = cloud.cloud("up").exits(0);
    python(&cloud, &check);
    let key = first.home.path().join(".local/share/autorun/keys/kept");
    let look = format!(
        "let server = wait_until_running(\"{id}\"); server.key = \"{}\"; \
         print(ssh_exec(server, \"cat kept\").stdout);",
        key.display()
    );
    let ended = first_home(&cloud, &first).playbook(&look).run().exits(0);
    assert_eq!(ended.stdout.trim(), "kept");
}

/// Another run with the home directory of an earlier run, and thus with its
/// pinned keys.
pub(crate) fn first_home(cloud: &LocalCloud, first: &Autorun) -> Autorun {
    let data = first
        .home
        .path()
        .join(".local/share/autorun")
        .display()
        .to_string();
    cloud.autorun().env("AUTORUN_HOME", &data)
}

#[test]
fn up_down_status_env_and_doctor() {
    let cloud = LocalCloud::start();
    let again = cloud.cloud("up").exits(0);
    assert!(
        again.stdout.contains("is already up at http://10."),
        "{}",
        again.stdout
    );
    let doctor = cloud.cloud("doctor").exits(0).stdout;
    for line in [
        "ok  root",
        "ok  namespaces",
        "ok  user ids",
        "ok  base layer",
        "ok  disks",
        "ok  limits",
        "ok  calls",
        "ok  firewall",
        "ok  buckets",
        "--  inside       instances have no docker",
    ] {
        assert!(doctor.contains(line), "{doctor}");
    }
    assert!(
        doctor.lines().all(|line| line.chars().count() <= 80),
        "{doctor}"
    );
    let names: Vec<String> = cloud.env().into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"AWS_ENDPOINT_URL".to_owned()), "{names:?}");

    let down = cloud.cloud("down").exits(0);
    assert!(down.stdout.contains("is down"), "{}", down.stdout);
    let status = cloud.cloud("status").exits(1);
    assert!(
        status.stderr.contains("no local cloud is up\nhint: "),
        "{}",
        status.stderr
    );
    let env = cloud.cloud("env").exits(2);
    assert!(
        env.stderr.contains("hint: `autorun cloud up`"),
        "{}",
        env.stderr
    );
    let _ = cloud.cloud("down").exits(0);
}

#[test]
fn faults_happen_as_configured() {
    let cloud = LocalCloud::start();
    let run = |faults: &str, playbook: &str| {
        let autorun = cloud.autorun();
        let file = autorun.home.path().join("faults.toml");
        fs::write(&file, faults).unwrap();
        autorun
            .args(["--faults", &file.display().to_string()])
            .playbook(playbook)
            .run()
    };
    // A throttled and a reset request: the SDK retries both, and only one group
    // is created.
    let twice = "[[fault]]\noperation = 'CreateSecurityGroup'\ndo = 'throttle'\n\
         [[fault]]\noperation = 'DescribeImages'\ndo = 'reset'\n";
    let once = "create_security_group(\"f-\" + run_id()); latest_amazon_linux();";
    let _ = run(twice, once).exits(0);
    // The response is lost after the launch, so the program reports that the
    // instance is possibly created.
    let lost = "[[fault]]\noperation = 'RunInstances'\nwhen = 'after'\ntimes = 0\ndo = 'reset'\n";
    let ended = run(lost, "launch_instance(#{ name: \"lost\" });").exits(1);
    assert!(
        ended.messages().contains("possibly created"),
        "{}",
        ended.stderr
    );
    // Although the SDK sent the request several times, one client token leads to
    // one instance.
    let status = cloud.cloud("status").exits(0).stdout;
    assert_eq!(status.matches(" lost").count(), 1, "{status}");
    // S3 has its own error code for throttling.
    let slow = "[[fault]]\noperation = 'CreateBucket'\ntimes = 0\ndo = 'throttle'\n";
    let ended = run(slow, "create_bucket(\"slow\");").exits(1);
    assert!(
        ended.messages().contains("reduce your request rate"),
        "{}",
        ended.stderr
    );
    // An instance that never boots.
    let endless = "[[fault]]\noperation = 'boot'\ndo = 'endless-boot'\n";
    let ended = run(
        endless,
        "wait_until_running(launch_instance(#{ wait: false }), #{ timeout: 1 });",
    )
    .exits(1);
    assert!(ended.messages().contains("pending"), "{}", ended.stderr);
    // An instance that boots slowly is terminated at once.
    let slow = "[[fault]]\noperation = 'boot'\nseconds = 600\ndo = 'slow-boot'\n";
    let _ = run(
        slow,
        "terminate_instance(launch_instance(#{ wait: false }));",
    )
    .exits(0);
    // ssh breaks as soon as a larger file is copied.
    let dropped = "[[fault]]\noperation = 'boot'\ndo = 'drop-ssh'\nbytes = 30000\n";
    let copy = r#"
        let key = create_key_pair("dropped");
        let group = create_security_group("dropped");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
        try { scp(server, "Cargo.lock", "Cargo.lock"); fail("it was copied"); }
        catch (caught) { print(error_info(caught).kind); }
    "#;
    let ended = run(dropped, copy).exits(0);
    assert_eq!(last_line(&ended), "unreachable", "{}", ended.stderr);
    // An invalid fault file is reported before the playbook runs.
    let ended = run(
        "[[fault]]\noperation = 'boot'\ndo = 'explode'\n",
        "print(1)",
    )
    .exits(2);
    assert!(
        ended.stderr.contains("unknown variant `explode`"),
        "{}",
        ended.stderr
    );
    // A fault for an unknown operation is reported, too.
    let misspelt = "[[fault]]\noperation = 'RunInstance'\ndo = 'throttle'\n";
    let ended = run(misspelt, "print(1)").exits(2);
    assert!(
        ended
            .messages()
            .contains("the most similar one is `RunInstances`"),
        "{}",
        ended.stderr
    );
}

/// Writes a key with the passphrase `opens the key` to `~/locked`.
fn locked_key(autorun: &Autorun) {
    let file = autorun.home.path().join("locked");
    let keygen = ["-q", "-t", "ed25519", "-N", "opens the key", "-f"];
    succeeds(Command::new("ssh-keygen").args(keygen).arg(file));
}

#[test]
fn an_instance_behind_a_jump_host_is_waited_for_with_a_locked_key() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun();
    locked_key(&autorun);
    let autorun = autorun
        .env("AUTORUN_VAR_passphrase", "opens the key")
        .playbook(
            r#"
            let passphrase = var("passphrase", #{ type: "string", secret: true });
            let key_pair = import_key_pair("locked", "~/locked");
            let unlock = #{ passphrase: passphrase };
            let outside = create_security_group("outside");
            let launched = launch_instance(#{ name: "bastion", key_pair: key_pair, security_groups: [outside] });
            let bastion = wait_until_ready(host(launched, unlock));
            assert(bastion.name == "bastion");

            let inside = create_security_group("inside", #{ ingress: [#{ port: 22, from: outside }] });
            let launched = launch_instance(#{
                name: "inner", key_pair: key_pair, security_groups: [inside], wait: false,
            });
            let inner = wait_until_ready(host(launched, unlock + #{ via: bastion }));
            let client = ssh_exec(inner, "echo ${SSH_CONNECTION%% *}").stdout;
            client.trim();
            assert(client == bastion.public_ip, client);
            // An instance remains an instance, even behind a jump host.
            assert(describe_instance(inner).id == launched.id);

            // The error names the stopped instance, whether it is the host or its
            // jump host.
            let hint = |name| {
                try { ssh_exec(inner, "true"); fail(`${name} is stopped`); }
                catch (caught) { return error_info(caught).hint; }
            };
            stop_instance(inner);
            print(hint.call("inner"));
            inner = start_instance(inner);
            stop_instance(bastion);
            print(hint.call("bastion"));
            let long = #{ timeout: 600 };
            for wait in [|| wait_until_ready(inner, long), || host_metrics(inner)] {
                try { wait.call(); fail("the bastion is stopped"); }
                catch (caught) { assert(error_info(caught).hint.contains("(bastion) is stopped")); }
            }
            // A jump host at a wrong address is named as well.
            let moved = inner;
            moved.host.via.address = "10.77.255.250";
            try { wait_until_ready(moved, long); fail("the bastion is elsewhere"); }
            catch (caught) { assert(error_info(caught).hint.contains("(bastion)")); }
            start_instance(bastion);
            // Started again, the instance is reachable as before.
            wait_until_ready(inner);
            "#,
        );
    let ended = autorun.run().exits(0);
    let hints: Vec<&str> = ended.stdout.lines().collect();
    let [inner, bastion] = hints.as_slice() else {
        panic!("{}", ended.stdout)
    };
    for hint in [inner, bastion] {
        let start = "is stopped; start_instance starts it";
        assert!(hint.contains(start), "{hint}");
    }
    assert!(
        inner.contains("(inner)") && bastion.contains("(bastion)"),
        "{inner} {bastion}"
    );
    // The command that was printed leads to the instance. A program provides the
    // passphrase.
    let way = ended
        .stderr
        .lines()
        .find(|line| line.contains("ProxyCommand"));
    let (_, command) = way.unwrap().split_once("log in with: ").unwrap();
    let unknown = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -";
    let command = format!("{} echo inside", command.replace("ssh -", unknown));
    let asked = autorun.home.path().join("askpass");
    fs::write(&asked, "#!/bin/sh\necho opens the key\n").unwrap();
    fs::set_permissions(&asked, fs::Permissions::from_mode(0o700)).unwrap();
    let mut shell = autorun.shell(&command);
    shell
        .env("SSH_ASKPASS", &asked)
        .env("SSH_ASKPASS_REQUIRE", "force");
    assert_eq!(succeeds(&mut shell), "inside\n");
}

#[test]
fn a_resumed_run_reads_the_passphrase_that_is_not_in_the_ledger() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun();
    locked_key(&autorun);
    // Not a secret variable, which the ledger could restore.
    fs::write(autorun.home.path().join("passphrase"), "opens the key").unwrap();
    let autorun = autorun.playbook(
        r#"
        let unlock = #{ passphrase: read_file("~/passphrase") };
        let key_pair = import_key_pair("locked", "~/locked");
        let group = create_security_group("locked");
        let launched = launch_instance(#{ key_pair: key_pair, security_groups: [group] });
        let server = wait_until_ready(host(launched, unlock));
        server = start_instance(stop_instance(server));
        server = wait_until_ready(server);
        print(ssh_exec(server, "echo inside").stdout);
        if !is_file("~/proceed") { fail("not yet"); }
        "#,
    );
    let ended = autorun.run().exits(1);
    fs::write(autorun.home.path().join("proceed"), "").unwrap();
    let (_, resume) = ended.stderr.split_once("resume:").unwrap();
    let resumed = autorun.shell(resume.trim()).output().unwrap();
    let messages = String::from_utf8(resumed.stderr).unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{messages}");
    // Only the file of the user contains the passphrase.
    let found = Command::new("grep")
        .args(["-rlF", "opens the key"])
        .arg(autorun.home.path())
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let passphrase = autorun.home.path().join("passphrase");
    assert_eq!(found.trim(), passphrase.display().to_string());
}

#[test]
fn a_cloud_that_is_killed_during_any_request_loses_nothing_acknowledged() {
    let cloud = LocalCloud::start();
    let home = cloud.home().display().to_string();
    succeeds(
        cloud
            .client(&Lab::python())
            .args([
                "tests/cloud/crash.py",
                env!("CARGO_BIN_EXE_autorun"),
                "crash",
            ])
            .env("AUTORUN_CLOUD_HOME", home),
    );
}

#[test]
fn a_byte_that_changed_in_transit_is_detected() {
    let cloud = LocalCloud::start();
    let autorun = cloud.autorun().playbook(
        "let bucket = create_bucket(\"sums\");\n\
         upload_file(bucket, \"assets/logo.png\", #{ key: \"logo.png\" });\n\
         write_file(\"~/kept\", \"before\");\n\
         for n in 0..3 {\n\
             try { download_file(bucket, \"logo.png\", \"~/kept\"); print(\"taken\"); }\n\
             catch (caught) { print(error_info(caught).kind + \": \" + error_info(caught).message); }\n\
         }\n\
         print(read_file(\"~/kept\"));\n\
         try { download_dir(bucket, \"\", \"~/all\"); print(\"taken\"); }\n\
         catch (caught) { print(error_info(caught).kind); }\n\
         print(glob(\"~/all/*\").len);",
    );
    let file = autorun.home.path().join("faults.toml");
    let faults = "[[fault]]\noperation = \"GetObject\"\ntimes = 0\ndo = \"corrupt\"\n";
    fs::write(&file, faults).unwrap();
    let autorun = autorun.args(["--faults", &file.display().to_string()]);
    let output = autorun.run().exits(0).stdout;
    let lines: Vec<&str> = output.lines().collect();
    for line in &lines[..3] {
        assert!(
            line.starts_with("unreachable: cannot download `logo.png`"),
            "{output}"
        );
        assert!(line.contains("checksum"), "{output}");
    }
    assert_eq!(lines[3..], ["before", "unreachable", "0"], "{output}");
}
