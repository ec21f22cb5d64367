//! Paths of files in texts.

use std::path::{Path, PathBuf};

use super::document::Document;
use crate::playbook::check::FILE_ARGUMENTS;

/// The most entries of a directory that are offered.
const MOST: usize = 500;

/// Where the path in a text begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A playbook to import, relative to the file. The ending is left out.
    Import(PathBuf),
    /// A file, relative to this directory.
    Directory(PathBuf),
}

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_directory: bool,
}

impl Document {
    /// Returns where the path in a text begins, if the text is a path.
    pub(super) fn base_of(&self, text: usize) -> Option<Base> {
        let tokens = &self.tokens;
        let directory = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let before = text.checked_sub(1)?;
        if tokens.is(before, "import") {
            return Some(Base::Import(directory));
        }
        let follows_script_dir = before
            .checked_sub(3)
            .is_some_and(|call| tokens.is(before, "+") && tokens.is(call, "script_dir"));
        if follows_script_dir {
            return Some(Base::Directory(directory));
        }
        let (function, parameter) = self.parameter_of(text)?;
        let is_file = FILE_ARGUMENTS.contains(&(function.as_str(), parameter.as_str()));
        is_file.then(|| Base::Directory(PathBuf::new()))
    }
}

impl Base {
    /// Returns the file that a text names.
    pub(super) fn file(&self, text: &str) -> PathBuf {
        match self {
            Self::Import(directory) => crate::playbook::imports::file(directory, text).into(),
            // After `script_dir()`, the path begins with a slash.
            Self::Directory(directory) if directory.as_os_str().is_empty() => expanded(text),
            Self::Directory(directory) => directory.join(text.trim_start_matches('/')),
        }
    }

    /// Returns the entries of the directory that the first part of a text names, up to
    /// its last slash.
    pub(super) fn entries(&self, text: &str) -> Vec<Entry> {
        let (directory, name) = text
            .rsplit_once('/')
            .map_or(("", text), |(directory, name)| {
                (&text[..=directory.len()], name)
            });
        let directory = match self {
            Self::Import(base) => base.join(directory),
            Self::Directory(_) => self.file(directory),
        };
        let directory = match directory.as_os_str() {
            here if here.is_empty() => Path::new("."),
            _ => &directory,
        };
        let Ok(entries) = std::fs::read_dir(directory) else {
            return Vec::new();
        };
        let found = entries.flatten().filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            let is_hidden = file.starts_with('.') && !name.starts_with('.');
            let is_directory = entry.path().is_dir();
            let name = match self {
                Self::Import(_) if !is_directory => file.strip_suffix(".rhai")?.to_owned(),
                _ => file,
            };
            (!is_hidden).then_some(Entry { name, is_directory })
        });
        let mut found: Vec<Entry> = found.take(MOST).collect();
        found.sort();
        found
    }
}

/// Returns a path with the home directory for `~`.
fn expanded(text: &str) -> PathBuf {
    let home = text
        .strip_prefix("~/")
        .and_then(|rest| Some(dirs::home_dir()?.join(rest)));
    home.unwrap_or_else(|| text.into())
}
