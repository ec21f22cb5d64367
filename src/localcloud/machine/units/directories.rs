//! The directories that a service's unit file requests.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

use super::super::init::spawn::Identity;
use super::definition::Definition;
use super::state::Failure;

/// Creates the directories that a unit file requests.
pub(super) fn make_directories(definition: &Definition) -> Result<(), Failure> {
    let owner = match &definition.user {
        Some(user) => {
            let found = Identity::find(user, definition.group.as_deref());
            let found = found.map_err(Failure::resources)?;
            Some((found.uid.as_raw(), found.gid.as_raw()))
        }
        None => None,
    };
    for own in &definition.directories {
        let path = Path::new(own.base).join(&own.name);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(own.mode);
        builder.create(&path).map_err(Failure::resources)?;
        if let Some((uid, gid)) = owner {
            chown(&path, Some(uid), Some(gid)).map_err(Failure::resources)?;
        }
    }
    Ok(())
}
