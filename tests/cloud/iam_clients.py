#!/usr/bin/env python3
"""Uses IAM of the local cloud with boto3, and the credentials of an instance's role.

Usage: iam_clients.py NAME_PREFIX. Reports a difference to AWS and exits with 1.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")
iam = boto3.client("iam")
ACCOUNT = boto3.client("sts").get_caller_identity()["Account"]


def refused(code, call, **arguments):
    """Asserts that the call fails with this code. Returns the response."""
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response
    raise AssertionError(f"{call} was not refused with {code}")


def wait_for(instance, state):
    """Returns the instance once it has this state."""
    for _ in range(600):
        found = ec2.describe_instances(
            Filters=[{"Name": "instance-id", "Values": [instance]}]
        )["Reservations"]
        if found and found[0]["Instances"][0]["State"]["Name"] == state:
            return found[0]["Instances"][0]
        time.sleep(0.05)
    raise AssertionError(f"{instance} is never {state}")


def trust(service="ec2.amazonaws.com"):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


READ = json.dumps(
    {"Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}
)


def message(response):
    return response["Error"]["Message"]


def roles(name):
    """Creates a role and changes it."""
    role = iam.create_role(
        RoleName=name,
        Path="/shop/",
        AssumeRolePolicyDocument=trust(),
        Description="reads pictures",
        Tags=[{"Key": "team", "Value": "web"}],
    )["Role"]
    assert re.fullmatch("AROA[A-Z2-7]{17}", role["RoleId"]), role
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/shop/{name}", role
    assert role["AssumeRolePolicyDocument"] == json.loads(trust()), role
    assert role["MaxSessionDuration"] == 3600 and role["Path"] == "/shop/", role
    found = iam.get_role(RoleName=name)["Role"]
    assert found == {**role, "RoleLastUsed": {}}, (found, role)
    assert [r["RoleName"] for r in iam.list_roles(PathPrefix="/shop/")["Roles"]] == [
        name
    ]
    assert iam.list_roles(PathPrefix="/other/")["Roles"] == []
    assert iam.list_role_tags(RoleName=name)["Tags"] == role["Tags"]
    iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=READ)
    policy = iam.get_role_policy(RoleName=name, PolicyName="read")
    assert policy["PolicyDocument"] == json.loads(READ), policy
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["read"]
    arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert attached == [{"PolicyName": "AmazonS3ReadOnlyAccess", "PolicyArn": arn}]
    attached = iam.list_attached_role_policies(RoleName=name, PathPrefix="/service-role/")
    assert attached["AttachedPolicies"] == [], attached

    iam.update_role(RoleName=name, Description="shows pictures", MaxSessionDuration=7200)
    found = iam.get_role(RoleName=name)["Role"]
    changed = {"Description": "shows pictures", "MaxSessionDuration": 7200}
    assert found == {**role, **changed, "RoleLastUsed": {}}, found
    iam.update_role(RoleName=name)
    found = iam.get_role(RoleName=name)["Role"]
    assert "Description" not in found and found["MaxSessionDuration"] == 3600, found
    found = iam.update_role_description(RoleName=name, Description="reads pictures")
    assert found["Role"] == role, found
    refused("ValidationError", iam.update_role, RoleName=name, MaxSessionDuration=43201)
    refused("ValidationError", iam.update_role, RoleName=name, Description="x" * 1001)
    tags(name, "role", {"RoleName": name})

    create = dict(RoleName=name, AssumeRolePolicyDocument=trust())
    error = refused("EntityAlreadyExists", iam.create_role, **create)
    assert message(error) == f"Role with name {name} already exists.", error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 409
    error = refused("NoSuchEntity", iam.get_role, RoleName="none")
    assert message(error) == "The role with name none cannot be found.", error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 404
    error = refused("ValidationError", iam.get_role, RoleName="no body")
    assert "at 'roleName' failed to satisfy constraint" in message(error), error
    refused(
        "MalformedPolicyDocument",
        iam.create_role,
        RoleName="x",
        AssumeRolePolicyDocument="{",
    )
    own = f"arn:aws:iam::{ACCOUNT}:policy/own"
    refused("NoSuchEntity", iam.attach_role_policy, RoleName=name, PolicyArn=own)
    refused("NoSuchEntity", iam.get_role_policy, RoleName=name, PolicyName="other")
    refused("DeleteConflict", iam.delete_role, RoleName=name)


def tags(name, kind, named):
    """Changes the tags of a role or profile."""
    tag, untag = getattr(iam, f"tag_{kind}"), getattr(iam, f"untag_{kind}")
    shown = lambda: {
        tag["Key"]: tag["Value"] for tag in getattr(iam, f"list_{kind}_tags")(**named)["Tags"]
    }
    before = shown()
    tag(**named, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    tag(**named, Tags=[{"Key": "a", "Value": "2"}])
    assert shown() == {**before, "a": "2", "b": ""}, shown()
    untag(**named, TagKeys=["a", "none"])
    assert shown() == {**before, "b": ""}, shown()
    untag(**named, TagKeys=["b"])
    tag(**named, Tags=[])
    assert shown() == before, shown()
    many = [{"Key": str(n), "Value": "x"} for n in range(51)]
    refused("LimitExceeded", tag, **named, Tags=many)
    missing = {key: "none" for key in named}
    refused("NoSuchEntity", tag, **missing, Tags=many[:1])
    refused("NoSuchEntity", untag, **missing, TagKeys=["a"])


def profiles(name):
    """Creates an instance profile with the role."""
    # Ansible sends an empty list of tags.
    profile = iam.create_instance_profile(InstanceProfileName=name, Tags=[])["InstanceProfile"]
    tags(name, "instance_profile", {"InstanceProfileName": name})
    assert re.fullmatch("AIPA[A-Z2-7]{17}", profile["InstanceProfileId"]), profile
    assert profile["Arn"] == f"arn:aws:iam::{ACCOUNT}:instance-profile/{name}"
    assert profile["Roles"] == []
    launch = dict(IamInstanceProfile={"Name": name})
    error = refused("InvalidParameterValue", run, **launch)
    assert message(error).endswith("has no associated IAM Roles"), error
    both = dict(InstanceProfileName=name, RoleName=name)
    refused("NoSuchEntity", iam.remove_role_from_instance_profile, **both)
    iam.add_role_to_instance_profile(**both)
    refused("LimitExceeded", iam.add_role_to_instance_profile, **both)
    found = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    assert [role["RoleName"] for role in found["Roles"]] == [name], found
    of_role = iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]
    assert of_role == [found], of_role
    refused(
        "EntityAlreadyExists", iam.create_instance_profile, InstanceProfileName=name
    )
    refused("DeleteConflict", iam.delete_instance_profile, InstanceProfileName=name)
    iam.create_instance_profile(InstanceProfileName=name + "-b")
    pages = iam.get_paginator("list_instance_profiles").paginate(
        PaginationConfig={"PageSize": 1}
    )
    names = [p["InstanceProfileName"] for page in pages for p in page["InstanceProfiles"]]
    assert names == [name, name + "-b"], names
    iam.delete_instance_profile(InstanceProfileName=name + "-b")

    error = refused("InvalidParameterValue", run, IamInstanceProfile={"Name": "none"})
    assert message(error) == (
        "Value (none) for parameter iamInstanceProfile.name is invalid. "
        "Invalid IAM Instance Profile name"
    ), error
    arn = f"arn:aws:iam::{ACCOUNT}:instance-profile/none"
    error = refused("InvalidParameterValue", run, IamInstanceProfile={"Arn": arn})
    assert message(error) == (
        f"Value ({arn}) for parameter iamInstanceProfile.arn is invalid. "
        "Invalid IAM Instance Profile ARN"
    ), error
    both = {"Arn": arn, "Name": "none"}
    refused("InvalidParameterCombination", run, IamInstanceProfile=both)
    return found


def run(**arguments):
    image = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    return ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, **arguments
    )


@contextmanager
def tunnel(address, key):
    """Forwards a local port to the metadata service of an instance."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=error"]
    options += ["BatchMode=yes", "ExitOnForwardFailure=yes"]
    command = ["ssh", "-N", "-i", key, "-L", f"127.0.0.1:{port}:169.254.169.254:80"]
    command += [f"-o{option}" for option in options] + [f"ec2-user@{address}"]
    ssh = subprocess.Popen(command)
    try:
        for _ in range(400):
            assert ssh.poll() is None, "ssh ended"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        ssh.kill()
        ssh.wait()


def metadata(url, path):
    """Reads metadata with a token. Returns None if it is not there."""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    put = urllib.request.Request(
        url + "/latest/api/token", method="PUT", headers=lifetime
    )
    token = urllib.request.urlopen(put).read().decode()
    get = urllib.request.Request(
        url + "/latest/meta-data/" + path, headers={"X-aws-ec2-metadata-token": token}
    )
    try:
        return urllib.request.urlopen(get).read().decode()
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return None


def instance_session(url):
    """A session of boto3 that has only the credentials of the instance."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "EC2_METADATA_DISABLED"):
        os.environ.pop(f"AWS_{name}")
    os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = url
    return boto3.Session()


def credentials(url, name, instance, profile):
    """Uses the credentials as an SDK in the instance does."""
    info = json.loads(metadata(url, "iam/info"))
    assert info["Code"] == "Success", info
    assert info["InstanceProfileArn"] == profile["Arn"], info
    assert info["InstanceProfileId"] == profile["InstanceProfileId"], info
    assert metadata(url, "iam/security-credentials/") == name
    found = json.loads(metadata(url, f"iam/security-credentials/{name}"))
    assert found["Code"] == "Success" and found["Type"] == "AWS-HMAC", found
    assert found["AccessKeyId"].startswith("ASIA"), found["AccessKeyId"]
    assert found["LastUpdated"] < found["Expiration"], found
    assert metadata(url, "iam/security-credentials/other") is None

    session = instance_session(url)
    assert session.get_credentials().method == "iam-role"
    identity = session.client("sts").get_caller_identity()
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{instance}"
    assert identity["Arn"] == arn, identity
    role = iam.get_role(RoleName=name)["Role"]
    assert identity["UserId"] == f"{role['RoleId']}:{instance}", identity
    assert role["RoleLastUsed"]["Region"] == ec2.meta.region_name, role
    age = time.time() - role["RoleLastUsed"]["LastUsedDate"].timestamp()
    assert -5 < age < 60, role
    assert session.client("ec2").describe_instances(InstanceIds=[instance])
    s3 = session.client("s3")
    s3.create_bucket(Bucket=f"{name}-bucket")
    s3.put_object(Bucket=f"{name}-bucket", Key="a", Body=b"text")
    assert s3.get_object(Bucket=f"{name}-bucket", Key="a")["Body"].read() == b"text"
    presigned = s3.generate_presigned_url(
        "get_object", Params={"Bucket": f"{name}-bucket", "Key": "a"}
    )
    assert urllib.request.urlopen(presigned).read() == b"text"

    frozen = session.get_credentials().get_frozen_credentials()
    without = dict(
        aws_access_key_id=frozen.access_key, aws_secret_access_key=frozen.secret_key
    )
    refused("AuthFailure", boto3.client("ec2", **without).describe_vpcs)
    refused("InvalidAccessKeyId", boto3.client("s3", **without).list_buckets)
    other = dict(without, aws_session_token=frozen.token + "0")
    refused("AuthFailure", boto3.client("ec2", **other).describe_vpcs)
    refused("InvalidToken", boto3.client("s3", **other).list_buckets)


def associations(url, name, instance, profile):
    """Changes the profile of a running instance."""
    describe = ec2.describe_iam_instance_profile_associations
    filters = [{"Name": "instance-id", "Values": [instance]}]
    (found,) = describe(Filters=filters)["IamInstanceProfileAssociations"]
    expected = {"Arn": profile["Arn"], "Id": profile["InstanceProfileId"]}
    assert found["IamInstanceProfile"] == expected, found
    assert (found["InstanceId"], found["State"]) == (instance, "associated"), found
    id_ = found["AssociationId"]
    assert re.fullmatch("iip-assoc-[0-9a-f]{17}", id_), id_
    (same,) = describe(AssociationIds=[id_])["IamInstanceProfileAssociations"]
    assert same == found
    by_arn = [{"Name": "iam-instance-profile.arn", "Values": [profile["Arn"]]}]
    assert ec2.describe_instances(Filters=by_arn)["Reservations"], by_arn
    associate = dict(IamInstanceProfile={"Name": name}, InstanceId=instance)
    refused("IncorrectState", ec2.associate_iam_instance_profile, **associate)
    gone = ec2.disassociate_iam_instance_profile(AssociationId=id_)
    assert gone["IamInstanceProfileAssociation"]["State"] == "disassociating"
    refused(
        "InvalidAssociationID.NotFound",
        ec2.disassociate_iam_instance_profile,
        AssociationId=id_,
    )
    assert describe(Filters=filters)["IamInstanceProfileAssociations"] == []
    other = [{"Name": "association-id", "Values": [id_]}]
    refused("InvalidParameterValue", describe, Filters=other)
    assert metadata(url, "iam/info") is None
    assert metadata(url, f"iam/security-credentials/{name}") is None
    now = ec2.associate_iam_instance_profile(**associate)
    now = now["IamInstanceProfileAssociation"]
    assert now["State"] == "associating" and now["AssociationId"] != id_, now
    replaced = ec2.replace_iam_instance_profile_association(
        AssociationId=now["AssociationId"], IamInstanceProfile={"Arn": profile["Arn"]}
    )["IamInstanceProfileAssociation"]
    assert replaced["AssociationId"] != now["AssociationId"], replaced
    assert metadata(url, "iam/security-credentials/") == name
    # A role that instances may not take.
    iam.update_assume_role_policy(
        RoleName=name, PolicyDocument=trust("lambda.amazonaws.com")
    )
    found = json.loads(metadata(url, f"iam/security-credentials/{name}"))
    assert found["Code"] == "AssumeRoleUnauthorizedAccess", found
    assert "AccessKeyId" not in found, found


def main():
    name = sys.argv[1]
    roles(name)
    profile = profiles(name)
    with tempfile.TemporaryDirectory() as place:
        key = Path(place) / "key"
        key.write_text(ec2.create_key_pair(KeyName=name)["KeyMaterial"])
        key.chmod(0o600)
        time.sleep(0.05)  # the key pair is not visible at once, as on AWS
        launched = run(KeyName=name, IamInstanceProfile={"Name": name})["Instances"][0]
        expected = {"Arn": profile["Arn"], "Id": profile["InstanceProfileId"]}
        assert launched["IamInstanceProfile"] == expected, launched
        instance = launched["InstanceId"]
        group = launched["SecurityGroups"][0]["GroupId"]
        ssh = dict(IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
        ec2.authorize_security_group_ingress(GroupId=group, **ssh)
        running = wait_for(instance, "running")
        assert running["IamInstanceProfile"] == expected, running
        with tunnel(running["PublicIpAddress"], key) as url:
            saved = dict(os.environ)
            credentials(url, name, instance, profile)
            os.environ.update(saved)
            associations(url, name, instance, profile)
    ec2.terminate_instances(InstanceIds=[instance])
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.delete_instance_profile(InstanceProfileName=name)
    iam.delete_role_policy(RoleName=name, PolicyName="read")
    iam.detach_role_policy(
        RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    )
    iam.delete_role(RoleName=name)
    refused("NoSuchEntity", iam.get_role, RoleName=name)
    refused("InvalidAction", iam.list_users)
    print("iam_clients.py: ok")


main()
