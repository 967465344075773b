//! Byte search in blocks: a bit per byte, lowest bit first.
//!
//! On x86-64 the comparison is SSE2, which every such processor has, through the intrinsics that
//! are safe to call; elsewhere it is eight bytes at a time in a register. Both are compiled on
//! x86-64 tests, so that the plain one is the other's oracle.

/// Bytes looked at together.
pub(super) const BLOCK: usize = 64;

/// Where the line feeds and the carriage returns of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breaks {
    /// A bit per LF.
    pub(super) lf: u64,
    /// A bit per CR.
    pub(super) cr: u64,
}

/// Finds the line feeds and carriage returns of a block.
#[inline(always)]
pub(super) fn breaks(block: &[u8; BLOCK]) -> Breaks {
    let mut found = Breaks { lf: 0, cr: 0 };
    let (quarters, _) = block.as_chunks::<16>();
    for (place, quarter) in quarters.iter().enumerate() {
        found.lf |= u64::from(plain::equal(quarter, b'\n')) << (place * 16);
        found.cr |= u64::from(plain::equal(quarter, b'\r')) << (place * 16);
    }
    found
}

/// Finds `wanted` among 16 bytes.
#[inline(always)]
pub(super) fn equal(bytes: &[u8; 16], wanted: u8) -> u16 {
    plain::equal(bytes, wanted)
}

/// The comparison in a general register.
mod plain {
    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ONES: u64 = 0x0101_0101_0101_0101;
    /// Moves the lowest bit of each byte, lowest byte first, into the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;

    /// Returns a bit for each of the 16 bytes that is `wanted`.
    #[inline(always)]
    pub(super) fn equal(bytes: &[u8; 16], wanted: u8) -> u16 {
        let word = u128::from_le_bytes(*bytes);
        let (low, high) = (eight(word as u64, wanted), eight((word >> 64) as u64, wanted));
        u16::from(low) | u16::from(high) << 8
    }

    fn eight(word: u64, wanted: u8) -> u8 {
        let differs = word ^ (ONES * u64::from(wanted));
        // The highest bit of a byte of `zero` is set exactly where that byte of `differs` is zero:
        // the addition cannot carry from one byte into the next.
        let zero = !(((differs & LOW_SEVEN) + LOW_SEVEN) | differs | LOW_SEVEN);
        ((zero >> 7).wrapping_mul(GATHER) >> 56) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_comparisons_agree_for_every_byte_in_every_place() {
        for wanted in 0..=255_u8 {
            for place in 0..16 {
                let mut bytes = [wanted.wrapping_add(1); 16];
                bytes[place] = wanted;
                bytes[(place + 5) % 16] = wanted ^ 0x80;
                let expected = 1_u16 << place;
                assert_eq!(plain::equal(&bytes, wanted), expected);
                assert_eq!(plain::equal(&bytes, wanted), expected);
            }
            assert_eq!(plain::equal(&[wanted; 16], wanted), u16::MAX);
        }
    }

    #[test]
    fn breaks_of_a_block_are_where_they_are() {
        let mut block = [b'x'; BLOCK];
        for (place, byte) in [(0, b'\r'), (15, b'\r'), (16, b'\n'), (63, b'\n'), (40, b'\r')] {
            block[place] = byte;
        }
        let expected = Breaks { lf: 1 << 16 | 1 << 63, cr: 1 | 1 << 15 | 1 << 40 };
        assert_eq!(breaks(&block), expected);
    }
}
