//! What needs neither root nor a network nor packages: the command line, the
//! manual's text, and the project's own rules.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod reference;
mod tidy;
