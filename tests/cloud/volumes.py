#!/usr/bin/env python3
"""Formats and mounts volumes of the local cloud, moves and copies them.

Needs only the output of `autorun cloud env`. Exits with 1 if an instance does not see
what EC2 says.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path

from ec2_clients import ec2, key_pair, refused, ssh, visible, wait_for
from images import launch, ready
from snapshots import available, wait

DATA = "/dev/nvme2n1"


def described(volume):
    return ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]


def attached(volume, instance, device):
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
    assert [one["State"] for one in described(volume)["Attachments"]] == ["attached"]


def fails(key, address, command, *words):
    """Asserts that a command fails, with these words in its error output."""
    shown = ssh(key, address, f"if {command} 2>&1; then echo it succeeded; fi")
    assert all(word in shown for word in words) and "it succeeded" not in shown, (command, shown)
    return shown


def devices(key, address):
    """What scripts look at before they use a volume."""
    assert ssh(key, address, "test -b /dev/nvme1n1 && readlink -f /dev/sdg") == "/dev/nvme1n1\n"
    assert ssh(key, address, f"test -b {DATA} && readlink -f /dev/sdf") == f"{DATA}\n"
    assert ssh(key, address, "sudo blkid /dev/sdf || echo $?") == "2\n"
    rows = ssh(key, address, "lsblk -nro NAME,SIZE,FSTYPE").splitlines()
    assert rows == ["nvme0n1 8G", "nvme1n1 1G", "nvme2n1 2G"], rows
    disks = json.loads(ssh(key, address, "lsblk -J -o NAME,MOUNTPOINT"))["blockdevices"]
    assert disks[0] == {"name": "nvme0n1", "mountpoint": "/"}, disks
    fails(key, address, f"sudo mount {DATA} /mnt", "wrong fs type")


def file_system(key, address):
    fails(key, address, f"mkfs.ext4 {DATA}", "must be superuser")
    fails(key, address, f"sudo mkfs.ext4 -O ^has_journal {DATA}", "autorun docs local-cloud")
    fails(key, address, f"sudo mkfs.ext4 -L 'a b' {DATA}", "label")
    ssh(key, address, f"sudo mkfs -t ext4 -L data -m 0 {DATA}")
    uuid = ssh(key, address, "sudo blkid -s UUID -o value /dev/sdf").strip()
    assert len(uuid) == 36, uuid
    assert ssh(key, address, f"sudo blkid -s TYPE -o value {DATA}") == "ext4\n"
    ssh(key, address, "sudo mkdir /data && sudo mount /dev/sdf /data")
    fails(key, address, "sudo mount /dev/sdf /data", "already mounted on /data")
    fails(key, address, f"sudo mkfs.ext4 -q {DATA}", "is mounted")
    shown = ssh(key, address, "df --output=source,fstype /data | tail -1").split()
    assert shown == [DATA, "ext4"], shown
    assert ssh(key, address, f"lsblk -no MOUNTPOINT {DATA}") == "/data\n"
    ssh(key, address, "sudo chown ec2-user /data && echo kept >/data/file && chmod 640 /data/file")
    # The volume is as large as EC2 says, and no larger.
    fails(key, address, "fallocate -l 3G /data/large", "No space left")
    fails(key, address, "cd /data && sudo umount /data", "target is busy")
    ssh(key, address, f"echo 'UUID={uuid} /data ext4 defaults,nofail 0 2' | sudo tee -a /etc/fstab")
    ssh(key, address, "echo '/dev/nvme9n1 /none ext4 defaults,nofail' | sudo tee -a /etc/fstab")
    ssh(key, address, "sudo umount /data && ! test -e /data/file && sudo mount -a && sudo mount -a")
    assert ssh(key, address, "cat /data/file") == "kept\n"
    ssh(key, address, "sudo umount /data && sudo mount /data && sudo umount /dev/sdf")
    ssh(key, address, "sudo mount -o ro LABEL=data /data")
    fails(key, address, "touch /data/other", "Read-only file system")
    ssh(key, address, "sudo umount /data && sudo mount -a")


def other_file_system(key, address):
    """XFS, which the machine of the local cloud may lack."""
    if not shutil.which("mkfs.xfs", path="/usr/sbin:/sbin"):
        fails(key, address, "sudo mkfs -t xfs /dev/nvme1n1", "`mkfs.xfs` is not installed")
        return
    ssh(key, address, "sudo mkfs -t xfs /dev/nvme1n1 && sudo mkdir /xfs && sudo mount /dev/nvme1n1 /xfs")
    assert ssh(key, address, "df --output=fstype /xfs | tail -1") == "xfs\n"
    fails(key, address, "sudo mkfs.xfs /dev/nvme1n1", "existing filesystem")
    ssh(key, address, "sudo umount /xfs")


RAW = """
import json, socket, sys
def ask(request):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect("/run/autorun/init.sock")
    line = {"tool": "volumes", "args": [json.dumps(request)]}
    stream.sendall(json.dumps(line).encode() + b"\\n")
    return json.loads(json.loads(stream.makefile().readline())["out"])
flags = {"read_only": False, "no_exec": False, "no_suid": False, "no_atime": False}
got = []
for directory in ["/proc/sys", "/proc/kcore", "/sys/firmware", "/", "/run/autorun/bin", "/dev"]:
    got.append(ask({"Unmount": {"directory": directory, "lazy": True}}))
for device in ["/dev/loop0", "/dev/vda", "../../x", "/dev/nvme0n1"]:
    got.append(ask({"Mount": {"device": device, "directory": "/mnt", "flags": flags}}))
    got.append(ask({"Format": {"device": device, "kind": "Ext4"}}))
for label in ["-d", "a\\n", "../x"]:
    got.append(ask({"Format": {"device": "/dev/nvme1n1", "kind": "Ext4", "label": label, "uuid": "-d"}}))
for directory in ["/proc/1/root/mnt", "/proc/self/cwd"]:
    got.append(ask({"Mount": {"device": "/dev/nvme2n1", "directory": directory, "flags": flags}}))
print(sum("Ok" in answer for answer in got), len(got))
"""


def walls(key, address):
    """Nothing but a volume can be mounted, and nothing else unmounted."""
    for command in ("head -c1 {0}", "dd if=/dev/zero of={0} count=1", "sudo head -c1 {0}",
                    "sudo dd if=/dev/zero of={0} count=1"):
        fails(key, address, command.format(DATA), "ermission denied")
    before = ssh(key, address, "sudo cat /proc/1/mountinfo")
    fails(key, address, "sudo umount /proc/sys", "umount")
    fails(key, address, "sudo mount --bind /etc /mnt", "mount")
    fails(key, address, "sudo mount -t tmpfs none /mnt", "mount")
    ssh(key, address, f"cat >raw.py <<'END'\n{RAW}\nEND")
    assert ssh(key, address, "sudo umount /data; sudo python3 raw.py").startswith("0 "), "a request was obeyed"
    ssh(key, address, "sudo mount -a")
    after = ssh(key, address, "sudo cat /proc/1/mountinfo")
    places = [sorted(line.split()[4] for line in text.splitlines()) for text in (before, after)]
    assert places[0] == places[1], places


def becomes(volume, state):
    for _ in range(400):
        if described(volume)["State"] == state:
            return
        time.sleep(0.05)
    raise AssertionError(described(volume))


def moved(key, volume, first, second):
    """The data of a detached volume are there in another instance."""
    (one, here), (other, there) = first, second
    ec2.detach_volume(VolumeId=volume)
    assert [one["State"] for one in described(volume)["Attachments"]] == ["busy"]
    refused("VolumeInUse", ec2.attach_volume, VolumeId=volume, InstanceId=other, Device="/dev/sdf")
    assert ssh(key, here, "cat /data/file && sudo umount /data") == "kept\n"
    becomes(volume, "available")
    assert ssh(key, here, f"test -e {DATA} || test -e /dev/sdf || echo gone") == "gone\n"
    attached(volume, other, "/dev/sdh")
    ssh(key, there, "sudo mkdir /data && sudo mount /dev/sdh /data")
    assert ssh(key, there, "cat /data/file; stat -c '%U %a' /data/file") == "kept\nec2-user 640\n"
    ssh(key, there, "echo more >>/data/file; sync")
    ec2.detach_volume(VolumeId=volume, Force=True)
    becomes(volume, "available")
    assert ssh(key, there, "test -e /data/file || echo gone") == "gone\n"
    attached(volume, one, "/dev/sdf")
    ssh(key, here, "sudo mount -a")
    assert ssh(key, here, "cat /data/file") == "kept\nmore\n"


def copied(key, volume, here, zone, other, there):
    """A snapshot has what the volume had, also while it is mounted."""
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[snapshot])
    ssh(key, here, "echo later >/data/file")
    copy = available(ec2.create_volume(AvailabilityZone=zone, SnapshotId=snapshot, Size=3))
    ec2.delete_snapshot(SnapshotId=snapshot)
    attached(copy, other, "/dev/sdi")
    ssh(key, there, "sudo mkdir -p /copy && sudo mount /dev/sdi /copy")
    assert ssh(key, there, "cat /copy/file") == "kept\nmore\n"
    ec2.detach_volume(VolumeId=copy, Force=True)
    becomes(copy, "available")
    ec2.delete_volume(VolumeId=copy)


def main():
    intel = [{"Name": "architecture", "Values": ["x86_64"]}, {"Name": "name", "Values": ["al2023*"]}]
    base = ec2.describe_images(Owners=["amazon"], Filters=intel)["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="volumes", Description="ssh")["GroupId"]
    visible(
        ec2.authorize_security_group_ingress,
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0",
    )
    of_launch = [{"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 1}}]
    with tempfile.TemporaryDirectory() as directory:
        key = key_pair(Path(directory))
        script = "#!/bin/sh\ntest -b /dev/sdg && touch /var/tmp/disk\n"
        first = launch(base, group, script, BlockDeviceMappings=of_launch)
        second = launch(base, group, "#!/bin/sh\n")
        here, there = ready(first, key), ready(second, key)
        ssh(key, here, "test -e /var/tmp/disk")
        zone = wait_for(first, "running")["Placement"]["AvailabilityZone"]
        volume = available(ec2.create_volume(AvailabilityZone=zone, Size=2))
        attached(volume, first, "/dev/sdf")
        devices(key, here)
        file_system(key, here)
        other_file_system(key, here)
        walls(key, here)
        ec2.stop_instances(InstanceIds=[first])
        wait_for(first, "stopped")
        ec2.start_instances(InstanceIds=[first])
        here = ready(first, key)
        assert ssh(key, here, "findmnt -no SOURCE /data") == f"{DATA}\n"
        moved(key, volume, (first, here), (second, there))
        copied(key, volume, here, zone, second, there)
    ec2.terminate_instances(InstanceIds=[first, second])
    wait_for(first, "terminated")
    wait_for(second, "terminated")
    assert [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]] == [volume]
    assert described(volume)["State"] == "available"
    ec2.delete_volume(VolumeId=volume)
    print("volumes: ok")


if __name__ == "__main__":
    main()
