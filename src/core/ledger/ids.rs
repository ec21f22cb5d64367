//! Random IDs of ledgers and runs.

/// The letters and digits of IDs: without those that look alike, and without
/// vowels, so that an ID is never a word.
pub(super) const ID_LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";

/// Length of a ledger's ID.
pub(super) const OWNER_LETTERS: usize = 16;

/// Returns a random ID of this length.
pub(super) fn new_id(letters: usize) -> String {
    (0..letters)
        .map(|_| char::from(ID_LETTERS[rand::random_range(0..ID_LETTERS.len())]))
        .collect()
}

/// Returns whether a text can be the ID of a ledger.
pub(super) fn is_owner(text: &str) -> bool {
    text.len() == OWNER_LETTERS && text.bytes().all(|b| ID_LETTERS.contains(&b))
}
