//! The output of a run: on the terminal, in the log file and on stdout.
//!
//! All other modules report an [`Event`]. `print` and results go to stdout,
//! everything else goes to stderr and the log file. With `--output json`, stdout
//! has only JSON lines. Secrets are masked here, for every output.

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
