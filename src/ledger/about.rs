//! What a run was asked to do, and where its things are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the things of a run are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// State directory of the local cloud, if it is there.
    pub local_cloud: Option<String>,
    /// URL of EC2, where it is not AWS's.
    pub ec2: Option<String>,
    /// URL of S3, where it is not AWS's.
    pub s3: Option<String>,
    /// URL of STS, where it is not AWS's.
    pub sts: Option<String>,
    /// AWS profile, if one was named.
    pub profile: Option<String>,
    /// Region, if one is configured.
    pub region: Option<String>,
    /// Number of the account; empty when nothing of AWS was used, or when STS
    /// did not tell.
    #[serde(default)]
    pub account: String,
}

impl Target {
    /// What the endpoints are, without the region and the account.
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

    /// As a person reads it: `AWS, eu-central-1, account 111122223333`.
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

    /// What tells two places apart where runs must not meet.
    pub(super) fn place(&self) -> String {
        let place = [
            self.local_cloud.as_ref().or(self.ec2.as_ref()),
            self.region.as_ref(),
        ];
        let place: Vec<&str> = place.iter().map(|p| p.map_or("", |p| p)).collect();
        place.join(" ")
    }
}

/// Where a secret comes from, which is not in the ledger itself.
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
    /// The command, or the name of the file.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Command(command) => command,
            // A name that is not UTF-8 holds no secret, which is.
            Self::File(file) | Self::Variables(file) => file.to_str().unwrap_or_default(),
        }
    }
}

/// What a run was asked to do, as `resume` and `destroy` need it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// The playbook's path as it was given.
    pub playbook: String,
    /// The directory that relative paths start at.
    pub directory: PathBuf,
    /// Values of the variables, without the secret ones.
    pub variables: BTreeMap<String, Value>,
    /// Names of the secret ones.
    pub secrets: Vec<String>,
    /// Where those can be read again that came from somewhere.
    #[serde(default)]
    pub sources: BTreeMap<String, SecretSource>,
    /// Tags given by `--tag`.
    pub tags: BTreeMap<String, String>,
    /// Seconds after which instances end themselves.
    pub ttl: Option<u64>,
    /// Where it runs.
    pub target: Target,
}
