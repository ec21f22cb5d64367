#!/usr/bin/env python3
"""Runs the examples in the AWS CLI's documentation on the local cloud, and compares its
answers with those that the documentation shows.

Usage: documented.py SERVICE [PATTERN], for example `documented.py ec2 'describe-.*'`,
with the output of `autorun cloud env`, in a virtual environment with `pip install awscli
boto3`. SERVICE is ec2, s3api, iam or sts. The examples are read from the package awscli,
whose license is Apache-2.0; none of them is copied here.

Ids in a command are replaced with those of new resources, regions with us-east-1. An
answer differs if a member is missing, has another type, or is an empty list instead of a
full one; `-v` prints all. Most differences come from the examples: resources in them
have tags and neighbours. A person reads the result; the suite does not run this script.
"""

import contextlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path

import awscli
import boto3
from awscli.clidriver import create_clidriver
from botocore.exceptions import ClientError

EXAMPLES = Path(awscli.__file__).parent / "examples"
ec2, s3, iam, ssm = (boto3.client(name) for name in ("ec2", "s3", "iam", "ssm"))
IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
ZONE = "us-east-1a"
TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
ID = re.compile(r"\b([a-z]+)-[0-9a-fA-FxXEMPL]{6,}\b")
REGION = re.compile(r"\b(?:us|eu|ap|ca|sa)-(?:west|central|south|southeast|northeast|east|north)-\d([a-z]?)\b")
# The codes of features that the local cloud does not have.
ABSENT = ("InvalidAction", "UnsupportedOperation", "NotImplemented", "UnknownParameter")


def soon(call, **arguments):
    """Retries a call until a new resource is found, as on AWS."""
    for _ in range(100):
        try:
            return call(**arguments)
        except ClientError as error:
            if "NotFound" not in error.response["Error"]["Code"]:
                raise
            time.sleep(0.02)
    return call(**arguments)


def wait(name, **arguments):
    soon(ec2.get_waiter(name).wait, **arguments, WaiterConfig={"Delay": 1})


class Resources:
    """The resources of one example: ids in its text and ids of the local cloud."""

    def __init__(self, verb):
        self.verb, self.own, self.vpc_id, self.subnets = verb, {}, None, 0

    def replace(self, match):
        text, kind = match.group(0), match.group(1)
        make = getattr(self, kind, None)
        if text not in self.own:
            self.own[text] = make() if make else text
        return self.own[text]

    def i(self):
        image = ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"]
        made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
        found = made["Instances"][0]["InstanceId"]
        wait("instance_running", InstanceIds=[found])
        if self.verb in ("start-instances", "attach-volume", "detach-volume", "modify-instance-attribute"):
            ec2.stop_instances(InstanceIds=[found])
            wait("instance_stopped", InstanceIds=[found])
        return found

    def vol(self):
        found = ec2.create_volume(AvailabilityZone=ZONE, Size=8)["VolumeId"]
        wait("volume_available", VolumeIds=[found])
        if self.verb == "detach-volume":
            ec2.attach_volume(VolumeId=found, InstanceId=self.i(), Device="/dev/sdf")
        return found

    def ami(self):
        if self.verb in ("run-instances", "describe-images"):
            return ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"]
        found = ec2.create_image(InstanceId=self.i(), Name=f"documented-{time.time_ns()}")["ImageId"]
        wait("image_available", ImageIds=[found])
        return found

    def snap(self):
        image = ec2.describe_images(ImageIds=[self.ami()])["Images"][0]
        return image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]

    def vpc(self):
        if self.vpc_id is None or self.verb == "delete-vpc":
            self.vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        return self.vpc_id

    def subnet(self):
        if self.verb == "run-instances":
            default = [{"Name": "default-for-az", "Values": ["true"]}]
            return ec2.describe_subnets(Filters=default)["Subnets"][0]["SubnetId"]
        self.subnets += 1
        block = f"10.0.{200 + self.subnets}.0/24"
        return ec2.create_subnet(VpcId=self.vpc(), CidrBlock=block)["Subnet"]["SubnetId"]

    def sg(self):
        where = {} if "instance" in self.verb else {"VpcId": self.vpc()}
        name = f"documented-{time.time_ns()}"
        found = ec2.create_security_group(GroupName=name, Description="of a test", **where)["GroupId"]
        wait("security_group_exists", GroupIds=[found])
        return found

    def sgr(self):
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "10.0.0.0/8"}
        made = ec2.authorize_security_group_ingress(GroupId=self.sg(), **rule)
        return made["SecurityGroupRules"][0]["SecurityGroupRuleId"]

    def igw(self):
        found = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        if self.verb in ("detach-internet-gateway", "create-route", "describe-internet-gateways"):
            ec2.attach_internet_gateway(InternetGatewayId=found, VpcId=self.vpc())
        return found

    def rtb(self):
        return ec2.create_route_table(VpcId=self.vpc())["RouteTable"]["RouteTableId"]

    def rtbassoc(self):
        made = ec2.associate_route_table(RouteTableId=self.rtb(), SubnetId=self.subnet())
        return made["AssociationId"]

    def eipalloc(self):
        for known in ec2.describe_addresses()["Addresses"]:
            if "AssociationId" in known:
                ec2.disassociate_address(AssociationId=known["AssociationId"])
            ec2.release_address(AllocationId=known["AllocationId"])
        found = ec2.allocate_address(Domain="vpc")["AllocationId"]
        soon(ec2.describe_addresses, AllocationIds=[found])
        return found

    def eipassoc(self):
        made = ec2.associate_address(AllocationId=self.eipalloc(), InstanceId=self.i())
        return made["AssociationId"]


def named(service, verb, command):
    """Creates what a command names by a name that is not an id. Returns the command."""
    def try_to(call, **arguments):
        with contextlib.suppress(ClientError):
            call(**arguments)

    creates = verb.startswith(("create", "import", "allocate"))
    if service == "ec2":
        for name in re.findall(r"--key-names? (\S+)", command):
            try_to(ec2.delete_key_pair if creates else ec2.create_key_pair, KeyName=name)
        for name in re.findall(r"--group-names? (\S+)", command):
            if not creates:
                try_to(ec2.create_security_group, GroupName=name, Description="of a test")
    if service == "iam" and not verb.startswith("create"):
        for name in re.findall(r"--role-name (\S+)", command):
            try_to(iam.create_role, RoleName=name, AssumeRolePolicyDocument=POLICY)
        for name in re.findall(r"--instance-profile-name (\S+)", command):
            try_to(iam.create_instance_profile, InstanceProfileName=name)
    if service == "s3api":
        # No bucket can have the names in the examples: AWS has reserved them.
        command = command.replace("amzn-s3-demo-", "demo-").replace("--bucket=", "--bucket ")
        for name in re.findall(r"(?:--bucket |--copy-source /?)([a-z0-9.-]+)", command):
            if not creates:
                try_to(s3.create_bucket, Bucket=name)
                for key in [*re.findall(r"--key '?([^\s']+)", command), "test.txt"]:
                    try_to(s3.put_object, Bucket=name, Key=key, Body=b"abc")
        for name in re.findall(r"--body (\S+)", command):
            Path(Path(name).name).write_text("x")
            command = command.replace(name, Path(name).name)
    return command


def blocks(text):
    """Yields each indented block with the line before it."""
    before = ""
    for block in re.split(r"\n(?=\S)", text):
        first, *rest = block.split("\n")
        body = textwrap.dedent("\n".join(rest)).strip("\n")
        before = first if first.strip() else before
        if body.strip():
            yield before, body


def examples(path):
    """Yields the commands of a page, with the answer and the files that it shows."""
    found, files = [], {}
    for before, body in blocks(path.read_text()):
        if body.startswith("aws "):
            lines = re.sub(r"\\\s*\n\s*", " ", body)
            found += [[" ".join(one.split("\n")), None] for one in re.split(r"\n(?=aws )", lines)]
        elif before.lower().startswith("output") and found:
            found[-1][1] = body
        elif name := re.search(r"([\w-]+\.json)", before):
            files.setdefault(name.group(1), body)
    return [(command, answer, files) for command, answer in found]


def differences(want, got, path=""):
    """Yields how an answer differs from the documented one."""
    if isinstance(want, dict) and isinstance(got, dict):
        for name, value in want.items():
            if name in got:
                yield from differences(value, got[name], f"{path}.{name}")
            else:
                yield f"{path}.{name} is missing"
    elif isinstance(want, list) and isinstance(got, list):
        if want and got:
            yield from differences(want[0], got[0], f"{path}[]")
        elif want:
            yield f"{path} is empty"
    elif type(want) is not type(got):
        yield f"{path} is {got!r:.40} instead of {want!r:.40}"


def run(command):
    """Runs a command of the AWS CLI in this process. Returns its status and its output."""
    command = re.sub(r"file://(?:[^\s'\"]*/)?([\w.-]+)", r"file://\1", command)
    for name in re.findall(r"file://([\w.-]+)", command):
        if not Path(name).exists():
            Path(name).write_text(POLICY)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = create_clidriver().main(shlex.split(command)[1:])
    except SystemExit as exit_:
        status = exit_.code
    except ValueError as error:
        return -1, str(error)
    return status, out.getvalue() if status == 0 else err.getvalue().strip()


def verdict(service, command, answer, files):
    """Returns how the local cloud does one example, and why."""
    verb = command.split()[2]
    resources = Resources(verb)
    for name, content in files.items():
        Path(name).write_text(ID.sub(resources.replace, content))
    own = REGION.sub(r"us-east-1\1", ID.sub(resources.replace, command))
    status, output = run(named(service, verb, own))
    if status != 0:
        code = re.search(r"An error occurred \(([\w.]+)\)", output)
        if code and code.group(1) in ABSENT:
            return "absent", output
        return ("refused" if code else "not run"), output[:200]
    try:
        want, got = json.loads(answer), json.loads(output)
    except (TypeError, ValueError):
        return "no answer shown", ""
    found = "; ".join(differences(want, got))
    return ("differs" if found else "agrees"), found


def main():
    service, pattern, *_ = [*[a for a in sys.argv[1:] if a != "-v"], ".*"]
    os.chdir(tempfile.mkdtemp(prefix="documented-"))
    counts = Counter()
    for path in sorted((EXAMPLES / service).glob("*.rst")):
        if not re.fullmatch(pattern, path.stem):
            continue
        for command, answer, files in examples(path):
            if len(command.split()) < 3:
                continue
            try:
                kind, why = verdict(service, command, answer, files)
            except ClientError as error:
                kind, why = "not set up", str(error)
            counts[kind] += 1
            if "-v" in sys.argv or kind in ("differs", "refused", "not set up"):
                print(f"{kind}: {command[:160]}\n    {why}")
    print(", ".join(f"{count} {kind}" for kind, count in counts.most_common()))


if __name__ == "__main__":
    main()
