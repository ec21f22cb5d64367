//! Programs of an init system that need no service manager: `hostnamectl`,
//! `timedatectl`, `journalctl` and others, and those that mount volumes. They do what
//! scripts on a server use. Whatever else they are asked for fails and names the
//! manual: no call has only the appearance of success.

mod hostnamectl;
mod journalctl;
pub(super) mod options;
mod refused;
mod since;
mod timedatectl;
mod volumes;

use super::init::control::Reply;

pub(super) use hostnamectl::is_valid;
pub(super) use journalctl::matches;
pub(super) use refused::{REFUSED, unsupported};
pub(super) use volumes::{TOOLS as OF_VOLUMES, own};

/// The version that the programs report.
pub(super) const VERSION: &str = "252 (stand-in of autorun)";

/// The programs in a machine that this module provides, and their directories.
pub(super) const TOOLS: [(&str, &str); 6] = [
    ("bin", "hostname"),
    ("bin", "hostnamectl"),
    ("bin", "journalctl"),
    ("bin", "systemd-detect-virt"),
    ("bin", "timedatectl"),
    ("sbin", "runlevel"),
];

/// Runs one of the programs. Returns `None` for other names.
pub(super) fn run(tool: &str, args: &[String]) -> Option<Reply> {
    if let Some(reply) = volumes::run(tool, args) {
        return Some(reply);
    }
    let is_ours = TOOLS.iter().any(|(_, name)| *name == tool);
    if is_ours && tool != "hostname" && matches!(args, [only] if only == "--version") {
        return Some(Reply::success(format!("systemd {VERSION}\n")));
    }
    Some(match tool {
        "runlevel" => Reply::success("N 5\n"),
        "hostname" => hostnamectl::hostname(args),
        "hostnamectl" => hostnamectl::run(args),
        "journalctl" => journalctl::run(args),
        "systemd-detect-virt" => detect_virtualization(args),
        "timedatectl" => timedatectl::run(args),
        tool => refused::run(tool)?,
    })
}

/// What the program prints on an instance of EC2, which is a virtual machine.
fn detect_virtualization(args: &[String]) -> Reply {
    let is = |names: [&str; 2]| args.iter().any(|arg| names.contains(&arg.as_str()));
    let known = ["-c", "--container", "-v", "--vm", "-q", "--quiet"];
    if let Some(other) = args.iter().find(|arg| !known.contains(&arg.as_str())) {
        return unsupported("systemd-detect-virt", other);
    }
    let (name, code) = if is(["-c", "--container"]) {
        ("none\n", 1)
    } else {
        ("amazon\n", 0)
    };
    let out = if is(["-q", "--quiet"]) { "" } else { name };
    Reply {
        code,
        ..Reply::success(out)
    }
}

/// Whether the caller is root. Other users would have to authenticate.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_instance_is_a_virtual_machine_of_amazon() {
        let call = |line: &str| detect_virtualization(&words(line));
        assert_eq!(call(""), Reply::success("amazon\n"));
        assert_eq!(call("--vm -q"), Reply::success(""));
        assert_eq!((call("-c").out.as_str(), call("-c").code), ("none\n", 1));
        assert_eq!(call("--list").code, 1);
    }
}
