"""The scenario of EC2 Instance Connect: an instance that accepts a key for a minute."""

import boto3
from commands import until
from proofs import RUN

NAME = f"{RUN}-login"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"


def named(ec2):
    found = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": [NAME]}])
    return [one for r in found["Reservations"] for one in r["Instances"]]


def logins(connect):
    """Sends a key. Returns sample values by the names of members."""
    ec2 = boto3.client("ec2")
    images = ec2.describe_images(Owners=["amazon"], Filters=[
        {"Name": "name", "Values": ["al2023-ami-2023*"]},
        {"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": NAME}]}]
    ec2.run_instances(ImageId=images[0]["ImageId"], InstanceType="t3.micro", MinCount=1,
                      MaxCount=1, TagSpecifications=tags)
    running = lambda: [one for one in named(ec2) if one["State"]["Name"] == "running"]
    until(running, "the instance runs")
    [instance] = running()
    live = {"InstanceId": instance["InstanceId"], "InstanceOSUser": "ec2-user",
            "SSHPublicKey": KEY, "AvailabilityZone": instance["Placement"]["AvailabilityZone"]}
    connect.send_ssh_public_key(**live)
    return live


def clean_up():
    ec2 = boto3.client("ec2")
    ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in named(ec2)])
