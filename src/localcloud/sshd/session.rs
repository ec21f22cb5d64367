//! A program and its channel: input in, output out, how it ended.

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

/// What is read from a program at once: as much as one packet holds.
const CHUNK: usize = 32 * 1024;

/// The number of the channel's error stream.
const STDERR: u32 = 1;

/// The client's side of a running program.
pub(super) struct Link {
    pub(super) channel: ChannelWriteHalf<Msg>,
    pub(super) handle: Handle,
    pub(super) ends: Ends,
}

/// Carries data until the program has ended and its output has too.
///
/// A program left in the background keeps the session open as long as it
/// holds the output, as with OpenSSH.
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
                tokio::join!(send(stdout, None, link), send(stderr, Some(STDERR), link));
            };
            converse(&process, exited, feed(stdin, link), output, link).await;
        }
        Streams::Terminal(terminal) => {
            let input = type_in(&terminal, link);
            let output = show(&terminal, link);
            converse(&process, exited, input, output, link).await;
        }
    }
    link.ends.intake.abandon();
    process.has_ended();
    link.ends.closed.cancel();
    if let Err(e) = link.channel.close().await {
        log::debug!("ssh: a client left before its program's end: {e}");
    }
}

async fn converse(
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
                process.has_ended();
                tell(status, link).await;
            }
        }
    }
    // Not before the status: a client that is done itself closes the channel
    // as soon as it sees the end of the output.
    report(link.channel.eof().await);
}

/// What a terminal does when its line breaks; a stopped program has to go on
/// to notice.
fn hang_up(process: &Process) {
    process.signal(Signal::SIGHUP);
    process.signal(Signal::SIGCONT);
}

/// Gives the client's data to the program, and its end.
async fn feed(mut stdin: pipe::Sender, link: &Link) {
    let result = async {
        while let Some(data) = link.ends.intake.next().await? {
            stdin.write_all(&data).await?;
        }
        io::Result::Ok(())
    };
    stopped_reading(result.await, link);
}

async fn type_in(terminal: &Terminal, link: &Link) {
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
        log::debug!("ssh: a program reads no more: {e}");
    }
    link.ends.intake.abandon();
}

/// Sends what the program writes; a program nobody listens to gets SIGPIPE.
async fn send(mut from: impl AsyncRead + Unpin, stream: Option<u32>, link: &Link) {
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

async fn show(terminal: &Terminal, link: &Link) {
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

/// Tells the client how the program ended.
async fn tell(status: Result<ExitStatus, oneshot::error::RecvError>, link: &Link) {
    let Ok(status) = status else {
        log::warn!("ssh: how a program ended is not known");
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
        log::debug!("ssh: a client left before its program's end");
    }
}

fn report(sent: Result<(), russh::Error>) {
    if let Err(e) = sent {
        log::debug!("ssh: a client left before its program's end: {e}");
    }
}
