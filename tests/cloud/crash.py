#!/usr/bin/env python3
"""Kills the local cloud during every kind of request. After a restart, everything that
it acknowledged must exist, and nothing may be incomplete.

Usage: crash.py AUTORUN BUCKET_PREFIX, with AUTORUN_CLOUD_HOME set.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

AUTORUN, PREFIX = sys.argv[1:]
ACCESS = Path(os.environ["AUTORUN_CLOUD_HOME"]) / "access" / f"{os.getuid()}.json"
# Large enough for several writes, so that the kill can interrupt the upload.
BODY = os.urandom(3 << 20)
PART = os.urandom(5 << 20)


class Cloud:
    """The clients of the running daemon."""

    def __init__(self):
        access = json.loads(ACCESS.read_text())
        self.pid = access["pid"]
        options = {
            "region_name": "eu-central-1",
            "endpoint_url": access["endpoint"],
            "aws_access_key_id": access["access_key_id"],
            "aws_secret_access_key": access["secret_access_key"],
            "config": Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
        }
        self.ec2 = boto3.client("ec2", **options)
        self.s3 = boto3.client("s3", **options)


def up():
    subprocess.run([AUTORUN, "cloud", "up"], check=True, stdout=subprocess.DEVNULL)
    return Cloud()


def settled(call, **arguments):
    """Retries a call until a new resource is visible, and returns the response."""
    for _ in range(20):
        try:
            return call(**arguments)
        except ClientError as error:
            if ".NotFound" not in str(error):
                raise
            time.sleep(0.02)
    return call(**arguments)


# For each kind: how to create the n-th resource, and how to list all of them.


def create_key_pair(cloud, n):
    cloud.ec2.create_key_pair(KeyName=f"crash-{n}", KeyType="ed25519")
    return f"crash-{n}"


def key_pairs(cloud):
    return {pair["KeyName"] for pair in cloud.ec2.describe_key_pairs()["KeyPairs"]}


def create_group(cloud, n):
    cloud.ec2.create_security_group(GroupName=f"crash-{n}", Description="x")
    return f"crash-{n}"


def groups(cloud):
    return {group["GroupName"] for group in cloud.ec2.describe_security_groups()["SecurityGroups"]}


def create_rule(cloud, n):
    arguments = {"IpProtocol": "tcp", "FromPort": n, "ToPort": n, "CidrIp": "10.0.0.0/8"}
    settled(cloud.ec2.authorize_security_group_ingress, GroupName="crash-rules", **arguments)
    return n


def rules(cloud):
    group = cloud.ec2.describe_security_groups(GroupNames=["crash-rules"])["SecurityGroups"][0]
    return {permission["FromPort"] for permission in group["IpPermissions"]}


def create_tag(cloud, n):
    key = f"crash-{n % 40}"
    cloud.ec2.create_tags(Resources=[TAGGED], Tags=[{"Key": key, "Value": "x"}])
    return key


def tags(cloud):
    return {tag["Key"] for tag in cloud.ec2.describe_tags()["Tags"]}


def create_instance(cloud, n):
    made = cloud.ec2.run_instances(
        ImageId=IMAGE, InstanceType="t3.nano", MinCount=1, MaxCount=1, ClientToken=f"crash-{n}-{os.getpid()}"
    )
    return made["Instances"][0]["InstanceId"]


def instances(cloud):
    pages = cloud.ec2.get_paginator("describe_instances").paginate()
    all_of_them = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    # No machine has outlived the daemon, and no instance stays in an intermediate
    # state.
    for instance in all_of_them:
        assert instance["State"]["Name"] in ("stopped", "terminated"), instance["State"]
    return {instance["InstanceId"] for instance in all_of_them}


def create_termination(cloud, n):
    instance = create_instance(cloud, n)
    settled(cloud.ec2.terminate_instances, InstanceIds=[instance])
    return instance


def ended(cloud):
    pages = cloud.ec2.get_paginator("describe_instances").paginate()
    gone = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    return {i["InstanceId"] for i in gone if i["State"]["Name"] == "terminated"}


def create_bucket(cloud, n):
    place = {"LocationConstraint": "eu-central-1"}
    cloud.s3.create_bucket(Bucket=f"{PREFIX}-{n}", CreateBucketConfiguration=place)
    return f"{PREFIX}-{n}"


def buckets(cloud):
    return {bucket["Name"] for bucket in cloud.s3.list_buckets()["Buckets"]}


def create_object(cloud, n):
    cloud.s3.put_object(Bucket=f"{PREFIX}-objects", Key=f"o/{n}", Body=BODY)
    return f"o/{n}"


def create_upload(cloud, n):
    names = {"Bucket": f"{PREFIX}-objects", "Key": f"m/{n}"}
    upload = cloud.s3.create_multipart_upload(**names, ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    for number, body in ((1, PART), (2, b"end")):
        part = {"UploadId": upload, "PartNumber": number, "ChecksumAlgorithm": "CRC32"}
        done = cloud.s3.upload_part(**names, **part, Body=body)
        parts.append({key: done[key] for key in ("ETag", "ChecksumCRC32")} | {"PartNumber": number})
    cloud.s3.complete_multipart_upload(**names, UploadId=upload, MultipartUpload={"Parts": parts})
    return f"m/{n}"


def objects(cloud):
    pages = cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=f"{PREFIX}-objects")
    found = {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}
    for key, size in found.items():
        whole = len(BODY) if key.startswith("o/") else len(PART) + 3
        assert size == whole, f"{key} has {size} bytes, not {whole}"
    return set(found)


def create_version(cloud, n):
    names = {"Bucket": f"{PREFIX}-versions", "Key": "v"}
    if n % 3 == 2:
        return cloud.s3.delete_object(**names)["VersionId"]
    return cloud.s3.put_object(**names, Body=BODY)["VersionId"]


def versions(cloud):
    pages = list(cloud.s3.get_paginator("list_object_versions").paginate(Bucket=f"{PREFIX}-versions"))
    kept = [one for page in pages for one in page.get("Versions", [])]
    assert all(one["Size"] == len(BODY) for one in kept), kept
    markers = [one for page in pages for one in page.get("DeleteMarkers", [])]
    assert [one["IsLatest"] for one in kept + markers].count(True) == 1
    return {one["VersionId"] for one in kept + markers}


def create_policy(cloud, n):
    tags = [{"Key": f"t{n % 40}", "Value": str(n)}]
    cloud.s3.put_object_tagging(Bucket=f"{PREFIX}-objects", Key="o/0", Tagging={"TagSet": tags})
    return n


def policies(cloud):
    tags = cloud.s3.get_object_tagging(Bucket=f"{PREFIX}-objects", Key="o/0")["TagSet"]
    newest = int(tags[0]["Value"]) if tags else -1
    return set(range(newest + 1))


KINDS = [
    (create_key_pair, key_pairs),
    (create_group, groups),
    (create_rule, rules),
    (create_tag, tags),
    (create_instance, instances),
    (create_termination, ended),
    (create_bucket, buckets),
    (create_object, objects),
    (create_upload, objects),
    (create_policy, policies),
    (create_version, versions),
]


def create_until_killed(cloud, create, acknowledged, failures):
    """Creates one resource after the other until the daemon is gone."""
    for n in range(55):
        try:
            acknowledged.append(create(cloud, n))
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError):
                failures.append(error)
            return


def main():
    global IMAGE, TAGGED
    cloud = up()
    IMAGE = cloud.ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]["ImageId"]
    TAGGED = cloud.ec2.create_security_group(GroupName="crash-rules", Description="x")["GroupId"]
    place = {"LocationConstraint": "eu-central-1"}
    cloud.s3.create_bucket(Bucket=f"{PREFIX}-objects", CreateBucketConfiguration=place)
    cloud.s3.put_object(Bucket=f"{PREFIX}-objects", Key="o/0", Body=BODY)
    cloud.s3.create_bucket(Bucket=f"{PREFIX}-versions", CreateBucketConfiguration=place)
    enabled = {"Status": "Enabled"}
    cloud.s3.put_bucket_versioning(Bucket=f"{PREFIX}-versions", VersioningConfiguration=enabled)
    total = 0
    for number, (create, see) in enumerate(KINDS):
        acknowledged, failures = [], []
        thread = threading.Thread(target=create_until_killed, args=(cloud, create, acknowledged, failures))
        thread.start()
        # Wait for a few responses, and kill the daemon during a request: at a
        # different moment for each kind.
        while len(acknowledged) < 3 and thread.is_alive():
            time.sleep(0.001)
        time.sleep(0.003 * number)
        os.kill(cloud.pid, signal.SIGKILL)
        thread.join()
        assert not failures, f"{create.__name__}: {failures[0]}"
        cloud = up()
        missing = set(acknowledged) - see(cloud)
        assert not missing, f"{create.__name__}: acknowledged, but missing: {missing}"
        total += len(acknowledged)
    print(f"crash: ok, {len(KINDS)} kinds, {total} acknowledged")


main()
