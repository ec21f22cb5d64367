//! Secrets in a text, in whatever way they are written there.
//!
//! A secret is looked for as it is, in base64 and in hexadecimal digits, and of
//! each every [`spelling`](super::spelling). One pass over the text tells where:
//! a table of the pairs of bytes with which one may begin passes over nearly
//! all of it.

use std::collections::HashSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::spelling::{after_break, beginnings, is_indentation, is_special, readings};

/// How a secret is encoded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Plain,
    /// The characters that the secret alone determines. At an edge a character
    /// may be made of the secret and of what stands beside it.
    Base64 {
        before: bool,
        after: bool,
    },
    Hexadecimal,
}

/// What is looked for.
#[derive(Debug)]
struct Needle {
    bytes: Vec<u8>,
    code: Code,
}

/// What a place in a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// As far as the text goes it may be the beginning of a secret.
    Beginning,
    /// A secret up to there.
    Whole(usize),
}

impl Needle {
    fn fits(&self, index: usize, byte: u8) -> bool {
        let byte = match (self.code, byte) {
            // The alphabet for URLs and file names.
            (Code::Base64 { .. }, b'-') => b'+',
            (Code::Base64 { .. }, b'_') => b'/',
            (Code::Plain | Code::Base64 { .. }, byte) => byte,
            (Code::Hexadecimal, byte) => byte.to_ascii_lowercase(),
        };
        self.bytes[index] == byte
    }

    /// The bytes of a text that may stand at an index as they are.
    fn literals(&self, index: usize) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(move |byte| self.fits(index, *byte))
    }

    fn find(&self, text: &[u8], at: usize) -> Found {
        // Nearly all attempts end here.
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

    /// The same where a byte may be read in several ways.
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

    /// The range with the characters that are made of the secret in part.
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

/// What may stand between the digits of a hexadecimal dump, or indent a line.
const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b':' | b'-')
}

/// Every needle, and where in a text one may begin.
#[derive(Debug)]
pub(super) struct Needles {
    secrets: HashSet<String>,
    lines: HashSet<String>,
    all: Vec<Needle>,
    /// Indices by the byte that a needle begins with.
    by_first: Vec<Vec<usize>>,
    /// One bit for each pair of bytes that may begin one.
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

/// What is found in a text.
#[derive(Debug, Default)]
pub(super) struct Hits {
    /// Where secrets are, in order and apart from each other.
    pub(super) ranges: Vec<Range<usize>>,
    /// From where on the text may go on as a secret.
    pub(super) open_from: Option<usize>,
}

impl Needles {
    /// Whether a secret has been added.
    pub(super) fn has(&self, secret: &str) -> bool {
        self.secrets.contains(secret)
    }

    /// Adds a text as it is, in base64 and in hexadecimal digits.
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

    /// Adds a text as it is alone.
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

    /// Finds every secret. A text that is not whole may end with the beginning
    /// of one: what comes after that is not looked at.
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
                // Also of what is one already and may become a longer one.
                (_, true) if !whole => {
                    // What is covered in part is looked at again with the rest.
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

    /// Whether there is a secret in a text.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let text = text.as_bytes();
        (0..text.len()).any(|at| self.may_begin(text, at) && self.at(text, at).0.is_some())
    }

    /// The longest secret that begins at a place, and whether one may that is
    /// not there to its end.
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
