//! `hostnamectl`, and the `hostname` that sets a name.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::super::super::files;
use super::super::disk::standins::HOSTNAME;
use super::super::init::client;
use super::super::init::control::Reply;
use super::super::journal::boot_id;
use super::options::{Known, Value, parse};
use super::{is_root, unsupported};

const KNOWN: [Known; 4] = [
    (None, "static", Value::No),
    (None, "transient", Value::No),
    (None, "pretty", Value::No),
    (None, "no-ask-password", Value::No),
];

/// The longest name that Linux takes.
const LONGEST: usize = 64;

/// The name in the kernel, in `/etc/hostname`, or in `/etc/machine-info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transient,
    Static,
    Pretty,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Static => "static",
            Self::Pretty => "pretty",
        }
    }
}

/// Runs `hostnamectl`.
pub(super) fn run(args: &[String]) -> Reply {
    let (given, words) = match parse("hostnamectl", &KNOWN, args) {
        Ok(parsed) => parsed,
        Err(reply) => return reply,
    };
    let mut kinds = Vec::new();
    for (name, _) in given {
        match name {
            "static" => kinds.push(Kind::Static),
            "transient" => kinds.push(Kind::Transient),
            "pretty" => kinds.push(Kind::Pretty),
            // No password is ever asked for.
            _ => {}
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["status"] => status(&kinds),
        ["hostname"] => Reply::success(format!("{}\n", one(kinds.first().copied()))),
        ["hostname" | "set-hostname", name] => set(&kinds, name),
        ["set-hostname"] => Reply::failure("Too few arguments.", 1),
        ["status" | "hostname" | "set-hostname", ..] => Reply::failure("Too many arguments.", 1),
        [verb, ..] => unsupported("hostnamectl", verb),
    }
}

/// Runs `hostname`: sets a name, or calls the host's program, which may only
/// print it.
pub(super) fn hostname(args: &[String]) -> Reply {
    let name = match args {
        [name] if !name.starts_with('-') => name.clone(),
        [option, file] if option == "-F" || option == "--file" => match files::read_text(file) {
            Ok(text) => {
                let lines = text.lines().map(str::trim);
                let mut names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                names.next().unwrap_or_default().to_owned()
            }
            Err(error) => return Reply::failure(format!("hostname: {file}: {error}"), 1),
        },
        args => {
            let error = Command::new(HOSTNAME).arg0("hostname").args(args).exec();
            return Reply::failure(format!("hostname: {error}"), 1);
        }
    };
    if !is_root() {
        return Reply::failure("hostname: you must be root to change the host name", 1);
    }
    if !is_valid(&name) {
        return Reply::failure("hostname: the specified hostname is invalid", 1);
    }
    client::set_kernel_name(&name)
}

fn one(kind: Option<Kind>) -> String {
    match kind {
        Some(Kind::Static) => static_name(),
        Some(Kind::Pretty) => pretty_name(),
        Some(Kind::Transient) | None => kernel_name(),
    }
}

fn status(kinds: &[Kind]) -> Reply {
    if let [kind] = kinds {
        return Reply::success(format!("{}\n", one(Some(*kind))));
    }
    let (kernel, in_file, pretty) = (kernel_name(), static_name(), pretty_name());
    let system = files::read_text("/etc/os-release").unwrap_or_default();
    let machine = files::read_text("/etc/machine-id").unwrap_or_default();
    let version = files::read_text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "x86-64",
        "aarch64" => "arm64",
        other => other,
    };
    let shown = if in_file.is_empty() { "n/a" } else { &in_file };
    let mut lines = vec![("Static hostname", shown.to_owned())];
    if !pretty.is_empty() {
        lines.push(("Pretty hostname", pretty));
    }
    if kernel != in_file {
        lines.push(("Transient hostname", kernel));
    }
    lines.extend([
        ("Icon name", "computer-vm".to_owned()),
        ("Chassis", "vm".to_owned()),
        ("Machine ID", machine.trim().to_owned()),
        ("Boot ID", boot_id()),
        ("Virtualization", "amazon".to_owned()),
        ("Operating System", setting(&system, "PRETTY_NAME")),
        ("Kernel", format!("Linux {}", version.trim())),
        ("Architecture", architecture.to_owned()),
        ("Hardware Vendor", "Amazon EC2".to_owned()),
    ]);
    let width = lines
        .iter()
        .map(|(key, _)| key.len())
        .max()
        .unwrap_or_default();
    let lines = lines
        .iter()
        .map(|(key, value)| format!("{key:>width$}: {value}\n"));
    Reply::success(lines.collect::<String>())
}

fn set(kinds: &[Kind], name: &str) -> Reply {
    // Without an option it sets all names, as hostnamectl does.
    let kinds = match kinds {
        [] => &[Kind::Static, Kind::Transient, Kind::Pretty],
        kinds => kinds,
    };
    let simple = simplified(name);
    for kind in kinds {
        let what = kind.name();
        if !is_root() {
            let message =
                format!("Could not set {what} hostname: Interactive authentication required.");
            return Reply::failure(message, 1);
        }
        let is_plain = *kind == Kind::Pretty || is_valid(&simple);
        if !is_plain || name.contains(['\n', '"', '\\', '$', '`']) {
            let message =
                format!("Could not set {what} hostname: Invalid {what} hostname '{name}'");
            return Reply::failure(message, 1);
        }
        // Only a name that is not a valid host name is also a pretty one.
        let pretty = if kinds.len() > 1 && simple == name {
            ""
        } else {
            name
        };
        let reply = match kind {
            Kind::Static => written("/etc/hostname", &format!("{simple}\n")),
            Kind::Transient => client::set_kernel_name(&simple),
            Kind::Pretty => set_pretty(pretty),
        };
        if reply.code != 0 {
            return reply;
        }
    }
    // A new static name is also the kernel's, if no transient one was set.
    match kinds {
        [Kind::Static] => client::set_kernel_name(&simple),
        _ => Reply::default(),
    }
}

fn set_pretty(name: &str) -> Reply {
    const FILE: &str = "/etc/machine-info";
    let before = files::read_text(FILE).unwrap_or_default();
    let others = before
        .lines()
        .filter(|line| !line.starts_with("PRETTY_HOSTNAME="));
    let mut lines: Vec<String> = others.map(str::to_owned).collect();
    if !name.is_empty() {
        lines.push(format!("PRETTY_HOSTNAME=\"{name}\""));
    }
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    if text.is_empty() && !Path::new(FILE).exists() {
        return Reply::default();
    }
    written(FILE, &text)
}

fn written(path: &str, text: &str) -> Reply {
    match files::replace(path, text.as_bytes(), 0o644) {
        Ok(()) => Reply::default(),
        Err(error) => Reply::failure(format!("cannot write {path}: {error}"), 1),
    }
}

fn kernel_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn static_name() -> String {
    let text = files::read_text("/etc/hostname").unwrap_or_default();
    text.trim().to_owned()
}

fn pretty_name() -> String {
    let text = files::read_text("/etc/machine-info").unwrap_or_default();
    setting(&text, "PRETTY_HOSTNAME")
}

/// Returns a value of a file such as `os-release`.
fn setting(text: &str, key: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    let value = lines.find_map(|(found, value)| (found == key).then_some(value));
    value
        .unwrap_or_default()
        .trim_matches(['"', '\''])
        .to_owned()
}

/// Returns the name that hostnamectl makes of any text.
fn simplified(name: &str) -> String {
    let mut simple = String::new();
    for letter in name.trim_start_matches(['-', '.']).chars() {
        let after_dot = simple.is_empty() || simple.ends_with(['.', '-']);
        match letter {
            '.' if after_dot => {}
            '-' if simple.is_empty() || simple.ends_with('.') => {}
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => simple.push(letter),
            _ => {}
        }
    }
    simple.truncate(LONGEST);
    simple.trim_end_matches(['-', '.']).to_owned()
}

/// Whether systemd takes a name as a host name.
pub(in super::super) fn is_valid(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && simplified(name) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_by_systemd() {
        for name in ["web", "web-1.example.com", "WEB_2"] {
            assert!(is_valid(name), "{name}");
        }
        let long = "x".repeat(65);
        for name in [
            "", "-web", "web-", "a..b", "a b", ".web", "web.", "a/b", "ä", &long,
        ] {
            assert!(!is_valid(name), "{name}");
        }
        assert_eq!(simplified("Ada's Server"), "AdasServer");
    }

    #[test]
    fn settings_have_quotes_or_not() {
        let text = "NAME=Debian\nPRETTY_NAME=\"Debian 12\"\n";
        assert_eq!(setting(text, "PRETTY_NAME"), "Debian 12");
        assert_eq!(setting(text, "NAME"), "Debian");
        assert_eq!(setting(text, "ID"), "");
    }

    #[test]
    fn other_commands_are_refused() {
        let call = |line: &str| run(&super::super::tests::words(line));
        for line in ["chassis server", "--json=short", "-H web status"] {
            let reply = call(line);
            assert_eq!(reply.code, 1, "{line}");
        }
        assert!(
            call("chassis server")
                .err
                .contains("autorun docs local-cloud")
        );
        assert_eq!(call("set-hostname").err, "Too few arguments.\n");
    }
}
