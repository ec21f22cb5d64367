//! Finds the operation of a request, its target and the permission that it needs.

use hyper::Method;
use hyper::http::request::Parts;
use s3s::S3ErrorCode;

use super::account;
use super::catalogue::{self, Scope};
use super::failure::{Result, fail};
use crate::query::{self, Query};

/// The resource that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Service,
    /// The settings of the account, which S3 Control has.
    Account,
    Bucket(String),
    Object(String, String),
}

impl Target {
    /// Returns the target of a request.
    pub(super) fn of(parts: &Parts) -> Result<Self> {
        let path = parts.uri.path();
        let asks = parts.method == Method::GET && path == account::PATH;
        if asks && parts.headers.contains_key(account::HEADER) {
            Ok(Self::Account)
        } else {
            Self::parse(path)
        }
    }

    /// Parses a path-style path and decodes its percent encoding.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let invalid = || fail(S3ErrorCode::InvalidURI, "Couldn't parse the specified URI.");
        let bytes = query::decode(path, query::Plus::Literal).ok_or_else(invalid)?;
        let path = String::from_utf8(bytes).map_err(|_| invalid())?;
        let path = path.strip_prefix('/').ok_or_else(invalid)?;
        Ok(match path.split_once('/') {
            None if path.is_empty() => Self::Service,
            None => Self::Bucket(path.to_owned()),
            Some((bucket, "")) => Self::Bucket(bucket.to_owned()),
            Some((bucket, key)) => Self::Object(bucket.to_owned(), key.to_owned()),
        })
    }

    pub(super) fn bucket(&self) -> Option<&str> {
        match self {
            Self::Service | Self::Account => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Object(_, key) => Some(key),
            Self::Service | Self::Account | Self::Bucket(_) => None,
        }
    }

    /// Returns the ARN, which is the name in policies.
    pub(super) fn arn(&self) -> String {
        match self {
            Self::Service | Self::Account => "*".to_owned(),
            Self::Bucket(bucket) => format!("arn:aws:s3:::{bucket}"),
            Self::Object(bucket, key) => format!("arn:aws:s3:::{bucket}/{key}"),
        }
    }

    /// Returns the kind of resource, as error documents name it.
    pub(super) fn resource_type(&self) -> &'static str {
        match self {
            Self::Service | Self::Account => "SERVICE",
            Self::Bucket(_) => "BUCKET",
            Self::Object(..) => "OBJECT",
        }
    }

    fn scope(&self) -> Scope {
        match self {
            Self::Service | Self::Account => Scope::Service,
            Self::Bucket(_) => Scope::Bucket,
            Self::Object(..) => Scope::Object,
        }
    }
}

/// An operation: its name in the SDKs and the permission that it needs. An
/// operation without a permission exists on AWS but is not supported here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) action: &'static str,
    /// Whether the query also selects another operation.
    pub(super) ambiguous: bool,
}

impl Operation {
    pub(super) fn offered(&self) -> bool {
        !self.action.is_empty()
    }

    /// Whether the operation lists objects.
    pub(super) fn lists(&self) -> bool {
        matches!(
            self.name,
            "ListObjects" | "ListObjectsV2" | "ListObjectVersions"
        )
    }

    /// Whether the body is an object's content rather than a document.
    pub(super) fn takes_content(&self) -> bool {
        matches!(self.name, "PutObject" | "UploadPart")
    }
}

pub(super) const UNKNOWN: Operation = Operation {
    name: "Unknown",
    action: "",
    ambiguous: false,
};

/// The upload that a form becomes.
pub(super) const PUT_OBJECT: Operation = Operation {
    name: "PutObject",
    action: "s3:PutObject",
    ambiguous: false,
};

/// S3 Control's query for Block Public Access of the account, under the name of
/// its permission: its name in the SDKs is that of the query for a bucket.
pub(super) const ACCOUNT_BLOCK: Operation = Operation {
    name: "GetAccountPublicAccessBlock",
    action: "s3:GetAccountPublicAccessBlock",
    ambiguous: false,
};

/// Operations that differ from an upload only in a header.
const COPIES: [&str; 2] = ["CopyObject", "UploadPartCopy"];

/// Returns the supported operations, by the SDKs' names.
pub(crate) fn operations() -> impl Iterator<Item = &'static str> {
    catalogue::offered()
        .chain(COPIES)
        .chain([ACCOUNT_BLOCK.name])
}

/// Returns the operation that a request asks for.
pub(super) fn resolve(parts: &Parts, target: &Target, query: &Query) -> Operation {
    if *target == Target::Account {
        return ACCOUNT_BLOCK;
    }
    let rows = catalogue::rows(&parts.method, target.scope()).iter();
    let mut marked = rows.clone().filter(|(mark, ..)| query.has(mark));
    let plain = || rows.clone().find(|(mark, ..)| mark.is_empty());
    let Some(&(_, name, action)) = marked.next().or_else(plain) else {
        return UNKNOWN;
    };
    // Only this header distinguishes a copy from an upload.
    let name = match (name, parts.headers.contains_key("x-amz-copy-source")) {
        ("PutObject", true) => COPIES[0],
        ("UploadPart", true) => COPIES[1],
        _ => name,
    };
    Operation {
        name,
        action,
        ambiguous: marked.next().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &str, uri: &str) -> &'static str {
        let request = hyper::Request::builder().method(method).uri(uri);
        let parts = request.body(()).unwrap().into_parts().0;
        let query = Query::parse(parts.uri.query().unwrap_or_default()).unwrap();
        resolve(&parts, &Target::parse(parts.uri.path()).unwrap(), &query).name
    }

    #[test]
    fn operations_have_the_names_of_the_sdks() {
        assert_eq!(name("GET", "/"), "ListBuckets");
        assert_eq!(name("PUT", "/b"), "CreateBucket");
        assert_eq!(name("PUT", "/b/"), "CreateBucket");
        assert_eq!(name("GET", "/b?tagging"), "GetBucketTagging");
        assert_eq!(name("GET", "/b?list-type=2&prefix=a"), "ListObjectsV2");
        assert_eq!(name("GET", "/b/k?x-id=GetObject"), "GetObject");
        assert_eq!(name("PUT", "/b/k?partNumber=1&uploadId=u"), "UploadPart");
        assert_eq!(name("POST", "/b?delete"), "DeleteObjects");
        assert_eq!(name("PUT", "/b/k?renameObject"), "RenameObject");
        assert_eq!(name("PATCH", "/b/k"), "Unknown");
    }

    #[test]
    fn a_query_that_selects_two_operations_is_ambiguous() {
        let ambiguous = |uri: &str| {
            let request = hyper::Request::get(uri).body(()).unwrap();
            let parts = request.into_parts().0;
            let query = Query::parse(parts.uri.query().unwrap()).unwrap();
            resolve(&parts, &Target::parse(parts.uri.path()).unwrap(), &query).ambiguous
        };
        assert!(ambiguous("/b?policy&acl"));
        assert!(ambiguous("/b/k?tagging&uploadId=1"));
        assert!(!ambiguous("/b?list-type=2&prefix=acl"));
        assert!(!ambiguous("/b/k?x-id=GetObject&acl"));
    }

    #[test]
    fn only_a_request_that_names_its_account_is_for_s3_control() {
        let target = |account: bool| {
            let mut request = hyper::Request::get(account::PATH);
            if account {
                request = request.header(account::HEADER, "123456789012");
            }
            Target::of(&request.body(()).unwrap().into_parts().0).unwrap()
        };
        assert_eq!(target(true), Target::Account);
        let object = ("v20180820".into(), "configuration/publicAccessBlock".into());
        assert_eq!(target(false), Target::Object(object.0, object.1));
        let parts = hyper::Request::get("/").body(()).unwrap().into_parts().0;
        let query = Query::parse("").unwrap();
        assert_eq!(resolve(&parts, &Target::Account, &query), ACCOUNT_BLOCK);
    }

    #[test]
    fn keys_are_not_normalised() {
        let target = |path| Target::parse(path).unwrap();
        assert_eq!(target("/b//k"), Target::Object("b".into(), "/k".into()));
        assert_eq!(target("/b/../x"), Target::Object("b".into(), "../x".into()));
        assert_eq!(
            target("/b/a%2Fb+c/"),
            Target::Object("b".into(), "a/b+c/".into())
        );
        assert!(Target::parse("/b/%ff").is_err());
        assert!(Target::parse("/b/%zz").is_err());
    }
}
