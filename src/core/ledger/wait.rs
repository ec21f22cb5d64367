//! Waits: calls without an effect that take time. They are recorded only for the
//! timeline of a run. They have no influence on a resumed run, which waits again,
//! and they cause no commit.

use serde::{Deserialize, Serialize};

use super::clock::Millis;
use crate::report::Mask;

/// The longest error that is recorded, in characters.
const LONGEST: usize = 2000;

/// A call that waited or queried a state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// The branch of `parallel`.
    pub branch: String,
    /// The function.
    pub function: String,
    /// The place in the playbook, such as `web.rhai:12`.
    pub place: String,
    /// Its error, masked.
    pub error: Option<String>,
    /// When it started.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
}

impl Wait {
    /// Masks the secrets and shortens a long error.
    pub(super) fn masked(mut self, mask: &Mask) -> Self {
        self.branch = mask.apply(&self.branch);
        self.error = self.error.map(|error| {
            let masked = mask.apply(&error);
            match masked.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{}..", &masked[..end]),
                None => masked,
            }
        });
        self
    }
}
