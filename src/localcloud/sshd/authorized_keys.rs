//! The keys that may log in as a user.
//!
//! The file is read at each login, so that an added or removed key takes effect at
//! once. As in OpenSSH, the file is ignored if another user could have written it. EC2
//! Instance Connect adds keys in files of its own.

use std::fs::Metadata;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use russh::keys::PublicKey;

use super::super::accounts::Account;
use super::super::files;
use super::key_options::{self, Grant};

/// The directory with the keys from EC2 Instance Connect, in a file for each user.
pub(crate) const PUSHED_KEYS: &str = "/run/ec2-instance-connect";

/// Returns what `key` may do as `account` from the address `client`, or `None` if
/// it may not log in.
pub(super) fn grant(account: &Account, key: &PublicKey, client: IpAddr) -> Option<Grant> {
    let mut text = read(account).unwrap_or_else(|reason| {
        log::debug!("ssh: ignored the keys of {}: {reason}", account.name);
        String::new()
    });
    text.push('\n');
    text.push_str(&pushed(account));
    text.lines()
        .filter_map(|line| entry(line, key))
        .find_map(|options| match key_options::parse(options, client) {
            Ok(grant) => Some(grant),
            Err(reason) => {
                log::warn!("ssh: ignored a key of {}: {reason}", account.name);
                None
            }
        })
}

/// Reads the file. Fails if another user could have written it.
fn read(account: &Account) -> Result<String, String> {
    let directory = account.home.join(".ssh");
    let path = directory.join("authorized_keys");
    for place in [&account.home, &directory] {
        let found = place
            .metadata()
            .map_err(|e| format!("`{}`: {e}", place.display()))?;
        only_owner_writes(place, &found, account)?;
    }
    let failed = |e: std::io::Error| format!("`{}`: {e}", path.display());
    let (file, found) = files::open(&path).map_err(failed)?;
    only_owner_writes(&path, &found, account)?;
    let mut text = Vec::new();
    file.take(files::MOST)
        .read_to_end(&mut text)
        .map_err(failed)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Returns the keys from EC2 Instance Connect. Only root can write them.
fn pushed(account: &Account) -> String {
    let path: PathBuf = [PUSHED_KEYS, &account.name].iter().collect();
    let mut text = Vec::new();
    let read = files::open(&path).and_then(|(file, found)| match found.uid() {
        0 => file.take(files::MOST).read_to_end(&mut text),
        _ => Ok(0),
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

fn only_owner_writes(path: &Path, found: &Metadata, account: &Account) -> Result<(), String> {
    if found.uid() != 0 && found.uid() != account.uid {
        return Err(format!("`{}` belongs to another user", path.display()));
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!("`{}` is writable by other users", path.display()));
    }
    Ok(())
}

/// Returns the options of a line if it contains this key.
fn entry<'a>(line: &'a str, key: &PublicKey) -> Option<&'a str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    if is_of_key(line, key) {
        return Some("");
    }
    let end = end_of_options(line)?;
    let (options, rest) = line.split_at(end);
    is_of_key(rest.trim_start(), key).then_some(options)
}

fn is_of_key(text: &str, key: &PublicKey) -> bool {
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
        return false;
    };
    PublicKey::from_openssh(&format!("{kind} {blob}"))
        .is_ok_and(|listed| listed.key_data() == key.key_data())
}

/// Returns the position of the first blank outside quotes.
fn end_of_options(line: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    line.char_indices()
        .find(|&(_, c)| {
            if c == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = c == '\\' && !escaped;
            !quoted && (c == ' ' || c == '\t')
        })
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::super::key_options::Grant;
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key() -> PublicKey {
        PublicKey::from_openssh(KEY).unwrap()
    }

    fn allowed(line: &str) -> Option<Grant> {
        key_options::parse(entry(line, &key())?, "10.1.2.3".parse().unwrap()).ok()
    }

    #[test]
    fn plain_lines_allow_everything() {
        assert_eq!(allowed(KEY), Some(Grant::all()));
        assert_eq!(allowed(&format!("  {KEY} me@home\r")), Some(Grant::all()));
        assert_eq!(allowed(&format!("#{KEY}")), None);
        assert_eq!(allowed(""), None);
    }

    #[test]
    fn the_line_that_cloud_init_writes_for_root_is_parsed() {
        let line = format!(
            "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command=\"echo 'Please \
             login as the user \\\"ec2-user\\\" rather than the user \\\"root\\\".';echo;sleep \
             10;exit 142\" {KEY}"
        );
        let grant = allowed(&line).unwrap();
        assert!(!grant.forwarding && grant.terminal);
        let command = grant.forced_command.unwrap();
        assert!(command.starts_with("echo 'Please login as the user \"ec2-user\" rather"));
        assert!(command.ends_with("exit 142"));
    }

    #[test]
    fn restrictions_apply() {
        let grant = allowed(&format!("restrict,pty {KEY}")).unwrap();
        assert!(grant.terminal && !grant.forwarding);
        let grant = allowed(&format!("permitopen=\"10.0.0.1:80\" {KEY}")).unwrap();
        assert!(grant.may_connect("10.0.0.1", 80));
        assert!(!grant.may_connect("10.0.0.1", 81));
        assert!(!grant.may_connect("10.0.0.2", 80));
    }

    #[test]
    fn unsupported_and_unmet_options_grant_nothing() {
        for options in [
            "cert-authority",
            "principals=\"a\"",
            "verify-required",
            "command",
            "command=ls",
            "nonsense",
            "expiry-time=\"tomorrow\"",
            "expiry-time=\"20200101\"",
            "from=\"192.168.0.0/16\"",
            "from=\"10.*,!10.1.2.3\"",
            "from=\"example.com\"",
        ] {
            assert_eq!(allowed(&format!("{options} {KEY}")), None, "{options}");
        }
    }

    #[test]
    fn matching_sources_and_future_expiry_times_are_allowed() {
        for options in [
            "from=\"10.0.0.0/8\"",
            "from=\"192.168.1.1,10.1.2.?\"",
            "from=\"10.*\"",
            "expiry-time=\"29990101\"",
            "expiry-time=\"299901011200Z\"",
        ] {
            assert_eq!(
                allowed(&format!("{options} {KEY}")),
                Some(Grant::all()),
                "{options}"
            );
        }
    }
}
