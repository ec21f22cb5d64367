//! Renders the record of a run: as text, JSON, a self-contained HTML page, and an
//! SVG timeline. This module does no I/O.

pub use document::html;
pub use json::{json, run_as_json};
pub use timeline::timeline;
pub use words::words;

mod calls;
mod document;
mod drawing;
mod json;
mod labels;
mod lanes;
mod legend;
mod scale;
mod shape;
mod template;
mod timeline;
mod words;
