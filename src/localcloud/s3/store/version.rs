//! Versions of an object: their ids, their order, and what they are.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s3s::crypto::{Checksum as _, Sha256};
use serde::{Deserialize, Serialize};

use super::record::{Object, ObjectRecord};

/// The id of the version that is stored while versioning is not enabled.
pub(in super::super) const NULL: &str = "null";

/// The place of a version among the versions of its bucket. The bucket sets it
/// when it stores the version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Place {
    /// The newest version has the largest number.
    pub(super) sequence: u64,
    /// The version id. `None` is the null version.
    pub(super) id: Option<String>,
}

/// A delete marker's document: a version without content, which hides the object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct MarkerRecord {
    pub(in super::super) key: String,
    pub(in super::super) modified: i64,
    pub(super) place: Place,
}

/// A version's document.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Document {
    // First, because it has more fields.
    Object(Box<ObjectRecord>),
    DeleteMarker(MarkerRecord),
}

/// A version of an object.
#[derive(Clone, Debug)]
pub(in super::super) enum Version {
    Object(Arc<Object>),
    DeleteMarker(Arc<MarkerRecord>),
}

impl Version {
    pub(in super::super) fn key(&self) -> &str {
        match self {
            Self::Object(object) => &object.record.key,
            Self::DeleteMarker(marker) => &marker.key,
        }
    }

    /// Returns the id, which is [`NULL`] for the version that was stored while
    /// versioning was not enabled.
    pub(in super::super) fn id(&self) -> &str {
        self.own_id().unwrap_or(NULL)
    }

    pub(super) fn own_id(&self) -> Option<&str> {
        self.place().id.as_deref()
    }

    pub(super) fn sequence(&self) -> u64 {
        self.place().sequence
    }

    fn place(&self) -> &Place {
        match self {
            Self::Object(object) => &object.record.place,
            Self::DeleteMarker(marker) => &marker.place,
        }
    }

    pub(in super::super) fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Self::Object(object) => Some(object),
            Self::DeleteMarker(_) => None,
        }
    }

    pub(super) fn discard(&self) {
        if let Self::Object(object) = self {
            object.discard();
        }
    }
}

/// Creates a version id: 32 characters, as on AWS. It contains the version's place
/// in the order of versions, so that a list can continue after a version that was
/// deleted in the meantime, and a digest, by which invented ids are recognized.
pub(super) fn create_id(sequence: u64) -> String {
    let mut bytes = [0; 24];
    bytes[8..16].copy_from_slice(&sequence.to_be_bytes());
    bytes[16..].copy_from_slice(&rand::random::<[u8; 8]>());
    let digest = Sha256::checksum(&bytes[8..]);
    bytes[..8].copy_from_slice(&digest[..8]);
    // The ids of AWS have dots in place of hyphens.
    BASE64_URL_SAFE_NO_PAD.encode(bytes).replace('-', ".")
}

/// Returns the place of a version in the order of versions. `None` if no version
/// of any bucket can have this id.
fn sequence_of(id: &str) -> Option<u64> {
    if id.contains('-') {
        return None;
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(id.replace('.', "-")).ok()?;
    let (digest, rest) = bytes.split_at_checked(8)?;
    let sequence = rest.first_chunk::<8>().filter(|_| rest.len() == 16)?;
    let genuine = Sha256::checksum(rest)[..8] == *digest;
    genuine.then(|| u64::from_be_bytes(*sequence))
}

/// Whether a version can have this id.
pub(in super::super) fn is_id(id: &str) -> bool {
    id == NULL || sequence_of(id).is_some()
}

/// Returns the versions of a key that a list shows after the version `marker`. The
/// newest version is first in `versions`.
pub(super) fn after<'a>(versions: &'a [Version], marker: &str) -> &'a [Version] {
    let place = match sequence_of(marker) {
        Some(sequence) => versions.iter().position(|it| it.sequence() < sequence),
        // The null version may have been deleted, and its place is then unknown.
        None => versions
            .iter()
            .position(|it| it.id() == marker)
            .map_or(Some(0), |found| Some(found + 1)),
    };
    &versions[place.unwrap_or(versions.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(sequence: u64, id: Option<String>) -> Version {
        Version::DeleteMarker(Arc::new(MarkerRecord {
            key: "k".to_owned(),
            modified: 0,
            place: Place { sequence, id },
        }))
    }

    #[test]
    fn ids_have_the_form_of_aws_and_cannot_be_invented() {
        for sequence in [0, 1, u64::MAX] {
            let id = create_id(sequence);
            let fits = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
            assert!(id.len() == 32 && id.chars().all(fits), "{id}");
            assert_eq!(sequence_of(&id), Some(sequence));
            assert!(is_id(&id));
            assert!(!is_id(&format!("{}ABCD", &id[..28])));
            assert!(!is_id(&id[..31]));
        }
        assert_ne!(create_id(1), create_id(1));
        assert!(is_id("null"));
        for wrong in ["", "x", "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD", "ü"] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_list_continues_after_a_deleted_version() {
        let ids: Vec<String> = (1..=4).map(create_id).collect();
        let numbered = (1_u64..).zip(&ids);
        let mut all: Vec<Version> = numbered
            .map(|(sequence, id)| marker(sequence, Some(id.clone())))
            .collect();
        all.insert(0, marker(0, None));
        all.reverse();
        let shown = |versions: &[Version], id: &str| -> Vec<u64> {
            after(versions, id).iter().map(Version::sequence).collect()
        };
        assert_eq!(shown(&all, &ids[2]), [2, 1, 0]);
        assert_eq!(shown(&all[2..], &ids[2]), [2, 1, 0]);
        assert_eq!(shown(&all, NULL), [0_u64; 0]);
        assert_eq!(shown(&all[..2], NULL), [4, 3]);
        assert_eq!(shown(&all[..2], &ids[0]), [0_u64; 0]);
    }
}
