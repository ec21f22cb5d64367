#!/usr/bin/env python3
"""Checks every S3 operation of the local cloud, and every refusal of AWS, with boto3 and plain HTTP.

    AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=.. AWS_SECRET_ACCESS_KEY=.. s3_clients.py

Prints one line if all checks succeed. Otherwise reports the differences and exits with 1. Needs only boto3. Everything
that it creates has a unique name and is removed at the end.
"""

import base64
import concurrent.futures
import contextlib
import datetime
import hashlib
import http.client
import io
import json
import os
import sys
import threading
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid
import xml.etree.ElementTree

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
KEY_ID = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
RUN = uuid.uuid4().hex[:8]
MIB = 1024 * 1024


def client(region="us-east-1", **config):
    settings = Config(
        signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **config
    )
    return boto3.client("s3", region_name=region, endpoint_url=ENDPOINT, config=settings)


S3 = client()
CHECKS = []
ASSERTIONS = 0


def check(function):
    """Registers a function as one of the checks."""
    CHECKS.append(function)
    return function


def same(actual, expected):
    global ASSERTIONS
    ASSERTIONS += 1
    if actual != expected:
        raise AssertionError(f"expected {expected!r}, got {actual!r}")


def refused(status, code, call, *args, **kwargs):
    """Makes a call that must fail in exactly this way. Returns the error."""
    try:
        answer = call(*args, **kwargs)
    except ClientError as error:
        same((error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]), (status, code))
        return error.response["Error"]
    raise AssertionError(f"expected {status} {code}, but it succeeded: {str(answer)[:300]}")


@contextlib.contextmanager
def bucket(label, s3=S3, **options):
    """Creates a bucket that is emptied and removed at the end."""
    name = f"clients-{RUN}-{label}"
    s3.create_bucket(Bucket=name, **options)
    try:
        yield name
    finally:
        for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
            s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for entry in page.get("Contents", []):
                s3.delete_object(Bucket=name, Key=entry["Key"])
        s3.delete_bucket(Bucket=name)


def plain(method, path, body=None, headers=None):
    """Sends a request without a signature, or with the given headers. Returns status, headers and
    body."""
    request = urllib.request.Request(ENDPOINT + path, data=body, method=method, headers=headers or {})
    return fetch(request)


def fetch(request):
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def signed(method, path, body=b"", headers=None, *, key_id=KEY_ID, secret=SECRET, service="s3", region="us-east-1"):
    """Sends a request signed without an SDK. The signature covers `headers`, too."""
    headers = dict(headers or {})
    headers.setdefault("x-amz-content-sha256", hashlib.sha256(body).hexdigest())
    request = AWSRequest(method=method, url=ENDPOINT + path, data=body, headers=headers)
    signer = SigV4Auth(Credentials(key_id, secret), service, region)
    signer.payload = lambda _: headers["x-amz-content-sha256"]
    signer.add_auth(request)
    return dict(request.headers)


def code_of(body):
    return body.decode().partition("<Code>")[2].partition("</Code>")[0]


# --- buckets ---------------------------------------------------------------------------------------------------------


@check
def bucket_names_and_regions():
    for name in ["ab", "Upper", "under_score", "192.168.1.1", "a..b", "xn--abc", "abc-s3alias", "abc--ol-s3"]:
        status, _, body = plain("PUT", f"/{name}", headers=signed("PUT", f"/{name}"))
        same((name, status, code_of(body)), (name, 400, "InvalidBucketName"))
    refused(409, "BucketAlreadyExists", S3.create_bucket, Bucket=f"taken-{RUN}")
    where = lambda region: {"CreateBucketConfiguration": {"LocationConstraint": region}}
    refused(400, "InvalidLocationConstraint", S3.create_bucket, Bucket=f"x-{RUN}", **where("us-east-1"))
    refused(400, "InvalidLocationConstraint", S3.create_bucket, Bucket=f"x-{RUN}", **where("mars"))
    ireland = client("eu-west-1")
    refused(400, "IllegalLocationConstraintException", ireland.create_bucket, Bucket=f"x-{RUN}")
    refused(400, "IllegalLocationConstraintException", ireland.create_bucket, Bucket=f"x-{RUN}", **where("eu-west-2"))
    with bucket("us") as name:
        same(S3.create_bucket(Bucket=name)["Location"], f"/{name}")
        same(S3.get_bucket_location(Bucket=name)["LocationConstraint"], None)
        refused(409, "BucketAlreadyOwnedByYou", ireland.create_bucket, Bucket=name, **where("eu-west-1"))
    with bucket("eu", ireland, **where("eu-west-1")) as name:
        same(ireland.get_bucket_location(Bucket=name)["LocationConstraint"], "eu-west-1")
        same(ireland.head_bucket(Bucket=name)["BucketRegion"], "eu-west-1")
        same(S3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"], 200)
        refused(409, "BucketAlreadyOwnedByYou", ireland.create_bucket, Bucket=name, **where("eu-west-1"))
        listed = [b for b in S3.list_buckets()["Buckets"] if b["Name"] == name]
        same([b["BucketRegion"] for b in listed], ["eu-west-1"])
        same(len(S3.list_buckets(Prefix=name)["Buckets"]), 1)


@check
def buckets_are_created_and_deleted():
    refused(404, "404", S3.head_bucket, Bucket=f"missing-{RUN}")
    refused(404, "NoSuchBucket", S3.delete_bucket, Bucket=f"missing-{RUN}")
    refused(404, "NoSuchBucket", S3.list_objects_v2, Bucket=f"missing-{RUN}")
    refused(404, "NoSuchBucket", S3.put_object, Bucket=f"missing-{RUN}", Key="k", Body=b"x")
    refused(404, "NoSuchBucket", S3.get_object, Bucket=f"missing-{RUN}", Key="k")
    with bucket("full") as name:
        S3.put_object(Bucket=name, Key="k", Body=b"x")
        refused(409, "BucketNotEmpty", S3.delete_bucket, Bucket=name)
    refused(404, "404", S3.head_bucket, Bucket=name)


@check
def a_listing_succeeds_while_buckets_are_deleted():
    """A bucket that is deleted during a listing does not make the listing fail."""
    over = threading.Event()

    def come_and_go(number):
        ours = client("us-east-1")
        while not over.is_set():
            ours.create_bucket(Bucket=f"going-{number}-{RUN}")
            ours.delete_bucket(Bucket=f"going-{number}-{RUN}")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        going = [pool.submit(come_and_go, number) for number in range(4)]
        try:
            for _ in range(600):
                S3.list_buckets()
        finally:
            over.set()
        for one in going:
            one.result()


@check
def tags_of_buckets():
    with bucket("tags") as name:
        refused(404, "NoSuchTagSet", S3.get_bucket_tagging, Bucket=name)
        tags = [{"Key": "autorun:run", "Value": "r1"}, {"Key": "ä", "Value": ""}]
        S3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})
        same(S3.get_bucket_tagging(Bucket=name)["TagSet"], tags)
        twice = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
        refused(400, "InvalidTag", S3.put_bucket_tagging, Bucket=name, Tagging=twice)
        refused(
            400, "InvalidTag", S3.put_bucket_tagging, Bucket=name, Tagging={"TagSet": [{"Key": "aws:x", "Value": ""}]}
        )
        S3.delete_bucket_tagging(Bucket=name)
        refused(404, "NoSuchTagSet", S3.get_bucket_tagging, Bucket=name)


@check
def a_bucket_is_created_with_tags():
    name = f"tagged-{RUN}"
    create = lambda *tags: S3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": list(tags)})
    one = {"Key": "team", "Value": "a+b"}
    refused(400, "MalformedXML", plain_tags, name, "<Tag><Key>a</Key></Tag>")
    message = (
        "User-defined tag keys can't start with \"aws:\". This prefix is reserved for system tags. Remove \"aws:\" "
        "from your tag keys and try again."
    )
    same(refused(400, "InvalidTag", create, {"Key": "aws:x", "Value": ""})["Message"], message)
    refused(400, "InvalidTag", create, {"Key": "a,b", "Value": ""})
    create(one)
    same(S3.get_bucket_tagging(Bucket=name)["TagSet"], [one])
    refused(409, "BucketAlreadyOwnedByYou", create, one)
    create()
    S3.create_bucket(Bucket=name)
    same(S3.get_bucket_tagging(Bucket=name)["TagSet"], [one])
    S3.delete_bucket(Bucket=name)


def plain_tags(name, tags):
    """Creates a bucket with this text as its tags."""
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    place = f"<CreateBucketConfiguration xmlns='{namespace}'><Tags>{tags}</Tags></CreateBucketConfiguration>"
    body = place.encode()
    status, _, answer = plain("PUT", f"/{name}", body, signed("PUT", f"/{name}", body))
    error = {"Error": {"Code": code_of(answer)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    raise ClientError(error, "CreateBucket")


@check
def settings_of_a_new_bucket():
    with bucket("new") as name:
        block = S3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
        same(sorted(block.values()), [True] * 4)
        S3.delete_public_access_block(Bucket=name)
        refused(404, "NoSuchPublicAccessBlockConfiguration", S3.get_public_access_block, Bucket=name)
        half = {"BlockPublicAcls": True, "BlockPublicPolicy": False}
        S3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=half)
        block = S3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
        same((block["BlockPublicAcls"], block["RestrictPublicBuckets"]), (True, False))
        rules = S3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
        same(rules, [{"ObjectOwnership": "BucketOwnerEnforced"}])
        S3.put_bucket_ownership_controls(Bucket=name, OwnershipControls={"Rules": rules})
        acl = S3.get_bucket_acl(Bucket=name)
        same([grant["Permission"] for grant in acl["Grants"]], ["FULL_CONTROL"])
        same(acl["Grants"][0]["Grantee"]["ID"], acl["Owner"]["ID"])
        same("Status" in S3.get_bucket_versioning(Bucket=name), False)
        rule = S3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
        same(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256")
        refused(403, "AccessDenied", S3.get_bucket_acl, Bucket=name, ExpectedBucketOwner="999999999999")


@check
def access_control_lists_are_off():
    code = "AccessControlListNotSupported"
    refused(400, "InvalidBucketAclWithObjectOwnership", S3.create_bucket, Bucket=f"acl-{RUN}", ACL="public-read")
    with bucket("acl", ACL="private") as name:
        refused(400, code, S3.put_object, Bucket=name, Key="k", Body=b"x", ACL="public-read")
        refused(400, code, S3.put_object, Bucket=name, Key="k", Body=b"x", GrantRead="id=abc")
        S3.put_object(Bucket=name, Key="k", Body=b"x", ACL="bucket-owner-full-control")
        # Ansible and s3fs send these with every upload.
        for acl in ("private", ""):
            S3.put_object(Bucket=name, Key="k", Body=b"x", ACL=acl)
        refused(400, code, S3.put_object_acl, Bucket=name, Key="k", ACL="public-read")
        refused(400, code, S3.put_bucket_acl, Bucket=name, ACL="public-read")
        same(len(S3.get_object_acl(Bucket=name, Key="k")["Grants"]), 1)


# --- permissions -----------------------------------------------------------------------------------------------------


def public(name, resource="/*", action="s3:GetObject", effect="Allow"):
    resource = f"arn:aws:s3:::{name}{resource}"
    return {"Effect": effect, "Principal": "*", "Action": action, "Resource": resource}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def unblock(name, restricted=False):
    off = {"BlockPublicPolicy": False, "RestrictPublicBuckets": restricted}
    S3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=off)


@check
def policies_are_checked():
    with bucket("policy") as name:
        refused(404, "NoSuchBucketPolicy", S3.get_bucket_policy, Bucket=name)
        error = refused(403, "AccessDenied", S3.put_bucket_policy, Bucket=name, Policy=policy(public(name)))
        same(
            "because public policies are blocked by the BlockPublicPolicy block public access" in error["Message"], True
        )
        unblock(name)
        for wrong in [
            "{",
            "[]",
            "{}",
            policy(),
            policy(public("other")),
            policy(public(name, "")),
            policy(public(name, action="ec2:Run")),
            policy({**public(name), "Principal": "me"}),
        ]:
            refused(400, "MalformedPolicy", S3.put_bucket_policy, Bucket=name, Policy=wrong)
        text = policy(public(name, "/logo.png"))
        S3.put_bucket_policy(Bucket=name, Policy=text)
        same(json.loads(S3.get_bucket_policy(Bucket=name)["Policy"]), json.loads(text))
        same(S3.get_bucket_policy_status(Bucket=name)["PolicyStatus"]["IsPublic"], True)
        S3.delete_bucket_policy(Bucket=name)
        refused(404, "NoSuchBucketPolicy", S3.get_bucket_policy, Bucket=name)


@check
def one_public_key_is_public_and_no_other():
    with bucket("public") as name:
        S3.put_object(Bucket=name, Key="a/logo.png", Body=b"PNG", ContentType="image/png")
        S3.put_object(Bucket=name, Key="secret", Body=b"x")
        same(plain("GET", f"/{name}/a/logo.png")[0], 403)
        unblock(name)
        S3.put_bucket_policy(Bucket=name, Policy=policy(public(name, "/a/logo.png")))
        status, headers, body = plain("GET", f"/{name}/a/logo.png")
        same((status, headers["Content-Type"], headers["Content-Length"], body), (200, "image/png", "3", b"PNG"))
        same(plain("HEAD", f"/{name}/a/logo.png")[0], 200)
        for method, path in [
            ("GET", "/secret"),
            ("GET", "/a/logo.pn"),
            ("PUT", "/a/logo.png"),
            ("GET", ""),
            ("DELETE", "/a/logo.png"),
            ("GET", "?policy"),
            ("PUT", "/new"),
            ("GET", "/a/logo.png?acl"),
        ]:
            status, _, body = plain(method, f"/{name}{path}", b"" if method == "PUT" else None)
            same((method, path, status, code_of(body)), (method, path, 403, "AccessDenied"))
        same(plain("GET", f"/{name}/a/logo.png?response-content-type=text/html")[0], 400)
        same(plain("GET", "/")[0], 403)
        same(plain("GET", f"/missing-{RUN}/k")[0], 404)
        unblock(name, restricted=True)
        same(plain("GET", f"/{name}/a/logo.png")[0], 403)


@check
def a_missing_object_is_revealed_only_to_those_who_may_list():
    with bucket("list") as name:
        unblock(name)
        S3.put_object(Bucket=name, Key="k", Body=b"x")
        S3.put_bucket_policy(Bucket=name, Policy=policy(public(name)))
        same(plain("GET", f"/{name}/missing")[0], 403)
        listing = public(name, "", "s3:ListBucket")
        denied = public(name, "/secret/*", "s3:*", "Deny")
        S3.put_bucket_policy(Bucket=name, Policy=policy(public(name), listing, denied))
        same(plain("GET", f"/{name}/missing")[0], 404)
        same(plain("GET", f"/{name}/secret/k")[0], 403)
        same(b"<Key>k</Key>" in plain("GET", f"/{name}?list-type=2")[2], True)
        upload = public(name, "/drop/*", "s3:PutObject")
        S3.put_bucket_policy(Bucket=name, Policy=policy(upload))
        same(plain("PUT", f"/{name}/drop/a", b"hello")[0], 200)
        same(S3.get_object(Bucket=name, Key="drop/a")["Body"].read(), b"hello")


def denial(name, resource="/*", action="s3:*", **condition):
    more = {"Condition": condition} if condition else {}
    return {**public(name, resource, action, "Deny"), **more}


@check
def denials_apply_to_the_owner():
    with bucket("denied") as name, bucket("source") as other:
        for key in ("a", "never/a"):
            S3.put_object(Bucket=name, Key=key, Body=b"x", Tagging="t=1")
        S3.put_object(Bucket=other, Key="k", Body=b"x")
        S3.put_bucket_policy(Bucket=name, Policy=policy(denial(name, "/never/*")))
        error = refused(403, "AccessDenied", S3.get_object, Bucket=name, Key="never/a")
        same(f's3:GetObject on resource: "arn:aws:s3:::{name}/never/a" with an explicit deny' in error["Message"], True)
        for call, more in [
            (S3.head_object, {}),
            (S3.put_object, {"Body": b"y"}),
            (S3.delete_object, {}),
            (S3.get_object_tagging, {}),
            (S3.delete_object_tagging, {}),
            (S3.get_object_attributes, {"ObjectAttributes": ["ETag"]}),
            (S3.create_multipart_upload, {}),
            (S3.copy_object, {"CopySource": f"{other}/k"}),
        ]:
            code = "403" if call == S3.head_object else "AccessDenied"
            refused(403, code, call, Bucket=name, Key="never/a", **more)
        refused(403, "AccessDenied", S3.copy_object, Bucket=other, Key="copy", CopySource=f"{name}/never/a")
        gone = S3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "a"}, {"Key": "never/a"}]})
        same([entry["Key"] for entry in gone["Deleted"]], ["a"])
        same([(entry["Key"], entry["Code"]) for entry in gone["Errors"]], [("never/a", "AccessDenied")])
        url = S3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "never/a"})
        same(fetch(urllib.request.Request(url))[0], 403)
        # Deny everything: only the policy itself can still be changed.
        S3.put_bucket_policy(Bucket=name, Policy=policy(denial(name), denial(name, "")))
        refused(403, "AccessDenied", S3.list_objects_v2, Bucket=name)
        refused(403, "AccessDenied", S3.get_bucket_location, Bucket=name)
        refused(403, "AccessDenied", S3.delete_bucket, Bucket=name)
        same("Statement" in S3.get_bucket_policy(Bucket=name)["Policy"], True)
        S3.delete_bucket_policy(Bucket=name)
        same(S3.get_object(Bucket=name, Key="never/a")["Body"].read(), b"x")


@check
def conditions_of_denials_apply():
    with bucket("conditions") as name:
        S3.put_object(Bucket=name, Key="k", Body=b"x")
        for holds, condition in [
            (True, {"Bool": {"aws:SecureTransport": "false"}}),
            (False, {"Bool": {"aws:SecureTransport": "true"}}),
            (True, {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}),
            (False, {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}),
            (True, {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}),
            (True, {"StringEquals": {"s3:authType": "REST-HEADER"}}),
            (False, {"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}),
            (False, {"NumericGreaterThan": {"s3:signatureAge": "600000"}}),
            (True, {"StringEquals": {"aws:username": "autorun", "aws:PrincipalAccount": "123456789012"}}),
            (False, {"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}),
        ]:
            S3.put_bucket_policy(Bucket=name, Policy=policy(denial(name, action="s3:GetObject", **condition)))
            get = lambda: S3.get_object(Bucket=name, Key="k")["Body"].read()
            refused(403, "AccessDenied", get) if holds else same((condition, get()), (condition, b"x"))
        listing = denial(name, "", "s3:ListBucket", StringLike={"s3:prefix": "secret/*"})
        S3.put_bucket_policy(Bucket=name, Policy=policy(listing))
        refused(403, "AccessDenied", S3.list_objects_v2, Bucket=name, Prefix="secret/x")
        same(S3.list_objects_v2(Bucket=name, Prefix="k")["KeyCount"], 1)
        encrypted = denial(name, action="s3:PutObject", Null={"s3:x-amz-server-side-encryption": "true"})
        S3.put_bucket_policy(Bucket=name, Policy=policy(encrypted))
        refused(403, "AccessDenied", S3.put_object, Bucket=name, Key="k", Body=b"y")
        S3.put_object(Bucket=name, Key="k", Body=b"y", ServerSideEncryption="AES256")
        S3.delete_bucket_policy(Bucket=name)


@check
def a_policy_with_unsupported_parts_is_refused():
    with bucket("understood") as name:
        one = denial(name, action="s3:GetObject")
        for wrong in [
            {**one, "Action": "s3:GetObjekt"},
            {**one, "Action": ["s3:GetObject", "s3:ListBucket"]},
            {**one, "Principal": {"AWS": "arn:aws:iam::123456789012:user/other"}},
            {**one, "Principle": "*"},
            {**one, "Resource": "*"},
            {**one, "Condition": {"StringEquals": {"s3:ExistingObjectTag/a": "b"}}},
            {**one, "Condition": {"StringMatches": {"aws:Referer": "x"}}},
            {**one, "Condition": {"IpAddress": {"aws:SourceIp": "somewhere"}}},
            {**one, "Condition": []},
            {**one, "Resource": f"arn:aws:s3:::{name}/${{made:up}}"},
        ]:
            refused(400, "MalformedPolicy", S3.put_bucket_policy, Bucket=name, Policy=policy(wrong))
        twice = policy(one).replace('"Effect": "Deny"', '"Effect": "Deny", "Effect": "Allow"')
        refused(400, "MalformedPolicy", S3.put_bucket_policy, Bucket=name, Policy=twice)
        refused(404, "NoSuchBucketPolicy", S3.get_bucket_policy, Bucket=name)


@check
def signatures_are_verified():
    with bucket("sig") as name:
        path = f"/{name}/k"
        answer = lambda headers, body=b"hello": (lambda s, _, b: (s, code_of(b)))(*plain("PUT", path, body, headers))
        same(answer(signed("PUT", path, b"hello")), (200, ""))
        same(answer(signed("PUT", path, b"hello", key_id="AKIAOTHER")), (403, "InvalidAccessKeyId"))
        same(answer(signed("PUT", path, b"hello", secret="wrong")), (403, "SignatureDoesNotMatch"))
        same(answer(signed("GET", path, b"hello")), (403, "SignatureDoesNotMatch"))
        same(answer(signed("PUT", path, b"hello", service="ec2")), (400, "AuthorizationHeaderMalformed"))
        same(answer(signed("PUT", path, b"hello"), b"HELLO"), (400, "XAmzContentSHA256Mismatch"))
        same(answer({**signed("PUT", path, b"hello"), "x-amz-acl": "private"}), (403, "AccessDenied"))
        same(answer({"Authorization": "AWS AK:sig"}), (400, "InvalidRequest"))
        same(answer({"Authorization": "Basic x"}), (400, "InvalidArgument"))
        unsigned = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        same(answer(signed("PUT", path, b"hello", unsigned)), (200, ""))
        same(answer(signed("PUT", path, b"hello", {"x-amz-content-sha256": "nonsense"})), (400, "InvalidArgument"))
        same(answer(at(datetime.timedelta(minutes=-16), "PUT", path, b"hello")), (403, "RequestTimeTooSkewed"))
        same(answer(at(datetime.timedelta(minutes=16), "PUT", path, b"hello")), (403, "RequestTimeTooSkewed"))
        same(answer(at(datetime.timedelta(minutes=14), "PUT", path, b"hello")), (200, ""))


def at(offset, *args):
    """Returns the headers of a request that was signed at a different time."""
    import botocore.auth

    real = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *a, **k: real(*a, **k) + offset
    try:
        return signed(*args)
    finally:
        botocore.auth.get_current_datetime = real


@check
def presigned_urls():
    with bucket("presign") as name:
        S3.put_object(Bucket=name, Key="a b+ü.txt", Body=b"hello", ContentType="text/plain")
        get = lambda **more: S3.generate_presigned_url(
            "get_object", Params={"Bucket": name, "Key": "a b+ü.txt", **more.pop("params", {})}, **more
        )
        answer = lambda url, **more: fetch(urllib.request.Request(url, **more))
        same(answer(get())[2], b"hello")
        same(answer(get(), method="HEAD")[0], 403)
        status, headers, _ = answer(
            get(
                params={
                    "ResponseContentType": "text/html",
                    "ResponseContentDisposition": "attachment",
                    "ResponseExpires": "Wed, 21 Oct 2015 07:28:00 GMT",
                }
            )
        )
        same((headers["Content-Type"], headers["Content-Disposition"]), ("text/html", "attachment"))
        same(headers["Expires"], "Wed, 21 Oct 2015 07:28:00 GMT")
        old = at_presign(datetime.timedelta(hours=-2), get)
        same((answer(old)[0], code_of(answer(old)[2])), (403, "AccessDenied"))
        same(b"Request has expired" in answer(old)[2], True)
        same(code_of(answer(get(ExpiresIn=8 * 86400))[2]), "AuthorizationQueryParametersError")
        same(code_of(answer(get().replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"))[2]), "SignatureDoesNotMatch")
        same(code_of(answer(get().replace("X-Amz-Signature", "X-Amz-Sig"))[2]), "AuthorizationQueryParametersError")
        put = S3.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "up"})
        same(answer(put, method="PUT", data=b"uploaded")[0], 200)
        same(S3.get_object(Bucket=name, Key="up")["Body"].read(), b"uploaded")
        typed = S3.generate_presigned_url(
            "put_object", Params={"Bucket": name, "Key": "up", "ContentType": "image/png"}
        )
        same(answer(typed, method="PUT", data=b"x", headers={"Content-Type": "text/plain"})[0], 403)
        same(answer(typed, method="PUT", data=b"x", headers={"Content-Type": "image/png"})[0], 200)


@check
def presigned_urls_with_signature_version_2():
    old = boto3.client("s3", region_name="eu-west-1", config=Config(signature_version="s3"))
    with bucket("presign2") as name:
        S3.put_object(Bucket=name, Key="a b+ü.txt", Body=b"hello", ContentType="text/plain")
        params = {"Bucket": name, "Key": "a b+ü.txt", "ResponseContentType": "text/html"}
        answer = lambda url, **more: fetch(urllib.request.Request(url, **more))
        url = old.generate_presigned_url("get_object", Params=params)
        same("AWSAccessKeyId=" in url, True)
        status, headers, body = answer(url)
        same((status, headers["Content-Type"], body), (200, "text/html", b"hello"))
        same(code_of(answer(url, method="DELETE")[2]), "SignatureDoesNotMatch")
        same(code_of(answer(old.generate_presigned_url("get_object", Params=params, ExpiresIn=-9))[2]), "AccessDenied")
        put = old.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "up"})
        same(answer(put, method="PUT", data=b"x", headers={"Content-Type": ""})[0], 200)


def at_presign(offset, make):
    import botocore.auth

    real = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *a, **k: real(*a, **k) + offset
    try:
        return make()
    finally:
        botocore.auth.get_current_datetime = real


# --- objects ---------------------------------------------------------------------------------------------------------

STRANGE_KEYS = [
    "a",
    "a/b",
    "/leading",
    "trailing/",
    "//",
    "..",
    "../../etc/passwd",
    "a//b",
    ".",
    "a b+c",
    "%41",
    "ü/日本",
    "q?x=1&y#z",
    "a&<>\"'",
    "\u0001\u007f",
    "x" * 1024,
    "~-._!*()",
    "a\\b",
    "\U0001f600",
    "C:\\x",
    "a:b;c,d=@$",
]


@check
def any_key_is_a_key():
    with bucket("keys") as name:
        for key in STRANGE_KEYS:
            S3.put_object(Bucket=name, Key=key, Body=key.encode())
        for key in STRANGE_KEYS:
            same(S3.get_object(Bucket=name, Key=key)["Body"].read(), key.encode())
            same(S3.head_object(Bucket=name, Key=key)["ContentLength"], len(key.encode()))
        printable = sorted(key.encode() for key in STRANGE_KEYS)
        listed = [entry["Key"].encode() for entry in S3.list_objects_v2(Bucket=name)["Contents"]]
        same(listed, printable)
        refused(400, "KeyTooLongError", S3.put_object, Bucket=name, Key="x" * 1025, Body=b"")
        refused(400, "InvalidArgument", S3.put_object, Bucket=name, Key="a\0b", Body=b"")


@check
def stored_objects_are_returned_unchanged():
    with bucket("stored") as name:
        put = S3.put_object(
            Bucket=name,
            Key="k",
            Body=b"hello",
            ContentType="Text/HTML;  Charset=UTF-8",
            CacheControl="max-age=5, public",
            ContentDisposition='attachment; filename="a b.txt"',
            ContentEncoding="gzip",
            ContentLanguage="de, en",
            Expires=datetime.datetime(2030, 1, 2, 3, 4, 5),
            Metadata={"one": "1", "two": " two  words"},
            Tagging="a=1&b=%20x",
            StorageClass="STANDARD_IA",
        )
        same(put["ETag"], f'"{hashlib.md5(b"hello").hexdigest()}"')
        same(put["ServerSideEncryption"], "AES256")
        for got in [S3.get_object(Bucket=name, Key="k"), S3.head_object(Bucket=name, Key="k")]:
            same(got["ContentType"], "Text/HTML;  Charset=UTF-8")
            same(got["CacheControl"], "max-age=5, public")
            same(got["ContentDisposition"], 'attachment; filename="a b.txt"')
            same((got["ContentEncoding"], got["ContentLanguage"]), ("gzip", "de, en"))
            same(got["ExpiresString"], "Wed, 02 Jan 2030 03:04:05 GMT")
            same(got["Metadata"], {"one": "1", "two": "two  words"})
            same((got["ETag"], got["StorageClass"], got["AcceptRanges"]), (put["ETag"], "STANDARD_IA", "bytes"))
            age = datetime.datetime.now(datetime.timezone.utc) - got["LastModified"]
            same(abs(age.total_seconds()) < 60, True)
        same(S3.get_object(Bucket=name, Key="k")["TagCount"], 2)
        S3.put_object(Bucket=name, Key="bare")
        bare = S3.get_object(Bucket=name, Key="bare")
        same((bare["ContentType"], bare["ContentLength"], bare["Metadata"]), ("binary/octet-stream", 0, {}))
        same("StorageClass" in bare, False)
        refused(400, "MetadataTooLarge", S3.put_object, Bucket=name, Key="k", Metadata={"m": "x" * 2100})
        refused(400, "InvalidStorageClass", S3.put_object, Bucket=name, Key="k", StorageClass="NONE")
        same(S3.get_object(Bucket=name, Key="k")["Body"].read(), b"hello")


@check
def tags_of_objects():
    with bucket("otags") as name:
        S3.put_object(Bucket=name, Key="k", Body=b"x", Tagging="a=1")
        same(S3.get_object_tagging(Bucket=name, Key="k")["TagSet"], [{"Key": "a", "Value": "1"}])
        tags = [{"Key": f"k{n}", "Value": str(n)} for n in range(10)]
        S3.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": tags})
        same(S3.get_object_tagging(Bucket=name, Key="k")["TagSet"], tags)
        many = {"TagSet": [*tags, {"Key": "x", "Value": ""}]}
        refused(400, "BadRequest", S3.put_object_tagging, Bucket=name, Key="k", Tagging=many)
        S3.delete_object_tagging(Bucket=name, Key="k")
        same(S3.get_object_tagging(Bucket=name, Key="k")["TagSet"], [])
        refused(404, "NoSuchKey", S3.get_object_tagging, Bucket=name, Key="missing")
        refused(400, "InvalidArgument", S3.put_object, Bucket=name, Key="k", Tagging="a=1&a=2")


@check
def conditions_and_ranges():
    with bucket("ranges") as name:
        body = bytes(range(256)) * 10
        put = S3.put_object(Bucket=name, Key="k", Body=body)
        get = lambda **more: S3.get_object(Bucket=name, Key="k", **more)
        for header, part in [
            ("bytes=0-0", body[:1]),
            ("bytes=5-9", body[5:10]),
            ("bytes=2550-9999", body[2550:]),
            ("bytes=-3", body[-3:]),
            ("bytes=2000-", body[2000:]),
        ]:
            got = get(Range=header)
            same((got["Body"].read(), got["ResponseMetadata"]["HTTPStatusCode"]), (part, 206))
            start = body.index(part) if header != "bytes=-3" else len(body) - 3
            same(got["ContentLength"], len(part))
            same(got["ContentRange"].split("/")[1], "2560")
        same(get(Range="bytes=5-9")["ContentRange"], "bytes 5-9/2560")
        same(get(Range="bytes=9-5")["ResponseMetadata"]["HTTPStatusCode"], 200)
        refused(416, "InvalidRange", get, Range="bytes=2560-")
        same(S3.head_object(Bucket=name, Key="k", Range="bytes=0-9")["ContentLength"], 10)
        now, then = put["ResponseMetadata"]["HTTPHeaders"]["date"], "Wed, 21 Oct 2015 07:28:00 GMT"
        refused(304, "304", get, IfNoneMatch=put["ETag"])
        refused(304, "304", S3.head_object, Bucket=name, Key="k", IfNoneMatch=put["ETag"])
        here = datetime.datetime.now(datetime.timezone.utc)
        refused(304, "304", get, IfModifiedSince=here)
        same(get(IfModifiedSince=here + datetime.timedelta(hours=1))["ContentLength"], 2560)
        refused(412, "PreconditionFailed", get, IfMatch='"x"')
        refused(412, "PreconditionFailed", get, IfUnmodifiedSince=datetime.datetime(2015, 10, 21))
        same(get(IfMatch=put["ETag"], IfUnmodifiedSince=datetime.datetime(2015, 10, 21))["Body"].read(), body)
        refused(404, "NoSuchKey", S3.get_object, Bucket=name, Key="missing")
        refused(404, "404", S3.head_object, Bucket=name, Key="missing")
        refused(400, "InvalidArgument", get, VersionId="abc")
        same(get(VersionId="null")["Body"].read(), body)


@check
def conditional_writes():
    with bucket("lock") as name:
        put = lambda **more: S3.put_object(Bucket=name, Key="lock", Body=b"x", **more)
        refused(404, "NoSuchKey", put, IfMatch='"x"')
        etag = put(IfNoneMatch="*")["ETag"]
        refused(412, "PreconditionFailed", put, IfNoneMatch="*")
        refused(412, "PreconditionFailed", put, IfMatch='"x"')
        put(IfMatch=etag)
        refused(412, "PreconditionFailed", S3.delete_object, Bucket=name, Key="lock", IfMatch='"x"')
        S3.delete_object(Bucket=name, Key="lock", IfMatch=etag)
        put(IfNoneMatch="*")


@check
def checksums_are_verified_and_stored():
    known = {
        "CRC32": "DUoRhQ==",
        "CRC32C": "yZRlqg==",
        "CRC64NVME": "jSnVw/bqjr4=",
        "SHA1": "Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "SHA256": "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
    }
    with bucket("sums") as name:
        for algorithm, value in known.items():
            field = f"Checksum{algorithm}"
            put = S3.put_object(Bucket=name, Key="k", Body=b"hello world", **{field: value})
            same((put[field], put["ChecksumType"]), (value, "FULL_OBJECT"))
            same(S3.get_object(Bucket=name, Key="k", ChecksumMode="ENABLED")[field], value)
            same(S3.head_object(Bucket=name, Key="k", ChecksumMode="ENABLED")[field], value)
            same(field in S3.head_object(Bucket=name, Key="k"), False)
            refused(400, "BadDigest", S3.put_object, Bucket=name, Key="k", Body=b"hello worlD", **{field: value})
            listed = S3.list_objects_v2(Bucket=name)["Contents"][0]
            same(listed["ChecksumAlgorithm"], [algorithm])
        plainly = client(request_checksum_calculation="when_required")
        put = plainly.put_object(Bucket=name, Key="k", Body=b"hello world")
        same(put["ChecksumCRC64NVME"], known["CRC64NVME"])
        good = base64.b64encode(hashlib.md5(b"hello world").digest()).decode()
        plainly.put_object(Bucket=name, Key="k", Body=b"hello world", ContentMD5=good)
        refused(400, "BadDigest", plainly.put_object, Bucket=name, Key="k", Body=b"hello worlD", ContentMD5=good)
        refused(400, "InvalidDigest", plainly.put_object, Bucket=name, Key="k", Body=b"x", ContentMD5="eA==")
        refused(400, "InvalidRequest", S3.put_object, Bucket=name, Key="k", Body=b"x", ChecksumCRC32="x")
        same(S3.get_object(Bucket=name, Key="k")["Body"].read(), b"hello world")


@check
def chunked_bodies():
    with bucket("chunked") as name:
        data = os.urandom(300_000)
        S3.put_object(Bucket=name, Key="k", Body=io.BytesIO(data), ContentEncoding="gzip")
        got = S3.get_object(Bucket=name, Key="k")
        same((got["Body"].read(), got["ContentEncoding"]), (data, "gzip"))
        path = f"/{name}/unsigned"
        answer = lambda body, trailer, length=11: chunked(path, body, trailer, length)
        body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n"
        same(answer(body, b"x-amz-checksum-crc32:DUoRhQ==\r\n\r\n"), (200, ""))
        same(S3.get_object(Bucket=name, Key="unsigned", ChecksumMode="ENABLED")["ChecksumCRC32"], "DUoRhQ==")
        same(answer(body, b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n"), (400, "BadDigest"))
        same(answer(body, b"x-amz-checksum-crc32:DUoRhQ==\r\n\r\n", 12), (400, "IncompleteBody"))
        same(answer(body, b"x-amz-checksum-crc32:DUoRhQ==\r\n\r\n", 10), (400, "IncompleteBody"))
        same(answer(b"zz\r\n", b""), (400, "InvalidRequest"))
        path = f"/{name}/signed"
        same(signed_chunks(path, [b"a" * 70_000, b"b" * 10]), (200, ""))
        same(S3.get_object(Bucket=name, Key="signed")["Body"].read(), b"a" * 70_000 + b"b" * 10)
        same(signed_chunks(path, [b"x"], tamper=True), (403, "SignatureDoesNotMatch"))
        same(S3.head_object(Bucket=name, Key="signed")["ContentLength"], 70_010)


def chunked(path, body, trailer, length):
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(length),
        "Content-Encoding": "aws-chunked",
    }
    status, _, answer = plain("PUT", path, body + trailer, signed("PUT", path, body + trailer, headers))
    return status, code_of(answer)


def signed_chunks(path, chunks, tamper=False):
    """Returns a body in chunks with signatures. Each signature covers the previous one."""
    import hmac

    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    length = str(sum(map(len, chunks)))
    headers = signed("PUT", path, b"", {"x-amz-content-sha256": kind, "x-amz-decoded-content-length": length})
    lower = {name.lower(): value for name, value in headers.items()}
    moment = lower["x-amz-date"]
    previous = lower["authorization"].rsplit("Signature=")[1]
    scope = f"{moment[:8]}/us-east-1/s3/aws4_request"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    body = b""
    for chunk in [*chunks, b""]:
        empty, digest = hashlib.sha256(b"").hexdigest(), hashlib.sha256(chunk).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", moment, scope, previous, empty, digest])
        previous = hmac.new(key, text.encode(), "sha256").hexdigest()
        sent = chunk.replace(b"x", b"y") if tamper else chunk
        body += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + sent + b"\r\n"
    status, _, answer = plain("PUT", path, body, headers)
    return status, code_of(answer)


@check
def deleting():
    with bucket("delete") as name:
        for n in range(5):
            S3.put_object(Bucket=name, Key=f"k{n}", Body=b"x")
        S3.delete_object(Bucket=name, Key="k0")
        S3.delete_object(Bucket=name, Key="missing")
        keys = [
            {"Key": "k1"},
            {"Key": "missing"},
            {"Key": "k2", "VersionId": "null"},
            {"Key": "k3", "VersionId": "abc"},
        ]
        answer = S3.delete_objects(Bucket=name, Delete={"Objects": keys})
        same([entry["Key"] for entry in answer["Deleted"]], ["k1", "missing", "k2"])
        same([(entry["Key"], entry["Code"]) for entry in answer["Errors"]], [("k3", "NoSuchVersion")])
        answer = S3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k3"}], "Quiet": True})
        same("Deleted" in answer, False)
        same([entry["Key"] for entry in S3.list_objects_v2(Bucket=name)["Contents"]], ["k4"])
        many = {"Objects": [{"Key": str(n)} for n in range(1001)]}
        refused(400, "MalformedXML", S3.delete_objects, Bucket=name, Delete=many)
        body = b"<Delete><Object><Key>k4</Key></Object></Delete>"
        path = f"/{name}?delete"
        status, _, answer = plain("POST", path, body, signed("POST", path, body))
        same((status, code_of(answer)), (400, "InvalidRequest"))
        md5 = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
        same(plain("POST", path, body, signed("POST", path, body, md5))[0], 200)
        md5 = {"content-md5": base64.b64encode(hashlib.md5(b"<Delete").digest()).decode()}
        same(code_of(plain("POST", path, b"<Delete", signed("POST", path, b"<Delete", md5))[2]), "MalformedXML")


@check
def copying():
    with bucket("copy") as name, bucket("copy2") as other:
        S3.put_object(Bucket=name, Key="a/ü b", Body=b"hello", ContentType="text/x", Metadata={"m": "1"}, Tagging="t=1")
        source = {"Bucket": name, "Key": "a/ü b"}
        answer = S3.copy_object(Bucket=other, Key="k", CopySource=source)["CopyObjectResult"]
        same(answer["ETag"], f'"{hashlib.md5(b"hello").hexdigest()}"')
        got = S3.get_object(Bucket=other, Key="k")
        same((got["Body"].read(), got["ContentType"], got["Metadata"]), (b"hello", "text/x", {"m": "1"}))
        same(S3.get_object_tagging(Bucket=other, Key="k")["TagSet"], [{"Key": "t", "Value": "1"}])
        S3.copy_object(
            Bucket=other,
            Key="k",
            CopySource=source,
            MetadataDirective="REPLACE",
            ContentType="text/y",
            TaggingDirective="REPLACE",
            Tagging="u=2",
        )
        got = S3.get_object(Bucket=other, Key="k")
        same((got["ContentType"], got["Metadata"]), ("text/y", {}))
        same(S3.get_object_tagging(Bucket=other, Key="k")["TagSet"], [{"Key": "u", "Value": "2"}])
        refused(400, "InvalidRequest", S3.copy_object, Bucket=name, Key="a/ü b", CopySource=source)
        S3.copy_object(Bucket=name, Key="a/ü b", CopySource=source, MetadataDirective="REPLACE", Metadata={"m": "2"})
        same(S3.get_object(Bucket=name, Key="a/ü b")["Metadata"], {"m": "2"})
        refused(404, "NoSuchKey", S3.copy_object, Bucket=other, Key="k", CopySource=f"{name}/missing")
        refused(404, "NoSuchBucket", S3.copy_object, Bucket=other, Key="k", CopySource=f"missing-{RUN}/k")
        refused(
            412, "PreconditionFailed", S3.copy_object, Bucket=other, Key="k", CopySource=source, CopySourceIfMatch='"x"'
        )


@check
def listing():
    with bucket("listing") as name:
        keys = ["a/1", "a/2", "b", "c/d/1", "c/e", "z ü+"]
        for key in keys:
            S3.put_object(Bucket=name, Key=key, Body=b"12345")
        flat = S3.list_objects_v2(Bucket=name)
        same(([o["Key"] for o in flat["Contents"]], flat["KeyCount"], flat["IsTruncated"]), (keys, 6, False))
        entry = flat["Contents"][0]
        same((entry["Size"], entry["StorageClass"], "Owner" in entry), (5, "STANDARD", False))
        same("Owner" in S3.list_objects_v2(Bucket=name, FetchOwner=True)["Contents"][0], True)
        folded = S3.list_objects_v2(Bucket=name, Delimiter="/")
        same([p["Prefix"] for p in folded["CommonPrefixes"]], ["a/", "c/"])
        same([o["Key"] for o in folded["Contents"]], ["b", "z ü+"])
        deeper = S3.list_objects_v2(Bucket=name, Delimiter="/", Prefix="c/")
        same(
            ([p["Prefix"] for p in deeper["CommonPrefixes"]], [o["Key"] for o in deeper["Contents"]]),
            (["c/d/"], ["c/e"]),
        )
        for call, contents in [
            ("list_objects_v2", "Contents"),
            ("list_objects", "Contents"),
            ("list_object_versions", "Versions"),
        ]:
            pages = S3.get_paginator(call).paginate(Bucket=name, PaginationConfig={"PageSize": 2})
            same([o["Key"] for page in pages for o in page.get(contents, [])], keys)
            pages = S3.get_paginator(call).paginate(Bucket=name, Delimiter="/", PaginationConfig={"PageSize": 1})
            names = [
                o.get("Key") or o.get("Prefix")
                for page in pages
                for o in page.get("CommonPrefixes", []) + page.get(contents, [])
            ]
            same(names, ["a/", "b", "c/", "z ü+"])
        same([o["Key"] for o in S3.list_objects_v2(Bucket=name, StartAfter="b")["Contents"]], keys[3:])
        same(S3.list_objects_v2(Bucket=name, MaxKeys=0)["KeyCount"], 0)
        refused(400, "InvalidArgument", S3.list_objects_v2, Bucket=name, MaxKeys=-1)
        refused(400, "InvalidArgument", S3.list_objects_v2, Bucket=name, ContinuationToken="?")
        versions = S3.list_object_versions(Bucket=name)["Versions"]
        same({(v["VersionId"], v["IsLatest"]) for v in versions}, {("null", True)})
        raw = plain(
            "GET", f"/{name}?encoding-type=url&prefix=z", headers=signed("GET", f"/{name}?encoding-type=url&prefix=z")
        )[2]
        same(b"<Key>z+%C3%BC%2B</Key>" in raw, True)


# --- parts -----------------------------------------------------------------------------------------------------------


@check
def multipart_uploads():
    with bucket("parts") as name:
        place = {"Bucket": name, "Key": "big/file"}
        one, two = os.urandom(5 * MIB), os.urandom(1234)
        upload = S3.create_multipart_upload(**place, ContentType="video/x", Metadata={"m": "1"}, Tagging="t=1")[
            "UploadId"
        ]
        same([u["UploadId"] for u in S3.list_multipart_uploads(Bucket=name)["Uploads"]], [upload])
        part = lambda number, body, **more: S3.upload_part(
            **place, UploadId=upload, PartNumber=number, Body=body, **more
        )
        bare = client(request_checksum_calculation="when_required")
        part = lambda number, body: bare.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        etags = [part(1, b"replaced"), part(2, two)]
        etags[0] = part(1, one)
        same(etags[1], f'"{hashlib.md5(two).hexdigest()}"')
        refused(400, "InvalidArgument", part, 0, b"")
        refused(400, "InvalidArgument", part, 10_001, b"")
        refused(404, "404", S3.head_object, **place)
        listed = S3.list_parts(**place, UploadId=upload)
        same([(p["PartNumber"], p["Size"]) for p in listed["Parts"]], [(1, 5 * MIB), (2, 1234)])
        paged = S3.list_parts(**place, UploadId=upload, MaxParts=1)
        same((paged["IsTruncated"], paged["NextPartNumberMarker"]), (True, 1))
        complete = lambda *parts, **more: S3.complete_multipart_upload(
            **place,
            UploadId=more.pop("id", upload),
            MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in parts]},
            **more,
        )
        refused(400, "InvalidPartOrder", complete, (2, etags[1]), (1, etags[0]))
        refused(400, "InvalidPart", complete, (1, etags[1]), (2, etags[1]))
        refused(400, "InvalidPart", complete, (1, etags[0]), (3, etags[1]))
        refused(404, "NoSuchUpload", complete, (1, etags[0]), id="missing")
        done = complete((1, etags[0]), (2, etags[1]))
        digest = hashlib.md5(hashlib.md5(one).digest() + hashlib.md5(two).digest()).hexdigest()
        same(done["ETag"], f'"{digest}-2"')
        got = S3.get_object(**place, ChecksumMode="ENABLED")
        same(
            (got["ETag"], got["ContentType"], got["Metadata"], got["ChecksumType"]),
            (done["ETag"], "video/x", {"m": "1"}, "FULL_OBJECT"),
        )
        same(got["Body"].read() == one + two, True)
        around = S3.get_object(**place, Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")
        same(around["Body"].read(), one[-2:] + two[:2])
        second = S3.get_object(**place, PartNumber=2)
        same((second["Body"].read(), second["PartsCount"]), (two, 2))
        refused(404, "NoSuchUpload", S3.list_parts, **place, UploadId=upload)
        attributes = S3.get_object_attributes(
            **place, ObjectAttributes=["ETag", "ObjectSize", "ObjectParts", "Checksum", "StorageClass"]
        )
        same((attributes["ObjectSize"], attributes["ObjectParts"]["TotalPartsCount"]), (5 * MIB + 1234, 2))
        same("ChecksumCRC64NVME" in attributes["Checksum"], True)


@check
def small_parts_and_abandoned_uploads():
    with bucket("small") as name:
        place = {"Bucket": name, "Key": "k"}
        upload = S3.create_multipart_upload(**place, ChecksumAlgorithm="CRC32")["UploadId"]
        part = lambda number, body, **more: S3.upload_part(
            **place, UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32", **more
        )
        parts = [
            {"PartNumber": n, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]}
            for n, answer in [(1, part(1, b"a")), (2, part(2, b"b"))]
        ]
        finish = lambda parts: S3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        refused(400, "EntityTooSmall", finish, parts)
        refused(400, "MalformedXML", finish, [])
        without = [{key: part[key] for key in ("PartNumber", "ETag")} for part in parts[:1]]
        refused(400, "InvalidRequest", finish, without)
        refused(
            400,
            "InvalidRequest",
            S3.upload_part,
            **place,
            UploadId=upload,
            PartNumber=3,
            Body=b"c",
            ChecksumAlgorithm="SHA256",
        )
        S3.abort_multipart_upload(**place, UploadId=upload)
        refused(404, "NoSuchUpload", S3.abort_multipart_upload, **place, UploadId=upload)
        refused(404, "NoSuchUpload", part, 1, b"a")
        same("Uploads" in S3.list_multipart_uploads(Bucket=name), False)


@check
def checksums_of_parts():
    with bucket("psums") as name:
        pieces = [os.urandom(5 * MIB), os.urandom(77)]
        bare = client(request_checksum_calculation="when_required")
        for algorithm, kind in [
            ("CRC32", "COMPOSITE"),
            ("SHA256", "COMPOSITE"),
            ("CRC32", "FULL_OBJECT"),
            ("CRC32C", "FULL_OBJECT"),
            ("CRC64NVME", "FULL_OBJECT"),
        ]:
            field, place = f"Checksum{algorithm}", {"Bucket": name, "Key": f"{algorithm}-{kind}"}
            upload = S3.create_multipart_upload(**place, ChecksumAlgorithm=algorithm, ChecksumType=kind)
            same((upload["ChecksumAlgorithm"], upload["ChecksumType"]), (algorithm, kind))
            parts = []
            for number, piece in enumerate(pieces, 1):
                # botocore does not calculate CRC32C and CRC64NVME. The service accepts whatever
                # the client sends.
                answer = bare.upload_part(**place, UploadId=upload["UploadId"], PartNumber=number, Body=piece)
                parts.append({"PartNumber": number, "ETag": answer["ETag"], field: answer[field]})
            done = S3.complete_multipart_upload(**place, UploadId=upload["UploadId"], MultipartUpload={"Parts": parts})
            same((done[field].endswith("-2"), done["ChecksumType"]), (kind == "COMPOSITE", kind))
            got = S3.get_object(**place, ChecksumMode="ENABLED")
            same((got[field], got["Body"].read() == b"".join(pieces)), (done[field], True))
            if kind == "FULL_OBJECT":
                S3.put_object(Bucket=name, Key="whole", Body=b"".join(pieces))
                whole = S3.copy_object(Bucket=name, Key="copy", CopySource=f"{name}/whole", ChecksumAlgorithm=algorithm)
                same(whole["CopyObjectResult"][field], done[field])
        refused(
            400,
            "InvalidRequest",
            S3.create_multipart_upload,
            Bucket=name,
            Key="k",
            ChecksumAlgorithm="SHA1",
            ChecksumType="FULL_OBJECT",
        )


@check
def copied_parts_and_managed_transfers():
    with bucket("transfer") as name:
        data = os.urandom(17 * MIB)
        S3.upload_fileobj(io.BytesIO(data), name, "managed")
        same(S3.head_object(Bucket=name, Key="managed")["ETag"].endswith('-3"'), True)
        back = io.BytesIO()
        S3.download_fileobj(name, "managed", back)
        same(back.getvalue() == data, True)
        S3.copy({"Bucket": name, "Key": "managed"}, name, "copied")
        same(S3.get_object(Bucket=name, Key="copied")["Body"].read() == data, True)
        same(
            "-" in S3.copy_object(Bucket=name, Key="whole", CopySource=f"{name}/managed")["CopyObjectResult"]["ETag"],
            False,
        )
        place = {"Bucket": name, "Key": "pasted"}
        upload = S3.create_multipart_upload(**place)["UploadId"]
        paste = lambda number, ends: S3.upload_part_copy(
            **place, UploadId=upload, PartNumber=number, CopySource=f"{name}/managed", CopySourceRange=f"bytes={ends}"
        )
        parts = [
            {"PartNumber": n, "ETag": paste(n, ends)["CopyPartResult"]["ETag"]}
            for n, ends in [(1, f"7-{6 * MIB}"), (2, "0-6")]
        ]
        refused(400, "InvalidArgument", paste, 3, f"0-{17 * MIB}")
        S3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        same(S3.get_object(**place)["Body"].read() == data[7 : 6 * MIB + 1] + data[:7], True)


# --- HTTP ------------------------------------------------------------------------------------------------------------


@check
def responses_have_a_request_id():
    status, headers, body = plain("GET", f"/missing-{RUN}", headers=signed("GET", f"/missing-{RUN}"))
    same((status, code_of(body), headers["Content-Type"]), (404, "NoSuchBucket", "application/xml"))
    same(f"<RequestId>{headers['x-amz-request-id']}</RequestId>" in body.decode(), True)
    same(f"<HostId>{headers['x-amz-id-2']}</HostId>" in body.decode(), True)
    same(f"<BucketName>missing-{RUN}</BucketName>" in body.decode(), True)
    same(S3.list_buckets()["ResponseMetadata"]["HTTPStatusCode"], 200)


@check
def unsupported_operations_are_refused():
    with bucket("other") as name:
        for method, query in [
            ("PUT", "?cors"),
            ("PUT", "?lifecycle"),
            ("PUT", "?abac"),
            ("GET", "?metrics"),
            ("PUT", "/k?renameObject"),
        ]:
            path = f"/{name}{query}"
            status, _, body = plain(method, path, headers=signed(method, path))
            same((method, query, status, code_of(body)), (method, query, 501, "NotImplemented"))


@check
def methods_that_a_resource_does_not_have():
    with bucket("methods") as name:
        for method, path, kind in [
            ("PATCH", f"/{name}", "BUCKET"),
            ("POST", f"/{name}/k", "OBJECT"),
            ("PUT", "/", "SERVICE"),
            ("DELETE", "/", "SERVICE"),
        ]:
            status, _, body = plain(method, path, headers=signed(method, path))
            same((method, path, status, code_of(body)), (method, path, 405, "MethodNotAllowed"))
            same(f"<Method>{method}</Method><ResourceType>{kind}</ResourceType>" in body.decode(), True)


@check
def browsers_ask_before_they_send():
    """The answers to a preflight request for a bucket without a CORS configuration."""
    with bucket("cors") as name:
        asks = {"Origin": "http://example.com", "Access-Control-Request-Method": "PUT"}
        status, _, body = plain("OPTIONS", f"/{name}/k", headers=asks)
        same((status, code_of(body)), (403, "AccessForbidden"))
        same("<Message>CORSResponse: CORS is not enabled for this bucket.</Message>" in body.decode(), True)
        same("<Method>PUT</Method><ResourceType>OBJECT</ResourceType>" in body.decode(), True)
        for header in asks:
            rest = {known: value for known, value in asks.items() if known != header}
            status, _, body = plain("OPTIONS", f"/{name}", headers=rest)
            same((status, code_of(body)), (400, "BadRequest"))
        status, _, body = plain("OPTIONS", f"/missing-{RUN}/k", headers=asks)
        same((status, code_of(body)), (404, "NoSuchBucket"))


# --- forms of browsers -----------------------------------------------------------------------------------------------


def post(name, fields, content=b"hello", filename="a.txt", kind="multipart/form-data; boundary=xx"):
    """Sends a form as a browser does. Returns status, headers and body."""
    parts = [f'Content-Disposition: form-data; name="{field}"\r\n\r\n{value}' for field, value in fields.items()]
    if content is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/html\r\n\r\n'
        parts.append(head + content.decode("latin1"))
    body = "".join(f"--xx\r\n{part}\r\n" for part in parts) + "--xx--\r\n"
    host = urllib.parse.urlsplit(ENDPOINT)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
    connection.request("POST", f"/{name}", body.encode("latin1"), {"Content-Type": kind})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


@check
def forms_store_objects():
    version_2 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version="s3"))
    for s3 in (S3, version_2):
        with bucket("forms") as name:
            form = s3.generate_presigned_post(name, "dir/k ü")["fields"]
            status, headers, body = post(name, {key: value.replace("ü", "Ã¼") for key, value in form.items()})
            same((status, body), (204, b""))
            same(headers["ETag"], f'"{hashlib.md5(b"hello").hexdigest()}"')
            same(headers["Location"], f"{ENDPOINT}/{name}/dir%2Fk%20%C3%BC")
            found = S3.get_object(Bucket=name, Key="dir/k ü")
            same((found["Body"].read(), found["ContentType"]), (b"hello", "binary/octet-stream"))


@check
def a_form_describes_its_object_and_its_answer():
    with bucket("form") as name:
        tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b c</Value></Tag></TagSet></Tagging>"
        more = {
            "acl": "private", "Content-Type": "text/css", "Cache-Control": "no-store", "tagging": tags,
            "x-amz-meta-One": "1", "x-amz-storage-class": "STANDARD_IA", "success_action_status": "201",
        }
        conditions = [["starts-with", "$key", "user/"], *({key: value} for key, value in more.items())]
        conditions += [["content-length-range", 2, 9]]
        form = S3.generate_presigned_post(name, "user/${filename}", {**more, "x-ignore-a": "1"}, conditions)["fields"]
        status, headers, body = post(name, form, filename="C:\\\\dir\\\\it.css")
        same((status, headers["Content-Type"]), (201, "application/xml"))
        elements = {child.tag: child.text for child in xml.etree.ElementTree.fromstring(body)}
        etag = f'"{hashlib.md5(b"hello").hexdigest()}"'
        place = f"{ENDPOINT}/{name}/user%2Fit.css"
        same(elements, {"Location": place, "Bucket": name, "Key": "user/it.css", "ETag": etag})
        found = S3.head_object(Bucket=name, Key="user/it.css")
        same((found["ContentType"], found["CacheControl"], found["StorageClass"]), ("text/css", "no-store", "STANDARD_IA"))
        same((found["Metadata"], found["TagCount"]), ({"one": "1"}, 1))
        same(S3.get_object_tagging(Bucket=name, Key="user/it.css")["TagSet"], [{"Key": "a", "Value": "b c"}])
        for content, code in [(b"x", "EntityTooSmall"), (b"x" * 10, "EntityTooLarge")]:
            status, _, body = post(name, form, content)
            same((status, code_of(body)), (400, code))
        url = {"success_action_redirect": "http://example.com/done?a=b"}
        form = S3.generate_presigned_post(name, "k", url, [url])["fields"]
        status, headers, _ = post(name, form)
        same((status, headers["Location"]), (303, f"{url['success_action_redirect']}&bucket={name}&key=k&etag=%22{etag[1:-1]}%22"))
        big = os.urandom(3 * MIB)
        form = S3.generate_presigned_post(name, "big")["fields"]
        same(post(name, form, big)[0], 204)
        same(S3.get_object(Bucket=name, Key="big")["Body"].read(), big)


@check
def forms_that_s3_refuses():
    with bucket("refused") as name:
        made = S3.generate_presigned_post(name, "k", Conditions=[{"acl": "private"}])["fields"]
        good = {**made, "acl": "private"}

        def refuses(fields, status, code, message=None, **more):
            got, _, body = post(name, fields, **more)
            same((got, code_of(body)), (status, code))
            text = xml.etree.ElementTree.fromstring(body).findtext("Message")
            same(message is None or message in text, True)

        without = lambda *names: {key: value for key, value in good.items() if key not in names}
        denied = (403, "AccessDenied")
        refuses({**good, "key": "other"}, *denied, 'Policy Condition failed: ["eq", "$key", "k"]')
        refuses(without("acl"), *denied, 'Policy Condition failed: ["eq", "$acl", "private"]')
        refuses({**good, "x-amz-meta-a": "b"}, *denied, "Invalid according to Policy: Extra input fields: x-amz-meta-a")
        old = S3.generate_presigned_post(name, "k", ExpiresIn=-1)["fields"]
        refuses(old, *denied, "Invalid according to Policy: Policy expired.")
        other = S3.generate_presigned_post("another-bucket", "k")["fields"]
        refuses(other, *denied, 'Policy Condition failed: ["eq", "$bucket", "another-bucket"]')
        refuses({"key": "k"}, *denied, "Access Denied")
        refuses({**good, "x-amz-signature": "0" * 64}, 403, "SignatureDoesNotMatch")
        unknown = good["x-amz-credential"].replace(KEY_ID, "AKIAOTHER")
        refuses({**good, "x-amz-credential": unknown}, 403, "InvalidAccessKeyId")
        refuses({**good, "x-amz-credential": "x"}, 400, "InvalidArgument")
        refuses(without("x-amz-signature"), 400, "InvalidArgument", "a field named 'X-Amz-Signature'")
        refuses(without("key"), 400, "InvalidArgument", "a field named 'key'")
        refuses(good, 400, "InvalidArgument", "exactly one file upload", content=None)
        refuses(good, 412, "PreconditionFailed", kind="text/plain")
        refuses(good, 400, "MalformedPOSTRequest", kind="multipart/form-data; boundary=yy")
        refuses({"key": "k", "policy": "x" * 30000}, 400, "MaxPostPreDataLengthExceeded")
        same(S3.list_objects_v2(Bucket=name)["KeyCount"], 0)
        same(plain("POST", f"/missing-{RUN}", b"x", {"Content-Type": "multipart/form-data; boundary=a"})[0], 400)


@check
def everyone_may_send_a_form_that_the_bucket_allows():
    with bucket("open") as name:
        unblock(name)
        S3.put_bucket_policy(Bucket=name, Policy=policy(public(name, "/in/*", "s3:PutObject")))
        same(post(name, {"key": "in/k"})[0], 204)
        same(post(name, {"key": "out/k"})[0], 403)


@check
def sizes_are_checked_before_the_body_is_read():
    with bucket("sizes") as name:
        path = f"/{name}/k"
        same(announce(path, 5 * 1024 * MIB + 1), (400, "EntityTooLarge"))
        host = urllib.parse.urlsplit(ENDPOINT)
        connection = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
        headers = signed("PUT", path, b"", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        connection.request("PUT", path, body=iter([b"hello"]), headers=headers, encode_chunked=True)
        answer = connection.getresponse()
        same((answer.status, code_of(answer.read())), (411, "MissingContentLength"))
        announce(path, 4 * 1024 * MIB, b"short")
        refused(404, "404", S3.head_object, Bucket=name, Key="k")


def announce(path, length, body=None):
    """Announces a body. Sends `body` and closes the connection, or waits for the response."""
    host = urllib.parse.urlsplit(ENDPOINT)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
    connection.putrequest("PUT", path)
    for name, value in signed("PUT", path, b"", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}).items():
        if name.lower() not in ("host", "content-length"):
            connection.putheader(name, value)
    connection.putheader("Content-Length", str(length))
    connection.endheaders(body)
    if body is not None:
        connection.close()
        return None
    answer = connection.getresponse()
    return answer.status, code_of(answer.read())


def main(checks):
    failures = 0
    for function in checks:
        try:
            function()
        except Exception:
            failures += 1
            print(f"{function.__name__}: {traceback.format_exc(limit=-4)}", file=sys.stderr)
    if failures:
        print(f"{failures} of {len(checks)} checks differ", file=sys.stderr)
        return 1
    print(f"{len(checks)} checks, {ASSERTIONS} comparisons: all as on AWS")
    return 0


if __name__ == "__main__":
    sys.exit(main(CHECKS))
