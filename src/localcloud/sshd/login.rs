//! Decides whether a key may log in to an account.

use std::net::IpAddr;

use russh::keys::{Algorithm, PublicKey};

use super::super::accounts::{self, Account};
use super::authorized_keys;
use super::key_options::Grant;

/// An account and the rights of the key that logged in.
pub(super) struct User {
    pub(super) account: Account,
    pub(super) grant: Grant,
}

/// Returns the user who logs in with this name and key from this address, or
/// `None` if the login is refused.
pub(super) fn check(
    name: &str,
    key: &PublicKey,
    algorithm: &Algorithm,
    client: IpAddr,
) -> Option<User> {
    // Signatures with SHA-1 are insecure.
    if matches!(algorithm, Algorithm::Rsa { hash: None }) {
        return None;
    }
    let account = accounts::find(name)?;
    let grant = authorized_keys::grant(&account, key, client)?;
    // As on Amazon Linux, `PermitRootLogin forced-commands-only` applies. The
    // forced command prints the name of the user to log in as.
    if account.is_root() && grant.forced_command.is_none() {
        log::warn!("ssh: root may not log in");
        return None;
    }
    Some(User { account, grant })
}
