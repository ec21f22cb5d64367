//! The local cloud's isolation: who can use it, what an instance can see of
//! this machine, and how it handles invalid requests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use crate::local_cloud::{becomes_true, children, first_home, succeeds};
use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended};

#[test]
fn without_root_buckets_work_and_a_launch_reports_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    // A user without rights, and the files that this user can read.
    let own = home.path().join("autorun");
    fs::copy(env!("CARGO_BIN_EXE_autorun"), &own).unwrap();
    succeeds(
        Command::new("chown")
            .arg("-R")
            .arg("65534:65534")
            .arg(home.path()),
    );
    succeeds(Command::new("chmod").arg("755").arg(home.path()));
    let playbook = home.path().join("p.rhai");
    fs::write(
        &playbook,
        // A launch that the check before the run cannot detect.
        "print(create_bucket(\"mine\").name.len() > 0);\n\
         let name = \"launch_\"; name += \"instance\";\nFn(name).call(#{});\n",
    )
    .unwrap();
    let as_other_user = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&own)
            .args(arguments)
            .env_clear()
            .env("HOME", home.path())
            .env("AUTORUN_CLOUD_HOME", home.path().join("cloud"))
            .env("PATH", "/usr/bin:/bin");
        Ended::of(&command.output().unwrap(), home.path())
    };
    let ended = as_other_user(&["--local", &playbook.display().to_string()]).exits(1);
    assert_eq!(ended.stdout, "true\n", "{}", ended.stderr);
    let command = format!("sudo {} cloud up", own.display());
    assert!(
        ended.messages().contains(&command),
        "no `{command}` in\n{}",
        ended.stderr
    );
    assert!(!ended.messages().contains("hint: "), "{}", ended.stderr);
    let _ = as_other_user(&["cloud", "down"]).exits(0);
}

#[test]
fn invalid_requests_are_refused_and_cost_nothing() {
    let cloud = LocalCloud::start();
    let env = cloud.env();
    let endpoint = &env
        .iter()
        .find(|(name, _)| name == "AWS_ENDPOINT_URL")
        .unwrap()
        .1;
    let address: SocketAddr = endpoint.trim_start_matches("http://").parse().unwrap();
    let ask = |request: &[u8]| -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        // A connection reset also counts as a response.
        drop(stream.take(1 << 16).read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    };
    let post = |headers: &str, body: &str| {
        ask(format!(
            "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        ).as_bytes())
    };
    assert!(post("", "Action=DescribeRegions").contains("MissingAuthenticationToken"));
    let half =
        "authorization: AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/ec2/aws4_request\r\n";
    assert!(post(half, "Action=DescribeRegions").contains("IncompleteSignature"));
    let rebound = ask(b"GET / HTTP/1.1\r\nhost: attacker.example\r\nconnection: close\r\n\r\n");
    assert!(rebound.contains("403 Forbidden"), "{rebound}");
    let huge = format!(
        "PUT /b/k HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 10000000000\r\n\r\nshort"
    );
    let refused = ask(huge.as_bytes());
    assert!(refused.is_empty() || refused.contains(" 40"), "{refused}");

    let memory = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", cloud.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    random_requests(address, 2_000);
    let before = memory();
    random_requests(address, 98_000);
    let grown = memory().saturating_sub(before);
    assert!(
        grown < 16_000,
        "{grown} KiB more after 100,000 random requests"
    );
    let log = fs::read_to_string(cloud.home().join("state/cloud.log")).unwrap();
    assert!(
        !log.contains("panicked") && !log.contains("internal error of autorun"),
        "{log}"
    );
    let _ = cloud.cloud("status").exits(0);
}

/// Sends requests that partly look like those of AWS clients, several on each
/// connection.
fn random_requests(address: SocketAddr, count: u32) {
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let methods = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS"];
    let paths = [
        "/",
        "/b",
        "/b/k",
        "//",
        "/b/%ff",
        "/b/..%2f..",
        "/_autorun/status",
        "/?Action=RunInstances",
        "/b?policy",
        "/b?uploads",
        "/b/k?partNumber=1&uploadId=x",
        "/b?list-type=2&max-keys=-1",
        "/b/k?X-Amz-Signature=0",
        "/%",
    ];
    let headers = [
        "authorization: AWS4-HMAC-SHA256 Credential=x",
        "authorization: AWS4-HMAC-SHA256 Credential=A/2/3/s3/aws4_request, SignedHeaders=host, Signature=0",
        "authorization: AWS4-HMAC-SHA256 Credential=A/2/3/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature=0",
        "x-amz-date: now",
        "range: bytes=9-1",
        "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "content-type: application/x-www-form-urlencoded",
        "expect: 100-continue",
        "x-amz-copy-source: %",
    ];
    let bodies = [
        "",
        "Action=",
        "Action=RunInstances&MinCount=x",
        "<a><b>",
        "5;chunk-signature=0\r\nabc",
        "{\"Statement\":1}",
        "\u{0}\u{1}%%%",
    ];
    let host = &address.to_string();
    let mut sent = 0;
    while sent < count {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut text = String::new();
        for _ in 0..50 {
            let body = bodies[random(bodies.len())];
            let (method, path) = (random(methods.len()), random(paths.len()));
            text.extend([methods[method], " ", paths[path], " HTTP/1.1\r\n"]);
            text.extend(["host: ", host, "\r\n"]);
            for _ in 0..random(4) {
                text.extend([headers[random(headers.len())], "\r\n"]);
            }
            let length = body.len().to_string();
            text.extend(["content-length: ", &length, "\r\n\r\n", body]);
        }
        sent += 50;
        drop(stream.write_all(text.as_bytes()));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answers = Vec::new();
        drop(stream.read_to_end(&mut answers));
        assert!(
            answers.is_empty() || answers.starts_with(b"HTTP/1.1 "),
            "{}",
            String::from_utf8_lossy(&answers)
        );
    }
}

/// A program that ends with the test, even if the test fails.
struct EndsWithTheTest(Child);

impl EndsWithTheTest {
    fn end(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for EndsWithTheTest {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_man_in_the_middle_is_refused() {
    let cloud = LocalCloud::start();
    let launch = r#"
        let key = create_key_pair("mitm");
        let group = create_security_group("mitm");
        let server = launch_instance(#{ key_pair: key, security_groups: [group] });
        print(server.id);
        print(server.public_ip);
    "#;
    let first = cloud.autorun().playbook(launch);
    let ended = first.run().exits(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [id, address] = lines[..] else {
        panic!("{}", ended.stdout)
    };
    // A real sshd between client and instance, in the network that joins them.
    // That network belongs to a child of the cloud's process. Find the child
    // by its namespace, because process ids can wrap.
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let of_cloud = children(cloud.pid()).into_iter();
    let mut in_another = of_cloud.filter(|pid| network(&pid.to_string()) != network("self"));
    let switch = in_another.next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    succeeds(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key),
    );
    fs::create_dir_all("/run/sshd").unwrap();
    let inside = |program: &str| {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{switch}/ns/net"))
            .arg(program);
        command
    };
    let sshd = inside("/usr/sbin/sshd")
        .args(["-D", "-e", "-p", "2222", "-f", "/dev/null", "-h"])
        .arg(&key)
        .stderr(fs::File::create(dir.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut sshd = EndsWithTheTest(sshd);
    let redirect = format!(
        "add table ip middle; add chain ip middle p {{ type nat hook prerouting priority -100; }}; \
         add rule ip middle p ip daddr {address} tcp dport 22 dnat to 169.254.1.1:2222; \
         insert rule inet autorun_walls input tcp dport 2222 accept"
    );
    // The switch itself has no rule for such traffic.
    succeeds(inside("nft").arg(redirect));
    becomes_true("the man in the middle listens", || {
        fs::read_to_string(dir.path().join("log"))
            .unwrap()
            .contains("listening")
    });
    for host_key in ["", "host_key: \"first_use\",", "host_key: \"strict\","] {
        let wait = format!("wait_until_ready(\"{id}\", #{{ {host_key} timeout: 20 }});");
        let ended = first_home(&cloud, &first).playbook(&wait).run().exits(1);
        assert!(
            ended
                .messages()
                .contains("is not the one its console shows"),
            "{}",
            ended.stderr
        );
    }
    // The impostor was probed for readiness and saw the user's name, but no
    // login.
    sshd.end();
    let seen = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!seen.contains("Accepted"), "{seen}");
}

#[test]
fn a_user_without_root_uses_a_cloud_that_sudo_started() {
    let home = tempfile::tempdir().unwrap();
    succeeds(Command::new("chmod").arg("755").arg(home.path()));
    let users = home.path().join("home");
    fs::create_dir(&users).unwrap();
    let own = users.join("autorun");
    fs::copy(env!("CARGO_BIN_EXE_autorun"), &own).unwrap();
    succeeds(
        Command::new("chown")
            .arg("-R")
            .arg("65534:65534")
            .arg(&users),
    );
    let place = home.path().join("cloud").display().to_string();
    let root = || Autorun::new().env("AUTORUN_CLOUD_HOME", &place);
    let sudo = root().env("SUDO_UID", "65534").env("SUDO_GID", "65534");
    let ended = sudo.args(["cloud", "up"]).run().exits(0);
    assert!(ended.stdout.contains("/65534.json"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("protect it like a password"),
        "{}",
        ended.stdout
    );

    let playbook = users.join("p.rhai");
    let text = r#"
        let key = create_key_pair("mine");
        let group = create_security_group("mine");
        let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
        scp(server, "assets/logo.png", "logo.png");
        print(ssh_exec(server, "sudo -n id -un; wc -c <logo.png").stdout);
        terminate_instance(server);
    "#;
    fs::write(&playbook, text).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&own)
        .arg("--local")
        .arg(&playbook)
        .env_clear()
        .env("HOME", &users)
        .env("AUTORUN_CLOUD_HOME", &place)
        .env("PATH", "/usr/bin:/bin")
        .current_dir(crate::support::root())
        .output()
        .unwrap();
    let ended = Ended::of(&output, home.path()).exits(0);
    let size = fs::metadata(crate::support::root().join("assets/logo.png"))
        .unwrap()
        .len();
    assert_eq!(
        ended.stdout.trim(),
        format!("root\n{size}"),
        "{}",
        ended.stderr
    );
    let _ = root().args(["cloud", "down"]).run().exits(0);
}

#[test]
fn an_instance_sees_nothing_private_of_this_machine() {
    // Typical targets on a host: a service on all addresses, and private files
    // of root.
    let service = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let secret = tempfile::Builder::new()
        .prefix("secret")
        .tempfile_in("/etc")
        .unwrap();
    fs::write(secret.path(), "of root's").unwrap();
    let cloud = LocalCloud::start();
    let playbook = format!(
        r#"
        let key = create_key_pair("walls");
        let group = create_security_group("walls");
        let options = #{{ key_pair: key, security_groups: [group] }};
        let server = wait_until_ready(launch_instance(options));
        let as_root = |command| ssh_exec(server, command, #{{ sudo: true, check: false, timeout: 30 }});
        let refuses = |command| {{
            let done = as_root.call(command);
            assert(done.status != 0, `${{command}} succeeded: ${{done.stdout}}`);
        }};
        refuses.call("cat {secret}");
        refuses.call("ls {home}/state");
        refuses.call("ls -A ~root | grep -vx .ssh");
        refuses.call("ls -A ~root/.ssh | grep -vx authorized_keys");
        for place in ["/home/*/.ssh/id_*", "/etc/ssl/private/*.key", "/var/lib/autorun/*/*"] {{
            refuses.call(`ls ${{place}}`);
        }}
        refuses.call("timeout 3 bash -c '</dev/tcp/{gateway}/{port}'");
        refuses.call("timeout 3 bash -c '</dev/tcp/192.0.2.1/80'");
        for target in ["http://127.0.0.1:{port}/", "http://{gateway}:{port}/", "http://169.254.169.254/",
            "http://10.0.0.1/", "http://[::1]:80/", "http://localhost:{port}/", "http://example.com:22/"] {{
            let asked = as_root.call(`curl -sS -m 10 --noproxy '' -o /dev/null -w '%{{http_code}}' -x http://127.0.0.1:3128 ${{target}}`);
            assert(asked.stdout == "403", `${{target}}: ${{asked.stdout}} ${{asked.stderr}}`);
        }}
        refuses.call("mount -t tmpfs tmpfs /mnt");
        refuses.call("mknod /tmp/disk b 8 0");
        refuses.call("echo 1 >/proc/sys/kernel/panic_on_oops");
        refuses.call("ip link add dummy0 type dummy");
        refuses.call("nft flush ruleset");
        refuses.call("sh -c 'echo x >/proc/1/exe'");
        // Nor can it read the environment of the daemon or the processes of
        // another instance.
        assert(as_root.call("tr '\\0' '\\n' </proc/1/environ").stdout == "");
        assert(as_root.call("ls -d /proc/[0-9]* | wc -l").stdout.len < 4);
        terminate_instance(server);
        "#,
        secret = secret.path().display(),
        home = cloud.home().display(),
        gateway = gateway(&cloud),
    );
    let ended = cloud.autorun().playbook(&playbook).run();
    let _ = ended.exits(0);
}

fn gateway(cloud: &LocalCloud) -> String {
    let env = cloud.env();
    let endpoint = env.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL");
    let host = endpoint.unwrap().1.trim_start_matches("http://").to_owned();
    host.split(':').next().unwrap().to_owned()
}
