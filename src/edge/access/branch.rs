//! Our Via branch: fixed width, so that it can be found, checked and renewed in place.
//!
//! ```text
//! z9hG4bK  SS  AAAAAAAA GGGGGGGG  T  LLLLLLLL  MMMMMMMMMMMMMMMM      (hexadecimal)
//!          |   |        |         |  |         `- SipHash-2-4 of all before it, per-process key
//!          |   |        |         |  `- loop hash (RFC 5393 section 4.2)
//!          |   |        |         `- attempt: a retry at the next target is a new branch
//!          |   `- slot  `- generation
//!          `- shard
//! ```
//!
//! A response therefore finds its slot without a table, and a branch that we did not make is told
//! from ours by the MAC.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::edge::SlotRef;

/// RFC 3261 section 8.1.1.7.
pub(crate) const MAGIC: &[u8; 7] = b"z9hG4bK";

/// Bytes of a branch, the magic cookie included.
pub(crate) const BRANCH_BYTES: usize = 7 + 2 + 8 + 8 + 1 + 8 + 16;

const MAC_AT: usize = BRANCH_BYTES - 16;
const ATTEMPT_AT: usize = 7 + 2 + 8 + 8;

/// The slot number of requests that are forwarded without a transaction: ACK to 2xx and BENOTIFY.
pub(crate) const STATELESS: u32 = u32::MAX;

/// What a branch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) slot: SlotRef,
    /// Counts the targets tried, modulo 16.
    pub(crate) attempt: u8,
    pub(crate) loop_hash: u32,
}

/// The per-process key of branches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BranchKey(pub(crate) u64, pub(crate) u64);

impl BranchKey {
    fn mac(self, text: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(text);
        hasher.finish()
    }

    /// Returns the text of `branch`.
    pub(crate) fn write(self, branch: Branch) -> [u8; BRANCH_BYTES] {
        let mut text = [0u8; BRANCH_BYTES];
        text[..7].copy_from_slice(MAGIC);
        hex(&mut text[7..9], u64::from(branch.slot.shard));
        hex(&mut text[9..17], u64::from(branch.slot.index));
        hex(&mut text[17..25], u64::from(branch.slot.generation));
        hex(&mut text[ATTEMPT_AT..ATTEMPT_AT + 1], u64::from(branch.attempt & 0xf));
        hex(&mut text[26..34], u64::from(branch.loop_hash));
        let mac = self.mac(&text[..MAC_AT]);
        hex(&mut text[MAC_AT..], mac);
        text
    }

    /// Reads a branch that this process made; `None` for any other.
    pub(crate) fn read(self, text: &[u8]) -> Option<Branch> {
        if text.len() != BRANCH_BYTES || !text.starts_with(MAGIC) {
            return None;
        }
        let mac = unhex(&text[MAC_AT..])?;
        if mac != self.mac(&text[..MAC_AT]) {
            return None;
        }
        Some(Branch {
            slot: SlotRef {
                shard: u16::try_from(unhex(&text[7..9])?).ok()?,
                index: u32::try_from(unhex(&text[9..17])?).ok()?,
                generation: u32::try_from(unhex(&text[17..25])?).ok()?,
            },
            attempt: u8::try_from(unhex(&text[ATTEMPT_AT..ATTEMPT_AT + 1])?).ok()?,
            loop_hash: u32::try_from(unhex(&text[26..34])?).ok()?,
        })
    }
}

/// Writes the low digits of `value` over the whole of `out`, most significant first.
#[inline]
pub(crate) fn hex(out: &mut [u8], mut value: u64) {
    if let Some((high, low)) = out.split_at_mut_checked(8)
        && matches!(low.len(), 0 | 8)
    {
        #[allow(clippy::cast_possible_truncation, reason = "half by half")]
        let (upper, lower) = ((value >> 32) as u32, value as u32);
        if low.is_empty() {
            high.copy_from_slice(&eight_digits(lower));
        } else {
            high.copy_from_slice(&eight_digits(upper));
            low.copy_from_slice(&eight_digits(lower));
        }
        return;
    }
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

/// Returns eight digits, each made in its own byte of a word.
const fn eight_digits(value: u32) -> [u8; 8] {
    let mut word = value as u64;
    word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    word = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // A carry into bit 4 tells the digits above nine, which lie 39 further on in ASCII.
    let letters = ((word + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (word + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

/// Reads lower-case digits, sixteen at most; nothing else is ours.
pub(crate) fn unhex(text: &[u8]) -> Option<u64> {
    let (eights, rest) = text.as_chunks::<8>();
    let mut value = 0u64;
    for eight in eights {
        value = value << 32 | u64::from(eight_values(*eight)?);
    }
    for &digit in rest {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(nibble);
    }
    Some(value)
}

/// Returns what eight digits say, each taken back to its value in its own byte of a word.
fn eight_values(digits: [u8; 8]) -> Option<u32> {
    let word = u64::from_be_bytes(digits);
    // Digits have bit 4, letters bit 6. What is neither, or both, is written otherwise below.
    let letters = (word >> 6) & 0x0101_0101_0101_0101;
    let mut values = (word & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
    values = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    values = (values | values >> 8) & 0x0000_ffff_0000_ffff;
    let value = (values | values >> 16) as u32;
    (eight_digits(value) == digits).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: BranchKey = BranchKey(1, 2);

    fn branch() -> Branch {
        Branch {
            slot: SlotRef { shard: 3, index: 70_000, generation: u32::MAX },
            attempt: 15,
            loop_hash: 0xdead_beef,
        }
    }

    #[test]
    fn a_branch_reads_back() {
        assert_eq!(KEY.read(&KEY.write(branch())), Some(branch()));
    }

    #[test]
    fn a_branch_with_any_byte_changed_is_not_ours() {
        let good = KEY.write(branch());
        for at in 0..BRANCH_BYTES {
            let mut bad = good;
            bad[at] ^= 1;
            assert_eq!(KEY.read(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn digits_made_in_words_are_those_made_one_by_one() {
        for value in [0, 1, 0x89ab_cdef_0123_4567, u64::MAX, 0xa0a0_9f9f_0909_fafa] {
            let mut text = [0u8; 16];
            hex(&mut text, value);
            assert_eq!(text.as_slice(), format!("{value:016x}").as_bytes());
            hex(&mut text[8..], value);
            assert_eq!(text[8..], *format!("{:08x}", value & 0xffff_ffff).as_bytes());
        }
    }

    #[test]
    fn digits_read_in_words_are_lower_case_ones_alone() {
        for place in 0..16 {
            for byte in 0..=u8::MAX {
                let mut text = *b"0123456789abcdef";
                text[place] = byte;
                let digit = char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
                let shift = 4 * (15 - place);
                let rest = 0x0123_4567_89ab_cdef & !(0xf << shift);
                let expected = digit.map(|digit| rest | u64::from(digit) << shift);
                assert_eq!(unhex(&text), expected, "{byte} at {place}");
            }
        }
        assert_eq!(unhex(b"09af"), Some(0x09af));
        assert_eq!(unhex(b"0123456789"), Some(0x01_2345_6789));
    }

    #[test]
    fn a_branch_of_another_process_is_not_ours() {
        assert_eq!(BranchKey(1, 3).read(&KEY.write(branch())), None);
    }
}
