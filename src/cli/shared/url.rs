//! The URL of a shared ledger:
//! `s3://BUCKET/PREFIX?endpoint=URL&region=NAME&profile=NAME`.

use reqwest::Url;

use crate::clients::s3::bucket_name_fault;
use crate::error::{Error, Result};

const EXAMPLE: &str = "an example: s3://team-ledger/autorun";

/// Where a shared ledger is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) bucket: String,
    /// Without a `/` at either end; may be empty.
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) profile: Option<String>,
}

/// Checks the form of a URL.
pub(in crate::cli) fn check_url(url: &str) -> Result<()> {
    Location::parse(url).map(drop)
}

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("the ledger `{text}` {why}")).hint(EXAMPLE);
        if !text.starts_with("s3://") {
            return Err(Error::invalid(format!(
                "the ledger `{text}` is not a URL that begins with s3://"
            ))
            .hint(format!(
                "{EXAMPLE}; AUTORUN_HOME is the directory of a ledger on this machine"
            )));
        }
        let url = Url::parse(text).map_err(|e| wrong(&format!("is not a valid URL: {e}")))?;
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return Err(wrong("has more than a bucket before the first `/`"));
        }
        let bucket = url.host_str().unwrap_or_default().to_owned();
        if let Some(fault) = bucket_name_fault(&bucket) {
            return Err(wrong(&format!("has no valid bucket name: {fault}")));
        }
        let prefix = url.path().trim_matches('/').to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        if !prefix.chars().all(plain) || prefix.split('/').any(|part| part.starts_with('.')) {
            return Err(wrong(
                "has a prefix with other characters than letters, digits and - _ . /",
            ));
        }
        let mut location = Self {
            bucket,
            prefix,
            ..Self::default()
        };
        for (name, value) in url.query_pairs() {
            let value = Some(value.into_owned()).filter(|value| !value.is_empty());
            match &*name {
                "endpoint" => {
                    let is_url =
                        |url: &String| url.starts_with("http://") || url.starts_with("https://");
                    if !value.as_ref().is_some_and(is_url) {
                        return Err(wrong("has an `endpoint` that is not an http or https URL"));
                    }
                    location.endpoint = value.map(|url| url.trim_end_matches('/').to_owned());
                }
                "region" => location.region = value,
                "profile" => location.profile = value,
                other => {
                    return Err(wrong(&format!(
                        "has an unknown parameter `{other}`: use endpoint, region or profile"
                    )));
                }
            }
        }
        Ok(location)
    }

    /// Returns the URL as messages and the local cache name the ledger. `endpoint` is
    /// that of the store, unless it is AWS's.
    pub(super) fn shown(&self, endpoint: Option<&str>) -> String {
        let mut shown = format!("s3://{}", self.bucket);
        if !self.prefix.is_empty() {
            shown = format!("{shown}/{}", self.prefix);
        }
        match endpoint {
            Some(endpoint) => format!("{shown}?endpoint={}", endpoint.trim_end_matches('/')),
            None => shown,
        }
    }

    /// Returns the key of an object of the ledger in its bucket.
    pub(super) fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_bucket_and_perhaps_more() {
        let plain = Location::parse("s3://team-ledger").unwrap();
        assert_eq!(
            (plain.bucket.as_str(), plain.prefix.as_str()),
            ("team-ledger", "")
        );
        assert_eq!(plain.key("run/a"), "run/a");
        assert_eq!(plain.shown(None), "s3://team-ledger");
        let text =
            "s3://team-ledger/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-west-1&profile=ops";
        let all = Location::parse(text).unwrap();
        assert_eq!(all.key("run/a"), "a/b/run/a");
        assert_eq!(all.region.as_deref(), Some("eu-west-1"));
        assert_eq!(all.profile.as_deref(), Some("ops"));
        let endpoint = all.endpoint.as_deref();
        let shown = all.shown(endpoint);
        assert_eq!(shown, "s3://team-ledger/a/b?endpoint=http://127.0.0.1:9000");
        // A hint shows this URL, which names the same ledger.
        let again = Location::parse(&shown).unwrap();
        assert_eq!(again.shown(again.endpoint.as_deref()), shown);
    }

    #[test]
    fn a_wrong_url_is_explained() {
        for (text, why) in [
            ("/srv/ledger", "begins with s3://"),
            ("https://bucket/x", "begins with s3://"),
            ("s3://", "bucket name"),
            ("s3://Bucket/x", "bucket name"),
            ("s3://user@bucket/x", "more than a bucket"),
            ("s3://bucket:99/x", "more than a bucket"),
            ("s3://bucket/a b", "letters, digits"),
            ("s3://bucket/x?regoin=a", "unknown parameter `regoin`"),
            ("s3://bucket/x?endpoint=host:9000", "`endpoint`"),
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert!(error.hint.is_some(), "{text}");
        }
    }
}
