#!/usr/bin/env python3
"""Tries the functions for S3 with another S3 server: compatible.py AUTORUN [URL KEY SECRET]

Without a URL, installs s3rver from npm into a temporary directory and starts it: a
server without tags, policies, versions and lists of uploads. Not a part of
tests/run, because it needs Node.js. Prints `ok`, or the output of what failed.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AUTORUN = os.path.abspath(sys.argv[1])

PLAYBOOK = """
let bucket = create_bucket("compatible");
let image = upload_image(bucket, "assets/logo.png", #{ key: "a b.png" });
assert(!image.public && http_get(image.url).status == 200, `${image}`);
upload_dir(bucket, "userdata", #{ prefix: "data/" });
assert(list_objects(bucket, #{ prefix: "data/" }).len > 0);
assert(http_get(presigned_url(bucket, "a b.png")).status == 200);
copy_object(bucket, "a b.png", bucket, "copy.png");
local_exec(["truncate", "--size", "70M", env("HOME") + "/large.bin"]);
upload_file(bucket, "~/large.bin", #{ key: "large.bin" });
for key in ["copy.png", "large.bin"] {
    download_file(bucket, key, env("HOME") + "/back");
}
local_exec(["cmp", env("HOME") + "/large.bin", env("HOME") + "/back"]);
delete_object(bucket, "copy.png");
let scratch = create_bucket("scratch");
upload_file(scratch, "assets/logo.png", #{ key: "k" });
assert(empty_bucket(scratch) == 1);
delete_bucket(scratch);
"""


def s3rver(folder):
    subprocess.run(["npm", "install", "--silent", "--prefix", folder, "s3rver@3.7.1"], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = f"{folder}/node_modules/.bin/s3rver"
    data = Path(folder, "data")
    data.mkdir()
    server = subprocess.Popen([program, "-d", str(data), "-a", "127.0.0.1", "-p", str(port), "-s"])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, [f"http://127.0.0.1:{port}", "S3RVER", "S3RVER"]
        except OSError:
            time.sleep(0.1)


def main():
    server = None
    with tempfile.TemporaryDirectory() as folder:
        try:
            if len(sys.argv) > 2:
                url, key, secret = sys.argv[2:5]
            else:
                server, (url, key, secret) = s3rver(folder)
            env = {
                "PATH": os.environ["PATH"], "HOME": folder, "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1",
                "AUTORUN_HOME": f"{folder}/ledger",
            }
            playbook = Path(folder, "playbook.rhai")
            playbook.write_text(PLAYBOOK)
            at = ["--endpoint-url", f"s3={url}"]
            for call in [[*at, str(playbook)], ["destroy", "--all", "--yes"]]:
                done = subprocess.run(
                    [AUTORUN, *call], env=env, cwd=ROOT, capture_output=True, text=True, check=False
                )
                print(done.stdout + done.stderr)
                if done.returncode != 0:
                    sys.exit(f"{call} exits {done.returncode}")
        finally:
            if server:
                server.kill()
    print("ok")


if __name__ == "__main__":
    main()
