//! ssh: runs commands, copies files, verifies host keys.
//!
//! libssh2 has no asynchronous interface, so each connection is used on a blocking
//! thread. Its socket is non-blocking, and the thread waits with poll(2).
//! Connections are kept and reused; two concurrent commands on one host use two
//! connections.
//!
//! ssh2 moves only one stream at a time, so the pump and the tunnels are this
//! project's own code.

mod address;
mod boot;
mod by_sftp;
mod certificate;
mod channel;
mod client;
mod command;
mod config;
mod connect;
mod connection;
pub mod copy_programs;
mod errors;
mod gate;
mod home;
mod host;
mod identities;
mod idle;
mod input;
mod known_hosts;
mod libssh2;
mod lines;
mod login;
mod open_files;
mod parts;
mod pin;
mod proxy;
mod public_key;
mod pump;
mod raw_login;
mod reboots;
mod refusal;
mod revocations;
mod sftp;
mod sftp_trees;
mod shell;
mod ssm;
mod tries;
mod trust;
mod tunnel;

pub use address::{Address, is_user};
pub use client::Ssh;
pub use command::{Command, Finished, KEPT, Program, Ran, Sink, Stdin};
pub use config::Question;
pub use errors::tail;
pub use host::{Configuration, Host, Secret, Trust};
pub use open_files::allow_open_files;
pub use parts::FileUpload;
pub use pin::{Pin, is_fingerprint};
pub use reboots::names_reboot;
pub use sftp::Upload;
pub use sftp_trees::TreeUpload;
pub use ssm::{SsmSession, SsmSessionEnd, SsmSessions, SsmTarget};
pub use trust::{KeyTypes, Offered};
