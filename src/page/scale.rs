//! The time axis of the timeline: positions of times, and ticks at round times. This
//! module only computes.

use super::lanes::Span;
use crate::ledger::Millis;

/// Maps times to positions from 0 to a width. Long periods without recorded calls,
/// such as the night before a run was resumed, are cut out.
#[derive(Debug)]
pub(super) struct Scale {
    pieces: Vec<Piece>,
    origin: Millis,
    width: f64,
}

/// A section of the axis.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) from: Millis,
    pub(super) to: Millis,
    pub(super) x: f64,
    pub(super) width: f64,
    /// Whether the section is cut out.
    pub(super) cut: bool,
}

/// The shortest period that is cut out of the axis.
const SHORTEST_CUT: Millis = 60_000;

/// Width of a section that is cut out, if there is room.
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

    /// Returns ticks at round times, as many as there is room for.
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
                // Keep the label within the axis.
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

/// A tick on the axis.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) x: f64,
    pub(super) label: String,
    /// The middle of the label.
    pub(super) label_x: f64,
}

/// Returns the total time of calls, and the periods without calls.
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

/// Returns the next round number of milliseconds.
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

/// Formats a time from the start: `0`, `250 ms`, `1.5 s`, `2 min 30 s`, `20 h`.
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

#[expect(
    clippy::cast_precision_loss,
    reason = "an image is at most some thousand pixels wide"
)]
pub(super) fn millis(time: Millis) -> f64 {
    time as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts in an image are small")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(started: Millis, ended: Millis) -> Span {
        Span {
            branch: String::new(),
            started,
            ended,
        }
    }

    #[test]
    fn times_are_mapped_to_positions() {
        let scale = Scale::new(&[span(100, 300)], 100, 1100, 500.0);
        assert!((scale.x(100) - 0.0).abs() < 1e-9);
        assert!((scale.x(600) - 250.0).abs() < 1e-9);
        assert!((scale.x(1100) - 500.0).abs() < 1e-9);
        assert!((scale.x(9999) - 500.0).abs() < 1e-9);
        assert_eq!(scale.cuts().count(), 0);
        // A run without calls has an axis, too.
        assert!(Scale::new(&[], 5, 5, 500.0).x(5).abs() < 1e-9);
    }

    #[test]
    fn a_night_without_calls_is_cut_out() {
        let spans = [span(0, 10_000), span(12 * HOUR, 12 * HOUR + 10_000)];
        let scale = Scale::new(&spans, 0, 12 * HOUR + 10_000, 630.0);
        let cut: Vec<_> = scale.cuts().collect();
        assert_eq!((cut[0].from, cut[0].to), (10_000, 12 * HOUR));
        assert!((scale.x(10_000) - 300.0).abs() < 1e-9);
        assert!((scale.x(12 * HOUR) - 330.0).abs() < 1e-9);
        // A pause of one minute between calls of five minutes is not cut out.
        let spans = [span(0, 5 * MINUTE), span(6 * MINUTE, 11 * MINUTE)];
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
        // After a cut the labels are long: they must not overlap at the end.
        let spans = [span(0, 2000), span(DAY + 61_000, DAY + 64_100)];
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
}
