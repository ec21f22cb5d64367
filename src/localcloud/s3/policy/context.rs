//! The values of a request that conditions and variables of a policy can use.

use std::net::IpAddr;

use hyper::http::request::Parts;
use jiff::Timestamp;

use crate::authorization::{Guard, Values};
use crate::query::Query;
use crate::s3::backend::Backend;
use crate::signature::{CONTENT_SHA256, Place, Signed};

/// Condition keys that have a value in some or all requests.
const KNOWN: [&str; 38] = [
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principaltype",
    "aws:referer",
    "aws:resourceaccount",
    "aws:securetransport",
    "aws:sourceip",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
    "s3:authtype",
    "s3:delimiter",
    "s3:if-match",
    "s3:if-none-match",
    "s3:max-keys",
    "s3:prefix",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
];

/// Condition keys without a value in any request to the local cloud. Its only user
/// has a long-term key, no organization and no tags, and does not use another
/// service, a VPC endpoint or an access point.
const ABSENT: [&str; 24] = [
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:federatedprovider",
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:principalservicenameslist",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:tokenissuetime",
    "aws:vpcsourceip",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:tlsversion",
];

/// The keys of listings. AWS refuses them in statements about other actions.
const OF_LISTINGS: [&str; 3] = ["s3:delimiter", "s3:max-keys", "s3:prefix"];

/// Returns the lower-case name of a condition key that the local cloud can evaluate.
pub(super) fn known(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let mut all = KNOWN.iter().chain(&ABSENT);
    let is_known = lower.starts_with("aws:principaltag/") || all.any(|known| **known == lower);
    is_known.then_some(lower)
}

/// Whether AWS accepts a condition key only in statements about listings.
pub(super) fn is_of_listings(key: &str) -> bool {
    OF_LISTINGS.contains(&key)
}

/// The values of the condition keys in a request.
#[derive(Clone, Debug, Default)]
pub(in crate::s3) struct Context {
    values: Values,
    signed: bool,
    /// The policy that holds the owner of the access key.
    guard: Option<Guard>,
}

impl Context {
    /// Collects the values of a request. The local cloud serves plain HTTP, so
    /// `aws:SecureTransport` is false.
    pub(in crate::s3) fn new(
        backend: &Backend,
        (parts, query): (&Parts, &Query),
        signed: Option<&Signed>,
        (peer, now): (IpAddr, Timestamp),
        lists: bool,
    ) -> Self {
        let mut context = Self {
            values: Values::default(),
            signed: signed.is_some(),
            guard: None,
        };
        context.set("aws:currenttime", &now.to_string());
        context.set("aws:epochtime", &now.as_second().to_string());
        context.set("aws:principalisawsservice", "false");
        context.set("aws:resourceaccount", &backend.account);
        context.set("s3:resourceaccount", &backend.account);
        context.set("aws:securetransport", "false");
        context.set("aws:sourceip", &peer.to_canonical().to_string());
        context.set("aws:viaawsservice", "false");
        context.set_principal(backend);
        context.set_headers(parts);
        context.set_query(query, lists);
        if let Some(signed) = signed {
            context.set_signature(signed, now);
        }
        context
    }

    /// Adds the policy that holds the sender of the request.
    pub(in crate::s3) fn held_by(self, guard: Option<Guard>) -> Self {
        Self { guard, ..self }
    }

    pub(in crate::s3) fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Whether the owner of the access key signed the request.
    pub(super) fn is_signed(&self) -> bool {
        self.signed
    }

    /// Returns the values of the condition keys.
    pub(in crate::s3) fn values(&self) -> &Values {
        &self.values
    }

    fn set(&mut self, name: &str, value: &str) {
        if known(name).is_some() {
            self.values.set(name, value);
        }
    }

    fn set_principal(&mut self, backend: &Backend) {
        if self.signed {
            self.set("aws:principalaccount", &backend.account);
            self.set("aws:principalarn", &backend.user_arn());
            self.set("aws:principaltype", "User");
            self.set("aws:userid", crate::USER_ID);
            self.set("aws:username", crate::USER_NAME);
        } else {
            self.set("aws:principaltype", "Anonymous");
            self.set("aws:userid", "anonymous");
        }
    }

    fn set_headers(&mut self, parts: &Parts) {
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            match name.as_str() {
                "referer" => self.set("aws:referer", &value),
                "user-agent" => self.set("aws:useragent", &value),
                name if name.starts_with("x-amz-") || name.starts_with("if-") => {
                    // A header without a condition key is ignored.
                    self.set(&format!("s3:{name}"), &value);
                }
                _ => {}
            }
        }
    }

    fn set_query(&mut self, query: &Query, lists: bool) {
        let of_listings = ["delimiter", "max-keys", "prefix"];
        for (name, value) in query.pairs() {
            match name {
                "versionId" => self.set("s3:versionid", value),
                name if lists && of_listings.contains(&name) => {
                    self.set(&format!("s3:{name}"), value);
                }
                _ => {}
            }
        }
    }

    fn set_signature(&mut self, signed: &Signed, now: Timestamp) {
        self.set(
            "s3:authtype",
            match signed.place {
                Place::Header => "REST-HEADER",
                Place::Query => "REST-QUERY-STRING",
                Place::Form => "POST",
            },
        );
        self.set("s3:signatureversion", signed.version);
        self.set(&format!("s3:{CONTENT_SHA256}"), &signed.payload);
        if let Some(time) = signed.time {
            let age = now.as_millisecond() - time.as_millisecond();
            self.set("s3:signatureage", &age.max(0).to_string());
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests(values: &[(&str, &str)]) -> Self {
        let mut context = Self::default();
        for (name, value) in values {
            context.values.set(name, *value);
        }
        context
    }

    #[cfg(test)]
    pub(super) fn signed_for_tests(values: &[(&str, &str)]) -> Self {
        Self {
            signed: true,
            ..Self::for_tests(values)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_case_insensitive_and_unknown_keys_are_refused() {
        assert_eq!(known("AWS:SourceIP").unwrap(), "aws:sourceip");
        assert!(known("aws:PrincipalTag/team").is_some());
        for name in ["s3:ExistingObjectTag/a", "ec2:Region", "", "sourceip"] {
            assert_eq!(known(name), None, "{name}");
        }
    }
}
