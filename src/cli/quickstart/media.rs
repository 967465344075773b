//! A user's end of a call's media: an allocation at the relay of the user's edge, and RTP through
//! it.
//!
//! The grammar is that of [`crate::stun`]; that others understand it is what `tests/interop` shows.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use tokio::net::UdpSocket;
use tokio::time::{interval, timeout};

use crate::edge::av::Secret;
use crate::stun::{
    AttributeType, Builder, CHANNEL_HEADER_BYTES, ChannelData, ChannelNumber, Class, Key, Message,
    Method, Proof, TransactionId, Type,
};
use crate::time::{Clock, Monotonic};

/// How long a request waits before it is sent again (RFC 8489 section 6.2.1), and how often.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const TRIES: usize = 6;
/// How often another port is asked for where the one that the relay chose is somebody else's.
const PORTS_TRIED: usize = 4;
/// How long credentials count; the run takes seconds.
const CREDENTIALS_S: u64 = 600;
const DATAGRAM_BYTES: usize = 1500;
const UDP: u8 = 17;

/// Packets of one voice: a second of audio.
pub(super) const PACKETS: u16 = 50;
/// Time between two packets.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);
/// Samples, and bytes, of a packet of PCMU.
const PACKET_SAMPLES: u16 = 160;
const RTP_HEADER_BYTES: usize = 12;
/// What is not heard by then is lost; if nothing is, nobody waits for it.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Where one organisation's users reach their relay, and how they prove who they are.
pub(super) struct RelayAccess {
    /// The user's own address.
    pub(super) user: IpAddr,
    /// The relay's listener on the user's side.
    pub(super) relay: SocketAddr,
    /// The secret of time-limited credentials.
    pub(super) secret: String,
}

/// What a user has of its relay.
pub(super) struct MediaEnd {
    socket: UdpSocket,
    claim: Claim,
    relayed: SocketAddr,
}

/// What every request proves who is asking with.
struct Claim {
    username: String,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: Key,
}

impl MediaEnd {
    /// Allocates a relayed address for `name` at its relay.
    pub(super) async fn allocate(
        access: &RelayAccess,
        name: &str,
        unix_s: u64,
    ) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((access.user, 0)).await?;
        socket.connect(access.relay).await?;
        let wanted = |request: &mut Builder<'_>| {
            request.attribute(AttributeType::REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]);
        };
        let challenge = ask(&socket, None, Method::ALLOCATE, wanted).await?;
        let username = format!("{}:{name}", unix_s + CREDENTIALS_S);
        let password = Secret::new(access.secret.as_bytes()).password(username.as_bytes());
        let claim = Claim::challenged(&Message::read(&challenge)?, username, &password)?;
        for _ in 0..PORTS_TRIED {
            let answer = ask(&socket, Some(&claim), Method::ALLOCATE, wanted).await?;
            let answer = Message::read(&answer)?;
            if refusal(&answer) == Some(508) {
                continue;
            }
            let relayed = granted(&answer, &claim)?.attribute(AttributeType::XOR_RELAYED_ADDRESS);
            let relayed = relayed.and_then(|value| value.xor_address(answer.transaction()));
            let relayed = relayed.context("an allocation without an address")?;
            return Ok(Self { socket, claim, relayed });
        }
        bail!("the relay found no free port")
    }

    /// Returns the address that others send to.
    pub(super) const fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    /// Binds the channel to where the other one is reached.
    pub(super) async fn bind(&self, peer: SocketAddr) -> anyhow::Result<()> {
        let [c0, c1] = channel().number().to_be_bytes();
        let wanted = |request: &mut Builder<'_>| {
            request.attribute(AttributeType::CHANNEL_NUMBER, &[c0, c1, 0, 0]);
            request.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        };
        let answer = ask(&self.socket, Some(&self.claim), Method::CHANNEL_BIND, wanted).await?;
        granted(&Message::read(&answer)?, &self.claim)?;
        Ok(())
    }

    /// Gives the allocation back.
    pub(super) async fn release(self) -> anyhow::Result<()> {
        let wanted = |request: &mut Builder<'_>| {
            request.number(AttributeType::LIFETIME, 0);
        };
        let answer = ask(&self.socket, Some(&self.claim), Method::REFRESH, wanted).await?;
        granted(&Message::read(&answer)?, &self.claim)?;
        Ok(())
    }

    async fn speak(&self, clock: &Clock, ssrc: u32) -> anyhow::Result<()> {
        let mut ticks = interval(PACKET_INTERVAL);
        for sequence in 0..PACKETS {
            ticks.tick().await;
            let packet = rtp(ssrc, sequence, clock.now().monotonic);
            let header = ChannelData::header(channel(), packet.len() as u16);
            self.socket.send(&[&header, &packet[..]].concat()).await?;
        }
        Ok(())
    }

    async fn listen(&self, clock: &Clock, ssrc: u32) -> anyhow::Result<Vec<u64>> {
        let mut delays_us = Vec::with_capacity(usize::from(PACKETS));
        let mut heard = [false; PACKETS as usize];
        let listening = async {
            let mut datagram = vec![0; DATAGRAM_BYTES];
            while delays_us.len() < usize::from(PACKETS) {
                let length = self.socket.recv(&mut datagram).await?;
                let now = clock.now().monotonic;
                let (sequence, sent) = heard_from(&datagram[..length], ssrc)?;
                let before = std::mem::replace(&mut heard[usize::from(sequence)], true);
                ensure!(!before, "packet {sequence} came twice");
                delays_us.push(now.us_since(sent));
            }
            anyhow::Ok(())
        };
        // What has not come by then is lost, which is for the story to judge.
        timeout(HEARD_WITHIN, listening).await.unwrap_or(Ok(()))?;
        Ok(delays_us)
    }
}

/// What came of two users' talking at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Voices {
    /// Packets of both.
    pub(super) sent: usize,
    /// Delay of each packet that was heard, in microseconds, the shortest first.
    delays_us: Vec<u64>,
}

impl Voices {
    /// Returns how many packets were heard.
    pub(super) const fn received(&self) -> usize {
        self.delays_us.len()
    }

    /// Returns how many packets were lost, in thousandths.
    pub(super) const fn lost_permille(&self) -> usize {
        (self.sent - self.received()) * 1_000 / self.sent
    }

    /// Returns the delay that so many of a hundred packets did not exceed, in microseconds.
    pub(super) fn delay_us(&self, percent: usize) -> Option<u64> {
        let rank = (self.delays_us.len() * percent).div_ceil(100);
        self.delays_us.get(rank.checked_sub(1)?).copied()
    }
}

/// Lets both users talk for a second and listen to each other.
pub(super) async fn talk(clock: &Clock, ends: [&MediaEnd; 2]) -> anyhow::Result<Voices> {
    let [one, other] = ends;
    let (of_one, of_other) = (0x0A11_CE00, 0x0000_B0B0);
    let ((), (), at_other, at_one) = tokio::try_join!(
        one.speak(clock, of_one),
        other.speak(clock, of_other),
        other.listen(clock, of_one),
        one.listen(clock, of_other),
    )?;
    let mut delays_us = [at_other, at_one].concat();
    delays_us.sort_unstable();
    Ok(Voices { sent: 2 * usize::from(PACKETS), delays_us })
}

fn channel() -> ChannelNumber {
    ChannelNumber::new(0x4000).expect("the first channel there is")
}

/// Returns a packet of RTP (RFC 3550 section 5.1). What it carries begins with the time it was
/// sent, which its receiver can read by the same clock.
fn rtp(ssrc: u32, sequence: u16, sent: Monotonic) -> Vec<u8> {
    let mut packet = vec![0x80, 0x00];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * u32::from(PACKET_SAMPLES)).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&sent.0.to_be_bytes());
    // Silence, as mu-law has it.
    packet.resize(RTP_HEADER_BYTES + usize::from(PACKET_SAMPLES), 0xFF);
    packet
}

/// Returns the number of the packet in `datagram`, and when it was sent.
fn heard_from(datagram: &[u8], ssrc: u32) -> anyhow::Result<(u16, Monotonic)> {
    let data = ChannelData::read(datagram).context("no ChannelData")?;
    ensure!(data.channel == channel(), "channel {:#06x} is not bound", data.channel.number());
    let packet = data.payload;
    let at = |from: usize, to: usize| packet.get(from..to).context("a packet was cut short");
    let sequence = u16::from_be_bytes(at(2, 4)?.try_into()?);
    let end = RTP_HEADER_BYTES + size_of::<u64>();
    let sent = Monotonic(u64::from_be_bytes(at(RTP_HEADER_BYTES, end)?.try_into()?));
    let unchanged = sequence < PACKETS && packet == rtp(ssrc, sequence, sent);
    ensure!(unchanged, "a packet was changed on the way");
    ensure!(datagram.len() == CHANNEL_HEADER_BYTES + packet.len(), "a packet with a tail");
    Ok((sequence, sent))
}

impl Claim {
    /// Answers a challenge (RFC 8489 section 9.2.5).
    fn challenged(
        challenge: &Message<'_>,
        username: String,
        password: &str,
    ) -> anyhow::Result<Self> {
        ensure!(refusal(challenge) == Some(401), "the relay let a stranger in");
        let value = |kind| {
            let attribute = challenge.attribute(kind);
            attribute.map(|attribute| attribute.value.to_vec()).context("a bare challenge")
        };
        let (realm, nonce) = (value(AttributeType::REALM)?, value(AttributeType::NONCE)?);
        let key = Key::long_term_md5(username.as_bytes(), &realm, password.as_bytes());
        Ok(Self { username, realm, nonce, key })
    }
}

/// Sends a request until it is answered.
async fn ask(
    socket: &UdpSocket,
    claim: Option<&Claim>,
    method: Method,
    wanted: impl Fn(&mut Builder<'_>),
) -> anyhow::Result<Vec<u8>> {
    let mut id = [0; 12];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
        .map_err(|_| anyhow!("the kernel gives no random bytes"))?;
    let mut datagram = Vec::new();
    let kind = Type { method, class: Class::Request };
    let mut request = Builder::new(&mut datagram, kind, TransactionId(id));
    wanted(&mut request);
    if let Some(claim) = claim {
        request.attribute(AttributeType::USERNAME, claim.username.as_bytes());
        request.attribute(AttributeType::REALM, &claim.realm);
        request.attribute(AttributeType::NONCE, &claim.nonce);
        request.integrity_sha1(&claim.key);
    }
    let mut answer = vec![0; DATAGRAM_BYTES];
    for _ in 0..TRIES {
        socket.send(&datagram).await?;
        let received = timeout(ANSWER_TIMEOUT, async {
            loop {
                let length = socket.recv(&mut answer).await?;
                let of_it = |message: Message<'_>| message.transaction() == TransactionId(id);
                if Message::read(&answer[..length]).is_ok_and(of_it) {
                    return anyhow::Ok(length);
                }
            }
        });
        if let Ok(length) = received.await {
            answer.truncate(length?);
            return Ok(answer);
        }
    }
    bail!("the relay answered {method:?} in none of {TRIES} tries")
}

/// Returns the number of an error.
fn refusal(answer: &Message<'_>) -> Option<u16> {
    let error = answer.attribute(AttributeType::ERROR_CODE)?.error()?;
    (answer.kind().class == Class::Error).then_some(error.0)
}

/// Checks that a request was granted, by the relay itself.
fn granted<'a>(answer: &Message<'a>, claim: &Claim) -> anyhow::Result<Message<'a>> {
    let Type { method, class } = answer.kind();
    if class != Class::Success {
        bail!("the relay refused {method:?} with {}", refusal(answer).unwrap_or_default());
    }
    ensure!(answer.integrity(&claim.key) == Proof::Good, "an answer that proves nothing");
    Ok(*answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_heard_as_it_was_sent_and_not_if_it_was_changed() {
        let packet = rtp(7, 3, Monotonic(1_000));
        let header = ChannelData::header(channel(), packet.len() as u16);
        let mut datagram = [&header, &packet[..]].concat();
        assert_eq!(datagram.len(), 4 + 12 + 160);
        assert_eq!(heard_from(&datagram, 7).unwrap(), (3, Monotonic(1_000)));
        assert!(heard_from(&datagram, 8).is_err(), "of somebody else");
        assert!(heard_from(&datagram[..100], 7).is_err(), "cut short");
        for place in [0, 4, 5, 10, 175] {
            datagram[place] ^= 1;
            assert!(heard_from(&datagram, 7).is_err(), "{place}");
            datagram[place] ^= 1;
        }
    }

    #[test]
    fn loss_and_delay_are_those_of_what_was_heard() {
        let voices = Voices { sent: 100, delays_us: (1..=98).collect() };
        assert_eq!((voices.received(), voices.lost_permille()), (98, 20));
        assert_eq!((voices.delay_us(50), voices.delay_us(99)), (Some(49), Some(98)));
        let nothing = Voices { sent: 100, delays_us: Vec::new() };
        assert_eq!((nothing.lost_permille(), nothing.delay_us(50)), (1_000, None));
    }
}
