//! ChannelData: four bytes before the payload, instead of thirty-six (RFC 8656 section 12.4).

/// A channel, 0x4000 to 0x7FFF.
///
/// COMPAT(coturn's clients, 4.6; RFC 5766): RFC 8656 section 12 ends at 0x4FFF, and those clients
/// choose at random up to 0x7FFF. What begins so comes from a client that has an allocation and
/// bound the number, so nothing else that RFC 7983 tells apart by its first byte is mistaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// How many there are.
    pub const COUNT: usize = 0x4000;

    /// Returns the channel of this number, if it is one (RFC 5766 section 11).
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number & 0xC000 == 0x4000 { Some(Self(number)) } else { None }
    }

    /// Returns its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// A payload and the channel it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// Which peer.
    pub channel: ChannelNumber,
    /// What it is sent, or sent.
    pub payload: &'a [u8],
}

/// Bytes before the payload of ChannelData.
pub const CHANNEL_HEADER_BYTES: usize = 4;

impl<'a> ChannelData<'a> {
    /// Reads a datagram; what lies behind the stated length is padding and dropped.
    ///
    /// `None`: another channel number or a length beyond the datagram; such a datagram is dropped.
    /// Hot: once per relayed packet.
    #[must_use]
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let (&[c0, c1, l0, l1], rest) = datagram.split_first_chunk()?;
        let channel = ChannelNumber::new(u16::from_be_bytes([c0, c1]))?;
        let payload = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
        Some(Self { channel, payload })
    }

    /// Returns how many bytes of a stream the message takes that `bytes` begin with, padding
    /// included; `None` before its fourth byte (RFC 8656 section 12.5).
    #[must_use]
    pub fn length_in_stream(bytes: &[u8]) -> Option<usize> {
        let &[_, _, l0, l1, ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        Some(CHANNEL_HEADER_BYTES + length.next_multiple_of(4))
    }

    /// Returns the header to write before a payload of `length` bytes, which fits 16 bits.
    #[must_use]
    pub const fn header(channel: ChannelNumber, length: u16) -> [u8; CHANNEL_HEADER_BYTES] {
        let ([c0, c1], [l0, l1]) = (channel.0.to_be_bytes(), length.to_be_bytes());
        [c0, c1, l0, l1]
    }
}
