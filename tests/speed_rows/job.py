"""Rows of the main job in the lab: the shipped playbook, without the time that the
instance takes to boot and to run its user data."""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys
from datetime import datetime

from speed_rows.table import ROOT, row

JOB = "playbooks/run_newwebserver.rhai"


@contextlib.contextmanager
def lab(directory):
    """Starts the lab. Yields the process in whose network namespace it is."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests/lab/lab.py", directory / "lab"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    try:
        yield json.loads(process.stdout.readline())["pid"]
    finally:
        process.stdin.close()
        process.wait()


@row("job", "main job, without boot and user data")
@contextlib.contextmanager
def main_job(bench):
    aws = bench.home / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = example\n"
    )
    (aws / "config").write_text("[default]\nregion = eu-central-1\n")
    endpoints = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
        "AWS_ENDPOINT_URL_CHECKIP": "http://127.0.0.1:5001/",
    }
    log = bench.directory / "run.log"

    with lab(bench.directory) as pid:

        def side(program):
            def once():
                log.unlink(missing_ok=True)
                used = bench.run([program, "-q", "--again", "--log-file", log, JOB], pid, endpoints)
                text = log.read_text()
                instance, launched = launch(text)
                ended = user_data_ended(bench, program, pid, endpoints, text, instance)
                return dataclasses.replace(used, wall=used.wall - (ended - launched))

            return once

        yield {name: side(program) for name, program in bench.programs.items()}


def launch(log):
    """Returns the instance in the log of a run, and the time at which it was launched."""
    found = re.search(r"^(\S+) INFO  launched (i-\w+)", log, re.M)
    return found[2], datetime.fromisoformat(found[1]).timestamp()


def user_data_ended(bench, program, pid, environment, log, instance):
    """Returns the time at which the user data of an instance wrote its last line."""
    key = re.search(r"private key in (\S+)", log)[1]
    look = bench.directory / "look.rhai"
    look.write_text(
        f'let server = #{{ id: "{instance}", key: "{key}" }};\n'
        'print(ssh_exec(server, "stat -c %.Y /var/log/cloud-init-output.log").stdout);'
    )
    bench.run([program, "-q", look], pid, environment)
    return float((bench.directory / "output").read_text())
