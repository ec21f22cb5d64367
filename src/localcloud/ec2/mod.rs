//! EC2's query API: the actions that autorun's primitives and common tools need.
//!
//! An action is a function. It reads its parameters, refuses unknown parameters
//! and changes the state in place. The change is written to disk, and then the
//! machines are changed. A change is undone if the action fails, and in a dry
//! run.
//!
//! To add an action, write a function beside similar actions and add a line to
//! the table in `actions`.

mod absent;
mod account_settings;
mod action_resources;
mod actions;
mod addresses;
#[cfg(target_os = "linux")]
mod admission;
#[cfg(target_os = "linux")]
mod agent;
mod answer;
mod attributes;
mod authentication;
mod block_devices;
#[cfg(target_os = "linux")]
mod boot;
mod call;
mod capacity;
mod catalogue;
mod connect;
mod console;
mod create_fleet;
mod credits;
mod ebs_encryption;
mod elastic_ips;
mod filter_answers;
mod filter_names;
mod filters;
#[cfg(target_os = "linux")]
mod fleet;
mod fleet_answers;
mod fleet_request;
mod group_rules;
mod group_uses;
mod groups;
mod iam;
mod ids;
mod image_attributes;
mod image_sources;
mod images;
mod instance_answer;
mod instance_profiles;
#[cfg(target_os = "linux")]
mod instance_task;
mod instance_types;
mod instances;
mod journal;
mod journaled;
mod key_pairs;
mod launch;
mod launch_request;
mod launch_template_versions;
mod launch_templates;
mod lent;
#[cfg(target_os = "linux")]
mod machine_volumes;
#[cfg(target_os = "linux")]
mod machines;
#[cfg(target_os = "linux")]
mod metadata;
mod monitoring;
mod needs;
mod network;
mod network_interfaces;
#[cfg(not(target_os = "linux"))]
mod no_machines;
mod options;
mod own_images;
mod params;
mod permissions;
mod ppk;
mod public_keys;
mod records;
mod refusal;
mod regions;
mod rule_changes;
mod service;
mod sharing;
mod snapshots;
mod spot;
mod spot_requests;
mod ssm;
mod state;
mod store;
mod sts;
mod tags;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod trial;
mod user_data;
mod volume_answer;
mod volume_attributes;
mod volume_spec;
mod volumes;
mod vpc;
mod xml;

pub(crate) use actions::actions;
pub(crate) use answer::{Answer, action_of, refused_by};
pub(crate) use authentication::authenticate;
pub(crate) use call::{CONSISTENCY_SECONDS, CloudInfo};
pub(crate) use connect::{SERVICE as CONNECT, operation as connect_operation};
pub(crate) use lent::Lent;
#[cfg(target_os = "linux")]
pub(crate) use machines::Machines;
#[cfg(not(target_os = "linux"))]
pub(crate) use no_machines::Machines;
pub(crate) use refusal::Refusal;
pub(crate) use service::{Ec2, Sender};
pub(crate) use ssm::{
    DATA_CHANNELS, OutputStore, operation as ssm_operation, refused as ssm_refused,
};
pub(crate) use store::Store;
