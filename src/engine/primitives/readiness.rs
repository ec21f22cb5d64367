//! Waiting for instances: until they run, and until they are ready for use.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::host_keys;
use super::host_keys::Compared;
use super::hosts::{know_keys, reached};
use super::reboots;
use super::rehearsed::is_outside;
use super::remote::first_line;
use super::servers::{Server, ServerRef, described, instance_host, not_running, stuck};
use super::user_data::{self, Ended};
use super::user_data_reasons::Reasons;
use crate::clients::Pace;
use crate::clients::ec2::{EndReason, Instance, InstanceState, Start};
use crate::clients::ssh::{self, Command, Finished, Host, Program};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;
use crate::script::{Seconds, seconds, yes};

/// How long after the launch EC2 may not know the instance yet.
const CONSISTENCY: Duration = Duration::from_secs(60);

/// How long after the end of its user data an instance may take to show its host
/// keys on a console that can be read at any time.
const SHOWS_WITHIN: Duration = Duration::from_secs(60);

/// How long a new instance may refuse a login. sshd starts before cloud-init
/// installs the key.
const KEY_ARRIVES: Duration = Duration::from_secs(30);

/// Options of functions that wait and have no other option.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitOptions {
    /// How long to wait.
    #[serde(default = "seconds::<300>")]
    pub(super) timeout: Seconds,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitUntilReady {
    /// How long to wait.
    #[serde(default = "seconds::<900>")]
    timeout: Seconds,
    /// Wait until the user data has finished. Pass false for images without
    /// cloud-init.
    #[serde(default = "yes")]
    user_data: bool,
    /// How to verify the host key. "strict" waits until the console shows the
    /// key, also for types other than Nitro; "first_use" does not wait for the
    /// console. The default is to wait for Nitro types only.
    host_key: Option<Demand>,
}

/// What `wait_until_ready` demands of the host key. By default it waits for the
/// console if the console can be read at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Demand {
    /// The key is accepted and logged, and compared if the console shows keys.
    FirstUse,
    /// The console shows the key within the timeout.
    Strict,
}

pub(super) async fn running(cx: &Context, server: ServerRef, timeout: Duration) -> Result<Server> {
    let mut pace = cx.pace(format!("instance {} to run", server.id), timeout);
    let instance = seen_running(cx, &server.id, &mut pace).await?;
    if is_stopped(&instance) {
        return Ok(server.with(cx, instance).await);
    }
    cx.report.info(format!(
        "{} is running at {} after {}",
        instance.id,
        instance
            .public_ip
            .as_ref()
            .or(instance.private_ip.as_ref())
            .map_or("no address", |a| a),
        text::duration(pace.elapsed())
    ));
    Ok(server.with(cx, instance).await)
}

pub(super) fn is_stopped(instance: &Instance) -> bool {
    matches!(
        instance.state,
        InstanceState::Stopping | InstanceState::Stopped
    )
}

/// Returns the map of an instance that a later step of the playbook has already
/// stopped, in a resumed run. The instance is not started, and there is no wait.
pub(super) async fn left_stopped(cx: &Context, server: ServerRef) -> Result<Server> {
    let instance = described(cx, &server.id).await?;
    log_left(cx, &instance);
    Ok(server.with(cx, instance).await)
}

fn log_left(cx: &Context, instance: &Instance) {
    cx.report.info(format!(
        "{} is {} because a later step of the playbook stopped it; leaving it as it is",
        instance.id, instance.state
    ));
}

/// Starts an instance of this run again, in a resumed run, if it was stopped from
/// outside the playbook. Returns whether it did.
pub(super) async fn start_again(
    cx: &Context,
    instance: &Instance,
    pace: &mut Pace,
) -> Result<bool> {
    if !is_stopped(instance) || !cx.ledger.needs_restart(&instance.id) {
        return Ok(false);
    }
    cx.report.warn(format!(
        "{} is {}, but the playbook did not stop it; starting it again",
        instance.id, instance.state
    ));
    request_start(cx, &instance.id, pace).await?;
    Ok(true)
}

/// Requests the start of an instance. Waits first if the instance is stopping.
pub(super) async fn request_start(cx: &Context, id: &str, pace: &mut Pace) -> Result<()> {
    let ec2 = cx.clients.ec2().await?;
    loop {
        match ec2.start(id).await? {
            Start::Accepted => return Ok(()),
            // EC2 starts an instance only after it has stopped completely.
            Start::NotNow(error) => {
                let seen = described(cx, id).await?;
                match seen.state {
                    InstanceState::Pending | InstanceState::Running => return Ok(()),
                    InstanceState::Stopping | InstanceState::Stopped => {
                        pace.pause(seen.state.as_str()).await?;
                    }
                    _ => return Err(error),
                }
            }
        }
    }
}

/// Polls until the instance runs. Fails without further waiting if it will never
/// run. Returns an instance that a later step has stopped as it is.
async fn seen_running(cx: &Context, id: &str, pace: &mut Pace) -> Result<Instance> {
    let ec2 = cx.clients.ec2().await?;
    let ids = [id.to_owned()];
    loop {
        match ec2.instances(&ids).await {
            Ok(mut seen) => {
                let instance = seen.swap_remove(0);
                match instance.state {
                    InstanceState::Running => return Ok(instance),
                    InstanceState::Pending => pace.pause(instance.state.as_str()).await?,
                    _ if is_stopped(&instance) && cx.ledger.is_stopped_later(id) => {
                        log_left(cx, &instance);
                        return Ok(instance);
                    }
                    _ if start_again(cx, &instance, pace).await? => {}
                    // Within the retry window EC2 may still show the state before
                    // the start.
                    _ if is_stopped(&instance)
                        && (cx.ledger.started_again(id))
                            .is_some_and(|since| since < cx.clients.consistency()) =>
                    {
                        pace.pause(instance.state.as_str()).await?;
                    }
                    _ => return Err(ended(&instance)),
                }
            }
            // EC2 may not know an instance yet that it has just launched.
            Err(e) if e.kind == ErrorKind::NotFound && pace.elapsed() < CONSISTENCY => {
                pace.pause("not visible yet").await?;
            }
            Err(e) => return Err(e),
        }
    }
}

/// What to do if AWS cannot encrypt the root volume.
const KEY_REFUSED: &str = "most likely AWS cannot use the KMS key that encrypts the root volume: \
     `aws ec2 get-ebs-default-kms-key-id` shows the key; it must be enabled, and its policy must \
     allow your identity kms:CreateGrant, kms:Decrypt, kms:DescribeKey, \
     kms:GenerateDataKeyWithoutPlaintext and kms:ReEncrypt*";

/// Returns the error for an instance that stops or terminates instead of running.
fn ended(instance: &Instance) -> Error {
    let reason = instance
        .state_reason
        .as_deref()
        .unwrap_or("EC2 reports no reason");
    let kind = match instance.ended_by {
        EndReason::NoRoom => ErrorKind::QuotaExceeded,
        EndReason::KeyRefused => ErrorKind::Denied,
        EndReason::Other => ErrorKind::Internal,
    };
    Error::new(
        kind,
        format!("{} is {}: {reason}", instance.id, instance.state),
    )
    .hint(match instance.state {
        InstanceState::Stopped | InstanceState::Stopping => {
            not_running(instance).unwrap_or_default()
        }
        _ if instance.ended_by == EndReason::KeyRefused => KEY_REFUSED.to_owned(),
        _ => format!(
            "see the console output: `aws ec2 get-console-output --instance-id {}`",
            instance.id
        ),
    })
}

pub(super) async fn ready(
    cx: &Context,
    server: ServerRef,
    options: &WaitUntilReady,
) -> Result<Server> {
    let timeout = options.timeout.duration();
    let mut pace = cx.pace(format!("instance {} to be ready", server.id), timeout);
    let instance = seen_running(cx, &server.id, &mut pace).await?;
    if is_stopped(&instance) {
        return Ok(server.with(cx, instance).await);
    }
    let server = server.with_user(cx, &instance).await;
    let host = reached(cx, instance_host(&server, &instance)?).await?;
    if is_outside(cx, &host) {
        cx.assume_success(format!(
            "wait until {} accepts a login and has run its user data",
            host.name
        ));
        return Ok(server.with(cx, instance).await);
    }
    answers(cx, &host, &server.id, &mut pace).await?;
    let compared = host_keys::compare(cx, &host, &server.id).await?;
    let patience = match (options.host_key, &compared) {
        (_, Compared::Verified) | (Some(Demand::FirstUse), _) | (None, Compared::Cannot(_)) => None,
        (Some(Demand::Strict), Compared::Cannot(_)) => Some(timeout),
        (_, Compared::NotYet(_)) => Some(SHOWS_WITHIN),
    };
    if let Some(patience) = patience {
        // Boxed, because the future is large: it contains two waits.
        Box::pin(done_and_shown(
            cx, &host, &server.id, options, patience, &mut pace,
        ))
        .await?;
    } else {
        if let Compared::NotYet(why) | Compared::Cannot(why) = compared {
            cx.report.info(format!(
                "cannot verify the host key of {} yet ({why}); trying again when it is ready",
                server.id
            ));
        }
        if options.user_data {
            user_data_done(cx, &host, &server.id, &mut pace).await?;
        }
        host_keys::compare_or_warn(cx, &host, &server.id).await?;
    }
    cx.report.info(format!(
        "{} is ready after {}; log in with: ssh {}",
        server.id,
        text::duration(pace.elapsed()),
        host.arguments(),
    ));
    Ok(server.with(cx, instance).await)
}

/// Waits until the user data has finished and the console shows the host key. Both
/// waits run at the same time: if the console shows another key, a man in the
/// middle cannot delay the error by never reporting the end of the user data.
async fn done_and_shown(
    cx: &Context,
    host: &Host,
    id: &str,
    options: &WaitUntilReady,
    patience: Duration,
    pace: &mut Pace,
) -> Result<()> {
    let what = format!("the console of {id} to show its ssh host key");
    let waits = |timeout| cx.pace(what.clone(), timeout);
    if !options.user_data {
        let shown = host_keys::await_console_key(cx, host, id, &mut waits(pace.left())).await;
        return shown.map_err(never_shown);
    }
    {
        // This wait is the longer one, because a timeout of the wait for the user
        // data has the better message.
        let mut beside = waits(pace.left() + patience);
        let shown = host_keys::await_console_key(cx, host, id, &mut beside);
        let done = user_data_done(cx, host, id, pace);
        let mut done = std::pin::pin!(done);
        tokio::select! {
            settled = shown => {
                settled?;
                return done.await;
            }
            done = &mut done => done?,
        }
    }
    let mut after = waits(patience.min(pace.left()));
    let shown = host_keys::await_console_key(cx, host, id, &mut after).await;
    shown.map_err(never_shown)
}

/// Adds a hint to the error for a console that shows no host keys.
fn never_shown(error: Error) -> Error {
    match error.kind {
        ErrorKind::Timeout => error.hint(
            "pass `host_key: \"first_use\"` if the image has no cloud-init, which writes the host \
             keys to the console, or is configured not to write them",
        ),
        _ => error,
    }
}

/// Waits until a login over ssh succeeds. Pins the first host key that is offered.
async fn answers(cx: &Context, host: &Host, id: &str, pace: &mut Pace) -> Result<()> {
    let mut refused_at = None;
    loop {
        let tried = async {
            if let Some(via) = &host.via {
                know_keys(cx, via).await?;
            }
            host_keys::pin_first_key(cx, host, id).await?;
            let state = probe(cx, host, reboots::STATE, pace).await;
            if state.is_err() {
                cx.clients.ssh().note_outage(host);
            }
            state
        };
        match tried.await {
            Ok(state) => {
                if reboots::settled(cx, host, &state, pace).await? {
                    return Ok(());
                }
            }
            // sshd may answer before cloud-init has installed the key.
            Err(e) if e.kind == ErrorKind::Denied => {
                // A man in the middle would refuse the login too.
                host_keys::compare(cx, host, id).await?;
                let since = *refused_at.get_or_insert_with(|| pace.elapsed());
                if pace.elapsed().saturating_sub(since) > KEY_ARRIVES {
                    return Err(e);
                }
                pace.pause(&first_line(&e)).await?;
            }
            Err(e) if e.kind.retryable() => {
                if pace.is_due() {
                    seen_running(cx, id, pace).await?;
                    if let Some(error) = stuck(cx, host, &e).await {
                        return Err(error);
                    }
                }
                after_outage(pace, &e).await?;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Waits until the next attempt to log in is due. Without a connection, the attempt
/// cost the host nothing; sshd counts attempts that end before a login.
pub(super) async fn after_outage(pace: &mut Pace, error: &Error) -> Result<()> {
    if error.is_unsent() {
        pace.pause_briefly(&error.to_string()).await
    } else {
        pace.pause(&error.to_string()).await
    }
}

/// Runs a readiness probe, which is not logged and ends at the deadline.
async fn probe(cx: &Context, host: &Host, command: &str, pace: &Pace) -> Result<Finished> {
    let command = Command {
        program: Program::Own(command.to_owned()),
        timeout: Some(pace.left()),
        ..Command::default()
    };
    cx.clients.ssh().run(host, command, &cx.report).await
}

/// Waits until the user data has finished, and until the instance answers again
/// if the user data reboots it. Fails with [`ErrorKind::CommandFailed`] if the
/// user data failed.
async fn user_data_done(cx: &Context, host: &Host, id: &str, pace: &mut Pace) -> Result<()> {
    loop {
        let boot = cx.clients.ssh().last_boot(host);
        user_data_finished(cx, host, id, pace).await?;
        // `power_state` of cloud-init reboots after its end.
        answers(cx, host, id, pace).await?;
        let now = cx.clients.ssh().last_boot(host);
        if now == boot {
            return Ok(());
        }
        cx.report.info(format!("{id} has rebooted"));
    }
}

async fn user_data_finished(cx: &Context, host: &Host, id: &str, pace: &mut Pace) -> Result<()> {
    cx.report.info(format!("waiting for the user data of {id}"));
    cx.report.doing(&format!("the user data of {id} runs"));
    let Ended { finished, reasons } = loop {
        match user_data::wait(cx, host, pace.left()).await {
            Ok(ended) => break ended,
            Err(e) if e.kind == ErrorKind::Timeout && pace.left().is_zero() => {
                return Err(user_data_timeout(cx, host, pace).await);
            }
            // The user data may reboot the instance.
            Err(e) if e.kind.retryable() => {
                seen_running(cx, id, pace).await?;
                if let Some(error) = stuck(cx, host, &e).await {
                    return Err(error);
                }
                pace.pause(&e.to_string()).await?;
            }
            Err(e) => return Err(e),
        }
    };
    let failed = !reasons.errors.is_empty();
    match finished.status {
        0 | 2 if !failed => {
            if finished.status == 2 || !reasons.recoverable.is_empty() {
                cx.report.warn(format!(
                    "cloud-init on {id} finished with recoverable errors:{}",
                    Reasons::lines(&reasons.recoverable)
                ));
            }
            Ok(())
        }
        127 => Err(Error::new(
            ErrorKind::CommandFailed,
            format!(
                "cannot determine whether the user data of {id} succeeded: the instance has no \
                 cloud-init"
            ),
        )
        .hint("pass `user_data: false` to wait_until_ready for images without cloud-init")),
        status => {
            let log = user_data::log(cx, host).await;
            Err(Error::new(
                ErrorKind::CommandFailed,
                format!(
                    "the user data of {id} failed:{}\nits log ends with:\n{log}",
                    Reasons::lines(&reasons.errors)
                ),
            )
            .hint(format!(
                "the whole log is /var/log/cloud-init-output.log on {}",
                host.login()
            ))
            .detail(serde_json::json!({
                "status": status, "stdout": log, "stderr": ssh::tail(&finished.stderr, 20),
                "errors": reasons.errors, "recoverable_errors": reasons.recoverable,
            })))
        }
    }
}

async fn user_data_timeout(cx: &Context, host: &Host, pace: &Pace) -> Error {
    let log = user_data::log(cx, host).await;
    let runs = match user_data::still_runs(cx, host).await {
        runs if runs.is_empty() => String::new(),
        runs => format!(" ({runs})"),
    };
    let error = pace.timeout();
    let message =
        format!("{error}; the user data is still running{runs}, its log ends with:\n{log}");
    error
        .with_message(message)
        .hint("pass a longer `timeout` to wait_until_ready")
}
