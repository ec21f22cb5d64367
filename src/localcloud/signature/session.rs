//! Temporary credentials of instances. The session token contains whose they are
//! and when they expire, and a signature with the owner's secret key; key id and
//! secret key are derived from the token. So no credentials have to be stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::{same, sign};
use super::{Fault, Keys};
use crate::query::Query;

/// The holder of temporary credentials: an instance with a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) role: String,
    pub(crate) role_id: String,
    /// The instance's id, which is the name of the session.
    pub(crate) name: String,
    /// Seconds since 1970.
    pub(crate) expires: i64,
}

/// Temporary credentials.
pub(crate) struct Temporary {
    pub(crate) keys: Keys,
    pub(crate) token: String,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unusable {
    Invalid,
    Expired,
}

impl Keys {
    /// Returns the credentials of a session.
    pub(crate) fn temporary(&self, session: &Session) -> Temporary {
        let content = serde_json::to_vec(session).unwrap_or_default();
        let content = URL_SAFE_NO_PAD.encode(content);
        let token = format!("{content}.{}", self.derived("token", &content));
        Temporary {
            keys: self.of_token(&token),
            token,
        }
    }

    /// Returns the keys that sign a request with this key id, and the session
    /// that its token names.
    pub(super) fn of_request(
        &self,
        parts: &Parts,
        query: &Query,
        access_key_id: &str,
        now: Timestamp,
    ) -> Result<(Option<Session>, Self), Fault> {
        let is_owner = same(&self.access_key_id, access_key_id);
        match token(parts, query) {
            None if is_owner => Ok((None, self.clone())),
            None => Err(Fault::UnknownKey),
            Some(_) if is_owner => Err(Fault::Token),
            Some(token) => match self.session(token, now) {
                Ok((session, keys)) if same(&keys.access_key_id, access_key_id) => {
                    Ok((Some(session), keys))
                }
                Err(Unusable::Expired) => Err(Fault::TokenExpired),
                Ok(_) | Err(Unusable::Invalid) => Err(Fault::Token),
            },
        }
    }

    /// Returns the session of a token and its keys.
    fn session(&self, token: &str, now: Timestamp) -> Result<(Session, Self), Unusable> {
        let (content, signature) = token.split_once('.').ok_or(Unusable::Invalid)?;
        if !same(&self.derived("token", content), signature) {
            return Err(Unusable::Invalid);
        }
        let content = URL_SAFE_NO_PAD
            .decode(content)
            .map_err(|_| Unusable::Invalid)?;
        let session: Session = serde_json::from_slice(&content).map_err(|_| Unusable::Invalid)?;
        if session.expires <= now.as_second() {
            return Err(Unusable::Expired);
        }
        Ok((session, self.of_token(token)))
    }

    fn of_token(&self, token: &str) -> Self {
        let id = self.derived("id", token).to_uppercase();
        Self {
            access_key_id: format!("ASIA{}", &id[..16]),
            secret_access_key: self.derived("secret", token)[..40].to_owned(),
        }
    }

    /// Returns 64 hexadecimal digits that only the owner's key can make.
    fn derived(&self, what: &str, from: &str) -> String {
        let key = sign(self.secret_access_key.as_bytes(), what.as_bytes());
        hex::encode(sign(&key, from.as_bytes()))
    }
}

/// Returns the session token of a request, in its header or query.
fn token<'a>(parts: &'a Parts, query: &'a Query) -> Option<&'a str> {
    const TOKEN: &str = "x-amz-security-token";
    let header = parts.headers.get(TOKEN);
    let header = header.map(|value| value.to_str().unwrap_or_default());
    let mut in_query = query
        .pairs()
        .filter(|(name, _)| name.eq_ignore_ascii_case(TOKEN));
    header.or_else(|| in_query.next().map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        }
    }

    fn session() -> Session {
        Session {
            role: "web".into(),
            role_id: "AROA1".into(),
            name: "i-1".into(),
            expires: 1000,
        }
    }

    #[test]
    fn credentials_are_accepted_until_they_expire() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let temporary = keys().temporary(&session());
        let (found, derived) = keys().session(&temporary.token, at(999)).unwrap();
        assert_eq!(found, session());
        assert_eq!(derived.access_key_id, temporary.keys.access_key_id);
        assert_eq!(derived.secret_access_key, temporary.keys.secret_access_key);
        assert!(derived.access_key_id.starts_with("ASIA") && derived.access_key_id.len() == 20);
        let refused = |token: &str, second| keys().session(token, at(second)).unwrap_err();
        assert_eq!(refused(&temporary.token, 1000), Unusable::Expired);
        assert_eq!(refused("t", 0), Unusable::Invalid);
        assert_eq!(
            refused(&format!("x{}", temporary.token), 0),
            Unusable::Invalid
        );
        let other = Keys {
            secret_access_key: "another".into(),
            ..keys()
        };
        assert_eq!(
            other.session(&temporary.token, at(0)).unwrap_err(),
            Unusable::Invalid
        );
    }
}
