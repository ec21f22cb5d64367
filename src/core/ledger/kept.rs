//! The recorded form of a result: without secrets, and with a limited size.

use serde_json::Value;

/// The largest size of a recorded result or error, in bytes of JSON.
const KEPT: usize = 64 << 10;

/// The least number of bytes that `shorten` keeps of a text.
const SHORTEST: usize = 1 << 10;

/// Replaces the values of secret variables by their names.
pub(super) fn without_secrets(value: Value, secrets: &[(String, String)]) -> Value {
    let by_name = |text: String| {
        secrets.iter().fold(text, |text, (name, secret)| {
            text.replace(secret.as_str(), &format!("****{name}****"))
        })
    };
    in_texts(value, &by_name)
}

/// Replaces the names of secret variables by their values.
pub(super) fn with_secrets(value: Value, secrets: &[(String, String)]) -> Value {
    let by_value = |text: String| {
        secrets.iter().fold(text, |text, (name, secret)| {
            text.replace(&format!("****{name}****"), secret)
        })
    };
    in_texts(value, &by_value)
}

fn in_texts(value: Value, change: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| in_texts(item, change))
            .collect(),
        Value::Object(map) => {
            let entries = map.into_iter().map(|(k, v)| (k, in_texts(v, change)));
            Value::Object(entries.collect())
        }
        other => other,
    }
}

/// Shortens the texts of a large value to their ends. A value that is large
/// because of its many entries stays as it is: without the entries, the step could
/// not be replayed.
pub(super) fn shorten(value: &mut Value) {
    let mut shorter = value.clone();
    let mut most = KEPT;
    while shorter.to_string().len() > KEPT {
        most = most * 7 / 8;
        if most < SHORTEST {
            return;
        }
        cut(&mut shorter, most);
    }
    *value = shorter;
}

fn cut(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            let mut start = text.len() - most;
            while !text.is_char_boundary(start) {
                start += 1;
            }
            *text = format!("[{start} bytes not recorded]{}", &text[start..]);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, most)),
        Value::Object(map) => map.values_mut().for_each(|item| cut(item, most)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_texts_are_shortened_and_entries_are_kept() {
        let long = "é".repeat(100_000);
        let mut value = json!({ "stdout": long, "stderr": long, "status": 3 });
        shorten(&mut value);
        assert!(value.to_string().len() <= KEPT);
        assert_eq!(value["status"], 3);
        let many = json!(vec!["x".repeat(100); 10_000]);
        let mut kept = many.clone();
        shorten(&mut kept);
        assert_eq!(kept, many);
        let mut control = json!("\u{1}".repeat(40_000));
        shorten(&mut control);
        assert!(control.to_string().len() <= KEPT);
    }

    #[test]
    fn a_secret_is_recorded_by_its_name_and_restored() {
        let secrets = [("pw".to_owned(), "hunter22".to_owned())];
        let value = json!({ "stdout": "password=hunter22\n", "status": 0 });
        let kept = without_secrets(value.clone(), &secrets);
        assert_eq!(kept["stdout"], "password=****pw****\n");
        assert_eq!(with_secrets(kept, &secrets), value);
    }
}
