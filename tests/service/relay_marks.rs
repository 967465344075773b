//! Marks (DSCP) from the configuration to the packets that clients and peers receive.
//!
//! Packets are looked at where they arrive, with their IP header, which takes the right to a raw
//! socket: root must have it, and for anybody else this file has nothing to say.

use std::io::{ErrorKind, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;

use entente::stun::Method;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::ctl::ctl_ends;
use super::relay::{Client, Relay, channel_data};
use super::*;

/// What `av.dscp`, `av.dscp_audio` and `av.dscp_video` say here.
const OTHER: u8 = 10;
const AUDIO: u8 = 46;
const VIDEO: u8 = 34;

/// Packets of RTP that are audio and video by their payload type (RFC 3551), and what is none.
const PCMU: &[u8] = b"\x80\x00 this is audio";
const H263: &[u8] = b"\x80\x22 this is video";
const NEITHER: &[u8] = b"\x16\xfe\xff neither, ";

/// Everything of a protocol that arrives at an address.
struct Watch(Socket);

impl Watch {
    /// `None`: this process, which is not root's, may have no raw socket.
    fn at(address: &str, protocol: Protocol) -> Option<Self> {
        let socket = match Socket::new(Domain::IPV4, Type::RAW, Some(protocol)) {
            Ok(socket) => socket,
            Err(why) if why.kind() == ErrorKind::PermissionDenied && !is_root() => return None,
            Err(why) => panic!("{why}"),
        };
        let address: Ipv4Addr = address.parse().unwrap();
        socket.bind(&SockAddr::from(SocketAddr::from((address, 0)))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Some(Self(socket))
    }

    /// Returns the mark of the next packet that ends with `payload`.
    fn mark_of(&mut self, payload: &[u8]) -> u8 {
        let mut packet = [0; 2_000];
        // Bound: no test sends so many.
        for _ in 0..1_000 {
            let length = self.0.read(&mut packet).expect("the packet comes");
            let packet = &packet[..length];
            assert_eq!(packet[0] >> 4, 4, "IPv4");
            if packet.ends_with(payload) {
                return packet[1] >> 2;
            }
        }
        panic!("it never came");
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn configuration() -> String {
    format!("ports_count = 50\ndscp = {OTHER}\ndscp_audio = {AUDIO}\ndscp_video = {VIDEO}\n")
}

#[test]
fn each_datagram_has_the_mark_of_what_it_carries_towards_peers_and_clients() {
    let Some(mut at_peer) = Watch::at("127.66.0.3", Protocol::UDP) else { return };
    let mut at_client = Watch::at("127.66.0.4", Protocol::UDP).expect("as the other one");
    let world = World::new();
    let relay = Relay::configured(&world, &configuration());
    let _edge = world.run(|_| {});
    let mut client = Client::at("127.66.0.4:0".parse().unwrap(), relay.udp);
    let peer = std::net::UdpSocket::bind("127.66.0.3:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(client.ask(Method::ALLOCATE, 600), (None, None));
    assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
    let mut relayed = None;
    for (n, (payload, mark)) in
        [(PCMU, AUDIO), (H263, VIDEO), (NEITHER, OTHER), (PCMU, AUDIO)].into_iter().enumerate()
    {
        let payload = &[payload, b"to peer", &[n as u8]].concat()[..];
        client.send_channel(0x4000, payload);
        assert_eq!(at_peer.mark_of(payload), mark, "{payload:?}");
        relayed = Some(peer.recv_from(&mut [0; 100]).unwrap().1);
    }
    for (n, (payload, mark)) in
        [(H263, VIDEO), (PCMU, AUDIO), (NEITHER, OTHER)].into_iter().enumerate()
    {
        let payload = &[payload, b"to client", &[n as u8]].concat()[..];
        peer.send_to(payload, relayed.unwrap()).unwrap();
        assert_eq!(at_client.mark_of(&channel_data(0x4000, payload)), mark, "{payload:?}");
        client.hear();
    }
    let answer = client.challenge(Method::REFRESH);
    assert_eq!(at_client.mark_of(&answer), OTHER, "answers are neither");

    // What a reload may not change, it says, and everything is as it was.
    let text = fs::read_to_string(world.file()).unwrap();
    world.write(&text.replace("dscp_audio = 46", "dscp_audio = 8"));
    let told = ctl_ends(&world, 1, &["reload"]);
    assert!(told.contains("only a restart changes av.dscp_audio"), "{told}");
    client.send_channel(0x4000, PCMU);
    assert_eq!(at_peer.mark_of(PCMU), AUDIO);
}

#[test]
fn a_stream_is_marked_when_it_is_accepted_and_by_what_came_last() {
    let Some(mut at_client) = Watch::at("127.66.0.5", Protocol::TCP) else { return };
    let world = World::new();
    let relay = Relay::configured(&world, &configuration());
    let _edge = world.run(|_| {});
    let mut client = Client::by_stream("127.66.0.5:0".parse().unwrap(), relay.tcp);
    let challenge = client.challenge(Method::ALLOCATE);
    assert_eq!(at_client.mark_of(&challenge), OTHER, "from its first answer on");
    assert_eq!(client.ask(Method::ALLOCATE, 600), (None, None));
    let peer = std::net::UdpSocket::bind("127.66.0.6:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
    client.send_channel(0x4000, b"come");
    let relayed = peer.recv_from(&mut [0; 100]).unwrap().1;
    for (n, (payload, mark)) in
        [(PCMU, AUDIO), (H263, VIDEO), (NEITHER, OTHER), (PCMU, AUDIO)].into_iter().enumerate()
    {
        // A multiple of four, which needs no padding on a stream.
        let payload = &[payload, &[n as u8; 20]].concat()[..20];
        peer.send_to(payload, relayed).unwrap();
        assert_eq!(at_client.mark_of(&channel_data(0x4000, payload)), mark, "{payload:?}");
        assert_eq!(client.hear(), channel_data(0x4000, payload));
    }
    let answer = client.challenge(Method::REFRESH);
    assert_eq!(at_client.mark_of(&answer), AUDIO, "behind audio an answer is on its stream");
}
