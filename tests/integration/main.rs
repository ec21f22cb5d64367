//! Tests of the whole program in a lab or on a local cloud: the main job,
//! interruption, secrets, reports, hints, and the examples of the manual.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    clippy::print_stdout,
    reason = "seeds and counts are shown with a failure"
)]

#[path = "../support/mod.rs"]
mod support;

mod account_mistakes;
mod accounts;
mod again;
mod check;
mod clean_system;
mod clock;
mod cloud_init;
mod distant;
mod ec2_words;
mod editors;
mod elastic_ips;
mod examples;
mod first_command;
mod fleets;
mod hints;
mod hostile;
mod images;
mod interrupt;
mod keys;
mod known_hosts;
mod ledger;
mod ledger_files;
mod local_cloud;
mod local_cloud_account;
mod local_cloud_dnf;
mod local_cloud_iam;
mod local_cloud_programs;
mod local_cloud_ssm;
mod local_cloud_walls;
mod logins;
mod main_job;
mod manual;
mod monitor;
mod nat_gateways;
mod network_interfaces;
mod notify;
mod package;
mod plan;
mod plan_borrowed;
mod plan_faults;
mod policy;
mod reboots;
mod report;
mod s3_accounts;
mod s3_large;
mod safety;
mod secrets;
mod shared_ledger;
mod shells;
mod ssh_config;
mod ssm_sessions;
mod terminal;
mod versions;
mod volumes;
mod walls_escape;
mod walls_inside;
mod walls_local_user;
mod walls_network;
mod walls_vpc;
mod zones;
