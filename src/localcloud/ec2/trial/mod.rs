//! Tests of requests, without machines and with a clock that the test sets.

mod dry_run;
mod furnished;
mod needs;
mod samples;

use std::path::Path;
use std::sync::Arc;

use super::service::{Ec2, Sender};
use super::state::{Group, KeyPair, Millis, Phase, REMEMBERED, Tags};
use super::store::Store;
use super::{CloudInfo, ids};
use crate::faults::Plans;
use crate::signature::Keys;

/// The trust policy of a role that instances may take.
const TRUST: &str = r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"Service": "ec2.amazonaws.com"}}}"#;

/// The time of the first request.
const BEGIN: Millis = 1_800_000_000_000;

/// A local cloud without machines.
struct Cloud {
    ec2: Ec2,
    store: Arc<Store>,
    now: Millis,
    region: &'static str,
}

impl Cloud {
    fn open(directory: &Path) -> Self {
        Self::at(directory, "10.77.0.0/20")
    }

    fn at(directory: &Path, subnet: &str) -> Self {
        let facts = CloudInfo {
            account: "123456789012".to_owned(),
            keys: Keys {
                access_key_id: "AKIDEXAMPLE".to_owned(),
                secret_access_key: "secret".to_owned(),
            },
            subnet: subnet.parse().unwrap(),
            system: "Debian".to_owned(),
            cannot_boot: None,
            is_rehearsal: false,
            keeps_records: false,
        };
        let store = Arc::new(Store::open(facts, directory.join("ec2.json")).unwrap());
        Self {
            ec2: Ec2::new(Arc::clone(&store), Arc::new(Plans::default()), None, None),
            store,
            now: BEGIN,
            region: "us-east-1",
        }
    }

    /// Sends a request. Returns the answer, or the code and message of the refusal.
    fn send(&mut self, form: &str) -> Result<String, String> {
        self.now += 100;
        let form = format!("Version=2016-11-15&Action={form}");
        let answer = self
            .ec2
            .answer_at(self.now, self.region, form.as_bytes(), Sender::default());
        if answer.status == 200 {
            return Ok(answer.xml);
        }
        let [code, message] = ["Code", "Message"].map(|name| element(&answer.xml, name));
        Err(format!("{code}: {message}").replace("&apos;", "'"))
    }

    fn ok(&mut self, form: &str) -> String {
        self.send(form)
            .unwrap_or_else(|error| panic!("{form}: {error}"))
    }

    /// Returns the code with which a request is refused.
    fn refused(&mut self, form: &str) -> String {
        let error = self.send(form).unwrap_err();
        error.split(':').next().unwrap().to_owned()
    }

    /// Launches so many instances.
    fn launch_many(&mut self, count: usize, more: &str) -> Result<String, String> {
        let images = self.ok("DescribeImages&Owner.1=amazon&Filter.1.Name=architecture\
                              &Filter.1.Value.1=x86_64");
        let image = element(&images, "imageId");
        self.send(&format!(
            "RunInstances&ImageId={image}&InstanceType=t3.nano&MinCount={count}&MaxCount={count}\
             {more}"
        ))
    }

    fn launch(&mut self, more: &str) -> String {
        self.launch_many(1, more).unwrap()
    }

    /// Adds groups like the default one.
    fn add_groups(&mut self, count: usize) {
        self.store.change(|state| {
            let region = state.regions.get_mut("us-east-1").unwrap();
            let group = region.groups.values().next().unwrap().clone();
            for number in 0..count {
                let (id, name) = (ids::new_id("sg"), number.to_string());
                let group = Group {
                    id: id.clone(),
                    name,
                    ..group.clone()
                };
                region.groups.insert(id, group);
            }
        });
    }

    /// Ends an instance as its machine would.
    fn terminate(&mut self, id: &str) {
        self.ok(&format!("TerminateInstances&InstanceId.1={id}"));
        let now = self.now;
        self.store.change(|state| {
            let region = state.regions.get_mut("us-east-1").unwrap();
            region.set_phase(id, Phase::Terminated, None, now);
        });
    }

    /// Returns what a describe action lists under this name.
    fn listed(&mut self, form: &str, name: &str) -> Vec<String> {
        elements(&self.ok(form), name)
    }

    /// Sends a request to IAM that succeeds.
    fn iam(&self, form: &str) {
        let form = format!("Version=2010-05-08&Action={form}");
        let answer = self.ec2.answer_iam(form.as_bytes(), None);
        assert_eq!(answer.status, 200, "{}", answer.xml);
    }

    fn default_subnets(&mut self, name: &str) -> Vec<String> {
        let filter = "&Filter.1.Name=default-for-az&Filter.1.Value.1=true";
        self.listed(&format!("DescribeSubnets{filter}"), name)
    }
}

/// Returns the texts of the elements with this name.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&begin).skip(1);
    parts
        .map(|part| part.split(&end).next().unwrap().to_owned())
        .collect()
}

fn element(xml: &str, name: &str) -> String {
    elements(xml, name).swap_remove(0)
}

fn without_request_ids(xml: &str) -> String {
    let parts = xml.split("requestId>").step_by(2);
    parts.collect()
}

#[test]
fn requests_at_once_are_all_kept_while_the_journal_is_folded() {
    let directory = tempfile::tempdir().unwrap();
    let cloud = Cloud::open(directory.path());
    let description = "x".repeat(250);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (ec2, description) = (&cloud.ec2, &description);
            scope.spawn(move || {
                for number in 0..200 {
                    let form = format!(
                        "Version=2016-11-15&Action=CreateSecurityGroup\
                         &GroupName=g-{thread}-{number}&GroupDescription={description}"
                    );
                    let answer = ec2.answer("us-east-1", form.as_bytes(), Sender::default());
                    assert_eq!(answer.status, 200, "{}", answer.xml);
                }
            });
        }
    });
    let snapshot = std::fs::metadata(directory.path().join("ec2.json")).unwrap();
    assert!(snapshot.len() > 100_000, "the journal was not folded");
    let mut again = Cloud::open(directory.path());
    let names = again.listed("DescribeSecurityGroups", "groupName");
    assert_eq!(names.len(), 801);
}

#[test]
fn a_change_writes_what_it_touches_however_large_the_state_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let vpc = element(&cloud.ok("DescribeVpcs"), "vpcId");
    let journal = directory.path().join("ec2.journal");
    let size = || std::fs::metadata(&journal).unwrap().len();
    let tag = |cloud: &mut Cloud, value: &str| {
        let before = size();
        let tag = format!("CreateTags&ResourceId.1={vpc}&Tag.1.Key=a&Tag.1.Value={value}");
        cloud.ok(&tag);
        size() - before
    };
    let (first, few) = (tag(&mut cloud, "1"), tag(&mut cloud, "2"));
    assert!(first == few && few < 1000, "{first} {few}");
    cloud.add_groups(2000);
    let many = tag(&mut cloud, "3");
    assert_eq!(many, few);
    // A request that only reads writes nothing.
    let before = size();
    cloud.ok("DescribeSecurityGroups");
    assert_eq!(size(), before);
}

#[test]
fn a_refused_request_and_a_dry_run_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let shown = |cloud: &mut Cloud| {
        let all = cloud.ok("DescribeTags") + &cloud.ok("DescribeSecurityGroups");
        without_request_ids(&all)
    };
    let before = shown(&mut cloud);
    let group = "CreateSecurityGroup&GroupName=a&GroupDescription=a&DryRun=true";
    assert_eq!(cloud.refused(group), "DryRunOperation");
    // The first resource would get the tag, but the second does not exist.
    let vpc = element(&cloud.ok("DescribeVpcs"), "vpcId");
    let tags = format!(
        "CreateTags&ResourceId.1={vpc}&ResourceId.2=vpc-01234567&Tag.1.Key=a&Tag.1.Value=b"
    );
    assert_eq!(cloud.refused(&tags), "InvalidVpcID.NotFound");
    assert_eq!(shown(&mut cloud), before);
}

#[test]
fn a_terminated_instance_is_forgotten_after_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let token = "&ClientToken=once&BlockDeviceMapping.1.DeviceName=/dev/sdf\
                 &BlockDeviceMapping.1.Ebs.VolumeSize=1\
                 &BlockDeviceMapping.1.Ebs.DeleteOnTermination=false";
    let launched = cloud.launch(token);
    let id = element(&launched, "instanceId");
    let describe = format!("DescribeInstances&InstanceId.1={id}");
    assert_eq!(cloud.listed("DescribeVolumes", "volumeId").len(), 4);
    cloud.terminate(&id);
    // The root volume is gone at once, the other volume stays.
    assert_eq!(cloud.listed("DescribeVolumes", "volumeId").len(), 1);
    cloud.now += REMEMBERED - 10_000;
    assert!(cloud.ok(&describe).contains("<name>terminated</name>"));
    assert_eq!(element(&cloud.launch(token), "instanceId"), id);
    cloud.now += 10_000;
    assert_eq!(
        cloud.send(&describe).unwrap_err(),
        format!("InvalidInstanceID.NotFound: The instance ID '{id}' does not exist")
    );
    assert!(cloud.listed("DescribeInstances", "instanceId").is_empty());
    let tags = format!("CreateTags&ResourceId.1={id}&Tag.1.Key=a&Tag.1.Value=b");
    assert_eq!(cloud.refused(&tags), "InvalidInstanceID.NotFound");
    assert_eq!(cloud.listed("DescribeVolumes", "volumeId").len(), 1);
    // The token is free again.
    assert_ne!(element(&cloud.launch(token), "instanceId"), id);
    let again = Cloud::open(directory.path());
    let state = again.store.state();
    let region = &state.regions["us-east-1"];
    assert_eq!((region.instances.len(), region.tokens.len()), (1, 1));
}

#[test]
fn a_deregistered_image_is_unknown_after_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let id = element(&cloud.launch(""), "instanceId");
    let now = cloud.now;
    cloud.store.change(|state| {
        let region = state.regions.get_mut("us-east-1").unwrap();
        region.set_phase(&id, Phase::Stopped, None, now);
    });
    let image = element(
        &cloud.ok(&format!("CreateImage&InstanceId={id}&Name=mine")),
        "imageId",
    );
    cloud.ok(&format!("DeregisterImage&ImageId={image}"));
    let describe = format!("DescribeImages&ImageId.1={image}");
    cloud.now += REMEMBERED - 10_000;
    assert!(cloud.listed(&describe, "imageId").is_empty());
    cloud.now += 10_000;
    assert_eq!(cloud.refused(&describe), "InvalidAMIID.NotFound");
    let state = cloud.store.state();
    assert!(state.regions["us-east-1"].deregistered.is_empty());
}

#[test]
fn each_zone_has_a_default_subnet() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let zones = cloud.listed("DescribeAvailabilityZones", "zoneName");
    let mut of_subnets = cloud.default_subnets("availabilityZone");
    of_subnets.sort();
    assert_eq!(of_subnets, zones);
    for (option, zone) in [
        ("", "us-east-1a"),
        ("&Placement.AvailabilityZone=us-east-1b", "us-east-1b"),
        ("&Placement.AvailabilityZoneId=use1-az2", "us-east-1c"),
    ] {
        let launched = cloud.launch(option);
        assert_eq!(element(&launched, "availabilityZone"), zone);
        let subnet = element(&launched, "subnetId");
        let described = cloud.ok(&format!("DescribeSubnets&SubnetId.1={subnet}"));
        assert_eq!(element(&described, "availabilityZone"), zone);
        assert_eq!(element(&described, "availableIpAddressCount"), "250");
        let block: ipnet::Ipv4Net = element(&described, "cidrBlock").parse().unwrap();
        let address: std::net::Ipv4Addr = element(&launched, "privateIpAddress").parse().unwrap();
        assert!(block.contains(&address), "{address} is not in {block}");
    }
    let wrong = cloud.launch_many(1, "&Placement.AvailabilityZone=us-east-1z");
    assert_eq!(
        wrong.unwrap_err(),
        "InvalidParameterValue: Invalid availability zone: [us-east-1z]"
    );
}

#[test]
fn a_launch_without_a_zone_goes_where_addresses_are_free() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    for zone in ["us-east-1a", "us-east-1b"] {
        let launched = cloud.launch_many(251, "").unwrap();
        let zones = elements(&launched, "availabilityZone");
        assert!(
            zones.len() == 251 && zones.iter().all(|z| z == zone),
            "{zone}"
        );
    }
    let full = cloud.launch_many(1, "&Placement.AvailabilityZone=us-east-1b");
    let expected = "InsufficientFreeAddressesInSubnet: There are not enough free addresses";
    assert!(full.unwrap_err().starts_with(expected));
    assert!(
        cloud
            .launch_many(251, "")
            .unwrap_err()
            .starts_with("VcpuLimitExceeded: ")
    );
}

#[test]
fn the_default_vpc_can_be_deleted_and_created_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let vpc = element(&cloud.ok("DescribeVpcs"), "vpcId");
    let delete = format!("DeleteVpc&VpcId={vpc}");
    assert_eq!(cloud.refused(&delete), "DependencyViolation");
    let existing = "CreateDefaultSubnet&AvailabilityZone=us-east-1b";
    assert_eq!(
        cloud.refused(existing),
        "DefaultSubnetAlreadyExistsInAvailabilityZone"
    );
    for subnet in cloud.default_subnets("subnetId") {
        let zone = &cloud.listed(
            &format!("DescribeSubnets&SubnetId.1={subnet}"),
            "availabilityZone",
        )[0];
        cloud.ok(&format!("DeleteSubnet&SubnetId={subnet}"));
        let launch = cloud.launch_many(1, &format!("&Placement.AvailabilityZone={zone}"));
        assert_eq!(
            launch.unwrap_err(),
            format!("InvalidInput: No default subnet for availability zone: '{zone}'.")
        );
    }
    assert!(
        cloud
            .launch_many(1, "")
            .unwrap_err()
            .starts_with("MissingInput: No subnets found")
    );
    assert_eq!(cloud.refused("CreateDefaultSubnet"), "MissingParameter");
    assert_eq!(
        cloud.refused("CreateDefaultSubnet&AvailabilityZone=us-east-1z"),
        "InvalidParameterValue"
    );
    let made = cloud.ok("CreateDefaultSubnet&AvailabilityZoneId=use1-az4");
    assert_eq!(element(&made, "availabilityZone"), "us-east-1d");
    assert_eq!(element(&made, "defaultForAz"), "true");
    let subnet = element(&made, "subnetId");
    cloud.ok(&format!("DeleteSubnet&SubnetId={subnet}"));
    let gateway = element(&cloud.ok("DescribeInternetGateways"), "internetGatewayId");
    cloud.ok(&format!(
        "DetachInternetGateway&InternetGatewayId={gateway}&VpcId={vpc}"
    ));
    cloud.ok(&format!(
        "DeleteInternetGateway&InternetGatewayId={gateway}"
    ));
    cloud.ok(&delete);
    assert!(cloud.listed("DescribeVpcs", "vpcId").is_empty());
    assert!(cloud.listed("DescribeSecurityGroups", "groupId").is_empty());
    assert_eq!(
        cloud.refused("CreateSecurityGroup&GroupName=a&GroupDescription=a"),
        "VPCIdNotSpecified"
    );
    assert_eq!(
        cloud.refused("CreateDefaultSubnet&AvailabilityZone=us-east-1a"),
        "DefaultVpcDoesNotExist"
    );
    // It stays deleted.
    let mut cloud = Cloud::open(directory.path());
    assert!(cloud.listed("DescribeVpcs", "vpcId").is_empty());
    let made = element(&cloud.ok("CreateDefaultVpc"), "vpcId");
    assert_ne!(made, vpc);
    assert_eq!(cloud.refused("CreateDefaultVpc"), "DefaultVpcAlreadyExists");
    assert_eq!(cloud.default_subnets("subnetId").len(), 6);
    assert_eq!(cloud.listed("DescribeRouteTables", "main"), ["true"]);
    assert!(cloud.launch("").contains(&made));
}

#[test]
fn a_subnet_in_the_default_vpc_has_its_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let vpc = cloud.ok("DescribeVpcs");
    assert_eq!(element(&vpc, "cidrBlock"), "10.77.0.0/21");
    let vpc = element(&vpc, "vpcId");
    let create = format!("CreateSubnet&VpcId={vpc}&CidrBlock=");
    assert_eq!(
        cloud.refused(&format!("{create}10.77.1.0/25")),
        "InvalidSubnet.Conflict"
    );
    let made = cloud.ok(&format!("{create}10.77.6.0/24&AvailabilityZone=us-east-1c"));
    let subnet = element(&made, "subnetId");
    let launched = cloud.launch(&format!("&SubnetId={subnet}"));
    assert_eq!(element(&launched, "privateIpAddress"), "10.77.6.4");
    assert_eq!(element(&launched, "availabilityZone"), "us-east-1c");
}

#[test]
fn addresses_move_with_the_network_of_the_local_cloud() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    let id = element(
        &cloud.launch("&Placement.AvailabilityZone=us-east-1b"),
        "instanceId",
    );
    let elastic = element(&cloud.ok("AllocateAddress"), "publicIp");
    assert!(elastic.starts_with("10.77.8."), "{elastic}");
    let now = cloud.now;
    let mut cloud = Cloud::at(directory.path(), "10.90.16.0/20");
    cloud.now = now;
    let found = cloud.ok(&format!("DescribeInstances&InstanceId.1={id}"));
    assert_eq!(element(&found, "privateIpAddress"), "10.90.17.4");
    let moved = element(&cloud.ok("DescribeAddresses"), "publicIp");
    assert!(moved.starts_with("10.90.24."), "{moved}");
    assert_eq!(
        element(&cloud.ok("DescribeVpcs"), "cidrBlock"),
        "10.90.16.0/21"
    );
    let blocks = cloud.default_subnets("cidrBlock");
    assert!(blocks.contains(&"10.90.17.0/24".to_owned()), "{blocks:?}");
}

#[test]
fn quotas_are_those_of_aws() {
    let directory = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::open(directory.path());
    cloud.ok("DescribeVpcs");
    let key = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSU5yN1ZheGZZbVBnTDZMVGdNYWJHRzFxK2c5OHZUL2VMLzJDZHE0L2E2cjA%3D";
    cloud.add_groups(2499);
    cloud.store.change(|state| {
        let region = state.regions.get_mut("us-east-1").unwrap();
        for number in 0..5000 {
            let pair = KeyPair {
                id: ids::new_id("key"),
                name: number.to_string(),
                kind: "rsa".to_owned(),
                fingerprint: String::new(),
                public_key: String::new(),
                tags: Tags::new(),
                created: 0,
            };
            region.key_pairs.insert(pair.name.clone(), pair);
        }
    });
    let group = "CreateSecurityGroup&GroupName=one-more&GroupDescription=x";
    assert_eq!(cloud.refused(group), "SecurityGroupLimitExceeded");
    let pair = format!("ImportKeyPair&KeyName=one-more&PublicKeyMaterial={key}");
    assert_eq!(cloud.refused(&pair), "KeyPairLimitExceeded");
    cloud.ok("DeleteKeyPair&KeyName=7");
    cloud.ok(&pair);
}
