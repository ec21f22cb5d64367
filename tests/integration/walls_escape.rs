//! Runs the escape probe in an instance, with canaries on the host. Also
//! checks that two hundred instances and a killed daemon leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::local_cloud::{becomes_true, first_home, succeeds};
use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended};

const PROBE: &str = "tests/walls/escape.py";

/// Private resources of the host, each with a content that shows whether the
/// probe has reached it.
struct Canaries {
    name: String,
    content: String,
    paths: Vec<PathBuf>,
    key: String,
    process: Child,
    /// Datagrams from instances, and the port that receives them.
    datagrams: Arc<AtomicUsize>,
    udp_port: u16,
    tcp_port: u16,
    loopback_port: u16,
}

impl Canaries {
    fn plant() -> Self {
        let random = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        let random = random.trim().replace('-', "");
        let name = format!("autorun-canary-{random}");
        let content = format!("canary:{random}");
        let key = format!("{name}-key");
        let key = succeeds(Command::new("python3").args([PROBE, "plant-key", &key, &content]));
        let process = Command::new("python3")
            .args([
                "-c",
                "import time; time.sleep(3600)",
                &format!("canary {name}"),
            ])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
        let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut canaries = Self {
            key: key.trim().to_owned(),
            process,
            datagrams: Arc::default(),
            udp_port: udp.local_addr().unwrap().port(),
            tcp_port: tcp.local_addr().unwrap().port(),
            loopback_port: loopback.local_addr().unwrap().port(),
            paths: Vec::new(),
            name,
            content,
        };
        for listener in [tcp, loopback] {
            canaries.answer(listener, |listener| Ok(listener.accept()?.0));
        }
        let abstract_name = SocketAddr::from_abstract_name(&canaries.name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&abstract_name).unwrap();
        canaries.answer(abstract_socket, |listener| Ok(listener.accept()?.0));
        for socket in canaries.sockets() {
            let listener = UnixListener::bind(&socket).unwrap();
            canaries.paths.push(socket);
            canaries.answer(listener, |listener| Ok(listener.accept()?.0));
        }
        let count = Arc::clone(&canaries.datagrams);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, _)) = udp.recv_from(&mut buffer) {
                if buffer[..length].starts_with(b"escape-datagram") {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        canaries.plant_files("before");
        canaries
    }

    /// Sends the content to each connection.
    fn answer<L, S>(&self, listener: L, accept: impl Fn(&L) -> std::io::Result<S> + Send + 'static)
    where
        L: Send + 'static,
        S: std::io::Write,
    {
        let content = self.content.clone();
        std::thread::spawn(move || {
            while let Ok(mut stream) = accept(&listener) {
                drop(stream.write_all(content.as_bytes()));
            }
        });
    }

    /// Sockets in directories that instances have, too.
    fn sockets(&self) -> Vec<PathBuf> {
        ["/run", "/tmp", "/var/tmp", "/usr/share"]
            .map(|place| Path::new(place).join(format!("{}.socket", self.name)))
            .into()
    }

    /// Creates files that belong to no package, both private and readable for
    /// all users.
    fn plant_files(&mut self, when: &str) {
        let places = [
            "/etc",
            "/etc/ssl/private",
            "/root",
            "/home",
            "/usr/share",
            "/usr/lib",
            "/usr/local/bin",
            "/var/lib",
            "/opt",
            "/srv",
        ];
        for place in places.iter().filter(|place| Path::new(place).is_dir()) {
            for mode in [0o600, 0o644] {
                let path = Path::new(place).join(format!("{}-{when}-{mode:o}", self.name));
                fs::write(&path, format!("{}\n", self.content)).unwrap();
                self.paths.push(path.clone());
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }

    /// Describes the canaries for the probe, with hashes in place of their
    /// contents.
    fn described(&self, cloud: &LocalCloud, peer: &Value) -> Value {
        let hash = |data: &[u8]| {
            let mut sum = Command::new("sha256sum");
            let mut child = sum
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(data).unwrap();
            let output = child.wait_with_output().unwrap();
            String::from_utf8(output.stdout).unwrap()[..64].to_owned()
        };
        let endpoint = endpoint(cloud);
        let gateway = endpoint.split(':').next().unwrap();
        let addresses = succeeds(Command::new("hostname").arg("-I"));
        let addresses: Vec<&str> = addresses.split_whitespace().collect();
        let files: Vec<_> = self.paths.iter().filter(|path| path.is_file()).collect();
        let keys = fs::read_dir("/etc/ssh").into_iter().flatten().flatten();
        let keys = keys.filter(|file| file.path().extension().is_some_and(|ext| ext == "pub"));
        let keys: Vec<_> = keys
            .filter_map(|file| fs::read_to_string(file.path()).ok())
            .filter_map(|line| Some(hash(line.split_whitespace().nth(1)?.as_bytes())))
            .collect();
        let gib = 1_u64 << 30;
        json!({
            "files": files,
            "contents": [hash(self.content.as_bytes())],
            "state": [cloud.home(), cloud.home().join("state"), Path::new("/var/lib/autorun")],
            "host_keys": keys,
            "key": { "description": format!("{}-key", self.name),
                     "number": self.key.parse::<i64>().unwrap() },
            "process": self.process.id(),
            "abstract": [self.name],
            "sockets": self.sockets(),
            "service": { "gateway": gateway, "addresses": addresses, "port": self.tcp_port,
                         "udp_port": self.udp_port, "loopback_port": self.loopback_port },
            "peer": peer,
            "endpoint": endpoint,
            "limits": { "memory": gib, "tasks": 2_100, "disk": 8 * gib },
            "leftover": format!("leftover-{}", self.name),
            "user_data_mark": "/var/tmp/user-data-ran",
        })
    }

    /// Checks that the canaries are unchanged.
    fn are_whole(&mut self) {
        assert!(
            self.process.try_wait().unwrap().is_none(),
            "the canary process is gone"
        );
        for path in self.paths.iter().filter(|path| path.is_file()) {
            let content = fs::read_to_string(path).unwrap();
            assert_eq!(content.trim(), self.content, "{}", path.display());
        }
        assert!(self.paths.iter().all(|path| path.exists()));
        assert_eq!(
            self.datagrams.load(Ordering::Relaxed),
            0,
            "datagrams reached the host"
        );
        let keys = fs::read_to_string("/proc/keys").unwrap();
        assert!(
            keys.contains(&format!("{}-key", self.name)),
            "the key is gone"
        );
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        for path in &self.paths {
            drop(fs::remove_file(path));
        }
        drop(self.process.kill());
        drop(self.process.wait());
        drop(
            Command::new("python3")
                .args([PROBE, "remove-key", &self.key])
                .status(),
        );
    }
}

fn endpoint(cloud: &LocalCloud) -> String {
    let env = cloud.env();
    let endpoint = env.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL");
    endpoint.unwrap().1.trim_start_matches("http://").to_owned()
}

/// Launches two instances: that of the probe and its neighbour.
const LAUNCH: &str = r##"
    let key = create_key_pair("walls");
    let group = create_security_group("walls");
    let options = #{ key_pair: key, security_groups: [group], type: "t3.micro",
        user_data: "#!/bin/sh\ntouch /var/tmp/user-data-ran\n" };
    for name in ["probe", "peer"] {
        options.name = name;
        let server = wait_until_ready(launch_instance(options));
        scp(server, "tests/walls/escape.py", "escape.py");
        print(server.id);
        print(server.private_ip);
    }
"##;

/// Runs commands as root in the two instances and prints their output.
struct Inside<'a> {
    cloud: &'a LocalCloud,
    first: &'a Autorun,
}

impl Inside<'_> {
    fn run(&self, id: &str, command: &str) -> Ended {
        let command = serde_json::to_string(command).unwrap();
        let playbook = format!(
            "let done = ssh_exec(\"{id}\", {command}, #{{ sudo: true, check: false, timeout: 900 }});\n\
             print(done.stdout); print(done.stderr); print(`status ${{done.status}}`);"
        );
        self.playbook(&playbook)
    }

    /// Runs a playbook with the key that the first run created.
    fn playbook(&self, playbook: &str) -> Ended {
        let autorun = first_home(self.cloud, self.first).playbook(playbook);
        let key = self
            .first
            .home
            .path()
            .join(".local/share/autorun/keys/walls");
        fs::copy(key, autorun.home.path().join(".ssh/id_ed25519")).unwrap();
        let ended = autorun.run();
        if ended.status != Some(0) {
            self.show_consoles();
        }
        ended.exits(0)
    }

    /// Prints the instances' consoles after a failure.
    fn show_consoles(&self) {
        for disk in fs::read_dir(self.cloud.home().join("state/instances")).unwrap() {
            let console = disk.unwrap().path().join("console.log");
            let text = fs::read(&console).unwrap_or_default();
            let from = text.len().saturating_sub(2_000);
            let end = String::from_utf8_lossy(&text[from..]);
            println!("{}:\n{end}", console.display());
        }
    }
}

#[test]
fn nothing_escapes_from_an_instance() {
    let mut canaries = Canaries::plant();
    let cloud = LocalCloud::start();
    canaries.plant_files("after");
    let first = cloud.autorun();
    let first = first.playbook(LAUNCH);
    let ended = first.run().exits(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [id, _, peer_id, peer_address] = lines[..] else {
        panic!("{}", ended.stdout)
    };
    let inside = Inside {
        cloud: &cloud,
        first: &first,
    };
    let token = "curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 900' \
                 http://169.254.169.254/latest/api/token";
    let token = inside.run(peer_id, token).stdout;
    let token = token.lines().next().unwrap();
    let gateway = endpoint(&cloud);
    let gateway = gateway.split(':').next().unwrap();
    let listen = format!(
        "CANARY={} setsid python3 ~ec2-user/escape.py listen 4242 /var/tmp/record {gateway} \
         >/dev/null 2>&1 </dev/null & touch /var/tmp/record",
        canaries.content
    );
    let _ = inside.run(peer_id, &listen);
    let peer = json!({ "id": peer_id, "address": peer_address, "port": 4242, "token": token });
    let file = cloud.home().join("canaries.json");
    fs::write(&file, canaries.described(&cloud, &peer).to_string()).unwrap();
    let send = format!("scp(\"{id}\", \"{}\", \"canaries.json\");", file.display());
    let _ = inside.playbook(&send);

    let probed = inside.run(id, "cd ~ec2-user && python3 escape.py canaries.json");
    let output = &probed.stdout;
    println!("{output}");
    canaries.are_whole();
    let received = inside.run(peer_id, "cat /var/tmp/record").stdout;
    assert!(
        !received.contains("escape-datagram"),
        "the neighbour received {received}"
    );
    let still = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}' -H 'X-aws-ec2-metadata-token: {token}' \
         http://169.254.169.254/latest/meta-data/instance-id"
    );
    let still = inside.run(peer_id, &still).stdout;
    assert!(
        still.starts_with("200"),
        "the neighbour's token was evicted: {still}"
    );
    no_user_can_run_the_programs_left(&cloud);
    files_of_the_cloud_are_bounded(&cloud);

    // Kill all processes but pid 1, which must continue to serve.
    let _ = inside.run(id, "(sleep 0.2; kill -9 -1) >/dev/null 2>&1 & sleep 0.1");
    let again = inside.playbook(&format!("wait_for_ssh(\"{id}\"); reboot_instance(\"{id}\"); wait_until_ready(\"{id}\"); print(ssh_exec(\"{id}\", \"id -un\").stdout);"));
    assert!(again.stdout.contains("ec2-user"), "{}", again.stdout);
    canaries.are_whole();
    let began = Instant::now();
    let _ = inside.playbook(&format!(
        "terminate_instance(\"{id}\"); terminate_instance(\"{peer_id}\");"
    ));
    assert!(began.elapsed() < Duration::from_secs(30));
    let mark = format!("leftover-{}", canaries.name);
    becomes_true("no process is left", || processes_with(&mark).is_empty());

    let made: usize = output
        .lines()
        .filter(|line| line.starts_with("refused "))
        .count();
    let bad: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("GOT THROUGH") || line.starts_with("BROKEN"))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(made >= 60, "{made} attempts were refused");
    assert!(output.contains(" 0 got through"), "{output}");
}

/// Checks that users of the host cannot run set-id programs or programs with
/// capabilities that root of an instance has left, neither by path nor through
/// processes.
fn no_user_can_run_the_programs_left(cloud: &LocalCloud) {
    let home = cloud.home();
    let left = succeeds(
        Command::new("find")
            .args([home.as_os_str(), "-name".as_ref(), "escape-*".as_ref()])
            .args(["-perm", "/6000"]),
    );
    let mut paths: BTreeSet<String> = left.lines().map(str::to_owned).collect();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        for place in ["var/tmp", "usr/local/bin", "root", "tmp", "dev/shm"] {
            for name in ["escape-set-id", "escape-capable"] {
                let path = process.path().join("root").join(place).join(name);
                if path.is_file() {
                    paths.insert(path.display().to_string());
                }
            }
        }
    }
    for user in ["1000", "65534"] {
        let list: Vec<&String> = paths.iter().collect();
        let output = Command::new("setpriv")
            .args([
                &format!("--reuid={user}"),
                &format!("--regid={user}"),
                "--clear-groups",
                "sh",
                "-c",
            ])
            .args([
                "for path; do test -x \"$path\" && echo \"$path\"; done; true",
                "sh",
            ])
            .args(list)
            .output()
            .unwrap();
        let reached = String::from_utf8(output.stdout).unwrap();
        assert!(
            reached.is_empty(),
            "uid {user} of the host can run {reached}"
        );
    }
}

/// Checks that floods of console and log output have cost the host little.
fn files_of_the_cloud_are_bounded(cloud: &LocalCloud) {
    let found = succeeds(Command::new("find").arg(cloud.home()).args([
        "-type",
        "f",
        "-size",
        "+4M",
        "(",
        "-name",
        "*console*",
        "-o",
        "-name",
        "*.log",
        ")",
        "-not",
        "-path",
        "*/var/log/*",
        "-printf",
        "%s %p\n",
    ]));
    assert!(found.is_empty(), "too long:\n{found}");
}

fn processes_with(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|process| process.path().join("cmdline"))
        .filter_map(|path| fs::read_to_string(path).ok())
        .filter(|line| line.contains(mark))
        .collect()
}

/// The traces of this cloud on the whole machine.
#[derive(Debug, Default, PartialEq, Eq)]
struct Traces {
    processes: usize,
    namespaces: BTreeSet<String>,
    mounts: Vec<String>,
    groups: Vec<PathBuf>,
    loops: Vec<String>,
    disks: Vec<String>,
}

impl Traces {
    /// Returns the traces of the cloud with this home and of the given
    /// processes.
    fn of(home: &Path, pids: &[u32]) -> Self {
        let text = home.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut traces = Self {
            mounts: mounts
                .lines()
                .filter(|line| line.contains(&text))
                .map(str::to_owned)
                .collect(),
            ..Self::default()
        };
        for pid in pids {
            traces.processes += 1;
            for kind in ["mnt", "net", "pid", "user", "uts", "ipc", "cgroup"] {
                if let Ok(link) = fs::read_link(format!("/proc/{pid}/ns/{kind}")) {
                    traces.namespaces.insert(link.display().to_string());
                }
            }
        }
        groups_below(Path::new("/sys/fs/cgroup"), 4, &mut traces.groups);
        for disk in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let file = fs::read_to_string(disk.path().join("loop/backing_file"));
            traces
                .loops
                .extend(file.ok().filter(|file| file.contains(&text)));
        }
        for disk in fs::read_dir(home.join("state/instances"))
            .into_iter()
            .flatten()
            .flatten()
        {
            traces.disks.push(disk.file_name().display().to_string());
        }
        traces.groups.sort();
        traces
    }
}

/// The control groups of instances. Other tests' clouds may have some at the
/// same time.
fn groups_below(place: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().display().to_string().contains("autorun") {
            found.push(entry.path());
        } else if depth > 0 {
            groups_below(&entry.path(), depth - 1, found);
        }
    }
}

fn is_empty_group(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
}

#[test]
fn two_hundred_instances_and_a_killed_daemon_leave_nothing() {
    let home = {
        let cloud = LocalCloud::start();
        let family = || crate::local_cloud::descendants(cloud.pid());
        let quiet = Traces::of(cloud.home(), &family());
        let began = Instant::now();
        let playbook =
            "for round in 0..20 { terminate_instance(launch_instance(#{ count: 10 })); }";
        let _ = cloud.autorun().playbook(playbook).run().exits(0);
        println!(
            "200 instances were launched and terminated in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        becomes_true("the instances are gone", || {
            let now = Traces::of(cloud.home(), &family());
            now.processes == quiet.processes && now.disks.is_empty()
        });
        let now = Traces::of(cloud.home(), &family());
        assert_eq!((&now.mounts, &now.loops), (&quiet.mounts, &quiet.loops));
        assert!(
            now.namespaces.len() <= quiet.namespaces.len(),
            "{now:?}\n{quiet:?}"
        );
        // Control groups of other clouds may appear and vanish, but they have
        // processes.
        becomes_true("no empty group is left", || {
            let groups = Traces::of(cloud.home(), &[]).groups;
            let mut new = groups.iter().filter(|group| !quiet.groups.contains(group));
            !new.any(|group| is_empty_group(group))
        });

        // Kill the daemon while instances are running.
        let _ = cloud
            .autorun()
            .playbook("launch_instance(#{ count: 5 });")
            .run()
            .exits(0);
        let alive = family();
        let gateway = format!(" {}/", endpoint(&cloud).split(':').next().unwrap());
        assert!(alive.len() >= 5, "{alive:?}");
        let pid = cloud.pid();
        succeeds(Command::new("kill").args(["-9", &pid.to_string()]));
        becomes_true("all processes of the cloud are gone", || {
            let exists = |pid: &u32| {
                let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let state = line.rsplit(')').next().unwrap_or_default().trim_start();
                !state.is_empty() && !state.starts_with('Z')
            };
            !alive.iter().any(exists)
        });
        let path = cloud.home().to_owned();
        let left = Traces::of(&path, &[]);
        assert!(left.mounts.is_empty() && left.loops.is_empty(), "{left:?}");
        becomes_true("the cloud's interface is gone", || {
            let addresses = succeeds(Command::new("ip").args(["-o", "-4", "address"]));
            !addresses.contains(&gateway)
        });
        // The instances' disks remain for the next start and are removed with
        // the instances.
        let _ = cloud.cloud("up").exits(0);
        let end = "for server in list_instances(#{}) { terminate_instance(server); }";
        let _ = cloud.autorun().playbook(end).run().exits(0);
        becomes_true("disks of the dead are gone", || {
            Traces::of(&path, &[]).disks.is_empty()
        });
        let _ = cloud.cloud("down").exits(0);
        path
    };
    let left = Traces::of(&home, &[]);
    assert!(left.mounts.is_empty() && left.loops.is_empty(), "{left:?}");
}
