//! The ssh server of an instance: what OpenSSH's sshd does on Amazon Linux, on
//! any distribution, without a package to install.
//!
//! It runs inside pid 1 of an instance, as root, on a single thread. It never
//! waits for a child itself: pid 1 reaps every process and tells how it ended
//! (see [`Reaper`]), so that nothing races for an exit status. Only public keys
//! open it, and what a session starts runs with the rights of its user.
//!
//! - `connection` answers the protocol's requests, with the help of
//!   `login`, and keeps its `channels`;
//! - `login` decides by accounts, `authorized_keys` and `key_options`;
//! - `session` runs a program for a channel, `process` starts it, `terminal`
//!   gives it a tty;
//! - `intake` and `transport` hold back a client that sends faster than a
//!   program reads;
//! - `sftp` is the file server, a program of its own.

mod authorized_keys;
mod channels;
mod connection;
mod forward;
mod intake;
mod key_options;
mod login;
mod process;
mod serve;
mod session;
mod settings;
mod sftp;
mod signals;
mod terminal;
mod transport;

pub(crate) use serve::{Config, serve};
pub(crate) use settings::Reaper;
pub(crate) use sftp::sftp_server;
