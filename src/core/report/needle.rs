//! Finds secrets in a text, in many encodings.
//!
//! The search finds a secret in plain text, base64 and hexadecimal digits, each in
//! every [`spelling`](super::spelling). It reads the text once. A table of
//! the pairs of bytes with which a secret may begin skips nearly all of the text.

use std::collections::HashSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::spelling::{after_break, beginnings, is_indentation, is_special, readings};

/// The encoding of a whole secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Plain,
    /// The characters that depend only on the secret. `before` and `after` are set
    /// if the character at that edge also depends on the adjacent text.
    Base64 {
        before: bool,
        after: bool,
    },
    Hexadecimal,
}

/// A byte sequence to search for.
#[derive(Debug)]
struct Needle {
    bytes: Vec<u8>,
    code: Code,
}

/// The result of a search at a position in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// The text ends with what may be the beginning of a secret.
    Beginning,
    /// A secret that ends at this offset.
    Whole(usize),
}

impl Needle {
    fn fits(&self, index: usize, byte: u8) -> bool {
        let byte = match (self.code, byte) {
            // The base64 alphabet for URLs and file names.
            (Code::Base64 { .. }, b'-') => b'+',
            (Code::Base64 { .. }, b'_') => b'/',
            (Code::Plain | Code::Base64 { .. }, byte) => byte,
            (Code::Hexadecimal, byte) => byte.to_ascii_lowercase(),
        };
        self.bytes[index] == byte
    }

    /// Returns the bytes that match at an index without decoding.
    fn literals(&self, index: usize) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(move |byte| self.fits(index, *byte))
    }

    fn find(&self, text: &[u8], at: usize) -> Found {
        // A fast path without backtracking, in which nearly all searches end.
        let (mut index, mut place) = (0, at);
        while index < self.bytes.len() {
            let Some(&byte) = text.get(place) else {
                return Found::Beginning;
            };
            if is_special(byte) || is_separator(byte) {
                return self.search(text, index, place);
            }
            if !self.fits(index, byte) {
                return Found::Nothing;
            }
            (index, place) = (index + 1, place + 1);
        }
        Found::Whole(place)
    }

    /// Continues [`Self::find`] with backtracking, because a byte can have several
    /// readings.
    fn search(&self, text: &[u8], index: usize, place: usize) -> Found {
        let mut open = vec![(index, place)];
        let mut seen = HashSet::new();
        let (mut whole, mut cut) = (None, false);
        while let Some((index, place)) = open.pop() {
            if index == self.bytes.len() {
                whole = whole.max(Some(place));
                continue;
            }
            let Some(&byte) = text.get(place) else {
                cut = true;
                continue;
            };
            if !seen.insert((index, place)) {
                continue;
            }
            if index > 0 {
                open.extend(after_break(text, place).map(|next| (index, next)));
                let in_dump = self.code == Code::Hexadecimal && index.is_multiple_of(2);
                if is_indentation(text, place) || in_dump && is_separator(byte) {
                    open.push((index, place + 1));
                }
            }
            cut |= readings(text, place, &mut |bytes, next| {
                let end = index + bytes.len();
                let fits = end <= self.bytes.len()
                    && bytes.iter().zip(index..).all(|(b, i)| self.fits(i, *b));
                if fits {
                    open.push((end, next));
                }
            });
        }
        match whole {
            Some(end) => Found::Whole(end),
            None if cut => Found::Beginning,
            None => Found::Nothing,
        }
    }

    /// Extends the range by the characters at its edges that partly depend on the
    /// secret.
    fn with_edges(&self, text: &[u8], at: usize, end: usize) -> Range<usize> {
        let Code::Base64 { before, after } = self.code else {
            return at..end;
        };
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
        let start = at - usize::from(before && text[..at].last().is_some_and(is_digit));
        let mut end = end;
        if after && text.get(end).is_some_and(is_digit) {
            end += 1;
        }
        let padding = text[end..].iter().take(2).take_while(|b| **b == b'=');
        start..end + padding.count()
    }
}

/// Returns whether a byte may separate the digits of a hexadecimal dump or indent a
/// line.
const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b':' | b'-')
}

/// All needles, and a table of the byte pairs with which they may begin.
#[derive(Debug)]
pub(super) struct Needles {
    secrets: HashSet<String>,
    lines: HashSet<String>,
    all: Vec<Needle>,
    /// Indices of needles by their first byte.
    by_first: Vec<Vec<usize>>,
    /// A bit for each pair of bytes: whether a needle may begin with it.
    pairs: Vec<u64>,
}

impl Default for Needles {
    fn default() -> Self {
        Self {
            secrets: HashSet::new(),
            lines: HashSet::new(),
            all: Vec::new(),
            by_first: vec![Vec::new(); 256],
            pairs: vec![0; 1024],
        }
    }
}

/// The secrets in a text.
#[derive(Debug, Default)]
pub(super) struct Hits {
    /// The ranges of secrets, in order and without overlaps.
    pub(super) ranges: Vec<Range<usize>>,
    /// Offset of an incomplete secret that more text may complete.
    pub(super) open_from: Option<usize>,
}

impl Needles {
    /// Returns whether a secret has been added.
    pub(super) fn has(&self, secret: &str) -> bool {
        self.secrets.contains(secret)
    }

    /// Adds a text in plain, base64 and hexadecimal form.
    pub(super) fn add(&mut self, secret: &str) {
        if !self.secrets.insert(secret.to_owned()) {
            return;
        }
        self.add_line(secret);
        self.insert(hex::encode(secret).into_bytes(), Code::Hexadecimal);
        for before in 0..3 {
            let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
            let first = (before * 8).div_ceil(6);
            let full = bytes.len() * 8 / 6;
            let code = Code::Base64 {
                before: before > 0,
                after: !bytes.len().is_multiple_of(3),
            };
            let encoded = STANDARD_NO_PAD.encode(&bytes);
            self.insert(encoded[first..full].into(), code);
        }
    }

    /// Adds a text only in plain form.
    pub(super) fn add_line(&mut self, secret: &str) {
        if !self.lines.insert(secret.to_owned()) {
            return;
        }
        self.insert(secret.replace("\r\n", "\n").into_bytes(), Code::Plain);
    }

    fn insert(&mut self, bytes: Vec<u8>, code: Code) {
        let needle = Needle { bytes, code };
        let index = self.all.len();
        for first in needle.literals(0) {
            self.by_first[usize::from(first)].push(index);
            let specials = (0..=u8::MAX).filter(|b| is_special(*b) || is_separator(*b));
            for second in needle.literals(1).chain(specials) {
                set(&mut self.pairs, first, second);
            }
            for pair in beginnings(first) {
                set(&mut self.pairs, pair[0], pair[1]);
            }
        }
        self.all.push(needle);
    }

    fn may_begin(&self, text: &[u8], at: usize) -> bool {
        let first = text[at];
        match text.get(at + 1) {
            Some(&second) => is_set(&self.pairs, first, second),
            None => is_special(first) || !self.by_first[usize::from(first)].is_empty(),
        }
    }

    /// Finds all secrets. If `whole` is false, more text will follow: the search
    /// stops at an incomplete secret.
    pub(super) fn find_in(&self, text: &str, whole: bool) -> Hits {
        let text = text.as_bytes();
        let mut hits = Hits::default();
        if self.all.is_empty() {
            return hits;
        }
        for at in 0..text.len() {
            if !self.may_begin(text, at) {
                continue;
            }
            match self.at(text, at) {
                // Also for a complete secret that may become a longer one.
                (_, true) if !whole => {
                    // An overlapping secret is searched again with the rest.
                    let last = hits.ranges.pop_if(|last| last.end > at);
                    hits.open_from = Some(last.map_or(at, |last| last.start));
                    break;
                }
                (Some(range), _) => hits.cover(range),
                (None, _) => {}
            }
        }
        hits
    }

    /// Returns whether a text contains a secret.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let text = text.as_bytes();
        (0..text.len()).any(|at| self.may_begin(text, at) && self.at(text, at).0.is_some())
    }

    /// Returns the longest secret that begins at an offset, and whether an
    /// incomplete secret may begin there.
    fn at(&self, text: &[u8], at: usize) -> (Option<Range<usize>>, bool) {
        let mut longest: Option<Range<usize>> = None;
        let mut begins = false;
        let cut = readings(text, at, &mut |bytes, _| {
            for index in &self.by_first[usize::from(bytes[0])] {
                let needle = &self.all[*index];
                match needle.find(text, at) {
                    Found::Nothing => {}
                    Found::Beginning => begins = true,
                    Found::Whole(end) => {
                        let range = needle.with_edges(text, at, end);
                        if longest.as_ref().is_none_or(|l| l.end < range.end) {
                            longest = Some(range);
                        }
                    }
                }
            }
        });
        (longest, begins || cut)
    }
}

impl Hits {
    fn cover(&mut self, range: Range<usize>) {
        match self.ranges.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => self.ranges.push(range),
        }
    }
}

fn set(pairs: &mut [u64], first: u8, second: u8) {
    let bit = usize::from(first) << 8 | usize::from(second);
    pairs[bit / 64] |= 1 << (bit % 64);
}

fn is_set(pairs: &[u64], first: u8, second: u8) -> bool {
    let bit = usize::from(first) << 8 | usize::from(second);
    pairs[bit / 64] >> (bit % 64) & 1 == 1
}
