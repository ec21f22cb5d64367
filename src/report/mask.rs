//! Secrets never reach an output: known values and well-known shapes are
//! replaced before anything is written anywhere.

use std::sync::{LazyLock, RwLock};

use regex_lite::Regex;

/// What stands in place of a secret.
pub const MASK: &str = "****";

/// Shorter values are not masked: they would blot out ordinary words.
pub const SHORTEST: usize = 4;

/// Shapes that are secret wherever they appear: private keys, and what makes
/// a presigned URL work.
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

/// What a text with one of the shapes holds: looking for these costs less.
const SIGNS: [&str; 5] = ["PRIVATE KEY", "ignature=", "-Token=", "aws_s", "AWS_S"];

/// The secrets of a run.
#[derive(Debug, Default)]
pub struct Mask {
    /// Longest first, so that a secret inside a longer one does not save the rest.
    known: RwLock<Vec<String>>,
}

impl Mask {
    /// Adds a secret; its single lines are secret too.
    pub fn add(&self, secret: &str) {
        let mut known = self
            .known
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for part in std::iter::once(secret).chain(secret.lines()) {
            let part = part.trim();
            // As it is, and as JSON and Rhai show it inside an array or map.
            let escaped = format!("{part:?}");
            let json = serde_json::Value::from(part).to_string();
            for shown in [part, escaped.trim_matches('"'), json.trim_matches('"')] {
                if shown.len() >= SHORTEST && !known.iter().any(|k| k == shown) {
                    known.push(shown.to_owned());
                }
            }
        }
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Length of the longest secret.
    pub fn longest(&self) -> usize {
        let known = self
            .known
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.first().map_or(0, String::len)
    }

    /// Whether the text holds a known secret.
    pub fn finds_in(&self, text: &str) -> bool {
        let known = self
            .known
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.iter().any(|secret| text.contains(secret.as_str()))
    }

    /// The text without its secrets.
    pub fn apply(&self, text: &str) -> String {
        let known = self
            .known
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = text.to_owned();
        for secret in known
            .iter()
            .filter(|s| text.contains(s.as_str()))
            .collect::<Vec<_>>()
        {
            text = text.replace(secret.as_str(), MASK);
        }
        if SIGNS.iter().any(|sign| text.contains(sign)) {
            for (shape, replacement) in SHAPES.iter() {
                text = shape.replace_all(&text, *replacement).into_owned();
            }
        }
        text
    }

    /// The same for every string in a JSON value.
    pub fn apply_json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.apply(text),
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

/// Masks private keys in text that comes line by line.
#[derive(Debug, Default)]
pub struct LineMask {
    in_key: bool,
}

impl LineMask {
    /// The line, or the mask if it is inside a private key.
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
    fn a_secret_is_masked_as_json_and_rhai_show_it() {
        let mask = Mask::default();
        mask.add("a\"b\\c\u{1b}d");
        let mut value = serde_json::json!({ "a\"b\\c\u{1b}d": ["a\"b\\c\u{1b}d"] });
        assert_eq!(mask.apply(&format!("{:?}", "a\"b\\c\u{1b}d")), "\"****\"");
        assert_eq!(mask.apply(&value.to_string()), r#"{"****":["****"]}"#);
        mask.apply_json(&mut value);
        assert_eq!(value, serde_json::json!({ "****": ["****"] }));
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
    fn credentials_as_people_write_them_are_masked() {
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
