//! What functions do in a rehearsal in place of an effect outside of it.

use std::path::{Path, PathBuf};

use crate::clients::ssh::Host;
use crate::context::{Context, Rehearsal};

/// The content of a file that a program would have written. It is not empty,
/// because an empty picture is refused.
const ASSUMED: &str = "\n";

/// Returns whether a rehearsal must not connect to a host.
pub(super) fn is_outside(cx: &Context, host: &Host) -> bool {
    let confinement = cx.clients.confinement();
    confinement.is_some_and(|inside| !inside.has_host(host))
}

/// Returns whether a rehearsal must not request a URL.
pub(super) fn is_url_outside(cx: &Context, url: &str) -> bool {
    let confinement = cx.clients.confinement();
    confinement.is_some_and(|inside| !inside.has_url(url))
}

/// Returns whether this is a rehearsal whose instances exist as records only.
pub(super) fn lacks_machines(cx: &Context) -> bool {
    let confinement = cx.clients.confinement();
    confinement.is_some_and(|inside| !inside.has_instances())
}

/// Returns the path of a file that a function reads. In a rehearsal, a missing file
/// that a program may have written is assumed.
pub(super) fn source(cx: &Context, path: &str) -> PathBuf {
    assumed(cx, path, |place| std::fs::write(place, ASSUMED))
}

/// Like [`source`], for a directory.
pub(super) fn source_directory(cx: &Context, path: &str) -> PathBuf {
    assumed(cx, path, |place| std::fs::create_dir(place))
}

fn assumed(cx: &Context, path: &str, make: impl FnOnce(&Path) -> std::io::Result<()>) -> PathBuf {
    let found = cx.clients.local.expand(Path::new(path));
    if found.symlink_metadata().is_ok() || !programs_ran(cx) {
        return found;
    }
    let place = output(cx, Path::new(path));
    // If it fails, the error is that of the missing file.
    if make(&place).is_err() {
        return found;
    }
    cx.assume(format!("read {path}"), "a program has written it");
    place
}

/// Returns the path to which a function writes. In a rehearsal, it is a path of
/// its own, and a missing directory may be one that a program has made.
pub(super) fn output(cx: &Context, path: &Path) -> PathBuf {
    let place = cx.clients.local.output(path);
    if programs_ran(cx)
        && let Some(directory) = place.parent()
    {
        // The write fails with its own error if this fails.
        let _created = std::fs::create_dir_all(directory);
    }
    place
}

fn programs_ran(cx: &Context) -> bool {
    cx.rehearsal.as_ref().is_some_and(Rehearsal::ran_program)
}

/// Notes in a rehearsal that a file of this machine was not written.
pub(super) fn not_written(cx: &Context, path: &Path) {
    if cx.rehearsal.is_some() {
        cx.assume_success(format!("write {}", cx.clients.local.shown(path).display()));
    }
}
