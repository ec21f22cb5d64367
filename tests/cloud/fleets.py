#!/usr/bin/env python3
"""Launches fleets and spot instances with boto3 on the local cloud, from launch templates.

Usage: fleets.py AUTORUN. The environment is that of `autorun cloud env`, and
AUTORUN_CLOUD_HOME. Reports a difference to AWS and exits with 1.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

FOLDER = Path(tempfile.mkdtemp())
ec2 = boto3.client("ec2", "us-east-1", config=Config(retries={"total_max_attempts": 1}))
NOWHERE = "0123456789abcdef0"
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]


def settings(text, policy=None):
    """Sets the faults of all requests."""
    (FOLDER / "faults.toml").write_text(text)
    if policy is not None:
        (FOLDER / "policy.json").write_text(json.dumps(policy))
    faults = str(FOLDER / "faults.toml")
    subprocess.run([sys.argv[1], "cloud", "up", "--faults", faults], check=True,
                   stdout=subprocess.DEVNULL)


def refused(code, call, message=None, **arguments):
    """Asserts that the call fails with this code, and with this message."""
    try:
        call(**arguments)
    except ClientError as error:
        got = error.response["Error"]
        assert got["Code"] == code, f"{got} instead of {code}"
        assert message in (None, got["Message"]), got["Message"]
        return
    raise AssertionError(f"{call.__name__} was not refused with {code}: {arguments}")


def tagged(kind, **tags):
    return {"ResourceType": kind,
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def image():
    found = ec2.describe_images(
        Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])
    return found["Images"][0]["ImageId"]


def subnets():
    found = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    return {one["AvailabilityZone"]: one["SubnetId"] for one in found["Subnets"]}


def template(name, **data):
    made = ec2.create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData={"ImageId": image(), **data},
        TagSpecifications=[tagged("launch-template", team="web")])
    return made["LaunchTemplate"]


def fleet(of, count, *overrides, spot=False, **more):
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [{
            "LaunchTemplateSpecification": {"LaunchTemplateId": of, "Version": "$Latest"},
            **({"Overrides": list(overrides)} if overrides else {}),
        }],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": "spot" if spot else "on-demand",
        },
        **more,
    }


def seen(ids):
    found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": ids}])
    return [one for group in found["Reservations"] for one in group["Instances"]]


def visible(ids):
    """Returns the instances, which are not visible at once, as on AWS."""
    for _ in range(1000):
        found = seen(ids)
        if len(found) == len(ids):
            return found
    raise AssertionError(f"{ids} are not visible")


def until(holds, what):
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def end(ids):
    visible(ids)
    ec2.terminate_instances(InstanceIds=ids)


def launched(answer):
    """Returns the ids by type and zone."""
    return {(group["InstanceType"], group["AvailabilityZone"]): group["InstanceIds"]
            for group in answer["Instances"]}


def templates():
    made = template("web", InstanceType="t3.nano")
    assert made["LaunchTemplateId"].startswith("lt-"), made
    assert (made["DefaultVersionNumber"], made["LatestVersionNumber"]) == (1, 1), made
    assert made["Tags"] == [{"Key": "team", "Value": "web"}], made
    of = {"LaunchTemplateId": made["LaunchTemplateId"]}
    for given in [{"LaunchTemplateIds": [made["LaunchTemplateId"]]},
                  {"LaunchTemplateNames": ["web"]},
                  {"Filters": [{"Name": "tag:team", "Values": ["web"]}]},
                  {"Filters": [{"Name": "launch-template-name", "Values": ["w*"]}]}]:
        found = ec2.describe_launch_templates(**given)["LaunchTemplates"]
        assert [one["LaunchTemplateId"] for one in found] == [made["LaunchTemplateId"]], given
    create = {"LaunchTemplateName": "web", "LaunchTemplateData": {"InstanceType": "t3.nano"}}
    refused("InvalidLaunchTemplateName.AlreadyExistsException", ec2.create_launch_template,
            "Launch template name already in use.", **create)
    refused("InvalidLaunchTemplateName.MalformedException", ec2.create_launch_template,
            **{**create, "LaunchTemplateName": "a b"})
    refused("MissingParameter", ec2.create_launch_template,
            LaunchTemplateName="new", LaunchTemplateData={})
    refused("DryRunOperation", ec2.create_launch_template,
            **{**create, "LaunchTemplateName": "new"}, DryRun=True)
    once = {**create, "LaunchTemplateName": "once", "ClientToken": "once"}
    first = ec2.create_launch_template(**once)["LaunchTemplate"]["LaunchTemplateId"]
    again = ec2.create_launch_template(**once)["LaunchTemplate"]["LaunchTemplateId"]
    assert first == again
    refused("IdempotentParameterMismatch", ec2.create_launch_template,
            **{**once, "LaunchTemplateData": {"InstanceType": "t3.micro"}})
    refused("InvalidLaunchTemplateId.NotFound", ec2.delete_launch_template,
            f"The specified launch template, with template ID lt-{NOWHERE}, does not exist.",
            LaunchTemplateId=f"lt-{NOWHERE}")
    refused("InvalidLaunchTemplateId.Malformed", ec2.delete_launch_template,
            LaunchTemplateId="web")
    refused("InvalidLaunchTemplateName.NotFoundException", ec2.delete_launch_template,
            LaunchTemplateName="nothing")
    # What the request names replaces what the template has.
    run = {"LaunchTemplate": {**of, "Version": "1"}, "MinCount": 1, "MaxCount": 1}
    [one] = ec2.run_instances(**run, InstanceType="t3.micro")["Instances"]
    tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    assert (one["InstanceType"], tags["aws:ec2launchtemplate:version"]) == ("t3.micro", "1"), one
    versions = ec2.describe_launch_template_versions
    [version] = versions(**of)["LaunchTemplateVersions"]
    assert (version["VersionNumber"], version["DefaultVersion"]) == (1, True), version
    data = version["LaunchTemplateData"]
    assert data["InstanceType"] == "t3.nano" and data["ImageId"].startswith("ami-"), data
    assert versions(**of, MinVersion="2")["LaunchTemplateVersions"] == []
    assert len(versions(Versions=["$Latest"])["LaunchTemplateVersions"]) == 2
    by_type = [{"Name": "instance-type", "Values": ["t3.nano"]}]
    assert len(versions(Versions=["$Default"], Filters=by_type)["LaunchTemplateVersions"]) == 2
    refused("MissingParameter", versions)
    refused("InvalidLaunchTemplateId.VersionNotFound", versions, **of, Versions=["2"])
    refused("InvalidLaunchTemplateId.VersionNotFound", ec2.run_instances,
            **{**run, "LaunchTemplate": {**of, "Version": "7"}})
    end([one["InstanceId"]])
    ec2.delete_launch_template(LaunchTemplateName="once")
    gone = ec2.delete_launch_template(**of)["LaunchTemplate"]
    assert gone["LaunchTemplateName"] == "web"
    refused("InvalidLaunchTemplateId.NotFound", ec2.delete_launch_template, **of)


def complete():
    """All instances of a fleet, in the order of the priorities."""
    of = template("fleet", InstanceType="t3.nano")["LaunchTemplateId"]
    places = subnets()
    wanted = fleet(
        of, 3,
        {"InstanceType": "t3.micro", "SubnetId": places[ZONES[1]], "Priority": 2},
        {"InstanceType": "t3.small", "SubnetId": places[ZONES[0]], "Priority": 1},
        OnDemandOptions={"AllocationStrategy": "prioritized"}, ClientToken="complete",
        TagSpecifications=[tagged("fleet", team="web"), tagged("instance", Name="web"),
                           tagged("volume", Name="disk")])
    refused("DryRunOperation", ec2.create_fleet, **wanted, DryRun=True)
    answer = ec2.create_fleet(**wanted)
    assert answer["FleetId"].startswith("fleet-") and answer["Errors"] == [], answer
    got = launched(answer)
    assert list(got) == [("t3.small", ZONES[0])] and len(got["t3.small", ZONES[0]]) == 3, got
    [group] = answer["Instances"]
    assert group["Lifecycle"] == "on-demand", group
    used = group["LaunchTemplateAndOverrides"]
    assert used["LaunchTemplateSpecification"] == {"LaunchTemplateId": of, "Version": "1"}, used
    assert used["Overrides"]["SubnetId"] == places[ZONES[0]], used
    for one in visible(group["InstanceIds"]):
        tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        assert tags["Name"] == "web" and tags["aws:ec2:fleet-id"] == answer["FleetId"], tags
        assert tags["aws:ec2launchtemplate:id"] == of, tags
        assert "InstanceLifecycle" not in one, one
    disks = ec2.describe_volumes(Filters=[{"Name": "tag:Name", "Values": ["disk"]}])["Volumes"]
    assert len(disks) == 3, disks
    # The same token has the same answer, and another request with it is refused.
    assert ec2.create_fleet(**wanted)["FleetId"] == answer["FleetId"]
    assert launched(ec2.create_fleet(**wanted)) == got
    more = {**wanted, "TargetCapacitySpecification": {"TotalTargetCapacity": 4}}
    refused("IdempotentParameterMismatch", ec2.create_fleet, **more)
    described(answer, wanted)
    ec2.delete_launch_template(LaunchTemplateId=of)


def described(answer, wanted):
    """The description of a fleet, which ends with its deletion."""
    id = answer["FleetId"]
    # As on AWS, a fleet of this type is in an answer only if the request names it.
    assert ec2.describe_fleets()["Fleets"] == []
    [one] = ec2.describe_fleets(FleetIds=[id])["Fleets"]
    assert (one["FleetState"], one["ActivityStatus"], one["Type"]) == (
        "active", "fulfilled", "instant"), one
    assert (one["FulfilledCapacity"], one["FulfilledOnDemandCapacity"]) == (3.0, 3.0), one
    target = one["TargetCapacitySpecification"]
    assert (target["TotalTargetCapacity"], target["SpotTargetCapacity"]) == (3, 0), target
    assert one["OnDemandOptions"]["AllocationStrategy"] == "prioritized", one
    assert one["ClientToken"] == "complete" and one["Tags"] == [{"Key": "team", "Value": "web"}]
    [config] = one["LaunchTemplateConfigs"]
    asked = [each["InstanceType"] for each in wanted["LaunchTemplateConfigs"][0]["Overrides"]]
    assert [each["InstanceType"] for each in config["Overrides"]] == asked, config
    [group], [launched] = one["Instances"], answer["Instances"]
    assert group["InstanceIds"] == launched["InstanceIds"] and one["Errors"] == [], one
    by = lambda state: [{"Name": "fleet-state", "Values": [state]}]
    assert ec2.describe_fleets(FleetIds=[id], Filters=by("deleted"))["Fleets"] == []
    refused("Unsupported", ec2.describe_fleet_instances,
            f"Fleet {id} is instant fleet. Describe fleet instances is not supported by this "
            "type of fleet", FleetId=id)
    nothing = "fleet-00000000-0000-0000-0000-000000000000"
    refused("InvalidFleetId.NotFound", ec2.describe_fleets, FleetIds=[nothing])
    refused("InvalidParameterValue", ec2.delete_fleets, FleetIds=[id], TerminateInstances=False)
    deleted = ec2.delete_fleets(FleetIds=[id, nothing], TerminateInstances=True)
    [done], [failed] = deleted["SuccessfulFleetDeletions"], deleted["UnsuccessfulFleetDeletions"]
    assert (done["FleetId"], done["PreviousFleetState"], done["CurrentFleetState"]) == (
        id, "active", "deleted_terminating"), done
    assert (failed["FleetId"], failed["Error"]["Code"]) == (nothing, "fleetIdDoesNotExist"), failed
    states = lambda: {one["State"]["Name"] for one in visible(launched["InstanceIds"])}
    until(lambda: states() == {"terminated"}, "the instances are terminated")
    [one] = ec2.describe_fleets(FleetIds=[id], Filters=by("deleted"))["Fleets"]
    assert one["FleetState"] == "deleted", one
    [again] = ec2.delete_fleets(FleetIds=[id], TerminateInstances=True)["UnsuccessfulFleetDeletions"]
    assert again["Error"]["Code"] == "fleetNotInDeletableState", again


def interruption():
    """EC2 announces the interruption of a spot instance, and terminates it later."""
    settings("[[fault]]\noperation = 'boot'\ndo = 'interrupt-spot'\nnotice = 8\n")
    run = {"ImageId": image(), "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1,
           "InstanceMarketOptions": {"MarketType": "spot"}}
    [one] = ec2.run_instances(**run)["Instances"]
    [other] = ec2.run_instances(**run)["Instances"]
    request = lambda of: ec2.describe_spot_instance_requests(
        SpotInstanceRequestIds=[of["SpotInstanceRequestId"]])["SpotInstanceRequests"][0]
    status = lambda of: (request(of)["State"], request(of)["Status"]["Code"])
    seen = set()

    def interrupted():
        now = status(one)
        seen.add(now)
        return now[0] == "closed"

    until(interrupted, "the instance is interrupted")
    assert seen >= {("active", "marked-for-termination"),
                    ("closed", "instance-terminated-no-capacity")}, seen
    [gone] = visible([one["InstanceId"]])
    assert gone["State"]["Name"] == "terminated", gone
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination", gone
    assert status(other) == ("active", "fulfilled"), request(other)
    assert request(other)["InstanceId"] == other["InstanceId"]
    by = [{"Name": "state", "Values": ["active"]}]
    active = ec2.describe_spot_instance_requests(Filters=by)["SpotInstanceRequests"]
    assert [each["InstanceId"] for each in active] == [other["InstanceId"]], active
    refused("InvalidSpotInstanceRequestID.NotFound", ec2.describe_spot_instance_requests,
            SpotInstanceRequestIds=["sir-00000000"])
    end([other["InstanceId"]])
    assert status(other) == ("closed", "instance-terminated-by-user"), request(other)
    settings("")


def shortages():
    """A fleet takes what there is, and reports what there is not, by type and zone."""
    settings("""[account]
shortages = [
    { type = "t3.micro", zone = "us-east-1a", spot = true },
    { type = "t3.micro", zone = "us-east-1b", available = 1 },
    { type = "t3.small", spot = true },
]
""")
    of = template("short", InstanceType="t3.micro")["LaunchTemplateId"]
    places = subnets()
    choices = [{"InstanceType": name, "SubnetId": places[zone]}
               for name in ("t3.micro", "t3.small") for zone in ZONES[:2]]
    answer = ec2.create_fleet(**fleet(of, 4, *choices, spot=True))
    got = launched(answer)
    assert {key: len(ids) for key, ids in got.items()} == {("t3.micro", ZONES[1]): 1}, got
    why = [(one["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"],
            one["LaunchTemplateAndOverrides"]["Overrides"]["SubnetId"],
            one["Lifecycle"], one["ErrorCode"]) for one in answer["Errors"]]
    assert why == [(one["InstanceType"], one["SubnetId"], "spot", "InsufficientInstanceCapacity")
                   for one in choices], why
    message = answer["Errors"][0]["ErrorMessage"]
    assert message == "There is no Spot capacity available that matches your request.", message
    ids = got["t3.micro", ZONES[1]]
    [one] = visible(ids)
    assert one["InstanceLifecycle"] == "spot", one
    assert one["SpotInstanceRequestId"].startswith("sir-"), one
    refused("UnsupportedOperation", ec2.stop_instances, InstanceIds=ids)
    # Other capacity is not short there, except in the second zone, where it is used up.
    answer = ec2.create_fleet(**fleet(of, 2, choices[1], choices[0]))
    got = launched(answer)
    assert {key: len(ids) for key, ids in got.items()} == {("t3.micro", ZONES[0]): 2}, got
    [error] = answer["Errors"]
    assert error["ErrorMessage"].startswith(
        "We currently do not have sufficient t3.micro capacity in the Availability Zone you"
        f" requested ({ZONES[1]})."), error
    ids += got["t3.micro", ZONES[0]]
    # A launch of one type fails, or moves to another zone if it names none.
    run = {"ImageId": image(), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1,
           "InstanceMarketOptions": {"MarketType": "spot"}}
    refused("InsufficientInstanceCapacity", ec2.run_instances, message, **run,
            SubnetId=places[ZONES[0]])
    [one] = ec2.run_instances(**run)["Instances"]
    assert one["Placement"]["AvailabilityZone"] == ZONES[2], one
    assert one["InstanceLifecycle"] == "spot", one
    ids.append(one["InstanceId"])
    # Without a place, all zones are tried.
    answer = ec2.create_fleet(**fleet(of, 1, {"InstanceType": "t3.micro"}, spot=True))
    assert [*launched(answer)] == [("t3.micro", ZONES[2])], answer
    ids += launched(answer)["t3.micro", ZONES[2]]
    end(ids)
    ec2.delete_launch_template(LaunchTemplateId=of)
    settings("")


def mistakes():
    of = template("mistakes")["LaunchTemplateId"]
    answer = ec2.create_fleet(**fleet(of, 1, {"InstanceType": "t9.huge"}))
    assert answer["Instances"] == [], answer
    assert {one["ErrorCode"] for one in answer["Errors"]} == {"InvalidParameterValue"}, answer
    answer = ec2.create_fleet(**fleet(f"lt-{NOWHERE}", 1))
    assert answer["Instances"] == [], answer
    [error] = answer["Errors"]
    assert error["ErrorCode"] == "InvalidLaunchTemplateId.NotFound", error
    settings('[account]\nvcpus = 4\n')
    answer = ec2.create_fleet(**fleet(of, 3, {"InstanceType": "t3.nano", "SubnetId": subnets()[ZONES[0]]}))
    [group], [error] = answer["Instances"], answer["Errors"]
    assert len(group["InstanceIds"]) == 2 and error["ErrorCode"] == "VcpuLimitExceeded", answer
    settings("")
    end(group["InstanceIds"])
    good = fleet(of, 1, {"InstanceType": "t3.nano"})
    capacity = good["TargetCapacitySpecification"]
    for code, change in [
        ("UnsupportedOperation", {"Type": "maintain"}),
        ("InvalidParameterValue", {"Type": "sometimes"}),
        ("InvalidParameterCombination", {"ReplaceUnhealthyInstances": True}),
        ("InvalidParameterValue", {"TargetCapacitySpecification": {"TotalTargetCapacity": 0}}),
        ("InvalidParameterCombination", {"TargetCapacitySpecification": {
            **capacity, "SpotTargetCapacity": 1, "OnDemandTargetCapacity": 1}}),
        ("InvalidParameterValue", {"SpotOptions": {"AllocationStrategy": "cheapest"}}),
        ("UnsupportedOperation", {"SpotOptions": {"InstanceInterruptionBehavior": "stop"}}),
        ("InvalidParameterValue", {"TagSpecifications": [tagged("vpc", a="b")]}),
    ]:
        refused(code, ec2.create_fleet, **{**good, **change})
    spot = {"ImageId": image(), "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    for code, options in [
        ("UnsupportedOperation", {"MarketType": "spot", "SpotOptions": {
            "SpotInstanceType": "persistent"}}),
        ("InvalidParameterValue", {"MarketType": "spot", "SpotOptions": {"MaxPrice": "-1"}}),
        ("MissingParameter", {"SpotOptions": {"MaxPrice": "1"}}),
        ("InvalidParameterValue", {"MarketType": "black"}),
    ]:
        refused(code, ec2.run_instances, **spot, InstanceMarketOptions=options)
    ec2.delete_launch_template(LaunchTemplateId=of)


def permissions():
    """A fleet needs what its launches need. The first spot instance needs a role."""
    of = template("held", InstanceType="t3.nano")["LaunchTemplateId"]
    tags = [tagged("fleet", a="b"), tagged("instance", a="b")]
    wanted = fleet(of, 1, {"SubnetId": subnets()[ZONES[0]]}, TagSpecifications=tags, DryRun=True)
    spot = {**wanted, "TargetCapacitySpecification": {
        "TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"}}
    actions = ["ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateTags"]
    for missing in [None, *actions]:
        allowed = [action for action in actions if action != missing]
        settings('[account]\npolicy = "policy.json"\n', {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]})
        code = "DryRunOperation" if missing is None else "UnauthorizedOperation"
        refused(code, ec2.create_fleet, **wanted)
        if missing is None:
            refused("AuthFailure.ServiceLinkedRoleCreationNotPermitted", ec2.create_fleet, **spot)
    settings('[account]\npolicy = "policy.json"\n', {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": "*"},
            {"Effect": "Allow", "Action": "iam:CreateServiceLinkedRole",
             "Resource": "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*",
             "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}}}]})
    refused("DryRunOperation", ec2.create_fleet, **spot)
    settings("")
    ec2.delete_launch_template(LaunchTemplateId=of)


if __name__ == "__main__":
    templates()
    complete()
    # Before the first spot instance.
    permissions()
    shortages()
    mistakes()
    interruption()
    left = ec2.describe_launch_templates()["LaunchTemplates"]
    assert left == [], left
