//! The principals of a statement.

use s3s::S3Error;
use serde_json::{Map, Value};

use super::context::Context;
use super::syntax::{malformed, strings};
use crate::s3::backend::Backend;
use crate::s3::failure::Result;

/// The principals of a statement that can send requests to the local cloud:
/// everyone, the account, and its only user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Principals {
    named: Named,
    /// Whether the statement has `NotPrincipal`, all principals but these.
    negated: bool,
}

/// The principals that a statement names.
#[derive(Clone, Copy, Debug, Default)]
struct Named {
    everyone: bool,
    account: bool,
    user: bool,
}

impl Principals {
    /// Parses `Principal` or `NotPrincipal`.
    pub(super) fn parse(fields: &Map<String, Value>, backend: &Backend) -> Result<Self> {
        let (value, negated) = match (fields.get("Principal"), fields.get("NotPrincipal")) {
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            (None, None) => return Err(malformed("Missing required field Principal")),
            (Some(_), Some(_)) => return Err(malformed("Invalid policy syntax.")),
        };
        let mut named = Named::default();
        match value {
            Value::String(name) if name == "*" => named.everyone = true,
            Value::Object(kinds) if !kinds.is_empty() => {
                for (kind, names) in kinds {
                    let all = strings(names).filter(|all| !all.is_empty());
                    for name in all.ok_or_else(invalid)? {
                        named.add(kind, &name, backend)?;
                    }
                }
            }
            _ => return Err(invalid()),
        }
        Ok(Self { named, negated })
    }

    /// Whether the principals are everyone, possibly with exceptions.
    pub(super) fn are_everyone(self) -> bool {
        self.named.everyone != self.negated
    }

    /// Whether the caller is among the principals. In `NotPrincipal`, AWS checks
    /// the account and the user separately: a denial spares the user only if both
    /// are named, and a permission excludes the user if one of them is named.
    pub(super) fn include(self, context: &Context, allow: bool) -> bool {
        let Named {
            everyone,
            account,
            user,
        } = self.named;
        let is_named = match (everyone, context.is_signed()) {
            (true, _) => true,
            (false, false) => false,
            (false, true) if self.negated && !allow => account && user,
            (false, true) => account || user,
        };
        is_named != self.negated
    }
}

impl Named {
    fn add(&mut self, kind: &str, name: &str, backend: &Backend) -> Result<()> {
        let is_valid = match kind {
            "AWS" => return self.add_aws(name, backend),
            "CanonicalUser" => {
                self.account |= name == backend.owner_id();
                name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            // Services and federated users do not use the local cloud.
            "Service" => name.ends_with(".amazonaws.com") && !has_wildcard(name),
            "Federated" => !name.is_empty() && !has_wildcard(name),
            _ => false,
        };
        is_valid.then_some(()).ok_or_else(invalid)
    }

    fn add_aws(&mut self, name: &str, backend: &Backend) -> Result<()> {
        if name == "*" {
            self.everyone = true;
            return Ok(());
        }
        let arn = name
            .strip_prefix("arn:aws:iam::")
            .or_else(|| name.strip_prefix("arn:aws:sts::"));
        let (account, who) = match arn {
            None => (name, "root"),
            Some(rest) => rest.split_once(':').ok_or_else(invalid)?,
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let kinds = ["user/", "role/", "assumed-role/", "federated-user/"];
        let is_known = |who: &str| {
            kinds.iter().any(|kind| {
                let rest = who.strip_prefix(kind);
                rest.is_some_and(|rest| !rest.is_empty() && !has_wildcard(rest))
            })
        };
        let ours = account == backend.account;
        match who {
            _ if !is_account => return Err(invalid()),
            "root" => self.account |= ours,
            _ if ours && name == backend.user_arn() => self.user = true,
            // AWS refuses principals that do not exist. The account has one user.
            who if ours || !is_known(who) => return Err(invalid()),
            _ => {}
        }
        Ok(())
    }
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn invalid() -> S3Error {
    malformed("Invalid principal in policy")
}
