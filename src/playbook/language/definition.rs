//! Where the name at a place is declared.

use std::ops::Range;
use std::path::PathBuf;

use super::cursor::{Cursor, Place};
use super::document::Document;
use super::tokens::Kind;
use crate::playbook::Buffers;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// Line and column of the first character, from 1.
    pub start: (usize, usize),
    /// Line and column after the last character.
    pub end: (usize, usize),
}

impl Document {
    /// Returns where the name at a place is declared: a variable, a function of this
    /// file or of an imported one. For a path in quotes, returns the beginning of the
    /// file.
    #[must_use]
    pub fn definition(&self, at: usize, buffers: &Buffers) -> Option<Target> {
        if let Some(text) = self.tokens.at(at).filter(|text| self.is_text(*text)) {
            return self.file(text);
        }
        let index = self.name_at(at)?;
        let name = self.tokens.text(index);
        let token = self.tokens.all[index];
        match Cursor::new(self, token.end).place() {
            Place::Member(_) => {
                let function = self.outline.function(&name);
                let is_called = self.tokens.is(index + 1, "(");
                function
                    .filter(|_| is_called)
                    .map(|found| self.target(&found.at))
            }
            Place::Module(separator) => {
                let alias = self.tokens.text(separator.checked_sub(1)?);
                if alias == "global" {
                    let constant = self.constants().find(|known| known.name == name)?;
                    return Some(self.target(&constant.at));
                }
                let module = self.module(&alias, buffers)?;
                let function = module.outline.function(&name)?;
                Some(module.target(&function.at))
            }
            _ => self.plain_definition(index, &name),
        }
    }

    fn is_text(&self, index: usize) -> bool {
        self.tokens.kind(index) == Some(Kind::Text)
    }

    fn plain_definition(&self, index: usize, name: &str) -> Option<Target> {
        let is_called = self.tokens.is(index + 1, "(");
        let function = self.outline.function(name);
        if let Some(function) = function.filter(|_| is_called) {
            return Some(self.target(&function.at));
        }
        if self.tokens.is(index + 1, "::") {
            let import = self
                .outline
                .imports
                .iter()
                .find(|import| import.alias == name)?;
            return Some(beginning(self.imported(&import.path)));
        }
        let variable = self.declaration(name, self.tokens.all[index].start);
        let place = variable.map(|variable| &variable.at);
        let place = place.or(function.map(|function| &function.at))?;
        Some(self.target(place))
    }

    /// Returns the file that a text names.
    fn file(&self, text: usize) -> Option<Target> {
        let content = self.tokens.content(text)?;
        if self.is_function_pointer(text) {
            let function = self.outline.function(&content)?;
            return Some(self.target(&function.at));
        }
        let path = self.base_of(text)?.file(&content);
        // Paths of `std` are relative to the current directory, those of editors are not.
        let path = std::path::absolute(path).ok()?;
        path.is_file().then(|| beginning(path))
    }

    /// Returns whether a text is the name in `Fn("name")`.
    fn is_function_pointer(&self, text: usize) -> bool {
        let call = text.checked_sub(2);
        call.is_some_and(|call| self.tokens.is(call, "Fn") && self.tokens.is(call + 1, "("))
    }

    fn target(&self, place: &Range<usize>) -> Target {
        Target {
            path: self.path.clone(),
            start: self.place(place.start),
            end: self.place(place.end),
        }
    }
}

fn beginning(path: PathBuf) -> Target {
    Target {
        path,
        start: (1, 1),
        end: (1, 1),
    }
}
