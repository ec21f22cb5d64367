//! The SFTP server: SFTP version 3 on standard input and output.
//!
//! The server is a separate program. It runs as the user who logged in, so the
//! kernel decides what the user may read and write.
//!
//! Why not the crate russh-sftp (3.0): its paths are Rust strings, so it changes
//! names that are not UTF-8. After a packet whose length it refuses, it continues to
//! read in the middle of this packet. It answers an unknown request with the id 0.
//! If reading its input fails, it retries in an endless loop.

mod attributes;
mod files;
mod kind;
mod paths;
mod server;
mod status;
mod wire;

pub(crate) use server::sftp_server;
