#!/usr/bin/env python3
"""Measures the program and its peers, in turn, and prints the medians.

Usage (as root, after tests/run): target/lab-venv/bin/python tests/speed.py [OPTION].. [ROW]..

Options:
    --autorun PATH   the program; the default is target/release/autorun
    --base PATH      another autorun to compare with, such as one of before a change
    --runs N         how often each side is run; the default is 5

Without a ROW, all are measured. The rows are in tests/speed_rows. Nothing is
asserted. The ratio is the time of a side divided by that of autorun.
"""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # leaves no files in the checkout
sys.path.insert(0, str(Path(__file__).resolve().parent))

from speed_rows import fleet, job, ledger, s3, ssh, start  # noqa: F401, they declare the rows
from speed_rows.table import ROOT, ROWS, measure


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--autorun", type=Path, default=ROOT / "target/release/autorun")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    asked = parser.parse_args()
    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        parser.error(f"unknown row {unknown[0]}; the rows are {', '.join(ROWS)}")
    programs = {"autorun": asked.autorun.resolve()}
    if asked.base:
        programs["autorun, base"] = asked.base.resolve()
    measure(asked.rows or list(ROWS), programs, asked.runs)


if __name__ == "__main__":
    main()
