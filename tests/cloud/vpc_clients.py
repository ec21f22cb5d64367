#!/usr/bin/env python3
"""Creates VPCs with boto3 on the local cloud, with only the output of `autorun
cloud env`. Reports a difference to AWS and exits with 1.

The codes and messages are those of AWS, as "Error codes for the Amazon EC2 API",
the tests of moto and issues of the Terraform provider show them.
"""

import time

import boto3
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")
NOWHERE = "0123456789abcdef0"


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


def visible(call, **arguments):
    """Retries a call until a new resource is visible, as on AWS."""
    end = time.monotonic() + 5
    while True:
        try:
            return call(**arguments)
        except ClientError as error:
            if not error.response["Error"]["Code"].endswith(".NotFound") or time.monotonic() > end:
                raise
            time.sleep(0.02)


def tagged(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def by(name, *values):
    return {"Filters": [{"Name": name, "Values": list(values)}]}


def ids(things, key):
    return {thing[key] for thing in things}


def has(answer, **wanted):
    """Asserts that the answer has these values."""
    got = {key: answer.get(key) for key in wanted}
    assert got == wanted, got


def vpcs():
    made = ec2.create_vpc(CidrBlock="10.0.9.9/16", TagSpecifications=tagged("vpc", "blue"))["Vpc"]
    vpc = made["VpcId"]
    has(made, State="pending", CidrBlock="10.0.0.0/16", IsDefault=False, InstanceTenancy="default",
        Tags=[{"Key": "Name", "Value": "blue"}])
    seen = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert len(seen) == 1
    has(seen[0], **{**made, "State": "available"})
    block = seen[0]["CidrBlockAssociationSet"][0]
    has(block, CidrBlock="10.0.0.0/16", CidrBlockState={"State": "associated"})
    for filters in [by("vpc-id", vpc), by("tag:Name", "bl*"), by("cidr", "10.0.0.0/16"),
                    by("cidr-block", "10.0.0.0/16"),
                    by("cidr-block-association.association-id", block["AssociationId"]),
                    by("dhcp-options-id", made["DhcpOptionsId"])]:
        assert vpc in ids(ec2.describe_vpcs(**filters)["Vpcs"], "VpcId"), filters
    assert vpc not in ids(ec2.describe_vpcs(**by("is-default", "true"))["Vpcs"], "VpcId")
    tags = ec2.describe_tags(**by("resource-id", vpc))["Tags"]
    has(tags[0], ResourceType="vpc", Key="Name", Value="blue")

    for block in ("10.0.0.0/15", "10.0.0.0/29", "127.0.0.0/16", "169.254.0.0/16", "224.0.0.0/16"):
        refused("InvalidVpc.Range", ec2.create_vpc, f"The CIDR '{block}' is invalid.",
                CidrBlock=block)
    for block in ("10.0.0.0", "10.0.0/16", "10.0.0.0/33", "::/16"):
        refused("InvalidParameterValue", ec2.create_vpc,
                f"Value ({block}) for parameter cidrBlock is invalid. This is not a valid CIDR"
                " block.", CidrBlock=block)
    refused("MissingParameter", ec2.create_vpc)
    refused("DryRunOperation", ec2.create_vpc, CidrBlock="10.0.0.0/16", DryRun=True)
    missing = f"The vpc ID 'vpc-{NOWHERE}' does not exist"
    for call in (ec2.delete_vpc, ec2.create_route_table):
        refused("InvalidVpcID.NotFound", call, missing, VpcId=f"vpc-{NOWHERE}")
    refused("InvalidVpcID.NotFound", ec2.describe_vpcs, missing, VpcIds=[vpc, f"vpc-{NOWHERE}"])

    def attribute(name):
        return ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)

    has(attribute("enableDnsSupport"), EnableDnsSupport={"Value": True}, VpcId=vpc)
    has(attribute("enableDnsHostnames"), EnableDnsHostnames={"Value": False})
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    has(attribute("enableDnsHostnames"), EnableDnsHostnames={"Value": True})
    has(attribute("enableNetworkAddressUsageMetrics"),
        EnableNetworkAddressUsageMetrics={"Value": False})
    refused("InvalidParameterCombination", ec2.modify_vpc_attribute, VpcId=vpc,
            EnableDnsHostnames={"Value": True}, EnableDnsSupport={"Value": True})
    return vpc


def subnets(vpc, other):
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=zones[1],
                             TagSpecifications=tagged("subnet", "public"))["Subnet"]
    subnet = made["SubnetId"]
    has(made, State="available", VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=zones[1],
        AvailableIpAddressCount=251, DefaultForAz=False, MapPublicIpOnLaunch=False,
        Tags=[{"Key": "Name", "Value": "public"}])
    assert made["SubnetArn"].endswith(f"{made['OwnerId']}:subnet/{subnet}"), made
    small = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.2.0/28")["Subnet"]
    has(small, AvailableIpAddressCount=11, AvailabilityZone=zones[0])
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"] == [made]
    for filters in [by("vpc-id", vpc), by("cidr-block", "10.0.1.0/24"), by("tag:Name", "public"),
                    by("available-ip-address-count", "251"), by("availability-zone", zones[1]),
                    by("availability-zone-id", made["AvailabilityZoneId"])]:
        assert subnet in ids(ec2.describe_subnets(**filters)["Subnets"], "SubnetId"), filters

    def create(**arguments):
        return ec2.create_subnet(**{"VpcId": vpc, "CidrBlock": "10.0.9.0/24", **arguments})

    for block in ("10.1.0.0/24", "10.0.0.0/15", "10.0.0.0/29"):
        refused("InvalidSubnet.Range", create, f"The CIDR '{block}' is invalid.", CidrBlock=block)
    for block in ("10.0.1.0/24", "10.0.1.128/25", "10.0.0.0/16"):
        refused("InvalidSubnet.Conflict", create,
                f"The CIDR '{block}' conflicts with another subnet", CidrBlock=block)
    refused("InvalidParameterValue", create,
            f"Value (mars-1a) for parameter availabilityZone is invalid. Subnets can currently only"
            f" be created in the following availability zones: {', '.join(zones)}.",
            AvailabilityZone="mars-1a")
    refused("InvalidVpcID.NotFound", create, VpcId=f"vpc-{NOWHERE}")
    refused("UnsupportedOperation", create, Ipv6CidrBlock="2001:db8::/64")
    # VPCs are independent of each other: the other one can have the same subnet.
    twin = ec2.create_subnet(VpcId=other, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    refused("DependencyViolation", ec2.delete_vpc,
            f"The vpc '{other}' has dependencies and cannot be deleted.", VpcId=other)
    ec2.delete_subnet(SubnetId=twin)
    gone = f"The subnet ID '{twin}' does not exist"
    refused("InvalidSubnetID.NotFound", ec2.delete_subnet, gone, SubnetId=twin)
    refused("InvalidSubnetID.NotFound", ec2.describe_subnets, gone, SubnetIds=[twin])

    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    found = ec2.describe_subnets(**by("map-public-ip-on-launch", "true"))["Subnets"]
    assert subnet in ids(found, "SubnetId") and small["SubnetId"] not in ids(found, "SubnetId")
    refused("UnsupportedOperation", ec2.modify_subnet_attribute, SubnetId=subnet,
            EnableDns64={"Value": True})
    pages = ec2.get_paginator("describe_subnets").paginate(
        **by("vpc-id", vpc), PaginationConfig={"PageSize": 5})
    assert sum(len(page["Subnets"]) for page in pages) == 2
    return subnet, small["SubnetId"]


def gateways(vpc, other):
    made = ec2.create_internet_gateway(
        TagSpecifications=tagged("internet-gateway", "out"))["InternetGateway"]
    gateway = made["InternetGatewayId"]
    has(made, Attachments=[], Tags=[{"Key": "Name", "Value": "out"}])
    refused("Gateway.NotAttached", ec2.detach_internet_gateway,
            f"resource {gateway} is not attached to network {vpc}",
            InternetGatewayId=gateway, VpcId=vpc)
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    found = ec2.describe_internet_gateways(**by("attachment.vpc-id", vpc))["InternetGateways"]
    assert ids(found, "InternetGatewayId") == {gateway}
    assert found[0]["Attachments"] == [{"State": "available", "VpcId": vpc}]
    refused("Resource.AlreadyAssociated", ec2.attach_internet_gateway,
            f"resource {gateway} is already attached to network {vpc}",
            InternetGatewayId=gateway, VpcId=other)
    second = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    refused("InvalidParameterValue", ec2.attach_internet_gateway,
            f"Network {vpc} already has an internet gateway attached",
            InternetGatewayId=second, VpcId=vpc)
    refused("DependencyViolation", ec2.delete_internet_gateway,
            f"The internetGateway '{gateway}' has dependencies and cannot be deleted.",
            InternetGatewayId=gateway)
    ec2.delete_internet_gateway(InternetGatewayId=second)
    refused("InvalidInternetGatewayID.NotFound", ec2.delete_internet_gateway,
            f"The internetGateway ID '{second}' does not exist", InternetGatewayId=second)
    refused("InvalidInternetGatewayId.Malformed", ec2.delete_internet_gateway,
            InternetGatewayId="igw-x")
    return gateway


def routes(vpc, other, subnet, small, gateway):
    tables = ec2.describe_route_tables(**by("vpc-id", vpc))["RouteTables"]
    assert len(tables) == 1, tables
    main = tables[0]["RouteTableId"]
    local = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local",
             "Origin": "CreateRouteTable", "State": "active"}
    has(tables[0], Routes=[local], PropagatingVgws=[])
    association = tables[0]["Associations"][0]
    has(association, Main=True, RouteTableId=main, AssociationState={"State": "associated"})
    refused("InvalidParameterValue", ec2.disassociate_route_table,
            AssociationId=association["RouteTableAssociationId"])
    refused("DependencyViolation", ec2.delete_route_table, RouteTableId=main)

    made = ec2.create_route_table(
        VpcId=vpc, TagSpecifications=tagged("route-table", "public"))["RouteTable"]
    table = made["RouteTableId"]
    has(made, VpcId=vpc, Routes=[local], Associations=[],
        Tags=[{"Key": "Name", "Value": "public"}])
    route = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    assert ec2.create_route(**route, GatewayId=gateway)["Return"] is True
    stray = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    refused("InvalidParameterValue", ec2.create_route,
            f"route table {table} and network gateway {stray} belong to different networks",
            **route, GatewayId=stray)
    ec2.delete_internet_gateway(InternetGatewayId=stray)
    refused("InvalidGatewayID.NotFound", ec2.create_route,
            f"The gateway ID '{stray}' does not exist", **route, GatewayId=stray)
    refused("MissingParameter", ec2.create_route, **route)
    refused("UnsupportedOperation", ec2.create_route, **route, TransitGatewayId="tgw-1")
    refused("RouteAlreadyExists", ec2.create_route,
            "The route identified by 10.0.0.0/16 already exists.",
            **{**route, "DestinationCidrBlock": "10.0.0.0/16"}, GatewayId=gateway)
    refused("InvalidRoute.NotFound", ec2.delete_route,
            f"no route with destination-cidr-block 10.8.0.0/16 in route table {table}",
            **{**route, "DestinationCidrBlock": "10.8.0.0/16"})
    refused("InvalidParameterValue", ec2.delete_route,
            f"cannot remove local route 10.0.0.0/16 in route table {table}",
            **{**route, "DestinationCidrBlock": "10.0.0.0/16"})
    refused("InvalidRouteTableID.NotFound", ec2.delete_route_table,
            f"The routeTable ID 'rtb-{NOWHERE}' does not exist", RouteTableId=f"rtb-{NOWHERE}")

    made = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    has(made, AssociationState={"State": "associated"})
    again = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    assert again["AssociationId"] == made["AssociationId"]
    refused("Resource.AlreadyAssociated", ec2.associate_route_table,
            RouteTableId=main, SubnetId=subnet)
    refused("DependencyViolation", ec2.delete_route_table,
            f"The routeTable '{table}' has dependencies and cannot be deleted.",
            RouteTableId=table)
    for filters in [by("association.subnet-id", subnet), by("route.gateway-id", gateway),
                    by("association.route-table-association-id", made["AssociationId"]),
                    by("tag:Name", "public")]:
        found = ec2.describe_route_tables(**filters)["RouteTables"]
        assert ids(found, "RouteTableId") == {table}, filters
    shown = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]
    has(shown["Routes"][1], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway,
        Origin="CreateRoute", State="active")
    # A gateway that is detached leaves a black hole.
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    black = ec2.describe_route_tables(**by("route.state", "blackhole"))["RouteTables"]
    assert ids(black, "RouteTableId") == {table}
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    moved = ec2.replace_route_table_association(
        AssociationId=made["AssociationId"], RouteTableId=main)
    refused("InvalidAssociationID.NotFound", ec2.disassociate_route_table,
            f"The association ID '{made['AssociationId']}' does not exist",
            AssociationId=made["AssociationId"])
    ec2.disassociate_route_table(AssociationId=moved["NewAssociationId"])
    # The main table is the one of the main association.
    moved = ec2.replace_route_table_association(
        AssociationId=association["RouteTableAssociationId"], RouteTableId=table)
    found = ec2.describe_route_tables(**by("association.main", "true"), RouteTableIds=[table])
    assert len(found["RouteTables"]) == 1
    ec2.replace_route_table_association(
        AssociationId=moved["NewAssociationId"], RouteTableId=main)
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)

    acls = ec2.describe_network_acls(**by("vpc-id", vpc))["NetworkAcls"]
    assert len(acls) == 1 and acls[0]["IsDefault"], acls
    assert ids(acls[0]["Associations"], "SubnetId") == {subnet, small}
    has(acls[0]["Entries"][0], Egress=True, Protocol="-1", RuleAction="allow", RuleNumber=100,
        CidrBlock="0.0.0.0/0")
    return table


def groups(vpc, other):
    own = ec2.describe_security_groups(**by("vpc-id", vpc))["SecurityGroups"]
    assert [g["GroupName"] for g in own] == ["default"], own
    refused("CannotDelete", ec2.delete_security_group, GroupId=own[0]["GroupId"])
    made = {}
    for place in (vpc, other):
        made[place] = ec2.create_security_group(
            GroupName="db", Description="databases", VpcId=place)["GroupId"]
    refused("InvalidGroup.Duplicate", ec2.create_security_group,
            f"The security group 'db' already exists for VPC '{vpc}'",
            GroupName="db", Description="databases", VpcId=vpc)
    found = visible(ec2.describe_security_groups, GroupIds=[made[vpc]])["SecurityGroups"]
    has(found[0], VpcId=vpc, GroupName="db")
    # A group is found by its name in the default VPC only.
    default = ec2.describe_vpcs(**by("is-default", "true"))["Vpcs"][0]["VpcId"]
    refused("InvalidGroup.NotFound", ec2.describe_security_groups,
            f"The security group 'db' does not exist in default VPC '{default}'", GroupNames=["db"])
    refused("DependencyViolation", ec2.delete_vpc, VpcId=other)
    refused("InvalidGroup.NotFound", ec2.authorize_security_group_ingress,
            "You have specified two resources that belong to different networks.",
            GroupId=made[vpc], IpPermissions=[{
                "IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": own_default(other)}]}])
    ec2.delete_security_group(GroupId=made[other])
    return made[vpc], own[0]["GroupId"]


def own_default(vpc):
    found = ec2.describe_security_groups(**by("vpc-id", vpc))["SecurityGroups"]
    return next(group["GroupId"] for group in found if group["GroupName"] == "default")


def launches(vpc, public, private, group, default):
    image = ec2.describe_images(**by("name", "al2023-ami-2023*"))["Images"][0]["ImageId"]
    wanted = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    stranger = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    refused("InvalidParameter", ec2.run_instances,
            f"Security group {stranger} and subnet {private} belong to different networks.",
            **wanted, SubnetId=private, SecurityGroupIds=[stranger])
    refused("InvalidSubnetID.NotFound", ec2.run_instances, **wanted, SubnetId=f"subnet-{NOWHERE}")
    made = {}
    for subnet, groups in ((public, [group]), (private, [])):
        made[subnet] = ec2.run_instances(
            **wanted, SubnetId=subnet, SecurityGroupIds=groups)["Instances"][0]["InstanceId"]
    waiter = ec2.get_waiter("instance_running")
    waiter.config.delay = 1
    waiter.wait(InstanceIds=list(made.values()))
    reservations = ec2.describe_instances(InstanceIds=list(made.values()))["Reservations"]
    seen = {i["SubnetId"]: i for r in reservations for i in r["Instances"]}
    assert set(seen) == {public, private}
    front, back = seen[public], seen[private]
    for instance in (front, back):
        has(instance, VpcId=vpc)
        has(instance["NetworkInterfaces"][0], VpcId=vpc, SubnetId=instance["SubnetId"],
            PrivateIpAddress=instance["PrivateIpAddress"])
    assert front["PrivateIpAddress"] == "10.0.1.4", front["PrivateIpAddress"]
    assert back["PrivateIpAddress"] == "10.0.2.4", back["PrivateIpAddress"]
    assert front["PublicIpAddress"] != front["PrivateIpAddress"]
    assert "PublicIpAddress" not in back and "Association" not in back["NetworkInterfaces"][0]
    assert ids(front["SecurityGroups"], "GroupId") == {group}
    assert ids(back["SecurityGroups"], "GroupId") == {default}
    free = ec2.describe_subnets(SubnetIds=[private])["Subnets"][0]["AvailableIpAddressCount"]
    assert free == 10, free
    refused("DependencyViolation", ec2.delete_subnet,
            f"The subnet '{private}' has dependencies and cannot be deleted.", SubnetId=private)
    gateway = ec2.describe_internet_gateways(**by("attachment.vpc-id", vpc))["InternetGateways"][0]
    refused("DependencyViolation", ec2.detach_internet_gateway,
            f"Network {vpc} has some mapped public address(es). Please unmap those public"
            " address(es) before detaching the gateway.",
            InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc)
    ec2.terminate_instances(InstanceIds=list(made.values()))
    waiter = ec2.get_waiter("instance_terminated")
    waiter.config.delay = 1
    waiter.wait(InstanceIds=list(made.values()))


def main():
    before = ec2.describe_vpcs()["Vpcs"]
    vpc = vpcs()
    other = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    public, private = subnets(vpc, other)
    gateway = gateways(vpc, other)
    table = routes(vpc, other, public, private, gateway)
    group, default = groups(vpc, other)
    launches(vpc, public, private, group, default)
    # Everything goes in the order of its dependencies.
    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    ec2.delete_security_group(GroupId=group)
    for subnet in (public, private):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_route_table(RouteTableId=table)
    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    for each in (vpc, other):
        ec2.delete_vpc(VpcId=each)
    assert ec2.describe_vpcs()["Vpcs"] == before
    assert not ec2.describe_security_groups(**by("vpc-id", vpc))["SecurityGroups"]
    assert not ec2.describe_route_tables(**by("vpc-id", vpc))["RouteTables"]
    print("vpc_clients: ok")


main()
