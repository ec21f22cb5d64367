//! The description of the hardware, by which programs in an instance recognize
//! EC2: cloud-init, for instance, requests a session token of the metadata service
//! only there.
//!
//! The files are those of `/sys/class/dmi/id`. Where the kernel has that directory,
//! they cover it, which also hides the host's serial numbers. Elsewhere cloud-init
//! asks `dmidecode`, whose stand-in reads them.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::init::control::Reply;

/// The directory of the files in a machine.
const FILES: &str = "run/autorun/dmi";

/// The keywords of `dmidecode --string`, and their files.
const KEYWORDS: [(&str, &str); 11] = [
    ("baseboard-asset-tag", "board_asset_tag"),
    ("baseboard-manufacturer", "board_vendor"),
    ("bios-vendor", "bios_vendor"),
    ("bios-version", "bios_version"),
    ("chassis-asset-tag", "chassis_asset_tag"),
    ("chassis-manufacturer", "chassis_vendor"),
    ("system-manufacturer", "sys_vendor"),
    ("system-product-name", "product_name"),
    ("system-serial-number", "product_serial"),
    ("system-uuid", "product_uuid"),
    ("system-version", "product_version"),
];

/// Writes the files of the instance `id` below a machine's root. Returns their
/// directory.
pub(super) fn write(root: &Path, id: &str) -> io::Result<std::path::PathBuf> {
    let directory = root.join(FILES);
    fs::create_dir_all(&directory)?;
    let uuid = uuid(id);
    for (_, name) in KEYWORDS {
        let value = match name {
            "board_asset_tag" => id,
            "product_serial" | "product_uuid" => &uuid,
            "bios_version" => "1.0",
            "product_name" => "t3.micro",
            "product_version" => "",
            _ => "Amazon EC2",
        };
        fs::write(directory.join(name), format!("{value}\n"))?;
    }
    Ok(directory)
}

/// Returns the UUID of an instance, which begins with `ec2` on EC2.
fn uuid(id: &str) -> String {
    let digest = hex::encode(Sha256::digest(id.as_bytes()));
    let part = |from: usize, length: usize| &digest[from..from + length];
    format!(
        "ec2{}-{}-{}-{}-{}",
        part(0, 5),
        part(5, 4),
        part(9, 4),
        part(13, 4),
        part(17, 12)
    )
}

/// Runs the stand-in of `dmidecode`.
pub(super) fn dmidecode(args: &[String]) -> Reply {
    let keyword = match args {
        [option, keyword] if ["-s", "--string"].contains(&option.as_str()) => keyword,
        _ => {
            let message =
                "dmidecode: an instance of a local cloud supports only `--string KEYWORD`";
            return Reply::failure(message, 2);
        }
    };
    let file = KEYWORDS.iter().find(|(known, _)| known == keyword);
    let Some((_, file)) = file else {
        return Reply::failure(format!("Invalid string keyword: {keyword}"), 2);
    };
    match fs::read_to_string(Path::new("/").join(FILES).join(file)) {
        Ok(out) => Reply {
            out,
            ..Reply::default()
        },
        Err(error) => Reply::failure(format!("dmidecode: {error}"), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_is_that_of_an_instance_of_ec2() {
        let one = uuid("i-0123456789abcdef0");
        assert!(one.starts_with("ec2") && one.len() == 36, "{one}");
        assert_eq!(
            one.split('-').map(str::len).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert_ne!(one, uuid("i-0123456789abcdef1"));
    }

    #[test]
    fn the_files_are_those_of_the_kernel() {
        let root = tempfile::tempdir().unwrap();
        let directory = write(root.path(), "i-1").unwrap();
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!(read("sys_vendor"), "Amazon EC2\n");
        assert_eq!(read("board_asset_tag"), "i-1\n");
        assert_eq!(read("product_uuid"), read("product_serial"));
    }
}
