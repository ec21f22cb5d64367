//! Divides an object into parts, by S3's limits.

use crate::error::{Error, Result};
use crate::report::text;

/// S3's maximum number of parts.
const MOST: u64 = 10_000;

/// S3's maximum size of a part, and of an object that one request copies.
pub(super) const LARGEST: u64 = 5 << 30;

/// Part sizes are multiples of this.
const UNIT: u64 = 1 << 20;

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its number, from 1.
    pub(super) number: i32,
    /// The position of its first byte.
    pub(super) offset: u64,
    /// Its length in bytes.
    pub(super) length: u64,
}

impl Piece {
    /// Returns all of an object of this size.
    pub(super) fn whole(size: u64) -> Self {
        Self {
            number: 1,
            offset: 0,
            length: size,
        }
    }

    /// Returns the part as HTTP writes a range.
    pub(super) fn range(self) -> String {
        format!("bytes={}-{}", self.offset, self.offset + self.length - 1)
    }
}

/// Divides `size` bytes into parts of `usual` bytes, or into larger parts if
/// there would be too many.
///
/// Throws `invalid_option` if S3 cannot store an object of this size.
pub(super) fn pieces(size: u64, usual: u64) -> Result<Vec<Piece>> {
    let each = usual.max(size.div_ceil(MOST).next_multiple_of(UNIT));
    if each > LARGEST {
        return Err(Error::invalid(format!(
            "an object of {} is too large: S3 stores up to {}",
            text::bytes(size),
            text::bytes(MOST * LARGEST)
        ))
        .hint("split the file"));
    }
    let starts = (0..size).step_by(usize::try_from(each).unwrap_or(usize::MAX));
    Ok((1..)
        .zip(starts)
        .map(|(number, offset)| Piece {
            number,
            offset,
            length: each.min(size - offset),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_complete_and_within_the_limits() {
        let usual = 16 << 20;
        for size in [
            1,
            usual,
            usual + 1,
            MOST * usual,
            MOST * usual + 1,
            5 << 30,
            (5 << 40) - 7,
            MOST * LARGEST,
        ] {
            let all = pieces(size, usual).unwrap();
            assert!(all.len() as u64 <= MOST, "{size}");
            let mut end = 0;
            for (piece, number) in all.iter().zip(1..) {
                assert_eq!((piece.number, piece.offset), (number, end));
                assert!(piece.length <= LARGEST && piece.length > 0);
                end += piece.length;
            }
            assert_eq!(end, size);
            let (_, but_last) = all.split_last().unwrap();
            assert!(but_last.iter().all(|piece| piece.length >= 5 << 20));
        }
        assert_eq!(pieces(0, usual), Ok(vec![]));
        assert!(pieces(MOST * LARGEST + 1, usual).is_err());
        let last = *pieces(usual + 3, usual).unwrap().last().unwrap();
        assert_eq!(last.range(), "bytes=16777216-16777218");
    }
}
