//! The parts of the timeline: bands of rows, and lines for dependencies.

use std::collections::BTreeSet;

use serde::Serialize;

use super::calls::{Call, CallState, branch_in_words, color};
use super::labels::fitted;
use super::lanes::{Lane, Span, Visit};
use super::scale::{Scale, Tick, elapsed, float};
use super::shape::Shape;
use crate::ledger::Millis;

const LANE_HEAD: f64 = 24.0;

const LANE_FOOT: f64 = 8.0;

const LANE_GAP: f64 = 8.0;

/// The least width of a bar, so that the shortest call is visible.
const THINNEST: f64 = 3.0;

/// The shortest pause between two calls that is drawn.
const PAUSE: Millis = 100;

#[derive(Serialize)]
pub(super) struct TickMark {
    x: f64,
    label: String,
    label_x: f64,
}

#[derive(Serialize)]
pub(super) struct Cut {
    x: f64,
    width: f64,
    label: String,
}

#[derive(Serialize)]
pub(super) struct Band {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    name: Option<String>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    y: f64,
    name_x: f64,
    text_y: f64,
    name: String,
    summary: String,
    took: String,
    took_x: f64,
    x: f64,
    bar_y: f64,
    width: f64,
    bar: f64,
    class: String,
    title: String,
    link: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Stroke {
    pub(super) path: String,
    #[serde(rename = "class")]
    pub(super) line: Line,
}

/// The meaning of a line. The name is its CSS class.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// The second call followed the first one.
    Then,
    /// No call is recorded in between.
    Pause,
    /// A branch starts, or another call waits for its end.
    Fork,
}

/// The calls to draw, and the scale of the time axis.
pub(super) struct Drawing<'a> {
    /// The calls, with their numbers in the list of calls.
    pub(super) calls: Vec<(usize, &'a Call)>,
    pub(super) spans: &'a [Span],
    pub(super) scale: &'a Scale,
    pub(super) begin: Millis,
    pub(super) shape: Shape,
    pub(super) linked: bool,
    /// The distance of the lanes from the edges of the image.
    pub(super) inset: f64,
}

impl Drawing<'_> {
    fn x(&self, at: Millis) -> f64 {
        self.shape.plot_x + self.scale.x(at)
    }

    /// Returns the lanes with their rows, the vertical middle of each call's bar, and
    /// the bottom.
    pub(super) fn bands(
        &self,
        lanes: &[Lane],
        rows: &[Vec<usize>],
        visits: &[Visit],
        top: f64,
    ) -> (Vec<Band>, Vec<f64>, f64) {
        let mut middles = vec![0.0; self.spans.len()];
        let mut y = top;
        let mut bands = Vec::with_capacity(lanes.len());
        for (lane, rows) in lanes.iter().zip(rows) {
            let name = (lanes.len() > 1).then(|| match lane.parent {
                None => "main".to_owned(),
                Some(_) => fitted(&branch_in_words(&lane.branch), self.shape.letters),
            });
            let head = if name.is_some() { LANE_HEAD } else { LANE_FOOT };
            let depth = lane.depth.min(4);
            let x = self.inset + self.shape.indent * float(depth);
            let first = y + head;
            let drawn = rows.iter().zip(0..).map(|(call, n)| {
                let y = first + self.shape.row * float(n);
                middles[*call] = y + self.shape.bar_y + self.shape.bar / 2.0;
                self.row(*call, depth, y, visits)
            });
            let drawn: Vec<Row> = drawn.collect();
            let height = head + self.shape.row * float(rows.len()) + LANE_FOOT;
            bands.push(Band {
                x,
                y,
                width: self.shape.width - self.inset - x,
                height,
                name,
                rows: drawn,
            });
            y += height + LANE_GAP;
        }
        (bands, middles, y - LANE_GAP)
    }

    fn row(&self, call: usize, depth: usize, y: f64, visits: &[Visit]) -> Row {
        let shape = &self.shape;
        let (number, shown) = self.calls[call];
        let branches = visits.iter().filter(|visit| visit.after == Some(call));
        let branches: BTreeSet<usize> = branches.map(|visit| visit.lane).collect();
        let summary = match (shown.function.as_str(), branches.len()) {
            ("parallel", 1) => "1 branch".to_owned(),
            ("parallel", n) if n > 1 => format!("{n} branches"),
            _ => shown.summary.clone(),
        };
        // A letter is about as wide as the indentation of a lane.
        let letters = shape.letters - depth;
        let name = fitted(&shown.function, letters);
        let room = letters.saturating_sub(name.chars().count() + 1);
        let x = self.x(shown.span.started);
        let mark = if shown.state == CallState::Failed {
            "✕ "
        } else {
            ""
        };
        let wait = if shown.is_wait { " wait" } else { "" };
        Row {
            y,
            name_x: shape.name_x + shape.indent * float(depth),
            text_y: y + shape.text_y,
            summary: fitted(&summary, room),
            took: format!("{mark}{}", shown.took()),
            took_x: shape.took_x,
            x: round(x),
            bar_y: y + shape.bar_y,
            width: round((self.x(shown.span.ended) - x).max(THINNEST)),
            bar: shape.bar,
            class: format!("{} {}{wait}", color(shown.realm).0, shown.state.class()),
            title: self.title(shown, &summary),
            link: self.linked.then(|| format!("#call-{number}")),
            name,
        }
    }

    fn title(&self, call: &Call, summary: &str) -> String {
        let began = elapsed(call.span.started - self.begin);
        let mut title = format!("{} {summary}", call.function).trim_end().to_owned();
        title = format!("{title}: {}, started at {began}", call.outcome());
        let branch = branch_in_words(&call.span.branch);
        if !branch.is_empty() {
            title = format!("{title}, in {branch}");
        }
        title = format!("{title}, {}", call.short_place());
        if let Some(error) = &call.error {
            title = format!("{title}\n{}", error.lines().next().unwrap_or_default());
        }
        title
    }

    /// Returns the lines that show dependencies.
    pub(super) fn strokes(
        &self,
        rows: &[Vec<usize>],
        visits: &[Visit],
        bands: &[Band],
        middles: &[f64],
        lanes: &[Lane],
    ) -> Vec<Stroke> {
        let mut strokes = Vec::new();
        for two in rows.iter().flat_map(|rows| rows.windows(2)) {
            let (one, next) = (two[0], two[1]);
            // Branches ran in between, and their lines connect the calls.
            let branched = visits.iter().any(|visit| {
                visit.after == Some(one)
                    && visit.before == Some(next)
                    && !self.holds(one, visit.last)
            });
            if branched {
                continue;
            }
            let (ended, began) = (self.spans[one].ended, self.spans[next].started);
            let (x, y) = (self.x(ended), middles[next]);
            strokes.push(Stroke {
                path: format!("M{} {}V{}", round(x), round(middles[one]), round(y)),
                line: Line::Then,
            });
            if began - ended >= PAUSE {
                strokes.push(Stroke {
                    path: format!("M{} {}H{}", round(x), round(y), round(self.x(began))),
                    line: Line::Pause,
                });
            }
        }
        for visit in visits {
            let above = lanes[visit.lane].parent.map_or(0, |parent| parent);
            let begin = self.spans[visit.first].started;
            let (x, y) = match visit.after {
                Some(after) if self.holds(after, visit.last) => {
                    (self.x(self.spans[after].started), middles[after])
                }
                Some(after) => (self.x(self.spans[after].ended), middles[after]),
                None => (self.x(begin), bands[above].y + bands[above].height),
            };
            strokes.push(Stroke {
                path: elbow((x, y), (self.x(begin), middles[visit.first])),
                line: Line::Fork,
            });
            let end = self.spans[visit.last].ended;
            let successor = match (visit.after, visit.before) {
                (Some(after), _) if self.holds(after, visit.last) => {
                    Some((self.x(self.spans[after].ended), middles[after]))
                }
                (_, Some(before)) => Some((self.x(self.spans[before].started), middles[before])),
                (_, None) => None,
            };
            if let Some(to) = successor {
                strokes.push(Stroke {
                    path: elbow(to, (self.x(end), middles[visit.last])),
                    line: Line::Fork,
                });
            }
        }
        strokes
    }

    fn holds(&self, one: usize, other: usize) -> bool {
        self.spans[one].holds(&self.spans[other])
    }

    pub(super) fn ticks(&self) -> Vec<TickMark> {
        let ticks = self.scale.ticks().into_iter();
        let mark = |Tick { x, label, label_x }| TickMark {
            x: round(self.shape.plot_x + x),
            label_x: round(self.shape.plot_x + label_x),
            label,
        };
        ticks.map(mark).collect()
    }

    pub(super) fn cuts(&self) -> Vec<Cut> {
        let cuts = self.scale.cuts().map(|piece| Cut {
            x: round(self.shape.plot_x + piece.x),
            width: round(piece.width),
            label: format!(
                "{} without recorded calls",
                elapsed(whole_seconds(piece.to - piece.from))
            ),
        });
        cuts.collect()
    }
}

fn whole_seconds(length: Millis) -> Millis {
    length / 1000 * 1000
}

/// Returns a path that goes vertically first, then horizontally.
fn elbow((x, y): (f64, f64), (to_x, to_y): (f64, f64)) -> String {
    format!("M{} {}V{}H{}", round(x), round(y), round(to_y), round(to_x))
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
