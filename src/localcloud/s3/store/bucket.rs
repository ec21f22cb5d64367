//! A bucket: its index in memory and its documents on disk, which are changed
//! together.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3s::S3ErrorCode;

use super::super::failure::{Result, fail, internal, no_such_bucket, no_such_key, no_such_upload};
use super::files;
use super::listing::{Listing, Page};
use super::record::{BucketRecord, Object, ObjectRecord, Part, UploadRecord};
use s3s::crypto::{Checksum as _, Sha256};

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
    pub(super) objects: BTreeMap<String, Arc<Object>>,
    /// Uploads by upload id.
    pub(super) uploads: BTreeMap<String, Upload>,
    /// Whether the bucket was deleted while another request still uses it.
    pub(super) removed: bool,
}

/// An unfinished multipart upload.
#[derive(Clone)]
pub(in super::super) struct Upload {
    pub(in super::super) record: Arc<UploadRecord>,
    pub(in super::super) parts: BTreeMap<u16, Part>,
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
            uploads: BTreeMap::new(),
            removed: false,
        };
        Ok(Self::new(name, dir, state))
    }

    /// Removes the directory of an empty bucket.
    pub(super) fn remove(&self, root: &Path) -> Result<()> {
        let mut state = self.state()?;
        if !state.objects.is_empty() {
            return Err(fail(
                S3ErrorCode::BucketNotEmpty,
                "The bucket you tried to delete is not empty",
            ));
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

    pub(in super::super) fn object(&self, key: &str) -> Result<Option<Arc<Object>>> {
        Ok(self.state()?.objects.get(key).cloned())
    }

    pub(in super::super) fn list(&self, listing: &Listing) -> Result<Page<Arc<Object>>> {
        Ok(listing.page(&self.state()?.objects))
    }

    /// Stores an object. `allow` receives the existing object and may refuse.
    pub(in super::super) fn put(
        &self,
        object: Object,
        allow: impl FnOnce(Option<&Object>) -> Result<()>,
    ) -> Result<()> {
        self.put_into(&mut *self.state()?, object, allow)
    }

    fn put_into(
        &self,
        state: &mut State,
        object: Object,
        allow: impl FnOnce(Option<&Object>) -> Result<()>,
    ) -> Result<()> {
        let before = state.objects.get(&object.record.key).cloned();
        allow(before.as_deref())?;
        self.write(&object.record)?;
        if let Some(before) = before {
            before.discard();
        }
        // Keep the new object's content last: both objects may share content.
        object.keep();
        state
            .objects
            .insert(object.record.key.clone(), Arc::new(object));
        Ok(())
    }

    /// Changes an object's document without changing its content.
    pub(in super::super) fn edit(
        &self,
        key: &str,
        edit: impl FnOnce(&mut ObjectRecord),
    ) -> Result<()> {
        let mut state = self.state()?;
        let object = state.objects.get(key).ok_or_else(no_such_key)?;
        let mut record = object.record.clone();
        edit(&mut record);
        let blobs = object.blobs.clone();
        self.write(&record)?;
        let object = Arc::new(Object { record, blobs });
        state.objects.insert(key.to_owned(), object);
        Ok(())
    }

    /// Deletes an object. Deleting a missing object is not an error. `allow` may
    /// refuse.
    pub(in super::super) fn delete(
        &self,
        key: &str,
        allow: impl FnOnce(Option<&Object>) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.state()?;
        let object = state.objects.get(key).map(AsRef::as_ref);
        allow(object)?;
        let Some(object) = object else {
            return Ok(());
        };
        fs::remove_file(self.document(key))
            .map_err(|error| internal("remove an object", &error))?;
        object.discard();
        state.objects.remove(key);
        Ok(())
    }

    pub(in super::super) fn begin_upload(&self, record: UploadRecord) -> Result<String> {
        let mut state = self.state()?;
        let id = files::unique_name();
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
    pub(in super::super) fn all_uploads(
        &self,
    ) -> Result<BTreeMap<(String, String), Arc<UploadRecord>>> {
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
    /// removes the upload.
    pub(in super::super) fn complete_upload(
        &self,
        id: &str,
        object: Object,
        allow: impl FnOnce(Option<&Object>) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.state()?;
        if !state.uploads.contains_key(id) {
            return Err(no_such_upload());
        }
        let used = object.blobs.clone();
        self.put_into(&mut state, object, allow)?;
        self.end_upload(&mut state, id)?;
        // Ending the upload discarded all its parts. Keep those of the object.
        for blob in used {
            blob.keep();
        }
        Ok(())
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

    fn write(&self, record: &ObjectRecord) -> Result<()> {
        files::write(
            &self.dir.join("objects"),
            &document_name(&record.key),
            record,
        )
        .map_err(|error| internal("store an object", &error))
    }

    fn document(&self, key: &str) -> PathBuf {
        self.dir.join("objects").join(document_name(key))
    }
}

/// Returns the name of an object's document. It is a digest, so that a key never
/// becomes a path.
fn document_name(key: &str) -> String {
    format!("{}.json", hex::encode(Sha256::checksum(key.as_bytes())))
}
