//! Images that playbooks create of instances.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::check_public;
use super::images::FoundImage;
use super::readiness::running;
use super::reboots::before_reboot;
use super::servers::{ServerRef, described, ec2_user};
use crate::clients::ec2::{Ec2, Image, ImageState, InstanceState, NewImage};
use crate::clients::marks::USER_TAG;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, ResourceKind, Step};
use crate::report::text;
use crate::script::{ResultKind, Seconds, seconds};

/// How long `create_image` waits for a pending instance: the default of
/// `wait_until_running`.
const RUNS_WITHIN: Duration = Duration::from_secs(300);

/// The characters of a name, besides letters and digits.
const IN_NAMES: &str = "()[] ./-'@_";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateImage {
    /// Description of the image in the AWS console, at most 255 characters.
    description: Option<String>,
    /// Copy the disk while the instance runs, without a reboot. The copy is then
    /// like the disk after a power failure.
    #[serde(default)]
    no_reboot: bool,
    /// Additional tags of the image and its snapshots.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// How long to wait until the image is available.
    #[serde(default = "seconds::<3600>")]
    timeout: Seconds,
}

pub(super) async fn create(
    cx: &Context,
    step: &mut Step,
    server: ServerRef,
    name: &str,
    options: CreateImage,
) -> Result<Value> {
    check(cx, name, &options)?;
    let ec2 = cx.clients.ec2().await?;
    let own = created_before(cx, step, &ec2).await?;
    if let Some(recorded) = step.recorded::<Value>()?
        && (own.is_some() || step.was_undone())
    {
        step.replay();
        return Ok(recorded);
    }
    let id = if let Some(id) = own {
        // An earlier attempt did not wait until it was available.
        step.begin_unwritten();
        id
    } else {
        request(cx, step, &ec2, server, name, &options).await?
    };
    let image = available(cx, &ec2, &id, options.timeout.duration()).await?;
    let found = FoundImage {
        kind: ResultKind::Image,
        image,
    };
    serde_json::to_value(found)
        .map_err(|e| Error::internal(format!("cannot convert the image: {e}")))
}

/// Checks before the first request what AWS would refuse.
fn check(cx: &Context, name: &str, options: &CreateImage) -> Result<()> {
    check_public(cx, "the name of an image", name)?;
    let valid = |c: char| c.is_ascii_alphanumeric() || IN_NAMES.contains(c);
    if !(3..=128).contains(&name.len()) || !name.chars().all(valid) {
        return Err(
            Error::invalid(format!("`{name}` cannot be the name of an image")).hint(format!(
                "use 3 to 128 characters: letters, digits and {IN_NAMES}"
            )),
        );
    }
    if let Some(description) = &options.description {
        check_public(cx, "the description of an image", description)?;
        if description.chars().count() > 255 {
            return Err(Error::invalid(
                "option `description`: it has more than 255 characters",
            ));
        }
    }
    cx.report.mask().keep_out_of_tags(&options.tags)
}

/// Returns the id of the image that an earlier attempt of this step created, if it
/// still exists.
async fn created_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Option<String>> {
    for row in step.live(ResourceKind::Image) {
        let id = row.id.clone().unwrap_or_default();
        let ask = async || ec2.own_image(&id).await;
        match cx.seen(&row, ask).await? {
            Some(own) if own.state != ImageState::Failed => return Ok(Some(id)),
            // A failed image has its name, so it must go first.
            Some(own) => ec2.deregister_image(&id, &own.snapshots).await?,
            None => {}
        }
        cx.ledger.is_gone(&row);
    }
    Ok(None)
}

/// Sends `CreateImage`. If the answer to an earlier request was lost, finds the
/// image that this step has already created. Returns the image's id.
async fn request(
    cx: &Context,
    step: &mut Step,
    ec2: &Ec2<'_>,
    server: ServerRef,
    name: &str,
    options: &CreateImage,
) -> Result<String> {
    let mut instance = described(cx, &server.id).await?;
    if instance.state == InstanceState::Pending {
        instance = running(cx, server.clone(), RUNS_WITHIN).await?.instance;
    }
    let server = server.with_user(cx, &instance).await;
    let intent = step.intend_one(NewResource::new(ResourceKind::Image, name))?;
    let of_row = async || ec2.image_of(intent.token()).await;
    if intent.is_retried()
        && let Some(own) = cx.find_created(&format!("image {name}"), &of_row).await?
    {
        let id = own.image.id;
        intent.created(&id);
        return Ok(id);
    }
    let reboots = instance.state == InstanceState::Running && !options.no_reboot;
    if reboots {
        before_reboot(cx, &server, "create_image").await?;
    }
    let mut tags = cx.tags(name, intent.token(), &options.tags);
    let user = server.user.unwrap_or_else(ec2_user);
    tags.push((USER_TAG.to_owned(), user));
    let new = NewImage {
        instance: &instance.id,
        name,
        description: options.description.as_deref(),
        no_reboot: options.no_reboot,
        tags: &tags,
    };
    let created = match ec2.create_image(new).await {
        // If the request was sent twice, because its first answer was lost, the
        // image with this name is the one of this step.
        Err(error) if error.kind == ErrorKind::AlreadyExists => match of_row().await {
            Ok(Some(own)) => Ok(own.image.id),
            _ => Err(error),
        },
        created => created,
    };
    match created {
        Ok(id) => {
            intent.created(&id);
            let reboot = if reboots { ", which reboots" } else { "" };
            cx.report.info(format!(
                "creating image {id} ({name}) of {}{reboot}",
                instance.id
            ));
            Ok(id)
        }
        Err(error) => {
            intent.abandoned(&error);
            Err(error)
        }
    }
}

/// Waits until the image is available.
async fn available(cx: &Context, ec2: &Ec2<'_>, id: &str, timeout: Duration) -> Result<Image> {
    let mut pace = cx.pace(format!("image {id} to be available"), timeout);
    loop {
        let may_hide = pace.elapsed() < cx.clients.consistency();
        match ec2.own_image(id).await? {
            Some(own) if own.state == ImageState::Available => {
                cx.report.info(format!(
                    "image {id} is available after {}",
                    text::duration(pace.elapsed())
                ));
                return Ok(own.image);
            }
            Some(own) if own.state == ImageState::Failed => {
                let reason = own.reason.unwrap_or_else(|| "no reason".to_owned());
                return Err(Error::internal(format!(
                    "EC2 cannot create image {id}: {reason}"
                )));
            }
            Some(_) => pace.pause("pending").await?,
            None if may_hide => pace.pause("not visible yet").await?,
            None => {
                let message = format!("image {id} does not exist (any more)");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
    }
}
