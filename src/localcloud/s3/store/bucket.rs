//! A bucket: its index in memory and its documents on disk, which are changed
//! together.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use s3s::S3ErrorCode;
use s3s::crypto::{Checksum as _, Sha256};

use super::super::failure::{Result, fail, internal, no_such_bucket, no_such_upload};
use super::files;
use super::listing::{Listing, Page};
use super::record::{BucketRecord, Object, ObjectRecord, Part, UploadRecord};
use super::version::{self, MarkerRecord, Place, Version};
use crate::clock;

pub(super) const SETTINGS: &str = "bucket.json";
pub(super) const UPLOAD: &str = "upload.json";

/// A bucket.
pub(in super::super) struct Bucket {
    pub(in super::super) name: String,
    dir: PathBuf,
    /// The directory of the content.
    pub(in super::super) data: Arc<Path>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) record: BucketRecord,
    /// The versions of each key, the newest first. No key without versions.
    pub(super) objects: BTreeMap<String, Vec<Version>>,
    /// The place of the newest version in the order of versions.
    pub(super) sequence: u64,
    /// Uploads by upload id.
    pub(super) uploads: BTreeMap<String, Upload>,
    /// Whether the bucket was deleted while another request still uses it.
    pub(super) removed: bool,
}

/// The key of an upload, and its id.
pub(in super::super) type UploadPlace = (String, String);

/// A version of an object.
pub(in super::super) struct Found {
    pub(in super::super) version: Version,
    /// The version id that answers show. `None` if the bucket never had versioning
    /// enabled.
    pub(in super::super) shown: Option<String>,
}

/// The result of [`Bucket::delete`].
pub(in super::super) struct Deleted {
    /// The id of the deleted version or of the new delete marker. `None` if the
    /// request named no version and the bucket never had versioning enabled.
    pub(in super::super) id: Option<String>,
    /// Whether the version with this id is or was a delete marker.
    pub(in super::super) is_marker: bool,
}

/// An unfinished multipart upload.
#[derive(Clone)]
pub(in super::super) struct Upload {
    pub(in super::super) record: Arc<UploadRecord>,
    pub(in super::super) parts: BTreeMap<u16, Part>,
    /// Whether another request wrote or deleted the object since the upload began.
    pub(super) overtaken: bool,
}

impl State {
    fn overtake_uploads(&mut self, key: &str) {
        for upload in self.uploads.values_mut() {
            upload.overtaken |= upload.record.key == key;
        }
    }
}

impl Bucket {
    pub(super) fn new(name: &str, dir: PathBuf, state: State) -> Self {
        Self {
            name: name.to_owned(),
            data: Arc::from(dir.join("data")),
            dir,
            state: Mutex::new(state),
        }
    }

    /// Creates the directory of a new bucket.
    pub(super) fn create(root: &Path, name: &str, record: BucketRecord) -> io::Result<Self> {
        let temporary = root.join(files::temporary_name());
        for part in ["data", "objects", "uploads"] {
            files::create_dir(&temporary.join(part))?;
        }
        files::write(&temporary, SETTINGS, &record)?;
        let dir = root.join(name);
        fs::rename(&temporary, &dir)?;
        let state = State {
            record,
            objects: BTreeMap::new(),
            sequence: 0,
            uploads: BTreeMap::new(),
            removed: false,
        };
        Ok(Self::new(name, dir, state))
    }

    /// Removes the directory of an empty bucket.
    pub(super) fn remove(&self, root: &Path) -> Result<()> {
        let mut state = self.state()?;
        if !state.objects.is_empty() {
            let message = match state.record.versioning {
                None => "The bucket you tried to delete is not empty",
                Some(_) => {
                    "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
                }
            };
            return Err(fail(S3ErrorCode::BucketNotEmpty, message));
        }
        let temporary = root.join(files::temporary_name());
        fs::rename(&self.dir, &temporary).map_err(|error| internal("remove a bucket", &error))?;
        state.removed = true;
        state.uploads.clear();
        files::discard(&temporary);
        Ok(())
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.removed {
            Err(no_such_bucket())
        } else {
            Ok(state)
        }
    }

    pub(in super::super) fn settings(&self) -> Result<BucketRecord> {
        Ok(self.state()?.record.clone())
    }

    /// Changes the settings. `edit` may refuse the change.
    pub(in super::super) fn change(
        &self,
        edit: impl FnOnce(&mut BucketRecord) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.state()?;
        let mut record = state.record.clone();
        edit(&mut record)?;
        files::write(&self.dir, SETTINGS, &record)
            .map_err(|error| internal("store a bucket's settings", &error))?;
        state.record = record;
        Ok(())
    }

    /// Returns the object with this key, unless its newest version is a delete
    /// marker.
    pub(in super::super) fn object(&self, key: &str) -> Result<Option<Arc<Object>>> {
        Ok(self.state()?.current(key).cloned())
    }

    /// Returns a version of an object: the one with this id, or the newest.
    pub(in super::super) fn version(&self, key: &str, id: Option<&str>) -> Result<Option<Found>> {
        let state = self.state()?;
        let version = state.version(key, id).cloned();
        Ok(version.map(|version| state.found(version)))
    }

    /// Lists the objects, without those that a delete marker hides.
    pub(in super::super) fn list(&self, listing: &Listing) -> Result<Page<Arc<Object>>> {
        let current = |_: &str, versions: &Vec<Version>| {
            let newest = versions.first().and_then(Version::object);
            newest.cloned().into_iter().collect()
        };
        Ok(listing.page(&self.state()?.objects, current))
    }

    /// Lists all versions, each with whether it is its key's newest. `after` is
    /// the version after which the list continues, of the key `listing.after`.
    pub(in super::super) fn list_versions(
        &self,
        listing: &Listing,
        after: Option<&str>,
    ) -> Result<Page<(Version, bool)>> {
        let all = |key: &str, versions: &Vec<Version>| {
            let rest = match after {
                Some(marker) if key == listing.after => version::after(versions, marker),
                _ => versions,
            };
            let newest = versions.first().map(Version::sequence);
            rest.iter()
                .map(|version| (version.clone(), Some(version.sequence()) == newest))
                .collect()
        };
        let from = Listing {
            within: after.is_some(),
            ..listing.clone()
        };
        Ok(from.page(&self.state()?.objects, all))
    }

    /// Stores an object as the newest version of its key. `allow` receives the
    /// existing object and may refuse. Returns the version id, or `None` if the
    /// bucket never had versioning enabled.
    pub(in super::super) fn put(
        &self,
        object: Object,
        allow: impl FnOnce(Option<&Object>) -> Result<()>,
    ) -> Result<Option<String>> {
        self.put_into(&mut *self.state()?, object, allow)
    }

    fn put_into(
        &self,
        state: &mut State,
        mut object: Object,
        allow: impl FnOnce(Option<&Object>) -> Result<()>,
    ) -> Result<Option<String>> {
        allow(state.current(&object.record.key).map(AsRef::as_ref))?;
        object.record.place = state.next_place();
        let blobs = object.blobs.clone();
        let id = self.add(state, Version::Object(Arc::new(object)))?;
        // Keep the new object's content last: it may share content with the
        // version that it replaced.
        for blob in &blobs {
            blob.keep();
        }
        Ok(id)
    }

    /// Adds the newest version of a key. A null version replaces the null version
    /// before, which has the same document.
    fn add(&self, state: &mut State, version: Version) -> Result<Option<String>> {
        self.write(&version)?;
        state.overtake_uploads(version.key());
        let shown = state.record.versioning.map(|_| version.id().to_owned());
        let versions = state.objects.entry(version.key().to_owned()).or_default();
        if let Some(at) = versions.iter().position(|it| it.id() == version.id()) {
            versions.remove(at).discard();
        }
        versions.insert(0, version);
        Ok(shown)
    }

    /// Changes the document of a version without changing its content. Returns
    /// the version, or `None` if it does not exist. A delete marker stays as it
    /// is.
    pub(in super::super) fn edit(
        &self,
        key: &str,
        id: Option<&str>,
        edit: impl FnOnce(&mut ObjectRecord),
    ) -> Result<Option<Found>> {
        let mut state = self.state()?;
        let Some(found) = state.version(key, id).cloned() else {
            return Ok(None);
        };
        let Some(object) = found.object() else {
            return Ok(Some(state.found(found)));
        };
        let mut record = object.record.clone();
        edit(&mut record);
        let blobs = object.blobs.clone();
        let edited = Version::Object(Arc::new(Object { record, blobs }));
        self.write(&edited)?;
        let versions = state.objects.get_mut(key).into_iter().flatten();
        for version in versions.filter(|it| it.id() == edited.id()) {
            *version = edited.clone();
        }
        Ok(Some(state.found(edited)))
    }

    /// Deletes an object: adds a delete marker if versioning is enabled or
    /// suspended. With `id`, deletes this version. Deleting what does not exist is
    /// not an error. `allow` receives the object and may refuse.
    pub(in super::super) fn delete(
        &self,
        key: &str,
        id: Option<&str>,
        allow: impl FnOnce(Option<&Object>) -> Result<()>,
    ) -> Result<Deleted> {
        let mut state = self.state()?;
        let found = state.version(key, id).cloned();
        let object = found.as_ref().and_then(Version::object);
        allow(object.map(AsRef::as_ref))?;
        if id.is_none() && state.record.versioning.is_some() {
            let marker = Version::DeleteMarker(Arc::new(MarkerRecord {
                key: key.to_owned(),
                modified: clock::seconds(),
                place: state.next_place(),
            }));
            let id = self.add(&mut state, marker)?;
            return Ok(Deleted {
                id,
                is_marker: true,
            });
        }
        let is_marker = matches!(found, Some(Version::DeleteMarker(_)));
        if let Some(version) = found {
            self.remove_version(&mut state, &version)?;
        }
        Ok(Deleted {
            id: id.map(str::to_owned),
            is_marker,
        })
    }

    fn remove_version(&self, state: &mut State, version: &Version) -> Result<()> {
        let key = version.key();
        fs::remove_file(self.document(key, version.own_id()))
            .map_err(|error| internal("remove an object", &error))?;
        version.discard();
        state.overtake_uploads(key);
        if let Some(versions) = state.objects.get_mut(key) {
            versions.retain(|it| it.id() != version.id());
            if versions.is_empty() {
                state.objects.remove(key);
            }
        }
        Ok(())
    }

    pub(in super::super) fn begin_upload(&self, record: UploadRecord) -> Result<String> {
        let mut state = self.state()?;
        let id = files::ordered_name();
        let begin = || {
            let temporary = self.uploads().join(files::temporary_name());
            files::create_dir(&temporary)?;
            files::write(&temporary, UPLOAD, &record)?;
            fs::rename(&temporary, self.uploads().join(&id))
        };
        begin().map_err(|error| internal("begin an upload", &error))?;
        let upload = Upload {
            record: Arc::new(record),
            parts: BTreeMap::new(),
            overtaken: false,
        };
        state.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Returns the upload with this id. Fails if its key is not `key`.
    pub(in super::super) fn upload(&self, id: &str, key: &str) -> Result<Upload> {
        let state = self.state()?;
        let upload = state
            .uploads
            .get(id)
            .filter(|upload| upload.record.key == key);
        upload.cloned().ok_or_else(no_such_upload)
    }

    /// Returns all uploads by key and upload id.
    pub(in super::super) fn all_uploads(&self) -> Result<BTreeMap<UploadPlace, Arc<UploadRecord>>> {
        let state = self.state()?;
        let uploads = state.uploads.iter().map(|(id, upload)| {
            let key = upload.record.key.clone();
            ((key, id.clone()), Arc::clone(&upload.record))
        });
        Ok(uploads.collect())
    }

    pub(in super::super) fn put_part(&self, id: &str, part: Part) -> Result<()> {
        let mut state = self.state()?;
        let upload = state.uploads.get_mut(id).ok_or_else(no_such_upload)?;
        let number = part.record.number;
        files::write(
            &self.uploads().join(id),
            &format!("{number}.json"),
            &part.record,
        )
        .map_err(|error| internal("store a part", &error))?;
        part.blob.keep();
        if let Some(before) = upload.parts.insert(number, part) {
            before.blob.discard();
        }
        Ok(())
    }

    /// Creates the object of an upload. The object's document is written before
    /// the upload is removed. If the process is killed in between, [`super::load`]
    /// removes the upload. `allow` receives the existing object, and whether
    /// another request wrote or deleted it since the upload began.
    pub(in super::super) fn complete_upload(
        &self,
        id: &str,
        object: Object,
        allow: impl FnOnce(Option<&Object>, bool) -> Result<()>,
    ) -> Result<Option<String>> {
        let mut state = self.state()?;
        let upload = state.uploads.get(id).ok_or_else(no_such_upload)?;
        let overtaken = upload.overtaken;
        let used = object.blobs.clone();
        let version = self.put_into(&mut state, object, |before| allow(before, overtaken))?;
        self.end_upload(&mut state, id)?;
        // Ending the upload discarded all its parts. Keep those of the object.
        for blob in used {
            blob.keep();
        }
        Ok(version)
    }

    pub(in super::super) fn abort_upload(&self, id: &str, key: &str) -> Result<()> {
        self.upload(id, key)?;
        self.end_upload(&mut *self.state()?, id)
    }

    fn end_upload(&self, state: &mut State, id: &str) -> Result<()> {
        let upload = state.uploads.remove(id).ok_or_else(no_such_upload)?;
        let temporary = self.uploads().join(files::temporary_name());
        fs::rename(self.uploads().join(id), &temporary)
            .map_err(|error| internal("end an upload", &error))?;
        files::discard(&temporary);
        upload.parts.values().for_each(|part| part.blob.discard());
        Ok(())
    }

    fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    fn write(&self, version: &Version) -> Result<()> {
        let dir = self.dir.join("objects");
        let name = document_name(version.key(), version.own_id());
        match version {
            Version::Object(object) => files::write(&dir, &name, &object.record),
            Version::DeleteMarker(marker) => files::write(&dir, &name, &**marker),
        }
        .map_err(|error| internal("store an object", &error))
    }

    fn document(&self, key: &str, version: Option<&str>) -> PathBuf {
        self.dir.join("objects").join(document_name(key, version))
    }
}

impl State {
    /// Returns the object with this key, unless its newest version is a delete
    /// marker.
    fn current(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key)?.first()?.object()
    }

    fn version(&self, key: &str, id: Option<&str>) -> Option<&Version> {
        let versions = self.objects.get(key)?;
        match id {
            None => versions.first(),
            Some(id) => versions.iter().find(|version| version.id() == id),
        }
    }

    fn found(&self, version: Version) -> Found {
        let shown = self.record.versioning.map(|_| version.id().to_owned());
        Found { version, shown }
    }

    /// Returns the place of a new version.
    fn next_place(&mut self) -> Place {
        let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        self.sequence = now.max(self.sequence + 1);
        let enabled = self.record.versioning.is_some_and(|it| it.enabled);
        Place {
            sequence: self.sequence,
            id: enabled.then(|| version::create_id(self.sequence)),
        }
    }
}

/// Returns the name of the document of a version. It begins with a digest, so that
/// a key never becomes a path.
fn document_name(key: &str, version: Option<&str>) -> String {
    let digest = hex::encode(Sha256::checksum(key.as_bytes()));
    match version {
        None => format!("{digest}.json"),
        Some(id) => format!("{digest}-{id}.json"),
    }
}
