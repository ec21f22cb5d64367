//! Lets the cloud of a rehearsal borrow what only the user's account has.
//!
//! That cloud starts empty. A lender hears of each request before it is sent, and
//! again if the cloud refuses it, and may add what the request names. A refused
//! request is then sent once more. So nothing above this module knows of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use futures_util::future::BoxFuture;

use super::calls::{Call, Service, cause, pairs};

/// Adds resources of the user's account to the cloud of a rehearsal.
pub trait Lender: fmt::Debug + Send + Sync {
    /// Adds what a request searches for.
    fn before<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, ()>;

    /// Adds what a refused request names. Returns whether it added anything.
    fn after_refusal<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, bool>;
}

/// Returns an HTTP client that lets a lender hear of its requests.
pub(super) fn client(
    inner: SharedHttpClient,
    lender: Option<&Arc<dyn Lender>>,
) -> SharedHttpClient {
    match lender {
        None => inner,
        Some(lender) => SharedHttpClient::new(Lending {
            inner,
            lender: Arc::clone(lender),
        }),
    }
}

#[derive(Debug)]
struct Lending {
    inner: SharedHttpClient,
    lender: Arc<dyn Lender>,
}

impl HttpClient for Lending {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(LendingConnector {
            inner: self.inner.http_connector(settings, components),
            lender: Arc::clone(&self.lender),
        })
    }
}

#[derive(Debug)]
struct LendingConnector {
    inner: SharedHttpConnector,
    lender: Arc<dyn Lender>,
}

impl HttpConnector for LendingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, lender) = (self.inner.clone(), Arc::clone(&self.lender));
        let call = sent(&request);
        let again = request.try_clone();
        HttpConnectorFuture::new(async move {
            lender.before(&call).await;
            let answer = inner.call(request).await?;
            let is_refused = answer.status().is_client_error();
            if is_refused
                && lender.after_refusal(&call).await
                && let Some(again) = again
            {
                return inner.call(again).await;
            }
            Ok(answer)
        })
    }
}

/// Returns a request: the parameters of EC2 and its action, or the bucket and the key
/// of S3 and the method.
fn sent(request: &HttpRequest) -> Call {
    let form = pairs(request.body().bytes().unwrap_or_default());
    let action = form.iter().find(|(name, _)| name == "Action");
    match action.map(|(_, action)| action.clone()) {
        Some(operation) => Call {
            service: Service::Ec2,
            operation,
            parameters: form,
            cause: cause(),
        },
        None => Call {
            service: Service::S3,
            operation: request.method().to_owned(),
            parameters: of_path(request.uri()),
            cause: cause(),
        },
    }
}

/// Returns the bucket and the key in the path of a URL, and `list-type` and `prefix` if
/// the request lists objects.
fn of_path(url: &str) -> Vec<(String, String)> {
    let Ok(url) = reqwest::Url::parse(url) else {
        return Vec::new();
    };
    let decoded = percent_encoding::percent_decode_str(url.path()).decode_utf8_lossy();
    let path = decoded.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let of_list = |(name, _): &(Cow<str>, Cow<str>)| ["list-type", "prefix"].contains(&&**name);
    let of_list = url.query_pairs().filter(of_list);
    let all: [(Cow<str>, Cow<str>); 2] =
        [("bucket".into(), bucket.into()), ("key".into(), key.into())];
    all.into_iter()
        .chain(of_list)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_bucket_and_key() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let of = |path: &str| of_path(&format!("http://127.0.0.1:4577{path}"));
        assert_eq!(of("/"), []);
        let listing = [
            pair("bucket", "files"),
            pair("list-type", "2"),
            pair("prefix", "a/b c"),
        ];
        assert_eq!(of("/files?delimiter=x&list-type=2&prefix=a%2Fb+c"), listing);
        let both = [pair("bucket", "files"), pair("key", "a/b c")];
        assert_eq!(of("/files/a/b%20c"), both);
    }
}
