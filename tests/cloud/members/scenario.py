"""The calls whose answers `check.py` compares with the models, one function for
each noun. A function for a new noun returns sample values by the names of members,
and has a line in `NOUNS`."""

import time

from botocore.exceptions import ClientError

SERVICES = ["ec2", "sts", "ssm"]

# Members that AWS requires although its model does not say so, by structure.
ALSO = {
    "BlockDeviceMapping": ["DeviceName"],
    "Filter": ["Name", "Values"],
    "InstanceNetworkInterfaceSpecification": ["DeviceIndex"],
    "IpPermission": ["IpProtocol", "FromPort", "ToPort"],
    "Tag": ["Key"],
    "TagSpecification": ["ResourceType", "Tags"],
}

# Actions without an answer in the scenario. Other answers have their structures.
NOT_CALLED = {
    "CreateDefaultSubnet": "the account has a default subnet",
    "CreateDefaultVpc": "the account has a default VPC",
}

# Values that AWS returns although its model does not list them.
BEYOND_THE_MODEL = {("AttachmentStatus", "available")}

PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"


def base(operation, live):
    """Returns what a request needs beyond what the model requires."""
    if operation == "RunInstances":
        return {"ImageId": live["ImageId"], "InstanceType": "t3.micro"}
    if operation.startswith(("AuthorizeSecurityGroup", "RevokeSecurityGroup")):
        return {"GroupId": live["GroupId"]}
    if operation == "ModifyInstanceAttribute":
        return {"Attribute": "disableApiTermination"}
    return {}


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
    image = ec2.describe_images(Owners=["amazon"], IncludeDeprecated=True)["Images"][0]
    ec2.describe_instance_types(MaxResults=5)
    ec2.describe_instance_type_offerings(MaxResults=5)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    gateway = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    return {
        "AvailabilityZone": zones[0]["ZoneName"], "ZoneNames": zones[0]["ZoneName"],
        "ZoneIds": zones[0]["ZoneId"], "RegionNames": zones[0]["RegionName"],
        "ImageId": image["ImageId"], "ImageIds": image["ImageId"], "Owners": "amazon",
        "VpcId": vpc, "VpcIds": vpc, "SubnetId": subnet, "SubnetIds": subnet,
        "InternetGatewayIds": gateway, "InstanceType": "t3.micro",
        "InstanceTypes": "t3.micro", "MinCount": 1, "MaxCount": 1, "MaxResults": 5,
        "Key": "team", "Value": "members", "LocationType": "region",
    }


def key_pairs(ec2, live):
    made = ec2.create_key_pair(KeyName="members", TagSpecifications=tagged("key-pair"))
    public = soon(ec2.describe_key_pairs, KeyNames=["members"], IncludePublicKey=True)
    material = public["KeyPairs"][0]["PublicKey"].encode()
    ec2.import_key_pair(
        KeyName="imported", PublicKeyMaterial=material, TagSpecifications=tagged("key-pair"))
    ec2.delete_key_pair(KeyName="imported")
    return {"KeyName": "members", "KeyNames": "members", "KeyPairIds": made["KeyPairId"]}


def groups(ec2, live):
    made = ec2.create_security_group(
        GroupName="members", Description="of a test", TagSpecifications=tagged("security-group"))
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
    rules = ec2.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[
        {**rule, "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
         "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
         "UserIdGroupPairs": [{"GroupId": group}]}])
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[
        {**rule, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}])
    # Created to be deleted.
    other = ec2.create_security_group(GroupName="other", Description="of a test")["GroupId"]
    soon(ec2.delete_security_group, GroupId=other)
    return {
        "GroupId": group, "GroupIds": group, "SecurityGroupIds": group, "Groups": group,
        "GroupName": "members", "GroupNames": "members", "SecurityGroups": "members",
        "SecurityGroupRuleIds": rules[0]["SecurityGroupRuleId"], "IpProtocol": "tcp",
        "CidrIp": "192.0.2.0/24", "CidrIpv6": "2001:db8::/32",
    }


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
        TagSpecifications=tags, ClientToken="members", UserData="#!/bin/sh\n",
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
        "enaSupport", "disableApiStop",
    ):
        ec2.describe_instance_attribute(InstanceId=instance, Attribute=attribute)
    ec2.describe_instance_credit_specifications(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    ec2.modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=3)
    ec2.get_console_output(InstanceId=instance)
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "more", "Value": ""}])
    ec2.delete_tags(Resources=[instance], Tags=[{"Key": "more"}])
    ec2.describe_tags()
    ec2.reboot_instances(InstanceIds=[instance])
    ec2.stop_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "stopped", "the instance is stopped")
    ec2.describe_volumes()
    ec2.start_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "running", "the instance is started")
    ec2.terminate_instances(InstanceIds=[short])
    until(lambda: state(ec2, short) == "terminated", "the instance is terminated")
    ec2.get_paginator("describe_instances")
    for _ in range(5):
        ec2.run_instances(**launch)
    until(lambda: "NextToken" in ec2.describe_instances(MaxResults=5), "there are two pages")
    volume = ec2.describe_volumes(MaxResults=5)["Volumes"][0]["VolumeId"]
    return {
        "InstanceId": instance, "InstanceIds": instance, "Resources": instance,
        "VolumeId": volume, "VolumeIds": volume, "Attribute": "instanceType",
    }


# In the order of the calls.
NOUNS = [places, key_pairs, groups, instances]


def play(service, client):
    """Makes the calls. Returns sample values by the names of members."""
    live = {}
    if service == "ec2":
        for noun in NOUNS:
            live.update(noun(client, live))
    if service == "sts":
        client.get_caller_identity()
        client.get_access_key_info(AccessKeyId="AKIAIOSFODNN7EXAMPLE")
    if service == "ssm":
        client.get_parameter(Name=PARAMETER)
        client.get_parameters(Names=[PARAMETER, "/aws/service/nosuch"])
        live = {"Name": PARAMETER, "Names": PARAMETER}
    return live


def clean_up(service, client):
    """Terminates the instances of the scenario."""
    if service == "ec2":
        found = client.describe_instances()["Reservations"]
        ids = [one["InstanceId"] for r in found for one in r["Instances"]]
        client.terminate_instances(InstanceIds=ids)
