//! EC2's query API, as far as the primitives and ordinary work need it.
//!
//! An action is one function: it reads its parameters, refuses what it does not
//! know, and changes a copy of the state. Only when the copy is on disk does it
//! take the old state's place, and only then anything happens to a machine: a
//! dry run is the same without that last step.
//!
//! A further action is a line in `actions` and a function beside its like.

mod actions;
mod addresses;
#[cfg(target_os = "linux")]
mod admission;
mod answer;
mod attributes;
mod authentication;
#[cfg(target_os = "linux")]
mod boot;
mod call;
mod console;
mod filters;
#[cfg(target_os = "linux")]
mod fleet;
mod group_rules;
mod groups;
mod ids;
mod images;
mod instance_answer;
#[cfg(target_os = "linux")]
mod instance_task;
mod instance_types;
mod instances;
mod key_pairs;
mod launch;
mod launch_request;
#[cfg(target_os = "linux")]
mod machines;
#[cfg(target_os = "linux")]
mod metadata;
mod network;
#[cfg(not(target_os = "linux"))]
mod no_machines;
mod params;
mod permissions;
mod refusal;
mod regions;
mod service;
mod state;
mod store;
mod sts;
mod tags;
mod user_data;
mod xml;

pub(crate) use actions::actions;
pub(crate) use answer::{Answer, action_of, refused};
pub(crate) use authentication::authenticate;
pub(crate) use call::{CONSISTENCY_SECONDS, CloudInfo};
pub(crate) use ids::new_request_id;
#[cfg(target_os = "linux")]
pub(crate) use machines::Machines;
#[cfg(not(target_os = "linux"))]
pub(crate) use no_machines::Machines;
pub(crate) use refusal::Refusal;
pub(crate) use service::Ec2;
pub(crate) use store::Store;
