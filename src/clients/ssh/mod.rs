//! ssh: run a command, copy a file, verify who answers.
//!
//! libssh2 blocks by nature, so everything here runs on blocking threads, in
//! non-blocking mode with poll(2). A connection is kept and used again; two
//! jobs at once on one host get two connections.
//!
//! The pump and the tunnels are ours because ssh2 moves one stream at a time; an
//! asynchronous ssh client would need neither, but ssh2 is this project's choice.

mod boot;
mod channel;
mod client;
mod command;
mod connect;
mod connection;
pub mod copy_programs;
mod errors;
mod gate;
mod host;
mod input;
mod known_hosts;
mod libssh2;
mod lines;
mod login;
mod pin;
mod public_key;
mod pump;
mod shell;
mod trust;
mod tunnel;

pub use client::Ssh;
pub use command::{Command, Finished, KEPT, Sink, Stdin};
pub use errors::tail;
pub use host::{Host, Secret, Trust};
pub use pin::{Pin, is_fingerprint};
pub use trust::{KeyTypes, Offered};
