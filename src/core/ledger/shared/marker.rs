//! The object that makes a prefix a ledger. It has the ledger's ID, and shows that the
//! store keeps conditional writes.

use serde::{Deserialize, Serialize};

use super::entry::FORMAT;
use super::keeper::unusable;
use super::objects::{Objects, Put};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ids::{OWNER_LETTERS, is_owner, new_id};

/// The key of the object.
pub(super) const KEY: &str = "autorun-ledger.json";

/// An ETag that no object has.
const OTHER_ETAG: &str = "\"00000000000000000000000000000000\"";

/// The content of the object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    format: u32,
    /// The ledger's ID: the tag `autorun:owner` of what its runs create.
    pub(super) owner: String,
    /// Whether the store has been found to keep conditional writes.
    checked: bool,
}

/// Reads the object. Returns `None` if there is no ledger.
pub(super) fn read(objects: &dyn Objects) -> Result<Option<Marker>> {
    Ok(found(objects)?
        .map(|(marker, _)| marker)
        .filter(|marker| marker.checked))
}

/// Reads the object, or creates a ledger.
///
/// Fails if the store does not keep conditional writes.
pub(super) fn read_or_create(objects: &dyn Objects) -> Result<Marker> {
    let mut created = None;
    loop {
        match found(objects)? {
            Some((marker, _)) if marker.checked => return Ok(marker),
            Some((marker, etag)) => return check(objects, marker, &etag),
            // Two clients may create it at the same time: the loser reads it.
            None if created.is_none() => {
                let marker = Marker {
                    format: FORMAT,
                    owner: new_id(OWNER_LETTERS),
                    checked: false,
                };
                created = Some(objects.create(KEY, &encode(&marker)?)?);
            }
            None => {
                return Err(Error::internal(format!(
                    "cannot create a ledger at {}: the object `{KEY}` was written and cannot be \
                     read",
                    objects.place()
                )));
            }
        }
    }
}

fn found(objects: &dyn Objects) -> Result<Option<(Marker, String)>> {
    let place = objects.place();
    // The first request: a wrong name or endpoint shows here.
    let read = objects.read(KEY);
    let Some(object) = read.map_err(|e| unusable(place, Some(&e)))? else {
        return Ok(None);
    };
    let marker: Option<Marker> = serde_json::from_slice(&object.body).ok();
    let Some(marker) = marker.filter(|marker| is_owner(&marker.owner)) else {
        return Err(Error::internal(format!(
            "the object `{KEY}` of the ledger {place} is damaged"
        ))
        .hint("restore it from an earlier version of the object, or use another prefix"));
    };
    if marker.format > FORMAT {
        return Err(
            Error::internal(format!("the ledger {place} was written by a newer autorun"))
                .hint("use that version"),
        );
    }
    Ok(Some((marker, object.etag)))
}

/// Checks that the store refuses writes whose condition is not met.
fn check(objects: &dyn Objects, marker: Marker, etag: &str) -> Result<Marker> {
    let body = encode(&marker)?;
    let again = objects.create(KEY, &body)?;
    let other = objects.replace(KEY, &body, OTHER_ETAG)?;
    if [&again, &other]
        .iter()
        .any(|put| matches!(put, Put::Written(_)))
    {
        return Err(Error::new(
            ErrorKind::InvalidOption,
            format!(
                "the store at {} ignores the conditions If-None-Match and If-Match of a write",
                objects.place()
            ),
        )
        .hint(
            "use a store with conditional writes, such as S3: without them, two machines could \
             work on the same run",
        ));
    }
    let marker = Marker {
        checked: true,
        ..marker
    };
    // Another client may have been faster with the same result.
    objects.replace(KEY, &encode(&marker)?, etag)?;
    Ok(marker)
}

fn encode(marker: &Marker) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(marker)
        .map_err(|e| Error::internal(format!("cannot write the ledger's ID: {e}")))
}
