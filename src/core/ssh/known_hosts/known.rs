//! The entries of one host in the files, and how they judge a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::algorithms::{ALGORITHMS, algorithms};
use super::files::Content;
use super::lines::{Line, Marker};
use crate::ssh::public_key::{Kind, PublicKey};

/// The place of an entry.
#[derive(Clone, Debug)]
pub(in crate::ssh) struct Place {
    pub(in crate::ssh) file: PathBuf,
    pub(in crate::ssh) line: usize,
    /// Whether `ssh-keygen -R` removes the line; it does not remove lines with
    /// patterns.
    pub(in crate::ssh) removable: bool,
    /// The name under which the entry was found.
    pub(in crate::ssh) name: String,
}

/// How the files judge a key of a host.
#[derive(Debug)]
pub(in crate::ssh) enum Verdict {
    /// The key is known.
    Accepted,
    /// The host is unknown, or only a certificate authority is known for it.
    Unknown { authority: Option<Place> },
    /// Another key is known.
    Changed {
        known: Place,
        authority: Option<Place>,
    },
    /// The key is revoked.
    Revoked(Place),
}

/// The entries of one host in the files.
#[derive(Debug)]
pub(in crate::ssh) struct Known {
    pub(super) files: Vec<(PathBuf, Arc<Content>)>,
    /// The entries of its name, with the port if that is not 22.
    pub(super) entries: Vec<(Place, Line)>,
    /// The name without the port, if the port is not 22.
    pub(super) without_port: Option<String>,
}

/// Returns the lines of all files that apply to a name in lower case.
pub(in crate::ssh) fn entries(files: &[(PathBuf, Arc<Content>)], name: &str) -> Vec<(Place, Line)> {
    let lines = files.iter().flat_map(|(file, content)| {
        content.lines_of(name).into_iter().map(|line| {
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
    /// Returns the algorithms to request, with those of known keys first.
    /// Otherwise, a host that is known by its RSA key would present its ed25519
    /// key.
    pub(in crate::ssh) fn algorithms(&self) -> String {
        let is_known = |kind: &Kind| {
            let plain = self
                .entries
                .iter()
                .filter(|(_, l)| l.marker == Marker::None);
            let mut plain = plain.map(|(_, line)| &line.key);
            let first = plain.find(|key| key.kind == *kind);
            first.is_some_and(|key| self.revoked(key).is_none())
        };
        // If the best type is known, the order stays as it is.
        if is_known(&ALGORITHMS[0].1) {
            algorithms(|_| true)
        } else {
            algorithms(is_known)
        }
    }

    fn revoked(&self, key: &PublicKey) -> Option<&Place> {
        place_of(&self.entries, Marker::Revoked, |known| known == key)
    }

    /// Judges a key of this host.
    pub(in crate::ssh) fn verdict(&self, key: &PublicKey) -> Verdict {
        let verdict = judge(&self.entries, key);
        let Verdict::Unknown { authority } = verdict else {
            return verdict;
        };
        let Some(name) = &self.without_port else {
            return Verdict::Unknown { authority };
        };
        // An entry of the name without a port accepts its key for any port; a
        // different key there does not make this one wrong.
        match judge(&entries(&self.files, name), key) {
            Verdict::Changed { authority, .. } => Verdict::Unknown { authority },
            other => other,
        }
    }

    /// Returns the files that could not be read, with the reason.
    pub(in crate::ssh) fn unread(&self) -> impl Iterator<Item = (&Path, &str)> {
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
    // An entry with the same key type explains the mismatch better than another
    // one.
    let same = place_of(entries, Marker::None, |known| known.kind == key.kind);
    match same.or_else(|| place_of(entries, Marker::None, |_| true)) {
        Some(known) => Verdict::Changed {
            known: known.clone(),
            authority,
        },
        None => Verdict::Unknown { authority },
    }
}
