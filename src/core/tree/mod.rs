//! Directories of this machine as tar streams, to hosts and from hosts.
//!
//! The crate `tar` writes and parses headers. This module ensures that nothing
//! in a stream leads out of the directory, however hostile the host is.

mod archive;
mod pack;
mod root;
mod settle;
#[cfg(test)]
mod tests;
mod unpack;
mod walk;

pub use pack::{CLOSED, NotPacked, TREE, pack, parse_closed};
pub use root::{Root, open_file};
pub use settle::{Stage, settle};
pub use unpack::{LeftOut, NotUnpacked, Unpacked, unpack};
use walk::About;
pub use walk::{Entry, Kind, state, walk};
