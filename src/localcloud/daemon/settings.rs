//! The administrator's settings for the files of instances.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::machine::BaseSettings;

/// The base layers of instances, shared by all clouds that run as root.
const BASES: &str = "/var/lib/autorun/base";

/// The administrator's settings file.
pub(super) const SETTINGS: &str = "/etc/autorun/cloud.toml";

/// Reads the administrator's settings. A missing file means the defaults.
pub(super) fn base_settings(path: &Path) -> Result<BaseSettings, String> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        /// Paths of the host that instances must not see.
        hidden: Vec<PathBuf>,
        /// Whether package files are copied instead of hard-linked.
        copy: bool,
    }
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|e| format!("cannot read {}: {e}", path.display()))?,
    };
    let settings: Settings =
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if let Some(relative) = settings.hidden.iter().find(|path| path.is_relative()) {
        return Err(format!(
            "{}: `hidden` has `{}`, which is not an absolute path",
            path.display(),
            relative.display()
        ));
    }
    Ok(BaseSettings {
        directory: BASES.into(),
        hidden: settings
            .hidden
            .iter()
            .flat_map(|path| names_of(path))
            .collect(),
        copy: settings.copy,
    })
}

/// Returns a path as written, with the links of its directory resolved, and
/// fully resolved. Package lists name files without links, so that a path
/// through a link would match no file.
fn names_of(path: &Path) -> Vec<PathBuf> {
    let own = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let mut names = vec![path.to_owned()];
    names.extend(own().into_iter().chain(path.canonicalize().ok()));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<BaseSettings, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cloud.toml");
        fs::write(&file, text).unwrap();
        base_settings(&file)
    }

    #[test]
    fn without_a_settings_file_files_are_linked_and_all_are_visible() {
        let without = base_settings(Path::new("/nowhere/cloud.toml")).unwrap();
        assert!(!without.copy && without.hidden.is_empty());
        let chosen = settings("copy = true\nhidden = [\"/etc/pip.conf\"]\n").unwrap();
        assert!(chosen.copy);
        assert_eq!(chosen.hidden[0], Path::new("/etc/pip.conf"));
    }

    #[test]
    fn a_path_through_links_hides_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        fs::create_dir(real.join("usr")).unwrap();
        fs::write(real.join("usr/token"), "").unwrap();
        std::os::unix::fs::symlink("usr", real.join("bin")).unwrap();
        std::os::unix::fs::symlink("token", real.join("usr/link")).unwrap();
        let hidden = names_of(&real.join("bin/link"));
        for name in ["bin/link", "usr/link", "usr/token"] {
            assert!(hidden.contains(&real.join(name)), "{hidden:?}");
        }
    }

    #[test]
    fn a_setting_that_would_hide_nothing_is_rejected() {
        for (text, part) in [
            ("hiden = [\"/etc/x\"]", "hiden"),
            ("hidden = \"/etc/x\"", "hidden"),
            ("hidden = [\"etc/x\"]", "not an absolute path"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(
                error.contains(part) && error.contains("cloud.toml"),
                "{error}"
            );
        }
    }
}
