//! The legend of the timeline.

use serde::Serialize;

use super::calls::{CallState, color};
use super::drawing::{Drawing, Line, Stroke};
use super::scale::float;
use crate::primitives::Realm;

#[derive(Serialize)]
pub(super) struct Key {
    x: f64,
    y: f64,
    class: &'static str,
    label: &'static str,
}

/// Returns the keys of the legend and its bottom.
pub(super) fn legend(drawing: &Drawing, strokes: &[Stroke], y: f64) -> (Vec<Key>, f64) {
    let has = |realm: Realm| drawing.calls.iter().any(|(_, call)| call.realm == realm);
    let is = |state: CallState| drawing.calls.iter().any(|(_, call)| call.state == state);
    let line = |kind: Line| strokes.iter().any(|stroke| stroke.line == kind);
    let waits = drawing.calls.iter().any(|(_, call)| call.is_wait);
    let realms = Realm::ALL
        .into_iter()
        .filter(|realm| has(*realm))
        .map(color);
    let others = [
        (waits, "flow wait", "wait or query"),
        (is(CallState::Failed), "failed", "✕ failed"),
        (is(CallState::Unfinished), "cut", "unfinished"),
        (is(CallState::InProgress), "running", "in progress"),
        (line(Line::Fork), "fork", "start and end of a branch"),
        (line(Line::Pause), "pause", "no recorded call"),
    ];
    let others = others.into_iter().filter(|(is_used, ..)| *is_used);
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
