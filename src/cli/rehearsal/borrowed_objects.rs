//! The objects that a rehearsal reads in buckets of the user's account.
//!
//! A bucket is lent empty. An object is lent when the playbook reads it: what a `HEAD`
//! request shows, and the contents of a small one with the first `GET` request. A list
//! lends the keys and sizes of its objects.

use futures_util::future::BoxFuture;
use futures_util::stream::iter;
use futures_util::{FutureExt as _, StreamExt as _};

use super::borrowing::{Borrower, of_bucket};
use super::loans::{Kind, Source};
use crate::clients::calls::Call;
use crate::clients::s3::LendableObject;
use crate::error::Result;

/// The largest object whose contents are lent, in bytes.
const SMALL: u64 = 1 << 20;

/// The size that a larger object has at most in a rehearsal, in bytes. Its contents
/// are assumed.
const LARGEST: u64 = 16 << 20;

/// The size that the objects of a list have together at most in a rehearsal, in bytes.
const LISTED: u64 = 64 << 20;

/// How many objects of a list are stored at the same time.
const AT_ONCE: usize = 16;

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

/// Returns the beginning of the keys that a request lists, with the bucket.
fn listing(call: &Call) -> Option<(&str, &str)> {
    call.parameter("list-type")?;
    let prefix = call.parameter("prefix").unwrap_or_default();
    Some((call.parameter("bucket")?, prefix))
}

impl Borrower {
    /// Borrows the bucket of a refused request, and what it reads there.
    pub(super) async fn borrow_from_s3(&self, call: &Call) -> anyhow::Result<bool> {
        let has_bucket = self.borrow_bucket(call).await?;
        if has_bucket && let Some(list) = listing(call) {
            self.borrow_list(call, list).await?;
        }
        match reading(call).filter(|_| has_bucket) {
            Some((how, bucket, key)) => self.borrow_object(call, how, (bucket, key)).await,
            None => Ok(has_bucket),
        }
    }

    /// Adds what a request is about to read of a borrowed bucket.
    pub(super) async fn before_reading(&self, call: &Call) -> anyhow::Result<bool> {
        if let Some((how, bucket, key)) = reading(call) {
            return self.complete(call, how, (bucket, key)).await;
        }
        if let Some(list) = listing(call) {
            let is_lent = self.known.lock().await.lent.contains(&of_bucket(list.0));
            if is_lent {
                return self.borrow_list(call, list).await;
            }
        }
        if let (Some(bucket), Some(key)) = (call.parameter("bucket"), call.parameter("key")) {
            // What the playbook changes does not come back from the account.
            let mut known = self.known.lock().await;
            known.incomplete.remove(&name(bucket, key));
            known.asked.insert(name(bucket, key));
        }
        Ok(false)
    }

    /// Adds what a lent object lacks and a request is about to read.
    async fn complete(
        &self,
        call: &Call,
        how: Reading,
        (bucket, key): (&str, &str),
    ) -> anyhow::Result<bool> {
        let name = name(bucket, key);
        let mut known = self.known.lock().await;
        let object = match (known.incomplete.get(&name), how) {
            (None, _) | (Some(Some(_)), Reading::About) => return Ok(false),
            (Some(object), _) => object.clone(),
        };
        known.incomplete.remove(&name);
        drop(known);
        let object = match object {
            Some(object) => object,
            None => match self.object_of_account(bucket, key).await? {
                Some(object) => object,
                None => return Ok(false),
            },
        };
        self.store(call, (bucket, key), &object, how).await?;
        if how == Reading::About {
            let mut known = self.known.lock().await;
            known.incomplete.insert(name, Some(object));
        }
        Ok(true)
    }

    /// Borrows the objects that a request lists, without their contents. Without an
    /// account, the list has only what the playbook has created.
    async fn borrow_list(
        &self,
        call: &Call,
        (bucket, prefix): (&str, &str),
    ) -> anyhow::Result<bool> {
        let shown = format!("{bucket}/{prefix}*");
        // Times and entity tags are those of the rehearsal.
        if call.cause.function == "list_objects" {
            self.mark(call, Source::Assumed);
        }
        if !self
            .known
            .lock()
            .await
            .asked
            .insert(format!("objects {shown}"))
        {
            return Ok(false);
        }
        let found = match self.account().await {
            Some(account) => self.heard(account.s3().await?.lendable_list(bucket, prefix).await),
            None => None,
        };
        let Some(list) = found else {
            self.mark(call, Source::Assumed);
            return Ok(false);
        };
        let mut known = self.known.lock().await;
        let is_new = |(key, _): &(String, u64)| known.asked.insert(name(bucket, key));
        let new: Vec<(String, u64)> = list.objects.into_iter().filter(is_new).collect();
        let names = new.iter().map(|(key, _)| (name(bucket, key), None));
        known.incomplete.extend(names);
        if !new.is_empty() {
            known.add(call, Kind::Object, &shown, Source::Account, &[]);
        }
        drop(known);
        let is_whole = self.store_listed(bucket, &new).await?;
        if !(is_whole && list.is_complete) {
            self.mark(call, Source::Assumed);
        }
        Ok(!new.is_empty())
    }

    /// Stores listed objects as zeros. Returns whether all have their sizes.
    async fn store_listed(&self, bucket: &str, objects: &[(String, u64)]) -> anyhow::Result<bool> {
        let stage = self.stage.s3().await?;
        let object = LendableObject::assumed();
        let mut room = LISTED;
        let mut is_whole = true;
        let mut stored: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
        for (key, size) in objects {
            let kept = room.min(LARGEST).min(*size);
            room -= kept;
            is_whole &= kept == *size;
            stored.push(stage.store_lent(bucket, key, &object, zeros(kept)).boxed());
        }
        let mut stored = iter(stored).buffer_unordered(AT_ONCE);
        while let Some(result) = stored.next().await {
            result?;
        }
        Ok(is_whole)
    }

    /// Returns what an object of the account is, if it exists.
    async fn object_of_account(
        &self,
        bucket: &str,
        key: &str,
    ) -> anyhow::Result<Option<LendableObject>> {
        let Some(account) = self.account().await else {
            return Ok(None);
        };
        let found = account.s3().await?.lendable_object(bucket, key).await;
        Ok(self.heard(found).flatten())
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
            Some(_) => match self.object_of_account(bucket, key).await? {
                Some(object) => (object, Source::Account),
                None => return Ok(false),
            },
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
            known.incomplete.insert(name, Some(object));
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
        let contents = match self.account().await.filter(|_| how == Reading::Contents) {
            Some(account) if object.size <= SMALL => {
                account.s3().await?.lendable_contents(bucket, key).await?
            }
            Some(_) => {
                self.mark(call, Source::Assumed);
                zeros(object.size)
            }
            None => zeros(object.size),
        };
        let stage = self.stage.s3().await?;
        stage.store_lent(bucket, key, object, contents).await?;
        Ok(())
    }
}

/// Returns the assumed contents of an object.
fn zeros(size: u64) -> Vec<u8> {
    vec![0; usize::try_from(size.min(LARGEST)).unwrap_or_default()]
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
