//! Waits for the ends of a command on its instances, and reads what it has written.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::guard::{Attempt, INTERRUPTED};
use super::targets::Target;
use super::{Ended, FleetResult};
use crate::clients::ssh;
use crate::clients::ssm::{Invocation, InvocationState, Output};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, text};

/// Longer than any command: AWS ends each after two days.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// How many results are read at the same time.
const READ_AT_ONCE: usize = 8;

/// Up to this number of results, each is read by a request of its own.
const FEW: usize = 2;

/// Up to this number of instances, each end is a line of the log.
const SHOWN: usize = 20;

/// How many lines of output an error shows.
const SHOWN_LINES: usize = 15;

/// How many names a message has.
const NAMED: usize = 8;

/// How much of a complete output is kept.
const LONGEST_OUTPUT: usize = 4 << 20;

/// A command that was sent.
pub(super) struct Command<'a> {
    pub(super) cx: &'a Context,
    pub(super) id: String,
    pub(super) attempt: &'a Attempt,
    /// Bucket and prefix of the complete output.
    pub(super) output: Option<&'a (String, String)>,
    pub(super) timeout: Duration,
    pub(super) progress: &'a Progress,
}

/// How far a step is, which may have sent several commands.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) done: Cell<usize>,
    pub(super) all: usize,
}

/// Instances by id, with their places.
type Waiting<'a> = BTreeMap<&'a str, (usize, &'a Target)>;

impl Command<'_> {
    /// Returns the ends of the command, in any order. Instances on which it did not
    /// begin have none.
    pub(super) async fn follow(
        &self,
        targets: Vec<(usize, &Target)>,
    ) -> Result<Vec<(usize, Ended)>> {
        let names: BTreeMap<&str, &str> = targets
            .iter()
            .map(|(_, one)| (&*one.id, &*one.name))
            .collect();
        let result = self.followed(&targets).await;
        if let Err(error) = &result
            && error.kind == ErrorKind::Cancelled
        {
            self.cancel(&names).await;
        }
        result
    }

    async fn followed(&self, targets: &[(usize, &Target)]) -> Result<Vec<(usize, Ended)>> {
        let ssm = self.cx.clients.ssm().await?;
        let mut waiting: Waiting<'_> = targets
            .iter()
            .map(|(at, one)| (&*one.id, (*at, *one)))
            .collect();
        let mut shown = BTreeMap::new();
        let mut ended = Vec::new();
        let mut pace = self.cx.pace("the command to end".to_owned(), LONGEST);
        loop {
            let seen = ssm.invocations(&self.id).await?;
            for one in seen
                .iter()
                .filter(|one| one.state == InvocationState::Running)
            {
                if let Some((_, target)) = waiting.get(&*one.instance) {
                    let working = || self.cx.working(&target.name);
                    shown.entry(one.instance.clone()).or_insert_with(working);
                }
            }
            let new = self.ends(&seen, &mut waiting).await?;
            for (at, one) in new {
                shown.remove(&one.result.id);
                self.log(&one);
                ended.push((at, one));
                self.progress.done.update(|done| done + 1);
            }
            let Progress { done, all } = self.progress;
            self.cx
                .report
                .doing(&format!("{} of {all} hosts done", done.get()));
            if waiting.is_empty() {
                return Ok(ended);
            }
            pace.pause("it runs").await?;
        }
    }

    /// Returns the new ends. Instances on which the command will not begin are removed
    /// from those that are waited for.
    async fn ends(
        &self,
        seen: &[Invocation],
        waiting: &mut Waiting<'_>,
    ) -> Result<Vec<(usize, Ended)>> {
        let mut new = Vec::new();
        for one in seen.iter().filter(|one| one.state.has_ended()) {
            let Some(place) = waiting.remove(&*one.instance) else {
                continue;
            };
            if one.state != InvocationState::NotBegun {
                new.push(place);
            }
        }
        let ssm = self.cx.clients.ssm().await?;
        let mut short = if new.len() > FEW {
            ssm.short_outputs(&self.id).await?
        } else {
            BTreeMap::new()
        };
        let new = new
            .into_iter()
            .map(|(at, target)| (at, target, short.remove(&target.id)));
        let read = new.map(async |(at, target, output)| {
            let output = match output {
                Some(output) => output,
                None => self.output(target).await?,
            };
            Ok((at, self.end(target, output)))
        });
        let read: Vec<Result<_>> = stream::iter(read).buffered(READ_AT_ONCE).collect().await;
        read.into_iter().collect()
    }

    /// Returns what the command has written on an instance.
    async fn output(&self, target: &Target) -> Result<Output> {
        let ssm = self.cx.clients.ssm().await?;
        let find = async || ssm.output(&self.id, &target.id).await;
        let found = self
            .cx
            .find_created("the output of the command", &find)
            .await?;
        let lost = || Error::internal(format!("AWS does not know the command on {}", target.id));
        let mut output = found.ok_or_else(lost)?;
        self.complete(target, &mut output).await;
        Ok(output)
    }

    /// Returns the end of the command on an instance.
    fn end(&self, target: &Target, output: Output) -> Ended {
        let answered = output.state != InvocationState::Undelivered;
        let error = self.error(target, &output);
        Ended {
            result: FleetResult {
                id: target.id.clone(),
                name: target.name.clone(),
                status: output.status.filter(|_| !self.was_interrupted(&output)),
                answered,
                reason: error.as_ref().map_or_else(String::new, reason),
                truncated: output.stdout_is_cut || output.stderr_is_cut,
                stdout: output.stdout,
                stderr: output.stderr,
                seconds: output.seconds,
            },
            error,
        }
    }

    /// Replaces output that is cut with the complete one, if it was stored.
    async fn complete(&self, target: &Target, output: &mut Output) {
        let Some((bucket, prefix)) = self.output else {
            return;
        };
        let streams = [
            ("stdout", output.stdout_is_cut),
            ("stderr", output.stderr_is_cut),
        ];
        for (stream, _) in streams.into_iter().filter(|(_, is_cut)| *is_cut) {
            let path = format!(
                "{}/{}/awsrunShellScript/0.awsrunShellScript",
                self.id, target.id
            );
            let key = match prefix.as_str() {
                "" => format!("{path}/{stream}"),
                prefix => format!("{prefix}/{path}/{stream}"),
            };
            match self.stored(bucket, &key).await {
                Ok((text, is_cut)) if stream == "stdout" => {
                    (output.stdout, output.stdout_is_cut) = (text, is_cut);
                }
                Ok((text, is_cut)) => (output.stderr, output.stderr_is_cut) = (text, is_cut),
                Err(error) => self.cx.report.warn(format!(
                    "{}: the complete {stream} is not in the bucket: {error}",
                    target.name
                )),
            }
        }
    }

    /// Returns the end of a text in a bucket, and whether it is longer.
    async fn stored(&self, bucket: &str, key: &str) -> Result<(String, bool)> {
        let s3 = self.cx.clients.s3().await?;
        let (bytes, size) = s3.end_of_object(bucket, key, LONGEST_OUTPUT).await?;
        let is_cut = size > bytes.len() as u64;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), is_cut))
    }

    fn was_interrupted(&self, output: &Output) -> bool {
        let token = self.attempt.token();
        output.status == Some(INTERRUPTED) && output.stderr.lines().any(|line| line == token)
    }

    /// Returns the error of an end that is not a success.
    fn error(&self, target: &Target, output: &Output) -> Option<Error> {
        let id = &target.id;
        Some(match output.state {
            InvocationState::Success => return None,
            _ if self.was_interrupted(output) => Error::new(
                ErrorKind::CommandFailed,
                "an earlier attempt at the command ended without a status",
            )
            .hint(format!(
                "the host may have restarted: look at it; `autorun resume {}` runs the command \
                 again there",
                self.cx.ledger.run()
            )),
            InvocationState::TimedOut => Error::new(
                ErrorKind::Timeout,
                format!(
                    "the command took longer than {} and was ended",
                    text::duration(self.timeout)
                ),
            )
            .hint("pass a longer `timeout`"),
            InvocationState::Undelivered => Error::new(
                ErrorKind::Unreachable,
                format!("the agent of {id} has not fetched the command"),
            )
            .hint("look at console_output, or reboot the instance with reboot_instance"),
            InvocationState::Cancelled => Error::new(
                ErrorKind::CommandFailed,
                format!("the command {} was cancelled by another user", self.id),
            ),
            _ => self.failed(output),
        })
    }

    /// Returns the error for a command whose exit status is not 0.
    fn failed(&self, output: &Output) -> Error {
        let how = match output.status {
            Some(status) => format!("failed with status {status}"),
            None => "failed without a status".to_owned(),
        };
        let mask = self.cx.report.mask();
        let streams = [&output.stderr, &output.stdout].into_iter();
        // Mask before cutting: the last lines may begin in the middle of a secret.
        let texts = streams.map(|stream| ssh::tail(mask.apply(stream).as_bytes(), SHOWN_LINES));
        let text = texts.into_iter().find(|text| !text.is_empty());
        let text = text.map_or_else(String::new, |text| format!(":\n{text}"));
        Error::new(ErrorKind::CommandFailed, format!("the command {how}{text}")).detail(
            serde_json::json!({
                "status": output.status,
                "stdout": output.stdout,
                "stderr": output.stderr,
            }),
        )
    }

    /// Logs an end. The lines of many instances would hide everything else.
    fn log(&self, ended: &Ended) {
        let FleetResult { name, seconds, .. } = &ended.result;
        let took = text::duration(Duration::from_secs_f64(*seconds));
        let (level, how) = match &ended.error {
            None => (Level::Info, format!("done in {took}")),
            Some(_) => (Level::Warn, format!("failed after {took}")),
        };
        let is_long = self.progress.all > SHOWN;
        let level = if is_long { Level::Debug } else { level };
        self.cx.report.log(level, format!("{name}: {how}"));
    }

    /// Cancels the command when the run is stopped, and says where it still ran.
    async fn cancel(&self, names: &BTreeMap<&str, &str>) {
        let Ok(ssm) = self.cx.clients.ssm().await else {
            return;
        };
        let running = ssm.invocations_at_end(&self.id).await.unwrap_or_default();
        let running = running.iter().filter(|one| !one.state.has_ended());
        let running = running.filter(|one| one.state != InvocationState::Pending);
        let running = running.filter_map(|one| names.get(&*one.instance));
        let running: Vec<String> = running.map(|name| (*name).to_owned()).collect();
        let place = match running.len() {
            0 => "it ran on no instance".to_owned(),
            _ => format!(
                "it still ran on {}",
                text::some_of(running.into_iter(), NAMED)
            ),
        };
        match ssm.cancel_command(&self.id).await {
            Ok(()) => self
                .cx
                .report
                .warn(format!("cancelled the command {}: {place}", self.id)),
            Err(error) => self
                .cx
                .report
                .warn(format!("{place}, and was not cancelled: {error}")),
        }
    }
}

/// Returns the message of an error without the output that may follow it.
fn reason(error: &Error) -> String {
    let message = error.to_string();
    let line = message.lines().next().unwrap_or_default();
    line.trim_end_matches(':').to_owned()
}
