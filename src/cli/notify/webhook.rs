//! The URL to which autorun posts, and the request.

use std::time::Duration;

use reqwest::{StatusCode, Url, redirect};
use serde_json::Value;

use crate::clients::http;
use crate::report::text;

/// The timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pauses between the attempts.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// A longer path may have a token.
const LONGEST_PLAIN_PATH: usize = 8;

/// A shorter path may also occur in ordinary output.
const SHORTEST_TOKEN: usize = 16;

/// The URL of a webhook. It often contains a token, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::cli) struct Webhook(Url);

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhook({}, ..)", self.host())
    }
}

impl Webhook {
    /// Parses a URL. The error does not contain it.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok();
        let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        let why = "must be a URL that begins with https:// or http://";
        url.map(Self).ok_or_else(|| why.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(in crate::cli) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns what must be masked if the URL can contain a token: the URL, and
    /// its part after the host, because the user may have written the host in
    /// another way.
    pub(in crate::cli) fn secrets(&self) -> Vec<String> {
        if !self.may_have_token() {
            return Vec::new();
        }
        let query = self.0.query().map(|query| format!("?{query}"));
        let path = format!("{}{}", self.0.path(), query.unwrap_or_default());
        let mut secrets = vec![self.0.to_string()];
        secrets.extend((path.len() >= SHORTEST_TOKEN).then_some(path));
        secrets
    }

    fn may_have_token(&self) -> bool {
        let url = &self.0;
        let has_user = !url.username().is_empty() || url.password().is_some();
        has_user || url.query().is_some() || url.path().len() > LONGEST_PLAIN_PATH
    }

    /// Returns the URL without what can be a token, to be shown.
    pub(in crate::cli) fn masked(&self) -> String {
        if self.may_have_token() {
            format!("{}://{}/****", self.0.scheme(), self.host())
        } else {
            self.0.to_string()
        }
    }

    /// Posts a JSON object. Repeats the request if a later one may succeed.
    pub(super) async fn post(&self, body: &Value) -> Result<(), String> {
        let client = self.client().map_err(|e| reason(&e))?;
        let mut pauses = PAUSES.iter();
        loop {
            let request = client
                .post(self.0.clone())
                .header("content-type", "application/json")
                .body(body.to_string());
            let (why, again) = match request.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => refusal(answer.status()),
                Err(error) => (reason(&error), true),
            };
            match pauses.next() {
                Some(pause) if again => tokio::time::sleep(*pause).await,
                _ => return Err(why),
            }
        }
    }

    fn client(&self) -> reqwest::Result<reqwest::Client> {
        http::builder_for(&self.0, None)
            .timeout(TIMEOUT)
            // A redirect would send the message, and perhaps the token, to
            // another place.
            .redirect(redirect::Policy::none())
            .build()
    }
}

/// Describes a status that is not a success. Returns whether another attempt may
/// succeed.
fn refusal(status: StatusCode) -> (String, bool) {
    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let hint = if status.is_redirection() {
        "; use the URL to which it redirects"
    } else {
        ""
    };
    (
        format!("it answers with HTTP status {}{hint}", status.as_u16()),
        again,
    )
}

/// Describes an error without the URL.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {}", text::duration(TIMEOUT));
    }
    match http::reason(error) {
        (reason, Some(hint)) => format!("{reason}; {hint}"),
        (reason, None) => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_urls_are_accepted_and_tokens_are_not_shown() {
        for bad in [
            "",
            "hooks.slack.com/x",
            "ftp://a/b",
            "file:///etc/passwd",
            "http://",
        ] {
            let why = Webhook::parse(bad).unwrap_err();
            assert!(bad.len() < 8 || !why.contains(bad), "{bad}: {why}");
        }
        let slack = Webhook::parse("https://hooks.slack.com/services/T0/B0/secret").unwrap();
        assert_eq!(slack.masked(), "https://hooks.slack.com/****");
        assert!(!format!("{slack:?}").contains("secret"));
        let bare = Webhook::parse("http://localhost:8080/hook").unwrap();
        assert_eq!(bare.masked(), "http://localhost:8080/hook");
        assert!(bare.secrets().is_empty());
        for url in ["http://a/?token=x", "http://token@a/", "http://:token@a/"] {
            let masked = Webhook::parse(url).unwrap().masked();
            assert_eq!(masked, "http://a/****");
        }
        assert_eq!(slack.secrets()[1], "/services/T0/B0/secret");
    }
}
