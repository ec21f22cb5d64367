//! The objects of a shared ledger in S3.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::url::Location;
use crate::cli::settings::local;
use crate::clients::s3::{Condition, ConditionalPut, S3};
use crate::clients::{AwsOptions, Clients};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Object, Objects, Put};
use crate::report::Reporter;

/// How long a request may take, with its repetitions.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// How long a list of all objects may take, 1000 in each request.
const LISTS_WITHIN: Duration = Duration::from_secs(300);

/// How many objects are read at the same time.
const AT_ONCE: usize = 32;

/// A bucket. It has its own runtime, because the ledger's threads wait for requests
/// while the runtime of the run may be stopped.
#[derive(Debug)]
pub(in crate::cli) struct Bucket {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    clients: Clients,
    location: Location,
    endpoint: Option<String>,
    shown: String,
}

impl Bucket {
    /// Prepares requests to a bucket. The first one connects.
    pub(super) fn open(
        location: &Location,
        options: AwsOptions,
        report: Option<&Reporter>,
    ) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the runtime of the ledger")?;
        let endpoint = options.endpoints.s3.clone();
        let shown = location.shown(endpoint.as_deref());
        let report = report.cloned().unwrap_or_else(Reporter::quiet);
        Ok(Self {
            clients: Clients::new(options, local()?, report, CancellationToken::new()),
            runtime: Some(runtime),
            location: location.clone(),
            endpoint,
            shown,
        })
    }

    /// Returns the URL of the ledger.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns whether the store has an endpoint without TLS.
    pub(in crate::cli) fn is_plain_http(&self) -> bool {
        let endpoint = self.endpoint.as_deref();
        endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// Performs a request about the bucket, whose name is the second argument.
    pub(in crate::cli) fn ask<T>(
        &self,
        request: impl AsyncFnOnce(S3<'_>, &str) -> Result<T>,
    ) -> Result<T> {
        self.perform(async {
            let s3 = self.clients.s3().await?;
            request(s3, &self.location.bucket).await
        })
    }

    /// Performs a request on the runtime of the ledger.
    fn perform<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        self.perform_within(ANSWERS_WITHIN, request)
    }

    fn perform_within<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(runtime) = &self.runtime else {
            return Err(Error::cancelled());
        };
        runtime.block_on(async {
            let limited = tokio::time::timeout(limit, request).await;
            limited.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("no answer within {} s", limit.as_secs()),
                ))
            })
        })
    }

    async fn get(&self, key: &str) -> Result<Option<Object>> {
        let s3 = self.clients.s3().await?;
        let key = self.location.key(key);
        let found = s3.read_whole(&self.location.bucket, &key).await?;
        Ok(found.map(|(body, etag)| Object { body, etag }))
    }

    async fn put(&self, key: &str, body: &[u8], condition: Condition<'_>) -> Result<Put> {
        let s3 = self.clients.s3().await?;
        let key = self.location.key(key);
        let put = s3.put_if(&self.location.bucket, &key, condition, body);
        Ok(match put.await? {
            ConditionalPut::Written(etag) => Put::Written(etag),
            ConditionalPut::Refused => Put::Refused,
            ConditionalPut::Conflict => Put::Conflict,
        })
    }
}

impl Objects for Bucket {
    fn read(&self, key: &str) -> Result<Option<Object>> {
        self.perform(self.get(key))
    }

    fn read_all(&self, keys: &[String]) -> Result<Vec<Option<Object>>> {
        let mut all = Vec::with_capacity(keys.len());
        // Each group has its own time limit.
        for keys in keys.chunks(AT_ONCE * 8) {
            let reads = stream::iter(keys).map(|key| self.get(key));
            all.extend(self.perform(reads.buffered(AT_ONCE).try_collect::<Vec<_>>())?);
        }
        Ok(all)
    }

    fn create(&self, key: &str, body: &[u8]) -> Result<Put> {
        self.perform(self.put(key, body, Condition::Absent))
    }

    fn replace(&self, key: &str, body: &[u8], etag: &str) -> Result<Put> {
        self.perform(self.put(key, body, Condition::Etag(etag)))
    }

    fn delete(&self, keys: &[String]) -> Result<()> {
        for keys in keys.chunks(AT_ONCE * 8) {
            let deletes = stream::iter(keys).map(async |key| {
                let s3 = self.clients.s3().await?;
                let key = self.location.key(key);
                s3.delete_object(&self.location.bucket, &key).await
            });
            self.perform(deletes.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>())?;
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let bucket = &self.location.bucket;
        let listed = self.perform_within(LISTS_WITHIN, async {
            let s3 = self.clients.s3().await?;
            s3.list(bucket, &self.location.key(prefix)).await
        })?;
        let own = self.location.key("");
        let keys = listed.into_iter().map(|object| object.key);
        Ok(keys.map(|key| key.replacen(&own, "", 1)).collect())
    }

    fn place(&self) -> &str {
        &self.shown
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // A runtime must not be dropped inside another one, which may happen here.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
