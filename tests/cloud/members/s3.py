#!/usr/bin/env python3
"""Compares the S3 of the local cloud with the members of AWS's own service model, as
check.py does for other services, whose tables it also explains.

Usage: s3.py [--draft], with the output of `autorun cloud env`. The tables are
`s3*.toml`. A shape named `*` has the members that many requests or answers have: its
row applies where a shape has no row of its own.
"""

import base64
import hashlib
import json
import sys
import uuid
from collections import Counter, defaultdict
from xml.etree import ElementTree

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

import check
import scenario
from answers import Answers
from check import draft, fault, members, unproven, value

# Codes that say that the service does not know the member or failed.
UNREAD = ("NotImplemented", "InternalError", "500")
ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

# Members that S3 requires although its model does not say so, by structure.
scenario.ALSO.update({
    "CompleteMultipartUploadRequest": ["MultipartUpload"],
    "CompletedMultipartUpload": ["Parts"],
    "CompletedPart": ["ETag", "PartNumber"],
    "ServerSideEncryptionRule": ["ApplyServerSideEncryptionByDefault"],
    "VersioningConfiguration": ["Status"],
})


class Table(check.Table):
    """The rows of S3, with those that are the same for many structures."""

    def row(self, side, shape, name):
        for place in (shape, "*"):
            if (side, place, name) in self.rows:
                self.used.add((side, place, name))
                return self.rows[side, place, name]
        return None


class S3Answers(Answers):
    """The members that occur in answers, in headers and in XML."""

    def take(self, operation_model, response_dict, **_):
        if response_dict["status_code"] >= 300:
            return
        action, shape = operation_model.name, operation_model.output_shape
        self.actions.add(action)
        if shape is None:
            return
        if action == "GetBucketLocation":
            self.location(action, shape, response_dict["body"])
            return
        payload = shape.serialization.get("payload")
        inner = None
        for name, member in shape.members.items():
            place = member.serialization.get("location")
            if place in ("header", "headers"):
                self.header(action, shape, name, member, response_dict["headers"])
            elif name == payload and member.type_name != "structure":
                self.seen(action, shape, name, (name,))
            elif place is None and payload is None:
                inner = shape
        body = response_dict["body"]
        if payload and shape.members[payload].type_name == "structure":
            self.seen(action, shape, payload, (payload,))
            root = ElementTree.fromstring(body)
            self.structure(action, shape.members[payload], root, (payload,), "rest-xml")
        elif inner is not None and body:
            self.structure(action, inner, ElementTree.fromstring(body), (), "rest-xml")

    def location(self, action, shape, body):
        """The root of this document is the member, so it does not fit its model."""
        if ElementTree.fromstring(body).text:
            self.seen(action, shape, "LocationConstraint", ("LocationConstraint",))

    def header(self, action, shape, name, member, headers):
        wanted = member.serialization.get("name", name).lower()
        lower = {each.lower(): text for each, text in headers.items()}
        if member.serialization["location"] == "headers":
            if any(each.startswith(wanted) for each in lower):
                self.seen(action, shape, name, (name,))
        elif wanted in lower:
            self.seen(action, shape, name, (name,))
            if member.type_name not in ("timestamp", "string") or hasattr(member, "enum"):
                self.scalar(action, member, lower[wanted], (name,))

    def structure(self, action, shape, node, path, protocol):
        names = {}
        for name, member in shape.members.items():
            if "location" not in member.serialization:
                names[element_of(name, member)] = name
        for attribute in node.attrib:
            if attribute == TYPE and "xsi:type" in names:
                self.seen(action, shape, names["xsi:type"], (*path, names["xsi:type"]))
        for child in node:
            tag = child.tag.split("}")[-1]
            if tag not in names:
                self.fault(action, path, f"has the element {tag}, which {shape.name} has not")
                continue
            name = names[tag]
            here = (*path, name)
            self.seen(action, shape, name, here)
            member = shape.members[name]
            if member.type_name == "list" and member.serialization.get("flattened"):
                self.value(action, member.member, child, here, protocol)
            else:
                self.value(action, member, child, here, protocol)


def element_of(name, member):
    """Returns the name of a member's element. botocore names the items of a list
    without an element of its own."""
    if member.type_name == "list" and member.serialization.get("flattened"):
        inner = member.member.serialization.get("name")
        if inner is not None:
            return inner
    return member.serialization.get("name", name)


def clients(answers=None):
    config = Config(
        parameter_validation=False, retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
    )
    client = boto3.client("s3", region_name="us-east-1", config=config)
    client.meta.events.register("before-sign.s3", digest)
    if answers is not None:
        client.meta.events.register("before-parse.s3", answers.take)
    return client


def digest(request, **_):
    """Replaces the sample of `Content-MD5` with the digest of the request's body."""
    if "Content-MD5" in request.headers:
        body = request.data if isinstance(request.data, bytes) else request.data.read()
        request.data = body
        del request.headers["Content-MD5"]
        request.headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()


def play(s3, bucket):
    """Makes the calls whose answers are compared. Returns sample values by the names
    of members."""
    s3.create_bucket(Bucket=bucket)
    s3.head_bucket(Bucket=bucket)
    elsewhere = boto3.client("s3", region_name="eu-west-1", config=s3.meta.config)
    there = {"Bucket": f"{bucket}-eu"}
    elsewhere.create_bucket(**there, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.get_bucket_location(**there)
    page = s3.list_buckets(MaxBuckets=1, Prefix="members-")
    settings(s3, bucket)
    unversioned = objects(s3, bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled", "MFADelete": "Disabled"})
    s3.get_bucket_versioning(Bucket=bucket)
    live = objects(s3, bucket)
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=kms())
    s3.get_bucket_encryption(Bucket=bucket)
    objects(s3, bucket)
    s3.delete_bucket_encryption(Bucket=bucket)
    tokens = listings(s3, bucket)
    tokens["ListBuckets.ContinuationToken"] = page["ContinuationToken"]
    second = f"{bucket}-gone"
    s3.create_bucket(Bucket=second)
    s3.delete_bucket(Bucket=second)
    return {
        **unversioned, **live, **tokens, "Bucket": bucket, "CopySource": f"{bucket}/k", "PartNumber": 1,
        "ContentLength": 1, "ObjectAttributes": "ETag", "VersionId": "null", "Status": "Enabled", "SSEAlgorithm": "AES256",
        "ObjectOwnership": "BucketOwnerEnforced", "Policy": policy(bucket), "MaxKeys": 5, "MaxParts": 5, "MaxUploads": 5, "MaxBuckets": 5, "Body": b"x",
    }


def kms():
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/aws/s3"}
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}]}


def policy(bucket):
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/k",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def prepare(s3, bucket):
    """Creates what requests read or delete."""
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "team", "Value": "members"}]})
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket))
    enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=enforced)
    return {"VersionId": version}


def upload_of(s3, bucket, path):
    """Begins an upload and uploads its part, as a request with the member at this
    path needs them. Returns their values by the names of members."""
    place = {"Bucket": bucket, "Key": uuid.uuid4().hex if path == ("IfNoneMatch",) else "k"}
    kind, field = {}, path[-1] if path else ""
    if field == "ChecksumType":
        kind = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    elif path[:1] == ("MultipartUpload",) and field.removeprefix("Checksum") in ALGORITHMS:
        kind["ChecksumAlgorithm"] = field.removeprefix("Checksum")
    upload = s3.create_multipart_upload(**place, **kind)["UploadId"]
    part = s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"x")
    found = {"Key": place["Key"], "UploadId": upload, "ETag": part["ETag"], "MpuObjectSize": 1}
    return {**found, field: part[field]} if field in part else found


def settings(s3, bucket):
    tags = {"TagSet": [{"Key": "team", "Value": "members"}]}
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tags)
    s3.get_bucket_tagging(Bucket=bucket)
    s3.delete_bucket_tagging(Bucket=bucket)
    s3.get_public_access_block(Bucket=bucket)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket))
    s3.get_bucket_policy(Bucket=bucket)
    s3.get_bucket_policy_status(Bucket=bucket)
    s3.delete_bucket_policy(Bucket=bucket)
    s3.get_bucket_acl(Bucket=bucket)
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=rules)
    s3.get_bucket_accelerate_configuration(Bucket=bucket)
    s3.get_bucket_logging(Bucket=bucket)
    s3.get_bucket_notification_configuration(Bucket=bucket)
    s3.get_bucket_request_payment(Bucket=bucket)
    s3.delete_bucket_cors(Bucket=bucket)
    s3.delete_bucket_lifecycle(Bucket=bucket)
    s3.delete_bucket_replication(Bucket=bucket)
    s3.delete_bucket_website(Bucket=bucket)


def objects(s3, bucket):
    """Stores, reads, copies and deletes objects, with each checksum."""
    place = {"Bucket": bucket, "Key": "k"}
    metadata = {
        "CacheControl": "no-cache", "ContentDisposition": "inline", "ContentEncoding": "identity",
        "ContentLanguage": "de", "ContentType": "text/plain", "Expires": "Thu, 01 Jan 2032 00:00:00 GMT",
        "Metadata": {"m": "1"}, "StorageClass": "STANDARD_IA", "Tagging": "t=1",
        "WebsiteRedirectLocation": "/to",
    }
    for algorithm in ["SHA1", "SHA256", "CRC32"]:
        s3.put_object(**place, Body=b"x", **metadata, ChecksumAlgorithm=algorithm)
    s3.get_object(**place, Range="bytes=0-0")
    s3.head_object(**place, PartNumber=1)
    s3.get_object_acl(**place)
    s3.get_object_tagging(**place)
    s3.put_object_tagging(**place, Tagging={"TagSet": [{"Key": "team", "Value": "members"}]})
    sums = {}
    for algorithm in ALGORITHMS:
        copied = s3.copy_object(
            Bucket=bucket, Key=algorithm, CopySource=f"{bucket}/k", ChecksumAlgorithm=algorithm)
        # botocore calculates some of the checksums only with another library.
        field = f"Checksum{algorithm}"
        sums[field] = copied["CopyObjectResult"][field]
        s3.put_object(Bucket=bucket, Key=algorithm, Body=b"x", **{field: sums[field]})
        s3.get_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        s3.head_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        s3.get_object_attributes(Bucket=bucket, Key=algorithm, ObjectAttributes=["Checksum"])
        parts(s3, bucket, algorithm)
    s3.delete_object_tagging(**place)
    s3.delete_object(Bucket=bucket, Key="SHA1")
    wrong = {"Key": "k", "VersionId": "wrong"}
    version = s3.put_object(Bucket=bucket, Key="SHA1").get("VersionId", "null")
    gone = [{"Key": "SHA256"}, {"Key": "SHA1", "VersionId": version}, wrong]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": gone})
    etag = s3.put_object(**place, Body=b"x")["ETag"]
    return {"Key": "k", "Prefix": "", "Delimiter": "/", "IfMatch": etag, "CopySourceIfMatch": etag, **sums}


def parts(s3, bucket, algorithm):
    """Uploads an object in parts, with one checksum."""
    place = {"Bucket": bucket, "Key": f"parts-{algorithm}"}
    upload = s3.create_multipart_upload(**place, ChecksumAlgorithm=algorithm)["UploadId"]
    here = {**place, "UploadId": upload}
    part = s3.upload_part(**here, PartNumber=1, Body=bytes(5 << 20))
    copied = s3.upload_part_copy(**here, PartNumber=2, CopySource=f"{bucket}/k")["CopyPartResult"]
    s3.list_parts(**here, MaxParts=1)
    s3.list_multipart_uploads(Bucket=bucket, EncodingType="url", MaxUploads=1, Prefix="parts")
    other = s3.create_multipart_upload(**place)["UploadId"]
    s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1)
    s3.list_multipart_uploads(Bucket=bucket, Delimiter="-")
    s3.list_multipart_uploads(Bucket=bucket, KeyMarker=place["Key"], UploadIdMarker=upload)
    s3.abort_multipart_upload(**place, UploadId=other)
    field = f"Checksum{algorithm}"
    named = [{"PartNumber": n, "ETag": one["ETag"], field: one[field]} for n, one in [(1, part), (2, copied)]]
    s3.complete_multipart_upload(**here, MultipartUpload={"Parts": named})
    attributes = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    s3.get_object_attributes(**place, ObjectAttributes=attributes)
    s3.head_object(**place, PartNumber=1)
    s3.get_object(**place, PartNumber=1)


def listings(s3, bucket):
    some = {"Bucket": bucket, "EncodingType": "url", "Delimiter": "-"}
    page = s3.list_objects_v2(**some, MaxKeys=1, FetchOwner=True, StartAfter="a")
    token = page["NextContinuationToken"]
    s3.list_objects_v2(**some, ContinuationToken=token)
    s3.list_objects(**some, MaxKeys=1)
    s3.list_objects(**some)
    page = s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    s3.list_object_versions(**some)
    return {
        "ListObjectsV2.ContinuationToken": token,
        "ListObjectVersions.KeyMarker": page["NextKeyMarker"],
        "ListObjectVersions.VersionIdMarker": page["NextVersionIdMarker"],
    }


def request(operation, path, sample, live, bucket):
    """Returns a request that has the member at this path."""
    last = path[-1] if path else ""
    sample = sample or live.get(f"{operation.name}.{last}")
    if last == "KMSMasterKeyID":
        live = {**live, "SSEAlgorithm": "aws:kms"}
    whole = value(operation.input_shape, "", path, sample, live)
    if last == "VersionIdMarker":
        whole["KeyMarker"] = live["ListObjectVersions.KeyMarker"]
    if last == "ChecksumType" and operation.name == "CreateMultipartUpload":
        whole["ChecksumAlgorithm"] = "CRC64NVME"
    if operation.name == "CreateBucket":
        return {**whole, "Bucket": f"{bucket}-{uuid.uuid4().hex[:8]}"}
    if operation.name == "DeleteBucket":
        return {**whole, "Bucket": f"{bucket}-empty"}
    if operation.name == "CopyObject":
        whole["Key"] = "copy"
    if last == "IfNoneMatch" and operation.name in ("CopyObject", "PutObject"):
        whole["Key"] = uuid.uuid4().hex
    if operation.name in ("PutObject", "UploadPart"):
        whole["Body"] = b"x"
    if last == "SSEKMSKeyId":
        whole["ServerSideEncryption"] = "aws:kms"
    return whole


def code_of(client, operation, arguments):
    """Returns code and message with which a request is refused, or `None`."""
    methods = client.meta.method_to_api_mapping.items()
    method = next(method for method, name in methods if name == operation)
    try:
        answer = getattr(client, method)(**arguments)
        if operation == "GetObject":
            answer["Body"].read()
    except ClientError as error:
        return error.response["Error"].get("Code"), error.response["Error"].get("Message", "")
    return None, ""


def operations(client, live, bucket):
    """Returns the operations that the local cloud has. It refuses others with their
    names."""
    known, model = [], client.meta.service_model
    for name in model.operation_names:
        operation = model.operation_model(name)
        if name in ("WriteGetObjectResponse", "ListDirectoryBuckets", "CreateSession"):
            continue  # S3 Object Lambda, and directory buckets
        if name in ("GetBucketLifecycle", "GetBucketNotification"):
            continue  # older models of requests that others have, too
        try:
            arguments = request(operation, (), None, live, bucket) if operation.input_shape else {}
            code, message = code_of(client, name, arguments)
        except (ParamValidationError, TypeError, KeyError, ValueError):
            code, message = None, ""
        # Several operations have the same request.
        missing = message.rpartition(": ")[2] in model.operation_names
        if not (code == "NotImplemented" and missing):
            known.append(name)
    return known


def check_input(client, model, table, live, bucket, counts):
    for path, shape, member, row in members(table, "in", model.input_shape):
        text = ".".join((model.name, *path))
        leaf = member
        while leaf.type_name == "list":
            leaf = leaf.member
        if row is None or not (leaf.type_name == "structure" and leaf.members):
            sample = row.sample if row else None
            if path[-1] in ("IfMatch", "VersionId") or model.name.startswith(("Delete", "Get")):
                live = {**live, **prepare(client, bucket)}
            if "UploadId" in model.input_shape.members:
                live = {**live, **upload_of(client, bucket, path)}
            if model.name == "DeleteBucket":
                client.create_bucket(Bucket=f"{bucket}-empty")
            code, _ = code_of(client, model.name, request(model, path, sample, live, bucket))
        else:
            code = None  # the requests with its members have it
        if row is None:
            fault(f"{text} is not classified: [in.{shape}]")
            draft("in", shape, path[-1], f"refused.{code}" if code in UNREAD else "done")
            continue
        counts[row.kind, row.detail if row.kind == "refused" else None] += 1
        whole = leaf.type_name == "structure" and leaf.members
        if row.kind == "refused" and not whole and code not in row.detail.split("|"):
            fault(f"{text} is answered with {code}, not refused with {row.detail}")
        if row.kind != "refused" and code in UNREAD:
            fault(f"{text} is {row.kind}, but refused with {code}")
        if row.kind != "refused" and code is not None:
            unproven.append(f"{text}: {code}")


def main():
    table = Table("s3")
    answers, counts = S3Answers(), {"in": Counter(), "out": Counter()}
    bucket = f"members-{uuid.uuid4().hex[:8]}"
    live = play(clients(answers), bucket)
    client = clients()
    known = operations(client, live, bucket)
    for name in known:
        model = client.meta.service_model.operation_model(name)
        if name not in answers.actions and name not in NOT_CALLED:
            fault(f"the scenario does not call {name}")
        if model.input_shape:
            prepare(client, bucket)
            check_input(client, model, table, live, bucket, counts["in"])
        if model.output_shape:
            check.check_output(model, table, answers, counts["out"])
    for text in answers.faults:
        fault(text)
    for side, shape, name in table.unused():
        fault(f"[{side}.{shape}] classifies {name}, which no action has")
    clean_up(client, bucket)
    check.report("s3", known, counts)
    print(f"{len(unproven)} members are done, and their sample values are refused")
    check.finish()


# Operations without an answer in the scenario.
NOT_CALLED = {
    "GetBucketCors": "no bucket can have this setting",
    "GetBucketLifecycleConfiguration": "no bucket can have this setting",
    "GetBucketReplication": "no bucket can have this setting",
    "GetBucketWebsite": "no bucket can have this setting",
    "GetObjectLockConfiguration": "no bucket can have this setting",
    "PutBucketAcl": "access control lists are off",
    "PutObjectAcl": "access control lists are off",
}

# Values that AWS returns although its model does not list them.
scenario.BEYOND_THE_MODEL.add(("ObjectVersionStorageClass", "STANDARD_IA"))


def clean_up(s3, prefix):
    """Deletes the buckets of the scenario."""
    for name in [one["Name"] for one in s3.list_buckets()["Buckets"]]:
        if not name.startswith(prefix):
            continue
        for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
            s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
            for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                s3.delete_object(Bucket=name, Key=one["Key"], VersionId=one["VersionId"])
        s3.delete_bucket(Bucket=name)


if __name__ == "__main__":
    main()
