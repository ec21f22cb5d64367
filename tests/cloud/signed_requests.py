#!/usr/bin/env python3
"""Changes one part of signed requests at a time, and checks how the local cloud handles each change.

    AWS_ENDPOINT_URL=http://10.0.0.1:4566 AWS_ACCESS_KEY_ID=.. AWS_SECRET_ACCESS_KEY=.. signed_requests.py

A changed request must either be refused, with an error code about the signature or the form of the request, and leave
the account unchanged. Or, if AWS's canonical form of the request stays the same, the response and the effect must be
those of the signed request. There are two exceptions: runs of blanks in text that is stored with an object, and the
parts of a request that a presigned URL leaves to its bearer. Prints the number of changes and their outcomes. Creates
the signatures without an SDK, sends raw bytes, and needs boto3 to inspect the account.
"""

import base64
import collections
import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import socket
import sys
import time
import traceback
import urllib.parse
import uuid
import zlib
from dataclasses import dataclass, field, replace

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
KEY_ID = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
HOST = urllib.parse.urlsplit(ENDPOINT).netloc
REGION = "eu-central-1"
RUN = uuid.uuid4().hex[:8]
BUCKET, OTHER = f"signed-{RUN}", f"signed-other-{RUN}"
EMPTY = hashlib.sha256(b"").hexdigest()

CONFIG = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
S3 = boto3.client("s3", region_name=REGION, config=CONFIG)
EC2 = boto3.client("ec2", region_name=REGION, config=Config(retries={"total_max_attempts": 1}))

# --- requests and their signatures -----------------------------------------------------------------------------------


@dataclass
class Request:
    method: str
    path: str
    query: list = field(default_factory=list)  # `name=value`, as sent
    headers: list = field(default_factory=list)  # pairs, in the order of sending
    body: bytes = b""
    framed: bool = False  # its own headers specify the length of the body
    prefix: str = ""  # before the path, in the request line

    def header(self, name):
        values = [value for key, value in self.headers if key.lower() == name]
        return values[0] if values else None

    def with_header(self, name, value):
        """Returns the request with a different value of a header, or without the header."""
        kept = [(key, old if key.lower() != name.lower() else value) for key, old in self.headers]
        if self.header(name.lower()) is None:
            kept.append((name, value))
        return replace(self, headers=[pair for pair in kept if pair[1] is not None])

    def with_query(self, query):
        return replace(self, query=list(query))

    def parameter(self, name):
        for pair in self.query:
            if pair.partition("=")[0] == name:
                return pair.partition("=")[2]
        return None

    def with_parameter(self, name, value):
        pairs = [f"{name}={value}" if pair.partition("=")[0] == name else pair for pair in self.query]
        return replace(self, query=pairs if self.parameter(name) is not None else [*pairs, f"{name}={value}"])

    def wire(self):
        target = self.prefix + self.path + ("?" + "&".join(self.query) if self.query else "")
        lines = [f"{self.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if not self.framed and (self.body or self.method in ("PUT", "POST")):
            lines.append(f"Content-Length: {len(self.body)}")
        lines.append("Connection: close")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def send(request):
    """Sends a request. Returns status, headers and body, or None if the connection ends without a
    response."""
    host, port = HOST.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(request.wire())
            if request.framed:
                # The server may wait for more data than the request has.
                connection.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(connection, method=request.method)
            answer.begin()
            return answer.status, dict(answer.getheaders()), answer.read()
        except (ConnectionError, http.client.HTTPException):
            return None


def encoded(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-._~")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(day, region, service, end="aws4_request"):
    key = ("AWS4" + SECRET).encode()
    for part in (day, region, service, end):
        key = mac(key, part)
    return key


def stamp(offset=0):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset)
    return moment.strftime("%Y%m%dT%H%M%SZ")


def canonical(request, names, payload):
    pairs = [pair.partition("=")[::2] for pair in request.query]
    plain = urllib.parse.unquote_plus
    pairs = sorted((encoded(plain(name)), encoded(plain(value))) for name, value in pairs)
    values = {name.lower(): " ".join(value.split()) for name, value in request.headers}
    return "\n".join(
        [
            request.method,
            encoded(urllib.parse.unquote(request.path), "/"),
            "&".join(f"{name}={value}" for name, value in pairs if name != "X-Amz-Signature"),
            *(f"{name}:{values[name]}" for name in names),
            "",
            ";".join(names),
            payload,
        ]
    )


def signature(request, names, payload, date, service, region=REGION):
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest(canonical(request, names, payload).encode())}"
    return mac(signing_key(date[:8], region, service), text).hex()


def sign(request, service="s3", payload=None, offset=0, region=REGION, day=None):
    """Signs all headers of the request, with the signature in a header."""
    date = stamp(offset)
    request = request.with_header("Host", HOST).with_header("X-Amz-Date", date)
    payload = payload or digest(request.body)
    if service == "s3":
        request = request.with_header("x-amz-content-sha256", payload)
    names = sorted(name.lower() for name, _ in request.headers)
    found = signature(request, names, payload, date, service, region)
    scope = f"{day or date[:8]}/{region}/{service}/aws4_request"
    value = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={';'.join(names)}, Signature={found}"
    return request.with_header("Authorization", value)


def presign(request, expires=600, offset=0, service="s3"):
    """Signs all headers of the request, with the signature in the query."""
    date = stamp(offset)
    request = request.with_header("Host", HOST)
    names = sorted(name.lower() for name, _ in request.headers)
    more = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY_ID}/{date[:8]}/{REGION}/{service}/aws4_request",
        "X-Amz-Date": date,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": ";".join(names),
    }
    request = request.with_query(request.query + [f"{name}={encoded(value)}" for name, value in more.items()])
    found = signature(request, names, "UNSIGNED-PAYLOAD", date, service)
    return request.with_query([*request.query, f"X-Amz-Signature={found}"])


OF_VERSION_2 = ("acl", "tagging", "policy", "partNumber", "uploadId", "uploads", "versionId", "delete")


def presign_2(request, expires=600):
    """Signs in the query with signature version 2, the default of botocore in older regions."""
    end = str(int(time.time()) + expires)
    request = request.with_header("Host", HOST)
    value = lambda name: request.header(name) or ""
    amazon = sorted((name.lower(), text) for name, text in request.headers if name.lower().startswith("x-amz-"))
    pairs = [pair.partition("=")[::2] for pair in request.query]
    pairs = sorted((name, urllib.parse.unquote_plus(text)) for name, text in pairs)
    pairs = [(name, text) for name, text in pairs if name in OF_VERSION_2 or name.startswith("response-")]
    resource = request.path + ("?" if pairs else "") + "&".join(f"{n}={v}" if v else n for n, v in pairs)
    lines = [request.method, value("content-md5"), value("content-type"), end]
    text = "\n".join([*lines, *(f"{name}:{text}" for name, text in amazon), resource])
    found = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()).decode()
    more = [f"AWSAccessKeyId={KEY_ID}", f"Signature={encoded(found)}", f"Expires={end}"]
    return request.with_query(request.query + more)


CHUNKS = [b"first chunk, ", b"second chunk"]
TRAILER = ("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(b"".join(CHUNKS)).to_bytes(4, "big")).decode())


@dataclass
class Chunked:
    """The lines of a body in chunks, signed or not, with or without a trailer."""

    head: Request
    chunks: list  # size, signature, content
    trailer: list  # name, value

    def request(self):
        body = b""
        for size, found, content in self.chunks:
            body += size.encode() + (b";chunk-signature=" + found.encode() if found is not None else b"") + b"\r\n"
            body += content + (b"\r\n" if content else b"")
        body += b"".join(f"{name}:{value}\r\n".encode() for name, value in self.trailer) + b"\r\n"
        return replace(self.head, body=body)


def chunked(request, signed, trailer):
    """Signs a request with the body `CHUNKS`."""
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" if signed else "STREAMING-UNSIGNED-PAYLOAD"
    kind += "-TRAILER" if trailer else ""
    request = request.with_header("Content-Encoding", "aws-chunked")
    request = request.with_header("x-amz-decoded-content-length", str(sum(map(len, CHUNKS))))
    if trailer:
        request = request.with_header("x-amz-trailer", TRAILER[0])
    request = sign(request, payload=kind)
    date = request.header("x-amz-date")
    key, scope = signing_key(date[:8], REGION, "s3"), f"{date[:8]}/{REGION}/s3/aws4_request"
    previous = request.header("authorization")[-64:]
    chunks = []
    for content in [*CHUNKS, b""]:
        if signed:
            text = [f"AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}", previous, EMPTY, digest(content)]
            previous = mac(key, "\n".join(text)).hex()
        chunks.append((f"{len(content):x}", previous if signed else None, content))
    lines = [TRAILER] if trailer else []
    if trailer and signed:
        text = [f"AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}", previous, digest(f"{TRAILER[0]}:{TRAILER[1]}\n".encode())]
        lines.append(("x-amz-trailer-signature", mac(key, "\n".join(text)).hex()))
    return Chunked(request, chunks, lines)


# --- the account -----------------------------------------------------------------------------------------------------

KEY = "dir/a b+ü.txt"
PATH = f"/{BUCKET}/dir/a%20b%2B%C3%BC.txt"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/never/*"}
    ],
}
STATE = {}


def restore():
    """Resets the account to the state before every request."""
    for name in (BUCKET, OTHER):
        with contextlib.suppress(S3.exceptions.BucketAlreadyOwnedByYou):
            S3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        for upload in S3.list_multipart_uploads(Bucket=name).get("Uploads", []):
            S3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        for entry in S3.list_objects_v2(Bucket=name).get("Contents", []):
            S3.delete_object(Bucket=name, Key=entry["Key"])
        S3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "is", "Value": "kept"}]})
        S3.put_object(Bucket=name, Key="keep", Body=b"keep", ContentType="text/plain")
    S3.put_object(Bucket=BUCKET, Key=KEY, Body=b"0123456789", Metadata={"one": "1"}, Tagging="a=1")
    S3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(POLICY))
    STATE["upload"] = S3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    for pair in EC2.describe_key_pairs()["KeyPairs"]:
        EC2.delete_key_pair(KeyName=pair["KeyName"])


def remove():
    for name in (BUCKET, OTHER):
        for entry in S3.list_objects_v2(Bucket=name).get("Contents", []):
            S3.delete_object(Bucket=name, Key=entry["Key"])
        for upload in S3.list_multipart_uploads(Bucket=name).get("Uploads", []):
            S3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        S3.delete_bucket(Bucket=name)
    for pair in EC2.describe_key_pairs()["KeyPairs"]:
        EC2.delete_key_pair(KeyName=pair["KeyName"])


def optional(call, name, **arguments):
    try:
        return call(**arguments)[name]
    except ClientError as error:
        return error.response["Error"]["Code"]


def snapshot():
    """Returns everything that a request could have changed."""
    seen = {"buckets": [b["Name"] for b in S3.list_buckets()["Buckets"]]}
    for bucket in (BUCKET, OTHER):
        for entry in S3.list_objects_v2(Bucket=bucket).get("Contents", []):
            place = {"Bucket": bucket, "Key": entry["Key"]}
            head = S3.head_object(**place)
            seen[bucket, entry["Key"]] = [
                entry["ETag"],
                *(head.get(name) for name in ("ContentType", "ContentEncoding", "CacheControl", "Metadata")),
                *(head.get(name) for name in ("StorageClass", "ContentDisposition", "ContentLanguage")),
                S3.get_object_tagging(**place)["TagSet"],
            ]
        seen[bucket] = [
            optional(S3.get_bucket_policy, "Policy", Bucket=bucket),
            optional(S3.get_bucket_tagging, "TagSet", Bucket=bucket),
            optional(S3.get_public_access_block, "PublicAccessBlockConfiguration", Bucket=bucket),
            [u["Key"] for u in S3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])],
        ]
    if STATE["upload"] in [u["UploadId"] for u in S3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]:
        parts = S3.list_parts(Bucket=BUCKET, Key="parts", UploadId=STATE["upload"]).get("Parts", [])
        seen["parts"] = [(p["PartNumber"], p["ETag"]) for p in parts]
    seen["keys"] = [pair["KeyName"] for pair in EC2.describe_key_pairs()["KeyPairs"]]
    return seen


# --- the requests that are signed ------------------------------------------------------------------------------------

DELETE = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>keep</Key></Object></Delete>'
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>2</Value></Tag></TagSet></Tagging>"
META = [("x-amz-meta-note", "two words, and more"), ("Content-Type", "text/x-signed"), ("x-amz-tagging", "t=1")]
MD5 = [("Content-MD5", base64.b64encode(hashlib.md5(DELETE).digest()).decode())]
FORM = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")]


def public_key():
    """Returns an ed25519 key in OpenSSH's format, in base64 as EC2 expects it."""
    text = lambda data: len(data).to_bytes(4, "big") + data
    blob = base64.b64encode(text(b"ssh-ed25519") + text(bytes(range(32))))
    return urllib.parse.quote_plus(base64.b64encode(b"ssh-ed25519 " + blob + b" x").decode())


def import_key():
    return f"Action=ImportKeyPair&Version=2016-11-15&KeyName=signed+key&PublicKeyMaterial={public_key()}"


def requests():
    """Returns the signed requests by name. Created for each use, because an upload may have a new
    id."""
    upload = STATE["upload"]
    put = Request("PUT", PATH, ["x-id=PutObject"], META, b"hello")
    copy = [("x-amz-copy-source", f"/{OTHER}/keep"), ("x-amz-metadata-directive", "COPY")]
    part = Request("PUT", f"/{BUCKET}/parts", ["partNumber=1", f"uploadId={upload}"], [], b"part")
    described = "Action=DescribeKeyPairs&Version=2016-11-15&Filter.1.Name=key-name&Filter.1.Value.1=a%20b"
    return {
        "header GET": sign(Request("GET", PATH, ["response-content-language=a%20b"], [("Range", "bytes=0-4")])),
        "header HEAD": sign(Request("HEAD", PATH)),
        "header PUT": sign(put),
        "header PUT, unsigned body": sign(put, payload="UNSIGNED-PAYLOAD"),
        "header PUT part": sign(part),
        "header PUT copy": sign(Request("PUT", f"/{BUCKET}/copy", [], copy)),
        "header PUT tagging": sign(Request("PUT", PATH, ["tagging="], [], TAGS)),
        "header PUT policy": sign(Request("PUT", f"/{OTHER}", ["policy"], [], policy_of(OTHER).encode())),
        "header DELETE": sign(Request("DELETE", PATH)),
        "header POST delete": sign(Request("POST", f"/{BUCKET}", ["delete="], MD5, DELETE)),
        "header POST uploads": sign(Request("POST", f"/{BUCKET}/new", ["uploads"], [("x-amz-meta-a", "b")])),
        "header GET list": sign(Request("GET", f"/{BUCKET}", ["list-type=2", "prefix=dir%2Fa%20b", "delimiter=%2F"])),
        "presigned GET": presign(Request("GET", PATH, ["response-content-disposition=a%20b"])),
        "presigned HEAD": presign(Request("HEAD", PATH)),
        "presigned PUT": presign(Request("PUT", PATH, ["x-id=PutObject"], META, b"hello")),
        "presigned DELETE": presign(Request("DELETE", PATH)),
        "presigned GET list": presign(Request("GET", f"/{BUCKET}", ["list-type=2", "prefix=dir%2Fa%20b"])),
        "presigned POST uploads": presign(Request("POST", f"/{BUCKET}/new", ["uploads"])),
        "version 2 GET": presign_2(Request("GET", PATH, ["response-content-type=text%2Fx%20y"])),
        "version 2 HEAD": presign_2(Request("HEAD", PATH)),
        "version 2 PUT": presign_2(Request("PUT", PATH, [], META, b"hello")),
        "version 2 DELETE": presign_2(Request("DELETE", PATH)),
        "version 2 POST uploads": presign_2(Request("POST", f"/{BUCKET}/new", ["uploads"])),
        "chunked PUT": chunked(put, True, False).request(),
        "chunked PUT, trailer": chunked(put, True, True).request(),
        "chunked PUT, unsigned": chunked(put, False, True).request(),
        "EC2 POST": sign(Request("POST", "/", [], FORM, import_key().encode()), "ec2"),
        "EC2 GET": sign(Request("GET", "/", described.split("&")), "ec2"),
        "EC2 GET import": sign(Request("GET", "/", import_key().split("&")), "ec2"),
        "STS POST": sign(Request("POST", "/", [], FORM, b"Action=GetCallerIdentity&Version=2011-06-15"), "sts"),
        "STS GET": sign(Request("GET", "/", ["Action=GetCallerIdentity", "Version=2011-06-15"]), "sts"),
    }


def policy_of(bucket):
    text = json.dumps(POLICY)
    return text.replace(BUCKET, bucket)


def is_query_service(name):
    return name.startswith(("EC2", "STS"))


# --- the changes -----------------------------------------------------------------------------------------------------

REFUSED, SAME, BEARERS, BLANKS = "refused", "the same", "the bearer's", "blanks"


def of_the_method(name, request):
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", request.method.lower()):
        if method != request.method:
            yield method, REFUSED, replace(request, method=method)
    for override in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        yield override, SAME, request.with_header(override, "DELETE")
    yield "_method in the query", REFUSED, request.with_query([*request.query, "_method=DELETE"])


def of_the_path(name, request):
    path = request.path
    with_path = lambda other: replace(request, path=other)
    same_host = f"http://{HOST}"
    yield "absolute form", SAME, replace(request, prefix=same_host)
    yield "absolute form, other host", REFUSED, replace(request, prefix="http://169.254.169.254")
    yield "absolute form, other port", REFUSED, replace(request, prefix=same_host + "1")
    yield "absolute form, user", REFUSED, replace(request, prefix=f"http://{OTHER}@{HOST}")
    yield "a fragment", SAME, request.with_query([*request.query[:-1], request.query[-1] + "#x"]) if (
        request.query
    ) else with_path(path + "#x")
    if is_query_service(name):
        for other in ("//", "/./", "/x", "/../", "/%2F", "/%2e", f"/{BUCKET}", "/;"):
            yield other, REFUSED, with_path(other)
        return
    bucket, _, key = path[1:].partition("/")
    changes = [
        (f"/{OTHER}/{key}" if bucket == BUCKET else f"/{BUCKET}/{key}"),
        f"/{bucket}//{key}",
        f"//{bucket}/{key}",
        f"/./{bucket}/{key}",
        f"/{OTHER}/../{bucket}/{key}",
        f"/{bucket.upper()}/{key}",
        f"/{bucket}/x/../{key}" if key else f"/{bucket}/..",
        f"/{bucket}/%2e/{key}",
        f"{path}/" if key else f"{path}//",
        f"{path}%2F" if key else f"{path}%2Fx",
        f"{path}%00",
        f"{path}%0A",
        f"{path}%20",
        f"{path}%",
        f"{path}%zz",
        f"{path}%FF",
        path[:-1],
        path + "x",
        path.replace("%", "%25"),
        f"{path};x",
        "/",
    ]
    if key:
        changes += [f"/{bucket}/{key.upper()}", f"/{bucket}", f"/{bucket}/keep2", path.replace("%20", "+")]
    for other in changes:
        # `a` has no escapes, so nothing can be encoded twice.
        if other != path and (other.rstrip("/") != path or key):
            yield other, REFUSED, with_path(other)
    letter = path[-1]
    # Version 2 signs the path as sent.
    spelled = REFUSED if name.startswith("version 2") else SAME
    yield "an escape of a letter", spelled, with_path(f"{path[:-1]}%{ord(letter):02X}")
    yield "an escape in lower case", spelled, with_path(path[:-1] + f"%{ord(letter):02x}")
    if key:
        yield "an escaped slash", spelled, with_path(f"/{bucket}%2F{key}")
        if "%" in path:
            yield "escapes in lower case", spelled, with_path(re.sub("%..", lambda m: m.group().lower(), path))


MEANINGFUL = [
    *("acl", "tagging", "policy", "uploads", "delete", "versionId=null", "partNumber=1", "uploadId=x", "location"),
    *("list-type=2", "prefix=x", "max-keys=1", "delimiter=x", "encoding-type=url", "start-after=z", "versions"),
    *("response-content-type=text%2Fhtml", "response-expires=x", "publicAccessBlock", "ownershipControls", "website"),
    *("x-amz-acl=public-read", "x-amz-copy-source=%2Fa%2Fb", "x-amz-tagging=a%3Db", "x-amz-meta-evil=1", "attributes"),
    *("X-Amz-Security-Token=t", "X-Amz-Content-Sha256=" + EMPTY, "x-id=DeleteObject", "Action=DeleteKeyPair", "%zz=1"),
    *("a=%FF", "=", "KeyName=x"),
]


def of_the_query(name, request):
    query = request.query
    version_2 = name.startswith("version 2")
    for more in MEANINGFUL:
        if more.partition("=")[0] not in [pair.partition("=")[0] for pair in query]:
            yield f"added {more}", REFUSED, request.with_query([*query, more])
            yield f"added {more} in front", REFUSED, request.with_query([more, *query])
    for at, pair in enumerate(query):
        key, equals, value = pair.partition("=")
        changed = lambda *pairs: request.with_query([*query[:at], *pairs, *query[at + 1 :]])
        yield f"without {key}", REFUSED, changed()
        yield f"{key} twice", REFUSED, changed(pair, pair)
        yield f"{key} again, first", REFUSED, request.with_query([f"{key}=x", *query])
        yield f"{key} again, last", REFUSED, request.with_query([*query, f"{key}=x"])
        yield f"{key} again, in another case", REFUSED, request.with_query([*query, f"{key.swapcase()}=x"])
        yield f"{key} longer", REFUSED, changed(f"{key}={value}x")
        yield f"{key} renamed", REFUSED, changed(f"{key}x={value}")
        yield f"{key} with a blank", REFUSED, changed(f"{key}={value}%20")
        if "%" in value:
            yield f"{key} encoded twice", REFUSED, changed(pair.replace("%", "%25"))
        if value:
            yield f"{key} empty", REFUSED, changed(f"{key}=")
            yield f"{key} joined", REFUSED, changed(f"{key}={value}%26acl")
            yield f"{key} with an escape more", SAME, changed(f"{key}=%{ord(value[0]):02x}{value[1:]}") if (
                value[0] != "%"
            ) else changed(f"%{ord(key[0]):02X}{key[1:]}={value}")
            if value.swapcase() != value and "%" not in value:
                yield f"{key} in another case", REFUSED, changed(f"{key}={value.swapcase()}")
        else:
            yield f"{key} with or without `=`", SAME, changed(key if equals else f"{key}=")
        if "%20" in value:
            yield f"{key} with a plus", SAME, changed(pair.replace("%20", "+"))
            yield f"{key} with a tab", REFUSED, changed(pair.replace("%20", "%09"))
        if version_2 and key == "Expires":
            yield "+ before a number", REFUSED, changed(f"{key}=%2B{value}")
    if len(query) > 1:
        yield "in another order", SAME, request.with_query(query[::-1])
        yield "joined by a semicolon", REFUSED, request.with_query([";".join(query)])
        yield "parameters of nothing", SAME, request.with_query(["", *query, ""])


ADDED = [
    ("x-amz-acl", "public-read"),
    ("x-amz-copy-source", f"/{OTHER}/keep"),
    ("x-amz-tagging", "evil=1"),
    ("x-amz-meta-evil", "1"),
    ("x-amz-storage-class", "STANDARD_IA"),
    ("x-amz-security-token", "t"),
    ("x-amz-user-agent", "app/autorun-x"),
    ("x-amz-expected-bucket-owner", "123456789012"),
    ("x-amz-trailer", "x-amz-checksum-crc32"),
    ("x-amz-decoded-content-length", "1"),
    ("x-amz-checksum-crc32", "AAAAAA=="),
    ("x-amz-anything", ""),
]
# Headers that describe content, or that make a request partial or conditional.
DECIDING = [
    ("Content-Encoding", "gzip"),
    ("Content-Disposition", "attachment"),
    ("Content-Language", "de"),
    ("Cache-Control", "no-store"),
    ("Expires", "Wed, 21 Oct 2030 07:28:00 GMT"),
    ("If-None-Match", '"x"'),
    ("If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("If-Match", "*"),
    ("If-Unmodified-Since", "Wed, 21 Oct 2099 07:28:00 GMT"),
    ("Range", "bytes=1-1"),
]


def of_the_headers(name, request):
    presigned = name.startswith(("presigned", "version 2"))
    version_2 = name.startswith("version 2")
    for key, value in ADDED:
        if request.header(key) is None:
            yield f"added {key}", REFUSED, request.with_header(key, value)
    for key, value in DECIDING:
        if request.header(key.lower()) is None:
            yield f"added {key}", BEARERS if presigned else REFUSED, request.with_header(key, value)
    if request.header("content-md5") is None and not presigned:
        yield "added Content-MD5", REFUSED, request.with_header("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")
    if request.header("content-type") is None:
        expected = (REFUSED if version_2 else BEARERS) if presigned else SAME
        yield "added Content-Type", expected, request.with_header("Content-Type", "text/evil")
    yield "added User-Agent", SAME, request.with_header("User-Agent", "evil")
    for key, value in request.headers:
        lower = key.lower()
        others = [pair for pair in request.headers if pair[0] != key]
        changed = lambda *pairs: replace(request, headers=[*others, *pairs])
        yield f"without {key}", REFUSED, changed()
        yield f"{key} twice", REFUSED, changed((key, value), (key, value))
        yield f"{key} again, last", REFUSED, changed((key, value), (key, "x"))
        yield f"{key} again, first", REFUSED, changed((key, "x"), (key, value))
        yield f"{key} longer", REFUSED, changed((key, value + "x"))
        yield f"{key} empty", REFUSED, changed((key, ""))
        if lower != "authorization":
            yield f"{key} in another case", SAME, changed((key.swapcase(), value))
            yield f"{key} around blanks", SAME, changed((key, f" \t {value} "))
            if value.swapcase() != value:
                yield f"{key} of another case", REFUSED, changed((key, value.swapcase()))
        if " " in value and lower != "authorization":
            # Version 4 ignores the number of blanks. They are stored with an object, but decide
            # nothing.
            expected = REFUSED if version_2 else BLANKS
            yield f"{key} with more blanks", expected, changed((key, value.replace(" ", "  ")))
            yield f"{key} with tabs", expected, changed((key, value.replace(" ", "\t")))
        if lower.startswith("x-amz-meta-"):
            yield f"{key} renamed", REFUSED, changed((key + "x", value))
            if ", " in value and not version_2:
                # Version 4 treats a blank after the comma as part of the value. Without one, the
                # lines form the value.
                head, _, tail = value.partition(",")
                yield f"{key} in two lines", REFUSED, changed((key, head), (key, tail.strip()))
        if lower.startswith("x-amz-"):
            moved = request.with_query([*request.query, f"{key}={encoded(value)}"])
            yield f"{key} moved to the query", REFUSED, replace(moved, headers=others)
            yield f"{key} in the query as well", REFUSED, moved
    yield "a second Host", REFUSED, replace(request, headers=[*request.headers, ("Host", "evil")])
    yield "in another order", SAME, replace(request, headers=request.headers[::-1])
    for key, value in request.headers:
        if key.lower() == "host":
            yield "a blank in the name", REFUSED, replace(
                request, headers=[(f"{k} " if k == key else k, v) for k, v in request.headers]
            )


def of_the_lines(name, request):
    """Contradicting lengths of the body."""
    framed = lambda *pairs: replace(request, headers=[*request.headers, *pairs], framed=True)
    size = len(request.body)
    if not request.body:
        return
    # If the body is not signed, its sender may choose any.
    if is_covered(name):
        yield "a length too short", REFUSED, framed(("Content-Length", str(size - 1)))
    yield "a length too long", REFUSED, framed(("Content-Length", str(size + 1)))
    yield "two lengths", REFUSED, framed(("Content-Length", str(size)), ("Content-Length", str(size - 1)))
    yield "a length with a sign", REFUSED, framed(("Content-Length", f"+{size}"))
    yield "a negative length", REFUSED, framed(("Content-Length", f"-{size}"))
    yield "a length and chunks", REFUSED, framed(("Content-Length", str(size)), ("Transfer-Encoding", "chunked"))
    yield "another encoding", REFUSED, framed(("Transfer-Encoding", "gzip, identity"))


def is_covered(name):
    return not name.startswith(("presigned", "version 2")) and "unsigned body" not in name


def of_the_body(name, request):
    if not is_covered(name) or name.startswith("chunked"):
        return
    if request.body:
        yield "another byte", REFUSED, replace(request, body=bytes([request.body[0] ^ 1]) + request.body[1:])
        yield "a byte less", REFUSED, replace(request, body=request.body[:-1])
        yield "empty", REFUSED, replace(request, body=b"")
    yield "a byte more", REFUSED, replace(request, body=request.body + b"x")
    yield "another body", REFUSED, replace(request, body=b"Action=DeleteKeyPair&KeyName=x&Version=2016-11-15")
    if is_query_service(name) and request.method == "POST":
        pairs = request.body.decode().split("&")
        yield "the body moved to the query", REFUSED, replace(request, body=b"", query=pairs)
        yield "one parameter moved", REFUSED, replace(request, body="&".join(pairs[:-1]).encode(), query=pairs[-1:])
        yield "in another order", REFUSED, replace(request, body="&".join(pairs[::-1]).encode())
        yield "in another encoding", REFUSED, replace(request, body=request.body.replace(b"A", b"%41", 1))
    if is_query_service(name) and request.method == "GET":
        moved = replace(request, body="&".join(request.query).encode(), query=[])
        yield "the query moved to the body", REFUSED, moved
        yield "the query in the body as well", REFUSED, replace(request, body=moved.body)


def of_the_authorization(name, request):
    value = request.header("authorization")
    if value is None:
        return
    found = re.search("Signature=([0-9a-f]{64})", value).group(1)
    listed = re.search("SignedHeaders=([^,]+)", value).group(1)
    key, day, region, service, end = re.search("Credential=([^,]+)", value).group(1).split("/")
    changed = lambda old, new: request.with_header("Authorization", value.replace(old, new, 1))
    flipped = ("0" if found[0] != "0" else "1") + found[1:]
    names = listed.split(";")
    other_service = {"s3": "ec2", "ec2": "sts", "sts": "ec2"}[service]
    for label, old, new in [
        ("another digit", found, flipped),
        ("in upper case", found, found.upper()),
        ("shorter", found, found[:-1]),
        ("longer", found, found + "0"),
        ("empty", found, ""),
        ("zeros", found, "0" * 64),
        ("another key", key, "AKIAOTHER"),
        ("a key in lower case", key, key.lower()),
        ("no key", key, ""),
        ("another day", day, "20200101"),
        ("a longer day", f"/{day}/", f"/{day}0/"),
        ("another region", region, "us-east-1" if region != "us-east-1" else "eu-west-1"),
        ("no region", f"/{region}/", "//"),
        ("a region in upper case", f"/{region}/", f"/{region.upper()}/"),
        ("another service", f"/{service}/", f"/{other_service}/"),
        ("an unknown service", f"/{service}/", "/iam/"),
        ("another terminator", end, "aws5_request"),
        ("a longer scope", end, f"{end}/x"),
        ("one header less", listed, ";".join(names[:-1])),
        ("without host", listed, ";".join(n for n in names if n != "host")),
        ("one header more", listed, ";".join([*names, "x-amz-zzz"])),
        ("headers in another order", listed, ";".join(names[::-1])),
        ("headers in upper case", listed, listed.upper()),
        ("a header twice", listed, ";".join(sorted([*names, names[0]]))),
        ("no headers", listed, ""),
        ("a second signature", "Signature=", f"Signature={flipped}, Signature="),
        ("a second credential", "Credential=", f"Credential={key}/x, Credential="),
        ("a field more", "Signature=", "Expires=9, Signature="),
        ("another algorithm", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
        ("an asymmetric algorithm", "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("an algorithm in lower case", "AWS4-HMAC-SHA256", "aws4-hmac-sha256"),
        ("version 2", value, f"AWS {key}:{found}"),
        ("Basic", value, "Basic " + base64.b64encode(f"{KEY_ID}:{found}".encode()).decode()),
    ]:
        yield label, REFUSED, changed(old, new)
    yield "without blanks", SAME, changed(", SignedHeaders", ",SignedHeaders")
    moved = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "/".join([key, day, region, service, end]),
        "X-Amz-Date": request.header("x-amz-date"),
        "X-Amz-Expires": "600",
        "X-Amz-SignedHeaders": listed,
        "X-Amz-Signature": found,
    }
    in_query = request.with_query(request.query + [f"{n}={encoded(v)}" for n, v in moved.items()])
    yield "in the query as well", REFUSED, in_query
    yield "moved to the query", REFUSED, in_query.with_header("Authorization", None)
    yield "in the query as well, of version 2", REFUSED, request.with_query(
        [*request.query, f"AWSAccessKeyId={key}", "Signature=x", "Expires=1"]
    )
    yield "of another service", REFUSED, changed(f"/{service}/", f"/{other_service}/")


def of_a_presigned_address(name, request):
    if request.parameter("X-Amz-Signature") is None:
        return
    with_value = request.with_parameter
    for expires in ("-1", "604801", "9999999999", "0600", "", "600s", "6e2"):
        yield f"expires {expires}", REFUSED, with_value("X-Amz-Expires", expires)
    yield "the header as well", REFUSED, request.with_header("Authorization", sign(request).header("authorization"))
    date = request.parameter("X-Amz-Date")
    for other in (date[:-1], date.lower(), date[:8] + "T000000Z", "20200101T000000Z", date + "0"):
        yield f"date {other}", REFUSED, with_value("X-Amz-Date", other)
    for header in ("UNSIGNED-PAYLOAD", digest(b"hello"), EMPTY, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x"):
        expected = SAME if header == "UNSIGNED-PAYLOAD" else REFUSED
        yield f"says {header}", expected, request.with_header("x-amz-content-sha256", header)


def of_the_chunks(name, _):
    """Changes a body in chunks, each time in a new request."""
    if not name.startswith("chunked"):
        return
    signed, trailer = "unsigned" not in name, "," in name
    put = Request("PUT", PATH, ["x-id=PutObject"], META)
    base = chunked(put, signed, trailer)
    made = lambda **parts: replace(base, **parts).request()
    first, second, last = base.chunks
    forged = lambda chunk, found="0" * 64: (chunk[0], found, chunk[2])
    if signed:
        for at in range(3):
            for label, found in [("forged", "0" * 64), ("empty", ""), ("of another", base.chunks[at - 1][1])]:
                chunks = [forged(chunk, found) if at == n else chunk for n, chunk in enumerate(base.chunks)]
                yield f"the signature of chunk {at} {label}", REFUSED, made(chunks=chunks)
            chunks = [forged(chunk, None) if at == n else chunk for n, chunk in enumerate(base.chunks)]
            yield f"no signature of chunk {at}", REFUSED, made(chunks=chunks)
        upper = [forged(chunk, chunk[1].upper()) for chunk in base.chunks]
        yield "signatures in upper case", REFUSED, made(chunks=upper)
        yield "another order", REFUSED, made(chunks=[second, first, last])
        yield "a chunk twice", REFUSED, made(chunks=[first, second, second, last])
        joined = (f"{len(first[2] + second[2]):x}", second[1], first[2] + second[2])
        yield "chunks joined", REFUSED, made(chunks=[joined, last])
        other = chunked(put.with_header("x-amz-meta-note", "another"), signed, trailer)
        yield "the chunks of another request", REFUSED, made(chunks=other.chunks)
        none = [(size, None, content) for size, _, content in base.chunks]
        yield "no signatures", REFUSED, made(chunks=none)
    else:
        yield "unexpected signatures", REFUSED, made(chunks=[forged(chunk) for chunk in base.chunks])
    yield "another content", REFUSED, made(chunks=[(first[0], first[1], b"FIRST chunk, "), second, last])
    yield "a chunk less", REFUSED, made(chunks=[first, last])
    yield "the last chunk missing", REFUSED, replace(made(), body=made(chunks=[first, second], trailer=[]).body[:-2])
    yield "the last chunk and all after it missing", REFUSED, replace(made(), body=made().body.partition(b"\r\n0")[0])
    yield "bytes after the end", REFUSED, replace(made(), body=made().body + b"more")
    yield "a chunk after the end", REFUSED, replace(made(), body=made().body + b"1\r\nx\r\n")
    yield "another size", REFUSED, made(chunks=[("c", first[1], first[2]), second, last])
    yield "a size with a sign", REFUSED, made(chunks=[("+" + first[0], first[1], first[2]), second, last])
    yield "a size of words", REFUSED, made(chunks=[("0x" + first[0], first[1], first[2]), second, last])
    yield "a huge size", REFUSED, made(chunks=[("f" * 17, first[1], first[2]), second, last])
    yield "zeros before sizes", SAME, made(chunks=[("00" + s, found, content) for s, found, content in base.chunks])
    yield "sizes in upper case", SAME, made(chunks=[(s.upper(), f, content) for s, f, content in base.chunks])
    evil = ("x-amz-meta-evil", "1")
    yield "a trailer more", REFUSED, made(trailer=[*base.trailer, evil])
    yield "a trailer before", REFUSED, made(trailer=[evil, *base.trailer])
    yield "not in chunks", REFUSED, replace(made(), body=b"".join(CHUNKS))
    for kind in ("UNSIGNED-PAYLOAD", digest(made().body), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", EMPTY):
        if base.head.header("x-amz-content-sha256") != kind:
            yield f"says {kind}", REFUSED, made(head=base.head.with_header("x-amz-content-sha256", kind))
    if not trailer:
        yield "a trailer that was not announced", REFUSED, made(trailer=[TRAILER])
        yield "a signature of no trailer", REFUSED, made(trailer=[("x-amz-trailer-signature", "0" * 64)])
        return
    line, *rest = base.trailer
    yield "no trailer", REFUSED, made(trailer=[])
    yield "the trailer twice", REFUSED, made(trailer=[line, line, *rest])
    yield "another value", REFUSED, made(trailer=[(line[0], "AAAAAA=="), *rest])
    yield "another trailer", REFUSED, made(trailer=[("x-amz-checksum-sha256", line[1]), *rest])
    yield "a name in upper case", SAME, made(trailer=[(line[0].upper(), line[1]), *rest])
    yield "the trailer as a header", REFUSED, made(head=base.head.with_header(*line), trailer=rest)
    if signed:
        yield "no signature of the trailer", REFUSED, made(trailer=[line])
        yield "a forged signature of the trailer", REFUSED, made(trailer=[line, (rest[0][0], "0" * 64)])
        yield "two signatures of the trailer", REFUSED, made(trailer=[line, *rest, *rest])
        yield "only the signature of the trailer", REFUSED, made(trailer=rest)


CHANGES = [
    of_the_method,
    of_the_path,
    of_the_query,
    of_the_headers,
    of_the_lines,
    of_the_body,
    of_the_authorization,
    of_a_presigned_address,
    of_the_chunks,
]


def invalid_requests():
    """Requests with a valid signature that are refused because of their contents."""
    get, put = Request("GET", PATH), Request("PUT", PATH, [], [], b"x")
    form = Request("POST", "/", [], FORM, import_key().encode())
    yesterday = stamp(-86400)[:8]
    for offset in (-16 * 60, 16 * 60, -86400, 86400 * 400):
        yield f"header, {offset} s", sign(get, offset=offset)
        yield f"EC2, {offset} s", sign(form, "ec2", offset=offset)
    yield "header, day of another", sign(get, day=yesterday)
    yield "presigned, expired", presign(get, expires=60, offset=-61)
    yield "presigned, of the future", presign(get, offset=16 * 60)
    for expires in (-1, 604801, "x", ""):
        yield f"presigned, expires {expires}", presign(get, expires=expires)
    yield "version 2, expired", presign_2(get, expires=-1)
    yield "version 2, parameter not covered", presign_2(Request("GET", f"/{BUCKET}", ["publicAccessBlock"]))
    yield "version 2, a list with a prefix", presign_2(Request("GET", f"/{BUCKET}", ["prefix=x"]))
    yield "version 2, two parameters in one", presign_2(Request("GET", PATH, ["response-content-type=a%26acl"]))
    yield "S3, signed for EC2", sign(get, "ec2")
    yield "EC2, signed for another service", sign(form, "monitoring")
    yield "EC2, presigned", presign(Request("GET", "/", import_key().split("&")), service="ec2")
    yield "EC2, presigned form", presign(replace(form, query=import_key().split("&"), body=b""), service="ec2")
    yield "EC2, PUT", sign(replace(form, method="PUT"), "ec2")
    yield "EC2, parameters in body and query", sign(replace(form, query=["DryRun=true"]), "ec2")
    yield "EC2, body of a GET", sign(Request("GET", "/", ["Action=DescribeRegions"], [], b"Action=x"), "ec2")
    yield "EC2, declares another body", sign(form.with_header("x-amz-content-sha256", EMPTY), "ec2")
    policy = Request("PUT", f"/{OTHER}", ["policy"], [], policy_of(OTHER).encode())
    yield "a policy that is not signed", sign(policy, payload="UNSIGNED-PAYLOAD")
    delete = Request("POST", f"/{BUCKET}", ["delete="], [("x-amz-checksum-crc32", "x")], DELETE)
    yield "a document that is not signed", sign(delete, payload="UNSIGNED-PAYLOAD")
    yield "a session token", sign(get.with_header("x-amz-security-token", "t"))
    yield "a session token in the query", presign(get.with_query(["X-Amz-Security-Token=t"]))
    yield "no such kind of body", sign(put, payload="SIGNED-PAYLOAD")
    yield "an asymmetric kind of body", sign(put, payload="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
    yield "chunks in a presigned address", presign(
        put.with_header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    )
    yield "a parameter twice", sign(get.with_query(["response-content-type=a", "response-content-type=b"]))
    yield "a broken escape", sign(Request("GET", f"/{BUCKET}/%zz"))
    yield "a blank in the source of a copy", sign(put.with_header("x-amz-copy-source", f"/{OTHER}/a b"))
    yield "a blank in tags", sign(put.with_header("x-amz-tagging", "a=b c"))
    trailer = put.with_header("x-amz-trailer", TRAILER[0])
    yield "a trailer without chunks", sign(trailer)
    without = chunked(put, True, False).head
    length = [pair for pair in put.headers if pair[0] != "x-amz-decoded-content-length"]
    yield "chunks without their length", replace(
        sign(replace(put, headers=length), payload=without.header("x-amz-content-sha256")),
        body=b"0;chunk-signature=0\r\n\r\n",
    )
    for method, path in [("GET", PATH), ("PUT", PATH), ("DELETE", PATH), ("GET", f"/{BUCKET}"), ("GET", "/")]:
        yield f"anonymous {method} {path}", Request(method, path, [], [("Host", HOST)], b"x" if method == "PUT" else b"")
    yield "EC2 without a signature", form.with_header("Host", HOST)


# --- the outcomes ----------------------------------------------------------------------------------------------------

# Error codes about the signature, or about the form of a request, before it has any effect.
BEFORE = {
    *("AccessDenied", "AuthFailure", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"),
    *("BadDigest", "IncompleteBody", "IncompleteSignature", "InvalidAccessKeyId", "InvalidArgument", "InvalidDigest"),
    *("InvalidClientTokenId", "InvalidRequest", "InvalidToken", "InvalidURI", "MalformedQueryString", "MalformedTrailerError"),
    *("MissingAuthenticationToken", "MissingContentLength", "RequestExpired", "RequestTimeTooSkewed"),
    *("SignatureDoesNotMatch", "XAmzContentSHA256Mismatch"),
}


def code_of(body):
    found = re.search(rb"<Code>(\w+)</Code>", body)
    return found.group(1).decode() if found else None


def is_refused(answer, request):
    """Whether the request was refused before any effect. Invalid HTTP has no response, or one
    without a body."""
    if answer is None:
        return request.framed
    status, _, body = answer
    if request.method == "HEAD" or not body or b"<Code>" not in body:
        return status in (400, 403, 411)
    if code_of(body) in ("NotImplemented", "MethodNotAllowed"):
        # These responses need no signature, so the change must have removed the signature.
        return request.header("authorization") is None and request.parameter("X-Amz-Signature") is None
    return status >= 400 and code_of(body) in BEFORE


def essence(answer):
    """Returns a response without the parts that differ each time."""
    if answer is None:
        return None
    status, headers, body = answer
    volatile = rb"<(RequestId|requestId|HostId|UploadId|LastModified|keyPairId|ContinuationToken)>[^<]*"
    names = ("content-type", "content-length", "etag", "content-range", "content-disposition", "content-language")
    lower = {name.lower(): value for name, value in headers.items()}
    return status, re.sub(volatile, b"", body), [lower.get(name) for name in names if status < 400]


class Tally:
    """The number of changes and their outcomes. A kind counts only the changes with the expected
    outcome."""

    def __init__(self):
        self.tried = 0
        self.counts = collections.Counter()
        self.failures = []

    def fail(self, text):
        self.failures.append(text)

    def count(self, kind, wrong=None):
        """Counts one change. `wrong` describes an unexpected outcome."""
        self.tried += 1
        if wrong is None:
            self.counts[kind] += 1
        else:
            self.fail(wrong)

    def refused(self, where, request):
        answer = send(request)
        wrong = None if is_refused(answer, request) else f"{where}: not refused: {str(answer)[:300]}"
        self.count(REFUSED, wrong)


def unchanged(tally, where, before):
    after = snapshot()
    if after != before:
        changed = {k: (before.get(k), after.get(k)) for k in {*before, *after} if before.get(k) != after.get(k)}
        tally.fail(f"{where}: the account has changed: {changed}")
        restore()


def changes_of(name, request):
    for kind in CHANGES:
        for label, expected, other in kind(name, request):
            yield f"{name}, {kind.__name__}: {label}", expected, other


def outcome(request):
    """Sends a request. Returns its response and the resulting state of its object."""
    answer = essence(send(request))
    if request.method in ("GET", "HEAD") or not urllib.parse.unquote(request.path).startswith(f"/{BUCKET}/"):
        return answer, None
    place = {"Bucket": BUCKET, "Key": urllib.parse.unquote(PATH).partition(f"/{BUCKET}/")[2]}
    names = ("ContentType", "ContentEncoding", "CacheControl", "Metadata", "ETag")
    existing = optional(S3.head_object, "ETag", **place)
    head = S3.head_object(**place) if existing != "404" else {}
    return answer, [head.get(name) for name in names], optional(S3.get_object_tagging, "TagSet", **place)


def is_repeatable(name):
    """Whether a second identical request has the same effect as the first."""
    return "uploads" not in name and "import" not in name and name != "EC2 POST"


def check_accepted(tally, name, expected):
    """Sends the changes that must be accepted. The account must stay as the signed request left
    it."""
    after = snapshot()
    # Create the requests for each use: an upload has a new id after `restore`.
    accepted = [(where, kind) for where, kind, _ in changes_of(name, requests()[name]) if kind != REFUSED]
    for where, kind in accepted:
        if not is_repeatable(name):
            restore()
        request = next(other for label, _, other in changes_of(name, requests()[name]) if label == where)
        if kind in (SAME, BLANKS):
            found = outcome(request)
            if kind == BLANKS:
                found = (found[0], *json.loads(re.sub(r"( |\\t)+", " ", json.dumps(found[1:]))))
            same = found == expected
            wrong = None if same else f"{where}: not the same: {str(found)[:300]} instead of {str(expected)[:300]}"
            tally.count(kind, wrong)
            continue
        # The bearer's choice: the response is that of a request for the same resource, or of a
        # failed condition.
        answer = send(request)
        refused = answer is None or (answer[0] >= 300 and answer[0] not in (304, 404, 412, 501))
        tally.count(kind, f"{where}: refused: {str(answer)[:300]}" if refused else None)
    if all(kind == SAME for _, kind in accepted):
        unchanged(tally, f"{name}, all equivalent changes", after)


def check(tally, name):
    restore()
    before = snapshot()
    for where, expected, other in changes_of(name, requests()[name]):
        if expected == REFUSED:
            tally.refused(where, other)
    unchanged(tally, name, before)
    restore()
    expected = outcome(requests()[name])
    if expected[0] is None or expected[0][0] >= 300:
        tally.fail(f"{name}: the signed request itself is refused: {expected[0]}")
        return
    check_accepted(tally, name, expected)


def main():
    tally = Tally()
    began = time.monotonic()
    restore()
    for name in requests():
        check(tally, name)
    restore()
    before = snapshot()
    for where, request in invalid_requests():
        tally.refused(where, request)
    unchanged(tally, "invalid requests", before)
    remove()
    for text in tally.failures:
        print(text, file=sys.stderr)
    counts = tally.counts
    print(
        f"{tally.tried} changes of {len(requests())} signed requests tried: {counts[REFUSED]} refused, "
        f"{counts[SAME]} accepted as the same, {counts[BLANKS]} as the same but for blanks in stored text, "
        f"{counts[BEARERS]} left to the bearer of a presigned address; "
        f"{len(tally.failures)} wrong, {time.monotonic() - began:.0f} s"
    )
    return 1 if tally.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClientError:
        traceback.print_exc()
        sys.exit(1)
