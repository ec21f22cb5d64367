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
mod admission;
mod answer;
mod attributes;
mod authentication;
mod boot;
mod call;
mod console;
mod filters;
mod fleet;
mod group_rules;
mod groups;
mod ids;
mod images;
mod instance_answer;
mod instance_task;
mod instance_types;
mod instances;
mod key_pairs;
mod launch;
mod launch_request;
mod machines;
mod metadata;
mod network;
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
pub(crate) use call::{CONSISTENCY_SECONDS, Facts};
pub(crate) use ids::new_request_id;
pub(crate) use refusal::Refusal;
pub(crate) use service::Ec2;
