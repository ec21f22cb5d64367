#!/usr/bin/env python3
"""Measures requests to a local cloud with many resources: state_speed.py AUTORUN [COUNT..].

Prints medians in milliseconds of a state with COUNT security groups and as many key
pairs (10 100 1000 10000) in 5 regions, and how long the daemon takes to start with them. Needs no
root: no instance boots. Sends the requests over one connection, without an SDK, whose
own work is 2 ms a request.
"""

import base64
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

AUTORUN = os.path.abspath(sys.argv[1])
COUNTS = [int(count) for count in sys.argv[2:]] or [10, 100, 1000, 10000]
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
TIMES = 50
# AWS's quota of security groups is 2,500 in a region.
REGIONS = ["us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1"]


class Cloud:
    def __init__(self):
        self.home = tempfile.mkdtemp()
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": self.home, "AUTORUN_CLOUD_HOME": f"{self.home}/cloud",
        }
        self.sent = 0

    def command(self, *arguments):
        began = time.monotonic()
        subprocess.run([AUTORUN, "cloud", *arguments], env=self.environment, check=True,
                       capture_output=True)
        return time.monotonic() - began

    def up(self):
        took = self.command("up")
        access = json.loads(Path(f"{self.home}/cloud/access/{os.getuid()}.json").read_text())
        self.endpoint = access["endpoint"]
        keys = Credentials(access["access_key_id"], access["secret_access_key"])
        self.signers = {region: SigV4Auth(keys, "ec2", region) for region in REGIONS}
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.endpoint).netloc)
        return took

    def send(self, action, region=0, **parameters):
        """Returns the answer and the seconds until it is there, without the signing."""
        form = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **parameters})
        request = AWSRequest("POST", self.endpoint + "/", data=form, headers={
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})
        self.signers[REGIONS[region]].add_auth(request)
        headers = dict(request.headers.items())
        began = time.monotonic()
        self.connection.request("POST", "/", form, headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        took = time.monotonic() - began
        assert response.status == 200, text
        return text, took

    def median(self, action, each):
        times = []
        for number in range(TIMES):
            times.append(self.send(action, **each(number))[1])
        return statistics.median(times) * 1000


def element(text, name):
    return text.split(f"<{name}>")[1].split("<")[0]


def import_key(name):
    blob = "ssh-ed25519 " + KEY[:68]
    return {"KeyName": name, "PublicKeyMaterial": base64.b64encode(blob.encode()).decode()}


def measure(cloud, count):
    """Returns what each request takes."""
    unique = f"{count}-"
    groups = []

    def create(number):
        return {"GroupName": f"m{unique}{number}", "GroupDescription": "measured"}

    times = {"CreateSecurityGroup": cloud.median("CreateSecurityGroup", create)}
    for number in range(TIMES):
        text, _ = cloud.send("DescribeSecurityGroups", **{
            "Filter.1.Name": "group-name", "Filter.1.Value.1": f"m{unique}{number}"})
        groups.append(element(text, "groupId"))

    def rule(number):
        return {"GroupId": groups[number], "IpPermissions.1.IpProtocol": "tcp",
                "IpPermissions.1.FromPort": 22, "IpPermissions.1.ToPort": 22,
                "IpPermissions.1.IpRanges.1.CidrIp": "192.0.2.0/24"}

    times["AuthorizeSecurityGroupIngress"] = cloud.median("AuthorizeSecurityGroupIngress", rule)
    times["CreateTags"] = cloud.median("CreateTags", lambda number: {
        "ResourceId.1": groups[number], "Tag.1.Key": "a", "Tag.1.Value": "b"})
    times["DescribeSecurityGroups by id"] = cloud.median(
        "DescribeSecurityGroups", lambda number: {"GroupId.1": groups[number]})
    times["DeleteSecurityGroup"] = cloud.median(
        "DeleteSecurityGroup", lambda number: {"GroupId": groups[number]})
    times["ImportKeyPair"] = cloud.median(
        "ImportKeyPair", lambda number: import_key(f"m{unique}{number}"))
    times["DescribeKeyPairs by name"] = cloud.median(
        "DescribeKeyPairs", lambda number: {"KeyName.1": f"m{unique}{number}"})
    times["DeleteKeyPair"] = cloud.median(
        "DeleteKeyPair", lambda number: {"KeyName": f"m{unique}{number}"})
    _, took = cloud.send("DescribeSecurityGroups")
    times["DescribeSecurityGroups, all"] = took * 1000
    _, took = cloud.send("DescribeTags")
    times["DescribeTags, all"] = took * 1000
    return times


def fill(cloud, have, count):
    """Creates groups, each with a tag, and key pairs."""
    for number in range(have, count):
        region = number % len(REGIONS)
        cloud.send("CreateSecurityGroup", region, **{
            "GroupName": f"f{number}", "GroupDescription": "filled",
            "TagSpecification.1.ResourceType": "security-group",
            "TagSpecification.1.Tag.1.Key": "Name", "TagSpecification.1.Tag.1.Value": f"f{number}"})
        cloud.send("ImportKeyPair", region, **import_key(f"f{number}"))


def main():
    cloud = Cloud()
    columns = []
    try:
        cloud.up()
        have = 0
        for count in COUNTS:
            fill(cloud, have, count)
            have = count
            times = measure(cloud, count)
            cloud.command("down")
            times["start of the daemon"] = cloud.up() * 1000
            columns.append(times)
        print(f"{'milliseconds, with':<34}" + "".join(f"{count:>10}" for count in COUNTS))
        for row in columns[0]:
            print(f"{row:<34}" + "".join(f"{times[row]:10.2f}" for times in columns))
    finally:
        cloud.command("down")
        shutil.rmtree(cloud.home)


main()
