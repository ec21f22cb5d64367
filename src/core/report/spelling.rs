//! The spellings of a text: how it looks after quoting, escaping or encoding in URLs,
//! JSON, HTML and shells, also nested.
//!
//! Decodes one byte at a time, so that it also reads texts in which only some
//! characters are escaped: encoders differ in which characters they escape.

/// The most consecutive backslashes that are decoded: JSON in JSON in JSON.
const DEEPEST: usize = 16;

/// The most levels of percent-encoding, in which `%25` is the `%` of another
/// escape.
const LEVELS: usize = 3;

/// The most blanks that count as indentation. The limit bounds the time of the
/// search.
const WIDEST: usize = 200;

/// The character names that encoders of HTML and XML write.
const ENTITIES: [(&str, u8); 6] = [
    ("amp;", b'&'),
    ("lt;", b'<'),
    ("gt;", b'>'),
    ("quot;", b'"'),
    ("apos;", b'\''),
    ("nbsp;", b' '),
];

/// The spellings of a quote inside quotes of the same kind.
const QUOTES: [(&[u8], u8); 4] = [
    (br"'\''", b'\''),
    (br#"'"'"'"#, b'\''),
    (b"''", b'\''),
    (br#""""#, b'"'),
];

/// Returns whether a byte may begin a spelling of another byte.
pub(super) const fn is_special(byte: u8) -> bool {
    matches!(
        byte,
        b'%' | b'=' | b'\\' | b'&' | b'\'' | b'"' | b'+' | b'\n' | b'\r'
    )
}

/// Returns the pairs of bytes with which a spelling of the byte `meant` may begin.
pub(super) fn beginnings(meant: u8) -> impl Iterator<Item = [u8; 2]> {
    let digit = b"0123456789abcdef"[usize::from(meant >> 4)];
    let may_be = move |special: u8, next: u8| match special {
        b'%' | b'=' => next == b'2' || next.eq_ignore_ascii_case(&digit),
        b'\\' | b'&' => true,
        b'\'' | b'"' => meant == special,
        _ => meant.is_ascii_whitespace(),
    };
    let all = (0..=u8::MAX).filter(|byte| is_special(*byte));
    all.flat_map(move |special| (0..=u8::MAX).map(move |next| [special, next]))
        .filter(move |[special, next]| may_be(*special, *next))
}

/// Calls `read` with each reading of the text at an offset, at least the byte
/// itself, and the offset after it. Returns whether the text ends in the middle of a
/// spelling.
pub(super) fn readings(text: &[u8], at: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let byte = text[at];
    read(&[byte], at + 1);
    match byte {
        b'%' | b'=' => percent(text, at, read),
        b'\\' => backslash(text, at, read),
        b'&' => entity(text, at, read),
        b'\'' | b'"' => quote(text, at, read),
        b'+' => {
            read(b" ", at + 1);
            false
        }
        b'\n' => {
            // A line that was wrapped at a blank.
            read(b" ", at + 1);
            false
        }
        b'\r' if text.get(at + 1) == Some(&b'\n') => {
            read(b"\n", at + 2);
            false
        }
        b'\r' => at + 1 == text.len(),
        _ => false,
    }
}

/// Returns the offset after a line break that may not be part of the text, because
/// a terminal or an encoder has inserted it.
pub(super) fn after_break(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    // The line continuation of a shell, and of quoted-printable.
    let marked = usize::from(matches!(rest, [b'\\' | b'=', b'\n' | b'\r', ..]));
    let returned = usize::from(rest[marked..].starts_with(b"\r\n"));
    let newline = at + marked + returned;
    (text.get(newline) == Some(&b'\n')).then_some(newline + 1)
}

/// Returns whether a blank is at the beginning of a line, where it may not be part
/// of the text.
pub(super) fn is_indentation(text: &[u8], at: usize) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut before = text[..at].iter().rev().take(WIDEST);
    is_blank(&text[at]) && before.find(|byte| !is_blank(byte)) == Some(&b'\n')
}

/// Reads `%2F`, `%252F`, and `=2F` of quoted-printable.
fn percent(text: &[u8], at: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    for level in 0..=LEVELS {
        let from = at + 1 + 2 * level;
        let digits = &text[from.min(text.len())..text.len().min(from + 2)];
        if digits.len() < 2 {
            return digits.iter().all(u8::is_ascii_hexdigit);
        }
        let Some(value) = number(digits, 16) else {
            return false;
        };
        read(&[low_byte(value)], from + 2);
        if digits != b"25" {
            return false;
        }
    }
    false
}

/// Reads `\n`, `\"`, `\x2f`, `\057`, `\u002f`, `\u{2f}` and `\U0000002f`, each with
/// any number of additional backslashes.
fn backslash(text: &[u8], at: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let run = text[at..].iter().take(DEEPEST);
    let run = run.take_while(|b| **b == b'\\').count();
    for doubled in [2, 4, 8, 16].into_iter().filter(|n| *n <= run) {
        read(br"\", at + doubled);
    }
    let letter = at + run;
    let Some(&what) = text.get(letter) else {
        return true;
    };
    let next = letter + 1;
    match what {
        b'n' => read(b"\n", next),
        b'r' => read(b"\r", next),
        b't' => read(b"\t", next),
        b'b' => read(b"\x08", next),
        b'f' => read(b"\x0c", next),
        b'v' => read(b"\x0b", next),
        b'a' => read(b"\x07", next),
        b'e' | b'E' => read(b"\x1b", next),
        b'x' => return hexadecimal(text, next, 2, read),
        b'u' if text.get(next) == Some(&b'{') => return braced(text, next + 1, read),
        b'u' => return utf16(text, next, run, read),
        b'U' => return hexadecimal(text, next, 8, read),
        b'0'..=b'7' => return octal(text, letter, read),
        other if other.is_ascii_punctuation() || other == b' ' => read(&[other], next),
        _ => {}
    }
    false
}

/// Reads up to `most` digits: a byte, or a character by its number.
fn hexadecimal(text: &[u8], at: usize, most: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let digits = digits(text, at, most, 16);
    let end = at + digits.len();
    if let Some(value) = number(digits, 16) {
        if value <= 0xff {
            read(&[low_byte(value)], end);
        }
        if value > 0x7f {
            character(value, end, read);
        }
    }
    end == text.len() && digits.len() < most
}

/// Reads `2f}`.
fn braced(text: &[u8], at: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let digits = digits(text, at, 6, 16);
    let end = at + digits.len();
    match (text.get(end), number(digits, 16)) {
        (Some(b'}'), Some(value)) => character(value, end + 1, read),
        (None, _) => return true,
        _ => {}
    }
    false
}

/// Reads four digits, or a surrogate pair of two times four digits.
fn utf16(text: &[u8], at: usize, run: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let unit = |at: usize| {
        let digits = digits(text, at, 4, 16);
        number(digits, 16).filter(|_| digits.len() == 4)
    };
    let Some(high) = unit(at) else {
        return at + digits(text, at, 4, 16).len() == text.len();
    };
    if !(0xd800..0xdc00).contains(&high) {
        character(high, at + 4, read);
        return false;
    }
    let second = at + 4 + run + 1;
    if second + 4 > text.len() {
        return true;
    }
    if let Some(low @ 0xdc00..0xe000) = unit(second) {
        let value = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        character(value, second + 4, read);
    }
    false
}

fn octal(text: &[u8], at: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let digits = digits(text, at, 3, 8);
    let end = at + digits.len();
    if let Some(value @ 0..=0xff) = number(digits, 8) {
        read(&[low_byte(value)], end);
    }
    end == text.len() && digits.len() < 3
}

/// Reads `&amp;`, `&#39;` and `&#x27;`, with any number of `amp;` in between.
fn entity(text: &[u8], at: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let mut rest = &text[at + 1..];
    loop {
        let here = text.len() - rest.len();
        for (name, byte) in ENTITIES {
            if rest.starts_with(name.as_bytes()) {
                read(&[byte], here + name.len());
            }
        }
        if let [b'#', numeric @ ..] = rest {
            let (radix, skip) = match numeric {
                [b'x' | b'X', ..] => (16, 1),
                _ => (10, 0),
            };
            let from = here + 1 + skip;
            let digits = digits(text, from, 8, radix);
            let end = from + digits.len();
            match (text.get(end), number(digits, radix)) {
                (Some(b';'), Some(value)) => character(value, end + 1, read),
                (None, _) => return true,
                _ => {}
            }
        }
        let half = |name: &str| name.len() > rest.len() && name.as_bytes().starts_with(rest);
        if ENTITIES.iter().any(|(name, _)| half(name)) {
            return true;
        }
        match rest.strip_prefix(b"amp;") {
            Some(inner) => rest = inner,
            None => return false,
        }
    }
}

fn quote(text: &[u8], at: usize, read: &mut impl FnMut(&[u8], usize)) -> bool {
    let rest = &text[at..];
    let mut cut = false;
    for (spelling, byte) in QUOTES {
        if rest.starts_with(spelling) {
            read(&[byte], at + spelling.len());
        }
        cut |= spelling.len() > rest.len() && spelling.starts_with(rest);
    }
    cut
}

fn digits(text: &[u8], at: usize, most: usize, radix: u32) -> &[u8] {
    let rest = &text[at.min(text.len())..];
    let count = rest.iter().take(most);
    let count = count.take_while(|b| char::from(**b).is_digit(radix));
    &rest[..count.count()]
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// Returns the lowest byte of a number.
fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

fn character(value: u32, end: usize, read: &mut impl FnMut(&[u8], usize)) {
    if let Some(c) = char::from_u32(value) {
        read(c.encode_utf8(&mut [0; 4]).as_bytes(), end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<(Vec<u8>, usize)>, bool) {
        let mut found = Vec::new();
        let cut = readings(text.as_bytes(), 0, &mut |bytes, end| {
            found.push((bytes.to_vec(), end));
        });
        (found, cut)
    }

    #[test]
    fn a_spelling_is_read_to_its_end() {
        for (text, meant) in [
            ("%2F", "/"),
            ("%2f", "/"),
            ("%25252f", "/"),
            ("=2F", "/"),
            ("+", " "),
            ("\\u002f", "/"),
            ("\\u{1b}", "\u{1b}"),
            ("\\\\u00e9", "é"),
            ("\\ud83d\\ude00", "😀"),
            ("\\U0001F600", "😀"),
            ("\\xe9", "é"),
            ("\\057", "/"),
            ("\\\"", "\""),
            ("\\\\\\\"", "\""),
            ("\\n", "\n"),
            ("\\\\", "\\"),
            ("\\$", "$"),
            ("&amp;lt;", "<"),
            ("&#39;", "'"),
            ("&#x27;", "'"),
            ("'\\''", "'"),
            ("'\"'\"'", "'"),
            ("\"\"", "\""),
            ("\n", " "),
            ("\r\n", "\n"),
        ] {
            let wanted = (meant.as_bytes().to_vec(), text.len());
            assert!(all(text).0.contains(&wanted), "{text:?}: {:?}", all(text));
        }
    }

    #[test]
    fn an_incomplete_spelling_is_reported() {
        for half in [
            "%",
            "%2",
            "%25",
            "%252",
            "=",
            "\\",
            "\\\\",
            "\\u",
            "\\u00",
            "\\u{1",
            "\\ud83d\\u",
            "\\x",
            "\\05",
            "&",
            "&am",
            "&amp;l",
            "&#3",
            "'",
            "'\\",
            "\"",
            "\r",
        ] {
            assert!(all(half).1, "{half:?}");
        }
        for whole in [
            "a", "%2F", "%zz", "\\n", "&lt;", "& b", "'a", "+", "\\u002f",
        ] {
            assert!(!all(whole).1, "{whole:?}");
        }
    }
}
