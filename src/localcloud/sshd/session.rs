//! Runs a program for a channel: forwards its input, its output and its exit
//! status.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use bytes::BytesMut;
use nix::sys::signal::Signal;
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::channels::Ends;
use super::process::{Process, Started, Streams};
use super::signals;
use super::terminal::Terminal;

/// How many bytes of a program's output are read at a time: the size of a packet.
const CHUNK: usize = 32 * 1024;

/// The number of a channel's stderr stream in the protocol.
const STDERR: u32 = 1;

/// The connection of a running program to its client.
pub(super) struct Link {
    pub(super) channel: ChannelWriteHalf<Msg>,
    pub(super) handle: Handle,
    pub(super) ends: Ends,
}

/// Forwards data until the program and its output have ended.
///
/// As in OpenSSH, a background program keeps the session open as long as it has
/// the output open.
pub(super) async fn run(started: Started, link: Link) {
    let Started {
        process,
        streams,
        exited,
    } = started;
    let link = &link;
    match streams {
        Streams::Pipes {
            stdin,
            stdout,
            stderr,
        } => {
            let output = async {
                tokio::join!(
                    send_output(stdout, None, link),
                    send_output(stderr, Some(STDERR), link)
                );
            };
            forward(&process, exited, write_input(stdin, link), output, link).await;
        }
        Streams::Terminal(terminal) => {
            let input = write_terminal_input(&terminal, link);
            let output = send_terminal_output(&terminal, link);
            forward(&process, exited, input, output, link).await;
        }
    }
    link.ends.intake.abandon();
    process.set_ended();
    link.ends.closed.cancel();
    if let Err(e) = link.channel.close().await {
        log::debug!("ssh: a client left before its program ended: {e}");
    }
}

async fn forward(
    process: &Process,
    mut exited: oneshot::Receiver<ExitStatus>,
    input: impl Future<Output = ()>,
    output: impl Future<Output = ()>,
    link: &Link,
) {
    let mut input = std::pin::pin!(input);
    let mut output = std::pin::pin!(output);
    let (mut running, mut reading, mut writing) = (true, true, true);
    while running || writing {
        tokio::select! {
            () = link.ends.closed.cancelled() => {
                hang_up(process);
                return;
            }
            () = &mut input, if reading => reading = false,
            () = &mut output, if writing => writing = false,
            status = &mut exited, if running => {
                running = false;
                process.set_ended();
                send_status(status, link).await;
            }
        }
    }
    // The end of the output must not be sent before the exit status: a client that
    // has no more input closes the channel as soon as it sees the end of the output.
    report(link.channel.eof().await);
}

/// Sends the signals of a terminal that hangs up. A stopped program has to continue
/// to handle SIGHUP.
fn hang_up(process: &Process) {
    process.signal(Signal::SIGHUP);
    process.signal(Signal::SIGCONT);
}

/// Writes the client's data to the program and closes its input at the end.
async fn write_input(mut stdin: pipe::Sender, link: &Link) {
    let result = async {
        while let Some(data) = link.ends.intake.next().await? {
            stdin.write_all(&data).await?;
        }
        io::Result::Ok(())
    };
    stopped_reading(result.await, link);
}

async fn write_terminal_input(terminal: &Terminal, link: &Link) {
    let result = async {
        while let Some(data) = link.ends.intake.next().await? {
            terminal.write_all(&data).await?;
        }
        io::Result::Ok(())
    };
    stopped_reading(result.await, link);
}

fn stopped_reading(result: io::Result<()>, link: &Link) {
    if let Err(e) = result {
        log::debug!("ssh: a program stopped reading its input: {e}");
    }
    link.ends.intake.abandon();
}

/// Sends the program's output to the client. If the client is gone, the pipe is
/// closed and the program gets SIGPIPE.
async fn send_output(mut from: impl AsyncRead + Unpin, stream: Option<u32>, link: &Link) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) => {
                log::warn!("ssh: cannot read a program's output: {e}");
                return;
            }
        }
        let data = buffer.split().freeze();
        let sent = match stream {
            None => link.channel.data_bytes(data).await,
            Some(stream) => link.channel.extended_data_bytes(stream, data).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn send_terminal_output(terminal: &Terminal, link: &Link) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match terminal.read(&mut buffer).await {
            Ok(0) => return,
            Ok(read) => {
                let data = buffer[..read].to_vec();
                if link.channel.data_bytes(data).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                log::warn!("ssh: cannot read a terminal: {e}");
                return;
            }
        }
    }
}

/// Sends the program's exit status or signal to the client.
async fn send_status(status: Result<ExitStatus, oneshot::error::RecvError>, link: &Link) {
    let Ok(status) = status else {
        log::warn!("ssh: the exit status of a program is unknown");
        return;
    };
    if let Some(code) = status.code() {
        report(link.channel.exit_status(code.cast_unsigned()).await);
        return;
    }
    let number = status.signal().unwrap_or_default();
    let sent = link.handle.exit_signal_request(
        link.channel.id(),
        signals::name(number),
        status.core_dumped(),
        String::new(),
        String::new(),
    );
    if sent.await.is_err() {
        log::debug!("ssh: a client left before its program ended");
    }
}

fn report(sent: Result<(), russh::Error>) {
    if let Err(e) = sent {
        log::debug!("ssh: a client left before its program ended: {e}");
    }
}
