//! What the process before this one used: URLs hold while it can be had again.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::home::Home;

/// Port and network of a cloud.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct NetworkRecord {
    pub(super) port: Option<u16>,
    pub(super) subnet: Option<String>,
}

impl NetworkRecord {
    fn file(home: &Home) -> PathBuf {
        home.state.join("network.json")
    }

    pub(super) fn read(home: &Home) -> Self {
        let text = fs::read(Self::file(home)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn write(&self, home: &Home) -> io::Result<()> {
        fs::write(Self::file(home), serde_json::to_vec(self)?)
    }
}
