//! The lanes of the timeline, and the dependencies of branches. This module only
//! computes: it does no I/O and does not draw.

use std::collections::{HashMap, HashSet};

use crate::ledger::Millis;

/// The branch and the times of a call, which determine its position.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// The branch of `parallel`, such as `/a#1/b#1`; empty for the main branch.
    pub(super) branch: String,
    pub(super) started: Millis,
    /// Its end, or the last time at which it is known to have run.
    pub(super) ended: Millis,
}

impl Span {
    /// Returns whether it contains the other span.
    pub(super) fn holds(&self, other: &Self) -> bool {
        self.started <= other.started && other.ended <= self.ended
    }
}

/// A branch that has calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) branch: String,
    /// The nearest ancestor that has calls, or the main branch.
    pub(super) parent: Option<usize>,
    pub(super) depth: usize,
}

/// Returns the lanes of branches, which are sorted by start time: the main branch
/// first, each other branch below the branch that started it.
pub(super) fn lanes<'a>(branches: impl IntoIterator<Item = &'a str>) -> Vec<Lane> {
    let mut seen = HashSet::from([""]);
    let mut others: Vec<&str> = Vec::new();
    for branch in branches {
        if seen.insert(branch) {
            others.push(branch);
        }
    }
    let mut below: HashMap<&str, Vec<&str>> = HashMap::new();
    for branch in others {
        let mut above = branch;
        while let Some((rest, _)) = above.rsplit_once('/') {
            above = rest;
            if seen.contains(above) {
                break;
            }
        }
        below.entry(above).or_default().push(branch);
    }
    let mut lanes = Vec::with_capacity(seen.len());
    descend("", None, &below, &mut lanes);
    lanes
}

fn descend(
    branch: &str,
    parent: Option<usize>,
    below: &HashMap<&str, Vec<&str>>,
    lanes: &mut Vec<Lane>,
) {
    let this = lanes.len();
    lanes.push(Lane {
        branch: branch.to_owned(),
        parent,
        depth: parent.map_or(0, |parent| lanes[parent].depth + 1),
    });
    for lower in below.get(branch).into_iter().flatten() {
        descend(lower, Some(this), below, lanes);
    }
}

/// Returns the indices of the spans of each lane.
pub(super) fn rows(spans: &[Span], lanes: &[Lane]) -> Vec<Vec<usize>> {
    let numbers: HashMap<&str, usize> = lanes
        .iter()
        .enumerate()
        .map(|(number, lane)| (lane.branch.as_str(), number))
        .collect();
    let mut rows = vec![Vec::new(); lanes.len()];
    for (number, span) in spans.iter().enumerate() {
        if let Some(lane) = numbers.get(span.branch.as_str()) {
            rows[*lane].push(number);
        }
    }
    rows
}

/// A period in which a branch ran: between two calls of its parent, or during the
/// parent's `parallel`. The numbers are indices of spans.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) lane: usize,
    /// The last call of the parent that started before: the `parallel` itself, or
    /// the call for which the branch waited.
    pub(super) after: Option<usize>,
    pub(super) first: usize,
    pub(super) last: usize,
    /// The next call of the parent.
    pub(super) before: Option<usize>,
}

/// Determines when each branch ran. The times are enough for this, because the calls
/// of a branch are sequential, and a parent makes no calls until its branches have
/// ended. `rows` has the spans of each lane by start time.
pub(super) fn visits(spans: &[Span], lanes: &[Lane], rows: &[Vec<usize>]) -> Vec<Visit> {
    let mut visits: Vec<Visit> = Vec::new();
    for (lane, Lane { parent, .. }) in lanes.iter().enumerate() {
        let Some(parent) = parent.map(|parent| &rows[parent]) else {
            continue;
        };
        let mut open: Option<Visit> = None;
        for span in &rows[lane] {
            let begun =
                parent.partition_point(|above| spans[*above].started <= spans[*span].started);
            let after = begun.checked_sub(1).map(|n| parent[n]);
            match &mut open {
                Some(visit) if visit.after == after => visit.last = *span,
                open => {
                    let next = Visit {
                        lane,
                        after,
                        first: *span,
                        last: *span,
                        before: parent.get(begun).copied(),
                    };
                    visits.extend(open.replace(next));
                }
            }
        }
        visits.extend(open);
    }
    visits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(branch: &str, started: Millis, ended: Millis) -> Span {
        Span {
            branch: branch.to_owned(),
            started,
            ended,
        }
    }

    #[test]
    fn a_branch_is_below_the_branch_that_started_it() {
        let lanes = lanes(["/b#1", "", "/a#1/x#1", "/b#1/y#1", "/a#1", "/c#1/d#1/e#1"]);
        let found: Vec<_> = lanes
            .iter()
            .map(|l| (&*l.branch, l.parent, l.depth))
            .collect();
        assert_eq!(
            found,
            [
                ("", None, 0),
                ("/b#1", Some(0), 1),
                ("/b#1/y#1", Some(1), 2),
                ("/a#1", Some(0), 1),
                ("/a#1/x#1", Some(3), 2),
                ("/c#1/d#1/e#1", Some(0), 1),
            ]
        );
    }

    #[test]
    fn a_branch_runs_between_the_calls_of_its_parent() {
        let spans = [
            span("", 0, 10),
            span("", 11, 50), // a recorded parallel
            span("/a#1", 12, 20),
            span("/a#1", 20, 49),
            span("/b#1", 12, 30),
            span("", 60, 70),
            span("/a#1", 71, 80), // a second parallel, which is not recorded
            span("", 90, 95),
        ];
        let lanes = lanes(spans.iter().map(|s| &*s.branch));
        let found: Vec<_> = visits(&spans, &lanes, &rows(&spans, &lanes))
            .iter()
            .map(|v| (v.lane, v.after, v.first, v.last, v.before))
            .collect();
        assert_eq!(
            found,
            [
                (1, Some(1), 2, 3, Some(5)),
                (1, Some(5), 6, 6, Some(7)),
                (2, Some(1), 4, 4, Some(5)),
            ]
        );
    }
}
