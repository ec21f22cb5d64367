//! Texts that are almost right: mutations of a corpus.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Characters and texts that are treated specially somewhere.
const SPECIAL: [&str; 36] = [
    "\r\n",
    "\r",
    "\n",
    "\t",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "\u{1f600}",
    "e\u{301}",
    "\u{ffff}",
    "\"",
    "`",
    "'",
    "${",
    "#{",
    "#\"",
    "/*",
    "*/",
    "//",
    "//!",
    "#!",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ";",
    ",",
    ".",
    "::",
    "|",
    "?.",
    "\\",
    "=",
    "9223372036854775808",
];

/// What is repeated to nest or to join a great many parts.
const REPEATED: [&str; 12] = [
    "(", "[", "{", "#{a:", "!", "-", "1+", "a.b.", "f(", "`${", "if a {", "|x| ",
];

/// Makes texts from a corpus.
pub(crate) struct Mutator {
    random: StdRng,
    corpus: Vec<String>,
}

impl Mutator {
    pub(crate) fn new(seed: u64, corpus: Vec<String>) -> Self {
        assert!(!corpus.is_empty());
        Self {
            random: StdRng::seed_from_u64(seed),
            corpus,
        }
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end.max(1))
    }

    /// Returns one of these values.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Returns a text of the corpus with up to eight changes.
    pub(crate) fn text(&mut self) -> String {
        let at = self.below(self.corpus.len());
        let mut text: Vec<char> = self.corpus[at].chars().collect();
        for _ in 0..=self.below(8) {
            self.change(&mut text);
        }
        text.into_iter().collect()
    }

    fn change(&mut self, text: &mut Vec<char>) {
        let (from, to) = self.range(text.len());
        match self.below(10) {
            0 => drop(text.drain(from..to)),
            1 => {
                let copy = text[from..to].to_vec();
                let at = self.below(text.len() + 1);
                text.splice(at..at, copy);
            }
            2 | 3 => {
                let special = *self.one_of(&SPECIAL);
                text.splice(from..from, special.chars());
            }
            4 => {
                let special = *self.one_of(&SPECIAL);
                text.splice(from..to, special.chars());
            }
            5 => text.truncate(from),
            6 => {
                let piece = self.piece();
                text.splice(from..from, piece);
            }
            7 => {
                let piece = self.piece();
                text.splice(from..to, piece);
            }
            8 if self.below(20) == 0 => {
                let part = *self.one_of(&REPEATED);
                let count = *self.one_of(&[10, 100, 300, 3000]);
                text.splice(from..from, part.repeat(count).chars());
            }
            8 => text[from..to].reverse(),
            _ => self.swap_words(text),
        }
    }

    /// Returns a range that is mostly short.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        let longest = *self.one_of(&[1, 4, 16, 64, 1024]);
        let to = (from + self.below(longest) + 1).min(length);
        (from, to.max(from))
    }

    /// Returns a part of a text of the corpus.
    fn piece(&mut self) -> Vec<char> {
        let at = self.below(self.corpus.len());
        let text: Vec<char> = self.corpus[at].chars().collect();
        let (from, to) = self.range(text.len());
        text[from..to].to_vec()
    }

    /// Writes a word of the corpus in the place of another one.
    fn swap_words(&mut self, text: &mut Vec<char>) {
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        let at = self.below(text.len());
        let Some(start) = text[at.min(text.len())..].iter().position(is_word) else {
            return;
        };
        let start = at + start;
        let length = text[start..].iter().take_while(|c| is_word(c)).count();
        let other = self.below(self.corpus.len());
        let words: Vec<&str> = self.corpus[other]
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() {
            return;
        }
        let word = words[self.random.random_range(0..words.len())].to_owned();
        text.splice(start..start + length, word.chars());
    }
}

/// Returns the texts of all files with this ending in some folders.
pub(crate) fn texts(root: &Path, folders: &[&str], ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders {
        let mut paths: Vec<_> = fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == ending))
            .collect();
        paths.sort();
        let texts = paths
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok());
        found.extend(texts);
    }
    found
}
