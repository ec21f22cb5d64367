//! Loads a bucket that an earlier process left on disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blob::Blob;
use super::bucket::{Bucket, SETTINGS, State, UPLOAD, Upload};
use super::files;
use super::record::{Object, Part, PartRecord, UploadRecord};
use super::version::{Document, Version};

/// Reads a bucket's directory. Removes content that no document names, and
/// uploads that already became an object.
pub(super) fn bucket(name: &str, dir: PathBuf) -> io::Result<Bucket> {
    files::names(&dir)?;
    let record = files::read(&dir.join(SETTINGS))?;
    let mut contents = Contents {
        data: Arc::from(dir.join("data")),
        blobs: HashMap::new(),
    };
    let objects = contents.objects(&dir.join("objects"))?;
    let versions = objects.values().flatten();
    let sequence = versions.map(Version::sequence).max().unwrap_or(0);
    let used: HashSet<String> = contents.blobs.keys().cloned().collect();
    let uploads = contents.uploads(&dir.join("uploads"), &used)?;
    contents.sweep()?;
    let state = State {
        record,
        objects,
        sequence,
        uploads,
        removed: false,
    };
    Ok(Bucket::new(name, dir, state))
}

struct Contents {
    data: Arc<Path>,
    blobs: HashMap<String, Arc<Blob>>,
}

impl Contents {
    fn blob(&mut self, file: &str) -> Arc<Blob> {
        let data = &self.data;
        let blob = self
            .blobs
            .entry(file.to_owned())
            .or_insert_with(|| Arc::new(Blob::existing(data, file)));
        Arc::clone(blob)
    }

    /// Returns the versions of each key, the newest first.
    fn objects(&mut self, dir: &Path) -> io::Result<BTreeMap<String, Vec<Version>>> {
        let mut objects: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        for name in files::names(dir)? {
            let version = match files::read(&dir.join(name))? {
                Document::DeleteMarker(marker) => Version::DeleteMarker(Arc::new(marker)),
                Document::Object(record) => {
                    let pieces = record.pieces.iter();
                    let blobs = pieces.map(|piece| self.blob(&piece.file)).collect();
                    Version::Object(Arc::new(Object {
                        record: *record,
                        blobs,
                    }))
                }
            };
            let key = version.key().to_owned();
            objects.entry(key).or_default().push(version);
        }
        for versions in objects.values_mut() {
            versions.sort_by_key(|version| Reverse(version.sequence()));
        }
        Ok(objects)
    }

    fn uploads(
        &mut self,
        dir: &Path,
        used: &HashSet<String>,
    ) -> io::Result<BTreeMap<String, Upload>> {
        let mut uploads = BTreeMap::new();
        for id in files::names(dir)? {
            let dir = dir.join(&id);
            let record: UploadRecord = files::read(&dir.join(UPLOAD))?;
            let mut parts = Vec::new();
            for name in files::names(&dir)?.iter().filter(|name| *name != UPLOAD) {
                parts.push(files::read::<PartRecord>(&dir.join(name))?);
            }
            if parts.iter().any(|part| used.contains(&part.piece.file)) {
                files::discard(&dir);
                continue;
            }
            let parts = parts.into_iter().map(|record| {
                let blob = self.blob(&record.piece.file);
                (record.number, Part { record, blob })
            });
            let upload = Upload {
                parts: parts.collect(),
                record: Arc::new(record),
                overtaken: false,
            };
            uploads.insert(id, upload);
        }
        Ok(uploads)
    }

    fn sweep(&self) -> io::Result<()> {
        let names = files::names(&self.data)?;
        let orphans = names.iter().filter(|name| !self.blobs.contains_key(*name));
        orphans.for_each(|name| files::discard(&self.data.join(name)));
        Ok(())
    }
}
