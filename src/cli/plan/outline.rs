//! What a playbook would do, from the notes of its rehearsal.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::describe::{Names, describe};
use crate::cli::rehearsal::Rehearsed;
use crate::context::Assumption;
use crate::ledger::ResourceKind;
use crate::playbook::{Effect, effect_of};
use crate::report::{Remaining, text};

/// What a playbook would do.
#[derive(Debug, Serialize)]
pub(super) struct Outline {
    /// The calls with an effect, in the order in which they ended.
    pub(super) steps: Vec<Entry>,
    /// The ports that would be open at the end.
    pub(super) open: Vec<Opening>,
    /// The objects that everyone could read at the end.
    pub(super) public: Vec<String>,
    /// The resources that would be left at the end, newest first.
    pub(super) stays_up: Vec<Remaining>,
}

/// One call.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) section: Section,
    pub(super) function: String,
    pub(super) place: String,
    pub(super) branch: String,
    /// What it does, on one line.
    pub(super) what: String,
    /// More about it, each on a line.
    pub(super) details: Vec<String>,
    /// The arguments, without secrets and without maps of resources.
    pub(super) arguments: Value,
    pub(super) assumed: Vec<Assumption>,
    /// The place of the assumed result on which the call may depend.
    pub(super) follows: Option<String>,
    pub(super) error: Option<String>,
}

/// The parts of the list, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Section {
    Create,
    Change,
    Copy,
    Run,
    Delete,
    /// Only looks, but was assumed, because it would leave the rehearsal.
    Look,
}

impl Section {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Create, "create"),
        (Self::Change, "change"),
        (Self::Copy, "copy"),
        (Self::Run, "run"),
        (Self::Delete, "delete"),
        (Self::Look, "look at and wait for"),
    ];

    fn of(function: &str) -> Self {
        match effect_of(function) {
            Effect::Create => Self::Create,
            Effect::Change => Self::Change,
            Effect::Copy => Self::Copy,
            Effect::Run => Self::Run,
            Effect::Delete => Self::Delete,
            Effect::None => Self::Look,
        }
    }
}

/// An open port.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Opening {
    pub(super) group: String,
    pub(super) ports: String,
    pub(super) to: String,
}

impl Outline {
    pub(super) fn of(rehearsed: &Rehearsed) -> Self {
        let rows = &rehearsed.record.resources;
        let by_id = rows
            .iter()
            .filter_map(|row| Some((row.id.clone()?, row.name.clone())));
        let names = Names {
            resources: by_id.collect(),
            images: rehearsed.images.clone(),
        };
        let rows_of_steps = &rehearsed.record.steps;
        // A call that found nothing to do has no step.
        let notes = rehearsed.notes.iter().filter(|note| {
            let mut steps = rows_of_steps.iter();
            !note.assumed.is_empty()
                || steps.any(|step| {
                    (&step.function, &step.place, &step.branch)
                        == (&note.function, &note.place, &note.branch)
                })
        });
        let steps = notes.map(|note| {
            let described = describe(note, &names);
            Entry {
                section: Section::of(&note.function),
                function: note.function.clone(),
                place: note.place.clone(),
                branch: note.branch.clone(),
                what: described.what,
                details: described.details,
                arguments: names.named(note.arguments.clone()),
                assumed: note.assumed.clone(),
                follows: note.follows.clone(),
                error: note.error.clone(),
            }
        });
        let live = rows.iter().rev().filter(|row| row.exists());
        Self {
            steps: steps.collect(),
            open: openings(rehearsed, &names.resources),
            public: (rehearsed.public.iter())
                .map(|(bucket, key)| format!("s3://{bucket}/{key}"))
                .collect(),
            stays_up: live.map(|row| remaining(row.kind, &row.name)).collect(),
        }
    }

    /// Returns the entries of a part of the list.
    pub(super) fn section(&self, section: Section) -> impl Iterator<Item = &Entry> {
        self.steps
            .iter()
            .filter(move |entry| entry.section == section)
    }
}

/// Returns a resource without the id that it has in the rehearsal only.
fn remaining(kind: ResourceKind, name: &str) -> Remaining {
    Remaining {
        kind: kind.as_str(),
        id: None,
        name: name.to_owned(),
        can_log_in: false,
    }
}

fn openings(rehearsed: &Rehearsed, names: &BTreeMap<String, String>) -> Vec<Opening> {
    let mine = rehearsed.my_ip.as_ref().map(|ip| format!("{ip}/32"));
    let openings = rehearsed.open.iter().map(|(group, rule)| Opening {
        group: group.clone(),
        ports: ports(&rule.protocol, rule.port, rule.to_port),
        to: match rule.from.as_str() {
            "0.0.0.0/0" => "everyone".to_owned(),
            "::/0" => "everyone (IPv6)".to_owned(),
            from if mine.as_deref() == Some(from) => "your address (my_ip)".to_owned(),
            from => names.get(from).map_or_else(
                || from.to_owned(),
                |name| format!("members of security group {name}"),
            ),
        },
    });
    openings.collect()
}

fn ports(protocol: &str, first: i32, last: i32) -> String {
    match (protocol, first, last) {
        ("-1", ..) => "everything".to_owned(),
        (protocol, -1, _) => protocol.to_owned(),
        (protocol, first, last) if first == last => format!("{protocol} {first}"),
        (protocol, first, last) => format!("{protocol} {first}-{last}"),
    }
}

/// Returns `1.2 KiB of at most 16.0 KiB`.
pub(super) fn user_data_size(length: usize) -> String {
    let size = |length: usize| text::bytes(u64::try_from(length).unwrap_or(u64::MAX));
    let most = crate::clients::ec2::LONGEST_USER_DATA;
    format!("{} of at most {}", size(length), size(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_well() {
        for (given, shown) in [
            (("tcp", 80, 80), "tcp 80"),
            (("udp", 1, 9), "udp 1-9"),
            (("-1", -1, -1), "everything"),
            (("icmp", -1, -1), "icmp"),
        ] {
            assert_eq!(ports(given.0, given.1, given.2), shown);
        }
    }
}
