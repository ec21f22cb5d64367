//! Where a policy applies: the region, the account, and what belongs to the ledger.

use std::collections::{BTreeMap, BTreeSet};

use super::need::Named;
use super::table;
use crate::clients::marks::OWNER_TAG;

/// The conditions of a statement: operator and key, with the values.
pub(super) type Conditions = BTreeMap<(&'static str, String), BTreeSet<String>>;

/// Where a policy applies.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// The region; without one, a policy allows all.
    pub(super) region: Option<String>,
    /// The account, if it is known.
    pub(super) account: Option<String>,
    /// The ledger's ID, the tag `autorun:owner` of its resources.
    pub(super) owner: String,
    /// The ID of the run, which the names of its buckets end with.
    pub(super) run: String,
    /// Whether the ids are those of a local cloud, which no account has.
    pub(super) local: bool,
    /// The EC2 resources that runs of this ledger created.
    pub(super) own: BTreeSet<Named>,
}

impl Scope {
    /// Returns the ARN of a resource. `names` replace the last variables of its
    /// pattern.
    pub(super) fn arn(&self, service: &str, kind: &str, names: &[&str]) -> String {
        let pattern = table::arn(service, kind).unwrap_or("*");
        let region = self.region.as_deref().unwrap_or("*");
        // AWS's public parameters and documents are of no account.
        let is_public = names.iter().any(|name| match kind {
            "parameter" => name.starts_with("aws/"),
            "document" => name.starts_with("AWS-"),
            _ => false,
        });
        let account = match &self.account {
            _ if is_public => "",
            Some(account) => account,
            None => "*",
        };
        let mut names = names.iter();
        let mut arn = String::new();
        let mut rest = pattern;
        while let Some((before, variable)) = rest.split_once("${") {
            let (variable, after) = variable.split_once('}').unwrap_or((variable, ""));
            arn.push_str(before);
            arn.push_str(match variable {
                "Partition" => self.partition(),
                "Region" => region,
                "Account" => account,
                _ => names.next().copied().unwrap_or("*"),
            });
            rest = after;
        }
        arn + rest
    }

    fn partition(&self) -> &'static str {
        let region = self.region.as_deref().unwrap_or_default();
        match region.split('-').next().unwrap_or_default() {
            "cn" => "aws-cn",
            "eusc" => "aws-eusc",
            "us" if region.starts_with("us-gov-") => "aws-us-gov",
            "us" if region.starts_with("us-iso-") => "aws-iso",
            "us" if region.starts_with("us-isob-") => "aws-iso-b",
            _ => "aws",
        }
    }

    /// Returns the condition that a request goes to the region.
    pub(super) fn in_region(&self) -> Conditions {
        let region = self.region.iter();
        region
            .map(|region| equals("aws:RequestedRegion", region))
            .collect()
    }

    /// Returns the condition that a resource belongs to the ledger.
    pub(super) fn is_own(&self) -> Conditions {
        let key = format!("aws:ResourceTag/{OWNER_TAG}");
        Conditions::from([equals(&key, &self.owner)])
    }

    /// Returns the condition that a request creates a resource for the ledger.
    pub(super) fn becomes_own(&self) -> Conditions {
        let key = format!("aws:RequestTag/{OWNER_TAG}");
        Conditions::from([equals(&key, &self.owner)])
    }

    /// Returns the name of a bucket, with `*` in place of the run's ID and what
    /// follows it.
    pub(super) fn bucket(&self, name: &str) -> String {
        let id = format!("-{}", self.run);
        match name.rsplit_once(&id) {
            Some((prefix, rest)) if is_number(rest) => format!("{prefix}-*"),
            _ => name.to_owned(),
        }
    }
}

/// Returns whether a text is the number that a second bucket of a run has, or empty.
fn is_number(rest: &str) -> bool {
    rest.is_empty()
        || rest
            .strip_prefix('-')
            .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the condition that a key has a value.
pub(super) fn equals(key: &str, value: &str) -> ((&'static str, String), BTreeSet<String>) {
    let key = ("StringEquals", key.to_owned());
    (key, BTreeSet::from([value.to_owned()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            region: Some("eu-central-1".to_owned()),
            account: Some("111122223333".to_owned()),
            owner: "abc".to_owned(),
            run: "7kq2m9w".to_owned(),
            ..Scope::default()
        }
    }

    #[test]
    fn arns_have_what_is_known() {
        let known = scope();
        assert_eq!(
            known.arn("ec2", "instance", &[]),
            "arn:aws:ec2:eu-central-1:111122223333:instance/*"
        );
        assert_eq!(
            known.arn("ec2", "image", &["ami-1"]),
            "arn:aws:ec2:eu-central-1::image/ami-1"
        );
        assert_eq!(
            known.arn("s3", "object", &["pictures"]),
            "arn:aws:s3:::pictures/*"
        );
        assert_eq!(
            known.arn("ssm", "parameter", &["aws/service/a"]),
            "arn:aws:ssm:eu-central-1::parameter/aws/service/a"
        );
        let unknown = Scope::default();
        assert_eq!(unknown.arn("ec2", "vpc", &[]), "arn:aws:ec2:*:*:vpc/*");
        assert!(unknown.in_region().is_empty());
        let china = Scope {
            region: Some("cn-north-1".to_owned()),
            ..scope()
        };
        assert_eq!(china.arn("s3", "bucket", &["b"]), "arn:aws-cn:s3:::b");
    }

    #[test]
    fn the_bucket_of_a_run_has_its_prefix() {
        for (name, expected) in [
            ("shop-7kq2m9w", "shop-*"),
            ("shop-7kq2m9w-2", "shop-*"),
            ("shop-7kq2m9w-logs", "shop-7kq2m9w-logs"),
            ("shop", "shop"),
        ] {
            assert_eq!(scope().bucket(name), expected, "{name}");
        }
    }
}
