//! The tags that mark the resources of a run.

use std::collections::BTreeMap;

/// The tag with the id of the run that created the resource.
pub const RUN_TAG: &str = "autorun:run";
/// The tag with the row of the resource in a ledger.
pub const RESOURCE_TAG: &str = "autorun:resource";
/// The tag with the id of that ledger.
pub const OWNER_TAG: &str = "autorun:owner";
/// The tag with the path of the playbook.
pub const PLAYBOOK_TAG: &str = "autorun:playbook";

/// The tag with the login user of an image.
pub const USER_TAG: &str = "autorun:user";

/// The metadata of an object with its row in a ledger.
pub const RESOURCE_METADATA: &str = "autorun-resource";

/// Tags, each a name and a value.
pub type Tags = Vec<(String, String)>;

/// The marks in the tags of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The run that created the resource.
    pub run: Option<String>,
    /// The row of the resource in a ledger.
    pub row: Option<String>,
    /// The id of that ledger.
    pub owner: Option<String>,
    /// Whether the resource has no tags at all.
    pub untagged: bool,
    /// Whether the server has no tags for this kind of resource.
    pub unsupported: bool,
}

impl Marks {
    /// Extracts the marks from tag names and values.
    pub fn from_tags<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut tags: BTreeMap<&str, &str> = tags.into_iter().collect();
        let untagged = tags.is_empty();
        let mut take = |tag| tags.remove(tag).map(str::to_owned);
        Self {
            run: take(RUN_TAG),
            row: take(RESOURCE_TAG),
            owner: take(OWNER_TAG),
            untagged,
            unsupported: false,
        }
    }
}
