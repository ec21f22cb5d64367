//! The values of a request that conditions and variables of a policy can use.

use std::net::IpAddr;

use hyper::http::request::Parts;
use jiff::Timestamp;

use crate::authorization::{Guard, Values, known_in_buckets};
use crate::query::Query;
use crate::s3::backend::Backend;
use crate::signature::{CONTENT_SHA256, Place, Signed};

/// The keys of listings. AWS refuses them in statements about other actions.
const OF_LISTINGS: [&str; 3] = ["s3:delimiter", "s3:max-keys", "s3:prefix"];

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
        if known_in_buckets(name).is_some() {
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
