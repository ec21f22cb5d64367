//! Logins to OpenSSH servers with different settings: the order of the keys, the
//! server's limit, passwords, certificates, and what the errors name.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use regex_lite::Regex;
use serde_json::json;

use crate::support::{Autorun, Ended, HOST, Lab};

/// Starts further servers on the host, each with a port and options of sshd.
fn start_servers(lab: &Lab, servers: &[(u16, &str)]) {
    let mut playbook = format!("let web = host(\"{HOST}\");\n");
    let mut root = |command: &str| {
        let _ = writeln!(playbook, "ssh_exec(web, {command:?}, #{{ sudo: true }});");
    };
    root("echo admin:hunter22 | chpasswd; useradd -m other; echo other:hunter22 | chpasswd");
    for (port, options) in servers {
        root(&format!(
            "/usr/sbin/sshd -p {port} -o PidFile=none {options}"
        ));
    }
    let _ = lab.autorun().playbook(&playbook).run().exits(0);
}

/// Logs in to a port of the host with these options.
fn log_in(autorun: Autorun, port: u16, options: &str) -> Ended {
    let playbook = format!(
        "let password = \"hunter22\"; let wrong = \"hunter23\";\n\
         print(ssh_exec(host(\"{HOST}:{port}\", #{{ {options} }}), \"id -un\").stdout);"
    );
    autorun.playbook(&playbook).run()
}

fn new_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C"])
        .arg(path)
        .arg("-f")
        .arg(path)
        .status();
    assert!(made.unwrap().success());
}

/// An agent, which ends with this value.
struct Agent(Child);

impl Agent {
    fn start(home: &Path, keys: &[&str]) -> Self {
        let socket = home.join("agent");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self(child);
        // The file exists before the agent listens.
        while UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        for key in keys {
            let added = Command::new("ssh-add")
                .arg("-q")
                .arg(home.join(key))
                .env("SSH_AUTH_SOCK", &socket)
                .stderr(Stdio::null())
                .status();
            assert!(added.unwrap().success());
        }
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn keys_are_offered_in_the_order_of_ssh() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    let home = autorun.home.path().to_owned();
    for key in ["a", "b", "c", "d", "e"] {
        new_key(&home.join(key));
    }
    let _agent = Agent::start(&home, &["a", "b", "c"]);
    // The private key of `b` is only in the agent.
    fs::remove_file(home.join("b")).unwrap();
    let config = |more: &str| {
        format!(
            "Match all\n User absent\n IdentityFile {0}/d\n IdentityFile {0}/c\n IdentityFile \
             {0}/b\n IdentityFile {0}/e\n UserKnownHostsFile {0}/.ssh/known_hosts\n IdentityAgent \
             {0}/agent\n{more}",
            home.display()
        )
    };
    for more in ["", " IdentitiesOnly yes\n"] {
        let file = home.join(".ssh/config");
        fs::write(&file, config(more)).unwrap();
        let ssh = lab
            .inside("ssh")
            .args(["-v", "-o", "BatchMode=yes", "-F"])
            .arg(&file)
            .args([HOST, "true"])
            .output()
            .unwrap();
        let log = String::from_utf8(ssh.stderr).unwrap();
        let offer = Regex::new(r"Offering public key: (\S+) ").unwrap();
        let offered: Vec<String> = offer
            .captures_iter(&log)
            .map(|found| found[1].to_owned())
            .collect();
        assert!(offered.len() >= 4, "{log}");
        let playbook = home.join("playbook.rhai");
        fs::write(&playbook, format!("ssh_exec(\"{HOST}\", \"true\");")).unwrap();
        let output = autorun.command().arg(&playbook).output().unwrap();
        let ended = Ended::of(&output, &home).exits(1);
        let messages = ended.messages();
        let tried = messages.split_once("tried ").unwrap().1;
        let name = Regex::new(r"`(/[^`]+)`").unwrap();
        let ours: Vec<String> = name
            .captures_iter(tried.split_once(" --> ").unwrap().0)
            .map(|found| found[1].to_owned())
            .collect();
        assert_eq!(ours, offered, "{messages}\n{log}");
    }
}

#[test]
fn the_limit_of_the_host_ends_the_attempts() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    let home = autorun.home.path().to_owned();
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for key in keys {
        new_key(&home.join(key));
    }
    let _agent = Agent::start(&home, &keys);
    let socket = home.join("agent").display().to_string();
    let ended = log_in(autorun.env("SSH_AUTH_SOCK", &socket), 22, "").exits(1);
    let messages = ended.messages();
    assert!(
        messages.contains("Too many authentication failures"),
        "{messages}"
    );
    assert!(messages.contains("/a`, the agent's"), "{messages}");
    let (offered, left_out) = messages.split_once("not tried").unwrap();
    assert!(
        !offered.contains("/h`") && left_out.contains("/h`"),
        "{messages}"
    );
    assert!(left_out.contains(".ssh/id_ed25519`"), "{messages}");
    assert!(messages.contains("MaxAuthTries"), "{messages}");
}

#[test]
fn passwords_and_questions_are_answered() {
    let lab = Lab::start(&json!({}));
    start_servers(
        &lab,
        &[
            (
                2201,
                "-o PubkeyAuthentication=no -o PasswordAuthentication=yes -o \
                 KbdInteractiveAuthentication=no -o UsePAM=no",
            ),
            (
                2202,
                "-o PubkeyAuthentication=no -o PasswordAuthentication=no -o \
                 KbdInteractiveAuthentication=yes -o UsePAM=yes",
            ),
            (
                2203,
                "-o AuthenticationMethods=publickey,password -o PasswordAuthentication=yes -o UsePAM=no",
            ),
            (
                2204,
                "-o PasswordAuthentication=no -o KbdInteractiveAuthentication=no",
            ),
            (
                2205,
                "-o AllowUsers=other -o PasswordAuthentication=yes -o UsePAM=no -o Banner=/etc/lab-banner",
            ),
        ],
    );
    let call = |port, options: &str| log_in(lab.autorun(), port, options);
    for port in [2201, 2202] {
        assert_eq!(
            call(port, "password: password").exits(0).stdout,
            "admin\n\n"
        );
        let wrong = call(port, "password: wrong").exits(1).messages();
        assert!(
            wrong.contains("refused the login; tried the password"),
            "{wrong}"
        );
        assert!(!wrong.contains("hunter23\""), "{wrong}");
        let none = call(port, "").exits(1).messages();
        let accepts = if port == 2201 {
            "password"
        } else {
            "keyboard-interactive"
        };
        assert!(
            none.contains(&format!("the host accepts only {accepts}")),
            "{none}"
        );
        assert!(none.contains("pass `password` to host()"), "{none}");
    }
    // Both are required.
    assert_eq!(
        call(2203, "password: password").exits(0).stdout,
        "admin\n\n"
    );
    let options = "password: password, key: \"~/.ssh/id_ed25519\"";
    assert_eq!(call(2203, options).exits(0).stdout, "admin\n\n");
    let key = call(2203, "").exits(1).messages();
    assert!(
        key.contains("accepts the key, but also wants password"),
        "{key}"
    );
    let wrong = call(2203, "password: wrong").exits(1).messages();
    assert!(
        wrong.contains("accepts the key, but refused the password"),
        "{wrong}"
    );

    let only_keys = call(2204, "password: password").exits(0);
    assert_eq!(only_keys.stdout, "admin\n\n", "{}", only_keys.stderr);
    let forbidden = call(2205, "password: password").exits(1).messages();
    assert!(
        forbidden.contains("refused the login; tried the password"),
        "{forbidden}"
    );
    let other = call(2205, "user: \"other\", password: password").exits(0);
    assert_eq!(other.stdout, "other\n\n");
}

#[test]
fn a_wrong_passphrase_is_named_for_each_format_of_keys() {
    let lab = Lab::start(&json!({}));
    for (kind, format) in [("rsa", "PEM"), ("ecdsa", "PKCS8"), ("ed25519", "RFC4716")] {
        let autorun = lab.autorun();
        let key = autorun.home.path().join("locked");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-m", format, "-N", "passphrase", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        let options = "key: \"~/locked\", passphrase: wrong";
        let messages = log_in(autorun, 22, options).exits(1).messages();
        let fault = "the passphrase does not unlock the ssh key";
        assert!(messages.contains(fault), "{format}: {messages}");
    }
}

#[test]
fn a_host_that_refuses_new_connections_for_now_is_asked_again() {
    let lab = Lab::start(&json!({}));
    start_servers(&lab, &[(2240, "-o MaxStartups=1:100:1")]);
    let playbook = format!(
        "let web = host(\"{HOST}:2240\");\n\
         let done = parallel([1, 2, 3, 4, 5, 6, 7, 8], |n| ssh_exec(web, \"true\"));\n\
         print(done.len);"
    );
    let ended = lab.autorun().playbook(&playbook).run().exits(0);
    assert_eq!(ended.stdout, "8\n");
}

#[test]
fn an_agent_that_does_not_answer_is_not_waited_for() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    let socket = autorun.home.path().join("stuck");
    let _stuck = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let autorun = autorun.env("SSH_AUTH_SOCK", &socket.display().to_string());
    assert_eq!(log_in(autorun, 22, "").exits(0).stdout, "admin\n\n");
}

#[test]
fn a_public_key_chooses_a_key_of_the_agent() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    let home = autorun.home.path().to_owned();
    let agent = Agent::start(&home, &[".ssh/id_ed25519"]);
    fs::remove_file(home.join(".ssh/id_ed25519")).unwrap();
    let socket = home.join("agent").display().to_string();
    let options = "key: \"~/.ssh/id_ed25519.pub\"";
    let ended = log_in(autorun.env("SSH_AUTH_SOCK", &socket), 22, options);
    assert_eq!(ended.exits(0).stdout, "admin\n\n");
    drop(agent);

    let messages = log_in(lab.autorun(), 22, options).exits(1).messages();
    assert!(messages.contains("is a public key"), "{messages}");
    assert!(messages.contains("into the ssh agent"), "{messages}");
}

#[test]
fn a_certificate_beside_the_key_is_used() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    let home = autorun.home.path().to_owned();
    for key in ["ca", "certified", "for_an_hour"] {
        new_key(&home.join(key));
    }
    for (key, validity) in [("certified", "always:forever"), ("for_an_hour", "+1h")] {
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-I", "test", "-n", "admin", "-V", validity, "-s"])
            .arg(home.join("ca"))
            .arg(home.join(format!("{key}.pub")))
            .status();
        assert!(signed.unwrap().success());
    }
    let authority = fs::read_to_string(home.join("ca.pub")).unwrap();
    let playbook = format!(
        "let web = host(\"{HOST}\");\n\
         ssh_exec(web, \"cat > /tmp/ca.pub; /usr/sbin/sshd -p 2201 -o PidFile=none -o \
         TrustedUserCAKeys=/tmp/ca.pub\", #{{ sudo: true, stdin: {authority:?} }});\n\
         let short = env(\"HOME\") + \"/for_an_hour\";\n\
         print(ssh_exec(host(\"{HOST}:2201\", #{{ key: short }}), \"id -un\").stdout);\n\
         let key = env(\"HOME\") + \"/certified\";\n\
         print(ssh_exec(host(\"{HOST}:2201\", #{{ key: key }}), \"id -un\").stdout);\n\
         ssh_exec(host(\"{HOST}\", #{{ key: key }}), \"true\");"
    );
    let ended = autorun.playbook(&playbook).run().exits(1);
    assert_eq!(ended.stdout, "admin\n\nadmin\n\n", "{}", ended.stderr);
    let messages = ended.messages();
    assert!(messages.contains("certified`, `"), "{messages}");
    assert!(
        messages.contains("certified` with its certificate"),
        "{messages}"
    );
}

#[test]
fn a_key_file_that_cannot_be_used_is_named_first_with_its_repair() {
    let lab = Lab::start(&json!({}));
    let home = |autorun: &Autorun| autorun.home.path().to_owned();
    // A key with the line ends of Windows works.
    let autorun = lab.autorun();
    let file = home(&autorun).join(".ssh/id_ed25519");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace('\n', "\r\n")).unwrap();
    assert_eq!(log_in(autorun, 22, "").exits(0).stdout, "admin\n\n");

    // The usual file: it is named although the host is asked.
    let autorun = lab.autorun();
    let file = home(&autorun).join(".ssh/id_ed25519");
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&file, lines[..3].join("\n")).unwrap();
    let messages = log_in(autorun, 22, "").exits(1).messages();
    let fault = messages.find("cannot be read: its last lines are missing");
    let host = messages.find("cannot log in as admin@");
    assert!(fault.is_some() && fault < host, "{messages}");

    // `\n` in place of line breaks: the printed command repairs the file.
    let autorun = lab.autorun();
    let file = home(&autorun).join(".ssh/id_ed25519");
    fs::write(&file, text.replace('\n', "\\n")).unwrap();
    let home = home(&autorun);
    let playbook = home.join("playbook.rhai");
    fs::write(
        &playbook,
        format!("ssh_exec(host(\"{HOST}\", #{{ key: \"~/.ssh/id_ed25519\" }}), \"true\");"),
    )
    .unwrap();
    let run = || {
        let output = autorun.command().arg(&playbook).output().unwrap();
        Ended::of(&output, &home)
    };
    let messages = run().exits(1).messages();
    let command = messages.split_once("convert it: `").unwrap().1;
    let (command, _) = command.split_once('`').unwrap();
    let repaired = autorun
        .shell(&format!(
            "cd {} && {command} && mv id_ed25519.new .ssh/id_ed25519",
            home.display()
        ))
        .status();
    assert!(repaired.unwrap().success(), "{command}");
    let _ = run().exits(0);
}
