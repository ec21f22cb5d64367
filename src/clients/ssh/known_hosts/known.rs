//! What the files say of one host, and what a key is to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::algorithms::{ALGORITHMS, algorithms};
use super::files::Content;
use super::lines::{Line, Marker};
use crate::clients::ssh::public_key::{Kind, PublicKey};

/// Where something is said of a host.
#[derive(Clone, Debug)]
pub(in crate::clients::ssh) struct Place {
    pub(in crate::clients::ssh) file: PathBuf,
    pub(in crate::clients::ssh) line: usize,
    /// Whether `ssh-keygen -R` removes that line; it leaves those with patterns.
    pub(in crate::clients::ssh) removable: bool,
    /// The name under which it was found.
    pub(in crate::clients::ssh) name: String,
}

/// What a key is to a host.
#[derive(Debug)]
pub(in crate::clients::ssh) enum Verdict {
    /// It is known.
    Accepted,
    /// Nothing is known; or an authority, whose certificates are not verified.
    Unknown { authority: Option<Place> },
    /// Another key is known.
    Changed {
        known: Place,
        authority: Option<Place>,
    },
    /// It must not be trusted.
    Revoked(Place),
}

/// What the files say of one host.
#[derive(Debug)]
pub(in crate::clients::ssh) struct Known {
    pub(super) files: Vec<(PathBuf, Arc<Content>)>,
    /// What is said of its name, with the port if that is another than 22.
    pub(super) entries: Vec<(Place, Line)>,
    /// The name alone then.
    pub(super) without_port: Option<String>,
}

/// Lines of all files that say something of a name.
pub(in crate::clients::ssh) fn entries(
    files: &[(PathBuf, Arc<Content>)],
    name: &str,
) -> Vec<(Place, Line)> {
    let lines = files.iter().flat_map(|(file, content)| {
        let lines = content.lines.iter();
        lines.filter(|line| line.names.include(name)).map(|line| {
            let place = Place {
                file: file.clone(),
                line: line.number,
                removable: line.names.are_plain(),
                name: name.to_owned(),
            };
            (place, line.clone())
        })
    });
    lines.collect()
}

impl Known {
    /// The algorithms to ask for: those first whose keys are known, else a host
    /// known by its RSA key would show its ed25519 one.
    pub(in crate::clients::ssh) fn algorithms(&self) -> String {
        let is_known = |kind: &Kind| {
            let plain = self
                .entries
                .iter()
                .filter(|(_, l)| l.marker == Marker::None);
            let mut plain = plain.map(|(_, line)| &line.key);
            let first = plain.find(|key| key.kind == *kind);
            first.is_some_and(|key| self.revoked(key).is_none())
        };
        // The best one known leaves the order as it is.
        if is_known(&ALGORITHMS[0].1) {
            algorithms(|_| true)
        } else {
            algorithms(is_known)
        }
    }

    fn revoked(&self, key: &PublicKey) -> Option<&Place> {
        place_of(&self.entries, Marker::Revoked, |known| known == key)
    }

    /// What a key is to this host.
    pub(in crate::clients::ssh) fn verdict(&self, key: &PublicKey) -> Verdict {
        let verdict = judge(&self.entries, key);
        let Verdict::Unknown { authority } = verdict else {
            return verdict;
        };
        let Some(name) = &self.without_port else {
            return Verdict::Unknown { authority };
        };
        // A key of the same machine under its name alone is good for any port;
        // another one there says nothing of this port.
        match judge(&entries(&self.files, name), key) {
            Verdict::Changed { authority, .. } => Verdict::Unknown { authority },
            other => other,
        }
    }

    /// Files that could not be read, and why.
    pub(in crate::clients::ssh) fn unread(&self) -> impl Iterator<Item = (&Path, &str)> {
        let unread = self.files.iter();
        unread.filter_map(|(path, content)| Some((path.as_path(), content.unread.as_deref()?)))
    }
}

fn place_of(
    entries: &[(Place, Line)],
    marker: Marker,
    is_meant: impl Fn(&PublicKey) -> bool,
) -> Option<&Place> {
    let mut lines = entries.iter();
    lines
        .find(|(_, line)| line.marker == marker && is_meant(&line.key))
        .map(|(place, _)| place)
}

fn judge(entries: &[(Place, Line)], key: &PublicKey) -> Verdict {
    if let Some(place) = place_of(entries, Marker::Revoked, |known| known == key) {
        return Verdict::Revoked(place.clone());
    }
    if place_of(entries, Marker::None, |known| known == key).is_some() {
        return Verdict::Accepted;
    }
    let authority = place_of(entries, Marker::Authority, |_| true).cloned();
    // One of the same type says more than one of another.
    let same = place_of(entries, Marker::None, |known| known.kind == key.kind);
    match same.or_else(|| place_of(entries, Marker::None, |_| true)) {
        Some(known) => Verdict::Changed {
            known: known.clone(),
            authority,
        },
        None => Verdict::Unknown { authority },
    }
}
