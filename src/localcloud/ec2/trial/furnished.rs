//! A cloud with what the samples of requests name.

use std::path::Path;

use super::super::state::Phase;
use super::{Cloud, TRUST, element};

/// The region without a default VPC.
pub(super) const BARE: &str = "us-west-2";

const KEY: &str = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSU5yN1ZheGZZbVBnTDZMVGdNYWJHRzFxK2c5OHZUL2VMLzJDZHE0L2E2cjA%3D";

/// The names of resources and their ids.
pub(super) struct Names(Vec<(&'static str, String)>);

impl Names {
    fn add(&mut self, name: &'static str, answer: &str, id: &str) -> String {
        let id = element(answer, id);
        self.0.push((name, id.clone()));
        id
    }

    pub(super) fn fill(&self, form: &str) -> String {
        let names = self.0.iter();
        let filled = names.fold(form.to_owned(), |form, (name, id)| {
            form.replace(&format!("{{{name}}}"), id)
        });
        assert!(!filled.contains('{'), "{filled}");
        filled
    }
}

/// Creates what the samples name.
pub(super) fn furnished(directory: &Path) -> (Cloud, Names) {
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
    let image = names.add("image", &launched, "imageId");
    let template = format!(
        "CreateLaunchTemplate&LaunchTemplateName=web&LaunchTemplateData.ImageId={image}\
         &LaunchTemplateData.InstanceType=t3.nano"
    );
    names.add("template", &cloud.ok(&template), "launchTemplateId");
    let fleet = "CreateFleet&Type=instant&TargetCapacitySpecification.TotalTargetCapacity=1\
                 &LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version=1\
                 &LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId={template}";
    names.add("fleet", &cloud.ok(&names.fill(fleet)), "fleetId");
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
pub(super) fn phases(cloud: &Cloud, names: &Names) {
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
