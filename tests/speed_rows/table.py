"""Rows of the table of speed: what is measured, with which programs, and how the
result is printed.

A row is a function with the decorator `row`. It returns its sides: the name of a
program and a function that runs it once and returns what it used. All sides are run in
turn, so that a change of the machine's load meets all of them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = {}


@dataclass
class Used:
    """What a program used: seconds, seconds of CPU, and MiB at its peak."""

    wall: float
    cpu: float
    memory: float


def row(name, what, runs=None):
    """Declares a row. `runs` is for rows that take too long to run often."""

    def declare(sides):
        ROWS[name] = (what, sides, runs)
        return sides

    return declare


class Bench:
    """What rows work with: the programs to compare, and a directory."""

    def __init__(self, programs, directory):
        self.programs = programs  # name -> path of an autorun
        self.directory = Path(directory)
        self.home = self.directory / "home"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)

    def environment(self, more=()):
        return {"PATH": os.environ["PATH"], "HOME": str(self.home)} | dict(more)

    def run(self, arguments, inside=None, more=(), statuses=(0,), cwd=ROOT):
        """Runs a program, in the network namespace of the process `inside`."""
        namespace = ["nsenter", f"--net=/proc/{inside}/ns/net", "--"] if inside else []
        output = self.directory / "output"
        helper = [sys.executable, "-S", "-I", ROOT / "tests/speed_rows/measured.py", output]
        done = subprocess.run(
            [*namespace, *helper, *arguments],
            env=self.environment(more), cwd=cwd, stdout=subprocess.PIPE, check=True,
        )
        used = json.loads(done.stdout)
        status = used.pop("status")
        if status not in statuses:
            sys.exit(f"{arguments} ended with status {status}:\n{output.read_text()}")
        return Used(**used)

    def autoruns(self, playbook, inside=None, more=(), before=None):
        """Returns the sides that run a playbook, one for each autorun to compare."""
        file = self.directory / f"{abs(hash(playbook))}.rhai"
        file.write_text(playbook)

        def side(program):
            def once():
                if before:
                    before()
                return self.run([program, "-q", file], inside, more)

            return once

        return {name: side(program) for name, program in self.programs.items()}


def measure(names, programs, runs):
    """Measures rows and prints a line for each of their sides."""
    print(f"{'':34} {'wall':>17} {'':>6} {'CPU':>6} {'memory':>8}")
    for name in names:
        what, sides, most = ROWS[name]
        with tempfile.TemporaryDirectory() as directory:
            with sides(Bench(programs, directory)) as of_row:
                show(what, of_row, min(runs, most or runs))


def show(what, sides, runs):
    used = {name: [] for name in sides}
    for _ in range(runs):
        for name, run in sides.items():
            used[name].append(run())
    median = lambda values: statistics.median(values)
    ours = median([one.wall for one in used["autorun"]])
    print(f"{what}, median of {runs}")
    for name, of_side in used.items():
        wall = median([one.wall for one in of_side])
        spread = f"{min(one.wall for one in of_side):.2f}-{max(one.wall for one in of_side):.2f}"
        cpu = median([one.cpu for one in of_side])
        memory = median([one.memory for one in of_side])
        ratio = "" if name == "autorun" else f"x{wall / ours:.2f}"
        print(f"  {name:32} {wall:7.3f} {spread:>9} {ratio:>6} {cpu:6.2f} {memory:5.1f} MiB",
              flush=True)
