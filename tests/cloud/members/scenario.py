"""The calls whose answers `check.py` compares with the models, one function for
each noun. A function for a new noun returns sample values by the names of members,
and has a line in `NOUNS`."""

import json
import time

import boto3
from botocore.exceptions import ClientError

import commands
import logins
import proofs
from proofs import RUN, clean_up_iam

SERVICES = ["ec2", "iam", "sts", "ssm", "ec2-instance-connect"]

# Members that AWS requires although its model does not say so, by structure.
ALSO = {
    "BlockDeviceMapping": ["DeviceName"],
    "LaunchTemplateBlockDeviceMappingRequest": ["DeviceName"],
    "LaunchTemplateEbsBlockDeviceRequest": ["VolumeSize", "VolumeType", "Encrypted"],
    "LaunchTemplateInstanceNetworkInterfaceSpecificationRequest": ["DeviceIndex"],
    "LaunchTemplateTagSpecificationRequest": ["ResourceType", "Tags"],
    "EbsBlockDevice": ["VolumeSize", "VolumeType", "Encrypted"],
    "Filter": ["Name", "Values"],
    "InstanceBlockDeviceMappingSpecification": ["DeviceName"],
    "InstanceCreditSpecificationRequest": ["CpuCredits"],
    "InstanceNetworkInterfaceSpecification": ["DeviceIndex"],
    "NetworkInterfaceAttachmentChanges": ["AttachmentId"],
    "IpPermission": ["IpProtocol", "FromPort", "ToPort", "IpRanges"],
    "IpRange": ["CidrIp"],
    "Ipv6Range": ["CidrIpv6"],
    "PrivateIpAddressSpecification": ["Primary"],
    "Tag": ["Key", "Value"],
    "Target": ["Key", "Values"],
    "UserIdGroupPair": ["GroupId"],
    "TagSpecification": ["ResourceType", "Tags"],
}

# Members that AWS requires beside another one, by structure and member.
ALSO_WITH = {
    ("BlockDeviceMapping", "DeviceName"): ["Ebs"],
    ("LaunchTemplateBlockDeviceMappingRequest", "DeviceName"): ["Ebs"],
}

# The keys of maps, by the names of members.
KEYS = {"Parameters": "commands"}

# Actions without an answer in the scenario. Other answers have their structures.
NOT_CALLED = {
    "DescribeFleetInstances": "all fleets of the local cloud have the type instant",
    "CreateNatGateway": "the local cloud has none",
    "DeleteNatGateway": "the local cloud has none",
}

# What a launch template can have beside an image and a type.
WHOLE_TEMPLATE = {
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/sdf", "Ebs": {
            "DeleteOnTermination": True, "Encrypted": True, "Iops": 3000, "Throughput": 125,
            "VolumeSize": 8, "VolumeType": "gp3"}},
        {"DeviceName": "/dev/sdg", "NoDevice": ""},
        {"DeviceName": "/dev/sdh", "VirtualName": "ephemeral0"}],
    "CapacityReservationSpecification": {"CapacityReservationPreference": "open"},
    "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2},
    "CreditSpecification": {"CpuCredits": "standard"},
    "DisableApiStop": False, "DisableApiTermination": False, "EbsOptimized": True,
    "EnclaveOptions": {"Enabled": False}, "HibernationOptions": {"Configured": False},
    "IamInstanceProfile": {"Name": "web"},
    "InstanceInitiatedShutdownBehavior": "stop",
    "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {
        "MaxPrice": "0.01", "SpotInstanceType": "one-time",
        "InstanceInterruptionBehavior": "terminate"}},
    "KeyName": "web", "MaintenanceOptions": {"AutoRecovery": "default"},
    "MetadataOptions": {
        "HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled", "HttpPutResponseHopLimit": 2,
        "HttpTokens": "required", "InstanceMetadataTags": "disabled"},
    "Monitoring": {"Enabled": False},
    "NetworkInterfaces": [{
        "AssociatePublicIpAddress": True, "DeleteOnTermination": True, "Description": "first",
        "DeviceIndex": 0, "Groups": ["sg-0123456789abcdef0"], "InterfaceType": "interface",
        "NetworkCardIndex": 0, "PrimaryIpv6": False, "SubnetId": "subnet-0123456789abcdef0"}],
    "NetworkPerformanceOptions": {"BandwidthWeighting": "default"},
    "Placement": {"AvailabilityZone": "us-east-1a", "Tenancy": "default"},
    "PrivateDnsNameOptions": {"EnableResourceNameDnsARecord": False, "HostnameType": "ip-name"},
    "TagSpecifications": [{
        "ResourceType": "instance", "Tags": [{"Key": "team", "Value": "web"}]}],
    "UserData": "IyEvYmluL3NoCg==",
}

# Values that AWS returns although its model does not list them.
BEYOND_THE_MODEL = {("AttachmentStatus", "available")}

PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"


# The tagged resource and a filter of actions.
RESOURCE_TYPES = {
    "AllocateAddress": "elastic-ip", "CopyImage": "image", "CopySnapshot": "snapshot",
    "CreateImage": "image", "CreateInternetGateway": "internet-gateway",
    "CreateFleet": "instance", "CreateLaunchTemplate": "launch-template",
    "CreateKeyPair": "key-pair", "CreateNatGateway": "natgateway", "CreateRouteTable": "route-table",
    "CreateSecurityGroup": "security-group", "CreateSnapshot": "snapshot",
    "CreateSnapshots": "snapshot", "CreateSubnet": "subnet", "CreateVpc": "vpc",
    "RegisterImage": "image",
    "CreateVolume": "volume", "ImportKeyPair": "key-pair", "RunInstances": "instance",
}
FILTERS = {
    "DescribeCapacityReservations": "state", "DescribeFleets": "type",
    "DescribeFleetInstances": "instance-type", "DescribeLaunchTemplateVersions": "image-id",
    "DescribeSecurityGroupVpcAssociations": "vpc-id",
    "DescribeTransitGatewayAttachments": "state", "DescribeTransitGatewayVpcAttachments": "state",
    "GetSecurityGroupsForVpc": "group-id",
    "DescribeAvailabilityZones": "zone-name", "DescribeInstanceStatus": "availability-zone",
    "DescribeIamInstanceProfileAssociations": "instance-id",
    "DescribeInstanceCreditSpecifications": "instance-id",
    "DescribeInstanceTypeOfferings": "location", "DescribeInstanceTypes": "instance-type",
    "DescribeRegions": "region-name", "DescribeTags": "key",
    "DescribeVolumeStatus": "availability-zone", "DescribeVolumesModifications": "volume-id",
}


def samples(operation):
    """Returns sample values, by the names of members, for one action."""
    found = {"ResourceType": RESOURCE_TYPES.get(operation, "security-group-rule")}
    if operation.startswith("Describe") or operation in FILTERS:
        found["Name"] = FILTERS.get(operation, "tag-key")
    if operation.startswith("Authorize"):
        found.update(FromPort=80, ToPort=80)
    if operation in ("CreateKeyPair", "CreateSecurityGroup", "ImportKeyPair"):
        found.update(KeyName="new", GroupName="new")
    found.update(SAMPLES.get(operation, {}))
    return found


SAMPLES = {
    "CopyImage": {"Name": f"{RUN}-copy"},
    "CreateImage": {"Name": f"{RUN}-new"},
    "CreateRoute": {"DestinationCidrBlock": "192.0.2.0/24"},
    "CreateSubnet": {"CidrBlock": "10.9.9.0/24"},
    "CreateVpc": {"CidrBlock": "10.9.0.0/16"},
    "DeleteRoute": {"DestinationCidrBlock": "0.0.0.0/0"},
    "DescribeAddressesAttribute": {"Attribute": "domain-name"},
    "DescribeImageAttribute": {"Attribute": "description"},
    "DescribeSnapshotAttribute": {"Attribute": "createVolumePermission"},
    "DescribeVolumeAttribute": {"Attribute": "autoEnableIO"},
    "DescribeNetworkInterfaceAttribute": {"Attribute": "description"},
    "DescribeVpcAttribute": {"Attribute": "enableDnsSupport"},
    "ModifyInstanceAttribute": {"DeviceName": "/dev/xvda", "Value": "true"},
    "ModifyEbsDefaultKmsKeyId": {"KmsKeyId": "alias/aws/ebs"},
    "RegisterImage": {"Name": f"{RUN}-new", "DeviceName": "/dev/sda1"},
    "ReplaceRoute": {"DestinationCidrBlock": "0.0.0.0/0"},
    "ResetInstanceAttribute": {"Attribute": "sourceDestCheck"},
    "ResetImageAttribute": {"Attribute": "launchPermission"},
    "ResetSnapshotAttribute": {"Attribute": "createVolumePermission"},
    "StartSession": {
        "DocumentName": "AWS-StartSSHSession", "Parameters": "22", "Parameters.key": "portNumber",
    },
}


def base(operation, member, live):
    """Returns what a request with this member needs beyond what the model requires."""
    if operation in ("SendCommand", "StartSession"):
        return commands.base(operation, member, live)
    group = {"GroupId": live["GroupId"]} if "GroupId" in live else {}
    if operation.startswith(("AuthorizeSecurityGroup", "RevokeSecurityGroup")):
        # The rule with port 443 exists.
        port = 443 if operation.startswith("Revoke") else 80
        rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": live["CidrIp"]}
        alone = member in ("IpPermissions", "SecurityGroupRuleIds")
        return group if alone else {**group, **rule}
    if operation.startswith("UpdateSecurityGroupRuleDescriptions"):
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
        named = {"IpPermissions": [{**rule, "IpRanges": [{"CidrIp": live.get("CidrIp")}]}]}
        alone = member in ("IpPermissions", "SecurityGroupRuleDescriptions")
        return group if alone else {**group, **named}
    route = {"RouteTableId": live.get("RouteTableId"), **SAMPLES.get(operation, {})}
    to_gateway = {
        **route, **({} if member == "NatGatewayId" else {"GatewayId": live.get("GatewayId")})}
    profile = {"IamInstanceProfile": {"Name": RUN}, "InstanceId": live.get("InstanceId")}
    return {
        "AssociateIamInstanceProfile": profile,
        "ReplaceIamInstanceProfileAssociation": {
            "AssociationId": live.get("AssociationId"),
            "IamInstanceProfile": {"Name": RUN},
        },
        "AssociateAddress": {
            **({} if member == "PublicIp" else {"AllocationId": live.get("AllocationId")}),
            **({} if member == "NetworkInterfaceId" else {"InstanceId": live.get("InstanceId")}),
        },
        "CreateDefaultSubnet": {} if member == "AvailabilityZoneId" else {
            "AvailabilityZone": live.get("AvailabilityZone")},
        "CopyImage": {"Name": f"{RUN}-copy"},
        "CopySnapshot": {"SourceRegion": live.get("SourceRegion")},
        "CreateImage": {"Name": f"{RUN}-new"},
        "CreateKeyPair": {"KeyName": "new"},
        "AssociateRouteTable": {"SubnetId": live.get("SubnetId")},
        "CreateNatGateway": {
            "SubnetId": live.get("SubnetId"),
            **({} if member == "ConnectivityType" else {
                "AllocationId": live.get("AllocationId")}),
        },
        "CreateRoute": to_gateway,
        "CreateSecurityGroup": {"GroupName": "new"},
        "CreateFleet": {
            "Type": "instant",
            "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": {
                "LaunchTemplateId": live.get("LaunchTemplateId"), "Version": "1"}}],
            "TargetCapacitySpecification": {"TotalTargetCapacity": 1},
        },
        "CreateLaunchTemplate": {
            "LaunchTemplateName": f"{RUN}-new",
            "LaunchTemplateData": {"ImageId": live.get("ImageId"), "InstanceType": "t3.micro"},
        },
        "DeleteLaunchTemplate":
            {} if member == "LaunchTemplateName" else {
                "LaunchTemplateId": live.get("LaunchTemplateId")},
        "DescribeFleets": {"FleetIds": [live.get("FleetId")]},
        "DescribeLaunchTemplateVersions":
            {} if member == "LaunchTemplateName" else {
                "LaunchTemplateId": live.get("LaunchTemplateId")},
        "CreateSubnet": {"VpcId": live.get("VpcId"), "CidrBlock": "10.9.9.0/24"},
        "CreateVpc": {"CidrBlock": "10.9.0.0/16"},
        "ModifyImageAttribute": {
            "Description": {"Value": "new"},
            **({"OperationType": "add"} if member in ("UserGroups", "UserIds") else {}),
            **({"Attribute": "description"} if member == "Value" else {}),
        },
        "ModifySnapshotAttribute": {
            **({} if member == "CreateVolumePermission" else {
                "UserIds": ["123456789012"], "OperationType": "add"}),
        },
        "RegisterImage": {"Name": f"{RUN}-new", "BlockDeviceMappings": [
            {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": live.get("SnapshotId")}}]},
        "CreateVolume": {
            "Size": 8, "VolumeType": "gp3", "Encrypted": True,
            **({} if member == "AvailabilityZoneId" else {
                "AvailabilityZone": live.get("AvailabilityZone")}),
        },
        "DeleteKeyPair": {"KeyName": "new"},
        "DeleteRoute": route,
        "DeleteSecurityGroup": {} if member == "GroupName" else group,
        "DisassociateAddress":
            {} if member == "PublicIp" else {"AssociationId": live.get("AssociationId")},
        "GetParametersByPath": {"Recursive": True},
        "ImportKeyPair": {"KeyName": "new"},
        "ModifyInstanceCapacityReservationAttributes": {"CapacityReservationSpecification": {
            "CapacityReservationPreference": "open"}},
        "ModifyInstanceAttribute":
            {"Attribute": "disableApiTermination"} if member == "Value" else {},
        "DescribeNetworkInterfaceAttribute": {"Attribute": "description"},
        "ResetInstanceAttribute": {"Attribute": "sourceDestCheck"},
        "ModifyNetworkInterfaceAttribute":
            {"Description": {"Value": "x"}} if member in ("DryRun", "NetworkInterfaceId") else {},
        "ModifyVpcAttribute":
            {"EnableDnsSupport": {"Value": True}} if member == "VpcId" else {},
        "ReleaseAddress":
            {} if member == "PublicIp" else {"AllocationId": live.get("AllocationId")},
        "ReplaceRoute": to_gateway,
        "RunInstances": {"ImageId": live.get("ImageId"), "InstanceType": "t3.micro"},
    }.get(operation, {})


def beside(operation, path, live):
    """Returns what a request with the member at this path needs in the structures around
    it."""
    def of(*names):
        return {name: live.get(name) for name in names}

    # A rule keeps its kind of source.
    source = path[-1] if path[-1] in ("CidrIpv6", "ReferencedGroupId") else "CidrIpv4"
    sources = {
        "CidrIpv4": live.get("CidrIp"), "CidrIpv6": live.get("CidrIpv6"),
        "ReferencedGroupId": live.get("GroupId")}
    rule = {**of("IpProtocol", "FromPort", "ToPort"), source: sources[source]}
    described = {**of("SecurityGroupRuleId"), "Description": "new"}
    root = {"DeviceName": "/dev/sda1", "Ebs": of("SnapshotId")}
    template = {} if path[-1] == "LaunchTemplateName" else of("LaunchTemplateId")
    spot = {"MarketType": "spot"} if "SpotOptions" in path else {}
    return {
        "CopyImage": {"Encrypted": True} if path[0] == "KmsKeyId" else {},
        "CreateFleet": {"LaunchTemplateConfigs": [
            {"LaunchTemplateSpecification": {**template, "Version": "1"}}]},
        "CreateLaunchTemplate": {"LaunchTemplateData": {
            **of("ImageId", "InstanceType"),
            **({"InstanceMarketOptions": spot} if spot else {})}},
        "RunInstances": {
            **({"LaunchTemplate": template} if path[0] == "LaunchTemplate" else {}),
            **({"InstanceMarketOptions": spot} if spot else {})},
        "ModifySecurityGroupRules": {**of("GroupId"), "SecurityGroupRules": [{
            "SecurityGroupRuleId": live.get(f"rule of {source}"),
            "SecurityGroupRule": rule}]},
        "ModifyVolumeAttribute":
            {} if path[0] == "AutoEnableIO" else {"AutoEnableIO": {"Value": True}},
        "RegisterImage": {"BlockDeviceMappings": [
            {"DeviceName": "/dev/sdf"}, root]
            if path[-1] in ("NoDevice", "VirtualName") else [root]},
        "UpdateSecurityGroupRuleDescriptionsEgress":
            {"SecurityGroupRuleDescriptions": [described]} if "Rule" in path[0] else {},
        "UpdateSecurityGroupRuleDescriptionsIngress":
            {"SecurityGroupRuleDescriptions": [described]} if "Rule" in path[0] else {},
    }.get(operation, {})


def until(condition, what):
    """Waits until the condition is true. Returns its value."""
    for _ in range(600):
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not true within 30 s: {what}")


def soon(call, **arguments):
    """Makes a call about a new resource, which is not visible at once, as on AWS."""
    def made():
        try:
            return call(**arguments)
        except ClientError as error:
            if not error.response["Error"]["Code"].endswith(".NotFound"):
                raise
            return None
    return until(made, f"{arguments} exist")


def tagged(kind):
    return [{"ResourceType": kind, "Tags": [{"Key": "team", "Value": "members"}]}]


def places(ec2, live):
    ec2.describe_regions()
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    ec2.describe_account_attributes()
    ec2.describe_images(IncludeDeprecated=True)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]
    ec2.describe_images(MaxResults=5)
    ec2.describe_instance_types(MaxResults=5)
    ec2.describe_instance_types()
    ec2.describe_instance_type_offerings(MaxResults=5)
    default = [{"Name": "is-default", "Values": ["true"]}]
    vpc = ec2.describe_vpcs(Filters=default)["Vpcs"][0]
    # `defaults` deletes the subnet of the last zone.
    subnet = ec2.describe_subnets(Filters=[
        {"Name": "vpc-id", "Values": [vpc["VpcId"]]},
        {"Name": "availability-zone", "Values": [zones[0]["ZoneName"]]},
    ])["Subnets"][0]["SubnetId"]
    gateway = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    return {
        "AvailabilityZone": zones[0]["ZoneName"], "ZoneNames": zones[0]["ZoneName"],
        "ZoneIds": zones[0]["ZoneId"], "RegionNames": zones[0]["RegionName"],
        "ImageId": image["ImageId"], "ImageIds": image["ImageId"], "Owners": "amazon",
        "VpcId": vpc["VpcId"], "VpcIds": vpc["VpcId"], "UserId": vpc["OwnerId"], "SubnetId": subnet, "SubnetIds": subnet,
        "InternetGatewayIds": gateway, "InstanceType": "t3.micro",
        "InstanceTypes": "t3.micro", "CpuCredits": "standard", "MinCount": 1, "MaxCount": 1, "MaxResults": 5,
        "AvailabilityZoneId": zones[0]["ZoneId"], "Device": "/dev/sdf", "FromPort": 443,
        "ToPort": 443, "VolumeType": "gp3", "DeviceIndex": 0, "DeviceName": "/dev/sdf", "VolumeSize": 8, "Key": "team", "Value": "members", "LocationType": "region",
    }


def defaults(ec2, live):
    """Deletes and creates a default subnet, and the default VPC of another region.
    Deletes them again, for requests that create them."""
    zone = ec2.describe_availability_zones()["AvailabilityZones"][-1]
    delete_default_subnets(ec2, zone["ZoneName"])
    ec2.create_default_subnet(AvailabilityZone=zone["ZoneName"])
    delete_default_subnets(ec2, zone["ZoneName"])
    delete_default_vpc(proofs.elsewhere)
    proofs.elsewhere.create_default_vpc()
    delete_default_vpc(proofs.elsewhere)
    return {
        "CreateDefaultSubnet.AvailabilityZone": zone["ZoneName"],
        "CreateDefaultSubnet.AvailabilityZoneId": zone["ZoneId"],
    }


def delete_default_subnets(ec2, zone="*"):
    own = [{"Name": "default-for-az", "Values": ["true"]},
           {"Name": "availability-zone", "Values": [zone]}]
    for subnet in ec2.describe_subnets(Filters=own)["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])


def delete_default_vpc(ec2):
    own = [{"Name": "is-default", "Values": ["true"]}]
    for vpc in ec2.describe_vpcs(Filters=own)["Vpcs"]:
        delete_default_subnets(ec2)
        here = [{"Name": "attachment.vpc-id", "Values": [vpc["VpcId"]]}]
        for gateway in ec2.describe_internet_gateways(Filters=here)["InternetGateways"]:
            name = {"InternetGatewayId": gateway["InternetGatewayId"]}
            ec2.detach_internet_gateway(**name, VpcId=vpc["VpcId"])
            ec2.delete_internet_gateway(**name)
        ec2.delete_vpc(VpcId=vpc["VpcId"])


def key_pairs(ec2, live):
    made = ec2.create_key_pair(KeyName=RUN, TagSpecifications=tagged("key-pair"))
    public = soon(ec2.describe_key_pairs, KeyNames=[RUN], IncludePublicKey=True)
    material = public["KeyPairs"][0]["PublicKey"].encode()
    ec2.import_key_pair(
        KeyName=f"{RUN}-imported", PublicKeyMaterial=material, TagSpecifications=tagged("key-pair"))
    ec2.delete_key_pair(KeyName=f"{RUN}-imported")
    return {
        "KeyName": RUN, "KeyNames": RUN, "KeyPairIds": made["KeyPairId"],
        "PublicKeyMaterial": material,
    }


def groups(ec2, live):
    made = ec2.create_security_group(
        GroupName=RUN, Description="of a test", TagSpecifications=tagged("security-group"))
    group = made["GroupId"]
    soon(ec2.describe_security_groups, GroupIds=[group])
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    ec2.authorize_security_group_ingress(
        GroupId=group, TagSpecifications=tagged("security-group-rule"),
        IpPermissions=[{
            **rule, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "ssh"}],
            "Ipv6Ranges": [{"CidrIpv6": "::/0", "Description": "ssh"}],
            "UserIdGroupPairs": [{"GroupId": group, "Description": "own"}],
        }])
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[
        {**rule, "IpRanges": [{"CidrIp": "192.0.2.0/24", "Description": "ssh"}]}])
    ec2.describe_security_groups(GroupIds=[group])
    other = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "192.0.2.0/24"}
    ec2.authorize_security_group_ingress(GroupId=group, **other)
    ec2.authorize_security_group_egress(GroupId=group, **other)
    del other["CidrIp"]
    peers = {"Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}], "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{**other, **peers}])
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[{**other, **peers}])
    own = [{"Name": "group-id", "Values": [group]}]
    ec2.describe_security_group_rules(Filters=own, MaxResults=5)
    rules = ec2.describe_security_group_rules(Filters=own)["SecurityGroupRules"]
    one = next(r for r in rules if r["FromPort"] == 443 and "CidrIpv4" in r and not r["IsEgress"])
    named = {"SecurityGroupRuleId": one["SecurityGroupRuleId"]}
    ec2.update_security_group_rule_descriptions_ingress(
        GroupId=group, SecurityGroupRuleDescriptions=[{**named, "Description": "web"}])
    ec2.update_security_group_rule_descriptions_egress(GroupId=group, IpPermissions=[
        {**rule, "IpRanges": [{"CidrIp": "192.0.2.0/24", "Description": "ssh"}]}])
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{
        **named, "SecurityGroupRule": {
            "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": "192.0.2.0/24"}}])
    sources = {
        f"rule of {source}": each["SecurityGroupRuleId"]
        for source, name in (("CidrIpv4", "CidrIpv4"), ("CidrIpv6", "CidrIpv6"),
                             ("ReferencedGroupId", "ReferencedGroupInfo"))
        for each in rules if each["FromPort"] == 443 and name in each and not each["IsEgress"]}
    rules = {one["IsEgress"]: one["SecurityGroupRuleId"] for one in rules if one["FromPort"] == 443}
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[{
        **rule, "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
        "UserIdGroupPairs": [{"GroupId": group}],
    }])
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[
        {**rule, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}])
    # Created to be deleted.
    other = ec2.create_security_group(GroupName=f"{RUN}-other", Description="of a test")["GroupId"]
    soon(ec2.delete_security_group, GroupId=other)
    unused = f"{RUN}-unused"
    unused_id = ec2.create_security_group(GroupName=unused, Description="of a test")["GroupId"]
    return {
        "DeleteSecurityGroup.GroupId": unused_id, "DeleteSecurityGroup.GroupName": unused,
        "RevokeSecurityGroupEgress.SecurityGroupRuleIds": rules[True],
        "GroupId": group, "GroupIds": group, "SecurityGroupIds": group, "Groups": group,
        "GroupName": RUN, "GroupNames": RUN, "SecurityGroups": RUN,
        **sources, "ModifySecurityGroupRules.ReferencedGroupId": group,
        "ModifySecurityGroupRules.CidrIpv4": "192.0.2.0/24",
        "ModifySecurityGroupRules.SecurityGroupRuleId": sources["rule of CidrIpv4"],
        "SecurityGroupRuleIds": rules[False], "SecurityGroupRuleId": rules[False],
        "UpdateSecurityGroupRuleDescriptionsEgress.SecurityGroupRuleId": rules[True],
        "IpProtocol": "tcp",
        "CidrIp": "192.0.2.0/24", "CidrIpv6": "2001:db8::/32",
    }


def profiles(ec2, live):
    """Creates an instance profile, which an instance of the scenario has."""
    iam = boto3.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
             "Action": "sts:AssumeRole"}
    iam.create_role(RoleName=RUN, AssumeRolePolicyDocument=json.dumps({"Statement": trust}))
    iam.create_instance_profile(InstanceProfileName=RUN)
    iam.add_role_to_instance_profile(InstanceProfileName=RUN, RoleName=RUN)
    arn = iam.get_instance_profile(InstanceProfileName=RUN)["InstanceProfile"]["Arn"]
    actions = (
        "RunInstances", "AssociateIamInstanceProfile", "ReplaceIamInstanceProfileAssociation")
    return {
        f"{action}.IamInstanceProfile.{name}": value
        for action in actions for name, value in (("Arn", arn), ("Name", RUN))
    }


def fleets(ec2, live):
    """Launches spot instances from a template, and too few others."""
    data = {"ImageId": live["ImageId"], "InstanceType": "t3.micro"}
    made = ec2.create_launch_template(
        LaunchTemplateName=RUN, LaunchTemplateData=data,
        TagSpecifications=tagged("launch-template"))["LaunchTemplate"]
    unused = f"{RUN}-unused"
    other = ec2.create_launch_template(
        LaunchTemplateName=unused, LaunchTemplateData={**data, **WHOLE_TEMPLATE},
        VersionDescription="whole")
    ec2.describe_launch_templates(MaxResults=1)
    ec2.describe_launch_template_versions(Versions=["$Latest"], MaxResults=1)
    ec2.describe_launch_template_versions(LaunchTemplateName=unused)
    overrides = [
        {"InstanceType": "t3.nano", "SubnetId": live["SubnetId"], "MaxPrice": "0.01",
         "Priority": 1.0, "ImageId": live["ImageId"]},
        {"InstanceType": "t4g.nano", "AvailabilityZone": live["AvailabilityZone"]},
    ]
    fleet = {"Type": "instant", "LaunchTemplateConfigs": [{
        "LaunchTemplateSpecification": {
            "LaunchTemplateId": made["LaunchTemplateId"], "Version": "$Latest"},
        "Overrides": overrides}]}
    launched = [
        ec2.create_fleet(**fleet, TargetCapacitySpecification={
            "TotalTargetCapacity": count, "DefaultTargetCapacityType": kind},
            SpotOptions={"AllocationStrategy": "diversified"}, ClientToken=f"{RUN}-{kind}",
            TagSpecifications=tagged("fleet"))
        for kind, count in (("spot", 12), ("on-demand", 1))]
    one = ec2.create_fleet(
        Type="instant", TargetCapacitySpecification={"TotalTargetCapacity": 1},
        LaunchTemplateConfigs=[{**fleet["LaunchTemplateConfigs"][0], "Overrides": overrides[1:]}])
    assert one["Errors"], one
    ids = [i for answer in launched for group in answer["Instances"] for i in group["InstanceIds"]]
    assert len(ids) == 7, launched  # half of the spot capacity has no image
    soon(ec2.describe_instances, InstanceIds=ids)
    spot, on_demand = (answer["FleetId"] for answer in launched)
    ec2.describe_fleets(FleetIds=[spot, on_demand, one["FleetId"]], MaxResults=1)
    ec2.describe_fleets(FleetIds=[one["FleetId"]])
    requests = ec2.describe_spot_instance_requests(MaxResults=5)["SpotInstanceRequests"]
    ec2.delete_fleets(FleetIds=[spot, "fleet-x"], TerminateInstances=True)
    ec2.terminate_instances(InstanceIds=ids)
    gone = ec2.create_launch_template(LaunchTemplateName=f"{RUN}-gone", LaunchTemplateData=data)
    ec2.delete_launch_template(LaunchTemplateId=gone["LaunchTemplate"]["LaunchTemplateId"])
    return {
        "FleetId": on_demand, "FleetIds": on_demand,
        "SpotInstanceRequestIds": requests[0]["SpotInstanceRequestId"],
        "LaunchTemplateId": made["LaunchTemplateId"], "LaunchTemplateName": RUN,
        "LaunchTemplateIds": made["LaunchTemplateId"], "LaunchTemplateNames": RUN,
        "CreateLaunchTemplate.LaunchTemplateName": f"{RUN}-new",
        "DeleteLaunchTemplate.LaunchTemplateId": other["LaunchTemplate"]["LaunchTemplateId"],
        "DeleteLaunchTemplate.LaunchTemplateName": unused,
    }


def associations(ec2, live):
    profile = {"Name": RUN}
    instance = live["InstanceId"]
    made = ec2.associate_iam_instance_profile(IamInstanceProfile=profile, InstanceId=instance)
    made = made["IamInstanceProfileAssociation"]["AssociationId"]
    made = ec2.replace_iam_instance_profile_association(
        AssociationId=made, IamInstanceProfile=profile)
    made = made["IamInstanceProfileAssociation"]["AssociationId"]
    ec2.disassociate_iam_instance_profile(AssociationId=made)
    again = ec2.associate_iam_instance_profile(IamInstanceProfile=profile, InstanceId=instance)
    again = again["IamInstanceProfileAssociation"]["AssociationId"]
    for _ in range(5):
        ec2.run_instances(
            ImageId=live["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1,
            IamInstanceProfile=profile)
    ec2.describe_instances()
    ec2.describe_iam_instance_profile_associations(MaxResults=5)
    return {"AssociationId": again, "AssociationIds": again}


def state(ec2, instance):
    found = ec2.describe_instances()["Reservations"]
    return {
        one["InstanceId"]: one["State"]["Name"] for r in found for one in r["Instances"]
    }.get(instance)


def instances(ec2, live):
    launch = {"ImageId": live["ImageId"], "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    tags = [one for kind in ("instance", "volume") for one in tagged(kind)]
    made = ec2.run_instances(
        **launch, KeyName=live["KeyName"], SecurityGroupIds=[live["GroupId"]],
        TagSpecifications=tags, ClientToken=RUN, UserData="#!/bin/sh\n",
        DisableApiTermination=False,
    )
    instance = made["Instances"][0]["InstanceId"]
    short = ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
    for one in (instance, short):
        until(lambda one=one: state(ec2, one) == "running", f"{one} runs")
    ec2.describe_instance_status()
    for attribute in (
        "instanceType", "userData", "disableApiTermination", "instanceInitiatedShutdownBehavior",
        "rootDeviceName", "blockDeviceMapping", "sourceDestCheck", "groupSet", "ebsOptimized",
        "enaSupport", "disableApiStop", "enclaveOptions", "kernel", "ramdisk",
        "sriovNetSupport", "productCodes",
    ):
        ec2.describe_instance_attribute(InstanceId=instance, Attribute=attribute)
    ec2.describe_instance_credit_specifications(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    ec2.modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=3)
    ec2.monitor_instances(InstanceIds=[instance])
    ec2.describe_instances(InstanceIds=[instance])
    ec2.unmonitor_instances(InstanceIds=[instance])
    ec2.get_console_output(InstanceId=instance)
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "more", "Value": ""}])
    ec2.delete_tags(Resources=[instance], Tags=[{"Key": "more"}])
    ec2.describe_tags()
    ec2.reboot_instances(InstanceIds=[instance])
    ec2.stop_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "stopped", "the instance is stopped")
    volumes(ec2, live, instance)
    change_options(ec2, instance)
    ec2.start_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "running", "the instance is started")
    ec2.terminate_instances(InstanceIds=[short])
    until(lambda: state(ec2, short) == "terminated", "the instance is terminated")
    more = ec2.run_instances(**{**launch, "MinCount": 5, "MaxCount": 5}, TagSpecifications=tags)
    running = more["Instances"][0]["InstanceId"]
    until(lambda: state(ec2, running) == "running", f"{running} runs")
    paged = [
        ec2.describe_instances, ec2.describe_volumes, ec2.describe_volume_status,
        ec2.describe_instance_credit_specifications, ec2.describe_tags,
        lambda **page: ec2.describe_instance_status(IncludeAllInstances=True, **page),
    ]
    for call in paged:
        until(lambda call=call: "NextToken" in call(MaxResults=5), "there are two pages")
    ec2.stop_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "stopped", "the instance is stopped")
    ec2.attach_volume(
        VolumeId=live["DetachVolume.VolumeId"], InstanceId=instance, Device="/dev/sdg")
    seen = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    address = seen["PrivateIpAddress"].rsplit(".", 1)[0] + ".200"
    root = seen["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    return {
        "AssociateAddress.PrivateIpAddress": seen["PrivateIpAddress"],
        "DetachVolume.Device": "/dev/sdg", "RebootInstances.InstanceIds": running,
        "ModifyInstanceAttribute.BlockDeviceMappings.Ebs.VolumeId": root,
        "ModifyInstanceAttribute.InstanceInitiatedShutdownBehavior.Value": "stop",
        "ModifyInstanceAttribute.InstanceType.Value": "t3.small",
        "InstanceId": instance, "InstanceIds": instance, "Resources": instance,
        "Attribute": "instanceType", "RunInstances.PrivateIpAddress": address,
    }


def change_options(ec2, stopped):
    """Options that an instance keeps, of an instance that is stopped."""
    ec2.modify_instance_maintenance_options(InstanceId=stopped, AutoRecovery="disabled")
    ec2.modify_private_dns_name_options(InstanceId=stopped, EnableResourceNameDnsARecord=True)
    ec2.modify_instance_capacity_reservation_attributes(
        InstanceId=stopped,
        CapacityReservationSpecification={"CapacityReservationPreference": "none"})
    ec2.modify_instance_credit_specification(InstanceCreditSpecifications=[
        {"InstanceId": stopped, "CpuCredits": "standard"},
        {"InstanceId": "i-0123456789abcdef0", "CpuCredits": "standard"},
    ])
    unlimited = {"InstanceId": stopped, "CpuCredits": "unlimited"}
    ec2.modify_instance_credit_specification(InstanceCreditSpecifications=[unlimited])


def volumes(ec2, live, stopped):
    """Volumes, with an instance that is stopped."""
    image = ec2.describe_images(ImageIds=[live["ImageId"]])["Images"][0]
    snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    zone = {"AvailabilityZone": live["AvailabilityZone"]}
    made = [
        ec2.create_volume(**zone, Size=8, VolumeType="gp3", Encrypted=True,
                          TagSpecifications=tagged("volume")),
        ec2.create_volume(**zone, Size=8),
        ec2.create_volume(**zone, SnapshotId=snapshot),
    ]
    ids = [volume["VolumeId"] for volume in made]
    soon(ec2.describe_volumes, VolumeIds=ids)
    ec2.attach_volume(VolumeId=ids[0], InstanceId=stopped, Device="/dev/sdf")
    ec2.describe_volumes()
    ec2.modify_volume(VolumeId=ids[0], Size=10)
    ec2.modify_volume(VolumeId=ids[2], Size=10)
    ec2.describe_volumes_modifications()
    ec2.describe_volumes_modifications(MaxResults=1)
    ec2.detach_volume(VolumeId=ids[0])
    ec2.delete_volume(VolumeId=ids[1])
    live.update({
        "CreateSnapshots.InstanceSpecification.ExcludeDataVolumeIds": ids[2],
        "ModifyImageAttribute.ImdsSupport.Value": "v2.0",
        "VolumeId": ids[0], "VolumeIds": ids[0], "SnapshotId": snapshot,
        "DetachVolume.VolumeId": ids[2],
    })


def addresses(ec2, live):
    made = ec2.allocate_address(TagSpecifications=tagged("elastic-ip"))
    allocation, public = made["AllocationId"], made["PublicIp"]
    soon(ec2.describe_addresses, AllocationIds=[allocation])
    other = ec2.allocate_address()["AllocationId"]
    soon(ec2.describe_addresses, AllocationIds=[other])
    ec2.describe_addresses_attribute(Attribute="domain-name", MaxResults=1)
    for _ in range(2):
        associated = ec2.associate_address(
            AllocationId=allocation, InstanceId=live["InstanceId"])
        seen = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
        ec2.describe_instances(InstanceIds=[live["InstanceId"]])
        ec2.disassociate_address(AssociationId=associated["AssociationId"])
    associated = ec2.associate_address(AllocationId=allocation, InstanceId=live["InstanceId"])
    # Allocated to be released.
    soon(ec2.release_address, AllocationId=ec2.allocate_address()["AllocationId"])
    return {
        "AllocationId": allocation, "AllocationIds": allocation, "PublicIp": public,
        "PublicIps": public, "DisassociateAddress.AssociationId": associated["AssociationId"],
        "AllocateAddress.NetworkBorderGroup": ec2.meta.region_name,
        "NetworkInterfaceIds": seen["NetworkInterfaceId"],
        "NetworkInterfaceId": seen["NetworkInterfaceId"],
    }


def interfaces(ec2, live):
    """Network interfaces, one of which has an Elastic IP address."""
    here = {"NetworkInterfaceId": live["NetworkInterfaceId"]}
    seen = ec2.describe_network_interfaces(NetworkInterfaceIds=[live["NetworkInterfaceId"]])
    ec2.describe_network_interfaces(MaxResults=5)
    for attribute in (
        "description", "groupSet", "sourceDestCheck", "attachment", "associatePublicIpAddress",
    ):
        ec2.describe_network_interface_attribute(**here, Attribute=attribute)
    ec2.modify_network_interface_attribute(**here, Description={"Value": "of a test"})
    ec2.modify_network_interface_attribute(**here, Groups=[live["GroupId"]])
    ec2.reset_network_interface_attribute(**here, SourceDestCheck="true")
    return {"AttachmentId": seen["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]}


def account(ec2, live):
    """Settings of the account, and kinds of resources that it has none of."""
    for call in (
        ec2.get_ebs_default_kms_key_id, ec2.get_ebs_encryption_by_default,
        ec2.get_image_block_public_access_state, ec2.get_instance_metadata_defaults,
        ec2.get_serial_console_access_status, ec2.get_snapshot_block_public_access_state,
        ec2.describe_vpc_block_public_access_options,
        ec2.describe_capacity_reservations, ec2.describe_carrier_gateways,
        ec2.describe_customer_gateways, ec2.describe_egress_only_internet_gateways,
        ec2.describe_fleets, ec2.describe_flow_logs, ec2.describe_hosts,
        ec2.describe_instance_connect_endpoints, ec2.describe_launch_templates,
        ec2.describe_placement_groups, ec2.describe_reserved_instances,
        ec2.describe_security_group_vpc_associations, ec2.describe_spot_instance_requests,
        ec2.describe_transit_gateway_attachments, ec2.describe_transit_gateway_vpc_attachments,
        ec2.describe_transit_gateways, ec2.describe_vpc_endpoints,
        ec2.describe_vpc_peering_connections, ec2.describe_vpn_connections,
        ec2.describe_vpn_gateways,
    ):
        call()
    ec2.get_password_data(InstanceId=live["InstanceId"])
    ec2.reset_instance_attribute(InstanceId=live["InstanceId"], Attribute="sourceDestCheck")
    running = live["RebootInstances.InstanceIds"]
    ec2.report_instance_status(Instances=[running], Status="impaired", ReasonCodes=["other"])
    for number in range(5):
        ec2.create_security_group(GroupName=f"{RUN}-{number}", Description="of a test")
    vpc = {"VpcId": live["VpcId"]}
    until(lambda: "NextToken" in ec2.get_security_groups_for_vpc(**vpc, MaxResults=5), "two pages")
    ec2.describe_security_group_references(GroupId=[live["GroupId"]])
    ec2.describe_stale_security_groups(**vpc)
    return {
        "DhcpOptionsIds": ec2.describe_dhcp_options()["DhcpOptions"][0]["DhcpOptionsId"],
        "Instances": running, "ReasonCodes": "other", "GetSecurityGroupsForVpc.VpcId": live["VpcId"],
    }


def own_images(ec2, live):
    image = ec2.create_image(
        InstanceId=live["InstanceId"], Name=f"{RUN}-first", Description="of a test",
        TagSpecifications=tagged("image") + tagged("snapshot"))["ImageId"]
    def available():
        seen = ec2.describe_images(ImageIds=[image])["Images"][0]
        return seen if seen["State"] == "available" else None
    seen = until(available, "the image is available")
    snapshot = seen["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    ec2.describe_snapshots(OwnerIds=["self"])
    ec2.deregister_image(ImageId=image)
    ec2.delete_snapshot(SnapshotId=snapshot)
    snapshots = []
    for number in range(8):
        image = ec2.create_image(InstanceId=live["InstanceId"], Name=f"{RUN}-{number}")["ImageId"]
        seen = until(available, "the image is available")
        snapshots.append(seen["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"])
        if number < 7:
            ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=number == 0)
    ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5)
    return {
        "SnapshotIds": snapshots[-1], "DeregisterImage.ImageId": image,
        "DeleteSnapshot.SnapshotId": snapshots[-2],
    }


# The actions that an account may use on its own images only.
OWN_IMAGE = (
    "DescribeImageAttribute", "DisableImage", "DisableImageDeprecation",
    "DisableImageDeregistrationProtection", "EnableImage", "EnableImageDeprecation",
    "EnableImageDeregistrationProtection", "ModifyImageAttribute", "ResetImageAttribute",
)


def snapshots(ec2, live):
    """Snapshots of volumes, and images that are registered, copied and shared."""
    here, user = live["AvailabilityZone"][:-1], "123456789012"
    made = ec2.create_snapshot(VolumeId=live["VolumeId"], TagSpecifications=tagged("snapshot"))
    id = {"SnapshotId": made["SnapshotId"]}
    both = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": live["InstanceId"]},
        TagSpecifications=tagged("snapshot"))["Snapshots"]
    plain = ec2.create_volume(AvailabilityZone=live["AvailabilityZone"], Size=1)["VolumeId"]
    soon(ec2.describe_volumes, VolumeIds=[plain])
    own = {"SnapshotId": ec2.create_snapshot(VolumeId=plain)["SnapshotId"]}
    copy = ec2.copy_snapshot(
        SourceRegion=here, SourceSnapshotId=made["SnapshotId"], Encrypted=True,
        TagSpecifications=tagged("snapshot"))
    ec2.describe_snapshots(SnapshotIds=[copy["SnapshotId"]])
    share = {"Add": [{"UserId": user}, {"Group": "all"}]}
    ec2.modify_snapshot_attribute(**own, CreateVolumePermission=share)
    for attribute in ("createVolumePermission", "productCodes"):
        ec2.describe_snapshot_attribute(**own, Attribute=attribute)
    ec2.reset_snapshot_attribute(**own, Attribute="createVolumePermission")
    volume = {"VolumeId": live["VolumeId"]}
    ec2.modify_volume_attribute(**volume, AutoEnableIO={"Value": True})
    for attribute in ("autoEnableIO", "productCodes"):
        ec2.describe_volume_attribute(**volume, Attribute=attribute)
    ec2.enable_volume_io(**volume)
    ec2.enable_ebs_encryption_by_default()
    ec2.get_ebs_encryption_by_default()
    ec2.disable_ebs_encryption_by_default()
    ec2.get_ebs_default_kms_key_id()
    ec2.modify_ebs_default_kms_key_id(KmsKeyId="alias/aws/ebs")
    ec2.reset_ebs_default_kms_key_id()
    mappings = [{"DeviceName": "/dev/sda1", "Ebs": own}]
    image = {"ImageId": ec2.register_image(
        Name=f"{RUN}-registered", BlockDeviceMappings=mappings, SriovNetSupport="simple",
        BootMode="uefi", ImdsSupport="v2.0", VirtualizationType="hvm", Description="of a test",
    )["ImageId"]}
    ec2.modify_image_attribute(**image, LaunchPermission=share)
    for attribute in (
        "description", "kernel", "ramdisk", "launchPermission", "productCodes",
        "blockDeviceMapping", "sriovNetSupport", "bootMode", "tpmSupport", "uefiData",
        "lastLaunchedTime", "imdsSupport", "deregistrationProtection",
    ):
        ec2.describe_image_attribute(**image, Attribute=attribute)
    ec2.reset_image_attribute(**image, Attribute="launchPermission")
    ec2.enable_image_deprecation(**image, DeprecateAt="2030-01-01T00:00:00Z")
    ec2.describe_images(Owners=["self"])
    ec2.disable_image_deprecation(**image)
    ec2.disable_image(**image)
    ec2.enable_image(**image)
    ec2.enable_image_deregistration_protection(**image)
    ec2.disable_image_deregistration_protection(**image)
    copied = ec2.copy_image(
        SourceRegion=here, SourceImageId=image["ImageId"], Name=f"{RUN}-copied")["ImageId"]
    ec2.describe_images(ImageIds=[copied])
    ec2.deregister_image(ImageId=copied, DeleteAssociatedSnapshots=True)
    for one in (*both, copy):
        until(lambda one=one: ec2.describe_snapshots(
            SnapshotIds=[one["SnapshotId"]])["Snapshots"][0]["State"] == "completed", "complete")
        ec2.delete_snapshot(SnapshotId=one["SnapshotId"])
    ec2.delete_volume(VolumeId=plain)
    return {
        "SourceRegion": here, "DestinationRegion": here, "SourceSnapshotId": made["SnapshotId"],
        "SourceImageId": image["ImageId"], "UserId": user, "UserIds": user,
        **{f"{action}.ImageId": image["ImageId"] for action in OWN_IMAGE},
        **{f"{verb}SnapshotAttribute.SnapshotId": own["SnapshotId"]
           for verb in ("Describe", "Modify", "Reset")},
    }


def networks(ec2, live):
    """Creates a VPC with its parts, and deletes it."""
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    ec2.describe_vpcs(VpcIds=[vpc])
    empty = [ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"] for _ in range(5)]
    for call in (ec2.describe_vpcs, ec2.describe_security_groups, ec2.describe_network_acls):
        call(MaxResults=5)
        call()
    acl = ec2.describe_network_acls(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"][0]["NetworkAclId"]
    for attribute in (
        "enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics",
    ):
        ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", TagSpecifications=tagged("subnet")
        )["Subnet"]["SubnetId"]
        for number in range(6)
    ]
    ec2.modify_subnet_attribute(SubnetId=subnets[0], MapPublicIpOnLaunch={"Value": True})
    ec2.describe_subnets(MaxResults=5)
    gateway = ec2.create_internet_gateway(
        TagSpecifications=tagged("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.describe_internet_gateways(InternetGatewayIds=[gateway])
    for _ in range(5):
        unused = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.describe_internet_gateways(MaxResults=5)
    tables = [
        ec2.create_route_table(
            VpcId=vpc, ClientToken=RUN, TagSpecifications=tagged("route-table")
        )["RouteTable"]["RouteTableId"]
        for _ in range(5)
    ]
    route = {"RouteTableId": tables[0], "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.create_route(**route, GatewayId=gateway)
    ec2.replace_route(**route, GatewayId=gateway)
    made = ec2.associate_route_table(RouteTableId=tables[0], SubnetId=subnets[0])
    ec2.describe_route_tables(MaxResults=5)
    ec2.describe_route_tables()
    nat = nat_gateways(ec2, subnets[2], route)
    moved = ec2.replace_route_table_association(
        AssociationId=made["AssociationId"], RouteTableId=tables[1])
    ec2.disassociate_route_table(AssociationId=moved["NewAssociationId"])
    # Created to be deleted.
    ec2.delete_route(**route)
    ec2.create_route(**route, GatewayId=gateway)
    ec2.delete_route_table(RouteTableId=tables.pop())
    ec2.delete_subnet(SubnetId=subnets.pop())
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.attach_internet_gateway(InternetGatewayId=unused, VpcId=other)
    ec2.detach_internet_gateway(InternetGatewayId=unused, VpcId=other)
    ec2.delete_vpc(VpcId=other)
    other = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.delete_internet_gateway(InternetGatewayId=other)
    made = ec2.associate_route_table(RouteTableId=tables[0], SubnetId=subnets[0])
    return {
        "AssociateRouteTable.SubnetId": subnets[1],
        "AttachInternetGateway.InternetGatewayId": unused, "AttachInternetGateway.VpcId": empty[0],
        "DeleteInternetGateway.InternetGatewayId": unused, "DeleteVpc.VpcId": empty[0],
        "DeleteRouteTable.RouteTableId": tables[1], "NetworkAclIds": acl,
        "DisassociateRouteTable.AssociationId": made["AssociationId"],
        "ReplaceRouteTableAssociation.AssociationId": made["AssociationId"],
        "VpcId": vpc, "VpcIds": vpc, "SubnetId": subnets[0], "SubnetIds": subnets[0],
        "GatewayId": gateway, "NatGatewayId": nat, "NatGatewayIds": nat,
        "PrivateIpAddress": "10.9.0.99",
        "InternetGatewayId": gateway, "RouteTableId": tables[0], "RouteTableIds": tables[0],
        "InstanceTenancy": "default",
        "PrivateDnsHostnameTypeOnLaunch": "ip-name",
    }


def nat_gateways(ec2, subnet, route):
    """Creates NAT gateways and routes to one, and deletes a public one. Returns a
    private one."""
    address = ec2.allocate_address()["AllocationId"]
    wanted = {"SubnetId": subnet, "AllocationId": address}
    tags = tagged("natgateway")
    public, _failed = (
        soon(ec2.create_nat_gateway, **wanted, ClientToken=token, TagSpecifications=tags)
        for token in (f"{RUN}-nat", f"{RUN}-again")
    )
    public = public["NatGateway"]["NatGatewayId"]
    private = [
        ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]
        for _ in range(4)
    ]

    def all_are(*states):
        seen = ec2.describe_nat_gateways(Filter=[{"Name": "subnet-id", "Values": [subnet]}])
        return {gateway["State"] for gateway in seen["NatGateways"]} == set(states)

    until(lambda: all_are("available", "failed"), "the NAT gateways are available")
    ec2.describe_nat_gateways(MaxResults=5)
    ec2.replace_route(**route, NatGatewayId=public)
    ec2.create_route(**route, NatGatewayId=public)
    ec2.describe_route_tables(RouteTableIds=[route["RouteTableId"]])
    ec2.describe_addresses(AllocationIds=[address])
    for gateway in [public, *(each["NatGatewayId"] for each in private[1:])]:
        ec2.delete_nat_gateway(NatGatewayId=gateway)
    until(lambda: all_are("available", "deleted", "failed"), "the NAT gateways are deleted")
    ec2.release_address(AllocationId=address)
    return private[0]["NatGatewayId"]


def roles(iam):
    """Makes the calls of IAM."""
    name = f"{RUN}-iam"
    tags = [{"Key": key, "Value": "members"} for key in ("part", "team")]
    role, profile = {"RoleName": name}, {"InstanceProfileName": name}
    policy, arn = {"PolicyName": "read"}, {"PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}
    text = json.dumps({"Statement": []})
    iam.create_role(**role, AssumeRolePolicyDocument=text, Description="a role", Tags=tags)
    iam.update_assume_role_policy(**role, PolicyDocument=text)
    iam.get_role(**role)
    iam.list_role_tags(**role, MaxItems=1)
    iam.put_role_policy(**role, **policy, PolicyDocument=text)
    iam.get_role_policy(**role, **policy)
    iam.attach_role_policy(**role, **arn)
    iam.tag_role(**role, Tags=tags)
    iam.untag_role(**role, TagKeys=["none"])
    iam.update_role(**role, Description="a role")
    iam.update_role_description(**role, Description="a role")
    iam.create_instance_profile(**profile, Tags=tags)
    iam.tag_instance_profile(**profile, Tags=tags)
    iam.untag_instance_profile(**profile, TagKeys=["none"])
    iam.list_instance_profile_tags(**profile, MaxItems=1)
    iam.add_role_to_instance_profile(**role, **profile)
    iam.get_instance_profile(**profile)
    # Two of each, so that lists have a second page.
    iam.create_role(RoleName=f"{RUN}-other", AssumeRolePolicyDocument=text)
    iam.create_instance_profile(InstanceProfileName=f"{RUN}-other")
    other = {"InstanceProfileName": f"{RUN}-other"}
    iam.add_role_to_instance_profile(**role, **other)
    iam.put_role_policy(**role, PolicyName="write", PolicyDocument=text)
    more = {"PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}
    iam.attach_role_policy(**role, **more)
    iam.list_roles(MaxItems=1)
    iam.list_instance_profiles(MaxItems=1)
    for call in (
        iam.list_role_policies, iam.list_attached_role_policies,
        iam.list_instance_profiles_for_role,
    ):
        call(**role, MaxItems=1)
    extra = {"PolicyArn": "arn:aws:iam::aws:policy/SecurityAudit"}
    iam.attach_role_policy(**role, **extra)
    iam.detach_role_policy(**role, **extra)
    iam.put_role_policy(**role, PolicyName="zero", PolicyDocument=text)
    iam.delete_role_policy(**role, PolicyName="zero")
    # Created to be deleted.
    gone = f"{RUN}-gone"
    iam.create_role(RoleName=gone, AssumeRolePolicyDocument=text)
    iam.create_instance_profile(InstanceProfileName=gone)
    iam.add_role_to_instance_profile(RoleName=gone, InstanceProfileName=gone)
    iam.remove_role_from_instance_profile(RoleName=gone, InstanceProfileName=gone)
    iam.delete_instance_profile(InstanceProfileName=gone)
    iam.delete_role(RoleName=gone)
    return {
        "RoleName": name, "InstanceProfileName": name, "AssumeRolePolicyDocument": text,
        "PolicyDocument": text, "MaxSessionDuration": 3600, "MaxItems": 5, "Path": "/x/",
        "PathPrefix": "/", **policy, **arn,
    }


# In the order of the calls.
NOUNS = [
    places, defaults, key_pairs, groups, profiles, instances, fleets, associations, addresses,
    interfaces, account, own_images, snapshots, networks,
]


def play(service, client):
    """Makes the calls. Returns sample values by the names of members."""
    live = {}
    if service == "ec2":
        for noun in NOUNS:
            live.update(noun(client, live))
    if service == "iam":
        live = roles(client)
    if service == "sts":
        client.get_caller_identity()
        client.get_access_key_info(AccessKeyId="AKIAIOSFODNN7EXAMPLE")
    if service == "ssm":
        client.get_parameter(Name=PARAMETER)
        client.get_parameter(Name=f"{PARAMETER}:1")
        client.get_parameters(Names=[PARAMETER, "/aws/service/nosuch"])
        client.get_parameters_by_path(Path="/aws/service", Recursive=True)
        live = {"Name": PARAMETER, "Names": PARAMETER, "Path": "/aws/service", "MaxResults": 5,
                **commands.commands(client)}
    if service == "ec2-instance-connect":
        live = logins.logins(client)
    return live


def clean_up(service, client):
    """Removes what the scenario and the proofs have created."""
    if service == "iam":
        clean_up_iam(client)
    if service == "ssm":
        commands.clean_up()
    if service == "ec2-instance-connect":
        logins.clean_up()
    if service != "ec2":
        return
    for image in client.describe_images(Owners=["self"])["Images"]:
        client.deregister_image(ImageId=image["ImageId"], DeleteAssociatedSnapshots=True)
    for snapshot in client.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        client.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
    for address in client.describe_addresses()["Addresses"]:
        client.release_address(AllocationId=address["AllocationId"])
    found = client.describe_instances()["Reservations"]
    ids = [one["InstanceId"] for r in found for one in r["Instances"]]
    client.terminate_instances(InstanceIds=ids)
    until(lambda: all(state(client, one) == "terminated" for one in ids), "the instances end")
    for volume in client.describe_volumes()["Volumes"]:
        client.delete_volume(VolumeId=volume["VolumeId"])
    clean_up_networks(client)
    zone = client.describe_availability_zones()["AvailabilityZones"][-1]["ZoneName"]
    client.create_default_subnet(AvailabilityZone=zone)
    proofs.elsewhere.create_default_vpc()
    groups = [{"Name": "group-name", "Values": [f"{RUN}*"]}]
    for group in client.describe_security_groups(Filters=groups)["SecurityGroups"]:
        client.delete_security_group(GroupId=group["GroupId"])
    client.delete_key_pair(KeyName=RUN)


def clean_up_networks(ec2):
    others = [{"Name": "cidr", "Values": ["10.9.0.0/16"]}]
    vpcs = [one["VpcId"] for one in ec2.describe_vpcs(Filters=others)["Vpcs"]]
    here = [{"Name": "vpc-id", "Values": vpcs}]

    def nat_gateways():
        up = [{"Name": "state", "Values": ["pending", "available", "deleting"]}]
        return ec2.describe_nat_gateways(Filter=here + up)["NatGateways"]

    for nat in nat_gateways():
        ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    until(lambda: not nat_gateways(), "the NAT gateways are deleted")
    for gateway in ec2.describe_internet_gateways()["InternetGateways"]:
        name = {"InternetGatewayId": gateway["InternetGatewayId"]}
        places = [one["VpcId"] for one in gateway["Attachments"]]
        if set(places) <= set(vpcs):
            for vpc in places:
                ec2.detach_internet_gateway(**name, VpcId=vpc)
            ec2.delete_internet_gateway(**name)
    for subnet in ec2.describe_subnets(Filters=here)["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for table in ec2.describe_route_tables(Filters=here)["RouteTables"]:
        if not any(one["Main"] for one in table["Associations"]):
            ec2.delete_route_table(RouteTableId=table["RouteTableId"])
    for vpc in vpcs:
        ec2.delete_vpc(VpcId=vpc)
