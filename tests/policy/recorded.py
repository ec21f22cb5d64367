#!/usr/bin/env python3
"""Records requests of real runs, for the comparison with a simulator of IAM.

Shipped playbooks run on a local cloud, and are destroyed. The local cloud of a test
build returns what each of their requests needs. tests/policy/recorded.json gets those
that differ in their actions, each of them under the policy of its playbook and under
one of the policies below. Then

    tests/cloud/authorization/simulate.mjs DIR/node_modules tests/policy/recorded.json

adds the verdicts of the simulator, and a unit test of the local cloud compares them
with its own. Needs root, and a build with `--features crash-points`.

    target/lab-venv/bin/python tests/policy/recorded.py
"""

import json
import re
import tempfile
import urllib.request

from sweep import PLAYBOOKS, ROOT, Cloud, Runs

RECORDED = ["run_newwebserver", "blue_green", "backup_directory", "fleet_patch", "rolling_update"]

# The simulator demands an account in the ARN. AWS's own parameters and documents have
# none.
UNJUDGED = {"ssm:GetParameter", "ssm:SendCommand"}


def statement(effect="Allow", action="*", resource="*", **others):
    """Returns a statement. `others` replace its elements of the same subject."""
    whole = {"Effect": effect, "Action": action, "Resource": resource, **others}
    replaced = {"NotAction": "Action", "NotResource": "Resource"}
    return {name: value for name, value in whole.items()
            if name not in [replaced.get(other) for other in others]}


def where(operator, key, value, effect="Allow"):
    return statement(effect, Condition={operator: {key: value}})


ALL = statement()

# Statements for a request with this action on this resource.
POLICIES = [
    ("everything but the action",
     lambda action, _: [statement(NotAction=[action])]),
    ("everything but another service",
     lambda *_: [statement(NotAction="kms:*")]),
    ("a pattern of the action",
     lambda action, _: [statement(action=action[:-3] + "*")]),
    ("a pattern of the resource",
     lambda _, resource: [statement(resource=re.sub("[0-9]", "?", resource))]),
    ("a denial of other resources",
     lambda _, resource: [ALL, statement("Deny", NotResource=resource)]),
    ("a denial of all resources but another",
     lambda *_: [ALL, statement("Deny", NotResource="arn:aws:s3:::another")]),
    ("another region",
     lambda *_: [where("StringEquals", "aws:RequestedRegion", "us-west-2")]),
    ("regions by a pattern",
     lambda *_: [where("StringLike", "aws:RequestedRegion", ["us-*", "eu-?entral-*"])]),
    ("a tag of the resource",
     lambda *_: [where("StringLike", "aws:ResourceTag/autorun:owner", "?*")]),
    ("a tag of the request",
     lambda *_: [where("StringLike", "aws:RequestTag/autorun:owner", "?*")]),
    ("keys of tags",
     lambda *_: [where("ForAllValues:StringLike", "aws:TagKeys", ["Name", "autorun:*"])]),
    ("a denial of other senders",
     lambda *_: [ALL, where("NotIpAddress", "aws:SourceIp", "192.0.2.0/24", "Deny")]),
    ("types of instances",
     lambda *_: [where("StringLikeIfExists", "ec2:InstanceType", "t?.micro")]),
]


def document(statements):
    return {"Version": "2012-10-17", "Statement": statements}


def needs_of_requests(cloud):
    """Returns what the requests since the last call needed."""
    request = urllib.request.Request(
        f"{cloud.access['endpoint']}/_autorun/judgements", data=b"", method="POST",
        headers={"x-autorun-token": cloud.access["token"]},
    )
    requests = json.load(urllib.request.urlopen(request))
    for need in (need for needs in requests for need in needs):
        del need["verdict"]
    return [needs for needs in requests if needs]


def life(cloud, playbook):
    """Performs and destroys a run. Returns its policy and what its requests need."""
    runs = Runs(cloud, playbook, PLAYBOOKS[playbook])
    allowing = document([ALL])
    run = runs.run(allowing)
    policy = json.loads(runs.call("policy", run))
    cloud.hold(run, json.dumps(allowing))
    runs.call("destroy", run, "--yes")
    assert not runs.failed, runs.log
    return policy, needs_of_requests(cloud)


def main():
    policies, requests, seen = {}, [], set()
    with tempfile.TemporaryDirectory() as directory, Cloud(directory) as cloud:
        cloud.launch()
        for playbook in RECORDED:
            policies[playbook], found = life(cloud, playbook)
            for needs in found:
                actions = " ".join(sorted({need["action"] for need in needs}))
                if actions in seen or actions in UNJUDGED:
                    continue
                name, made = POLICIES[len(seen) % len(POLICIES)]
                seen.add(actions)
                other = document(made(needs[0]["action"], needs[0]["resource"]))
                for about, policy in [("its policy", playbook), (name, other)]:
                    requests.append({"name": f"{playbook}: {actions}, {about}",
                                     "policy": policy, "needs": needs})
    recorded = {"simulator": "", "policies": policies, "requests": requests}
    text = json.dumps(recorded, indent=1).replace(f"{ROOT}/", "") + "\n"
    (ROOT / "tests/policy/recorded.json").write_text(text)
    print(f"{len(seen)} requests, each under 2 policies")


if __name__ == "__main__":
    main()
