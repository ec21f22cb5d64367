"""Rows of S3: large and small objects, on a local cloud in a network namespace of its
own, whose S3 serves all sides. `Near` takes the clients 50 ms away.

Uploads replace the same keys in each run. curl uses presigned URLs, so it neither signs
nor hashes contents.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from speed_rows.near import Near
from speed_rows.table import row

BUCKET = "speed-objects"


class Cloud:
    """A local cloud that all sides use, with a bucket."""

    def __init__(self, bench, far=False):
        self.bench = bench
        self.state = bench.directory / "cloud"
        self.state.mkdir()
        # Holds the namespace until the end of the row.
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo && exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        if not self.holder.stdout.readline():
            sys.exit("cannot prepare a network namespace")
        # The namespace in which the clients run.
        self.near = Near(self.holder.pid) if far else None
        self.clients = self.near.pid if far else self.holder.pid
        self.more = {"AUTORUN_CLOUD_HOME": str(self.state)}

    def __enter__(self):
        program = next(iter(self.bench.programs.values()))
        self.inside(program, "cloud", "up")
        access = json.loads((self.state / f"access/{os.getuid()}.json").read_text())
        self.pid = access["pid"]
        self.endpoint = access["endpoint"]
        self.keys = {
            "AWS_ACCESS_KEY_ID": access["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": access["secret_access_key"],
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if self.near:
            self.near.forward(*self.endpoint.removeprefix("http://").split(":"))
        self.run(program, f'create_bucket("{BUCKET}", #{{ exact: true }});')
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGTERM)
        while Path(f"/proc/{self.pid}").exists():
            time.sleep(0.01)
        if self.near:
            self.near.close()
        self.holder.kill()
        self.holder.wait()

    def inside(self, *command):
        """Runs a command in the namespace, unmeasured."""
        namespace = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]
        environment = self.bench.environment(self.more)
        done = subprocess.run([*namespace, *command], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def run(self, program, playbook):
        file = self.bench.directory / f"{abs(hash(playbook))}.rhai"
        file.write_text(playbook)
        if not self.near:
            return self.measured([program, "--local", "-q", file])
        # Without the requests to the local cloud's own API, which S3 does not have.
        s3 = {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported"}
        return self.measured([program, "-q", file], self.keys | s3)

    def measured(self, command, more=()):
        os.sync()  # pending writes must not slow down the next side
        return self.bench.run(command, self.clients, self.more | dict(more))

    def autoruns(self, playbook):
        side = lambda program: lambda: self.run(program, playbook)
        return {name: side(program) for name, program in self.bench.programs.items()}

    def aws(self, *arguments):
        """A side of the AWS CLI, which is boto3."""
        aws = [Path(sys.executable).with_name("aws"), "--endpoint-url", self.endpoint]
        return lambda: self.measured([*aws, *map(str, arguments)], self.keys)

    def rclone(self, *arguments):
        """A side of rclone, if it is installed."""
        if not shutil.which("rclone"):
            return {}
        remote = (f":s3,provider=Other,env_auth,region=us-east-1,endpoint='{self.endpoint}',"
                  f"no_check_bucket:{BUCKET}/rclone")
        rclone = ["rclone", "copy", "--ignore-times", *arguments, remote]
        return {" ".join(map(str, ["rclone", *arguments[:-1]])): lambda: self.measured(rclone, self.keys)}

    def signed(self, method, keys):
        """Returns presigned URLs, in a file of options for curl."""
        import boto3

        s3 = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id=self.keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.keys["AWS_SECRET_ACCESS_KEY"],
        )
        names = lambda key: {"Bucket": BUCKET, "Key": key}
        return [s3.generate_presigned_url(method, Params=names(key), ExpiresIn=36000) for key in keys]

    def curl(self, transfers):
        """A side of curl. Each transfer is a list of options."""
        config = self.bench.directory / f"curl-{abs(hash(str(transfers)))}"
        config.write_text("\nnext\n".join(
            "\n".join(["silent", "show-error", "fail", *transfer]) for transfer in transfers
        ))
        at_once = ["--parallel", "--parallel-immediate", "--parallel-max", "50"] if transfers[1:] else []
        return lambda: self.measured(["curl", *at_once, "-K", config])


@contextlib.contextmanager
def one_up(bench, size, far=False):
    source = large(bench, size)
    with Cloud(bench, far) as cloud:
        sides = cloud.autoruns(f'upload_file("{BUCKET}", "{source}", #{{ key: "large" }});')
        [url] = cloud.signed("put_object", ["curl"])
        sides["curl, unsigned"] = cloud.curl([[f'upload-file = "{source}"', f'url = "{url}"']])
        sides["aws s3 cp"] = cloud.aws("s3", "cp", "--only-show-errors", source, f"s3://{BUCKET}/aws")
        yield sides | cloud.rclone(source)


@contextlib.contextmanager
def one_down(bench, size, far=False):
    source = large(bench, size)
    target = bench.directory / "target"
    with Cloud(bench, far) as cloud:
        program = next(iter(bench.programs.values()))
        cloud.run(program, f'upload_file("{BUCKET}", "{source}", #{{ key: "large" }});')
        sides = cloud.autoruns(f'download_file("{BUCKET}", "large", "{target}");')
        [url] = cloud.signed("get_object", ["large"])
        sides["curl"] = cloud.curl([[f'output = "{target}"', f'url = "{url}"']])
        sides["aws s3 cp"] = cloud.aws("s3", "cp", "--only-show-errors", f"s3://{BUCKET}/large", target)
        yield sides


@contextlib.contextmanager
def many_up(bench, count, far=False):
    source = bench.directory / "source"
    source.mkdir()
    for n in range(count):
        (source / f"{n}").write_bytes(os.urandom(8192))
    with Cloud(bench, far) as cloud:
        sides = cloud.autoruns(f'upload_dir("{BUCKET}", "{source}", #{{ prefix: "many/" }});')
        urls = cloud.signed("put_object", [f"curl/{n}" for n in range(count)])
        sides["curl, 50 at once, unsigned"] = cloud.curl(
            [[f'upload-file = "{source}/{n}"', f'url = "{url}"'] for n, url in enumerate(urls)]
        )
        sides["aws s3 cp --recursive"] = cloud.aws(
            "s3", "cp", "--only-show-errors", "--recursive", source, f"s3://{BUCKET}/aws")
        yield sides | cloud.rclone("--transfers=32", source)


def large(bench, size):
    file = bench.directory / "source"
    with open(file, "wb") as out:
        for _ in range(size >> 20):
            out.write(os.urandom(1 << 20))
    return file


@row("s3-file", "S3: upload of 256 MiB")
def file_up(bench):
    return one_up(bench, 256 << 20)


@row("s3-file-50ms", "S3: upload of 64 MiB, 50 ms round trip")
def file_up_far(bench):
    return one_up(bench, 64 << 20, far=True)


@row("s3-download", "S3: download of 256 MiB")
def file_down(bench):
    return one_down(bench, 256 << 20)


@row("s3-files", "S3: upload of 1,000 files of 8 KiB")
def files_up(bench):
    return many_up(bench, 1000)


@row("s3-files-50ms", "S3: upload of 200 files of 8 KiB, 50 ms round trip")
def files_up_far(bench):
    return many_up(bench, 200, far=True)
