//! The limit of open files (`ulimit -n`), which many connections at once can reach.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::idle;
use crate::error::{Error, ErrorKind, Result};

/// The files of one host: its socket, and those of its proxy or of a copy.
const PER_HOST: u64 = 4;

/// The files of everything else: the ledger, logs, and connections to AWS.
const OTHERS: u64 = 64;

/// Raises this process's limit, if work on this many hosts at once needs that.
///
/// Fails with `quota_exceeded` if the system does not allow as many.
pub fn allow_open_files(hosts: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let needed = files_of(hosts);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        ..limit
    };
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most >= needed && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(refused(hosts, needed, limit.maximum.or(limit.current)))
}

fn files_of(hosts: usize) -> u64 {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    PER_HOST
        .saturating_mul(count(hosts))
        .saturating_add(count(idle::MOST) + OTHERS)
}

fn refused(hosts: usize, needed: u64, most: Option<u64>) -> Error {
    let most = most.unwrap_or_default();
    let message = format!(
        "work on {hosts} hosts at the same time may need {needed} open files, but this process \
         may open only {most}"
    );
    let raise = format!("raise the limit with `ulimit -n {needed}`");
    Error::new(ErrorKind::QuotaExceeded, message).hint(match most.saturating_sub(files_of(0)) {
        left if left >= PER_HOST => format!("{raise}, or pass `at_once: {}`", left / PER_HOST),
        _ => raise,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_what_fits() {
        assert_eq!(files_of(64), 448);
        let error = refused(64, 448, Some(256));
        let hint = error.hint.clone().unwrap();
        assert!(hint.contains("ulimit -n 448"), "{hint}");
        assert!(hint.contains("at_once: 16"), "{hint}");
        assert!(error.to_string().contains("only 256"), "{error}");
        let hint = refused(64, 448, Some(100)).hint.clone().unwrap();
        assert!(!hint.contains("at_once"), "{hint}");
    }

    #[test]
    fn a_usual_limit_is_enough_for_any_number_of_hosts() {
        // By default, 64 hosts are worked on at the same time.
        assert!(files_of(64) <= 1024);
    }
}
