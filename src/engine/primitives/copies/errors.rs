//! Errors of copies: the message of the host, and a hint.
//!
//! The kind and the hint follow from the exit status of the copy program
//! ([`Trouble`]). The message of the host is only shown, because its language
//! depends on the host.

use crate::clients::ssh::copy_programs::Trouble;
use crate::clients::ssh::{self, Finished, Host};
use crate::error::{Error, ErrorKind};

/// Names the copy in a timeout error. Without it, the error would name a command
/// that the playbook did not call.
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
            "{} has no tar, which is needed to copy directories",
            host.name
        ),
    )
    .hint("install tar on the host, or copy the files one by one")
}

/// Returns the error for a copy of `source` to `target` on a host.
pub(super) fn not_copied(
    host: &Host,
    source: &str,
    target: &str,
    finished: &Finished,
    sudo: bool,
) -> Error {
    let words = words(finished);
    let trouble = Trouble::of_status(finished.status);
    if trouble == Some(Trouble::NoTar) {
        return no_tar(host);
    }
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
        Trouble::Full => {
            error.hint("free disk space on the host: ssh_exec(server, \"df -h\") shows its disks")
        }
        Trouble::Denied => error.hint("pass `sudo: true`, or a target that the user can write"),
        Trouble::HoldsHome => {
            error.hint("omit `delete`, or choose a directory that can be replaced")
        }
        Trouble::InTheWay => {
            error.hint("remove or rename it on the host, or copy to another target")
        }
        Trouble::Missing => match target.rsplit_once('/') {
            Some((directory, _)) if !directory.is_empty() => {
                let directory = shell_words::quote(directory);
                let options = if sudo { ", #{ sudo: true }" } else { "" };
                error.hint(format!(
                    "create the directory first: ssh_exec(server, \"mkdir -p {directory}\"{options})"
                ))
            }
            _ => error,
        },
        Trouble::NoUser => error.hint(no_user(target)),
        Trouble::Incomplete | Trouble::Special | Trouble::NoTar => error,
    }
}

/// Returns the error for a copy of `source` from a host.
pub(super) fn not_sent(host: &Host, source: &str, finished: &Finished) -> Error {
    let words = words(finished);
    let trouble = Trouble::of_status(finished.status);
    let kind = match trouble {
        Some(Trouble::Missing | Trouble::NoUser) => ErrorKind::NotFound,
        _ => ErrorKind::CommandFailed,
    };
    // The host repeats the path, without `~/`.
    let path = source.strip_prefix("~/").unwrap_or(source);
    let reason = words.strip_prefix(&format!("{path}: ")).unwrap_or(&words);
    let message = format!("cannot copy {}:{source}: {reason}", host.name);
    let error = failed(kind, message, finished, &words);
    match trouble {
        Some(Trouble::Denied) => {
            error.hint("pass `sudo: true`, or log in as a user who can read it")
        }
        Some(Trouble::NoUser) => error.hint(no_user(source)),
        Some(Trouble::Missing) if !source.starts_with('/') => error.hint(format!(
            "check the path: a path without a leading / is relative to the home directory of {}",
            host.user
        )),
        _ => error,
    }
}

fn no_user(path: &str) -> String {
    format!("check the name after the `~`; write `./{path}` for a file of this name")
}

fn failed(kind: ErrorKind, message: String, finished: &Finished, words: &str) -> Error {
    Error::new(kind, message).detail(serde_json::json!({
        "status": finished.status, "stdout": "", "stderr": words,
    }))
}

/// Returns the error for a directory in the place of a file, or the reverse.
pub(super) fn other_kind(host: &Host, source: &str, what: &str) -> Error {
    let error = Error::new(
        ErrorKind::CommandFailed,
        format!("cannot copy {}:{source}: it is {what}", host.name),
    );
    let plain = source.trim_end_matches('/');
    if source.ends_with('/') {
        error.hint(format!(
            "to copy a file, omit the `/` at the end: \"{plain}\""
        ))
    } else {
        error.hint(format!(
            "to copy a directory, add a `/` at the end: \"{plain}/\""
        ))
    }
}

/// Returns the end of stderr without the prefix `sh: 5: ` of the shell, because the
/// line number refers to a script that the user does not see.
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

/// Hides the name of the temporary file, which precedes the reason.
fn without_hidden_name(words: &str) -> &str {
    match words.rsplit_once(": ") {
        Some((name, reason)) if name.contains(".autorun-") => reason,
        _ => words,
    }
}
