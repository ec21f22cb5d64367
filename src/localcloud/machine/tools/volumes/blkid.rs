//! `blkid`, for volumes.

use std::fmt::Write as _;

use super::super::super::init::control::Reply;
use super::super::super::volumes::Volume;
use super::super::options::{Known, Value, parse};
use super::{find, pass_on, volumes};

const KNOWN: [Known; 8] = [
    (Some('s'), "match-tag", Value::Required),
    (Some('o'), "output", Value::Required),
    (Some('p'), "probe", Value::No),
    (Some('c'), "cache-file", Value::Required),
    (Some('g'), "garbage-collect", Value::No),
    (Some('L'), "label", Value::Required),
    (Some('U'), "uuid", Value::Required),
    (Some('t'), "match-token", Value::Required),
];

/// The exit status if nothing is found.
const NOTHING: u8 = 2;

pub(super) fn run(args: &[String]) -> Reply {
    let Ok((given, words)) = parse("blkid", &KNOWN, args) else {
        return pass_on("blkid", args);
    };
    let all = volumes();
    if words.iter().any(|word| find(&all, word).is_none()) {
        return pass_on("blkid", args);
    }
    let value = |name: &str| {
        let mut values = given.iter().filter(|(given, _)| *given == name);
        values.next().and_then(|(_, value)| value.clone())
    };
    let wanted: Vec<&str> = given
        .iter()
        .filter(|(name, _)| *name == "match-tag")
        .filter_map(|(_, value)| value.as_deref())
        .collect();
    let (mut format, mut token) = (value("output"), value("match-token"));
    for (option, prefix) in [("label", "LABEL="), ("uuid", "UUID=")] {
        if let Some(value) = value(option) {
            format = Some("device".to_owned());
            token = Some(format!("{prefix}{value}"));
        }
    }
    let named: Vec<&Volume> = match &words[..] {
        [] => all.iter().collect(),
        words => words.iter().filter_map(|word| find(&all, word)).collect(),
    };
    let of_token = |volume: &&Volume| {
        let token = token.as_deref().and_then(|token| token.split_once('='));
        token.is_none_or(|(name, value)| {
            let value = value.trim_matches('"');
            pairs(volume).iter().any(|(n, v)| *n == name && v == value)
        })
    };
    let mut out = String::new();
    for volume in named.into_iter().filter(of_token) {
        out.push_str(&shown(volume, &wanted, format.as_deref().unwrap_or("full")));
    }
    if out.is_empty() {
        return Reply {
            code: NOTHING,
            ..Reply::default()
        };
    }
    Reply::success(out)
}

/// Returns the names and values of what is known of a volume.
fn pairs(volume: &Volume) -> Vec<(&'static str, String)> {
    let Some(content) = &volume.content else {
        return Vec::new();
    };
    let label = (!content.label.is_empty()).then(|| ("LABEL", content.label.clone()));
    label
        .into_iter()
        .chain([
            ("UUID", content.uuid.clone()),
            ("BLOCK_SIZE", block_size(volume).to_owned()),
            ("TYPE", content.kind.as_str().to_owned()),
        ])
        .collect()
}

/// Returns the size of the smallest piece that the file system reads.
fn block_size(volume: &Volume) -> &'static str {
    use super::super::super::volumes::Kind;
    match volume.content.as_ref().map(|content| content.kind) {
        Some(Kind::Xfs) => "512",
        _ => "4096",
    }
}

fn shown(volume: &Volume, wanted: &[&str], format: &str) -> String {
    let mut pairs = pairs(volume);
    pairs.retain(|(name, _)| wanted.is_empty() || wanted.contains(name));
    if pairs.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    match format {
        "value" => pairs.iter().for_each(|(_, value)| {
            let _ = writeln!(text, "{value}");
        }),
        "device" => {
            let _ = writeln!(text, "{}", volume.device);
        }
        "export" | "udev" => {
            let _ = writeln!(text, "DEVNAME={}", volume.device);
            for (name, value) in pairs {
                let _ = writeln!(text, "{name}={value}");
            }
        }
        _ => {
            let all = pairs
                .iter()
                .map(|(name, value)| format!(" {name}=\"{value}\""));
            let _ = writeln!(text, "{}:{}", volume.device, all.collect::<String>());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::volume;
    use super::*;

    #[test]
    fn output_has_the_form_of_the_real_program() {
        let volume = volume();
        assert_eq!(
            shown(&volume, &[], "full"),
            "/dev/nvme1n1: LABEL=\"data\" UUID=\"8f3e0e6b-5c0f-4f0e-9a52-0d5f0c0f2a11\" \
             BLOCK_SIZE=\"4096\" TYPE=\"ext4\"\n"
        );
        assert_eq!(shown(&volume, &["TYPE"], "value"), "ext4\n");
        assert_eq!(
            shown(&volume, &["TYPE"], "export"),
            "DEVNAME=/dev/nvme1n1\nTYPE=ext4\n"
        );
        let empty = Volume {
            content: None,
            ..volume
        };
        assert_eq!(shown(&empty, &[], "full"), "");
    }
}
