//! The messages on a data channel of Session Manager, in the binary format of the
//! agent and of the session-manager-plugin (its `message/clientmessage.go`).

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::clock;

/// The length of the header up to the payload's length, which the header states.
const HEADER: usize = 116;

/// Offsets of the fields that are read.
const TYPE: std::ops::Range<usize> = 4..36;
const SEQUENCE: usize = 48;
const PAYLOAD_TYPE: usize = 112;

/// Types of messages.
const INPUT: &str = "input_stream_data";
const OUTPUT: &str = "output_stream_data";
const ACKNOWLEDGE: &str = "acknowledge";
const CLOSED: &str = "channel_closed";

/// What a message of a stream contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Data = 1,
    HandshakeRequest = 5,
    HandshakeResponse = 6,
    HandshakeComplete = 7,
    /// Anything else, such as the size of a terminal.
    Other = 0,
}

impl Payload {
    fn read(number: u32) -> Self {
        match number {
            1 => Self::Data,
            5 => Self::HandshakeRequest,
            6 => Self::HandshakeResponse,
            7 => Self::HandshakeComplete,
            _ => Self::Other,
        }
    }
}

/// A message of the plugin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromPlugin {
    /// A part of its stream.
    Input {
        id: [u8; 16],
        sequence: i64,
        payload: Payload,
        content: Vec<u8>,
    },
    /// It has received a part of the agent's stream.
    Acknowledged(i64),
    /// A message that needs no answer.
    Other,
}

impl FromPlugin {
    /// Reads a message. Returns `None` if it is malformed.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        // The header may be longer in a later version.
        let header = usize::try_from(number(0)?).ok()?;
        let kind = std::str::from_utf8(bytes.get(TYPE)?).ok()?;
        let content = bytes.get(header.checked_add(4)?..)?;
        match kind.trim_matches([' ', '\0']) {
            INPUT => Some(Self::Input {
                // The halves of the id are swapped.
                id: [bytes.get(72..80)?, bytes.get(64..72)?]
                    .concat()
                    .try_into()
                    .ok()?,
                sequence: i64::from_be_bytes(bytes.get(SEQUENCE..SEQUENCE + 8)?.try_into().ok()?),
                payload: Payload::read(number(PAYLOAD_TYPE)?),
                content: content.to_vec(),
            }),
            ACKNOWLEDGE => {
                let content: Value = serde_json::from_slice(content).ok()?;
                let sequence = content["AcknowledgedMessageSequenceNumber"].as_i64();
                sequence.map(Self::Acknowledged)
            }
            _ => Some(Self::Other),
        }
    }
}

/// Returns a part of the agent's stream.
pub(super) fn output(sequence: i64, payload: Payload, content: &[u8]) -> Vec<u8> {
    message(OUTPUT, sequence, 0, payload as u32, content)
}

/// Returns the acknowledgement of a part of the plugin's stream.
pub(super) fn acknowledgement(id: [u8; 16], sequence: i64) -> Vec<u8> {
    let content = json!({
        "AcknowledgedMessageType": INPUT,
        "AcknowledgedMessageId": uuid(id),
        "AcknowledgedMessageSequenceNumber": sequence,
        "IsSequentialMessage": true,
    });
    // Its flags are those of a stream of one message.
    message(ACKNOWLEDGE, 0, 3, 0, content.to_string().as_bytes())
}

/// Returns the message that the session has ended, with the reason.
pub(super) fn closed(session: &str, instance: &str, reason: &str) -> Vec<u8> {
    let content = json!({
        "MessageId": uuid(rand::random()),
        "CreatedDate": clock::millis().to_string(),
        "DestinationId": instance,
        "SessionId": session,
        "MessageType": CLOSED,
        "SchemaVersion": 1,
        "Output": reason,
    });
    message(CLOSED, 0, 3, 0, content.to_string().as_bytes())
}

fn message(kind: &str, sequence: i64, flags: u64, payload: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 4 + content.len());
    bytes.extend(116_u32.to_be_bytes());
    bytes.extend(format!("{kind:<32}").as_bytes());
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend(clock::millis().to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    bytes.extend(rand::random::<[u8; 16]>());
    bytes.extend(digest(&SHA256, content).as_ref());
    bytes.extend(payload.to_be_bytes());
    bytes.extend(
        u32::try_from(content.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    bytes.extend(content);
    bytes
}

fn uuid(bytes: [u8; 16]) -> String {
    let digits = hex::encode(bytes);
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    groups.map(|group| &digits[group]).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let written = message(INPUT, 7, 0, 1, b"hello");
        let Some(FromPlugin::Input {
            sequence,
            payload,
            content,
            ..
        }) = FromPlugin::read(&written)
        else {
            panic!("{written:?}");
        };
        assert_eq!((sequence, payload), (7, Payload::Data));
        assert_eq!(content, b"hello");
        let acknowledged = FromPlugin::read(&acknowledgement([0; 16], 7));
        assert_eq!(acknowledged, Some(FromPlugin::Acknowledged(7)));
        let other = FromPlugin::read(&closed("s", "i-1", "done"));
        assert_eq!(other, Some(FromPlugin::Other));
    }

    #[test]
    fn the_header_is_that_of_the_agent() {
        let written = output(2, Payload::HandshakeRequest, b"{}");
        assert_eq!(written.len(), 120 + 2);
        assert_eq!(written[..4], [0, 0, 0, 116]);
        assert_eq!(&written[TYPE], b"output_stream_data              ");
        assert_eq!(written[SEQUENCE + 7], 2);
        assert_eq!(written[80..112], *digest(&SHA256, b"{}").as_ref());
        assert_eq!(written[PAYLOAD_TYPE..120], [0, 0, 0, 5, 0, 0, 0, 2]);
    }

    #[test]
    fn an_id_is_that_of_its_text() {
        // The plugin writes the second half first.
        let mut written = message(INPUT, 0, 0, 1, b"");
        written[64..72].copy_from_slice(&[8, 9, 10, 11, 12, 13, 14, 15]);
        written[72..80].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6, 7]);
        let Some(FromPlugin::Input { id, .. }) = FromPlugin::read(&written) else {
            panic!("{written:?}");
        };
        assert_eq!(uuid(id), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn a_malformed_message_is_none() {
        let good = message(INPUT, 0, 0, 1, b"a");
        for length in [0, 3, 40, 100, 119] {
            assert_eq!(FromPlugin::read(&good[..length]), None, "{length}");
        }
        let mut endless = good;
        endless[..4].copy_from_slice(&[255; 4]);
        assert_eq!(FromPlugin::read(&endless), None);
    }
}
