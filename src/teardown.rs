//! Releases one resource: the one deletion path.
//!
//! Only what autorun made is ever deleted: this run's ledger knows it, or its
//! tag `autorun:run` says so. What is gone already counts as done.

use std::path::Path;
use std::time::Duration;

use crate::clients::Clients;
use crate::clients::ec2::StillUsed;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Ledger, ResourceKind};
use crate::report::{Reporter, text};

/// How long the cloud may take to let something go.
const TIMEOUT: Duration = Duration::from_secs(600);

/// How long an instance may stay unknown to EC2 after its launch.
const CONSISTENCY: Duration = Duration::from_secs(10);

/// Removes a resource and waits until it is gone.
///
/// Throws `denied` for what autorun did not make, `timeout`.
pub async fn release(
    clients: &Clients,
    ledger: &Ledger,
    report: &Reporter,
    kind: ResourceKind,
    id: &str,
) -> Result<()> {
    if !ledger.made(kind, id) {
        match maker(clients, report, kind, id).await? {
            Maker::Autorun => {}
            Maker::Gone => {
                let what = kind.as_str().replace('_', " ");
                report.info(format!("{what} {id} is not there; nothing to delete"));
                return Ok(());
            }
            Maker::Other => {
                let what = kind.as_str().replace('_', " ");
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("{what} `{id}` was not made by autorun, so it is not deleted"),
                )
                .hint(
                    "only what carries the tag autorun:run is deleted; remove others in the \
                     AWS console",
                ));
            }
        }
    }
    let release = ledger.intend_release(kind, id);
    let result = delete(clients, report, kind, id).await;
    match (&result, release) {
        (Ok(()), Some(release)) => release.released(),
        (Err(_), Some(release)) => release.abandoned(),
        (_, None) => {}
    }
    if result.is_ok() {
        report.info(format!("deleted {} {id}", kind.as_str().replace('_', " ")));
    }
    result
}

/// Who made a resource, by its tags.
enum Maker {
    Autorun,
    Other,
    /// It does not exist (any more), so nothing is asked for.
    Gone,
}

async fn maker(
    clients: &Clients,
    report: &Reporter,
    kind: ResourceKind,
    id: &str,
) -> Result<Maker> {
    let run = match kind {
        ResourceKind::Instance => instance_run(clients, report, id).await,
        ResourceKind::KeyPair => clients.ec2().await?.key_pair_run(id).await,
        ResourceKind::SecurityGroup => clients.ec2().await?.security_group_run(id).await,
        ResourceKind::Bucket => clients.s3().await?.bucket_run(id).await,
        ResourceKind::Object => {
            let (bucket, _) = split_object(id)?;
            clients.s3().await?.bucket_run(bucket).await
        }
        ResourceKind::KeyFile => Ok(None),
    };
    match run {
        Ok(Some(_)) => Ok(Maker::Autorun),
        Ok(None) => Ok(Maker::Other),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(Maker::Gone),
        Err(e) => Err(e),
    }
}

/// The run that made an instance. Right after a launch EC2 may not know it:
/// that does not prove that it is gone.
async fn instance_run(clients: &Clients, report: &Reporter, id: &str) -> Result<Option<String>> {
    let ec2 = clients.ec2().await?;
    let mut pace = clients.pace(format!("instance {id} to be visible"), CONSISTENCY, report);
    loop {
        match ec2.instances(&[id.to_owned()]).await {
            Ok(found) => return Ok(found[0].run.clone()),
            Err(e) if e.kind == ErrorKind::NotFound && pace.elapsed() < CONSISTENCY / 2 => {
                pace.pause("not visible yet").await?;
            }
            Err(e) => return Err(e),
        }
    }
}

async fn delete(clients: &Clients, report: &Reporter, kind: ResourceKind, id: &str) -> Result<()> {
    match kind {
        ResourceKind::Instance => terminate(clients, report, id).await,
        ResourceKind::KeyPair => clients.ec2().await?.delete_key_pair(id).await,
        ResourceKind::SecurityGroup => delete_group(clients, report, id).await,
        ResourceKind::Bucket => clients.s3().await?.delete_bucket(id).await,
        ResourceKind::Object => {
            let (bucket, key) = split_object(id)?;
            clients.s3().await?.delete_object(bucket, key).await
        }
        ResourceKind::KeyFile => match std::fs::remove_file(id) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", Path::new(id), &e))
            }
            _ => Ok(()),
        },
    }
}

async fn terminate(clients: &Clients, report: &Reporter, id: &str) -> Result<()> {
    let ec2 = clients.ec2().await?;
    let mut pace = clients.pace(format!("instance {id} to terminate"), TIMEOUT, report);
    let ids = [id.to_owned()];
    loop {
        match ec2.terminate(id).await {
            Ok(()) => break,
            // Right after the launch EC2 may not know it yet. Not found does
            // not prove that it is gone, so it is asked for a while.
            Err(e) if e.kind == ErrorKind::NotFound && pace.elapsed() < CONSISTENCY => {
                pace.pause("not visible yet").await?;
            }
            Err(e) if e.kind == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    loop {
        match ec2.instances(&ids).await {
            Ok(seen) if seen[0].state == "terminated" => return Ok(()),
            Ok(seen) => pace.pause(&seen[0].state).await?,
            // Never seen so far: that may as well be a launch a moment ago.
            Err(e) if e.kind == ErrorKind::NotFound && pace.elapsed() < CONSISTENCY => {
                pace.pause("not visible yet").await?;
            }
            Err(e) if e.kind == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// A group stays in use until its instances are terminated.
async fn delete_group(clients: &Clients, report: &Reporter, id: &str) -> Result<()> {
    let ec2 = clients.ec2().await?;
    let mut pace = clients.pace(format!("security group {id} to be unused"), TIMEOUT, report);
    while ec2.delete_security_group(id).await? == StillUsed(true) {
        pace.pause("still used by an instance")
            .await
            .map_err(|e| match e.kind {
                ErrorKind::Timeout => e.hint(format!(
                    "terminate the instances that use {id}, then try again"
                )),
                _ => e,
            })?;
    }
    Ok(())
}

/// `bucket/key`.
fn split_object(id: &str) -> Result<(&str, &str)> {
    id.split_once('/').ok_or_else(|| {
        let example = text::or_ticked(&["bucket/key"]);
        Error::internal(format!("`{id}` is no object id, as {example}"))
    })
}
