//! The port and subnet of the previous process. Reusing them keeps URLs valid
//! across restarts.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::home::Home;

/// The port and subnet of a cloud.
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
