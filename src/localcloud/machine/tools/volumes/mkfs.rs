//! `mkfs.ext4` and `mkfs.xfs`.

use super::super::super::init::client::ask_for_volumes;
use super::super::super::init::control::Reply;
use super::super::super::volumes::{Format, Kind, Request};
use super::super::options::{Known, Value, parse};
use super::super::unsupported;
use super::{find, pass_on, volumes};

/// The options that have an effect, and those without one on an empty file.
const OF_EXT4: [Known; 8] = [
    (Some('L'), "label", Value::Required),
    (Some('U'), "uuid", Value::Required),
    (Some('m'), "reserved", Value::Required),
    (Some('E'), "extended", Value::Required),
    (Some('t'), "type", Value::Required),
    (Some('F'), "force", Value::No),
    (Some('q'), "quiet", Value::No),
    (Some('v'), "verbose", Value::No),
];
const OF_XFS: [Known; 5] = [
    (Some('L'), "label", Value::Required),
    (Some('m'), "metadata", Value::Required),
    (Some('f'), "force", Value::No),
    (Some('q'), "quiet", Value::No),
    (Some('K'), "no-discard", Value::No),
];

pub(super) fn run(tool: &str, args: &[String]) -> Reply {
    let all = volumes();
    let Some(volume) = args.iter().find_map(|word| find(&all, word)) else {
        return pass_on(tool, args);
    };
    let kind = if tool == "mkfs.xfs" {
        Kind::Xfs
    } else {
        Kind::Ext4
    };
    let (format, is_forced) = match read(tool, kind, args) {
        Ok(read) => read,
        Err(reply) => return reply,
    };
    if let Some(content) = volume
        .content
        .as_ref()
        .filter(|_| kind == Kind::Xfs && !is_forced)
    {
        let message = format!(
            "mkfs.xfs: {} appears to contain an existing filesystem ({}).\n\
             mkfs.xfs: Use the -f option to force overwrite.",
            volume.device,
            content.kind.as_str()
        );
        return Reply::failure(message, 1);
    }
    let device = volume.device.clone();
    let request = Request::Format(Format {
        device: device.clone(),
        ..format
    });
    match ask_for_volumes(&request) {
        Ok(all) => {
            let made = find(&all, &device).and_then(|volume| volume.content.as_ref());
            let uuid = made.map_or("", |content| &content.uuid);
            let is_quiet = args.iter().any(|arg| arg == "-q");
            let text = format!("Creating filesystem on {device}\nFilesystem UUID: {uuid}\n");
            Reply::success(if is_quiet { String::new() } else { text })
        }
        Err(reason) => Reply::failure(format!("{tool}: {reason}"), 1),
    }
}

/// Reads the options. Returns whether an existing file system may be overwritten.
fn read(tool: &str, kind: Kind, args: &[String]) -> Result<(Format, bool), Reply> {
    let known: &[Known] = match kind {
        Kind::Ext4 => &OF_EXT4,
        Kind::Xfs => &OF_XFS,
    };
    let (given, words) = parse(tool, known, args)?;
    // The size of the file system, in blocks.
    if let [_, size, ..] = &words[..] {
        return Err(unsupported(tool, size));
    }
    let mut format = Format {
        device: String::new(),
        kind,
        label: None,
        uuid: None,
        reserved: None,
    };
    let mut is_forced = false;
    for (name, value) in given {
        let value = value.unwrap_or_default();
        match name {
            "label" => format.label = Some(value),
            "uuid" if value != "random" => format.uuid = Some(value),
            "reserved" => match value.parse() {
                Ok(percent) => format.reserved = Some(percent),
                Err(_) => return Err(unsupported(tool, &format!("-m {value}"))),
            },
            "metadata" => match value.strip_prefix("uuid=") {
                Some(uuid) => format.uuid = Some(uuid.to_owned()),
                None => return Err(unsupported(tool, &format!("-m {value}"))),
            },
            "extended" if !is_about_speed(&value) => {
                return Err(unsupported(tool, &format!("-E {value}")));
            }
            "type" if value != "ext4" => return Err(unsupported(tool, &format!("-t {value}"))),
            "force" => is_forced = true,
            _ => {}
        }
    }
    Ok((format, is_forced))
}

/// Whether extended options decide only how fast the program is.
fn is_about_speed(options: &str) -> bool {
    let known = [
        "discard",
        "nodiscard",
        "lazy_itable_init",
        "lazy_journal_init",
    ];
    let mut names = options
        .split(',')
        .map(|option| option.split('=').next().unwrap_or(option));
    names.all(|name| known.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::words;
    use super::*;

    #[test]
    fn options_that_would_have_no_effect_are_refused() {
        let ext4 = |line: &str| read("mkfs.ext4", Kind::Ext4, &words(line));
        let (format, _) = ext4("-q -L data -m 1 -E nodiscard /dev/nvme1n1").unwrap();
        assert_eq!(
            (format.label.as_deref(), format.reserved),
            (Some("data"), Some(1))
        );
        for line in [
            "-O ^has_journal x",
            "-E stride=2 x",
            "-m x y",
            "-b 4096 x",
            "x 100M",
        ] {
            let reply = ext4(line).unwrap_err();
            assert!(
                reply.err.contains("does not support"),
                "{line}: {}",
                reply.err
            );
        }
        let xfs = |line: &str| read("mkfs.xfs", Kind::Xfs, &words(line));
        assert!(xfs("-f /dev/nvme1n1").unwrap().1);
        assert!(xfs("-d su=64k /dev/nvme1n1").is_err());
    }
}
