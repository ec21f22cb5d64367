//! Bucket policies: what S3 accepts as one, whether it is public, and what it
//! says about a request.
//!
//! A policy is accepted only if all of it is understood: every action is one of
//! S3's, every condition is on a key that can be evaluated here. The holder of
//! the key may do everything that no statement denies; others may do what a
//! statement allows and none denies.
//!
//! Three operations no policy takes from the holder of the key: reading, setting
//! and removing the policy. AWS keeps them for the root user of the account, and
//! the one key of a local cloud is all that its account has.

mod actions;
mod condition;
mod context;
mod document;
mod pattern;
mod principal;
mod statement;
mod syntax;

use serde_json::Value;

use super::backend::Backend;
use super::failure::Result;
pub(super) use context::Context;
use statement::Statement;
use syntax::malformed;

/// S3's limit for a policy document.
const MAX_BYTES: usize = 20 * 1024;

/// A policy that S3 accepts for its bucket.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    statements: Vec<Statement>,
}

/// What a policy says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Denied,
    Allowed,
    /// No statement is about it.
    Silent,
}

impl Policy {
    /// Reads a policy document for `bucket`, refusing what S3 refuses.
    pub(super) fn parse(text: &str, bucket: &str, backend: &Backend) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(malformed(
                "Policy exceeds the maximum allowed document size.",
            ));
        }
        let syntax = || malformed("Policies must be valid JSON and the first byte must be '{'");
        if !text.starts_with('{') {
            return Err(syntax());
        }
        let document = document::read(text).ok_or_else(syntax)?;
        let known = ["Version", "Id", "Statement"];
        if let Some(field) = document.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(malformed(&format!("Unknown field {field}")));
        }
        if document.get("Id").is_some_and(|id| !id.is_string()) {
            return Err(malformed("Invalid policy syntax."));
        }
        // Only the newer version of the language has variables.
        let variables = match document.get("Version").map(Value::as_str) {
            None | Some(Some("2008-10-17")) => false,
            Some(Some("2012-10-17")) => true,
            Some(_) => return Err(malformed("The policy must contain a valid version string")),
        };
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
            .map(|statement| Statement::parse(statement, (bucket, backend), variables));
        Ok(Self {
            statements: statements.collect::<Result<_>>()?,
        })
    }

    /// Whether it opens the bucket to everyone.
    pub(super) fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }

    /// What it says about a request doing `action` on `arn`: a denial counts
    /// more than any permission.
    pub(super) fn verdict(&self, context: &Context, action: &str, arn: &str) -> Verdict {
        let about = |statement: &&Statement| statement.is_about(context, action, arn);
        let about: Vec<&Statement> = self.statements.iter().filter(about).collect();
        match about[..] {
            [] => Verdict::Silent,
            _ if about.iter().all(|statement| statement.allow) => Verdict::Allowed,
            _ => Verdict::Denied,
        }
    }
}

#[cfg(test)]
mod tests;
