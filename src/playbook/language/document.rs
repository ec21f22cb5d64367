//! A file in an editor, and the places in it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::outline::{Declaration, Outline, Role};
use super::tokens::Tokens;
use crate::playbook::buffers::identity;
use crate::playbook::imports;
use crate::playbook::reading::normalized;

/// A playbook or an imported file in the state in which an editor shows it.
///
/// Places in it are numbers of characters. A line break counts as one character.
#[derive(Debug)]
pub struct Document {
    pub(super) path: PathBuf,
    pub(super) tokens: Tokens,
    pub(super) outline: Outline,
}

impl Document {
    /// Reads the tokens of a text, which need not compile.
    #[must_use]
    pub fn new(path: &Path, text: &str) -> Self {
        let tokens = Tokens::of(&normalized(text));
        Self {
            path: path.to_owned(),
            outline: Outline::of(&tokens),
            tokens,
        }
    }

    /// Returns the character at a line and a column, which count from 1. A column after
    /// the end of its line is the end of the line.
    #[must_use]
    pub fn index(&self, line: usize, column: usize) -> usize {
        let scan = &self.tokens.scan;
        let start = scan.index(line, 1);
        let length = scan.chars[start..].iter().take_while(|c| **c != '\n');
        start + length.count().min(column.saturating_sub(1))
    }

    /// Returns line and column of a character, from 1.
    #[must_use]
    pub fn place(&self, at: usize) -> (usize, usize) {
        self.tokens.scan.place(at.min(self.tokens.scan.chars.len()))
    }

    /// Returns the rest of the token around a character, up to the end of the line. The
    /// range is empty if no token is there.
    #[must_use]
    pub fn token_around(&self, at: usize) -> Range<usize> {
        let Some(index) = self.tokens.at(at) else {
            return at..at;
        };
        let rest = &self.tokens.scan.chars[at..self.tokens.all[index].end];
        let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
        at..at + length
    }

    /// Returns the place of the text after `import` that names a file, or `None`.
    #[must_use]
    pub fn import_of(&self, file: &Path) -> Option<Range<usize>> {
        let imports = self.outline.imports.iter();
        let found =
            imports.filter(|import| identity(&self.imported(&import.path)) == identity(file));
        found.map(|import| import.text.clone()).next()
    }

    /// Returns the file that an import of this file names.
    pub(super) fn imported(&self, name: &str) -> PathBuf {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        imports::file(directory, name).into()
    }

    /// Returns the variables that are known at a place, the innermost first. A name that
    /// is declared several times is returned once.
    pub(super) fn visible(&self, at: usize) -> Vec<&Declaration> {
        let mut known: Vec<&Declaration> = self.known(at).collect();
        known.sort_by_key(|declaration| Reverse(declaration.at.start));
        let mut seen = HashSet::new();
        known.retain(|declaration| seen.insert(declaration.name.as_str()));
        known
    }

    fn known(&self, at: usize) -> impl Iterator<Item = &Declaration> {
        let function = self.outline.function_at(at);
        let end = self.tokens.scan.chars.len();
        self.outline.declarations.iter().filter(move |declaration| {
            let scope = &declaration.scope;
            let contains = scope.contains(&at) || scope.end == at && at == end;
            contains && declaration.function == function
        })
    }

    /// Returns the declaration of the variable whose name is at a place.
    pub(super) fn declaration(&self, name: &str, at: usize) -> Option<&Declaration> {
        let mut all = self.outline.declarations.iter();
        if let Some(here) = all.find(|declaration| declaration.at.start == at) {
            return Some(here);
        }
        let known = self
            .known(at)
            .filter(|declaration| declaration.name == name);
        known.max_by_key(|declaration| declaration.at.start)
    }

    /// Returns the constants outside of functions, which functions read as
    /// `global::NAME`.
    pub(super) fn constants(&self) -> impl Iterator<Item = &Declaration> {
        let all = self.outline.declarations.iter();
        all.filter(|known| known.role == Role::Constant && known.function.is_none())
    }
}
