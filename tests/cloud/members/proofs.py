"""What requests need that prove a member: a request with a sample of each member that
is done has to succeed. Actions without a dry run act, so they have new names and
resources."""

import itertools
import json
import secrets

# The names of one run, so that a cloud can be checked again.
RUN = f"members-{secrets.token_hex(4)}"
TRUST = json.dumps({"Statement": [{
    "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})

# A region whose default VPC the scenario deletes, and its client.
ELSEWHERE = "eu-north-1"
elsewhere = None

numbers = itertools.count()


def fresh():
    """Returns a name that nothing has."""
    return f"{RUN}-{next(numbers)}"


def overrides(live, operation, path):
    """Returns the sample of the member at this path of one action, if it has one."""
    return live.get(".".join((operation, *path)))


def of_operation(live, operation):
    """Returns the samples of one action, by the names of members."""
    own = (name.split(".") for name in live)
    return {
        parts[1]: live[".".join(parts)]
        for parts in own if len(parts) == 2 and parts[0] == operation
    }


def associate(ec2, live):
    own = [{"Name": "instance-id", "Values": [live["InstanceId"]]}]
    found = ec2.describe_iam_instance_profile_associations(Filters=own)
    for one in found["IamInstanceProfileAssociations"]:
        ec2.disassociate_iam_instance_profile(AssociationId=one["AssociationId"])
    return {"InstanceId": live["InstanceId"]}


def associated(ec2, live):
    associate(ec2, live)
    made = ec2.associate_iam_instance_profile(
        IamInstanceProfile={"Name": RUN}, InstanceId=live["InstanceId"])
    return {"AssociationId": made["IamInstanceProfileAssociation"]["AssociationId"]}


def role(iam, live):
    name = fresh()
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    return {"RoleName": name}


def profile(iam, live):
    name = fresh()
    iam.create_instance_profile(InstanceProfileName=name)
    return {"InstanceProfileName": name}


def with_role(iam, live):
    both = {**role(iam, live), **profile(iam, live)}
    iam.add_role_to_instance_profile(**both)
    return both


def with_policy(iam, live):
    made = role(iam, live)
    iam.put_role_policy(**made, PolicyName="read", PolicyDocument=TRUST)
    return made


def with_attached(iam, live):
    made = role(iam, live)
    iam.attach_role_policy(**made, PolicyArn=live["PolicyArn"])
    return made


# Functions that create what one request of an action uses up. They return samples.
BEFORE = {
    "AddRoleToInstanceProfile": lambda iam, live: {**role(iam, live), **profile(iam, live)},
    "AssociateIamInstanceProfile": associate,
    "CreateInstanceProfile": lambda iam, live: {"InstanceProfileName": fresh()},
    "CreateRole": lambda iam, live: {"RoleName": fresh()},
    "DeleteInstanceProfile": profile,
    "DeleteRole": role,
    "DeleteRolePolicy": with_policy,
    "DescribeIamInstanceProfileAssociations": lambda ec2, live: {
        "AssociationIds": associated(ec2, live)["AssociationId"]},
    "DetachRolePolicy": with_attached,
    "DisassociateIamInstanceProfile": associated,
    "GetRolePolicy": with_policy,
    "RemoveRoleFromInstanceProfile": with_role,
    "ReplaceIamInstanceProfileAssociation": associated,
}


def before(client, operation, live):
    return BEFORE[operation](client, live) if operation in BEFORE else {}


def clean_up_iam(iam):
    """Deletes the roles and the instance profiles of this run."""
    for page in iam.get_paginator("list_instance_profiles").paginate():
        for one in page["InstanceProfiles"]:
            name = {"InstanceProfileName": one["InstanceProfileName"]}
            if one["InstanceProfileName"].startswith(RUN):
                for each in one["Roles"]:
                    iam.remove_role_from_instance_profile(**name, RoleName=each["RoleName"])
                iam.delete_instance_profile(**name)
    for page in iam.get_paginator("list_roles").paginate():
        for one in page["Roles"]:
            name = {"RoleName": one["RoleName"]}
            if one["RoleName"].startswith(RUN):
                for policy in iam.list_role_policies(**name)["PolicyNames"]:
                    iam.delete_role_policy(**name, PolicyName=policy)
                for attached in iam.list_attached_role_policies(**name)["AttachedPolicies"]:
                    iam.detach_role_policy(**name, PolicyArn=attached["PolicyArn"])
                iam.delete_role(**name)
