//! One run as those who ask about it read it: in words, as JSON, as a page that
//! needs nothing else, as a picture. It is made of what the ledger has of the
//! run; nothing here reads or writes a file.

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
