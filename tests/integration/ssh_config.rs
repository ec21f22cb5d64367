//! OpenSSH's configuration has the same effect as with `ssh`: the test passes
//! the same files to `ssh` and to the program, and both must reach the same host
//! as the same user, or neither.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Autorun, Ended, HOST, Lab};

/// What a row expects: the same as from ssh, or another result by decision.
enum Right {
    Same(&'static str),
    Differs {
        ssh: &'static str,
        ours: &'static str,
    },
}
use Right::{Differs, Same};

/// A label, a configuration, a host name, and the expected end of "user address
/// of the client address:port of the server".
type Row = (&'static str, &'static str, &'static str, Right);

/// Configurations. 192.0.2.11 is behind a relay: its connections to other hosts come
/// from 10.254.0.2. `{home}` is the home directory, in which `k-web-admin` and `a
/// key` are copies of the key.
const ROWS: [Row; 28] = [
    (
        "address",
        "Host web\n HostName 192.0.2.10",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "upper case",
        "Host web\n HostName 192.0.2.10",
        "WEB",
        Same("failed"),
    ),
    (
        "token",
        "Host 10\n HostName 192.0.2.%h",
        "10",
        Same("192.0.2.10:22"),
    ),
    (
        "equals",
        "Host=web\n HostName=\"192.0.2.10\"",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "other host",
        "Host db\n HostName 192.0.2.10",
        "web",
        Same("failed"),
    ),
    (
        "negated",
        "Host w* !web\n Port 1\nHost *\n HostName 192.0.2.10",
        "web",
        Same(":22"),
    ),
    (
        "user",
        "Host web\n HostName 192.0.2.10\n User absent",
        "web",
        Same("failed"),
    ),
    (
        "port",
        "Host web\n HostName 192.0.2.10\n Port 2222",
        "web",
        Same("failed"),
    ),
    (
        "match",
        "Match originalhost web exec \"test 1 = 1\"\n HostName 192.0.2.10\n\
         Match originalhost web exec \"false\"\n Port 1",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "include",
        "Include {home}/more\n",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "jump host",
        "Host inner\n HostName 192.0.2.11\n ProxyJump web\nHost web\n HostName 192.0.2.10",
        "inner",
        Same(":22"),
    ),
    (
        "jump host with user and port",
        "Host inner\n HostName 192.0.2.11\n ProxyJump admin@192.0.2.10:22",
        "inner",
        Same(":22"),
    ),
    (
        "jump hosts",
        "Host web\n HostName 192.0.2.10\nHost other\n HostName 192.0.2.11\n\
         Host inner\n HostName 192.0.2.10\n ProxyJump web,ssh://admin@other",
        "inner",
        Same("10.254.0.2 192.0.2.10:22"),
    ),
    (
        "jump host of the jump host",
        "Host web\n HostName 192.0.2.10\nHost other\n HostName 192.0.2.11\n ProxyJump web\n\
         Host inner\n HostName 192.0.2.10\n ProxyJump other",
        "inner",
        Same("10.254.0.2 192.0.2.10:22"),
    ),
    (
        "no jump host",
        "Host web\n HostName 192.0.2.10\n ProxyJump none\nHost *\n ProxyJump 192.0.2.98",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "proxy command",
        "Host web\n HostName 192.0.2.10\nHost inner\n HostName 192.0.2.11\n \
         ProxyCommand ssh -F {home}/config-15 -o LogLevel=ERROR -W %h:%p web",
        "inner",
        Same(":22"),
    ),
    (
        "proxy command that fails",
        "Host web\n HostName 192.0.2.10\n ProxyCommand echo no such proxy >&2; exit 3",
        "web",
        Same("failed"),
    ),
    (
        "host key alias",
        "Host web\n HostName 192.0.2.10\n HostKeyAlias alias\n UserKnownHostsFile {home}/alias",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "another known_hosts file",
        "Host web\n HostName 192.0.2.10\n UserKnownHostsFile {home}/alias {home}/nosuch",
        "web",
        Same("failed"),
    ),
    (
        "unknown keys are accepted",
        "Host web\n HostName 192.0.2.10\n UserKnownHostsFile /dev/null\n StrictHostKeyChecking no",
        "web",
        Differs {
            ssh: "192.0.2.10:22",
            ours: "failed",
        },
    ),
    (
        "key with tokens",
        "Host web\n HostName 192.0.2.10\n IdentityFile {home}/k-%n-%r\n IdentitiesOnly yes\n \
         IdentityAgent none\nMatch all\n IdentityFile {home}/nosuch",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "key with a space",
        "Host web\n HostName 192.0.2.10\n IdentityFile \"{home}/a key\"",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "broken",
        "Host web\n HostName 192.0.2.10\n Prot 22",
        "web",
        Same("failed"),
    ),
    (
        "broken value",
        "Host web\n HostName 192.0.2.10\n Port x",
        "web",
        Same("failed"),
    ),
    (
        "addresses of one family",
        "Host web\n HostName 192.0.2.10\n AddressFamily inet",
        "web",
        Same("192.0.2.10:22"),
    ),
    (
        "addresses of the other family",
        "Host web\n HostName 192.0.2.10\n AddressFamily inet6",
        "web",
        Same("failed"),
    ),
    (
        "revoked host key",
        "Host web\n HostName 192.0.2.10\n RevokedHostKeys {home}/revoked",
        "web",
        Same("failed"),
    ),
    (
        "other revoked host keys",
        "Host web\n HostName 192.0.2.10\n RevokedHostKeys {home}/others",
        "web",
        Same("192.0.2.10:22"),
    ),
];

/// The lines at the end of each configuration.
const COMMON: &str = "\nMatch all\n User admin\n UserKnownHostsFile {home}/.ssh/known_hosts\n \
                      IdentityFile {home}/.ssh/id_ed25519\n";

const COMMAND: &str = "set -- $SSH_CONNECTION; echo \"$USER $1 $3:$4\"";

/// Writes the files that the rows use.
fn prepare(lab: &Lab, home: &Path) {
    let key = home.join(".ssh/id_ed25519");
    for copy in ["k-web-admin", "a key"] {
        fs::copy(&key, home.join(copy)).unwrap();
    }
    fs::write(home.join("alias"), format!("alias {}", lab.host_key(HOST))).unwrap();
    fs::write(home.join("revoked"), lab.host_key(HOST)).unwrap();
    fs::copy(home.join(".ssh/id_ed25519.pub"), home.join("others")).unwrap();
    fs::write(home.join("more"), "Host web\n HostName 192.0.2.10\n").unwrap();
}

fn write_config(home: &Path, name: &str, text: &str) -> String {
    let path = home.join(name);
    let text = format!("{text}{COMMON}").replace("{home}", &home.display().to_string());
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Returns what `ssh` prints on the host, or `failed`.
fn by_ssh(lab: &Lab, file: &str, name: &str) -> String {
    let output = lab
        .inside("ssh")
        .args(["-F", file, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
        .args(["-o", "ConnectTimeout=5", "--", name, COMMAND])
        .output()
        .unwrap();
    if output.status.success() {
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    } else {
        "failed".to_owned()
    }
}

#[test]
fn a_configuration_has_the_same_effect_as_with_ssh() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    let home = autorun.home.path().to_owned();
    prepare(&lab, &home);
    let mut rows = Vec::new();
    let mut by_ssh_of = Vec::new();
    for (number, (_, text, name, _)) in ROWS.iter().enumerate() {
        let file = write_config(&home, &format!("config-{number}"), text);
        by_ssh_of.push(by_ssh(&lab, &file, name));
        rows.push(json!({ "file": file, "name": name }));
    }
    fs::write(home.join("rows.json"), Value::from(rows).to_string()).unwrap();
    let playbook = format!(
        "for row in parse_json(read_file(env(\"HOME\") + \"/rows.json\")) {{\n\
             let result = \"failed\";\n\
             try {{\n\
                 let web = host(row.name, #{{ ssh_config: row.file }});\n\
                 result = ssh_exec(web, {COMMAND:?}).stdout;\n\
             }} catch (caught) {{\n\
                 log_info(error_info(caught).message);\n\
             }}\n\
             result.trim();\n\
             print(result);\n\
         }}"
    );
    let ended = autorun.playbook(&playbook).run().exits(0);
    let ours: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(ours.len(), ROWS.len(), "{}\n{}", ended.stdout, ended.stderr);
    let mut wrong = Vec::new();
    for ((label, _, _, right), (ssh, ours)) in ROWS.iter().zip(by_ssh_of.iter().zip(ours)) {
        let fits = match right {
            Same(end) => ssh.ends_with(end) && ours == ssh,
            Differs {
                ssh: one,
                ours: other,
            } => ssh.ends_with(one) && ours.ends_with(other),
        };
        if !fits {
            wrong.push(format!("{label}: {ssh} from ssh, {ours} from autorun"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n{}", wrong.join("\n"), ended.stderr);
}

/// Runs one command on `web` with the playbook's options.
fn run_on_web(autorun: Autorun, options: &str) -> Ended {
    let playbook = format!("print(ssh_exec(host(\"web\"{options}), \"echo $USER\").stdout);");
    autorun.playbook(&playbook).run()
}

#[test]
fn the_playbook_the_environment_and_home_name_the_file() {
    let lab = Lab::start(&json!({}));
    let home = |autorun: &Autorun| autorun.home.path().to_owned();
    let web = "Host web\n HostName 192.0.2.10\n";

    // ~/.ssh/config is in the directory that HOME names, like the keys.
    let autorun = lab.autorun();
    fs::write(home(&autorun).join(".ssh/config"), web).unwrap();
    let ended = run_on_web(autorun, "").exits(0);
    assert_eq!(ended.stdout, "admin\n\n");

    let autorun = lab.autorun();
    fs::write(home(&autorun).join(".ssh/config"), web).unwrap();
    let ended = run_on_web(autorun, ", #{ ssh_config: false }").exits(1);
    assert!(
        ended.messages().contains("cannot connect to web"),
        "{}",
        ended.stderr
    );

    let autorun = lab.autorun();
    let file = home(&autorun).join("work");
    fs::write(&file, web).unwrap();
    let autorun = autorun.env("AUTORUN_SSH_CONFIG", &file.display().to_string());
    run_on_web(autorun, "").exits(0);

    let autorun = lab.autorun().env("AUTORUN_SSH_CONFIG", "/nosuch");
    let ended = run_on_web(autorun, "").exits(1);
    assert!(ended.messages().contains("`/nosuch`"), "{}", ended.stderr);

    // What the playbook names has precedence.
    let autorun = lab.autorun();
    let text = format!("{web} Port 1\n User absent\n IdentityFile /nosuch\n");
    fs::write(home(&autorun).join(".ssh/config"), text).unwrap();
    let options = ", #{ port: 22, user: \"admin\", key: \"~/.ssh/id_ed25519\" }";
    run_on_web(autorun, options).exits(0);

    let autorun = lab.autorun();
    let text = format!("{web} ProxyJump 192.0.2.98\n");
    fs::write(home(&autorun).join(".ssh/config"), text).unwrap();
    run_on_web(autorun, ", #{ via: \"192.0.2.11\" }").exits(0);
}

#[test]
fn errors_name_the_file_and_the_line() {
    let lab = Lab::start(&json!({}));
    let with = |text: &str| {
        let autorun = lab.autorun();
        fs::write(autorun.home.path().join(".ssh/config"), text).unwrap();
        run_on_web(autorun, "").exits(1).messages()
    };
    let broken = with("Host web\n Prot 22\n");
    assert!(
        broken.contains("config: line 2: Bad configuration option: prot"),
        "{broken}"
    );
    let around = with("Host web\n ProxyJump other\nHost other\n ProxyJump web\n");
    assert!(
        around.contains("form a loop: other, web, other"),
        "{around}"
    );
    let proxy = with("Host web\n ProxyCommand sh -c 'echo no such proxy >&2; exit 3'\n");
    assert!(
        proxy.contains("the ProxyCommand for web failed: no such proxy"),
        "{proxy}"
    );
    let passed = with("Host web\n ProxyCommand x\n ProxyUseFdpass yes\n");
    assert!(
        passed.contains("ProxyUseFdpass, which autorun does not support"),
        "{passed}"
    );
    let token = with("Host web\n ProxyCommand nc %x\n");
    assert!(token.contains("the token `%x`"), "{token}");
    let any = with(&format!(
        "Host web\n HostName {HOST}\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n"
    ));
    assert!(any.contains("whatever StrictHostKeyChecking says"), "{any}");
    let unused = with("Host web\n HostName 192.0.2.98\n BindAddress 127.0.0.1\n");
    assert!(unused.contains("these options of the ssh configuration are not used: BindAddress"));
    let also = with("Host web\n HostName 192.0.2.98\n SetEnv A=b\n PubkeyAuthentication no\n");
    assert!(also.contains("PubkeyAuthentication, SetEnv"), "{also}");
    let silent = with("Host web\n ProxyCommand sleep 60\n ConnectTimeout 1\n");
    assert!(
        silent.contains("the ProxyCommand for web failed"),
        "{silent}"
    );
    let none = with(&format!(
        "Host web\n HostName {HOST}\n User admin\n IdentityFile none\n IdentityAgent none\n"
    ));
    assert!(none.contains("(IdentityFile none)"), "{none}");
    let kept_nowhere = with(&format!(
        "Host web\n HostName {HOST}\n UserKnownHostsFile none\n"
    ));
    assert!(
        kept_nowhere.contains("`ssh-keyscan -p 22"),
        "{kept_nowhere}"
    );
    let slow = std::time::Instant::now();
    let late = with("Host web\n HostName 192.0.2.97\n ConnectTimeout 1\n");
    assert!(late.contains("did not answer within 1"), "{late}");
    assert!(slow.elapsed().as_secs() < 8, "{:?}", slow.elapsed());
}

#[test]
fn a_missing_ssh_program_is_reported_if_a_file_may_apply() {
    let call = |text: &str| {
        let autorun = Autorun::new().env("PATH", "/nosuch");
        let ssh = autorun.home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        fs::write(ssh.join("config"), text).unwrap();
        autorun.playbook("print(host(\"web\").address);").run()
    };
    assert_eq!(call("Host *\n SendEnv LANG\n").exits(0).stdout, "web\n");
    let ended = call("Host web\n Port 2\n").exits(1);
    assert!(
        ended
            .messages()
            .contains("the program `ssh`, which reads it, is not installed")
    );
}

#[test]
fn ssh_is_asked_once_for_each_name_and_only_if_a_file_may_apply() {
    let calls = |text: &str| {
        let autorun = Autorun::new();
        let home = autorun.home.path().to_owned();
        fs::create_dir(home.join(".ssh")).unwrap();
        fs::write(home.join(".ssh/config"), text).unwrap();
        let log = home.join("calls");
        fs::write(&log, "").unwrap();
        let program = format!(
            "#!/bin/sh\necho \"$@\" >> {}\nexec /usr/bin/ssh \"$@\"\n",
            log.display()
        );
        fs::write(home.join("ssh"), program).unwrap();
        fs::set_permissions(home.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", home.display());
        let playbook = "for n in 0..20 { host(\"a\"); host(\"b\"); host(\"root@b:2222\"); }\n\
                        print(host(\"a\").port);";
        let autorun = autorun.env("PATH", &path).playbook(playbook);
        let ended = autorun.run().exits(0);
        (ended.stdout, fs::read_to_string(log).unwrap())
    };
    let (port, log) = calls("Host a\n Port 2200\n");
    assert_eq!(port, "2200\n");
    // Three questions, and one about the defaults.
    assert_eq!(log.lines().count(), 4, "{log}");
    let (port, log) = calls("# nothing\nHost *\n  HashKnownHosts yes\n");
    assert_eq!((port.as_str(), log.as_str()), ("22\n", ""));
}

#[test]
fn only_the_jump_host_applies_to_an_instance() {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    // The jump host is behind a relay, and has an address of its own.
    let config = "Host 54.* 10.*\n ProxyJump admin@192.0.2.11\n User absent\n Port 1\n";
    fs::write(autorun.home.path().join(".ssh/config"), config).unwrap();
    let playbook = "let key = import_key_pair(\"k\", \"~/.ssh/id_ed25519\");\n\
        let server = launch_instance(#{ key_pair: key });\n\
        let command = \"set -- $SSH_CONNECTION; echo $USER $1\";\n\
        print(ssh_exec(server, command).stdout);\n\
        print(ssh_exec(host(server, #{ ssh_config: false }), command).stdout);";
    let ended = autorun.playbook(playbook).run().exits(0);
    let lines: Vec<&str> = ended
        .stdout
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines, ["ec2-user 10.254.0.2", "ec2-user 203.0.113.7"]);
}
