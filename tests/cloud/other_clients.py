#!/usr/bin/env python3
"""Uses the S3 of the local cloud with clients other than AWS's.

Usage: other_clients.py, with the output of `autorun cloud env`, in a virtual environment
with `pip install boto3 minio opendal requests s3fs smart_open`. Prints each step, and
exits with 1 if one fails. The suite does not run it: it would install these packages.
"""

import io
import os
import sys
import traceback
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone

import boto3
import opendal
import requests
import s3fs
import smart_open
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource, Tags
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
RUN = uuid.uuid4().hex[:8]
MIB = 1 << 20
STEPS = []


def step(function):
    STEPS.append(function)
    return function


@step
def minio():
    client = Minio(ENDPOINT.split("//")[1], access_key=KEY, secret_key=SECRET, secure=False, region="us-east-1")
    name, key = f"minio-{RUN}", "a/ü b+c.txt"
    client.make_bucket(bucket_name=name)
    assert client.bucket_exists(bucket_name=name)
    at = lambda key: {"bucket_name": name, "object_name": key}
    client.put_object(**at(key), data=io.BytesIO(b"hello"), length=5, metadata={"x": "y"})
    client.put_object(**at("big"), data=io.BytesIO(os.urandom(12 * MIB)), length=-1, part_size=5 * MIB)
    assert client.get_object(**at(key)).read() == b"hello"
    assert client.get_object(**at(key), offset=1, length=3).read() == b"ell"
    assert client.stat_object(**at(key)).metadata["x-amz-meta-x"] == "y"
    assert [o.object_name for o in client.list_objects(bucket_name=name)] == ["big", "a/"]
    assert len(list(client.list_objects(bucket_name=name, recursive=True, include_version=True))) == 2
    client.copy_object(**at("copy"), source=CopySource(**at(key)))
    client.compose_object(**at("whole"), sources=[ComposeSource(**at("big")), ComposeSource(**at(key))])
    assert client.stat_object(**at("whole")).size == 12 * MIB + 5
    tags = Tags.new_object_tags()
    tags["a"] = "b c"
    client.set_object_tags(**at("copy"), tags=tags)
    assert client.get_object_tags(**at("copy")) == tags
    assert urllib.request.urlopen(client.presigned_get_object(**at(key))).read() == b"hello"
    put = urllib.request.Request(client.presigned_put_object(**at("put")), data=b"z", method="PUT")
    assert urllib.request.urlopen(put).status == 200
    policy = PostPolicy(name, datetime.now(timezone.utc) + timedelta(days=1))
    policy.add_equals_condition("key", "posted")
    policy.add_content_length_range_condition(1, 100)
    form = {**client.presigned_post_policy(policy), "key": "posted"}
    answer = requests.post(f"{ENDPOINT}/{name}", data=form, files={"file": ("n", b"content")})
    assert answer.status_code == 204 and client.get_object(**at("posted")).read() == b"content"
    keys = [DeleteObject(o.object_name) for o in client.list_objects(bucket_name=name, recursive=True)]
    assert list(client.remove_objects(bucket_name=name, delete_object_list=keys)) == []
    client.remove_bucket(bucket_name=name)


@step
def s3fs_of_fsspec():
    files = s3fs.S3FileSystem(key=KEY, secret=SECRET, client_kwargs={"endpoint_url": ENDPOINT})
    name = f"fsspec-{RUN}"
    files.mkdir(name)
    with files.open(f"{name}/x/y", "wb", block_size=5 * MIB) as file:
        file.write(b"a" * 11 * MIB)
    with files.open(f"{name}/x/y", "ab") as file:
        file.write(b"b" * 10)
    assert files.size(f"{name}/x/y") == 11 * MIB + 10
    assert files.find(name) == [f"{name}/x/y"] and files.exists(f"{name}/x")
    files.cp(f"{name}/x/y", f"{name}/z")
    files.mv(f"{name}/z", f"{name}/w")
    assert files.cat_file(f"{name}/w", start=-3) == b"bbb"
    files.setxattr(f"{name}/w", a="b")
    files.put_tags(f"{name}/w", {"a": "b"})
    assert files.get_tags(f"{name}/w") == {"a": "b"}
    files.touch(f"{name}/empty")
    files.rm(name, recursive=True)


@step
def smart_open_of_a_stream():
    client = boto3.client("s3")
    name = f"smart-open-{RUN}"
    client.create_bucket(Bucket=name)
    for content in (b"", b"q" * 11 * MIB):
        how = {"client": client, "min_part_size": 5 * MIB}
        with smart_open.open(f"s3://{name}/k", "wb", transport_params=how) as file:
            file.write(content)
        with smart_open.open(f"s3://{name}/k", "rb", transport_params={"client": client}) as file:
            assert file.read() == content
    client.delete_object(Bucket=name, Key="k")
    client.delete_bucket(Bucket=name)


@step
def opendal_of_rust():
    client = boto3.client("s3")
    name = f"opendal-{RUN}"
    client.create_bucket(Bucket=name)
    files = opendal.Operator(
        "s3", bucket=name, endpoint=ENDPOINT, region="us-east-1", access_key_id=KEY, secret_access_key=SECRET)
    for key in ("dir/a", "dir/b c#?&+é"):
        files.write(key, b"abc")
        assert files.read(key) == b"abc"
    files.copy("dir/a", "dir/c")
    assert files.stat("dir/c").content_length == 3
    files.create_dir("empty/")
    assert {entry.path for entry in files.list("dir/")} >= {"dir/a", "dir/b c#?&+é", "dir/c"}
    files.remove_all("dir/")
    files.remove_all("empty/")
    client.delete_bucket(Bucket=name)


def main():
    failures = 0
    for function in STEPS:
        try:
            function()
            print(f"ok   {function.__name__}")
        except Exception:
            failures += 1
            print(f"FAIL {function.__name__}")
            traceback.print_exc()
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
