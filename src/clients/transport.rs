//! How requests leave this machine: through a proxy or directly, and which
//! certificates count.

use std::net::IpAddr;
use std::path::Path;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use hyper_util::client::proxy::matcher::Matcher;

use super::Network;
use super::http::builder;
use crate::error::{Error, ErrorKind, Result};

/// Returns whether a host is this machine, on the same link, or an instance of
/// the local cloud. A proxy cannot reach it, or reaches another one.
pub(super) fn is_near(host: &str, local: Option<Network>) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || local.is_some_and(|network| network.contains(address))
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified()
                || address
                    .to_ipv4_mapped()
                    .is_some_and(|v4| is_near(&v4.to_string(), local))
        }
        Err(_) => false,
    }
}

/// Returns the proxy through which requests to a URL go, without its password.
pub(super) fn proxy_to(url: &str) -> Option<String> {
    let proxy = Matcher::from_env().intercept(&url.parse().ok()?)?;
    let (scheme, place) = (proxy.uri().scheme_str()?, proxy.uri().authority()?);
    let address = place.as_str().rsplit('@').next()?;
    Some(format!("{scheme}://{address}"))
}

/// Returns the SDK's HTTP client for the local cloud.
pub(super) fn local_client() -> SharedHttpClient {
    one_client(TrustStore::default(), ProxyConfig::disabled())
}

/// Returns the SDK's HTTP client for AWS, which uses the proxy that the
/// environment names. `certificates` replace those of the system.
pub(super) fn aws_client(certificates: Option<Vec<u8>>) -> SharedHttpClient {
    let trust = match certificates {
        Some(pem) => TrustStore::empty().with_pem_certificate(pem),
        None => TrustStore::default(),
    };
    SharedHttpClient::new(Split {
        direct: one_client(trust.clone(), ProxyConfig::disabled()),
        proxied: one_client(trust, ProxyConfig::from_env()),
    })
}

fn one_client(trust: TrustStore, proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder =
            ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::Ring));
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.set_proxy_config(Some(proxy.clone()));
        let tls = TlsContext::builder().with_trust_store(trust.clone());
        if let Ok(tls) = tls.build() {
            builder.set_tls_context(tls);
        }
        builder.build()
    })
}

/// Sends each request directly or through the proxy, by its host.
#[derive(Debug)]
struct Split {
    direct: SharedHttpClient,
    proxied: SharedHttpClient,
}

impl HttpClient for Split {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(SplitConnector {
            direct: self.direct.http_connector(settings, components),
            proxied: self.proxied.http_connector(settings, components),
        })
    }
}

#[derive(Debug)]
struct SplitConnector {
    direct: SharedHttpConnector,
    proxied: SharedHttpConnector,
}

impl HttpConnector for SplitConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url = reqwest::Url::parse(request.uri()).ok();
        let host = url.as_ref().and_then(|url| url.host_str());
        if host.is_some_and(|host| is_near(host, None)) {
            self.direct.call(request)
        } else {
            self.proxied.call(request)
        }
    }
}

/// Reads the certificates to trust, one after another in PEM.
///
/// Throws `not_found` or `denied` if the file cannot be read, `invalid_option`
/// if it has no certificates.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>> {
    let hint = "AWS_CA_BUNDLE, or ca_bundle in ~/.aws/config, names a file with certificates in \
                PEM: `openssl x509 -in FILE -noout -subject` shows the first one";
    let read = std::fs::read(path);
    let pem = read.map_err(|e| Error::io("read the CA bundle", path, &e).hint(hint))?;
    let fault = |fault: &str| {
        let path = path.display();
        Error::new(
            ErrorKind::InvalidOption,
            format!("the CA bundle `{path}` {fault}"),
        )
        .hint(hint)
    };
    let found =
        reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| fault("is not valid PEM"))?;
    if found.is_empty() {
        return Err(fault("has no certificates"));
    }
    // The SDK's client would panic at a certificate that it cannot parse.
    builder()
        .no_proxy()
        .tls_certs_only(found)
        .build()
        .map_err(|_| fault("has a certificate that is not valid"))?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_hosts_are_those_that_a_proxy_cannot_reach() {
        let local = Network::parse("10.77.0.0/24");
        for near in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "169.254.170.2",
            "0.0.0.0",
            "[::1]",
            "::1",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "10.77.0.5",
        ] {
            assert!(is_near(near, local), "{near}");
        }
        for far in [
            "example.com",
            "localhost.example.com",
            "10.77.1.5",
            "192.168.1.1",
            "[fd00::1]",
            "128.0.0.1",
            "",
        ] {
            assert!(!is_near(far, local), "{far}");
        }
        assert!(!is_near("10.77.0.5", None));
        assert_eq!(Network::parse("10.77.0.0/33"), None);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            certificates(file.path()).unwrap_err().to_string()
        };
        assert!(file("").contains("has no certificates"));
        assert!(file("certificate").contains("has no certificates"));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(file(empty).contains("not valid"), "{}", file(empty));
        let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(file(broken).contains("PEM"), "{}", file(broken));
        let missing = certificates(Path::new("/nonexistent/ca.pem")).unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);
    }
}
