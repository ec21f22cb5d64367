//! Dry runs of every action: they change nothing, and they fail as the action fails.

use std::fs;
use std::path::Path;

use super::super::actions;
use super::super::state::Phase;
use super::{Cloud, TRUST, element};

/// The parameters with which an action succeeds in the [`furnished`] cloud. Other
/// actions need none. Names in braces are those of its resources.
const SAMPLES: &[(&str, &str)] = &[
    (
        "AssociateAddress",
        "AllocationId={address}&InstanceId={plain}",
    ),
    (
        "AssociateIamInstanceProfile",
        "InstanceId={plain}&IamInstanceProfile.Name=web",
    ),
    (
        "AssociateRouteTable",
        "RouteTableId={spare}&SubnetId={bare}",
    ),
    (
        "AttachInternetGateway",
        "InternetGatewayId={loose}&VpcId={empty}",
    ),
    (
        "AttachVolume",
        "VolumeId={volume}&InstanceId={instance}&Device=/dev/sdg",
    ),
    (
        "AuthorizeSecurityGroupEgress",
        "GroupId={group}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.1.CidrIp=192.0.2.0/24",
    ),
    (
        "AuthorizeSecurityGroupIngress",
        "GroupId={group}&IpProtocol=tcp&FromPort=80&ToPort=80&CidrIp=192.0.2.0/24",
    ),
    (
        "CopyImage",
        "Name=copy&SourceImageId={own}&SourceRegion=us-east-1",
    ),
    (
        "CopySnapshot",
        "SourceSnapshotId={snapshot}&SourceRegion=us-east-1",
    ),
    ("CreateDefaultSubnet", "AvailabilityZone=us-east-1f"),
    ("CreateImage", "InstanceId={instance}&Name=new"),
    ("CreateKeyPair", "KeyName=new"),
    (
        "CreateNatGateway",
        "SubnetId={subnet}&AllocationId={address}",
    ),
    (
        "CreateRoute",
        "RouteTableId={table}&DestinationCidrBlock=192.0.2.0/24&GatewayId={gateway}",
    ),
    ("CreateRouteTable", "VpcId={vpc}"),
    (
        "CreateSecurityGroup",
        "GroupName=new&GroupDescription=new&VpcId={vpc}",
    ),
    ("CreateSnapshot", "VolumeId={volume}"),
    (
        "CreateSnapshots",
        "InstanceSpecification.InstanceId={instance}",
    ),
    ("CreateSubnet", "VpcId={vpc}&CidrBlock=10.9.9.0/24"),
    (
        "CreateTags",
        "ResourceId.1={instance}&ResourceId.2={vpc}&Tag.1.Key=a&Tag.1.Value=b",
    ),
    ("CreateVolume", "AvailabilityZone=us-east-1a&Size=1"),
    ("CreateVpc", "CidrBlock=10.7.0.0/16"),
    ("DeleteInternetGateway", "InternetGatewayId={loose}"),
    ("DeleteKeyPair", "KeyName=web"),
    ("DeleteNatGateway", "NatGatewayId={nat}"),
    (
        "DeleteRoute",
        "RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0",
    ),
    ("DeleteRouteTable", "RouteTableId={spare}"),
    ("DeleteSecurityGroup", "GroupId={unused}"),
    ("DeleteSnapshot", "SnapshotId={single}"),
    ("DeleteSubnet", "SubnetId={bare}"),
    ("DeleteTags", "ResourceId.1={instance}&Tag.1.Key=owner"),
    ("DeleteVolume", "VolumeId={volume}"),
    ("DeleteVpc", "VpcId={empty}"),
    ("DeregisterImage", "ImageId={own}"),
    ("DescribeAddressesAttribute", "Attribute=domain-name"),
    (
        "DescribeImageAttribute",
        "ImageId={own}&Attribute=description",
    ),
    (
        "DescribeInstanceAttribute",
        "InstanceId={instance}&Attribute=instanceType",
    ),
    (
        "DescribeNetworkInterfaceAttribute",
        "NetworkInterfaceId={interface}&Attribute=description",
    ),
    ("DescribeSecurityGroupReferences", "GroupId.1={group}"),
    (
        "DescribeSnapshotAttribute",
        "SnapshotId={snapshot}&Attribute=createVolumePermission",
    ),
    ("DescribeStaleSecurityGroups", "VpcId={vpc}"),
    (
        "DescribeVolumeAttribute",
        "VolumeId={volume}&Attribute=autoEnableIO",
    ),
    (
        "DescribeVpcAttribute",
        "VpcId={vpc}&Attribute=enableDnsSupport",
    ),
    (
        "DetachInternetGateway",
        "InternetGatewayId={attached}&VpcId={third}",
    ),
    ("DetachVolume", "VolumeId={data}"),
    ("DisableImage", "ImageId={own}"),
    ("DisableImageDeprecation", "ImageId={own}"),
    ("DisableImageDeregistrationProtection", "ImageId={own}"),
    ("DisassociateAddress", "AssociationId={bound}"),
    ("DisassociateIamInstanceProfile", "AssociationId={profile}"),
    ("DisassociateRouteTable", "AssociationId={association}"),
    ("EnableImage", "ImageId={own}"),
    (
        "EnableImageDeprecation",
        "ImageId={own}&DeprecateAt=2030-01-01T00:00:00Z",
    ),
    ("EnableImageDeregistrationProtection", "ImageId={own}"),
    ("EnableVolumeIO", "VolumeId={volume}"),
    ("GetConsoleOutput", "InstanceId={instance}"),
    ("GetPasswordData", "InstanceId={instance}"),
    ("GetSecurityGroupsForVpc", "VpcId={vpc}"),
    ("ImportKeyPair", "KeyName=new&PublicKeyMaterial={key}"),
    ("ModifyEbsDefaultKmsKeyId", "KmsKeyId=alias/aws/ebs"),
    (
        "ModifyImageAttribute",
        "ImageId={own}&Description.Value=new",
    ),
    (
        "ModifyInstanceAttribute",
        "InstanceId={instance}&DisableApiTermination.Value=true",
    ),
    (
        "ModifyInstanceCapacityReservationAttributes",
        "InstanceId={stopped}&CapacityReservationSpecification.CapacityReservationPreference=none",
    ),
    (
        "ModifyInstanceCreditSpecification",
        "InstanceCreditSpecification.1.InstanceId={instance}&InstanceCreditSpecification.1.CpuCredits=standard",
    ),
    (
        "ModifyInstanceMaintenanceOptions",
        "InstanceId={instance}&AutoRecovery=disabled",
    ),
    (
        "ModifyInstanceMetadataOptions",
        "InstanceId={instance}&HttpPutResponseHopLimit=3",
    ),
    (
        "ModifyNetworkInterfaceAttribute",
        "NetworkInterfaceId={interface}&Description.Value=new",
    ),
    (
        "ModifyPrivateDnsNameOptions",
        "InstanceId={stopped}&EnableResourceNameDnsARecord=true",
    ),
    (
        "ModifySecurityGroupRules",
        "GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={rule}&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=tcp&SecurityGroupRule.1.SecurityGroupRule.FromPort=444&SecurityGroupRule.1.SecurityGroupRule.ToPort=444&SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=192.0.2.0/24",
    ),
    (
        "ModifySnapshotAttribute",
        "SnapshotId={snapshot}&CreateVolumePermission.Add.1.UserId=210987654321",
    ),
    (
        "ModifySubnetAttribute",
        "SubnetId={subnet}&MapPublicIpOnLaunch.Value=true",
    ),
    ("ModifyVolume", "VolumeId={volume}&Size=2"),
    (
        "ModifyVolumeAttribute",
        "VolumeId={volume}&AutoEnableIO.Value=true",
    ),
    (
        "ModifyVpcAttribute",
        "VpcId={vpc}&EnableDnsHostnames.Value=true",
    ),
    ("MonitorInstances", "InstanceId.1={instance}"),
    ("RebootInstances", "InstanceId.1={instance}"),
    (
        "RegisterImage",
        "Name=new&RootDeviceName=/dev/xvda&BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}",
    ),
    ("ReleaseAddress", "AllocationId={address}"),
    (
        "ReplaceIamInstanceProfileAssociation",
        "AssociationId={profile}&IamInstanceProfile.Name=other",
    ),
    (
        "ReplaceRoute",
        "RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&GatewayId={gateway}",
    ),
    (
        "ReplaceRouteTableAssociation",
        "AssociationId={association}&RouteTableId={spare}",
    ),
    (
        "ReportInstanceStatus",
        "InstanceId.1={instance}&Status=impaired&ReasonCode.1=other",
    ),
    (
        "ResetImageAttribute",
        "ImageId={own}&Attribute=launchPermission",
    ),
    (
        "ResetInstanceAttribute",
        "InstanceId={stopped}&Attribute=sourceDestCheck",
    ),
    (
        "ResetNetworkInterfaceAttribute",
        "NetworkInterfaceId={interface}&SourceDestCheck=x",
    ),
    (
        "ResetSnapshotAttribute",
        "SnapshotId={snapshot}&Attribute=createVolumePermission",
    ),
    (
        "RevokeSecurityGroupEgress",
        "GroupId={group}&SecurityGroupRuleId.1={egress}",
    ),
    (
        "RevokeSecurityGroupIngress",
        "GroupId={group}&SecurityGroupRuleId.1={rule}",
    ),
    (
        "RunInstances",
        "ImageId={image}&InstanceType=t3.nano&MinCount=1&MaxCount=2&KeyName=web",
    ),
    ("StartInstances", "InstanceId.1={stopped}"),
    ("StopInstances", "InstanceId.1={instance}"),
    (
        "TerminateInstances",
        "InstanceId.1={instance}&InstanceId.2={stopped}",
    ),
    ("UnmonitorInstances", "InstanceId.1={instance}"),
    (
        "UpdateSecurityGroupRuleDescriptionsEgress",
        "GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={egress}&SecurityGroupRuleDescription.1.Description=new",
    ),
    (
        "UpdateSecurityGroupRuleDescriptionsIngress",
        "GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={rule}&SecurityGroupRuleDescription.1.Description=new",
    ),
];

/// The region without a default VPC.
const BARE: &str = "us-west-2";

const KEY: &str = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSU5yN1ZheGZZbVBnTDZMVGdNYWJHRzFxK2c5OHZUL2VMLzJDZHE0L2E2cjA%3D";

/// The names of resources and their ids.
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn add(&mut self, name: &'static str, answer: &str, id: &str) -> String {
        let id = element(answer, id);
        self.0.push((name, id.clone()));
        id
    }

    fn fill(&self, form: &str) -> String {
        let names = self.0.iter();
        let filled = names.fold(form.to_owned(), |form, (name, id)| {
            form.replace(&format!("{{{name}}}"), id)
        });
        assert!(!filled.contains('{'), "{filled}");
        filled
    }
}

/// Creates what the samples name.
fn furnished(directory: &Path) -> (Cloud, Names) {
    let mut cloud = Cloud::open(directory);
    let mut names = Names(vec![("key", KEY.to_owned())]);
    networks(&mut cloud, &mut names);
    let group = cloud.ok("CreateSecurityGroup&GroupName=web&GroupDescription=web");
    let group = names.add("group", &group, "groupId");
    let rule = "&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=443\
                &IpPermissions.1.ToPort=443&IpPermissions.1.IpRanges.1.CidrIp=192.0.2.0/24";
    for (name, action) in [("rule", "Ingress"), ("egress", "Egress")] {
        let form = format!("AuthorizeSecurityGroup{action}&GroupId={group}{rule}");
        names.add(name, &cloud.ok(&form), "securityGroupRuleId");
    }
    let unused = cloud.ok("CreateSecurityGroup&GroupName=unused&GroupDescription=unused");
    names.add("unused", &unused, "groupId");
    cloud.ok(&format!(
        "ImportKeyPair&KeyName=web&PublicKeyMaterial={KEY}"
    ));
    instances(&mut cloud, &mut names);
    volumes(&mut cloud, &mut names);
    cloud.now += 60_000;
    (cloud, names)
}

fn networks(cloud: &mut Cloud, names: &mut Names) {
    let vpc = cloud.ok("CreateVpc&CidrBlock=10.9.0.0/16");
    let vpc = names.add("vpc", &vpc, "vpcId");
    names.add(
        "empty",
        &cloud.ok("CreateVpc&CidrBlock=10.8.0.0/16"),
        "vpcId",
    );
    let third = cloud.ok("CreateVpc&CidrBlock=10.7.0.0/16");
    let third = names.add("third", &third, "vpcId");
    for (name, block) in [("subnet", "10.9.1.0/24"), ("bare", "10.9.2.0/24")] {
        let form = format!("CreateSubnet&VpcId={vpc}&CidrBlock={block}");
        names.add(name, &cloud.ok(&form), "subnetId");
    }
    for (name, vpc) in [
        ("gateway", Some(&vpc)),
        ("attached", Some(&third)),
        ("loose", None),
    ] {
        let gateway = cloud.ok("CreateInternetGateway");
        let id = names.add(name, &gateway, "internetGatewayId");
        if let Some(vpc) = vpc {
            cloud.ok(&format!(
                "AttachInternetGateway&InternetGatewayId={id}&VpcId={vpc}"
            ));
        }
    }
    for name in ["table", "spare"] {
        let form = format!("CreateRouteTable&VpcId={vpc}");
        names.add(name, &cloud.ok(&form), "routeTableId");
    }
    let route =
        "CreateRoute&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&GatewayId={gateway}";
    cloud.ok(&names.fill(route));
    let associate = names.fill("AssociateRouteTable&RouteTableId={table}&SubnetId={subnet}");
    names.add("association", &cloud.ok(&associate), "associationId");
    for name in ["address", "second"] {
        names.add(name, &cloud.ok("AllocateAddress"), "allocationId");
    }
    let nat = names.fill("CreateNatGateway&SubnetId={subnet}&AllocationId={second}");
    names.add("nat", &cloud.ok(&nat), "natGatewayId");
    let zone = "DescribeSubnets&Filter.1.Name=availability-zone&Filter.1.Value.1=us-east-1f";
    let last = element(&cloud.ok(zone), "subnetId");
    cloud.ok(&format!("DeleteSubnet&SubnetId={last}"));
    cloud.region = BARE;
    for subnet in cloud.default_subnets("subnetId") {
        cloud.ok(&format!("DeleteSubnet&SubnetId={subnet}"));
    }
    let vpc = element(&cloud.ok("DescribeVpcs"), "vpcId");
    let gateway = element(&cloud.ok("DescribeInternetGateways"), "internetGatewayId");
    let gateway = format!("InternetGatewayId={gateway}");
    cloud.ok(&format!("DetachInternetGateway&{gateway}&VpcId={vpc}"));
    cloud.ok(&format!("DeleteInternetGateway&{gateway}"));
    cloud.ok(&format!("DeleteVpc&VpcId={vpc}"));
    cloud.region = "us-east-1";
}

fn instances(cloud: &mut Cloud, names: &mut Names) {
    for name in ["web", "other"] {
        cloud.iam(&format!("CreateInstanceProfile&InstanceProfileName={name}"));
        cloud.iam(&format!(
            "CreateRole&RoleName={name}&AssumeRolePolicyDocument={TRUST}"
        ));
        cloud.iam(&format!(
            "AddRoleToInstanceProfile&InstanceProfileName={name}&RoleName={name}"
        ));
    }
    let tag = "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=owner\
               &TagSpecification.1.Tag.1.Value=web";
    let launched = cloud.launch(&format!("{tag}&IamInstanceProfile.Name=web"));
    names.add("instance", &launched, "instanceId");
    names.add("interface", &launched, "networkInterfaceId");
    names.add("image", &launched, "imageId");
    names.add("plain", &cloud.launch(""), "instanceId");
    names.add("stopped", &cloud.launch(""), "instanceId");
    let address = element(&cloud.ok("AllocateAddress"), "allocationId");
    let associate = names.fill("AssociateAddress&InstanceId={instance}&AllocationId=");
    phases(cloud, names);
    names.add("bound", &cloud.ok(&(associate + &address)), "associationId");
    let profiles = cloud.ok("DescribeIamInstanceProfileAssociations");
    names.add("profile", &profiles, "associationId");
}

/// Sets the phases of the instances, as their machines would.
fn phases(cloud: &Cloud, names: &Names) {
    let now = cloud.now;
    cloud.store.change(|state| {
        let region = state.regions.get_mut("us-east-1").unwrap();
        for (name, phase) in [
            ("{instance}", Phase::Running),
            ("{plain}", Phase::Running),
            ("{stopped}", Phase::Stopped),
        ] {
            region.set_phase(&names.fill(name), phase, None, now);
        }
    });
}

fn volumes(cloud: &mut Cloud, names: &mut Names) {
    for name in ["volume", "data"] {
        let form = "CreateVolume&AvailabilityZone=us-east-1a&Size=1";
        names.add(name, &cloud.ok(form), "volumeId");
    }
    let attach = "AttachVolume&VolumeId={data}&InstanceId={instance}&Device=/dev/sdf";
    cloud.ok(&names.fill(attach));
    for name in ["snapshot", "single"] {
        let form = names.fill("CreateSnapshot&VolumeId={volume}");
        names.add(name, &cloud.ok(&form), "snapshotId");
    }
    cloud.now += 60_000;
    let own = names.fill(
        "RegisterImage&Name=own&RootDeviceName=/dev/xvda&BlockDeviceMapping.1.DeviceName=/dev/xvda\
         &BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}",
    );
    names.add("own", &cloud.ok(&own), "imageId");
}

/// Returns a request that succeeds.
fn sample(action: &str, names: &Names) -> String {
    let found = SAMPLES.iter().find(|(known, _)| *known == action);
    let parameters = found.map(|(_, parameters)| names.fill(parameters));
    match parameters {
        Some(parameters) => format!("{action}&{parameters}"),
        None => action.to_owned(),
    }
}

fn region_of(action: &str) -> &'static str {
    match action {
        "CreateDefaultVpc" => BARE,
        _ => "us-east-1",
    }
}

/// Returns everything that the cloud has.
fn state(cloud: &Cloud, directory: &Path) -> (String, Vec<u8>) {
    let memory = serde_json::to_string(&*cloud.store.state()).unwrap();
    (memory, fs::read(directory.join("ec2.journal")).unwrap())
}

#[test]
fn a_dry_run_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cloud, names) = furnished(directory.path());
    let before = state(&cloud, directory.path());
    let mut wrong = Vec::new();
    for action in actions::of_ec2() {
        cloud.region = region_of(action);
        let form = sample(action, &names);
        let answer = cloud.send(&format!("{form}&DryRun=true")).unwrap_err();
        if answer != "DryRunOperation: Request would have succeeded, but DryRun flag is set." {
            wrong.push(format!("{form}: {answer}"));
        }
        let is_unchanged = state(&cloud, directory.path()) == before;
        assert!(is_unchanged, "{form} left something");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Without this test, the one above could hold of requests that cannot succeed.
#[test]
fn what_a_dry_run_allows_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let (cloud, names) = furnished(directory.path());
    let now = cloud.now;
    drop(cloud);
    let mut wrong = Vec::new();
    for action in actions::of_ec2() {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let mut cloud = Cloud::open(copy.path());
        cloud.now = now;
        phases(&cloud, &names);
        cloud.region = region_of(action);
        let form = sample(action, &names);
        wrong.extend(
            cloud
                .send(&form)
                .err()
                .map(|error| format!("{form}: {error}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A dry run of a request without one of its parameters, or with an unknown one, fails
/// as the request itself.
#[test]
fn a_dry_run_fails_as_the_action_fails() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cloud, names) = furnished(directory.path());
    let before = state(&cloud, directory.path());
    let mut refused = 0;
    for action in actions::of_ec2() {
        cloud.region = region_of(action);
        let form = sample(action, &names);
        let unknown = format!("{form}&Nothing=1");
        let parameters: Vec<&str> = form.split('&').collect();
        let shorter = (1..parameters.len()).map(|without| {
            let mut others = parameters.clone();
            others.remove(without);
            others.join("&")
        });
        for form in shorter.chain([unknown]).collect::<Vec<_>>() {
            let dry = cloud.send(&format!("{form}&DryRun=true")).unwrap_err();
            if dry.starts_with("DryRunOperation") {
                continue;
            }
            refused += 1;
            assert_eq!(cloud.send(&form), Err(dry), "{form}");
            assert!(
                state(&cloud, directory.path()) == before,
                "{form} left something"
            );
        }
    }
    assert!(refused > 200, "{refused}");
}
