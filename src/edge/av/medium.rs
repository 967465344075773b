//! What a datagram carries, by which its mark (DSCP) is chosen.
//!
//! TURN does not say it. The Microsoft dialect may, for a whole allocation (MS-Service Quality).
//! Otherwise it is told by the packet: RTP has payload types that are audio or video by their
//! number (RFC 3551), and for those whose number means nothing by itself what the allocation has
//! carried decides: audio is small. What is no RTP - connectivity checks, keys, data channels - is
//! neither. Where audio and video share an allocation (BUNDLE), both are marked as video.

use super::Traffic;
use crate::limits;

/// What a datagram carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Medium {
    /// Speech and music.
    Audio,
    /// Pictures, those of screens included.
    Video,
    /// Anything else.
    #[default]
    Other,
}

/// Tells what `payload` carries. Hot: once per datagram. `told`: what the client has said of the
/// whole allocation; `traffic`: what it has carried.
pub(super) fn of(told: Option<Medium>, traffic: &Traffic, payload: &[u8]) -> Medium {
    let &[first, second, ..] = payload else { return Medium::Other };
    // RTP and RTCP, in the clear or not (RFC 7983 section 7).
    if !(128..=191).contains(&first) {
        return Medium::Other;
    }
    match (told, second & 0x7F) {
        (Some(medium), _) => medium,
        (None, 0..=23) => Medium::Audio,
        (None, 24..=34) => Medium::Video,
        (None, _) => {
            let datagrams = traffic.to_peers + traffic.to_client;
            let bytes = traffic.bytes_to_peers + traffic.bytes_to_client;
            if bytes <= datagrams * limits::AUDIO_BYTES_MAX { Medium::Audio } else { Medium::Video }
        }
    }
}

/// Reads the value of MS-Service Quality.
pub(super) fn of_service_quality(value: &[u8]) -> Option<Medium> {
    match value {
        [0, 1, ..] => Some(Medium::Audio),
        [0, 2 | 3, ..] => Some(Medium::Video),
        [0, 4, ..] => Some(Medium::Other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(datagrams: u64, bytes: u64) -> Traffic {
        Traffic { to_peers: datagrams, bytes_to_peers: bytes, ..Traffic::default() }
    }

    #[test]
    fn a_packet_is_what_its_number_or_its_company_says() {
        let (small, large) = (traffic(100, 17_200), traffic(100, 100_000));
        assert_eq!(of(None, &large, &[0x80, 0, 1, 2]), Medium::Audio, "PCMU");
        assert_eq!(of(None, &small, &[0x80, 34, 1, 2]), Medium::Video, "H.263");
        assert_eq!(of(None, &small, &[0x80, 0x80 | 111, 1, 2]), Medium::Audio);
        assert_eq!(of(None, &large, &[0x80, 111, 1, 2]), Medium::Video);
        for none in [&b""[..], b"\x80", b"\x00\x01", b"\x16\xfe\xff"] {
            assert_eq!(of(Some(Medium::Audio), &small, none), Medium::Other);
        }
        assert_eq!(of(Some(Medium::Video), &small, &[0x80, 111]), Medium::Video, "it was said");
    }

    #[test]
    fn the_dialect_says_what_an_allocation_is_for() {
        assert_eq!(of_service_quality(&[0, 1, 0, 0]), Some(Medium::Audio));
        assert_eq!(of_service_quality(&[0, 2, 0, 1]), Some(Medium::Video));
        assert_eq!(of_service_quality(&[0, 3, 0, 0]), Some(Medium::Video));
        assert_eq!(of_service_quality(&[0, 4, 0, 0]), Some(Medium::Other));
        assert_eq!(of_service_quality(&[9, 9]), None);
    }
}
