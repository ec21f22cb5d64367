//! Releases what runs made: the one deletion path.
//!
//! Only what autorun made is ever deleted: the ledger knows it, or its tag
//! `autorun:run` says so. What is known by its name alone must carry the tag
//! still. What is gone already counts as done.

use std::path::Path;
use std::time::Duration;

use crate::clients::Clients;
use crate::clients::ec2::{Deletion, Ingress, InstanceState};
use crate::clients::keys;
use crate::clients::marks::Marks;
use crate::clients::s3::PUBLIC_POLICIES_BLOCKED;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Ledger, Remover, Resource, ResourceKind};
use crate::report::{Reporter, text};

pub mod orphans;
mod resolve;
mod whole_run;

pub use whole_run::NotRemoved;

/// How long the cloud may take to let something go.
const TIMEOUT: Duration = Duration::from_secs(600);

/// How long an instance may stay unknown to EC2 after its launch.
const CONSISTENCY: Duration = Duration::from_secs(10);

/// What a removal works with.
#[derive(Clone, Copy, Debug)]
pub struct Teardown<'a> {
    /// The outside world.
    pub clients: &'a Clients,
    /// The run whose things are removed.
    pub ledger: &'a Ledger,
    /// Says what was removed.
    pub report: &'a Reporter,
    /// Who asks for it.
    pub by: Remover,
}

impl Teardown<'_> {
    /// Removes a resource and waits until it is gone. That it is about to be
    /// removed is durable before; that it is gone, with the next commit.
    ///
    /// Throws `denied` for what autorun did not make, `timeout`.
    pub async fn release(&self, kind: ResourceKind, id: &str) -> Result<()> {
        let words = kind.words();
        let row = self.ledger.live_row(kind, id);
        match self.maker(kind, id, row.as_ref()).await? {
            Maker::Ours => {}
            Maker::Gone => {
                self.ledger.commit()?;
                if let Some(release) = self.ledger.intend_release(kind, id, self.by) {
                    release.released();
                }
                self.forget(kind, id);
                self.report
                    .info(format!("{words} {id} is not there; nothing to delete"));
                return Ok(());
            }
            Maker::Other => return Err(not_ours(kind, id, row.is_some())),
        }
        let release = self.ledger.intend_release(kind, id, self.by);
        self.ledger.commit()?;
        if kind == ResourceKind::Bucket && self.by == Remover::User {
            let emptied = self.clients.s3().await?.empty_bucket(id).await;
            if let Err(error) = emptied {
                if let Some(release) = release {
                    release.abandoned();
                }
                return Err(error);
            }
        }
        let result = delete(self.clients, self.report, kind, id).await;
        if result.is_ok()
            && let Some(row) = row.filter(|row| row.name == PUBLIC_POLICIES_BLOCKED)
        {
            let (bucket, _) = split_object(id_of(&row))?;
            self.clients
                .s3()
                .await?
                .block_public_policies(bucket, true)
                .await?;
        }
        match (&result, release) {
            (Ok(()), Some(release)) => release.released(),
            (Err(_), Some(release)) => release.abandoned(),
            (_, None) => {}
        }
        result?;
        self.ledger.gone_for_others(kind, id);
        self.forget(kind, id);
        self.report.info(format!("deleted {words} {id}"));
        Ok(())
    }

    /// What goes with a thing that is gone.
    fn forget(&self, kind: ResourceKind, id: &str) {
        match kind {
            ResourceKind::Instance => self.clients.ssh().forget_pin(id),
            ResourceKind::Bucket => self.went_with(ResourceKind::Object, &format!("{id}/")),
            ResourceKind::SecurityGroup => self.went_with(ResourceKind::Ingress, &format!("{id} ")),
            _ => {}
        }
    }

    /// What is of this kind, and whose id begins so, is gone as well.
    fn went_with(&self, kind: ResourceKind, beginning: &str) {
        let inside = |id: &str| id.starts_with(beginning);
        for row in self.ledger.resources() {
            if row.kind == kind && row.id.as_deref().is_some_and(inside) {
                self.ledger.went_with(&row, self.by);
            }
        }
    }

    /// Who made a resource. The ledger is believed for ids that AWS gives once;
    /// what has a name of its maker's choice must carry its mark.
    async fn maker(&self, kind: ResourceKind, id: &str, row: Option<&Resource>) -> Result<Maker> {
        let marks = match kind {
            ResourceKind::Instance | ResourceKind::SecurityGroup if row.is_some() => {
                return Ok(Maker::Ours);
            }
            ResourceKind::Instance => self.instance_marks(id).await?,
            ResourceKind::SecurityGroup => {
                self.clients.ec2().await?.security_group_marks(id).await?
            }
            ResourceKind::KeyPair => {
                let ec2 = self.clients.ec2().await?;
                let ask = async || ec2.key_pair_marks(id).await;
                self.once_consistent(id, row, ask).await?
            }
            ResourceKind::Bucket => {
                let s3 = self.clients.s3().await?;
                let ask = async || s3.bucket_marks(id).await;
                self.once_consistent(id, row, ask).await?
            }
            ResourceKind::Object => return self.object_maker(id, row).await,
            ResourceKind::PublicAccess | ResourceKind::Ingress => {
                return Ok(match row {
                    Some(_) => Maker::Ours,
                    None => Maker::Other,
                });
            }
            ResourceKind::KeyFile => {
                return Ok(match row {
                    Some(row) => key_file_maker(Path::new(id), &row.row),
                    None => Maker::Other,
                });
            }
        };
        let Some(marks) = marks else {
            return Ok(Maker::Gone);
        };
        Ok(match (row, marks.run) {
            (Some(_), Some(by)) if by == self.ledger.run() => Maker::Ours,
            (None, Some(_)) => Maker::Ours,
            _ => Maker::Other,
        })
    }

    async fn once_consistent(
        &self,
        id: &str,
        row: Option<&Resource>,
        ask: impl AsyncFn() -> Result<Option<Marks>>,
    ) -> Result<Option<Marks>> {
        let made = row.map_or(0, |row| row.changed);
        self.clients
            .once_consistent(id, made, self.report, ask)
            .await
    }

    async fn object_maker(&self, id: &str, row: Option<&Resource>) -> Result<Maker> {
        let (bucket, key) = split_object(id)?;
        let s3 = self.clients.s3().await?;
        if let Some(row) = row {
            return Ok(match s3.object_row(bucket, key).await? {
                None => Maker::Gone,
                Some(found) if found == row.row => Maker::Ours,
                Some(_) => Maker::Other,
            });
        }
        Ok(match s3.bucket_marks(bucket).await? {
            None => Maker::Gone,
            Some(marks) if marks.run.is_some() => Maker::Ours,
            Some(_) => Maker::Other,
        })
    }

    /// What the tags of an instance say. Right after a launch EC2 may not know
    /// it: that does not prove that it is gone.
    async fn instance_marks(&self, id: &str) -> Result<Option<Marks>> {
        let ec2 = self.clients.ec2().await?;
        let what = format!("instance {id} to be visible");
        let mut pace = self.clients.pace(what, CONSISTENCY, self.report);
        loop {
            match ec2.instances(&[id.to_owned()]).await {
                Ok(found) => return Ok(Some(found[0].marks.clone())),
                Err(e) if e.kind == ErrorKind::NotFound && pace.elapsed() < CONSISTENCY / 2 => {
                    pace.pause("not visible yet").await?;
                }
                Err(e) if e.kind == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }
}

/// Who made a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// This run, or, for what is not in its ledger, some run.
    Ours,
    Other,
    /// It does not exist (any more), so nothing is asked for.
    Gone,
}

fn not_ours(kind: ResourceKind, id: &str, was_ours: bool) -> Error {
    let words = kind.words();
    if was_ours {
        return Error::new(
            ErrorKind::Denied,
            format!("{words} `{id}` is not the one that this run made any more; it is left"),
        )
        .hint("somebody replaced it or took its tag autorun:run away: look at it yourself");
    }
    Error::new(
        ErrorKind::Denied,
        format!("{words} `{id}` was not made by autorun, so it is not deleted"),
    )
    .hint("only what carries the tag autorun:run is deleted; remove others in the AWS console")
}

/// A key made here carries its row in its comment.
fn key_file_maker(path: &Path, row: &str) -> Maker {
    match keys::comment(path) {
        Ok(Some(comment)) if comment.split(' ').any(|word| word == row) => Maker::Ours,
        Err(e) if e.kind == ErrorKind::NotFound => Maker::Gone,
        Ok(_) | Err(_) => Maker::Other,
    }
}

/// Removes a resource and waits until it is gone; no questions asked.
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
        ResourceKind::PublicAccess => {
            let (bucket, key) = split_object(id)?;
            clients.s3().await?.unpublish(bucket, key).await
        }
        ResourceKind::Ingress => {
            let (group, rule) = Ingress::of_words(id)
                .ok_or_else(|| Error::internal(format!("`{id}` is no rule of a group")))?;
            match clients.ec2().await?.close(&group, &rule).await {
                // The group is gone, and its rules with it.
                Err(e) if e.kind == ErrorKind::NotFound => Ok(()),
                closed => closed.map(drop),
            }
        }
        ResourceKind::KeyFile => {
            crash::reached("before a key file is removed");
            match std::fs::remove_file(id) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("remove", Path::new(id), &e))
                }
                _ => Ok(()),
            }
        }
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
            Ok(seen) if seen[0].state == InstanceState::Terminated => return Ok(()),
            Ok(seen) => pace.pause(seen[0].state.as_str()).await?,
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
    while ec2.delete_security_group(id).await? == Deletion::StillUsed {
        pace.pause("still used by an instance or a rule")
            .await
            .map_err(|e| match e.kind {
                ErrorKind::Timeout => e.hint(format!(
                    "terminate the instances that use {id}, close what other groups open for it, and \
                     try again"
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

/// The row's id in the cloud, or its name.
fn id_of(row: &Resource) -> &str {
    row.id.as_deref().unwrap_or(&row.name)
}
