//! The tags by which what runs make is known again.

use std::collections::BTreeMap;

/// The tag that says which run made something.
pub const RUN_TAG: &str = "autorun:run";
/// The tag that says which row of a ledger it is.
pub const RESOURCE_TAG: &str = "autorun:resource";
/// The tag that says whose ledger that is.
pub const OWNER_TAG: &str = "autorun:owner";
/// The tag that says by which playbook.
pub const PLAYBOOK_TAG: &str = "autorun:playbook";

/// The metadata of an object that says which row of a ledger it is.
pub const RESOURCE_METADATA: &str = "autorun-resource";

/// Tags as name and value.
pub type Tags = Vec<(String, String)>;

/// What the tags of something say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The run that made it.
    pub run: Option<String>,
    /// Its row in a ledger.
    pub row: Option<String>,
    /// The ledger's id.
    pub owner: Option<String>,
    /// Whether it has no tags at all.
    pub none: bool,
}

impl Marks {
    /// From names and values.
    pub fn from_tags<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut tags: BTreeMap<&str, &str> = tags.into_iter().collect();
        let none = tags.is_empty();
        let mut take = |tag| tags.remove(tag).map(str::to_owned);
        Self {
            run: take(RUN_TAG),
            row: take(RESOURCE_TAG),
            owner: take(OWNER_TAG),
            none,
        }
    }
}
