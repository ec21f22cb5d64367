#!/usr/bin/env python3
"""Moves an Elastic IP address between instances of the local cloud, with boto3 and ssh.

Needs only the output of `autorun cloud env`. Exits with 1 if an answer differs
from AWS's, or if the address does not reach its instance.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from botocore.exceptions import ClientError
from ec2_clients import ec2, key_pair, only_instance, refused, ssh, visible, wait_for

REGION = ec2.meta.region_name
METADATA = (
    "curl -sS -H \"X-aws-ec2-metadata-token: $(curl -sS -X PUT -H "
    "'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)\" "
    "http://169.254.169.254/latest/meta-data/"
)


def described(**arguments):
    found = visible(ec2.describe_addresses, **arguments)["Addresses"]
    assert len(found) == 1, found
    return found[0]


def filtered(name, value):
    return ec2.describe_addresses(Filters=[{"Name": name, "Values": [value]}])["Addresses"]


def instances(count):
    intel = [{"Name": "architecture", "Values": ["x86_64"]}]
    image = ec2.describe_images(Owners=["amazon"], Filters=intel)["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="addresses", Description="ssh")["GroupId"]
    # An instance that connects to its own Elastic IP address comes from it.
    visible(
        ec2.authorize_security_group_ingress,
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0",
    )
    launched = ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", KeyName="clients", MinCount=count,
        MaxCount=count, SecurityGroupIds=[group],
    )["Instances"]
    return group, [each["InstanceId"] for each in launched]


def allocation():
    refused("DryRunOperation", ec2.allocate_address, DryRun=True)
    refused("InvalidParameterValue", ec2.allocate_address, NetworkBorderGroup="us-nowhere-1")
    refused("InvalidAddress.NotFound", ec2.allocate_address, Address="198.51.100.7")
    tags = [{"Key": "Name", "Value": "front"}]
    one = ec2.allocate_address(TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])
    one.pop("ResponseMetadata")
    assert one["AllocationId"].startswith("eipalloc-"), one
    rest = {key: one[key] for key in one if key not in ("PublicIp", "AllocationId")}
    assert rest == {"PublicIpv4Pool": "amazon", "NetworkBorderGroup": REGION, "Domain": "vpc"}, one
    free = described(AllocationIds=[one["AllocationId"]])
    assert free == {**one, "Tags": tags}, "a free address has no other members"
    others = [ec2.allocate_address()["AllocationId"] for _ in range(4)]
    refused("AddressLimitExceeded", ec2.allocate_address)
    for other in others:
        visible(ec2.release_address, AllocationId=other)
        refused("InvalidAllocationID.NotFound", ec2.release_address, AllocationId=other)
    attribute = ec2.describe_addresses_attribute(Attribute="domain-name")["Addresses"]
    assert attribute == [{"PublicIp": one["PublicIp"], "AllocationId": one["AllocationId"]}]
    return one


def refusals(address, one, other):
    ids = {"AllocationId": address["AllocationId"]}
    refused("MissingParameter", ec2.associate_address, **ids)
    refused("MissingParameter", ec2.associate_address, InstanceId=one)
    refused("MissingParameter", ec2.disassociate_address)
    refused("MissingParameter", ec2.release_address)
    twice = {**ids, "PublicIp": address["PublicIp"]}
    refused("InvalidParameterCombination", ec2.associate_address, **twice, InstanceId=one)
    refused("InvalidParameterCombination", ec2.release_address, **twice)
    missing = "eipalloc-0123456789abcdef0"
    refused("InvalidAllocationID.NotFound", ec2.associate_address, AllocationId=missing, InstanceId=one)
    refused("InvalidAllocationID.NotFound", ec2.describe_addresses, AllocationIds=[missing])
    refused("InvalidAddress.NotFound", ec2.describe_addresses, PublicIps=["198.51.100.7"])
    refused("InvalidAssociationID.NotFound", ec2.disassociate_address, AssociationId="eipassoc-0123456789abcdef0")
    refused("InvalidInstanceID.NotFound", ec2.associate_address, **ids, InstanceId="i-0123456789abcdef0")
    refused("InvalidInstanceID.Malformed", ec2.associate_address, **ids, InstanceId="web")
    refused("InvalidNetworkInterfaceID.NotFound", ec2.associate_address, **ids, NetworkInterfaceId="eni-0123456789abcdef0")
    refused("InvalidParameterValue", ec2.associate_address, **ids, InstanceId=one, PrivateIpAddress="198.51.100.7")
    refused("InvalidParameterValue", ec2.describe_addresses, Filters=[{"Name": "colour", "Values": ["red"]}])
    refused("Resource.AlreadyAssociated", ec2.associate_address, **ids, InstanceId=other, AllowReassociation=False)
    second = ec2.allocate_address()["AllocationId"]
    visible(ec2.describe_addresses, AllocationIds=[second])
    refused("Resource.AlreadyAssociated", ec2.associate_address, AllocationId=second, InstanceId=one, AllowReassociation=False)
    ec2.release_address(AllocationId=second)


def association(address, one, other, key):
    ip, ids = address["PublicIp"], {"AllocationId": address["AllocationId"]}
    own = [only_instance(InstanceIds=[each])["PublicIpAddress"] for each in (one, other)]
    first = ec2.associate_address(**ids, InstanceId=one)["AssociationId"]
    assert ec2.associate_address(**ids, InstanceId=one)["AssociationId"] == first, "it is idempotent"
    seen = only_instance(InstanceIds=[one])
    interface = seen["NetworkInterfaces"][0]
    assert seen["PublicIpAddress"] == interface["Association"]["PublicIp"] == ip, seen
    assert interface["Association"]["IpOwnerId"] == interface["OwnerId"], "not AWS's own"
    assert seen["PrivateIpAddress"] == own[0], "the private address stays"
    whole = described(PublicIps=[ip])
    assert whole == {
        **address, "InstanceId": one, "AssociationId": first, "Tags": whole["Tags"],
        "NetworkInterfaceId": interface["NetworkInterfaceId"], "PrivateIpAddress": own[0],
        "NetworkInterfaceOwnerId": interface["OwnerId"],
    }, whole
    for name, value in {
        "allocation-id": address["AllocationId"], "association-id": first, "domain": "vpc",
        "instance-id": one, "network-border-group": REGION, "public-ip": ip,
        "network-interface-id": interface["NetworkInterfaceId"], "private-ip-address": own[0],
        "network-interface-owner-id": interface["OwnerId"], "tag:Name": "fr*", "tag-key": "Name",
    }.items():
        assert filtered(name, value) == [whole], name
        assert filtered(name, "other") == [], name
    by_ip = [{"Name": "ip-address", "Values": [ip]}]
    assert only_instance(Filters=by_ip)["InstanceId"] == one
    refusals(address, one, other)

    # The address reaches the instance, from outside, from another instance and
    # from itself.
    hosts = [f"ip-{each.replace('.', '-')}" for each in own]
    assert ssh(key, ip, "hostname").strip() == hosts[0]
    assert ssh(key, ip, METADATA + "public-ipv4") == ip
    subprocess.run(["scp", "-q", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", key, f"ec2-user@{own[1]}:key"], check=True, capture_output=True, timeout=60)
    inside = f"ssh -i key -o BatchMode=yes -o StrictHostKeyChecking=no -o ConnectTimeout=5 {ip} hostname"
    assert ssh(key, own[1], inside).strip() == hosts[0]

    # A stopped instance keeps it.
    ec2.stop_instances(InstanceIds=[one])
    assert wait_for(one, "stopped")["PublicIpAddress"] == ip
    ec2.start_instances(InstanceIds=[one])
    wait_for(one, "running")
    assert ssh(key, ip, "hostname").strip() == hosts[0]

    # It moves, by the instance's interface, and the first one has its own again.
    eni = only_instance(InstanceIds=[other])["NetworkInterfaces"][0]["NetworkInterfaceId"]
    second = ec2.associate_address(**ids, NetworkInterfaceId=eni)["AssociationId"]
    assert second != first
    refused("InvalidAssociationID.NotFound", ec2.disassociate_address, AssociationId=first)
    reaches(key, ip, hosts[1])
    assert ssh(key, ip, inside).strip() == hosts[1], "an instance reaches its own address"
    assert only_instance(InstanceIds=[one])["PublicIpAddress"] == own[0]
    assert ssh(key, own[0], "hostname").strip() == hosts[0]
    return second


def another_vpc(image):
    """In a VPC that is not the default one, the rules are stricter."""
    vpc = ec2.create_vpc(CidrBlock="10.200.0.0/16")["Vpc"]["VpcId"]
    subnet = visible(ec2.create_subnet, VpcId=vpc, CidrBlock="10.200.1.0/24")["Subnet"]["SubnetId"]
    instance = visible(
        ec2.run_instances, ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1,
        SubnetId=subnet,
    )["Instances"][0]["InstanceId"]
    wait_for(instance, "running")
    ids = {"AllocationId": ec2.allocate_address()["AllocationId"]}
    visible(ec2.describe_addresses, AllocationIds=[ids["AllocationId"]])
    refused("Gateway.NotAttached", ec2.associate_address, **ids, InstanceId=instance)
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    visible(ec2.attach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)
    association = ec2.associate_address(**ids, InstanceId=instance)["AssociationId"]
    refused("InvalidIPAddress.InUse", ec2.release_address, **ids)
    ec2.disassociate_address(AssociationId=association)
    ec2.release_address(**ids)
    ec2.terminate_instances(InstanceIds=[instance])
    wait_for(instance, "terminated")
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


def reaches(key, ip, host):
    """The switch follows a change within a moment."""
    for _ in range(100):
        if ssh(key, ip, "hostname").strip() == host:
            return
        time.sleep(0.02)
    raise AssertionError(f"{ip} does not reach {host}")


def end(address, association, group, one, other):
    ids = {"AllocationId": address["AllocationId"]}
    ec2.disassociate_address(AssociationId=association)
    assert "AssociationId" not in described(**{"AllocationIds": [ids["AllocationId"]]})
    ec2.associate_address(**ids, InstanceId=other)
    ec2.terminate_instances(InstanceIds=[other])
    assert "InstanceId" not in described(AllocationIds=[ids["AllocationId"]]), "it outlives the instance"
    try:
        ec2.associate_address(**ids, InstanceId=other)
        raise AssertionError("a terminated instance got an address")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidInstanceID", error
        assert "is not in a valid state for this operation" in str(error), error
    # In the default VPC, a release disassociates the address.
    ec2.associate_address(PublicIp=address["PublicIp"], InstanceId=one)
    ec2.delete_tags(Resources=[ids["AllocationId"]])
    assert "Tags" not in described(AllocationIds=[ids["AllocationId"]])
    ec2.release_address(**ids)
    assert only_instance(InstanceIds=[one])["PublicIpAddress"] != address["PublicIp"]
    assert ec2.describe_addresses()["Addresses"] == []
    ec2.terminate_instances(InstanceIds=[one])
    for each in (one, other):
        wait_for(each, "terminated")
    ec2.delete_security_group(GroupId=group)


def main():
    with tempfile.TemporaryDirectory() as directory:
        key = key_pair(Path(directory))
        group, (one, other) = instances(2)
        address = allocation()
        for each in (one, other):
            wait_for(each, "running")
        current = association(address, one, other, key)
        another_vpc(only_instance(InstanceIds=[one])["ImageId"])
        end(address, current, group, one, other)
    ec2.delete_key_pair(KeyName="clients")
    print("elastic_ips: ok")


if __name__ == "__main__":
    main()
