//! EC2: one method per request.
//!
//! The methods do not wait. They retry only what the SDK retries, and what
//! EC2's eventual consistency requires right after a create request. An error
//! code to which a caller must react is a variant of the method's result.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{Builder, Region};
use tokio_util::sync::CancellationToken;

mod addresses;
mod capabilities;
mod default_vpc;
mod dry_run;
mod fleets;
mod images;
mod instance_types;
mod instances;
mod key_pairs;
mod launch;
mod launch_templates;
mod lendable;
mod marked;
mod nat_gateways;
mod network_contents;
mod networks;
mod own_images;
mod publishers;
mod security_groups;
mod snapshots;
mod tags;
mod volumes;

pub use addresses::{Address, Associated};
pub use fleets::{Filled, Fleet, FleetAnswer, MOST_CHOICES, Place, Shortfall};
pub use images::{Image, Wanted};
pub use instance_types::{TypeInfo, likely_architecture};
pub use instances::{Console, EndReason, Instance, InstanceState, Start, no_instance};
pub use launch::{Credits, DataVolume, LONGEST_USER_DATA, Launch, Launched, volume_types};
pub use launch_templates::NewTemplate;
pub use marked::Marked;
pub use nat_gateways::NatState;
pub use network_contents::Contents;
pub use networks::{NetworkPart, NewPart};
pub use own_images::{ImageState, NewImage, OwnImage};
pub use publishers::{AMAZON_LINUX_2023, Published, Unpublished, families, published};
pub use security_groups::{Created, Deletion, Ingress};
pub use snapshots::{Snapshot, SnapshotState};
pub use volumes::{Attachment, NewVolume, Volume, VolumeState};

/// One attempt, for create requests without a client token: a second attempt after a
/// lost answer could create a second resource.
fn once() -> Builder {
    Builder::new().retry_config(RetryConfig::disabled())
}

/// The EC2 client of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ec2<'a> {
    client: &'a Client,
    cancel: &'a CancellationToken,
}

impl<'a> Ec2<'a> {
    pub(super) fn new(client: &'a Client, cancel: &'a CancellationToken) -> Self {
        Self { client, cancel }
    }

    /// Returns the region.
    #[must_use]
    pub fn region(&self) -> &'a str {
        let region = self.client.config().region();
        region.map_or("an unknown region", Region::as_ref)
    }
}
