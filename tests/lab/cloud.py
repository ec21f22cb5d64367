"""moto, adapted to behave like AWS wherever a program can notice the
difference."""

import base64
import json
import os
import re
import threading
import time
import uuid
import zlib
from datetime import datetime, timedelta
from io import BytesIO
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

# moto needs no login and checks no signature. Do not let it look for real
# credentials.
os.environ.update(AWS_ACCESS_KEY_ID="lab", AWS_SECRET_ACCESS_KEY="lab")

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.general import General
from moto.ec2.utils import Base64EncodedString, filter_dict_attribute_mapping
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import PublicAccessBlock, S3Backend, s3_backends
from moto.s3.utils import bucket_policy_is_public
from moto.ssm.models import SimpleSystemManagerBackend
from werkzeug.serving import make_server

from machine import Machine, start

CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
# The parts of a bucket or object that have their own operations.
PARTS = {
    "acl": "Acl",
    "cors": "Cors",
    "delete": "Delete",
    "encryption": "Encryption",
    "lifecycle": "LifecycleConfiguration",
    "location": "Location",
    "ownershipControls": "OwnershipControls",
    "partNumber": "Part",
    "policy": "Policy",
    "policyStatus": "PolicyStatus",
    "publicAccessBlock": "PublicAccessBlock",
    "tagging": "Tagging",
    "uploadId": "Upload",
    "uploads": "Uploads",
    "versioning": "Versioning",
    "versions": "Versions",
    "website": "Website",
}
LOGGED_HEADERS = (
    "content-type",
    "content-length",
    "if-match",
    "if-none-match",
    "x-amz-acl",
    "x-amz-bucket-namespace",
    "x-amz-copy-source",
    "x-amz-object-ownership",
    "x-amz-tagging",
)
CREDENTIAL = re.compile(r"[^/]*/\d{8}/([^/]*)/([^/]*)/aws4_request")


# moto has no current image of another publisher than Amazon.
UBUNTU = [
    {
        "ami_id": identity,
        "architecture": architecture,
        "description": "Canonical, Ubuntu, 24.04, " + word + " noble image",
        "hypervisor": "xen",
        "image_type": "machine",
        "name": f"ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{word}-server-20260904",
        "owner_id": "099720109477",
        "platform": None,
        "public": True,
        "root_device_name": "/dev/sda1",
        "root_device_type": "ebs",
        "sriov": "simple",
        "state": "available",
        "tags": {},
        "virtualization_type": "hvm",
    }
    for identity, architecture, word in [
        ("ami-0b0a7b0a7b0a7b0a1", "x86_64", "amd64"),
        ("ami-0b0a7b0a7b0a7b0a2", "arm64", "arm64"),
    ]
]


class QuietHandler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


class Refusal(Exception):
    """A response of the lab itself, in place of moto's."""

    def __init__(self, code, message, status=400):
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


class Request:
    """The parts of a request that the front end needs."""

    def __init__(self, environ):
        self.environ = environ
        self.query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
        self.method = environ["REQUEST_METHOD"]
        header = environ.get("HTTP_AUTHORIZATION")
        scope = CREDENTIAL.search(header or self.query.get("X-Amz-Credential", ""))
        self.signed = bool(scope)
        self.region, self.service = scope.groups() if scope else ("us-east-1", "s3")
        if self.service == "s3":
            self.read_s3()
        else:
            self.read_query()

    def read_query(self):
        form = "x-www-form-urlencoded" in self.environ.get("CONTENT_TYPE", "")
        body = self.body() if form else b""
        self.params = dict(parse_qsl(body.decode(), keep_blank_values=True)) or dict(self.query)
        target = self.environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        self.operation = self.action = self.params.get("Action") or target or "unknown"

    def read_s3(self):
        path = self.environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace")
        self.bucket, _, self.key = path.lstrip("/").partition("/")
        parts = [name for name in self.query if name in PARTS]
        self.operation = self.s3_operation(parts)
        self.action = f"{self.method} {path}" + ("?" + "&".join(parts) if parts else "")
        self.params = {k: v for k, v in self.query.items() if not k.startswith("X-Amz-")}
        for name in LOGGED_HEADERS:
            value = self.header(name)
            if value:
                self.params[name] = value
        # Log a bucket's settings, which are small and useful, but no objects.
        if self.method == "PUT" and not self.key:
            self.settings = self.body()
            self.params["body"] = self.settings.decode("utf-8", "replace")

    def s3_operation(self, parts):
        verb = self.method.capitalize()
        part = parts[0] if parts else ""
        if "partNumber" in parts:
            return "UploadPart"
        if part == "uploads":
            return "CreateMultipartUpload" if verb == "Post" else "ListMultipartUploads"
        if part == "uploadId":
            names = {"Post": "CompleteMultipartUpload", "Delete": "AbortMultipartUpload"}
            return names.get(verb, "ListParts")
        if part == "delete":
            return "DeleteObjects"
        if part == "versions":
            return "ListObjectVersions"
        if part == "publicAccessBlock":
            return verb + "PublicAccessBlock"
        if not self.bucket:
            return "ListBuckets"
        if not self.key and not part:
            listing = "ListObjectsV2" if "list-type" in self.query else "ListObjects"
            return {"Put": "CreateBucket", "Get": listing}.get(verb, verb + "Bucket")
        if self.header("x-amz-copy-source") and not part:
            return "CopyObject"
        return verb + ("Object" if self.key else "Bucket") + PARTS.get(part, "")

    def header(self, name):
        name = name.upper().replace("-", "_")
        plain = name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        return self.environ.get(name if plain else "HTTP_" + name)

    def body(self):
        """Reads the whole body and makes it available to moto again."""
        length = self.environ.get("CONTENT_LENGTH")
        stream = self.environ["wsgi.input"]
        body = stream.read(int(length)) if length else b""
        self.environ["wsgi.input"] = BytesIO(body)
        return body

    def drain(self):
        # An unread body would be parsed as the connection's next request.
        left = int(self.environ.get("CONTENT_LENGTH") or 0)
        stream = self.environ["wsgi.input"]
        while left > 0 and (data := stream.read(min(left, 1 << 20))):
            left -= len(data)
        while self.environ.get("wsgi.input_terminated") and stream.read(1 << 20):
            pass


class Cloud:
    def __init__(self, lab):
        self.lab = lab
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.log = open(lab.directory / "requests.jsonl", "a")
        self.lock = threading.RLock()
        self.current = threading.local()
        self.failed = {}  # rule of "fail" -> number of uses
        self.unseen = {}  # instance id -> number of "not found" responses
        self.tokens = {}  # (region, client token) -> (parameters, reservation id)
        self.instances = {}
        self.machines = {}
        self.made_default_vpc = False
        patch_ec2(self)
        patch_s3()
        # Loading the images takes a while. Do it before the first call of a
        # test.
        start(lambda: ec2_backends[DEFAULT_ACCOUNT_ID]["us-east-1"])

    def listen(self, address, port):
        return make_server(address, port, self, threaded=True, request_handler=QuietHandler)

    def setting(self, key):
        return self.lab.settings(key)

    def __call__(self, environ, start_response):
        request = Request(environ)
        self.write_log(request)
        self.current.request = request
        if environ["PATH_INFO"] == "/v20180820/configuration/publicAccessBlock":
            return self.account_block(start_response)
        try:
            time.sleep(self.setting("hang").get(request.operation, 0))
            self.fail_if_requested(request)
            if request.service == "s3":
                self.check_s3(request)
            elif request.service == "ec2":
                with self.lock:
                    self.pass_time()
                self.check_ec2(request)
        except Refusal as refusal:
            request.drain()
            return answer(request, refusal, start_response)
        return self.moto(environ, start_response)

    def account_block(self, start_response):
        """Answers S3 Control's GetPublicAccessBlock, which moto has only at another host."""
        on = str(bool(self.setting("account_blocks_public"))).lower()
        names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"]
        settings = "".join(f"<{name}>{on}</{name}>" for name in names)
        start_response("200 OK", [("Content-Type", "application/xml")])
        root = "PublicAccessBlockConfiguration"
        return [f"<{root}>{settings}</{root}>".encode()]

    def write_log(self, request):
        line = {"service": request.service, "action": request.action}
        if request.service == "s3":
            line["operation"] = request.operation
        line["params"] = request.params
        with self.lock:
            self.log.write(json.dumps(line) + "\n")
            self.log.flush()

    def fail_if_requested(self, request):
        rule = self.setting("fail").get(request.operation)
        if not rule:
            return
        key = request.operation + json.dumps(rule, sort_keys=True)
        with self.lock:
            used = self.failed[key] = self.failed.get(key, 0) + 1
        if used <= rule.get("times", used):
            raise Refusal(rule["code"], rule.get("message", ""), rule.get("status", 400))

    # EC2

    def check_ec2(self, request):
        if request.operation == "DescribeInstances":
            ids = [v for k, v in request.params.items() if k.startswith("InstanceId.")]
            with self.lock:
                for instance in ids:
                    if self.unseen.get(instance, 1 << 30) < self.setting("not_found"):
                        self.unseen[instance] += 1
                        message = f"The instance ID '{instance}' does not exist"
                        raise Refusal("InvalidInstanceID.NotFound", message)
        if request.operation == "CreateSecurityGroup" and not request.params.get("VpcId"):
            if self.setting("no_default_vpc") and not self.made_default_vpc:
                raise Refusal("VPCIdNotSpecified", "No default VPC for this user")

    def pass_time(self):
        """Moves instances from one state to the next after a delay, as on AWS.
        """
        for instance in self.instances.values():
            if instance.lab_change:
                since, setting, state = instance.lab_change
                if time.monotonic() - since >= self.setting(setting):
                    set_state(instance, state)

    def launched(self, instance, user_data):
        self.instances[instance.id] = instance
        self.unseen[instance.id] = 0
        set_state(instance, "pending", "pending_seconds", "running")
        if not self.setting("boot"):
            return
        keys = []
        if instance.key_name:
            keys.append(instance.ec2_backend.key_pairs[instance.key_name].public_key)
        hostname = "ip-" + instance.private_ip.replace(".", "-")
        start(self.boot_new, instance, hostname, keys, user_data)

    def boot_new(self, instance, hostname, keys, user_data):
        is_ubuntu = any(instance.image_id == image["ami_id"] for image in UBUNTU)
        user = "ubuntu" if is_ubuntu else "ec2-user"
        machine = Machine(self.lab, instance.id, hostname, user, keys)
        if not self.setting("cloud_init"):
            machine.remove_cloud_init()
        machine.set_user_data(user_data)
        self.lab.machines.add(machine)
        self.machines[instance.id] = machine
        self.boot(instance, machine)

    def boot(self, instance, machine):
        nic = instance.nics[0]
        machine.boot(nic.public_ip or nic.private_ip_address, self.setting("user_data_result"))
        if instance.lab_state in ("shutting-down", "terminated"):
            self.lab.discard(machine)  # terminated in the meantime
        elif instance.lab_state in ("stopping", "stopped"):
            machine.kill()

    # S3

    def check_s3(self, request):
        name = request.bucket
        operation = request.operation
        acl = request.header("x-amz-acl")
        if operation == "CreateBucket":
            if name.startswith("taken-"):
                raise Refusal(
                    "BucketAlreadyExists",
                    "The requested bucket name is not available. The bucket namespace is shared "
                    "by all users of the system. Please select a different name and try again.",
                    409,
                )
            if acl not in (None, "private") and not request.header("x-amz-object-ownership"):
                raise Refusal(
                    "InvalidBucketAclWithObjectOwnership",
                    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced "
                    "setting",
                )
        bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.get(name)
        if not bucket:
            return
        if not request.signed and "Signature" not in request.query:
            self.check_unsigned(request, bucket)
        without_acls = "BucketOwnerEnforced" in str(bucket.ownership_rule)
        sets_acl = acl not in (None, "bucket-owner-full-control") and request.key
        if without_acls and (sets_acl or operation in ("PutObjectAcl", "PutBucketAcl")):
            raise Refusal("AccessControlListNotSupported", "The bucket does not allow ACLs")
        if operation == "PutBucketPolicy":
            self.check_policy(request, bucket)

    def check_policy(self, request, bucket):
        try:
            statements = json.loads(request.settings)["Statement"]
            statements = statements if isinstance(statements, list) else [statements]
            resources = [r for s in statements for r in as_list(s["Resource"])]
        except (ValueError, KeyError, TypeError):
            raise Refusal("MalformedPolicy", "Policies must be valid JSON and complete")
        arn = f"arn:aws:s3:::{bucket.name}"
        if not all(r == arn or r.startswith(arn + "/") for r in resources):
            raise Refusal("MalformedPolicy", "Policy has invalid resource")
        block = bucket.public_access_block
        blocked = self.setting("account_blocks_public") or (block and block.block_public_policy)
        if blocked and bucket_policy_is_public(request.settings):
            raise Refusal(
                "AccessDenied",
                f"User: arn:aws:iam::{DEFAULT_ACCOUNT_ID}:user/lab is not authorized to perform: "
                f's3:PutBucketPolicy on resource: "{arn}" because public policies are blocked by '
                "the BlockPublicPolicy block public access setting.",
                403,
            )

    def check_unsigned(self, request, bucket):
        """Allows an unsigned request only what the policy allows for everyone.
        """
        verb = "Get" if request.method == "HEAD" else request.method.capitalize()
        if request.key:
            action, resource = f"s3:{verb}Object", f"{bucket.arn}/{request.key}"
        else:
            action, resource = "s3:ListBucket", bucket.arn
        block = bucket.public_access_block
        restricted = self.setting("account_blocks_public") or (
            block and block.restrict_public_buckets
        )
        allowed = bucket.get_permission(action, resource) == PermissionResult.PERMITTED
        # Without permission to list, a missing object looks like a forbidden
        # one.
        missing = request.key and request.key not in bucket.keys and verb == "Get"
        if restricted or not allowed or missing:
            raise Refusal("AccessDenied", "Access Denied", 403)
        # The request is allowed. Keep moto from checking it again by different
        # rules.
        scope = f"{DEFAULT_ACCOUNT_ID}/20260101/{bucket.region_name}/s3/aws4_request"
        request.environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={scope}"


def as_list(value):
    return value if isinstance(value, list) else [value]


def answer(request, refusal, start_response):
    identity = str(uuid.uuid4())
    code, message = escape(refusal.code), escape(refusal.message)
    headers = [("x-amz-request-id", identity), ("x-amzn-requestid", identity)]
    kind = "application/xml"
    error = f"<Code>{code}</Code><Message>{message}</Message>"
    if request.service == "s3":
        host = "<HostId>lab</HostId>"
        body = f"<Error>{error}<RequestId>{identity}</RequestId>{host}</Error>"
    elif request.service == "ec2":
        body = (
            f"<Response><Errors><Error>{error}</Error></Errors>"
            f"<RequestID>{identity}</RequestID></Response>"
        )
    elif request.environ.get("HTTP_X_AMZ_TARGET"):
        kind = "application/x-amz-json-1.1"
        body = json.dumps({"__type": refusal.code, "message": refusal.message})
    else:
        error = f"<Error><Type>Sender</Type>{error}</Error>"
        body = f"<ErrorResponse>{error}<RequestId>{identity}</RequestId></ErrorResponse>"
    if kind == "application/xml":
        body = '<?xml version="1.0" encoding="UTF-8"?>\n' + body
    body = b"" if request.method == "HEAD" else body.encode()
    headers += [("Content-Type", kind), ("Content-Length", str(len(body)))]
    start_response(f"{refusal.status} {refusal.code or 'Error'}", headers)
    return [body]


def set_state(instance, state, setting=None, then=None):
    instance._state = InstanceState(state, CODES[state])
    instance.lab_state = state
    instance.lab_change = (time.monotonic(), setting, then) if then else None


def patch_ec2(cloud):
    filter_dict_attribute_mapping["client-token"] = "client_token"
    patch_images()
    patch_parameters(cloud)
    patch_launch(cloud)
    patch_ends(cloud)
    patch_networks(cloud)

    def get_console_output(self):
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        machine = cloud.machines.get(instance.id)
        # Other instance types show this only minutes after the start.
        is_nitro = not instance.instance_type.startswith("t2.")
        if str(self._get_param("Latest")).lower() == "true" and not is_nitro:
            message = "This instance type does not support retrieving the latest console logs."
            raise EC2ClientError("UnsupportedOperation", message)
        text = ""
        if machine and is_nitro:
            text = machine.console(cloud.setting("console"), cloud.setting("console_after"))
        result = {"InstanceId": instance.id, "Timestamp": utcnow()}
        if text:
            result["Output"] = Base64EncodedString.from_raw_string(text)
        return ActionResult(result)

    General.get_console_output = get_console_output


def patch_images():
    load = AmiBackend._load_amis

    def load_images(self):
        load(self)
        for image in UBUNTU:
            self.amis[image["ami_id"]] = Ami(self, **image)
        for image in self.amis.values():
            date = re.search(r"20[12]\d(?:0\d|1[0-2])(?:[0-2]\d|3[01])", image.name or "")
            day = datetime.strptime(date.group() if date else "20180101", "%Y%m%d")
            # Let images of the same day differ in their time of creation.
            image.creation_date = day + timedelta(seconds=zlib.crc32(image.id.encode()) % 86400)

    AmiBackend._load_amis = load_images


def patch_parameters(cloud):
    get_parameter = SimpleSystemManagerBackend.get_parameter

    def get(self, name):
        kernel = cloud.setting("kernel")
        if kernel:
            name = name.replace("al2023-ami-kernel-default-", f"al2023-ami-kernel-{kernel}-")
        return get_parameter(self, name)

    SimpleSystemManagerBackend.get_parameter = get


def find_image(backend, name):
    """Returns the image of a launch, given by its id or by AWS's parameter for
    the newest image."""
    latest = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-"
    if name.startswith(latest):
        architecture = name[len(latest) :]
        pattern = re.compile(r"al2023-ami-2023\..*-kernel-[\d.]+-" + re.escape(architecture))
        images = [i for i in backend.amis.values() if pattern.fullmatch(i.name or "")]
        if images:
            return max(images, key=lambda image: (image.creation_date, image.name))
    if name not in backend.amis:
        raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{name}]' does not exist")
    return backend.amis[name]


def patch_launch(cloud):
    run_instances = InstanceBackend.run_instances

    def run(self, image_id, count, user_data, security_group_names, **options):
        params = cloud.current.request.params
        with cloud.lock:
            token = (self.region_name, params.get("ClientToken"))
            if token in cloud.tokens:
                before, reservation = cloud.tokens[token]
                if before != params:
                    raise EC2ClientError(
                        "IdempotentParameterMismatch",
                        "Arguments on this idempotent request are inconsistent with arguments "
                        "used in previous request(s).",
                    )
                return self.reservations[reservation]
            raw = check_launch(self, params)
            image = find_image(self, image_id or "")
            check_type(options["instance_type"], image)
            reservation = run_instances(
                self, image.id, count, user_data, security_group_names, **options
            )
            if token[1]:
                cloud.tokens[token] = (params, reservation.id)
            for instance in reservation.instances:
                cloud.launched(instance, raw)
            return reservation

    InstanceBackend.run_instances = run

    # AWS assigns the public address some time after the launch.
    def public_ip(self):
        return None if self._state.name == "pending" else self.nics[0].public_ip

    Instance.public_ip = Instance.public_ip_address = property(public_ip)


def check_launch(backend, params):
    """Checks the parameters. Returns the decoded user data."""
    try:
        raw = base64.b64decode(params.get("UserData", ""), validate=True)
    except ValueError:
        message = "Invalid BASE64 encoding of user data."
        raise EC2ClientError("InvalidParameterValue", message)
    if len(raw) > 16384:
        message = "User data is limited to 16384 bytes"
        raise EC2ClientError("InvalidParameterValue", message)
    key = params.get("KeyName")
    if key and key not in backend.key_pairs:
        raise EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    return raw


def check_type(name, image):
    if name not in INSTANCE_TYPES:
        message = f"Invalid value '{name}' for InstanceType."
        raise EC2ClientError("InvalidParameterValue", message)
    architectures = INSTANCE_TYPES[name]["ProcessorInfo"]["SupportedArchitectures"]
    if image.architecture not in architectures:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"The architecture '{','.join(architectures)}' of the specified instance type does "
            f"not match the architecture '{image.architecture}' of the specified AMI.",
        )


def patch_ends(cloud):
    """Terminate, stop, start and reboot: adds intermediate states and changes
    the machines."""

    def act(self, ids, act_on):
        with cloud.lock:
            results = []
            for instance in self.get_multi_instances_by_id(ids):
                before = InstanceState(instance._state.name, instance._state.code)
                act_on(instance, cloud.machines.get(instance.id))
                results.append((instance, before))
            return results

    def terminate(instance, machine):
        if instance.disable_api_termination:
            message = f"The instance '{instance.id}' may not be terminated."
            raise EC2ClientError("OperationNotPermitted", message)
        if instance._state.name in ("shutting-down", "terminated"):
            return
        instance.terminate()
        set_state(instance, "shutting-down", "terminating_seconds", "terminated")
        if machine:
            start(cloud.lab.discard, machine)

    def stop(instance, machine):
        if instance._state.name not in ("running", "pending"):
            return
        instance.stop()
        set_state(instance, "stopping", "terminating_seconds", "stopped")
        if machine:
            start(machine.kill)

    def begin(instance, machine):
        if instance._state.name != "stopped":
            message = f"The instance '{instance.id}' is not in a state from which it can start."
            raise EC2ClientError("IncorrectInstanceState", message)
        instance.start()
        set_state(instance, "pending", "pending_seconds", "running")
        if machine:
            start(cloud.boot, instance, machine)

    def reboot(instance, machine):
        if machine:
            start(lambda: (machine.kill(), cloud.boot(instance, machine)))

    InstanceBackend.terminate_instances = lambda self, ids: act(self, ids, terminate)
    InstanceBackend.stop_instances = lambda self, ids: act(self, ids, stop)
    InstanceBackend.start_instances = lambda self, ids: act(self, ids, begin)
    InstanceBackend.reboot_instances = lambda self, ids: act(self, ids, reboot)


def patch_networks(cloud):
    delete = SecurityGroupBackend._delete_security_group

    def delete_group(self, vpc_id, group_id):
        for instance in list(cloud.instances.values()):
            groups = list(instance.security_groups)
            for nic in instance.nics.values():
                groups += nic.group_set
            if instance.lab_state != "terminated" and group_id in [g.id for g in groups]:
                message = f"resource {group_id} has a dependent object"
                raise EC2ClientError("DependencyViolation", message)
        delete(self, vpc_id, group_id)

    SecurityGroupBackend._delete_security_group = delete_group

    default_vpc = VPCBackend.get_default_vpc
    vpcs = VPCBackend.describe_vpcs
    subnets = SubnetBackend.describe_subnets

    def hidden(backend):
        # Not during the creation of the backend, which needs its default VPC.
        # After CreateDefaultVpc, the next call returns the new VPC.
        if not hasattr(backend, "default_vpc") or cloud.made_default_vpc:
            return False
        return cloud.setting("no_default_vpc")

    def get_default_vpc(self):
        return None if hidden(self) else default_vpc(self)

    def describe_vpcs(self, *args, **options):
        hide = hidden(self)
        return [v for v in vpcs(self, *args, **options) if not (hide and v.is_default)]

    def describe_subnets(self, *args, **options):
        hide = hidden(self)
        return [s for s in subnets(self, *args, **options) if not (hide and s.default_for_az)]

    create_default_vpc = VPCBackend.create_default_vpc

    def create_default(self):
        if not hidden(self):
            return create_default_vpc(self)
        cloud.made_default_vpc = True
        return default_vpc(self)

    VPCBackend.create_default_vpc = create_default
    VPCBackend.get_default_vpc = get_default_vpc
    VPCBackend.describe_vpcs = describe_vpcs
    SubnetBackend.describe_subnets = describe_subnets


def patch_s3():
    create = S3Backend.create_bucket

    def create_bucket(self, *args, **options):
        """Creates a bucket with the default settings of new buckets since
        April 2023."""
        bucket = create(self, *args, **options)
        bucket.public_access_block = PublicAccessBlock(True, True, True, True)
        bucket.ownership_rule = "BucketOwnerEnforced"
        return bucket

    S3Backend.create_bucket = create_bucket
