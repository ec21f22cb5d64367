//! Facts about the user's machine that the clients need.

use std::path::{Path, PathBuf};

/// Facts about the user's machine.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The directory for pinned host keys and private keys.
    pub data_dir: PathBuf,
    /// The user's home directory, if there is one.
    pub home: Option<PathBuf>,
    /// The user's name, the default for ssh.
    pub user: Option<String>,
    /// The file to read in place of `~/.ssh/config`; `none` means no file.
    pub ssh_config: Option<PathBuf>,
    /// In a rehearsal, the directory that has the files which the playbook
    /// writes, under their absolute paths.
    pub overlay: Option<PathBuf>,
}

impl Local {
    /// Expands a leading `~/` to the user's home directory. In a rehearsal, a
    /// file that the playbook has written is the one in the overlay.
    #[must_use]
    pub fn expand(&self, path: &Path) -> PathBuf {
        let path = self.in_home(path);
        match self.overlaid(&path) {
            // Of a directory of this machine, only single files are overlaid.
            Some(overlaid) if overlaid.is_file() || overlaid.is_dir() && !path.exists() => overlaid,
            _ => path,
        }
    }

    /// Returns the path to which a function writes what the playbook names
    /// `path`. In a rehearsal, it is in the overlay, where the directories of
    /// this machine exist too.
    #[must_use]
    pub fn output(&self, path: &Path) -> PathBuf {
        let path = self.in_home(path);
        let Some(overlaid) = self.overlaid(&path) else {
            return path;
        };
        let exists = |path: &Path| path.is_dir() || path.as_os_str().is_empty();
        let directories = [path.as_path(), path.parent().unwrap_or(&path)];
        let places = [overlaid.as_path(), overlaid.parent().unwrap_or(&overlaid)];
        for (directory, place) in directories.into_iter().zip(places) {
            if exists(directory) {
                // The write fails with its own error if this fails.
                let _created = std::fs::create_dir_all(place);
            }
        }
        overlaid
    }

    /// Returns the path of a file of the overlay as the playbook knows it.
    #[must_use]
    pub fn shown(&self, path: &Path) -> PathBuf {
        let overlaid = self.overlay.as_deref();
        let below = overlaid.and_then(|overlay| path.strip_prefix(overlay).ok());
        below.map_or_else(|| path.to_owned(), |below| Path::new("/").join(below))
    }

    fn in_home(&self, path: &Path) -> PathBuf {
        match (&self.home, path.strip_prefix("~")) {
            (Some(home), Ok(rest)) => home.join(rest),
            _ => path.to_owned(),
        }
    }

    fn overlaid(&self, path: &Path) -> Option<PathBuf> {
        let overlay = self.overlay.as_ref()?;
        let absolute = std::path::absolute(path).ok()?;
        Some(overlay.join(absolute.strip_prefix("/").ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_reads_what_it_has_written_and_writes_nothing_else() {
        let (real, overlay) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let local = Local {
            home: Some(real.path().to_owned()),
            overlay: Some(overlay.path().to_owned()),
            ..Local::default()
        };
        let file = real.path().join("file");
        std::fs::write(&file, "real").unwrap();
        assert_eq!(local.expand(Path::new("~/file")), file);
        let output = local.output(Path::new("~/file"));
        assert!(output.starts_with(overlay.path()));
        std::fs::write(&output, "rehearsed").unwrap();
        assert_eq!(local.expand(&file), output);
        assert_eq!(local.shown(&output), file);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "real");
        // The directory itself is still the real one.
        assert_eq!(local.expand(real.path()), real.path());
        // A directory that does not exist here is an error there too.
        let missing = local.output(Path::new("~/missing/file"));
        assert!(std::fs::write(missing, "").is_err());
    }

    #[test]
    fn a_run_reads_and_writes_the_named_files() {
        let local = Local {
            home: Some("/home/me".into()),
            ..Local::default()
        };
        for (given, path) in [("~/a", "/home/me/a"), ("a/b", "a/b"), ("/a", "/a")] {
            let path = Path::new(path);
            assert_eq!(local.expand(Path::new(given)), path);
            assert_eq!(local.output(Path::new(given)), path);
            assert_eq!(local.shown(path), path);
        }
    }
}
