//! A request of each action that succeeds in the [`super::furnished`] cloud.

use super::furnished::Names;

/// The parameters with which an action succeeds in the furnished cloud. Other
/// actions need none. Names in braces are those of its resources.
const SAMPLES: &[(&str, &str)] = &[
    (
        "AssociateAddress",
        "AllocationId={address}&InstanceId={plain}",
    ),
    (
        "AssociateIamInstanceProfile",
        "InstanceId={plain}&IamInstanceProfile.Name=web",
    ),
    (
        "AssociateRouteTable",
        "RouteTableId={spare}&SubnetId={bare}",
    ),
    (
        "AttachInternetGateway",
        "InternetGatewayId={loose}&VpcId={empty}",
    ),
    (
        "AttachVolume",
        "VolumeId={volume}&InstanceId={instance}&Device=/dev/sdg",
    ),
    (
        "AuthorizeSecurityGroupEgress",
        "GroupId={group}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.1.CidrIp=192.0.2.0/24",
    ),
    (
        "AuthorizeSecurityGroupIngress",
        "GroupId={group}&IpProtocol=tcp&FromPort=80&ToPort=80&CidrIp=192.0.2.0/24",
    ),
    (
        "CopyImage",
        "Name=copy&SourceImageId={own}&SourceRegion=us-east-1",
    ),
    (
        "CopySnapshot",
        "SourceSnapshotId={snapshot}&SourceRegion=us-east-1",
    ),
    ("CreateDefaultSubnet", "AvailabilityZone=us-east-1f"),
    (
        "CreateFleet",
        "Type=instant&LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId={template}&LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version=1&TargetCapacitySpecification.TotalTargetCapacity=1",
    ),
    ("CreateImage", "InstanceId={instance}&Name=new"),
    ("CreateKeyPair", "KeyName=new"),
    (
        "CreateLaunchTemplate",
        "LaunchTemplateName=new&LaunchTemplateData.InstanceType=t3.nano",
    ),
    (
        "CreateNatGateway",
        "SubnetId={subnet}&AllocationId={address}",
    ),
    (
        "CreateRoute",
        "RouteTableId={table}&DestinationCidrBlock=192.0.2.0/24&GatewayId={gateway}",
    ),
    ("CreateRouteTable", "VpcId={vpc}"),
    (
        "CreateSecurityGroup",
        "GroupName=new&GroupDescription=new&VpcId={vpc}",
    ),
    ("CreateSnapshot", "VolumeId={volume}"),
    (
        "CreateSnapshots",
        "InstanceSpecification.InstanceId={instance}",
    ),
    ("CreateSubnet", "VpcId={vpc}&CidrBlock=10.9.9.0/24"),
    (
        "CreateTags",
        "ResourceId.1={instance}&ResourceId.2={vpc}&Tag.1.Key=a&Tag.1.Value=b",
    ),
    ("CreateVolume", "AvailabilityZone=us-east-1a&Size=1"),
    ("CreateVpc", "CidrBlock=10.7.0.0/16"),
    ("DeleteFleets", "FleetId.1={fleet}&TerminateInstances=true"),
    ("DeleteInternetGateway", "InternetGatewayId={loose}"),
    ("DeleteKeyPair", "KeyName=web"),
    ("DeleteLaunchTemplate", "LaunchTemplateId={template}"),
    ("DeleteNatGateway", "NatGatewayId={nat}"),
    (
        "DeleteRoute",
        "RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0",
    ),
    ("DeleteRouteTable", "RouteTableId={spare}"),
    ("DeleteSecurityGroup", "GroupId={unused}"),
    ("DeleteSnapshot", "SnapshotId={single}"),
    ("DeleteSubnet", "SubnetId={bare}"),
    ("DeleteTags", "ResourceId.1={instance}&Tag.1.Key=owner"),
    ("DeleteVolume", "VolumeId={volume}"),
    ("DeleteVpc", "VpcId={empty}"),
    ("DeregisterImage", "ImageId={own}"),
    ("DescribeAddressesAttribute", "Attribute=domain-name"),
    ("DescribeFleetInstances", "FleetId={fleet}"),
    (
        "DescribeImageAttribute",
        "ImageId={own}&Attribute=description",
    ),
    (
        "DescribeInstanceAttribute",
        "InstanceId={instance}&Attribute=instanceType",
    ),
    (
        "DescribeLaunchTemplateVersions",
        "LaunchTemplateId={template}",
    ),
    (
        "DescribeNetworkInterfaceAttribute",
        "NetworkInterfaceId={interface}&Attribute=description",
    ),
    ("DescribeSecurityGroupReferences", "GroupId.1={group}"),
    (
        "DescribeSnapshotAttribute",
        "SnapshotId={snapshot}&Attribute=createVolumePermission",
    ),
    ("DescribeStaleSecurityGroups", "VpcId={vpc}"),
    (
        "DescribeVolumeAttribute",
        "VolumeId={volume}&Attribute=autoEnableIO",
    ),
    (
        "DescribeVpcAttribute",
        "VpcId={vpc}&Attribute=enableDnsSupport",
    ),
    (
        "DetachInternetGateway",
        "InternetGatewayId={attached}&VpcId={third}",
    ),
    ("DetachVolume", "VolumeId={data}"),
    ("DisableImage", "ImageId={own}"),
    ("DisableImageDeprecation", "ImageId={own}"),
    ("DisableImageDeregistrationProtection", "ImageId={own}"),
    ("DisassociateAddress", "AssociationId={bound}"),
    ("DisassociateIamInstanceProfile", "AssociationId={profile}"),
    ("DisassociateRouteTable", "AssociationId={association}"),
    ("EnableImage", "ImageId={own}"),
    (
        "EnableImageDeprecation",
        "ImageId={own}&DeprecateAt=2030-01-01T00:00:00Z",
    ),
    ("EnableImageDeregistrationProtection", "ImageId={own}"),
    ("EnableVolumeIO", "VolumeId={volume}"),
    ("GetConsoleOutput", "InstanceId={instance}"),
    ("GetPasswordData", "InstanceId={instance}"),
    ("GetSecurityGroupsForVpc", "VpcId={vpc}"),
    ("ImportKeyPair", "KeyName=new&PublicKeyMaterial={key}"),
    ("ModifyEbsDefaultKmsKeyId", "KmsKeyId=alias/aws/ebs"),
    (
        "ModifyImageAttribute",
        "ImageId={own}&Description.Value=new",
    ),
    (
        "ModifyInstanceAttribute",
        "InstanceId={instance}&DisableApiTermination.Value=true",
    ),
    (
        "ModifyInstanceCapacityReservationAttributes",
        "InstanceId={stopped}&CapacityReservationSpecification.CapacityReservationPreference=none",
    ),
    (
        "ModifyInstanceCreditSpecification",
        "InstanceCreditSpecification.1.InstanceId={instance}&InstanceCreditSpecification.1.CpuCredits=standard",
    ),
    (
        "ModifyInstanceMaintenanceOptions",
        "InstanceId={instance}&AutoRecovery=disabled",
    ),
    (
        "ModifyInstanceMetadataOptions",
        "InstanceId={instance}&HttpPutResponseHopLimit=3",
    ),
    (
        "ModifyNetworkInterfaceAttribute",
        "NetworkInterfaceId={interface}&Description.Value=new",
    ),
    (
        "ModifyPrivateDnsNameOptions",
        "InstanceId={stopped}&EnableResourceNameDnsARecord=true",
    ),
    (
        "ModifySecurityGroupRules",
        "GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={rule}&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=tcp&SecurityGroupRule.1.SecurityGroupRule.FromPort=444&SecurityGroupRule.1.SecurityGroupRule.ToPort=444&SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=192.0.2.0/24",
    ),
    (
        "ModifySnapshotAttribute",
        "SnapshotId={snapshot}&CreateVolumePermission.Add.1.UserId=210987654321",
    ),
    (
        "ModifySubnetAttribute",
        "SubnetId={subnet}&MapPublicIpOnLaunch.Value=true",
    ),
    ("ModifyVolume", "VolumeId={volume}&Size=2"),
    (
        "ModifyVolumeAttribute",
        "VolumeId={volume}&AutoEnableIO.Value=true",
    ),
    (
        "ModifyVpcAttribute",
        "VpcId={vpc}&EnableDnsHostnames.Value=true",
    ),
    ("MonitorInstances", "InstanceId.1={instance}"),
    ("RebootInstances", "InstanceId.1={instance}"),
    (
        "RegisterImage",
        "Name=new&RootDeviceName=/dev/xvda&BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}",
    ),
    ("ReleaseAddress", "AllocationId={address}"),
    (
        "ReplaceIamInstanceProfileAssociation",
        "AssociationId={profile}&IamInstanceProfile.Name=other",
    ),
    (
        "ReplaceRoute",
        "RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&GatewayId={gateway}",
    ),
    (
        "ReplaceRouteTableAssociation",
        "AssociationId={association}&RouteTableId={spare}",
    ),
    (
        "ReportInstanceStatus",
        "InstanceId.1={instance}&Status=impaired&ReasonCode.1=other",
    ),
    (
        "ResetImageAttribute",
        "ImageId={own}&Attribute=launchPermission",
    ),
    (
        "ResetInstanceAttribute",
        "InstanceId={stopped}&Attribute=sourceDestCheck",
    ),
    (
        "ResetNetworkInterfaceAttribute",
        "NetworkInterfaceId={interface}&SourceDestCheck=x",
    ),
    (
        "ResetSnapshotAttribute",
        "SnapshotId={snapshot}&Attribute=createVolumePermission",
    ),
    (
        "RevokeSecurityGroupEgress",
        "GroupId={group}&SecurityGroupRuleId.1={egress}",
    ),
    (
        "RevokeSecurityGroupIngress",
        "GroupId={group}&SecurityGroupRuleId.1={rule}",
    ),
    (
        "RunInstances",
        "ImageId={image}&InstanceType=t3.nano&MinCount=1&MaxCount=2&KeyName=web",
    ),
    ("StartInstances", "InstanceId.1={stopped}"),
    ("StopInstances", "InstanceId.1={instance}"),
    (
        "TerminateInstances",
        "InstanceId.1={instance}&InstanceId.2={stopped}",
    ),
    ("UnmonitorInstances", "InstanceId.1={instance}"),
    (
        "UpdateSecurityGroupRuleDescriptionsEgress",
        "GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={egress}&SecurityGroupRuleDescription.1.Description=new",
    ),
    (
        "UpdateSecurityGroupRuleDescriptionsIngress",
        "GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={rule}&SecurityGroupRuleDescription.1.Description=new",
    ),
];

/// Returns a request that succeeds.
pub(super) fn sample(action: &str, names: &Names) -> String {
    let found = SAMPLES.iter().find(|(known, _)| *known == action);
    let parameters = found.map(|(_, parameters)| names.fill(parameters));
    match parameters {
        Some(parameters) => format!("{action}&{parameters}"),
        None => action.to_owned(),
    }
}
