//! Commands on fleets, through Run Command of AWS Systems Manager: without an open
//! port, a public address or an ssh key.
//!
//! - `targets` finds the instances, `readiness` those that can run a command.
//! - `guard` is the script that an agent runs. It keeps a step from running twice.
//! - `sending` sends the commands of a step, or finds those of an earlier attempt.
//! - `following` waits for their ends and reads their output.

use std::collections::BTreeMap;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fanout::{Fanout, Results, failed_on_hosts, gathered};
use super::remote::check_env;
use crate::clients::ssh::is_user;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::script::{self, Declared, Outcome, Seconds, Shape, Share, seconds, yes};
use targets::Target;

mod following;
mod guard;
mod readiness;
mod sending;
mod targets;

/// How many instances run a command at the same time by default: Systems Manager's
/// default.
const AT_ONCE: usize = 50;

/// The longest time that a command may take on AWS.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(172_800);

/// The longest command that fits, with the guard and its quotes, into a request.
const LONGEST_COMMAND: usize = 32 * 1024;

#[export_module(manifest)]
pub mod api {
    /// Runs a shell command on instances through AWS Systems Manager.
    ///
    /// The instances need no open port, no public address and no ssh key. `targets` is
    /// an array of maps that `launch_instance` returned, or of instance ids, or a map
    /// `#{ tags: #{ KEY: "value" } }`, which selects the instances that have all these
    /// tags. The results are in the order of the array, or of the launches.
    ///
    /// The agent of Systems Manager, which is part of Amazon Linux and Ubuntu images,
    /// runs the command as root, with `sh`, in the home directory. The role of the
    /// instance must allow it, see `instance_role`. An instance that is not ready (no
    /// agent, no role, stopped, offline) counts as failed; the error says for each what
    /// to do. If more instances than `max_failures` are not ready, the command begins
    /// on none.
    ///
    /// If the command fails on an instance, the others finish; then an error is thrown
    /// that has every failure in `causes`, and in `detail` the names of the instances
    /// that `failed` and of those where the command has `not_begun`. With
    /// `check: false`, the results of all instances are returned instead.
    ///
    /// A step runs once on each host. A guard in `/var/lib/autorun/steps` keeps its
    /// output and its status there, so that neither a lost answer, a crash of autorun
    /// nor `resume` runs it twice. After a failure, `resume` repeats it only on the
    /// hosts where it did not succeed.
    ///
    /// AWS keeps the command, `env` and the output for 30 days, where users of the
    /// account can read them. A secret in them is therefore an error: let the host
    /// read the secret itself, for example from Secrets Manager.
    ///
    /// Results have the first 24,000 characters of the standard output and the first
    /// 8,000 of the standard error. Pass `output`, a bucket, to have the last 4 MiB of
    /// longer output; the role must allow `s3:PutObject` there.
    ///
    /// When Ctrl-C is pressed, the command is cancelled, and a warning names the
    /// instances where it still ran.
    ///
    /// Throws:
    ///
    /// - `command_failed` if a status is not 0, or if instances fail in different ways;
    /// - `timeout` if the command takes longer than `timeout`;
    /// - `unreachable` if an instance is not ready or never answers;
    /// - `not_found` if an instance does not exist, or none has the tags;
    /// - `invalid_option` if an argument or option is not valid or contains a secret;
    /// - `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let role = instance_role("web");
    /// let server = launch_instance(#{ name: "web", iam_profile: role.profile });
    /// for result in fleet_exec([server], "uname -r", #{ timeout: 60 }) {
    ///     print(`${result.name}: ${result.stdout}`);
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn fleet_exec(
        call: NativeCallContext,
        targets: Dynamic,
        command: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&targets, &command.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::fleet_exec(
                cx,
                step,
                &targets,
                &command,
                &script::options(&call, options)?,
            )
            .await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[Declared::of("fleet_exec")
    .options::<FleetExec>()
    .returns::<FleetResult>(Shape::Many)];

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FleetExec {
    /// Throw an error if an instance fails.
    #[serde(default = "yes")]
    check: bool,
    /// Limit after which the command is ended, rounded up to seconds, at most two days.
    #[serde(default = "seconds::<3600>")]
    timeout: Seconds,
    /// Working directory of the command. `~` is the home directory. By default, it is
    /// the home directory.
    cwd: Option<String>,
    /// Environment variables. AWS keeps them, so they must not contain secrets.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The user of the host that runs the command. The default is root.
    user: Option<String>,
    /// How many instances run the command at the same time: a number, or a percentage
    /// such as "10%", of at most 1,000 instances. The default is 50.
    at_once: Option<Share<1>>,
    /// How many instances may fail before no other instance begins: a number, or a
    /// percentage. By default there is no limit.
    max_failures: Option<Share<0>>,
    /// Bucket for the complete output, as "NAME" or "NAME/PREFIX".
    output: Option<String>,
}

/// The map that `fleet_exec` returns for each instance.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct FleetResult {
    /// The id of the instance.
    id: String,
    /// The value of its tag `Name`, or its id.
    name: String,
    /// Exit status of the command; `()` if there is none, because the instance has not
    /// answered or the command was ended.
    status: Option<i64>,
    /// Standard output of the command.
    stdout: String,
    /// Standard error of the command.
    stderr: String,
    /// Seconds that the command took.
    seconds: f64,
    /// Whether the instance has reported an end of the command.
    answered: bool,
    /// Why there is no status, or why it is not 0; empty after a success.
    reason: String,
    /// Whether parts of the output are missing.
    truncated: bool,
}

impl FleetResult {
    /// Creates the result for an instance on which nothing ran.
    fn silent(target: &Target, reason: &str) -> Self {
        Self {
            id: target.id.clone(),
            name: target.name.clone(),
            status: None,
            stdout: String::new(),
            stderr: String::new(),
            seconds: 0.0,
            answered: false,
            reason: reason.to_owned(),
            truncated: false,
        }
    }
}

/// The end of a command on one instance: its result, and the error if it failed.
#[derive(Debug)]
struct Ended {
    result: FleetResult,
    error: Option<Error>,
}

async fn fleet_exec(
    cx: &Context,
    step: &mut Step,
    targets: &Dynamic,
    command: &str,
    options: &FleetExec,
) -> Result<Value> {
    check(cx, command, options)?;
    if let Some(recorded) = step.recorded::<Value>()? {
        step.replay();
        return Ok(recorded);
    }
    let targets = targets::find(cx, targets).await?;
    if targets.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    let schedule = Fanout {
        at_once: options.at_once,
        max_failures: options.max_failures,
        ..Fanout::default()
    }
    .schedule(targets.len());
    let mut ended: Vec<Option<Ended>> = readiness::unready(cx, &targets).await?;
    let unready = ended.iter().flatten().filter(|one| one.error.is_some());
    let unready = unready.count();
    if schedule.continues_after(unready) && ended.iter().any(Option::is_none) {
        step.intend(&[])?;
        let at_once = options.at_once.map_or(AT_ONCE, |_| schedule.at_once);
        let limits = sending::Limits {
            at_once,
            max_failures: schedule.max_failures().map(|most| most - unready),
        };
        let work = sending::Work {
            cx,
            step,
            command,
            options,
        };
        work.run(&targets, limits, &mut ended).await?;
    }
    results(targets, ended, options.check)
}

/// Returns the results, or an error with all failures.
fn results(targets: Vec<Target>, ended: Vec<Option<Ended>>, check: bool) -> Result<Value> {
    let json = |result: &FleetResult| {
        serde_json::to_value(result)
            .map_err(|e| Error::internal(format!("cannot convert the result: {e}")))
    };
    if !check {
        let all = targets
            .iter()
            .zip(&ended)
            .map(|(target, ended)| match ended {
                Some(ended) => json(&ended.result),
                None => json(&FleetResult::silent(target, "not begun")),
            });
        return all.collect::<Result<_>>().map(Value::Array);
    }
    let names: Vec<String> = targets.into_iter().map(|target| target.name).collect();
    let outcome = |ended: Ended| match ended.error {
        Some(error) => Err(error.on(&ended.result.name)),
        None => json(&ended.result),
    };
    let done: Results<Value> = ended.into_iter().map(|ended| ended.map(outcome)).collect();
    gathered(done, &names, failed_on_hosts, ErrorKind::CommandFailed).map(Value::Array)
}

fn check(cx: &Context, command: &str, options: &FleetExec) -> Result<()> {
    let mask = cx.report.mask();
    let env = options.env.iter();
    let texts = env.map(|(name, value)| (format!("option `env.{name}`"), value.as_str()));
    let others = [("`cwd`", &options.cwd), ("`user`", &options.user)];
    let others = others
        .into_iter()
        .filter_map(|(name, value)| Some((format!("option {name}"), value.as_deref()?)));
    let all = std::iter::once(("argument `command`".to_owned(), command));
    for (what, text) in all.chain(texts).chain(others) {
        mask.keep_out_of(&what, text).map_err(|error| {
            error.hint(
                "AWS keeps commands for 30 days, where users of the account can read them: let \
                 the host read the secret itself, for example from Secrets Manager, or use \
                 ssh_exec with `env`",
            )
        })?;
        if text.contains('\0') {
            return Err(Error::invalid(format!("{what}: it contains a NUL byte")));
        }
    }
    for (name, value) in &options.env {
        check_env(name, value)?;
    }
    if command.trim().is_empty() {
        return Err(Error::invalid("the command is empty"));
    }
    let timeout = options.timeout.duration();
    if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
        let message = "option `timeout`: Systems Manager takes 1 second to 172800 (two days)";
        return Err(Error::invalid(message));
    }
    if command.len() > LONGEST_COMMAND {
        let message = format!("the command has {} bytes", command.len());
        return Err(Error::invalid(message).hint(format!(
            "Systems Manager takes {LONGEST_COMMAND} at most: put the script into a bucket, and \
             let the command fetch it"
        )));
    }
    if let Some(user) = options.user.as_ref().filter(|user| !is_user(user)) {
        return Err(Error::invalid(format!(
            "option `user`: `{user}` is not a user name"
        )));
    }
    if options.cwd.as_ref().is_some_and(|cwd| is_other_home(cwd)) {
        let error = Error::invalid("option `cwd`: the home directory of another user");
        return Err(error.hint("use `~` with the option `user`, or an absolute path"));
    }
    Ok(())
}

/// Whether a path begins with the home directory of a user that it names.
fn is_other_home(path: &str) -> bool {
    path.starts_with('~') && path != "~" && !path.starts_with("~/")
}
