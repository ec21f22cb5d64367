//! Accounts as people have them: any login shell, startup files that print, ask,
//! change directories and read input, and accounts that run no commands. Compares
//! with OpenSSH.

use std::fmt::Write as _;
use std::fs;
use std::process::Output;
use std::sync::LazyLock;

use serde_json::json;

use crate::support::{Ended, HOST, Lab};

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let lab = Lab::start(&json!({}));
    let autorun = lab.autorun();
    fs::write(autorun.home.path().join("setup.sh"), setup()).unwrap();
    autorun
        .playbook(
            "ssh_exec(host(\"192.0.2.10\"), read_file(\"~/setup.sh\"), #{ sudo: true });\n\
             for user in [\"quiet-bash\", \"only-sftp\"] {\n\
               wait_for_ssh(host(\"192.0.2.10\", #{ user: user }));\n\
             }",
        )
        .run()
        .exits(0);
    lab
});

/// The shells, and where each reads startup commands without a terminal.
const SHELLS: [(&str, &str, &str); 9] = [
    ("bash", "/bin/bash", ".bashrc"),
    ("dash", "/bin/dash", ""),
    ("zsh", "/usr/bin/zsh", ".zshenv"),
    ("fish", "/usr/bin/fish", ".config/fish/config.fish"),
    ("tcsh", "/usr/bin/tcsh", ".cshrc"),
    ("csh", "/bin/csh", ".cshrc"),
    ("ash", "/usr/local/bin/ash", ""),
    ("mksh", "/usr/bin/mksh", ""),
    ("rbash", "/bin/rbash", ".bashrc"),
];

/// Prints on both streams, without a newline and in binary; asks; is slow; leaves
/// the home directory; and sets what changes the meaning of commands.
const NOISY_SH: &str = r"printf 'Welcome!\n\377\000\033[31m Your choice: '
printf 'warning: %s' 'no newline' >&2
read answer
sleep 0.3
trap 'echo bye' EXIT
alias ls='ls -F' sh='echo alias'
fn() { echo from-rc; }
export CDPATH=/ TAR_OPTIONS=--exclude=a.txt PATH=/nowhere:$PATH
umask 077
cd /
";

const NOISY_FISH: &str = r"printf 'Welcome!\n\377\000\033[31m Your choice: '
printf 'warning: %s' 'no newline' >&2
sleep 0.3
function fn; echo from-rc; end
alias ls 'ls -F'
set -x CDPATH /
set -x TAR_OPTIONS --exclude=a.txt
set -x PATH /nowhere $PATH
umask 077
cd /
";

const NOISY_CSH: &str = r#"echo -n "Welcome! Your choice: "
/bin/sh -c 'printf warning >&2'
set answer = "$<"
sleep 0.3
alias ls 'ls -F'
alias sh 'echo alias'
setenv CDPATH /
setenv TAR_OPTIONS --exclude=a.txt
setenv PATH /nowhere:$PATH
umask 077
cd /
"#;

/// Creates a user for each shell with and without a noisy startup file, and
/// accounts that run no commands.
fn setup() -> String {
    let mut script = "set -e
user() {
useradd --create-home --shell \"$2\" --password '*' \"$1\"
mkdir \"/home/$1/.ssh\"
{ [ -z \"${3-}\" ] || printf '%s ' \"$3\"; cat /var/lib/lab/authorized_keys; } \
>\"/home/$1/.ssh/authorized_keys\"
rm -f \"/home/$1/.bashrc\"
chown -R \"$1:\" \"/home/$1\"
}
ln -s /bin/busybox /usr/local/bin/ash
"
    .to_owned();
    for (name, shell, file) in SHELLS {
        let _ = writeln!(script, "user quiet-{name} {shell}");
        if file.is_empty() {
            continue;
        }
        let text = match name {
            "fish" => NOISY_FISH.to_owned(),
            "csh" | "tcsh" => NOISY_CSH.to_owned(),
            // Restricted bash cannot leave a directory or set PATH.
            "rbash" => NOISY_SH.split_inclusive('\n').take(4).collect(),
            "bash" => format!("{NOISY_SH}set -u\nIFS=e\n"),
            _ => NOISY_SH.to_owned(),
        };
        let _ = write!(
            script,
            "user noisy-{name} {shell}\nf=/home/noisy-{name}/{file}\nmkdir -p \"${{f%/*}}\"\n\
             cat >\"$f\" <<'END'\n{text}END\nchown -R noisy-{name}: /home/noisy-{name}\n"
        );
    }
    script
        + r#"user no-login /usr/sbin/nologin
user no-shell /bin/false
user no-git /usr/bin/git-shell
user no-python /usr/bin/python3
user forced /bin/bash 'command="echo '"'"'Please login as the user \"ec2-user\" rather than the user \"root\".'"'"';echo;exit 142"'
user echoing /bin/bash 'command="echo refused: $SSH_ORIGINAL_COMMAND >&2; exit 1"'
user ends /bin/bash
echo 'echo closed for maintenance; exit 0' >/home/ends/.bashrc
user starts-zsh /bin/bash
echo 'exec zsh' >/home/starts-zsh/.bashrc
user only-sftp /bin/bash
user chrooted /bin/bash
mkdir -p /srv/jail/files
chown chrooted: /srv/jail/files
cat >>/etc/ssh/sshd_config <<'END'
Match User only-sftp
ForceCommand internal-sftp
Match User chrooted
ChrootDirectory /srv/jail
END
kill -HUP "$(cat /run/sshd.pid)"
"#
}

/// Runs a playbook with `web`, a host with this user.
fn as_user(user: &str, text: &str) -> Ended {
    let text = format!("let web = host(\"{HOST}\", #{{ user: \"{user}\" }});\n{text}");
    let autorun = LAB.autorun();
    let home = autorun.home.path();
    fs::create_dir_all(home.join("tree/sub")).unwrap();
    fs::write(home.join("tree/a.txt"), "a").unwrap();
    fs::write(home.join("tree/sub/b.txt"), "b\0\u{ff}").unwrap();
    autorun.arg("--quiet").playbook(&text).run()
}

/// Every user that runs commands.
fn users() -> Vec<String> {
    let noisy = SHELLS.iter().filter(|(_, _, file)| !file.is_empty());
    let noisy = noisy.map(|(name, ..)| format!("noisy-{name}"));
    let quiet = SHELLS.iter().map(|(name, ..)| format!("quiet-{name}"));
    quiet.chain(noisy).collect()
}

/// In every shell, results have the command's own output only, and copies,
/// metrics and waits do not depend on what startup files do.
const EVERY_SHELL: &str = r#"
wait_for_ssh(web);
let done = ssh_exec(web, "echo out; sh -c 'echo err >&2'; exit 3", #{ check: false });
assert(done.stdout == "out\n" && done.stderr == "err\n" && done.status == 3, `${done}`);
let done = ssh_exec(web, "printf 'a\\0b'");
assert(done.stdout == "a\x00b" && done.stderr == "", `${done}`);
let long = "";
long.pad(300000, 'x');
for text in ["", "in\nput", "exit 9\necho no\n", long] {
    let done = ssh_exec(web, "cat", #{ stdin: text });
    assert(done.stdout == text && done.stderr == "", `${done.stdout.len}: ${done.stderr}`);
}
let value = "it's $HOME `id` \"!\" \\n\nline";
let done = ssh_exec(web, "printenv V; pwd", #{ env: #{ V: value }, cwd: "/etc" });
assert(done.stdout == value + "\n/etc\n", `${done}`);
assert(ssh_exec(web, "pwd", #{ cwd: "~" }).stdout == "HOME\n");

scp(web, "~/tree/a.txt", "copy.txt");
scp_from(web, "copy.txt", "~/back.txt");
assert(read_file("~/back.txt") == "a");
scp_from(web, "HOME/copy.txt", "~/back2.txt");
let sent = scp(web, "~/tree", "trees");
assert(sent.files == 2 && sent.path == "trees", `${sent}`);
let got = scp_from(web, "~/trees/", "~/back");
assert(got.files == 2 && sha256(read_file("~/back/a.txt")) == sha256("a"), `${got}`);
assert(host_metrics(web).memory_total > 0);
"#;

#[test]
fn every_login_shell_and_startup_file_gives_the_same_results() {
    LazyLock::force(&LAB);
    std::thread::scope(|scope| {
        for user in users() {
            scope.spawn(move || {
                let text = EVERY_SHELL.replace("HOME/", &format!("/home/{user}/"));
                let text = text.replace("HOME\\n", &format!("/home/{user}\\n"));
                let ended = as_user(&user, &text);
                assert_eq!(ended.status, Some(0), "{user}: {}", ended.stderr);
            });
        }
    });
}

/// Runs a command with OpenSSH.
fn with_openssh(user: &str, command: &str) -> Output {
    let autorun = LAB.autorun();
    let ssh = autorun.home.path().join(".ssh");
    let known = format!("UserKnownHostsFile={}", ssh.join("known_hosts").display());
    let login = format!("{user}@{HOST}");
    LAB.inside("ssh")
        .args([
            "-F",
            "none",
            "-T",
            "-o",
            &known,
            "-o",
            "LogLevel=ERROR",
            "-i",
        ])
        .arg(ssh.join("id_ed25519"))
        .args([&login, command])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

/// In an account without startup files, OpenSSH and autorun have the same output.
#[test]
fn output_is_that_of_openssh() {
    LazyLock::force(&LAB);
    let commands = [
        "echo one; echo two",
        "no-such-command-here",
        "echo \"$HOME\" 'a\"b' $SHELL; pwd",
        "echo a\necho b\nno-such-command-here\n",
        "echo )",
        "exit 7",
        "kill -9 $$",
        "umask; id -un",
    ];
    std::thread::scope(|scope| {
        for (name, ..) in SHELLS {
            scope.spawn(move || {
                let user = format!("quiet-{name}");
                for command in commands {
                    let expected = with_openssh(&user, command);
                    let command = serde_json::to_string(command).unwrap();
                    let ended = as_user(
                        &user,
                        &format!(
                            "print(format_json(ssh_exec(web, {command}, #{{ check: false }})));"
                        ),
                    )
                    .exits(0);
                    let got: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    assert_eq!(got["stdout"], text(&expected.stdout), "{user}: {command}");
                    // bash names its option for a command line.
                    let mut stderr = text(&expected.stderr);
                    if name == "bash" {
                        stderr = stderr.replace("bash: -c: ", "bash: eval: ");
                    }
                    let mut own = got["stderr"].as_str().unwrap().to_owned();
                    if name == "ash" {
                        // busybox adds the line if a command has a name.
                        let line = regex_lite::Regex::new("ash: line [0-9]+: ").unwrap();
                        own = line.replace_all(&own, "ash: ").into_owned();
                    }
                    assert_eq!(own, stderr, "{user}: {command}");
                    if let (Some(status), false) =
                        (expected.status.code(), command.contains("kill"))
                    {
                        assert_eq!(got["status"], status, "{user}: {command}");
                    }
                }
            });
        }
    });
}

/// What startup files export or define is there, as with OpenSSH.
#[test]
fn startup_files_take_effect() {
    for user in ["noisy-bash", "noisy-fish"] {
        let text = "assert(ssh_exec(web, \"fn\").stdout == \"from-rc\\n\");";
        as_user(user, text).exits(0);
    }
    for user in ["noisy-bash", "noisy-zsh", "noisy-fish", "noisy-tcsh"] {
        let text = "let out = ssh_exec(web, \"printenv PATH; pwd; umask\").stdout;\n\
            assert(out.starts_with(\"/nowhere:\") && out.contains(\"\\n/\\n\"), out);";
        as_user(user, text).exits(0);
    }
}

/// The error has what the account printed instead of the command's output.
#[test]
fn the_reason_of_a_refusal_is_in_the_error() {
    for (user, reason) in [
        ("no-login", "This account is currently not available."),
        ("no-shell", "status 1, without output"),
        ("no-git", "fatal: unrecognized command"),
        ("no-python", "SyntaxError"),
        (
            "forced",
            "Please login as the user \"ec2-user\" rather than the user \"root\".",
        ),
        ("echoing", "refused: .."),
        ("ends", "closed for maintenance"),
        ("starts-zsh", "status 0, without output"),
    ] {
        let mut calls = vec![
            "ssh_exec(web, \"touch ran\")",
            "ssh_exec(web, \"touch ran\", #{ sudo: true })",
            "host_metrics(web)",
        ];
        // A command in authorized_keys replaces sftp too.
        if ["forced", "echoing"].contains(&user) {
            calls.push("scp(web, \"~/tree\", \"copy\")");
        }
        for call in calls {
            let text = format!(
                "try {{ {call}; }} catch (err) {{ print(`${{err.kind}}: ${{err.message}}`); }}"
            );
            let ended = as_user(user, &text).exits(0);
            let error = ended.stdout;
            assert!(error.starts_with("denied: "), "{user} {call}: {error}");
            assert!(error.contains(reason), "{user} {call}: {error}");
            assert!(!error.contains("IFS="), "{user} {call}: {error}");
        }
    }
    let ran =
        "assert(ssh_exec(web, \"ls -d /home/*/ran || true\", #{ sudo: true }).stdout == \"\");";
    as_user("admin", ran).exits(0);
}

/// Files are copied over sftp if an account runs no commands.
#[test]
fn files_are_copied_where_there_is_no_shell() {
    for (user, folder) in [("only-sftp", ""), ("chrooted", "/files/")] {
        let ended = as_user(
            user,
            &format!(
                r#"
wait_for_ssh(web);
let big = "";
big.pad(3000000, 'x');
write_file("~/big", big);
let sent = scp(web, "~/big", "{folder}big", #{{ mode: "0640" }});
assert(sent.path == "{folder}big" && sent.size == 3000000, `${{sent}}`);
scp_from(web, "{folder}big", "~/back");
assert(read_file("~/back") == big);
scp(web, "~/tree/a.txt", "{folder}big");
scp_from(web, "{folder}big", "~/back");
assert(read_file("~/back") == "a");

fn refused(kind, text, work) {{
    try {{ work.call(); }} catch (err) {{
        assert(err.kind == kind && `${{err.message}} ${{err.hint}}`.contains(text), `${{err}}`);
        return;
    }}
    throw `no error with ${{text}}`;
}}
refused("not_found", "no such file", || scp_from(web, "{folder}nosuch", "~/x"));
refused("command_failed", "no such file", || scp(web, "~/big", "{folder}no/such/file"));
refused("denied", "did not start", || scp(web, "~/big", "{folder}x", #{{ sudo: true }}));
refused("denied", "did not start", || ssh_exec(web, "true"));
refused("command_failed", "needs a shell", || scp(web, "~/big", "~admin/big"));
"#
            ),
        );
        assert_eq!(ended.status, Some(0), "{user}: {}", ended.stderr);
    }
}

/// Directories are copied over sftp if an account runs no commands, with the same
/// result as with tar.
#[test]
fn directories_are_copied_where_there_is_no_shell() {
    for (user, folder) in [("only-sftp", ""), ("chrooted", "/files/")] {
        let ended = as_user(
            user,
            &format!(
                r#"
fn here(command) {{ local_exec(["sh", "-c", command]).stdout }}
fn refused(kind, text, work) {{
    try {{ work.call(); }} catch (err) {{
        assert(err.kind == kind && `${{err.message}} ${{err.hint}}`.contains(text), `${{err}}`);
        return;
    }}
    throw `no error with ${{text}}`;
}}
let list = "cd ~/back && find . -printf '%P %M %l\n' | sort && cat a.txt";
here("mkdir -p ~/d/sub/deep ~/d/empty; echo a >~/d/a.txt; echo b >~/d/sub/'b c'; ln -s a.txt ~/d/link; ln -s nowhere ~/d/sub/dead; chmod 750 ~/d/sub; chmod 600 ~/d/a.txt; echo x >~/d/sub/deep/x; chmod 555 ~/d/sub/deep; mkfifo ~/d/pipe");
let sent = scp(web, "~/d", "{folder}d");
assert(sent.path == "{folder}d" && sent.files == 3, `${{sent}}`);
let got = scp_from(web, "{folder}d/", "~/back");
assert(got.files == 3 && got.size == sent.size, `${{got}}`);
let copy = here(list);
here("rm ~/d/pipe; mv ~/back ~/copied; cp -a ~/d ~/back");
assert(copy == here(list), copy);

// Other files stay; those of the same name are replaced; `delete` replaces all.
here("chmod -R u+w ~/copied; rm -r ~/copied ~/back; mkdir ~/d2 ~/d2/new; echo new >~/d2/a.txt; echo y >~/d2/new/y");
scp(web, "~/d2", "{folder}d");
scp_from(web, "{folder}d/", "~/back");
assert(here("cd ~/back; cat a.txt sub/deep/x new/y") == "new\nx\ny\n");
scp(web, "~/d2", "{folder}d", #{{ delete: true }});
here("chmod -R u+w ~/back; rm -r ~/back");
scp_from(web, "{folder}d/", "~/back");
assert(here("cd ~/back; find . -type f | sort") == "./a.txt\n./new/y\n");
scp(web, "~/d2", "{folder}d/");
scp_from(web, "{folder}d/d2/new/y", "~/y");

here("mkdir -p ~/d3/a.txt; rm -rf ~/d4; mkdir ~/d4; echo z >~/d4/new");
refused("command_failed", "is a directory here", || scp(web, "~/d3", "{folder}d"));
refused("command_failed", "is a directory on the host", || scp(web, "~/d4", "{folder}d"));
refused("command_failed", "no such", || scp(web, "~/d2", "{folder}no/such/place"));
refused("command_failed", "no such directory", || scp(web, "~/d2", "{folder}nosuch/"));
refused("command_failed", "not a directory", || scp(web, "~/d2", "{folder}d/a.txt"));
refused("denied", "did not start", || scp(web, "~/d2", "{folder}e", #{{ sudo: true }}));
refused("not_found", "no such", || scp_from(web, "{folder}nosuch/", "~/x"));
refused("command_failed", "a directory", || scp_from(web, "{folder}d", "~/x"));
// Nothing hidden is left.
scp_from(web, "{folder}./", "~/all");
assert(here("cd ~/all; find . -name '.*autorun*'") == "");
"#
            ),
        );
        assert_eq!(ended.status, Some(0), "{user}: {}", ended.stderr);
    }
    let home = r#"
try { scp(web, "~/tree", ".", #{ delete: true }); throw "no error"; }
catch (err) { assert(err.message.contains("home"), `${err}`); }
"#;
    as_user("only-sftp", home).exits(0);
}
