//! Deletes one resource of any kind and waits until it is gone.

use std::path::Path;
use std::time::Duration;

use crate::clients::Clients;
use crate::clients::ec2::{
    Attachment, Deletion, ImageState, Ingress, InstanceState, NetworkPart, VolumeState,
};
use crate::clients::s3::UploadId;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ResourceKind;
use crate::report::{Reporter, text};

/// The longest time to wait for AWS to delete a resource.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The longest time in which a deleted NAT gateway may still have its address.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time in which an IAM role may still be in use.
const ROLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The time after a launch in which EC2 may not find the instance.
pub(super) const CONSISTENCY: Duration = Duration::from_secs(10);

/// Removes a resource without further checks, and waits until it is gone.
pub(super) async fn delete(
    clients: &Clients,
    report: &Reporter,
    kind: ResourceKind,
    id: &str,
) -> Result<()> {
    match kind {
        ResourceKind::Instance => terminate(clients, report, id).await,
        ResourceKind::KeyPair => clients.ec2().await?.delete_key_pair(id).await,
        ResourceKind::SecurityGroup => delete_group(clients, report, id).await,
        ResourceKind::Image => deregister(clients, report, id).await,
        ResourceKind::ElasticIp => release_address(clients, report, id).await,
        ResourceKind::Volume => delete_volume(clients, report, id).await,
        ResourceKind::Snapshot => clients.ec2().await?.delete_snapshot(id).await,
        ResourceKind::Vpc => delete_part(clients, report, NetworkPart::Vpc, id).await,
        ResourceKind::Subnet => delete_part(clients, report, NetworkPart::Subnet, id).await,
        ResourceKind::InternetGateway => {
            delete_part(clients, report, NetworkPart::InternetGateway, id).await
        }
        ResourceKind::RouteTable => delete_part(clients, report, NetworkPart::RouteTable, id).await,
        ResourceKind::NatGateway => delete_part(clients, report, NetworkPart::NatGateway, id).await,
        ResourceKind::LaunchTemplate => clients.ec2().await?.delete_launch_template(id).await,
        ResourceKind::IamRole => delete_role(clients, report, id).await,
        ResourceKind::InstanceProfile => clients.iam().await?.delete_profile(id).await,
        ResourceKind::Bucket => clients.s3().await?.delete_bucket(id).await,
        ResourceKind::Object => {
            let (bucket, key) = split_object(id)?;
            clients.s3().await?.delete_object(bucket, key).await
        }
        ResourceKind::MultipartUpload => {
            let upload = UploadId::from_ledger(id)?;
            clients.s3().await?.abort_upload(&upload).await
        }
        ResourceKind::PublicAccess => {
            let (bucket, key) = split_object(id)?;
            clients.s3().await?.unpublish(bucket, key).await
        }
        ResourceKind::Ingress => {
            let (group, rule) = Ingress::from_ledger_id(id)
                .ok_or_else(|| Error::internal(format!("`{id}` is not a security group rule")))?;
            match clients.ec2().await?.close(&group, &rule).await {
                // The group is gone, and its rules are gone too.
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
            // Right after the launch, EC2 may not find the instance yet.
            // `not_found` does not prove that it is gone, so retry for a while.
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
            // EC2 has not found the instance so far: it may just have been
            // launched.
            Err(e) if e.kind == ErrorKind::NotFound && pace.elapsed() < CONSISTENCY => {
                pace.pause("not visible yet").await?;
            }
            Err(e) if e.kind == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Deregisters an image and deletes its snapshots, once EC2 has finished them.
async fn deregister(clients: &Clients, report: &Reporter, id: &str) -> Result<()> {
    let ec2 = clients.ec2().await?;
    let mut pace = clients.pace(format!("image {id} to be complete"), TIMEOUT, report);
    loop {
        match ec2.own_image(id).await? {
            None => return ec2.deregister_image(id, &[]).await,
            Some(own) if own.state != ImageState::Pending => {
                return ec2.deregister_image(id, &own.snapshots).await;
            }
            Some(_) => pace.pause("pending").await?,
        }
    }
}

/// Detaches a volume from its instance, unless the instance ends anyway, and deletes
/// it.
async fn delete_volume(clients: &Clients, report: &Reporter, id: &str) -> Result<()> {
    let ec2 = clients.ec2().await?;
    let mut pace = clients.pace(format!("volume {id} to be detached"), TIMEOUT, report);
    let mut requested = false;
    loop {
        let Some(volume) = ec2.volume(id).await? else {
            return Ok(());
        };
        let seen = match (volume.state, &volume.instance_id) {
            (VolumeState::InUse, Some(instance)) if volume.attached && !requested => {
                match ec2.detach_volume(id, instance).await? {
                    Attachment::Accepted => requested = true,
                    // The instance is being terminated or has just released it.
                    Attachment::NotNow(error) => report.debug(error.to_string()),
                }
                "attached"
            }
            (VolumeState::InUse, _) => "in use",
            (VolumeState::Creating, _) => "creating",
            _ if ec2.delete_volume(id).await? == Deletion::Done => return Ok(()),
            _ => "in use",
        };
        pace.pause(seen).await.map_err(|e| match e.kind {
            ErrorKind::Timeout => e.hint(format!(
                "unmount {id} in its instance or terminate the instance, and try again"
            )),
            _ => e,
        })?;
    }
}

/// Deletes a security group, which stays in use until its instances are
/// terminated.
async fn delete_group(clients: &Clients, report: &Reporter, id: &str) -> Result<()> {
    let ec2 = clients.ec2().await?;
    let mut pace = clients.pace(format!("security group {id} to be unused"), TIMEOUT, report);
    while ec2.delete_security_group(id).await? == Deletion::StillUsed {
        pace.pause("still used by an instance or a rule")
            .await
            .map_err(|e| {
                match e.kind {
                ErrorKind::Timeout => e.hint(format!(
"terminate the instances that use {id}, close the ports that other groups open for \
it, and try again"
                )),
                _ => e,
            }
            })?;
    }
    Ok(())
}

/// Deletes a part of a network, which stays in use until its other parts, its
/// instances and its security groups are gone.
async fn delete_part(
    clients: &Clients,
    report: &Reporter,
    part: NetworkPart,
    id: &str,
) -> Result<()> {
    let ec2 = clients.ec2().await?;
    let what = match part {
        NetworkPart::NatGateway => format!("NAT gateway {id} to be deleted"),
        _ => format!("{id} to be unused"),
    };
    let mut pace = clients.pace(what, TIMEOUT, report);
    loop {
        let state = match ec2.delete_network_part(part, id).await? {
            Deletion::Done => return Ok(()),
            Deletion::Begun => "deleting",
            Deletion::StillUsed => "still used by another resource",
        };
        let paused = pace.pause(state).await;
        paused.map_err(|e| match e.kind {
            ErrorKind::Timeout => e.hint(format!(
                "remove what other runs or people created in the network of {id}, and try again"
            )),
            _ => e,
        })?;
    }
}

/// Releases an Elastic IP address. The NAT gateway that had it is deleted before;
/// EC2 may refuse the release for a moment after that.
async fn release_address(clients: &Clients, report: &Reporter, id: &str) -> Result<()> {
    let ec2 = clients.ec2().await?;
    let what = format!("Elastic IP address {id} to be unused");
    let mut pace = clients.pace(what, ADDRESS_TIMEOUT, report);
    while ec2.release_address(id).await? != Deletion::Done {
        let paused = pace
            .pause("still used by a NAT gateway or a load balancer")
            .await;
        paused.map_err(|e| match e.kind {
            ErrorKind::Timeout => e.hint(
                "`aws ec2 describe-addresses` shows the network interface that has the address; \
                 delete its NAT gateway or load balancer, and try again",
            ),
            _ => e,
        })?;
    }
    Ok(())
}

/// Deletes a role. IAM may refuse that for a moment after what was attached to it is
/// removed.
async fn delete_role(clients: &Clients, report: &Reporter, id: &str) -> Result<()> {
    let iam = clients.iam().await?;
    let what = format!("IAM role {id} to be unused");
    let mut pace = clients.pace(what, ROLE_TIMEOUT, report);
    while !iam.delete_role(id).await? {
        let paused = pace.pause("still used").await;
        paused.map_err(|e| match e.kind {
            ErrorKind::Timeout => e.hint(format!(
                "detach the policies and instance profiles that others attached to {id}, and try \
                 again"
            )),
            _ => e,
        })?;
    }
    Ok(())
}

/// Splits an object id, `bucket/key`.
pub(super) fn split_object(id: &str) -> Result<(&str, &str)> {
    id.split_once('/').ok_or_else(|| {
        let example = text::or_ticked(&["bucket/key"]);
        Error::internal(format!("`{id}` is not an object id such as {example}"))
    })
}
