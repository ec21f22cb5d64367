//! What is written at the place of the cursor.

use std::ops::Range;

use super::document::Document;
use super::tokens::Kind;
use crate::playbook::scan::Part;

/// The place of the cursor, between two characters.
pub(super) struct Cursor<'a> {
    pub(super) document: &'a Document,
    pub(super) at: usize,
    /// The part before the cursor of the word that is being written.
    pub(super) word: Range<usize>,
    /// The number of tokens before that word.
    pub(super) before: usize,
    /// The bracket around the cursor.
    pub(super) parent: Option<usize>,
}

/// What can be written at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Something that only the author knows: a comment, a new name, a number.
    Free,
    /// The text of this token.
    Text(usize),
    /// A key or a method of the value before this dot.
    Member(usize),
    /// A name of the module before this `::`.
    Module(usize),
    /// A key of the map that begins at this token.
    Key(usize),
    /// An expression or a statement.
    Code,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(document: &'a Document, at: usize) -> Self {
        let tokens = &document.tokens;
        let at = at.min(tokens.scan.chars.len());
        let started = tokens.before(at);
        let last = started.checked_sub(1);
        let is_word = |last: &usize| {
            let token = tokens.all[*last];
            token.end >= at && token.kind == Kind::Word
        };
        let word = last.filter(is_word);
        let before = word.unwrap_or(started);
        Self {
            document,
            at,
            word: word.map_or(at, |word| tokens.all[word].start)..at,
            before,
            parent: parent(document, last),
        }
    }

    /// Returns the part of the word before the cursor.
    pub(super) fn prefix(&self) -> String {
        self.document.tokens.slice(self.word.clone())
    }

    pub(super) fn place(&self) -> Place {
        let tokens = &self.document.tokens;
        if self.is_in_comment() {
            return Place::Free;
        }
        if let Some(text) = self.text() {
            return Place::Text(text);
        }
        let Some(last) = self.before.checked_sub(1) else {
            return Place::Code;
        };
        let ends_here = |last: usize| tokens.all[last].end == self.word.start;
        let is_number = |last: usize| tokens.kind(last) == Some(Kind::Number);
        match tokens.text(last).as_str() {
            _ if is_number(last) && ends_here(last) => Place::Free,
            "." | "?." if last > 0 && is_number(last - 1) => Place::Free,
            "." | "?." => Place::Member(last),
            "::" => Place::Module(last),
            "let" | "const" | "fn" | "for" | "as" | "catch" if tokens.is_word(last) => Place::Free,
            "#{" | "," => match self.parent.filter(|parent| tokens.is(*parent, "#{")) {
                Some(map) => Place::Key(map),
                None if self.is_in_parameters() => Place::Free,
                None => Place::Code,
            },
            "(" if self.is_in_parameters() => Place::Free,
            _ => Place::Code,
        }
    }

    fn is_in_comment(&self) -> bool {
        let scan = &self.document.tokens.scan;
        let Some(last) = self.at.checked_sub(1) else {
            return false;
        };
        let ended = last > 0 && scan.is_at(last - 1, "*/") && scan.part(self.at) != Part::Comment;
        scan.part(last) == Part::Comment && !ended
    }

    /// Returns the text in quotes around the cursor.
    fn text(&self) -> Option<usize> {
        let tokens = &self.document.tokens;
        let index = tokens.before(self.at).checked_sub(1)?;
        let token = tokens.all[index];
        if token.kind != Kind::Text {
            return None;
        }
        let text = tokens.slice(token.start..token.end);
        let mut chars = text.chars();
        let (first, last) = (chars.next(), chars.next_back());
        let is_closed = matches!(last, Some('"' | '`' | '\''))
            && (first == last || first != Some('"'))
            || text.ends_with("${");
        let is_inside = self.at < token.end || self.at == token.end && !is_closed;
        is_inside.then_some(index)
    }

    /// Returns whether the cursor is among the parameters of a function that is being
    /// declared.
    fn is_in_parameters(&self) -> bool {
        let tokens = &self.document.tokens;
        let declares = |paren: usize| {
            let declared = paren.checked_sub(2).is_some_and(|at| tokens.is(at, "fn"));
            let caught = paren
                .checked_sub(1)
                .is_some_and(|at| tokens.is(at, "catch"));
            tokens.is(paren, "(") && (declared || caught)
        };
        self.parent.is_some_and(declares)
    }
}

/// Returns the bracket around a place after the token `last`.
fn parent(document: &Document, last: Option<usize>) -> Option<usize> {
    let last = last?;
    let tokens = &document.tokens;
    let is_opener = ["(", "[", "{", "#{"]
        .iter()
        .any(|bracket| tokens.is(last, bracket));
    if is_opener {
        return Some(last);
    }
    tokens.all[last].parent
}
