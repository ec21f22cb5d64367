#!/usr/bin/env python3
"""Measures the program in the lab: start, memory, and the main job without the boot.

Usage (as root, after tests/run): target/lab-venv/bin/python tests/speed.py [AUTORUN [RUNS]]
Prints the minimum, median and maximum of several runs, without assertions.
"""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main():
    autorun = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/autorun").resolve()
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        show("start to end, `print(1)`", "ms", [start(autorun, directory) for _ in range(runs)])
        rss = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{'peak memory of `print(1)`':40} {rss:.1f} MiB")
        lab = subprocess.Popen(
            [sys.executable, ROOT / "tests/lab/lab.py", directory / "lab"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        pid = json.loads(lab.stdout.readline())["pid"]
        jobs = [main_job(autorun, directory, pid) for _ in range(runs)]
        show("main job, total", "s", [total for total, _ in jobs])
        show("main job without boot and user data", "s", [rest for _, rest in jobs])
        lab.stdin.close()
        lab.wait()


def environment(directory):
    home = directory / "home"
    (home / ".aws").mkdir(parents=True, exist_ok=True)
    (home / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = example\n"
    )
    (home / ".aws/config").write_text("[default]\nregion = eu-central-1\n")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
        "AWS_ENDPOINT_URL_CHECKIP": "http://127.0.0.1:5001/",
    }


def start(autorun, directory):
    playbook = directory / "print.rhai"
    playbook.write_text("print(1);")
    begun = time.monotonic()
    subprocess.run([autorun, playbook], check=True, capture_output=True, env=environment(directory))
    return (time.monotonic() - begun) * 1000


def main_job(autorun, directory, pid):
    """Returns the total seconds, and those outside the launch, boot and user data."""
    log = directory / "run.log"
    log.unlink(missing_ok=True)
    begun = time.monotonic()
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]
    subprocess.run(
        inside + [autorun, "-q", "--log-file", log, "playbooks/run_newwebserver.rhai"],
        check=True, capture_output=True, env=environment(directory), cwd=ROOT,
    )
    total = time.monotonic() - begun
    text = log.read_text()
    launched = re.search(r"^(\S+) INFO  launched (i-\w+)", text, re.M)
    key = re.search(r"private key in (\S+)", text)[1]
    look = directory / "look.rhai"
    look.write_text(
        f'print(ssh_exec(#{{ id: "{launched[2]}", key: "{key}" }},'
        ' "stat -c %.Y /var/log/cloud-init-output.log").stdout);'
    )
    ended = subprocess.run(
        inside + [autorun, "-q", look], check=True, capture_output=True, env=environment(directory),
    )
    booted = float(ended.stdout) - datetime.fromisoformat(launched[1]).timestamp()
    return total, total - booted


def show(what, unit, values):
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{what:40} {low:.2f} / {middle:.2f} / {high:.2f} {unit}")


if __name__ == "__main__":
    main()
