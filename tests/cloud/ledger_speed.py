#!/usr/bin/env python3
"""Measures a large ledger, and the cost of the ledger in the main job.

Usage (as root, after tests/run):
    target/lab-venv/bin/python tests/cloud/ledger_speed.py [AUTORUN [RUNS]]
Prints the minimum, median and maximum of several runs, without assertions. The main
job runs on its own local cloud, alternately with the ledger on this disk and in memory
(/dev/shm).
"""

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNS, RESOURCES = 1000, 20


def show(what, unit, values):
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{what:52} {low:8.1f} {middle:8.1f} {high:8.1f} {unit}")


def timed(call, env):
    started = time.perf_counter()
    done = subprocess.run(
        call, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )
    took = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"{call}\n{done.stderr}")
    return took * 1000


def fill(home):
    """Fills a ledger with runs, with the rows that real runs would have left."""
    db = sqlite3.connect(home / "ledger.db")
    about = json.dumps({
        "playbook": "playbooks/run_newwebserver.rhai", "directory": "/srv", "variables": {},
        "secrets": [], "tags": {}, "ttl": None,
        "target": {"local_cloud": None, "ec2": None, "s3": None, "sts": None, "profile": None,
                   "region": "eu-central-1", "account": "123456789012"},
    })
    kinds = ["instance", "bucket", "key_pair", "key_file", "security_group"]
    for number in range(RUNS):
        run = f"z{number:06}"
        db.execute(
            "INSERT INTO run (id, playbook, name, target, account, about, pid, started, ended, "
            "outcome) VALUES (?, '/srv/p.rhai', ?, '', '', ?, 1, ?, ?, 'done')",
            (run, run, about, number, number),
        )
        for row in range(RESOURCES):
            db.execute(
                "INSERT INTO step VALUES (?, ?, ?, '', 'create_bucket', 'pictures', 'p.rhai:1', "
                "'done', ?, 0, NULL, 1, 2)",
                (run, row, f"{run}{row:032}", json.dumps({"name": run, "url": "x" * 300})),
            )
            db.execute(
                "INSERT INTO resource VALUES (?, ?, ?, ?, ?, ?, ?, 1, 2, 0)",
                (run, f"autorun-{run}-{row:04}", kinds[row % 5], f"{run}-{row}", f"id-{run}-{row}",
                 "released" if number else "live", f"{run}{row:032}"),
            )
    db.commit()
    db.close()


def commit_times(directory, count=100):
    """Measures the duration of a durable write on this disk: 4 KiB and fdatasync."""
    times = []
    with open(directory / "probe", "wb") as file:
        for _ in range(count):
            started = time.perf_counter()
            file.write(os.urandom(4096))
            file.flush()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return times


def main():
    autorun = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/autorun").resolve()
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as disk, \
            tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        disk, memory = Path(disk), Path(memory)
        env = dict(os.environ, AUTORUN_CLOUD_HOME=str(disk / "cloud"), HOME=str(disk))
        (disk / "cloud").mkdir()
        playbook = disk / "one.rhai"
        playbook.write_text('create_bucket("one");')
        subprocess.run([autorun, "cloud", "up"], env=env, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        try:
            measure(autorun, repetitions, env, disk, memory, playbook)
        finally:
            subprocess.run([autorun, "cloud", "down"], env=env, check=True,
                           stdout=subprocess.DEVNULL)


def measure(autorun, repetitions, env, disk, memory, playbook):
    print(f"{'':52} {'min':>8} {'median':>8} {'max':>8}")
    homes = {}
    for what, large in (("small ledger", False), ("large ledger", True)):
        home = disk / what.replace(" ", "-")
        homes[what] = dict(env, AUTORUN_HOME=str(home))
        timed([autorun, "runs"], homes[what])
        if large:
            fill(home)
    listed = {what: [] for what in homes}
    removed = {what: [] for what in homes}
    for _ in range(repetitions):
        for what, here in homes.items():
            timed([autorun, "--local", playbook], here)
            listed[what].append(timed([autorun, "runs"], here))
            newest = subprocess.run([autorun, "runs", "--output", "json"], env=here, check=True,
                                    capture_output=True, text=True).stdout.splitlines()[0]
            run = json.loads(newest)["run"]
            removed[what].append(timed([autorun, "destroy", run, "--yes"], here))
    for what in homes:
        show(f"`runs`, {what}", "ms", listed[what])
        show(f"`destroy` of one bucket, {what}", "ms", removed[what])
    show("one durable write to this disk", "ms", commit_times(disk))
    jobs = {"disk": [], "memory": []}
    job = [autorun, "--local", "playbooks/run_newwebserver.rhai"]
    timed(job, dict(env, AUTORUN_HOME=str(disk / "warm")))
    for number in range(repetitions):
        for where, directory in (("disk", disk), ("memory", memory)):
            here = dict(env, AUTORUN_HOME=str(directory / f"job{number}"))
            jobs[where].append(timed(job, here))
    for where, times in jobs.items():
        show(f"main job, ledger on {where}", "ms", times)


if __name__ == "__main__":
    main()
