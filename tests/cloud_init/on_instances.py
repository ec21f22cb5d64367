#!/usr/bin/env python3
"""Launches instances of a local cloud with user data of many forms.

    on_instances.py                   what the suite runs: some forms and scripts
    on_instances.py --all             compares all scripts
    on_instances.py --package FILE    compares with another version of cloud-init,
                                      such as the package of Debian's next suite

Needs only the output of `autorun cloud env`, and a package source. Plain scripts
are run by the instance's first process, everything else by the distribution's
own cloud-init. A script that is compressed goes to cloud-init, so that both can
run the same script, and what they leave behind is compared.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from corpus import mime

ec2 = boto3.client("ec2")
s3 = boto3.client("s3")
ssm = boto3.client("ssm")
IMAGE = ssm.get_parameter(
    Name="/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
)["Parameter"]["Value"]
KEY = Path(tempfile.mkdtemp()) / "key"


def visible(call, **arguments):
    for _ in range(50):
        try:
            return call(**arguments)
        except ClientError as error:
            if not error.response["Error"]["Code"].endswith("NotFound"):
                raise
            time.sleep(0.1)
    return call(**arguments)


def prepare():
    name = f"user-data-{os.getpid()}"
    KEY.write_text(ec2.create_key_pair(KeyName=name, KeyType="ed25519")["KeyMaterial"])
    KEY.chmod(0o600)
    group = ec2.create_security_group(GroupName=name, Description="of a test")["GroupId"]
    visible(
        ec2.authorize_security_group_ingress, GroupId=group, IpProtocol="tcp", FromPort=22,
        ToPort=22, CidrIp="0.0.0.0/0",
    )
    return name, group


def launch(data, key, group):
    launched = visible(
        ec2.run_instances, ImageId=IMAGE, InstanceType="t3.medium", MinCount=1, MaxCount=1,
        KeyName=key, SecurityGroupIds=[group], UserData=data,
    )
    return launched["Instances"][0]["InstanceId"]


def address(instance):
    waiter = ec2.get_waiter("instance_running")
    waiter.wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    found = ec2.describe_instances(InstanceIds=[instance])
    return found["Reservations"][0]["Instances"][0]["PublicIpAddress"]


def ssh(host, command, data=b""):
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
               "LogLevel=ERROR", "ConnectTimeout=20"]
    options = [word for option in options for word in ("-o", option)]
    done = subprocess.run(
        ["ssh", "-i", str(KEY), *options, f"ec2-user@{host}", command],
        input=data, capture_output=True, timeout=100, check=False,
    )
    assert done.returncode != 255, done
    return done.stdout.decode(errors="replace")


def ends(host):
    """Waits for cloud-init. Returns its exit status and its recorded errors."""
    status = ssh(host, "cloud-init status --wait >/dev/null; echo $?").strip()
    result = ssh(host, "cat /run/cloud-init/result.json")
    assert result, f"status {status}, but no result: {ssh(host, 'cloud-init status --long 2>&1')}"
    return status, json.loads(result)["v1"]["errors"]


# What the real cloud-init does on an instance: the user data, a command, and its
# output.
CONFIG = b"""#cloud-config
write_files:
- {path: /var/tmp/written, content: hello, permissions: '0640'}
users: [default, {name: deploy, shell: /bin/sh}]
bootcmd: [touch /var/tmp/bootcmd]
runcmd:
- [sh, -c, "id -un >/var/tmp/ran"]
"""
INCLUDED = "#!/bin/sh\necho included >/var/tmp/ran\n"
HANDLER = """#part-handler
def list_types():
    return ["text/x-own"]
def handle_part(data, ctype, filename, payload):
    if ctype == "text/x-own":
        open("/var/tmp/ran", "w").write(payload + chr(10))
"""


def forms(bucket):
    s3.put_object(Bucket=bucket, Key="script", Body=INCLUDED.encode())
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "script"})
    message = mime(
        ("Content-Type: text/cloud-config", "#cloud-config\nruncmd: [echo config >>/var/tmp/ran]\n"),
        ("Content-Type: text/x-shellscript\nContent-Disposition: attachment; filename=\"b.sh\"",
         "#!/bin/sh\necho b >>/var/tmp/ran\n"),
        ("Content-Type: text/x-shellscript\nContent-Disposition: attachment; filename=\"a.sh\"",
         "#!/bin/sh\necho a >>/var/tmp/ran\n"),
        ("Content-Type: text/cloud-boothook", "#cloud-boothook\n#!/bin/sh\necho $INSTANCE_ID >/var/tmp/hook\n"),
        ("Content-Type: text/part-handler", HANDLER),
        ("Content-Type: text/x-own", "own\n"),
    )
    everything = "cat /var/tmp/written /var/tmp/ran; stat -c ' %a' /var/tmp/written; id -un deploy; ls /var/tmp/bootcmd"
    return {
        "cloud-config": (CONFIG, everything, "helloroot\n 640\ndeploy\n/var/tmp/bootcmd\n"),
        "MIME message": (message, "cat /var/tmp/ran; cut -c 1-2 /var/tmp/hook", "own\na\nb\nconfig\ni-\n"),
        "include": (f"#include\n{url}\n".encode(), "cat /var/tmp/ran", "included\n"),
        "template": (
            b"## template: jinja\n#!/bin/sh\necho {{ v1.instance_id }} {{ v1.region }} >/var/tmp/ran\n",
            "test \"$(cat /var/tmp/ran)\" = \"$(cat /var/lib/cloud/data/instance-id) "
            f"{ec2.meta.region_name}\" && echo same", "same\n",
        ),
    }


def run_forms(key, group, bucket):
    """Launches all forms at once, because each installs cloud-init."""
    all_forms = forms(bucket)
    wrong = b"#cloud-config\nruncmd: [/nosuch/program]\n"
    launched = {name: launch(data, key, group) for name, (data, _, _) in all_forms.items()}
    failing = launch(wrong, key, group)
    for name, (_, command, expected) in all_forms.items():
        host = address(launched[name])
        assert ends(host) == ("0", []), (name, ssh(host, "sudo cat /var/log/cloud-init-output.log"))
        got = ssh(host, f"sudo bash -s <<'END'\n{command}\nEND")
        assert got == expected, f"{name}: {got!r} instead of {expected!r}"
        warnings = ssh(host, "sudo grep -h 'WARNING\\|ERROR' /var/log/cloud-init.log")
        assert not warnings, f"{name}: {warnings}"
        link = ssh(host, "readlink /var/lib/cloud/instance").strip()
        assert link == f"/var/lib/cloud/instances/{launched[name]}", link
    status, errors = ends(address(failing))
    assert status == "1" and "Runparts: 1 failures (runcmd)" in errors[0], errors
    print(f"{len(all_forms) + 1} forms of user data: run by cloud-init {version(address(failing))}")
    survives_a_boot(launched["MIME message"])
    ec2.terminate_instances(InstanceIds=[*launched.values(), failing])


def version(host):
    return ssh(host, "cloud-init --version 2>&1").split()[-1]


def has_status_2(version):
    """Whether cloud-init's exit status is 2 after warnings. The version that
    instances have without its package does not do that."""
    return [int(part) for part in version.split(".")[:2]] >= [23, 4]


def survives_a_boot(instance):
    """Scripts run once, boothooks at each boot."""
    host = address(instance)
    before = ssh(host, "cat /proc/sys/kernel/random/boot_id; sudo rm /var/tmp/ran /var/tmp/hook")
    ec2.reboot_instances(InstanceIds=[instance])
    for _ in range(300):
        try:
            if ssh(host, "cat /proc/sys/kernel/random/boot_id") != before:
                break
        except AssertionError:
            pass
        time.sleep(0.1)
    assert ends(host) == ("0", [])
    left = ssh(host, "sudo ls /var/tmp")
    assert left == "hook\n", left


SCRIPTS = {
    "prints": "#!/bin/sh\necho out\necho err >&2\n",
    "fails": "#!/bin/sh\necho before\nexit 7\n",
    "crlf": "#!/bin/sh\r\necho crlf\r\nexit 0\r\n",
    "no interpreter": "#!/nosuch/shell\necho never\n",
    "killed": "#!/bin/sh\necho before\nkill -9 $$\n",
    "context": "#!/bin/sh\necho $0 $# $(pwd) $(umask) $(id) $(tty)\n",
    "standard input": "#!/bin/sh\nreadlink /proc/self/fd/0; cat; echo end\n",
    "no final newline": "#!/bin/sh\nprintf 'no newline'",
    "background": "#!/bin/sh\n(sleep 0.2; echo late >/var/tmp/late) >/dev/null 2>&1 &\nwait\n",
    "bash": "#!/bin/bash -e\nshopt -s nullglob\nx=(/nosuch*)\necho ${#x[@]}\nfalse\necho never\n",
    "python": "#!/usr/bin/env python3\nimport sys\nprint(sys.argv)\nsys.exit(3)\n",
    "files": "#!/bin/sh\nls /var/lib/cloud/instance/scripts; stat -c '%a %U' $0\n",
    "own copy": "#!/bin/sh\ncat $0 | wc -c; grep -c . /var/lib/cloud/instance/user-data.txt\n",
    "utf-8": "#!/bin/sh\necho grüße\n",
    "long output": "#!/bin/sh\nseq 20000 | tail -c 70000 | cksum; seq 3000\n",
    "writes": "#!/bin/sh\necho a >/var/tmp/a; install -d -m 0700 /var/tmp/d; echo b >/var/tmp/d/b\n",
    "sudo": "#!/bin/sh\nsudo -n -u ec2-user id -un\n",
    "set -eu": "#!/bin/sh\nset -eu\necho $NOSUCH\necho never\n",
    "trap": "#!/bin/sh\ntrap 'echo trapped' EXIT\nexit 4\n",
    "exec": "#!/bin/sh\nexec echo replaced\n",
    "status 127": "#!/bin/sh\nnosuch-command\n",
    "status 255": "#!/bin/sh\nexit 255\n",
    "syntax error": "#!/bin/sh\nif true; then\n",
    "empty": "#!/bin/sh\n",
    "blank after mark": "#! /bin/sh\necho mark\n",
    "sed": "#!/bin/sed -n 1p\n",
    "true": "#!/bin/true\nthis is not a script\n",
    "false": "#!/bin/false\n",
    "here document": "#!/bin/sh\ncat >/var/tmp/here <<'E'\n$HOME `id`\nE\n",
    "subshells": "#!/bin/sh\n(exit 3) || echo $?\n{ echo a; echo b; } | sort -r\n",
    "signals": "#!/bin/sh\nkill -TERM $$\n",
    "name": "#!/bin/sh\nbasename $0\n",
    "arguments": "#!/bin/sh -x\necho traced\n",
    "awk": "#!/usr/bin/awk -f\nBEGIN { print 6 * 7 }\n",
    "perl": "#!/usr/bin/perl\nprint \"perl\\n\"; exit 2;\n",
    "apt": "#!/bin/sh\ndpkg -s bash | grep ^Package\n",
    "systemctl": "#!/bin/sh\nsystemctl is-system-running; true\n",
    "large": "#!/bin/sh\n" + "# padding\n" * 800 + "echo large\n",
    "deletes itself": "#!/bin/sh\nrm $0\necho gone\n",
    "loops": "#!/bin/sh\nfor i in 1 2 3; do echo $i; done\nwhile read x; do echo $x; done <<E\nq\nE\n",
    "umask": "#!/bin/sh\ntouch /var/tmp/made; mkdir /var/tmp/dir; stat -c '%a %n' /var/tmp/made /var/tmp/dir\n",
    "limits": "#!/bin/sh\nulimit -c\n",
    "nice": "#!/bin/sh\nnice\n",
    "session": "#!/bin/sh\ntest -t 0 || echo no terminal\n",
    "locale": "#!/bin/sh\necho ${LC_ALL-unset}\n",
    "text": "hello\n",
    "yaml": "packages: [nginx]\n",
    "byte order mark": "\ufeff#!/bin/sh\necho never\n",
    "comment first": "# my script\n#!/bin/sh\necho never\n",
    "windows": "<powershell>\necho never\n</powershell>\n",
    "long text": "x" * 5000,
}
IN_SUITE = ["prints", "fails", "crlf", "context", "text"]


def left_behind(host):
    """Returns what a script has left behind, without what always differs."""
    status = ends(host)
    output = ssh(host, "sudo cat /var/log/cloud-init-output.log; echo").splitlines()
    own = ("ci-info:", "Generating locales", "Generation complete")
    output = [line for line in output if not line.startswith(own) and " - " not in line[:40]]
    # Its own lines may follow output without a line end.
    output = [re.sub("(Cloud-init v[.]|cloud-init:) .*", "", line) for line in output]
    output = [line for line in output if line]
    warnings = ssh(host, "sudo cat /var/log/cloud-init.log | grep '\\[WARNING\\]: ' | sed 's/^.* - //'")
    # The module that warns has another name in each version.
    warnings = [re.sub(r"^\S+\[WARNING\]: ", "", line) for line in warnings.splitlines()]
    warnings = [line for line in warnings if "Running module scripts-user" not in line]
    scripts = "cd /var/lib/cloud/instance && sudo find scripts -type f -printf '%P %m %u\\n' -exec sudo md5sum '{}' ';'"
    files = ssh(host, "sudo find /var/tmp -mindepth 1 -printf '%P %m %u %g %s\\n' | sort")
    finished = ssh(host, "cut -d- -f2- /var/lib/cloud/instance/boot-finished | wc -l")
    return {
        "status and errors": status, "output": output, "warnings": warnings,
        "scripts": ssh(host, scripts), "files": files, "finished": finished,
    }


def replace_package(host, package):
    install = "cat >/tmp/new.deb; sudo apt-get install -y --no-install-recommends /tmp/new.deb 2>&1"
    shown = ssh(host, install, package)
    assert "Setting up cloud-init" in shown, shown


def metadata_has_no_ipv6_address(host):
    """cloud-init takes the first answer of both addresses, also that of a proxy."""
    program = (
        "import os, requests; assert os.environ['http_proxy']; "
        "requests.put('http://[fd00:ec2::254]/latest/api/token', timeout=60)"
    )
    shown = ssh(host, f'python3 -c "{program}" 2>&1 | tail -n 1')
    assert "ConnectionError" in shown, shown


def compare(names, key, group):
    """Runs each script by the first process of an instance, and by cloud-init."""
    here = {name: launch(SCRIPTS[name], key, group) for name in names}
    # One instance runs all scripts in turn, because it takes long to install
    # cloud-init.
    real = launch(gzip.compress(SCRIPTS[names[0]].encode()), key, group)
    different = []
    if "--package" in sys.argv:
        assert ends(address(real))[0] in "01"
        package = Path(sys.argv[sys.argv.index("--package") + 1]).read_bytes()
        replace_package(address(real), package)
    for name in names:
        if name != names[0] or "--package" in sys.argv:
            host = address(real)
            ssh(host, "sudo cloud-init clean --logs; sudo find /var/tmp -mindepth 1 -delete; true")
            ec2.stop_instances(InstanceIds=[real])
            ec2.get_waiter("instance_stopped").wait(
                InstanceIds=[real], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
            packed = gzip.compress(SCRIPTS[name].encode())
            ec2.modify_instance_attribute(InstanceId=real, UserData={"Value": packed})
            ec2.start_instances(InstanceIds=[real])
        ours, theirs = left_behind(address(here[name])), left_behind(address(real))
        which = version(address(real))
        if has_status_2(which) and theirs["warnings"] and ours["status and errors"] == ("0", []):
            ours["status and errors"] = ("2", [])
        for what, value in ours.items():
            if value != theirs[what]:
                different.append(f"{name}: {what}:\n  here       {value}\n  cloud-init {theirs[what]}")
    metadata_has_no_ipv6_address(address(real))
    ec2.terminate_instances(InstanceIds=[*here.values(), real])
    assert not different, "\n".join(different)
    print(f"{len(names)} scripts: run by cloud-init {which} and without it, with the same result")


def main():
    key, group = prepare()
    bucket = f"user-data-{os.getpid()}"
    s3.create_bucket(Bucket=bucket)
    compare(list(SCRIPTS) if "--all" in sys.argv else IN_SUITE, key, group)
    run_forms(key, group, bucket)


if __name__ == "__main__":
    main()
