//! `lsblk`. The kernel would show the disks of the machine that the local cloud runs
//! on.

use serde_json::{Map, Value as Json};

use super::super::super::init::control::Reply;
use super::super::super::volumes::Volume;
use super::super::options::{Known, Value, parse};
use super::super::unsupported;
use super::{find, volumes};

const KNOWN: [Known; 10] = [
    (Some('f'), "fs", Value::No),
    (Some('o'), "output", Value::Required),
    (Some('n'), "noheadings", Value::No),
    (Some('d'), "nodeps", Value::No),
    (Some('p'), "paths", Value::No),
    (Some('b'), "bytes", Value::No),
    (Some('J'), "json", Value::No),
    (Some('r'), "raw", Value::No),
    (Some('l'), "list", Value::No),
    (Some('a'), "all", Value::No),
];

const COLUMNS: [&str; 15] = [
    "NAME",
    "KNAME",
    "PATH",
    "MAJ:MIN",
    "RM",
    "SIZE",
    "RO",
    "TYPE",
    "MOUNTPOINT",
    "MOUNTPOINTS",
    "FSTYPE",
    "LABEL",
    "UUID",
    "SERIAL",
    "MODEL",
];
const DEFAULT: &str = "NAME,MAJ:MIN,RM,SIZE,RO,TYPE,MOUNTPOINTS";
const OF_FS: &str = "NAME,FSTYPE,LABEL,UUID,MOUNTPOINTS";

/// How a row is written.
#[derive(Clone, Copy)]
struct Style {
    in_bytes: bool,
    with_paths: bool,
}

pub(super) fn run(args: &[String]) -> Reply {
    let (given, words) = match parse("lsblk", &KNOWN, args) {
        Ok(parsed) => parsed,
        Err(reply) => return reply,
    };
    let has = |name: &str| given.iter().any(|(given, _)| *given == name);
    let chosen = given.iter().find(|(name, _)| *name == "output");
    let chosen = chosen.and_then(|(_, value)| value.as_deref());
    let default = if has("fs") { OF_FS } else { DEFAULT };
    let names = chosen.unwrap_or(default).to_uppercase();
    let columns: Vec<&str> = names.split(',').collect();
    if let Some(other) = columns.iter().find(|name| !COLUMNS.contains(name)) {
        return unsupported("lsblk", &format!("-o {other}"));
    }
    let mut all = volumes();
    if words.is_empty() {
        all.insert(0, root(&all));
    } else if let Some(other) = words.iter().find(|word| find(&all, word).is_none()) {
        return Reply::failure(format!("lsblk: {other}: not a block device"), MISSING);
    } else {
        all = words
            .iter()
            .filter_map(|word| find(&all, word).cloned())
            .collect();
    }
    let style = Style {
        in_bytes: has("bytes"),
        with_paths: has("paths"),
    };
    Reply::success(if has("json") {
        json(&all, &columns, style)
    } else {
        table(&all, &columns, style, has("noheadings"), has("raw"))
    })
}

/// The exit status for a device that does not exist.
const MISSING: u8 = 32;

/// Returns the root volume. Its name is that of the first disk beside the others.
fn root(others: &[Volume]) -> Volume {
    let size = rustix::fs::statvfs("/").map_or(0, |found| found.f_frsize * found.f_blocks);
    let is_xen = others
        .iter()
        .any(|other| other.device.starts_with("/dev/xvd"));
    let device = if is_xen { "/dev/xvda" } else { "/dev/nvme0n1" };
    Volume {
        device: device.to_owned(),
        links: Vec::new(),
        id: String::new(),
        // The volume is a little larger than its file system.
        bytes: size.div_ceil(1 << 30) << 30,
        content: None,
        mounts: vec!["/".to_owned()],
    }
}

fn value(volume: &Volume, number: usize, column: &str, style: Style) -> String {
    let name = volume.device.trim_start_matches("/dev/");
    let content = volume.content.as_ref();
    match column {
        "NAME" | "KNAME" if !style.with_paths => name.to_owned(),
        "NAME" | "KNAME" | "PATH" => volume.device.clone(),
        "MAJ:MIN" => format!("259:{number}"),
        "RM" | "RO" => "0".to_owned(),
        "SIZE" if style.in_bytes => volume.bytes.to_string(),
        "SIZE" => format!("{}G", volume.bytes >> 30),
        "TYPE" => "disk".to_owned(),
        "MOUNTPOINT" | "MOUNTPOINTS" => volume.mounts.first().cloned().unwrap_or_default(),
        "FSTYPE" => content
            .map_or("", |content| content.kind.as_str())
            .to_owned(),
        "LABEL" => content.map_or(String::new(), |content| content.label.clone()),
        "UUID" => content.map_or(String::new(), |content| content.uuid.clone()),
        "SERIAL" => volume.id.replace('-', ""),
        "MODEL" => "Amazon Elastic Block Store".to_owned(),
        _ => String::new(),
    }
}

fn table(all: &[Volume], columns: &[&str], style: Style, bare: bool, raw: bool) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !bare {
        rows.push(columns.iter().map(|name| (*name).to_owned()).collect());
    }
    for (number, volume) in all.iter().enumerate() {
        let cells = columns
            .iter()
            .map(|column| value(volume, number, column, style));
        rows.push(cells.collect());
    }
    let width = |place: usize| rows.iter().map(|row| row[place].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(columns)
            .zip(&widths)
            .map(|((cell, column), width)| {
                let to_the_right = matches!(*column, "MAJ:MIN" | "RM" | "SIZE" | "RO");
                match (raw, to_the_right) {
                    (true, _) => cell.clone(),
                    (false, true) => format!("{cell:>width$}"),
                    (false, false) => format!("{cell:width$}"),
                }
            });
        let line = cells.collect::<Vec<_>>().join(" ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn json(all: &[Volume], columns: &[&str], style: Style) -> String {
    let device = |(number, volume): (usize, &Volume)| {
        let cells = columns.iter().map(|column| {
            let text = value(volume, number, column, style);
            let cell = match *column {
                "RM" | "RO" => Json::Bool(false),
                "SIZE" if style.in_bytes => Json::from(volume.bytes),
                "MOUNTPOINTS" if text.is_empty() => Json::from(vec![Json::Null]),
                "MOUNTPOINTS" => Json::from(volume.mounts.clone()),
                _ if text.is_empty() => Json::Null,
                _ => Json::String(text),
            };
            (column.to_lowercase(), cell)
        });
        Json::Object(cells.collect::<Map<_, _>>())
    };
    let devices: Vec<Json> = all.iter().enumerate().map(device).collect();
    let all = serde_json::json!({ "blockdevices": devices });
    format!(
        "{}\n",
        serde_json::to_string_pretty(&all).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::volume;
    use super::*;

    const STYLE: Style = Style {
        in_bytes: false,
        with_paths: false,
    };

    #[test]
    fn disks_are_shown_in_a_table() {
        let columns = ["NAME", "SIZE", "FSTYPE", "MOUNTPOINT"];
        assert_eq!(
            table(&[volume()], &columns, STYLE, false, false),
            "NAME    SIZE FSTYPE MOUNTPOINT\nnvme1n1  10G ext4   /srv/data\n"
        );
        let raw = table(&[volume()], &columns[..2], STYLE, true, true);
        assert_eq!(raw, "nvme1n1 10G\n");
    }

    #[test]
    fn disks_are_shown_in_json() {
        let text = json(&[volume()], &["NAME", "RO", "MOUNTPOINTS"], STYLE);
        let found: Json = serde_json::from_str(&text).unwrap();
        let wanted = serde_json::json!({ "blockdevices": [
            { "name": "nvme1n1", "ro": false, "mountpoints": ["/srv/data"] },
        ] });
        assert_eq!(found, wanted);
    }
}
