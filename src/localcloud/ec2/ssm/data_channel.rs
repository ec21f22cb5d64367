//! The data channel of a session: the plugin on one side, a port of the instance on the
//! other.
//!
//! Each part of a stream has a number, and is acknowledged. The plugin discards what
//! arrives before it is ready, and a connection may break: what was not acknowledged is
//! sent again, also to the next connection.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use hyper::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use s3s::Body;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Cloud;
use super::agent_message::{FromPlugin, Payload, acknowledgement, closed, output};
use super::managed::VERSION;
use super::sessions::Session;
use crate::websocket::{self, Incoming, Outgoing};

/// How long a client may take to send its token.
const INTRODUCES_WITHIN: Duration = Duration::from_secs(15);

/// How often parts are looked for that were not acknowledged in time, and that time.
const TICK: Duration = Duration::from_millis(50);
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(200);

/// The longest part, and how many parts may be on the way.
const PART: usize = 1024;
const WINDOW: usize = 256;

/// How much data may wait for the port. As long as there is room, acknowledgements are
/// read too, without which nothing more can be read from the port.
const ROOM: usize = 4 << 20;

/// How many messages of a client wait to be handled.
const WAITING: usize = 64;

/// The agent's side of a session, which survives a broken connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// The number of the next part of the plugin's stream, and of the agent's.
    received: i64,
    sent: i64,
    on_the_way: VecDeque<Part>,
    /// The port of the instance.
    reader: Option<OwnedReadHalf>,
    writer: Option<OwnedWriteHalf>,
    /// What the port has not accepted yet.
    inbox: BytesMut,
    /// Why the session ends, once nothing is on the way.
    over: Option<&'static str>,
}

#[derive(Debug)]
struct Part {
    sequence: i64,
    message: Vec<u8>,
    at: Instant,
}

/// The first message of a client.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Introduction {
    token_value: String,
}

/// Opens the data channel of a path. Returns `None` if there is no session with it.
pub(in super::super) fn open(
    cloud: &Arc<Cloud>,
    (path, headers): (&str, &hyper::HeaderMap),
    upgrade: OnUpgrade,
) -> Option<Response<Body>> {
    let session = cloud.sessions.of_path(path)?;
    let response = websocket::opening(headers)?;
    let cloud = Arc::clone(cloud);
    tokio::spawn(async move {
        let carried = async {
            let stream = upgrade.await.map_err(io::Error::other)?;
            serve(&cloud, &session, TokioIo::new(stream)).await
        };
        if let Err(error) = carried.await {
            log::debug!("the data channel of {}: {error}", session.id);
        }
    });
    Some(response)
}

/// Serves one client.
async fn serve(
    cloud: &Cloud,
    session: &Session,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let introduced = tokio::time::timeout(INTRODUCES_WITHIN, websocket::read(&mut reader));
    let client = match introduced.await {
        Ok(Ok(Some(Incoming::Text(text)))) => admitted(session, &text),
        _ => None,
    };
    let Some(client) = client else {
        return websocket::write(&mut writer, Outgoing::Close).await;
    };
    // A read that has begun cannot be interrupted, so a task of its own reads.
    let (messages, mut received) = mpsc::channel(WAITING);
    let reading = tokio::spawn(async move {
        while let Ok(Some(message)) = websocket::read(&mut reader).await {
            if messages.send(message).await.is_err() {
                return;
            }
        }
    });
    let ended = tokio::select! {
        ended = carry(cloud, session, &mut writer, &mut received) => ended,
        () = client.cancelled() => Ok(session.end.is_cancelled().then_some("")),
    };
    reading.abort();
    let Ok(Some(reason)) = ended else {
        cloud.sessions.expire(session, client).await;
        return ended.map(drop);
    };
    cloud.sessions.end(&session.id);
    let closed = closed(&session.id, &session.instance, reason);
    websocket::write(&mut writer, Outgoing::Binary(&closed)).await?;
    websocket::write(&mut writer, Outgoing::Close).await
}

fn admitted(session: &Session, text: &[u8]) -> Option<CancellationToken> {
    let introduction: Introduction = serde_json::from_slice(text).ok()?;
    session.admit(&introduction.token_value)
}

/// Carries the data of a session. Returns why the session has ended, or `None` if only
/// the connection has.
async fn carry(
    cloud: &Cloud,
    session: &Session,
    writer: &mut (impl AsyncWrite + Unpin),
    received: &mut mpsc::Receiver<Incoming>,
) -> io::Result<Option<&'static str>> {
    let mut link = session.link.lock().await;
    let link = &mut *link;
    if link.sent == 0 {
        link.request_handshake(session.port);
    }
    for part in &mut link.on_the_way {
        part.at = Instant::now();
        websocket::write(writer, Outgoing::Binary(&part.message)).await?;
    }
    let mut tick = tokio::time::interval(TICK);
    let mut buffer = [0; PART];
    while link.over.is_none() || !link.on_the_way.is_empty() {
        let has_window = link.on_the_way.len() < WINDOW;
        let has_room = link.inbox.len() < ROOM;
        tokio::select! {
            message = received.recv(), if has_room => match message {
                None => return Ok(None),
                Some(Incoming::Ping(content)) => {
                    websocket::write(writer, Outgoing::Pong(&content)).await?;
                }
                Some(Incoming::Text(_)) => {}
                Some(Incoming::Binary(bytes)) => {
                    for message in link.take(cloud, session, &bytes).await? {
                        websocket::write(writer, Outgoing::Binary(&message)).await?;
                    }
                }
            },
            read = read_some(link.reader.as_mut(), &mut buffer), if has_window => {
                if let Some(message) = link.pass(read.ok().map(|length| &buffer[..length])) {
                    websocket::write(writer, Outgoing::Binary(&message)).await?;
                }
            }
            written = write_some(link.writer.as_mut(), &link.inbox) => match written {
                Ok(length) => link.inbox.advance(length),
                // The port is closed. What it sent before still goes to the plugin.
                Err(_) => link.writer = None,
            },
            _ = tick.tick() => if let Some(message) = link.overdue() {
                websocket::write(writer, Outgoing::Binary(message)).await?;
            },
        }
    }
    Ok(link.over)
}

async fn read_some(from: Option<&mut OwnedReadHalf>, buffer: &mut [u8]) -> io::Result<usize> {
    match from {
        Some(from) => from.read(buffer).await,
        None => std::future::pending().await,
    }
}

async fn write_some(to: Option<&mut OwnedWriteHalf>, bytes: &[u8]) -> io::Result<usize> {
    match to {
        Some(to) if !bytes.is_empty() => to.write(bytes).await,
        _ => std::future::pending().await,
    }
}

impl Link {
    /// Adds the agent's first message: it asks for a session with a port.
    fn request_handshake(&mut self, port: u16) {
        let content = json!({
            "AgentVersion": VERSION,
            "RequestedClientActions": [{
                "ActionType": "SessionType",
                "ActionParameters": {
                    "SessionType": "Port",
                    "Properties": { "portNumber": port.to_string() },
                },
            }],
        });
        self.send(Payload::HandshakeRequest, content.to_string().as_bytes());
    }

    /// Adds a part to the agent's stream, and returns its message.
    fn send(&mut self, payload: Payload, content: &[u8]) -> Vec<u8> {
        let message = output(self.sent, payload, content);
        self.on_the_way.push_back(Part {
            sequence: self.sent,
            message: message.clone(),
            at: Instant::now(),
        });
        self.sent += 1;
        message
    }

    /// Adds what the port has sent. At its end, the session is over.
    fn pass(&mut self, read: Option<&[u8]>) -> Option<Vec<u8>> {
        match read {
            Some(content) if !content.is_empty() => Some(self.send(Payload::Data, content)),
            _ => {
                self.reader = None;
                self.over = Some("");
                None
            }
        }
    }

    /// Returns the oldest part, if it was not acknowledged in time.
    fn overdue(&mut self) -> Option<&[u8]> {
        let first = self.on_the_way.front_mut()?;
        if first.at.elapsed() < ACKNOWLEDGED_WITHIN {
            return None;
        }
        first.at = Instant::now();
        Some(&first.message)
    }

    /// Handles a message of the plugin. Returns the messages that answer it.
    async fn take(
        &mut self,
        cloud: &Cloud,
        session: &Session,
        bytes: &[u8],
    ) -> io::Result<Vec<Vec<u8>>> {
        let mut answers = Vec::new();
        let (id, sequence, payload, content) = match FromPlugin::read(bytes) {
            Some(FromPlugin::Input {
                id,
                sequence,
                payload,
                content,
            }) => (id, sequence, payload, content),
            Some(FromPlugin::Acknowledged(sequence)) => {
                self.on_the_way.retain(|part| part.sequence != sequence);
                return Ok(answers);
            }
            Some(FromPlugin::Other) => return Ok(answers),
            None => {
                let message = "the client sent a malformed message";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        };
        // A part that comes too early is not acknowledged, so it comes again.
        if sequence > self.received {
            return Ok(answers);
        }
        answers.push(acknowledgement(id, sequence));
        if sequence < self.received {
            return Ok(answers);
        }
        self.received += 1;
        match payload {
            Payload::HandshakeResponse => {
                self.connect(cloud, session).await;
                if self.over.is_none() {
                    let content = br#"{"HandshakeTimeToComplete":0,"CustomerMessage":""}"#;
                    answers.push(self.send(Payload::HandshakeComplete, content));
                }
            }
            Payload::Data => self.inbox.extend_from_slice(&content),
            Payload::HandshakeRequest | Payload::HandshakeComplete | Payload::Other => {}
        }
        Ok(answers)
    }

    /// Connects to the port.
    async fn connect(&mut self, cloud: &Cloud, session: &Session) {
        match dial(cloud, session).await {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                (self.reader, self.writer) = (Some(reader), Some(writer));
            }
            Err(error) => {
                log::debug!("{} port {}: {error}", session.instance, session.port);
                self.over =
                    Some("Connection to destination port failed, check SSH configurations.");
            }
        }
    }
}

async fn dial(cloud: &Cloud, session: &Session) -> io::Result<UnixStream> {
    let machines = cloud.machines.as_ref();
    let machines = machines.ok_or_else(|| io::Error::other("the instance has no machine"))?;
    machines.dial(&session.instance, session.port).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(link: &Link) -> Vec<i64> {
        link.on_the_way.iter().map(|part| part.sequence).collect()
    }

    #[test]
    fn a_part_is_sent_again_until_it_is_acknowledged() {
        let mut link = Link::default();
        link.request_handshake(22);
        link.pass(Some(b"SSH-2.0\r\n"));
        assert_eq!(sequences(&link), [0, 1]);
        assert!(link.overdue().is_none());
        link.on_the_way[0].at -= ACKNOWLEDGED_WITHIN;
        let first = link.on_the_way[0].message.clone();
        assert_eq!(link.overdue(), Some(&first[..]));
        assert!(link.overdue().is_none());
        assert!(link.pass(Some(b"")).is_none() && link.over == Some(""));
    }
}
