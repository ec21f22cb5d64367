//! Bucket policies: validation, whether a policy is public, and its verdict on a
//! request.
//!
//! A policy is accepted only if the local cloud can evaluate all of it: every
//! action is an action of S3, and every condition has a known key. The owner of
//! the access key may do everything that no statement denies. Anonymous callers
//! may do what a statement allows and no statement denies.
//!
//! No policy denies reading, setting and deleting the policy to the owner of the
//! access key. AWS reserves this exception for the root user of an account. The
//! local cloud has only one key, so without the exception a policy could lock the
//! account out of its bucket.

mod actions;
mod context;
mod principal;
mod statement;
mod syntax;

use s3s::S3Error;
use serde_json::Value;

use super::backend::Backend;
use super::failure::Result;
pub(super) use crate::authorization::Verdict;
use crate::authorization::read_document;
pub(super) use context::Context;
use statement::Statement;
use syntax::malformed;

/// S3's limit for a policy document.
const MAX_BYTES: usize = 20 * 1024;

/// A valid policy of a bucket.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// Parses a policy document for `bucket`. Refuses what S3 refuses.
    pub(super) fn parse(text: &str, bucket: &str, backend: &Backend) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(malformed(
                "Policy exceeds the maximum allowed document size.",
            ));
        }
        if !text.starts_with('{') {
            return Err(not_json());
        }
        let document = read_document(text).map_err(|_| not_json())?;
        let known = ["Version", "Id", "Statement"];
        if let Some(field) = document.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(malformed(&format!("Unknown field {field}")));
        }
        if document.get("Id").is_some_and(|id| !id.is_string()) {
            return Err(malformed("Invalid policy syntax."));
        }
        // Only the newer version of the policy language has variables.
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

    /// Whether the policy allows access to everyone.
    pub(super) fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }

    /// Returns the verdict on a request that executes `action` on `arn`.
    pub(super) fn verdict(&self, context: &Context, action: &str, arn: &str) -> Verdict {
        let applies = |statement: &&Statement| statement.applies_to(context, action, arn);
        let applicable = self.statements.iter().filter(applies);
        Verdict::of(applicable.map(Statement::allows))
    }
}

/// Creates the error for a policy that is not a JSON object.
pub(super) fn not_json() -> S3Error {
    malformed("Policies must be valid JSON and the first byte must be '{'")
}

#[cfg(test)]
mod tests;
