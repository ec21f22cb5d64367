#!/usr/bin/env python3
"""Describes the network interfaces of instances with boto3, changes their attributes,
and checks facts that AWS's answers always have. Needs the output of `autorun cloud
env`. Reports a difference to AWS and exits with 1.
"""

import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# The cloud checks the requests, not boto3.
ec2 = boto3.client("ec2", config=Config(parameter_validation=False))
ssm = boto3.client("ssm")
PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
NOWHERE = "eni-0123456789abcdef0"
DIFFERENT = "You have specified two resources that belong to different networks."


def refused(code, call, message=None, **arguments):
    """Asserts that the call fails with this code, and with this message."""
    try:
        call(**arguments)
    except ClientError as error:
        got = error.response["Error"]
        assert got["Code"] == code, f"{got} instead of {code}"
        assert message in (None, got["Message"]), got["Message"]
        return
    raise AssertionError(f"{call.__name__} was not refused with {code}: {arguments}")


def until(condition, what):
    for _ in range(600):
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not true within 30 s: {what}")


def launch(**more):
    made = ec2.run_instances(
        ImageId=f"resolve:ssm:{PARAMETER}", InstanceType="t3.micro", MinCount=1, MaxCount=1, **more)
    return made["Instances"][0]["InstanceId"]


def instance(identifier, state):
    def found():
        filters = [{"Name": "instance-id", "Values": [identifier]},
                   {"Name": "instance-state-name", "Values": [state]}]
        for reservation in ec2.describe_instances(Filters=filters)["Reservations"]:
            return reservation["Instances"][0]
        return None
    return until(found, f"{identifier} is {state}")


def described(**arguments):
    return ec2.describe_network_interfaces(**arguments)["NetworkInterfaces"]


def by(name, *values):
    return {"Filters": [{"Name": name, "Values": list(values)}]}


def describe(seen, account):
    """Compares an interface with its instance. Returns it."""
    identifier = seen["InstanceId"]
    (inside,) = seen["NetworkInterfaces"]
    (own,) = described(NetworkInterfaceIds=[inside["NetworkInterfaceId"]])
    for name in ("NetworkInterfaceId", "SubnetId", "VpcId", "Description", "MacAddress", "OwnerId",
                 "PrivateIpAddress", "SourceDestCheck", "Groups", "Status", "InterfaceType",
                 "Ipv6Addresses", "Association", "PrivateIpAddresses", "PrivateDnsName"):
        assert own[name] == inside[name], (name, own, inside)
    assert own["Attachment"] == {
        **inside["Attachment"], "InstanceId": identifier, "InstanceOwnerId": account}, own
    assert own["AvailabilityZone"] == seen["Placement"]["AvailabilityZone"], own
    assert own["Association"]["IpOwnerId"] == "amazon" and own["Status"] == "in-use", own
    assert own["TagSet"] == [{"Key": "part", "Value": "front"}], own
    assert own["RequesterManaged"] is False and "RequesterId" not in own, own
    return own


def filters(own, other):
    """Each filter finds the interface, and not the other one."""
    attachment = own["Attachment"]
    only = {
        "attachment.attachment-id": attachment["AttachmentId"],
        "attachment.instance-id": attachment["InstanceId"],
        "network-interface-id": own["NetworkInterfaceId"],
        "addresses.private-ip-address": own["PrivateIpAddress"],
        "private-ip-address": own["PrivateIpAddress"],
        "private-dns-name": own["PrivateDnsName"],
        "association.public-ip": own["Association"]["PublicIp"],
        "addresses.association.public-ip": own["Association"]["PublicIp"],
        "mac-address": own["MacAddress"],
        "description": "fr?nt*",
        "tag:part": "front",
        "tag-key": "part",
    }
    for name, value in only.items():
        found = described(**by(name, value))
        assert [one["NetworkInterfaceId"] for one in found] == [own["NetworkInterfaceId"]], name
    both = {
        "addresses.primary": "true", "attachment.status": "attached", "attachment.device-index": "0",
        "attachment.delete-on-termination": "true", "association.ip-owner-id": "amazon",
        "attachment.instance-owner-id": own["OwnerId"], "group-id": own["Groups"][0]["GroupId"],
        "interface-type": "interface", "requester-managed": "false", "source-dest-check": "true",
        "status": "in-use", "subnet-id": own["SubnetId"], "vpc-id": own["VpcId"],
        "availability-zone": own["AvailabilityZone"], "owner-id": own["OwnerId"],
    }
    for name, value in both.items():
        found = {one["NetworkInterfaceId"] for one in described(**by(name, value))}
        assert {own["NetworkInterfaceId"], other} <= found, name
    for name in ("requester-id", "ipv6-addresses.ipv6-address", "association.allocation-id"):
        assert described(**by(name, "*")) == [], name
    refused("InvalidParameterValue", ec2.describe_network_interfaces,
            "The filter 'spam' is invalid", **by("spam", "x"))


def attributes(own, group):
    """Describes and changes attributes."""
    here = {"NetworkInterfaceId": own["NetworkInterfaceId"]}
    attribute = ec2.describe_network_interface_attribute
    modify = ec2.modify_network_interface_attribute
    assert attribute(**here, Attribute="description")["Description"] == {"Value": "front of the shop"}
    assert attribute(**here, Attribute="sourceDestCheck")["SourceDestCheck"] == {"Value": True}
    assert attribute(**here, Attribute="attachment")["Attachment"] == own["Attachment"]
    assert attribute(**here, Attribute="groupSet")["Groups"] == own["Groups"]
    modify(**here, Description={"Value": ""})
    assert described(NetworkInterfaceIds=[own["NetworkInterfaceId"]])[0]["Description"] == ""
    modify(**here, Groups=[group])
    assert [one["GroupId"] for one in attribute(**here, Attribute="groupSet")["Groups"]] == [group]
    changed = instance(own["Attachment"]["InstanceId"], "running")
    assert [one["GroupId"] for one in changed["SecurityGroups"]] == [group], changed
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    refused("InvalidParameterCombination", modify, "No attributes specified.", **here)
    refused("InvalidParameterCombination", modify,
            "Fields for multiple attribute types specified: description, groupSet",
            **here, Description={"Value": "x"}, Groups=[group])
    refused("InvalidGroup.NotFound", modify, **here, Groups=["sg-0123456789abcdef0"])
    refused("UnsupportedOperation", modify, **here, SourceDestCheck={"Value": False})
    attachment = own["Attachment"]["AttachmentId"]
    modify(**here, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    refused("InvalidAttachmentID.NotFound", modify, **here, Attachment={
        "AttachmentId": "eni-attach-0123456789abcdef0", "DeleteOnTermination": True})
    refused("MissingParameter", modify, **here, Attachment={"DeleteOnTermination": True})
    refused("InvalidNetworkInterfaceID.NotFound", modify,
            f"The networkInterface ID '{NOWHERE}' does not exist",
            NetworkInterfaceId=NOWHERE, Description={"Value": "x"})
    refused("InvalidParameterValue", attribute, **here, Attribute="spam")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    elsewhere = ec2.create_security_group(GroupName="away", Description="of a test", VpcId=vpc)
    until(lambda: ec2.describe_security_groups(Filters=[
        {"Name": "group-id", "Values": [elsewhere["GroupId"]]}])["SecurityGroups"], "the group exists")
    time.sleep(0.05)  # a new group is not visible at once, as on AWS
    refused("InvalidGroup.NotFound", modify, DIFFERENT, **here, Groups=[elsewhere["GroupId"]])
    refused("InvalidGroup.NotFound", ec2.modify_instance_attribute, DIFFERENT,
            InstanceId=changed["InstanceId"], Groups=[elsewhere["GroupId"]])


def elastic(own):
    """The interface shows an Elastic IP address with its ids."""
    made = ec2.allocate_address()
    time.sleep(0.05)  # a new address is not visible at once, as on AWS
    interface = own["NetworkInterfaceId"]
    association = ec2.associate_address(
        AllocationId=made["AllocationId"], NetworkInterfaceId=interface)["AssociationId"]
    (seen,) = described(**by("association.allocation-id", made["AllocationId"]))
    assert seen["NetworkInterfaceId"] == interface, seen
    expected = {
        "PublicIp": made["PublicIp"], "PublicDnsName": "", "IpOwnerId": own["OwnerId"],
        "AllocationId": made["AllocationId"], "AssociationId": association,
    }
    assert seen["Association"] == expected, seen
    assert seen["PrivateIpAddresses"][0]["Association"] == expected, seen
    ec2.disassociate_address(AssociationId=association)
    ec2.release_address(AllocationId=made["AllocationId"])


def refusals():
    describe = ec2.describe_network_interfaces
    refused("InvalidNetworkInterfaceID.NotFound", describe,
            f"The networkInterface ID '{NOWHERE}' does not exist", NetworkInterfaceIds=[NOWHERE])
    refused("InvalidNetworkInterfaceId.Malformed", describe,
            'Invalid id: "web" (expecting "eni-...")', NetworkInterfaceIds=["web"])
    refused("InvalidParameterCombination", describe, NetworkInterfaceIds=[NOWHERE], MaxResults=5)
    refused("InvalidParameterValue", describe, MaxResults=4)
    refused("InvalidNextToken", describe, NextToken="x")


def facts():
    """Members that AWS's answers always have."""
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert zones[0]["Geography"] == [{"Name": "United States of America"}], zones[0]
    assert zones[0]["SubGeography"] == [{"Name": "Virginia"}], zones[0]
    regions = ec2.describe_regions(RegionNames=["eu-central-1"])["Regions"]
    assert regions[0]["Geography"] == [{"Name": "Germany"}], regions
    (vpc,) = ec2.describe_vpcs(**by("is-default", "true"))["Vpcs"]
    subnets = ec2.describe_subnets(**by("vpc-id", vpc["VpcId"]))["Subnets"]
    for one in (vpc, subnets[0]):
        assert one["BlockPublicAccessStates"] == {"InternetGatewayBlockMode": "off"}, one
    (micro,) = ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
    assert micro["SupportedInRegion"] is True, micro
    assert micro["NetworkInfo"]["NetworkCards"] == [{
        "NetworkCardIndex": 0, "NetworkPerformance": "Up to 5 Gigabit",
        "MaximumNetworkInterfaces": 2, "BaselineBandwidthInGbps": 0.064,
        "PeakBandwidthInGbps": 5.0, "DefaultEnaQueueCountPerInterface": 2,
        "InterfaceTypes": ["interface"],
    }], micro
    for volume in ec2.describe_volume_status()["VolumeStatuses"]:
        progress = {"InitializationType": "default", "Progress": 100}
        assert volume["InitializationStatusDetails"] == progress, volume


def parameters():
    """Parameters by name and version, and the images that they name."""
    one = ssm.get_parameter(Name=PARAMETER)["Parameter"]
    assert "Selector" not in one, one
    (image,) = ec2.describe_images(ImageIds=[one["Value"]])["Images"]
    assert image["FreeTierEligible"] is True, image
    assert image["PublicSsmParameterName"] == PARAMETER, image
    assert f"{one['LastModifiedDate']:%Y-%m-%d}" == image["CreationDate"][:10], one
    same = ssm.get_parameter(Name=f"{PARAMETER}:1")["Parameter"]
    assert {**one, "Selector": ":1"} == same, same
    refused("ParameterVersionNotFound", ssm.get_parameter,
            f"Systems Manager could not find version 2 of {PARAMETER}. Verify the version and try "
            "again.", Name=f"{PARAMETER}:2")
    family = PARAMETER.rpartition("/")[0]
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path=family, PaginationConfig={"PageSize": 3})
    found = [each for page in pages for each in page["Parameters"]]
    assert one in found and len(found) == len({each["Name"] for each in found}) > 3, found
    assert all(each["Name"].rpartition("/")[0] == family for each in found), found
    assert ssm.get_parameters_by_path(Path="/aws/service")["Parameters"] == []
    deep = ssm.get_parameters_by_path(Path="/aws/service", Recursive=True)
    assert len(deep["Parameters"]) == 10 and "NextToken" in deep, deep
    refused("InvalidNextToken", ssm.get_parameters_by_path, "The specified token isn't valid.",
            Path=family, NextToken="x")
    refused("ValidationException", ssm.get_parameters_by_path, Path="aws")
    several = ssm.get_parameters(Names=[f"{PARAMETER}:1", f"{PARAMETER}:2"])
    assert several["InvalidParameters"] == [f"{PARAMETER}:2"], several
    assert [each["Value"] for each in several["Parameters"]] == [one["Value"]], several


def main():
    refusals()
    group = ec2.create_security_group(GroupName="interfaces", Description="of a test")["GroupId"]
    tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "part", "Value": "front"}]}]
    front = [{"DeviceIndex": 0, "Description": "front of the shop"}]
    first = launch(NetworkInterfaces=front, TagSpecifications=tags)
    second = instance(launch(), "running")["NetworkInterfaces"][0]["NetworkInterfaceId"]
    account = boto3.client("sts").get_caller_identity()["Account"]
    own = describe(instance(first, "running"), account)
    filters(own, second)
    attributes(own, group)
    elastic(own)
    facts()
    parameters()
    ec2.terminate_instances(InstanceIds=[first])
    instance(first, "terminated")
    refused("InvalidNetworkInterfaceID.NotFound", ec2.describe_network_interfaces,
            NetworkInterfaceIds=[own["NetworkInterfaceId"]])
    ec2.delete_security_group(GroupId=group)
    print("network_interfaces: ok")


if __name__ == "__main__":
    main()
