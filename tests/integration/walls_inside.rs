//! Replaces the files that pid 1 of an instance reads with other objects. The
//! instance must boot or fail, and stop, within a limited time.

use std::time::{Duration, Instant};

use crate::local_cloud::first_home;
use crate::support::cloud::LocalCloud;

/// Files that pid 1 and the ssh server read or write.
const FILES: [&str; 21] = [
    "/etc/group",
    "/etc/shadow",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/machine-id",
    "/etc/environment",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/shells",
    "/etc/skel/.profile",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/systemd/system/odd.service",
    "/etc/systemd/system/odd.service.d/odd.conf",
    "/etc/systemd/system/multi-user.target.wants/odd.service",
    "/var/lib/cloud/data/instance-id",
    "/var/lib/cloud/instance/user-data.txt",
    "/var/lib/cloud/instance/user-data-result",
    "/var/log/cloud-init-output.log",
    "/var/log/messages",
    "/var/log/journal/autorun.jsonl",
];

/// The replacements, created by a shell with the path in `$f`.
const ODD: [(&str, &str); 6] = [
    ("a fifo", "mkfifo \"$f\""),
    ("a directory", "mkdir \"$f\""),
    ("a link to zeros", "ln -s /dev/zero \"$f\""),
    ("a link to itself", "ln -s \"$f\" \"$f\""),
    ("ten gigabytes", "truncate -s 10G \"$f\""),
    (
        "a socket",
        "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' \"$f\"",
    ),
];

/// A service with a named pipe as its environment file and a stop command
/// that hangs.
const SERVICE: &str = "mkdir -p /etc/systemd/system/multi-user.target.wants; \
    printf '[Service]\\nEnvironmentFile=/etc/odd.env\\nPIDFile=/run/odd.pid\\nType=forking\\n\
    ExecStart=/bin/sh -c \"sleep 600 &\"\\nExecStop=/bin/sleep 600\\n' \
    >/etc/systemd/system/wait.service; mkfifo /etc/odd.env; \
    ln -sf ../wait.service /etc/systemd/system/multi-user.target.wants/wait.service; ";

#[test]
fn no_replacement_of_a_file_blocks_an_instance() {
    let cloud = LocalCloud::start();
    let launch = r##"
        let key = create_key_pair("odd");
        let group = create_security_group("odd");
        let options = #{ key_pair: key, security_groups: [group], count: 6,
            user_data: "#!/bin/sh\ntrue\n" };
        let servers = wait_until_ready(launch_instance(options));
        for server in servers { print(server.id + " " + server.private_ip); }
    "##;
    let first = cloud.autorun().playbook(launch);
    let ended = first.run().exits(0);
    let ids: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(ids.len(), ODD.len());
    let run = |playbook: &str| {
        let autorun = first_home(&cloud, &first).playbook(playbook);
        let key = first.home.path().join(".local/share/autorun/keys/odd");
        std::fs::copy(key, autorun.home.path().join(".ssh/id_ed25519")).unwrap();
        autorun.run()
    };
    for (line, (what, make)) in ids.iter().zip(ODD) {
        let (id, address) = line.split_once(' ').unwrap();
        let files = FILES.join(" ");
        let command = format!(
            "{SERVICE} for f in {files}; do mkdir -p \"${{f%/*}}\"; rm -rf \"$f\"; {make}; done; true"
        );
        let command = serde_json::to_string(&command).unwrap();
        let spoil =
            format!("ssh_exec(\"{id}\", {command}, #{{ sudo: true, timeout: 60 }}); print(1);");
        assert!(run(&spoil).exits(0).stdout.ends_with("1\n"));
        let took = |playbook: String, most: u64| {
            let began = Instant::now();
            let ended = run(&playbook);
            let seconds = began.elapsed().as_secs();
            assert!(
                began.elapsed() < Duration::from_secs(most),
                "{what}: `{playbook}` took {seconds} s\n{}",
                ended.stderr
            );
            ended
        };
        // A login reads the account files and the environment.
        let _ = took(
            format!(
                "ssh_exec(\"{id}\", \"systemctl is-active odd wait\", #{{ check: false, timeout: 10 }});"
            ),
            15,
        );
        let _ = took(format!("stop_instance(\"{id}\");"), 30);
        let started = took(format!("start_instance(\"{id}\");"), 40);
        // A key file of ten gigabytes cannot be read.
        let refused = what == "ten gigabytes";
        assert_eq!(
            started.status == Some(0),
            !refused,
            "{what}: {}",
            started.stderr
        );
        if !refused {
            // The host key may be new, because the old one was replaced.
            let place: std::net::SocketAddr = format!("{address}:22").parse().unwrap();
            let mut banner = [0; 8];
            let patience = Duration::from_secs(10);
            let mut ssh = std::net::TcpStream::connect_timeout(&place, patience).unwrap();
            ssh.set_read_timeout(Some(patience)).unwrap();
            std::io::Read::read_exact(&mut ssh, &mut banner).unwrap();
            assert_eq!(&banner, b"SSH-2.0-", "{what}");
            let _ = took(format!("reboot_instance(\"{id}\");"), 30);
        }
        let _ = took(format!("terminate_instance(\"{id}\");"), 30).exits(0);
    }
}
