#!/usr/bin/env python3
"""Measures the local cloud: speed.py AUTORUN [RUNS], as root, in a checkout.

Prints the minimum, median and maximum, without assertions. Fetches the packages once
before the first measurement, so that the instances' proxy has them in its cache.
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3

AUTORUN = os.path.abspath(sys.argv[1])
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
HOME = tempfile.mkdtemp()
ENVIRONMENT = {
    "PATH": os.environ["PATH"], "HOME": HOME, "AUTORUN_CLOUD_HOME": f"{HOME}/cloud",
}
PACKAGES = """
let key = create_key_pair("speed-" + run_id());
let group = create_security_group("speed-" + run_id());
let server = wait_until_ready(launch_instance(#{ key_pair: key, security_groups: [group] }));
let apt = "export DEBIAN_FRONTEND=noninteractive; apt-get -y update && apt-get -y upgrade && " +
    "apt-get -y install nginx python3";
let began = timestamp();
ssh_exec(server, `sh -c '${apt}'`, #{ sudo: true });
print(began.elapsed);
terminate_instance(server);
"""


def autorun(*arguments):
    done = subprocess.run([AUTORUN, *arguments], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def show(what, values, unit):
    values = sorted(values)
    low, middle, high = values[0], statistics.median(values), values[-1]
    print(f"{what:<46} {low:8.3f} {middle:8.3f} {high:8.3f} {unit}")


def timed(call, *arguments):
    began = time.monotonic()
    call(*arguments)
    return time.monotonic() - began


def playbook(text):
    file = Path(HOME) / "playbook.rhai"
    file.write_text(text)
    return str(file)


def access():
    return json.loads(Path(f"{HOME}/cloud/access/{os.getuid()}.json").read_text())


def client(service):
    known = access()
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=known["endpoint"],
        aws_access_key_id=known["access_key_id"],
        aws_secret_access_key=known["secret_access_key"],
    )


def main_job():
    job = "playbooks/run_newwebserver.rhai"
    autorun("--local", job)
    show("main job, packages cached", [timed(autorun, "--local", "-q", job) for _ in range(RUNS)], "s")
    times = [float(autorun("--local", "-q", playbook(PACKAGES))) for _ in range(RUNS)]
    show("  of that, only the package manager", times, "s")


def launches(ec2):
    image = ec2.describe_images()["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="speed", Description="speed")["GroupId"]
    time.sleep(0.1)
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
    )
    arguments = {"ImageId": image, "InstanceType": "t3.nano", "SecurityGroupIds": [group]}

    def answers(count):
        began = time.monotonic()
        made = ec2.run_instances(**arguments, MinCount=count, MaxCount=count)["Instances"]
        accepted = time.monotonic()
        waiting = [instance["PrivateIpAddress"] for instance in made]
        while waiting:
            waiting = [address for address in waiting if not banner(address)]
        return made, accepted - began, time.monotonic() - accepted

    others = machines()
    one = [answers(1) for _ in range(20)]
    show("response to RunInstances", [accepted for _, accepted, _ in one], "s")
    show("  from the response to the ssh banner", [ready for _, _, ready in one], "s")
    many, accepted, ready = answers(50)
    show("50 launches, all with an ssh banner", [accepted + ready], "s")
    memory([pid for pid in machines() if pid not in others])
    everything = [i["InstanceId"] for made in [*(m for m, _, _ in one), many] for i in made]
    ec2.terminate_instances(InstanceIds=everything)


def banner(address):
    try:
        with socket.create_connection((address, 22), timeout=0.005) as stream:
            stream.settimeout(1)
            return stream.recv(4) == b"SSH-"
    except OSError:
        return False


def machines():
    zygote = children(access()["pid"])[0]
    return children(zygote)


def memory(pids):
    show(f"idle instance, one of {len(pids)}, PSS", [rollup(pid, "Pss") for pid in pids], "MB")
    show("daemon, RSS", [rollup(access()["pid"], "Rss")], "MB")


def children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def rollup(pid, name):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1]) / 1024


def objects(s3):
    size = 512 << 20
    source = Path(HOME) / "source"
    with open(source, "wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    s3.create_bucket(Bucket="speed-objects")
    names = {"Bucket": "speed-objects", "Key": "large"}
    put = s3.generate_presigned_url("put_object", Params=names)
    get = s3.generate_presigned_url("get_object", Params=names)
    rate = lambda seconds: size / 1e6 / seconds
    curl = ["curl", "-sS", "--fail", "-o", "/dev/null"]
    md5 = lambda: subprocess.run(["md5sum", source], check=True, stdout=subprocess.DEVNULL)
    show("md5sum of 512 MiB", [rate(timed(md5)) for _ in range(RUNS)], "MB/s")
    show("copy over loopback", [rate(timed(loopback, source)) for _ in range(RUNS)], "MB/s")
    upload = lambda: subprocess.run([*curl, "-T", source, put], check=True)
    uploads = []
    for _ in range(RUNS):
        os.sync()  # pending writes must not slow down the next upload
        uploads.append(rate(timed(upload)))
    show("PUT of 512 MiB", uploads, "MB/s")
    download = lambda: subprocess.run([*curl, get], check=True)
    show("GET of 512 MiB", [rate(timed(download)) for _ in range(RUNS)], "MB/s")


def transfers():
    """Measures upload_file and download_file of 512 MiB, and `aws s3 cp`."""
    file = Path(HOME) / "large"
    with open(file, "wb") as large:
        for _ in range(512):
            large.write(os.urandom(1 << 20))
    autorun("--local", "-q", playbook('create_bucket("speed-transfers", #{ exact: true });'))
    known = access()
    cli = Path(sys.executable).with_name("aws")
    aws = [cli, "--endpoint-url", known["endpoint"], "s3", "cp", "--only-show-errors"]
    at = "s3://speed-transfers/large"
    text = lambda call: [AUTORUN, "--local", "-q", playbook(call)]
    calls = {
        "upload_file of 512 MiB": lambda: text(f'upload_file("speed-transfers", "{file}", #{{ key: "large" }});'),
        "download_file of 512 MiB": lambda: text(f'download_file("speed-transfers", "large", "{file}.back");'),
        "aws s3 cp FILE s3://": lambda: [*aws, file, at],
        "aws s3 cp s3:// FILE": lambda: [*aws, at, f"{file}.back"],
    }
    for what, call in calls.items():
        rates, peaks = [], []
        for _ in range(RUNS):
            os.sync()
            seconds, peak = peak_memory(call(), known)
            rates.append((512 << 20) / 1e6 / seconds)
            peaks.append(peak)
        show(what, rates, "MB/s")
        show("  peak memory", peaks, "MB")


def peak_memory(call, known):
    """Returns the time that a program takes, and its peak memory in MB."""
    keys = {
        "AWS_ACCESS_KEY_ID": known["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
        "AWS_REGION": "us-east-1",
    }
    began = time.monotonic()
    child = subprocess.Popen(call, env=ENVIRONMENT | keys)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, call
    return time.monotonic() - began, used.ru_maxrss / 1000


def loopback(source):
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = subprocess.Popen(
            [sys.executable, "-c", "import socket,sys; s=socket.create_connection(('127.0.0.1',int(sys.argv[1])));"
             " s.sendfile(open(sys.argv[2],'rb'))", str(server.getsockname()[1]), str(source)]
        )
        stream, _ = server.accept()
        with stream, open(f"{HOME}/copy", "wb") as out:
            while data := stream.recv(1 << 20):
                out.write(data)
        sender.wait()


def main():
    try:
        show("cloud up, with requests for packages", [timed(autorun, "cloud", "up")], "s")
        autorun("cloud", "down")
        show("cloud up again", [timed(autorun, "cloud", "up")], "s")
        main_job()
        launches(client("ec2"))
        objects(client("s3"))
        transfers()
    finally:
        subprocess.run([AUTORUN, "cloud", "down"], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        shutil.rmtree(HOME)


if __name__ == "__main__":
    main()
