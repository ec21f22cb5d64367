"""Ends runs at every possible place and checks what is left.

    sweep.py AUTORUN crash  [--part destroy|resume|removal] [--playbook FILE]
                            [--jobs N] [--only N,N..] [--sample N --seed TEXT]
    sweep.py AUTORUN faults [--jobs N] [--sample N --seed TEXT]
    sweep.py AUTORUN contend --shared [--part run|removal] [--jobs N] [--only N,N..]
                            [--sample N --seed TEXT]
    sweep.py AUTORUN moves  --shared --playbook FILE [--jobs N] [--sample N --seed TEXT]

`crash` counts the crash points of a run (before and after each request, each ledger
commit, each command, copy and key file). Then, for each point, it ends a new run
there by SIGKILL. After one such run, `destroy` must leave nothing. After a second
one, `resume`, which is also killed once, must lead to exactly one of each resource.
Finally, `destroy` is killed at each of its own points, and a second `destroy` must
succeed.

`faults` does the same with every fault of the local cloud at every request.

`contend` stops a run at each point by SIGSTOP, for longer than a client of a shared ledger
may be silent. Another machine destroys or resumes it meanwhile. Then the first process
continues: it must change nothing more, apart from a request that was on its way, and what
the other one has left must stay as it is.
The same is done with a `destroy` that is stopped at each of its points.

`moves` kills `autorun ledger import`, `export` and `prune` at each of their points, and
calls them again: no run may be lost, or be recorded twice.

`--sample N` selects N of the points, or of the faults, by the seed. Other seeds
select others, so that all are tested over time.

Needs a program with the feature crash-points, a local cloud (AUTORUN_CLOUD_HOME),
and boto3. Prints the counts. If something is wrong, prints the first findings and
exits with 1.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The bucket of a shared ledger.
LEDGER = "sweep-ledger"
PLAYBOOK = ROOT / "tests/crash/sweep.rhai"
GONE = {"terminated", "shutting-down"}
# How many requests of a process may be on their way when it is stopped: their checks are
# over, and they may be sent after it continues.
AT_ONCE = 3


class Wrong(Exception):
    """A resource is left over, or exists twice."""


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
        self.iam = session.client("iam", endpoint_url=url, config=config)
        self.env = values

    def things(self, prefix=""):
        """Returns the resources whose names begin with the prefix."""
        reservations = self.ec2.describe_instances()["Reservations"]
        instances = [i for r in reservations for i in r["Instances"]]
        tag = lambda i: {t["Key"]: t["Value"] for t in i.get("Tags", [])}.get("Name", "")
        found = {
            "instances": sorted(
                tag(i)
                for i in instances
                if i["State"]["Name"] not in GONE and tag(i).startswith(prefix)
            ),
            "addresses": sorted(
                tag(a)
                for a in self.ec2.describe_addresses()["Addresses"]
                if tag(a).startswith(prefix)
            ),
            "images": sorted(
                i["Name"]
                for i in self.ec2.describe_images(Owners=["self"])["Images"]
                if i["Name"].startswith(prefix)
            ),
            "snapshots": sorted(
                tag(s)
                for s in self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
                if tag(s).startswith(prefix)
            ),
            # Other volumes are deleted with their instance.
            "volumes": sorted(
                tag(v)
                for v in self.ec2.describe_volumes()["Volumes"]
                if tag(v).startswith(prefix)
                and not any(a["DeleteOnTermination"] for a in v["Attachments"])
            ),
            "launch templates": sorted(
                tag(t)
                for t in self.ec2.describe_launch_templates()["LaunchTemplates"]
                if tag(t).startswith(prefix)
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
                if b["Name"].startswith(prefix) and b["Name"] != LEDGER
            ),
        }
        found["roles"] = sorted(
            r["RoleName"]
            for r in self.iam.list_roles(PathPrefix="/autorun/")["Roles"]
            if r["RoleName"].startswith(prefix)
        )
        found["instance profiles"] = sorted(
            p["InstanceProfileName"]
            for p in self.iam.list_instance_profiles(PathPrefix="/autorun/")["InstanceProfiles"]
            if p["InstanceProfileName"].startswith(prefix)
        )
        parts = {
            "VPCs": self.ec2.describe_vpcs()["Vpcs"],
            "subnets": self.ec2.describe_subnets()["Subnets"],
            "internet gateways": self.ec2.describe_internet_gateways()["InternetGateways"],
            "route tables": self.ec2.describe_route_tables()["RouteTables"],
            "NAT gateways": self.ec2.describe_nat_gateways(
                Filters=[{"Name": "state", "Values": ["pending", "available"]}]
            )["NatGateways"],
        }
        for kind, all_of_them in parts.items():
            # The default VPC and main route tables have no names.
            names = sorted(filter(None, map(tag, all_of_them)))
            found[kind] = [name for name in names if name.startswith(prefix)]
        return {kind: names for kind, names in found.items() if names}

    def objects(self, bucket):
        return sorted(o["Key"] for o in self.s3.list_objects_v2(Bucket=bucket).get("Contents", []))


class Copy:
    """A run with its own ledger."""

    def __init__(self, autorun, playbook, name, extra=(), shared=None):
        self.autorun, self.name = autorun, name
        self.env = dict(os.environ)
        self.machines = 0
        if shared:
            url = f"s3://{LEDGER}/{name}"
            extra = [*extra, "--ledger", url]
            endpoint = shared["AWS_ENDPOINT_URL"]
            self.env |= shared | {
                "AUTORUN_LEDGER": f"{url}?endpoint={endpoint}&region=eu-central-1",
                # A client counts as dead after 90 of these milliseconds.
                "AUTORUN_LEDGER_SECOND": "20",
            }
        self.shared = shared
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="autorun-sweep-"))
        self.data = self.home / "data"
        # The directories whose files a removal removes.
        self.kept = ["keys", "hosts"]
        self.call = [
            *[autorun, "--local", "--region", "eu-central-1", str(playbook)],
            *["--set", f"name={name}", *extra],
        ]

    def _env(self, crash_at=None, log=None):
        env = dict(self.env, AUTORUN_HOME=str(self.data), HOME=str(self.home))
        if crash_at:
            env["AUTORUN_CRASH_AT"] = str(crash_at)
        if log:
            env["AUTORUN_CRASH_LOG"] = str(log)
        return env

    def _run(self, call, **how):
        return subprocess.run(
            call, cwd=ROOT, env=self._env(**how), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=300, check=False,
        )

    def stopped(self, call, point):
        """Starts a call that is stopped at a point. Returns it when it is, or has ended."""
        output = open(self.home / "stopped", "w+")
        process = subprocess.Popen(
            call, cwd=ROOT, env=self._env(crash_at=point) | {"AUTORUN_CRASH_BY": "STOP"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output,
        )
        process.output = output
        end = time.monotonic() + 300
        while not is_stopped(process.pid) and process.poll() is None:
            if time.monotonic() > end:
                process.kill()
                raise Wrong(f"{call} neither stops at point {point} nor ends")
            time.sleep(0.01)
        return process

    def go_beside(self):
        """Continues on another machine, while this one may still work: only the private
        keys and the recorded host keys are copied there."""
        self.machines += 1
        left, self.data = self.data, self.home / f"beside{self.machines}"
        self.data.mkdir(mode=0o700)
        for kept in ["keys", "hosts"]:
            if (left / kept).exists():
                shutil.copytree(left / kept, self.data / kept)
        # A removal removes the key where the run has created it, not the copy.
        self.kept = ["hosts"]

    def run(self, **how):
        return self._run(self.call, **how)

    def go_elsewhere(self):
        """Continues on another machine, if the ledger is shared: only the private
        keys and the recorded host keys are copied there."""
        data = self.data
        if not self.shared or not data.exists():
            return
        self.machines += 1
        left = data.rename(self.home / f"machine{self.machines}")
        data.mkdir(mode=0o700)
        for kept in ["keys", "hosts"]:
            if (left / kept).exists():
                shutil.copytree(left / kept, data / kept)

    def destroy(self, **how):
        self.go_elsewhere()
        return self._run(self.removal(), **how)

    def expects(self, *words):
        ended = self._run([self.autorun, *words])
        if ended.returncode != 0:
            raise Wrong(f"{self.name}: {words} exits {ended.returncode}\n{ended.stderr}")

    def removal(self):
        return [self.autorun, "destroy", "--all", "--yes"]

    def resume(self, **how):
        """Resumes the run, or runs it if the ledger has not recorded it."""
        self.go_elsewhere()
        runs = self.ledger()
        if not runs:
            return self.run(**how)
        return self._run([self.autorun, "resume", runs[0]["run"]], **how)

    def ledger(self):
        lines = self._run([self.autorun, "runs", "--output", "json"]).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def files(self):
        """Returns the local files that should be removed: keys, pins,
        half-written files."""
        data = self.data
        return sorted(str(f) for k in self.kept for f in (data / k).glob("**/*") if f.is_file())

    def close(self):
        shutil.rmtree(self.home, ignore_errors=True)


def is_stopped(pid):
    """Whether a signal has stopped a process."""
    try:
        about = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return about.rpartition(")")[2].split()[0] == "T"


def changes(operation):
    """Whether an operation changes something."""
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
        raise Wrong(f"{why}: the ledger still lists resources as up: {up}")


def shape(cloud, name):
    """Returns the number of resources of each kind, and the contents of the
    buckets."""
    things = cloud.things(name)
    counts = {kind: len(names) for kind, names in things.items()}
    return counts, [cloud.objects(bucket) for bucket in things.get("buckets", [])]


def count(shape):
    """Returns the number of resources of a shape."""
    return sum(shape[0].values())


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
        if options.shared:
            self.cloud.s3.create_bucket(
                Bucket=LEDGER,
                CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
            )
        self.wrong, self.reached, self.ended_before = [], 0, 0
        self.lock = threading.Lock()

    def copy(self, name, extra=()):
        shared = self.cloud.env if self.options.shared else None
        return Copy(self.options.autorun, self.options.playbook, name, extra, shared)

    def whole(self, log=None):
        """Runs the playbook to its end. Stores what it has created, and its
        requests."""
        copy = self.copy("whole")
        ended = copy.run(log=log)
        if ended.returncode != 0:
            sys.exit(f"the playbook fails without a crash\n{ended.stderr}")
        self.wanted = shape(self.cloud, copy.name)
        return copy

    def each(self, jobs):
        """Runs all jobs, a few at a time, and collects the findings."""

        def guarded(job):
            try:
                job()
            except Wrong as wrong:
                with self.lock:
                    self.wrong.append(str(wrong))
            except Exception as error:  # an error of the test is a finding, too
                with self.lock:
                    self.wrong.append(f"{job}: {error!r}")

        with ThreadPoolExecutor(self.options.jobs) as pool:
            list(pool.map(guarded, jobs))

    def sample(self, part, all_of_them):
        """Returns all items, or as many as --sample specifies."""
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
            f"{self.reached} processes killed, {self.ended_before} ended before their point; {took:.0f} s"
        )

    def killed(self, ended):
        """Counts whether the run reached its point: the number of requests in
        waits varies."""
        if ended.returncode not in (0, -9):
            raise Wrong(f"exits {ended.returncode}\n{ended.stderr}")
        with self.lock:
            if ended.returncode == -9:
                self.reached += 1
            else:
                self.ended_before += 1

    def crash_and_destroy(self, point):
        copy = self.copy(f"d{point}x")
        self.killed(copy.run(crash_at=point))
        expect_nothing(self.cloud, copy, f"killed at point {point}")
        copy.close()

    def crash_and_resume(self, point):
        copy = self.copy(f"r{point}x")
        self.killed(copy.run(crash_at=point))
        # The resumed run is killed as well, each time at a different point.
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
        expect_nothing(self.cloud, copy, f"`destroy` killed at point {point}")
        copy.close()

    # Contenders

    def contend(self):
        log = pathlib.Path(tempfile.mkdtemp()) / "points"
        copy = self.whole(log)
        points = log.read_text().splitlines()
        destroy_log = log.with_name("destroy")
        copy.destroy(log=destroy_log)
        ends = destroy_log.read_text().splitlines()
        copy.close()
        self.codes, self.late_ones, self.strays = {}, [], 0
        started = time.monotonic()
        places = lambda points: self.options.only or range(1, len(points) + 1)
        parts = {
            "run": (self.contend_for_run, places(points)),
            "removal": (self.contend_for_removal, places(ends)),
        }
        wanted = [self.options.part] if self.options.part else parts
        jobs = []
        for part in wanted:
            job, all_of_them = parts[part]
            jobs += [lambda n=n, job=job: job(n) for n in self.sample(part, all_of_them)]
        self.each(jobs)
        took = time.monotonic() - started
        self.finish(
            f"two contenders for a {' and a '.join(wanted)}: {len(jobs)} tried of {len(points)} "
            f"points of a run and {len(ends)} of its removal: {self.reached} processes stopped, "
            f"{self.ended_before} ended before their point; exit codes after they continued: "
            f"{dict(sorted(self.codes.items()))}; {len(self.late_ones)} requests that were "
            f"on their way {self.late_ones}, which have created {self.strays} resources; {took:.0f} s"
        )

    def contend_for_run(self, point):
        copy = self.copy(f"p{point}x")
        old = copy.stopped(copy.call, point)
        if not self.is_contended(old):
            return self.end(copy, f"a run that ended before point {point}")
        copy.go_beside()
        runs = copy.ledger()
        resumes = point % 2 == 0
        why = f"stopped at point {point}, then {'resumed' if resumes else 'destroyed'} elsewhere"
        # Without a record, there is nothing to contend for.
        if runs and resumes:
            other = copy._run([copy.autorun, "resume", runs[0]["run"]])
        elif runs:
            # By its ID, so that it takes over also a run that has created nothing yet.
            other = copy._run([copy.autorun, "destroy", runs[0]["run"], "--yes"])
        if runs and other.returncode != 0:
            self.continued(old)
            raise Wrong(f"{why}: the other one exits {other.returncode}\n{other.stderr}")
        before = shape(self.cloud, copy.name)
        if runs and before != (self.wanted if resumes else ({}, [])):
            self.continued(old)
            raise Wrong(f"{why}: there is {before}\n{other.stderr}")
        run = runs and runs[0]["run"]
        so_far, messages = self.continued(old)
        after = shape(self.cloud, copy.name)
        late = self.late(run, so_far) if runs else []
        # A request whose check was over when the process was stopped: no lease can hold it
        # back, and it can create one resource.
        strays = count(after) - count(before) if runs else 0
        if len(late) > AT_ONCE or strays not in (0, 1) or (runs and not strays and after != before):
            raise Wrong(f"{why}: then the first one has made {after} of {before}, {late}\n{messages}")
        if strays:
            self.strays += 1
            self.remove(copy.name, before)
        self.end(copy, why)

    def contend_for_removal(self, point):
        copy = self.copy(f"q{point}x")
        ended = copy.run()
        if ended.returncode != 0:
            raise Wrong(f"exits {ended.returncode}\n{ended.stderr}")
        run = copy.ledger()[0]["run"]
        copy.go_beside()
        old = copy.stopped(copy.removal(), point)
        if not self.is_contended(old):
            return self.end(copy, f"a removal that ended before point {point}")
        copy.go_beside()
        why = f"`destroy` stopped at point {point}, and another one"
        other = copy._run(copy.removal())
        left = self.cloud.things(copy.name)
        if other.returncode != 0 or left:
            self.continued(old)
            raise Wrong(f"{why}: it exits {other.returncode} and left {left}\n{other.stderr}")
        so_far, messages = self.continued(old)
        late = self.late(run, so_far)
        if len(late) > AT_ONCE:
            raise Wrong(f"{why}: then the first one has changed {late}\n{messages}")
        self.end(copy, why)

    def is_contended(self, process):
        with self.lock:
            if is_stopped(process.pid):
                self.reached += 1
                return True
            self.ended_before += 1
            return False

    def cloud_log(self):
        return pathlib.Path(os.environ["AUTORUN_CLOUD_HOME"]) / "state/cloud.log"

    def continued(self, process):
        """Continues a stopped process and waits for its end. Returns the length of the
        cloud's log before, and the messages of the process."""
        so_far = self.cloud_log().stat().st_size
        process.send_signal(signal.SIGCONT)
        code = process.wait(timeout=300)
        process.output.seek(0)
        messages = process.output.read()
        process.output.close()
        with self.lock:
            self.codes[code] = self.codes.get(code, 0) + 1
        if code not in (0, 1, 2, 4):
            raise Wrong(f"after SIGCONT, it exits {code}\n{messages}")
        return so_far, messages

    def late(self, run, so_far):
        """Returns the changes that the cloud has made for a run since its log had this
        length."""
        with open(self.cloud_log()) as lines:
            lines.seek(so_far)
            found = re.findall(rf"\b{run} (\w+) 20\d\b", lines.read())
        # The ledger's own objects are in this log as well.
        late = [operation for operation in found if changes(operation)]
        late = [operation for operation in late if operation != "PutObject"]
        with self.lock:
            self.late_ones += late
        return late

    def remove(self, prefix, before):
        """Removes what a request that was on its way has created. What was there before
        belongs to a run that removes it."""
        things, cloud = self.cloud.things(prefix), self.cloud
        if before[0]:
            return
        for bucket in things.get("buckets", []):
            cloud.s3.delete_bucket(Bucket=bucket)
        for name in things.get("key pairs", []):
            cloud.ec2.delete_key_pair(KeyName=name)
        for name in things.get("groups", []):
            cloud.ec2.delete_security_group(GroupName=name)

    def end(self, copy, why):
        expect_nothing(self.cloud, copy, why)
        copy.close()

    # Moves

    def moves(self):
        started = time.monotonic()
        jobs, counts = [], {}
        for what in (self.crash_of_import, self.crash_of_export, self.crash_of_prune):
            name = what.__name__.removeprefix("crash_of_")
            log = pathlib.Path(tempfile.mkdtemp()) / "points"
            what(name[0], log=log)
            counts[name] = len(log.read_text().splitlines())
            points = self.sample(name, range(1, counts[name] + 1))
            jobs += [lambda n=n, what=what: what(f"{n}", crash_at=n) for n in points]
        self.each(jobs)
        took = time.monotonic() - started
        self.finish(
            f"moves killed: {len(jobs)} tried of {counts} points: {self.reached} processes killed, "
            f"{self.ended_before} ended before their point; {took:.0f} s"
        )

    def made(self, name, is_shared):
        copy = self.copy(name)
        if not is_shared:
            copy.call = copy.call[:-2]  # without --ledger
            copy.expects("ledger", "init")
        ended = copy.run()
        if ended.returncode != 0:
            raise Wrong(f"{name}: exits {ended.returncode}\n{ended.stderr}")
        [run] = copy.ledger()
        return copy, run

    def twice(self, copy, words, done, **how):
        """Calls a command, which may be killed, and calls it again. The second one may refuse
        what the first one has done."""
        first = copy._run([copy.autorun, *words], **how)
        if how.get("crash_at"):
            self.killed(first)
        elif first.returncode != 0:
            raise Wrong(f"{words} exits {first.returncode}\n{first.stderr}")
        again = copy._run([copy.autorun, *words])
        if again.returncode != 0 and done not in " ".join(again.stderr.split()):
            raise Wrong(f"{words} {how} again exits {again.returncode}\n{again.stderr}")

    def crash_of_import(self, name, **how):
        copy, run = self.made(f"i{name}x", is_shared=False)
        self.twice(copy, ["ledger", "import", run["run"]], "already", **how)
        here = copy.ledger()
        copy.go_beside()
        if not here == copy.ledger() == [run]:
            raise Wrong(f"import {how}: {run} is {here} here, and {copy.ledger()} elsewhere")
        copy.expects("ledger", "check")
        self.end(copy, f"import {how}")

    def crash_of_export(self, name, **how):
        copy, run = self.made(f"o{name}x", is_shared=True)
        self.twice(copy, ["ledger", "export", run["run"]], "on this machine alone", **how)
        here = copy.ledger()
        if here != [run]:
            raise Wrong(f"export {how}: {run} is {here}")
        copy.expects("ledger", "check")
        data = copy.data
        copy.go_beside()
        elsewhere = copy._run([copy.autorun, "destroy", run["run"], "--yes"])
        if elsewhere.returncode != 2 or "was exported" not in elsewhere.stderr:
            raise Wrong(f"export {how}: another machine exits {elsewhere.returncode}\n{elsewhere.stderr}")
        copy.data = data
        # Another machine cannot work on it.
        copy.shared = None
        self.end(copy, f"export {how}")

    def crash_of_prune(self, name, **how):
        copy, run = self.made(f"k{name}x", is_shared=True)
        copy.expects("destroy", run["run"], "--yes")
        time.sleep(1.1)  # so that the run is older than a second
        old = ["ledger", "prune", "--older-than", "1s", "--yes"]
        self.twice(copy, old, "", **how)
        if copy.ledger():
            raise Wrong(f"prune {how} leaves {copy.ledger()}")
        copy.go_beside()
        if copy.ledger():
            raise Wrong(f"prune {how} leaves {copy.ledger()} elsewhere")
        left = [key for key in self.cloud.objects(LEDGER) if key.startswith(f"{copy.name}/run/")]
        if left:
            raise Wrong(f"prune {how} leaves {left}")
        copy.expects("ledger", "check")
        self.end(copy, f"prune {how}")

    # Faults

    def faults(self):
        copy = self.whole()
        expect_nothing(self.cloud, copy, "a complete run")
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
        # The look for a command whose answer was lost fails as well, once.
        lost = {"do": "reset", "when": "after", "then": "ListCommands"}
        sent = range(1, requests.get("SendCommand", 0) + 1)
        plans += [{"operation": "SendCommand", "nth": nth, **lost} for nth in sent]
        started = time.monotonic()
        chosen = self.sample("faults", enumerate(plans))
        self.each([lambda n=n, plan=plan: self.fault(n, plan) for n, plan in chosen])
        took = time.monotonic() - started
        requested = sum(requests.values())
        self.finish(
            f"{len(acts)} faults at {requested} requests of {len(requests)} operations and "
            f"{len(boots)} of the boot, destroyed and resumed: {len(chosen)} tried of "
            f"{len(plans)} plans; {took:.0f} s"
        )

    def requests_of_a_run(self):
        """Returns the operations of one run from the cloud's log, without the
        repetitions in waits."""
        copy = self.copy("requested")
        log = pathlib.Path(os.environ["AUTORUN_CLOUD_HOME"]) / "state/cloud.log"
        copy.run()
        run = copy.ledger()[0]["run"]
        requested = {}
        for operation in re.findall(rf"\b{run} (\w+) ", log.read_text()):
            requested[operation] = requested.get(operation, 0) + 1
        expect_nothing(self.cloud, copy, "a complete run")
        copy.close()
        if not requested:
            raise SystemExit(f"{log} has no request of run {run}")
        waits = {
            "DescribeInstanceInformation", "DescribeInstances", "DescribeNatGateways",
            "DescribeSnapshots", "DescribeVolumes", "GetConsoleOutput", "ListCommandInvocations",
        }
        return {op: min(count, 2) if op in waits else count for op, count in requested.items()}

    def fault(self, number, plan):
        then = plan.get("then")
        given = [(key, value) for key, value in plan.items() if key != "then"]
        lines = [f"{key} = {json.dumps(value)}" for key, value in given]
        if then:
            lines.append(f'[[fault]]\noperation = "{then}"\ndo = "reset"')
        why = f"fault {plan}"
        # Requests that change nothing leave the same resources, resumed or
        # not.
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
    parser.add_argument("what", choices=["crash", "faults", "contend", "moves"])
    parser.add_argument("--playbook", type=pathlib.Path, default=PLAYBOOK)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--part", choices=["destroy", "resume", "removal", "run"])
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--only", type=numbers)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", default="0")
    # With a ledger in a bucket: `destroy` and `resume` run on another machine.
    parser.add_argument("--shared", action="store_true")
    sweep = Sweep(parser.parse_args())
    getattr(sweep, sweep.options.what)()


if __name__ == "__main__":
    main()
