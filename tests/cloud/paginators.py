#!/usr/bin/env python3
"""Uses every paginator and every waiter that botocore has for the actions of the local
cloud, with the output of `autorun cloud env`.

Usage: paginators.py. A paginator returns the same items page by page as at once. Prints
what it used, reports a difference and exits with 1.
"""

import sys
import time
import uuid

import boto3
from botocore.exceptions import ClientError, WaiterError

ec2, s3, iam = (boto3.client(name) for name in ("ec2", "s3", "iam"))
RUN = uuid.uuid4().hex[:8]
UNKNOWN = ("InvalidAction", "NotImplemented", "UnsupportedOperation")
# What a request needs beyond its page.
NEEDS = {
    "describe_launch_template_versions": {"Versions": ["$Latest"]},
    "list_object_versions": {"Bucket": RUN}, "list_objects": {"Bucket": RUN},
    "list_objects_v2": {"Bucket": RUN}, "list_multipart_uploads": {"Bucket": RUN},
    "list_parts": {"Bucket": RUN, "Key": "parts"},
    "describe_addresses_attribute": {"Attribute": "domain-name"},
    "describe_image_attribute": {"Attribute": "description"},
    **{f"list_{kind}": {"RoleName": RUN} for kind in (
        "role_policies", "attached_role_policies", "role_tags", "instance_profiles_for_role")},
    "list_instance_profile_tags": {"InstanceProfileName": RUN},
}


def found(call, **arguments):
    """Retries a call until a new resource is found, as on AWS."""
    for _ in range(100):
        try:
            return call(**arguments)
        except ClientError as error:
            if "NotFound" not in error.response["Error"]["Code"]:
                raise
            time.sleep(0.01)
    return call(**arguments)


def things():
    """Creates at least seven of what is listed."""
    s3.create_bucket(Bucket=RUN)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    tags = [{"Key": "of", "Value": RUN}]
    for n in range(7):
        s3.put_object(Bucket=RUN, Key=f"k{n}")
        s3.create_multipart_upload(Bucket=RUN, Key=f"upload{n}")
        s3.create_bucket(Bucket=f"{RUN}-{n}")
        group = ec2.create_security_group(GroupName=f"{RUN}-{n}", Description="of a test")["GroupId"]
        found(ec2.create_tags, Resources=[group], Tags=tags)
        ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"]
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        ec2.create_internet_gateway()
        ec2.create_vpc(CidrBlock="10.1.0.0/16")
    upload = s3.create_multipart_upload(Bucket=RUN, Key="parts")["UploadId"]
    for n in range(1, 8):
        s3.upload_part(Bucket=RUN, Key="parts", UploadId=upload, PartNumber=n, Body=b"x")
    NEEDS["list_parts"]["UploadId"] = upload
    trust = '{"Statement": []}'
    for n in range(3):
        role, profile = {"RoleName": f"{RUN}{n or ''}"}, {"InstanceProfileName": f"{RUN}{n or ''}"}
        iam.create_role(**role, AssumeRolePolicyDocument=trust)
        iam.create_instance_profile(**profile)
        iam.add_role_to_instance_profile(RoleName=RUN, **profile)
        tags = [{"Key": f"k{n}", "Value": "x"}]
        iam.tag_role(RoleName=RUN, Tags=tags)
        iam.tag_instance_profile(InstanceProfileName=RUN, Tags=tags)
        iam.put_role_policy(RoleName=RUN, PolicyName=f"p{n}", PolicyDocument=trust)
        iam.attach_role_policy(RoleName=RUN, PolicyArn=f"arn:aws:iam::aws:policy/Policy{n}")
    time.sleep(0.1)  # until the last group is found, as on AWS


def paginators(client, size):
    """Compares the pages of each paginator with the whole."""
    service = client.meta.service_model
    used = 0
    for operation in service.operation_names:
        name = next(py for py, api in client.meta.method_to_api_mapping.items() if api == operation)
        # Directory buckets are of another service, S3 Express.
        if not client.can_paginate(name) or operation == "ListDirectoryBuckets":
            continue
        needs = NEEDS.get(name, {})
        # Botocore does not send a request that lacks what its model requires.
        if set(service.operation_model(operation).input_shape.required_members) - set(needs):
            continue
        paginator = client.get_paginator(name)
        try:
            whole = paginator.paginate(**needs).build_full_result()
        except ClientError as error:
            assert error.response["Error"]["Code"] in UNKNOWN, (name, error)
            continue
        pages = list(paginator.paginate(**needs, PaginationConfig={"PageSize": size}))
        for key in (expression.expression for expression in paginator.result_keys):
            items = [item for page in pages for item in page.get(key, [])]
            if key == "CommonPrefixes" or key not in whole:
                continue
            assert items == whole[key], (name, key, len(items), len(whole[key]))
            assert len(items) <= size or len(pages) > 1, (name, key, "has one page only")
        used += 1
    return used


def waiters():
    """Waits for what is there, and for what is not."""
    used = 0

    def wait(client, name, ends_with=None, **arguments):
        nonlocal used
        used += 1
        config = {"Delay": 1, "MaxAttempts": 1 if ends_with else 30}
        try:
            client.get_waiter(name).wait(**arguments, WaiterConfig=config)
        except WaiterError as error:
            assert ends_with and ends_with in str(error), (name, error)
            return
        assert ends_with is None, f"{name} did not fail"

    gone = lambda prefix: f"{prefix}-0123456789abcdef0"
    wait(s3, "bucket_exists", Bucket=RUN)
    wait(s3, "bucket_not_exists", Bucket=f"{RUN}-none")
    wait(s3, "object_exists", Bucket=RUN, Key="k0")
    wait(s3, "object_not_exists", Bucket=RUN, Key="none")
    wait(s3, "bucket_exists", "Max attempts exceeded", Bucket=f"{RUN}-none")
    vpc = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
    for name in ("vpc_exists", "vpc_available"):
        wait(ec2, name, VpcIds=[vpc])
    wait(ec2, "vpc_exists", "Max attempts exceeded", VpcIds=[gone("vpc")])
    wait(ec2, "vpc_available", "InvalidVpcID.NotFound", VpcIds=[gone("vpc")])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.2.0.0/24")["Subnet"]["SubnetId"]
    wait(ec2, "subnet_available", SubnetIds=[subnet])
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    wait(ec2, "internet_gateway_exists", InternetGatewayIds=[gateway])
    group = ec2.create_security_group(GroupName=f"{RUN}-w", Description="of a test")["GroupId"]
    wait(ec2, "security_group_exists", GroupIds=[group])
    wait(ec2, "security_group_exists", "Max attempts exceeded", GroupIds=[gone("sg")])
    ec2.create_key_pair(KeyName=RUN)
    wait(ec2, "key_pair_exists", KeyNames=[RUN])
    wait(ec2, "key_pair_exists", "Max attempts exceeded", KeyNames=[f"{RUN}-none"])
    # The waiters of volumes do not retry a volume that is not found.
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    ec2.delete_volume(VolumeId=volume)
    wait(ec2, "volume_deleted", VolumeIds=[volume])
    wait(ec2, "volume_available", "InvalidVolume.NotFound", VolumeIds=[gone("vol")])
    wait(ec2, "image_exists", "Max attempts exceeded", ImageIds=[gone("ami")])
    wait(ec2, "instance_exists", "Max attempts exceeded", InstanceIds=[gone("i")])
    wait(ec2, "nat_gateway_deleted", NatGatewayIds=[gone("nat")])
    wait(iam, "role_exists", RoleName=RUN)
    wait(iam, "instance_profile_exists", InstanceProfileName=RUN)
    wait(iam, "role_exists", "Max attempts exceeded", RoleName="none")
    return used


def main():
    things()
    counts = {name: paginators(client, size) for name, client, size in (
        ("ec2", ec2, 5), ("s3", s3, 2), ("iam", iam, 2))}
    waited = waiters()
    shown = ", ".join(f"{count} of {name}" for name, count in counts.items())
    print(f"paginators: {shown}; waits: {waited}")


if __name__ == "__main__":
    sys.exit(main())
