//! Checksums of whole objects that are combined from those of their parts.

use aws_sdk_s3::types::ChecksumType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

/// The checksum of uploads in parts: S3 itself combines it to that of the
/// object.
pub(super) const OF_UPLOADS: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

/// The checksum of a part of an object, with the length of the part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Crc {
    algorithm: CrcAlgorithm,
    value: u64,
    length: u64,
}

impl Crc {
    /// Returns the checksum of no bytes.
    pub(super) fn empty(algorithm: CrcAlgorithm) -> Self {
        Self {
            algorithm,
            value: Digest::new(algorithm).finalize(),
            length: 0,
        }
    }

    /// Decodes the checksum in a response.
    pub(super) fn decode(algorithm: CrcAlgorithm, text: &str, length: u64) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let mut value = [0; 8];
        let at = value.len() - width(algorithm);
        (bytes.len() == width(algorithm)).then(|| value[at..].copy_from_slice(&bytes))?;
        Some(Self {
            algorithm,
            value: u64::from_be_bytes(value),
            length,
        })
    }

    /// Encodes the checksum as in requests and responses.
    pub(super) fn encode(self) -> String {
        let bytes = self.value.to_be_bytes();
        STANDARD.encode(&bytes[bytes.len() - width(self.algorithm)..])
    }

    /// Returns the checksum of these bytes followed by those of `next`.
    pub(super) fn followed_by(self, next: Self) -> Self {
        Self {
            value: checksum_combine(self.algorithm, self.value, next.value, next.length),
            length: self.length + next.length,
            ..self
        }
    }
}

/// The calculation of a [`Crc`].
pub(super) struct Counting {
    algorithm: CrcAlgorithm,
    digest: Digest,
    length: u64,
}

impl Counting {
    pub(super) fn new(algorithm: CrcAlgorithm) -> Self {
        Self {
            algorithm,
            digest: Digest::new(algorithm),
            length: 0,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(super) fn finish(&self) -> Crc {
        Crc {
            algorithm: self.algorithm,
            value: self.digest.finalize(),
            length: self.length,
        }
    }
}

/// The checksum of a whole object, as S3 returned it.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) algorithm: CrcAlgorithm,
    text: String,
}

impl Whole {
    /// Chooses among the checksums of a response. Returns `None` if there is
    /// none, or if it is a checksum of the parts' checksums, which needs the
    /// boundaries of the parts.
    pub(super) fn choose(
        kind: Option<&ChecksumType>,
        values: [(CrcAlgorithm, Option<&str>); 3],
    ) -> Option<Self> {
        if kind == Some(&ChecksumType::Composite) {
            return None;
        }
        let mut known = values
            .into_iter()
            .filter_map(|(algorithm, text)| Some((algorithm, text?)));
        // Without its type, a composite checksum shows by the number of parts
        // after a hyphen.
        let (algorithm, text) = known.find(|(_, text)| !text.contains('-'))?;
        Some(Self {
            algorithm,
            text: text.to_owned(),
        })
    }

    /// Returns whether the object has this checksum.
    pub(super) fn matches(&self, crc: Crc) -> bool {
        self.text == crc.encode()
    }
}

fn width(algorithm: CrcAlgorithm) -> usize {
    match algorithm {
        CrcAlgorithm::Crc64Nvme => 8,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: CrcAlgorithm, bytes: &[u8]) -> Crc {
        let mut counting = Counting::new(algorithm);
        counting.update(bytes);
        counting.finish()
    }

    #[test]
    fn the_checksums_of_parts_combine_to_that_of_the_whole() {
        // The check values of the algorithms, for `123456789`.
        for (algorithm, text) in [
            (CrcAlgorithm::Crc64Nvme, "rosUhgp5mIg="),
            (CrcAlgorithm::Crc32IsoHdlc, "y/Q5Jg=="),
            (CrcAlgorithm::Crc32Iscsi, "4waSgw=="),
        ] {
            let parts = [&b"1234"[..], b"", b"56789"].map(|part| of(algorithm, part));
            let whole = parts
                .into_iter()
                .fold(Crc::empty(algorithm), Crc::followed_by);
            assert_eq!(whole.encode(), text);
            assert_eq!(Crc::decode(algorithm, text, 9), Some(whole));
            assert_eq!(Crc::decode(algorithm, "AAAA", 9), None);
        }
    }

    #[test]
    fn only_a_checksum_of_the_whole_object_is_compared() {
        let crc32 = |text| {
            [
                (CrcAlgorithm::Crc32IsoHdlc, Some(text)),
                (OF_UPLOADS, None),
                (OF_UPLOADS, None),
            ]
        };
        let whole = ChecksumType::FullObject;
        assert!(Whole::choose(Some(&whole), crc32("y/Q5Jg==")).is_some());
        assert!(Whole::choose(None, crc32("y/Q5Jg==")).is_some());
        assert!(Whole::choose(None, crc32("y/Q5Jg==-2")).is_none());
        assert!(Whole::choose(Some(&ChecksumType::Composite), crc32("y/Q5Jg==")).is_none());
    }
}
