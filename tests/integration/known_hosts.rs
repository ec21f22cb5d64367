//! `known_hosts` has the same meaning as in OpenSSH: the test passes the same
//! files to `ssh` and to the program, and both must reach the same verdict on a
//! host.
//!
//! The hosts are real sshds in their own network, in which the tests also control
//! the system's `known_hosts` files. known_hosts.txt contains the files, and the
//! reasons where the two differ by decision. A grammar generates further files.
//! `AUTORUN_TEST_SEED` repeats the files of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use ring::hmac;
use tempfile::TempDir;

use crate::support::{Ended, root};

/// The default host of a row.
const WEB: &str = "web.example.com";

/// Contents in the table that are not the text of a file.
const DIRECTORY: &[u8] = b"(directory)\n";
const LINK: &[u8] = b"-> ";

/// The files that ssh reads: two of the user, two of the system.
const FILES: [&str; 4] = [
    "known_hosts",
    "known_hosts2",
    "ssh_known_hosts",
    "ssh_known_hosts2",
];

/// The known_hosts files of a test, and the host to connect to.
#[derive(Debug)]
struct Row {
    name: String,
    files: BTreeMap<String, Vec<u8>>,
    address: String,
    port: u16,
}

/// The expected verdict, and ssh's verdict if it differs.
#[derive(Debug, Default)]
struct Right {
    verdict: String,
    ssh: Option<String>,
}

#[test]
#[expect(clippy::print_stdout, reason = "shows the number of files")]
fn known_hosts_has_the_same_meaning_as_in_openssh() {
    let hosts = Hosts::start();
    let table = fs::read_to_string(root().join("tests/integration/known_hosts.txt")).unwrap();
    let (rows, right) = hosts.table(&table);
    let ssh = hosts.ssh_verdicts(&rows);
    let ours = hosts.autorun_verdicts(&rows);
    let mut wrong = Vec::new();
    for (row, right) in rows.iter().zip(&right) {
        let (ssh, ours) = (&ssh[&row.name], &ours[&row.name]);
        let expected = right.ssh.as_ref().unwrap_or(&right.verdict);
        if (expected != "any" && ssh != expected) || *ours != right.verdict {
            wrong.push(format!(
                "{}: expected {}; got {ssh} from ssh, {ours} from autorun",
                row.name, right.verdict
            ));
        }
    }
    let differ = right.iter().filter(|right| right.ssh.is_some()).count();
    println!(
        "{} files, {differ} with a different verdict by decision",
        rows.len()
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
#[expect(clippy::print_stdout, reason = "shows the number of files")]
fn random_known_hosts_have_the_same_meaning_as_in_openssh() {
    let seed = std::env::var("AUTORUN_TEST_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("AUTORUN_TEST_SEED={seed}");
    let hosts = Hosts::start();
    let mut random = StdRng::seed_from_u64(seed);
    let rows: Vec<Row> = (0..80)
        .map(|number| hosts.arbitrary(number, &mut random))
        .collect();
    let ssh = hosts.ssh_verdicts(&rows);
    let ours = hosts.autorun_verdicts(&rows);
    let mut counts = BTreeMap::new();
    for row in &rows {
        let (ssh, ours) = (&ssh[&row.name], &ours[&row.name]);
        *counts.entry(ssh.clone()).or_insert(0) += 1;
        let files = row.files.iter();
        let files: Vec<String> = files
            .map(|(name, text)| format!("{name}: {}", text.escape_ascii()))
            .collect();
        assert_eq!(
            ssh,
            ours,
            "AUTORUN_TEST_SEED={seed}: {} port {} by\n{}",
            row.address,
            row.port,
            files.join("\n")
        );
    }
    println!("{counts:?}");
}

#[test]
fn skipped_lines_are_reported_once_with_their_numbers() {
    let hosts = Hosts::start();
    let row = |name: &str, text: &str| hosts.row(name, text);
    let odd = "# hosts\nodd\nweb.example.com {ed}\n@revokd x {ed}\nx ssh-none AAAA\n\
        y ssh-none AAAA\n{1023 x} {ed}\n|1|x|y {ed}\n";
    let rows = [
        row("first", odd),
        row("second", odd),
        row("third", &format!("{odd}end\n")),
    ];
    let (verdicts, ended) = hosts.run(&rows);
    assert!(verdicts.values().all(|verdict| verdict == "accepted"));
    let messages = ended.messages();
    for text in [
        "known_hosts`: line 2 is skipped: it ends before the key",
        "warning: `",
        "known_hosts`: line 4 is skipped: its marker is neither",
        "known_hosts`: lines 5-6 are skipped: its key type is unknown",
        "known_hosts`: line 7 is skipped: a name in it is too long",
        "known_hosts`: line 8 is skipped: its hashed name is not valid",
        "known_hosts`: lines 2, 9 are skipped: it ends before the key",
    ] {
        assert_eq!(
            messages.matches(text).count(),
            1,
            "`{text}` in\n{}",
            ended.stderr
        );
    }
    // An unreadable file is reported, with what to do about it.
    let mut directory = row("directory", "");
    directory
        .files
        .insert("known_hosts".to_owned(), DIRECTORY.to_vec());
    let (verdicts, ended) = hosts.run(&[directory]);
    assert_eq!(verdicts["directory"], "unknown");
    let messages = ended.messages();
    assert!(
        messages.contains("known_hosts`: it is not a regular file"),
        "{}",
        ended.stderr
    );
    assert!(ended.stdout.contains("readable"), "{}", ended.stdout);
    // What to do about a host with a certificate.
    let row = Row {
        port: 2224,
        ..row("authority", "@cert-authority * {ca}\n")
    };
    let (_, ended) = hosts.run(&[row]);
    assert!(
        ended.stdout.contains("does not verify host certificates"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_jump_host_is_verified_like_any_host() {
    let hosts = Hosts::start();
    let row = |name: &str, text: &str| hosts.row(name, text);
    let inner = "web.example.com {ed}\n";
    let rows = [
        row("unknown", inner),
        row(
            "changed",
            &format!("{inner}[db.example.com]:2222 {{other}}\n"),
        ),
        row(
            "revoked",
            &format!("{inner}db.example.com {{ed}}\n@revoked [db.example.com]:* {{ed}}\n"),
        ),
        row(
            "accepted",
            &format!("{inner}[db.example.com]:2222 {{ed}}\n"),
        ),
    ];
    let (verdicts, ended) = hosts.run_via(&rows, "db.example.com", 2222);
    for row in &rows {
        assert_eq!(
            verdicts[&row.name], row.name,
            "{}\n{}",
            ended.stdout, ended.stderr
        );
    }
    assert!(
        ended.stdout.contains("through its jump host"),
        "{}",
        ended.stdout
    );
}

/// A skipped line is reported once, for any number of connections.
#[test]
fn a_long_file_is_read_once() {
    let hosts = Hosts::start();
    let mut text = hosts.filled("{500 hashed}web.example.com {ed}\n");
    text.extend(hosts.filled("odd\n"));
    let rows: Vec<Row> = (0..20)
        .map(|number| Row {
            name: format!("row {number}"),
            files: BTreeMap::from([("known_hosts".to_owned(), text.clone())]),
            address: WEB.to_owned(),
            port: 22,
        })
        .collect();
    let (verdicts, ended) = hosts.run(&rows);
    assert!(verdicts.values().all(|verdict| verdict == "accepted"));
    let times = ended.messages().matches("line 502 is skipped").count();
    assert_eq!(times, 1, "{}", ended.stderr);
}

#[test]
fn a_file_that_changes_is_read_again() {
    let hosts = Hosts::start();
    // The same file with the same length, changed faster than the resolution of
    // its timestamps.
    let (right, wrong) = ("web.example.com {ed}\n", "web.example.com {other}\n");
    let rows: Vec<Row> = (0..12)
        .map(|number| {
            hosts.row(
                &format!("row {number}"),
                if number % 2 == 0 { right } else { wrong },
            )
        })
        .collect();
    symlink(hosts.put(100, &rows[0]), hosts.at("current")).unwrap();
    let copy = "cat \"$1/known_hosts\" >\"$2/known_hosts\"";
    let (verdicts, _) = hosts.run_playbook(&rows, &["sh", "-c", copy, "copy"], HOST);
    for (number, row) in rows.iter().enumerate() {
        let right = ["accepted", "changed"][number % 2];
        assert_eq!(verdicts[&row.name], right, "{}", row.name);
    }
}

/// The host of a row, as a playbook names it.
const HOST: &str = "host(row[1], #{ port: row[2], user: \"root\", name: row[0] })";

/// sshds in their own network.
struct Hosts {
    dir: TempDir,
    /// Keeps the network. It ends when its standard input is closed.
    holder: Child,
    /// The values of `{name}` in the table.
    words: BTreeMap<String, String>,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// Starts the hosts, and ends them when standard input is closed.
const NETWORK: &str = r#"
cd "$1" && ip link set lo up && mount --bind system /etc/ssh && mount --bind hosts /etc/hosts || exit
mkdir -p /run/sshd
host() {
    port=$1; shift
    set -- $(for option in "$@"; do echo "-o $option"; done)
    /usr/sbin/sshd -D -e -f config -p "$port" "$@" 2>>sshd.log &
    hosts="$hosts $!"
}
key() { echo "HostKey=$PWD/$1"; }
host 22 $(key ed) $(key ecdsa) $(key rsa)
host 2222 $(key ed) $(key ecdsa) $(key rsa)
host 2223 $(key rsa)
host 2224 $(key ed) "HostCertificate=$PWD/ed-cert.pub"
host 2225 $(key ecdsa)
until [ "$(grep -c "listening on ::" sshd.log)" = 5 ]; do sleep 0.02; done
echo ready
read -r _
kill $hosts
"#;

impl Hosts {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["system", "home", "home/.ssh", "rows"] {
            fs::create_dir(at(folder)).unwrap();
        }
        let mut words = BTreeMap::new();
        for (name, kind, bits) in [
            ("ed", "ed25519", "256"),
            ("ecdsa", "ecdsa", "256"),
            ("rsa", "rsa", "2048"),
            ("other", "ed25519", "256"),
            ("other_rsa", "rsa", "2048"),
            ("ca", "ed25519", "256"),
            ("home/.ssh/id_ed25519", "ed25519", "256"),
        ] {
            keygen(
                &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "", "-f"],
                &at(name),
            );
            let public = fs::read_to_string(at(&format!("{name}.pub"))).unwrap();
            words.insert(name.to_owned(), public.trim().to_owned());
        }
        let ca = at("ca").display().to_string();
        let names = "web.example.com,db.example.com,127.0.0.1";
        keygen(
            &["-q", "-s", &ca, "-I", "host", "-h", "-n", names],
            &at("ed.pub"),
        );
        fs::write(
            at("hosts"),
            "127.0.0.1 localhost web.example.com db.example.com\n",
        )
        .unwrap();
        let config = format!(
            "AuthorizedKeysFile {}\nStrictModes no\nPidFile none\nPermitRootLogin yes\n\
             MaxStartups 100\nLogLevel VERBOSE\n",
            at("home/.ssh/id_ed25519.pub").display()
        );
        fs::write(at("config"), config).unwrap();
        // The targets of these links change with each row.
        for (index, file) in FILES.iter().enumerate() {
            let folder = if index < 2 { "home/.ssh" } else { "system" };
            symlink(at("current").join(file), at(folder).join(file)).unwrap();
        }
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", NETWORK, "hosts"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        assert_eq!(
            ready, "ready\n",
            "the hosts did not start: run the tests as root"
        );
        let mut hosts = Self { dir, holder, words };
        hosts.make_odd_keys();
        hosts
    }

    /// Returns a row with one file and the default host.
    fn row(&self, name: &str, text: &str) -> Row {
        Row {
            name: name.to_owned(),
            files: BTreeMap::from([(FILES[0].to_owned(), self.filled(text))]),
            address: WEB.to_owned(),
            port: 22,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program in the hosts' network, with their system files.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.id();
        command
            .arg(format!("--net=/proc/{pid}/ns/net"))
            .arg(format!("--mount=/proc/{pid}/ns/mnt"))
            .args(["--", program]);
        command
    }

    /// Creates the fields of keys, and keys that ssh cannot read.
    fn make_odd_keys(&mut self) {
        let mut more = BTreeMap::new();
        for (name, key) in &self.words {
            let (kind, base64) = key.split_once(' ').unwrap();
            more.insert(format!("{name}.type"), kind.to_owned());
            more.insert(format!("{name}.key"), base64.to_owned());
        }
        let blob = |name: &str| {
            BASE64_STANDARD
                .decode(&more[&format!("{name}.key")])
                .unwrap()
        };
        let line = |kind: &str, blob: &[u8]| format!("{kind} {}", BASE64_STANDARD.encode(blob));
        let ed = blob("ed");
        let ecdsa = blob("ecdsa");
        let longer = [ed.as_slice(), b"\0\0\0\x01x"].concat();
        let shorter = [&ed[..15], b"\0\0\0\x1f", &ed[19..50]].concat();
        let off = [&ecdsa[..ecdsa.len() - 1], &[ecdsa.last().unwrap() ^ 1]].concat();
        // e is 65537. n begins with a zero byte because its first bit is set.
        let start: &[u8] = b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\0\x01";
        let modulus = &blob("rsa")[start.len() + 5..];
        let number = |zeros: usize, bytes: &[u8]| {
            let length = u32::try_from(zeros + bytes.len()).unwrap().to_be_bytes();
            [&length[..], &vec![0; zeros], bytes].concat()
        };
        let sk = [
            &b"\0\0\0\x1ask-ssh-ed25519@openssh.com\0\0\0\x20"[..],
            &ed[19..],
            b"\0\0\0\x04ssh:",
        ];
        let rsa = |number: Vec<u8>| line("ssh-rsa", &[start, &number].concat());
        let odd = [
            ("ed.longer", line("ssh-ed25519", &longer)),
            ("ed.shorter", line("ssh-ed25519", &shorter)),
            ("ecdsa.off", line("ecdsa-sha2-nistp256", &off)),
            (
                "ecdsa.unpadded",
                self.words["ecdsa"].trim_end_matches('=').to_owned(),
            ),
            ("rsa.zeros", rsa(number(3, modulus))),
            ("rsa.negative", rsa(number(0, modulus))),
            ("rsa.small", rsa(number(1, &modulus[..64]))),
            ("sk", line("sk-ssh-ed25519@openssh.com", &sk.concat())),
        ];
        self.words.extend(more);
        self.words
            .extend(odd.map(|(name, key)| (name.to_owned(), key)));
    }

    /// Replaces the `{name}` parts in a text of the table.
    fn filled(&self, text: &str) -> Vec<u8> {
        let mut all = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            all.extend(before.as_bytes());
            let (word, after) = after.split_once('}').unwrap();
            all.extend(self.word(word));
            rest = after;
        }
        all.extend(rest.as_bytes());
        match all.strip_suffix(b"\0end\n") {
            Some(without_end) => without_end.to_vec(),
            None => all,
        }
    }

    fn word(&self, word: &str) -> Vec<u8> {
        if let Some(known) = self.words.get(word) {
            return known.clone().into_bytes();
        }
        let fixed = match word {
            "tab" => "\t",
            "cr" => "\r",
            "vt" => "\u{b}",
            "ff" => "\u{c}",
            "blank" => " ",
            "bom" => "\u{feff}",
            "end" => "\0end",
            _ => "",
        };
        if !fixed.is_empty() {
            return fixed.as_bytes().to_vec();
        }
        let key = &self.words["other"];
        match word.split_once(' ').unwrap() {
            ("byte", number) => vec![number.parse().unwrap()],
            ("hash", name) => hashed(name).into_bytes(),
            (count, what) => {
                let each = |number: usize| match what {
                    "x" => "x".to_owned(),
                    "names" => format!("host{number}.example.org,"),
                    "lines" => format!("host{number}.example.org {key}\n"),
                    "hashed" => format!("{} {key}\n", hashed(&format!("host{number}"))),
                    other => panic!("unknown name {{{other}}}"),
                };
                let count: usize = count.parse().unwrap();
                (0..count).map(each).collect::<String>().into_bytes()
            }
        }
    }

    /// Returns the rows of the table with the expected verdicts.
    fn table(&self, text: &str) -> (Vec<Row>, Vec<Right>) {
        let mut rows: Vec<Row> = Vec::new();
        let mut right: Vec<Right> = Vec::new();
        let mut file = FILES[0];
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("== ") {
                let (name, verdict) = head.rsplit_once(": ").unwrap();
                let (name, host) = match name.split_once(" [") {
                    Some((name, host)) => (name, host.strip_suffix(']').unwrap()),
                    None => (name, WEB),
                };
                let (address, port) = address_and_port(host);
                assert!(rows.iter().all(|row| row.name != name), "{name} twice");
                rows.push(Row {
                    name: name.to_owned(),
                    files: BTreeMap::new(),
                    address,
                    port,
                });
                right.push(Right {
                    verdict: verdict.to_owned(),
                    ssh: None,
                });
                file = FILES[0];
            } else if let Some(differs) = line.strip_prefix("!! ") {
                let (verdict, _reason) = differs.split_once(", ").unwrap();
                right.last_mut().unwrap().ssh = Some(verdict.to_owned());
            } else if let Some(name) = line.strip_prefix("--- ") {
                file = FILES.into_iter().find(|file| *file == name).unwrap();
            } else if let Some(row) = rows.last_mut()
                && !(line.is_empty() || line.starts_with("# "))
            {
                let text = self.filled(&format!("{line}\n"));
                row.files.entry(file.to_owned()).or_default().extend(text);
            }
        }
        (rows, right)
    }

    /// Writes the files of a row to the directory from which the playbook copies
    /// them.
    fn put(&self, number: usize, row: &Row) -> PathBuf {
        let folder = self.at("rows").join(number.to_string());
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &row.files {
            let path = folder.join(name);
            if text.as_slice() == DIRECTORY {
                fs::create_dir(path).unwrap();
            } else if let Some(target) = text.strip_prefix(LINK) {
                let target = std::str::from_utf8(target).unwrap().trim();
                symlink(target, path).unwrap();
            } else {
                fs::write(path, text).unwrap();
            }
        }
        folder
    }

    /// Returns ssh's verdict on each row.
    fn ssh_verdicts(&self, rows: &[Row]) -> BTreeMap<String, String> {
        let numbered: Vec<(usize, &Row)> = rows.iter().enumerate().collect();
        let share = numbered.len().div_ceil(4).max(1);
        std::thread::scope(|scope| {
            let shares = numbered.chunks(share).map(|rows| {
                scope.spawn(move || {
                    let verdicts = rows.iter().map(|(number, row)| {
                        (
                            row.name.clone(),
                            self.ssh_verdict(&self.put(*number, row), row),
                        )
                    });
                    verdicts.collect::<Vec<_>>()
                })
            });
            let shares: Vec<_> = shares.collect();
            shares
                .into_iter()
                .flat_map(|share| share.join().unwrap())
                .collect()
        })
    }

    /// Connects without logging in: an accepted host denies the login.
    fn ssh_verdict(&self, folder: &Path, row: &Row) -> String {
        let files = |names: [&str; 2]| {
            names
                .map(|name| folder.join(name).display().to_string())
                .join(" ")
        };
        let output = self
            .inside("ssh")
            .args([
                "-F",
                "/dev/null",
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "BatchMode=yes",
            ])
            .args(["-o", "PreferredAuthentications=none", "-l", "root"])
            .arg("-o")
            .arg(format!(
                "UserKnownHostsFile={}",
                files([FILES[0], FILES[1]])
            ))
            .arg("-o")
            .arg(format!(
                "GlobalKnownHostsFile={}",
                files([FILES[2], FILES[3]])
            ))
            .args(["-p", &row.port.to_string(), &row.address, "true"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let answer = String::from_utf8_lossy(&output.stderr);
        let signs = [
            ("REVOKED HOST KEY", "revoked"),
            ("REMOTE HOST IDENTIFICATION HAS CHANGED", "changed"),
            ("host key is known for", "unknown"),
            ("Permission denied", "accepted"),
        ];
        let found = signs.iter().find(|(sign, _)| answer.contains(sign));
        found
            .unwrap_or_else(|| panic!("{}: {answer}", row.name))
            .1
            .to_owned()
    }

    /// Returns the program's verdict on each row. One run checks all rows, with
    /// files that change during the run.
    fn autorun_verdicts(&self, rows: &[Row]) -> BTreeMap<String, String> {
        self.run(rows).0
    }

    fn run(&self, rows: &[Row]) -> (BTreeMap<String, String>, Ended) {
        self.run_playbook(rows, &["ln", "-sfn"], HOST)
    }

    /// Connects through a jump host.
    fn run_via(&self, rows: &[Row], address: &str, port: u16) -> (BTreeMap<String, String>, Ended) {
        let via = format!("host(\"{address}\", #{{ port: {port}, user: \"root\", name: row[0] }})");
        let host = HOST.replace(" })", &format!(", via: {via} }})"));
        self.run_playbook(rows, &["ln", "-sfn"], &host)
    }

    /// For each row, copies its files to their place with a command and connects
    /// to its host.
    fn run_playbook(
        &self,
        rows: &[Row],
        put: &[&str],
        host: &str,
    ) -> (BTreeMap<String, String>, Ended) {
        let mut list = String::new();
        for (number, row) in rows.iter().enumerate() {
            let folder = self.put(number, row).display().to_string();
            let entry = serde_json::json!([row.name, row.address, row.port, folder]);
            writeln!(list, "{entry},").unwrap();
        }
        let put = serde_json::json!(put);
        let current = serde_json::json!(self.at("current").display().to_string());
        let playbook = format!(
            "for row in [{list}] {{\n\
                 local_exec({put} + [row[3], {current}]);\n\
                 let answer = \"accepted\";\n\
                 try {{\n\
                     ssh_exec({host}, \"true\");\n\
                 }} catch (caught) {{\n\
                     let err = error_info(caught);\n\
                     answer = `${{err.kind}} ${{err.message}} (${{err.hint}})`;\n\
                 }}\n\
                 print(`${{row[0]}}\t${{answer}}`);\n\
             }}",
        );
        let file = self.at("playbook.rhai");
        fs::write(&file, playbook).unwrap();
        let output = self
            .inside(env!("CARGO_BIN_EXE_autorun"))
            .arg(&file)
            .current_dir(root())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.at("home"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let ended = Ended::of(&output, &self.at("home")).exits(0);
        let verdicts = ended.stdout.lines().filter_map(|line| {
            let (name, answer) = line.split_once('\t')?;
            Some((name.to_owned(), verdict(answer).to_owned()))
        });
        (verdicts.collect(), ended)
    }

    /// Generates a row from a grammar: lines that are right, nearly right and
    /// wrong.
    fn arbitrary(&self, number: usize, random: &mut StdRng) -> Row {
        let one = |random: &mut StdRng, list: &[&str]| (*list.choose(random).unwrap()).to_owned();
        let (address, port) = address_and_port(&one(
            random,
            &[
                "web.example.com",
                "WEB.example.com:2222",
                "db.example.com",
                "127.0.0.1",
                "[::1]:2222",
            ],
        ));
        let mut files = BTreeMap::new();
        for _ in 0..random.random_range(1..=4) {
            let file = one(
                random,
                &[
                    "known_hosts",
                    "known_hosts",
                    "known_hosts2",
                    "ssh_known_hosts",
                ],
            );
            let text: &mut Vec<u8> = files.entry(file).or_default();
            for _ in 0..random.random_range(1..=3) {
                text.extend(self.filled(&line(random)));
            }
        }
        Row {
            name: format!("arbitrary {number}"),
            files,
            address,
            port,
        }
    }
}

/// Generates a line from the grammar.
fn line(random: &mut StdRng) -> String {
    let mut one = |list: &[&str]| (*list.choose(random).unwrap()).to_owned();
    let marker = one(&[
        "",
        "",
        "",
        "",
        "",
        "",
        "@revoked ",
        "@revoked {tab}",
        "@revoked{tab}",
        "@cert-authority ",
        "@odd ",
    ]);
    let mut names = Vec::new();
    loop {
        names.push(one(&[
            "web.example.com",
            "web.example.com",
            "WEB.EXAMPLE.COM",
            "db.example.com",
            "*.example.com",
            "!db.example.com",
            "!web*",
            "*",
            "w?b.example.com",
            "[web.example.com]:2222",
            "[*]:2222",
            "127.0.0.1",
            "127.0.0.*",
            "::1",
            "[::1]:2222",
            "{byte 200}",
            "",
            "other.example.org",
        ]));
        if one(&["more", "no", "no"]) == "no" {
            break;
        }
    }
    let names = match one(&[
        "",
        "",
        "",
        "{hash web.example.com}",
        "{hash [web.example.com]:2222}",
        "{hash 127.0.0.1}",
    ]) {
        list if list.is_empty() => names.join(","),
        hashed => hashed,
    };
    let key = one(&[
        "{ed}",
        "{ed}",
        "{ed}",
        "{rsa}",
        "{ecdsa}",
        "{other}",
        "{other_rsa}",
        "{ed.longer}",
        "{ed.type} {rsa.key}",
        "{ed.type}{tab}{ed.key}",
        "{rsa.small}",
        "{ed}#",
        "{ed.type}",
        "# {ed}",
        "{ed.type} AAAA",
    ]);
    let start = one(&["", "", "", " ", "{tab}", "#"]);
    let between = one(&[" ", " ", "  ", "{tab}", "{tab} ", "{vt}"]);
    let end = one(&[
        "\n",
        "\n",
        "\n",
        "{cr}\n",
        " me\n",
        " # me{cr}\n",
        "{byte 0}x\n",
    ]);
    format!("{start}{marker}{names}{between}{key}{end}")
}

/// Returns the verdict that an error, or its absence, means.
fn verdict(answer: &str) -> &str {
    let signs = [
        ("accepted", "accepted", "accepted"),
        ("host_key_changed", "is revoked by", "revoked"),
        ("host_key_changed", "is not the one in", "changed"),
        ("denied", "is unknown", "unknown"),
    ];
    let found = signs
        .iter()
        .find(|(kind, words, _)| answer.starts_with(kind) && answer.contains(words));
    found.map_or(answer, |(_, _, verdict)| verdict)
}

fn address_and_port(host: &str) -> (String, u16) {
    if let Some((address, port)) = host
        .strip_prefix('[')
        .and_then(|host| host.split_once("]:"))
    {
        return (address.to_owned(), port.parse().unwrap());
    }
    match host.split_once(':') {
        Some((address, port)) if !port.contains(':') => (address.to_owned(), port.parse().unwrap()),
        _ => (host.to_owned(), 22),
    }
}

/// Returns a name as `ssh-keygen -H` hashes it.
fn hashed(name: &str) -> String {
    let salt = [7; 20];
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    let hash = BASE64_STANDARD.encode(hmac::sign(&key, name.as_bytes()));
    format!("|1|{}|{hash}", BASE64_STANDARD.encode(salt))
}

fn keygen(arguments: &[&str], file: &Path) {
    let made = Command::new("ssh-keygen")
        .args(arguments)
        .arg(file)
        .status();
    assert!(made.unwrap().success());
}
