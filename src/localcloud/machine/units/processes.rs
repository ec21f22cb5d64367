//! Finds the processes of a service without cgroups.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::super::files;

/// The data that identifies a service's processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Family {
    /// The value of `INVOCATION_ID` in their environment.
    pub(super) invocation: String,
    /// The processes that were started for the service. Each leads a session.
    pub(super) started: BTreeSet<i32>,
    /// The main process.
    pub(super) main: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    session: i32,
}

impl Family {
    /// Returns every living process of the service.
    pub(super) fn members(&self) -> BTreeSet<i32> {
        let all = processes();
        let mut members: BTreeSet<i32> = all
            .iter()
            .filter(|(pid, process)| self.knows(**pid, **process))
            .map(|(pid, _)| *pid)
            .collect();
        // Add descendants of members until there are no more.
        loop {
            let before = members.len();
            for (pid, process) in &all {
                if members.contains(&process.parent) {
                    members.insert(*pid);
                }
            }
            if members.len() == before {
                return members;
            }
        }
    }

    fn knows(&self, pid: i32, process: Process) -> bool {
        self.main == Some(pid)
            || self.main == Some(process.session)
            || self.started.contains(&process.session)
            || has_invocation(pid, &self.invocation)
    }

    /// Whether a process carries the service's invocation id.
    pub(super) fn has(&self, pid: i32) -> bool {
        !self.invocation.is_empty() && has_invocation(pid, &self.invocation)
    }

    /// Sends a signal to all processes of the service.
    pub(super) fn signal(&self, signal: Signal) {
        for pid in self.members() {
            send(pid, signal);
        }
    }
}

/// Sends a signal to a process, which may have ended already.
pub(super) fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Whether a process exists and is not a zombie.
pub(super) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some()
}

fn processes() -> BTreeMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != 1);
    others.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn stat(pid: i32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses a `stat` file. The name in parentheses may itself contain
/// parentheses.
fn parse_stat(text: &str) -> Option<Process> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { parent, session })
}

fn has_invocation(pid: i32, invocation: &str) -> bool {
    let Ok(environment) = files::head(format!("/proc/{pid}/environ"), files::MOST) else {
        return false;
    };
    let wanted = format!("INVOCATION_ID={invocation}");
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_files_are_parsed_with_any_name() {
        let process = parse_stat("42 (a) b) S 7 42 41 0 -1").unwrap();
        assert_eq!((process.parent, process.session), (7, 41));
        assert_eq!(parse_stat("42 (a) Z 7 42 41 0"), None);
    }
}
