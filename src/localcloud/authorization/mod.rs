//! Policies: what a request needs, and the verdict of a policy on it.
//!
//! [`Policy`] is the policy of a user: `[account] policy` of a faults file holds the
//! owner of the access key to it. A service translates a request into [`Need`]s, in
//! one place each; [`Guard::check`] compares them with the policy. Nothing is
//! allowed that no statement allows, and a statement that denies takes precedence.
//!
//! The policies of buckets (`s3::policy`) use the same language, so they share its
//! parts: `document` parses JSON strictly, `statement` has the statements without their
//! principals, `pattern` wildcards and variables, `condition` the operators, `keys` the
//! condition keys, `values` what a request has for them.
//!
//! A policy is refused if the local cloud cannot evaluate all of it: a rehearsal must
//! not allow what AWS denies, nor deny what AWS allows.

mod condition;
mod document;
mod flaw;
mod guard;
#[cfg(any(test, feature = "judgements"))]
mod judgements;
mod keys;
mod listed;
mod mistake;
mod pattern;
mod policy;
#[cfg(test)]
pub(crate) mod recorded;
mod statement;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use condition::Condition;
pub(crate) use document::read as read_document;
pub(crate) use flaw::Flaw;
pub(crate) use guard::{Denial, Guard, Need};
#[cfg(feature = "judgements")]
pub(crate) use judgements::take as take_judgements;
pub(crate) use keys::known_in_buckets;
pub(crate) use listed::Listed;
pub use mistake::Mistake;
pub(crate) use pattern::{Template, matches_ignoring_case};
pub use policy::Policy;
pub(crate) use policy::Verdict;
pub(crate) use statement::{Fault, Statement};
pub(crate) use values::Values;

/// The language of a policy: its version, and the condition keys that can be
/// evaluated.
#[derive(Clone, Copy)]
pub(crate) struct Language {
    /// Whether texts contain variables, as in the newer version of the language.
    pub(crate) variables: bool,
    /// Returns the lower-case name of a condition key that can be evaluated.
    pub(crate) known: fn(&str) -> Option<String>,
}

impl Language {
    /// The newer version, with every condition key.
    #[cfg(test)]
    const ANY_KEY: Self = Self {
        variables: true,
        known: |name| Some(name.to_ascii_lowercase()),
    };

    /// Returns the lower-case name of a condition key.
    fn key(self, name: &str) -> Result<String, Flaw> {
        (self.known)(name).ok_or_else(|| Flaw::Key(name.to_owned()))
    }
}
