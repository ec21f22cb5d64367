//! The variables of a playbook: their values, and where the values come from.

pub(super) use file::{InFile, read_file};
pub(super) use settle::{Given, Settled, settle};

mod command;
mod faults;
mod file;
mod lines;
mod origin;
mod settle;
#[cfg(test)]
mod tests;
mod value;
