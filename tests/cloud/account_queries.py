#!/usr/bin/env python3
"""Asks the local cloud with boto3 for what clients look up: settings of the account,
kinds of resources that it has none of, DHCP options, uses of groups, and what an
instance without Windows has. Needs the output of `autorun cloud env`. Reports a
difference to AWS and exits with 1.
"""

import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# The cloud checks the requests, not boto3.
ec2 = boto3.client("ec2", config=Config(parameter_validation=False))
ACCOUNT = boto3.client("sts").get_caller_identity()["Account"]
IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
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


def own(answer):
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def settings():
    for call, expected in [
        (ec2.get_ebs_encryption_by_default, {"EbsEncryptionByDefault": False}),
        (ec2.get_ebs_default_kms_key_id, {"KmsKeyId": "alias/aws/ebs"}),
        (ec2.get_serial_console_access_status,
         {"SerialConsoleAccessEnabled": False, "ManagedBy": "account"}),
        (ec2.get_snapshot_block_public_access_state,
         {"State": "unblocked", "ManagedBy": "account"}),
        (ec2.get_image_block_public_access_state,
         {"ImageBlockPublicAccessState": "block-new-sharing", "ManagedBy": "account"}),
        (ec2.get_instance_metadata_defaults, {"AccountLevel": {"ManagedBy": "account"}}),
    ]:
        assert own(call()) == expected, (call.__name__, call())
    options = ec2.describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]
    assert options["InternetGatewayBlockMode"] == "off", options
    assert options["AwsAccountId"] == ACCOUNT and options["State"] == "default-state", options
    attributes = {
        one["AttributeName"]: [each["AttributeValue"] for each in one["AttributeValues"]]
        for one in ec2.describe_account_attributes()["AccountAttributes"]
    }
    assert attributes["max-elastic-ips"] == attributes["vpc-max-elastic-ips"] == ["5"], attributes
    assert attributes["supported-platforms"] == ["VPC"], attributes
    one = ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"]
    assert [each["AttributeName"] for each in one] == ["default-vpc"], one


def none():
    """The lists are empty, and an id is not found."""
    for call, name, ids, code, message in [
        (ec2.describe_vpc_endpoints, "VpcEndpoints", {"VpcEndpointIds": [f"vpce-{NOWHERE}"]},
         "InvalidVpcEndpointId.NotFound", f"The Vpc Endpoint Id 'vpce-{NOWHERE}' does not exist"),
        (ec2.describe_vpc_peering_connections, "VpcPeeringConnections",
         {"VpcPeeringConnectionIds": [f"pcx-{NOWHERE}"]},
         "InvalidVpcPeeringConnectionID.NotFound",
         f"The vpcPeeringConnection ID 'pcx-{NOWHERE}' does not exist"),
        (ec2.describe_vpn_gateways, "VpnGateways", {"VpnGatewayIds": [f"vgw-{NOWHERE}"]},
         "InvalidVpnGatewayID.NotFound", f"The vpnGateway ID 'vgw-{NOWHERE}' does not exist"),
        (ec2.describe_transit_gateways, "TransitGateways",
         {"TransitGatewayIds": [f"tgw-{NOWHERE}"]}, "InvalidTransitGatewayID.NotFound",
         f"Transit Gateway tgw-{NOWHERE} was deleted or does not exist."),
        (ec2.describe_launch_templates, "LaunchTemplates", {"LaunchTemplateNames": ["web"]},
         "InvalidLaunchTemplateName.NotFoundException",
         "At least one of the launch templates specified in the request does not exist."),
        (ec2.describe_launch_templates, "LaunchTemplates",
         {"LaunchTemplateIds": [f"lt-{NOWHERE}"]}, "InvalidLaunchTemplateId.NotFound",
         f"The specified launch template, with template ID lt-{NOWHERE}, does not exist."),
        (ec2.describe_placement_groups, "PlacementGroups", {"GroupNames": ["web"]},
         "InvalidPlacementGroup.Unknown", "The Placement Group 'web' is unknown."),
        (ec2.describe_spot_instance_requests, "SpotInstanceRequests",
         {"SpotInstanceRequestIds": ["sir-12345678"]}, "InvalidSpotInstanceRequestID.NotFound",
         "The spot instance request ID 'sir-12345678' does not exist"),
    ]:
        assert own(call()) == {name: []}, call.__name__
        refused(code, call, message, **ids)
        refused("InvalidParameterValue", call, "The filter 'spam' is invalid",
                Filters=[{"Name": "spam", "Values": ["x"]}])
    assert own(ec2.describe_vpc_endpoints(
        Filters=[{"Name": "vpc-id", "Values": ["*"]}])) == {"VpcEndpoints": []}
    assert own(ec2.describe_flow_logs()) == {"FlowLogs": []}
    refused("InvalidParameterValue", ec2.describe_vpc_peering_connections, MaxResults=4)
    refused("InvalidNextToken", ec2.describe_vpc_endpoints, NextToken="x")
    refused("DryRunOperation", ec2.describe_customer_gateways, DryRun=True)


def dhcp_options():
    for region, domain in [("us-east-1", "ec2.internal"), ("eu-west-1", "eu-west-1.compute.internal")]:
        here = boto3.client("ec2", region_name=region)
        (options,) = here.describe_dhcp_options()["DhcpOptions"]
        assert options == {
            "DhcpOptionsId": options["DhcpOptionsId"], "OwnerId": ACCOUNT, "Tags": [],
            "DhcpConfigurations": [
                {"Key": "domain-name", "Values": [{"Value": domain}]},
                {"Key": "domain-name-servers", "Values": [{"Value": "AmazonProvidedDNS"}]},
            ],
        }, options
        for vpc in here.describe_vpcs()["Vpcs"]:
            assert vpc["DhcpOptionsId"] == options["DhcpOptionsId"], vpc
    identifier = options["DhcpOptionsId"]
    for name, value, number in [("dhcp-options-id", identifier, 1), ("key", "domain-name", 1),
                                ("value", "Amazon*", 1), ("value", "example.com", 0)]:
        found = ec2.describe_dhcp_options(Filters=[{"Name": name, "Values": [value]}])
        assert len(found["DhcpOptions"]) == number, (name, value)
    assert ec2.describe_vpcs(
        Filters=[{"Name": "dhcp-options-id", "Values": [identifier]}])["Vpcs"], identifier
    refused("InvalidDhcpOptionID.NotFound", ec2.describe_dhcp_options,
            f"The dhcpOption ID 'dopt-{NOWHERE}' does not exist", DhcpOptionsIds=[f"dopt-{NOWHERE}"])


def groups():
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    here = {"VpcId": vpc["VpcId"]}
    group = ec2.create_security_group(GroupName="uses", Description="of a test")["GroupId"]
    time.sleep(0.05)  # a new group is not visible at once, as on AWS
    only = [{"Name": "group-name", "Values": ["uses"]}]
    (found,) = ec2.get_security_groups_for_vpc(**here, Filters=only)["SecurityGroupForVpcs"]
    assert found == {
        "Description": "of a test", "GroupName": "uses", "OwnerId": ACCOUNT, "GroupId": group,
        "Tags": [], "PrimaryVpcId": vpc["VpcId"],
    }, found
    refused("InvalidVpcID.NotFound", ec2.get_security_groups_for_vpc, VpcId=f"vpc-{NOWHERE}")
    assert ec2.describe_security_group_references(GroupId=[group])["SecurityGroupReferenceSet"] == []
    refused("InvalidGroup.NotFound", ec2.describe_security_group_references, GroupId=[f"sg-{NOWHERE}"])
    refused("MissingParameter", ec2.describe_security_group_references, GroupId=[])
    assert ec2.describe_stale_security_groups(**here)["StaleSecurityGroupSet"] == []
    refused("InvalidVpcID.NotFound", ec2.describe_stale_security_groups, VpcId=f"vpc-{NOWHERE}")
    ec2.delete_security_group(GroupId=group)


def instance():
    made = ec2.run_instances(ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    here = made["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[here], WaiterConfig={"Delay": 1})
    password = ec2.get_password_data(InstanceId=here)
    assert (password["InstanceId"], password["PasswordData"]) == (here, ""), password
    refused("InvalidInstanceID.NotFound", ec2.get_password_data, InstanceId=f"i-{NOWHERE}")
    ec2.reset_instance_attribute(InstanceId=here, Attribute="sourceDestCheck")
    refused("UnsupportedOperation", ec2.reset_instance_attribute, InstanceId=here, Attribute="kernel")
    refused("InvalidParameterValue", ec2.reset_instance_attribute, InstanceId=here, Attribute="spam")
    report = {"Instances": [here], "Status": "impaired", "ReasonCodes": ["unresponsive"]}
    ec2.report_instance_status(**report, Description="of a test")
    refused("InvalidParameterValue", ec2.report_instance_status, **{**report, "Status": "bad"})
    refused("InvalidParameterValue", ec2.report_instance_status, **{**report, "ReasonCodes": ["x"]})
    (status,) = ec2.describe_instance_status(InstanceIds=[here])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "ok", status
    ec2.terminate_instances(InstanceIds=[here])


def main():
    settings()
    none()
    dhcp_options()
    groups()
    instance()
    print("account_queries: ok")


if __name__ == "__main__":
    main()
