#!/usr/bin/env python3
"""Sends every filter that AWS documents for the local cloud's actions, with only
the output of `autorun cloud env`.

The names come from the service's model, which botocore contains: a list of `<code>`
in the description of `Filters`. A filter that the service refuses is a fault.
"""

import re
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2", config=Config(parameter_validation=False, retries={"max_attempts": 1}))
# In lists inside a list: values of a filter, not names.
VALUES = {"informational", "low", "medium", "high", "critical"}
faults = []


def snake(action):
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in action).lstrip("_")


def documented():
    """Yields each action of the local cloud that has filters, and their names."""
    model = ec2.meta.service_model
    for action in model.operation_names:
        if not action.startswith("Describe") and action != "GetSecurityGroupsForVpc":
            continue
        members = model.operation_model(action).input_shape.members
        if "Filters" not in members or not known(action):
            continue
        # Refused for fleets of the type instant, which are all.
        if action == "DescribeFleetInstances":
            continue
        text = members["Filters"].documentation
        names = re.findall(r"<li>\s*<p>\s*<code>([^<]+)</code>", text)
        names += re.findall(r"[Yy]ou can also use <code>([^<]+)</code>", text)
        names = [name.strip() for name in names if name not in VALUES]
        yield action, ["tag:Name" if name.startswith("tag:") or name == "tag" else name for name in names]


def known(action):
    try:
        getattr(ec2, snake(action))()
    except ClientError as error:
        return error.response["Error"]["Code"] not in ("InvalidAction", "UnsupportedOperation")
    return True


def every_documented_filter_is_known():
    total = 0
    for action, names in documented():
        assert names, f"{action}: no filters found in the model"
        for name in names:
            total += 1
            try:
                call(action, name, ["no such value"])
            except ClientError as error:
                # A malformed id in a filter is an error of its own.
                if not error.response["Error"]["Code"].endswith(".Malformed"):
                    faults.append(f"{action} {name}: {error}")
        for name in ("spam", names[0].upper(), "tag:"):
            try:
                call(action, name, ["*"])
                faults.append(f"{action}: the filter {name} is accepted")
            except ClientError as error:
                assert error.response["Error"]["Code"] == "InvalidParameterValue", error
    assert total > 300, total
    return total


def call(action, name, values):
    return getattr(ec2, snake(action))(
        **required(action), Filters=[{"Name": name, "Values": values}])


def required(action):
    """Returns what a request has to have."""
    if action in ("DescribeStaleSecurityGroups", "GetSecurityGroupsForVpc"):
        return {"VpcId": ec2.describe_vpcs()["Vpcs"][0]["VpcId"]}
    if action == "DescribeLaunchTemplateVersions":
        return {"Versions": ["$Latest"]}
    return {}


def group_filters():
    """Wildcards, escapes, cases and several values, on the tags of groups."""
    ids = {}
    for value in ("web", "Web", "w*b", "web server", ""):
        group = ec2.create_security_group(
            GroupName=f"filters {len(ids)}", Description="of a test", TagSpecifications=[
                {"ResourceType": "security-group", "Tags": [{"Key": "Role", "Value": value}]},
            ],
        )["GroupId"]
        ids[group] = value
    time.sleep(0.1)  # new groups may not be visible yet, as on AWS

    def found(*filters):
        answer = ec2.describe_security_groups(Filters=[{"Name": n, "Values": v} for n, v in filters])
        return sorted(ids[group["GroupId"]] for group in answer["SecurityGroups"] if group["GroupId"] in ids)

    for filters, wanted in [
        ([("tag:Role", ["web"])], ["web"]),
        ([("tag:Role", ["web", "Web"])], ["Web", "web"]),
        ([("tag:Role", ["w?b"])], ["w*b", "web"]),
        ([("tag:Role", ["w*b"])], ["w*b", "web"]),
        ([("tag:Role", ["w\\*b"])], ["w*b"]),
        ([("tag:Role", ["web*"])], ["web", "web server"]),
        ([("tag:Role", ["web s*"])], ["web server"]),
        ([("tag:Role", [""])], [""]),
        ([("tag:role", ["*"])], []),
        ([("tag-key", ["Rol?"])], sorted(ids.values())),
        ([("tag-key", ["Role"]), ("group-name", ["filters 0"])], ["web"]),
        ([("tag-value", ["web"])], ["web"]),
        ([("group-name", ["filters ?"]), ("description", ["of a*"])], sorted(ids.values())),
        ([("egress.ip-permission.cidr", ["0.0.0.0/0"]), ("group-id", list(ids))], sorted(ids.values())),
        ([("ip-permission.cidr", ["0.0.0.0/0"]), ("group-id", list(ids))], []),
        ([("tag:Role", [])], []),
    ]:
        if found(*filters) != wanted:
            faults.append(f"{filters}: {found(*filters)} instead of {wanted}")
    pages(ids)
    for group in ids:
        ec2.delete_security_group(GroupId=group)


def pages(ids):
    """Every page of every paginator of the model, and no more items than wanted."""
    filters = [{"Name": "group-id", "Values": [*ids]}]
    walk = ec2.get_paginator("describe_security_groups").paginate(
        Filters=filters, PaginationConfig={"PageSize": 5},
    )
    assert [len(page["SecurityGroups"]) for page in walk] == [5], "one page is enough"
    seen = []
    for action in ec2.meta.service_model.operation_names:
        if not action.startswith("Describe") or not ec2.can_paginate(snake(action)) or not known(action):
            continue
        smallest = ec2.meta.service_model.operation_model(action).input_shape.members.get("MaxResults")
        if smallest is None:
            continue
        paginator = ec2.get_paginator(snake(action))
        result = paginator.result_keys[0].expression
        every = [item for item in paginator.paginate(**required(action)).search(result + "[]")]
        paged = []
        for page in paginator.paginate(**required(action), PaginationConfig={"PageSize": 5}):
            if len(page[result]) > 5:
                faults.append(f"{action}: a page has {len(page[result])} items")
            paged += page[result]
        # A launch of several instances may continue on the next page.
        if len(paged) != len(every) and action != "DescribeInstances":
            faults.append(f"{action}: {len(paged)} items in pages, {len(every)} without")
        seen.append(action)
    assert len(seen) >= 10, seen


def main():
    number = every_documented_filter_is_known()
    group_filters()
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults)
    print(f"ec2_filters: {number} documented filters ok")


main()
