#!/usr/bin/env python3
"""Checks versions of objects in the S3 of the local cloud with boto3.

    AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=.. AWS_SECRET_ACCESS_KEY=.. s3_versions.py

Codes, messages and headers are those of real answers of AWS, as public test suites record them. Uses the helpers of
s3_clients.py, and prints and exits as it does.
"""

import contextlib
import io
import os
import string
import sys

from botocore.exceptions import ClientError
from s3_clients import MIB, RUN, S3, client, main, policy, public, refused, same, unblock, plain

CHECKS = []
WRONG = "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"


def check(function):
    CHECKS.append(function)
    return function


@contextlib.contextmanager
def bucket(label, status="Enabled"):
    """Creates a bucket with this versioning. At the end deletes all versions in it, and the bucket."""
    name = f"versions-{RUN}-{label}"
    S3.create_bucket(Bucket=name)
    try:
        if status:
            set_versioning(name, status)
        yield name
    finally:
        for page in S3.get_paginator("list_object_versions").paginate(Bucket=name):
            for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                S3.delete_object(Bucket=name, Key=one["Key"], VersionId=one["VersionId"])
        S3.delete_bucket(Bucket=name)


def set_versioning(name, status):
    S3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})


def put(name, key, body=b"", **more):
    return S3.put_object(Bucket=name, Key=key, Body=body, **more).get("VersionId")


def body(name, key, version=None):
    which = {"VersionId": version} if version else {}
    return S3.get_object(Bucket=name, Key=key, **which)["Body"].read()


def listed(name, **more):
    """Returns key, id and whether it is the newest, of all versions and delete markers in a list."""
    page = S3.list_object_versions(Bucket=name, **more)
    show = lambda one: (one["Key"], one["VersionId"], one["IsLatest"])
    return [show(one) for one in page.get("Versions", [])], [show(one) for one in page.get("DeleteMarkers", [])]


def headers_of(call, **arguments):
    """Returns the headers of a refusal."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPHeaders"]
    raise AssertionError("expected a refusal")


@check
def versioning_is_a_setting():
    with bucket("setting", None) as name:
        get = lambda: {k: v for k, v in S3.get_bucket_versioning(Bucket=name).items() if k != "ResponseMetadata"}
        set_ = lambda **wanted: S3.put_bucket_versioning(Bucket=name, VersioningConfiguration=wanted)
        same(get(), {})
        set_(Status="Suspended")
        same(get(), {"Status": "Suspended"})
        for wrong in ["enabled", "Disabled"]:
            refused(400, "MalformedXML", set_, Status=wrong)
        error = refused(400, "IllegalVersioningConfigurationException", set_)
        same(error["Message"], "The Versioning element must be specified")
        set_(Status="Enabled")
        same(get(), {"Status": "Enabled"})
        refused(400, "InvalidRequest", set_, Status="Enabled", MFADelete="Enabled")
        set_(Status="Enabled", MFADelete="Disabled")
        same(get(), {"Status": "Enabled", "MFADelete": "Disabled"})
        missing = f"missing-{RUN}"
        refused(404, "NoSuchBucket", S3.get_bucket_versioning, Bucket=missing)
        refused(404, "NoSuchBucket", set_versioning, missing, "Enabled")


@check
def each_upload_is_a_version():
    with bucket("uploads", None) as name:
        same(put(name, "k", b"null"), None)
        same("VersionId" in S3.get_object(Bucket=name, Key="k"), False)
        same(listed(name), ([("k", "null", True)], []))
        set_versioning(name, "Enabled")
        same(S3.get_object(Bucket=name, Key="k")["VersionId"], "null")
        one, two = put(name, "k", b"one"), put(name, "k", b"two")
        for version in [one, two]:
            same(len(version), 32)
            same(set(version) <= set(string.ascii_letters + string.digits + "._"), True)
        same((S3.head_object(Bucket=name, Key="k")["VersionId"], body(name, "k")), (two, b"two"))
        same([body(name, "k", v) for v in ["null", one, two]], [b"null", b"one", b"two"])
        same(S3.head_object(Bucket=name, Key="k", VersionId=one)["ContentLength"], 3)
        attributes = S3.get_object_attributes(Bucket=name, Key="k", VersionId=one, ObjectAttributes=["ObjectSize"])
        same((attributes["VersionId"], attributes["ObjectSize"]), (one, 3))
        same(listed(name), ([("k", two, True), ("k", one, False), ("k", "null", False)], []))
        same([o["Key"] for o in S3.list_objects_v2(Bucket=name)["Contents"]], ["k"])
        S3.delete_object(Bucket=name, Key="k", VersionId=two)
        same(body(name, "k"), b"one")


@check
def suspended_versioning_replaces_the_null_version():
    with bucket("suspended") as name:
        one = put(name, "k", b"one")
        set_versioning(name, "Suspended")
        same(put(name, "k", b"null"), None)
        same(S3.get_object(Bucket=name, Key="k")["VersionId"], "null")
        same(put(name, "k", b"other"), None)
        same(listed(name), ([("k", "null", True), ("k", one, False)], []))
        gone = S3.delete_object(Bucket=name, Key="k")
        same((gone["DeleteMarker"], gone["VersionId"]), (True, "null"))
        same(listed(name), ([("k", one, False)], [("k", "null", True)]))
        same(put(name, "k", b"again"), None)
        same(listed(name), ([("k", "null", True), ("k", one, False)], []))
        set_versioning(name, "Enabled")
        two = put(name, "k", b"two")
        same(listed(name)[0], [("k", two, True), ("k", "null", False), ("k", one, False)])
        same(body(name, "k", "null"), b"again")


@check
def delete_markers_hide_an_object():
    with bucket("markers") as name:
        version = put(name, "k", b"one")
        gone = S3.delete_object(Bucket=name, Key="k")
        marker = gone["VersionId"]
        same((gone["DeleteMarker"], marker != version), (True, True))
        place = {"Bucket": name, "Key": "k"}
        for call, code in [(S3.get_object, "NoSuchKey"), (S3.head_object, "404"), (S3.get_object_acl, "NoSuchKey")]:
            refused(404, code, call, **place)
            headers = headers_of(call, **place)
            same((headers["x-amz-delete-marker"], headers["x-amz-version-id"]), ("true", marker))
            same("allow" in headers, False)
        named = {**place, "VersionId": marker}
        for call, code in [(S3.get_object, "MethodNotAllowed"), (S3.head_object, "405")]:
            refused(405, code, call, **named)
            headers = headers_of(call, **named)
            same((headers["x-amz-delete-marker"], headers["allow"]), ("true", "DELETE"))
            same((headers["x-amz-version-id"], "last-modified" in headers), (marker, True))
        tags = {"Tagging": {"TagSet": []}}
        for where in [place, named]:
            refused(405, "MethodNotAllowed", S3.get_object_tagging, **where)
            refused(405, "MethodNotAllowed", S3.put_object_tagging, **where, **tags)
            refused(405, "MethodNotAllowed", S3.delete_object_tagging, **where)
        same(S3.list_objects_v2(Bucket=name)["KeyCount"], 0)
        same("Contents" in S3.list_objects(Bucket=name, Delimiter="/"), False)
        second = S3.delete_object(**place)["VersionId"]
        same(listed(name), ([("k", version, False)], [("k", second, True), ("k", marker, False)]))
        same(body(name, "k", version), b"one")
        S3.put_object(**place, Body=b"two", IfNoneMatch="*")
        refused(412, "PreconditionFailed", S3.put_object, **place, Body=b"x", IfNoneMatch="*")
        same(S3.delete_object(Bucket=name, Key="never")["DeleteMarker"], True)


@check
def versions_are_deleted_by_id():
    with bucket("ids") as name:
        version = put(name, "k", b"one")
        marker = S3.delete_object(Bucket=name, Key="k")["VersionId"]
        place = {"Bucket": name, "Key": "k"}
        gone = S3.delete_object(**place, VersionId=marker)
        same((gone["DeleteMarker"], gone["VersionId"]), (True, marker))
        same(body(name, "k"), b"one")
        gone = S3.delete_object(**place, VersionId=version)
        same(("DeleteMarker" in gone, gone["VersionId"]), (False, version))
        error = refused(404, "NoSuchVersion", S3.get_object, **place, VersionId=version)
        same(error["Message"], "The specified version does not exist.")
        headers = headers_of(S3.get_object, **place, VersionId=version)
        same(("x-amz-delete-marker" in headers, "x-amz-version-id" in headers), (False, False))
        refused(404, "NoSuchVersion", S3.get_object_tagging, **place, VersionId=version)
        same(S3.delete_object(**place, VersionId=version)["VersionId"], version)
        for wrong in [version[:-4] + "ABCD", WRONG, "x"]:
            for call in [S3.get_object, S3.delete_object, S3.get_object_acl, S3.get_object_tagging]:
                error = refused(400, "InvalidArgument", call, **place, VersionId=wrong)
                same(error["Message"], "Invalid version id specified")
        refused(404, "NoSuchKey", S3.get_object, **place)
        with bucket("plain", None) as other:
            refused(400, "InvalidArgument", S3.get_object, Bucket=other, Key="k", VersionId=WRONG)
            refused(404, "NoSuchVersion", S3.get_object, Bucket=other, Key="k", VersionId=version)
            refused(404, "NoSuchVersion", S3.get_object, Bucket=other, Key="k", VersionId="null")
            gone = S3.delete_object(Bucket=other, Key="k")
            same(("DeleteMarker" in gone, "VersionId" in gone), (False, False))


@check
def several_versions_are_deleted_at_once():
    with bucket("several") as name:
        delete = lambda *objects, **more: S3.delete_objects(Bucket=name, Delete={"Objects": list(objects), **more})
        version = put(name, "k", b"one")
        done = delete({"Key": "k"}, {"Key": "never"})["Deleted"]
        same([(d["Key"], d["DeleteMarker"], "VersionId" in d) for d in done],
             [("k", True, False), ("never", True, False)])
        marker = done[0]["DeleteMarkerVersionId"]
        same(delete({"Key": "k", "VersionId": marker})["Deleted"],
             [{"Key": "k", "VersionId": marker, "DeleteMarker": True, "DeleteMarkerVersionId": marker}])
        errors = delete({"Key": "k", "VersionId": WRONG}, {"Key": "other", "VersionId": WRONG})["Errors"]
        same([(e["Key"], e["Code"], e["Message"], e["VersionId"]) for e in errors],
             [(key, "NoSuchVersion", "The specified version does not exist.", WRONG) for key in ["k", "other"]])
        for _ in range(2):
            same(delete({"Key": "k", "VersionId": version})["Deleted"], [{"Key": "k", "VersionId": version}])
        same("Deleted" in delete({"Key": "k"}, Quiet=True), False)


@check
def a_bucket_with_versions_is_not_empty():
    with bucket("full") as name:
        message = "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
        version = put(name, "k")
        marker = S3.delete_object(Bucket=name, Key="k")["VersionId"]
        same(refused(409, "BucketNotEmpty", S3.delete_bucket, Bucket=name)["Message"], message)
        S3.delete_object(Bucket=name, Key="k", VersionId=version)
        same(refused(409, "BucketNotEmpty", S3.delete_bucket, Bucket=name)["Message"], message)
        S3.delete_object(Bucket=name, Key="k", VersionId=marker)


@check
def tags_belong_to_a_version():
    with bucket("tags") as name:
        place = {"Bucket": name, "Key": "k"}
        tags = lambda value: {"TagSet": [{"Key": "t", "Value": value}]}
        one, two = put(name, "k", b"1", Tagging="t=1"), put(name, "k", b"2")
        same(S3.put_object_tagging(**place, Tagging=tags("2"))["VersionId"], two)
        same(S3.put_object_tagging(**place, VersionId=one, Tagging=tags("3"))["VersionId"], one)
        got = S3.get_object_tagging(**place, VersionId=one)
        same((got["VersionId"], got["TagSet"][0]["Value"]), (one, "3"))
        got = S3.get_object_tagging(**place)
        same((got["VersionId"], got["TagSet"][0]["Value"]), (two, "2"))
        same(S3.delete_object_tagging(**place, VersionId=one)["VersionId"], one)
        same(S3.get_object_tagging(**place, VersionId=one)["TagSet"], [])
        same(S3.get_object(**place)["TagCount"], 1)


@check
def copies_and_parts_are_versions():
    with bucket("copies") as name, bucket("target", None) as target:
        one, two = put(name, "k", b"one"), put(name, "k", b"two")
        copied = S3.copy_object(Bucket=name, Key="c", CopySource=f"{name}/k?versionId={one}")
        same((copied["CopySourceVersionId"], body(name, "c", copied["VersionId"])), (one, b"one"))
        back = S3.copy_object(Bucket=name, Key="k", CopySource={"Bucket": name, "Key": "k", "VersionId": one})
        same((back["CopySourceVersionId"], body(name, "k")), (one, b"one"))
        out = S3.copy_object(Bucket=target, Key="c", CopySource=f"{name}/k?versionId={two}")
        same(("VersionId" in out, body(target, "c")), (False, b"two"))
        refused(400, "InvalidArgument", S3.copy_object, Bucket=name, Key="c", CopySource=f"{name}/k?versionId={WRONG}")
        set_versioning(name, "Suspended")
        null = S3.copy_object(Bucket=name, Key="n", CopySource=f"{target}/c")
        same((null["VersionId"], "CopySourceVersionId" in null), ("null", False))
        null = S3.copy_object(Bucket=name, Key="c", CopySource=f"{name}/n")
        same((null["VersionId"], "CopySourceVersionId" in null), ("null", False))
        set_versioning(name, "Enabled")
        marker = S3.delete_object(Bucket=name, Key="k")["VersionId"]
        refused(404, "NoSuchKey", S3.copy_object, Bucket=name, Key="c", CopySource=f"{name}/k")
        source = f"{name}/k?versionId={marker}"
        error = refused(400, "InvalidRequest", S3.copy_object, Bucket=name, Key="c", CopySource=source)
        message = "The source of a copy request may not specifically refer to a delete marker by version id."
        same(error["Message"], message)
        S3.upload_fileobj(io.BytesIO(os.urandom(9 * MIB)), name, "big")
        first = S3.head_object(Bucket=name, Key="big")["VersionId"]
        place = {"Bucket": name, "Key": "big"}
        upload = S3.create_multipart_upload(**place)["UploadId"]
        part = S3.upload_part_copy(**place, UploadId=upload, PartNumber=1, CopySource=f"{name}/big?versionId={first}")
        same(part["CopySourceVersionId"], first)
        parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
        done = S3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        same(listed(name, Prefix="big")[0], [("big", done["VersionId"], True), ("big", first, False)])


@check
def lists_of_versions_have_pages():
    with bucket("lists") as name:
        keys = ["test_0", "test_1", "test_2"]
        ids = [put(name, key) for key in [*keys, "test_2"]]
        ids += [S3.delete_object(Bucket=name, Key=key)["VersionId"] for key in keys]
        ids += [put(name, key) for key in keys[:2]]
        page = S3.list_object_versions(Bucket=name, MaxKeys=5)
        same((page["IsTruncated"], page["NextKeyMarker"], page["NextVersionIdMarker"]), (True, "test_1", ids[5]))
        same((page["KeyMarker"], page["VersionIdMarker"], page["EncodingType"]), ("", "", "url"))
        list_ = lambda **more: listed(name, MaxKeys=1, **more)
        same(list_(KeyMarker="test_1"), ([], [("test_2", ids[6], True)]))
        same(list_(KeyMarker="test_2"), ([], []))
        same(list_(KeyMarker="test_1", VersionIdMarker=ids[5]), ([("test_1", ids[1], False)], []))
        same(list_(KeyMarker="test_2", VersionIdMarker=ids[3]), ([("test_2", ids[2], False)], []))
        error = refused(400, "InvalidArgument", S3.list_object_versions, Bucket=name, VersionIdMarker=ids[5])
        same(error["Message"], "A version-id marker cannot be specified without a key marker.")
        same(S3.list_object_versions(Bucket=name, MaxKeys=0)["IsTruncated"], False)
        # A client that deletes while it lists gets every version.
        found = []
        for page in S3.get_paginator("list_object_versions").paginate(Bucket=name, PaginationConfig={"PageSize": 2}):
            for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                found.append(one["VersionId"])
                S3.delete_object(Bucket=name, Key=one["Key"], VersionId=one["VersionId"])
        same(sorted(found), sorted(ids))


@check
def lists_of_versions_have_common_prefixes():
    with bucket("prefixes") as name:
        for key in ["f/a/1", "f/a/2", "f/x 1", "f/x 1", "f/y"]:
            put(name, key)
        S3.delete_object(Bucket=name, Key="f/a/1")
        S3.delete_object(Bucket=name, Key="f/hidden/1")
        prefixes = lambda page: [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        page = S3.list_object_versions(Bucket=name, Prefix="f/", Delimiter="/", MaxKeys=1)
        same((prefixes(page), page["NextKeyMarker"]), (["f/a/"], "f/a/"))
        same("NextVersionIdMarker" in page, False)
        page = S3.list_object_versions(Bucket=name, Prefix="f/", Delimiter="/", MaxKeys=2, KeyMarker="f/a/")
        same((prefixes(page), [v["Key"] for v in page["Versions"]]), (["f/hidden/"], ["f/x 1"]))
        inside = S3.list_object_versions(Bucket=name, Prefix="f/", Delimiter="/", MaxKeys=1, KeyMarker="f/a/1")
        same(prefixes(inside), ["f/hidden/"])
        # A prefix that has only delete markers is not a prefix of objects.
        same(prefixes(S3.list_objects_v2(Bucket=name, Prefix="f/", Delimiter="/")), ["f/a/"])
        same(prefixes(S3.list_objects(Bucket=name, Prefix="f/", Delimiter="/")), ["f/a/"])
        same(prefixes(S3.list_objects(Bucket=name, Prefix="f/", Delimiter="/", Marker="f/a/1")), [])
        same(len(listed(name, Prefix="f/x")[0]), 2)


@check
def a_policy_can_name_versions():
    with bucket("policy") as name:
        version = put(name, "k", b"old")
        put(name, "k", b"new")
        unblock(name)
        S3.put_bucket_policy(Bucket=name, Policy=policy(public(name)))
        same(plain("GET", f"/{name}/k")[2], b"new")
        same(plain("GET", f"/{name}/k?versionId={version}")[0], 403)
        S3.put_bucket_policy(Bucket=name, Policy=policy(public(name, action="s3:GetObjectVersion")))
        same(plain("GET", f"/{name}/k?versionId={version}")[2], b"old")
        S3.delete_bucket_policy(Bucket=name)


@check
def conditions_apply_to_the_newest_version():
    with bucket("conditions") as name:
        place = {"Bucket": name, "Key": "k"}
        etag = S3.put_object(**place, Body=b"1")["ETag"]
        S3.put_object(**place, Body=b"2", IfMatch=etag)
        refused(412, "PreconditionFailed", S3.put_object, **place, Body=b"3", IfMatch=etag)
        S3.delete_object(**place)
        refused(404, "NoSuchKey", S3.put_object, **place, Body=b"3", IfMatch=etag)
        bare = client("us-east-1")
        same(bare.put_object(**place, Body=b"4", IfNoneMatch="*")["ETag"] != etag, True)


if __name__ == "__main__":
    sys.exit(main(CHECKS))
