//! Remembers when the credentials in use end: a presigned URL ends with the
//! credentials that signed it, and nothing in the URL shows that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use jiff::Timestamp;

/// When credentials end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// They are valid until they are deleted.
    Never,
    /// They end at this time.
    At(Timestamp),
    /// They are temporary, and their provider does not know when they end.
    Unknown,
}

/// The end of all credentials that the SDK has obtained, by access key id.
#[derive(Clone, Debug, Default)]
pub(super) struct Issued(Arc<Mutex<HashMap<String, End>>>);

impl Issued {
    /// Wraps a provider, and remembers the end of all credentials that it returns.
    pub(super) fn watch(&self, inner: SharedCredentialsProvider) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Watched {
            inner,
            issued: self.clone(),
        })
    }

    /// Returns when the credentials with this access key id end.
    pub(super) fn end(&self, access_key_id: &str) -> End {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(access_key_id).copied().unwrap_or(End::Unknown)
    }

    fn note(&self, credentials: &Credentials) {
        let end = match (credentials.expiry(), credentials.session_token()) {
            (Some(expiry), _) => Timestamp::try_from(expiry).map_or(End::Unknown, End::At),
            (None, Some(_)) => End::Unknown,
            (None, None) => End::Never,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(credentials.access_key_id().to_owned(), end);
    }
}

#[derive(Debug)]
struct Watched {
    inner: SharedCredentialsProvider,
    issued: Issued,
}

impl ProvideCredentials for Watched {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.inner.provide_credentials().await?;
            self.issued.note(&credentials);
            Ok(credentials)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_end_depends_on_expiry_and_session_token() {
        let issued = Issued::default();
        let ends = UNIX_EPOCH + Duration::from_secs(60);
        let token = || Some("token".to_owned());
        for (id, token, expiry) in [
            ("static", None, None),
            ("session", token(), None),
            ("role", token(), Some(ends)),
        ] {
            issued.note(&Credentials::new(id, "secret", token, expiry, "test"));
        }
        assert_eq!(issued.end("static"), End::Never);
        assert_eq!(issued.end("session"), End::Unknown);
        assert_eq!(
            issued.end("role"),
            End::At("1970-01-01T00:01:00Z".parse().unwrap())
        );
        assert_eq!(issued.end("unseen"), End::Unknown);
    }
}
