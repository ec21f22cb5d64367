#!/usr/bin/env python3
"""Uses Run Command and sessions of the local cloud with boto3.

Usage: ssm_clients.py AUTORUN. The environment is that of `autorun cloud env`, and
AUTORUN_CLOUD_HOME. Reports a difference to AWS and exits with 1.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

FOLDER = Path(tempfile.mkdtemp())
ONCE = Config(retries={"total_max_attempts": 1})
UNCHECKED = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
ec2, iam, s3 = boto3.client("ec2"), boto3.client("iam"), boto3.client("s3")
ssm = boto3.client("ssm", config=ONCE)
unchecked = boto3.client("ssm", config=UNCHECKED)
ACCOUNT = boto3.client("sts").get_caller_identity()["Account"]
CORE = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
TAGS = {"role": "web"}
SCRIPT = "AWS-RunShellScript"


def settings(text):
    """Sets the faults of all requests."""
    (FOLDER / "faults.toml").write_text(text)
    faults = str(FOLDER / "faults.toml")
    subprocess.run([sys.argv[1], "cloud", "up", "--faults", faults], check=True,
                   stdout=subprocess.DEVNULL)


def refused(code, call, **arguments):
    """Asserts that the call fails with this code. Returns the message."""
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call} was not refused with {code}")


def until(ask, what):
    for _ in range(1200):
        found = ask()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def profile(name, **policies):
    """Creates an instance profile with a role."""
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole",
                 "Principal": {"Service": "ec2.amazonaws.com"}}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": statement}))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    for policy, text in policies.items():
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(text))


def launch(profile=None, **tags):
    tags = [{"Key": key, "Value": value} for key, value in tags.items()]
    spec = {"TagSpecifications": [{"ResourceType": "instance", "Tags": tags}]} if tags else {}
    if profile:
        spec["IamInstanceProfile"] = {"Name": profile}
    image = ec2.describe_images(Owners=["amazon"], Filters=[
        {"Name": "name", "Values": ["al2023-ami-2023*"]},
        {"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, **spec)
    return made["Instances"][0]["InstanceId"]


def running(instances):
    def all_run():
        found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": instances}])
        states = [i["State"]["Name"] for r in found["Reservations"] for i in r["Instances"]]
        return states == ["running"] * len(instances)
    until(all_run, f"{instances} run")


def send(instances=None, commands=("true",), **more):
    where = {"InstanceIds": instances} if instances else {}
    parameters = {"commands": list(commands), **more.pop("parameters", {})}
    return ssm.send_command(DocumentName=SCRIPT, Parameters=parameters, **where, **more)["Command"]


def ended(command, instance):
    """Returns the invocation when it has ended."""
    def ask():
        try:
            found = ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=instance)
        except ssm.exceptions.InvocationDoesNotExist:
            return None
        return found["Status"] not in ("Pending", "InProgress", "Cancelling") and found
    return until(ask, f"the command ends on {instance}")


def whole(command):
    """Returns the command when it has ended."""
    def ask():
        found = ssm.list_commands(CommandId=command["CommandId"])["Commands"]
        return found and found[0]["Status"] not in ("Pending", "InProgress", "Cancelling") and found[0]
    return until(ask, "the command ends")


def hidden(instance):
    """Whether a command that was just sent is not shown yet: on a busy machine, the
    question may come too late."""
    command = send([instance])
    try:
        ssm.get_command_invocation(CommandId=command["CommandId"], InstanceId=instance)
    except ssm.exceptions.InvocationDoesNotExist:
        return True
    return False


def registration(plain, web):
    """Only agents whose role allows it register."""
    listed = ssm.describe_instance_information()["InstanceInformationList"]
    assert [one["InstanceId"] for one in listed] == web, listed
    assert {one["PingStatus"] for one in listed} == {"Online"}, listed
    by = [{"Key": "InstanceIds", "Values": [plain, web[0]]}]
    listed = ssm.describe_instance_information(Filters=by)["InstanceInformationList"]
    assert [one["InstanceId"] for one in listed] == web[:1], listed
    by = [{"Key": "tag:role", "Values": ["db"]}]
    assert ssm.describe_instance_information(Filters=by)["InstanceInformationList"] == []
    old = [{"key": "PingStatus", "valueSet": ["ConnectionLost"]}]
    answer = ssm.describe_instance_information(InstanceInformationFilterList=old)
    assert answer["InstanceInformationList"] == []
    refused("InvalidFilterKey", ssm.describe_instance_information,
            Filters=[{"Key": "Nothing", "Values": ["x"]}])
    refused("ValidationException", unchecked.describe_instance_information, MaxResults=51)
    message = refused("InvalidInstanceId", send, instances=[web[0], plain])
    assert message == f"Instances [[{plain}]] not in a valid state for account {ACCOUNT}", message
    # The account's default lets every agent register.
    settings("[account]\ndefault_host_management = true\n")
    assert ended(send([plain]), plain)["Status"] == "Success"
    settings("")


def results(web):
    """A command runs as root in the agent's directory."""
    command = send(web, ["id -un; pwd; echo \"${HOME-none} $AWS_SSM_INSTANCE_ID\"", "echo err >&2"],
                   Comment="who")
    assert command["Status"] == "Pending" and command["Comment"] == "who", command
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", command["CommandId"])
    until(lambda: hidden(web[0]), "a command is not shown at once")
    for instance in web:
        found = ended(command, instance)
        expected = ("Success", "Success", 0)
        assert (found["Status"], found["StatusDetails"], found["ResponseCode"]) == expected, found
        assert found["StandardOutputContent"] == f"root\n/usr/bin\nnone {instance}\n", found
        assert found["StandardErrorContent"] == "err\n", found
        assert re.fullmatch(r"PT\d+\.\d+S", found["ExecutionElapsedTime"]), found
    found = whole(command)
    counts = [found[name] for name in ("TargetCount", "CompletedCount", "ErrorCount")]
    assert counts == [2, 2, 0] and found["Status"] == "Success", found
    listed = ssm.list_command_invocations(CommandId=command["CommandId"], Details=True)
    listed = listed["CommandInvocations"]
    assert [one["InstanceId"] for one in listed] == web, listed
    assert listed[0]["CommandPlugins"][0]["Output"].endswith("\n----------ERROR-------\nerr\n")

    failed = ended(send(web[:1], ["echo no >&2; exit 7"]), web[0])
    assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 7), failed
    assert failed["StandardErrorContent"] == "no\nfailed to run commands: exit status 7", failed
    there = ended(send(web[:1], ["pwd"], parameters={"workingDirectory": ["/tmp"]}), web[0])
    assert there["StandardOutputContent"] == "/tmp\n", there
    nowhere = ended(send(web[:1], ["pwd"], parameters={"workingDirectory": ["/nosuch"]}), web[0])
    assert nowhere["Status"] == "Failed" and "No such file" in nowhere["StandardErrorContent"]
    shebang = ended(send(web[:1], ["#!/bin/cat", "x"]), web[0])
    assert shebang["StandardOutputContent"] == "#!/bin/cat\nx", shebang


def long_output(web, bucket):
    """Answers have the beginning; S3 has all, if the role may write there."""
    long = "head -c 30000 /dev/zero | tr '\\0' a; head -c 9000 /dev/zero | tr '\\0' b >&2"
    command = send(web, [long], OutputS3BucketName=bucket, OutputS3KeyPrefix="out/")
    found = ended(command, web[0])
    stdout, stderr = found["StandardOutputContent"], found["StandardErrorContent"]
    assert len(stdout) == 24000 and stdout.endswith("--output truncated--"), len(stdout)
    assert len(stderr) == 8000, len(stderr)
    path = f"out/{command['CommandId']}/{web[0]}/awsrunShellScript/0.awsrunShellScript/stdout"
    assert found["StandardOutputUrl"].endswith(f"/{bucket}/{path}"), found
    stored = s3.get_object(Bucket=bucket, Key=path)["Body"].read()
    assert stored == b"a" * 30000, len(stored)
    ended(command, web[1])
    # The role of the second instance may not write there, which changes nothing else.
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(keys) == 2 and all(web[0] in key for key in keys), keys


def targets(web):
    """Tags select instances, some at a time, until too many have failed."""
    by = [{"Key": "tag:role", "Values": ["web", "other"]}]
    command = send(Targets=by, commands=["exit 1"], MaxConcurrency="1", MaxErrors="0")
    assert command["TargetCount"] == 0 and command["Targets"] == by, command
    found = whole(command)
    assert (found["Status"], found["TargetCount"], found["ErrorCount"]) == ("Failed", 2, 1), found
    listed = ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
    assert [one["StatusDetails"] for one in listed] == ["Failed", "Terminated"], listed
    found = whole(send(Targets=by, commands=["exit 1"], MaxErrors="50%"))
    assert found["ErrorCount"] == 2, found
    none = whole(send(Targets=[{"Key": "tag:role", "Values": ["none"]}]))
    assert (none["StatusDetails"], none["TargetCount"]) == ("NoInstancesInTag", 0), none
    ids = [{"Key": "InstanceIds", "Values": web[1:]}]
    assert whole(send(Targets=ids))["TargetCount"] == 1
    assert whole(send(Targets=[{"Key": "tag-key", "Values": ["role"]}]))["TargetCount"] == 2


def endings(web):
    """A command is cancelled or takes too long."""
    marker = "/root/late"
    slow = [f"echo begun > {marker}; sleep 600; echo done > {marker}"]
    command = send(web[:1], slow)
    begun = lambda: ended(send(web[:1], [f"cat {marker}"]), web[0])["Status"] == "Success"
    until(begun, "the command has begun")
    ssm.cancel_command(CommandId=command["CommandId"])
    found = ended(command, web[0])
    assert (found["Status"], found["StatusDetails"]) == ("Cancelled", "Cancelled"), found
    assert whole(command)["Status"] == "Cancelled"
    alive = ended(send(web[:1], ["pgrep -f 'sleep 600' || echo none"]), web[0])
    assert alive["StandardOutputContent"] == "none\n", alive
    timed = ended(send(web[:1], ["sleep 600"], parameters={"executionTimeout": ["1"]}), web[0])
    assert (timed["Status"], timed["StatusDetails"]) == ("TimedOut", "ExecutionTimedOut"), timed
    refused("InvalidCommandId", ssm.cancel_command, CommandId="0" * 36)
    refused("InvalidInstanceId", ssm.cancel_command,
            CommandId=command["CommandId"], InstanceIds=["i-" + "0" * 17])


def wrong(web):
    """Wrong input is refused with AWS's codes."""
    script = {"DocumentName": SCRIPT, "Parameters": {"commands": ["true"]}}
    one = {**script, "InstanceIds": web[:1]}
    for code, request in [
        ("InvalidDocument", {**one, "DocumentName": "No-Such"}),
        ("InvalidDocumentVersion", {**one, "DocumentVersion": "9"}),
        ("UnsupportedPlatformType", {**one, "DocumentName": "AWS-RunPowerShellScript"}),
        ("InvalidParameters", {**one, "Parameters": {}}),
        ("InvalidParameters", {**one, "Parameters": {"commands": []}}),
        ("InvalidParameters", {**one, "Parameters": {"commands": ["x"], "other": ["x"]}}),
        ("InvalidParameters",
         {**one, "Parameters": {"commands": ["x"], "executionTimeout": ["172801"]}}),
        ("DuplicateInstanceId", {**script, "InstanceIds": web[:1] * 2}),
        ("ValidationException", {**script, "InstanceIds": [f"i-{n:017x}" for n in range(51)]}),
        ("ValidationException", {**script, "InstanceIds": ["web"]}),
        ("ValidationException", script),
        ("ValidationException", {**one, "Targets": [{"Key": "tag:a", "Values": ["b"]}]}),
        ("ValidationException",
         {**script, "Targets": [{"Key": f"tag:{n}", "Values": ["b"]} for n in range(6)]}),
        ("InvalidTarget", {**script, "Targets": [{"Key": "name", "Values": ["b"]}]}),
        ("InvalidTarget", {**script, "Targets": [{"Key": "tag:a", "Values": []}]}),
        ("InvalidInstanceId", {**script, "InstanceIds": ["i-" + "0" * 17]}),
        ("ValidationException", {**one, "MaxConcurrency": "0"}),
        ("ValidationException", {**one, "MaxConcurrency": "101%"}),
        ("ValidationException", {**one, "MaxErrors": "-1"}),
        ("ValidationException", {**one, "TimeoutSeconds": 29}),
        ("ValidationException", {**one, "Comment": "x" * 101}),
        ("ValidationException", {**one, "OutputS3BucketName": "ab"}),
        ("InvalidOutputFolder", {**one, "OutputS3BucketName": "A_bucket"}),
    ]:
        refused(code, unchecked.send_command, **request)
    command = send(web[:1])
    refused("InvalidPluginName", ssm.get_command_invocation, CommandId=command["CommandId"],
            InstanceId=web[0], PluginName="aws:other")
    refused("InvalidFilterKey", unchecked.list_commands, Filters=[{"key": "Other", "value": "x"}])
    refused("InvalidNextToken", ssm.list_commands, NextToken="nothing")
    pages = ssm.get_paginator("list_commands").paginate(PaginationConfig={"PageSize": 3})
    ids = [one["CommandId"] for page in pages for one in page["Commands"]]
    assert len(ids) > 3 and len(ids) == len(set(ids)), ids
    after = [{"key": "InvokedAfter", "value": "2020-01-01T00:00:00Z"},
             {"key": "Status", "value": "TimedOut"}]
    assert len(ssm.list_commands(Filters=after)["Commands"]) == 1


def sessions(web, plain):
    """A session has a token, which is renewed, until it is terminated."""
    ssh = {"DocumentName": "AWS-StartSSHSession"}
    message = refused("TargetNotConnected", ssm.start_session, Target=plain, **ssh)
    assert message == f"{plain} is not connected.", message
    refused("InvalidDocument", ssm.start_session, Target=web[0])
    refused("InvalidDocument", ssm.start_session, Target=web[0], DocumentName="AWS-Nothing")
    refused("InvalidParameters", ssm.start_session, Target=web[0], **ssh,
            Parameters={"portNumber": ["ssh"]})
    refused("InvalidParameters", ssm.start_session, Target=web[0], **ssh, Parameters={"host": ["a"]})
    started = ssm.start_session(Target=web[0], **ssh, Parameters={"portNumber": ["22"]})
    session = {"SessionId": started["SessionId"]}
    assert started["StreamUrl"].startswith("ws://") and session["SessionId"] in started["StreamUrl"]
    resumed = ssm.resume_session(**session)
    assert resumed["StreamUrl"] == started["StreamUrl"], resumed
    assert resumed["TokenValue"] != started["TokenValue"], resumed
    for _ in range(2):
        assert ssm.terminate_session(**session)["SessionId"] == session["SessionId"]
    assert "TokenValue" not in ssm.resume_session(**session)


def faults(web):
    """AWS throttles, and agents are offline or missing."""
    settings("[[fault]]\noperation = 'SendCommand'\ndo = 'throttle'\n")
    assert refused("ThrottlingException", send, instances=web[:1]) == "Rate exceeded"
    settings("[[fault]]\noperation = 'boot'\ndo = 'agent-offline'\n"
             "[[fault]]\noperation = 'boot'\nnth = 2\ndo = 'no-agent'\n")
    offline, missing = launch("web"), launch("web")
    running([offline, missing])
    by = [{"Key": "InstanceIds", "Values": [offline, missing]}]
    listed = ssm.describe_instance_information(Filters=by)["InstanceInformationList"]
    assert [(one["InstanceId"], one["PingStatus"]) for one in listed] == [
        (offline, "ConnectionLost")], listed
    refused("InvalidInstanceId", send, instances=[missing])
    # The command waits for the agent until it is cancelled.
    command = send([offline])
    until(lambda: ssm.list_command_invocations(CommandId=command["CommandId"])
          ["CommandInvocations"], "the command is shown")
    ssm.cancel_command(CommandId=command["CommandId"])
    assert ended(command, offline)["Status"] == "Cancelled"
    settings("")
    ec2.stop_instances(InstanceIds=web[1:])
    by = [{"Key": "InstanceIds", "Values": web[1:]}]
    lost = lambda: ssm.describe_instance_information(Filters=by)["InstanceInformationList"][0][
        "PingStatus"] == "ConnectionLost"
    until(lost, "a stopped instance has no connection")


def main():
    bucket = "ssm-output"
    s3.create_bucket(Bucket=bucket)
    write = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/out/*"}
    core = {"Effect": "Allow", "Action": "ssm:UpdateInstanceInformation", "Resource": "*"}
    profile("web", write={"Statement": [write]})
    iam.attach_role_policy(RoleName="web", PolicyArn=CORE)
    profile("inline", own={"Statement": [core]})
    profile("other", own={"Statement": [write]})
    web = [launch("web", **TAGS), launch("inline", **TAGS)]
    plain, other = launch(), launch("other")
    running([*web, plain, other])
    registration(plain, web)
    results(web)
    long_output(web, bucket)
    targets(web)
    endings(web)
    wrong(web)
    sessions(web, plain)
    faults(web)


main()
