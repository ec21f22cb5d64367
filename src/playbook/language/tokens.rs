//! The tokens of a text, and how its brackets nest. Every text has tokens, also one
//! that does not compile.

use std::ops::Range;

use crate::playbook::scan::{Part, Scan};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    /// Text in quotes. A text with values in it is several tokens.
    Text,
    Symbol,
}

/// A part of the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Its first character.
    pub(super) start: usize,
    /// The character after it.
    pub(super) end: usize,
    /// The token of the innermost bracket around it.
    pub(super) parent: Option<usize>,
    /// The bracket that closes this one.
    pub(super) closer: Option<usize>,
}

/// The tokens of a text.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) scan: Scan,
    pub(super) all: Vec<Token>,
}

/// Symbols of several characters, longest first.
const SYMBOLS: [&str; 17] = [
    "..=", "::", "#{", "=>", "==", "!=", "<=", ">=", "&&", "||", "??", "?.", "..", "+=", "-=",
    "*=", "/=",
];

impl Tokens {
    pub(super) fn of(text: &str) -> Self {
        let scan = Scan::of(text);
        let mut all = Vec::new();
        let mut at = 0;
        while at < scan.chars.len() {
            let (kind, end) = match scan.part(at) {
                Part::Comment => {
                    at += 1;
                    continue;
                }
                Part::Text => (
                    Kind::Text,
                    end_of(at, |at| scan.part(at) == Part::Text, &scan),
                ),
                Part::Code => match scan.chars[at] {
                    c if c.is_whitespace() => {
                        at += 1;
                        continue;
                    }
                    c if c.is_ascii_digit() => (Kind::Number, number(&scan, at)),
                    c if is_word(c) => (Kind::Word, word(&scan, at)),
                    _ => (Kind::Symbol, at + symbol(&scan, at)),
                },
            };
            all.push(Token {
                kind,
                start: at,
                end,
                parent: None,
                closer: None,
            });
            at = end;
        }
        let mut tokens = Self { scan, all };
        tokens.nest();
        tokens
    }

    /// Finds the bracket around each token, and the end of each bracket.
    fn nest(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.all.len() {
            let Token {
                start, end, kind, ..
            } = self.all[at];
            let c = self.scan.chars[start];
            match (kind, c) {
                // Functions are declared outside of all blocks.
                (Kind::Word, 'f') if self.is(at, "fn") && self.is_first_of_line(start) => {
                    open.clear();
                }
                // A statement cannot end inside brackets of other kinds.
                (Kind::Symbol, ';') => {
                    while open.last().is_some_and(|top| !self.is(*top, "{")) {
                        open.pop();
                    }
                }
                (Kind::Symbol, ')' | ']' | '}') => {
                    if let Some(depth) = self.opener(&open, c) {
                        self.all[open[depth]].closer = Some(at);
                        open.truncate(depth);
                    }
                }
                _ => {}
            }
            self.all[at].parent = open.last().copied();
            let is_map = c == '#' && end - start == 2;
            if kind == Kind::Symbol && (is_map || matches!(c, '(' | '[' | '{')) {
                open.push(at);
            }
        }
    }

    /// Returns the position in `open` of the bracket that `c` closes. A parenthesis does
    /// not close one around a block: it is more probably one too many.
    fn opener(&self, open: &[usize], c: char) -> Option<usize> {
        for (depth, at) in open.iter().enumerate().rev() {
            match (c, self.scan.chars[self.all[*at].start]) {
                (')', '(') | (']', '[') | ('}', '{' | '#') => return Some(depth),
                (')' | ']', '{') => return None,
                _ => {}
            }
        }
        None
    }

    fn is_first_of_line(&self, at: usize) -> bool {
        at == 0 || self.scan.chars[at - 1] == '\n'
    }

    /// Returns the characters of a token.
    pub(super) fn text(&self, at: usize) -> String {
        let Some(token) = self.all.get(at) else {
            return String::new();
        };
        self.slice(token.start..token.end)
    }

    /// Returns these characters.
    pub(super) fn slice(&self, chars: Range<usize>) -> String {
        let chars = self.scan.chars.get(chars).unwrap_or_default();
        chars.iter().collect()
    }

    /// Returns whether a token has this text.
    pub(super) fn is(&self, at: usize, text: &str) -> bool {
        let Some(token) = self.all.get(at) else {
            return false;
        };
        let chars = &self.scan.chars[token.start..token.end];
        token.kind != Kind::Text && chars.iter().copied().eq(text.chars())
    }

    /// Returns whether a token is a word.
    pub(super) fn is_word(&self, at: usize) -> bool {
        self.kind(at) == Some(Kind::Word)
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.all.get(at).map(|token| token.kind)
    }

    /// Returns the number of tokens that begin before this character.
    pub(super) fn before(&self, at: usize) -> usize {
        self.all.partition_point(|token| token.start < at)
    }

    /// Returns the token that this character belongs to.
    pub(super) fn at(&self, at: usize) -> Option<usize> {
        let index = self.before(at + 1).checked_sub(1)?;
        (self.all[index].end > at).then_some(index)
    }

    /// Returns where the block around a token ends.
    pub(super) fn end_of_block(&self, at: usize) -> usize {
        let mut parent = self.all[at].parent;
        while let Some(outer) = parent {
            if self.is(outer, "{") {
                return self.end_of_bracket(outer);
            }
            parent = self.all[outer].parent;
        }
        self.scan.chars.len()
    }

    /// Returns where a bracket ends.
    pub(super) fn end_of_bracket(&self, opener: usize) -> usize {
        let closer = self.all[opener].closer;
        closer.map_or(self.scan.chars.len(), |closer| self.all[closer].start)
    }

    /// Returns the content of a text in quotes, without escapes, if it has no values in
    /// it.
    pub(super) fn content(&self, at: usize) -> Option<String> {
        let token = self.all.get(at).filter(|token| token.kind == Kind::Text)?;
        let text = self.slice(token.start..token.end);
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '`'))?;
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(['\\', '$'])).then(|| inner.to_owned())
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the end of the characters that belong together.
fn end_of(start: usize, belongs: impl Fn(usize) -> bool, scan: &Scan) -> usize {
    let mut rest = start + 1..scan.chars.len();
    rest.find(|at| !belongs(*at)).unwrap_or(scan.chars.len())
}

fn word(scan: &Scan, at: usize) -> usize {
    let belongs = |at: usize| scan.part(at) == Part::Code && is_word(scan.chars[at]);
    end_of(at, belongs, scan)
}

/// Returns the end of a number: `1.5`, but not `1..5` or `1.max`.
fn number(scan: &Scan, at: usize) -> usize {
    let end = word(scan, at);
    let is_fraction = scan.is_at(end, ".")
        && scan.part(end) == Part::Code
        && scan.chars.get(end + 1).is_some_and(char::is_ascii_digit);
    if is_fraction {
        word(scan, end + 1)
    } else {
        end
    }
}

fn symbol(scan: &Scan, at: usize) -> usize {
    let first = scan.chars[at];
    let is_here = |symbol: &&&str| symbol.starts_with(first) && scan.is_at(at, symbol);
    let found = SYMBOLS.iter().find(is_here);
    // A symbol ends where a text or a comment begins.
    let length = found.map_or(1, |symbol| symbol.len());
    let is_code = |at: &usize| scan.part(*at) == Part::Code;
    (at..at + length).take_while(is_code).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let tokens = Tokens::of(text);
        (0..tokens.all.len()).map(|at| tokens.text(at)).collect()
    }

    #[test]
    fn a_text_is_split_into_tokens() {
        assert_eq!(
            shown("let a = f(1.5, \"b c\")?.d; // e\n0..=9"),
            [
                "let", "a", "=", "f", "(", "1.5", ",", "\"b c\"", ")", "?.", "d", ";", "0", "..=",
                "9"
            ]
        );
        assert_eq!(shown("`a ${ b } c`"), ["`a ${", "b", "} c`"]);
        assert_eq!(shown("#{ a: x::y() }")[..4], ["#{", "a", ":", "x"]);
        assert_eq!(shown(""), Vec::<String>::new());
    }

    #[test]
    fn brackets_nest_although_some_are_not_closed() {
        let around = |text: &str, word: &str| {
            let tokens = Tokens::of(text);
            let at = (0..tokens.all.len()).find(|at| tokens.is(*at, word));
            let parent = tokens.all[at.unwrap()].parent;
            parent.map(|parent| tokens.text(parent))
        };
        assert_eq!(around("f(#{ a: [x] })", "x").as_deref(), Some("["));
        assert_eq!(around("f(#{ a: 1 }, x", "x").as_deref(), Some("("));
        assert_eq!(around("{ f(1; x }", "x").as_deref(), Some("{"));
        assert_eq!(around("if a { f(\nfn x() {}", "x"), None);
        assert_eq!(around("f({ a) x })", "x").as_deref(), Some("{"));
    }
}
