//! Launch templates: a fleet takes the settings of its instances from one.

use aws_sdk_ec2::types::{
    CreditSpecificationRequest, LaunchTemplate, LaunchTemplateBlockDeviceMappingRequest,
    LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMetadataOptionsRequest,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, RequestLaunchTemplateData,
    ResourceType, ShutdownBehavior, VolumeType,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Ec2;
use super::launch::{Launch, some};
use super::marked::Marked;
use super::tags::{filter, marks, tag_specification};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::{Marks, OWNER_TAG, RESOURCE_TAG, Tags};

/// EC2's response to [`Ec2::create_launch_template`].
#[derive(Debug)]
pub enum NewTemplate {
    /// Its id.
    Created(String),
    /// The token was already used, with other settings.
    Before(Error),
}

impl Ec2<'_> {
    /// Creates a launch template with the settings of a launch, except the instance
    /// type, the subnet and the tags, which the fleet names.
    pub async fn create_launch_template(
        &self,
        name: &str,
        launch: &Launch,
        (token, tags): (&str, &Tags),
    ) -> Result<NewTemplate> {
        let request = self
            .client
            .create_launch_template()
            .launch_template_name(name)
            .client_token(token)
            .launch_template_data(data(launch))
            .tag_specifications(tag_specification(ResourceType::LaunchTemplate, tags));
        match request.send().await {
            Ok(answer) => Ok(NewTemplate::Created(
                answer
                    .launch_template()
                    .and_then(LaunchTemplate::launch_template_id)
                    .unwrap_or_default()
                    .to_owned(),
            )),
            Err(e) => {
                let error = aws_error(&format!("create launch template `{name}`"), &e);
                match code(&e) {
                    Code::IdempotentParameterMismatch => Ok(NewTemplate::Before(error)),
                    _ => Err(error),
                }
            }
        }
    }

    /// Deletes a launch template. Deleting one that does not exist is not an error.
    pub async fn delete_launch_template(&self, id: &str) -> Result<()> {
        let request = self.client.delete_launch_template();
        match request.launch_template_id(id).send().await {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == Code::InvalidLaunchTemplateIdNotFound => Ok(()),
            Err(e) => Err(aws_error(&format!("delete launch template `{id}`"), &e)),
        }
    }

    /// Returns the id of the launch template that has this row as its tag.
    pub async fn launch_template_of(&self, row: &str) -> Result<Option<String>> {
        let tag = format!("tag:{RESOURCE_TAG}");
        let found = self.launch_templates(&tag, row).await?;
        Ok(found.into_iter().next().map(|template| template.id))
    }

    /// Returns the marks of a launch template, or `None` if it does not exist.
    pub async fn launch_template_marks(&self, id: &str) -> Result<Option<Marks>> {
        let request = self.client.describe_launch_templates();
        match request.launch_template_ids(id).send().await {
            Ok(answer) => {
                let found = answer.launch_templates().first();
                Ok(found.map(|template| marks(template.tags())))
            }
            Err(e) if code(&e) == Code::InvalidLaunchTemplateIdNotFound => Ok(None),
            Err(e) => Err(aws_error(&format!("look up launch template `{id}`"), &e)),
        }
    }

    /// Returns the launch templates that belong to any ledger.
    pub async fn owned_launch_templates(&self) -> Result<Vec<Marked>> {
        self.launch_templates("tag-key", OWNER_TAG).await
    }

    async fn launch_templates(&self, name: &str, value: &str) -> Result<Vec<Marked>> {
        let request = self.client.describe_launch_templates();
        let request = request.filters(filter(name, value));
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| aws_error("look for launch templates", &e))?;
            found.extend(page.launch_templates().iter().map(|template| {
                Marked {
                    id: template.launch_template_id().unwrap_or_default().to_owned(),
                    name: template
                        .launch_template_name()
                        .unwrap_or_default()
                        .to_owned(),
                    marks: marks(template.tags()),
                }
            }));
        }
        Ok(found)
    }
}

/// Returns the settings of a launch. They are those of [`Ec2::launch`].
fn data(launch: &Launch) -> RequestLaunchTemplateData {
    let root = LaunchTemplateEbsBlockDeviceRequest::builder()
        .encrypted(true)
        .delete_on_termination(true)
        .volume_type(VolumeType::Gp3)
        .set_volume_size(launch.volume_size.or(launch.image.volume_size))
        .build();
    let others = launch.volumes.iter().map(|volume| {
        let disk = LaunchTemplateEbsBlockDeviceRequest::builder()
            .encrypted(true)
            .delete_on_termination(volume.delete_on_termination)
            .volume_type(VolumeType::from(volume.volume_type.as_str()))
            .volume_size(volume.size)
            .set_iops(volume.iops)
            .build();
        (volume.device.as_str(), disk)
    });
    let disks = std::iter::once((launch.image.root_device.as_str(), root)).chain(others);
    let mappings = disks.map(|(device, disk)| {
        LaunchTemplateBlockDeviceMappingRequest::builder()
            .device_name(device)
            .ebs(disk)
            .build()
    });
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        .http_put_response_hop_limit(2)
        .build();
    let data = RequestLaunchTemplateData::builder()
        .image_id(&launch.image.id)
        .set_key_name(launch.key_pair.clone())
        .set_instance_initiated_shutdown_behavior(
            launch.ends_itself.then_some(ShutdownBehavior::Terminate),
        )
        .set_user_data(
            launch
                .user_data
                .as_ref()
                .map(|text| BASE64_STANDARD.encode(text)),
        )
        .set_block_device_mappings(Some(mappings.collect()))
        .metadata_options(metadata)
        .set_credit_specification(launch.credits.map(|credits| {
            CreditSpecificationRequest::builder()
                .cpu_credits(credits.as_str())
                .build()
        }))
        .set_iam_instance_profile(launch.iam_profile.as_ref().map(|name| {
            LaunchTemplateIamInstanceProfileSpecificationRequest::builder()
                .name(name)
                .build()
        }));
    let groups = some(&launch.security_groups);
    match launch.public_ip {
        None => data.set_security_group_ids(groups).build(),
        Some(public) => {
            let interface = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
                .device_index(0)
                .associate_public_ip_address(public)
                .set_groups(groups)
                .build();
            data.network_interfaces(interface).build()
        }
    }
}
