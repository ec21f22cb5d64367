//! How long the background process lives: until a command ends it, or as long as
//! the process that started it.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::thread;

use tokio_util::sync::CancellationToken;

use crate::home::Home;

/// The argument of a process that ends with its caller.
pub(super) const FOR_CALLER: &str = "--for-caller";

/// The argument before the directory with the package files that the instances'
/// proxy has downloaded.
pub(super) const PACKAGES: &str = "--packages";

/// What the arguments of the background process say.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// The state directory.
    pub(super) state: PathBuf,
    /// Whether the process ends with its caller, and removes its state.
    pub(super) for_caller: bool,
    /// The directory of downloaded packages, if it is not below the state.
    pub(super) packages: Option<PathBuf>,
    /// The users who get an access file, as uid and gid.
    pub(super) grants: Vec<(u32, u32)>,
}

impl Arguments {
    /// Reads `STATE [--for-caller] [--packages DIR] [UID:GID]..`.
    pub(super) fn read(words: &[std::ffi::OsString]) -> Option<Self> {
        let (state, rest) = words.split_first()?;
        let mut arguments = Self {
            state: state.into(),
            ..Self::default()
        };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match word.to_str()? {
                FOR_CALLER => arguments.for_caller = true,
                PACKAGES => arguments.packages = Some(rest.next()?.into()),
                grant => {
                    let (uid, gid) = grant.split_once(':')?;
                    arguments
                        .grants
                        .push((uid.parse().ok()?, gid.parse().ok()?));
                }
            }
        }
        Some(arguments)
    }
}

/// Ends the process when the caller closes the pipe to its standard input. The
/// kernel closes the pipe however the caller ends.
pub(super) fn end_with_caller(end: &CancellationToken) -> io::Result<()> {
    let end = end.clone();
    let watch = move || {
        // The caller writes nothing.
        drop(io::stdin().lock().read(&mut [0]));
        end.cancel();
    };
    let named = thread::Builder::new().name("caller".to_owned());
    named.spawn(watch).map(drop)
}

/// Removes the state of a process that ended with its caller.
pub(super) fn remove(home: &Home) {
    if let Some(directory) = home.state.parent()
        && let Err(e) = fs::remove_dir_all(directory)
        && e.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove {}: {e}", directory.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Option<Arguments> {
        let words: Vec<_> = words.iter().map(Into::into).collect();
        Arguments::read(&words)
    }

    #[test]
    fn the_arguments_are_read_in_any_order() {
        let plain = read(&["/state", "1:2", "3:4"]).unwrap();
        assert_eq!(plain.grants, [(1, 2), (3, 4)]);
        assert!(!plain.for_caller && plain.packages.is_none());
        let all = read(&["/state", PACKAGES, "/packages", "1:2", FOR_CALLER]).unwrap();
        assert!(all.for_caller);
        assert_eq!(all.packages, Some(PathBuf::from("/packages")));
        for wrong in [&[][..], &["/state", PACKAGES], &["/state", "1"]] {
            assert!(read(wrong).is_none(), "{wrong:?}");
        }
    }
}
