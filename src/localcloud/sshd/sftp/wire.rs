//! SFTP's packets: fields in order, big-endian, strings with their length. What a
//! request does is in `files`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest packet that is accepted, as in OpenSSH.
pub(super) const MAX_PACKET: usize = 256 * 1024;

/// A packet ends too early, or a length in it is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a received packet that are still to be read.
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

    /// A path. The empty one is the directory the server runs in.
    pub(super) fn path(&mut self) -> Result<&'a Path, Malformed> {
        let path = self.string()?;
        let path = if path.is_empty() { b"." } else { path };
        Ok(Path::new(OsStr::from_bytes(path)))
    }
}

/// A packet to be sent. Its first nine bytes are filled in by [`Packet::finish`]:
/// length, kind and the number of the request.
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
        // The length fits: no field is longer than the longest packet.
        let mut packet = self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        packet.0.extend_from_slice(bytes);
        packet
    }

    /// Sets how many names follow, once that is known.
    pub(super) fn count(mut self, names: u32) -> Self {
        // The first field behind the number of the request.
        if let Some(place) = self.0.get_mut(9..13) {
            place.copy_from_slice(&names.to_be_bytes());
        }
        self
    }

    /// The finished packet: the answer to the request of this number.
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
    fn what_is_written_can_be_read() {
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
