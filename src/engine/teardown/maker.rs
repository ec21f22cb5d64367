//! Finds out who created a resource, from its ledger row, tags or metadata.

use std::path::Path;

use super::Teardown;
use super::delete::{CONSISTENCY, split_object};
use crate::clients::ec2::NetworkPart;
use crate::clients::keys;
use crate::clients::marks::Marks;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Resource, ResourceKind};

/// Who created a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// This run, or any run if the resource is not in this run's ledger.
    Ours,
    Other,
    /// The resource does not exist (any more), so there is nothing to check.
    Gone,
}

impl Teardown<'_> {
    /// Finds out who created a resource. AWS never reuses an instance id or a
    /// group id, so the ledger suffices for those. A resource with a name that
    /// a user can choose must still carry its mark.
    pub(super) async fn maker(
        &self,
        kind: ResourceKind,
        id: &str,
        row: Option<&Resource>,
    ) -> Result<Maker> {
        let marks = match kind {
            // AWS does not reuse their ids.
            ResourceKind::Instance
            | ResourceKind::SecurityGroup
            | ResourceKind::Vpc
            | ResourceKind::Subnet
            | ResourceKind::InternetGateway
            | ResourceKind::RouteTable
            | ResourceKind::LaunchTemplate
                if row.is_some() =>
            {
                return Ok(Maker::Ours);
            }
            ResourceKind::Instance => self.instance_marks(id).await?,
            ResourceKind::SecurityGroup => {
                self.clients.ec2().await?.security_group_marks(id).await?
            }
            ResourceKind::LaunchTemplate => {
                self.clients.ec2().await?.launch_template_marks(id).await?
            }
            ResourceKind::KeyPair => {
                let ec2 = self.clients.ec2().await?;
                let ask = async || ec2.key_pair_marks(id).await;
                self.once_consistent(id, row, ask).await?
            }
            ResourceKind::IamRole | ResourceKind::InstanceProfile => {
                self.iam_marks(kind, id, row).await?
            }
            ResourceKind::Bucket => {
                let s3 = self.clients.s3().await?;
                let ask = async || s3.bucket_marks(id).await;
                self.once_consistent(id, row, ask).await?
            }
            ResourceKind::ElasticIp
            | ResourceKind::Image
            | ResourceKind::Volume
            | ResourceKind::Snapshot => {
                let ec2 = self.clients.ec2().await?;
                let ask = async || {
                    Ok(match kind {
                        ResourceKind::Image => ec2.own_image(id).await?.map(|own| own.marks),
                        ResourceKind::Volume => ec2.volume(id).await?.map(|volume| volume.marks),
                        ResourceKind::Snapshot => ec2.snapshot(id).await?.map(|own| own.marks),
                        _ => ec2.address(id).await?.map(|address| address.marks),
                    })
                };
                let marks = self.once_consistent(id, row, ask).await?;
                // AWS does not reuse their ids.
                if marks.is_some() && row.is_some() {
                    return Ok(Maker::Ours);
                }
                marks
            }
            ResourceKind::Object => return self.object_maker(id, row).await,
            // EC2 describes a deleted NAT gateway for an hour.
            ResourceKind::NatGateway => {
                let part = NetworkPart::NatGateway;
                match self.part_marks(part, id, row).await? {
                    Some(_) if row.is_some() => return Ok(Maker::Ours),
                    marks => marks,
                }
            }
            ResourceKind::Vpc => self.part_marks(NetworkPart::Vpc, id, row).await?,
            ResourceKind::Subnet => self.part_marks(NetworkPart::Subnet, id, row).await?,
            ResourceKind::InternetGateway => {
                self.part_marks(NetworkPart::InternetGateway, id, row)
                    .await?
            }
            ResourceKind::RouteTable => self.part_marks(NetworkPart::RouteTable, id, row).await?,
            // AWS does not reuse the id of an upload.
            ResourceKind::MultipartUpload | ResourceKind::PublicAccess | ResourceKind::Ingress => {
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
        // Without tags, the time at which the bucket was created shows whether
        // it is still the same.
        if marks.unsupported {
            let Some(row) = row else {
                return Ok(Maker::Other);
            };
            let s3 = self.clients.s3().await?;
            return Ok(if s3.was_created(id, row.intended, row.changed).await? {
                Maker::Ours
            } else {
                Maker::Other
            });
        }
        Ok(match (row, marks.run) {
            (Some(_), Some(by)) if by == self.ledger.run() => Maker::Ours,
            (None, Some(_)) => Maker::Ours,
            _ => Maker::Other,
        })
    }

    /// Returns the marks in the tags of a role or an instance profile, or `None` if it
    /// does not exist.
    async fn iam_marks(
        &self,
        kind: ResourceKind,
        id: &str,
        row: Option<&Resource>,
    ) -> Result<Option<Marks>> {
        let iam = self.clients.iam().await?;
        let ask = async || match kind {
            ResourceKind::IamRole => iam.role_marks(id).await,
            _ => iam.profile_marks(id).await,
        };
        self.once_consistent(id, row, ask).await
    }

    /// Returns the marks in the tags of a part of a network, or `None` if it does
    /// not exist.
    async fn part_marks(
        &self,
        part: NetworkPart,
        id: &str,
        row: Option<&Resource>,
    ) -> Result<Option<Marks>> {
        let ec2 = self.clients.ec2().await?;
        let ask = async || {
            if !ec2.has_network_part(part, id).await? {
                return Ok(None);
            }
            let marks = ec2.network_part_marks(part, id).await?;
            Ok(Some(marks.unwrap_or_default()))
        };
        self.once_consistent(id, row, ask).await
    }

    async fn once_consistent(
        &self,
        id: &str,
        row: Option<&Resource>,
        ask: impl AsyncFn() -> Result<Option<Marks>>,
    ) -> Result<Option<Marks>> {
        let created = row.map_or(0, |row| row.changed);
        self.clients
            .once_consistent(id, created, self.report, ask)
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
            Some(marks) if marks.unsupported && self.ledger.made(ResourceKind::Bucket, bucket) => {
                Maker::Ours
            }
            Some(_) => Maker::Other,
        })
    }

    /// Returns the marks from the tags of an instance. Right after a launch,
    /// EC2 may not find the instance: that does not prove that it is gone.
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
            format!("{words} `{id}` is no longer the one that this run created, so it is kept"),
        )
        .hint("it was replaced, or its tag autorun:run was removed: check it yourself");
    }
    Error::new(
        ErrorKind::Denied,
        format!("{words} `{id}` was not created by autorun, so it is not deleted"),
    )
    .hint(
        "autorun deletes only resources with the tag autorun:run; delete others in the AWS console",
    )
}

/// Finds out who created a key file. A key created by autorun has its row in
/// its comment.
pub(super) fn key_file_maker(path: &Path, row: &str) -> Maker {
    match keys::comment(path) {
        Ok(Some(comment)) if comment.split(' ').any(|word| word == row) => Maker::Ours,
        Err(e) if e.kind == ErrorKind::NotFound => Maker::Gone,
        Ok(_) | Err(_) => Maker::Other,
    }
}
