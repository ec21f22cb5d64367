//! Who may use an image or a snapshot of the account: other accounts, or all.

use std::collections::BTreeSet;

use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;

/// The group of all accounts.
pub(super) const ALL: &str = "all";

/// Writes the accounts and groups that may use a resource.
pub(super) fn write(xml: &mut Xml, name: &str, users: &BTreeSet<String>) {
    xml.list(name, users, |xml, user| {
        xml.text(if user == ALL { "group" } else { "userId" }, user);
    });
}

/// What a request changes.
#[derive(Debug, Default)]
pub(super) struct Change {
    add: Vec<String>,
    remove: Vec<String>,
}

impl Change {
    /// Reads a change: the structure with this name, or the old form
    /// `OperationType=add&UserId.1=..&UserGroup.1=all`. `wrong` creates the error
    /// about the kind and the value of a user that does not exist.
    pub(super) fn read(
        request: &Part<'_>,
        structure: &str,
        wrong: impl Fn(&str, &str) -> Refusal,
    ) -> Result<Self> {
        let user = |id: &str| {
            let valid = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit());
            valid
                .then(|| id.to_owned())
                .ok_or_else(|| wrong("userId", id))
        };
        let group = |name: &str| {
            let valid = name == ALL;
            valid
                .then(|| name.to_owned())
                .ok_or_else(|| wrong("userGroup", name))
        };
        let listed = |name: &str| -> Result<Vec<String>> {
            let mut users = Vec::new();
            for part in request.part(structure).parts(name) {
                part.unsupported(&["OrganizationArn", "OrganizationalUnitArn"])?;
                users.extend(part.text("UserId").map(user).transpose()?);
                users.extend(part.text("Group").map(group).transpose()?);
            }
            Ok(users)
        };
        let mut change = Self {
            add: listed("Add")?,
            remove: listed("Remove")?,
        };
        let users = request.list("UserId").into_iter().map(user);
        let groups = request.list("UserGroup").into_iter().map(group);
        let old: Vec<String> = users.chain(groups).collect::<Result<_>>()?;
        match request.text("OperationType") {
            Some("add") => change.add.extend(old),
            Some("remove") => change.remove.extend(old),
            Some(other) => {
                return Err(Refusal::value(
                    "operationType",
                    other,
                    "Expected 'add' or 'remove'.",
                ));
            }
            None if old.is_empty() => {}
            None => {
                return Err(Refusal::new(
                    "MissingParameter",
                    "The request must contain the parameter operationType",
                ));
            }
        }
        Ok(change)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// Whether the change lets other accounts use the resource.
    pub(super) fn shares(&self) -> bool {
        !self.add.is_empty()
    }

    pub(super) fn apply(self, users: &mut BTreeSet<String>) {
        users.extend(self.add);
        for user in &self.remove {
            users.remove(user);
        }
    }
}
