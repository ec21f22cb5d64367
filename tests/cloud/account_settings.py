#!/usr/bin/env python3
"""Sets what an account can lack or forbid, and calls the local cloud with boto3.

Usage: account_settings.py AUTORUN. The environment is that of `autorun cloud env`, and
AUTORUN_CLOUD_HOME. Reports a difference to AWS and exits with 1.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

FOLDER = Path(tempfile.mkdtemp())
ONCE = Config(retries={"total_max_attempts": 1})
ACCOUNT = boto3.client("sts").get_caller_identity()["Account"]
USER = f"arn:aws:iam::{ACCOUNT}:user/autorun"


def client(service, region="us-east-1"):
    return boto3.client(service, region_name=region, config=ONCE)


ec2, s3 = client("ec2"), client("s3")


def settings(text, policy=None):
    """Sets the faults of all requests."""
    (FOLDER / "faults.toml").write_text(text)
    if policy is not None:
        (FOLDER / "policy.json").write_text(json.dumps(policy))
    faults = str(FOLDER / "faults.toml")
    subprocess.run([sys.argv[1], "cloud", "up", "--faults", faults], check=True,
                   stdout=subprocess.DEVNULL)


def policy(*statements):
    settings('[account]\npolicy = "policy.json"\n',
             {"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **condition):
    return {"Effect": "Allow", "Action": action, "Resource": resource,
            **({"Condition": condition} if condition else {})}


def refused(code, call, status=None, **arguments):
    """Asserts that the call fails with this code. Returns the message."""
    try:
        call(**arguments)
    except ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] == code, error
        found = answer["ResponseMetadata"]["HTTPStatusCode"]
        assert status in (None, found), (found, error)
        return answer["Error"].get("Message")
    raise AssertionError(f"{call} was not refused with {code}")


def mutations():
    url = os.environ["AWS_ENDPOINT_URL"] + "/_autorun/status"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["mutations"]


def image():
    found = ec2.describe_images(
        Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])
    return found["Images"][0]["ImageId"]


def counter():
    before = mutations()
    ec2.describe_vpcs()
    s3.list_buckets()
    refused("DryRunOperation", ec2.create_vpc, CidrBlock="10.1.0.0/16", DryRun=True)
    assert mutations() == before
    s3.create_bucket(Bucket="counted")
    refused("InvalidVpcID.NotFound", ec2.delete_vpc, VpcId="vpc-01234567")
    assert mutations() == before + 2


def quotas():
    settings("[account]\nelastic_ips = 0\n")
    refused("AddressLimitExceeded", ec2.allocate_address)
    refused("AddressLimitExceeded", ec2.allocate_address, DryRun=True)
    found = ec2.describe_account_attributes(AttributeNames=["vpc-max-elastic-ips"])
    value = found["AccountAttributes"][0]["AttributeValues"][0]["AttributeValue"]
    assert value == "0", value


def offerings():
    zones = ", ".join(f'"us-east-1{letter}"' for letter in "ab")
    settings(f'[account]\nnot_offered = {{ "t3.micro" = [{zones}] }}\n')
    found = ec2.describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}])
    found = {one["Location"][-1] for one in found["InstanceTypeOfferings"]}
    assert found == set("cdef"), found
    launch = {"ImageId": image(), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1,
              "DryRun": True}
    message = refused("Unsupported", ec2.run_instances, **launch,
                      Placement={"AvailabilityZone": "us-east-1a"})
    assert message == (
        "Your requested instance type (t3.micro) is not supported in your requested "
        "Availability Zone (us-east-1a). Please retry your request by not specifying an "
        "Availability Zone or choosing us-east-1c, us-east-1d, us-east-1e, us-east-1f.")
    # Without a zone, EC2 takes one that offers the type.
    refused("DryRunOperation", ec2.run_instances, **launch)


def buckets():
    settings('[account]\ntaken_buckets = ["pictures"]\n')
    refused("BucketAlreadyExists", s3.create_bucket, 409, Bucket="pictures")
    refused("403", s3.head_bucket, 403, Bucket="pictures")
    refused("AccessDenied", s3.get_object, 403, Bucket="pictures", Key="a")
    refused("404", s3.head_bucket, 404, Bucket="pictures-of-mine")


def regions():
    settings('[account]\ndisabled_regions = ["eu-west-3"]\n')
    refused("AuthFailure", client("ec2", "eu-west-3").describe_vpcs, 401)
    refused("InvalidClientTokenId", client("sts", "eu-west-3").get_caller_identity, 403)
    refused("InvalidAccessKeyId", client("s3", "eu-west-3").list_buckets, 403)
    refused("UnrecognizedClientException", client("ssm", "eu-west-3").get_parameter, Name="/a")
    enabled = {one["RegionName"] for one in ec2.describe_regions()["Regions"]}
    assert "eu-west-3" not in enabled and "eu-west-1" in enabled
    one = ec2.describe_regions(RegionNames=["eu-west-3"])["Regions"][0]
    assert one["OptInStatus"] == "not-opted-in", one


def credentials():
    settings("[account]\nexpired_token = true\n")
    refused("RequestExpired", ec2.describe_vpcs)
    refused("ExpiredToken", s3.list_buckets, 400)
    refused("ExpiredToken", client("sts").get_caller_identity, 403)
    refused("ExpiredToken", client("iam").list_roles, 403)
    refused("ExpiredTokenException", client("ssm").get_parameter, 400, Name="/a")
    for skew in (3600, -3600):
        settings(f"[account]\nclock_skew_seconds = {skew}\n")
        refused("RequestExpired", ec2.describe_vpcs)
        refused("RequestTimeTooSkewed", s3.list_buckets, 403)
        message = refused("SignatureDoesNotMatch", client("sts").get_caller_identity, 403)
        expected = "Signature expired: " if skew > 0 else "Signature not yet current: "
        assert message.startswith(expected), message


def held_by_a_policy():
    policy(allow("ec2:Describe*"),
           allow("ec2:CreateKeyPair", f"arn:aws:ec2:*:{ACCOUNT}:key-pair/web-*"))
    ec2.describe_vpcs()
    ec2.create_key_pair(KeyName="web-1")
    message = refused("UnauthorizedOperation", ec2.create_key_pair, 403, KeyName="shop")
    assert message == (
        f"You are not authorized to perform this operation. User: {USER} is not authorized to "
        f"perform: ec2:CreateKeyPair on resource: arn:aws:ec2:us-east-1:{ACCOUNT}:key-pair/shop "
        "because no identity-based policy allows the ec2:CreateKeyPair action")
    # A dry run says so, and an unauthorized request does nothing.
    refused("UnauthorizedOperation", ec2.create_key_pair, 403, KeyName="shop", DryRun=True)
    refused("DryRunOperation", ec2.create_key_pair, 412, KeyName="web-2", DryRun=True)
    assert [one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]] == ["web-1"]
    # Every caller may ask who it is.
    assert client("sts").get_caller_identity()["Arn"] == USER
    refused("AccessDenied", client("sts").get_access_key_info, 403,
            AccessKeyId=os.environ["AWS_ACCESS_KEY_ID"])
    message = refused("AccessDenied", client("iam").get_role, 403, RoleName="web")
    assert f"iam:GetRole on resource: arn:aws:iam::{ACCOUNT}:role/web because" in message
    message = refused(
        "AccessDeniedException", client("ssm").get_parameter, 400, Name="/aws/service/a")
    assert "resource: arn:aws:ssm:us-east-1::parameter/aws/service/a because" in message


def held_in_s3():
    settings("")
    s3.create_bucket(Bucket="shop")
    s3.put_object(Bucket="shop", Key="a", Body=b"a")
    policy(allow("s3:GetObject", "arn:aws:s3:::shop/*"),
           allow("s3:CreateBucket", "arn:aws:s3:::shop-*"))
    s3.get_object(Bucket="shop", Key="a")
    s3.head_object(Bucket="shop", Key="a")
    s3.create_bucket(Bucket="shop-2")
    # Without the permission to list, a missing key is not reported as missing.
    message = refused("AccessDenied", s3.get_object, 403, Bucket="shop", Key="b")
    message = refused("AccessDenied", s3.put_object, 403, Bucket="shop", Key="a", Body=b"b")
    assert message == (
        f"User: {USER} is not authorized to perform: s3:PutObject on resource: "
        '"arn:aws:s3:::shop/a" because no identity-based policy allows the s3:PutObject action')
    refused("AccessDenied", s3.list_objects_v2, 403, Bucket="shop")
    refused("AccessDenied", s3.list_buckets, 403)
    refused("AccessDenied", s3.create_bucket, 403, Bucket="pictures")
    refused("404", s3.head_bucket, 404, Bucket="missing")
    copy = {"Bucket": "shop", "Key": "b", "CopySource": "shop/a"}
    refused("AccessDenied", s3.copy_object, 403, **copy)
    # The permission of either policy is enough, and the denial of either.
    everyone = {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "s3:PutObject",
                "Resource": "arn:aws:s3:::shop/*"}
    bucket_policy = json.dumps({"Version": "2012-10-17", "Statement": [everyone]})
    refused("AccessDenied", s3.put_bucket_policy, 403, Bucket="shop", Policy=bucket_policy)
    settings("")
    s3.put_bucket_policy(Bucket="shop", Policy=bucket_policy)
    policy(allow("s3:GetObject", "arn:aws:s3:::shop/*"))
    s3.copy_object(**copy)
    policy(allow("s3:*"), {**allow("s3:PutObject"), "Effect": "Deny"})
    message = refused("AccessDenied", s3.copy_object, 403, **copy)
    assert message.endswith("with an explicit deny in an identity-based policy"), message
    deleted = s3.delete_objects(Bucket="shop", Delete={"Objects": [{"Key": "b"}]})
    assert [one["Key"] for one in deleted["Deleted"]] == ["b"]
    policy(allow("s3:ListBucket"))
    deleted = s3.delete_objects(Bucket="shop", Delete={"Objects": [{"Key": "a"}]})
    assert [one["Code"] for one in deleted["Errors"]] == ["AccessDenied"], deleted


def main():
    for part in (counter, quotas, offerings, buckets, regions, credentials, held_by_a_policy,
                 held_in_s3):
        settings("")
        part()
        print(f"ok: {part.__name__}")


main()
