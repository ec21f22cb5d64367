//! What a run says, on the terminal, in the log file and on stdout.
//!
//! Every other part of a run reports an [`Event`]. `print` and results go to stdout, all
//! else to stderr and the log file; with `--output json` stdout holds JSON lines
//! only. Secrets are masked here, once, for every way out.

pub use event::{Event, Level, Outcome, Remaining, Steps, Stream};
pub use mask::{LineMask, MASK, Mask, PieceMask, SHORTEST, is_too_short};
pub use meter::Meter;
pub use reporter::{Hold, Output, Reporter, Settings};

pub mod clock;
mod console;
mod event;
mod human;
mod live;
mod mask;
mod meter;
mod needle;
mod reporter;
mod spelling;
mod tally;
pub mod text;
