//! `--notify`: posts one JSON object when a run ends.
//!
//! While a run is in progress, the URL is in a file of the ledger's directory.
//! If autorun itself ends first, a later command finds this file and posts.

pub(super) use due::{Due, post_of_ended_runs};
pub(super) use message::{End, Failure};
pub(super) use webhook::Webhook;

mod due;
mod message;
mod webhook;
