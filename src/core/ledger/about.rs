//! The request of a run, and the target of its resources.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the resources of a run are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// State directory of the local cloud, if the run uses one.
    pub local_cloud: Option<String>,
    /// URL of EC2, if it is not the AWS endpoint.
    pub ec2: Option<String>,
    /// URL of S3, if it is not the AWS endpoint.
    pub s3: Option<String>,
    /// URL of STS, if it is not the AWS endpoint.
    pub sts: Option<String>,
    /// AWS profile, if `--profile` named one.
    pub profile: Option<String>,
    /// ARN of the role that the credentials assume, if `--role` named one.
    #[serde(default)]
    pub role: Option<String>,
    /// Region, if one is configured.
    pub region: Option<String>,
    /// Account ID; empty if the run does not use AWS or STS did not return the
    /// ID.
    #[serde(default)]
    pub account: String,
}

impl Target {
    /// Describes the endpoints, without the region and the account.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match (&self.local_cloud, &self.ec2, &self.s3) {
            (Some(_), ..) => "the local cloud".to_owned(),
            (None, None, None) => "AWS".to_owned(),
            (None, Some(ec2), Some(s3)) if ec2 == s3 => ec2.clone(),
            (None, ec2, s3) => {
                let url = |url: &Option<String>| url.clone().unwrap_or("AWS".to_owned());
                format!("EC2 at {} and S3 at {}", url(ec2), url(s3))
            }
        }
    }

    /// Describes the target: `AWS, eu-central-1, account 111122223333`.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = self.endpoint();
        if let Some(region) = &self.region {
            words = format!("{words}, {region}");
        }
        if !self.account.is_empty() {
            words = format!("{words}, account {}", self.account);
        }
        words
    }

    /// Returns a key of the endpoint and the region. Two runs of the same playbook
    /// under the same name must not run at the same time with the same key.
    pub(super) fn place(&self) -> String {
        let place = [
            self.local_cloud.as_ref().or(self.ec2.as_ref()),
            self.region.as_ref(),
        ];
        let place: Vec<&str> = place.iter().map(|p| p.map_or("", |p| p)).collect();
        place.join(" ")
    }
}

/// The source of a secret. The ledger records the source, not the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A shell command that prints it.
    Command(String),
    /// A file that holds it.
    File(PathBuf),
    /// A file of variables that holds it.
    Variables(PathBuf),
}

impl SecretSource {
    /// Returns the command, or the name of the file.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Command(command) => command,
            // Secrets are UTF-8, so another name cannot contain one.
            Self::File(file) | Self::Variables(file) => file.to_str().unwrap_or_default(),
        }
    }
}

/// The request of a run, as `resume` and `destroy` need it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// Path of the playbook, as on the command line.
    pub playbook: String,
    /// The directory at which relative paths start.
    pub directory: PathBuf,
    /// Values of the variables that are not secret.
    pub variables: BTreeMap<String, Value>,
    /// Names of the secret variables.
    pub secrets: Vec<String>,
    /// Sources of the secrets that can be read again.
    #[serde(default)]
    pub sources: BTreeMap<String, SecretSource>,
    /// Tags of `--tag`.
    pub tags: BTreeMap<String, String>,
    /// Seconds after which instances terminate themselves.
    pub ttl: Option<u64>,
    /// Where the resources are.
    pub target: Target,
    /// The ID of the ledger in which the run began, if it was moved to another one: the
    /// tag `autorun:owner` of its resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}
