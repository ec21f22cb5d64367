//! One output of a command: its end for the result, its lines for the log.

use std::time::{Duration, Instant};

use super::command::KEPT;
use super::host::Host;
use crate::report::{Event, LineMask, PieceMask, Reporter, Stream};

/// Longer lines are cut into pieces for the log, in bytes.
pub(super) const LONGEST_LINE: usize = 16 << 10;

/// How long to hold back a line that may contain the beginning of a secret.
pub(super) const HOLDS: Duration = Duration::from_millis(200);

/// One output: its end for the result, its lines for the log.
pub(super) struct Lines<'a> {
    stream: Stream,
    host: &'a str,
    report: &'a Reporter,
    live: bool,
    /// Up to twice the kept size, so that the beginning is not removed byte by
    /// byte.
    kept: Vec<u8>,
    dropped: u64,
    /// The line whose end has not arrived.
    unended: Vec<u8>,
    /// Masks secrets, which may span lines or the pieces of a long line.
    secrets: PieceMask,
    last_came: Instant,
    /// The masked line, whose end may be held back.
    line: String,
    keys: LineMask,
}

impl<'a> Lines<'a> {
    pub(super) fn new(stream: Stream, host: &'a Host, report: &'a Reporter, live: bool) -> Self {
        Self {
            stream,
            host: &host.name,
            report,
            live,
            kept: Vec::new(),
            dropped: 0,
            unended: Vec::new(),
            secrets: PieceMask::default(),
            last_came: Instant::now(),
            line: String::new(),
            keys: LineMask::default(),
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        if !self.live {
            return;
        }
        let newline = bytes.iter().rposition(|b| *b == b'\n');
        let before = self.unended.len();
        self.unended.extend_from_slice(bytes);
        let end = match newline {
            Some(newline) => before + newline + 1,
            None if self.unended.len() > LONGEST_LINE => whole_characters(&self.unended),
            None => return,
        };
        let rest = self.unended.split_off(end);
        let piece = std::mem::replace(&mut self.unended, rest);
        self.last_came = Instant::now();
        let piece = String::from_utf8_lossy(&piece);
        let shown = self.secrets.take(self.report.mask(), &piece);
        self.show(shown);
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * KEPT {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let over = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..over);
        self.dropped += over as u64;
    }

    /// Shows what was held back for a while, and is probably not the beginning
    /// of a secret.
    pub(super) fn flush(&mut self) {
        if self.secrets.holds() && self.last_came.elapsed() >= HOLDS {
            let shown = self.secrets.flush();
            self.show(shown);
        }
    }

    /// Reports every complete line, and an incomplete one that is too long.
    fn show(&mut self, shown: String) {
        let all = if self.line.is_empty() {
            shown
        } else {
            std::mem::take(&mut self.line) + shown.as_str()
        };
        let rest = match all.rsplit_once('\n') {
            Some((lines, rest)) => {
                lines.split('\n').for_each(|line| self.emit(line));
                rest
            }
            None => &all,
        };
        if rest.len() > LONGEST_LINE {
            self.emit(rest);
        } else {
            rest.clone_into(&mut self.line);
        }
    }

    fn emit(&mut self, line: &str) {
        // A progress bar rewrites its line: show only the final state.
        let line = line
            .trim_end_matches('\r')
            .rsplit('\r')
            .next()
            .unwrap_or_default();
        self.report.report(&Event::RemoteOutput {
            host: self.host.to_owned(),
            stream: self.stream,
            line: self.keys.apply(line).to_owned(),
        });
    }

    pub(super) fn finish(&mut self) -> (Vec<u8>, u64) {
        let rest = std::mem::take(&mut self.unended);
        let mask = self.report.mask();
        let mut shown = self.secrets.take(mask, &String::from_utf8_lossy(&rest));
        shown.push_str(&self.secrets.finish(mask));
        self.show(shown);
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.emit(&line);
        }
        self.cut();
        (std::mem::take(&mut self.kept), self.dropped)
    }
}

/// Returns the length of the text without an incomplete character at its end.
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        _ => bytes.len(),
    }
}
