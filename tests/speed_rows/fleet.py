"""Rows of commands through Systems Manager, on a local cloud in a network namespace of
its own: on real instances, and on simulated agents.

A simulated agent is that of an instance without a machine, as rehearsals have them for
the instances of an account: it reports the end of a command at once. So the row is the
work of the client and of the local cloud, without that of the hosts.

After the runs of a row, every command must have run exactly once on every instance.
"""

import contextlib
import json
import os
import subprocess
import sys

from speed_rows.s3 import Cloud
from speed_rows.table import row

# How many simulated agents one request adds: the local cloud takes 256 KiB.
PART = 1000

BY_TAG = '#{ tags: #{ fleet: "speed" } }'

INSTANCES = """
let role = instance_role("speed");
// Its subnets are of the size /20.
let network = create_network("speed", #{ cidr: "10.200.0.0/16" });
let options = #{
    name: "speed", type: "t3.nano", iam_profile: role.profile, subnet: network.public_subnet,
    count: @COUNT@, tags: #{ fleet: "speed" }, wait: false,
};
wait_until_running(launch_instance(options), #{ timeout: 600 });
fleet_exec(#{ tags: #{ fleet: "speed" } }, "true", #{ at_once: 50 });
"""

BOTO3 = """
import boto3, sys, time
ssm = boto3.client("ssm")
command = ssm.send_command(
    DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]},
    Targets=[{"Key": "tag:fleet", "Values": ["speed"]}], MaxConcurrency="10%")
id = command["Command"]["CommandId"]
ended = lambda: [one for one in ssm.list_commands(CommandId=id)["Commands"]
                 if one["Status"] not in ("Pending", "InProgress")]
while not ended():
    time.sleep(0.2)
pages = ssm.get_paginator("list_command_invocations").paginate(CommandId=id, Details=True)
results = [one for page in pages for one in page["CommandInvocations"]]
assert len(results) == int(sys.argv[1]), len(results)
assert all(one["Status"] == "Success" for one in results)
"""

# Prints how often each step ran on each instance: {"times": instances}.
COUNT = """
import boto3, collections, json
ssm = boto3.client("ssm")
steps = collections.defaultdict(collections.Counter)
for page in ssm.get_paginator("list_commands").paginate():
    for command in page["Commands"]:
        if command["Comment"].startswith("autorun "):
            step = command["Comment"].rsplit(" ", 1)[0]
            steps[step].update(command["InstanceIds"])
counts = {step: collections.Counter(of.values()) for step, of in steps.items()}
print(json.dumps(list(counts.values())))
"""


@contextlib.contextmanager
def fleet(bench, count, prepare, at_once):
    with Cloud(bench) as cloud:
        prepare(cloud, count)
        sides = cloud.autoruns(f'fleet_exec({BY_TAG}, "true", #{{ at_once: {at_once} }});')
        keys = cloud.keys | {"AWS_ENDPOINT_URL": cloud.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
        sides["boto3, by tag"] = lambda: cloud.measured(
            [sys.executable, "-c", BOTO3, str(count)], keys)
        yield sides
        command = ["nsenter", f"--net=/proc/{cloud.clients}/ns/net", "--", sys.executable, "-c", COUNT]
        done = subprocess.run(command, env=bench.environment(keys), capture_output=True, check=True)
        steps = json.loads(done.stdout)
        if not steps or any(of != {"1": count} for of in steps):
            sys.exit(f"a command did not run exactly once on {count} instances: {steps}")
        print(f"  {len(steps)} commands ran exactly once on each of {count} instances")


def launch(cloud, count):
    program = next(iter(cloud.bench.programs.values()))
    used = cloud.run(program, INSTANCES.replace("@COUNT@", str(count)))
    print(f"  {count} instances launched and registered in {used.wall:.1f} s")


def simulate(cloud, count):
    program = next(iter(cloud.bench.programs.values()))
    faults = cloud.state / "faults.toml"
    faults.write_text("[account]\ndefault_host_management = true\n")
    cloud.inside(program, "cloud", "up", "--faults", faults)
    access = json.loads((cloud.state / f"access/{os.getuid()}.json").read_text())
    header, body = cloud.state / "header", cloud.state / "body"
    header.write_text(f"x-autorun-token: {access['token']}\n")
    for first in range(0, count, PART):
        instances = range(first, min(first + PART, count))
        resources = [{"instance": agent(number)} for number in instances]
        body.write_text(json.dumps({"region": "us-east-1", "resources": resources}))
        cloud.inside("curl", "-sSf", "-X", "PUT", "-H", f"@{header}",
                     "--data-binary", f"@{body}", f"{cloud.endpoint}/_autorun/lent")


def agent(number):
    return {
        "id": f"i-{number:017x}", "type": "t3.nano", "image": "ami-00000000000000001",
        "state": "running", "tags": {"fleet": "speed", "Name": f"agent-{number}"},
    }


@row("fleet-500", "500 instances, `true` through Systems Manager", runs=3)
def fleet_500(bench):
    return fleet(bench, 500, launch, '"10%"')


@row("fleet-10000", "10,000 simulated agents, `true` through Systems Manager", runs=3)
def fleet_10000(bench):
    return fleet(bench, 10_000, simulate, '"10%"')
