//! The catalogue of machine images: images that AWS really has, or had, with
//! their names and owners. Their ids are the local cloud's own.

/// An image that a publisher offers for both architectures.
pub(super) struct Model {
    /// The name, with `ARCH`.
    pub(super) name: &'static str,
    pub(super) publisher: &'static Publisher,
    /// The day of the creation.
    pub(super) created: &'static str,
    /// Whether the publisher has deprecated the image.
    pub(super) deprecated: bool,
}

/// The publisher of images.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) owner: &'static str,
    /// The alias of the owner. Only Amazon and AWS Marketplace have one.
    pub(super) alias: Option<&'static str>,
    /// The operating system, for descriptions.
    pub(super) system: &'static str,
    /// The login user.
    pub(super) user: &'static str,
    /// The words for `x86_64` and `arm64`.
    pub(super) architectures: [&'static str; 2],
    pub(super) root_device: &'static str,
    /// The size of the root volume in GiB.
    pub(super) size: u32,
    pub(super) platform: &'static str,
    pub(super) usage_operation: &'static str,
    /// Whether AWS's free tier includes the images.
    pub(super) free_tier: bool,
    /// Whether instances require tokens of the metadata service.
    pub(super) tokens_required: bool,
}

const LINUX: Publisher = Publisher {
    owner: "",
    alias: None,
    system: "Linux",
    user: "ec2-user",
    architectures: ["x86_64", "arm64"],
    root_device: "/dev/sda1",
    size: 8,
    platform: "Linux/UNIX",
    usage_operation: "RunInstances",
    free_tier: true,
    tokens_required: false,
};

static AMAZON_LINUX_2023: Publisher = Publisher {
    owner: "137112412989",
    alias: Some("amazon"),
    system: "Amazon Linux 2023",
    root_device: "/dev/xvda",
    tokens_required: true,
    ..LINUX
};

static AMAZON_LINUX_2: Publisher = Publisher {
    owner: "137112412989",
    alias: Some("amazon"),
    system: "Amazon Linux 2",
    root_device: "/dev/xvda",
    ..LINUX
};

static CANONICAL: Publisher = Publisher {
    owner: "099720109477",
    system: "Ubuntu",
    user: "ubuntu",
    architectures: ["amd64", "arm64"],
    ..LINUX
};

static DEBIAN: Publisher = Publisher {
    owner: "136693071363",
    system: "Debian",
    user: "admin",
    architectures: ["amd64", "arm64"],
    root_device: "/dev/xvda",
    ..LINUX
};

static ROCKY: Publisher = Publisher {
    owner: "792107900819",
    system: "Rocky Linux",
    user: "rocky",
    free_tier: false,
    architectures: ["x86_64", "aarch64"],
    size: 10,
    ..LINUX
};

static ALMALINUX: Publisher = Publisher {
    owner: "764336703387",
    system: "AlmaLinux OS",
    free_tier: false,
    architectures: ["x86_64", "aarch64"],
    size: 10,
    ..LINUX
};

static RED_HAT: Publisher = Publisher {
    owner: "309956199498",
    system: "Red Hat Enterprise Linux",
    size: 10,
    platform: "Red Hat Enterprise Linux",
    usage_operation: "RunInstances:0010",
    ..LINUX
};

static SUSE: Publisher = Publisher {
    owner: "013907871322",
    system: "SUSE Linux Enterprise Server",
    size: 10,
    platform: "SUSE Linux",
    usage_operation: "RunInstances:000g",
    ..LINUX
};

const fn image(publisher: &'static Publisher, created: &'static str, name: &'static str) -> Model {
    Model {
        name,
        publisher,
        created,
        deprecated: false,
    }
}

const fn deprecated(model: &Model) -> Model {
    Model {
        deprecated: true,
        ..*model
    }
}

/// The kernel of the default image of Amazon Linux 2023, as AWS's parameter named
/// it in October 2026.
const DEFAULT_KERNEL: &str = "6.18";

/// The images, of each family the newest one last.
#[rustfmt::skip]
pub(super) static MODELS: [Model; 23] = [
    image(&AMAZON_LINUX_2023, "2026-08-25", "al2023-ami-2023.11.20260825.0-kernel-6.12-ARCH"),
    image(&AMAZON_LINUX_2023, "2026-09-30", "al2023-ami-2023.12.20260930.0-kernel-6.1-ARCH"),
    image(&AMAZON_LINUX_2023, "2026-09-30", "al2023-ami-2023.12.20260930.0-kernel-6.12-ARCH"),
    image(&AMAZON_LINUX_2023, "2026-09-30", "al2023-ami-2023.12.20260930.0-kernel-6.18-ARCH"),
    image(&AMAZON_LINUX_2023, "2026-09-30", "al2023-ami-minimal-2023.12.20260930.0-kernel-6.18-ARCH"),
    image(&AMAZON_LINUX_2, "2026-09-30", "amzn2-ami-hvm-2.0.20260930.0-ARCH-gp2"),
    image(&AMAZON_LINUX_2, "2026-09-30", "amzn2-ami-kernel-5.10-hvm-2.0.20260930.0-ARCH-gp2"),
    image(&CANONICAL, "2026-07-31", "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-ARCH-server-20260731"),
    deprecated(&image(&CANONICAL, "2025-03-05", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-ARCH-server-20250305")),
    image(&CANONICAL, "2026-07-14", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-ARCH-server-20260714"),
    image(&CANONICAL, "2026-09-04", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-ARCH-server-20260904"),
    image(&CANONICAL, "2026-09-05", "ubuntu-minimal/images/hvm-ssd-gp3/ubuntu-noble-24.04-ARCH-minimal-20260904"),
    image(&CANONICAL, "2026-09-05", "ubuntu-pro-server/images/hvm-ssd-gp3/ubuntu-noble-24.04-ARCH-pro-server-20260904"),
    image(&CANONICAL, "2026-10-03", "ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-ARCH-server-20261003"),
    image(&DEBIAN, "2026-08-21", "debian-12-backports-ARCH-20260821-2577"),
    image(&DEBIAN, "2026-08-21", "debian-12-ARCH-20260821-2577"),
    image(&DEBIAN, "2026-07-12", "debian-13-ARCH-20260712-2537"),
    image(&DEBIAN, "2026-09-14", "debian-13-ARCH-20260914-2601"),
    image(&ROCKY, "2025-11-23", "Rocky-9-EC2-LVM-9.7-20251123.2.ARCH"),
    image(&ROCKY, "2025-11-23", "Rocky-9-EC2-Base-9.7-20251123.2.ARCH"),
    image(&ALMALINUX, "2025-11-18", "AlmaLinux OS 9.7.20251118 ARCH"),
    image(&RED_HAT, "2025-03-13", "RHEL-9.5.0_HVM-20250313-ARCH-0-Hourly2-GP3"),
    image(&SUSE, "2024-01-29", "suse-sles-15-sp5-v20240129-hvm-ssd-ARCH"),
];

/// The public parameters of Systems Manager, and the beginning of the name of the
/// image that each of them names. `ARCH` stands for the publisher's word.
pub(super) fn parameters() -> Vec<(String, String)> {
    let amazon = |name: String| format!("/aws/service/ami-amazon-linux-latest/{name}");
    let al2023 = |kernel: &str| format!("al2023-ami-2023.12.20260930.0-kernel-{kernel}-ARCH");
    let mut all = vec![
        (
            amazon("al2023-ami-kernel-default-ARCH".to_owned()),
            al2023(DEFAULT_KERNEL),
        ),
        (
            amazon("amzn2-ami-kernel-5.10-hvm-ARCH-gp2".to_owned()),
            "amzn2-ami-kernel-5.10-hvm-2.0.20260930.0-ARCH-gp2".to_owned(),
        ),
        (
            "/aws/service/debian/release/12/latest/ARCH".to_owned(),
            "debian-12-ARCH-20260821-2577".to_owned(),
        ),
        (
            "/aws/service/debian/release/13/latest/ARCH".to_owned(),
            "debian-13-ARCH-20260914-2601".to_owned(),
        ),
    ];
    for kernel in ["6.1", "6.12", "6.18"] {
        all.push((
            amazon(format!("al2023-ami-kernel-{kernel}-ARCH")),
            al2023(kernel),
        ));
    }
    for (version, volume, image) in [
        (
            "22.04",
            "gp2",
            "hvm-ssd/ubuntu-jammy-22.04-ARCH-server-20260731",
        ),
        (
            "24.04",
            "gp3",
            "hvm-ssd-gp3/ubuntu-noble-24.04-ARCH-server-20260904",
        ),
        (
            "26.04",
            "gp3",
            "hvm-ssd-gp3/ubuntu-resolute-26.04-ARCH-server-20261003",
        ),
    ] {
        all.push((
            format!(
                "/aws/service/canonical/ubuntu/server/{version}/stable/current/ARCH/hvm/\
                 ebs-{volume}/ami-id"
            ),
            format!("ubuntu/images/{image}"),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_names_an_image() {
        for (parameter, image) in parameters() {
            let found = MODELS.iter().find(|model| model.name == image);
            assert!(found.is_some_and(|model| !model.deprecated), "{parameter}");
        }
    }
}
