//! Texts of files that an editor has changed and not saved yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Unsaved texts by file. They replace what is on disk.
#[derive(Clone, Debug, Default)]
pub struct Buffers(BTreeMap<PathBuf, Arc<str>>);

impl Buffers {
    /// Sets the text of a file, which need not exist.
    pub fn insert(&mut self, path: &Path, text: &str) {
        self.0.insert(identity(path), text.into());
    }

    /// Removes the text of a file, so that its content on disk counts.
    pub fn remove(&mut self, path: &Path) {
        self.0.remove(&identity(path));
    }

    /// Returns the text of a file, if it is in an editor.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Arc<str>> {
        // Most playbooks are checked without an editor.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&identity(path)).cloned()
    }

    /// Returns the text of a file from its editor or from disk.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<String> {
        match self.get(path) {
            Some(text) => Some(text.to_string()),
            None => std::fs::read_to_string(path).ok(),
        }
    }
}

/// Returns the path without symbolic links, which identifies a file. A file that does
/// not exist is identified by its directory and its name.
#[must_use]
pub fn identity(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_each_of_its_paths() {
        let dir = tempfile::tempdir().unwrap();
        let mut buffers = Buffers::default();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        buffers.insert(&dir.path().join("new.rhai"), "1");
        let roundabout = inner.join("../new.rhai");
        assert_eq!(buffers.get(&roundabout).as_deref(), Some("1"));
        buffers.remove(&roundabout);
        assert_eq!(buffers.get(&dir.path().join("new.rhai")), None);
    }

    #[test]
    fn what_no_editor_has_is_read_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rhai");
        std::fs::write(&file, "disk").unwrap();
        let mut buffers = Buffers::default();
        assert_eq!(buffers.read(&file).as_deref(), Some("disk"));
        buffers.insert(&file, "editor");
        assert_eq!(buffers.read(&file).as_deref(), Some("editor"));
        assert_eq!(buffers.read(&dir.path().join("none")), None);
    }
}
