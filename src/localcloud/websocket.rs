//! The server's side of the WebSocket protocol (RFC 6455), as far as the clients of
//! data channels use it: whole messages in one frame each, without extensions.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Response, StatusCode};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use s3s::Body;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What the protocol adds to the key of a client.
const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The longest message of a client.
const LONGEST: usize = 64 << 10;

/// Codes of frames.
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The bit of the last frame of a message, and that of a masked frame.
const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    /// The client wants to know whether the server is there.
    Ping(Vec<u8>),
}

/// A message for a client.
#[derive(Debug)]
pub(crate) enum Outgoing<'a> {
    Binary(&'a [u8]),
    Pong(&'a [u8]),
    Close,
}

/// Returns the response that opens a connection, or `None` if the request does not
/// ask for one.
pub(crate) fn opening(headers: &HeaderMap) -> Option<Response<Body>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let has = |name: &str, word: &str| {
        let mut words = text(name).into_iter().flat_map(|value| value.split(','));
        words.any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    let is_asked = has("connection", "upgrade")
        && has("upgrade", "websocket")
        && text("sec-websocket-version") == Some("13");
    let key = text("sec-websocket-key").filter(|_| is_asked)?;
    let mut response = Response::new(Body::from(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accepted = HeaderValue::from_str(&accepted(key)).ok()?;
    headers.insert("sec-websocket-accept", accepted);
    Some(response)
}

/// Returns the answer to the key of a client.
fn accepted(key: &str) -> String {
    let key = format!("{key}{SUFFIX}");
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes()))
}

/// Reads a message. Returns `None` at the end.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Incoming>> {
    loop {
        let Some((code, payload)) = frame(from).await? else {
            return Ok(None);
        };
        return match code {
            TEXT => Ok(Some(Incoming::Text(payload))),
            BINARY => Ok(Some(Incoming::Binary(payload))),
            PING => Ok(Some(Incoming::Ping(payload))),
            CLOSE => Ok(None),
            PONG => continue,
            _ => Err(invalid("a frame of another kind")),
        };
    }
}

/// Reads a frame: its code and its payload.
async fn frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 2];
    match from.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => {
            read?;
        }
    }
    let [first, second] = head;
    if first & 0xF0 != LAST || second & MASKED == 0 {
        return Err(invalid(
            "a frame that is a part, is extended or is not masked",
        ));
    }
    let length = match second & !MASKED {
        126 => u64::from(from.read_u16().await?),
        127 => from.read_u64().await?,
        short => u64::from(short),
    };
    let length = usize::try_from(length).ok();
    let length = length.filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| invalid("a message that is too long"))?;
    let mut mask = [0; 4];
    from.read_exact(&mut mask).await?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    let masks = mask.iter().cycle();
    payload
        .iter_mut()
        .zip(masks)
        .for_each(|(byte, mask)| *byte ^= mask);
    Ok(Some((first & 0x0F, payload)))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the client sent {what}"),
    )
}

/// Writes a message.
pub(crate) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    message: Outgoing<'_>,
) -> io::Result<()> {
    let (code, payload) = match message {
        Outgoing::Binary(payload) => (BINARY, payload),
        Outgoing::Pong(payload) => (PONG, payload),
        // A normal end.
        Outgoing::Close => (CLOSE, &1000_u16.to_be_bytes()[..]),
    };
    let mut frame = vec![LAST | code];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    to.write_all(&frame).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a frame as a client sends it.
    fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        if let Ok(length @ ..126) = u8::try_from(payload.len()) {
            frame.push(MASKED | length);
        } else {
            frame.push(MASKED | 0x7E);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        frame.extend(mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    #[test]
    fn a_request_is_accepted_as_in_the_specification() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let response = opening(&headers).unwrap();
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        headers.remove("upgrade");
        assert!(opening(&headers).is_none());
    }

    #[tokio::test]
    async fn messages_are_unmasked() {
        let long = vec![7; 300];
        let all = [
            sent(LAST | TEXT, b"{}"),
            sent(LAST | PONG, b""),
            sent(LAST | BINARY, &long),
            sent(LAST | PING, b"keepalive"),
            sent(LAST | CLOSE, b""),
        ];
        let all = all.concat();
        let mut from = all.as_slice();
        assert_eq!(
            read(&mut from).await.unwrap(),
            Some(Incoming::Text(b"{}".to_vec()))
        );
        assert_eq!(read(&mut from).await.unwrap(), Some(Incoming::Binary(long)));
        let ping = Incoming::Ping(b"keepalive".to_vec());
        assert_eq!(read(&mut from).await.unwrap(), Some(ping));
        assert_eq!(read(&mut from).await.unwrap(), None);
        assert_eq!(read(&mut from).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_the_protocol_forbids_is_refused() {
        let unmasked = [LAST | TEXT, 2, b'{', b'}'];
        let part = sent(TEXT, b"{}");
        let endless = [
            LAST | BINARY,
            MASKED | 127,
            255,
            255,
            255,
            255,
            255,
            255,
            255,
            255,
        ];
        let unknown = sent(LAST | 0x3, b"");
        for bytes in [&unmasked[..], &part, &endless, &unknown] {
            let refused = read(&mut &*bytes).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn lengths_have_three_forms() {
        for (length, head) in [
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (70_000, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ] {
            let mut written = Vec::new();
            let payload = vec![0; length];
            write(&mut written, Outgoing::Binary(&payload))
                .await
                .unwrap();
            assert_eq!(written[..head.len()], head[..], "{length}");
            assert_eq!(written.len(), head.len() + length);
        }
    }
}
