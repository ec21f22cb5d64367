//! The boots of hosts: which one a run has seen last, and whether the next one is
//! expected. Linux gives each boot an id.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::host::Host;

/// A reboot that a host is expected to go through.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Why it is expected, for messages.
    pub cause: String,
    /// Whether it is certain.
    pub certain: bool,
    pub since: Instant,
    /// The id of the boot that ends, if it is known.
    before: Option<String>,
    /// Whether the host was unreachable in the meantime.
    outage: bool,
}

#[derive(Debug, Default)]
struct Seen {
    boot: Option<String>,
    expected: Option<Expected>,
}

/// The boots of all hosts; see the module.
#[derive(Debug, Default)]
pub(super) struct Boots(Mutex<HashMap<String, Seen>>);

impl Boots {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a command has started in this boot. Without an id, a host
    /// that was unreachable has rebooted.
    pub(super) fn saw(&self, host: &Host, boot: Option<&str>) {
        let mut all = self.all();
        let seen = all.entry(place(host)).or_default();
        let done = |expected: &Expected| match (&expected.before, boot) {
            (Some(before), Some(now)) => before != now,
            _ => expected.outage,
        };
        if seen.expected.as_ref().is_some_and(done) {
            seen.expected = None;
        }
        seen.boot = boot.map(str::to_owned);
    }

    /// Expects a new boot. An earlier expectation remains if it is certain.
    pub(super) fn expect(&self, host: &Host, cause: &str, certain: bool) {
        let mut all = self.all();
        let seen = all.entry(place(host)).or_default();
        if certain || seen.expected.is_none() {
            seen.expected = Some(Expected {
                cause: cause.to_owned(),
                certain,
                since: Instant::now(),
                before: seen.boot.clone(),
                outage: false,
            });
        }
    }

    /// Records that the host does not answer.
    pub(super) fn lost(&self, host: &Host) {
        let mut all = self.all();
        if let Some(expected) = all.get_mut(&place(host)).and_then(|s| s.expected.as_mut()) {
            expected.outage = true;
        }
    }

    pub(super) fn expected(&self, host: &Host) -> Option<Expected> {
        self.all().get(&place(host))?.expected.clone()
    }

    pub(super) fn boot(&self, host: &Host) -> Option<String> {
        self.all().get(&place(host))?.boot.clone()
    }

    /// Expects no new boot any more.
    pub(super) fn forgive(&self, host: &Host) {
        if let Some(seen) = self.all().get_mut(&place(host)) {
            seen.expected = None;
        }
    }
}

/// Returns the machine, whoever logs in.
fn place(host: &Host) -> String {
    let via = host.via.as_deref().map(place).unwrap_or_default();
    format!("{} {} {via}", host.address, host.port)
}

/// Returns whether a command line names a program that reboots the host. It may
/// do something else nevertheless, so a reboot is not certain.
#[must_use]
pub fn names_reboot(command: &str) -> bool {
    let words: Vec<&str> = command
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c)))
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .collect();
    let has = |word: &str| words.contains(&word);
    has("reboot")
        || has("kexec")
        || has("shutdown")
            && words
                .iter()
                .any(|w| ["-r", "--reboot", "-rf", "-fr"].contains(w))
        || (has("init") || has("telinit")) && has("6")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ssh::{Configuration, Trust};

    #[test]
    fn commands_that_may_reboot_are_known() {
        for reboots in [
            "sudo reboot",
            "reboot &",
            "/sbin/reboot",
            "(sleep 1; systemctl reboot) &",
            "sudo shutdown -r now",
            "shutdown --reboot +1",
            "init 6",
        ] {
            assert!(names_reboot(reboots), "{reboots}");
        }
        for other in [
            "cat /var/run/reboot-required",
            "shutdown -h now",
            "systemctl restart init",
            "rm -r shutdown.log",
            "",
        ] {
            assert!(!names_reboot(other), "{other}");
        }
    }

    #[test]
    fn a_reboot_is_over_with_another_boot_id_or_after_an_outage() {
        let host = |user: &str| Host {
            name: "web".to_owned(),
            address: "192.0.2.1".to_owned(),
            port: 22,
            user: user.to_owned(),
            key: None,
            trust: Trust::KnownHosts,
            passphrase: None,
            password: None,
            sudo_password: None,
            via: None,
            ssm: None,
            configuration: Configuration::default(),
            settings: Arc::default(),
        };
        let (web, root) = (host("admin"), host("root"));
        let boots = Boots::default();
        boots.saw(&web, Some("one"));
        boots.expect(&root, "a test", true);
        boots.expect(&web, "a guess", false);
        boots.lost(&web);
        boots.saw(&web, Some("one"));
        assert_eq!(boots.expected(&web).unwrap().cause, "a test");
        boots.saw(&web, Some("two"));
        assert!(boots.expected(&web).is_none());
        // A host without boot ids.
        boots.saw(&web, None);
        boots.expect(&web, "a test", true);
        boots.saw(&web, None);
        assert!(boots.expected(&web).is_some());
        boots.lost(&web);
        boots.saw(&web, None);
        assert!(boots.expected(&web).is_none());
    }
}
