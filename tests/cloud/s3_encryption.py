#!/usr/bin/env python3
"""Checks the encryption settings of the S3 of the local cloud with boto3, as s3_versions.py checks versions."""

import contextlib
import hashlib
import re
import sys

from s3_clients import MIB, RUN, S3, client, main, plain, policy, public, refused, same, unblock

CHECKS = []
KEY = re.compile(r"arn:aws:kms:us-east-1:\d{12}:key/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check(function):
    CHECKS.append(function)
    return function


@contextlib.contextmanager
def bucket(label, encryption=None):
    """Creates a bucket with this default encryption. At the end deletes its objects, and the bucket."""
    name = f"encryption-{RUN}-{label}"
    S3.create_bucket(Bucket=name)
    try:
        if encryption:
            set_default(name, **encryption)
        yield name
    finally:
        for entry in S3.list_objects_v2(Bucket=name).get("Contents", []):
            S3.delete_object(Bucket=name, Key=entry["Key"])
        S3.delete_bucket(Bucket=name)


def rule(algorithm, bucket_key=None, **more):
    wanted = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm, **more}}
    return wanted if bucket_key is None else {**wanted, "BucketKeyEnabled": bucket_key}


def set_default(name, *rules, **one):
    rules = list(rules) or [rule(**one)]
    S3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})


def default(name):
    return S3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]


def shown(answer):
    """Returns what an answer shows of an encryption."""
    key = answer.get("SSEKMSKeyId")
    same(key is None or bool(KEY.fullmatch(key)), True)
    return answer.get("ServerSideEncryption"), key is not None, answer.get("BucketKeyEnabled")


@check
def the_default_is_a_setting():
    with bucket("setting") as name:
        new = [rule("AES256", False)]
        same(default(name), new)
        set_default(name, algorithm="aws:kms", bucket_key=True)
        same(default(name), [rule("aws:kms", True)])
        set_default(name, algorithm="aws:kms", KMSMasterKeyID="some-key")
        same(default(name), [rule("aws:kms", False, KMSMasterKeyID="some-key")])
        for _ in range(2):
            S3.delete_bucket_encryption(Bucket=name)
            same(default(name), new)
        two = [rule("AES256"), rule("aws:kms")]
        refused(400, "MalformedXML", set_default, name, *two)
        refused(400, "MalformedXML", set_default, name, {"BucketKeyEnabled": True})
        refused(400, "MalformedXML", set_default, name, algorithm="rot13")
        none = {"Rules": []}
        refused(400, "MalformedXML", S3.put_bucket_encryption, Bucket=name, ServerSideEncryptionConfiguration=none)
        error = refused(400, "InvalidArgument", set_default, name, algorithm="AES256", KMSMasterKeyID="some-key")
        text = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
        same((error["Message"], error["ArgumentName"]), (text, "ApplyServerSideEncryptionByDefault"))
        missing = f"missing-{RUN}"
        refused(404, "NoSuchBucket", S3.get_bucket_encryption, Bucket=missing)
        refused(404, "NoSuchBucket", S3.delete_bucket_encryption, Bucket=missing)
        refused(404, "NoSuchBucket", set_default, missing, algorithm="AES256")


@check
def objects_have_the_default_of_their_bucket():
    with bucket("default", {"algorithm": "aws:kms", "bucket_key": True}) as name:
        place = {"Bucket": name, "Key": "k"}
        kms, s3 = ("aws:kms", True, True), ("AES256", False, None)
        put = S3.put_object(**place, Body=b"x")
        same(shown(put), kms)
        # An entity tag is not a digest of content that a KMS key encrypts.
        same(put["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"', False)
        same([shown(S3.get_object(**place)), shown(S3.head_object(**place))], [kms, kms])
        same(shown(S3.copy_object(Bucket=name, Key="copy", CopySource=f"{name}/k")), kms)
        same(shown(S3.put_object(**place, Body=b"x", ServerSideEncryption="AES256")), s3)
        # The encryption of a copy is not that of its source.
        same(shown(S3.copy_object(Bucket=name, Key="copy", CopySource=f"{name}/k")), kms)
        upload = S3.create_multipart_upload(Bucket=name, Key="parts")
        same(shown(upload), kms)
        parts = {"Bucket": name, "Key": "parts", "UploadId": upload["UploadId"]}
        bare = client(request_checksum_calculation="when_required")
        part = bare.upload_part(**parts, PartNumber=1, Body=bytes(5 * MIB))
        same(shown(part), kms)
        copied = S3.upload_part_copy(**parts, PartNumber=2, CopySource=f"{name}/k")
        same(shown(copied), kms)
        etags = [part["ETag"], copied["CopyPartResult"]["ETag"]]
        named = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]}
        same(shown(S3.complete_multipart_upload(**parts, MultipartUpload=named)), kms)
        same(S3.head_object(Bucket=name, Key="parts")["ContentLength"], 5 * MIB + 1)
        S3.delete_bucket_encryption(Bucket=name)
        same(shown(S3.head_object(Bucket=name, Key="parts")), kms)
        same(shown(S3.put_object(**place, Body=b"x")), s3)


@check
def requests_name_an_encryption():
    with bucket("requests") as name:
        place = {"Bucket": name, "Key": "k", "Body": b"x"}
        key = S3.put_object(**place, ServerSideEncryption="aws:kms")["SSEKMSKeyId"]
        for named in [key, key.rpartition("/")[2], "alias/aws/s3"]:
            put = S3.put_object(**place, ServerSideEncryption="aws:kms", SSEKMSKeyId=named, BucketKeyEnabled=True)
            same((shown(put), put["SSEKMSKeyId"]), (("aws:kms", True, True), key))
        same(shown(S3.put_object(**place, ServerSideEncryption="aws:kms:dsse")), ("aws:kms:dsse", True, None))
        error = refused(
            400, "KMS.NotFoundException", S3.put_object, **place, ServerSideEncryption="aws:kms", SSEKMSKeyId="my-key"
        )
        same(error["Message"], "Invalid keyId 'my-key'")
        refused(400, "InvalidArgument", S3.put_object, **place, SSEKMSKeyId=key)
        refused(400, "InvalidArgument", S3.put_object, **place, ServerSideEncryption="AES256", SSEKMSKeyId=key)
        error = refused(400, "InvalidArgument", S3.put_object, **place, ServerSideEncryption="rot13")
        same((error["ArgumentName"], error["ArgumentValue"]), ("x-amz-server-side-encryption", "rot13"))
        set_default(name, algorithm="aws:kms", KMSMasterKeyID="my-key")
        refused(400, "KMS.NotFoundException", S3.put_object, **place)
        refused(400, "KMS.NotFoundException", S3.create_multipart_upload, Bucket=name, Key="k")


@check
def unsigned_requests_do_not_decrypt():
    with bucket("unsigned") as name:
        unblock(name)
        S3.put_bucket_policy(Bucket=name, Policy=policy(public(name)))
        S3.put_object(Bucket=name, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
        status, _, body = plain("GET", f"/{name}/k")
        same((status, b"require AWS Signature Version 4" in body), (400, True))
        S3.put_object(Bucket=name, Key="k", Body=b"x")
        same(plain("GET", f"/{name}/k")[0], 200)
        S3.delete_bucket_policy(Bucket=name)


if __name__ == "__main__":
    sys.exit(main(CHECKS))
