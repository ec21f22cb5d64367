"""Rows of the program's start."""

import contextlib

from speed_rows.table import row


@row("start", "start to end, `print(1)`", runs=25)
@contextlib.contextmanager
def start(bench):
    sides = bench.autoruns("print(1);")
    sides["ssh -V"] = lambda: bench.run(["ssh", "-V"])
    yield sides
