#!/usr/bin/env python3
"""Snapshots of volumes, and images that are copied, registered and shared.

Needs only the output of `autorun cloud env`. Exits with 1 if an answer differs
from AWS's, or if an instance of an image does not have its disk.
"""

import datetime
import tempfile
from pathlib import Path

import boto3
from ec2_clients import ec2, key_pair, refused, ssh, visible, wait_for
from images import launch, ready

NO_IMAGE, NO_SNAPSHOT = "ami-0123456789abcdef0", "snap-0123456789abcdef0"
OTHER = "123456789012"
HERE = ec2.meta.region_name


def wait(client, name, **wanted):
    waiter = client.get_waiter(name)
    waiter.config.delay = 0.1
    waiter.wait(**wanted)


def available(volume):
    """Waits until a new volume is available, and returns its id."""
    visible(ec2.describe_volumes, VolumeIds=[volume["VolumeId"]])
    wait(ec2, "volume_available", VolumeIds=[volume["VolumeId"]])
    return volume["VolumeId"]


def tagged(kind, **tags):
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]


def snapshot_of(**wanted):
    found = ec2.describe_snapshots(OwnerIds=["self"], **wanted)["Snapshots"]
    assert len(found) == 1, found
    return found[0]


def of_empty_volume(zone):
    """A snapshot of a volume without an instance, and a volume of it."""
    volume = available(ec2.create_volume(AvailabilityZone=zone, Size=3))
    made = ec2.create_snapshot(
        VolumeId=volume, Description="data", TagSpecifications=tagged("snapshot", role="data")
    )
    id = made["SnapshotId"]
    assert (made["State"], made["Progress"], made["VolumeSize"]) == ("pending", "", 3), made
    assert made["Tags"] == [{"Key": "role", "Value": "data"}] and not made["Encrypted"], made
    wait(ec2, "snapshot_completed", SnapshotIds=[id])
    seen = snapshot_of(Filters=[{"Name": "tag:role", "Values": ["data"]}])
    assert (seen["State"], seen["Progress"], seen["VolumeId"]) == ("completed", "100%", volume), seen
    assert seen["Description"] == "data" and seen["CompletionTime"], seen
    untagged = ec2.create_snapshot(VolumeId=volume)
    assert untagged["Tags"] == [] and untagged["Description"] == "", untagged
    ec2.delete_snapshot(SnapshotId=untagged["SnapshotId"])
    again = ec2.create_volume(AvailabilityZone=zone, SnapshotId=id)
    assert (again["Size"], again["SnapshotId"]) == (3, id), again
    available(again)
    refused("InvalidParameterValue", ec2.create_volume, AvailabilityZone=zone, SnapshotId=id, Size=2)
    refused("InvalidSnapshot.NotFound", ec2.create_volume, AvailabilityZone=zone, SnapshotId=NO_SNAPSHOT)
    refused("InvalidVolume.NotFound", ec2.create_snapshot, VolumeId="vol-0123456789abcdef0")
    refused("InvalidVolumeID.Malformed", ec2.create_snapshot, VolumeId="data")
    refused("InvalidParameterValue", ec2.create_snapshot, VolumeId=volume, Description="x" * 256)
    refused("InvalidParameterValue", ec2.create_snapshot, VolumeId=volume, TagSpecifications=tagged("volume", a="b"))
    sharing(id)
    for one in (volume, again["VolumeId"]):
        ec2.delete_volume(VolumeId=one)
    wait(ec2, "volume_deleted", VolumeIds=[volume])
    # The snapshot outlives its volume.
    assert snapshot_of(SnapshotIds=[id])["VolumeId"] == volume
    return id


def sharing(snapshot):
    id = {"SnapshotId": snapshot}

    def shared():
        return ec2.describe_snapshot_attribute(**id, Attribute="createVolumePermission")["CreateVolumePermissions"]

    assert shared() == []
    ec2.modify_snapshot_attribute(**id, CreateVolumePermission={"Add": [{"UserId": OTHER}, {"Group": "all"}]})
    assert shared() == [{"UserId": OTHER}, {"Group": "all"}], shared()
    assert snapshot_of(RestorableByUserIds=[OTHER])["SnapshotId"] == snapshot
    ec2.modify_snapshot_attribute(
        **id, Attribute="createVolumePermission", OperationType="remove", GroupNames=["all"])
    assert shared() == [{"UserId": OTHER}], shared()
    ec2.reset_snapshot_attribute(**id, Attribute="createVolumePermission")
    assert shared() == []
    assert ec2.describe_snapshot_attribute(**id, Attribute="productCodes")["ProductCodes"] == []
    wrong = {"Add": [{"UserId": "nosuch"}]}
    refused("InvalidParameterValue", ec2.modify_snapshot_attribute, **id, CreateVolumePermission=wrong)
    refused("MissingParameter", ec2.modify_snapshot_attribute, **id)
    refused("InvalidSnapshot.NotFound", ec2.reset_snapshot_attribute, SnapshotId=NO_SNAPSHOT,
            Attribute="createVolumePermission")


def copies(snapshot, west):
    copied = west.copy_snapshot(
        SourceRegion=HERE, SourceSnapshotId=snapshot, Description="a copy",
        TagSpecifications=tagged("snapshot", role="copy"),
    )
    assert copied["Tags"] == [{"Key": "role", "Value": "copy"}], copied
    wait(west, "snapshot_completed", SnapshotIds=[copied["SnapshotId"]])
    seen = west.describe_snapshots(SnapshotIds=[copied["SnapshotId"]])["Snapshots"][0]
    assert (seen["VolumeSize"], seen["VolumeId"]) == (3, "vol-ffffffff"), seen
    assert seen["Description"] == "a copy" and not seen["Encrypted"], seen
    here = ec2.copy_snapshot(SourceRegion=HERE, SourceSnapshotId=snapshot, Encrypted=True)
    seen = snapshot_of(SnapshotIds=[here["SnapshotId"]])
    assert seen["Encrypted"] and ":key/" in seen["KmsKeyId"], seen
    share = {"Add": [{"UserId": OTHER}]}
    refused("OperationNotPermitted", ec2.modify_snapshot_attribute, SnapshotId=here["SnapshotId"],
            CreateVolumePermission=share)
    refused("InvalidSnapshot.NotFound", west.copy_snapshot, SourceRegion=HERE, SourceSnapshotId=NO_SNAPSHOT)
    refused("InvalidSnapshot.NotFound", west.copy_snapshot, SourceRegion="eu-west-1", SourceSnapshotId=snapshot)
    refused("InvalidParameterValue", west.copy_snapshot, SourceRegion="moon-1", SourceSnapshotId=snapshot)
    west.delete_snapshot(SnapshotId=copied["SnapshotId"])
    ec2.delete_snapshot(SnapshotId=here["SnapshotId"])


def volume_attributes(zone):
    volume = available(ec2.create_volume(AvailabilityZone=zone, Size=1))
    id = {"VolumeId": volume}
    shown = ec2.describe_volume_attribute(**id, Attribute="autoEnableIO")
    assert shown["AutoEnableIO"] == {"Value": False} and shown["VolumeId"] == volume, shown
    ec2.modify_volume_attribute(**id, AutoEnableIO={"Value": True})
    assert ec2.describe_volume_attribute(**id, Attribute="autoEnableIO")["AutoEnableIO"] == {"Value": True}
    assert ec2.describe_volume_attribute(**id, Attribute="productCodes")["ProductCodes"] == []
    ec2.enable_volume_io(**id)
    refused("InvalidParameterValue", ec2.describe_volume_attribute, **id, Attribute="size")
    refused("InvalidVolumeModification.NotFound", ec2.describe_volumes_modifications, VolumeIds=[volume])
    assert ec2.describe_volumes_modifications()["VolumesModifications"] == []
    ec2.delete_volume(**id)


def encryption(zone):
    """New volumes are encrypted by default, if the region says so."""
    assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False
    assert ec2.enable_ebs_encryption_by_default()["EbsEncryptionByDefault"] is True
    assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is True
    assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == "alias/aws/ebs"
    key = ec2.reset_ebs_default_kms_key_id()["KmsKeyId"]
    assert key.startswith("arn:aws:kms:") and ec2.modify_ebs_default_kms_key_id(KmsKeyId=key)["KmsKeyId"] == key
    refused("UnsupportedOperation", ec2.modify_ebs_default_kms_key_id, KmsKeyId="alias/mine")
    made = ec2.create_volume(AvailabilityZone=zone, Size=1, Encrypted=False)
    assert made["Encrypted"] and made["KmsKeyId"] == key, made
    ec2.delete_volume(VolumeId=available(made))
    assert ec2.disable_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False


def of_instance(instance, key, address, group, zone):
    """Snapshots of an instance's volumes, and an image of its root volume."""
    ssh(key, address, "echo saved | sudo tee /etc/saved && sync")
    tags = tagged("volume", of="data")
    data = available(ec2.create_volume(AvailabilityZone=zone, Size=2, TagSpecifications=tags))
    ec2.attach_volume(VolumeId=data, InstanceId=instance, Device="/dev/sdf")
    made = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance}, CopyTagsFromSource="volume", Description="both",
        TagSpecifications=tagged("snapshot", set="one"),
    )["Snapshots"]
    assert [one["State"] for one in made] == ["pending", "pending"], made
    assert made[1]["VolumeId"] == data and {t["Key"] for t in made[1]["Tags"]} == {"of", "set"}, made
    ids = [one["SnapshotId"] for one in made]
    wait(ec2, "snapshot_completed", SnapshotIds=ids)
    whole = ec2.create_image(InstanceId=instance, Name="whole", NoReboot=True)["ImageId"]
    wait(ec2, "image_available", ImageIds=[whole])
    seen = ec2.describe_images(ImageIds=[whole])["Images"][0]
    of_image = [m["Ebs"]["SnapshotId"] for m in seen["BlockDeviceMappings"]]
    found = {s["SnapshotId"]: s["VolumeId"] for s in ec2.describe_snapshots(SnapshotIds=of_image)["Snapshots"]}
    assert len(of_image) == 2 and found[of_image[1]] == data, (of_image, found)
    refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=of_image[1])
    gone = ec2.deregister_image(ImageId=whole, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
    assert [one["SnapshotId"] for one in gone] == of_image, gone
    only = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance, "ExcludeBootVolume": True})["Snapshots"]
    assert [one["VolumeId"] for one in only] == [data], only
    ec2.delete_snapshot(SnapshotId=only[0]["SnapshotId"])

    mappings = [
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": ids[0], "VolumeType": "gp3"}},
        {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": ids[1], "DeleteOnTermination": False}},
    ]
    register = {"Name": "registered", "RootDeviceName": "/dev/xvda", "Architecture": "x86_64",
                "VirtualizationType": "hvm", "EnaSupport": True, "BlockDeviceMappings": mappings}
    image = ec2.register_image(**register, Description="by hand", TagSpecifications=tagged("image", by="hand"))["ImageId"]
    wait(ec2, "image_available", ImageIds=[image])
    wait(ec2, "image_exists", ImageIds=[image])
    seen = ec2.describe_images(ImageIds=[image])["Images"][0]
    assert (seen["RootDeviceName"], seen["VirtualizationType"], seen["EnaSupport"]) == ("/dev/xvda", "hvm", True), seen
    assert "SriovNetSupport" not in seen and "BootMode" not in seen and "SourceInstanceId" not in seen, seen
    assert [m["Ebs"]["SnapshotId"] for m in seen["BlockDeviceMappings"]] == ids, seen
    assert not seen["Public"] and seen["Tags"] == [{"Key": "by", "Value": "hand"}], seen
    refused("InvalidAMIName.Duplicate", ec2.register_image, **register)
    refused("InvalidBlockDeviceMapping", ec2.register_image, **{**register, "Name": "other", "RootDeviceName": "/dev/sdz"})
    refused("UnsupportedOperation", ec2.register_image, Name="other", ImageLocation="bucket/image.manifest.xml")
    refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=ids[0])
    refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=ids[1])

    copied = copied_image(image)
    # The disk of the copy is that of the instance.
    launched = ec2.run_instances(ImageId=copied, InstanceType="t3.micro", KeyName="clients", MinCount=1, MaxCount=1,
                                 SecurityGroupIds=[group])["Instances"][0]["InstanceId"]
    there = wait_for(launched, "running")
    assert [m["DeviceName"] for m in there["BlockDeviceMappings"]] == ["/dev/xvda", "/dev/sdf"], there
    assert ssh(key, ready(launched, key), "cat /etc/saved") == "saved\n"
    ec2.terminate_instances(InstanceIds=[launched])
    wait_for(launched, "terminated")
    ec2.delete_volume(VolumeId=there["BlockDeviceMappings"][1]["Ebs"]["VolumeId"])
    image_attributes(image)
    for one in (image, copied):
        gone = ec2.deregister_image(ImageId=one, DeleteAssociatedSnapshots=True)
        assert [r["ReturnCode"] for r in gone["DeleteSnapshotResults"]] == ["success", "success"], gone
    ec2.detach_volume(VolumeId=data)
    wait(ec2, "volume_available", VolumeIds=[data])
    ec2.delete_volume(VolumeId=data)


def copied_image(image):
    copy = {"SourceRegion": HERE, "SourceImageId": image, "Name": "copied", "ClientToken": "one"}
    copied = ec2.copy_image(**copy, CopyImageTags=True)["ImageId"]
    assert ec2.copy_image(**copy, CopyImageTags=True)["ImageId"] == copied
    refused("IdempotentParameterMismatch", ec2.copy_image, **{**copy, "Description": "other"})
    wait(ec2, "image_available", ImageIds=[copied])
    seen = ec2.describe_images(ImageIds=[copied])["Images"][0]
    assert (seen["SourceImageId"], seen["SourceImageRegion"]) == (image, HERE), seen
    assert seen["Tags"] == [{"Key": "by", "Value": "hand"}] and seen["RootDeviceName"] == "/dev/xvda", seen
    root = seen["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    shown = snapshot_of(SnapshotIds=[root])
    assert shown["Description"].startswith(f"Copied for DestinationAmi {copied} from SourceAmi {image} for "), shown
    return copied


def image_attributes(image):
    id = {"ImageId": image}

    def attribute(name):
        return ec2.describe_image_attribute(**id, Attribute=name)

    assert attribute("description")["Description"] == {"Value": "by hand"}
    ec2.modify_image_attribute(**id, Description={"Value": "changed"})
    assert ec2.describe_images(**{"ImageIds": [image]})["Images"][0]["Description"] == "changed"
    ec2.modify_image_attribute(**id, Attribute="description", Value="again")
    assert attribute("description")["Description"] == {"Value": "again"}
    assert attribute("launchPermission")["LaunchPermissions"] == []
    ec2.modify_image_attribute(**id, LaunchPermission={"Add": [{"UserId": OTHER}, {"Group": "all"}]})
    assert attribute("launchPermission")["LaunchPermissions"] == [{"UserId": OTHER}, {"Group": "all"}]
    seen = ec2.describe_images(ExecutableUsers=[OTHER])["Images"]
    assert [one["ImageId"] for one in seen] == [image] and seen[0]["Public"], seen
    public = ec2.describe_images(ExecutableUsers=["all"])["Images"]
    assert image in [one["ImageId"] for one in public] and len(public) > 1
    ec2.modify_image_attribute(**id, Attribute="launchPermission", OperationType="remove", UserGroups=["all"])
    assert attribute("launchPermission")["LaunchPermissions"] == [{"UserId": OTHER}]
    ec2.reset_image_attribute(**id, Attribute="launchPermission")
    assert attribute("launchPermission")["LaunchPermissions"] == []
    assert ec2.describe_images(ExecutableUsers=["self"])["Images"] == []
    assert attribute("productCodes")["ProductCodes"] == []
    assert len(attribute("blockDeviceMapping")["BlockDeviceMappings"]) == 2
    assert attribute("kernel").get("KernelId", {}) == {}, attribute("kernel")
    ec2.modify_image_attribute(**id, ImdsSupport={"Value": "v2.0"})
    assert attribute("imdsSupport")["ImdsSupport"] == {"Value": "v2.0"}
    for wrong in ({"UserId": "nosuch"}, {"Group": "everyone"}):
        refused("InvalidAMIAttributeItemValue", ec2.modify_image_attribute, **id, LaunchPermission={"Add": [wrong]})
    refused("InvalidParameterCombination", ec2.modify_image_attribute, **id)
    public = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    refused("AuthFailure", ec2.modify_image_attribute, ImageId=public, Description={"Value": "mine"})
    refused("InvalidAMIID.NotFound", ec2.describe_image_attribute, ImageId=NO_IMAGE, Attribute="description")
    deprecation(image)


def deprecation(image):
    id = {"ImageId": image}
    now = datetime.datetime.now(datetime.timezone.utc)
    soon = (now + datetime.timedelta(days=1)).replace(second=20, microsecond=0)
    assert ec2.enable_image_deprecation(**id, DeprecateAt=soon)["Return"] is True
    seen = ec2.describe_images(Owners=["self"], ImageIds=[image])["Images"][0]
    assert seen["DeprecationTime"] == soon.strftime("%Y-%m-%dT%H:%M:00.000Z"), seen
    refused("InvalidParameterValue", ec2.enable_image_deprecation, **id, DeprecateAt=now - datetime.timedelta(days=1))
    ec2.disable_image_deprecation(**id)
    assert "DeprecationTime" not in ec2.describe_images(ImageIds=[image])["Images"][0]
    assert ec2.disable_image(**id)["Return"] is True
    assert ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["registered"]}])["Images"] == []
    seen = ec2.describe_images(Owners=["self"], IncludeDisabled=True, Filters=[{"Name": "state", "Values": ["disabled"]}])
    assert [one["ImageId"] for one in seen["Images"]] == [image], seen
    refused("InvalidAMIID.Unavailable", ec2.run_instances, **id, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    ec2.enable_image(**id)
    assert ec2.enable_image_deregistration_protection(**id)["Return"] == "enabled-without-cooldown"
    refused("OperationNotPermitted", ec2.deregister_image, **id)
    assert ec2.disable_image_deregistration_protection(**id)["Return"] == "disabled"


def main():
    intel = [{"Name": "architecture", "Values": ["x86_64"]}, {"Name": "name", "Values": ["al2023*"]}]
    base = ec2.describe_images(Owners=["amazon"], Filters=intel)["Images"][0]["ImageId"]
    group = ec2.create_security_group(GroupName="snapshots", Description="ssh")["GroupId"]
    visible(
        ec2.authorize_security_group_ingress,
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0",
    )
    with tempfile.TemporaryDirectory() as directory:
        key = key_pair(Path(directory))
        instance = launch(base, group, "#!/bin/sh\n")
        address = ready(instance, key)
        zone = wait_for(instance, "running")["Placement"]["AvailabilityZone"]
        snapshot = of_empty_volume(zone)
        copies(snapshot, boto3.client("ec2", region_name="us-west-2"))
        ec2.delete_snapshot(SnapshotId=snapshot)
        volume_attributes(zone)
        encryption(zone)
        of_instance(instance, key, address, group, zone)
    ec2.terminate_instances(InstanceIds=[instance])
    wait_for(instance, "terminated")
    assert ec2.describe_snapshots()["Snapshots"] == [] and ec2.describe_volumes()["Volumes"] == []
    print("snapshots: ok")


if __name__ == "__main__":
    main()
