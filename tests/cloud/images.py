#!/usr/bin/env python3
"""Makes images of an instance of the local cloud, and launches others from them.

Needs only the output of `autorun cloud env`. Exits with 1 if an answer differs
from AWS's, or if an instance is not what its image says.
"""

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from ec2_clients import ec2, key_pair, only_instance, refused, ssh, visible, wait_for

BAKE = "#!/bin/sh\necho baked >/etc/baked\necho first >>/etc/runs\n"
SERVE = "#!/bin/sh\necho second >>/etc/runs\n"


def launch(image, group, user_data, **more):
    made = ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", KeyName="clients", MinCount=1, MaxCount=1,
        SecurityGroupIds=[group], UserData=user_data, **more,
    )["Instances"][0]
    return made["InstanceId"]


def ready(instance, key):
    """Waits until user data is done. A reboot for an image may not have ended yet."""
    address = wait_for(instance, "running")["PublicIpAddress"]
    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection((address, 22), timeout=5).close()
            break
        time.sleep(0.05)
    assert "status: done" in ssh(key, address, "cloud-init status --wait")
    return address


def host_key(address):
    scan = subprocess.run(["ssh-keyscan", "-t", "ed25519", address], capture_output=True, check=True)
    return scan.stdout.split()[2]


def described(image):
    found = ec2.describe_images(ImageIds=[image])["Images"]
    assert len(found) == 1, found
    return found[0]


def refusals(instance):
    refused("DryRunOperation", ec2.create_image, InstanceId=instance, Name="web", DryRun=True)
    for name in ("x" * 129, "web*", "web:1", "wéb"):
        refused("InvalidAMIName.Malformed", ec2.create_image, InstanceId=instance, Name=name)
    refused("InvalidInstanceID.NotFound", ec2.create_image, InstanceId="i-0123456789abcdef0", Name="web")
    refused("InvalidInstanceID.Malformed", ec2.create_image, InstanceId="web", Name="web")
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]}]
    refused("InvalidParameterValue", ec2.create_image, InstanceId=instance, Name="web", TagSpecifications=tags)
    refused("InvalidParameterValue", ec2.create_image, InstanceId=instance, Name="web", Description="x" * 256)
    small = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 1}}]
    refused("InvalidBlockDeviceMapping", ec2.create_image, InstanceId=instance, Name="web", BlockDeviceMappings=small)
    refused("InvalidAMIID.NotFound", ec2.deregister_image, ImageId="ami-0123456789abcdef0")
    refused("InvalidAMIID.Malformed", ec2.deregister_image, ImageId="web")
    refused("InvalidSnapshot.NotFound", ec2.delete_snapshot, SnapshotId="snap-0123456789abcdef0")
    refused("InvalidSnapshotID.Malformed", ec2.describe_snapshots, SnapshotIds=["web"])


def bake(base, instance):
    tags = [{"Key": "role", "Value": "web"}]
    image = ec2.create_image(
        InstanceId=instance, Name="web 1.0", Description="a test",
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")],
    )["ImageId"]
    assert described(image)["State"] in ("pending", "available"), described(image)
    refused("InvalidAMIName.Duplicate", ec2.create_image, InstanceId=instance, Name="web 1.0")
    waiter = ec2.get_waiter("image_available")
    waiter.config.delay = 0.1
    waiter.wait(ImageIds=[image])
    seen, origin = described(image), described(base)
    account = only_instance(InstanceIds=[instance])["NetworkInterfaces"][0]["OwnerId"]
    assert seen["OwnerId"] == account and not seen["Public"] and seen["Tags"] == tags, seen
    assert seen["ImageLocation"] == f"{account}/web 1.0" and "ImageOwnerAlias" not in seen, seen
    assert (seen["Name"], seen["Description"]) == ("web 1.0", "a test"), seen
    assert (seen["SourceInstanceId"], seen["SourceImageId"]) == (instance, base), seen
    for same in ("Architecture", "RootDeviceName", "PlatformDetails", "ImdsSupport", "VirtualizationType"):
        assert seen[same] == origin[same], same
    own = ec2.describe_images(Owners=["self"])["Images"]
    assert [each["ImageId"] for each in own] == [image], own
    assert ec2.describe_images(Owners=[account])["Images"] == own
    assert image not in [each["ImageId"] for each in ec2.describe_images(Owners=["amazon"])["Images"]]
    snapshot = seen["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    for name, value in {
        "name": "web*", "state": "available", "is-public": "false", "tag:role": "web",
        "source-instance-id": instance, "block-device-mapping.snapshot-id": snapshot,
        "owner-id": account,
    }.items():
        found = ec2.describe_images(Owners=["self"], Filters=[{"Name": name, "Values": [value]}])
        assert [each["ImageId"] for each in found["Images"]] == [image], name
    copy = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert len(copy) == 1 and copy[0]["SnapshotId"] == snapshot and copy[0]["Tags"] == tags, copy
    assert (copy[0]["State"], copy[0]["Progress"], copy[0]["VolumeSize"]) == ("completed", "100%", 8)
    assert copy[0]["Description"] == f"Created by CreateImage({instance}) for {image}", copy
    error = refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=snapshot)
    assert error["Error"]["Message"] == f"The snapshot {snapshot} is currently in use by {image}"
    return image, snapshot


def compare(key, first, second):
    """The second instance was launched from an image of the first one."""
    assert ssh(key, second, "cat /etc/baked /etc/runs") == "baked\nfirst\nsecond\n", "its own user data ran"
    for command in ("cat /etc/machine-id", "hostname", "cat /var/lib/cloud/data/instance-id"):
        assert ssh(key, first, command) != ssh(key, second, command), command
    assert host_key(first) != host_key(second)


def without_reboot(instance, group, key, address):
    """The machine continues, and what it has written is in the copy."""
    boot = "cat /proc/sys/kernel/random/boot_id; ps -o lstart= -p 1"
    before = ssh(key, address, boot)
    ssh(key, address, "sudo sh -c 'head -c 5000000 /dev/urandom | tee /var/blob | sha256sum >/var/sum'")
    image = ec2.create_image(InstanceId=instance, Name="web-2/hot", NoReboot=True)["ImageId"]
    waiter = ec2.get_waiter("image_available")
    waiter.config.delay = 0.1
    waiter.wait(ImageIds=[image])
    assert ssh(key, address, boot) == before, "it has rebooted"
    copy = launch(image, group, SERVE)
    assert ssh(key, ready(copy, key), "sha256sum </var/blob | cmp - /var/sum && echo same") == "same\n"
    ec2.terminate_instances(InstanceIds=[copy])
    snapshot = described(image)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    # The image and its snapshot can go while the instance runs.
    gone = ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    assert gone["DeleteSnapshotResults"] == [{"SnapshotId": snapshot, "ReturnCode": "success"}], gone
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[snapshot])


def end(image, snapshot, base):
    ec2.deregister_image(ImageId=image)
    refused("InvalidAMIID.Unavailable", ec2.deregister_image, ImageId=image)
    refused("InvalidAMIID.Unavailable", ec2.run_instances, ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    assert ec2.describe_images(ImageIds=[image])["Images"] == []
    refused("AuthFailure", ec2.deregister_image, ImageId=base)
    ec2.delete_snapshot(SnapshotId=snapshot)
    assert ec2.describe_snapshots()["Snapshots"] == []


def main():
    intel = [{"Name": "architecture", "Values": ["x86_64"]}, {"Name": "name", "Values": ["al2023*"]}]
    base = ec2.describe_images(Owners=["amazon"], Filters=intel)["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="images", Description="ssh")["GroupId"]
    visible(
        ec2.authorize_security_group_ingress,
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0",
    )
    with tempfile.TemporaryDirectory() as directory:
        key = key_pair(Path(directory))
        first = launch(base, group, BAKE)
        address = ready(first, key)
        refusals(first)
        image, snapshot = bake(base, first)
        second = launch(image, group, SERVE)
        compare(key, ready(first, key), ready(second, key))
        # A copy of a copy, of a stopped instance.
        ec2.stop_instances(InstanceIds=[second])
        wait_for(second, "stopped")
        again, other = bake_of_copy(second, image)
        third = launch(again, group, SERVE)
        lines = ssh(key, ready(third, key), "cat /etc/runs")
        assert lines == "first\nsecond\nsecond\n", lines
        ec2.deregister_image(ImageId=again)
        ec2.delete_snapshot(SnapshotId=other)
        without_reboot(first, group, key, address)
        end(image, snapshot, base)
        # Instances do not need their image.
        ec2.stop_instances(InstanceIds=[third])
        wait_for(third, "stopped")
        ec2.start_instances(InstanceIds=[third])
        ready(third, key)
    ec2.terminate_instances(InstanceIds=[first, second, third])
    for each in (first, second, third):
        wait_for(each, "terminated")
    ec2.delete_security_group(GroupId=group)
    ec2.delete_key_pair(KeyName="clients")
    print("images: ok")


def bake_of_copy(instance, source):
    image = ec2.create_image(InstanceId=instance, Name="copy")["ImageId"]
    waiter = ec2.get_waiter("image_available")
    waiter.config.delay = 0.1
    waiter.wait(ImageIds=[image])
    assert only_instance(InstanceIds=[instance])["State"]["Name"] == "stopped"
    assert described(image)["SourceImageId"] == source
    return image, described(image)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]


if __name__ == "__main__":
    main()
