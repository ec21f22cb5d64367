//! The base layer of instances: what the installed packages of the host consist
//! of, as a directory of its own.
//!
//! It holds files that belong to packages and that everybody may read, and a
//! named list of generated ones. Whatever else is on the host, now or later, has
//! no name in it. It is built once, is never changed, and stays as long as a
//! disk stands on it; when the packages change, another one is built beside it.
//! All local clouds of a host share it.

mod bases;
mod generated;
mod packages;
mod settings;
mod sources;
mod writer;

pub(crate) use self::settings::BaseSettings;
pub(in super::super) use bases::{Bases, packages_are_known};
