//! Parses and writes SFTP's packets: a sequence of big-endian numbers and of strings
//! with their lengths. `files` executes the requests.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The maximum length of a packet, as in OpenSSH.
pub(super) const MAX_PACKET: usize = 256 * 1024;

/// The error for a packet that ends too early or contains a wrong length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a received packet that have not been parsed yet.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.take().map(u8::from_be_bytes)
    }

    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()? as usize;
        let (field, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(field)
    }

    /// Parses a path. An empty path is the working directory of the server.
    pub(super) fn path(&mut self) -> Result<&'a Path, Malformed> {
        let path = self.string()?;
        let path = if path.is_empty() { b"." } else { path };
        Ok(Path::new(OsStr::from_bytes(path)))
    }
}

/// A packet to send. Its first nine bytes are the length, the type and the id of the
/// request. [`Packet::finish`] sets the length and the id.
pub(super) struct Packet(Vec<u8>);

impl Packet {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind, 0, 0, 0, 0])
    }

    pub(super) fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        // The length fits in 32 bits: no field is longer than a packet.
        let mut packet = self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        packet.0.extend_from_slice(bytes);
        packet
    }

    /// Sets the number of names after they have been appended.
    pub(super) fn count(mut self, names: u32) -> Self {
        // The number is the first field after the id of the request.
        if let Some(field) = self.0.get_mut(9..13) {
            field.copy_from_slice(&names.to_be_bytes());
        }
        self
    }

    /// Returns the finished packet, the answer to the request with this id.
    pub(super) fn finish(mut self, id: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0[5..9].copy_from_slice(&id.to_be_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind;
    use super::*;

    #[test]
    fn written_packets_can_be_parsed() {
        let packet = Packet::new(kind::DATA)
            .long(1 << 40)
            .string("abc")
            .finish(7);
        let mut fields = Fields(&packet);
        assert_eq!(fields.number(), Ok(1 + 4 + 8 + 7));
        assert_eq!(fields.byte(), Ok(kind::DATA));
        assert_eq!(fields.number(), Ok(7));
        assert_eq!(fields.long(), Ok(1 << 40));
        assert_eq!(fields.string(), Ok(b"abc".as_slice()));
        assert_eq!(fields.byte(), Err(Malformed));
    }

    #[test]
    fn lengths_beyond_the_packet_are_malformed() {
        assert_eq!(Fields(&[0xff; 8]).string(), Err(Malformed));
        assert_eq!(Fields(&[0, 0, 0]).number(), Err(Malformed));
    }
}
