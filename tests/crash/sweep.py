"""Ends runs at every place where they can end, and asks what is left.

    sweep.py AUTORUN crash  [--part destroy|resume|removal] [--playbook FILE]
                            [--jobs N] [--only N,N..] [--sample N --seed TEXT]
    sweep.py AUTORUN faults [--jobs N] [--sample N --seed TEXT]

`crash` counts the places that a run comes by (before and after each request,
each ledger commit, each command, copy and key file), and then, for each of
them, ends a fresh run there by SIGKILL. Of one copy `destroy` must leave
nothing; of a second one `resume`, ended once itself, must make exactly one of
each. Then destroy itself is ended at each of its places, and a second destroy
must finish.

`faults` does the same with every fault of the local cloud at every request.

`--sample N` takes N of the places, or of the faults, drawn by the seed: another
seed draws others, so that all are visited over time.

Needs a program built with the feature crash-points, a local cloud
(AUTORUN_CLOUD_HOME), and boto3. Prints what was counted; exits 1 with the first
findings otherwise.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAYBOOK = ROOT / "tests/crash/sweep.rhai"
GONE = {"terminated", "shutting-down"}


class Wrong(Exception):
    """Something is left over, or is there twice."""


class Cloud:
    """The local cloud as any other client sees it."""

    def __init__(self, autorun):
        env = subprocess.run(
            [autorun, "cloud", "env"], check=True, capture_output=True, text=True
        ).stdout
        values = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", env, re.M))
        session = boto3.Session(
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            region_name="eu-central-1",
        )
        url = values["AWS_ENDPOINT_URL"]
        config = Config(max_pool_connections=32)
        self.ec2 = session.client("ec2", endpoint_url=url, config=config)
        path = Config(s3={"addressing_style": "path"}, max_pool_connections=32)
        self.s3 = session.client("s3", endpoint_url=url, config=path)

    def things(self, prefix=""):
        """What is there under names that begin so."""
        reservations = self.ec2.describe_instances()["Reservations"]
        instances = [i for r in reservations for i in r["Instances"]]
        tag = lambda i: {t["Key"]: t["Value"] for t in i.get("Tags", [])}.get("Name", "")
        found = {
            "instances": sorted(
                tag(i)
                for i in instances
                if i["State"]["Name"] not in GONE and tag(i).startswith(prefix)
            ),
            "groups": sorted(
                g["GroupName"]
                for g in self.ec2.describe_security_groups()["SecurityGroups"]
                if g["GroupName"] != "default" and g["GroupName"].startswith(prefix)
            ),
            "key pairs": sorted(
                k["KeyName"]
                for k in self.ec2.describe_key_pairs()["KeyPairs"]
                if k["KeyName"].startswith(prefix)
            ),
            "buckets": sorted(
                b["Name"]
                for b in self.s3.list_buckets()["Buckets"]
                if b["Name"].startswith(prefix)
            ),
        }
        return {kind: names for kind, names in found.items() if names}

    def objects(self, bucket):
        return sorted(o["Key"] for o in self.s3.list_objects_v2(Bucket=bucket).get("Contents", []))


class Copy:
    """A run with a ledger of its own."""

    def __init__(self, autorun, playbook, name, extra=()):
        self.autorun, self.name = autorun, name
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="autorun-sweep-"))
        self.call = [
            *[autorun, "--local", "--region", "eu-central-1", str(playbook)],
            *["--set", f"name={name}", *extra],
        ]

    def _run(self, call, crash_at=None, log=None):
        env = dict(os.environ, AUTORUN_HOME=str(self.home / "data"), HOME=str(self.home))
        if crash_at:
            env["AUTORUN_CRASH_AT"] = str(crash_at)
        if log:
            env["AUTORUN_CRASH_LOG"] = str(log)
        return subprocess.run(
            call, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )

    def run(self, **how):
        return self._run(self.call, **how)

    def destroy(self, **how):
        return self._run([self.autorun, "destroy", "--all", "--yes"], **how)

    def resume(self, **how):
        """Resumes the run; if it never got into the ledger, runs it."""
        runs = self.ledger()
        if not runs:
            return self.run(**how)
        return self._run([self.autorun, "resume", runs[0]["run"]], **how)

    def ledger(self):
        lines = self._run([self.autorun, "runs", "--output", "json"]).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def files(self):
        """Local files that should go: keys, pins, half-written ones."""
        data = self.home / "data"
        kept = ["keys", "hosts"]
        return sorted(str(f) for k in kept for f in (data / k).glob("**/*") if f.is_file())

    def close(self):
        shutil.rmtree(self.home, ignore_errors=True)


def changes(operation):
    """Whether an operation does more than look."""
    return not operation.startswith(("Describe", "Get", "Head", "List"))


def expect_nothing(cloud, copy, why):
    destroyed = copy.destroy()
    if destroyed.returncode != 0:
        raise Wrong(f"{why}: destroy exits {destroyed.returncode}\n{destroyed.stderr}")
    left = cloud.things(copy.name)
    if left:
        raise Wrong(f"{why}: destroy left {left}\n{destroyed.stderr}")
    if copy.files():
        raise Wrong(f"{why}: destroy left {copy.files()}\n{destroyed.stderr}")
    up = [run for run in copy.ledger() if run["up"]]
    if up:
        raise Wrong(f"{why}: the ledger still thinks something is up: {up}")


def shape(cloud, name):
    """How many of each there are, and what is in the buckets."""
    things = cloud.things(name)
    counts = {kind: len(names) for kind, names in things.items()}
    return counts, [cloud.objects(bucket) for bucket in things.get("buckets", [])]


def expect_one_of_each(cloud, copy, wanted, why):
    resumed = copy.resume()
    if resumed.returncode != 0:
        raise Wrong(f"{why}: resume exits {resumed.returncode}\n{resumed.stderr}")
    found = shape(cloud, copy.name)
    if found != wanted:
        raise Wrong(f"{why}: after resume there is {found}, not {wanted}\n{resumed.stderr}")


class Sweep:
    def __init__(self, options):
        self.options = options
        self.cloud = Cloud(options.autorun)
        self.wrong, self.reached, self.passed_by = [], 0, 0
        self.lock = threading.Lock()

    def copy(self, name, extra=()):
        return Copy(self.options.autorun, self.options.playbook, name, extra)

    def whole(self, log=None):
        """A run to its end: what it makes, and the requests it asks."""
        copy = self.copy("whole")
        ended = copy.run(log=log)
        if ended.returncode != 0:
            sys.exit(f"the playbook fails by itself\n{ended.stderr}")
        self.wanted = shape(self.cloud, copy.name)
        return copy

    def each(self, jobs):
        """Does every job, a few at a time; collects what is wrong."""

        def guarded(job):
            try:
                job()
            except Wrong as wrong:
                with self.lock:
                    self.wrong.append(str(wrong))
            except Exception as error:  # a broken test is a finding, too
                with self.lock:
                    self.wrong.append(f"{job}: {error!r}")

        with ThreadPoolExecutor(self.options.jobs) as pool:
            list(pool.map(guarded, jobs))

    def sample(self, part, all_of_them):
        """All of them, or as many as --sample says."""
        all_of_them = list(all_of_them)
        wanted = self.options.sample
        if wanted is None or wanted >= len(all_of_them):
            return all_of_them
        return random.Random(f"{self.options.seed} {part}").sample(all_of_them, wanted)

    def finish(self, what):
        left = self.cloud.things()
        if left and not self.wrong:
            self.wrong.append(f"the cloud is not empty at the end: {left}")
        for wrong in self.wrong[:5]:
            print(f"WRONG {wrong}\n", file=sys.stderr)
        print(f"{what}, {len(self.wrong)} wrong")
        sys.exit(1 if self.wrong else 0)

    # Crashes

    def crash(self):
        log = pathlib.Path(tempfile.mkdtemp()) / "points"
        copy = self.whole(log)
        points = log.read_text().splitlines()
        self.points = len(points)
        destroy_log = log.with_name("destroy")
        copy.destroy(log=destroy_log)
        ends = destroy_log.read_text().splitlines()
        copy.close()
        started = time.monotonic()
        places = self.options.only or range(1, len(points) + 1)
        parts = {
            "destroy": (self.crash_and_destroy, places),
            "resume": (self.crash_and_resume, places),
            "removal": (self.crash_of_destroy, range(1, len(ends) + 1)),
        }
        wanted = [self.options.part] if self.options.part else parts
        jobs = []
        for part in wanted:
            job, places = parts[part]
            jobs += [lambda n=n, job=job: job(n) for n in self.sample(part, places)]
        self.each(jobs)
        took = time.monotonic() - started
        kinds = {kind: points.count(kind) for kind in sorted(set(points))}
        print(f"{len(points)} points of a run: {kinds}")
        self.finish(
            f"{', '.join(wanted)}: {len(jobs)} tried of {len(points)} points of a run and "
            f"{len(ends)} of its removal: "
            f"{self.reached} processes killed, {self.passed_by} were over before; {took:.0f} s"
        )

    def killed(self, ended):
        """Notes whether the place was reached: waits ask more or less often."""
        if ended.returncode not in (0, -9):
            raise Wrong(f"exits {ended.returncode}\n{ended.stderr}")
        with self.lock:
            if ended.returncode == -9:
                self.reached += 1
            else:
                self.passed_by += 1

    def crash_and_destroy(self, point):
        copy = self.copy(f"d{point}x")
        self.killed(copy.run(crash_at=point))
        expect_nothing(self.cloud, copy, f"killed at point {point}")
        copy.close()

    def crash_and_resume(self, point):
        copy = self.copy(f"r{point}x")
        self.killed(copy.run(crash_at=point))
        # Resuming is ended as well, somewhere else each time.
        second = point * 7 % self.points + 1
        self.killed(copy.resume(crash_at=second))
        why = f"killed at point {point}, then at point {second} of resume"
        expect_one_of_each(self.cloud, copy, self.wanted, why)
        expect_nothing(self.cloud, copy, f"{why} and resumed")
        copy.close()

    def crash_of_destroy(self, point):
        copy = self.copy(f"e{point}x")
        ended = copy.run()
        if ended.returncode != 0:
            raise Wrong(f"exits {ended.returncode}\n{ended.stderr}")
        self.killed(copy.destroy(crash_at=point))
        expect_nothing(self.cloud, copy, f"destroy killed at point {point}")
        copy.close()

    # Faults

    def faults(self):
        copy = self.whole()
        expect_nothing(self.cloud, copy, "a run to its end")
        copy.close()
        requests = self.requests_of_a_run()
        acts = [
            {"do": "throttle"},
            {"do": "error", "status": 500, "code": "InternalError"},
            {"do": "error", "status": 403, "code": "UnauthorizedOperation"},
            {"do": "reset"},
            {"do": "reset", "when": "after"},
            {"do": "reset", "when": "after", "times": 9},
            {"do": "hang", "seconds": 0.3},
        ]
        boots = [
            {"do": "slow-boot", "seconds": 1.0},
            {"do": "endless-boot"},
            {"do": "fail-user-data"},
            {"do": "degrade-user-data"},
            {"do": "drop-ssh"},
            {"do": "no-ssh"},
            {"do": "no-cloud-init"},
            {"do": "no-console-keys"},
            {"do": "other-console-keys"},
        ]
        plans = [
            {"operation": operation, "nth": nth, **act}
            for operation, count in requests.items()
            for nth in range(1, count + 1)
            for act in acts
            if changes(operation) or "times" not in act
        ]
        plans += [{"operation": "boot", **act} for act in boots]
        started = time.monotonic()
        chosen = self.sample("faults", enumerate(plans))
        self.each([lambda n=n, plan=plan: self.fault(n, plan) for n, plan in chosen])
        took = time.monotonic() - started
        asked = sum(requests.values())
        self.finish(
            f"{len(acts)} faults at {asked} requests of {len(requests)} operations and "
            f"{len(boots)} of the boot, destroyed and resumed: {len(chosen)} tried of "
            f"{len(plans)} plans; {took:.0f} s"
        )

    def requests_of_a_run(self):
        """The operations of one run, by the cloud's own log, without the
        repetitions of waits."""
        copy = self.copy("asked")
        log = pathlib.Path(os.environ["AUTORUN_CLOUD_HOME"]) / "state/cloud.log"
        copy.run()
        run = copy.ledger()[0]["run"]
        asked = {}
        for operation in re.findall(rf"\b{run} (\w+) ", log.read_text()):
            asked[operation] = asked.get(operation, 0) + 1
        expect_nothing(self.cloud, copy, "a run to its end")
        copy.close()
        if not asked:
            raise SystemExit(f"{log} has no request of run {run}")
        waits = {"DescribeInstances", "GetConsoleOutput"}
        return {op: min(count, 2) if op in waits else count for op, count in asked.items()}

    def fault(self, number, plan):
        lines = [f"{key} = {json.dumps(value)}" for key, value in plan.items()]
        why = f"fault {plan}"
        # What only looks leaves the same things behind, resumed or not.
        for resume in (False, True) if changes(plan["operation"]) else (True,):
            copy = self.copy(f"{'s' if resume else 'f'}{number}x")
            file = copy.home / "faults.toml"
            file.write_text("[[fault]]\n" + "\n".join(lines) + "\n")
            within = ["--set", "ready_within=4"]
            copy.call += ["--faults", str(file), *within]
            ended = copy.run()
            if ended.returncode not in (0, 1):
                raise Wrong(f"{why}: exits {ended.returncode}\n{ended.stderr}")
            boots = plan["operation"] == "boot"
            if resume and ended.returncode == 1 and not boots:
                expect_one_of_each(self.cloud, copy, self.wanted, why)
            expect_nothing(self.cloud, copy, why)
            copy.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("autorun")
    parser.add_argument("what", choices=["crash", "faults"])
    parser.add_argument("--playbook", type=pathlib.Path, default=PLAYBOOK)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--part", choices=["destroy", "resume", "removal"])
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--only", type=numbers)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", default="0")
    sweep = Sweep(parser.parse_args())
    getattr(sweep, sweep.options.what)()


if __name__ == "__main__":
    main()
