//! Cyclic redundancy checks of texts in a row, made of those of each: nothing is
//! read again.

/// The cyclic redundancy check of two texts in a row: that of the first is
/// moved along by as many zero bits as the second has, by squaring.
pub(super) fn combine(
    polynomial: u64,
    bits: u32,
    first: u64,
    second: u64,
    second_bytes: u64,
) -> u64 {
    // One zero bit, in the reflected representation.
    let mut step = 1 << (bits - 2);
    let mut moved = 1 << (bits - 1);
    let mut remaining = u128::from(second_bytes) * 8;
    while remaining > 0 {
        if remaining & 1 == 1 {
            moved = multiply(polynomial, bits, moved, step);
        }
        step = multiply(polynomial, bits, step, step);
        remaining >>= 1;
    }
    multiply(polynomial, bits, moved, first) ^ second
}

/// Product of two reflected polynomials.
fn multiply(polynomial: u64, bits: u32, a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    for bit in (0..bits).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = match b & 1 {
            1 => b >> 1 ^ polynomial,
            _ => b >> 1,
        };
    }
    product
}

#[cfg(test)]
mod tests {
    use s3s::crypto::Crc32;

    use super::*;

    #[test]
    fn hello_and_world_make_hello_world() {
        let crc = |text: &[u8]| u64::from(Crc32::checksum_u32(text));
        let both = combine(0xEDB8_8320, 32, crc(b"hello"), crc(b" world"), 6);
        assert_eq!(both, 0x0D4A_1185);
        assert_eq!(both, crc(b"hello world"));
    }
}
