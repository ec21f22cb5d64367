//! The device names of volumes, which depend on the instance type and the image.

use serde::{Deserialize, Serialize};

/// A volume that is attached to an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataVolume {
    /// The volume id.
    pub(crate) id: String,
    /// The device name of the attachment, such as `/dev/sdf`.
    pub(crate) device: String,
    pub(crate) gibibytes: u32,
}

/// How a machine names its volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Naming {
    /// Whether volumes are NVMe disks, as on Nitro types.
    pub(crate) nvme: bool,
    /// Whether the image has Amazon's udev rules, which link the device name of the
    /// attachment to the disk.
    pub(crate) links: bool,
}

impl Naming {
    /// Returns the path of a new volume's device, and those of the links to it.
    pub(super) fn names(
        self,
        volume: &DataVolume,
        is_taken: impl Fn(&str) -> bool,
    ) -> (String, Vec<String>) {
        let given = volume.device.trim_start_matches("/dev/");
        let mut links = Vec::new();
        let device = if self.nvme {
            let id = volume.id.replace('-', "");
            links.push(format!(
                "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{id}"
            ));
            // The first disk is that of the root volume.
            let mut paths = (1..).map(|number: u32| format!("/dev/nvme{number}n1"));
            paths.find(|path| !is_taken(path)).unwrap_or_default()
        } else {
            let letters = given.trim_start_matches("xvd");
            let letters = letters.trim_start_matches("sd").trim_start_matches("hd");
            format!("/dev/xvd{letters}")
        };
        let link = format!("/dev/{given}");
        if self.links && link != device {
            links.push(link);
        }
        (device, links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_hypervisor() {
        let volume = |device: &str| DataVolume {
            id: "vol-0a1".to_owned(),
            device: device.to_owned(),
            gibibytes: 1,
        };
        let names = |nvme, links, device| {
            Naming { nvme, links }.names(&volume(device), |path| path == "/dev/nvme1n1")
        };
        let by_id = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1".to_owned();
        assert_eq!(
            names(true, true, "/dev/sdf"),
            (
                "/dev/nvme2n1".to_owned(),
                vec![by_id.clone(), "/dev/sdf".to_owned()]
            )
        );
        assert_eq!(
            names(true, false, "/dev/sdf"),
            ("/dev/nvme2n1".to_owned(), vec![by_id])
        );
        assert_eq!(
            names(false, true, "/dev/sdf"),
            ("/dev/xvdf".to_owned(), vec!["/dev/sdf".to_owned()])
        );
        assert_eq!(
            names(false, true, "xvdba"),
            ("/dev/xvdba".to_owned(), Vec::new())
        );
    }
}
