//! The objects that a rehearsal reads in buckets of the user's account.
//!
//! A bucket is lent empty, and never listed. An object is lent when the playbook reads
//! it: what a `HEAD` request shows, and the contents of a small one with the first
//! `GET` request.

use super::borrowing::{Borrower, of_bucket};
use super::loans::{Kind, Source};
use crate::clients::calls::Call;
use crate::clients::s3::LendableObject;

/// The largest object whose contents are lent, in bytes.
const SMALL: u64 = 1 << 20;

/// The size that a larger object has at most in a rehearsal, in bytes. Its contents
/// are assumed.
const LARGEST: u64 = 16 << 20;

/// How a request reads an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// What the object is: `HEAD`.
    About,
    /// Its contents: `GET`.
    Contents,
}

/// Returns how a request reads an object, with the bucket and the key.
fn reading(call: &Call) -> Option<(Reading, &str, &str)> {
    let how = match call.operation.as_str() {
        "HEAD" => Reading::About,
        "GET" => Reading::Contents,
        _ => return None,
    };
    Some((how, call.parameter("bucket")?, call.parameter("key")?))
}

impl Borrower {
    /// Borrows the bucket of a refused request, and the object that it reads.
    pub(super) async fn borrow_from_s3(&self, call: &Call) -> anyhow::Result<bool> {
        let has_bucket = self.borrow_bucket(call).await?;
        match reading(call).filter(|_| has_bucket) {
            Some((how, bucket, key)) => self.borrow_object(call, how, (bucket, key)).await,
            None => Ok(has_bucket),
        }
    }

    /// Adds what a request is about to read of a borrowed bucket. Its list of objects
    /// is not that of the account.
    pub(super) async fn before_reading(&self, call: &Call) -> anyhow::Result<bool> {
        let Some((Reading::Contents, bucket, key)) = reading(call) else {
            let bucket = call.parameter("bucket").unwrap_or_default();
            let known = self.known.lock().await;
            if call.parameter("list-type").is_some() && known.lent.contains(&of_bucket(bucket)) {
                self.mark(call, Source::Assumed);
            }
            return Ok(false);
        };
        let mut known = self.known.lock().await;
        let Some(object) = known.without_contents.remove(&name(bucket, key)) else {
            return Ok(false);
        };
        drop(known);
        self.store(call, (bucket, key), &object, Reading::Contents)
            .await?;
        Ok(true)
    }

    /// Borrows an object. Without an account, a playbook that reads its contents counts
    /// on it.
    async fn borrow_object(
        &self,
        call: &Call,
        how: Reading,
        (bucket, key): (&str, &str),
    ) -> anyhow::Result<bool> {
        let name = name(bucket, key);
        if !self.known.lock().await.asked.insert(name.clone()) {
            return Ok(false);
        }
        let (object, source) = match self.account().await {
            Some(account) => {
                let found = account.s3().await?.lendable_object(bucket, key).await;
                match self.heard(found).flatten() {
                    Some(object) => (object, Source::Account),
                    None => return Ok(false),
                }
            }
            None if how == Reading::Contents => (LendableObject::assumed(), Source::Assumed),
            None => return Ok(false),
        };
        self.store(call, (bucket, key), &object, how).await?;
        let mut known = self.known.lock().await;
        // It is smaller than in the account.
        if object.size > LARGEST {
            self.mark(call, Source::Assumed);
        }
        if how == Reading::About {
            known.without_contents.insert(name, object);
        }
        let shown = format!("{bucket}/{key}");
        known.add(call, Kind::Object, &shown, source, &[]);
        self.mark(call, source);
        Ok(true)
    }

    /// Stores an object in the rehearsal's cloud. Contents that nothing reads, or that
    /// are large, are zeros.
    async fn store(
        &self,
        call: &Call,
        (bucket, key): (&str, &str),
        object: &LendableObject,
        how: Reading,
    ) -> anyhow::Result<()> {
        let zeros = || vec![0; usize::try_from(object.size.min(LARGEST)).unwrap_or_default()];
        let contents = match self.account().await.filter(|_| how == Reading::Contents) {
            Some(account) if object.size <= SMALL => {
                account.s3().await?.lendable_contents(bucket, key).await?
            }
            Some(_) => {
                self.mark(call, Source::Assumed);
                zeros()
            }
            None => zeros(),
        };
        let stage = self.stage.s3().await?;
        stage.store_lent(bucket, key, object, contents).await?;
        Ok(())
    }
}

/// Returns the name of an object among what was lent.
fn name(bucket: &str, key: &str) -> String {
    format!("object {bucket}/{key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::calls::{Cause, Service};

    #[test]
    fn only_requests_that_read_an_object_borrow_it() {
        let call = |operation: &str, parameters: &[(&str, &str)]| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Call {
                service: Service::S3,
                operation: operation.to_owned(),
                parameters: parameters.iter().map(pair).collect(),
                cause: Cause::default(),
            }
        };
        let object = [("bucket", "files"), ("key", "a")];
        let contents = call("GET", &object);
        assert!(matches!(
            reading(&contents),
            Some((Reading::Contents, "files", "a"))
        ));
        let about = call("HEAD", &object);
        assert!(matches!(
            reading(&about),
            Some((Reading::About, "files", "a"))
        ));
        for other in [call("PUT", &object), call("GET", &object[..1])] {
            assert!(reading(&other).is_none());
        }
    }
}
