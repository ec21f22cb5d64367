//! Logs in: with the named key or the password, or with the keys of the agent
//! and of the usual files.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use super::connection::Connection;
use super::errors::{Halt, halted};
use super::host::{Host, Secret};
use super::identities::{Agent, Identity};
use super::libssh2::{is_accepted_key, is_broken, is_of_a_file};
use super::raw_login;
use super::tries::Tries;
use crate::error::{Error, ErrorKind, Result};
use crate::key_file::{self, PrivateKeyFile};
use crate::local::Local;
use crate::report::text;

/// Reads the private key that a playbook names.
///
/// Throws `not_found`, `denied`, and `invalid_option` if it cannot be used.
pub(super) fn private_key(key: &Path) -> Result<PrivateKeyFile> {
    key_file::load(key)
}

/// Logs in to a host whose key has been verified.
pub(super) fn authenticate(connection: &Connection, host: &Host, local: &Local) -> Result<()> {
    let mut login = Login {
        connection,
        host,
        tries: Tries::default(),
    };
    match &host.password {
        None => login.with_keys_only(local)?,
        Some(password) => login.with_password_and_keys(password, local)?,
    }
    if login.done() {
        return Ok(());
    }
    let banner = connection.session.userauth_banner().ok().flatten();
    login.tries.banner = banner.map(str::to_owned);
    login.tries.farewell = connection.gate.farewell();
    Err(login.tries.error(host))
}

/// A login in progress.
struct Login<'a> {
    connection: &'a Connection,
    host: &'a Host,
    tries: Tries,
}

/// The result of an attempt to log in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The login worked, or the host refused it.
    Given,
    /// libssh2 cannot read the key: the passphrase is wrong, or the file is
    /// damaged.
    KeyNotRead,
}

impl Login<'_> {
    fn done(&self) -> bool {
        self.connection.session.authenticated()
    }

    /// Returns the methods that the host accepts from the user now.
    fn methods(&mut self) -> Result<Vec<String>> {
        let asked = self
            .connection
            .finish(|session| raw_login::methods(session, &self.host.user));
        match asked {
            Ok(methods) => Ok(methods),
            Err(Halt::Broken(error)) if is_broken(&error) && self.tries.refused => {
                self.tries.closed = true;
                Ok(Vec::new())
            }
            Err(halt) => Err(self.broke(&halt)),
        }
    }

    /// Creates the error for a connection that ended before the host refused
    /// anything.
    fn broke(&self, halt: &Halt) -> Error {
        let error = halted(self.host, "logging in", halt);
        match self.connection.gate.farewell() {
            Some(why) if matches!(halt, Halt::Broken(_)) => {
                error.while_doing(&format!("the host says `{why}`"))
            }
            _ => error,
        }
    }

    /// Offers keys at once: to ask for the methods first would cost a round trip.
    fn with_keys_only(&mut self, local: &Local) -> Result<()> {
        let offered = self.with_keys(local);
        if self.done() || self.tries.closed {
            return offered;
        }
        let methods = match (self.methods(), &offered) {
            (Ok(methods), _) => methods,
            (Err(_), Err(_)) => return offered,
            (Err(error), Ok(())) => return Err(error),
        };
        // A host that wants nothing at all has logged the user in.
        if self.done() {
            return Ok(());
        }
        if self.tries.closed {
            return offered;
        }
        self.tries.also_wants(&methods);
        self.tries.methods = methods;
        if self.tries.wants_no_key() {
            self.tries.forget_keys();
            return Ok(());
        }
        offered
    }

    fn with_password_and_keys(&mut self, password: &Secret, local: &Local) -> Result<()> {
        let accepts = |methods: &[String], name: &str| methods.iter().any(|method| method == name);
        let of_password = |methods: &[String]| {
            accepts(methods, "password") || accepts(methods, "keyboard-interactive")
        };
        let mut methods = self.methods()?;
        self.tries.methods.clone_from(&methods);
        // With a password alone, keys would only use up the attempts that the host
        // allows.
        let keys_first = self.host.key.is_some() || !of_password(&methods);
        if keys_first && accepts(&methods, "publickey") {
            self.with_keys(local)?;
            if !self.done() && !self.tries.closed && !self.tries.offered.is_empty() {
                // A host that also wants a password no longer lists `publickey`.
                methods = self.methods()?;
                self.tries.also_wants(&methods);
            }
        }
        if self.done() || self.tries.closed {
            return Ok(());
        }
        self.with_password(password, &methods)?;
        if !self.done() && !self.tries.closed && !keys_first {
            let next = self.methods()?;
            if accepts(&next, "publickey") && !of_password(&next) {
                self.with_keys(local)?;
            }
        }
        Ok(())
    }

    /// Offers the named key, or the keys of the agent and of files.
    fn with_keys(&mut self, local: &Local) -> Result<()> {
        match &self.host.key {
            Some(key) => self.with_named_key(key),
            None => self.with_all_keys(local),
        }
    }

    /// Offers keys in OpenSSH's order, until one is accepted or the host closes
    /// the connection.
    fn with_all_keys(&mut self, local: &Local) -> Result<()> {
        let files = Identity::all(self.host, local);
        let agent = Agent::of(self.connection, self.host);
        let mut in_agent = vec![false; files.len()];
        self.tries.agent_runs = matches!(agent, Agent::Running(..));
        if let Agent::Running(agent, keys) = &agent {
            let place = |key: &ssh2::PublicKey| files.iter().position(|f| f.names(key.blob()));
            let (named, others): (Vec<_>, Vec<_>) =
                keys.iter().partition(|key| place(key).is_some());
            let only_named = self.host.settings.identities_only;
            let others = others.into_iter().filter(|_| !only_named);
            for key in named.into_iter().chain(others) {
                if let Some(at) = place(key) {
                    in_agent[at] = true;
                }
                let same = keys.iter().filter(|other| other.comment() == key.comment());
                let name = if same.count() > 1 {
                    format!("{} ({})", shown(key), fingerprint(key))
                } else {
                    shown(key)
                };
                self.with_agent(agent, key, &name)?;
            }
        }
        for (file, in_agent) in files.iter().zip(in_agent) {
            if in_agent {
                continue;
            }
            match (&file.key, file.fault(false)) {
                (Ok(key), None) => self.with_identity(file, key)?,
                (_, fault) => self.tries.unusable.extend(fault),
            }
        }
        Ok(())
    }

    /// Logs in with the key that the playbook names. If the key is encrypted and
    /// there is no passphrase, the agent must have it.
    fn with_named_key(&mut self, path: &Path) -> Result<()> {
        let identity = Identity::read(path, &self.host.settings.certificates());
        if let Ok(key) = &identity.key
            && (!key.encrypted || self.host.passphrase.is_some())
        {
            return self.with_identity(&identity, key);
        }
        if let Agent::Running(agent, keys) = &Agent::of(self.connection, self.host) {
            for key in keys.iter().filter(|key| identity.names(key.blob())) {
                self.with_agent(agent, key, &shown(key))?;
            }
        }
        if self.done() || self.tries.refused {
            return Ok(());
        }
        if let Err(error) = identity.key {
            return Err(error.hint(
                "load its private key into the ssh agent, or pass the private key, the file \
                 without .pub",
            ));
        }
        Err(Error::new(
            ErrorKind::Denied,
            format!(
                "cannot log in as {}: the ssh key `{}` is protected by a passphrase",
                self.host.login(),
                path.display()
            ),
        )
        .hint(format!(
            "pass `passphrase` to host(), from a secret variable; or load the key into \
             the ssh agent: `ssh-add {}`",
            super::shell::quote(&path.to_string_lossy())
        )))
    }

    /// Offers the key of a file, then its certificates.
    fn with_identity(&mut self, file: &Identity, key: &PrivateKeyFile) -> Result<()> {
        let shown = format!("`{}`", file.path.display());
        let passphrase = self.host.passphrase.as_ref().filter(|_| key.encrypted);
        let passphrase = passphrase.map(|secret| secret.0.as_str());
        let certificates = file.certificates.iter().map(|text| Some(text.as_str()));
        for certificate in std::iter::once(None).chain(certificates) {
            let name = match certificate {
                None => shown.clone(),
                Some(_) => format!("{shown} with its certificate"),
            };
            let answer = self.offer(name, |connection, user| {
                connection.finish(|session| match (certificate, &key.ed25519) {
                    (None, Some(pair)) => raw_login::ed25519(session, user, pair),
                    _ => session.userauth_pubkey_memory(user, certificate, &key.text, passphrase),
                })
            })?;
            if answer == Answer::KeyNotRead {
                self.tries.offered.pop();
                let error = not_read(&file.path, passphrase.is_some());
                // A key that the playbook names has to be right.
                if self.host.key.is_some() {
                    return Err(error);
                }
                self.tries.unusable.push(error);
                return Ok(());
            }
        }
        Ok(())
    }

    fn with_agent(&mut self, agent: &ssh2::Agent, key: &ssh2::PublicKey, name: &str) -> Result<()> {
        self.offer(name.to_owned(), |connection, user| {
            connection.finish(|_| agent.userauth(user, key))
        })
        .map(drop)
    }

    /// Logs in with the password: as an answer to the host's question, or as the
    /// host's method `password`.
    fn with_password(&mut self, password: &Secret, methods: &[String]) -> Result<()> {
        for method in ["keyboard-interactive", "password"] {
            if !methods.iter().any(|name| name == method) {
                continue;
            }
            let gate = &self.connection.gate;
            gate.will_answer(&password.0);
            let mut expired = false;
            self.offer("the password".to_owned(), |connection, user| {
                let done = connection.finish(|session| match method {
                    "password" => session.userauth_password(user, &password.0),
                    _ => raw_login::keyboard_interactive(session, user),
                });
                expired = matches!(&done, Err(Halt::Broken(e)) if raw_login::is_expired(e));
                done
            })?;
            self.tries
                .questions
                .extend(self.connection.gate.unanswered());
            if expired {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("the password of {} has expired", self.host.login()),
                )
                .hint(format!(
                    "log in and change it: `ssh {}`",
                    self.host.arguments()
                )));
            }
        }
        Ok(())
    }

    /// Makes one attempt, unless the login is done or the host has closed the
    /// connection.
    ///
    /// A refusal is not final, because the host may accept the next key. A
    /// connection that ends after a refusal counts as a refusal as well, because
    /// hosts limit the number of attempts. A connection that ends without any
    /// refusal is an error.
    fn offer(
        &mut self,
        name: String,
        attempt: impl FnOnce(&Connection, &str) -> std::result::Result<(), Halt>,
    ) -> Result<Answer> {
        if self.done() {
            return Ok(Answer::Given);
        }
        if self.tries.closed {
            self.tries.left_out.push(name);
            return Ok(Answer::Given);
        }
        let halt = match attempt(self.connection, &self.host.user) {
            Ok(()) => return Ok(Answer::Given),
            Err(halt) => halt,
        };
        match &halt {
            Halt::Broken(error) if is_of_a_file(error) => {
                self.tries.offered.push(name);
                return Ok(Answer::KeyNotRead);
            }
            Halt::Shut(_) => return Err(self.broke(&halt)),
            Halt::Broken(error) => {
                // A host may close the connection instead of refusing the last
                // attempt, with the reason.
                let left = self.connection.gate.farewell().is_some();
                if is_broken(error) && !self.tries.refused && !left {
                    return Err(self.broke(&halt));
                }
                self.tries.closed = left || is_broken(error);
                self.tries.key_accepted |= is_accepted_key(error);
            }
        }
        self.tries.refused = true;
        if self.tries.offered.last() != Some(&name) {
            self.tries.offered.push(name);
        }
        Ok(Answer::Given)
    }
}

/// Returns the name of an agent's key in messages.
fn shown(key: &ssh2::PublicKey) -> String {
    format!("the agent's `{}`", text::harmless(key.comment()))
}

/// Returns the fingerprint of an agent's key, as `ssh-add -l` prints it.
fn fingerprint(key: &ssh2::PublicKey) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.blob());
    format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(digest))
}

/// Creates the error for a key that libssh2 cannot read.
fn not_read(path: &Path, with_passphrase: bool) -> Error {
    let shown = path.display();
    let message = if with_passphrase {
        format!("the passphrase does not unlock the ssh key `{shown}`")
    } else {
        format!("the ssh key `{shown}` cannot be read: its content is damaged")
    };
    let check = if with_passphrase {
        "check the passphrase"
    } else {
        "check the file"
    };
    Error::new(ErrorKind::Denied, message).hint(format!(
        "{check}: `ssh-keygen -y -f {}`",
        super::shell::quote(&path.to_string_lossy())
    ))
}
