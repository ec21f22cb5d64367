//! The parts of a source text: code, text in quotes, comments, and the brackets.
//!
//! Rhai reports the token at which it stopped. This file finds out where the mistake
//! is: where an unclosed bracket, text or comment begins, and where the code before a
//! token ends. Rhai does not report an unclosed comment at all.

/// What a character belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Statements, blanks among them.
    Code,
    /// Text in quotes or backticks, with its delimiters.
    Text,
    /// A comment, or the `#!` line.
    Comment,
}

/// What is open at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    Parenthesis,
    Bracket,
    /// The `{` of a block.
    Brace,
    /// The `#{` of a map.
    Map,
    /// The `${` of a value in a text.
    Value,
    Backtick,
    /// Double quotes.
    Quote,
    /// A single quote.
    SingleQuote,
    /// `#"`, with any number of `#`.
    Raw,
    /// `/*`.
    Comment,
}

impl Opener {
    /// Returns its characters.
    pub(super) fn opening(self) -> &'static str {
        match self {
            Self::Parenthesis => "(",
            Self::Bracket => "[",
            Self::Brace => "{",
            Self::Map => "#{",
            Self::Value => "${",
            Self::Backtick => "`",
            Self::Quote => "\"",
            Self::SingleQuote => "'",
            Self::Raw => "#\"",
            Self::Comment => "/*",
        }
    }

    /// Returns the characters that close it.
    pub(super) fn closing(self) -> &'static str {
        match self {
            Self::Parenthesis => ")",
            Self::Bracket => "]",
            Self::Brace | Self::Map | Self::Value => "}",
            Self::Raw => "\"#",
            Self::Comment => "*/",
            Self::Backtick | Self::Quote | Self::SingleQuote => self.opening(),
        }
    }

    /// Returns whether it is a bracket.
    pub(super) fn is_bracket(self) -> bool {
        matches!(
            self,
            Self::Parenthesis | Self::Bracket | Self::Brace | Self::Map | Self::Value
        )
    }
}

/// A bracket, text or comment that does not end, or an end without a beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// `at` is where it begins, `noticed` is the first character that cannot be
    /// inside it, or the end of the text.
    Unclosed {
        opener: Opener,
        at: usize,
        noticed: usize,
    },
    /// A closing bracket that closes nothing.
    Unopened(usize),
}

/// A source text, by characters.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) chars: Vec<char>,
    parts: Vec<Part>,
    /// The index of the first character of each line.
    lines: Vec<usize>,
    /// The first problem.
    pub(super) problem: Option<Problem>,
}

impl Scan {
    pub(super) fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let breaks = chars.iter().enumerate().filter(|(_, c)| **c == '\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1));
        let lines = lines.collect();
        let mut scanner = Scanner {
            chars: &chars,
            parts: vec![Part::Code; chars.len()],
            at: 0,
            open: Vec::new(),
            misplaced: None,
            problem: None,
        };
        scanner.scan();
        let Scanner { parts, problem, .. } = scanner;
        Self {
            chars,
            parts,
            lines,
            problem,
        }
    }

    /// Returns the index of a place. Places after the end are the end.
    pub(super) fn index(&self, line: usize, column: usize) -> usize {
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line));
        let index = start.map(|start| start + column.saturating_sub(1));
        index.unwrap_or(usize::MAX).min(self.chars.len())
    }

    /// Returns line and column of an index, from 1.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        (line, at - self.lines[line - 1] + 1)
    }

    /// Returns what a character belongs to. The end of the text is code.
    pub(super) fn part(&self, at: usize) -> Part {
        self.parts.get(at).copied().unwrap_or(Part::Code)
    }

    /// Returns the index after the last character of code or text before `at`.
    pub(super) fn end_before(&self, at: usize) -> Option<usize> {
        let mut before = (0..at.min(self.chars.len())).rev();
        let last =
            before.find(|at| self.part(*at) != Part::Comment && !self.chars[*at].is_whitespace());
        last.map(|last| last + 1)
    }

    /// Returns the word of code that begins at `at`; empty if there is none.
    pub(super) fn word(&self, at: usize) -> String {
        let rest = self.chars.iter().enumerate().skip(at);
        let word = rest.take_while(|(at, c)| is_word(**c) && self.part(*at) == Part::Code);
        word.map(|(_, c)| *c).collect()
    }

    /// Returns the word of code that ends before `end`; empty if there is none.
    pub(super) fn word_before(&self, end: usize) -> String {
        let mut start = end;
        while start > 0 && is_word(self.chars[start - 1]) && self.part(start - 1) == Part::Code {
            start -= 1;
        }
        self.word(start)[..].chars().take(end - start).collect()
    }

    /// Returns the index of the first character of code or text from `at` on.
    pub(super) fn next(&self, at: usize) -> usize {
        let mut rest = at..self.chars.len();
        rest.find(|at| self.part(*at) != Part::Comment && !self.chars[*at].is_whitespace())
            .unwrap_or(self.chars.len())
    }

    /// Returns whether this text is at this place.
    pub(super) fn is_at(&self, at: usize, text: &str) -> bool {
        let mut chars = self.chars.iter().skip(at);
        text.chars().all(|c| chars.next() == Some(&c))
    }

    /// Returns where the text in quotes begins that ends before `end`.
    pub(super) fn text_before(&self, end: usize) -> Option<usize> {
        let mut start = end;
        while start > 0 && self.part(start - 1) == Part::Text {
            start -= 1;
        }
        (start < end).then_some(start)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Scanner<'a> {
    chars: &'a [char],
    parts: Vec<Part>,
    at: usize,
    /// What is open, outermost first.
    open: Vec<(Opener, usize)>,
    /// The first block whose end is indented less than its beginning.
    misplaced: Option<(Opener, usize)>,
    problem: Option<Problem>,
}

impl Scanner<'_> {
    fn scan(&mut self) {
        if self.starts_with("#!") {
            self.skip_line();
        }
        while self.at < self.chars.len() {
            match self.open.last() {
                Some((Opener::Backtick, _)) => self.in_backticks(),
                _ => self.in_code(),
            }
        }
        // The end of the text is missing what is still open. The indentation of the
        // blocks shows best which one it is.
        let (opener, at) = match (self.open.as_slice(), self.misplaced) {
            ([], _) => return,
            // The backtick may have been meant as the end of the text with the value.
            ([.., value @ (Opener::Value, _), (Opener::Backtick, _)], _) => *value,
            ([.., innermost @ (Opener::Backtick, _)], _) | ([.., innermost], None) => *innermost,
            (_, Some(misplaced)) => misplaced,
        };
        self.unclosed(opener, at, self.chars.len());
    }

    fn in_code(&mut self) {
        let c = self.chars[self.at];
        match c {
            '/' if self.starts_with("//") => self.skip_line(),
            '/' if self.starts_with("/*") => self.skip_comment(),
            '"' => self.skip_quoted(Opener::Quote),
            '\'' => self.skip_quoted(Opener::SingleQuote),
            '`' => self.enter(Opener::Backtick, Part::Text),
            '#' if self.starts_with("#{") => self.enter(Opener::Map, Part::Code),
            '#' if self.begins_raw() => self.skip_raw(),
            '(' => self.enter(Opener::Parenthesis, Part::Code),
            '[' => self.enter(Opener::Bracket, Part::Code),
            '{' => self.enter(Opener::Brace, Part::Code),
            ')' | ']' | '}' => self.close(c),
            ';' => {
                // A statement cannot end inside brackets of other kinds.
                if let Some((opener, at)) = self.open.last().copied()
                    && !matches!(opener, Opener::Brace | Opener::Value)
                {
                    self.open.pop();
                    self.unclosed(opener, at, self.at);
                } else {
                    self.at += 1;
                }
            }
            _ => self.at += 1,
        }
    }

    fn in_backticks(&mut self) {
        if self.starts_with("\\${") {
            self.take(3, Part::Text);
        } else if self.starts_with("${") {
            self.enter(Opener::Value, Part::Text);
        } else if self.starts_with("``") {
            self.take(2, Part::Text);
        } else if self.starts_with("`") {
            self.open.pop();
            self.take(1, Part::Text);
        } else {
            self.take(1, Part::Text);
        }
    }

    fn close(&mut self, c: char) {
        let here = self.at;
        self.at += 1;
        let closes =
            |(opener, _): &(Opener, usize)| opener.is_bracket() && opener.closing().starts_with(c);
        let Some(depth) = self.open.iter().rposition(closes) else {
            self.problem.get_or_insert(Problem::Unopened(here));
            return;
        };
        // Brackets of a value in a text end with the text.
        let inner = self.open.split_off(depth + 1);
        if let Some((opener, at)) = inner.last().copied() {
            self.unclosed(opener, at, here);
        }
        let (opener, at) = self.open.remove(depth);
        if opener == Opener::Value {
            self.parts[here] = Part::Text;
        }
        if opener == Opener::Brace
            && self.is_first_of_line(here)
            && self.indentation(here) < self.indentation(at)
        {
            self.misplaced.get_or_insert((opener, at));
        }
    }

    fn skip_line(&mut self) {
        while self.at < self.chars.len() && self.chars[self.at] != '\n' {
            self.take(1, Part::Comment);
        }
    }

    fn skip_comment(&mut self) {
        let (start, mut depth) = (self.at, 0);
        loop {
            if self.starts_with("/*") {
                depth += 1;
                self.take(2, Part::Comment);
            } else if self.starts_with("*/") {
                depth -= 1;
                self.take(2, Part::Comment);
            } else if self.at < self.chars.len() {
                self.take(1, Part::Comment);
            } else {
                return self.unclosed(Opener::Comment, start, self.at);
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips a text that ends on its line, unless each line ends with a backslash.
    fn skip_quoted(&mut self, opener: Opener) {
        let (start, quote) = (self.at, self.chars[self.at]);
        self.take(1, Part::Text);
        while self.at < self.chars.len() {
            let two = self.chars.get(self.at + 1);
            match self.chars[self.at] {
                '\n' => break,
                '\\' => self.take(2, Part::Text),
                c if c == quote && two == Some(&quote) => self.take(2, Part::Text),
                c => {
                    self.take(1, Part::Text);
                    if c == quote {
                        return;
                    }
                }
            }
        }
        self.unclosed(opener, start, start);
    }

    fn begins_raw(&self) -> bool {
        let mut rest = self.chars[self.at..].iter().skip_while(|c| **c == '#');
        rest.next() == Some(&'"')
    }

    fn skip_raw(&mut self) {
        let start = self.at;
        let hashes = self.chars[start..].iter().take_while(|c| **c == '#');
        let end = format!("\"{}", "#".repeat(hashes.count()));
        self.take(end.len(), Part::Text);
        while self.at < self.chars.len() {
            if self.starts_with(&end) {
                return self.take(end.len(), Part::Text);
            }
            self.take(1, Part::Text);
        }
        self.unclosed(Opener::Raw, start, self.at);
    }

    fn enter(&mut self, opener: Opener, part: Part) {
        self.open.push((opener, self.at));
        self.take(opener.opening().len(), part);
    }

    fn unclosed(&mut self, opener: Opener, at: usize, noticed: usize) {
        self.problem.get_or_insert(Problem::Unclosed {
            opener,
            at,
            noticed,
        });
    }

    fn take(&mut self, count: usize, part: Part) {
        let end = (self.at + count).min(self.chars.len());
        self.parts[self.at..end].fill(part);
        self.at = end;
    }

    fn starts_with(&self, text: &str) -> bool {
        let mut rest = self.chars[self.at..].iter();
        text.chars().all(|c| rest.next() == Some(&c))
    }

    fn line_start(&self, at: usize) -> usize {
        let before = self.chars[..at].iter().rposition(|c| *c == '\n');
        before.map_or(0, |newline| newline + 1)
    }

    fn indentation(&self, at: usize) -> usize {
        let line = self.chars[self.line_start(at)..].iter();
        line.take_while(|c| matches!(c, ' ' | '\t')).count()
    }

    fn is_first_of_line(&self, at: usize) -> bool {
        let mut before = self.chars[..at].iter().rev();
        before
            .find(|c| !matches!(c, ' ' | '\t'))
            .is_none_or(|c| *c == '\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not closed, where it begins, and where that was noticed.
    fn unclosed(text: &str) -> Option<(&'static str, usize, usize)> {
        match Scan::of(text).problem? {
            Problem::Unclosed {
                opener,
                at,
                noticed,
            } => Some((opener.opening(), at, noticed)),
            Problem::Unopened(at) => Some(("", at, at)),
        }
    }

    #[test]
    fn valid_text_has_no_problem() {
        for text in [
            "",
            "let a = [1, #{ b: (2) }];",
            "\"a\\\"b\" \"\" \"a\"\"b\" \"a\\\n b\"",
            "`a ${ f(`b ${c} \\${d`) } ``e`",
            "'(' '\\'' \"(\" // (\n /* ( /* ( */ ( */",
            "#\"a \" ( \"# ##\"b \"# ( \"##",
            "#!/usr/bin/env (\n1",
            "let f = || { 1 };",
            "`{`",
            "`\\n`",
        ] {
            assert_eq!(unclosed(text), None, "{text}");
        }
    }

    #[test]
    fn the_beginning_of_what_is_open_is_found() {
        for (text, opener, at, noticed) in [
            ("a(1;\nb()", "(", 1, 3),
            ("[1, 2;", "[", 0, 5),
            ("#{ a: 1;", "#{", 0, 7),
            ("f([1)", "[", 2, 4),
            ("if a {\n b();\n", "{", 5, 13),
            ("x \"abc;\n", "\"", 2, 2),
            ("`abc\n ${d", "${", 6, 9),
            ("`abc\n", "`", 0, 5),
            ("1 /* /* */", "/*", 2, 10),
            ("##\"a\"#", "#\"", 0, 6),
            ("a)", "", 1, 1),
            ("fn a() {\n  if b {\n    c();\n}\n", "{", 16, 29),
        ] {
            assert_eq!(unclosed(text), Some((opener, at, noticed)), "{text}");
        }
    }

    #[test]
    fn places_and_ends_are_found() {
        let scan = Scan::of("let a = 1 // b\n/* c */\nlet d\n");
        let second = scan.index(3, 1);
        assert_eq!(scan.word(second), "let");
        let end = scan.end_before(second).unwrap();
        assert_eq!(scan.place(end), (1, 10));
        assert_eq!(scan.index(9, 1), scan.chars.len());
        assert_eq!(scan.place(scan.chars.len()), (4, 1));
        assert_eq!(scan.word_before(5), "a");
        let text = Scan::of("x = `a\nb`c");
        assert_eq!(text.text_before(9), Some(4));
        assert_eq!(text.text_before(4), None);
    }
}
