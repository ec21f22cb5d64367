//! Brings a command to the agents of its instances: some at the same time, until too
//! many have failed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::Cloud;
use super::commands::{Command, Invocation, OutputPlace, Status};
use super::managed::{Managed, managed_of};
use super::order::{Captured, End, Finished, Order};
use super::output::{STDERR, STDOUT, shown};
use super::send_command::script;
use crate::authorization::Need;
use crate::clock;
use crate::faults::Account;

/// How often an agent without a connection tries again.
const RECONNECTS: Duration = Duration::from_millis(200);

/// Runs a command on all its instances.
pub(super) async fn deliver(cloud: Arc<Cloud>, command: Command, account: Account) {
    let at_once = command.concurrency.of(command.invocations.len(), 1);
    let (cloud, account, command) = (&cloud, &account, &command);
    let all = 0..command.invocations.len();
    stream::iter(all)
        .map(|at| invoke(cloud, account, command, at))
        .buffer_unordered(at_once)
        .collect::<()>()
        .await;
}

/// Runs a command on one of its instances.
async fn invoke(cloud: &Cloud, account: &Account, command: &Command, at: usize) {
    let Some(first) = first_status(cloud, command, at) else {
        return;
    };
    if first.has_ended() {
        return end(cloud, command, at, first);
    }
    let Invocation {
        instance, cancel, ..
    } = &command.invocations[at];
    let until = Duration::from_secs(command.timeout);
    let reached = tokio::time::timeout(until, online(cloud, account, command, instance));
    let reached = tokio::select! {
        reached = reached => reached,
        () = cancel.cancelled() => return end(cloud, command, at, Status::Cancelled),
    };
    if reached.is_err() {
        return end(cloud, command, at, Status::DeliveryTimedOut);
    }
    change(cloud, command, at, |invocation| {
        if invocation.status == Status::Pending {
            invocation.status = Status::InProgress;
        }
        invocation.started = Some(clock::millis());
    });
    let finished = perform(cloud, command, instance, cancel).await;
    report(cloud, account, command, at, finished).await;
}

/// Returns the status with which an invocation begins, which may be its end.
fn first_status(cloud: &Cloud, command: &Command, at: usize) -> Option<Status> {
    cloud.commands.change(&command.id, |command| {
        if command.is_cancelled || command.invocations[at].cancel.is_cancelled() {
            Status::Cancelled
        } else if command.has_too_many_errors() {
            Status::Terminated
        } else {
            Status::Pending
        }
    })
}

/// Returns an instance of a command, if its agent has registered.
fn one_managed(
    cloud: &Cloud,
    account: &Account,
    command: &Command,
    instance: &String,
) -> Option<Managed> {
    let instance = std::slice::from_ref(instance);
    managed_of(cloud, &command.region, account, instance).pop()
}

/// Waits until the agent of an instance has a connection.
async fn online(cloud: &Cloud, account: &Account, command: &Command, instance: &String) {
    let is_online = || {
        let managed = one_managed(cloud, account, command, instance);
        managed.is_some_and(|managed| managed.is_online)
    };
    while !is_online() {
        tokio::time::sleep(RECONNECTS).await;
    }
}

async fn perform(
    cloud: &Cloud,
    command: &Command,
    instance: &str,
    cancel: &CancellationToken,
) -> Finished {
    let machines = cloud.machines.as_ref();
    let Some(machines) = machines.filter(|_| !is_record(cloud, command, instance)) else {
        // In a rehearsal, every command on an instance without a machine succeeds.
        return Finished::silent(End::Exited(0));
    };
    let (script, directory, seconds) = script(command);
    let order = Order {
        instance: instance.to_owned(),
        region: command.region.clone(),
        command: command.id.clone(),
        script,
        directory,
        seconds,
        complete: command.output.is_some(),
    };
    machines.perform(order, cancel).await
}

/// Whether an instance has no machine, although others have one.
fn is_record(cloud: &Cloud, command: &Command, instance: &str) -> bool {
    let state = cloud.store.state();
    let region = state.regions.get(&command.region);
    let instance = region.and_then(|region| region.instances.get(instance));
    instance.is_some_and(|instance| instance.is_record)
}

/// Records the report of an agent.
async fn report(
    cloud: &Cloud,
    account: &Account,
    command: &Command,
    at: usize,
    finished: Finished,
) {
    let Finished {
        end: ending,
        stdout,
        stderr,
    } = finished;
    let (status, code, why) = match ending {
        End::Exited(0) => (Status::Success, 0, None),
        End::Exited(code) => (Status::Failed, code, None),
        End::TimedOut => (Status::ExecutionTimedOut, 137, None),
        End::Cancelled => (Status::Cancelled, 137, None),
        End::Failed(why) => (Status::Failed, 1, Some(why)),
        // The agent is expected to report after its restart, and has forgotten it.
        End::Lost => (Status::ExecutionTimedOut, -1, None),
    };
    let mut texts = (shown(&stdout, STDOUT), shown(&stderr, STDERR));
    let why = match (code, why) {
        (0, _) => None,
        (_, Some(why)) => {
            texts.1.clear();
            Some(why)
        }
        (code, None) => Some(format!("exit status {code}")),
    };
    if let Some(why) = why {
        texts.1.push_str("failed to run commands: ");
        texts.1.push_str(&why);
    }
    if let Some(place) = &command.output {
        let instance = &command.invocations[at].instance;
        upload(cloud, account, command, place, (instance, "stdout", stdout)).await;
        upload(cloud, account, command, place, (instance, "stderr", stderr)).await;
    }
    change(cloud, command, at, |invocation| {
        (invocation.stdout, invocation.stderr) = texts;
        invocation.code = code;
    });
    end(cloud, command, at, status);
}

/// Stores the complete output, if the role of the instance may write it. As on AWS,
/// only the log of the agent says that it may not.
async fn upload(
    cloud: &Cloud,
    account: &Account,
    command: &Command,
    place: &OutputPlace,
    (instance, stream, captured): (&String, &str, Captured),
) {
    let (Some(content), Some(outputs)) = (captured.all, &cloud.outputs) else {
        return;
    };
    let key = place.key(&command.id, instance, stream);
    if !may_write(cloud, account, command, instance, place, &key) {
        log::warn!("the role of {instance} may not write the output of a command");
        return;
    }
    if let Err(error) = outputs.store(place.bucket.clone(), key, content).await {
        log::warn!("{instance} cannot store the output of a command: {error}");
    }
}

fn may_write(
    cloud: &Cloud,
    account: &Account,
    command: &Command,
    instance: &String,
    place: &OutputPlace,
    key: &str,
) -> bool {
    let managed = one_managed(cloud, account, command, instance);
    let profile = managed.and_then(|one| one.instance.iam_profile);
    let arn = format!("arn:aws:s3:::{}/{key}", place.bucket);
    let need = Need::new("s3:PutObject", arn);
    profile.is_some_and(|profile| cloud.store.state().iam.allows(&profile.name, &need))
}

fn end(cloud: &Cloud, command: &Command, at: usize, status: Status) {
    change(cloud, command, at, |invocation| {
        invocation.status = status;
        invocation.ended = Some(clock::millis());
    });
}

fn change(cloud: &Cloud, command: &Command, at: usize, change: impl FnOnce(&mut Invocation)) {
    // A forgotten command has no record to change.
    let _ = cloud
        .commands
        .change(&command.id, |command| change(&mut command.invocations[at]));
}
