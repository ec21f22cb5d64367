//! The requests that `resume` and `destroy` send for a resource of each kind.
//!
//! A run that was neither resumed nor destroyed has recorded none of them, so a
//! policy cannot be made of the record alone. A test compares this table with the
//! requests of a resumed and of a destroyed run.

use std::collections::BTreeSet;

use super::need::{ADDRESS_ASSOCIATION, About, Named, Need, TABLE_ASSOCIATION};
use crate::clients::calls::{Cause, Service};
use crate::ledger::{Resource, ResourceKind};

/// What a request of this table names.
enum Names {
    /// Nothing that a policy could be restricted to.
    Nothing,
    /// The resource.
    It,
    /// The resource and one of each of these types.
    With(&'static [&'static str]),
    /// The resource's association, in place of the resource.
    Association(&'static str),
    /// The association of an address that the run associated with an instance.
    Associated,
    /// One of this type, in place of the resource.
    Other(&'static str),
    /// Versions of objects in the bucket.
    Versions,
}

use Names::{Associated, Association, It, Nothing, Other, Versions, With};

/// Returns the operations for a kind of resource.
fn operations(kind: ResourceKind, in_own_bucket: bool) -> &'static [(&'static str, Names)] {
    match kind {
        ResourceKind::Instance => &[("DescribeInstances", Nothing), ("TerminateInstances", It)],
        ResourceKind::KeyPair => &[("DescribeKeyPairs", Nothing), ("DeleteKeyPair", It)],
        ResourceKind::KeyFile => &[],
        ResourceKind::SecurityGroup => &[
            ("DescribeSecurityGroups", Nothing),
            ("DeleteSecurityGroup", It),
        ],
        ResourceKind::Ingress => &[
            ("DescribeSecurityGroups", Nothing),
            ("RevokeSecurityGroupIngress", It),
        ],
        ResourceKind::ElasticIp => &[
            ("DescribeAddresses", Nothing),
            ("DisassociateAddress", Associated),
            ("ReleaseAddress", It),
        ],
        ResourceKind::Image => &[
            ("DescribeImages", Nothing),
            ("DeregisterImage", It),
            ("DeleteSnapshot", Other("snapshot")),
        ],
        ResourceKind::Volume => &[
            ("DescribeVolumes", Nothing),
            // It outlives its instance, and another run may attach it.
            ("DetachVolume", With(&["instance"])),
            ("DeleteVolume", It),
        ],
        ResourceKind::Snapshot => &[("DescribeSnapshots", Nothing), ("DeleteSnapshot", It)],
        ResourceKind::Vpc => &[("DescribeTags", Nothing), ("DeleteVpc", It)],
        ResourceKind::Subnet => &[("DescribeTags", Nothing), ("DeleteSubnet", It)],
        ResourceKind::InternetGateway => &[
            ("DescribeTags", Nothing),
            ("DescribeInternetGateways", Nothing),
            ("DetachInternetGateway", With(&["vpc"])),
            ("DeleteInternetGateway", It),
        ],
        ResourceKind::RouteTable => &[
            ("DescribeTags", Nothing),
            ("DescribeRouteTables", Nothing),
            ("DisassociateRouteTable", Association(TABLE_ASSOCIATION)),
            ("DeleteRouteTable", It),
        ],
        ResourceKind::NatGateway => &[("DescribeNatGateways", Nothing), ("DeleteNatGateway", It)],
        ResourceKind::LaunchTemplate => &[
            ("DescribeLaunchTemplates", Nothing),
            ("DeleteLaunchTemplate", It),
        ],
        ResourceKind::IamRole => &[
            ("GetRole", Nothing),
            ("RemoveRoleFromInstanceProfile", Nothing),
            ("DetachRolePolicy", Nothing),
            ("DeleteRolePolicy", Nothing),
            ("DeleteRole", Nothing),
        ],
        ResourceKind::InstanceProfile => &[
            ("GetInstanceProfile", Nothing),
            ("RemoveRoleFromInstanceProfile", Nothing),
            ("DeleteInstanceProfile", Nothing),
        ],
        ResourceKind::Bucket => &[
            ("GetBucketTagging", It),
            ("HeadBucket", It),
            // The age of a bucket that a crash left without tags.
            ("ListBuckets", Nothing),
            ("PutBucketTagging", It),
            ("ListObjectVersions", It),
            ("ListMultipartUploads", It),
            ("DeleteBucket", It),
        ],
        // In a bucket of the run, emptying deletes all versions.
        ResourceKind::Object if in_own_bucket => &[("HeadObject", It), ("DeleteObjects", Versions)],
        ResourceKind::Object => &[
            ("HeadObject", It),
            ("DeleteObject", It),
            ("DeleteObject", Versions),
        ],
        ResourceKind::MultipartUpload => &[
            ("ListMultipartUploads", It),
            ("ListParts", It),
            ("AbortMultipartUpload", It),
        ],
        ResourceKind::PublicAccess => &[
            ("GetBucketPolicy", It),
            ("PutBucketPolicy", It),
            ("DeleteBucketPolicy", It),
            ("GetPublicAccessBlock", It),
            ("PutPublicAccessBlock", It),
        ],
    }
}

/// Returns the type of an EC2 resource in ARNs.
pub(super) fn type_of(kind: ResourceKind) -> Option<&'static str> {
    Some(match kind {
        ResourceKind::Instance => "instance",
        ResourceKind::KeyPair => "key-pair",
        ResourceKind::SecurityGroup | ResourceKind::Ingress => "security-group",
        ResourceKind::ElasticIp => "elastic-ip",
        ResourceKind::Image => "image",
        ResourceKind::Volume => "volume",
        ResourceKind::Snapshot => "snapshot",
        ResourceKind::Vpc => "vpc",
        ResourceKind::Subnet => "subnet",
        ResourceKind::InternetGateway => "internet-gateway",
        ResourceKind::RouteTable => "route-table",
        ResourceKind::NatGateway => "natgateway",
        ResourceKind::LaunchTemplate => "launch-template",
        ResourceKind::IamRole
        | ResourceKind::InstanceProfile
        | ResourceKind::Bucket
        | ResourceKind::Object
        | ResourceKind::MultipartUpload
        | ResourceKind::PublicAccess
        | ResourceKind::KeyFile => return None,
    })
}

/// Returns the service to which the requests for a kind of resource go.
fn service(kind: ResourceKind) -> Service {
    match kind {
        ResourceKind::IamRole | ResourceKind::InstanceProfile => Service::Iam,
        kind => type_of(kind).map_or(Service::S3, |_| Service::Ec2),
    }
}

/// Returns what `resume` and `destroy` need for a resource of a run that created
/// `all` and sent `requests`. `cause` is the call that created it.
pub(super) fn needs(
    resource: &Resource,
    cause: &Cause,
    all: &[Resource],
    requests: &[Need],
) -> Vec<Need> {
    let id = resource.id.as_deref().unwrap_or(&resource.name);
    let first = id.split([' ', '/']).next().unwrap_or_default();
    let own = type_of(resource.kind);
    let is_bucket = |row: &Resource| row.kind == ResourceKind::Bucket && row.name == first;
    let was_associated = requests.iter().any(|sent| {
        let mut named = sent.about.resources.iter();
        sent.operation == "AssociateAddress" && named.any(|named| named.1 == first)
    });
    let operations = operations(resource.kind, all.iter().any(is_bucket)).iter();
    operations
        .filter(|(_, names)| was_associated || !matches!(names, Associated))
        .map(|(operation, names)| Need {
            service: service(resource.kind),
            operation: (*operation).to_owned(),
            about: match own {
                Some(own) => About {
                    resources: of_ec2(names, own, first),
                    ..About::default()
                },
                None => About {
                    bucket: (!matches!(names, Nothing)).then(|| first.to_owned()),
                    version: matches!(names, Versions),
                    ..About::default()
                },
            },
            cause: cause.clone(),
        })
        .collect()
}

/// Returns the EC2 resources of a request. Those without an id are of this ledger.
fn of_ec2(names: &Names, own: &str, id: &str) -> BTreeSet<Named> {
    let resource = |kind: &str, id: &str| Named(kind.to_owned(), id.to_owned());
    match names {
        Nothing | Versions => BTreeSet::new(),
        It => BTreeSet::from([resource(own, id)]),
        With(others) => {
            let others = others.iter().map(|kind| resource(kind, ""));
            others.chain([resource(own, id)]).collect()
        }
        Associated => BTreeSet::from([resource(ADDRESS_ASSOCIATION, "")]),
        Association(kind) | Other(kind) => BTreeSet::from([resource(kind, "")]),
    }
}
