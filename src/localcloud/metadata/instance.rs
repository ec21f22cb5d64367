//! The data of one instance that the metadata service shows.

/// The metadata of an instance.
#[derive(Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent settings of the instance"
)]
pub(crate) struct Metadata {
    pub instance_id: String,
    pub ami_id: String,
    pub instance_type: String,
    /// The number of the instance among those of its launch, from 0.
    pub launch_index: u32,
    /// The device name of the root volume, such as `/dev/xvda`.
    pub root_device: String,
    /// The device names of the other volumes.
    pub other_devices: Vec<String>,
    /// Whether detailed monitoring is enabled.
    pub monitoring: bool,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    pub local_ipv4: String,
    pub public_ipv4: Option<String>,
    pub local_hostname: String,
    pub public_hostname: Option<String>,
    pub mac: String,
    pub interface_id: String,
    pub subnet_id: String,
    pub subnet_cidr: String,
    pub vpc_id: String,
    pub vpc_cidr: String,
    pub region: String,
    pub availability_zone: String,
    pub availability_zone_id: String,
    pub account: String,
    pub reservation_id: String,
    /// When the launch was requested, such as `2026-01-31T12:00:00Z`.
    pub pending_time: String,
    /// The name of the key pair and its public key in OpenSSH format.
    pub key_name: Option<(String, String)>,
    /// The names of the security groups.
    pub security_groups: Vec<String>,
    pub security_group_ids: Vec<String>,
    pub user_data: Option<Vec<u8>>,
    /// The ARN and the id of the instance profile.
    pub iam_profile: Option<(String, String)>,
    /// The name of the profile's role, and its credentials as a JSON document.
    pub role: Option<(String, serde_json::Value)>,
    /// Whether it is a spot instance.
    pub spot: bool,
    /// When EC2 terminates the spot instance, such as `2026-01-31T12:00:00Z`.
    pub interruption: Option<String>,
    pub tags: Vec<(String, String)>,
    /// Whether the instance's tags are shown.
    pub instance_metadata_tags: bool,
    /// Whether every request needs a session token (`HttpTokens=required`).
    pub tokens_required: bool,
    /// Whether the service answers this instance (`HttpEndpoint=enabled`).
    pub enabled: bool,
}
