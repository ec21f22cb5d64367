#!/usr/bin/env python3
"""Compares EC2's answers to bad requests with AWS's, with only the output of
`autorun cloud env`.

A row of the table is a request, and AWS's code and message. A comment above it says
where the words were seen, if they are not those of the API reference.
"""

import time
import urllib.error
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError

config = Config(parameter_validation=False, retries={"max_attempts": 1})
ec2 = boto3.client("ec2", config=config)
faults = []

NO_INSTANCE = "i-0123456789abcdef0"
NO_GROUP = "sg-0123456789abcdef0"
CHARACTERS = "strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"


def rows(have):
    """Yields a request and AWS's answer. `have` has the ids of what exists."""
    group, instance, image = have["group"], have["instance"], have["image"]
    one = {"InstanceIds": [NO_INSTANCE]}

    # Ids: malformed, unknown, several, empty.
    # cloud-custodian/tests/test_handleerror.py quotes the form for volumes.
    yield "DescribeVolumes", {"VolumeIds": ["vol-malformedvolume"]}, \
        'InvalidVolumeID.Malformed: Invalid id: "vol-malformedvolume"'
    yield "DescribeVolumes", {"VolumeIds": ["vol-0123456789abcdef0"]}, \
        "InvalidVolume.NotFound: The volume 'vol-0123456789abcdef0' does not exist."
    # gitlab-org/gitlab-runner quotes an empty id.
    for action in ("DescribeInstances", "StartInstances", "StopInstances", "TerminateInstances",
                   "RebootInstances", "DescribeInstanceStatus"):
        yield action, {"InstanceIds": [""]}, \
            'InvalidInstanceID.Malformed: Invalid id: "" (expecting "i-...")'
        yield action, {"InstanceIds": ["i-web"]}, 'InvalidInstanceID.Malformed: Invalid id: "i-web"'
        yield action, one, f"InvalidInstanceID.NotFound: The instance ID '{NO_INSTANCE}' does not exist"
        yield action, {"InstanceIds": [NO_INSTANCE, "i-00000000"]}, \
            f"InvalidInstanceID.NotFound: The instance IDs '{NO_INSTANCE}, i-00000000' do not exist"
    # gruntwork-io/cloud-nuke#731
    for action in ("StartInstances", "StopInstances", "TerminateInstances", "RebootInstances"):
        yield action, {"InstanceIds": []}, "InvalidParameterCombination: No instances specified"
    for action in ("GetConsoleOutput", "DescribeInstanceAttribute", "ModifyInstanceAttribute"):
        more = {"Attribute": "userData"} if action == "DescribeInstanceAttribute" else {}
        yield action, {"InstanceId": "x", **more}, \
            'InvalidInstanceID.Malformed: Invalid id: "x" (expecting "i-...")'
        yield action, {"InstanceId": NO_INSTANCE, **more}, \
            f"InvalidInstanceID.NotFound: The instance ID '{NO_INSTANCE}' does not exist"
        yield action, more, "MissingParameter: The request must contain the parameter InstanceId"
    # getmoto/moto, test_ami_describe_non_existent, verified on AWS.
    yield "DescribeImages", {"ImageIds": ["ami-abcd1234"]}, \
        "InvalidAMIID.NotFound: The image id '[ami-abcd1234]' does not exist"
    yield "DescribeImages", {"ImageIds": ["ami-abcd1234", "ami-1234abcd"]}, \
        "InvalidAMIID.NotFound: The image ids '[ami-abcd1234, ami-1234abcd]' do not exist"
    yield "DescribeImages", {"ImageIds": ["not_an_ami_id"]}, \
        'InvalidAMIID.Malformed: Invalid id: "not_an_ami_id" (expecting "ami-...")'
    yield "DescribeSubnets", {"SubnetIds": ["us-east-1a"]}, \
        "InvalidSubnetID.NotFound: The subnet ID 'us-east-1a' does not exist"
    yield "DescribeVpcs", {"VpcIds": ["vpc-00000000"]}, \
        "InvalidVpcID.NotFound: The vpc ID 'vpc-00000000' does not exist"
    yield "DescribeSecurityGroups", {"GroupIds": ["default"]}, \
        'InvalidGroupId.Malformed: Invalid id: "default" (expecting "sg-...")'
    yield "DescribeSecurityGroups", {"GroupIds": [NO_GROUP]}, \
        f"InvalidGroup.NotFound: The security group '{NO_GROUP}' does not exist"
    # getmoto/moto, test_invalid_security_group_id_in_rules_search, verified on AWS.
    yield "DescribeSecurityGroupRules", {"Filters": [{"Name": "group-id", "Values": ["foobar"]}]}, \
        "InvalidGroupId.Malformed: The security group ID 'foobar' is malformed"
    yield "DescribeSecurityGroupRules", {"SecurityGroupRuleIds": ["sgr-0f80c7e764c18b3c0"]}, \
        "InvalidSecurityGroupRuleId.NotFound: The security group rule ID " \
        "'sgr-0f80c7e764c18b3c0' does not exist"
    yield "DescribeKeyPairs", {"KeyNames": ["nosuch"]}, \
        "InvalidKeyPair.NotFound: The key pair 'nosuch' does not exist"

    # Key pairs: aws/aws-sdk-js#314, hashicorp/terraform-provider-tls#197.
    for material in (b"nonsense", b"", b"ssh-rsa AAAA", b"---- BEGIN SSH2 PUBLIC KEY ----\nsth"):
        yield "ImportKeyPair", {"KeyName": "bad", "PublicKeyMaterial": material}, \
            "InvalidKey.Format: Key is not in valid OpenSSH public key format"
    for name in ("schlüssel", "x" * 256, " x", "x\n"):
        yield "CreateKeyPair", {"KeyName": name}, "InvalidParameterValue: "
    yield "DeleteKeyPair", {}, "MissingParameter: The request must contain the parameter KeyName"

    # Zones and regions.
    yield "DescribeAvailabilityZones", {"ZoneNames": ["us-east-9z"]}, \
        "InvalidParameterValue: Invalid availability zone: [us-east-9z]"
    yield "DescribeInstanceTypes", {"InstanceTypes": ["t1.non_existent", "t3.micro"]}, \
        "InvalidInstanceType: The following supplied instance types do not exist: [t1.non_existent]"

    # Pages. aws/aws-sdk-ruby#2575, aws/aws-cli#1976.
    for action in ("DescribeInstances", "DescribeVolumes", "DescribeTags", "DescribeVpcs",
                   "DescribeInstanceTypes", "DescribeSecurityGroups"):
        yield action, {"MaxResults": 1}, "InvalidParameterValue: Value ( 1 ) for parameter " \
            "maxResults is invalid. Expecting a value greater than 5."
        yield action, {"MaxResults": 1001}, "InvalidParameterValue: "
        yield action, {"NextToken": "nonsense"}, "InvalidNextToken: The token 'nonsense' is invalid"
    for action in ("DescribeInstances", "DescribeInstanceStatus"):
        yield action, {"MaxResults": 5, **one}, "InvalidParameterCombination: The parameter " \
            "instancesSet cannot be used with the parameter maxResults"
    yield "DescribeVolumes", {"MaxResults": 5, "VolumeIds": ["vol-0123456789abcdef0"]}, \
        "InvalidParameterCombination: The parameter volumeSet cannot be used with the parameter maxResults"
    yield "DescribeVpcs", {"MaxResults": 5, "VpcIds": ["vpc-00000000"]}, \
        "InvalidParameterCombination: The parameter VpcIds cannot be used with the parameter MaxResults"

    # Filters. gjbae1212/gossm#35.
    for action in ("DescribeInstances", "DescribeVolumes", "DescribeKeyPairs", "DescribeRegions"):
        yield action, {"Filters": [{"Name": "spam", "Values": ["eggs"]}]}, \
            "InvalidParameterValue: The filter 'spam' is invalid"
        yield action, {"Filters": [{"Values": ["eggs"]}]}, \
            "InvalidParameterValue: The filter 'null' is invalid"
    yield "DescribeInstances", {"Filters": [{"Name": "instance-id", "Values": ["i-1"] * 201}]}, \
        "FilterLimitExceeded: The maximum number of filter values specified on a single call is 200"

    # Tags. getmoto/moto, test_tags.py; openstack/ec2-api quotes the lengths.
    tag = {"Tags": [{"Key": "a", "Value": "b"}]}
    for action in ("CreateTags", "DeleteTags"):
        yield action, tag, "MissingParameter: The request must contain the parameter resourceIdSet"
        yield action, {"Resources": ["blah-blah"], **tag}, "InvalidID: The ID 'blah-blah' is not valid"
        yield action, {"Resources": [NO_INSTANCE], **tag}, \
            f"InvalidInstanceID.NotFound: The instance ID '{NO_INSTANCE}' does not exist"
        yield action, {"Resources": [NO_GROUP], **tag}, \
            f"InvalidGroup.NotFound: The security group '{NO_GROUP}' does not exist"
    yield "CreateTags", {"Resources": [group]}, \
        "MissingParameter: The request must contain the parameter tagSet"
    many = [{"Key": f"k{n}", "Value": ""} for n in range(51)]
    for tags, message in [
        ([{"Key": "aws:x", "Value": ""}], "Tag keys starting with 'aws:' are reserved for internal use"),
        ([{"Key": "k" * 128, "Value": ""}], "Tag key exceeds the maximum length of 127 characters"),
        ([{"Key": "k", "Value": "v" * 257}], "Tag value exceeds the maximum length of 256 characters"),
        ([{"Key": "k"}], "Tag value cannot be null. Use empty string instead."),
        ([{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}], "Duplicate tag key 'k' specified."),
    ]:
        yield "CreateTags", {"Resources": [group], "Tags": tags}, f"InvalidParameterValue: {message}"
        specification = [{"ResourceType": "security-group", "Tags": tags}]
        yield "CreateSecurityGroup", {
            "GroupName": "tagged", "Description": "x", "TagSpecifications": specification,
        }, f"InvalidParameterValue: {message}"
    yield "CreateTags", {"Resources": [group], "Tags": many}, \
        "TagLimitExceeded: The maximum number of Tags for a resource has been reached."
    for specification, message in [
        ({"ResourceType": "volcano", **tag}, "'volcano' is not a valid taggable resource type for this operation."),
        ({"ResourceType": "security-group", "Tags": []}, "Tag specification must have at least one tag"),
        (tag, "Tag specification resource type must have a value"),
    ]:
        yield "CreateSecurityGroup", {
            "GroupName": "tagged", "Description": "x", "TagSpecifications": [specification],
        }, f"InvalidParameterValue: {message}"

    # Security groups: names, descriptions.
    for name, message in [
        ("sg-web", "Value (sg-web) for parameter GroupName is invalid. Group names may not be in the format sg-*."),
        ("default", "Cannot use reserved security group name: default"),
        ("wéb", "Value (wéb) for parameter GroupName is invalid. Character sets beyond ASCII are not supported."),
        ("x" * 256, ""),
        ("a|b", ""),
    ]:
        yield "CreateSecurityGroup", {"GroupName": name, "Description": "x"}, f"InvalidParameterValue: {message}"
    for text, message in [
        ("für", "Value (für) for parameter GroupDescription is invalid. Character sets beyond ASCII are not supported."),
        ("it's", f"Invalid security group description. Valid descriptions are {CHARACTERS}"),
        ("x" * 256, f"Invalid security group description. Valid descriptions are {CHARACTERS}"),
    ]:
        yield "CreateSecurityGroup", {"GroupName": "text", "Description": text}, f"InvalidParameterValue: {message}"
    yield "CreateSecurityGroup", {"GroupName": "text", "Description": ""}, \
        "MissingParameter: The request must contain the parameter GroupDescription"
    yield "CreateSecurityGroup", {"Description": "x"}, \
        "MissingParameter: The request must contain the parameter GroupName"
    yield "DeleteSecurityGroup", {}, "MissingParameter: The request must contain the parameter groupName or groupId"
    yield "DeleteSecurityGroup", {"GroupName": "nosuch"}, \
        f"InvalidGroup.NotFound: The security group 'nosuch' does not exist in default VPC '{have['vpc']}'"

    # Rules. getmoto/moto, test_modify_security_group_rules, verified on AWS, has the
    # words about protocols and ports.
    def rule(**more):
        permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
        permission = {name: value for name, value in {**permission, **more}.items() if value is not None}
        return {"GroupId": group, "IpPermissions": [permission]}

    for action in ("AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"):
        yield action, {"GroupId": "sg-123abcde", "IpPermissions": [{}]}, \
            "InvalidGroup.NotFound: The security group 'sg-123abcde' does not exist"
        yield action, {"GroupId": group}, "MissingParameter: The request must contain the parameter ipPermissions"
        yield action, rule(IpProtocol=None), "InvalidParameterValue: Invalid value 'null' for protocol. " \
            "VPC security group rules must specify protocols explicitly."
        yield action, rule(IpProtocol="spam"), "InvalidParameterValue: Invalid value 'spam' for protocol. " \
            "VPC security group rules must specify protocols explicitly."
        yield action, rule(FromPort=None), "InvalidParameterValue: Invalid value for portRange. " \
            "Must specify both from and to ports with TCP/UDP."
        yield action, rule(ToPort=70000), "InvalidParameterValue: "
        yield action, rule(ToPort=21), "InvalidParameterValue: "
        yield action, rule(IpRanges=[{"CidrIp": "10.0.0.0"}]), "InvalidParameterValue: CIDR block 10.0.0.0 is malformed"
        for text in ("it's", "für", "x" * 256):
            yield action, rule(IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": text}]), \
                f"InvalidParameterValue: Invalid rule description. Valid descriptions are {CHARACTERS}"
        yield action, rule(IpRanges=[{"CidrIp": "10.0.0.0/8"}] * 2), \
            "InvalidParameterValue: The same permission must not appear multiple times"
        yield action, rule(IpRanges=[{"CidrIp": f"10.0.{n}.0/24"} for n in range(61)]), \
            "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached."
    for action in ("RevokeSecurityGroupIngress", "RevokeSecurityGroupEgress"):
        yield action, rule(), "InvalidPermission.NotFound: " \
            "The specified rule does not exist in this security group."
        yield action, {"GroupId": "sg-123abcde"}, \
            "InvalidGroup.NotFound: The security group 'sg-123abcde' does not exist"
        yield action, {"GroupId": group, "SecurityGroupRuleIds": ["sgr-0f80c7e764c18b3c0"]}, \
            "InvalidSecurityGroupRuleId.NotFound: The security group rule ID " \
            "'sgr-0f80c7e764c18b3c0' does not exist"

    # Launches.
    launch = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    for more, answer in [
        ({"ImageId": None}, "MissingParameter: The request must contain the parameter ImageId"),
        ({"ImageId": "ami-blah"}, 'InvalidAMIID.Malformed: Invalid id: "ami-blah"'),
        ({"InstanceType": "t9.huge"}, "InvalidParameterValue: Invalid value 't9.huge' for InstanceType."),
        ({"KeyName": "nosuch"}, "InvalidKeyPair.NotFound: The key pair 'nosuch' does not exist"),
        ({"SecurityGroupIds": [NO_GROUP]}, f"InvalidGroup.NotFound: The security group '{NO_GROUP}' does not exist"),
        ({"SecurityGroupIds": [""]}, "InvalidParameterValue: Value () for parameter groupId is invalid. "
                                     "The value cannot be empty"),
        ({"SubnetId": "subnet-00000000"}, "InvalidSubnetID.NotFound: The subnet ID 'subnet-00000000' does not exist"),
        ({"Placement": {"AvailabilityZone": "us-west-2z"}},
         "InvalidParameterValue: Invalid availability zone: [us-west-2z]"),
        ({"MinCount": 0}, "InvalidParameterValue: "),
        ({"MinCount": 2}, "InvalidParameterValue: "),
        ({"MinCount": "many"}, "InvalidParameterValue: "),
        ({"UserData": "x" * 16385}, "InvalidParameterValue: User data is limited to 16384 bytes"),
        ({"UserData": "x" * 20000}, "InvalidParameterValue: Encoded User data is limited to 25600 bytes"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue: "),
        ({"SubnetId": have["subnet"], "NetworkInterfaces": [{"DeviceIndex": 0}]},
         "InvalidParameterCombination: Network interfaces and an instance-level subnet ID may not "
         "be specified on the same request"),
        ({"SecurityGroupIds": [group], "NetworkInterfaces": [{"DeviceIndex": 0}]},
         "InvalidParameterCombination: Network interfaces and an instance-level security groups may "
         "not be specified on the same request"),
    ]:
        yield "RunInstances", {**launch, **more}, answer
    yield "RunInstances", {**launch, "DryRun": True}, \
        "DryRunOperation: Request would have succeeded, but DryRun flag is set."
    yield "DescribeInstances", {"DryRun": True}, \
        "DryRunOperation: Request would have succeeded, but DryRun flag is set."

    # States. cloud-custodian/cloud-custodian, tests/test_ec2.py.
    yield "StartInstances", {"InstanceIds": [instance]}, "IncorrectInstanceState: The instance " \
        f"'{instance}' is not in a state from which it can be started."
    yield "StopInstances", {"InstanceIds": [instance]}, "IncorrectInstanceState: This instance " \
        f"'{instance}' is not in a state from which it can be stopped."
    yield "ModifyInstanceAttribute", {"InstanceId": instance, "InstanceType": {"Value": "t3.small"}}, \
        f"IncorrectInstanceState: The instance '{instance}' is not in the 'stopped' state."
    yield "DescribeInstanceAttribute", {"InstanceId": instance, "Attribute": "unknown"}, \
        "InvalidParameterValue: Value (unknown) for parameter attribute is invalid. Unknown attribute."


def snake(action):
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in action).lstrip("_")


def check(action, arguments, wanted):
    arguments = {name: value for name, value in arguments.items() if value is not None}
    try:
        getattr(ec2, snake(action))(**arguments)
        faults.append(f"{action} {arguments}: was accepted, wanted {wanted}")
        return
    except ClientError as error:
        found = error.response
    answer = f"{found['Error']['Code']}: {found['Error']['Message']}"
    status = found["ResponseMetadata"]["HTTPStatusCode"]
    fits = answer.startswith(wanted) if wanted.endswith(": ") else answer == wanted
    if not fits or status != (412 if wanted.startswith("DryRun") else 400):
        faults.append(f"{action} {str(arguments)[:200]}:\n    {status} {answer}\n    wanted {wanted}")
    if not found["ResponseMetadata"].get("RequestId"):
        faults.append(f"{action}: the answer has no request id")


def raw(method, query):
    """Sends a query as it is. Returns the status and the error document."""
    url = ec2.meta.endpoint_url + "/"
    request = AWSRequest(method, url + ("?" + query if method == "GET" else ""), data=query if method == "POST" else "")
    if method == "POST":
        request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    SigV4Auth(boto3.Session().get_credentials(), "ec2", ec2.meta.region_name).add_auth(request)
    sent = urllib.request.Request(url + ("?" + query if method == "GET" else ""), method=method,
                                  data=query.encode() if method == "POST" else None,
                                  headers=dict(request.headers.items()))
    try:
        with urllib.request.urlopen(sent, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def protocol():
    """What botocore does not send: other versions, actions and wrong types."""
    version = "Version=2016-11-15"
    for query, wanted in [
        (f"Action=NoSuchAction&{version}", "<Code>InvalidAction</Code><Message>The action NoSuchAction is not valid"),
        (version, "<Code>MissingAction</Code>"),
        ("Action=DescribeRegions", "<Code>MissingParameter</Code>"),
        ("Action=DescribeRegions&Version=1999-01-01", "<Code>NoSuchVersion</Code>"),
        (f"Action=DescribeRegions&DryRun=perhaps&{version}", "<Code>InvalidParameterValue</Code>"),
        (f"Action=DescribeVpcs&MaxResults=many&{version}", "<Code>InvalidParameterValue</Code>"),
        (f"Action=DescribeVpcs&Unknown=1&{version}", "<Code>UnknownParameter</Code>"),
    ]:
        for method in ("GET", "POST"):
            status, document = raw(method, query)
            form = document.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>')
            end = document.endswith("</RequestID></Response>") and "</Error></Errors><RequestID>" in document
            if status != 400 or wanted not in document or not form or not end:
                faults.append(f"{method} {query}: {status} {document}")
    for method in ("GET", "POST"):
        status, document = raw(method, f"Action=DescribeRegions&{version}")
        if status != 200 or "<regionName>eu-west-1</regionName>" not in document:
            faults.append(f"{method}: {status} {document}")


def main():
    image = ec2.describe_images(Owners=["amazon"], Filters=[
        {"Name": "name", "Values": ["al2023-ami-2023*"]}, {"Name": "architecture", "Values": ["x86_64"]},
    ])["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="errors", Description="of a test")["GroupId"]
    instance = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    instance = instance["Instances"][0]["InstanceId"]
    time.sleep(0.1)  # new resources may not be visible yet, as on AWS
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    have = {
        "group": group, "instance": instance, "image": image,
        "subnet": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        "vpc": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
    }
    number = 0
    for number, row in enumerate(rows(have), 1):
        check(*row)
    protocol()
    ec2.delete_security_group(GroupId=group)
    assert not faults, f"{len(faults)} of {number} rows:\n" + "\n".join(faults)
    print(f"ec2_errors: {number} rows ok")


main()
