//! What the account can do in a region: the region itself, types and addresses.

use aws_sdk_ec2::types::{AccountAttribute, LocationType};

use super::Ec2;
use super::tags::filter;
use crate::account::region_not_enabled;
use crate::aws_error::{Code, aws_error, code};
use crate::error::Result;

impl Ec2<'_> {
    /// Checks that the account has enabled the region of this client. A region that EC2
    /// does not list counts as enabled: the server may not be AWS.
    pub async fn check_region(&self) -> Result<()> {
        let answer = self
            .client
            .describe_regions()
            .all_regions(true)
            .filters(filter("region-name", self.region()))
            .send()
            .await
            .map_err(|e| aws_error("look up the region", &e))?;
        let mut regions = answer.regions().iter();
        let status = regions.find_map(|region| region.opt_in_status());
        match status {
            Some("not-opted-in") => Err(region_not_enabled(self.region())),
            _ => Ok(()),
        }
    }

    /// Returns the availability zones that offer an instance type.
    pub async fn zones_with(&self, instance_type: &str) -> Result<Vec<String>> {
        let answer = self
            .client
            .describe_instance_type_offerings()
            .location_type(LocationType::AvailabilityZone)
            .filters(filter("instance-type", instance_type))
            .send()
            .await
            .map_err(|e| aws_error("look up where the instance type is offered", &e))?;
        let offerings = answer.instance_type_offerings().iter();
        let mut zones: Vec<String> = offerings
            .filter_map(|offering| offering.location().map(str::to_owned))
            .collect();
        zones.sort();
        Ok(zones)
    }

    /// Returns the zone of a subnet.
    pub async fn zone_of_subnet(&self, subnet: &str) -> Result<Option<String>> {
        let answer = self
            .client
            .describe_subnets()
            .subnet_ids(subnet)
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up subnet `{subnet}`"), &e))?;
        let zone = answer.subnets().first().and_then(|s| s.availability_zone());
        Ok(zone.map(str::to_owned))
    }

    /// Returns the ids of any subnet and of its VPC.
    pub async fn any_subnet(&self) -> Result<Option<(String, String)>> {
        let answer = self
            .client
            .describe_subnets()
            .send()
            .await
            .map_err(|e| aws_error("look up the subnets", &e))?;
        let mut ids = answer.subnets().iter().filter_map(|subnet| {
            Some((subnet.subnet_id()?.to_owned(), subnet.vpc_id()?.to_owned()))
        });
        Ok(ids.next())
    }

    /// Returns whether an account on the free plan could not launch this type. The
    /// dry run names nothing but the type and what every launch needs, so EC2 refuses
    /// the combination only for this reason.
    pub async fn is_refused_by_plan(
        &self,
        instance_type: &str,
        image: &str,
        subnet: Option<&str>,
    ) -> bool {
        let request = self.client.run_instances();
        let request = request
            .instance_type(instance_type.into())
            .image_id(image)
            .set_subnet_id(subnet.map(str::to_owned))
            .min_count(1)
            .max_count(1)
            .dry_run(true);
        let refused = request.send().await.err();
        refused.is_some_and(|e| code(&e) == Code::InvalidParameterCombination)
    }

    /// Returns whether a VPC has a security group with this name.
    pub async fn has_security_group(&self, name: &str, vpc: &str) -> Result<bool> {
        let answer = self
            .client
            .describe_security_groups()
            .filters(filter("group-name", name))
            .filters(filter("vpc-id", vpc))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look for security group `{name}`"), &e))?;
        Ok(!answer.security_groups().is_empty())
    }

    /// Returns how many Elastic IP addresses the account has in the region, and how
    /// many it may have, if EC2 says so.
    pub async fn address_limit(&self) -> Result<(usize, Option<usize>)> {
        let answer = self
            .client
            .describe_addresses()
            .send()
            .await
            .map_err(|e| aws_error("look up the Elastic IP addresses", &e))?;
        let used = answer.addresses().len();
        let answer = self
            .client
            .describe_account_attributes()
            .attribute_names("vpc-max-elastic-ips".into())
            .send()
            .await
            .map_err(|e| aws_error("look up the quota of Elastic IP addresses", &e))?;
        let attributes = answer.account_attributes().iter();
        let mut values = attributes.flat_map(AccountAttribute::attribute_values);
        let most = values.find_map(|value| value.attribute_value()?.parse().ok());
        Ok((used, most))
    }
}
