//! The default VPC of a region and its default subnets.

use super::Ec2;
use super::tags::filter;
use crate::aws_error::{Code, aws_error, code};
use crate::error::Result;

impl Ec2<'_> {
    /// Returns the id of the default VPC, if the region has one.
    pub async fn default_vpc(&self) -> Result<Option<String>> {
        let answer = self
            .client
            .describe_vpcs()
            .filters(filter("is-default", "true"))
            .send()
            .await
            .map_err(|e| aws_error("look up the default VPC", &e))?;
        let vpc = answer.vpcs().first().and_then(|vpc| vpc.vpc_id());
        Ok(vpc.map(str::to_owned))
    }

    /// Returns the ids of the default subnets of a VPC, at most one per zone.
    pub async fn default_subnets(&self, vpc: &str) -> Result<Vec<String>> {
        let answer = self
            .client
            .describe_subnets()
            .filters(filter("vpc-id", vpc))
            .filters(filter("default-for-az", "true"))
            .send()
            .await
            .map_err(|e| aws_error("look up the default subnets", &e))?;
        let ids = answer.subnets().iter().filter_map(|s| s.subnet_id());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Creates the default VPC. If it exists, this is not an error.
    pub async fn create_default_vpc(&self) -> Result<()> {
        match self.client.create_default_vpc().send().await {
            Ok(_) => Ok(()),
            // Another process was faster, or an answer was lost.
            Err(e) if code(&e) == Code::DefaultVpcAlreadyExists => Ok(()),
            Err(e) => Err(aws_error("create the default VPC", &e)),
        }
    }

    /// Creates the default subnet of an availability zone. If it exists, this is
    /// not an error.
    pub async fn create_default_subnet(&self, zone: &str) -> Result<()> {
        let request = self.client.create_default_subnet();
        match request.availability_zone(zone).send().await {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == Code::DefaultSubnetAlreadyExists => Ok(()),
            Err(e) => Err(aws_error(
                &format!("create the default subnet of {zone}"),
                &e,
            )),
        }
    }

    /// Returns the availability zones of the region. Local Zones and other kinds
    /// of zones have no default subnets.
    pub async fn zones(&self) -> Result<Vec<String>> {
        let answer = self
            .client
            .describe_availability_zones()
            .filters(filter("zone-type", "availability-zone"))
            .filters(filter("state", "available"))
            .send()
            .await
            .map_err(|e| aws_error("look up the availability zones", &e))?;
        let zones = answer.availability_zones().iter();
        Ok(zones
            .filter_map(|z| z.zone_name().map(str::to_owned))
            .collect())
    }
}
