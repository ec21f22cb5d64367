//! Where things stand in the picture of a run: its lanes, its axis, and what
//! waited for what. Pure: times in, places out.

use std::collections::{HashMap, HashSet};

use crate::ledger::Millis;

/// Of a call in the picture, what its place depends on.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// The branch of `parallel`, as `/a#1/b#1`; empty for the main one.
    pub(super) branch: String,
    pub(super) started: Millis,
    /// Its end, or how far it is known to have got.
    pub(super) ended: Millis,
}

/// A branch that has calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) branch: String,
    /// The nearest branch above it that has calls, or the main one.
    pub(super) parent: Option<usize>,
    pub(super) depth: usize,
}

/// The lanes of branches given by their beginnings: the main one first, each
/// other one below the one that began it.
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

/// Times as places from 0 to a width. Long times in which nothing is on record,
/// the night before a run was resumed, say, are cut short.
#[derive(Debug)]
pub(super) struct Scale {
    pieces: Vec<Piece>,
    origin: Millis,
    width: f64,
}

/// A part of the axis.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) from: Millis,
    pub(super) to: Millis,
    pub(super) x: f64,
    pub(super) width: f64,
    /// Whether it is cut short.
    pub(super) cut: bool,
}

/// Nothing shorter is cut out of the axis.
const SHORTEST_CUT: Millis = 60_000;
/// Width of what is cut out, if there is room.
const CUT_WIDTH: f64 = 30.0;

impl Scale {
    pub(super) fn new(spans: &[Span], from: Millis, to: Millis, width: f64) -> Self {
        let (busy, idle) = busy_and_idle(spans, from, to);
        let is_cut = |gap: &(Millis, Millis)| {
            let length = gap.1 - gap.0;
            busy > 0 && length >= SHORTEST_CUT && length > 2 * busy
        };
        let cuts: Vec<_> = idle.into_iter().filter(is_cut).collect();
        let cut_width = CUT_WIDTH.min(0.3 * width / float(cuts.len().max(1)));
        let shown = to - from - cuts.iter().map(|(from, to)| to - from).sum::<Millis>();
        let per_milli = (width - cut_width * float(cuts.len())) / millis(shown.max(1));

        let mut pieces: Vec<Piece> = Vec::new();
        let (mut at, mut x) = (from, 0.0);
        let mut add = |from, to, width, cut| {
            pieces.push(Piece {
                from,
                to,
                x,
                width,
                cut,
            });
            x += width;
        };
        for (begin, end) in cuts {
            add(at, begin, millis(begin - at) * per_milli, false);
            add(begin, end, cut_width, true);
            at = end;
        }
        add(at, to, millis(to - at) * per_milli, false);
        Self {
            pieces,
            origin: from,
            width,
        }
    }

    pub(super) fn x(&self, at: Millis) -> f64 {
        let piece = self.pieces.iter().find(|piece| at <= piece.to);
        let Some(piece) = piece.or(self.pieces.last()) else {
            return 0.0;
        };
        let part = millis(at.clamp(piece.from, piece.to) - piece.from);
        piece.x + piece.width * part / millis((piece.to - piece.from).max(1))
    }

    pub(super) fn cuts(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| piece.cut)
    }

    /// Round times, as many as there is room for.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        const ROOM: f64 = 72.0;
        const LETTER: f64 = 6.5;
        let shown = self.pieces.iter().filter(|piece| !piece.cut);
        let (width, length) = shown.clone().fold((0.0, 0), |(width, length), piece| {
            (width + piece.width, length + piece.to - piece.from)
        });
        let step = round_step(ROOM * millis(length) / f64::max(width, 1.0));
        let mut ticks: Vec<Tick> = Vec::new();
        let mut taken = f64::MIN;
        for piece in shown {
            let mut at = (piece.from - self.origin).div_euclid(step) * step;
            while at <= piece.to - self.origin {
                let x = self.x(self.origin + at);
                let label = elapsed(at);
                let half = float(label.chars().count()) * LETTER / 2.0;
                // Within the axis, so that none is cut at its ends.
                let label_x = x.min(self.width - half).max(half);
                if self.origin + at >= piece.from && label_x - half > taken {
                    taken = label_x + half + LETTER;
                    ticks.push(Tick { x, label, label_x });
                }
                at += step;
            }
        }
        ticks
    }
}

/// A mark on the axis.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) x: f64,
    pub(super) label: String,
    /// The middle of the label.
    pub(super) label_x: f64,
}

/// How long something was going on, and the times between.
fn busy_and_idle(spans: &[Span], from: Millis, to: Millis) -> (Millis, Vec<(Millis, Millis)>) {
    let mut times: Vec<_> = spans.iter().map(|s| (s.started, s.ended)).collect();
    times.push((to, to));
    times.sort_unstable();
    let (mut busy, mut idle, mut at) = (0, Vec::new(), from);
    for (started, ended) in times {
        if started > at {
            idle.push((at, started));
        }
        busy += (ended - started.max(at)).max(0);
        at = at.max(ended);
    }
    (busy, idle)
}

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// The next round number of milliseconds.
fn round_step(least: f64) -> Millis {
    const ROUND: [Millis; 27] = [
        1,
        2,
        5,
        10,
        20,
        50,
        100,
        200,
        500,
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
        15 * SECOND,
        30 * SECOND,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        7 * DAY,
    ];
    let round = ROUND.into_iter().find(|step| millis(*step) >= least);
    round.unwrap_or_else(|| {
        let mut weeks = 14 * DAY;
        while millis(weeks) < least {
            weeks *= 2;
        }
        weeks
    })
}

/// `0`, `250 ms`, `1.5 s`, `2 min 30 s`, `20 h`.
pub(super) fn elapsed(at: Millis) -> String {
    if at < SECOND {
        return match at {
            0 => "0".to_owned(),
            at => format!("{at} ms"),
        };
    }
    let mut words = Vec::new();
    let mut rest = at;
    for (length, unit) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "min")] {
        if rest >= length {
            words.push(format!("{} {unit}", rest / length));
        }
        rest %= length;
    }
    if rest > 0 {
        words.push(format!("{} s", millis(rest) / 1000.0));
    }
    words.join(" ")
}

impl Span {
    /// Whether it lasted over the whole other one.
    pub(super) fn holds(&self, other: &Self) -> bool {
        self.started <= other.started && other.ended <= self.ended
    }
}

/// The spans of each lane, by their numbers.
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

/// A branch at work between two calls of the branch that began it, or during
/// its `parallel`. Its numbers are those of spans.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) lane: usize,
    /// The call of the parent that was the last to begin before: the `parallel`
    /// itself, or what the branch waited for.
    pub(super) after: Option<usize>,
    pub(super) first: usize,
    pub(super) last: usize,
    /// The next call of the parent.
    pub(super) before: Option<usize>,
}

/// When which branch was at work. A branch's own calls follow each other, and
/// what began it does nothing itself until its branches have ended; so this is
/// in the times. `rows` has the spans of each lane by their beginnings.
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

#[expect(
    clippy::cast_precision_loss,
    reason = "a picture is at most some thousand pixels wide"
)]
pub(super) fn millis(time: Millis) -> f64 {
    time as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of what is in a picture")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
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
    fn a_branch_stands_below_the_one_that_began_it() {
        let lanes = lanes(["/b#1", "", "/a#1/x#1", "/b#1/y#1", "/a#1", "/c#1/d#1/e#1"]);
        let told: Vec<_> = lanes
            .iter()
            .map(|l| (&*l.branch, l.parent, l.depth))
            .collect();
        assert_eq!(
            told,
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
    fn times_are_places() {
        let scale = Scale::new(&[span("", 100, 300)], 100, 1100, 500.0);
        assert!((scale.x(100) - 0.0).abs() < 1e-9);
        assert!((scale.x(600) - 250.0).abs() < 1e-9);
        assert!((scale.x(1100) - 500.0).abs() < 1e-9);
        assert!((scale.x(9999) - 500.0).abs() < 1e-9);
        assert_eq!(scale.cuts().count(), 0);
        // A run in which nothing happened has an axis all the same.
        assert!(Scale::new(&[], 5, 5, 500.0).x(5).abs() < 1e-9);
    }

    #[test]
    fn a_night_in_which_nothing_happened_is_cut_short() {
        let spans = [span("", 0, 10_000), span("", 12 * HOUR, 12 * HOUR + 10_000)];
        let scale = Scale::new(&spans, 0, 12 * HOUR + 10_000, 630.0);
        let cut: Vec<_> = scale.cuts().collect();
        assert_eq!((cut[0].from, cut[0].to), (10_000, 12 * HOUR));
        assert!((scale.x(10_000) - 300.0).abs() < 1e-9);
        assert!((scale.x(12 * HOUR) - 330.0).abs() < 1e-9);
        // A wait of a minute in the middle of ten is shown as it was.
        let spans = [span("", 0, 5 * MINUTE), span("", 6 * MINUTE, 11 * MINUTE)];
        let scale = Scale::new(&spans, 0, 11 * MINUTE, 600.0);
        assert_eq!(scale.cuts().count(), 0);
    }

    #[test]
    fn ticks_are_round_and_have_room() {
        let labels = |length, width| {
            let ticks = Scale::new(&[], 0, length, width).ticks();
            assert!(ticks.windows(2).all(|two| two[1].x - two[0].x >= 40.0));
            ticks.into_iter().map(|t| t.label).collect::<Vec<_>>()
        };
        assert_eq!(labels(950, 300.0), ["0", "500 ms"]);
        assert_eq!(labels(14_200, 500.0), ["0", "5 s", "10 s"]);
        assert_eq!(labels(3 * MINUTE, 300.0), ["0", "1 min", "2 min", "3 min"]);
        assert_eq!(labels(0, 300.0), ["0"]);
        assert!(labels(400 * DAY, 300.0).len() > 2);
        // After a cut the labels are long: two at the end do not meet.
        let spans = [span("", 0, 2000), span("", DAY + 61_000, DAY + 64_100)];
        let ticks = Scale::new(&spans, 0, DAY + 64_100, 540.0).ticks();
        let end = |tick: &Tick, side: f64| tick.label_x + side * 3.0 * float(tick.label.len());
        assert!(
            ticks
                .windows(2)
                .all(|two| end(&two[0], 1.0) < end(&two[1], -1.0))
        );
        assert!(
            ticks.iter().all(|tick| end(tick, 1.0) <= 540.0),
            "{ticks:?}"
        );
        assert_eq!(elapsed(2 * HOUR + 90_500), "2 h 1 min 30.5 s");
    }

    #[test]
    fn a_branch_waits_for_the_call_before_and_the_call_after_for_it() {
        let spans = [
            span("", 0, 10),
            span("", 11, 50), // parallel itself is on record
            span("/a#1", 12, 20),
            span("/a#1", 20, 49),
            span("/b#1", 12, 30),
            span("", 60, 70),
            span("/a#1", 71, 80), // a second parallel, which is not
            span("", 90, 95),
        ];
        let lanes = lanes(spans.iter().map(|s| &*s.branch));
        let told: Vec<_> = visits(&spans, &lanes, &rows(&spans, &lanes))
            .iter()
            .map(|v| (v.lane, v.after, v.first, v.last, v.before))
            .collect();
        assert_eq!(
            told,
            [
                (1, Some(1), 2, 3, Some(5)),
                (1, Some(5), 6, 6, Some(7)),
                (2, Some(1), 4, 4, Some(5)),
            ]
        );
    }
}
