//! The access key of a cloud, and other random secrets.

use std::fs;
use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::home::{Home, private_file};
use crate::signature::Keys;

/// Returns the access key of this cloud. The first call creates it.
pub(super) fn keys(home: &Home) -> io::Result<Keys> {
    #[derive(Serialize, Deserialize)]
    struct Kept {
        access_key_id: String,
        secret_access_key: String,
    }
    let file = home.key_file();
    let kept: Kept = match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let kept = Kept {
                access_key_id: format!("AKIALOCAL{}", random_hex(6).to_uppercase()),
                secret_access_key: random_hex(20),
            };
            private_file(&file)?.write_all(&serde_json::to_vec(&kept)?)?;
            kept
        }
        Err(e) => return Err(e),
    };
    Ok(Keys {
        access_key_id: kept.access_key_id,
        secret_access_key: kept.secret_access_key,
    })
}

pub(super) fn random_hex(bytes: usize) -> String {
    hex::encode((0..bytes).map(|_| rand::random()).collect::<Vec<u8>>())
}
