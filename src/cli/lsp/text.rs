//! The text of a document as the editor has it, and the positions in it.

use super::messages::{Change, Position};

/// The unit in which a session counts the characters of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16,
}

impl Encoding {
    fn width(self, c: char) -> usize {
        match self {
            Self::Utf8 => c.len_utf8(),
            Self::Utf16 => c.len_utf16(),
        }
    }
}

/// A text with the line ends of the editor.
#[derive(Clone, Debug)]
pub(super) struct Text {
    content: String,
    /// The first byte of each line.
    starts: Vec<usize>,
}

impl Text {
    pub(super) fn new(content: String) -> Self {
        let bytes = content.as_bytes();
        let mut starts = vec![0];
        for (at, byte) in bytes.iter().enumerate() {
            // `\r\n` is one line end.
            if *byte == b'\n' || *byte == b'\r' && bytes.get(at + 1) != Some(&b'\n') {
                starts.push(at + 1);
            }
        }
        Self { content, starts }
    }

    pub(super) fn content(&self) -> &str {
        &self.content
    }

    /// Changes a part of the text, or all of it.
    pub(super) fn apply(&mut self, change: Change, encoding: Encoding) {
        let Some(range) = change.range else {
            *self = Self::new(change.text);
            return;
        };
        let start = self.offset(range.start, encoding);
        let end = self.offset(range.end, encoding).max(start);
        let mut content = std::mem::take(&mut self.content);
        content.replace_range(start..end, &change.text);
        *self = Self::new(content);
    }

    /// Returns a line without its end.
    fn line(&self, line: usize) -> &str {
        let Some(start) = self.starts.get(line) else {
            return "";
        };
        let end = self.starts.get(line + 1).copied();
        let line = &self.content[*start..end.unwrap_or(self.content.len())];
        line.trim_end_matches(['\n', '\r'])
    }

    /// Returns the byte at a position. A position after the end of its line is the end of
    /// the line.
    fn offset(&self, position: Position, encoding: Encoding) -> usize {
        let line = position.line as usize;
        let Some(start) = self.starts.get(line) else {
            return self.content.len();
        };
        let before = self.before(position, encoding);
        let bytes: usize = self
            .line(line)
            .chars()
            .take(before)
            .map(char::len_utf8)
            .sum();
        start + bytes
    }

    /// Returns the number of characters of the line before a position.
    fn before(&self, position: Position, encoding: Encoding) -> usize {
        let mut left = position.character as usize;
        let line = self.line(position.line as usize).chars();
        let before = line.take_while(|c| {
            let width = encoding.width(*c);
            let fits = width <= left;
            left = left.saturating_sub(width);
            fits
        });
        before.count()
    }

    /// Returns line and column of a position, from 1, as the check counts them: without a
    /// byte order mark.
    pub(super) fn place(&self, position: Position, encoding: Encoding) -> (usize, usize) {
        let line = position.line as usize;
        if line >= self.starts.len() {
            return (usize::MAX, 1);
        }
        let mark = self.mark(line);
        let before = self.before(position, encoding).saturating_sub(mark);
        (line + 1, before + 1)
    }

    /// Returns the position of a line and a column.
    pub(super) fn position(&self, (line, column): (usize, usize), encoding: Encoding) -> Position {
        let line = line.saturating_sub(1).min(self.starts.len() - 1);
        let before = column.saturating_sub(1) + self.mark(line);
        let chars = self.line(line).chars().take(before);
        let character: usize = chars.map(|c| encoding.width(c)).sum();
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: small(line),
            character: small(character),
        }
    }

    /// Returns the number of characters of the byte order mark in a line.
    fn mark(&self, line: usize) -> usize {
        usize::from(line == 0 && self.content.starts_with('\u{feff}'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::lsp::messages::Range;

    fn at(line: u32, character: u32) -> Position {
        Position { line, character }
    }

    #[test]
    fn positions_count_in_the_units_of_the_session() {
        let text = Text::new("a\u{1f600}b\r\n\u{e9}x\rlast".to_owned());
        for (encoding, position, place) in [
            (Encoding::Utf16, at(0, 3), (1, 3)),
            (Encoding::Utf8, at(0, 5), (1, 3)),
            (Encoding::Utf16, at(1, 1), (2, 2)),
            (Encoding::Utf8, at(1, 2), (2, 2)),
            (Encoding::Utf16, at(2, 4), (3, 5)),
        ] {
            assert_eq!(text.place(position, encoding), place);
            assert_eq!(text.position(place, encoding), position);
        }
    }

    #[test]
    fn positions_outside_of_the_text_are_moved_into_it() {
        let text = Text::new("ab\ncd".to_owned());
        assert_eq!(text.place(at(0, 99), Encoding::Utf16), (1, 3));
        assert_eq!(text.offset(at(9, 0), Encoding::Utf16), 5);
        assert_eq!(text.position((9, 9), Encoding::Utf16), at(1, 2));
        // Between the two halves of a character.
        let text = Text::new("\u{1f600}".to_owned());
        assert_eq!(text.place(at(0, 1), Encoding::Utf16), (1, 1));
        let empty = Text::new(String::new());
        assert_eq!(empty.position((1, 1), Encoding::Utf8), at(0, 0));
    }

    #[test]
    fn a_byte_order_mark_has_no_column() {
        let text = Text::new("\u{feff}ab".to_owned());
        assert_eq!(text.place(at(0, 2), Encoding::Utf16), (1, 2));
        assert_eq!(text.position((1, 2), Encoding::Utf16), at(0, 2));
    }

    #[test]
    fn changes_replace_a_part_or_everything() {
        let mut text = Text::new("one\r\ntwo\r\n".to_owned());
        let change = |start, end, text: &str| Change {
            range: Some(Range { start, end }),
            text: text.to_owned(),
        };
        text.apply(change(at(0, 3), at(1, 0), " "), Encoding::Utf16);
        assert_eq!(text.content(), "one two\r\n");
        text.apply(change(at(1, 0), at(1, 0), "three"), Encoding::Utf16);
        assert_eq!(text.content(), "one two\r\nthree");
        text.apply(change(at(1, 3), at(0, 9), "!"), Encoding::Utf16);
        assert_eq!(text.content(), "one two\r\nthr!ee");
        let whole = Change {
            range: None,
            text: String::new(),
        };
        text.apply(whole, Encoding::Utf16);
        assert_eq!(text.content(), "");
    }
}
