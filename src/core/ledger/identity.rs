//! The identity of a step: its branch, its function and its arguments, without
//! the parts that may differ between two attempts.

use std::sync::LazyLock;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::report::text;

/// Returns a short digest of a text.
pub(super) fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hex::encode(&hash[..16])
}

/// Returns the value with the keys of its maps sorted.
pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        other => other.clone(),
    }
}

/// Removes the signatures of presigned URLs, which differ in every attempt.
pub(super) fn forget_signatures(value: &mut Value) {
    static SIGNED: LazyLock<regex_lite::Regex> = LazyLock::new(|| {
        let pattern = r"(X-Amz-[A-Za-z-]+=)[^&\s\x22'<>]*";
        regex_lite::Regex::new(pattern).expect("the pattern is a constant")
    });
    match value {
        Value::String(text) if text.contains("X-Amz-") => {
            *text = SIGNED.replace_all(text, "$1").into_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(forget_signatures),
        Value::Object(map) => map.values_mut().for_each(forget_signatures),
        _ => {}
    }
}

/// Returns the strings and names among the arguments on one short line.
pub(super) fn summary(arguments: &Value) -> String {
    const LONGEST: usize = 40;
    let Value::Array(arguments) = arguments else {
        return String::new();
    };
    let words = arguments.iter().filter_map(|argument| match argument {
        Value::String(text) => text.lines().next().map(str::to_owned),
        Value::Object(map) => map
            .get("name")
            .or_else(|| map.get("id"))
            .or_else(|| map.get("address"))
            .and_then(Value::as_str)
            .map(str::to_owned),
        // A command and its arguments, but not a list of instance IDs.
        Value::Array(words) => words
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .filter(|words| !words.iter().any(|word| word.starts_with("i-")))
            .and_then(|words| words.join(" ").lines().next().map(str::to_owned)),
        _ => None,
    });
    let line = text::harmless(&words.collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one = json!({ "a": 1, "b": { "c": 2, "d": 3 } });
        let two = json!({ "b": { "d": 3, "c": 2 }, "a": 1 });
        assert_eq!(sorted(&one).to_string(), sorted(&two).to_string());
    }

    #[test]
    fn a_signature_does_not_matter() {
        let url = |date: &str, signature: &str| {
            let mut url = json!([format!(
                "<img src='http://b/k?X-Amz-Date={date}&X-Amz-Signature={signature}'>"
            )]);
            forget_signatures(&mut url);
            url
        };
        assert_eq!(url("1", "a"), url("2", "b"));
        assert!(url("1", "a").to_string().ends_with("X-Amz-Signature='>\"]"));
    }

    #[test]
    fn a_summary_is_one_short_line() {
        let arguments = json!([{ "name": "web" }, "echo a\necho b", 3]);
        assert_eq!(summary(&arguments), "web echo a");
        assert!(summary(&json!(["x".repeat(500)])).len() < 70);
    }
}
