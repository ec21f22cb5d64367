//! Removes resources. All deletions go through this module, with one exception:
//! `create_bucket` deletes a new bucket that it cannot tag.
//!
//! autorun deletes only resources that it created. `maker` decides this for each
//! kind of resource:
//!
//! - Instance, security group, Elastic IP address, image, volume, snapshot, launch
//!   template, part of a network or multipart upload in the ledger of this run: its row suffices, because AWS does
//!   not reuse ids.
//! - Key pair, IAM role, instance profile, bucket or object in the ledger: another user may have replaced the
//!   resource by one with the same name, so it must also have the mark of this run
//!   (the tag `autorun:run`; for an object, its metadata). A key file must have the
//!   mark in its comment.
//! - Resource that is not in the ledger of this run: the tag `autorun:run` of any
//!   run suffices; for an object, the tag of its bucket.
//! - Bucket of this run on a server without tags, which is not AWS's: the time at
//!   which it was created must be that of its row.
//! - Multipart upload, ingress rule, public access setting or key file that is not in
//!   the ledger: never deleted.
//!
//! A resource that is already gone counts as removed. In a bucket with versioning
//! that this run did not create, `destroy` deletes the versions of this run, and
//! those of others stay.

use crate::clients::Clients;
use crate::clients::ec2::NetworkPart;
use crate::ledger::{Ledger, Remover, ResourceKind};
use crate::report::Reporter;

mod delete;
mod maker;
pub mod orphans;
mod release;
mod resolve;
mod whole_run;

pub use whole_run::NotRemoved;

/// The context of a removal.
#[derive(Clone, Copy, Debug)]
pub struct Teardown<'a> {
    /// The clients for AWS and ssh.
    pub clients: &'a Clients,
    /// The ledger of the run whose resources are removed.
    pub ledger: &'a Ledger,
    /// The reporter, which logs each removal.
    pub report: &'a Reporter,
    /// Who asked for the removal.
    pub by: Remover,
}

/// Returns the kind of resource that a part of a network is.
#[must_use]
pub fn kind_of(part: NetworkPart) -> ResourceKind {
    match part {
        NetworkPart::Vpc => ResourceKind::Vpc,
        NetworkPart::Subnet => ResourceKind::Subnet,
        NetworkPart::InternetGateway => ResourceKind::InternetGateway,
        NetworkPart::RouteTable => ResourceKind::RouteTable,
        NetworkPart::ElasticIp => ResourceKind::ElasticIp,
        NetworkPart::NatGateway => ResourceKind::NatGateway,
    }
}
