//! Settles intended rows: finds out whether their resources were created.
//! Queries go by token and tag, and repeat throughout the retry window, in
//! which the endpoint may not show a resource that it has just created.

use std::path::Path;

use futures_util::future::join_all;

use super::Teardown;
use super::delete::split_object;
use super::maker::{Maker, key_file_maker};
use super::release::id_of;
use crate::clients::ec2::{NetworkPart, VolumeState};
use crate::clients::keys;
use crate::clients::marks::Marks;
use crate::clients::s3::Allowed;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Ledger, Resource, ResourceKind, State};

/// The maximum difference between two clocks, in milliseconds.
const SKEW: i64 = 600_000;

/// What the cloud's answers mean for an intended row.
enum Answer {
    /// It was created. A launch of several instances has all their ids here.
    Made(Vec<String>),
    /// These were found, fewer than their launch has. The others may still appear.
    Fewer(Vec<String>),
    /// It was not found, but may still appear.
    NotYet,
    /// It was certainly not created.
    Absent,
}

impl Teardown<'_> {
    /// Settles every intended row of the run. Returns the rows that could not
    /// be settled, which stay intended, with their errors.
    pub(super) async fn resolve(&self) -> Vec<(Resource, Error)> {
        let open = || {
            let rows = self.ledger.resources().into_iter();
            rows.filter(|row| row.state == State::Intended)
        };
        let asked = open().map(async |row| (self.ask_within_window(&row).await, row));
        let answers = join_all(asked).await;
        let mut failed = Vec::new();
        let mut spare: Vec<(String, String)> = Vec::new();
        let mut absent = Vec::new();
        for (answer, row) in answers {
            match answer {
                // Each of them has the same answer: the volumes of its launch.
                Ok(Answer::Made(ids) | Answer::Fewer(ids)) if row.kind == ResourceKind::Volume => {
                    let free = |id: &&String| !self.ledger.made(ResourceKind::Volume, id);
                    let id = ids.iter().find(free);
                    self.ledger.resolve(&row.row, id.map(String::as_str));
                }
                Ok(Answer::Made(ids) | Answer::Fewer(ids)) => {
                    let mut ids = ids.into_iter();
                    self.ledger.resolve(&row.row, ids.next().as_deref());
                    spare.extend(ids.map(|id| (row.step.clone(), id)));
                }
                Ok(_) => absent.push(row),
                Err(error) => failed.push((row, error)),
            }
        }
        // A launch of several instances has a single token, that of its first
        // row.
        for row in absent {
            let of_its_launch = |(step, _): &(String, String)| {
                *step == row.step && row.kind == ResourceKind::Instance
            };
            let id = spare
                .iter()
                .position(of_its_launch)
                .map(|at| spare.remove(at).1);
            self.ledger.resolve(&row.row, id.as_deref());
        }
        failed
    }

    async fn ask_within_window(&self, row: &Resource) -> Result<Answer> {
        let what = format!("{} {}", row.kind.words(), row.name);
        let mut last = Answer::NotYet;
        let ask = async || {
            Ok(match self.ask(row).await? {
                Answer::NotYet => None,
                fewer @ Answer::Fewer(_) => {
                    last = fewer;
                    None
                }
                answer => Some(answer),
            })
        };
        let settled = self.clients.find_created(&what, self.report, ask).await?;
        Ok(settled.unwrap_or(last))
    }

    async fn ask(&self, row: &Resource) -> Result<Answer> {
        let clients = self.clients;
        let one = |id: &str| Answer::Made(vec![id.to_owned()]);
        Ok(match row.kind {
            ResourceKind::Instance => {
                let found = clients.ec2().await?.launched(&row.row).await?;
                if found.is_empty() {
                    Answer::NotYet
                } else {
                    Answer::Made(found.into_iter().map(|i| i.id).collect())
                }
            }
            ResourceKind::SecurityGroup => {
                let found = clients.ec2().await?.security_group_of(&row.row).await?;
                found.map_or(Answer::NotYet, |id| one(&id))
            }
            ResourceKind::Image => {
                let found = clients.ec2().await?.image_of(&row.row).await?;
                found.map_or(Answer::NotYet, |own| one(&own.image.id))
            }
            ResourceKind::ElasticIp => {
                let found = clients.ec2().await?.address_of(&row.row).await?;
                found.map_or(Answer::NotYet, |address| one(&address.allocation_id))
            }
            ResourceKind::Volume => self.ask_about_volume(row).await?,
            ResourceKind::Snapshot => {
                let found = clients.ec2().await?.snapshot_of(&row.row).await?;
                found.map_or(Answer::NotYet, |own| one(&own.id))
            }
            ResourceKind::Vpc => self.ask_about_part(NetworkPart::Vpc, row).await?,
            ResourceKind::Subnet => self.ask_about_part(NetworkPart::Subnet, row).await?,
            ResourceKind::InternetGateway => {
                self.ask_about_part(NetworkPart::InternetGateway, row)
                    .await?
            }
            ResourceKind::RouteTable => self.ask_about_part(NetworkPart::RouteTable, row).await?,
            ResourceKind::NatGateway => self.ask_about_part(NetworkPart::NatGateway, row).await?,
            ResourceKind::LaunchTemplate => {
                let found = clients.ec2().await?.launch_template_of(&row.row).await?;
                found.map_or(Answer::NotYet, |id| one(&id))
            }
            ResourceKind::KeyPair => {
                let found = clients.ec2().await?.key_pair_marks(&row.name).await?;
                of_mark(row, found.as_ref())
            }
            ResourceKind::IamRole => {
                let found = clients.iam().await?.role_marks(&row.name).await?;
                of_mark(row, found.as_ref())
            }
            ResourceKind::InstanceProfile => {
                let found = clients.iam().await?.profile_marks(&row.name).await?;
                of_mark(row, found.as_ref())
            }
            ResourceKind::Bucket => self.ask_about_bucket(row).await?,
            ResourceKind::Object => {
                let (bucket, key) = split_object(&row.name)?;
                // S3 has no retry window for objects: it shows an object as
                // soon as it is stored.
                match clients.s3().await?.object_row(bucket, key).await? {
                    Some(found) if found == row.row => one(&row.name),
                    _ => Answer::Absent,
                }
            }
            // An upload whose answer was lost has no parts. S3 lists it at once.
            ResourceKind::MultipartUpload => {
                let (bucket, key) = split_object(&row.name)?;
                let s3 = clients.s3().await?;
                match s3.find_upload(bucket, key, row.intended).await? {
                    Some(upload) => one(&upload.in_ledger()),
                    None => Answer::Absent,
                }
            }
            ResourceKind::PublicAccess => {
                let id = id_of(row);
                let (bucket, key) = split_object(id)?;
                match clients.s3().await?.is_public(bucket, key).await? {
                    Allowed::Yes(true) => one(id),
                    Allowed::Yes(false) => Answer::Absent,
                    Allowed::No(reason) => return Err(Error::new(ErrorKind::Denied, reason)),
                }
            }
            // EC2 does not record who opened a port. The port was closed when
            // the row was written, or the row would not exist.
            ResourceKind::Ingress => one(id_of(row)),
            ResourceKind::KeyFile => {
                let path = Path::new(row.id.as_deref().unwrap_or(&row.name));
                keys::remove_unfinished(path, &row.row);
                match key_file_maker(path, &row.row) {
                    Maker::Ours => one(&path.display().to_string()),
                    Maker::Other | Maker::Gone => Answer::Absent,
                }
            }
        })
    }

    /// Finds a volume that `CreateVolume` created, which has the row as its tag, or
    /// those of a launch, which have the token of the launch: the row of its first
    /// instance.
    async fn ask_about_volume(&self, row: &Resource) -> Result<Answer> {
        let of_step: Vec<Resource> = self.ledger.resources();
        let of_step = of_step.iter().filter(|other| other.step == row.step);
        let tokens = of_step
            .clone()
            .filter(|other| other.kind == ResourceKind::Instance)
            .map(|instance| instance.row.clone());
        let tokens: Vec<String> = tokens.chain([row.row.clone()]).collect();
        let open = of_step
            .filter(|other| other.kind == row.kind && other.state == State::Intended)
            .count();
        let mut ids: Vec<String> = Vec::new();
        for volume in self.clients.ec2().await?.kept_volumes(&tokens).await? {
            // A volume of a launch that is still being created may be a root volume.
            let certain = volume.state != VolumeState::Creating
                || volume.marks.row.as_ref() == Some(&row.row);
            if certain && !self.ledger.made(row.kind, &volume.id) {
                ids.push(volume.id);
            }
        }
        Ok(match ids.len() {
            0 => Answer::NotYet,
            found if found < open => Answer::Fewer(ids),
            _ => Answer::Made(ids),
        })
    }

    async fn ask_about_part(&self, part: NetworkPart, row: &Resource) -> Result<Answer> {
        let found = self
            .clients
            .ec2()
            .await?
            .network_parts_of(part, &row.row)
            .await?;
        Ok(if found.is_empty() {
            Answer::NotYet
        } else {
            Answer::Made(found)
        })
    }

    /// Finds out whether this run created a bucket. A second request tags the
    /// bucket, so a crash can leave it without tags. A bucket without tags that
    /// this account owns, and that did not exist when its row was written, is
    /// this run's.
    async fn ask_about_bucket(&self, row: &Resource) -> Result<Answer> {
        let s3 = self.clients.s3().await?;
        let name = &row.name;
        match s3.bucket_marks(name).await {
            Ok(None) => Ok(Answer::NotYet),
            Ok(Some(marks)) if marks.row.as_ref() == Some(&row.row) => {
                Ok(Answer::Made(vec![name.clone()]))
            }
            Ok(Some(marks)) if marks.untagged => match s3.bucket_created(name).await? {
                Some(created) if created >= row.intended - SKEW => {
                    s3.tag_bucket(name, &bare_tags(self.ledger, row)).await?;
                    Ok(Answer::Made(vec![name.clone()]))
                }
                _ => Ok(Answer::Absent),
            },
            // The bucket belongs to another account, so this run did not create
            // it.
            Err(e) if e.kind == ErrorKind::Denied && !s3.owns(name).await? => Ok(Answer::Absent),
            Ok(Some(_)) => Ok(Answer::Absent),
            Err(e) => Err(e),
        }
    }
}

/// Returns what the marks of a resource say that is found by its name.
fn of_mark(row: &Resource, found: Option<&Marks>) -> Answer {
    match found {
        None => Answer::NotYet,
        Some(marks) if marks.row.as_ref() == Some(&row.row) => Answer::Made(vec![row.name.clone()]),
        Some(_) => Answer::Absent,
    }
}

/// Returns the tags that identify a bucket as this run's.
fn bare_tags(ledger: &Ledger, row: &Resource) -> crate::clients::marks::Tags {
    use crate::clients::marks::{OWNER_TAG, RESOURCE_TAG, RUN_TAG};
    [
        (RUN_TAG, ledger.run()),
        (RESOURCE_TAG, &row.row),
        (OWNER_TAG, ledger.owner()),
    ]
    .map(|(tag, value)| (tag.to_owned(), value.to_owned()))
    .to_vec()
}
