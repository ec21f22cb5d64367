//! One finding of the check.

use super::rules::{Level, Rule};
use crate::error::Error;

/// A mistake at a place of a playbook.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule that the place breaks.
    pub rule: &'static Rule,
    /// Message, place and hint.
    pub error: Error,
}

impl Finding {
    pub(in crate::playbook) fn new(rule: &'static Rule, error: Error) -> Self {
        Self { rule, error }
    }

    /// Returns whether the playbook fails at this place.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.rule.level == Level::Error
    }

    /// Returns line and column.
    pub(super) fn spot(&self) -> (usize, usize) {
        (self.error.place.line, self.error.place.column)
    }

    /// Returns what findings of one mistake have in common.
    #[must_use]
    pub fn identity(&self) -> (String, usize, usize, &'static str) {
        let place = &self.error.place;
        (
            place.source.clone(),
            place.line,
            place.column,
            self.rule.code,
        )
    }

    /// Returns the order of findings: the playbook's own file, then its imports.
    pub(in crate::playbook) fn order(&self, main: &str) -> (bool, String, usize, usize) {
        let place = &self.error.place;
        let is_imported = place.source != main;
        (is_imported, place.source.clone(), place.line, place.column)
    }
}
