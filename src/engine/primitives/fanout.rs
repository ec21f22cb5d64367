//! Work on many hosts or items: how many at the same time, in which batches, and
//! after how many failures no further work begins.

use std::ops::Range;

use crate::error::{Error, ErrorKind};
use crate::report::text;
use crate::script::Share;

/// How many hosts or items are worked on at the same time by default.
const AT_ONCE: usize = 64;

/// How many hosts or items an error names; its detail has all.
const NAMED: usize = 8;

/// The options of a function that works on many hosts or items.
#[derive(Clone, Debug, Default)]
pub(super) struct Fanout {
    pub(super) at_once: Option<Share<1>>,
    pub(super) batches: Vec<Share<1>>,
    pub(super) max_failures: Option<Share<0>>,
}

/// The options applied to a number of hosts or items.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// How many are worked on at the same time.
    pub(super) at_once: usize,
    /// The batches, in order. Each begins when the previous one has ended.
    pub(super) batches: Vec<Range<usize>>,
    /// After more failures than this, no further work begins.
    max_failures: usize,
}

impl Fanout {
    /// Applies the options to `count` hosts or items.
    ///
    /// The last size in `batches` is repeated until all of them are in a batch.
    pub(super) fn schedule(&self, count: usize) -> Schedule {
        let mut sizes = self.batches.iter().map(|size| size.of(count));
        let mut size = count;
        let mut batches = Vec::new();
        let mut from = 0;
        while from < count {
            size = sizes.next().unwrap_or(size);
            let to = from.saturating_add(size).min(count);
            batches.push(from..to);
            from = to;
        }
        let max_failures = match self.max_failures {
            Some(most) => most.of(count),
            None if self.batches.is_empty() => usize::MAX,
            None => 0,
        };
        Schedule {
            at_once: self.at_once.map_or(AT_ONCE, |share| share.of(count)),
            batches,
            max_failures,
        }
    }
}

impl Schedule {
    /// Returns how many are worked on at the same time at most.
    pub(super) fn largest(&self) -> usize {
        let batches = self.batches.iter().map(ExactSizeIterator::len);
        batches.max().unwrap_or_default().min(self.at_once)
    }

    /// Returns how many failures are allowed, if they are limited.
    pub(super) fn max_failures(&self) -> Option<usize> {
        Some(self.max_failures).filter(|most| *most != usize::MAX)
    }

    /// Returns whether further work may begin after this many failures.
    pub(super) fn continues_after(&self, failures: usize) -> bool {
        failures <= self.max_failures
    }
}

/// Describes failures on hosts.
pub(super) fn failed_on_hosts(failures: usize, all: usize) -> String {
    format!("failed on {failures} of {all} hosts")
}

/// The results of work on many hosts or items. `None` stands for one on which the
/// work did not begin.
pub(super) type Results<T> = Vec<Option<Result<T, Error>>>;

/// Returns all results, or one error with every failure in its causes.
///
/// `names` are those of the hosts or items. `message` describes the number of
/// failures among all; `mixed` is the kind of the error if the failures have several.
pub(super) fn gathered<T>(
    done: Results<T>,
    names: &[String],
    message: fn(usize, usize) -> String,
    mixed: ErrorKind,
) -> Result<Vec<T>, Error> {
    let count = done.len();
    let mut results = Vec::with_capacity(count);
    let mut causes = Vec::new();
    let mut failed = Vec::new();
    let mut not_begun = Vec::new();
    for (result, name) in done.into_iter().zip(names) {
        match result {
            Some(Ok(value)) => results.push(value),
            Some(Err(error)) => {
                causes.push(error);
                failed.push(name.as_str());
            }
            None => not_begun.push(name.as_str()),
        }
    }
    let Some(first) = causes.first() else {
        return Ok(results);
    };
    let same = causes.iter().all(|cause| cause.kind == first.kind);
    let kind = if same { first.kind } else { mixed };
    let mut message = message(causes.len(), count);
    if !not_begun.is_empty() {
        message = format!("{message}; {} not begun", not_begun.len());
    }
    let detail = serde_json::json!({ "failed": failed, "not_begun": not_begun });
    let error = Error::new(kind, message).caused_by(causes).detail(detail);
    if not_begun.is_empty() {
        return Err(error);
    }
    let names = text::some_of(not_begun.iter().map(|name| (*name).to_owned()), NAMED);
    Err(error.hint(format!("not begun: {names}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(sizes: &[Share<1>], count: usize) -> Vec<usize> {
        let fanout = Fanout {
            batches: sizes.to_vec(),
            ..Fanout::default()
        };
        let batches = fanout.schedule(count).batches;
        assert!(batches.windows(2).all(|two| two[0].end == two[1].start));
        batches.iter().map(ExactSizeIterator::len).collect()
    }

    #[test]
    fn the_last_size_is_repeated() {
        use Share::{Number, Percent};
        assert_eq!(batches(&[], 5), [5]);
        assert_eq!(batches(&[], 0), [0; 0]);
        assert_eq!(batches(&[Number(2)], 5), [2, 2, 1]);
        assert_eq!(
            batches(&[Number(1), Percent(10), Percent(100)], 50),
            [1, 5, 44]
        );
        assert_eq!(
            batches(&[Number(1), Percent(10)], 22),
            [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]
        );
        assert_eq!(batches(&[Number(500)], 3), [3]);
    }

    #[test]
    fn batches_stop_at_the_first_failure_by_default() {
        let of = |fanout: &Fanout| fanout.schedule(10);
        let plain = Fanout::default();
        assert!(of(&plain).continues_after(10));
        let batches = Fanout {
            batches: vec![Share::Number(1)],
            ..Fanout::default()
        };
        assert!(of(&batches).continues_after(0));
        assert!(!of(&batches).continues_after(1));
        let some = Fanout {
            max_failures: Some(Share::Percent(20)),
            ..batches
        };
        assert!(of(&some).continues_after(2));
        assert!(!of(&some).continues_after(3));
    }
}
