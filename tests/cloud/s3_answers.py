#!/usr/bin/env python3
"""Compares answers of the local S3 with those of AWS: status, code, and the elements of error documents.

    AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=.. AWS_SECRET_ACCESS_KEY=.. s3_answers.py

The expected values are AWS's. Their sources are named at the checks: `localstack` stands for the snapshots of answers
of AWS in localstack's tests/aws/services/s3, `moto` for the tests of moto that are marked as verified on AWS, `ceph` for
ceph's s3-tests, and `API` for Amazon's S3 API reference.
"""

import base64
import datetime
import hashlib
import http.client
import os
import re
import sys
import traceback
import urllib.parse
import xml.etree.ElementTree
import zlib

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from s3_clients import (
    ENDPOINT,
    KEY_ID,
    MIB,
    RUN,
    S3,
    SECRET,
    at,
    at_presign,
    bucket,
    client,
    plain,
    refused,
    same,
    signed,
)

CHECKS = []
# Sends no checksum unless the operation requires one.
BARE = client(request_checksum_calculation="when_required", response_checksum_validation="when_required")


def check(function):
    CHECKS.append(function)
    return function


def send(method, path, body=b"", headers=None, **more):
    return plain(method, path, body or None, signed(method, path, body, headers, **more))


def document(body):
    """Returns the elements of an error document, without the ids of the request."""
    root = xml.etree.ElementTree.fromstring(body)
    elements = {child.tag: child.text or "" for child in root}
    same(all(elements.pop(name) for name in ("RequestId", "HostId")), True)
    return elements


def answers(status, code, method, path, body=b"", headers=None, **expected):
    """Sends a request that must fail with exactly these elements, in addition to code and message."""
    actual, _, text = send(method, path, body, headers)
    elements = document(text)
    message = elements.pop("Message")
    wanted = {"Code": code, **{name.replace("_", "-"): value for name, value in expected.items()}}
    same((method, path, actual, elements), (method, path, status, wanted))
    return message


def presigned(method, path, query):
    """Returns a presigned path whose query contains what would otherwise be headers. localstack:
    test_pre_signed_url_if_match, test_presigned_url_v4_x_amz_in_qs."""
    request = AWSRequest(method=method, url=ENDPOINT + path, params=query)
    S3SigV4QueryAuth(Credentials(KEY_ID, SECRET), "s3", "us-east-1").add_auth(request)
    return request.url.removeprefix(ENDPOINT)


def fails(status, code, call, *args, elements=None, **kwargs):
    """Makes a call that must fail with exactly these elements, in addition to code and message."""
    error = dict(refused(status, code, call, *args, **kwargs))
    message = error.pop("Message")
    same(error, {"Code": code, **(elements or {})})
    return message


# --- multipart uploads -----------------------------------------------------------------------------------------------


class Upload:
    """A multipart upload."""

    def __init__(self, name, key, s3=S3, **options):
        self.s3, self.place = s3, {"Bucket": name, "Key": key}
        self.begun = s3.create_multipart_upload(**self.place, **options)
        self.id = self.begun["UploadId"]

    def part(self, number, body, **more):
        return self.s3.upload_part(**self.place, UploadId=self.id, PartNumber=number, Body=body, **more)

    def complete(self, *parts, **more):
        named = {"MultipartUpload": {"Parts": list(parts)}} if parts else {}
        return self.s3.complete_multipart_upload(**self.place, UploadId=self.id, **named, **more)


def named(number, answer, *sums):
    return {"PartNumber": number, "ETag": answer["ETag"], **{name: answer[name] for name in sums}}


@check
def a_part_may_have_a_checksum_although_the_upload_has_none():
    """localstack: test_complete_multipart_parts_checksum_default."""
    with bucket("unasked") as name:
        upload = Upload(name, "k")
        same("ChecksumAlgorithm" in upload.begun, False)
        part = upload.part(1, b"aaa", ChecksumAlgorithm="SHA256")
        same(part["ChecksumSHA256"], base64.b64encode(hashlib.sha256(b"aaa").digest()).decode())
        refused(400, "BadDigest", upload.part, 1, b"aaa", ChecksumSHA256="47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
        listed = S3.list_parts(**upload.place, UploadId=upload.id)
        same(("ChecksumAlgorithm" in listed, sorted(listed["Parts"][0])), (False, ["ETag", "LastModified", "PartNumber", "Size"]))
        wrong = {"UploadId": upload.id, "PartNumber": "1", "ETag": "47bce5c74f589f4867dbd57e9ca9f808"}
        fails(400, "InvalidPart", upload.complete, named(1, part, "ChecksumSHA256"), elements=wrong)
        for kind in ("FULL_OBJECT", "COMPOSITE"):
            message = fails(400, "InvalidRequest", upload.complete, named(1, part), ChecksumType=kind)
            same("using the null checksum mode" in message, True)
        # S3 ignores this checksum.
        done = upload.complete(named(1, part), ChecksumCRC32C="AAAAAA==-2")
        same((done["ChecksumType"], done["ChecksumCRC64NVME"]), ("FULL_OBJECT", "Rnr2/5P7Gsk="))


@check
def an_upload_can_be_completed_twice():
    """moto: test_idempotent_multipart_upload, the condition included. ceph: test_multipart_upload, test_multipart_reupload_checksum_and_etag."""
    with bucket("twice") as name:
        upload = Upload(name, "k")
        part = named(1, upload.part(1, b"hello"))
        first, second = upload.complete(part), upload.complete(part, IfNoneMatch="*")
        same((second["ETag"], second["Key"]), (first["ETag"], "k"))
        other = {**part, "ETag": '"47bce5c74f589f4867dbd57e9ca9f808"'}
        gone = {"UploadId": upload.id}
        fails(404, "NoSuchUpload", upload.complete, other, elements=gone)
        fails(404, "NoSuchUpload", S3.list_parts, **upload.place, UploadId=upload.id, elements=gone)
        fails(404, "NoSuchUpload", S3.abort_multipart_upload, **upload.place, UploadId=upload.id, elements=gone)
        S3.put_object(Bucket=name, Key="k", Body=b"new")
        fails(404, "NoSuchUpload", upload.complete, part, elements=gone)
        same(S3.get_object(Bucket=name, Key="k")["Body"].read(), b"new")


@check
def the_parts_of_an_object():
    """localstack: test_get_object_part, test_complete_multipart_parts_checksum_*, test_multipart_size_validation."""
    first, last = os.urandom(5 * MIB), b"test content 123"
    with bucket("part") as name:
        for algorithm, kind in [("CRC32", "COMPOSITE"), ("SHA256", "COMPOSITE"), ("CRC32", "FULL_OBJECT")]:
            field = f"Checksum{algorithm}"
            upload = Upload(name, f"{algorithm}-{kind}", ChecksumAlgorithm=algorithm, ChecksumType=kind)
            sums = [upload.part(n, body, ChecksumAlgorithm=algorithm) for n, body in [(1, first), (2, last)]]
            parts = [named(n, part, field) for n, part in enumerate(sums, 1)]
            listed = S3.list_parts(**upload.place, UploadId=upload.id)
            same((listed["ChecksumAlgorithm"], listed["ChecksumType"]), (algorithm, kind))
            same([part[field] for part in listed["Parts"]], [part[field] for part in sums])
            message = fails(400, "InvalidRequest", upload.complete, *parts, MpuObjectSize=5)
            same(f"value 5 does not match what was computed: {len(first + last)}" in message, True)
            upload.complete(*parts, MpuObjectSize=len(first + last))
            for call in (S3.get_object, S3.head_object):
                part = call(**upload.place, PartNumber=2, ChecksumMode="ENABLED")
                same((part["ResponseMetadata"]["HTTPStatusCode"], part["PartsCount"]), (206, 2))
                same(part["ContentRange"], f"bytes {5 * MIB}-{5 * MIB + 15}/{5 * MIB + 16}")
                same(part.get(field), sums[1][field] if kind == "COMPOSITE" else None)
            attributes = S3.get_object_attributes(**upload.place, ObjectAttributes=["ObjectParts"])["ObjectParts"]
            if kind == "FULL_OBJECT":
                same(attributes, {"TotalPartsCount": 2})
            else:
                same([(p["PartNumber"], p[field]) for p in attributes["Parts"]], [(1, sums[0][field]), (2, sums[1][field])])
        get = lambda number, **more: S3.get_object(**upload.place, PartNumber=number, **more)
        asked = {"PartNumberRequested": "3", "ActualPartCount": "2"}
        fails(416, "InvalidPartNumber", get, 3, elements=asked)
        number = {"ArgumentName": "partNumber", "ArgumentValue": "0"}
        fails(400, "InvalidArgument", get, 0, elements=number)
        fails(400, "InvalidRequest", get, 1, Range="bytes=0-1")
        S3.put_object(Bucket=name, Key="plain", Body=b"test-123", ChecksumAlgorithm="CRC32")
        one = S3.get_object(Bucket=name, Key="plain", PartNumber=1, ChecksumMode="ENABLED")
        same((one["ResponseMetadata"]["HTTPStatusCode"], one["ChecksumCRC32"]), (206, "MAPXAg=="))
        same(S3.head_object(Bucket=name, Key="plain", Range="bytes=1-2")["ResponseMetadata"]["HTTPStatusCode"], 206)


@check
def what_is_wrong_with_the_parts_of_an_upload():
    """localstack: test_multipart_complete_multipart_too_small, .._wrong_part, .._parts_order, checksum_exceptions."""
    with bucket("wrong") as name:
        upload = Upload(name, "k")
        same(fails(400, "InvalidRequest", upload.complete), "You must specify at least one part")
        path = f"/{name}/k?uploadId={upload.id}"
        answers(400, "MalformedXML", "POST", path, b"<CompleteMultipartUpload/>")
        answers(400, "MalformedXML", "POST", path, b"<CompleteMultipart")
        one, two = (named(n, upload.part(n, b"part")) for n in (1, 2))
        small = {
            "ETag": one["ETag"].strip('"'),
            "MinSizeAllowed": "5242880",
            "PartNumber": "1",
            "ProposedSize": "4",
        }
        fails(400, "EntityTooSmall", upload.complete, one, two, elements=small)
        fails(400, "InvalidPartOrder", upload.complete, two, one, elements={"UploadId": upload.id})
        missing = {"UploadId": upload.id, "PartNumber": "3", "ETag": one["ETag"].strip('"')}
        fails(400, "InvalidPart", upload.complete, {**one, "PartNumber": 3}, elements=missing)
        for number in (0, 10_001, -1):
            wrong = {"ArgumentName": "partNumber", "ArgumentValue": str(number)}
            fails(400, "InvalidArgument", upload.part, number, b"", elements=wrong)
        answers(400, "InvalidArgument", "PUT", f"{path}&partNumber=x", ArgumentName="partNumber", ArgumentValue="x")
        fails(404, "NoSuchUpload", S3.upload_part, Bucket=name, Key="other", UploadId=upload.id, PartNumber=1, elements={"UploadId": upload.id})
        fails(400, "InvalidRequest", S3.create_multipart_upload, Bucket=name, Key="k", ChecksumType="COMPOSITE")
        composite = Upload(name, "k", ChecksumAlgorithm="CRC32")
        part = composite.part(1, b"abc", ChecksumAlgorithm="CRC32")
        other = {**named(1, part), "ChecksumSHA256": "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="}
        message = fails(400, "BadDigest", composite.complete, other)
        same(message, "The sha256 you specified for part 1 did not match what we received.")
        fails(400, "InvalidRequest", composite.complete, named(1, part), ChecksumType="FULL_OBJECT")
        whole = Upload(name, "k", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
        part = named(1, whole.part(1, b"abc", ChecksumAlgorithm="CRC32"), "ChecksumCRC32")
        right = {"ChecksumCRC32": part["ChecksumCRC32"]}
        message = fails(400, "BadDigest", whole.complete, part, **right)
        same(message, "The crc32 you specified did not match the calculated checksum.")
        same(whole.complete(part, ChecksumType="FULL_OBJECT", **right)["ChecksumType"], "FULL_OBJECT")


@check
def an_upload_loses_against_a_request_that_writes_the_object_meanwhile():
    """localstack: test_multipart_if_match_with_put, test_multipart_if_none_match_with_delete."""
    with bucket("meanwhile") as name:
        first = S3.put_object(Bucket=name, Key="k", Body=b"1")["ETag"]
        upload = Upload(name, "k")
        part = named(1, upload.part(1, b"new"))
        second = S3.put_object(Bucket=name, Key="k", Body=b"2")["ETag"]
        fails(412, "PreconditionFailed", upload.complete, part, IfMatch=first, elements={"Condition": "If-Match"})
        conflict = {"Condition": "If-Match", "Key": "k"}
        fails(409, "ConditionalRequestConflict", upload.complete, part, IfMatch=second, elements=conflict)
        S3.delete_object(Bucket=name, Key="k")
        fails(404, "NoSuchKey", upload.complete, part, IfMatch=second, elements={"Key": "k"})
        conflict = {"Condition": "If-None-Match", "Key": "k"}
        fails(409, "ConditionalRequestConflict", upload.complete, part, IfNoneMatch="*", elements=conflict)
        upload.complete(part)
        again = Upload(name, "k")
        part = named(1, again.part(1, b"newer"))
        fails(412, "PreconditionFailed", again.complete, part, IfNoneMatch="*", elements={"Condition": "If-None-Match"})
        again.complete(part, IfMatch=S3.head_object(Bucket=name, Key="k")["ETag"])


@check
def lists_of_uploads_and_parts():
    """localstack: TestS3ListMultipartUploads, TestS3ListParts."""
    with bucket("lists") as name:
        empty = S3.list_multipart_uploads(Bucket=name)
        same([empty[k] for k in ("NextKeyMarker", "NextUploadIdMarker", "KeyMarker", "UploadIdMarker")], [""] * 4)
        keys = ["a/1", "a/2", "b", "b", "ü +"]
        ids = [Upload(name, key).id for key in keys]
        listed = lambda **more: S3.list_multipart_uploads(Bucket=name, **more)
        every = listed()
        same([(u["Key"], u["UploadId"]) for u in every["Uploads"]], list(zip(keys, ids)))
        same((every["IsTruncated"], every["NextKeyMarker"], every["NextUploadIdMarker"]), (False, "ü +", ids[4]))
        page = listed(MaxUploads=3)
        same((page["IsTruncated"], page["NextKeyMarker"], page["NextUploadIdMarker"]), (True, "b", ids[2]))
        rest = listed(KeyMarker="b", UploadIdMarker=ids[2])
        same([u["UploadId"] for u in rest["Uploads"]], ids[3:])
        same([u["UploadId"] for u in listed(KeyMarker="b")["Uploads"]], ids[4:])
        same(listed(UploadIdMarker=ids[3])["UploadIdMarker"], "")
        wrong = {"ArgumentName": "upload-id-marker", "ArgumentValue": ids[0]}
        fails(400, "InvalidArgument", listed, KeyMarker="b", UploadIdMarker=ids[0], elements=wrong)
        folded = listed(Delimiter="/")
        same([p["Prefix"] for p in folded["CommonPrefixes"]], ["a/"])
        same([u["Key"] for u in folded["Uploads"]], keys[2:])
        same([u["Key"] for u in listed(Prefix="a/", Delimiter="/")["Uploads"]], keys[:2])
        prefix = listed(Delimiter="/", MaxUploads=1)
        same((prefix["IsTruncated"], prefix["NextKeyMarker"]), (True, ""))
        for after in ("a/", "a/1"):
            same([u["UploadId"] for u in listed(Delimiter="/", KeyMarker=after)["Uploads"]], ids[2:])
        raw = send("GET", f"/{name}?encoding-type=url&prefix=%C3%BC&uploads=")[2]
        same(b"<Key>%C3%BC+%2B</Key>" in raw, True)
        upload = Upload(name, "parts")
        parts = lambda **more: S3.list_parts(**upload.place, UploadId=upload.id, **more)
        same(parts()["NextPartNumberMarker"], 0)
        for number in (1, 3, 7):
            upload.part(number, b"x")
        page = parts(MaxParts=2)
        same(([p["PartNumber"] for p in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]), ([1, 3], True, 3))
        page = parts(MaxParts=2, PartNumberMarker=3)
        same(([p["PartNumber"] for p in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]), ([7], False, 7))
        same((parts(PartNumberMarker=10)["NextPartNumberMarker"], "Parts" in parts(PartNumberMarker=10)), (0, False))
        path = f"/{name}/parts?uploadId={upload.id}&"
        for query in ("part-number-marker=", "max-parts="):
            same(send("GET", f"{path}{query}")[0], 200)
        answers(400, "InvalidArgument", "GET", f"{path}max-parts=-1", ArgumentName="max-parts", ArgumentValue="-1")
        answers(400, "InvalidArgument", "GET", f"{path}max-parts=x", ArgumentName="max-parts", ArgumentValue="x")


@check
def parts_that_are_copied():
    """localstack: test_upload_part_copy_range, test_upload_part_copy_with_*, test_s3_copy_object_src_not_exists,
    test_copy_object_special_character_plus_for_space, test_user_metadata_rfc2047_encoded."""
    with bucket("pasted") as name:
        S3.put_object(Bucket=name, Key="source", Body=b"0123456789")
        upload = Upload(name, "k")
        paste = lambda ends, **more: S3.upload_part_copy(
            **upload.place, UploadId=upload.id, PartNumber=1, CopySource=f"{name}/source", CopySourceRange=ends, **more
        )
        same(paste("bytes=0-8")["CopyPartResult"]["ETag"], '"22975d8a5ed1b91445f6c55ac121505b"')
        for form in ["0-8", "bytes=1-0", "bytes=-1-", "bytes=1-", "bytes=-15", "bytes=-", "bytes=0-1,3-4", "bytes=0--1"]:
            wrong = {"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": form}
            message = fails(400, "InvalidArgument", paste, form, elements=wrong)
            same(message.startswith("The x-amz-copy-source-range value must be of the form bytes=first-last"), True)
        wrong = {"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": "bytes=0-100"}
        message = fails(400, "InvalidArgument", paste, "bytes=0-100", elements=wrong)
        same(message, "Range specified is not valid for source object of size: 10")
        message = fails(400, "InvalidRequest", paste, "bytes=100-200")
        same(message, "The specified copy range is invalid for the source object size")
        failed = {"Condition": "x-amz-copy-source-If-None-Match"}
        etag = S3.head_object(Bucket=name, Key="source")["ETag"]
        fails(412, "PreconditionFailed", paste, "bytes=0-1", CopySourceIfNoneMatch=etag, elements=failed)
        copy = lambda source: S3.copy_object(Bucket=name, Key="copy", CopySource=source)
        fails(404, "NoSuchKey", copy, f"{name}/missing", elements={"Key": "missing"})
        fails(404, "NoSuchBucket", copy, f"missing-{RUN}/k", elements={"BucketName": f"missing-{RUN}"})
        S3.put_object(Bucket=name, Key="a b+c", Body=b"blank", Metadata={"m": "=?UTF-8?Q?a_=C3=BC?="})
        for source in (f"{name}%2Fa+b%2Bc", f"{ENDPOINT}/{name}/a+b%2Bc", f"/{name}/a%20b%2Bc"):
            same(send("PUT", f"/{name}/copy", headers={"x-amz-copy-source": source})[0], 200)
            copied = S3.get_object(Bucket=name, Key="copy")
            same((copied["Body"].read(), copied["Metadata"]), (b"blank", {"m": "=?UTF-8?B?YSDDvA==?="}))
        wrong = {"ArgumentName": "x-amz-copy-source", "ArgumentValue": "x-amz-copy-source"}
        fails(400, "InvalidArgument", copy, "wrongformat", elements=wrong)


# --- errors ----------------------------------------------------------------------------------------------------------


@check
def documents_name_what_the_error_is_about():
    """localstack: TestS3, TestS3ObjectCRUD, TestS3BucketCRUD."""
    missing = f"missing-{RUN}"
    with bucket("about") as name:
        S3.put_object(Bucket=name, Key="k", Body=b"0123456789")
        answers(404, "NoSuchBucket", "GET", f"/{missing}", BucketName=missing)
        answers(404, "NoSuchKey", "GET", f"/{name}/a/no", Key="a/no")
        answers(404, "NoSuchKey", "GET", f"/{name}/no?tagging=", Key=f"{name}/no")
        answers(404, "NoSuchKey", "DELETE", f"/{name}/no?tagging=", Key="no")
        answers(409, "BucketNotEmpty", "DELETE", f"/{name}", BucketName=name)
        answers(400, "InvalidBucketName", "PUT", "/Upper", BucketName="Upper")
        answers(404, "NoSuchBucketPolicy", "GET", f"/{name}?policy=", BucketName=name)
        answers(404, "NoSuchTagSet", "GET", f"/{name}?tagging=", BucketName=name)
        unlike = {"ArgumentName": "versionId", "ArgumentValue": "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"}
        answers(400, "InvalidArgument", "GET", f"/{name}/k?versionId={unlike['ArgumentValue']}", **unlike)
        for form in ("bytes=100-200", "bytes=-0"):
            size = {"ActualObjectSize": "10", "RangeRequested": form}
            answers(416, "InvalidRange", "GET", f"/{name}/k", headers={"Range": form}, **size)
        whole = S3.get_object(Bucket=name, Key="k", Range="bytes=-15", ChecksumMode="ENABLED")
        same((whole["ContentRange"], "ChecksumCRC32" in whole), ("bytes 0-9/10", True))
        long = {"Size": "1025", "MaxSizeAllowed": "1024"}
        answers(400, "KeyTooLongError", "PUT", f"/{name}/{'x' * 1025}", **long)
        put = lambda **more: BARE.put_object(Bucket=name, Key="k", Body=b"test", **more)
        size = {"Size": "2101", "MaxSizeAllowed": "2048"}
        fails(400, "MetadataTooLarge", put, Metadata={"m": "x" * 2100}, elements=size)
        fails(400, "InvalidStorageClass", put, StorageClass="NO", elements={"StorageClassRequested": "NO"})
        fails(400, "InvalidDigest", put, ContentMD5="MTIz", elements={"Content-MD5": "MTIz"})
        md5 = lambda body: hashlib.md5(body).digest()
        based = lambda body: base64.b64encode(md5(body)).decode()
        digests = {"ExpectedDigest": md5(b"x").hex(), "CalculatedDigest": based(b"test")}
        fails(400, "BadDigest", put, ContentMD5=based(b"x"), elements=digests)
        upload = Upload(name, "k", BARE)
        digests["ExpectedDigest"] = based(b"x")
        fails(400, "BadDigest", upload.part, 1, b"test", ContentMD5=based(b"x"), elements=digests)
        put(StorageClass="GLACIER")
        archived = {"StorageClass": "GLACIER"}
        fails(403, "InvalidObjectState", S3.get_object, Bucket=name, Key="k", elements=archived)
        fails(400, "InvalidArgument", put, ACL="fake", elements={"ArgumentName": "x-amz-acl", "ArgumentValue": "fake"})
        fails(400, "InvalidRequest", put, ACL="private", GrantRead="id=abc")
        owned = lambda owner: S3.get_bucket_policy(Bucket=name, ExpectedBucketOwner=owner)
        message = fails(400, "InvalidBucketOwnerAWSAccountID", owned, "abcd")
        same(message, "The value of the expected bucket owner parameter must be an AWS Account ID... [abcd]")


@check
def conditions_are_named():
    """localstack: TestS3ObjectWritePrecondition, TestS3DeletePrecondition, test_s3_get_object_preconditions."""
    with bucket("conditions") as name:
        etag = S3.put_object(Bucket=name, Key="k", Body=b"x")["ETag"]
        put = lambda key="k", **more: S3.put_object(Bucket=name, Key=key, Body=b"x", **more)
        fails(412, "PreconditionFailed", put, IfMatch="x", elements={"Condition": "If-Match"})
        fails(412, "PreconditionFailed", put, IfNoneMatch="*", elements={"Condition": "If-None-Match"})
        fails(404, "NoSuchKey", put, "no", IfMatch="x", elements={"Key": "no"})
        reason = lambda header: {"Header": header, "additionalMessage": f"We don't accept the provided value of {header} header for this API"}
        fails(501, "NotImplemented", put, IfMatch="*", elements=reason("If-Match"))
        fails(501, "NotImplemented", put, IfNoneMatch=etag, elements=reason("If-None-Match"))
        both = {"Header": "If-Match,If-None-Match", "additionalMessage": "Multiple conditional request headers present in the request"}
        fails(501, "NotImplemented", put, IfMatch=etag, IfNoneMatch="*", elements=both)
        get = lambda **more: S3.get_object(Bucket=name, Key="k", **more)
        fails(412, "PreconditionFailed", get, IfMatch="x", elements={"Condition": "If-Match"})
        past = {"IfUnmodifiedSince": "2015-10-21T00:00:00Z"}
        fails(412, "PreconditionFailed", get, **past, elements={"Condition": "If-Unmodified-Since"})
        delete = lambda key="k", **more: S3.delete_object(Bucket=name, Key=key, **more)
        fails(412, "PreconditionFailed", delete, IfMatch="x", elements={"Condition": "If-Match"})
        fails(404, "NoSuchKey", delete, "no", IfMatch="x", elements={"Key": "no"})
        fails(501, "NotImplemented", delete, IfMatchSize=1, elements={"Header": "x-amz-if-match-size"})
        copy = lambda **more: S3.copy_object(Bucket=name, Key="k", CopySource=f"{name}/k", **more)
        fails(412, "PreconditionFailed", copy, IfNoneMatch="*", elements={"Condition": "If-None-Match"})
        fails(400, "InvalidRequest", copy)
        copy(StorageClass="STANDARD", IfMatch=etag)
        same(plain("PUT", presigned("PUT", f"/{name}/k", {"If-None-Match": "*"}), b"x")[0], 412)
        delete(IfMatch="*")


@check
def arguments_of_listings():
    """localstack: TestS3ListBuckets, TestS3ListObjects, TestS3ListObjectsV2."""
    with bucket("arguments") as name:
        for key in ("folder/sub/1", "folder/sub/2", "folder/file1", "folder/file2"):
            S3.put_object(Bucket=name, Key=key)
        path = f"/{name}?list-type=2&"
        for query in (f"/{name}?", path, f"/{name}?versions=&", f"/{name}?uploads=&"):
            for value in ("value", ""):
                wrong = {"ArgumentName": "encoding-type", "ArgumentValue": value}
                answers(400, "InvalidArgument", "GET", f"{query}encoding-type={value}", **wrong)
        for value, shown in (("-1", "maxKeys"), ("x", "max-keys"), ("2147483648", "max-keys")):
            wrong = {"ArgumentName": shown, "ArgumentValue": value}
            answers(400, "InvalidArgument", "GET", f"{path}max-keys={value}", **wrong)
        token = {"ArgumentName": "continuation-token"}
        answers(400, "InvalidArgument", "GET", f"{path}continuation-token=", **token)
        answers(400, "InvalidArgument", "GET", "/?bucket-region=eu-east-1", ArgumentName="bucket-region")
        answers(400, "InvalidArgument", "GET", "/?max-buckets=0", ArgumentName="max-buckets", ArgumentValue="0")
        folder = lambda **more: S3.list_objects(Bucket=name, Prefix="folder/", Delimiter="/", MaxKeys=1, **more)
        same(folder()["NextMarker"], "folder/file1")
        same(folder(Marker="folder/file2")["CommonPrefixes"], [{"Prefix": "folder/sub/"}])
        # A prefix is not listed again after one of its keys.
        same("CommonPrefixes" in folder(Marker="folder/sub/1"), False)
        page = S3.list_objects_v2(Bucket=name, MaxKeys=1)
        rest = S3.list_objects_v2(Bucket=name, StartAfter="z", ContinuationToken=page["NextContinuationToken"])
        same((rest["KeyCount"], "StartAfter" in rest), (3, False))
        status, headers, body = send("GET", f"/{name}?list-type=2&prefix=none")
        same(body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult'), True)
        listed = S3.list_buckets(Prefix=name, BucketRegion="us-east-1")["Buckets"]
        same([(b["Name"], b["BucketArn"], b["BucketRegion"]) for b in listed], [(name, f"arn:aws:s3:::{name}", "us-east-1")])
        with bucket("arguments2"):
            shared = name.removesuffix("arguments")
            first = S3.list_buckets(Prefix=f"{shared}arguments", MaxBuckets=1)
            second = S3.list_buckets(Prefix=f"{shared}arguments", ContinuationToken=first["ContinuationToken"])
            same([b["Name"] for b in first["Buckets"] + second["Buckets"]], [name, f"{name}2"])
            same(first["ContinuationToken"] == name, False)


@check
def tags_are_checked():
    """localstack: test_tagging_validation, test_object_tagging_exc, test_put_bucket_tagging_none_value."""
    with bucket("tags") as name:
        S3.put_object(Bucket=name, Key="k")
        of_bucket = lambda *tags: S3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": list(tags)})
        of_object = lambda *tags: S3.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": list(tags)})
        tag = lambda key, value: {"Key": key, "Value": value}
        for call, reserved in [
            (of_bucket, "System tags cannot be added/updated by requester"),
            (of_object, "Your TagKey cannot be prefixed with aws:"),
        ]:
            fails(400, "InvalidTag", call, tag("a", "1"), tag("a", "2"), elements={"TagKey": "a"})
            fails(400, "InvalidTag", call, tag("a,b", "1"), elements={"TagKey": "a,b"})
            fails(400, "InvalidTag", call, tag("a", "1,2"), elements={"TagKey": "a", "TagValue": "1,2"})
            same(fails(400, "InvalidTag", call, tag("aws:a", "1"), elements={"TagKey": "aws:a"}), reserved)
        same(of_bucket(tag("a", ""))["ResponseMetadata"]["HTTPStatusCode"], 204)
        body = b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"
        md5 = lambda body: {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
        same(send("PUT", f"/{name}?tagging=", body, md5(body))[0], 400)
        body = b"<Tagging/>"
        same(send("PUT", f"/{name}?tagging=", body, md5(body))[0], 204)
        answers(404, "NoSuchTagSet", "GET", f"/{name}?tagging=", BucketName=name)
        for text in ("key1=val1&key1=val2", "key1=val1,key2=val2"):
            wrong = {"ArgumentName": "x-amz-tagging", "ArgumentValue": text}
            fails(400, "InvalidArgument", S3.put_object, Bucket=name, Key="k", Tagging=text, elements=wrong)
        of_object(tag("a", "1"), tag("b", "2"))
        same(S3.head_object(Bucket=name, Key="k")["TagCount"], 2)


@check
def refused_signatures_are_explained():
    """localstack: TestS3PresignedUrl. API: error responses."""
    with bucket("signature") as name:
        S3.put_object(Bucket=name, Key="k", Body=b"x")
        headers = signed("GET", f"/{name}/k", secret="wrong")
        status, _, body = plain("GET", f"/{name}/k", headers=headers)
        elements = document(body)
        same((status, elements["Code"], elements["AWSAccessKeyId"]), (403, "SignatureDoesNotMatch", KEY_ID))
        same(elements["SignatureProvided"], headers["Authorization"].rpartition("Signature=")[2])
        digest = hashlib.sha256(elements["CanonicalRequest"].encode()).hexdigest()
        same(elements["StringToSign"].splitlines()[-1], digest)
        for text in ("CanonicalRequest", "StringToSign"):
            same(elements[f"{text}Bytes"], elements[text].encode().hex(" "))
        unknown = signed("GET", f"/{name}/k", key_id="AKIAOTHER")
        elements = document(plain("GET", f"/{name}/k", headers=unknown)[2])
        same((elements["Code"], elements["AWSAccessKeyId"]), ("InvalidAccessKeyId", "AKIAOTHER"))
        more = {**signed("GET", f"/{name}/k"), "x-amz-meta-wrong": "1"}
        elements = document(plain("GET", f"/{name}/k", headers=more)[2])
        same((elements["Code"], elements["HeadersNotSigned"]), ("AccessDenied", "x-amz-meta-wrong"))
        url = lambda: S3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k"}, ExpiresIn=60)
        old = at_presign(datetime.timedelta(hours=-1), url).removeprefix(ENDPOINT)
        elements = document(plain("GET", old)[2])
        same((elements["Code"], elements["Message"]), ("AccessDenied", "Request has expired"))
        moment = lambda name: datetime.datetime.fromisoformat(elements[name])
        same((elements["X-Amz-Expires"], moment("Expires") < moment("ServerTime")), ("60", True))
        late = at(datetime.timedelta(minutes=-20), "GET", f"/{name}/k")
        elements = document(plain("GET", f"/{name}/k", headers=late)[2])
        same((elements["Code"], elements["MaxAllowedSkewMilliseconds"]), ("RequestTimeTooSkewed", "900000"))
        same(plain("PUT", presigned("PUT", f"/{name}/m", {"x-amz-meta-a": "1"}), b"x")[0], 200)
        same(S3.head_object(Bucket=name, Key="m")["Metadata"], {"a": "1"})


@check
def the_day_of_a_scope_is_that_of_the_request():
    """The message is in issue 48 of arqbackup/arq_restore, with AWS's ids in pull request 68 of ml-archive/storage."""
    headers = signed("GET", "/")
    other = re.sub(r"/\d{8}/", "/20130524/", headers["Authorization"])
    status, _, body = plain("GET", "/", headers={**headers, "Authorization": other})
    elements = document(body)
    same((status, elements["Code"]), (400, "AuthorizationHeaderMalformed"))
    message = "The authorization header is malformed; Invalid credential date. Date is not the same as X-Amz-Date."
    same(elements["Message"], message)
    path = re.sub(r"%2F\d{8}%2F", "%2F20130524%2F", presigned("GET", "/", {}))
    status, _, body = plain("GET", path)
    same((status, document(body)["Code"]), (400, "AuthorizationQueryParametersError"))


@check
def a_checksum_in_a_presigned_address_has_no_effect():
    """aws/aws-sdk-go-v2 issue 2610 shows AWS's answer. The SDK for JavaScript presigns that of an empty body."""
    with bucket("presum") as name:
        query = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "CRC32"}
        status, _, _ = plain("PUT", presigned("PUT", f"/{name}/k", query), b"hello")
        same((status, S3.get_object(Bucket=name, Key="k")["Body"].read()), (200, b"hello"))


@check
def an_unsigned_document_needs_a_signed_digest():
    """opendal signs no body, but a header with the digest of a document."""
    with bucket("unsigned") as name:
        S3.put_object(Bucket=name, Key="k")
        body = b"<Delete><Object><Key>k</Key></Object></Delete>"
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        unsigned = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        status, _, _ = send("POST", f"/{name}?delete=", body, {**unsigned, "x-amz-checksum-crc32": crc})
        same((status, S3.list_objects_v2(Bucket=name)["KeyCount"]), (400, 1))
        headers = {**unsigned, "content-md5": md5}
        status, _, _ = send("POST", f"/{name}?delete=", body, headers)
        same((status, S3.list_objects_v2(Bucket=name)["KeyCount"]), (200, 0))


@check
def where_a_website_redirects():
    with bucket("redirect") as name:
        for place in ("/k", "http://example.com", "https://example.com/a"):
            S3.put_object(Bucket=name, Key="k", WebsiteRedirectLocation=place)
            same(S3.head_object(Bucket=name, Key="k")["WebsiteRedirectLocation"], place)
        message = fails(400, "InvalidRedirectLocation", S3.put_object, Bucket=name, Key="k", WebsiteRedirectLocation="k")
        same(message, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.")


@check
def an_empty_body_that_was_not_asked_for_ends_the_connection():
    """Otherwise botocore 1.42 hangs at the next request."""
    with bucket("expect") as name:
        path, address = f"/{name}/k", urllib.parse.urlsplit(ENDPOINT)
        for method in ("PUT", "POST"):
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
            connection.request(method, path, b"", {**signed(method, path), "Expect": "100-continue"})
            answer = connection.getresponse()
            same(answer.headers["Connection"], "close")
            connection.close()


# --- buckets ---------------------------------------------------------------------------------------------------------


@check
def buckets_in_other_regions():
    """localstack: test_create_bucket_head_bucket, test_different_location_constraint, test_create_bucket_aws_global,
    test_create_bucket_with_eu_location_constraint. moto: test_create_bucket_in_regions_from_us_east_1."""
    where = lambda region: {"CreateBucketConfiguration": {"LocationConstraint": region}}
    ireland = client("eu-west-1")
    with bucket("ireland", ireland, **where("EU")) as name:
        same(ireland.get_bucket_location(Bucket=name)["LocationConstraint"], "EU")
        asked = {"Endpoint": urllib.parse.urlsplit(ENDPOINT).netloc, "Bucket": name}
        answers(301, "PermanentRedirect", "GET", f"/{name}", **asked)
        answers(301, "PermanentRedirect", "GET", f"/{name}/k", **asked)
        status, headers, body = send("HEAD", f"/{name}")
        same((status, headers["x-amz-bucket-region"], body), (301, "eu-west-1", b""))
        same(send("GET", f"/{name}?location=")[0], 200)
        # boto3 follows the redirect.
        S3.put_object(Bucket=name, Key="k", Body=b"x")
        listed = S3.list_objects_v2(Bucket=name)["ResponseMetadata"]["HTTPHeaders"]
        same(listed["x-amz-bucket-region"], "eu-west-1")
        same(S3.head_bucket(Bucket=name)["BucketRegion"], "eu-west-1")
    with bucket("from-us", **where("us-west-1")) as name:
        taken = {"BucketName": name}
        for region in ("us-west-1", "us-east-2"):
            fails(409, "BucketAlreadyOwnedByYou", S3.create_bucket, Bucket=name, **where(region), elements=taken)
    new = f"new-{RUN}"
    wrong = {"LocationConstraint": "mars"}
    fails(400, "InvalidLocationConstraint", S3.create_bucket, Bucket=new, **where("mars"), elements=wrong)
    ownership = {"ArgumentName": "x-amz-object-ownership"}
    for text in ("", "RandomValue"):
        headers = {"x-amz-object-ownership": text}
        answers(400, "InvalidArgument", "PUT", f"/{new}", headers=headers, **ownership)
    illegal = lambda s3, **more: fails(400, "IllegalLocationConstraintException", s3.create_bucket, Bucket=new, **more)
    same(illegal(ireland).startswith("The unspecified location constraint is incompatible"), True)
    same(illegal(ireland, **where("bar")).startswith("The bar location constraint is incompatible"), True)
    same(illegal(client("us-east-2"), **where("EU")).startswith("The EU location constraint is incompatible"), True)
    headers = signed("GET", "/", region="aws-global")
    elements = document(plain("GET", "/", headers=headers)[2])
    same((elements["Code"], elements["Region"]), ("AuthorizationHeaderMalformed", "us-east-1"))


@check
def settings_that_were_never_set():
    """localstack: test_crud_website_configuration, test_cors_*, test_delete_bucket_lifecycle_configuration, .."""
    with bucket("unset") as name:
        for query, code in [
            ("cors", "NoSuchCORSConfiguration"),
            ("lifecycle", "NoSuchLifecycleConfiguration"),
            ("replication", "ReplicationConfigurationNotFoundError"),
            ("website", "NoSuchWebsiteConfiguration"),
            ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ]:
            answers(404, code, "GET", f"/{name}?{query}=", BucketName=name)
            if query != "object-lock":
                same(send("DELETE", f"/{name}?{query}=")[0], 204)
            answers(404, "NoSuchBucket", "GET", f"/missing-{RUN}?{query}=", BucketName=f"missing-{RUN}")
        for query in ("accelerate", "logging", "notification"):
            status, _, body = send("GET", f"/{name}?{query}=")
            same((query, status, len(xml.etree.ElementTree.fromstring(body))), (query, 200, 0))
        same(S3.get_bucket_request_payment(Bucket=name)["Payer"], "BucketOwner")
        controls = lambda value: {"Rules": [{"ObjectOwnership": value}]}
        S3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=controls("ObjectWriter"))
        same(S3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"], controls("ObjectWriter"))
        S3.put_object(Bucket=name, Key="k", ACL="private")
        refused(501, "NotImplemented", S3.put_object, Bucket=name, Key="k", ACL="public-read")
        S3.delete_bucket_ownership_controls(Bucket=name)
        answers(404, "OwnershipControlsNotFoundError", "GET", f"/{name}?ownershipControls=", BucketName=name)
        wrong = controls("RandomValue")
        fails(400, "MalformedXML", S3.put_bucket_ownership_controls, Bucket=name, OwnershipControls=wrong)


def main():
    failures = 0
    for function in CHECKS:
        try:
            function()
        except Exception:
            failures += 1
            print(f"{function.__name__}: {traceback.format_exc(limit=-4)}", file=sys.stderr)
    if failures:
        print(f"{failures} of {len(CHECKS)} checks differ", file=sys.stderr)
        return 1
    print(f"{len(CHECKS)} checks: all as on AWS")
    return 0


if __name__ == "__main__":
    sys.exit(main())
