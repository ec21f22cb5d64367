#!/usr/bin/env python3
"""Measures a shared ledger with many objects: ledger_growth.py [AUTORUN [OBJECTS [STORE]]]

Makes one run of 48 steps with a shared ledger in a local cloud, and copies its journal
under other IDs until the bucket has 100,000 objects. Prints the time, the CPU time and the
peak memory of `runs` on a machine that has read nothing yet, of the same when nothing has
changed, and of a run. STORE is the autorun whose local cloud has the bucket. Nothing is
asserted. AUTORUN is target/release/autorun by default. Needs root and boto3.
"""

import json
import os
import random
import string
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from speed_rows.table import ROOT, Bench

BUCKET = "grown-ledger"
LETTERS = string.ascii_lowercase + string.digits
PLAYBOOK = """
let bucket = create_bucket("grown");
for n in 0..47 { upload_file(bucket, "assets/logo.png", #{ key: `${n}.png` }); }
"""


def client(keys, endpoint):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(request_checksum_calculation="when_required"),
    )


def fill(keys, endpoint, run, journal, ids):
    """Copies the journal of a run under these IDs."""
    s3 = client(keys, endpoint)
    for other in ids:
        for key, body in journal:
            s3.put_object(
                Bucket=BUCKET, Key=key.replace(run, other), Body=body.replace(run, other).encode()
            )


def main():
    words = sys.argv[1:]
    autorun = Path(words[0] if words else ROOT / "target/release/autorun").resolve()
    objects = int(words[1]) if words[1:] else 100_000
    store = words[2] if words[2:] else str(autorun)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "cloud"
        home.mkdir()
        environment = os.environ | {"AUTORUN_CLOUD_HOME": str(home)}
        cloud = lambda what: subprocess.run([store, "cloud", what], env=environment, check=True)
        cloud("up")
        try:
            access = json.loads((home / f"access/{os.getuid()}.json").read_text())
            measure(Bench({"autorun": autorun}, directory), access, objects)
        finally:
            cloud("down")


def measure(bench, access, objects):
    autorun, endpoint = bench.programs["autorun"], access["endpoint"]
    keys = {
        "AWS_ACCESS_KEY_ID": access["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": access["secret_access_key"],
        "AWS_REGION": "us-east-1",
    }
    more = keys | {
        "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true",
        "AUTORUN_LEDGER": f"s3://{BUCKET}/autorun",
    }
    client(keys, endpoint).create_bucket(Bucket=BUCKET)

    def call(home, what, *arguments):
        environment = more | {"AUTORUN_HOME": str(bench.directory / home)}
        used = bench.run([autorun, *arguments], more=environment)
        print(f"{what:<36} {used.wall:8.2f} s {used.cpu:8.2f} s of CPU {used.memory:8.0f} MiB", flush=True)

    file = bench.directory / "grown.rhai"
    file.write_text(PLAYBOOK)
    call("one", "a run, empty ledger", "-q", file)
    s3 = client(keys, endpoint)
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="autorun/run/")["Contents"]
    body = lambda key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    journal = [(one["Key"], body(one["Key"])) for one in listed]
    run = journal[0][0].split("/")[2]
    ids = ["".join(random.choices(LETTERS, k=len(run))) for _ in range(objects // len(journal))]
    with ProcessPoolExecutor(4) as pool:
        parts = [ids[n::4] for n in range(4)]
        list(pool.map(fill, *zip(*[(keys, endpoint, run, journal, p) for p in parts])))
    print(f"{len(journal) * (len(ids) + 1)} objects of {len(ids) + 1} runs")
    call("two", "runs, another machine, first time", "runs")
    call("two", "runs, nothing new", "runs")
    call("one", "a run, after the others", "-q", "--again", file)


if __name__ == "__main__":
    main()
