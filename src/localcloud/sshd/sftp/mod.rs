//! The file server: SFTP version 3 on standard input and output.
//!
//! It is a program of its own. It runs as the user who logged in, so the kernel
//! decides what that user may read and write.
//!
//! russh-sftp 3.0 is not used. Its paths are Rust strings, so it changes names that
//! are not UTF-8. After a packet whose length it refuses it reads on in the middle
//! of that packet. It answers an unknown request under the number 0, and when its
//! input fails it tries again without end.

mod attributes;
mod files;
mod kind;
mod paths;
mod server;
mod status;
mod wire;

pub(crate) use server::sftp_server;
