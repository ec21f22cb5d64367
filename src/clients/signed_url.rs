//! A presigned URL and its real end.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::issued::End;
use crate::report::text;

/// A presigned URL.
#[derive(Clone, Debug)]
pub struct SignedUrl {
    /// The URL. Its signature is a secret.
    pub url: String,
    /// When it ends at the latest.
    pub expires: Timestamp,
    from: Timestamp,
    limit: Limit,
}

/// What ends a presigned URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The requested duration.
    Requested,
    /// The end of the credentials that signed it.
    Credentials,
    /// The requested duration, or the end of the credentials, which is unknown.
    Unknown,
}

impl SignedUrl {
    /// Describes a URL that was signed at `from` for `valid`, with credentials
    /// that end at `end`.
    pub(super) fn new(url: String, from: Timestamp, valid: Duration, end: End) -> Self {
        let valid = SignedDuration::try_from(valid).unwrap_or(SignedDuration::MAX);
        let requested = from.saturating_add(valid).unwrap_or(Timestamp::MAX);
        let (expires, limit) = match end {
            End::At(end) if end < requested => (end, Limit::Credentials),
            End::Unknown => (requested, Limit::Unknown),
            End::At(_) | End::Never => (requested, Limit::Requested),
        };
        Self {
            url,
            expires,
            from,
            limit,
        }
    }

    /// Returns whether the URL may end sooner than requested.
    #[must_use]
    pub fn ends_early(&self) -> bool {
        self.limit != Limit::Requested
    }

    /// Returns when it ends at the latest, such as `2026-11-25T22:10:03Z`.
    #[must_use]
    pub fn end(&self) -> String {
        self.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Returns how long it is valid, as part of a sentence.
    #[must_use]
    pub fn validity(&self) -> String {
        let left = Duration::try_from(self.expires.duration_since(self.from));
        let left = text::duration(left.unwrap_or_default());
        let end = self.end();
        match self.limit {
            Limit::Requested => format!("valid until {end} ({left})"),
            Limit::Credentials => {
                format!("valid until {end} ({left}), when the temporary credentials end")
            }
            Limit::Unknown => format!(
                "valid until {end} at the latest; it ends with the temporary credentials, \
                 whose end is not known"
            ),
        }
    }
}

/// Returns the access key id of the credentials that signed a URL, empty if it
/// has none.
pub(super) fn access_key_id(url: &str) -> String {
    let Ok(url) = reqwest::Url::parse(url) else {
        return String::new();
    };
    let mut pairs = url.query_pairs();
    let credential = pairs.find(|(name, _)| name == "X-Amz-Credential");
    let scope = credential.map(|(_, scope)| scope.into_owned());
    let id = scope.and_then(|scope| scope.split('/').next().map(str::to_owned));
    id.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_access_key_is_in_the_signature() {
        let url = "https://b.s3.amazonaws.com/k?x=1&X-Amz-Credential=AKIA%2F20261125%2Fus-east-1";
        assert_eq!(access_key_id(url), "AKIA");
        assert_eq!(access_key_id("https://b.s3.amazonaws.com/k"), "");
    }

    #[test]
    fn a_url_ends_with_the_credentials_that_signed_it() {
        let from: Timestamp = "2026-11-25T22:00:00Z".parse().unwrap();
        let at = |end: &str| End::At(end.parse().unwrap());
        let week = Duration::from_secs(7 * 86_400);
        for (end, early, expected) in [
            (End::Never, false, "valid until 2026-12-02T22:00:00Z (7 d)"),
            (
                at("2027-01-01T00:00:00Z"),
                false,
                "valid until 2026-12-02T22:00:00Z (7 d)",
            ),
            (
                at("2026-11-25T23:00:00.5Z"),
                true,
                "valid until 2026-11-25T23:00:00Z (1 h), when the temporary credentials end",
            ),
            (
                End::Unknown,
                true,
                "valid until 2026-12-02T22:00:00Z at the latest; it ends with the temporary \
                 credentials, whose end is not known",
            ),
        ] {
            let url = SignedUrl::new(String::new(), from, week, end);
            assert_eq!(
                (url.validity().as_str(), url.ends_early()),
                (expected, early)
            );
        }
    }
}
