//! The policy of a form: until when, and with which fields, its file may be stored.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use s3s::{S3Error, S3ErrorCode};
use serde_json::{Map, Value};

use super::super::failure::{Result, fail, fail_as};
use super::form::Fields;

/// The fields that a policy need not name.
const EXEMPT: [&str; 5] = [
    "awsaccesskeyid",
    "file",
    "policy",
    "signature",
    "x-amz-signature",
];

/// A condition on a field: its operator, its name and its value.
type Condition = (&'static str, String, String);

/// Checks the fields of a form for `bucket` by its policy. Returns the range of the
/// file's size, whose end is at most `max`.
pub(super) fn check(
    policy: &str,
    fields: &Fields,
    bucket: &str,
    now: Timestamp,
    max: u64,
) -> Result<(u64, u64)> {
    let policy = document(policy)?;
    let end = policy
        .get("expiration")
        .ok_or_else(|| invalid("Policy missing expiration."))?;
    if expiration(end)? <= now {
        return Err(denied("Policy expired."));
    }
    let conditions = policy
        .get("conditions")
        .ok_or_else(|| invalid("Policy missing conditions."))?;
    let conditions = conditions.as_array();
    let conditions =
        conditions.ok_or_else(|| invalid("Invalid 'conditions' value: must be a List."))?;
    let mut range = (0, max);
    let mut named = Vec::new();
    for condition in conditions {
        if let Some(sizes) = sizes(condition)? {
            range = (range.0.max(sizes.0), range.1.min(sizes.1));
            continue;
        }
        for (operator, field, wanted) in of_fields(condition)? {
            let given = match field.as_str() {
                "bucket" => Some(bucket),
                field => fields.get(field),
            };
            let holds = given.is_some_and(|given| match operator {
                "eq" => given == wanted,
                _ => given.starts_with(&wanted),
            });
            if !holds {
                let text = [operator, &format!("${field}"), &wanted].map(Value::from);
                let [operator, field, wanted] = text.map(|text| text.to_string());
                return Err(denied(&format!(
                    "Policy Condition failed: [{operator}, {field}, {wanted}]"
                )));
            }
            named.push(field);
        }
    }
    let is_extra = |name: &str| {
        !EXEMPT.contains(&name)
            && !name.starts_with("x-ignore-")
            && !named.iter().any(|known| known == name)
    };
    match fields.all().find(|(name, _)| is_extra(name)) {
        Some((name, _)) => Err(denied(&format!("Extra input fields: {name}"))),
        None => Ok(range),
    }
}

fn document(policy: &str) -> Result<Map<String, Value>> {
    let letters: String = policy.split_ascii_whitespace().collect();
    let bytes = BASE64_STANDARD.decode(letters);
    let bytes = bytes.map_err(|_| invalid("Invalid Base64."))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(policy)) => Ok(policy),
        _ => Err(invalid("Invalid JSON.")),
    }
}

fn expiration(value: &Value) -> Result<Timestamp> {
    let text = value.as_str().unwrap_or_default();
    text.parse()
        .map_err(|_| invalid(&format!("Invalid 'expiration' value: {value}")))
}

/// Returns the sizes that a condition allows, if it is about the file's size.
fn sizes(condition: &Value) -> Result<Option<(u64, u64)>> {
    let Some([operator, min, max]) = condition.as_array().map(Vec::as_slice) else {
        return Ok(None);
    };
    if operator.as_str().map(str::to_ascii_lowercase).as_deref() != Some("content-length-range") {
        return Ok(None);
    }
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    match (number(min), number(max)) {
        (Some(min), Some(max)) => Ok(Some((min, max))),
        _ => Err(invalid(&format!(
            "Invalid Condition: {condition}: sizes must be integers."
        ))),
    }
}

/// Returns what a condition says about fields, by names in lower case.
fn of_fields(condition: &Value) -> Result<Vec<Condition>> {
    let wrong = || invalid(&format!("Invalid Condition: {condition}"));
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
    match condition {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| Ok(("eq", name.to_ascii_lowercase(), text(value)?)))
            .collect(),
        Value::Array(parts) => {
            let [operator, field, value] = parts.as_slice() else {
                return Err(wrong());
            };
            let operator = match text(operator)?.to_ascii_lowercase().as_str() {
                "eq" => "eq",
                "starts-with" => "starts-with",
                _ => return Err(wrong()),
            };
            let field = text(field)?;
            let field = field.strip_prefix('$').ok_or_else(wrong)?;
            Ok(vec![(operator, field.to_ascii_lowercase(), text(value)?)])
        }
        _ => Err(wrong()),
    }
}

fn invalid(why: &str) -> S3Error {
    fail_as(
        "InvalidPolicyDocument",
        400,
        format!("Invalid Policy: {why}"),
    )
}

fn denied(why: &str) -> S3Error {
    fail(
        S3ErrorCode::AccessDenied,
        format!("Invalid according to Policy: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn checked(policy: &str, fields: &[(&str, &str)]) -> Result<(u64, u64)> {
        let policy = BASE64_STANDARD.encode(policy);
        check(
            &policy,
            &Fields::of(fields),
            "b",
            NOW.parse().unwrap(),
            1000,
        )
    }

    fn message(policy: &str, fields: &[(&str, &str)]) -> String {
        let error = checked(policy, fields).unwrap_err();
        error.message().unwrap().to_owned()
    }

    #[test]
    fn a_policy_names_each_field_and_the_size() {
        let policy = r#"{"expiration": "2026-01-01T00:00:01.000Z", "conditions": [
            {"bucket": "b"}, ["starts-with", "$key", "user/"], {"Acl": "private"},
            ["content-length-range", 1, "10"], ["content-length-range", 0, 5000]]}"#;
        let good = [
            ("key", "user/a"),
            ("acl", "private"),
            ("x-ignore-a", ""),
            ("policy", ""),
        ];
        assert_eq!(checked(policy, &good).unwrap(), (1, 10));
        assert_eq!(
            message(policy, &[("key", "other"), ("acl", "private")]),
            r#"Invalid according to Policy: Policy Condition failed: ["starts-with", "$key", "user/"]"#
        );
        assert_eq!(
            message(policy, &[("key", "user/a")]),
            r#"Invalid according to Policy: Policy Condition failed: ["eq", "$acl", "private"]"#
        );
        let extra = [good.as_slice(), &[("x-amz-meta-a", "1")]].concat();
        assert_eq!(
            message(policy, &extra),
            "Invalid according to Policy: Extra input fields: x-amz-meta-a"
        );
        let past = policy.replace("00:00:01", "00:00:00");
        assert_eq!(
            message(&past, &good),
            "Invalid according to Policy: Policy expired."
        );
    }

    #[test]
    fn a_policy_that_is_not_one() {
        for (policy, why) in [
            ("{", "Invalid JSON."),
            ("[]", "Invalid JSON."),
            (r#"{"conditions": []}"#, "Policy missing expiration."),
            (
                r#"{"expiration": "2027-01-01T00:00:00Z"}"#,
                "Policy missing conditions.",
            ),
            (
                r#"{"expiration": "soon", "conditions": []}"#,
                "Invalid 'expiration' value: \"soon\"",
            ),
            (
                r#"{"expiration": "2027-01-01T00:00:00Z", "conditions": [["is", "$a", "b"]]}"#,
                "Invalid Condition: [\"is\",\"$a\",\"b\"]",
            ),
        ] {
            assert_eq!(message(policy, &[]), format!("Invalid Policy: {why}"));
        }
    }
}
