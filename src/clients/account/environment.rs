//! The environment variables that concern accounts, as the command line read
//! them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The variables of the environment that AWS's tools read. An empty value
/// counts as missing, as it does for them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Keeps the variables that AWS's tools read.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let wanted = |name: &str| name.starts_with("AWS_") || name == "HOME";
        Self(
            variables
                .into_iter()
                .filter(|(name, value)| wanted(name) && !value.is_empty())
                .collect(),
        )
    }

    /// Returns the value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the path in a variable, or this path below the home directory.
    pub(super) fn path(&self, name: &str, below_home: &str) -> PathBuf {
        match self.get(name) {
            Some(path) => self.expanded(path),
            None => self.home().join(below_home),
        }
    }

    /// Returns a path whose `~` is the home directory.
    pub(super) fn expanded(&self, path: &str) -> PathBuf {
        match path.strip_prefix('~') {
            Some("") => self.home(),
            Some(rest) if rest.starts_with('/') => self.home().join(&rest[1..]),
            _ => PathBuf::from(path),
        }
    }

    fn home(&self) -> PathBuf {
        self.get("HOME")
            .map(PathBuf::from)
            .or_else(dirs::home_dir)
            .unwrap_or_default()
    }
}

/// Values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
