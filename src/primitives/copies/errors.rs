//! What a person reads when a copy fails: the host's own words, and what to do.
//!
//! Kinds and hints follow from the exit status of the program that copies
//! ([`Trouble`]); the words are only shown.

use crate::clients::ssh::copy_programs::Trouble;
use crate::clients::ssh::{self, Finished, Host};
use crate::error::{Error, ErrorKind};

/// Names the copy in an error of the time limit: the playbook called no command.
pub(super) fn in_time(error: Error, attempt: &str) -> Error {
    match error.kind {
        ErrorKind::Timeout => error.while_doing(attempt),
        _ => error,
    }
}

pub(super) fn no_tar(host: &Host) -> Error {
    Error::new(
        ErrorKind::CommandFailed,
        format!(
            "{} has no tar, with which directories are copied",
            host.name
        ),
    )
    .hint("install tar there, or copy the files one by one")
}

/// Why a host did not take `source` as `target`.
pub(super) fn not_copied(
    host: &Host,
    source: &str,
    target: &str,
    finished: &Finished,
    sudo: bool,
) -> Error {
    let words = words(finished);
    let trouble = Trouble::of_status(finished.status);
    let kind = match trouble {
        Some(Trouble::Full) => ErrorKind::QuotaExceeded,
        _ => ErrorKind::CommandFailed,
    };
    let message = format!(
        "cannot copy `{source}` to {}:{target}: {}",
        host.name,
        without_hidden_name(&words)
    );
    let error = failed(kind, message, finished, &words);
    let Some(trouble) = trouble else {
        return error;
    };
    match trouble {
        Trouble::Full => error.hint("make room there: ssh_exec(server, \"df -h\") shows its disks"),
        Trouble::Denied => error.hint("pass `sudo: true`, or a target that the user may write"),
        Trouble::HoldsHome => error.hint("leave `delete` out, or name a directory of its own"),
        Trouble::InTheWay => error.hint("move it away there, or copy to another target"),
        Trouble::Missing => match target.rsplit_once('/') {
            Some((directory, _)) if !directory.is_empty() => {
                let directory = shell_words::quote(directory);
                let options = if sudo { ", #{ sudo: true }" } else { "" };
                error.hint(format!(
                    "make the directory first: ssh_exec(server, \"mkdir -p {directory}\"{options})"
                ))
            }
            _ => error,
        },
        Trouble::Incomplete | Trouble::Special => error,
    }
}

/// Why a host did not send `source`.
pub(super) fn not_sent(host: &Host, source: &str, finished: &Finished) -> Error {
    let words = words(finished);
    let trouble = Trouble::of_status(finished.status);
    let kind = match trouble {
        Some(Trouble::Missing) => ErrorKind::NotFound,
        _ => ErrorKind::CommandFailed,
    };
    let message = format!("cannot copy {}:{source}: {words}", host.name);
    let error = failed(kind, message, finished, &words);
    match trouble {
        Some(Trouble::Denied) => {
            error.hint("pass `sudo: true`, or log in as a user who may read it")
        }
        Some(Trouble::Missing) => error.hint(format!(
            "a path that does not begin with / starts at the home directory of {}",
            host.user
        )),
        _ => error,
    }
}

fn failed(kind: ErrorKind, message: String, finished: &Finished, words: &str) -> Error {
    Error::new(kind, message).detail(serde_json::json!({
        "status": finished.status, "stdout": "", "stderr": words,
    }))
}

/// A directory where a file was asked for, or the other way round.
pub(super) fn other_kind(host: &Host, source: &str, what: &str) -> Error {
    let error = Error::new(
        ErrorKind::CommandFailed,
        format!("cannot copy {}:{source}: it is {what} there", host.name),
    );
    let plain = source.trim_end_matches('/');
    if source.ends_with('/') {
        error.hint(format!("a file is named without the `/`: \"{plain}\""))
    } else {
        error.hint(format!("a directory is named with a `/`: \"{plain}/\""))
    }
}

/// The end of what a host wrote to stderr, without the shell's `sh: 5: `: its
/// user never saw that program.
fn words(finished: &Finished) -> String {
    let plain = |line: &str| {
        let rest = line.strip_prefix("sh: ").unwrap_or(line);
        match rest.split_once(": ") {
            Some((number, rest)) if number.chars().all(|c| c.is_ascii_digit()) => rest.to_owned(),
            _ => rest.to_owned(),
        }
    };
    let end = ssh::tail(&finished.stderr, 3);
    end.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Hides the temporary file's name: what follows it is the reason.
fn without_hidden_name(words: &str) -> &str {
    match words.rsplit_once(": ") {
        Some((name, reason)) if name.contains(".autorun-") => reason,
        _ => words,
    }
}
