//! One statement of a policy: its parts, and what S3 refuses about them.

use hyper::StatusCode;
use s3s::S3Error;
use serde_json::{Map, Value};

use super::super::failure::{Result, named};

/// A statement that S3 accepts for its bucket.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) allow: bool,
    everyone: bool,
    conditional: bool,
    actions: Patterns,
    resources: Patterns,
}

/// Names with wildcards, or everything but them.
#[derive(Clone, Debug)]
struct Patterns {
    any_of: Vec<String>,
    negated: bool,
}

impl Patterns {
    fn fit(&self, name: &str, matches: fn(&str, &str) -> bool) -> bool {
        self.any_of.iter().any(|pattern| matches(pattern, name)) != self.negated
    }
}

impl Statement {
    pub(super) fn concerns_everyone(&self) -> bool {
        self.everyone && !self.conditional
    }

    pub(super) fn is_about_everyone_doing(&self, action: &str, arn: &str) -> bool {
        self.concerns_everyone()
            && self.actions.fit(action, wildcard_any_case)
            && self.resources.fit(arn, wildcard)
    }

    pub(super) fn parse(value: &Value, bucket: &str) -> Result<Self> {
        let Value::Object(fields) = value else {
            return Err(malformed("Invalid policy syntax."));
        };
        let known = [
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        if let Some(field) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(malformed(&format!("Unknown field {field}")));
        }
        let allow = match fields.get("Effect").map(Value::as_str) {
            Some(Some("Allow")) => true,
            Some(Some("Deny")) => false,
            Some(Some(other)) => return Err(malformed(&format!("Invalid effect: {other}"))),
            _ => return Err(malformed("Missing required field Effect cannot be empty!")),
        };
        let everyone = names_everyone(fields)?;
        let actions = patterns(fields, "Action", "NotAction")?;
        if !actions.any_of.iter().all(|action| is_action(action)) {
            return Err(malformed("Policy has invalid action"));
        }
        let resources = patterns(fields, "Resource", "NotResource")?;
        if !resources.any_of.iter().all(|arn| belongs_to(arn, bucket)) {
            return Err(malformed("Policy has invalid resource"));
        }
        if !actions.negated && !resources.negated && !any_applies(&actions, &resources) {
            return Err(malformed(
                "Action does not apply to any resource(s) in statement",
            ));
        }
        Ok(Self {
            allow,
            everyone,
            conditional: fields
                .get("Condition")
                .is_some_and(|value| *value != Value::Null),
            actions,
            resources,
        })
    }
}

pub(super) fn malformed(message: &str) -> S3Error {
    named(
        "MalformedPolicy",
        StatusCode::BAD_REQUEST,
        message.to_owned(),
    )
}

/// Whether the principal of a statement takes in everyone.
fn names_everyone(fields: &Map<String, Value>) -> Result<bool> {
    let invalid = || malformed("Invalid principal in policy");
    let (value, negated) = match (fields.get("Principal"), fields.get("NotPrincipal")) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Err(malformed("Missing required field Principal")),
        (Some(_), Some(_)) => return Err(malformed("Invalid policy syntax.")),
    };
    let star = match value {
        Value::String(name) if name == "*" => true,
        Value::Object(kinds) if !kinds.is_empty() => {
            let mut star = false;
            for (kind, names) in kinds {
                let names = strings(names)
                    .filter(|names| !names.is_empty())
                    .ok_or_else(invalid)?;
                if !names.iter().all(|name| is_principal(kind, name)) {
                    return Err(invalid());
                }
                star |= kind == "AWS" && names.iter().any(|name| name == "*");
            }
            star
        }
        _ => return Err(invalid()),
    };
    Ok(star != negated)
}

fn is_principal(kind: &str, name: &str) -> bool {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    match kind {
        "AWS" if name == "*" || is_account(name) => true,
        "AWS" => name
            .strip_prefix("arn:aws:iam::")
            .or_else(|| name.strip_prefix("arn:aws:sts::"))
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(account, rest)| is_account(account) && !rest.is_empty()),
        "Service" => name.ends_with(".amazonaws.com"),
        "Federated" | "CanonicalUser" => !name.is_empty(),
        _ => false,
    }
}

fn patterns(fields: &Map<String, Value>, name: &str, negated: &str) -> Result<Patterns> {
    let (value, negated) = match (fields.get(name), fields.get(negated)) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => {
            return Err(malformed(&format!("Missing required field {name}")));
        }
        (Some(_), Some(_)) => return Err(malformed("Invalid policy syntax.")),
    };
    match strings(value) {
        Some(any_of) if !any_of.is_empty() => Ok(Patterns { any_of, negated }),
        _ => Err(malformed(&format!(
            "Missing required field {name} cannot be empty!"
        ))),
    }
}

/// A string, or a list of them.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn is_action(text: &str) -> bool {
    let name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'*' || b == b'?')
    };
    text == "*"
        || text
            .split_once(':')
            .is_some_and(|(service, action)| service.eq_ignore_ascii_case("s3") && name(action))
}

/// Whether a resource names the bucket or what is in it.
fn belongs_to(arn: &str, bucket: &str) -> bool {
    arn.strip_prefix("arn:aws:s3:::")
        .and_then(|rest| rest.strip_prefix(bucket))
        .is_some_and(|rest| rest.is_empty() || rest == "*" || rest.starts_with('/'))
}

/// Whether one action is about the kind of one resource: `s3:GetObject` alone
/// does not apply to a bucket, nor `s3:ListBucket` to objects.
fn any_applies(actions: &Patterns, resources: &Patterns) -> bool {
    let about_objects = |arn: &String| arn.contains('/') || arn.ends_with('*');
    let about_bucket = |arn: &String| !arn.contains('/');
    actions.any_of.iter().any(|action| {
        let name = action.to_ascii_lowercase();
        if name.contains('*') || name.contains('?') {
            return true;
        }
        let objects =
            name.contains("object") || name.contains("multipart") && !name.contains("uploads");
        match objects {
            true => resources.any_of.iter().any(about_objects),
            false => resources.any_of.iter().any(about_bucket),
        }
    })
}

fn wildcard_any_case(pattern: &str, text: &str) -> bool {
    wildcard(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// Matches `*` and `?`, in linear time for one star and never worse than
/// pattern times text.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    p = at + 1;
                    t = taken + 1;
                    star = Some((at, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_end_where_they_should() {
        assert!(wildcard("a*c", "abbbc"));
        assert!(wildcard("*", ""));
        assert!(!wildcard("a*c", "abbb"));
        assert!(!wildcard("a?", "a"));
        let long = "a".repeat(2_000);
        assert!(!wildcard(
            &"a*".repeat(200).replace("**", "*"),
            &"b".repeat(2_000)
        ));
        assert!(wildcard("*a*a*a", &long));
    }
}
