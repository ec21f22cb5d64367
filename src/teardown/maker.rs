//! Who made a resource: its row in the ledger, its tags, its metadata.

use std::path::Path;

use super::Teardown;
use super::delete::{CONSISTENCY, split_object};
use crate::clients::keys;
use crate::clients::marks::Marks;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Resource, ResourceKind};

/// Who made a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// This run, or, for what is not in its ledger, some run.
    Ours,
    Other,
    /// It does not exist (any more), so nothing is asked for.
    Gone,
}

impl Teardown<'_> {
    /// Who made a resource. The ledger is believed for ids that AWS gives once;
    /// what has a name of its maker's choice must carry its mark.
    pub(super) async fn maker(
        &self,
        kind: ResourceKind,
        id: &str,
        row: Option<&Resource>,
    ) -> Result<Maker> {
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

pub(super) fn not_ours(kind: ResourceKind, id: &str, was_ours: bool) -> Error {
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
pub(super) fn key_file_maker(path: &Path, row: &str) -> Maker {
    match keys::comment(path) {
        Ok(Some(comment)) if comment.split(' ').any(|word| word == row) => Maker::Ours,
        Err(e) if e.kind == ErrorKind::NotFound => Maker::Gone,
        Ok(_) | Err(_) => Maker::Other,
    }
}
