//! The first bytes of an accepted connection: the PROXY header where one is due, and probes.

use std::net::SocketAddr;

use super::Shard;
use super::close::Unborn;
use super::legs::{Greeting, Leg, ProxyHeader, State};
use super::network::Network;
use super::serve::{Took, take};
use crate::edge::{Core, LegId};
use crate::limits;
use crate::poll::Poller;
use crate::proxy_protocol::{self, Malformed, Parsed};
use crate::time::Now;

/// What the first bytes turned out to be.
enum First {
    /// Half a header.
    Wait,
    /// What comes behind `skip` bytes is TLS; the addresses are the header's, if it has any.
    Tls { skip: usize, source: Option<SocketAddr>, destination: Option<SocketAddr> },
    /// No connection to keep.
    Over(Unborn),
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Reads the beginning of a connection, up to the end of its PROXY header.
    pub(super) fn greet(&mut self, now: Now, id: LegId) {
        let Self { legs, read_buffer, counters, .. } = self;
        let Some(leg) = legs.get_mut(id) else { return };
        let Leg { stream, inbox, state: State::Greeting(greeting), .. } = leg else { return };
        let Greeting { proxy, received, source: place } = greeting;
        let kept = received.len();
        let Some((front, room)) = read_buffer.split_at_mut_checked(kept) else { return };
        front.copy_from_slice(received);
        let room = room.get_mut(..limits::PROXY_V2_BYTES_MAX).unwrap_or_default();
        let (total, first) = match take(stream, inbox, counters, room) {
            Took::Nothing => return,
            Took::End | Took::Broken if kept == 0 => (kept, First::Over(Unborn::Probe)),
            Took::End | Took::Broken => (kept, First::Over(Unborn::Closed)),
            Took::Bytes(read) => {
                let total = kept + read;
                (total, judge(*proxy, read_buffer.get(..total).unwrap_or_default()))
            }
        };
        match first {
            First::Over(unborn) => self.unborn(now, id, &unborn),
            First::Wait => {
                *received = read_buffer.get(..total).unwrap_or_default().to_vec();
                if leg.inbox.readable {
                    self.serve_later(id);
                }
            }
            First::Tls { skip, source, destination } => {
                let rest = read_buffer.get(skip..total).unwrap_or_default().to_vec();
                leg.remote = source.unwrap_or(leg.remote);
                leg.local = destination.unwrap_or(leg.local);
                match source.map(|client| self.links.fabric.budget.take_source(client.ip())) {
                    Some(Ok(taken)) => *place = Some(taken),
                    Some(Err(refused)) => {
                        return self.unborn(now, id, &Unborn::SourceFull(refused));
                    }
                    None => leg.check = *proxy == ProxyHeader::Required,
                }
                self.begin_serving(now, id, rest);
            }
        }
    }
}

fn judge(proxy: ProxyHeader, bytes: &[u8]) -> First {
    match (proxy, proxy_protocol::read(bytes)) {
        (ProxyHeader::Required, Ok(Parsed::NeedMore(_))) => First::Wait,
        (ProxyHeader::Required, Ok(Parsed::Header(header))) => First::Tls {
            skip: header.consumed,
            source: header.source,
            destination: header.destination,
        },
        (ProxyHeader::Required, Err(malformed)) => First::Over(Unborn::ProxyMalformed(malformed)),
        // A TLS record begins otherwise from the first byte on.
        (ProxyHeader::Refused, Err(Malformed::NotAProxyHeader)) => {
            First::Tls { skip: 0, source: None, destination: None }
        }
        (ProxyHeader::Refused, _) => First::Over(Unborn::ProxyRefused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 5061\r\n\x16\x03\x01";

    #[test]
    fn a_listed_balancer_must_begin_with_a_header() {
        let First::Tls { skip, source, .. } = judge(ProxyHeader::Required, V1) else {
            panic!("a header");
        };
        assert_eq!((skip, source), (V1.len() - 3, "192.0.2.7:4000".parse().ok()));
        assert!(matches!(judge(ProxyHeader::Required, &V1[..9]), First::Wait));
        let bare = judge(ProxyHeader::Required, b"\x16\x03\x01");
        assert!(matches!(bare, First::Over(Unborn::ProxyMalformed(Malformed::NotAProxyHeader))));
    }

    #[test]
    fn anybody_else_may_not_send_one_whole_or_begun() {
        for length in [1, 7, V1.len()] {
            let first = judge(ProxyHeader::Refused, &V1[..length]);
            assert!(matches!(first, First::Over(Unborn::ProxyRefused)), "{length}");
        }
        let hello = judge(ProxyHeader::Refused, b"\x16\x03\x01");
        assert!(matches!(hello, First::Tls { skip: 0, source: None, .. }));
    }
}
