"""The scenario of Run Command and of sessions: an instance whose agent registers."""

import json
import time

import boto3
from proofs import RUN, TRUST

AGENT = json.dumps({"Statement": [
    {"Effect": "Allow", "Action": "ssm:UpdateInstanceInformation", "Resource": "*"}]})
PARAMETERS = {"commands": ["echo out; echo err >&2"], "executionTimeout": ["60"]}
# The values of requests to send a command. The key of a parameter is not `x`.
SEND = {"DocumentName": "AWS-RunShellScript", "Parameters": PARAMETERS}

# The values of requests to start a session.
SSH = {"DocumentName": "AWS-StartSSHSession", "Parameters": {"portNumber": ["22"]}}


def until(ask, what):
    for _ in range(1200):
        found = ask()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def managed_instance(ssm):
    """Launches an instance that Systems Manager manages. Returns its id."""
    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    name = f"{RUN}-agent"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    iam.put_role_policy(RoleName=name, PolicyName="agent", PolicyDocument=AGENT)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    images = ec2.describe_images(Owners=["amazon"], Filters=[
        {"Name": "name", "Values": ["al2023-ami-2023*"]},
        {"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    tags = [{"Key": "Name", "Value": name}, {"Key": "team", "Value": "x"}]
    made = ec2.run_instances(
        ImageId=images[0]["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1,
        IamInstanceProfile={"Name": name},
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    instance = made["Instances"][0]["InstanceId"]
    by = [{"Key": "InstanceIds", "Values": [instance]}]
    until(lambda: ssm.describe_instance_information(Filters=by)["InstanceInformationList"],
          "the agent registers")
    return instance


def commands(ssm):
    """Sends commands. Returns sample values by the names of members."""
    instance = managed_instance(ssm)
    by = [{"Key": "tag:team", "Values": ["x"]}]
    sent = ssm.send_command(**SEND, Targets=by, OutputS3BucketName="members-output",
                            OutputS3KeyPrefix="out")["Command"]
    for _ in range(2):
        ssm.send_command(**SEND, InstanceIds=[instance])
    command = sent["CommandId"]
    listed = lambda: ssm.list_command_invocations(CommandId=command, Details=True)
    until(lambda: [one for one in listed()["CommandInvocations"] if one["Status"] == "Success"],
          "the command ends")
    ssm.get_command_invocation(CommandId=command, InstanceId=instance)
    ssm.list_commands(MaxResults=1)
    ssm.list_command_invocations(MaxResults=1)
    ssm.cancel_command(CommandId=command)
    session = ssm.start_session(Target=instance, **SSH)["SessionId"]
    ssm.resume_session(SessionId=session)
    ssm.terminate_session(SessionId=session)
    return {
        "Target": instance, "SessionId": session, "Reason": "a test",
        "CommandId": command, "InstanceId": instance, "InstanceIds": instance,
        "PluginName": "aws:runShellScript", "Key": "tag:team", "Values": "x",
        "value": "2020-01-01T00:00:00Z", "DocumentVersion": "1", "TimeoutSeconds": 60,
        "MaxConcurrency": "1", "MaxErrors": "0", "OutputS3BucketName": "members-output",
        "OutputS3Region": "us-east-1", "Parameters": "true", "Details": True,
        "DocumentName": SEND["DocumentName"],
        # The last instance of the page before.
        "DescribeInstanceInformation.NextToken": instance,
    }


def base(operation, member, live):
    """Returns what a request needs beside this member."""
    if operation == "StartSession":
        return {"Target": live["InstanceId"], **SSH}
    where = {} if member == "Targets" else {"InstanceIds": [live["InstanceId"]]}
    return {**SEND, **where}


def clean_up():
    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    name = f"{RUN}-agent"
    found = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": [name]}])
    ids = [one["InstanceId"] for r in found["Reservations"] for one in r["Instances"]]
    ec2.terminate_instances(InstanceIds=ids)
    both = {"InstanceProfileName": name, "RoleName": name}
    iam.remove_role_from_instance_profile(**both)
    iam.delete_instance_profile(InstanceProfileName=name)
    iam.delete_role_policy(RoleName=name, PolicyName="agent")
    iam.delete_role(RoleName=name)
