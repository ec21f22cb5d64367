//! Files and directories over sftp, on the connections of a run.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Ssh, blocking};
use super::command::{Finished, Sink};
use super::host::Host;
use super::sftp::{NotCopied, Session, Upload};
use super::sftp_trees::TreeUpload;
use crate::error::Result;

impl Ssh {
    /// Returns whether sftp works on a host.
    ///
    /// Throws `unreachable`, `denied`, `host_key_changed`, `cancelled`.
    pub async fn has_sftp(&self, host: &Host) -> Result<bool> {
        let works = self.over_sftp(host, None, |_| Ok(())).await?;
        Ok(works.is_some())
    }

    /// Copies a file to a host. As with a copy program, the output is the path
    /// of the copy, and the status says what went wrong. Returns `None` if the
    /// host has no sftp.
    ///
    /// Throws `timeout`, `unreachable`, `denied`, `host_key_changed`,
    /// `cancelled`.
    pub async fn put_over_sftp(
        &self,
        host: &Host,
        mut upload: Upload,
        timeout: Option<Duration>,
    ) -> Result<Option<Finished>> {
        let put = move |session: &Session<'_>| session.put(&mut upload);
        put_result(self.over_sftp(host, timeout, put).await?)
    }

    /// Copies a directory to a host, as [`Ssh::put_over_sftp`] copies a file.
    pub async fn put_tree_over_sftp(
        &self,
        host: &Host,
        mut upload: TreeUpload,
        timeout: Option<Duration>,
    ) -> Result<Option<Finished>> {
        let put = move |session: &Session<'_>| session.put_tree(&mut upload);
        put_result(self.over_sftp(host, timeout, put).await?)
    }

    /// Returns the size and the permissions of a file on a host, or `None` for a
    /// directory. The result of a failure is like that of a copy program. Returns
    /// `None` if the host has no sftp.
    ///
    /// Throws as [`Ssh::put_over_sftp`].
    pub async fn look_over_sftp(
        &self,
        host: &Host,
        path: &str,
        timeout: Option<Duration>,
    ) -> Result<Option<std::result::Result<Option<(u64, u32)>, Finished>>> {
        let path = path.to_owned();
        let look = move |session: &Session<'_>| session.look(&path);
        Ok(match self.over_sftp(host, timeout, look).await? {
            None => None,
            Some(Ok(looked)) => Some(Ok(looked)),
            Some(Err(error)) => Some(Err(error.finished()?)),
        })
    }

    /// Copies a file from a host.
    ///
    /// Throws as [`Ssh::put_over_sftp`].
    pub async fn get_over_sftp(
        &self,
        host: &Host,
        path: &str,
        into: Sink,
        timeout: Option<Duration>,
    ) -> Result<Option<Finished>> {
        let path = path.to_owned();
        let get = move |session: &Session<'_>| session.get(&path, into.0);
        got_result(self.over_sftp(host, timeout, get).await?)
    }

    /// Copies a directory from a host, as a tar stream like that of `tar -cf - .`.
    ///
    /// Throws as [`Ssh::put_over_sftp`].
    pub async fn get_tree_over_sftp(
        &self,
        host: &Host,
        path: &str,
        into: Sink,
        timeout: Option<Duration>,
    ) -> Result<Option<Finished>> {
        let path = path.to_owned();
        let get = move |session: &Session<'_>| session.get_tree(&path, into.0);
        got_result(self.over_sftp(host, timeout, get).await?)
    }

    /// Works over sftp. Returns `None` if the host has no sftp.
    async fn over_sftp<T: Send + 'static>(
        &self,
        host: &Host,
        timeout: Option<Duration>,
        work: impl FnOnce(&Session<'_>) -> std::result::Result<T, NotCopied> + Send + 'static,
    ) -> Result<Option<std::result::Result<T, NotCopied>>> {
        let (connection, channel) = self.open(host).await?;
        let idle = Arc::clone(&self.idle);
        let cancel = self.cancel.clone();
        let host = host.clone();
        blocking(move || {
            // sftp opens its own channel.
            let _ = connection.finish(|_| channel.close());
            drop(channel);
            let Some(session) = Session::open(&connection, &host, timeout, &cancel)? else {
                return Ok(None);
            };
            let done = work(&session);
            if let Err(NotCopied::Failed(_)) = &done {
                connection.cut();
                return Ok(Some(done));
            }
            drop(session);
            idle.keep(host, connection);
            Ok(Some(done))
        })
        .await
    }
}

/// Returns the result that a copy program would have, whose output is the path
/// of the copy.
fn put_result(put: Option<std::result::Result<String, NotCopied>>) -> Result<Option<Finished>> {
    let finished = |path: String| Finished {
        stdout: path.into_bytes(),
        ..Finished::default()
    };
    put.map(|put| put.map(finished).or_else(NotCopied::finished))
        .transpose()
}

fn got_result(got: Option<std::result::Result<(), NotCopied>>) -> Result<Option<Finished>> {
    got.map(|got| {
        got.map(|()| Finished::default())
            .or_else(NotCopied::finished)
    })
    .transpose()
}
