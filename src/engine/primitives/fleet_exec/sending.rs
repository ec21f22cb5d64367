//! Sends the commands of a step, each to at most 50 instances.

use std::cell::Cell;
use std::future;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::following::{Command, Progress};
use super::guard::Attempt;
use super::targets::Target;
use super::{Ended, FleetExec, FleetResult};
use crate::clients::ssm::{MOST_IDS, NewCommand, Sent};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Step, now};

/// How many commands run at the same time at most.
const MOST_LANES: usize = 20;

/// How often a command is sent whose answers are lost.
const ATTEMPTS: usize = 3;

/// How far the clock of this machine may be ahead of AWS's, in milliseconds.
const SKEW: i64 = 3_600_000;

/// The limits of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many instances run the command at the same time.
    pub(super) at_once: usize,
    /// After more failures than this, no further instance begins.
    pub(super) max_failures: Option<usize>,
}

/// The command of a step.
pub(super) struct Work<'a> {
    pub(super) cx: &'a Context,
    pub(super) step: &'a Step,
    pub(super) command: &'a str,
    pub(super) options: &'a FleetExec,
}

impl Work<'_> {
    /// Runs the command on the instances that have no end yet.
    pub(super) async fn run(
        &self,
        targets: &[Target],
        limits: Limits,
        ended: &mut [Option<Ended>],
    ) -> Result<()> {
        let places: Vec<usize> = (0..targets.len())
            .filter(|at| ended[*at].is_none())
            .collect();
        let (lanes, size) = division(limits.at_once);
        let parts: Vec<Vec<usize>> = places.chunks(size).map(<[usize]>::to_vec).collect();
        let progress = Progress {
            done: Cell::new(0),
            all: places.len(),
        };
        let failures = Cell::new(0);
        let continues = |_: &Vec<usize>| {
            let most = limits.max_failures.unwrap_or(usize::MAX);
            future::ready(failures.get() <= most)
        };
        let left = || {
            limits
                .max_failures
                .map(|most| most.saturating_sub(failures.get()))
        };
        let is_only = parts.len() == 1;
        let mut done = stream::iter(parts)
            .take_while(continues)
            .map(async |part| {
                let limits = Limits {
                    max_failures: left(),
                    ..limits
                };
                self.part(targets, &part, (limits, &progress))
                    .await
                    .map_err(|error| (part, error))
            })
            .buffer_unordered(lanes);
        while let Some(part) = done.next().await {
            let part = match part {
                Err((_, error)) if is_only || error.kind == ErrorKind::Cancelled => {
                    return Err(error);
                }
                Err((places, error)) => refused(targets, places, &error),
                Ok(part) => part,
            };
            for (at, one) in part {
                failures.set(failures.get() + usize::from(one.error.is_some()));
                ended[at] = Some(one);
            }
        }
        Ok(())
    }

    /// Runs the command on a part of the instances.
    async fn part(
        &self,
        targets: &[Target],
        places: &[usize],
        (limits, progress): (Limits, &Progress),
    ) -> Result<Vec<(usize, Ended)>> {
        let attempt = Attempt {
            run: self.cx.ledger.run().to_owned(),
            step: self.step.key()[..16].to_owned(),
            number: self.step.failures() + 1,
        };
        let seconds = self.options.timeout.duration().as_secs_f64().ceil();
        let instances: Vec<String> = places.iter().map(|at| targets[*at].id.clone()).collect();
        let new = NewCommand {
            script: attempt.script(self.command, self.options),
            comment: attempt.comment(&instances),
            instances,
            timeout: std::time::Duration::from_secs_f64(seconds),
            at_once: limits.at_once.min(MOST_IDS),
            max_failures: limits.max_failures.unwrap_or(places.len()),
            output: self.options.output.as_deref().map(output_place),
        };
        let id = self.sent(&new).await?;
        let command = Command {
            cx: self.cx,
            id,
            attempt: &attempt,
            output: new.output.as_ref(),
            timeout: self.options.timeout.duration(),
            progress,
        };
        let part = places.iter().map(|at| (*at, &targets[*at]));
        command.follow(part.collect()).await
    }

    /// Sends a command, unless an earlier attempt has sent it. Returns its id.
    async fn sent(&self, new: &NewCommand) -> Result<String> {
        let ssm = self.cx.clients.ssm().await?;
        let since = self.step.interrupted().unwrap_or_else(now) - SKEW;
        let find = async || ssm.find_command(&new.comment, since).await;
        if self.step.interrupted().is_some()
            && let Some(id) = self.cx.find_created("the command", &find).await?
        {
            self.cx
                .report
                .info(format!("the last attempt sent the command: {id}"));
            return Ok(id);
        }
        let mut lost = None;
        for _ in 0..ATTEMPTS {
            match ssm.send_command(new).await? {
                Sent::Accepted(id) => return Ok(id),
                Sent::Unknown(error) => {
                    self.cx
                        .report
                        .debug(format!("looking for the command: {error}"));
                    lost = Some(error);
                }
            }
            if let Some(id) = self.cx.find_created("the command", &find).await? {
                return Ok(id);
            }
        }
        Err(lost.unwrap_or_else(|| Error::internal("the command was not sent")))
    }
}

/// Returns how many commands run at the same time, and how many instances each has, so
/// that so many instances run it at the same time.
///
/// If there are several commands, all instances of each begin at once. So a command that
/// was sent before the failures were too many begins on no instance after that.
fn division(at_once: usize) -> (usize, usize) {
    match at_once.div_ceil(MOST_IDS) {
        0 | 1 => (1, MOST_IDS),
        wanted => {
            let lanes = wanted.min(MOST_LANES);
            (lanes, MOST_IDS.min(at_once / lanes))
        }
    }
}

/// Splits the option `output` into the bucket and the prefix of keys.
fn output_place(text: &str) -> (String, String) {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    (bucket.to_owned(), prefix.trim_end_matches('/').to_owned())
}

/// Returns the ends of instances to which the command could not be sent.
fn refused(targets: &[Target], places: Vec<usize>, error: &Error) -> Vec<(usize, Ended)> {
    let one = |at: usize| Ended {
        result: FleetResult::silent(&targets[at], &error.to_string()),
        error: Some(error.clone()),
    };
    places.into_iter().map(|at| (at, one(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_instances_run_it_than_wanted() {
        for (at_once, expected) in [
            (1, (1, 50)),
            (50, (1, 50)),
            (51, (2, 25)),
            (70, (2, 35)),
            (120, (3, 40)),
            (500, (10, 50)),
            (1000, (20, 50)),
            (usize::MAX, (20, 50)),
        ] {
            let (lanes, size) = division(at_once);
            assert_eq!((lanes, size), expected, "{at_once}");
            assert!(lanes == 1 || lanes * size <= at_once, "{at_once}");
        }
    }
}
