//! What an operator sees of a running relay: its series, what runs out, and its allocations one by
//! one.

use std::net::UdpSocket;

use entente::config;
use entente::control::relay_credentials;
use entente::edge::av::Token;
use entente::stun::{Method, ms};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

use super::ctl::ctl_ends;
use super::relay::{Client, REALM, Relay, channel_data, peer};
use super::*;

/// Reads one sample of the exposition; `None` where it is not told.
fn sample(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(rest.parse::<f64>().expect("a number") as u64)
}

/// Waits until every sample has its value; they are left once a second.
fn shows(world: &World, expected: &[(&str, u64)]) {
    let mut told = String::new();
    let shown = within(|| {
        told = world.ask("/metrics");
        expected.iter().all(|(name, value)| sample(&told, name) == Some(*value))
    });
    let relay: Vec<&str> = told.lines().filter(|line| line.contains("_relay_")).collect();
    assert!(shown, "not {expected:?} but\n{}\n{}", relay.join("\n"), world.logged());
}

const UDP: &str = "entente_relay_allocations{class=\"udp\"}";
const TCP: &str = "entente_relay_allocations{class=\"tcp\"}";
const MICROSOFT: &str = "entente_relay_allocations{class=\"microsoft\"}";
const FREE: &str = "entente_relay_free_ports";

fn listed(world: &World) -> Vec<serde_json::Value> {
    let told = ctl_ends(world, 0, &["--json", "relay", "list"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["allocations"], told["listed"].as_array().unwrap().len());
    told["listed"].as_array().unwrap().clone()
}

/// Speaks the Microsoft dialect far enough to have an allocation, and to give it back.
struct Lync {
    socket: UdpSocket,
    token: Token,
}

impl Lync {
    fn of(world: &World, relay: &Relay) -> Self {
        let config = config::load(&world.file()).expect("a configuration that runs");
        let key = &relay_credentials(&config).mras[0];
        let token = key.issue("sip:alice@contoso.example", 9_999_999_999);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(relay.udp).unwrap();
        Self { socket, token }
    }

    fn say(&self, nonce: Option<&[u8]>, lifetime_s: u32) -> Vec<u8> {
        let mut wire = Vec::new();
        let (kind, id) = (ms::MessageType::ALLOCATE, ms::TransactionId([7; 16]));
        let mut request = ms::Builder::new(&mut wire, kind, id);
        request.number(ms::AttributeType::LIFETIME, lifetime_s);
        if let Some(nonce) = nonce {
            request.attribute(ms::AttributeType::USERNAME, &self.token.username);
            request.attribute(ms::AttributeType::NONCE, nonce);
            request.attribute(ms::AttributeType::REALM, REALM);
            let (username, password) = (&self.token.username, &self.token.password);
            request.integrity(&ms::Key::long_term(username, REALM, password));
        }
        self.socket.send(&wire).unwrap();
        let mut answer = [0; 1_500];
        let length = self.socket.recv(&mut answer).expect("an answer of the relay");
        answer[..length].to_vec()
    }

    fn allocate(&self, lifetime_s: u32) {
        let challenge = self.say(None, lifetime_s);
        let challenge = ms::Message::read(&challenge).unwrap();
        let nonce = challenge.attribute(ms::AttributeType::NONCE).expect("a nonce").value;
        let answer = self.say(Some(nonce), lifetime_s);
        let kind = ms::Message::read(&answer).unwrap().kind();
        assert_eq!(kind, ms::MessageType::ALLOCATE_RESPONSE);
    }
}

#[test]
fn allocations_of_each_class_are_told_while_they_are_there_and_can_be_ended() {
    let world = World::new();
    let relay = Relay::configured(&world, "ports_count = 50\n");
    let _edge = world.run(|_| {});
    shows(&world, &[(UDP, 0), (TCP, 0), (MICROSOFT, 0), (FREE, 50)]);

    let mut udp = Client::of(relay.udp);
    assert_eq!(udp.ask(Method::ALLOCATE, 600), (None, None));
    let mut tcp = Client::by_stream("127.0.0.1:0".parse().unwrap(), relay.tcp);
    assert_eq!(tcp.allocate_tcp(), None);
    let lync = Lync::of(&world, &relay);
    lync.allocate(600);
    shows(
        &world,
        &[
            (UDP, 1),
            (TCP, 1),
            (MICROSOFT, 1),
            (FREE, 47),
            ("entente_relay_users", 2),
            ("entente_relay_streams", 1),
            ("entente_relay_allocations_made_total{dialect=\"rfc\"}", 1),
            ("entente_relay_allocations_made_total{dialect=\"rfc_tcp\"}", 1),
            ("entente_relay_allocations_made_total{dialect=\"microsoft\"}", 1),
            ("entente_relay_errors_total{code=\"challenge\"}", 3),
            ("entente_relay_errors_total{code=\"401\"}", 0),
            ("entente_relay_errors_total{code=\"508\"}", 0),
        ],
    );

    let peer = peer();
    assert_eq!(udp.bind(0x4000, peer.local_addr().unwrap()), None);
    for n in 0..5 {
        udp.send_channel(0x4000, &[n; 100]);
        let mut came = [0; 200];
        let (length, from) = peer.recv_from(&mut came).expect("what was relayed");
        assert_eq!(came[..length], [n; 100]);
        peer.send_to(&[n; 30], from).unwrap();
        assert_eq!(udp.hear(), channel_data(0x4000, &[n; 30]));
    }
    shows(
        &world,
        &[
            ("entente_relay_datagrams_total{direction=\"to_peer\"}", 5),
            ("entente_relay_datagrams_total{direction=\"to_client\"}", 5),
            ("entente_relay_bytes_total{direction=\"to_peer\"}", 500),
            ("entente_relay_bytes_total{direction=\"to_client\"}", 150),
        ],
    );

    let all = listed(&world);
    let transports = all.iter().filter(|one| one["transport"] == "stream").count();
    assert_eq!((all.len(), transports), (3, 1), "{all:?}");
    let named = all.iter().filter(|one| one["domain"] == "contoso.example").count();
    assert_eq!(named, 1, "the token says it, the other names do not: {all:?}");
    let own = udp.address().to_string();
    let one = all.iter().find(|one| one["client"] == *own).expect("it is listed");
    assert_eq!((&one["datagrams_to_peers"], &one["bytes_to_peers"]), (&5.into(), &500.into()));
    assert_eq!((&one["datagrams_to_client"], &one["bytes_to_client"]), (&5.into(), &150.into()));
    assert!((1..=600).contains(&one["ends_in_s"].as_u64().unwrap()), "{one}");
    let told = ctl_ends(&world, 0, &["relay", "list"]);
    assert!(told.contains(&format!("udp {own} at {} relayed ", relay.udp)), "{told}");
    assert!(told.ends_with("3 of 3 allocations, from the one after 0; 47 ports free\n"), "{told}");

    let told = ctl_ends(&world, 0, &["relay", "kill", &own]);
    assert_eq!(told, format!("the allocation of {own} was ended\n"));
    let told = ctl_ends(&world, 1, &["relay", "kill", &own]);
    assert_eq!(told, format!("{own} has no allocation\n"));
    assert_eq!(udp.ask(Method::REFRESH, 600).0, Some(437), "its client finds out");
    assert_eq!(listed(&world).len(), 2);
    shows(
        &world,
        &[
            (UDP, 0),
            (TCP, 1),
            (MICROSOFT, 1),
            (FREE, 48),
            ("entente_relay_datagrams_total{direction=\"to_peer\"}", 5),
        ],
    );

    drop(tcp);
    lync.allocate(0);
    shows(
        &world,
        &[
            (UDP, 0),
            (TCP, 0),
            (MICROSOFT, 0),
            (FREE, 50),
            ("entente_relay_users", 0),
            ("entente_relay_streams", 0),
        ],
    );
    assert_eq!(listed(&world), Vec::<serde_json::Value>::new());
}

const OF_PORTS: &str = "entente_relay_runs_out_seconds{what=\"ports\"}";
const OF_ALLOCATIONS: &str = "entente_relay_runs_out_seconds{what=\"allocations\"}";

/// Twenty clients come within the time of two samples: eighty ports last four times as long.
#[test]
fn what_runs_out_is_told_while_it_does_and_no_longer() {
    let world = World::new();
    let relay = Relay::configured(&world, "ports_count = 100\nallocations = 200\n");
    let _edge = world.run(|_| {});
    shows(&world, &[(UDP, 0), (FREE, 100)]);
    let told = world.ask("/metrics");
    assert_eq!((sample(&told, OF_PORTS), sample(&told, OF_ALLOCATIONS)), (None, None));
    let mut clients: Vec<Client> = (0..20).map(|_| Client::of(relay.udp)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(Method::ALLOCATE, 600), (None, None));
    }
    let mut told = String::new();
    let tells = within(|| {
        told = world.ask("/metrics");
        sample(&told, OF_PORTS).is_some()
    });
    assert!(tells, "{told}");
    let ports = sample(&told, OF_PORTS).unwrap();
    let allocations = sample(&told, OF_ALLOCATIONS).expect("as well as ports");
    let step_s = entente::limits::FORECAST_STEP_MS / 1_000;
    // A line through two samples that are a step apart at least, and not much more.
    assert!((4 * step_s..=16 * step_s).contains(&ports), "{ports} s for 80 ports");
    // 180 more are allowed where 80 ports are free.
    assert!(allocations >= ports * 9 / 4 - 9, "{allocations} s, and {ports} s for ports");
    assert!(allocations <= ports * 9 / 4 + 9, "{allocations} s, and {ports} s for ports");
    let told = ctl_ends(&world, 0, &["relay", "status"]);
    assert!(told.starts_with("20 allocations of 1 users, "), "{told}");
    assert!(told.contains("80 ports free") && told.contains("ports run out in "), "{told}");
    // Said by whoever asks next, although counters are left once a second.
    ctl_ends(&world, 0, &["relay", "drain"]);
    let told = ctl_ends(&world, 0, &["relay", "status"]);
    assert!(told.contains("no new allocations are taken\n"), "{told}");
    assert!(!told.contains("run out"), "nothing runs out that is given to nobody: {told}");
    ctl_ends(&world, 0, &["relay", "open"]);
    let told = ctl_ends(&world, 0, &["relay", "status"]);
    assert!(!told.contains("no new allocations"), "{told}");
    for client in &mut clients {
        assert_eq!(client.ask(Method::REFRESH, 0), (None, None));
    }
    shows(&world, &[(UDP, 0), (FREE, 100)]);
    let told = world.ask("/metrics");
    assert_eq!((sample(&told, OF_PORTS), sample(&told, OF_ALLOCATIONS)), (None, None));
    let told = ctl_ends(&world, 0, &["relay", "status"]);
    assert!(!told.contains("run out"), "{told}");
}

#[test]
fn datagrams_that_come_and_go_in_trains_are_counted() {
    let world = World::new();
    let relay = Relay::configured(&world, "ports_count = 50\nallocation_kbit_s = 1000000\n");
    let _edge = world.run(|_| {});
    let status: serde_json::Value =
        serde_json::from_str(world.ask("/status").split_once("\r\n\r\n").unwrap().1).unwrap();
    let by_trains = status["relay"]["trains"] == "by GRO and GSO";
    let mut client = Client::of(relay.udp);
    assert_eq!(client.ask(Method::ALLOCATE, 600), (None, None));
    let peer = peer();
    assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), None);
    let (each, trains) = (10, 5);
    let train = channel_data(0x4000, &[7; 1_000]).repeat(each);
    let socket = client.udp();
    let state = UdpSocketState::new(UdpSockRef::from(socket)).unwrap();
    for _ in 0..trains {
        let transmit = Transmit {
            destination: relay.udp,
            ecn: None,
            contents: &train,
            segment_size: Some(1_004),
            src_ip: None,
        };
        state.try_send(UdpSockRef::from(socket), &transmit).unwrap();
        let mut came = [0; 2_000];
        for _ in 0..each {
            assert_eq!(peer.recv(&mut came).expect("every datagram"), 1_000);
        }
    }
    let relayed = (each * trains) as u64;
    shows(&world, &[("entente_relay_datagrams_total{direction=\"to_peer\"}", relayed)]);
    let told = world.ask("/metrics");
    for (way, most) in [("received", relayed), ("sent", relayed)] {
        let name = format!("entente_relay_datagrams_in_trains_total{{way=\"{way}\"}}");
        let counted = sample(&told, &name).unwrap_or_else(|| panic!("{name} is told: {told}"));
        // A socket takes trains from its first one on, which itself may come one by one.
        let least = if by_trains { most - each as u64 } else { 0 };
        let most = if by_trains { most } else { 0 };
        assert!((least..=most).contains(&counted), "{way}: {counted} of {relayed}");
    }
    // What is no train is none.
    client.send_channel(0x4000, b"alone");
    assert_eq!(peer.recv(&mut [0; 2_000]).unwrap(), 5);
    shows(&world, &[("entente_relay_datagrams_total{direction=\"to_peer\"}", relayed + 1)]);
    let after = world.ask("/metrics");
    for way in ["received", "sent"] {
        let name = format!("entente_relay_datagrams_in_trains_total{{way=\"{way}\"}}");
        assert_eq!(sample(&after, &name), sample(&told, &name));
    }
}
