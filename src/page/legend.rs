//! What the colours and lines of a picture mean.

use serde::Serialize;

use super::calls::{CallState, colour};
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

/// What the picture's signs mean, and where that ends.
pub(super) fn legend(drawing: &Drawing, strokes: &[Stroke], y: f64) -> (Vec<Key>, f64) {
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
