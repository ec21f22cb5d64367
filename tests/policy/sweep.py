#!/usr/bin/env python3
"""Takes single actions out of the policies of the shipped playbooks.

Each playbook runs on a local cloud that holds the caller to the playbook's own
policy: it is performed, resumed and destroyed. Between these, the ledger forgets
which answers it got, as after a crash, so that resume and destroy look for what
exists. A second run ends as if it was killed between the creation of its bucket and
the bucket's tags. A third one is destroyed after the playbook has run again, which
may have taken over what the first one created. Under the whole policy nothing may be
denied. Then each action is taken out, one at a time, and something must be denied.
Playbooks that work on existing instances create nothing: they are performed on one that
another run launched, and destroyed. One that works through Systems Manager is also
interrupted while its command runs. Needs root, as instances boot, and boto3.

    target/lab-venv/bin/python tests/policy/sweep.py [PLAYBOOK..]

Prints a line for each action that no request missed, and the counts.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AUTORUN = os.environ.get("AUTORUN", str(ROOT / "target/debug/autorun"))
# The longest time that a command may take, in seconds.
PATIENCE = 30
DENIED = re.compile(r"not authorized to perform: (\S+)")
# The answer to a HEAD request has no message.
HEAD_DENIED = "HTTP 403 without a reason"

# The playbooks that call AWS, with their variables; {KEY} is the private key of the
# existing instance. `cleanup_expired` and `hello_hosts` call no service.
PLAYBOOKS = {
    "run_newwebserver": [],
    "blue_green": ["drain=0"],
    "backup_directory": ["bucket=sweep-backups", f"directory={ROOT}/assets"],
    "rolling_update": ["tag=role=web", "command=true", "check=true", "url=", "key={KEY}"],
    "monitor_webserver": ["instance=sweep-web", "for=0.1", "every=0.1", "slo=0.0"],
    "fleet_patch": ["tag=role=web"],
}

# How the runs of a playbook end.
LIVES = ["resumed", "killed", "repeated"]

# Those that work on existing instances, and how their runs end.
ON_EXISTING = {
    "rolling_update": ["performed"],
    "monitor_webserver": ["performed"],
    "fleet_patch": ["performed", "resumed", "interrupted"],
}
# A command that still runs when the run is interrupted.
LASTING = ["--set", "check=sleep 20"]
EXISTING = """
let role = instance_role("sweep");
let key = import_key_pair("sweep", "{KEY}.pub");
let group = create_security_group("sweep", #{ ingress: [#{ port: 22 }] });
launch_instance(#{ name: "sweep-web", iam_profile: role.profile, key_pair: key,
    security_groups: [group], tags: #{ role: "web" },
    // Nothing is updated.
    user_data: `#!/bin/sh
for name in apt-get dnf; do ln -sf /bin/true /usr/local/sbin/$name; done
` });
"""

FORGET = """
UPDATE step SET state = 'under_way', result = NULL, ended = NULL WHERE key IN
    (SELECT step FROM resource WHERE resource.run = step.run AND state = 'live');
UPDATE step SET state = 'under_way', result = NULL, ended = NULL WHERE function = 'fleet_exec';
UPDATE resource SET state = 'intended', id = NULL WHERE state = 'live' AND kind NOT IN
    ('bucket', 'key_pair', 'key_file', 'object', 'public_access', 'ingress');
UPDATE resource SET state = 'intended' WHERE state = 'live';
"""


class Cloud:
    """A local cloud with its own home."""

    def __init__(self, directory):
        self.home = Path(directory, "cloud")
        self.env = {
            "PATH": os.environ["PATH"], "HOME": directory, "USER": "sweep",
            "AUTORUN_CLOUD_HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true",
        }

    def launch(self):
        """Launches the instance of the playbooks that work on existing ones."""
        key = self.home.parent / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        playbook = self.home.parent / "existing.rhai"
        playbook.write_text(EXISTING.replace("{KEY}", str(key)))
        runs = Runs(self, playbook, [])
        runs.run()
        assert not runs.failed, runs.log

    def __enter__(self):
        subprocess.run([AUTORUN, "cloud", "up"], env=self.env, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.access = json.loads((self.home / "access/0.json").read_text())
        return self

    def __exit__(self, *_):
        subprocess.run([AUTORUN, "cloud", "down"], env=self.env, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def client(self, service):
        """Returns a client that no policy holds."""
        import boto3

        return boto3.client(
            service, endpoint_url=self.access["endpoint"], region_name="eu-central-1",
            aws_access_key_id=self.access["access_key_id"],
            aws_secret_access_key=self.access["secret_access_key"],
        )

    def commands_under_way(self):
        """Returns the IDs of the commands of Systems Manager that run."""
        found = self.client("ssm").list_commands()["Commands"]
        return {command["CommandId"] for command in found if command["Status"] == "InProgress"}

    def hold(self, run, policy):
        """Holds the requests of a run to a policy, also when it is resumed."""
        body = json.dumps({"faults": {}, "policy": policy})
        request = urllib.request.Request(
            f"{self.access['endpoint']}/_autorun/faults", data=body.encode(), method="PUT",
            headers={"x-autorun-token": self.access["token"],
                     "user-agent": f"app/autorun-{run}"},
        )
        urllib.request.urlopen(request).read()


class Runs:
    """Runs of one playbook with a ledger of their own."""

    def __init__(self, cloud, playbook, variables):
        self.cloud = cloud
        self.directory = tempfile.TemporaryDirectory()
        self.playbook = str(ROOT / f"playbooks/{playbook}.rhai")
        if isinstance(playbook, Path):
            self.playbook = str(playbook)
        key = str(cloud.home.parent / "key")
        variables = [variable.replace("{KEY}", key) for variable in variables]
        self.sets = [word for variable in variables for word in ("--set", variable)]
        self.log = ""
        self.failed = []

    def call(self, *words, interrupt_when=None):
        env = {**self.cloud.env, "AUTORUN_HOME": f"{self.directory.name}/ledger"}
        child = subprocess.Popen([AUTORUN, *words], env=env, cwd=ROOT, text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        if interrupt_when:
            while child.poll() is None and not interrupt_when():
                time.sleep(0.1)
            child.send_signal(signal.SIGINT)
        try:
            stdout, stderr = child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            # A group cannot be deleted while an instance that is left uses it. After
            # the signal, the command reports what was denied.
            child.send_signal(signal.SIGINT)
            stdout, stderr = child.communicate(timeout=PATIENCE)
        self.log += stderr
        if child.returncode != 0 and not interrupt_when:
            self.failed.append(words[0])
        return stdout

    def ledger(self):
        return sqlite3.connect(f"{self.directory.name}/ledger/ledger.db")

    def run(self, policy=None, interrupted=False):
        """Performs the playbook, or interrupts it while a command of it runs. Returns the
        ID of the run."""
        faults = []
        if policy is not None:
            Path(self.directory.name, "policy.json").write_text(json.dumps(policy))
            file = Path(self.directory.name, "faults.toml")
            file.write_text('[account]\npolicy = "policy.json"\n')
            faults = ["--faults", str(file)]
        words = ["run", "-v", "--again", "--local", "--region", "eu-central-1", *faults, *self.sets]
        if interrupted:
            before = self.cloud.commands_under_way()
            self.call(*words, *LASTING, self.playbook,
                      interrupt_when=lambda: self.cloud.commands_under_way() - before)
        else:
            self.call(*words, self.playbook)
        rows = self.ledger().execute("SELECT id FROM run ORDER BY started DESC LIMIT 1")
        return next(iter(rows))[0]

    def forget(self):
        with self.ledger() as ledger:
            ledger.executescript(FORGET)

    def undo_uploads(self):
        """Leaves buckets as they are right after their creation."""
        s3 = self.cloud.client("s3")
        for bucket, in self.ledger().execute("SELECT id FROM resource WHERE kind = 'bucket'"):
            for found in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=found["Key"])
            s3.delete_bucket_policy(Bucket=bucket)
            s3.delete_bucket_tagging(Bucket=bucket)

    def whole_life(self, policy, how):
        """Performs, resumes and destroys a run. Returns the denied actions."""
        runs = [self.run(policy, interrupted=how == "interrupted")]
        self.cloud.hold(runs[0], json.dumps(policy))
        if how in ("performed", "interrupted"):
            pass
        elif how == "resumed":
            self.forget()
            self.call("resume", runs[0], "-v")
            self.forget()
        elif how == "killed":
            self.forget()
            self.undo_uploads()
        else:
            runs.append(self.run(policy))
        self.call("destroy", runs[0], "-v", "--yes")
        # What is left under a reduced policy is removed without one.
        before, failed = self.log, list(self.failed)
        for run in runs:
            self.cloud.hold(run, None)
            self.call("destroy", run, "--yes")
        self.log, self.failed = before, failed
        log = before.replace("\n  ", " ")
        return set(DENIED.findall(log)) | ({HEAD_DENIED} if HEAD_DENIED in log else set())


def without(policy, action):
    """Returns the policy without one action."""
    left = []
    for statement in policy["Statement"]:
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        kept = [one for one in actions if one != action]
        if kept:
            left.append({**statement, "Action": kept})
    return {**policy, "Statement": left}


def actions_of(policy):
    found = set()
    for statement in policy["Statement"]:
        actions = statement["Action"]
        found.update([actions] if isinstance(actions, str) else actions)
    return sorted(found)


def sweep(cloud, playbook, variables):
    """Returns the number of actions and those that no request missed."""
    first = Runs(cloud, playbook, variables)
    run = first.run()
    assert not first.failed, first.log
    policy = json.loads(first.call("policy", run))
    first.call("destroy", run, "--yes")
    owner = next(iter(first.ledger().execute("SELECT owner FROM ledger")))[0]

    lives = ON_EXISTING.get(playbook, LIVES)

    def attempt(policy, how):
        runs = Runs(cloud, playbook, variables)
        runs.call("runs")
        own = next(iter(runs.ledger().execute("SELECT owner FROM ledger")))[0]
        policy = json.loads(json.dumps(policy).replace(owner, own))
        return runs, runs.whole_life(policy, how)

    for how in lives:
        runs, denied = attempt(policy, how)
        assert not runs.failed and not denied, (runs.failed, denied, runs.log)
    useless = []
    for action in actions_of(policy):
        for how in lives:
            runs, denied = attempt(without(policy, action), how)
            if action in denied or HEAD_DENIED in denied:
                break
        else:
            useless.append(action)
        print(f"{playbook}: without {action}: denied {', '.join(sorted(denied)) or 'nothing'}; "
              f"failed: {', '.join(runs.failed) or 'nothing'}", flush=True)
    return len(actions_of(policy)), useless


def main():
    chosen = sys.argv[1:] or list(PLAYBOOKS)
    total, useless = 0, []
    with tempfile.TemporaryDirectory() as directory, Cloud(directory) as cloud:
        if ON_EXISTING.keys() & set(chosen):
            cloud.launch()
        for playbook in chosen:
            count, unused = sweep(cloud, playbook, PLAYBOOKS[playbook])
            total += count
            useless += [f"{playbook}: {action}" for action in unused]
    for line in useless:
        print(f"not missed: {line}")
    print(f"{len(chosen)} playbooks, {total} actions taken out, {len(useless)} not missed")
    sys.exit(1 if useless else 0)


if __name__ == "__main__":
    main()
