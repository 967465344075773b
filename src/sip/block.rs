//! Byte search in blocks of 64, written so that the compiler makes vector instructions of it.
//!
//! The intrinsics that give a bit per byte in one instruction cannot be called without `unsafe`,
//! so the bits are gathered in two steps: byte `k` of row `j` of a block is compared, and its bit
//! lands in bit `j` of byte `k` of a word; then the eight by eight bits are mirrored, and bit `i`
//! stands for byte `i`.

/// Bytes looked at together.
pub(super) const BLOCK: usize = 64;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Returns a bit for each byte of `block` that is a line feed, the first byte's lowest.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "iterators here are not made vectors of")]
pub(super) fn line_feeds(block: &[u8; BLOCK]) -> u64 {
    let mut found = [0_u8; 16];
    for at in 0..16 {
        let bit = |at: usize| if block[at] == b'\n' { ROWS[at] } else { 0 };
        found[at] = bit(at) | bit(at + 16) | bit(at + 32) | bit(at + 48);
    }
    let both = u128::from_le_bytes(found);
    mirror(both as u64 | (both >> 64) as u64)
}

/// The bit of the row of eight that each byte of a block is in.
const ROWS: [u8; BLOCK] = {
    let mut rows = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        rows[at] = 1 << (at / 8);
        at += 1;
    }
    rows
};

/// Exchanges rows and columns of eight by eight bits (Hacker's Delight, section 7-3).
#[inline(always)]
const fn mirror(mut bits: u64) -> u64 {
    let swap = (bits ^ bits >> 7) & 0x00aa_00aa_00aa_00aa;
    bits ^= swap ^ swap << 7;
    let swap = (bits ^ bits >> 14) & 0x0000_cccc_0000_cccc;
    bits ^= swap ^ swap << 14;
    let swap = (bits ^ bits >> 28) & 0x0000_0000_f0f0_f0f0;
    bits ^ swap ^ swap << 28
}

/// Returns how many bytes of `block` are carriage returns.
#[inline(always)]
pub(super) fn carriage_returns(block: &[u8; BLOCK]) -> usize {
    usize::from(block.iter().map(|byte| u8::from(*byte == b'\r')).sum::<u8>())
}

/// Returns how many of the first `len` bytes of `block` are carriage returns.
#[inline(always)]
pub(super) fn carriage_returns_before(block: &[u8; BLOCK], len: u8) -> usize {
    let counted = |(byte, place): (&u8, &u8)| u8::from((*byte == b'\r') & (*place < len));
    usize::from(block.iter().zip(&PLACES).map(counted).sum::<u8>())
}

const PLACES: [u8; BLOCK] = {
    let mut places = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        places[at] = at as u8;
        at += 1;
    }
    places
};

/// Marks, in the highest bit of each byte of `word`, where `wanted` stands; only the lowest mark
/// is to be trusted.
#[inline(always)]
pub(super) const fn mark(word: u64, wanted: u8) -> u64 {
    let differs = word ^ (ONES * wanted as u64);
    differs.wrapping_sub(ONES) & !differs & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_is_the_bit_of_its_place() {
        for place in 0..BLOCK {
            let mut block = [b'\r'; BLOCK];
            block[place] = b'\n';
            block[(place + 9) % BLOCK] = b'\n' | 0x80;
            assert_eq!(line_feeds(&block), 1 << place);
        }
        assert_eq!(line_feeds(&[b'\n'; BLOCK]), u64::MAX);
    }

    #[test]
    fn carriage_returns_are_counted_up_to_a_place() {
        let mut block = [b'\n'; BLOCK];
        for at in (0..BLOCK).step_by(3) {
            block[at] = b'\r';
        }
        assert_eq!(carriage_returns(&block), 22);
        for len in 0..=64_u8 {
            let expected = block[..usize::from(len)].iter().filter(|b| **b == b'\r').count();
            assert_eq!(carriage_returns_before(&block, len), expected);
        }
    }

    #[test]
    fn the_lowest_mark_is_the_first_place_of_a_byte() {
        for place in 0..8 {
            for after in place..8 {
                let mut bytes = [b':' + 1; 8];
                bytes[place] = b':';
                bytes[after] = b':';
                let marks = mark(u64::from_le_bytes(bytes), b':');
                assert_eq!(marks.trailing_zeros() as usize / 8, place);
            }
        }
        assert_eq!(mark(u64::from_le_bytes([b':' | 0x80; 8]), b':'), 0);
    }
}
