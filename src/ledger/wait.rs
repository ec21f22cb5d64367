//! Waits: calls without an effect that took a while. They are on record for the
//! picture of a run alone: nothing is decided by them, a resumed run waits
//! again, and no commit is made on their account.

use super::clock::Millis;
use crate::report::Mask;

/// How much of an error is kept, in characters.
const LONGEST: usize = 2000;

/// A call that waited or looked.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The branch of `parallel` that it was in.
    pub branch: String,
    /// The function that was called.
    pub function: String,
    /// Where in the playbook, as `web.rhai:12`.
    pub place: String,
    /// What it failed with, masked.
    pub error: Option<String>,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
}

impl Wait {
    /// The same without secrets, and without the rest of a long error.
    pub(super) fn masked(mut self, mask: &Mask) -> Self {
        self.branch = mask.apply(&self.branch);
        self.error = self.error.map(|error| {
            let said = mask.apply(&error);
            match said.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{}..", &said[..end]),
                None => said,
            }
        });
        self
    }
}
