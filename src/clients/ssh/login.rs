//! Logging in: the key that is named, the agent's, the usual files.

use std::path::Path;

use super::connection::Connection;
use super::errors::{Halt, halted};
use super::host::Host;
use super::libssh2::{is_broken, is_of_a_file};
use crate::clients::{Local, keys};
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// Keys tried when none is named and the agent has none that fits; OpenSSH's
/// own order.
pub(super) const USUAL_KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// What a login has come to.
#[derive(Default)]
pub(super) struct Tries {
    /// The keys that were tried, as messages name them.
    keys: Vec<String>,
    /// Whether the host has refused one of them.
    refused: bool,
}

/// Logs in with the host's key file, or with the agent and the usual files.
pub(super) fn authenticate(connection: &Connection, host: &Host, local: &Local) -> Result<()> {
    let session = &connection.session;
    let mut tries = Tries::default();
    let mut agent_runs = false;
    if let Some(key) = &host.key {
        with_named_key(connection, host, key, &mut tries)?;
    } else {
        agent_runs = with_agent(connection, host, None, &mut tries)?;
        let usual = local.home.iter().flat_map(|home| {
            USUAL_KEYS
                .iter()
                .map(move |name| home.join(".ssh").join(name))
        });
        for key in usual.filter(|key| key.exists()) {
            if session.authenticated() {
                break;
            }
            with_file(connection, host, &key, &mut tries)?;
        }
    }
    if session.authenticated() {
        return Ok(());
    }
    let keys = tries.keys;
    let (message, hint) = if keys.is_empty() {
        let agent = if agent_runs {
            "the ssh agent holds none"
        } else {
            "no ssh agent runs"
        };
        (
            format!(
                "cannot log in as {}: there is no ssh key to try: {agent}, and ~/.ssh has none",
                host.login()
            ),
            "pass `key`, load one with ssh-add, or make one with `ssh-keygen -t ed25519`",
        )
    } else {
        (
            format!(
                "{} refused the login; tried {}",
                host.login(),
                keys.join(", ")
            ),
            "check `user` and `key`: is the public half in ~/.ssh/authorized_keys there?",
        )
    };
    Err(Error::new(ErrorKind::Denied, message).hint(hint))
}

/// What is known of a private key file without unlocking it.
///
/// Throws `not_found`, `denied`, and `invalid_option` for what is no private key.
pub(super) fn private_key(key: &Path) -> Result<Option<keys::KeyFile>> {
    keys::refuse_open(key)?;
    match keys::read(key) {
        Ok(file) if !file.private => Err(Error::invalid(format!(
            "`{}` is a public key",
            key.display()
        ))
        .hint("pass the private key, the file without .pub")),
        Ok(file) => Ok(Some(file)),
        // PEM keys without their public half are libssh2's to read.
        Err(_) if keys::looks_private(key) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A key that the playbook names: an encrypted one is unlocked, or the agent
/// has it.
fn with_named_key(
    connection: &Connection,
    host: &Host,
    key: &Path,
    tries: &mut Tries,
) -> Result<()> {
    let shown = key.display();
    let file = private_key(key)?;
    let locked = file.filter(|file| file.encrypted);
    if host.passphrase.is_none()
        && let Some(file) = locked
    {
        let blob = file.public.to_bytes().unwrap_or_default();
        with_agent(connection, host, Some(&blob), tries)?;
        if connection.session.authenticated() {
            return Ok(());
        }
        return Err(Error::new(
            ErrorKind::Denied,
            format!(
                "cannot log in as {}: the ssh key `{shown}` is protected by a passphrase",
                host.login()
            ),
        )
        .hint(format!(
            "pass `passphrase` to host(), from a secret variable; or load the key into \
             the ssh agent: `ssh-add {}`",
            super::shell::quote(&key.to_string_lossy())
        )));
    }
    let login = with_file(connection, host, key, tries)?;
    if login == Login::KeyNotRead && host.passphrase.is_some() {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("the passphrase does not unlock the ssh key `{shown}`"),
        )
        .hint(format!(
            "try it by hand: `ssh-keygen -y -f {}`",
            super::shell::quote(&key.to_string_lossy())
        )));
    }
    Ok(())
}

/// What became of a try to log in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    /// It worked, or the host refused.
    Answered,
    /// libssh2 cannot read the key file: a wrong passphrase, or no key at all.
    KeyNotRead,
}

/// What a try to log in came to.
///
/// A refusal is not the end: the next key may fit. Nor is the end of a connection
/// on which keys were refused: a host takes only so many. But one that has not
/// answered has not refused.
fn answered(
    result: std::result::Result<(), Halt>,
    host: &Host,
    tries: &mut Tries,
) -> Result<Login> {
    let halt = match result {
        Ok(()) => return Ok(Login::Answered),
        Err(halt) => halt,
    };
    match &halt {
        Halt::Broken(error) if is_of_a_file(error) => Ok(Login::KeyNotRead),
        Halt::Shut(_) => Err(halted(host, "logging in", &halt)),
        Halt::Broken(error) if is_broken(error) && !tries.refused => {
            Err(halted(host, "logging in", &halt))
        }
        Halt::Broken(_) => {
            tries.refused = true;
            Ok(Login::Answered)
        }
    }
}

fn with_file(connection: &Connection, host: &Host, key: &Path, tries: &mut Tries) -> Result<Login> {
    if keys::refuse_open(key).is_err() {
        let shown = key.display();
        tries
            .keys
            .push(format!("not `{shown}`, as others can read it"));
        return Ok(Login::Answered);
    }
    tries.keys.push(format!("`{}`", key.display()));
    let passphrase = host.passphrase.as_ref().map(|secret| secret.0.as_str());
    let login = connection
        .finish(|session| session.userauth_pubkey_file(&host.user, None, key, passphrase));
    answered(login, host, tries)
}

/// Tries the agent's keys, or only the one with this blob; whether there is an
/// agent.
fn with_agent(
    connection: &Connection,
    host: &Host,
    only: Option<&[u8]>,
    tries: &mut Tries,
) -> Result<bool> {
    let Ok(mut agent) = connection.session.agent() else {
        return Ok(false);
    };
    if agent.connect().is_err() || agent.list_identities().is_err() {
        return Ok(false);
    }
    for identity in agent.identities().unwrap_or_default() {
        if only.is_some_and(|blob| blob != identity.blob()) {
            continue;
        }
        let comment = text::harmless(identity.comment());
        tries.keys.push(format!("the agent's `{comment}`"));
        let login = connection.finish(|_| agent.userauth(&host.user, &identity));
        answered(login, host, tries)?;
        if connection.session.authenticated() {
            break;
        }
    }
    Ok(true)
}
