//! Ids of ledgers and of runs.

/// Letters and digits of ids: none that look alike, and no vowels, so that no
/// words arise.
pub(super) const ID_LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";

/// Length of the ledger's own id.
pub(super) const OWNER_LETTERS: usize = 16;

/// A random id of so many letters.
pub(super) fn new_id(letters: usize) -> String {
    (0..letters)
        .map(|_| char::from(ID_LETTERS[rand::random_range(0..ID_LETTERS.len())]))
        .collect()
}

/// Whether a text can be the id of a ledger.
pub(super) fn is_owner(text: &str) -> bool {
    text.len() == OWNER_LETTERS && text.bytes().all(|b| ID_LETTERS.contains(&b))
}
