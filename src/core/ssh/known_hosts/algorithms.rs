//! The host key algorithms that are requested from a host.

use crate::ssh::public_key::Kind;

/// The requested algorithms, in OpenSSH's order. Certificates are not among
/// them, because autorun does not verify them.
pub(super) const ALGORITHMS: [(&str, Kind); 6] = [
    ("ssh-ed25519", Kind::Ed25519),
    ("ecdsa-sha2-nistp256", Kind::Ecdsa256),
    ("ecdsa-sha2-nistp384", Kind::Ecdsa384),
    ("ecdsa-sha2-nistp521", Kind::Ecdsa521),
    ("rsa-sha2-512", Kind::Rsa),
    ("rsa-sha2-256", Kind::Rsa),
];

/// An algorithm for old hosts; OpenSSH no longer requests it.
const OLDEST_ALGORITHM: &str = "ssh-rsa";

/// Returns every algorithm, with those of `preferred` keys first.
pub(in crate::ssh) fn algorithms(preferred: impl Fn(&Kind) -> bool) -> String {
    let mut names = ALGORITHMS.to_vec();
    names.sort_by_key(|(_, kind)| !preferred(kind));
    let names = names.iter().map(|(name, _)| *name);
    names
        .chain([OLDEST_ALGORITHM])
        .collect::<Vec<_>>()
        .join(",")
}
