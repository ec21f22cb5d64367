//! One bucket: its index in memory, its documents on disk, changed together.

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
    /// Where content goes.
    pub(in super::super) data: Arc<Path>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) record: BucketRecord,
    pub(super) objects: BTreeMap<String, Arc<Object>>,
    /// By identifier.
    pub(super) uploads: BTreeMap<String, Upload>,
    /// It was removed while somebody still held it.
    pub(super) removed: bool,
}

/// A multipart upload under way.
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

    /// Makes the directory of a new bucket.
    pub(super) fn create(root: &Path, name: &str, record: BucketRecord) -> io::Result<Self> {
        let passing = root.join(files::passing_name());
        for part in ["data", "objects", "uploads"] {
            files::create_dir(&passing.join(part))?;
        }
        files::write(&passing, SETTINGS, &record)?;
        let dir = root.join(name);
        fs::rename(&passing, &dir)?;
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
        let passing = root.join(files::passing_name());
        fs::rename(&self.dir, &passing).map_err(|error| internal("remove a bucket", &error))?;
        state.removed = true;
        state.uploads.clear();
        files::discard(&passing);
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

    /// Changes settings; `edit` may refuse.
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

    /// Puts an object in its place; `allow` sees what is there now.
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
        // Last, in case both share content.
        object.keep();
        state
            .objects
            .insert(object.record.key.clone(), Arc::new(object));
        Ok(())
    }

    /// Changes an object's document and leaves its content.
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

    /// Removes an object, if it is there and `allow` agrees.
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
        let id = files::fresh_name();
        let begun = || {
            let passing = self.uploads().join(files::passing_name());
            files::create_dir(&passing)?;
            files::write(&passing, UPLOAD, &record)?;
            fs::rename(&passing, self.uploads().join(&id))
        };
        begun().map_err(|error| internal("begin an upload", &error))?;
        let upload = Upload {
            record: Arc::new(record),
            parts: BTreeMap::new(),
        };
        state.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// The upload of this identifier, if it is one to this key.
    pub(in super::super) fn upload(&self, id: &str, key: &str) -> Result<Upload> {
        let state = self.state()?;
        let upload = state
            .uploads
            .get(id)
            .filter(|upload| upload.record.key == key);
        upload.cloned().ok_or_else(no_such_upload)
    }

    /// All uploads, by key and identifier.
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

    /// Makes the object of an upload. Its document is in place before the
    /// upload goes: interrupted in between, [`super::load`] finishes the job.
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
        // Ending it gave up all its parts.
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
        let passing = self.uploads().join(files::passing_name());
        fs::rename(self.uploads().join(id), &passing)
            .map_err(|error| internal("end an upload", &error))?;
        files::discard(&passing);
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

/// The file of an object's document: a digest, so that no key can be a path.
fn document_name(key: &str) -> String {
    format!("{}.json", hex::encode(Sha256::checksum(key.as_bytes())))
}
