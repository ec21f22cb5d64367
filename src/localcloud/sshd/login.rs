//! Whether a key opens an account.

use std::net::IpAddr;

use russh::keys::{Algorithm, PublicKey};

use super::super::accounts::{self, Account};
use super::authorized_keys;
use super::key_options::Grant;

/// An account, and what the key that opened it allows.
pub(super) struct User {
    pub(super) account: Account,
    pub(super) grant: Grant,
}

/// Who may log in under that name, with that key, from that address.
pub(super) fn check(
    name: &str,
    key: &PublicKey,
    algorithm: &Algorithm,
    client: IpAddr,
) -> Option<User> {
    // Signatures with SHA-1 are worth nothing.
    if matches!(algorithm, Algorithm::Rsa { hash: None }) {
        return None;
    }
    let account = accounts::find(name)?;
    let grant = authorized_keys::grant(&account, key, client)?;
    // What Amazon Linux calls `PermitRootLogin forced-commands-only`: the
    // command tells whom to log in as.
    if account.is_root() && grant.forced_command.is_none() {
        log::warn!("ssh: root may not log in");
        return None;
    }
    Some(User { account, grant })
}
