//! Directories of this machine: what is in them, as streams to hosts, and back.
//!
//! The crate `tar` makes and reads headers; that nothing of a stream leaves the
//! directory, however hostile the host, is decided here.

mod archive;
mod pack;
mod root;
mod settle;
#[cfg(test)]
mod tests;
mod unpack;
mod walk;

pub use pack::{NotPacked, pack};
pub use root::{Root, open_file};
pub use settle::{Stage, settle};
pub use unpack::{LeftOut, NotUnpacked, Unpacked, unpack};
use walk::About;
pub use walk::{Entry, Kind, state, walk};
