#!/usr/bin/env python3
"""Creates NAT gateways with boto3 on the local cloud, with only the output of
`autorun cloud env`. Reports a difference to AWS and exits with 1.

The codes and messages are those of AWS: "Troubleshoot NAT gateways" in the guide of
Amazon VPC, the examples of the AWS CLI, and issues of the Terraform provider.
"""

import time

import boto3
from botocore.exceptions import ClientError, WaiterError

ec2 = boto3.client("ec2")
NOWHERE = "0123456789abcdef0"
NOT_YET = {"NatGatewayNotFound", "InvalidElasticIpID.NotFound"}


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
            if error.response["Error"]["Code"] not in NOT_YET or time.monotonic() > end:
                raise
            time.sleep(0.02)


def tagged(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def by(name, *values):
    return [{"Name": name, "Values": list(values)}]


def has(answer, **wanted):
    """Asserts that the answer has these values."""
    got = {key: answer.get(key) for key in wanted}
    assert got == wanted, got


def wait(name, nat):
    waiter = ec2.get_waiter(name)
    waiter.config.delay = 0.1
    waiter.wait(NatGatewayIds=[nat])


def seen(nat):
    return visible(ec2.describe_nat_gateways, NatGatewayIds=[nat])["NatGateways"][0]


def allocate():
    made = ec2.allocate_address(Domain="vpc")
    return made["AllocationId"], made["PublicIp"]


def network():
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
        for number in (1, 2)
    ]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    return vpc, gateway, *subnets


def fails(subnet, allocation, code, message):
    """A NAT gateway that AWS begins to create, and then cannot."""
    nat = visible(ec2.create_nat_gateway, SubnetId=subnet, AllocationId=allocation)
    nat = nat["NatGateway"]["NatGatewayId"]
    try:
        wait("nat_gateway_available", nat)
    except WaiterError as error:
        assert "failed" in str(error), error
    else:
        raise AssertionError(f"{nat} is available")
    shown = seen(nat)
    has(shown, State="failed", FailureCode=code, FailureMessage=message)
    assert shown["DeleteTime"] >= shown["CreateTime"]
    address = shown["NatGatewayAddresses"][0]
    has(address, AllocationId=allocation, Status="failed", PrivateIp=None)


def create(vpc, gateway, subnet):
    allocation, address = allocate()
    message = f"Network {vpc} has no Internet gateway attached"
    fails(subnet, allocation, "Gateway.NotAttached", message)
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    wanted = {"SubnetId": subnet, "AllocationId": allocation}
    refused("DryRunOperation", ec2.create_nat_gateway, **wanted, DryRun=True)
    refused("MissingParameter", ec2.create_nat_gateway, AllocationId=allocation)
    refused("MissingParameter", ec2.create_nat_gateway,
            "The request must include the AllocationId parameter. Add the required parameter and"
            " retry the request.", SubnetId=subnet)
    refused("InvalidElasticIpID.NotFound", ec2.create_nat_gateway,
            f"The elasticIp ID 'eipalloc-{NOWHERE}' does not exist",
            SubnetId=subnet, AllocationId=f"eipalloc-{NOWHERE}")
    refused("InvalidSubnetID.NotFound", ec2.create_nat_gateway,
            f"The subnet ID 'subnet-{NOWHERE}' does not exist",
            SubnetId=f"subnet-{NOWHERE}", AllocationId=allocation)
    refused("InvalidParameterValue", ec2.create_nat_gateway, **wanted, ConnectivityType="secret")
    refused("InvalidParameterCombination", ec2.create_nat_gateway, **wanted,
            ConnectivityType="private")
    refused("InvalidParameterValue", ec2.create_nat_gateway, **wanted,
            PrivateIpAddress="10.0.2.9")
    for unsupported in ({"SecondaryAllocationIds": [allocation]}, {"AvailabilityMode": "regional"},
                        {"SecondaryPrivateIpAddressCount": 1}):
        refused("UnsupportedOperation", ec2.create_nat_gateway, **wanted, **unsupported)

    token = {"ClientToken": "once", "TagSpecifications": tagged("natgateway", "out")}
    made = ec2.create_nat_gateway(**wanted, **token)
    assert made["ClientToken"] == "once"
    again = ec2.create_nat_gateway(**wanted, **token)["NatGateway"]
    made = made["NatGateway"]
    nat = made["NatGatewayId"]
    assert again["NatGatewayId"] == nat
    refused("IdempotentParameterMismatch", ec2.create_nat_gateway, **wanted, ClientToken="once")
    has(made, State="pending", VpcId=vpc, SubnetId=subnet, ConnectivityType="public",
        Tags=[{"Key": "Name", "Value": "out"}])
    assert made["NatGatewayAddresses"][0]["AllocationId"] == allocation
    wait("nat_gateway_available", nat)
    shown = seen(nat)
    has(shown, State="available", CreateTime=made["CreateTime"], DeleteTime=None,
        FailureCode=None)
    own = shown["NatGatewayAddresses"]
    assert len(own) == 1
    has(own[0], AllocationId=allocation, PublicIp=address, IsPrimary=True, Status="succeeded",
        PrivateIp="10.0.1.4")
    free = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
    assert free == 250, free
    fails(subnet, allocation, "Resource.AlreadyAssociated",
          f"Elastic IP address [{allocation}] is already associated")
    return nat, allocation, own[0]


def addresses(nat, allocation, own):
    """The address belongs to the gateway until the gateway is deleted."""
    shown = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
    has(shown, AssociationId=own["AssociationId"], InstanceId=None,
        NetworkInterfaceId=own["NetworkInterfaceId"], PrivateIpAddress=own["PrivateIp"])
    interface = ec2.describe_network_interfaces(
        Filters=by("interface-type", "nat_gateway") + by("addresses.association.public-ip",
                                                         own["PublicIp"])
    )["NetworkInterfaces"]
    assert len(interface) == 1
    has(interface[0], NetworkInterfaceId=own["NetworkInterfaceId"], RequesterManaged=True,
        Description=f"Interface for NAT Gateway {nat}", Status="in-use", SourceDestCheck=False,
        PrivateIpAddress=own["PrivateIp"])
    assert "InstanceId" not in interface[0]["Attachment"]
    found = ec2.describe_addresses(Filters=by("private-ip-address", own["PrivateIp"]))
    assert [a["AllocationId"] for a in found["Addresses"]] == [allocation]
    denied = "You do not have permission to access the specified resource."
    refused("AuthFailure", ec2.release_address, denied, AllocationId=allocation)
    refused("AuthFailure", ec2.disassociate_address, denied,
            AssociationId=own["AssociationId"])


def described(nat, subnet, vpc):
    for filters in (by("nat-gateway-id", nat), by("subnet-id", subnet), by("vpc-id", vpc),
                    by("tag:Name", "o*"), by("tag-key", "Name")):
        found = ec2.describe_nat_gateways(Filters=filters + by("state", "available"))
        assert [n["NatGatewayId"] for n in found["NatGateways"]] == [nat], filters
    assert not ec2.describe_nat_gateways(Filters=by("state", "deleted"))["NatGateways"]
    refused("InvalidParameterValue", ec2.describe_nat_gateways, Filters=by("spam", "x"))
    message = f"The Nat Gateway nat-{NOWHERE} was not found"
    refused("NatGatewayNotFound", ec2.describe_nat_gateways, message,
            NatGatewayIds=[f"nat-{NOWHERE}"])
    refused("NatGatewayNotFound", ec2.delete_nat_gateway, message, NatGatewayId=f"nat-{NOWHERE}")
    refused("NatGatewayMalformed", ec2.delete_nat_gateway, NatGatewayId="spam")
    tags = ec2.describe_tags(Filters=by("resource-type", "natgateway"))["Tags"]
    assert [(t["ResourceId"], t["Value"]) for t in tags] == [(nat, "out")], tags
    ec2.create_tags(Resources=[nat], Tags=[{"Key": "team", "Value": "a"}])
    assert {t["Key"] for t in seen(nat)["Tags"]} == {"Name", "team"}
    pages = ec2.get_paginator("describe_nat_gateways").paginate(PaginationConfig={"PageSize": 5})
    assert sum(len(page["NatGateways"]) for page in pages) == 3


def routes(nat, vpc, gateway, private):
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=private)
    route = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    refused("InvalidNatGatewayID.NotFound", ec2.create_route,
            f"The natGateway ID 'nat-{NOWHERE}' does not exist",
            **route, NatGatewayId=f"nat-{NOWHERE}")
    refused("InvalidParameterCombination", ec2.create_route, **route, NatGatewayId=nat,
            GatewayId=gateway)
    other = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    elsewhere = ec2.create_route_table(VpcId=other)["RouteTable"]["RouteTableId"]
    refused("InvalidParameterValue", ec2.create_route,
            f"route table {elsewhere} and network gateway {nat} belong to different networks",
            **{**route, "RouteTableId": elsewhere}, NatGatewayId=nat)
    ec2.delete_route_table(RouteTableId=elsewhere)
    ec2.delete_vpc(VpcId=other)
    ec2.create_route(**route, GatewayId=gateway)
    refused("RouteAlreadyExists", ec2.create_route, **route, NatGatewayId=nat)
    ec2.replace_route(**route, NatGatewayId=nat)
    ec2.create_route(**route, NatGatewayId=nat)
    has(shown(table), NatGatewayId=nat, GatewayId=None, State="active", Origin="CreateRoute")
    for filters, count in ((by("route.nat-gateway-id", nat), 1),
                           (by("route.gateway-id", nat), 0)):
        found = ec2.describe_route_tables(Filters=filters)["RouteTables"]
        assert len(found) == count, filters
    return table


def shown(table):
    return ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"][1]


def private_one(subnet):
    made = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private",
                                  PrivateIpAddress="10.0.2.77")
    nat = made["NatGateway"]["NatGatewayId"]
    wait("nat_gateway_available", nat)
    shown = seen(nat)
    has(shown, ConnectivityType="private")
    has(shown["NatGatewayAddresses"][0], PrivateIp="10.0.2.77", PublicIp=None, AllocationId=None)
    return nat


def full_subnet(vpc):
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.3.0/28")["Subnet"]["SubnetId"]
    image = ec2.describe_images(Owners=["amazon"], Filters=[
        {"Name": "name", "Values": ["al2023-ami-2023*-x86_64"]}])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.nano", SubnetId=subnet, MinCount=11,
                             MaxCount=11)["Instances"]
    allocation, _ = allocate()
    fails(subnet, allocation, "InsufficientFreeAddressesInSubnet",
          "Subnet has insufficient free addresses to create this NAT gateway")
    ec2.release_address(AllocationId=allocation)
    instances = [instance["InstanceId"] for instance in made]
    ec2.terminate_instances(InstanceIds=instances)
    waiter = ec2.get_waiter("instance_terminated")
    waiter.config.delay = 0.5
    waiter.wait(InstanceIds=instances)
    ec2.delete_subnet(SubnetId=subnet)


def delete(nat, table, allocation, vpc, gateway, subnet):
    used = f"The subnet '{subnet}' has dependencies and cannot be deleted."
    refused("DependencyViolation", ec2.delete_subnet, used, SubnetId=subnet)
    mapped = (f"Network {vpc} has some mapped public address(es). Please unmap those public"
              " address(es) before detaching the gateway.")
    detach = {"InternetGatewayId": gateway, "VpcId": vpc}
    refused("DependencyViolation", ec2.detach_internet_gateway, mapped, **detach)
    refused("DryRunOperation", ec2.delete_nat_gateway, NatGatewayId=nat, DryRun=True)
    assert ec2.delete_nat_gateway(NatGatewayId=nat)["NatGatewayId"] == nat
    has(seen(nat), State="deleting")
    has(shown(table), State="blackhole")
    refused("InvalidNatGatewayID.NotFound", ec2.create_route, RouteTableId=table,
            DestinationCidrBlock="192.0.2.0/24", NatGatewayId=nat)
    refused("DependencyViolation", ec2.delete_subnet, used, SubnetId=subnet)
    refused("AuthFailure", ec2.release_address, AllocationId=allocation)
    wait("nat_gateway_deleted", nat)
    gone = seen(nat)
    has(gone, State="deleted")
    assert gone["DeleteTime"] >= gone["CreateTime"]
    assert gone["NatGatewayAddresses"][0]["AllocationId"] == allocation
    # The account keeps the address.
    kept = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
    assert "AssociationId" not in kept, kept
    ec2.release_address(AllocationId=allocation)
    ec2.detach_internet_gateway(**detach)


def main():
    vpc, gateway, public, private = network()
    nat, allocation, own = create(vpc, gateway, public)
    addresses(nat, allocation, own)
    described(nat, public, vpc)
    table = routes(nat, vpc, gateway, private)
    second = private_one(private)
    full_subnet(vpc)
    delete(nat, table, allocation, vpc, gateway, public)
    ec2.delete_nat_gateway(NatGatewayId=second)
    wait("nat_gateway_deleted", second)
    for subnet in (public, private):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_route_table(RouteTableId=table)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_vpc(VpcId=vpc)
    print("nat_gateways: ok")


main()
