//! Netlink: encodes attributes and messages, and parses the kernel's answers. The
//! firewall sends its messages as a batch in one datagram.

use std::io;
use std::sync::{Mutex, PoisonError};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBufForce;

/// The type of an answer: an error, or an acknowledgement if its code is 0.
const NLMSG_ERROR: u16 = 2;
/// The type of the message after the last one of a list.
const NLMSG_DONE: u16 = 3;
/// The flag of an answer that repeats only the header of the request.
const NLM_F_CAPPED: u16 = 0x100;
/// The flag of an answer with attributes.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// The attribute with the kernel's error message.
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_ACK: u16 = 4;

/// The length of a message header.
const HEADER: usize = 16;

/// The alignment of messages and attributes.
const ALIGNMENT: usize = 4;

/// The overhead, beyond the messages, that counts toward a socket's send
/// buffer.
const BUFFER_OVERHEAD: usize = 64 * 1024;

/// Encodes messages and their attributes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// The offset of the last message.
    last: usize,
    /// Whether a message or attribute is longer than its length field allows.
    too_long: bool,
}

impl Writer {
    /// Adds a message. `body` writes everything after the header.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        body(self);
        match u32::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
    }

    /// Requests an answer to the last message even if it succeeds.
    pub(super) fn demand_answer(&mut self) {
        let flags = self.last + 6;
        if let Some(bytes) = self.bytes.get_mut(flags..flags + 2) {
            for (byte, bit) in bytes.iter_mut().zip(NLM_F_ACK.to_ne_bytes()) {
                *byte |= bit;
            }
        }
    }

    /// Adds bytes that are not an attribute.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.align();
    }

    /// Adds an attribute with bytes.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |writer| writer.bytes.extend(value));
    }

    /// Adds an attribute with a number, in network byte order as nf_tables
    /// expects.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Adds an attribute with a NUL-terminated text.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |writer| {
            writer.bytes.extend(value.as_bytes());
            writer.bytes.push(0);
        });
    }

    /// Adds an attribute that contains attributes.
    pub(super) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.attribute(kind | NLA_F_NESTED, body);
    }

    fn attribute(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        body(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
        self.align();
    }

    fn align(&mut self) {
        let aligned = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(aligned, 0);
    }

    /// Returns the messages. Fails if a length did not fit.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        if self.too_long {
            Err(io::Error::other("a netlink message is too long"))
        } else {
            Ok(self.bytes)
        }
    }
}

/// The kernel's answer to one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) sequence: u32,
    /// The error number, 0 for success.
    pub(super) code: i32,
    /// The kernel's error message, if it has one.
    pub(super) message: Option<String>,
}

/// A connection to the kernel's nf_tables in one network namespace.
#[derive(Debug)]
pub(super) struct Kernel(Mutex<Socket>);

impl Kernel {
    /// Opens a connection in the network namespace of the current thread. Its
    /// namespace does not depend on the threads that use it later.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        // An older kernel without these options has shorter errors.
        for set in [socket.set_ext_ack(true), socket.set_cap_ack(true)] {
            if let Err(error) = set {
                log::debug!("the kernel cannot describe netlink errors: {error}");
            }
        }
        Ok(Self(Mutex::new(socket)))
    }

    /// Sends a batch, which the kernel applies as a whole or not at all, and
    /// reads all answers.
    pub(super) fn send(&self, batch: &[u8]) -> io::Result<Vec<Answer>> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        setsockopt(&*socket, SndBufForce, &(2 * batch.len() + BUFFER_OVERHEAD))?;
        socket.send(batch, 0)?;
        read_answers(&socket)
    }
}

/// Reads the answers. The kernel processes a batch during `send`, so all
/// answers are available. The socket's buffer bounds their number.
fn read_answers(socket: &Socket) -> io::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    loop {
        let mut datagram = Vec::with_capacity(8192);
        match socket.recv(&mut datagram, nix::libc::MSG_DONTWAIT) {
            Ok(_) => answers.extend(parse(&datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // More errors than the buffer holds: the first ones suffice.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A message of the kernel.
#[derive(Debug)]
pub(super) struct Message {
    kind: u16,
    flags: u16,
    sequence: u32,
    /// What follows the header.
    pub(super) body: Vec<u8>,
}

/// Splits a datagram into its messages. Drops one that is truncated.
pub(super) fn messages(mut datagram: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(length) = u32_at(datagram, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(bytes) = datagram.get(..length).filter(|_| length >= HEADER) else {
            break;
        };
        let (Some(kind), Some(flags), Some(sequence)) =
            (u16_at(bytes, 4), u16_at(bytes, 6), u32_at(bytes, 8))
        else {
            break;
        };
        all.push(Message {
            kind,
            flags,
            sequence,
            body: bytes[HEADER..].to_vec(),
        });
        let next = length.next_multiple_of(ALIGNMENT).min(datagram.len());
        datagram = &datagram[next..];
    }
    all
}

impl Message {
    /// Returns the number in the body at this offset.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        u32_at(&self.body, at)
    }

    /// Returns the outcome of a request, if this message tells it.
    pub(super) fn outcome(&self) -> Option<io::Result<()>> {
        if self.kind == NLMSG_DONE {
            return Some(Ok(()));
        }
        let answer = self.answer()?;
        Some(match (answer.code, answer.message) {
            (0, _) => Ok(()),
            (code, None) => Err(io::Error::from_raw_os_error(code)),
            (code, Some(text)) => {
                let error = io::Error::from_raw_os_error(code);
                log::debug!("netlink: {error}: {text}");
                Err(error)
            }
        })
    }

    /// Returns the answer to a request, if this is one.
    fn answer(&self) -> Option<Answer> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let code = self.number(0)?.cast_signed();
        let repeated = match self.flags & NLM_F_CAPPED {
            0 => usize::try_from(self.number(4)?).ok()?,
            _ => HEADER,
        };
        let attributes = if self.flags & NLM_F_ACK_TLVS == 0 {
            None
        } else {
            let start = 4_usize.checked_add(repeated.next_multiple_of(ALIGNMENT))?;
            self.body.get(start..)
        };
        Some(Answer {
            sequence: self.sequence,
            code: code.saturating_neg(),
            message: attributes.and_then(|bytes| text_of(bytes, NLMSGERR_ATTR_MSG)),
        })
    }
}

/// Parses the answers in a datagram.
fn parse(datagram: &[u8]) -> Vec<Answer> {
    let all = messages(datagram);
    all.iter().filter_map(Message::answer).collect()
}

/// The attributes of a message, kind and value.
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes after the struct at the beginning of a message.
    pub(super) fn after(message: &'a Message, header: usize) -> Self {
        Self(message.body.get(header..).unwrap_or_default())
    }

    /// Returns the value of the first attribute of a kind.
    pub(super) fn find(mut self, wanted: u16) -> Option<&'a [u8]> {
        Iterator::find(&mut self, |(kind, _)| *kind == wanted).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let value = self.0.get(4..length)?;
        let kind = u16_at(self.0, 2)? & NLA_TYPE_MASK;
        self.0 = self
            .0
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some((kind, value))
    }
}

/// Returns the text of the first attribute of a kind.
fn text_of(attributes: &[u8], kind: u16) -> Option<String> {
    let value = Attributes(attributes).find(kind)?;
    let text = value.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_have_the_length_of_their_content() {
        let mut writer = Writer::default();
        writer.nested(3, |writer| {
            writer.text(1, "to0");
            writer.bytes(2, &[7]);
            writer.number(4, 0x0102_0304);
        });
        let mut wanted = Vec::new();
        wanted.extend(28_u16.to_ne_bytes());
        wanted.extend(0x8003_u16.to_ne_bytes());
        wanted.extend(8_u16.to_ne_bytes());
        wanted.extend(1_u16.to_ne_bytes());
        wanted.extend(*b"to0\0");
        wanted.extend(5_u16.to_ne_bytes());
        wanted.extend(2_u16.to_ne_bytes());
        wanted.extend([7, 0, 0, 0]);
        wanted.extend(8_u16.to_ne_bytes());
        wanted.extend(4_u16.to_ne_bytes());
        wanted.extend([1, 2, 3, 4]);
        assert_eq!(writer.finish().unwrap(), wanted);
    }

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let mut writer = Writer::default();
        writer.bytes(1, &vec![0; 0x1_0000]);
        assert!(writer.finish().is_err());
    }

    fn error(flags: u16, code: i32, rest: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(NLMSG_ERROR, flags, 9, |writer| {
            writer.raw(&code.to_ne_bytes());
            writer.raw(rest);
        });
        writer.finish().unwrap()
    }

    fn repeated() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(1, 0, 9, |writer| writer.raw(&[1; 12]));
        writer.finish().unwrap()
    }

    #[test]
    fn answers_are_parsed_with_the_message_of_the_kernel() {
        let mut message = Writer::default();
        message.number(2, 20);
        message.text(NLMSGERR_ATTR_MSG, "No such chain");
        let message = message.finish().unwrap();
        let capped = [repeated()[..HEADER].to_vec(), message.clone()].concat();
        let whole = [repeated(), message].concat();
        let both = [
            error(NLM_F_CAPPED | NLM_F_ACK_TLVS, -2, &capped),
            error(NLM_F_ACK_TLVS, -2, &whole),
            error(NLM_F_CAPPED, 0, &repeated()[..HEADER]),
        ];
        let read = parse(&both.concat());
        let answer = |code: i32, message: Option<&str>| Answer {
            sequence: 9,
            code,
            message: message.map(str::to_owned),
        };
        let message = Some("No such chain");
        assert_eq!(
            read,
            [answer(2, message), answer(2, message), answer(0, None)]
        );
    }

    #[test]
    fn a_truncated_answer_is_ignored() {
        let whole = error(NLM_F_ACK_TLVS, -2, &repeated());
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), []);
        }
        let mut endless = whole;
        endless[..4].fill(0);
        assert_eq!(parse(&endless), []);
    }
}
