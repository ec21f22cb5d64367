//! The timeline of a run as an SVG image: a lane for each branch of `parallel`, a
//! row for each call, and lines for dependencies.

use serde::Serialize;

use super::calls::{Call, CallState, calls};
use super::drawing::{Band, Cut, Drawing, Stroke, TickMark};
use super::labels::{file_name, fitted};
use super::lanes::{Span, lanes, rows, visits};
use super::legend::{Key, legend};
use super::scale::Scale;
use super::shape::{Shape, WIDE};
use super::template::{TIMELINE_STYLE, render};
use crate::error::Result;
use crate::ledger::{RunRecord, RunStatus};
use crate::report::{clock, text};

/// The most rows. A larger image would not be readable.
const MOST_ROWS: usize = 300;

const AXIS: f64 = 30.0;

#[derive(Serialize)]
struct Picture {
    width: f64,
    height: f64,
    /// Title, subtitle and style of an image in its own file.
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

/// Renders the timeline as an image in its own file.
///
/// Fails with [`ErrorKind::Internal`] if the template is invalid.
///
/// [`ErrorKind::Internal`]: crate::error::ErrorKind::Internal
pub fn timeline(record: &RunRecord) -> Result<String> {
    let run = &record.run;
    let subtitle = format!(
        "run {}, {}, {}",
        run.id,
        clock::local(run.started, "%Y-%m-%d %H:%M %:z"),
        run.about.target.words()
    );
    let head = Head {
        title: fitted(file_name(&run.about.playbook), 60),
        status: record.status.as_str(),
        subtitle: fitted(&subtitle, 120),
        style: TIMELINE_STYLE,
    };
    draw(record, &calls(record), WIDE, Some(head))
}

/// Renders the timeline as a part of a page, in which each call links to its entry.
pub(super) fn part(record: &RunRecord, calls: &[Call], shape: Shape) -> Result<String> {
    draw(record, calls, shape, None)
}

fn draw(record: &RunRecord, calls: &[Call], shape: Shape, alone: Option<Head>) -> Result<String> {
    let shown = chosen(calls);
    let spans: Vec<Span> = shown.iter().map(|n| calls[*n].span.clone()).collect();
    let lanes = lanes(spans.iter().map(|span| span.branch.as_str()));
    let rows = rows(&spans, &lanes);
    let visits = visits(&spans, &lanes, &rows);

    let inset = if alone.is_some() { 10.0 } else { 0.0 };
    let from = record.run.started;
    let last = spans.iter().map(|span| span.ended).max().unwrap_or(from);
    let to = match record.status {
        RunStatus::Running => record.read,
        RunStatus::Killed | RunStatus::Ended(_) => record.run.ended.unwrap_or(last),
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
                record.run.id,
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

/// Returns the calls that the image shows: all of them, or the failed and the longest
/// ones.
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

fn note(hidden: usize) -> Option<String> {
    let hidden = (hidden > 0).then_some(hidden)?;
    Some(format!("{} not shown", text::count(hidden, "shorter call")))
}
