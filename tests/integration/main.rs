//! Tests of the whole program: the main job, the command line, interruption,
//! secrets, reports, hints, the manual, and the project's own rules.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod clock;
mod examples;
mod hints;
mod interrupt;
mod ledger;
mod ledger_files;
mod local_cloud;
mod local_cloud_walls;
mod main_job;
mod manual;
mod monitor;
mod report;
mod safety;
mod secrets;
mod terminal;
mod tidy;
