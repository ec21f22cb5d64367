//! Bucket policies: what S3 accepts as one, whether it is public, and what it
//! allows somebody who shows no credentials.
//!
//! The one account may do everything, so only statements about everyone matter.
//! A statement with a `Condition` is taken as one that does not match an
//! anonymous request and is not public: no condition is evaluated here.

mod statement;

use serde_json::{Map, Value};

use super::failure::Result;
use statement::{Statement, malformed};

/// S3's limit for a policy document.
const MAX_BYTES: usize = 20 * 1024;

/// A policy that S3 accepts for its bucket.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// Reads a policy document for `bucket`, refusing what S3 refuses.
    pub(super) fn parse(text: &str, bucket: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(malformed(
                "Policy exceeds the maximum allowed document size.",
            ));
        }
        let syntax = || malformed("Policies must be valid JSON and the first byte must be '{'");
        if !text.starts_with('{') {
            return Err(syntax());
        }
        let document: Map<String, Value> = serde_json::from_str(text).map_err(|_| syntax())?;
        let known = ["Version", "Id", "Statement"];
        if let Some(field) = document.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(malformed(&format!("Unknown field {field}")));
        }
        match document.get("Version").map(Value::as_str) {
            None | Some(Some("2008-10-17" | "2012-10-17")) => {}
            Some(_) => return Err(malformed("The policy must contain a valid version string")),
        }
        let statements = match document.get("Statement") {
            None => return Err(malformed("Missing required field Statement")),
            Some(Value::Array(statements)) if statements.is_empty() => {
                return Err(malformed("Could not parse the policy: Statement is empty!"));
            }
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(statement) => vec![statement],
        };
        let statements = statements
            .into_iter()
            .map(|statement| Statement::parse(statement, bucket));
        Ok(Self {
            statements: statements.collect::<Result<_>>()?,
        })
    }

    /// Whether it opens the bucket to everyone.
    pub(super) fn is_public(&self) -> bool {
        self.statements
            .iter()
            .any(|statement| statement.allow && statement.concerns_everyone())
    }

    /// Whether somebody without credentials may do `action` on `arn`.
    pub(super) fn allows_everyone(&self, action: &str, arn: &str) -> bool {
        let about = |statement: &&Statement| statement.is_about_everyone_doing(action, arn);
        let mut matching = self.statements.iter().filter(about).peekable();
        matching.peek().is_some() && matching.all(|statement| statement.allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(statement: &str) -> Result<Policy> {
        Policy::parse(
            &format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#),
            "b",
        )
    }

    const ONE_KEY: &str = r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/logo.png"}"#;

    #[test]
    fn one_public_key_is_that_key() {
        let policy = policy(ONE_KEY).unwrap();
        assert!(policy.is_public());
        assert!(policy.allows_everyone("s3:GetObject", "arn:aws:s3:::b/logo.png"));
        assert!(!policy.allows_everyone("s3:GetObject", "arn:aws:s3:::b/logo.pn"));
        assert!(!policy.allows_everyone("s3:PutObject", "arn:aws:s3:::b/logo.png"));
    }

    #[test]
    fn denials_win_and_wildcards_match() {
        let policy = policy(
            r#"[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:Get*"],"Resource":["arn:aws:s3:::b/*"]},
                {"Effect":"Deny","Principal":"*","Action":"S3:getobject","Resource":"arn:aws:s3:::b/secret/?"}]"#,
        )
        .unwrap();
        assert!(policy.allows_everyone("s3:GetObject", "arn:aws:s3:::b/a/b"));
        assert!(!policy.allows_everyone("s3:GetObject", "arn:aws:s3:::b/secret/x"));
        assert!(policy.allows_everyone("s3:GetObject", "arn:aws:s3:::b/secret/xy"));
    }

    #[test]
    fn conditions_and_accounts_are_not_public() {
        let conditional = r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"IpAddress":{"aws:SourceIp":"1.2.3.4/32"}}}"#;
        assert!(!policy(conditional).unwrap().is_public());
        let account = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}"#;
        let account = policy(account).unwrap();
        assert!(!account.is_public());
        assert!(!account.allows_everyone("s3:GetObject", "arn:aws:s3:::b/k"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let message = |result: Result<Policy>| result.unwrap_err().message().unwrap().to_owned();
        let cases = [
            (
                ONE_KEY.replace("::b/", "::other/"),
                "Policy has invalid resource",
            ),
            (
                ONE_KEY.replace("::b/logo.png", "::b"),
                "Action does not apply to any resource(s) in statement",
            ),
            (
                ONE_KEY.replace("s3:GetObject", "ec2:RunInstances"),
                "Policy has invalid action",
            ),
            (
                ONE_KEY.replace("\"*\"", "\"me\""),
                "Invalid principal in policy",
            ),
            (ONE_KEY.replace("Allow", "Maybe"), "Invalid effect: Maybe"),
            (
                "[]".to_owned(),
                "Could not parse the policy: Statement is empty!",
            ),
            ("7".to_owned(), "Invalid policy syntax."),
        ];
        for (statement, expected) in cases {
            assert_eq!(message(policy(&statement)), expected);
        }
        assert!(message(Policy::parse("[]", "b")).starts_with("Policies must be valid JSON"));
        assert_eq!(
            message(Policy::parse("{}", "b")),
            "Missing required field Statement"
        );
        assert!(
            message(Policy::parse(r#"{"Version":"2020","Statement":[]}"#, "b")).contains("version")
        );
    }
}
