#!/usr/bin/env python3
"""Uses boto3 and ssh on the local cloud with only the output of `autorun cloud env`.

Usage: ec2_clients.py BUCKET_PREFIX. Reports a difference to AWS and exits with 1.
"""

import base64
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")
ssm = boto3.client("ssm")


def refused(code, call, **arguments):
    """Asserts that the call fails with this code."""
    try:
        call(**arguments)
    except ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == code, f"{got} instead of {code}: {error}"
        return error.response
    raise AssertionError(f"{call.__name__} was not refused with {code}")


def visible(call, **arguments):
    """Retries a call until a new resource is visible, as on AWS. Returns the response."""
    for pause in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32):
        try:
            return call(**arguments)
        except ClientError as error:
            if not error.response["Error"]["Code"].endswith(".NotFound"):
                raise
            time.sleep(pause)
    return call(**arguments)


def only_instance(**arguments):
    found = visible(ec2.describe_instances, **arguments)["Reservations"]
    if not found and "Filters" in arguments:
        time.sleep(0.1)  # a new instance may not be visible yet
        found = ec2.describe_instances(**arguments)["Reservations"]
    assert len(found) == 1 and len(found[0]["Instances"]) == 1, found
    return found[0]["Instances"][0]


def wait_for(instance, state):
    for _ in range(600):
        if only_instance(InstanceIds=[instance])["State"]["Name"] == state:
            return only_instance(InstanceIds=[instance])
        time.sleep(0.05)
    raise AssertionError(f"{instance} does not become {state}")


def identity():
    caller = boto3.client("sts").get_caller_identity()
    assert caller["Account"].isdigit() and len(caller["Account"]) == 12, caller
    regions = [r["RegionName"] for r in ec2.describe_regions()["Regions"]]
    assert "eu-central-1" in regions and len(regions) > 10
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert zones[0]["ZoneName"].startswith(zones[0]["RegionName"])
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
    subnet = ec2.describe_subnets(
        Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    )["Subnets"][0]
    assert subnet["DefaultForAz"] and subnet["AvailableIpAddressCount"] > 0
    key = os.environ["AWS_ACCESS_KEY_ID"]
    wrong = boto3.client("ec2", aws_access_key_id=key, aws_secret_access_key="wrong")
    refused("SignatureDoesNotMatch", wrong.describe_regions)
    wrong = boto3.client("ec2", aws_access_key_id="AKIAWRONG", aws_secret_access_key="wrong")
    assert refused("AuthFailure", wrong.describe_regions)["ResponseMetadata"]["HTTPStatusCode"] == 401


def internet_gateway():
    vpc = ec2.describe_vpcs()["Vpcs"][0]
    gateways = ec2.describe_internet_gateways()["InternetGateways"]
    gateway = gateways[0]["InternetGatewayId"]
    assert gateway.startswith("igw-") and gateways == [{
        "Attachments": [{"State": "available", "VpcId": vpc["VpcId"]}],
        "InternetGatewayId": gateway,
        "OwnerId": vpc["OwnerId"],
        "Tags": [],
    }], gateways
    assert ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"] == gateways
    for name, value, other in [
        ("attachment.vpc-id", vpc["VpcId"], "vpc-0123456789abcdef0"),
        ("attachment.state", "available", "attached"),
        ("internet-gateway-id", gateway, "igw-0123456789abcdef0"),
        ("owner-id", vpc["OwnerId"], "000000000000"),
    ]:
        for wanted, found in [(value, gateways), (other, [])]:
            answer = ec2.describe_internet_gateways(Filters=[{"Name": name, "Values": [wanted]}])
            assert answer["InternetGateways"] == found, f"{name}={wanted}: {answer}"
    tagged = [{"Name": "tag:Name", "Values": ["*"]}]
    assert not ec2.describe_internet_gateways(Filters=tagged)["InternetGateways"]
    missing = refused(
        "InvalidInternetGatewayID.NotFound",
        ec2.describe_internet_gateways, InternetGatewayIds=[gateway, "igw-0123456789abcdef0"],
    )
    message = missing["Error"]["Message"]
    assert message == "The internetGateway ID 'igw-0123456789abcdef0' does not exist", message
    refused(
        "InvalidInternetGatewayId.Malformed",
        ec2.describe_internet_gateways, InternetGatewayIds=["web"],
    )
    refused(
        "InvalidParameterValue",
        ec2.describe_internet_gateways, Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}],
    )


def images():
    found = ec2.describe_images(
        Owners=["amazon"],
        Filters=[
            {"Name": "name", "Values": ["al2023-ami-2023*"]},
            {"Name": "architecture", "Values": ["x86_64"]},
        ],
    )["Images"]
    newest = max(found, key=lambda image: image["CreationDate"])
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=["ami-0123456789abcdef0"])
    refused("InvalidAMIID.Malformed", ec2.describe_images, ImageIds=["ami-x"])
    free = ec2.describe_instance_types(
        Filters=[{"Name": "free-tier-eligible", "Values": ["true"]}]
    )["InstanceTypes"]
    assert sorted(known["InstanceType"] for known in free) == [
        "c7i-flex.large", "m7i-flex.large", "t3.micro", "t3.small", "t4g.micro", "t4g.small",
    ]
    refused("InvalidInstanceType", ec2.describe_instance_types, InstanceTypes=["t9.huge"])
    publishers(newest)
    return newest["ImageId"]


def publishers(newest):
    """The images of other publishers, and the public parameters that name images."""
    canonical = ec2.describe_images(
        Owners=["099720109477"],
        Filters=[{"Name": "name", "Values": ["ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-*"]}],
    )["Images"]
    assert len(canonical) == 2, canonical
    every = ec2.describe_images(
        Owners=["099720109477"], IncludeDeprecated=True,
        Filters=[{"Name": "name", "Values": ["ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-*"]}],
    )["Images"]
    (old,) = [image for image in every if "DeprecationTime" in image]
    assert len(every) == 3 and old["DeprecationTime"] == "2025-09-05T00:00:00.000Z", every
    by_id = ec2.describe_images(ImageIds=[old["ImageId"]])["Images"]
    assert by_id == [old], "a deprecated image is described if its id is given"
    assert canonical[0]["RootDeviceName"] == "/dev/sda1" and "ImageOwnerAlias" not in canonical[0]
    assert canonical[0]["ImageLocation"].startswith("099720109477/ubuntu/images/")

    default = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    parameter = ssm.get_parameter(Name=default)["Parameter"]
    named = ec2.describe_images(ImageIds=[parameter["Value"]])["Images"][0]
    assert named["Name"] == "al2023-ami-2023.12.20260930.0-kernel-6.18-x86_64", named
    assert named["CreationDate"] == newest["CreationDate"]
    assert parameter["ARN"].endswith("::parameter" + default) and parameter["Type"] == "String"
    several = ssm.get_parameters(Names=[default, "/aws/service/nosuch"])
    assert several["InvalidParameters"] == ["/aws/service/nosuch"], several
    assert [one["Value"] for one in several["Parameters"]] == [parameter["Value"]]
    refused("ParameterNotFound", ssm.get_parameter, Name="/aws/service/nosuch")


def credits(image):
    """Burstable instances have a credit option, which EC2 does not invent for others."""
    launch = {"ImageId": image, "MinCount": 1, "MaxCount": 1}
    ids = []
    for instance_type, wanted, option in [
        ("t3.micro", "standard", "standard"), ("t3.micro", None, "unlimited"),
        ("t2.micro", None, "standard"), ("m5.large", None, None),
    ]:
        more = {"CreditSpecification": {"CpuCredits": wanted}} if wanted else {}
        made = ec2.run_instances(**launch, **more, InstanceType=instance_type)["Instances"][0]
        ids.append(made["InstanceId"])
        found = visible(ec2.describe_instance_credit_specifications, InstanceIds=ids[-1:])
        found = [one["CpuCredits"] for one in found["InstanceCreditSpecifications"]]
        assert found == ([option] if option else []), (instance_type, found)
    all_of_them = ec2.describe_instance_credit_specifications()["InstanceCreditSpecifications"]
    unlimited = [one["InstanceId"] for one in all_of_them]
    assert [made for made in ids if made in unlimited] == [ids[1]], all_of_them
    specification = {"CreditSpecification": {"CpuCredits": "standard"}}
    refused(
        "InstanceCreditSpecification.NotSupported",
        ec2.run_instances, **launch, InstanceType="m5.large", **specification,
    )
    specification["CreditSpecification"]["CpuCredits"] = "much"
    refused("InvalidParameterValue", ec2.run_instances, **launch, InstanceType="t3.nano", **specification)
    ec2.terminate_instances(InstanceIds=ids)


def default_vpc():
    """The account of a client without a run has a default VPC."""
    refused("DefaultVpcAlreadyExists", ec2.create_default_vpc)
    zone = ec2.describe_subnets()["Subnets"][0]["AvailabilityZone"]
    refused(
        "DefaultSubnetAlreadyExistsInAvailabilityZone",
        ec2.create_default_subnet, AvailabilityZone=zone,
    )
    refused("InvalidParameterValue", ec2.create_default_subnet, AvailabilityZone=zone[:-1] + "z")


def key_pair(directory):
    made = ec2.create_key_pair(KeyName="clients", TagSpecifications=[
        {"ResourceType": "key-pair", "Tags": [{"Key": "team", "Value": "web"}]},
    ])
    file = directory / "key.pem"
    file.touch(mode=0o600)
    file.write_text(made["KeyMaterial"])
    refused("InvalidKeyPair.Duplicate", ec2.create_key_pair, KeyName="clients")
    kept = visible(ec2.describe_key_pairs, KeyNames=["clients"], IncludePublicKey=True)["KeyPairs"][0]
    derived = subprocess.run(["ssh-keygen", "-y", "-f", file], check=True, capture_output=True, text=True)
    assert derived.stdout.split()[1] == kept["PublicKey"].split()[1]
    assert kept["KeyPairId"] == made["KeyPairId"] and kept["Tags"][0]["Value"] == "web"
    refused("InvalidKeyPair.NotFound", ec2.describe_key_pairs, KeyNames=["nosuch"])
    refused("InvalidKey.Format", ec2.import_key_pair, KeyName="bad", PublicKeyMaterial=b"nonsense")
    return file


def security_group():
    group = ec2.create_security_group(GroupName="clients", Description="of a test")["GroupId"]
    refused("InvalidGroup.Duplicate", ec2.create_security_group, GroupName="clients", Description="x")
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    made = visible(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[ssh])
    assert made["SecurityGroupRules"][0]["FromPort"] == 22
    refused(
        "InvalidPermission.Duplicate",
        ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[ssh],
    )
    refused(
        "InvalidParameterValue",
        ec2.authorize_security_group_ingress,
        GroupId=group, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="everyone",
    )
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert shown["IpPermissions"][0]["IpRanges"][0]["CidrIp"] == "0.0.0.0/0", shown
    assert shown["IpPermissionsEgress"][0]["IpProtocol"] == "-1", shown
    refused("InvalidGroup.NotFound", ec2.describe_security_groups, GroupIds=["sg-0123456789abcdef0"])
    change_rules(group)
    return group


def change_rules(group):
    """Changes rules, which keep their ids. Ansible changes descriptions in this way."""
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    named = lambda text: {**ssh, "IpRanges": [{"CidrIp": "0.0.0.0/0", **({"Description": text} if text else {})}]}

    def rule(egress=False):
        found = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
        rules = [r for r in found["SecurityGroupRules"] if r["IsEgress"] == egress]
        assert len(rules) == 1, rules
        return rules[0]

    before = rule()
    ingress = ec2.update_security_group_rule_descriptions_ingress
    assert ingress(GroupId=group, IpPermissions=[named("the office")])["Return"] is True
    assert rule() == {**before, "Description": "the office"}, rule()
    by_id = {"SecurityGroupRuleId": before["SecurityGroupRuleId"], "Description": "home"}
    ingress(GroupName="clients", SecurityGroupRuleDescriptions=[by_id])
    assert rule() == {**before, "Description": "home"}, rule()
    ingress(GroupId=group, IpPermissions=[named(None)])
    assert rule() == before, rule()
    other = {**ssh, "ToPort": 23, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    refused("InvalidPermission.NotFound", ingress, GroupId=group, IpPermissions=[other])
    refused("InvalidParameterValue", ingress, GroupId=group, IpPermissions=[named("x" * 256)])
    refused("MissingParameter", ingress, GroupId=group)
    unknown = {"SecurityGroupRuleId": "sgr-0123456789abcdef0", "Description": "x"}
    refused("InvalidSecurityGroupRuleId.NotFound", ingress, GroupId=group, SecurityGroupRuleDescriptions=[unknown])
    out = {"SecurityGroupRuleId": rule(True)["SecurityGroupRuleId"], "Description": "all"}
    ec2.update_security_group_rule_descriptions_egress(GroupId=group, SecurityGroupRuleDescriptions=[out])
    assert rule(True)["Description"] == "all", rule(True)

    def modify(rule_id=before["SecurityGroupRuleId"], **fields):
        update = {"SecurityGroupRuleId": rule_id, "SecurityGroupRule": fields}
        return ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[update])

    assert modify(IpProtocol="tcp", FromPort=80, ToPort=81, CidrIpv4="10.0.0.0/8", Description="web")["Return"] is True
    changed = {"FromPort": 80, "ToPort": 81, "CidrIpv4": "10.0.0.0/8", "Description": "web"}
    assert rule() == {**before, **changed}, rule()
    refused("InvalidParameterValue", modify, IpProtocol="tcp", FromPort=1, ToPort=1, CidrIpv6="::/0")
    refused("InvalidParameterValue", modify, IpProtocol="tcp", FromPort=1, ToPort=1)
    missing = {"rule_id": unknown["SecurityGroupRuleId"], "IpProtocol": "-1", "CidrIpv4": "10.0.0.0/8"}
    refused("InvalidSecurityGroupRuleId.NotFound", modify, **missing)
    modify(**ssh, CidrIpv4="0.0.0.0/0")
    assert rule() == before, rule()


def launch(image, group):
    user_data = "#!/bin/sh\necho hello from the user data\nprintf done >/var/tmp/done\n"
    arguments = {
        "ImageId": image, "InstanceType": "t3.micro", "KeyName": "clients",
        "MinCount": 1, "MaxCount": 1, "SecurityGroupIds": [group], "UserData": user_data,
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "clients"}]},
        ],
        "MetadataOptions": {"HttpTokens": "required"},
    }
    try:
        ec2.run_instances(**arguments, DryRun=True)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "DryRunOperation", error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    token = {"ClientToken": f"clients-{os.getpid()}"}
    first = ec2.run_instances(**arguments, **token)["Instances"][0]
    again = ec2.run_instances(**arguments, **token)["Instances"][0]
    assert first["InstanceId"] == again["InstanceId"], "the same token returns the same instance"
    refused(
        "IdempotentParameterMismatch",
        ec2.run_instances, **{**arguments, "InstanceType": "t3.small"}, **token,
    )
    refused("InvalidParameterValue", ec2.run_instances, **{**arguments, "UserData": "x" * 16385})
    refused("InvalidKeyPair.NotFound", ec2.run_instances, **{**arguments, "KeyName": "nosuch"})
    refused("InvalidAMIID.NotFound", ec2.run_instances, **{**arguments, "ImageId": "ami-0123456789abcdef0"})
    refused(
        "UnsupportedHibernationConfiguration",
        ec2.run_instances, **arguments, HibernationOptions={"Configured": True},
    )
    found = only_instance(Filters=[{"Name": "client-token", "Values": [token["ClientToken"]]}])
    assert found["InstanceId"] == first["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[first["InstanceId"]])
    return wait_for(first["InstanceId"], "running")


def ssh(key, address, command):
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    command = ["ssh", "-i", key, *(word for o in options for word in ("-o", o)), f"ec2-user@{address}", command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done}"
    return done.stdout


def inside(instance, key):
    address = instance["PublicIpAddress"]
    assert ssh(key, address, "cloud-init status --wait").endswith("status: done\n")
    assert ssh(key, address, "cat /var/tmp/done; id -un; sudo -n id -un") == "doneec2-user\nroot\n"
    token = "$(curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)"
    ask = "curl -sS -w ' %{http_code}' http://169.254.169.254/latest/meta-data/instance-id"
    assert ssh(key, address, ask).endswith(" 401"), "a request without a token must fail"
    with_token = f"{ask} -H \"X-aws-ec2-metadata-token: {token}\""
    assert ssh(key, address, with_token) == f"{instance['InstanceId']} 200"
    shown = {
        "ami-launch-index": str(instance["AmiLaunchIndex"]),
        "block-device-mapping/root": instance["RootDeviceName"],
        "placement/availability-zone": instance["Placement"]["AvailabilityZone"],
        "events/maintenance/scheduled": "[]",
        f"network/interfaces/macs/{instance['NetworkInterfaces'][0]['MacAddress']}/ipv4-associations/{address}":
            instance["PrivateIpAddress"],
    }
    ask = f"t={token}; for path in {' '.join(shown)}; do curl -sS -H \"X-aws-ec2-metadata-token: $t\" " \
        "http://169.254.169.254/latest/meta-data/$path; echo; done"
    assert ssh(key, address, ask).splitlines() == list(shown.values())
    ask = "curl -sS -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/api/token"
    assert ssh(key, address, ask) == "405", "a token is requested by PUT"
    console = ec2.get_console_output(InstanceId=instance["InstanceId"], Latest=True)["Output"]
    assert "SSH HOST KEY FINGERPRINTS" in console and "hello from the user data" in console, console
    scan = subprocess.run(["ssh-keyscan", "-t", "ed25519", address], capture_output=True, check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=scan.stdout, capture_output=True, check=True)
    assert shown.stdout.split()[1].decode() in console, "the console must show the key that ssh has seen"
    data = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    assert b"hello" in base64.b64decode(data["UserData"]["Value"])


def life(instance, group, key):
    identifier = instance["InstanceId"]
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"])
    refused("InvalidInstanceID.Malformed", ec2.describe_instances, InstanceIds=["web"])
    ec2.create_tags(Resources=[identifier], Tags=[{"Key": "stage", "Value": "test"}])
    found = only_instance(Filters=[{"Name": "tag:stage", "Values": ["te*"]}])
    assert found["InstanceId"] == identifier
    status = ec2.describe_instance_status(InstanceIds=[identifier])["InstanceStatuses"][0]
    assert status["InstanceStatus"]["Status"] == "ok"
    ssh(key, instance["PublicIpAddress"], "echo kept >kept")
    ec2.stop_instances(InstanceIds=[identifier])
    stopped = wait_for(identifier, "stopped")
    assert "PublicIpAddress" not in stopped, "a stopped instance must have no public address"
    ec2.start_instances(InstanceIds=[identifier])
    started = wait_for(identifier, "running")
    assert ssh(key, started["PublicIpAddress"], "cat kept") == "kept\n", "the disk must be kept"
    ec2.modify_instance_attribute(InstanceId=identifier, DisableApiTermination={"Value": True})
    refused("OperationNotPermitted", ec2.terminate_instances, InstanceIds=[identifier])
    ec2.modify_instance_attribute(InstanceId=identifier, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[identifier])
    wait_for(identifier, "terminated")
    ec2.delete_security_group(GroupId=group)
    ec2.delete_key_pair(KeyName="clients")
    ec2.delete_key_pair(KeyName="clients")


def volumes(image):
    """Volumes that a launch creates, and volumes without an instance."""
    launch = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    mappings = [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 9, "Encrypted": True, "Iops": 4000}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 10, "VolumeType": "io1", "Iops": 500}},
        {"DeviceName": "/dev/sdh", "VirtualName": "ephemeral0"},
    ]
    made = ec2.run_instances(
        **launch, BlockDeviceMappings=mappings,
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "of", "Value": "launch"}]}],
    )["Instances"][0]
    identifier = made["InstanceId"]
    assert made["BlockDeviceMappings"] == [] and made["StateReason"]["Code"] == "pending", made
    running = wait_for(identifier, "running")
    devices = {m["DeviceName"]: m["Ebs"] for m in running["BlockDeviceMappings"]}
    assert list(devices) == ["/dev/xvda", "/dev/sdf", "/dev/sdg"], devices
    deleted = [ebs["DeleteOnTermination"] for ebs in devices.values()]
    assert deleted == [True, False, True], devices
    of_instance = {"Filters": [{"Name": "attachment.instance-id", "Values": [identifier]}]}
    found = {v["VolumeId"]: v for v in ec2.describe_volumes(**of_instance)["Volumes"]}
    root, kept, other = (found[ebs["VolumeId"]] for ebs in devices.values())
    assert (root["Size"], root["VolumeType"], root["Iops"], root["Throughput"]) == (9, "gp3", 4000, 125)
    assert root["Encrypted"] and ":key/" in root["KmsKeyId"] and root["SnapshotId"], root
    assert (kept["Size"], kept["VolumeType"], kept["Iops"]) == (20, "gp2", 100), kept
    assert "Throughput" not in kept and "KmsKeyId" not in kept, kept
    assert (other["VolumeType"], other["Iops"], other["State"]) == ("io1", 500, "in-use"), other
    assert kept["Tags"] == [{"Key": "of", "Value": "launch"}]
    refused("VolumeInUse", ec2.delete_volume, VolumeId=kept["VolumeId"])
    refused("OperationNotPermitted", ec2.detach_volume, VolumeId=root["VolumeId"])

    zone = running["Placement"]["AvailabilityZone"]
    extra = ec2.create_volume(AvailabilityZone=zone, Size=8)
    assert (extra["State"], extra["VolumeType"], extra["Tags"]) == ("creating", "gp2", []), extra
    extra = {"VolumeId": extra["VolumeId"]}
    shown = visible(ec2.describe_volumes, VolumeIds=[extra["VolumeId"]])["Volumes"][0]
    assert shown["State"] == "available" and "Tags" not in shown and shown["Attachments"] == []
    attach = {"InstanceId": identifier, "Device": "/dev/sdi", **extra}
    assert ec2.attach_volume(**attach)["State"] == "attaching"
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[extra["VolumeId"]])
    assert ec2.detach_volume(**extra)["InstanceId"] == identifier
    ec2.stop_instances(InstanceIds=[identifier])
    stopped = wait_for(identifier, "stopped")
    assert stopped["StateTransitionReason"].startswith("User initiated (20"), stopped
    refused("InvalidParameterValue", ec2.attach_volume, **{**attach, "Device": "/dev/sdf"})
    refused("InvalidParameterValue", ec2.attach_volume, **{**attach, "Device": "nvme1n1"})
    assert ec2.attach_volume(**attach)["State"] == "attaching"
    refused("VolumeInUse", ec2.attach_volume, **{**attach, "Device": "/dev/sdj"})
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[extra["VolumeId"]])
    refused("InvalidAttachment.NotFound", ec2.detach_volume, **{**extra, "Device": "/dev/sdz"})
    assert ec2.detach_volume(**extra)["State"] == "detaching"
    ec2.get_waiter("volume_available").wait(VolumeIds=[extra["VolumeId"]])
    refused("IncorrectState", ec2.detach_volume, **extra)
    change = ec2.modify_volume(**extra, Size=12, VolumeType="gp3")["VolumeModification"]
    assert (change["OriginalSize"], change["TargetSize"], change["TargetIops"]) == (8, 12, 3000)
    refused("InvalidParameterValue", ec2.modify_volume, **extra, Size=8)
    elsewhere = ec2.create_volume(AvailabilityZone=zone[:-1] + "b", Size=8)["VolumeId"]
    ec2.describe_volumes(VolumeIds=[elsewhere])  # at once: the waiter in the SDKs does not retry
    refused("InvalidVolume.ZoneMismatch", ec2.attach_volume, **{**attach, "VolumeId": elsewhere})
    for volume in (extra["VolumeId"], elsewhere):
        ec2.delete_volume(VolumeId=volume)
        refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[volume])

    ec2.terminate_instances(InstanceIds=[identifier])
    gone = wait_for(identifier, "terminated")
    assert gone["BlockDeviceMappings"] == [] and "PrivateIpAddress" not in gone, gone
    left = ec2.describe_volumes(Filters=[{"Name": "tag:of", "Values": ["launch"]}])["Volumes"]
    assert [v["VolumeId"] for v in left] == [kept["VolumeId"]], left
    assert left[0]["State"] == "available", left
    ec2.delete_volume(VolumeId=kept["VolumeId"])
    volume_refusals(launch, zone)


def volume_refusals(launch, zone):
    """What EC2 refuses in volumes, with its codes."""
    for code, ebs in [
        ("InvalidParameterCombination", {"VolumeSize": 8, "VolumeType": "gp2", "Iops": 100}),
        ("InvalidParameterCombination", {"VolumeSize": 8, "VolumeType": "io1"}),
        ("InvalidParameterCombination", {"VolumeSize": 8, "VolumeType": "io1", "Iops": 5000}),
        ("InvalidParameterCombination", {"VolumeSize": 8, "VolumeType": "gp2", "Throughput": 125}),
        ("InvalidParameterValue", {"VolumeSize": 20000, "VolumeType": "gp2"}),
        ("InvalidParameterValue", {"VolumeSize": 8, "VolumeType": "st1"}),
        ("InvalidParameterValue", {"VolumeSize": 8, "VolumeType": "gp9"}),
        ("InvalidParameterDependency", {"VolumeSize": 8, "KmsKeyId": "alias/aws/ebs"}),
        ("MissingParameter", {"VolumeType": "gp3"}),
        ("InvalidSnapshot.NotFound", {"SnapshotId": "snap-0123456789abcdef0"}),
    ]:
        mapping = [{"DeviceName": "/dev/sdf", "Ebs": ebs}]
        refused(code, ec2.run_instances, **launch, BlockDeviceMappings=mapping)
        ebs = {"Size" if key == "VolumeSize" else key: value for key, value in ebs.items()}
        refused(code, ec2.create_volume, AvailabilityZone=zone, **ebs)
    small = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}]
    refused("InvalidBlockDeviceMapping", ec2.run_instances, **launch, BlockDeviceMappings=small)
    twice = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 8}}] * 2
    refused("InvalidBlockDeviceMapping", ec2.run_instances, **launch, BlockDeviceMappings=twice)
    refused("InvalidZone.NotFound", ec2.create_volume, AvailabilityZone="nowhere", Size=8)
    refused("VolumeLimitExceeded", ec2.create_volume, AvailabilityZone=zone, Size=60000, VolumeType="gp3")
    token = {"ClientToken": f"volume-{os.getpid()}", "AvailabilityZone": zone}
    first = ec2.create_volume(**token, Size=8)["VolumeId"]
    assert ec2.create_volume(**token, Size=8)["VolumeId"] == first
    refused("IdempotentParameterMismatch", ec2.create_volume, **token, Size=9)
    visible(ec2.delete_volume, VolumeId=first)


def options(image):
    """Options of a launch that an instance keeps and returns."""
    launch = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    plain = ec2.run_instances(**launch)["Instances"][0]
    subnet = ec2.describe_subnets(SubnetIds=[plain["SubnetId"]])["Subnets"][0]
    address = subnet["CidrBlock"].rsplit(".", 1)[0] + ".201"
    made = ec2.run_instances(
        **launch, Monitoring={"Enabled": True}, EbsOptimized=True, DisableApiStop=True,
        PrivateIpAddress=address, CpuOptions={"CoreCount": 1, "ThreadsPerCore": 2},
        PrivateDnsNameOptions={"HostnameType": "resource-name", "EnableResourceNameDnsARecord": True},
        MaintenanceOptions={"AutoRecovery": "disabled"},
        CapacityReservationSpecification={"CapacityReservationPreference": "none"},
        MetadataOptions={"HttpProtocolIpv6": "enabled", "HttpPutResponseHopLimit": 5},
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "a", "Value": "b"}]}],
    )["Instances"][0]
    identifier = made["InstanceId"]
    refused("InvalidIPAddress.InUse", ec2.run_instances, **launch, PrivateIpAddress=address)
    refused("InvalidParameterValue", ec2.run_instances, **launch, PrivateIpAddress="192.0.2.1")
    shown = wait_for(identifier, "running")
    assert shown["PrivateIpAddress"] == address and shown["Monitoring"] == {"State": "enabled"}
    assert shown["EbsOptimized"] and shown["MaintenanceOptions"]["AutoRecovery"] == "disabled"
    assert shown["CapacityReservationSpecification"] == {"CapacityReservationPreference": "none"}
    assert shown["PrivateDnsName"].startswith(identifier + "."), shown["PrivateDnsName"]
    assert shown["MetadataOptions"] == {
        "State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 5,
        "HttpEndpoint": "enabled", "HttpProtocolIpv6": "enabled", "InstanceMetadataTags": "disabled",
    }, shown["MetadataOptions"]
    assert "StateReason" not in shown and "Tags" not in shown and shown["StateTransitionReason"] == ""
    interface = shown["NetworkInterfaces"][0]
    assert interface["Attachment"]["Status"] == "attached", interface
    tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [interface["NetworkInterfaceId"]]}])
    assert [(t["ResourceType"], t["Key"]) for t in tags["Tags"]] == [("network-interface", "a")], tags
    change_options(identifier)
    refused("OperationNotPermitted", ec2.stop_instances, InstanceIds=[identifier])
    ec2.modify_instance_attribute(InstanceId=identifier, DisableApiStop={"Value": False})
    monitored = ec2.unmonitor_instances(InstanceIds=[identifier])["InstanceMonitorings"][0]
    assert monitored == {"InstanceId": identifier, "Monitoring": {"State": "disabling"}}, monitored
    ec2.modify_instance_attribute(InstanceId=identifier, BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}])
    root = shown["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    ec2.stop_instances(InstanceIds=[identifier])
    wait_for(identifier, "stopped")
    ec2.start_instances(InstanceIds=[identifier])
    started = wait_for(identifier, "running")
    assert started["LaunchTime"] > shown["LaunchTime"], "the launch time is that of the last start"
    assert started["UsageOperationUpdateTime"] == shown["UsageOperationUpdateTime"]
    ec2.terminate_instances(InstanceIds=[identifier, plain["InstanceId"]])
    wait_for(identifier, "terminated")
    assert ec2.describe_volumes(VolumeIds=[root])["Volumes"][0]["State"] == "available"
    ec2.delete_volume(VolumeId=root)
    refused("Unsupported", ec2.run_instances, **{**launch, "InstanceType": "t2.micro"}, EbsOptimized=True)


def change_options(running):
    """Changes options of an instance that is running."""
    kept = ec2.modify_instance_maintenance_options(InstanceId=running, RebootMigration="disabled")
    assert (kept["AutoRecovery"], kept["RebootMigration"]) == ("disabled", "disabled"), kept
    names = {"InstanceId": running, "PrivateDnsHostnameType": "ip-name"}
    refused("IncorrectInstanceState", ec2.modify_private_dns_name_options, **names)
    capacity = {"CapacityReservationPreference": "open"}
    refused(
        "IncorrectInstanceState", ec2.modify_instance_capacity_reservation_attributes,
        InstanceId=running, CapacityReservationSpecification=capacity,
    )
    ids = [running, "i-0123456789abcdef0"]
    credits = ec2.modify_instance_credit_specification(InstanceCreditSpecifications=[
        {"InstanceId": each, "CpuCredits": "standard"} for each in ids])
    assert credits["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": running}], credits
    (wrong,) = credits["UnsuccessfulInstanceCreditSpecifications"]
    assert wrong["Error"]["Code"] == "InvalidInstanceID.NotFound", wrong
    shown = ec2.describe_instance_credit_specifications(InstanceIds=[running])
    assert shown["InstanceCreditSpecifications"][0]["CpuCredits"] == "standard", shown


def pages(image):
    for _ in range(3):
        ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=2, MaxCount=2)
    time.sleep(0.1)
    walk = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
        PaginationConfig={"PageSize": 5},
    )
    seen = [i["InstanceId"] for page in walk for r in page["Reservations"] for i in r["Instances"]]
    assert len(seen) == len(set(seen)) == 6, seen
    ec2.terminate_instances(InstanceIds=seen)
    for identifier in seen:
        wait_for(identifier, "terminated")


def shutdowns(image):
    """Checks that `shutdown -h` in an instance has the effect that the launch
    specified."""
    launch = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    launch["UserData"] = "#!/bin/sh\nshutdown -h now\n"
    stops = ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
    launch["InstanceInitiatedShutdownBehavior"] = "terminate"
    ends = ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
    wait_for(ends, "terminated")
    reason = wait_for(stops, "stopped")["StateReason"]["Code"]
    assert reason == "Client.InstanceInitiatedShutdown", reason
    ec2.terminate_instances(InstanceIds=[stops])
    wait_for(stops, "terminated")


def bucket(name):
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="a b/ü.txt", Body=b"text", ContentType="text/plain; charset=utf-8")
    read = s3.get_object(Bucket=name, Key="a b/ü.txt")
    assert read["Body"].read() == b"text" and read["ContentType"] == "text/plain; charset=utf-8"
    url = s3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "a b/ü.txt"})
    assert urllib.request.urlopen(url, timeout=10).read() == b"text"
    try:
        urllib.request.urlopen(url.split("?")[0], timeout=10)
        raise AssertionError("a new bucket must be private")
    except urllib.error.HTTPError as error:
        assert error.code == 403
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=name)
    s3.delete_object(Bucket=name, Key="a b/ü.txt")
    s3.delete_bucket(Bucket=name)


def main():
    name = sys.argv[1]
    identity()
    internet_gateway()
    default_vpc()
    image = images()
    with tempfile.TemporaryDirectory() as directory:
        key = key_pair(Path(directory))
        group = security_group()
        instance = launch(image, group)
        inside(instance, key)
        life(instance, group, key)
    credits(image)
    volumes(image)
    options(image)
    pages(image)
    shutdowns(image)
    bucket(name)
    print("ec2_clients: ok")


if __name__ == "__main__":
    main()
