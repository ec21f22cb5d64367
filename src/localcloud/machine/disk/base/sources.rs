//! The sources of a base layer. As long as they are unchanged, the layer is
//! current.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::generated::COPIED;
use super::packages;
use super::settings::BaseSettings;

/// The version of the build process. A change makes existing layers outdated.
const VERSION: u32 = 1;

/// The modification time of a file, in seconds and nanoseconds, and its size.
type State = Option<(i64, i64, u64)>;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sources {
    version: u32,
    copy: bool,
    hidden: Vec<PathBuf>,
    files: Vec<(PathBuf, State)>,
}

impl Sources {
    /// Returns the current state of the package databases, the generated files
    /// and the other copied files.
    pub(super) fn of_host(settings: &BaseSettings, copied: &[PathBuf]) -> Self {
        let generated = COPIED.iter().map(PathBuf::from);
        let mut paths: Vec<_> = packages::databases().into_iter().chain(generated).collect();
        paths.extend_from_slice(copied);
        paths.sort();
        paths.dedup();
        Self::of(paths, settings)
    }

    fn of(paths: Vec<PathBuf>, settings: &BaseSettings) -> Self {
        let with_state = |path: PathBuf| {
            let state = state_of(&path);
            (path, state)
        };
        Self {
            version: VERSION,
            copy: settings.copy,
            hidden: settings.hidden.clone(),
            files: paths.into_iter().map(with_state).collect(),
        }
    }

    /// Returns the state of the package databases alone, which is quick to
    /// check.
    pub(super) fn of_databases(settings: &BaseSettings) -> Self {
        Self::of(packages::databases(), settings)
    }

    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Whether all sources are unchanged.
    pub(super) fn still_hold(&self, settings: &BaseSettings) -> bool {
        self.version == VERSION
            && self.copy == settings.copy
            && self.hidden == settings.hidden
            && self
                .files
                .iter()
                .all(|(path, state)| state_of(path) == *state)
    }
}

fn state_of(path: &Path) -> State {
    let found = path.symlink_metadata().ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_file_or_a_setting_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "1").unwrap();
        let settings = BaseSettings {
            directory: directory.path().to_owned(),
            hidden: Vec::new(),
            copy: false,
        };
        let sources = Sources::of_host(&settings, std::slice::from_ref(&file));
        assert!(sources.still_hold(&settings));
        let copying = BaseSettings {
            copy: true,
            ..settings.clone()
        };
        assert!(!sources.still_hold(&copying));
        fs::write(&file, "12").unwrap();
        assert!(!sources.still_hold(&settings));
        let sources = Sources::of_host(&settings, std::slice::from_ref(&file));
        fs::remove_file(&file).unwrap();
        assert!(!sources.still_hold(&settings));
    }
}
