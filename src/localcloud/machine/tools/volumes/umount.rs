//! `umount`, for volumes.

use super::super::super::init::client::ask_for_volumes;
use super::super::super::init::control::Reply;
use super::super::super::volumes::{Request, Volume};
use super::super::options::{Known, Value, parse};
use super::{MOUNT_FAILURE, canonical, find, pass_on, run_own, volumes};

const KNOWN: [Known; 5] = [
    (Some('l'), "lazy", Value::No),
    (Some('f'), "force", Value::No),
    (Some('n'), "no-mtab", Value::No),
    (Some('q'), "quiet", Value::No),
    (Some('v'), "verbose", Value::No),
];

pub(super) fn run(args: &[String]) -> Reply {
    let Ok((given, words)) = parse("umount", &KNOWN, args) else {
        return pass_on("umount", args);
    };
    let all = volumes();
    if !words.iter().any(|word| of_volume(&all, word).is_some()) {
        return pass_on("umount", args);
    }
    let lazy = given.iter().any(|(name, _)| *name == "lazy");
    let mut total = Reply::default();
    for word in &words {
        let reply = match of_volume(&all, word) {
            Some(volume) => unmount(volume, word, lazy),
            None => Reply {
                code: run_own("umount", &[word]),
                ..Reply::default()
            },
        };
        total.err.push_str(&reply.err);
        total.code |= reply.code;
    }
    total
}

/// Returns the volume that a word names by its device or its directory.
fn of_volume<'a>(all: &'a [Volume], word: &str) -> Option<&'a Volume> {
    let directory = canonical(word);
    let at = |volume: &&Volume| volume.mounts.contains(&directory);
    find(all, word).or_else(|| all.iter().find(at))
}

fn unmount(volume: &Volume, word: &str, lazy: bool) -> Reply {
    let failure =
        |reason: &str| Reply::failure(format!("umount: {word}: {reason}."), MOUNT_FAILURE);
    let Some(directory) = volume.mounts.last().cloned() else {
        return failure("not mounted");
    };
    match ask_for_volumes(&Request::Unmount { directory, lazy }) {
        Ok(_) => Reply::default(),
        Err(reason) => failure(&reason),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::volume;
    use super::*;

    #[test]
    fn a_volume_is_named_by_its_device_or_directory() {
        let all = [volume()];
        for word in ["/dev/sdf", "/dev/nvme1n1", "/srv/data"] {
            assert!(of_volume(&all, word).is_some(), "{word}");
        }
        assert!(of_volume(&all, "/tmp").is_none());
    }
}
