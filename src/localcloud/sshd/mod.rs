//! The SSH server of an instance. It behaves as OpenSSH's sshd on Amazon Linux, on
//! any distribution and without installing a package.
//!
//! The server runs in process 1 of an instance, as root, on a single thread. It
//! never waits for a child process itself, because two waiting parties would
//! compete for the exit status: process 1 reaps all processes and reports how they
//! ended (see [`Reaper`]). Clients log in with public keys only. The programs of a
//! session run as the user who logged in.
//!
//! - `connection` answers the client's requests and holds its `channels`.
//! - `login` checks accounts, `authorized_keys` and `key_options`.
//! - `session` runs a program for a channel; `process` starts it, and `terminal`
//!   opens a pseudo-terminal for it.
//! - `intake` and `transport` slow down a client that sends faster than a program
//!   reads.
//! - `sftp` is the SFTP server, a separate program.

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

pub(crate) use authorized_keys::PUSHED_KEYS;
pub(crate) use serve::{Config, serve};
pub(crate) use settings::Reaper;
pub(crate) use sftp::sftp_server;
