#!/usr/bin/env python3
"""Measures how the cost of work grows with its size: speed_growth.py [AUTORUN [RUNS]]

Prints a line for each size with the median time, the CPU time and the peak memory. The
last columns are the time and the memory above those of the empty playbook, for each
unit of the size. Where they stay the same, or fall, the cost does not grow faster than the
work. Nothing is asserted. AUTORUN is target/release/autorun by default.
"""

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # leaves no files in the checkout

from editor_speed import playbook as long_playbook

ROOT = Path(__file__).resolve().parents[1]
STEPS = 50


class Bench:
    def __init__(self, autorun, runs, directory):
        self.autorun = autorun
        self.runs = runs
        self.directory = directory
        self.empty = None

    def home(self, name):
        """Returns the directory of a ledger."""
        home = self.directory / name
        self.call(home, "runs")
        return home

    def file(self, text):
        file = self.directory / "playbook.rhai"
        file.write_text(text)
        return file

    def call(self, home, *arguments):
        """Returns seconds, seconds of CPU and MiB."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "AUTORUN_HOME": str(home)}
        helper = [sys.executable, "-S", "-I", ROOT / "tests/speed_rows/measured.py"]
        output = self.directory / "output"
        done = subprocess.run(
            [*helper, output, self.autorun, *arguments], env=environment, stdout=subprocess.PIPE, check=True,
        )
        used = json.loads(done.stdout)
        if used["status"] != 0:
            sys.exit(f"{arguments} ended with {used['status']}:\n{output.read_text()}")
        return used["wall"], used["cpu"], used["memory"]

    def measure(self, home, *arguments):
        used = [self.call(home, *arguments) for _ in range(self.runs)]
        return [statistics.median(values) for values in zip(*used)]

    def line(self, what, size, home, *arguments):
        """Measures a size and prints its line."""
        wall, cpu, memory = self.measure(home, *arguments)
        each = (wall - self.empty[0]) / size * 1e6
        kib = (memory - self.empty[2]) / size * 1024
        print(f"{what:36} {size:9,} {wall * 1e3:9.1f} {cpu * 1e3:9.1f} {memory:8.1f} {each:9.2f} {kib:9.3f}",
              flush=True)


def fill(home, runs):
    """Adds runs to a ledger, with the rows that real runs would have left."""
    db = sqlite3.connect(home / "ledger.db")
    about = json.dumps({
        "playbook": "playbooks/run_newwebserver.rhai", "directory": "/srv", "variables": {},
        "secrets": [], "tags": {}, "ttl": None,
        "target": {"local_cloud": None, "ec2": None, "s3": None, "sts": None, "profile": None,
                   "region": "eu-central-1", "account": "123456789012"},
    })
    for number in range(runs):
        run = f"z{number:06}"
        db.execute(
            "INSERT INTO run (id, playbook, name, target, account, about, pid, started, ended, "
            "outcome) VALUES (?, '/srv/p.rhai', ?, '', '', ?, 1, ?, ?, 'done')",
            (run, run, about, number, number),
        )
        db.executemany(
            "INSERT INTO step VALUES (?, ?, ?, '', 'create_bucket', 'pictures', 'p.rhai:1', "
            "'done', ?, 0, NULL, 1, 2)",
            [(run, row, f"{run}{row:032}", json.dumps({"name": run, "url": "x" * 300}))
             for row in range(STEPS)],
        )
        db.executemany(
            "INSERT INTO resource VALUES (?, ?, 'bucket', ?, ?, 'released', ?, 1, 2, 0)",
            [(run, f"autorun-{run}-{row:04}", f"{run}-{row}", f"id-{run}-{row}", f"{run}{row:032}")
             for row in range(STEPS)],
        )
    db.commit()
    db.close()


def ledgers(bench):
    playbook = bench.file("print(1);")
    for runs in (100, 1000, 10_000):
        home = bench.home(f"ledger-{runs}")
        fill(home, runs)
        # The first start checks the file, which another program has changed.
        bench.call(home, playbook)
        bench.line(f"start, ledger of runs x {STEPS} steps", runs, home, playbook)
        bench.line("`runs`, in the same ledger", runs, home, "runs")


def checks(bench, home):
    for lines in (500, 5000, 20_000):
        text = long_playbook(lines)
        bench.line("check, lines", text.count("\n"), home, "check", bench.file(text))
    for lines in (500, 5000, 20_000):
        # Stops before the first call, so that loading is measured.
        text = "if true { return; }\n" + long_playbook(lines)
        bench.line("start, lines of the playbook", text.count("\n"), home, "--set", "name=x", bench.file(text))


def others(bench, home):
    for lines in (10_000, 100_000, 1_000_000):
        text = f'for n in 0..{lines} {{ log_info("line " + n + " of the log"); }}'
        log = bench.directory / "run.log"
        bench.line("log, lines", lines, home, "-q", "--log-file", log, bench.file(text))
        log.unlink()
    for items in (100, 1000, 10_000):
        text = f"let items = []; for n in 0..{items} {{ items.push(n); }} parallel(items, |n| n * 2);"
        bench.line("parallel, items", items, home, bench.file(text))
    for items in (100, 1000, 10_000):
        text = (f"let items = []; for n in 0..{items} {{ items.push(n); }}\n"
                "parallel(items, |n| local_exec([\"true\"]));")
        bench.line("parallel, items with a step", items, home, "-q", bench.file(text))


def main():
    autorun = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/autorun").resolve()
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        bench = Bench(autorun, runs, Path(directory))
        home = bench.home("ledger")
        bench.empty = bench.measure(home, bench.file(""))
        print(f"{'':36} {'size':>9} {'ms':>9} {'ms of CPU':>9} {'MiB':>8} {'us each':>9} {'KiB each':>9}")
        checks(bench, home)
        others(bench, home)
        ledgers(bench)


if __name__ == "__main__":
    main()
