//! CRC-32C (Castagnoli), reflected, as the header's checksum wants it (2.2.3).
//!
//! A table by the byte: the header is read once per connection and is at most 4 KiB.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// Returns the checksum of the parts, taken as one run of bytes.
pub(super) fn crc32c(parts: [&[u8]; 3]) -> u32 {
    let step = |sum: u32, byte: &u8| (sum >> 8) ^ TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize];
    !parts.into_iter().flatten().fold(!0, step)
}
