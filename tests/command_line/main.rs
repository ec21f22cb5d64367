//! Tests that need no root, network or packages: the command line, the text of the
//! manual, and the project's own rules.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod lsp;
mod pager;
mod playbook_files;
mod reference;
mod settings;
mod tidy;
