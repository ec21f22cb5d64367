//! The agent of Systems Manager in an instance: runs scripts, reports their output and
//! their end, and connects to ports.

use std::fs::File;
use std::io::{self, Write as _};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::connect::PushedKey;
use super::machines::Machines;
use super::ssm::{Agent, Captured, End, Finished, Order};
use crate::machine::{AgentFault, Ended, Execution, Running};
use crate::sshd::PUSHED_KEYS;

/// The working directory of the agent, and so that of a script that names none.
const DIRECTORY: &str = "/usr/bin";

/// How much of a stream is read at a time.
const CHUNK: usize = 64 * 1024;

/// How much of a stream is kept for answers.
const HEAD: usize = 24_000;

impl Machines {
    /// Returns the state of an instance's agent.
    pub(super) fn agent(&self, id: &str) -> Agent {
        let machine = self.machine(id);
        machine.map_or(Agent::Absent, |machine| match machine.agent_fault() {
            None => Agent::Online,
            Some(AgentFault::Offline) => Agent::Offline,
            Some(AgentFault::Missing) => Agent::Absent,
        })
    }

    /// Connects to a port of an instance.
    pub(super) async fn dial(&self, id: &str, port: u16) -> io::Result<UnixStream> {
        let machine = self.machine(id);
        let machine = machine.ok_or_else(|| io::Error::other("the instance does not run"))?;
        machine.dial(port).await
    }

    /// Lets an instance accept a key.
    pub(super) async fn push_key(&self, id: &str, key: PushedKey) -> io::Result<()> {
        let machine = self.machine(id);
        let machine = machine.ok_or_else(|| io::Error::other("the instance does not run"))?;
        let PushedKey { user, line } = key;
        let unique = rand::random::<u64>();
        let pushed = Execution {
            directory: format!("{PUSHED_KEYS}/{unique:016x}"),
            working_directory: "/".to_owned(),
            environment: Vec::new(),
            script: format!(
                "umask 077; cd {PUSHED_KEYS} && echo '{line}' >>'{user}' && rm -r {unique:016x}"
            ),
            seconds: 10,
        };
        let running = machine.execute(pushed).await?;
        match running.ended().await {
            Some(Ended::Exited { status: 0 }) => Ok(()),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Runs a script in an instance until it ends or is cancelled.
    pub(super) async fn perform(&self, order: Order, cancel: &CancellationToken) -> Finished {
        let Some(machine) = self.machine(&order.instance) else {
            return Finished::silent(End::Lost);
        };
        let complete = order.complete;
        match machine.execute(execution(order)).await {
            Ok(running) => follow(running, complete, cancel).await,
            Err(error) => Finished::silent(End::Failed(error.to_string())),
        }
    }
}

fn execution(order: Order) -> Execution {
    let (instance, command) = (&order.instance, &order.command);
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Execution {
        directory: format!(
            "/var/lib/amazon/ssm/{instance}/document/orchestration/{command}/awsrunShellScript/\
             0.awsrunShellScript"
        ),
        working_directory: order.directory.unwrap_or_else(|| DIRECTORY.to_owned()),
        environment: vec![
            variable("AWS_SSM_INSTANCE_ID", instance),
            variable("AWS_SSM_REGION_NAME", &order.region),
        ],
        script: order.script,
        seconds: order.seconds,
    }
}

/// Reads the output until the script and all that holds its output have ended.
async fn follow(mut running: Running, complete: bool, cancel: &CancellationToken) -> Finished {
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let ended = {
        let Running {
            stdout: out,
            stderr: err,
            ..
        } = &mut running;
        let reading = async {
            tokio::join!(
                capture(out, &mut stdout, complete),
                capture(err, &mut stderr, complete)
            )
        };
        tokio::pin!(reading);
        tokio::select! {
            read = &mut reading => Some(read),
            () = cancel.cancelled() => None,
        }
    };
    if ended.is_none() {
        running.cancel().await;
    }
    for result in ended.into_iter().flat_map(|(out, err)| [out, err]) {
        if let Err(error) = result {
            log::warn!("cannot keep the output of a command: {error}");
        }
    }
    let end = match running.ended().await {
        None => End::Lost,
        Some(Ended::Exited { status }) => End::Exited(status),
        Some(Ended::TimedOut) => End::TimedOut,
        Some(Ended::Cancelled) => End::Cancelled,
        Some(Ended::Failed { reason }) => End::Failed(reason),
    };
    Finished {
        end,
        stdout,
        stderr,
    }
}

/// Reads a stream to its end.
async fn capture(
    from: &mut (impl AsyncRead + Unpin),
    captured: &mut Captured,
    complete: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let piece = &buffer[..read];
        let room = HEAD.saturating_sub(captured.head.len()).min(read);
        captured.head.extend_from_slice(&piece[..room]);
        captured.length += read as u64;
        if complete {
            keep(&mut captured.all, piece)?;
        }
    }
}

/// Adds to a file, which is created for the first piece.
fn keep(file: &mut Option<File>, piece: &[u8]) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(tempfile::tempfile()?),
    };
    file.write_all(piece)
}
