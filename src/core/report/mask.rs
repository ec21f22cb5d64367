//! Masks secrets: replaces known values and well-known patterns before any output
//! is written.

use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard};

use regex_lite::Regex;

use super::needle::Needles;
use crate::error::{Error, Result};

/// The replacement of a secret.
pub const MASK: &str = "****";

/// The least number of characters of a secret, without surrounding whitespace. A
/// shorter secret cannot be distinguished from ordinary words and is easily guessed.
pub const SHORTEST: usize = 6;

/// Returns whether a text is too short to be a secret.
#[must_use]
pub fn is_too_short(secret: &str) -> bool {
    secret.trim().chars().nth(SHORTEST - 1).is_none()
}

/// Patterns that are always secret: private keys, signatures of presigned URLs,
/// and AWS credentials.
static SHAPES: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
    let shape = |pattern| Regex::new(pattern).expect("the pattern is a constant");
    [
        (
            shape(
                r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|$)",
            ),
            "$1****$2",
        ),
        (
            shape(r"((?:X-Amz-Signature|X-Amz-Security-Token|[?&]Signature)=)[^&\s\x22'<>]+"),
            "$1****",
        ),
        (
            shape(
                r"(?i)(aws_(?:secret_access_key|session_token)[\s\x22']*[=:][\s\x22']*)[^\s\x22']+",
            ),
            "$1****",
        ),
    ]
});

/// The least number of bytes after the first line of a private key.
const SHORTEST_KEY: usize = 64;

/// Substrings of all texts that match one of the patterns. Searching for them is
/// cheaper than matching the patterns.
const SIGNS: [&str; 5] = ["PRIVATE KEY", "ignature=", "-Token=", "aws_s", "AWS_S"];

/// The secrets of a run. A secret is masked from the moment when it is added.
#[derive(Debug, Default)]
pub struct Mask {
    needles: RwLock<Needles>,
}

impl Mask {
    /// Adds a secret and its single lines. Ignores texts for which
    /// [`is_too_short`] is true.
    pub fn add(&self, secret: &str) {
        let secret = secret.trim();
        if is_too_short(secret) || self.needles().has(secret) {
            return;
        }
        let mut needles = self.needles.write().unwrap_or_else(PoisonError::into_inner);
        needles.add(secret);
        let lines = secret.lines().map(str::trim);
        lines
            .filter(|line| !is_too_short(line))
            .for_each(|line| needles.add_line(line));
    }

    /// Adds every string and number in a value.
    pub fn add_json(&self, value: &serde_json::Value) {
        match value {
            serde_json::Value::String(text) => self.add(text),
            serde_json::Value::Number(number) => self.add(&number.to_string()),
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.add_json(item)),
            serde_json::Value::Object(map) => map.values().for_each(|item| self.add_json(item)),
            _ => {}
        }
    }

    fn needles(&self) -> RwLockReadGuard<'_, Needles> {
        self.needles.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the text contains a private key or an added secret, in any
    /// encoding.
    pub fn finds_in(&self, text: &str) -> bool {
        let is_key = |end: &str| end.len() > SHORTEST_KEY;
        let mut ends = text.split("PRIVATE KEY-----").skip(1);
        ends.any(is_key) || self.needles().are_in(text)
    }

    /// Fails if a text that others can read contains a secret: a name, a tag, or
    /// the arguments of a program. `what` names the text.
    pub fn keep_out_of(&self, what: &str, text: &str) -> Result<()> {
        if self.finds_in(text) {
            return Err(Error::invalid(format!("{what} contains a secret")));
        }
        Ok(())
    }

    /// Like [`Self::keep_out_of`], for tags.
    pub fn keep_out_of_tags<'a>(
        &self,
        tags: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<()> {
        let checked = tags.into_iter().try_for_each(|(key, value)| {
            self.keep_out_of("the key of a tag", key)?;
            self.keep_out_of(&format!("the tag `{key}`"), value)
        });
        checked.map_err(|error| {
            error.hint("pass the secret in another way: tags are visible to others")
        })
    }

    /// Returns the text with its secrets masked.
    pub fn apply(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut at = 0;
        for range in self.needles().find_in(text, true).ranges {
            shown.push_str(&text[at..range.start]);
            shown.push_str(MASK);
            at = range.end;
        }
        shown.push_str(&text[at..]);
        without_shapes(shown)
    }

    /// Masks every string and number in a JSON value.
    pub fn apply_json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.apply(text),
            serde_json::Value::Number(number) if self.apply(&number.to_string()) == MASK => {
                *value = MASK.into();
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|v| self.apply_json(v)),
            serde_json::Value::Object(map) => {
                let entries = std::mem::take(map).into_iter();
                map.extend(entries.map(|(key, mut value)| {
                    self.apply_json(&mut value);
                    (self.apply(&key), value)
                }));
            }
            _ => {}
        }
    }
}

fn without_shapes(mut text: String) -> String {
    if SIGNS.iter().any(|sign| text.contains(sign)) {
        for (shape, replacement) in SHAPES.iter() {
            text = shape.replace_all(&text, *replacement).into_owned();
        }
    }
    text
}

/// Masks a text that arrives in pieces. Holds back only what may be the beginning
/// of a secret.
#[derive(Debug, Default)]
pub struct PieceMask {
    held: String,
    /// How many bytes of `held` have already been returned.
    returned: usize,
}

impl PieceMask {
    /// Takes the next piece. Returns the text that can be shown.
    pub fn take(&mut self, mask: &Mask, piece: &str) -> String {
        self.held.push_str(piece);
        self.release(mask, false)
    }

    /// Ends the text. Returns the rest.
    pub fn finish(&mut self, mask: &Mask) -> String {
        self.release(mask, true)
    }

    /// Returns the text that is held back, because no piece has arrived for a while.
    /// Returns a mask instead if the text would reveal a secret. If the rest of the
    /// secret arrives later, it is still masked.
    pub fn flush(&mut self) -> String {
        let rest = &self.held[self.returned..];
        let shown = if is_too_short(&self.held) {
            rest.to_owned()
        } else if rest.ends_with('\n') {
            format!("{MASK}\n")
        } else {
            MASK.to_owned()
        };
        self.returned = self.held.len();
        shown
    }

    /// Returns whether text is held back.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.returned < self.held.len()
    }

    fn release(&mut self, mask: &Mask, whole: bool) -> String {
        let hits = mask.needles().find_in(&self.held, whole);
        let end = hits.open_from.unwrap_or(self.held.len());
        let mut shown = String::new();
        let mut at = self.returned;
        // Skip secrets that `flush` has already returned.
        let returned = self.returned;
        for range in hits.ranges.into_iter().filter(|range| range.end > returned) {
            shown.push_str(self.held.get(at..range.start).unwrap_or_default());
            shown.push_str(MASK);
            at = range.end;
        }
        shown.push_str(self.held.get(at..end).unwrap_or_default());
        self.returned = at.max(end) - end;
        self.held.drain(..end);
        shown
    }
}

/// Masks private keys in text that arrives line by line.
#[derive(Debug, Default)]
pub struct LineMask {
    in_key: bool,
}

impl LineMask {
    /// Returns the line, or the mask if the line is inside a private key.
    pub fn apply<'a>(&mut self, line: &'a str) -> &'a str {
        let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
        let ends = line.contains("-----END ") && line.contains("PRIVATE KEY-----");
        let shown = if self.in_key && !ends { MASK } else { line };
        self.in_key = (self.in_key || begins) && !ends;
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_and_their_lines_are_masked() {
        let mask = Mask::default();
        mask.add("line one\nline two");
        mask.add("abc");
        assert_eq!(mask.apply("say: line two!"), "say: ****!");
        assert_eq!(mask.apply("abcdef"), "abcdef", "too short to mask");
    }

    #[test]
    fn a_secret_is_masked_in_the_syntax_of_json_and_rhai() {
        let mask = Mask::default();
        mask.add("a\"b\\c\u{1b}d");
        let mut value = serde_json::json!({ "a\"b\\c\u{1b}d": ["a\"b\\c\u{1b}d"] });
        assert_eq!(mask.apply(&format!("{:?}", "a\"b\\c\u{1b}d")), "\"****\"");
        assert_eq!(mask.apply(&value.to_string()), r#"{"****":["****"]}"#);
        mask.apply_json(&mut value);
        assert_eq!(value, serde_json::json!({ "****": ["****"] }));
        mask.add("123456");
        let mut value = serde_json::json!([123_456, 0.123_456, 12]);
        mask.apply_json(&mut value);
        assert_eq!(value, serde_json::json!(["****", 0.123_456, 12]));
    }

    #[test]
    fn private_keys_and_signatures_are_masked() {
        let mask = Mask::default();
        let key =
            "x -----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY----- y";
        assert_eq!(
            mask.apply(key),
            "x -----BEGIN OPENSSH PRIVATE KEY-----****-----END OPENSSH PRIVATE KEY----- y"
        );
        assert_eq!(
            mask.apply("https://b/k?X-Amz-Date=1&X-Amz-Signature=0af3&x=1"),
            "https://b/k?X-Amz-Date=1&X-Amz-Signature=****&x=1"
        );
    }

    #[test]
    fn credentials_in_common_formats_are_masked() {
        let mask = Mask::default();
        for (text, shown) in [
            (
                "aws_secret_access_key = wJalr/x+\n",
                "aws_secret_access_key = ****\n",
            ),
            ("AWS_SESSION_TOKEN=abc", "AWS_SESSION_TOKEN=****"),
            (
                "\"aws_secret_access_key\": \"x\"",
                "\"aws_secret_access_key\": \"****\"",
            ),
        ] {
            assert_eq!(mask.apply(text), shown);
        }
    }

    /// Returns the secret in every encoding that these tests know.
    fn spellings(secret: &str) -> Vec<(&'static str, String)> {
        use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
        const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&');
        let each = |spell: &dyn Fn(char) -> String| secret.chars().map(spell).collect::<String>();
        let bytes = |spell: &dyn Fn(u8) -> String| secret.bytes().map(spell).collect::<String>();
        let json = serde_json::Value::from(secret).to_string();
        let ascii = |c: char| match c {
            ' '..='~' if !r#"\"/"#.contains(c) => c.to_string(),
            c => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect::<Vec<_>>()
                .concat(),
        };
        let punctuation = |c: char| match c {
            '\n' => "$'\\n'".to_owned(),
            c if c.is_ascii_punctuation() || c == ' ' => format!("\\{c}"),
            c => c.to_string(),
        };
        let html = |c: char| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#x27;".to_owned(),
            '/' => "&#x2f;".to_owned(),
            c => c.to_string(),
        };
        let twice = |c: char| html(c).replace('&', "&amp;");
        let bash = |b: u8| match b {
            b'\'' | b'\\' => format!("\\{}", char::from(b)),
            b' '..=b'~' => char::from(b).to_string(),
            b => format!("\\{b:03o}"),
        };
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let mut all = vec![
            ("plain", secret.to_owned()),
            ("percent", percent.clone()),
            ("percent in lower case", percent.to_lowercase_escapes()),
            ("form", percent.replace("%20", "+")),
            ("query", utf8_percent_encode(secret, QUERY).to_string()),
            ("percent, every byte", bytes(&|b| format!("%{b:02X}"))),
            (
                "percent, every byte, lower",
                bytes(&|b| format!("%{b:02x}")),
            ),
            ("percent twice", percent.replace('%', "%25")),
            ("quoted-printable", bytes(&|b| format!("={b:02X}"))),
            ("json", json.clone()),
            ("json in json", serde_json::Value::from(json).to_string()),
            ("json of python", each(&ascii)),
            ("rust and rhai", format!("{secret:?}")),
            ("rust, only ascii", secret.escape_default().to_string()),
            ("bytes of python", bytes(&|b| format!("\\x{b:02x}"))),
            ("toml", toml::Value::from(secret).to_string()),
            ("shell", shell_words::quote(secret).into_owned()),
            (
                "shell, double",
                format!("'{}'", secret.replace('\'', "'\"'\"'")),
            ),
            (
                "shell, backslashes",
                each(&punctuation).replace("$'\\n'", "\n"),
            ),
            ("shell, $''", format!("$'{}'", bytes(&bash))),
            ("sql", format!("'{}'", secret.replace('\'', "''"))),
            ("csv", format!("\"{}\"", secret.replace('"', "\"\""))),
            ("html", each(&html)),
            ("html in html", each(&twice)),
            ("html, decimal", each(&|c| format!("&#{};", u32::from(c)))),
            (
                "html, hexadecimal",
                each(&|c| format!("&#x{:X};", u32::from(c))),
            ),
            ("hex", bytes(&|b| format!("{b:02x}"))),
            ("HEX", bytes(&|b| format!("{b:02X}"))),
            ("hex:hex", bytes(&|b| format!("{b:02x}:"))),
            ("hex dump", bytes(&|b| format!(" {b:02x}"))),
            ("indented", secret.replace('\n', "\n      ")),
            ("dos lines", secret.replace('\n', "\r\n")),
        ];
        all.extend(in_base64(secret));
        all
    }

    fn in_base64(secret: &str) -> Vec<(&'static str, String)> {
        use base64::engine::general_purpose::{
            STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
        };
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let mut all = Vec::new();
        for (name, engine) in [
            ("base64", &STANDARD as &dyn Fn64),
            ("base64, not padded", &STANDARD_NO_PAD),
            ("base64 for URLs", &URL_SAFE),
            ("base64 for URLs, not padded", &URL_SAFE_NO_PAD),
        ] {
            for (before, after) in ["", "x", "xy"]
                .iter()
                .flat_map(|b| ["", "z"].map(|a| (b, a)))
            {
                all.push((name, engine.spell(&format!("{before}{secret}{after}"))));
            }
            let encoded = engine.spell(secret);
            all.push((
                name,
                utf8_percent_encode(&encoded, NON_ALPHANUMERIC).to_string(),
            ));
        }
        all
    }

    trait Fn64 {
        fn spell(&self, text: &str) -> String;
    }

    impl<E: base64::Engine> Fn64 for E {
        fn spell(&self, text: &str) -> String {
            self.encode(text)
        }
    }

    trait Lower {
        fn to_lowercase_escapes(&self) -> String;
    }

    impl Lower for String {
        fn to_lowercase_escapes(&self) -> String {
            let mut parts = self.split('%');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |all, part| {
                format!("{all}%{}{}", part[..2].to_lowercase(), &part[2..])
            })
        }
    }

    /// Returns the number of visible characters.
    fn visible(text: &str) -> usize {
        let shown = text.replace(MASK, "");
        shown.chars().filter(|c| !c.is_whitespace()).count()
    }

    /// Checks that at most a few quotes and digits are left around the mask.
    fn assert_masked(mask: &Mask, secret: &str, name: &str, spelt: &str) {
        let shown = mask.apply(&format!("before {spelt} after"));
        let left = shown
            .strip_prefix("before ")
            .and_then(|left| left.strip_suffix(" after"));
        let left = left.map_or(usize::MAX, visible);
        assert!(
            left <= 7 && shown.contains(MASK),
            "{secret:?} as {name}: {spelt:?}: {shown:?}"
        );
        assert!(mask.finds_in(spelt), "{secret:?} as {name}: {spelt:?}");
    }

    #[test]
    fn a_secret_is_masked_in_every_encoding() {
        for secret in [
            "hunter",
            "correct horse battery",
            r#"it's "q" & \ <b>/$x`!"#,
            "line one\nline two, indented\nline three",
            "pässwörter-日本-😀",
            "a+b/c=d%20e",
            ".*[^a](b|c){2}$",
            "\\\\\\\\\\\\",
            "'''\"\"'''\"\"",
            "%25%25%41",
            "&amp;&lt;x",
        ] {
            let mask = Mask::default();
            mask.add(secret);
            for (name, spelt) in spellings(secret) {
                assert_masked(&mask, secret, name, &spelt);
            }
        }
    }

    /// Creates a random generator. A failed assertion shows its seed.
    fn seeded() -> (u64, rand::rngs::StdRng) {
        use rand::SeedableRng as _;
        let seed = match std::env::var("AUTORUN_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => rand::random(),
        };
        (seed, rand::rngs::StdRng::seed_from_u64(seed))
    }

    fn any_secret(random: &mut impl rand::RngExt) -> String {
        const ODD: [char; 14] = [
            '\n', '\t', '\u{1b}', '\u{7f}', 'é', 'ß', '中', '😀', '\u{301}', '\u{a0}', '\'', '"',
            '\\', '%',
        ];
        loop {
            let length = random.random_range(6..40);
            let mut any = || match random.random_range(0..4) {
                0 => ODD[random.random_range(0..ODD.len())],
                _ => char::from(random.random_range(b' '..=b'~')),
            };
            let secret: String = (0..length).map(|_| any()).collect();
            if !is_too_short(&secret) {
                return secret.trim().to_owned();
            }
        }
    }

    #[test]
    fn any_secret_is_masked_in_every_encoding() {
        let (seed, mut random) = seeded();
        for _ in 0..60 {
            let secret = any_secret(&mut random);
            let mask = Mask::default();
            mask.add(&secret);
            for (name, spelt) in spellings(&secret) {
                assert_masked(&mask, &secret, &format!("{name} (seed {seed})"), &spelt);
            }
        }
    }

    #[test]
    fn any_secret_is_masked_across_line_breaks() {
        use rand::RngExt as _;
        let (seed, mut random) = seeded();
        for _ in 0..40 {
            let secret = any_secret(&mut random);
            let mask = Mask::default();
            mask.add(&secret);
            for (name, spelt) in [
                ("plain", secret.clone()),
                (
                    "hex",
                    spellings(&secret)
                        .into_iter()
                        .find(|s| s.0 == "hex")
                        .unwrap()
                        .1,
                ),
                (
                    "base64",
                    spellings(&secret)
                        .into_iter()
                        .find(|s| s.0 == "base64")
                        .unwrap()
                        .1,
                ),
            ] {
                let characters: Vec<char> = spelt.chars().collect();
                let width = random.random_range(3..20);
                let lines = characters
                    .chunks(width)
                    .map(|c| c.iter().collect::<String>());
                let indent = " ".repeat(random.random_range(0..5));
                let broken = lines.collect::<Vec<_>>().join(&format!("\n{indent}"));
                assert_masked(
                    &mask,
                    &secret,
                    &format!("{name}, broken (seed {seed})"),
                    &broken,
                );
            }
        }
    }

    #[test]
    fn any_secret_is_masked_in_pieces() {
        use rand::RngExt as _;
        let (seed, mut random) = seeded();
        for _ in 0..40 {
            let secret = any_secret(&mut random);
            let mask = Mask::default();
            mask.add(&secret);
            for (name, spelt) in spellings(&secret) {
                let text = format!("before {spelt} between\n {spelt}\nafter\n");
                let mut pieces = PieceMask::default();
                let (mut rest, mut shown) = (text.as_str(), String::new());
                while !rest.is_empty() {
                    let length =
                        rest.ceil_char_boundary(random.random_range(1..12).min(rest.len()));
                    let (piece, next) = rest.split_at(length);
                    shown.push_str(&pieces.take(&mask, piece));
                    rest = next;
                }
                shown.push_str(&pieces.finish(&mask));
                let around = visible(&text) - 2 * visible(&spelt);
                assert!(
                    visible(&shown) <= around + 2 * 7,
                    "{secret:?} as {name} (seed {seed}): {text:?}: {shown:?}"
                );
            }
        }
    }

    #[test]
    fn ordinary_text_is_not_held_back() {
        let mask = Mask::default();
        mask.add("hunter22");
        let mut pieces = PieceMask::default();
        assert_eq!(pieces.take(&mask, "abc\n"), "abc\n");
        assert_eq!(pieces.take(&mask, "the hunt"), "the ");
        assert!(pieces.holds());
        assert_eq!(pieces.take(&mask, " is on\n"), "hunt is on\n");
        assert_eq!(pieces.take(&mask, "a hunter\n"), "a ");
        assert_eq!(pieces.take(&mask, "22 b\n"), "**** b\n");
        assert_eq!(pieces.finish(&mask), "");
    }

    #[test]
    fn text_that_is_held_back_can_be_released() {
        let mask = Mask::default();
        mask.add("hunter22");
        let mut pieces = PieceMask::default();
        assert_eq!(pieces.take(&mask, "the hunt"), "the ");
        assert_eq!(pieces.flush(), "hunt");
        assert!(!pieces.holds());
        assert_eq!(pieces.take(&mask, "er22 b\n"), "**** b\n");
        assert_eq!(pieces.take(&mask, "the hunter2\n"), "the ");
        assert_eq!(pieces.flush(), "****\n");
        assert_eq!(pieces.take(&mask, "2 b\n"), "**** b\n");
        assert_eq!(pieces.take(&mask, "the hunt"), "the ");
        assert_eq!(pieces.flush(), "hunt");
        assert_eq!(pieces.take(&mask, " is on\n"), " is on\n");
    }

    #[test]
    fn overlapping_secrets_are_masked_completely() {
        let mask = Mask::default();
        mask.add("abcdefgh");
        mask.add("efghijkl");
        mask.add("abcdefghijk");
        assert_eq!(mask.apply("x abcdefghijkl y"), "x **** y");
    }

    #[test]
    fn the_length_of_a_secret_is_counted_in_characters() {
        for short in ["", "hunte", "  hunte  ", "日本語日本"] {
            assert!(is_too_short(short), "{short}");
        }
        for long in ["hunter", "日本語日本語", "a b c d"] {
            assert!(!is_too_short(long), "{long}");
        }
    }

    #[test]
    fn a_key_in_separate_lines_is_masked() {
        let mut lines = LineMask::default();
        let begin = "-----BEGIN RSA PRIVATE KEY-----";
        let end = "-----END RSA PRIVATE KEY-----";
        let shown: Vec<_> = [begin, "MIIE", end, "done"]
            .map(|l| lines.apply(l).to_owned())
            .into();
        assert_eq!(shown, [begin, MASK, end, "done"]);
    }
}
