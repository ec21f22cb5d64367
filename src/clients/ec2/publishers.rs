//! The publishers of public images: their accounts in each partition of AWS, the
//! names of their images, and the user who logs in.
//!
//! Every account may publish an image under any name, so only the owner proves where an
//! image comes from. The account ids are those that the publishers document.

/// The login user of Amazon Linux, and of images whose publisher is unknown.
const EC2_USER: &str = "ec2-user";

/// The owner of the images in AWS Marketplace, which have the publishers' names.
const MARKETPLACE: &str = "679593333241";

/// A family of images, such as `ubuntu-24.04`.
struct Publisher {
    /// The name of the family. `VERSION` stands for numbers and dots.
    family: &'static str,
    /// An example of the name, for messages.
    example: &'static str,
    owners: Owners,
    /// The pattern of the images' names, with `VERSION` and `ARCH`. It excludes
    /// other products of the publisher: minimal, daily, LVM, beta and so on.
    pattern: &'static str,
    /// The beginning of the names of all images of the publisher.
    names: &'static str,
    /// The publisher's words for `x86_64` and `arm64`.
    architectures: [&'static str; 2],
    user: &'static str,
}

/// The account of a publisher in each partition, if it publishes there.
struct Owners {
    aws: Option<&'static str>,
    gov_cloud: Option<&'static str>,
    china: Option<&'static str>,
    /// Every other partition.
    other: Option<&'static str>,
}

const AMAZON: Owners = Owners {
    aws: Some("amazon"),
    gov_cloud: Some("amazon"),
    china: Some("amazon"),
    other: Some("amazon"),
};

const fn in_aws(account: &'static str) -> Owners {
    Owners {
        aws: Some(account),
        gov_cloud: None,
        china: None,
        other: None,
    }
}

const fn owners(aws: &'static str, gov_cloud: &'static str, china: &'static str) -> Owners {
    Owners {
        gov_cloud: Some(gov_cloud),
        china: Some(china),
        ..in_aws(aws)
    }
}

static PUBLISHERS: [Publisher; 8] = [
    Publisher {
        family: AMAZON_LINUX_2023,
        example: AMAZON_LINUX_2023,
        owners: AMAZON,
        pattern: "al2023-ami-2023.*-kernel-*-ARCH",
        names: "al2023-ami-",
        architectures: ["x86_64", "arm64"],
        user: EC2_USER,
    },
    Publisher {
        family: "amazon-linux-2",
        example: "amazon-linux-2",
        owners: AMAZON,
        pattern: "amzn2-ami-kernel-5.10-hvm-2.0.*-ARCH-gp2",
        names: "amzn2-ami-",
        architectures: ["x86_64", "arm64"],
        user: EC2_USER,
    },
    Publisher {
        family: "ubuntu-VERSION",
        example: "ubuntu-24.04",
        owners: owners("099720109477", "513442679011", "837727238323"),
        pattern: "ubuntu/images/hvm-ssd*/ubuntu-*-VERSION-ARCH-server-*",
        names: "ubuntu",
        architectures: ["amd64", "arm64"],
        user: "ubuntu",
    },
    Publisher {
        family: "debian-VERSION",
        example: "debian-13",
        owners: in_aws("136693071363"),
        pattern: "debian-VERSION-ARCH-2*",
        names: "debian-",
        architectures: ["amd64", "arm64"],
        user: "admin",
    },
    Publisher {
        family: "rhel-VERSION",
        example: "rhel-9",
        owners: owners("309956199498", "219670896067", "841258680906"),
        pattern: "RHEL-VERSION.*_HVM-*-ARCH-*-Hourly2-*",
        names: "RHEL",
        architectures: ["x86_64", "arm64"],
        user: EC2_USER,
    },
    Publisher {
        family: "rocky-VERSION",
        example: "rocky-9",
        owners: in_aws("792107900819"),
        pattern: "Rocky-VERSION-EC2-Base-*.ARCH",
        names: "Rocky-",
        architectures: ["x86_64", "aarch64"],
        user: "rocky",
    },
    Publisher {
        family: "almalinux-VERSION",
        example: "almalinux-9",
        owners: in_aws("764336703387"),
        pattern: "AlmaLinux OS VERSION.* ARCH",
        names: "AlmaLinux",
        architectures: ["x86_64", "aarch64"],
        user: EC2_USER,
    },
    Publisher {
        family: "sles-VERSION",
        example: "sles-15",
        owners: in_aws("013907871322"),
        pattern: "suse-sles-VERSION-sp?-v*-hvm-ssd-ARCH",
        names: "suse-",
        architectures: ["x86_64", "arm64"],
        user: EC2_USER,
    },
];

/// The family of Amazon Linux 2023, whose newest release has one image for each
/// kernel.
pub const AMAZON_LINUX_2023: &str = "amazon-linux-2023";

/// Where to look for the images of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The owner's account id or alias.
    pub owner: &'static str,
    /// The pattern of the image names.
    pub name: String,
}

/// Why a family has no images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpublished {
    /// There is no family with this name.
    Unknown,
    /// The publisher has no known account in the partition of the region.
    InThisPartition,
}

/// Returns where to look for the images of a family and an architecture
/// (`x86_64` or `arm64`) in a region.
pub fn published(family: &str, architecture: &str, region: &str) -> Result<Published, Unpublished> {
    let known = PUBLISHERS.iter().find_map(|publisher| {
        let version = publisher.version(family)?;
        Some((publisher, version))
    });
    let (publisher, version) = known.ok_or(Unpublished::Unknown)?;
    let owner = publisher.owners.in_region(region);
    let [intel, arm] = publisher.architectures;
    let word = if architecture == "arm64" { arm } else { intel };
    Ok(Published {
        owner: owner.ok_or(Unpublished::InThisPartition)?,
        name: publisher
            .pattern
            .replace("VERSION", version)
            .replace("ARCH", word),
    })
}

/// Returns an example of each family.
pub fn families() -> impl Iterator<Item = &'static str> {
    PUBLISHERS.iter().map(|publisher| publisher.example)
}

/// Returns the login user of an image, by its publisher: the user that the
/// publishers' cloud-init creates.
pub(super) fn login_user(owner: &str, name: &str) -> &'static str {
    let published = |publisher: &&Publisher| {
        publisher.owners.contain(owner)
            || (owner == MARKETPLACE && name.starts_with(publisher.names))
    };
    PUBLISHERS
        .iter()
        .find(published)
        .map_or(EC2_USER, |publisher| publisher.user)
}

/// The login user of an image that is not known.
pub(super) fn default_user() -> String {
    EC2_USER.to_owned()
}

impl Publisher {
    /// Returns the version in the name of a family, which is empty for a family
    /// with one version. Returns `None` for another family.
    fn version<'a>(&self, family: &'a str) -> Option<&'a str> {
        let Some(front) = self.family.strip_suffix("VERSION") else {
            return (self.family == family).then_some("");
        };
        let version = family.strip_prefix(front)?;
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        version.split('.').all(number).then_some(version)
    }
}

impl Owners {
    fn in_region(&self, region: &str) -> Option<&'static str> {
        match region.split('-').collect::<Vec<_>>()[..] {
            ["cn", ..] => self.china,
            ["us", "gov", ..] => self.gov_cloud,
            ["us", partition, ..] if partition.starts_with("iso") => self.other,
            ["eu", partition, ..] if partition.starts_with("iso") => self.other,
            ["eusc", ..] => self.other,
            _ => self.aws,
        }
    }

    fn contain(&self, owner: &str) -> bool {
        [self.aws, self.gov_cloud, self.china].contains(&Some(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_own_owners() {
        let ubuntu = |region| published("ubuntu-24.04", "x86_64", region);
        assert_eq!(ubuntu("eu-central-1").unwrap().owner, "099720109477");
        assert_eq!(ubuntu("us-gov-west-1").unwrap().owner, "513442679011");
        assert_eq!(ubuntu("cn-north-1").unwrap().owner, "837727238323");
        assert_eq!(ubuntu("us-iso-east-1"), Err(Unpublished::InThisPartition));
        assert_eq!(ubuntu("eusc-de-east-1"), Err(Unpublished::InThisPartition));
        let debian = |region| published("debian-12", "arm64", region);
        assert_eq!(debian("us-east-1").unwrap().owner, "136693071363");
        assert_eq!(debian("cn-north-1"), Err(Unpublished::InThisPartition));
        let amazon = published(AMAZON_LINUX_2023, "x86_64", "us-isob-east-1").unwrap();
        assert_eq!(amazon.owner, "amazon");
    }

    #[test]
    fn a_version_is_a_number() {
        let name = |family| published(family, "arm64", "us-east-1").map(|found| found.name);
        assert_eq!(
            name("ubuntu-26.04").unwrap(),
            "ubuntu/images/hvm-ssd*/ubuntu-*-26.04-arm64-server-*"
        );
        assert_eq!(name("rocky-9").unwrap(), "Rocky-9-EC2-Base-*.aarch64");
        for wrong in [
            "ubuntu",
            "ubuntu-",
            "ubuntu-*",
            "ubuntu-24.",
            "ubuntu-noble",
            "amazon-linux-20233",
            "debian-12*",
            "windows-2022",
            "",
        ] {
            assert_eq!(name(wrong), Err(Unpublished::Unknown), "{wrong}");
        }
        for example in families() {
            assert!(name(example).is_ok(), "{example}");
        }
    }

    #[test]
    fn the_publisher_decides_about_the_login_user() {
        for (owner, name, user) in [
            ("099720109477", "ubuntu-minimal/images/x", "ubuntu"),
            ("513442679011", "ubuntu/images/x", "ubuntu"),
            ("136693071363", "debian-12-amd64-20260923-2610", "admin"),
            ("137112412989", "al2023-ami-2023.1", "ec2-user"),
            (
                MARKETPLACE,
                "Rocky-9-EC2-Base-9.4-20240523.0.x86_64-0d51926d",
                "rocky",
            ),
            // Every account may choose this name.
            ("111122223333", "ubuntu/images/hvm-ssd/ubuntu-x", "ec2-user"),
        ] {
            assert_eq!(login_user(owner, name), user, "{owner} {name}");
        }
    }
}
