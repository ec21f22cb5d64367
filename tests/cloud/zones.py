#!/usr/bin/env python3
"""Launches instances of the local cloud into three zones, which reach each other, and
reads keys that it creates with PuTTY's `puttygen`. With boto3 and only the output of
`autorun cloud env`.
"""

import ipaddress
import subprocess
import tempfile
from pathlib import Path

from ec2_clients import ec2, key_pair, refused, ssh, visible, wait_for


def launched(zones):
    intel = [{"Name": "architecture", "Values": ["x86_64"]}]
    image = ec2.describe_images(Owners=["amazon"], Filters=intel)["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="zones", Description="zones")["GroupId"]
    for protocol, port in (("tcp", 22), ("icmp", -1)):
        visible(ec2.authorize_security_group_ingress, GroupId=group, IpProtocol=protocol,
                FromPort=port, ToPort=port, CidrIp="0.0.0.0/0")
    made = {}
    for zone in zones:
        launch = ec2.run_instances(
            ImageId=image, InstanceType="t3.micro", KeyName="clients", MinCount=1, MaxCount=1,
            SecurityGroupIds=[group], Placement={"AvailabilityZone": zone},
        )
        made[zone] = launch["Instances"][0]["InstanceId"]
    return group, made


def zones_reach_each_other(key):
    by_default = [{"Name": "default-for-az", "Values": ["true"]}]
    subnets = {s["AvailabilityZone"]: s for s in ec2.describe_subnets(Filters=by_default)["Subnets"]}
    known = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    assert sorted(subnets) == known, (sorted(subnets), known)
    assert len({s["CidrBlock"] for s in subnets.values()}) == len(known)
    zones = known[:3]
    group, made = launched(zones)
    shown = {zone: wait_for(identifier, "running") for zone, identifier in made.items()}
    for zone, instance in shown.items():
        assert instance["Placement"]["AvailabilityZone"] == zone, instance["Placement"]
        assert instance["SubnetId"] == subnets[zone]["SubnetId"]
        block = ipaddress.ip_network(subnets[zone]["CidrBlock"])
        assert ipaddress.ip_address(instance["PrivateIpAddress"]) in block
    metadata = (
        "curl -sS -H \"X-aws-ec2-metadata-token: $(curl -sS -X PUT -H "
        "'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)\" "
        "http://169.254.169.254/latest/meta-data/placement/availability-zone"
    )
    for zone, instance in shown.items():
        address = instance["PublicIpAddress"]
        assert ssh(key, address, metadata) == zone
        for other in shown.values():
            port = f"timeout 5 bash -c 'head -c 4 < /dev/tcp/{other['PrivateIpAddress']}/22'"
            assert ssh(key, address, port) == "SSH-", (zone, other["PrivateIpAddress"])
    ec2.terminate_instances(InstanceIds=list(made.values()))
    for identifier in made.values():
        wait_for(identifier, "terminated")
    ec2.delete_security_group(GroupId=group)


def keys_for_putty(directory):
    for kind in ("rsa", "ed25519"):
        made = ec2.create_key_pair(KeyName=f"putty-{kind}", KeyType=kind, KeyFormat="ppk")
        file = Path(directory) / f"{kind}.ppk"
        file.write_text(made["KeyMaterial"])
        read = subprocess.run(["puttygen", file, "-O", "public-openssh"], capture_output=True, text=True)
        assert read.returncode == 0, read.stderr
        stored = visible(ec2.describe_key_pairs, KeyNames=[made["KeyName"]], IncludePublicKey=True)
        assert read.stdout.split() == stored["KeyPairs"][0]["PublicKey"].split(), read.stdout
        pem = subprocess.run(["puttygen", file, "-O", "private-openssh", "-o", f"{file}.pem"],
                             capture_output=True, text=True)
        assert pem.returncode == 0, pem.stderr
    refused("InvalidParameterValue", ec2.create_key_pair, KeyName="other", KeyFormat="der")


def main():
    with tempfile.TemporaryDirectory() as directory:
        keys_for_putty(directory)
        zones_reach_each_other(key_pair(Path(directory)))


main()
