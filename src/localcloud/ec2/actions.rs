//! The table of actions, by AWS's names.

use super::call::Call;
use super::group_rules::{self, Direction};
use super::params::Part;
use super::refusal::Result;
use super::vpc::{acls, dhcp_options, gateways, nat, route_tables, routes, subnets, vpcs};
use super::xml::Xml;
use super::{
    absent, account_settings, attributes, connect, console, create_fleet, credits, ebs_encryption,
    elastic_ips, fleet_answers, group_uses, groups, iam, image_attributes, image_sources, images,
    instance_profiles, instance_types, instances, key_pairs, launch, launch_template_versions,
    launch_templates, monitoring, network, network_interfaces, options, own_images, regions,
    rule_changes, snapshots, spot_requests, ssm, sts, tags, volume_answer, volume_attributes,
    volumes,
};

pub(super) type Action = fn(&mut Call<'_>, &Part<'_>) -> Result<Xml>;

/// Every action, by AWS's name.
const ACTIONS: &[(&str, Action)] = &[
    ("AllocateAddress", elastic_ips::allocate_address),
    ("AssociateAddress", elastic_ips::associate_address),
    ("AssociateIamInstanceProfile", instance_profiles::associate),
    ("AssociateRouteTable", route_tables::associate_route_table),
    ("AttachInternetGateway", gateways::attach_internet_gateway),
    ("AttachVolume", volumes::attach_volume),
    ("AuthorizeSecurityGroupEgress", |call, request| {
        group_rules::authorize(call, request, Direction::Egress)
    }),
    ("AuthorizeSecurityGroupIngress", |call, request| {
        group_rules::authorize(call, request, Direction::Ingress)
    }),
    ("CopyImage", image_sources::copy_image),
    ("CopySnapshot", snapshots::copy_snapshot),
    ("CreateDefaultSubnet", network::create_default_subnet),
    ("CreateDefaultVpc", network::create_default_vpc),
    ("CreateFleet", create_fleet::create_fleet),
    ("CreateImage", own_images::create_image),
    ("CreateInternetGateway", gateways::create_internet_gateway),
    ("CreateKeyPair", key_pairs::create_key_pair),
    (
        "CreateLaunchTemplate",
        launch_templates::create_launch_template,
    ),
    ("CreateNatGateway", nat::create_nat_gateway),
    ("CreateRoute", routes::create_route),
    ("CreateRouteTable", route_tables::create_route_table),
    ("CreateSecurityGroup", groups::create_security_group),
    ("CreateSnapshot", snapshots::create_snapshot),
    ("CreateSnapshots", snapshots::create_snapshots),
    ("CreateSubnet", subnets::create_subnet),
    ("CreateTags", tags::create_tags),
    ("CreateVolume", volumes::create_volume),
    ("CreateVpc", vpcs::create_vpc),
    ("DeleteFleets", fleet_answers::delete_fleets),
    ("DeleteInternetGateway", gateways::delete_internet_gateway),
    ("DeleteKeyPair", key_pairs::delete_key_pair),
    (
        "DeleteLaunchTemplate",
        launch_templates::delete_launch_template,
    ),
    ("DeleteNatGateway", nat::delete_nat_gateway),
    ("DeleteRoute", routes::delete_route),
    ("DeleteRouteTable", route_tables::delete_route_table),
    ("DeleteSecurityGroup", groups::delete_security_group),
    ("DeleteSnapshot", snapshots::delete_snapshot),
    ("DeleteSubnet", subnets::delete_subnet),
    ("DeleteTags", tags::delete_tags),
    ("DeleteVolume", volumes::delete_volume),
    ("DeleteVpc", vpcs::delete_vpc),
    ("DeregisterImage", own_images::deregister_image),
    (
        "DescribeAccountAttributes",
        network::describe_account_attributes,
    ),
    (
        "DescribeAvailabilityZones",
        regions::describe_availability_zones,
    ),
    ("DescribeAddresses", elastic_ips::describe_addresses),
    (
        "DescribeAddressesAttribute",
        elastic_ips::describe_addresses_attribute,
    ),
    ("DescribeDhcpOptions", dhcp_options::describe_dhcp_options),
    (
        "DescribeFleetInstances",
        fleet_answers::describe_fleet_instances,
    ),
    ("DescribeFleets", fleet_answers::describe_fleets),
    (
        "DescribeIamInstanceProfileAssociations",
        instance_profiles::describe,
    ),
    (
        "DescribeImageAttribute",
        image_attributes::describe_image_attribute,
    ),
    ("DescribeImages", images::describe_images),
    (
        "DescribeInstanceAttribute",
        attributes::describe_instance_attribute,
    ),
    (
        "DescribeInstanceCreditSpecifications",
        credits::describe_instance_credit_specifications,
    ),
    (
        "DescribeInstanceStatus",
        instances::describe_instance_status,
    ),
    (
        "DescribeInstanceTypeOfferings",
        instance_types::describe_instance_type_offerings,
    ),
    (
        "DescribeInstanceTypes",
        instance_types::describe_instance_types,
    ),
    ("DescribeInstances", instances::describe_instances),
    (
        "DescribeInternetGateways",
        gateways::describe_internet_gateways,
    ),
    ("DescribeKeyPairs", key_pairs::describe_key_pairs),
    (
        "DescribeLaunchTemplateVersions",
        launch_template_versions::describe_launch_template_versions,
    ),
    (
        "DescribeLaunchTemplates",
        launch_templates::describe_launch_templates,
    ),
    ("DescribeNatGateways", nat::describe_nat_gateways),
    ("DescribeNetworkAcls", acls::describe_network_acls),
    (
        "DescribeNetworkInterfaceAttribute",
        network_interfaces::describe_network_interface_attribute,
    ),
    (
        "DescribeNetworkInterfaces",
        network_interfaces::describe_network_interfaces,
    ),
    ("DescribeRegions", regions::describe_regions),
    ("DescribeRouteTables", route_tables::describe_route_tables),
    (
        "DescribeSecurityGroupRules",
        group_rules::describe_security_group_rules,
    ),
    (
        "DescribeSecurityGroupReferences",
        group_uses::describe_security_group_references,
    ),
    ("DescribeSecurityGroups", groups::describe_security_groups),
    (
        "DescribeSnapshotAttribute",
        snapshots::describe_snapshot_attribute,
    ),
    ("DescribeSnapshots", snapshots::describe_snapshots),
    (
        "DescribeSpotInstanceRequests",
        spot_requests::describe_spot_instance_requests,
    ),
    (
        "DescribeStaleSecurityGroups",
        group_uses::describe_stale_security_groups,
    ),
    ("DescribeSubnets", subnets::describe_subnets),
    ("DescribeTags", tags::describe_tags),
    (
        "DescribeVolumeAttribute",
        volume_attributes::describe_volume_attribute,
    ),
    (
        "DescribeVolumeStatus",
        volume_answer::describe_volume_status,
    ),
    ("DescribeVolumes", volume_answer::describe_volumes),
    (
        "DescribeVolumesModifications",
        volume_answer::describe_volumes_modifications,
    ),
    ("DescribeVpcAttribute", vpcs::describe_vpc_attribute),
    (
        "DescribeVpcBlockPublicAccessOptions",
        account_settings::describe_vpc_block_public_access_options,
    ),
    ("DescribeVpcs", vpcs::describe_vpcs),
    ("DetachInternetGateway", gateways::detach_internet_gateway),
    ("DetachVolume", volumes::detach_volume),
    ("DisableEbsEncryptionByDefault", ebs_encryption::disable),
    ("DisableImage", image_attributes::disable_image),
    (
        "DisableImageDeprecation",
        image_attributes::disable_image_deprecation,
    ),
    (
        "DisableImageDeregistrationProtection",
        image_attributes::disable_protection,
    ),
    ("DisassociateAddress", elastic_ips::disassociate_address),
    (
        "DisassociateIamInstanceProfile",
        instance_profiles::disassociate,
    ),
    (
        "DisassociateRouteTable",
        route_tables::disassociate_route_table,
    ),
    ("EnableEbsEncryptionByDefault", ebs_encryption::enable),
    ("EnableImage", image_attributes::enable_image),
    (
        "EnableImageDeprecation",
        image_attributes::enable_image_deprecation,
    ),
    (
        "EnableImageDeregistrationProtection",
        image_attributes::enable_protection,
    ),
    ("EnableVolumeIO", volume_attributes::enable_volume_io),
    ("GetConsoleOutput", console::get_console_output),
    ("GetEbsDefaultKmsKeyId", ebs_encryption::default_key),
    ("GetEbsEncryptionByDefault", ebs_encryption::get),
    (
        "GetImageBlockPublicAccessState",
        account_settings::get_image_block_public_access_state,
    ),
    (
        "GetInstanceMetadataDefaults",
        account_settings::get_instance_metadata_defaults,
    ),
    ("GetPasswordData", console::get_password_data),
    (
        "GetSecurityGroupsForVpc",
        group_uses::get_security_groups_for_vpc,
    ),
    (
        "GetSerialConsoleAccessStatus",
        account_settings::get_serial_console_access_status,
    ),
    (
        "GetSnapshotBlockPublicAccessState",
        account_settings::get_snapshot_block_public_access_state,
    ),
    ("ImportKeyPair", key_pairs::import_key_pair),
    ("ModifyEbsDefaultKmsKeyId", ebs_encryption::set_default_key),
    (
        "ModifyImageAttribute",
        image_attributes::modify_image_attribute,
    ),
    (
        "ModifyInstanceAttribute",
        attributes::modify_instance_attribute,
    ),
    (
        "ModifyInstanceCapacityReservationAttributes",
        options::modify_instance_capacity_reservation_attributes,
    ),
    (
        "ModifyInstanceCreditSpecification",
        credits::modify_instance_credit_specification,
    ),
    (
        "ModifyInstanceMaintenanceOptions",
        options::modify_instance_maintenance_options,
    ),
    (
        "ModifyInstanceMetadataOptions",
        attributes::modify_instance_metadata_options,
    ),
    (
        "ModifyNetworkInterfaceAttribute",
        network_interfaces::modify_network_interface_attribute,
    ),
    (
        "ModifyPrivateDnsNameOptions",
        options::modify_private_dns_name_options,
    ),
    ("ModifySecurityGroupRules", rule_changes::modify_rules),
    (
        "ModifySnapshotAttribute",
        snapshots::modify_snapshot_attribute,
    ),
    ("ModifySubnetAttribute", subnets::modify_subnet_attribute),
    ("ModifyVolume", volumes::modify_volume),
    (
        "ModifyVolumeAttribute",
        volume_attributes::modify_volume_attribute,
    ),
    ("ModifyVpcAttribute", vpcs::modify_vpc_attribute),
    ("MonitorInstances", monitoring::monitor_instances),
    ("RebootInstances", instances::reboot_instances),
    ("RegisterImage", image_sources::register_image),
    ("ReleaseAddress", elastic_ips::release_address),
    (
        "ReplaceIamInstanceProfileAssociation",
        instance_profiles::replace,
    ),
    ("ReplaceRoute", routes::replace_route),
    (
        "ReplaceRouteTableAssociation",
        route_tables::replace_route_table_association,
    ),
    ("ReportInstanceStatus", attributes::report_instance_status),
    ("ResetEbsDefaultKmsKeyId", ebs_encryption::set_default_key),
    (
        "ResetImageAttribute",
        image_attributes::reset_image_attribute,
    ),
    (
        "ResetInstanceAttribute",
        attributes::reset_instance_attribute,
    ),
    (
        "ResetNetworkInterfaceAttribute",
        network_interfaces::reset_network_interface_attribute,
    ),
    (
        "ResetSnapshotAttribute",
        snapshots::reset_snapshot_attribute,
    ),
    ("RevokeSecurityGroupEgress", |call, request| {
        group_rules::revoke(call, request, Direction::Egress)
    }),
    ("RevokeSecurityGroupIngress", |call, request| {
        group_rules::revoke(call, request, Direction::Ingress)
    }),
    ("RunInstances", launch::run_instances),
    ("StartInstances", instances::start_instances),
    ("StopInstances", instances::stop_instances),
    ("TerminateInstances", instances::terminate_instances),
    ("UnmonitorInstances", monitoring::unmonitor_instances),
    (
        "UpdateSecurityGroupRuleDescriptionsEgress",
        |call, request| rule_changes::update_descriptions(call, request, Direction::Egress),
    ),
    (
        "UpdateSecurityGroupRuleDescriptionsIngress",
        |call, request| rule_changes::update_descriptions(call, request, Direction::Ingress),
    ),
];

/// Returns the action with this name.
pub(super) fn find(name: &str) -> Option<Action> {
    let found = ACTIONS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, action)| *action)
        .or_else(|| absent::find(name))
}

/// Returns AWS's names of the actions of EC2, IAM, STS, Systems Manager and EC2 Instance
/// Connect.
pub(crate) fn actions() -> impl Iterator<Item = &'static str> {
    let ec2 = ACTIONS.iter().map(|(name, _)| *name);
    ec2.chain(absent::actions())
        .chain(iam::actions())
        .chain(sts::ACTIONS)
        .chain(ssm::operations())
        .chain(connect::operations())
}

/// Returns AWS's names of the actions of EC2.
#[cfg(test)]
pub(super) fn of_ec2() -> impl Iterator<Item = &'static str> {
    let ec2 = ACTIONS.iter().map(|(name, _)| *name);
    ec2.chain(absent::actions())
}

/// Whether an action changes the state. AWS names all actions that only read
/// `Describe..` or `Get..`.
pub(super) fn changes(action: &str) -> bool {
    !action.starts_with("Describe") && !action.starts_with("Get")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_action_has_one_row() {
        let mut seen = BTreeSet::new();
        for name in super::actions() {
            assert!(seen.insert(name), "{name} has two rows");
        }
    }
}
