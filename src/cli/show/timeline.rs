//! The timeline of a run as an SVG picture: a lane for each branch of
//! `parallel`, a row for each call, and lines for what waited for what.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::runs::local;
use super::Told;
use super::calls::{Call, CallState, branch_in_words, calls, colour};
use super::layout::{Lane, Scale, Span, Tick, Visit, elapsed, float, lanes, rows, visits};
use super::page::file_name;
use super::template::{TIMELINE_STYLE, render};
use crate::error::Result;
use crate::ledger::{Millis, RunStatus};
use crate::primitives::Realm;
use crate::report::text;

/// More rows than this make no picture.
const MOST_ROWS: usize = 300;

/// The measures of a picture, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    width: f64,
    /// Where names begin, and how many letters have room.
    name_x: f64,
    letters: usize,
    plot_x: f64,
    plot_width: f64,
    /// The right end of the times.
    took_x: f64,
    /// Of a lane below another.
    indent: f64,
    row: f64,
    text_y: f64,
    bar_y: f64,
    bar: f64,
}

/// Names stand beside the bars.
pub(super) const WIDE: Shape = Shape {
    width: 960.0,
    name_x: 20.0,
    letters: 41,
    plot_x: 324.0,
    plot_width: 540.0,
    took_x: 940.0,
    indent: 8.0,
    row: 26.0,
    text_y: 17.0,
    bar_y: 7.0,
    bar: 12.0,
};

/// Names stand above the bars: for a phone.
pub(super) const NARROW: Shape = Shape {
    width: 336.0,
    name_x: 10.0,
    letters: 34,
    plot_x: 20.0,
    plot_width: 304.0,
    took_x: 326.0,
    indent: 4.0,
    row: 40.0,
    text_y: 15.0,
    bar_y: 21.0,
    bar: 11.0,
};

const AXIS: f64 = 30.0;
const LANE_HEAD: f64 = 24.0;
const LANE_FOOT: f64 = 8.0;
const LANE_GAP: f64 = 8.0;
/// A call of no time at all is seen, too.
const THINNEST: f64 = 3.0;
/// A pause of the playbook between two calls that is worth a line.
const PAUSE: Millis = 100;

#[derive(Serialize)]
struct Picture {
    width: f64,
    height: f64,
    /// Title and subtitle of a picture that stands alone, and its style.
    alone: Option<Head>,
    label: String,
    top: f64,
    bottom: f64,
    plot_x: f64,
    plot_width: f64,
    ticks: Vec<TickMark>,
    cuts: Vec<Cut>,
    lanes: Vec<Band>,
    strokes: Vec<Stroke>,
    legend: Vec<Key>,
    note: Option<String>,
    note_y: f64,
}

#[derive(Serialize)]
struct Head {
    title: String,
    status: &'static str,
    subtitle: String,
    style: &'static str,
}

#[derive(Serialize)]
struct TickMark {
    x: f64,
    label: String,
    label_x: f64,
}

#[derive(Serialize)]
struct Cut {
    x: f64,
    width: f64,
    label: String,
}

#[derive(Serialize)]
struct Band {
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
struct Stroke {
    path: String,
    #[serde(rename = "class")]
    line: Line,
}

/// What a line means; its name is a class of the style sheet.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// One call followed the other.
    Then,
    /// In between, nothing is on record.
    Pause,
    /// A branch begins, or is waited for.
    Fork,
}

#[derive(Serialize)]
struct Key {
    x: f64,
    y: f64,
    class: &'static str,
    label: &'static str,
}

/// The picture in a file of its own.
pub(super) fn alone(told: &Told) -> Result<String> {
    let run = &told.run;
    let subtitle = format!(
        "run {}, {}, {}",
        run.id,
        local(run.started, "%Y-%m-%d %H:%M %:z"),
        run.about.target.words()
    );
    let head = Head {
        title: fitted(file_name(&run.about.playbook), 60),
        status: told.status.as_str(),
        subtitle: fitted(&subtitle, 120),
        style: TIMELINE_STYLE,
    };
    draw(told, &calls(told), WIDE, Some(head))
}

/// The picture as a part of a page, where each call links to its entry.
pub(super) fn part(told: &Told, calls: &[Call], shape: Shape) -> Result<String> {
    draw(told, calls, shape, None)
}

fn draw(told: &Told, calls: &[Call], shape: Shape, alone: Option<Head>) -> Result<String> {
    let shown = chosen(calls);
    let spans: Vec<Span> = shown.iter().map(|n| calls[*n].span.clone()).collect();
    let lanes = lanes(spans.iter().map(|span| span.branch.as_str()));
    let rows = rows(&spans, &lanes);
    let visits = visits(&spans, &lanes, &rows);

    let inset = if alone.is_some() { 10.0 } else { 0.0 };
    let from = told.run.started;
    let last = spans.iter().map(|span| span.ended).max().unwrap_or(from);
    let to = match told.status {
        RunStatus::Running => told.now,
        RunStatus::Killed | RunStatus::Ended(_) => told.run.ended.unwrap_or(last),
    };
    let scale = Scale::new(&spans, from, to.max(last), shape.plot_width);
    let drawing = Drawing {
        calls: shown.iter().map(|n| (*n, &calls[*n])).collect(),
        spans: &spans,
        scale: &scale,
        begin: from,
        shape,
        linked: alone.is_none(),
        inset,
    };
    let top = if alone.is_some() { 64.0 } else { 0.0 };
    let (bands, middles, bottom) = drawing.bands(&lanes, &rows, &visits, top + AXIS);
    let strokes = drawing.strokes(&rows, &visits, &bands, &middles, &lanes);
    let note = note(calls.len() - shown.len());
    let (legend, end) = legend(&drawing, &strokes, bottom + 14.0);
    let note_y = end + 22.0;
    render(
        "timeline.svg",
        &Picture {
            width: shape.width,
            height: if note.is_some() { note_y } else { end } + 14.0,
            label: format!(
                "Timeline of run {}: {}",
                told.run.id,
                text::count(calls.len(), "call")
            ),
            alone,
            top,
            bottom,
            plot_x: shape.plot_x,
            plot_width: shape.plot_width,
            ticks: drawing.ticks(),
            cuts: drawing.cuts(),
            lanes: bands,
            strokes,
            legend,
            note,
            note_y,
        },
    )
}

/// The calls that the picture shows: all, or those that failed and the longest.
fn chosen(calls: &[Call]) -> Vec<usize> {
    let mut all: Vec<usize> = (0..calls.len()).collect();
    if all.len() <= MOST_ROWS {
        return all;
    }
    let weight = |n: &usize| {
        let Call { state, span, .. } = &calls[*n];
        (*state == CallState::Done, span.started - span.ended)
    };
    all.sort_by_key(weight);
    all.truncate(MOST_ROWS);
    all.sort_unstable();
    all
}

fn note(left_out: usize) -> Option<String> {
    let left_out = (left_out > 0).then_some(left_out)?;
    Some(format!(
        "{} not shown here",
        text::count(left_out, "shorter call")
    ))
}

/// What is drawn, and where times are.
struct Drawing<'a> {
    /// With their numbers in the list of calls.
    calls: Vec<(usize, &'a Call)>,
    spans: &'a [Span],
    scale: &'a Scale,
    begin: Millis,
    shape: Shape,
    linked: bool,
    /// Of the lanes, from the edges of the picture.
    inset: f64,
}

impl Drawing<'_> {
    fn x(&self, at: Millis) -> f64 {
        self.shape.plot_x + self.scale.x(at)
    }

    /// Lanes with their rows, the middle of each call's bar, and the end.
    fn bands(
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
        let (number, told) = self.calls[call];
        let branches = visits.iter().filter(|visit| visit.after == Some(call));
        let branches: BTreeSet<usize> = branches.map(|visit| visit.lane).collect();
        let summary = match (told.function.as_str(), branches.len()) {
            ("parallel", 1) => "1 branch".to_owned(),
            ("parallel", n) if n > 1 => format!("{n} branches"),
            _ => told.summary.clone(),
        };
        // A letter is about as wide as the indent of a lane.
        let letters = shape.letters - depth;
        let name = fitted(&told.function, letters);
        let room = letters.saturating_sub(name.chars().count() + 1);
        let x = self.x(told.span.started);
        let mark = if told.state == CallState::Failed {
            "✕ "
        } else {
            ""
        };
        let wait = if told.is_wait { " wait" } else { "" };
        Row {
            y,
            name_x: shape.name_x + shape.indent * float(depth),
            text_y: y + shape.text_y,
            summary: fitted(&summary, room),
            took: format!("{mark}{}", told.took()),
            took_x: shape.took_x,
            x: round(x),
            bar_y: y + shape.bar_y,
            width: round((self.x(told.span.ended) - x).max(THINNEST)),
            bar: shape.bar,
            class: format!("{} {}{wait}", colour(told.realm).0, told.state.class()),
            title: self.title(told, &summary),
            link: self.linked.then(|| format!("#call-{number}")),
            name,
        }
    }

    fn title(&self, call: &Call, summary: &str) -> String {
        let began = elapsed(call.span.started - self.begin);
        let mut title = format!("{} {summary}", call.function).trim_end().to_owned();
        title = format!("{title}: {}, from {began}", call.outcome());
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

    /// What waited for what.
    fn strokes(
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
            // Branches were at work in between: their lines lead there.
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
            let goes_on = match (visit.after, visit.before) {
                (Some(after), _) if self.holds(after, visit.last) => {
                    Some((self.x(self.spans[after].ended), middles[after]))
                }
                (_, Some(before)) => Some((self.x(self.spans[before].started), middles[before])),
                (_, None) => None,
            };
            if let Some(to) = goes_on {
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

    fn ticks(&self) -> Vec<TickMark> {
        let ticks = self.scale.ticks().into_iter();
        let mark = |Tick { x, label, label_x }| TickMark {
            x: round(self.shape.plot_x + x),
            label_x: round(self.shape.plot_x + label_x),
            label,
        };
        ticks.map(mark).collect()
    }

    fn cuts(&self) -> Vec<Cut> {
        let cuts = self.scale.cuts().map(|piece| Cut {
            x: round(self.shape.plot_x + piece.x),
            width: round(piece.width),
            label: format!(
                "{}, nothing on record",
                elapsed(whole_seconds(piece.to - piece.from))
            ),
        });
        cuts.collect()
    }
}

fn whole_seconds(length: Millis) -> Millis {
    length / 1000 * 1000
}

/// From a corner down or up, then along.
fn elbow((x, y): (f64, f64), (to_x, to_y): (f64, f64)) -> String {
    format!("M{} {}V{}H{}", round(x), round(y), round(to_y), round(to_x))
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// What the picture's signs mean, and where that ends.
fn legend(drawing: &Drawing, strokes: &[Stroke], y: f64) -> (Vec<Key>, f64) {
    let has = |realm: Realm| drawing.calls.iter().any(|(_, call)| call.realm == realm);
    let is = |state: CallState| drawing.calls.iter().any(|(_, call)| call.state == state);
    let line = |kind: Line| strokes.iter().any(|stroke| stroke.line == kind);
    let waits = drawing.calls.iter().any(|(_, call)| call.is_wait);
    let realms = Realm::ALL
        .into_iter()
        .filter(|realm| has(*realm))
        .map(colour);
    let others = [
        (waits, "flow wait", "waiting or looking"),
        (is(CallState::Failed), "failed", "✕ failed"),
        (is(CallState::CutOff), "cut", "cut off"),
        (is(CallState::UnderWay), "running", "under way"),
        (line(Line::Fork), "fork", "begins, and is waited for"),
        (line(Line::Pause), "pause", "nothing on record"),
    ];
    let others = others.into_iter().filter(|(there, ..)| *there);
    let all = realms.chain(others.map(|(_, class, label)| (class, label)));
    let (mut keys, mut x, mut y) = (Vec::new(), drawing.shape.name_x, y);
    for (class, label) in all {
        let width = 34.0 + 6.4 * float(label.chars().count());
        if x + width > drawing.shape.width {
            x = drawing.shape.name_x;
            y += 20.0;
        }
        keys.push(Key { x, y, class, label });
        x += width;
    }
    (keys, y + 12.0)
}

/// A text cut to so many letters; those of other scripts may take twice the
/// room.
fn fitted(text: &str, letters: usize) -> String {
    let text = text.split(['\n', '\t']).next().unwrap_or_default();
    let room = |c: char| if c.is_ascii() { 1 } else { 2 };
    if text.chars().map(room).sum::<usize>() <= letters {
        return text.to_owned();
    }
    let mut taken = 1;
    let kept = text.chars().take_while(|c| {
        taken += room(*c);
        taken <= letters
    });
    match letters {
        0 => String::new(),
        _ => format!("{}…", kept.collect::<String>().trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_their_room() {
        assert_eq!(fitted("create_bucket", 13), "create_bucket");
        assert_eq!(fitted("create_bucket", 7), "create…");
        assert_eq!(fitted("一二三四", 6), "一二…");
        assert_eq!(fitted("one\ntwo", 10), "one");
        assert_eq!(fitted("one", 0), "");
    }
}
