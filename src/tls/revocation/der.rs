//! As much DER as is needed to find the signed parts of a list that is known to be well formed.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`, `[1]`, `[2]`: constructed and primitive.
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1_PRIMITIVE: u8 = 0x81;
pub(super) const CONTEXT_2_PRIMITIVE: u8 = 0x82;
/// `uniformResourceIdentifier [6]` of a GeneralName (RFC 5280 section 4.2.1.6).
pub(super) const CONTEXT_6_PRIMITIVE: u8 = 0x86;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes the next element; `None` at the end or where the encoding is broken.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, header) = if first < 0x80 {
            (usize::from(first), 2)
        } else {
            // Four bytes of length are more than any list that is fetched.
            let bytes = usize::from(first & 0x7f);
            let length = rest.get(..bytes).filter(|length| (1..=4).contains(&length.len()))?;
            let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            (length, 2 + bytes)
        };
        let whole = self.0.get(..header.checked_add(length)?)?;
        let content = whole.get(header..)?;
        self.0 = self.0.get(whole.len()..)?;
        Some(Element { tag, content, whole })
    }

    /// Takes the next element if it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// Takes the next element if it has this tag, else leaves it.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.expect(tag)?;
        *self = ahead;
        Some(element)
    }
}

/// Returns the bytes of a BIT STRING's content that has no unused bits.
pub(super) fn whole_bytes(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_one_after_the_other_with_short_and_long_lengths() {
        let mut long = vec![SEQUENCE, 0x81, 0x80];
        long.extend([7; 0x80]);
        let bytes = [&[INTEGER, 1, 5][..], &long].concat();
        let mut reader = Reader(&bytes);
        assert_eq!(reader.optional(SEQUENCE), None);
        assert_eq!(reader.expect(INTEGER).unwrap().content, [5]);
        let sequence = reader.expect(SEQUENCE).unwrap();
        assert_eq!((sequence.content.len(), sequence.whole.len()), (0x80, 0x83));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn a_length_beyond_the_end_is_no_element() {
        for bytes in [
            &[SEQUENCE][..],
            &[SEQUENCE, 3, 1, 2],
            &[SEQUENCE, 0x80],
            &[SEQUENCE, 0x85, 0, 0, 0, 0, 0],
            &[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff, 1],
            &[],
        ] {
            assert_eq!(Reader(bytes).next(), None, "{bytes:x?}");
        }
    }
}
