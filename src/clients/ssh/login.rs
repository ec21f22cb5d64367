//! Logs in with the named key, or with the agent's keys and the usual files.

use std::path::Path;

use super::connection::Connection;
use super::errors::{Halt, halted};
use super::host::Host;
use super::libssh2::{is_broken, is_of_a_file};
use crate::clients::{Local, keys};
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// The key files to try if no key is named and the agent has no accepted key,
/// in OpenSSH's order.
pub(super) const USUAL_KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// The attempts to log in so far.
#[derive(Default)]
pub(super) struct Tries {
    /// The keys tried, as messages name them.
    keys: Vec<String>,
    /// Whether the host refused one of them.
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
            "the ssh agent has no key"
        } else {
            "no ssh agent is running"
        };
        (
            format!(
                "cannot log in as {}: no ssh key was found: {agent}, and ~/.ssh has no key",
                host.login()
            ),
            "pass `key`, load a key with ssh-add, or create one with `ssh-keygen -t ed25519`",
        )
    } else {
        (
            format!(
                "{} refused the login; tried {}",
                host.login(),
                keys.join(", ")
            ),
            "check `user` and `key`, and that ~/.ssh/authorized_keys on the host contains the \
             public key",
        )
    };
    Err(Error::new(ErrorKind::Denied, message).hint(hint))
}

/// Reads what a private key file reveals without its passphrase.
///
/// Throws `not_found`, `denied`, and `invalid_option` if it is not a private
/// key.
pub(super) fn private_key(key: &Path) -> Result<Option<keys::KeyFile>> {
    keys::refuse_open(key)?;
    match keys::read(key) {
        Ok(file) if !file.private => Err(Error::invalid(format!(
            "`{}` is a public key",
            key.display()
        ))
        .hint("pass the private key, the file without .pub")),
        Ok(file) => Ok(Some(file)),
        // libssh2 can read PEM keys whose public key is missing.
        Err(_) if keys::looks_private(key) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Logs in with the key that the playbook names. If the key is encrypted and
/// there is no passphrase, the agent must have it.
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
            "check the passphrase: `ssh-keygen -y -f {}`",
            super::shell::quote(&key.to_string_lossy())
        )));
    }
    Ok(())
}

/// The result of an attempt to log in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    /// The login worked, or the host refused the key.
    Answered,
    /// libssh2 cannot read the key file: the passphrase is wrong, or it is not
    /// a key.
    KeyNotRead,
}

/// Interprets the result of an attempt to log in.
///
/// A refusal is not final, because the host may accept the next key. A
/// connection that ends after a refusal counts as a refusal as well, because
/// hosts limit the number of attempts. A connection that ends without any
/// refusal is an error.
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
            .push(format!("`{shown}` (skipped: other users can read it)"));
        return Ok(Login::Answered);
    }
    tries.keys.push(format!("`{}`", key.display()));
    let passphrase = host.passphrase.as_ref().map(|secret| secret.0.as_str());
    let login = connection
        .finish(|session| session.userauth_pubkey_file(&host.user, None, key, passphrase));
    answered(login, host, tries)
}

/// Tries the agent's keys, or only the one with this blob. Returns whether an
/// agent is running.
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
