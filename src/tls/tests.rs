//! Sessions against each other and against the bare library, driven as a shard drives them.

mod bare;
mod chains;
mod files;
mod pki;
mod revocation;
mod xmpp;

use rustls::version::{TLS12, TLS13};

use super::*;
use crate::edge::{Class, ConnectFailure};
use crate::limits;
use crate::policy::{AnchorSet, ExpectedNames};
use bare::Bare;
use pki::{Authority, Leaf, Site, domain};

const WHOLE: usize = usize::MAX;

/// The place of each class in the plan of [`Site::new`]; those of XMPP in that of
/// [`Site::with_xmpp`], that of credentials in the plan of its own test.
const fn listener(class: Class) -> usize {
    match class {
        Class::Federation => 0,
        Class::RemoteUsers => 1,
        Class::Internal => 2,
        Class::Xmpp | Class::Credentials => 3,
        Class::XmppDirectTls => 4,
        Class::XmppLink => 5,
    }
}

/// One side of a connection in memory.
trait Talks {
    /// Receives `bytes` in pieces of `piece`.
    fn receive(&mut self, bytes: &[u8], piece: usize);
    fn take_out(&mut self) -> Vec<u8>;
}

/// A session with what it has received.
struct End {
    session: Session,
    /// Ciphertext received and not consumed.
    input: Vec<u8>,
    plaintext: Vec<u8>,
    records: usize,
    out: Vec<u8>,
    outcome: Result<State, Fault>,
}

impl End {
    fn new(session: Session) -> Self {
        Self {
            session,
            input: Vec::new(),
            plaintext: Vec::new(),
            records: 0,
            out: Vec::new(),
            outcome: Ok(State::Handshaking),
        }
    }

    fn server(material: &Material, class: Class) -> Self {
        Self::new(Session::server(material.server(class, listener(class))).unwrap())
    }

    fn client(material: &Material, class: Class, expected: &str) -> Self {
        Self::client_for(material, class, None, &ExpectedNames::host(domain(expected))).unwrap()
    }

    fn client_for(
        material: &Material,
        class: Class,
        anchors: Option<AnchorSet>,
        expected: &ExpectedNames,
    ) -> Result<Self, Fault> {
        let sni = expected.host.as_ref().or(expected.sip_domain.as_ref());
        let (client, name) = material.client(class, anchors, sni.unwrap(), expected)?;
        let mut end = Self::new(Session::client(&client, name)?);
        end.session.start(&mut end.out)?;
        Ok(end)
    }

    fn send(&mut self, plaintext: &[u8]) {
        self.session.seal(plaintext, &mut self.out).unwrap();
    }

    fn is_established(&self) -> bool {
        self.outcome == Ok(State::Established)
    }
}

impl Talks for End {
    fn receive(&mut self, bytes: &[u8], piece: usize) {
        for part in bytes.chunks(piece) {
            if self.outcome.is_err() {
                return;
            }
            self.input.extend_from_slice(part);
            let (plaintext, records) = (&mut self.plaintext, &mut self.records);
            let fed = self.session.feed(&mut self.input, &mut self.out, |bytes| {
                plaintext.extend_from_slice(bytes);
                *records += 1;
            });
            match fed {
                Ok(fed) => {
                    self.input.drain(..fed.consumed);
                    self.outcome = Ok(fed.state);
                }
                Err(fault) => self.outcome = Err(fault),
            }
        }
    }

    fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// Carries bytes both ways until neither side has any.
fn run(client: &mut impl Talks, server: &mut impl Talks, piece: usize) {
    for _ in 0..10 {
        let request = client.take_out();
        server.receive(&request, piece);
        let answer = server.take_out();
        client.receive(&answer, piece);
        if request.is_empty() && answer.is_empty() {
            return;
        }
    }
    panic!("the two go on talking");
}

/// An edge at contoso and one at fabrikam that trust one root.
fn two_edges() -> (Site, Site) {
    let root = Authority::root("Root");
    let contoso = Site::new(&root.leaf(&Leaf::named("sip.contoso.example")), &[&root]);
    let fabrikam = Site::new(&root.leaf(&Leaf::named("sip.fabrikam.example")), &[&root]);
    (contoso, fabrikam)
}

/// A connection from fabrikam to contoso before a byte has travelled.
fn connecting() -> (End, End) {
    let (contoso, fabrikam) = two_edges();
    let server = End::server(&contoso.build(), Class::Federation);
    (End::client(&fabrikam.build(), Class::Federation, "sip.contoso.example"), server)
}

/// The same after its handshake.
fn connected() -> (End, End) {
    let (mut client, mut server) = connecting();
    run(&mut client, &mut server, WHOLE);
    assert!(client.is_established() && server.is_established());
    (client, server)
}

#[test]
fn plaintext_travels_both_ways_and_each_side_knows_the_other() {
    let (mut client, mut server) = connected();
    assert_eq!(server.session.peer().unwrap().dns_names, [domain("sip.fabrikam.example")]);
    assert_eq!(client.session.peer().unwrap().dns_names, [domain("sip.contoso.example")]);
    let described = server.session.describe().to_string();
    assert_eq!(described, "TLS 1.3 with TLS13_AES_128_GCM_SHA256");
    client.send(b"MESSAGE");
    server.send(b"200 OK");
    run(&mut client, &mut server, WHOLE);
    assert_eq!((&server.plaintext[..], &client.plaintext[..]), (&b"MESSAGE"[..], &b"200 OK"[..]));
}

#[test]
fn a_tls_1_2_peer_is_served_with_the_faster_suite_first() {
    let root = Authority::root("Root");
    for rsa in [false, true] {
        let leaf = Leaf { rsa, ..Leaf::named("sip.contoso.example") };
        let contoso = Site::new(&root.leaf(&leaf), &[&root]);
        let theirs = root.leaf(&Leaf { rsa, ..Leaf::named("sip.fabrikam.example") });
        let mut client = Bare::connect(&bare::config(&[&TLS12], Some(&theirs)), "contoso.example");
        let mut server = End::server(&contoso.build(), Class::Federation);
        run(&mut client, &mut server, WHOLE);
        client.send(b"MESSAGE");
        server.send(b"200 OK");
        run(&mut client, &mut server, WHOLE);
        let suite = match rsa {
            true => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            false => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        };
        assert_eq!(server.session.describe(), Described { version: Version::Tls12, suite });
        assert_eq!(server.session.peer().unwrap().dns_names, [domain("sip.fabrikam.example")]);
        assert_eq!(
            (&server.plaintext[..], &client.plaintext[..]),
            (&b"MESSAGE"[..], &b"200 OK"[..])
        );
    }
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let (mut client, mut server) = connecting();
    run(&mut client, &mut server, 1);
    client.send(b"one");
    client.send(b"two");
    run(&mut client, &mut server, 1);
    assert_eq!((&server.plaintext[..], server.records), (&b"onetwo"[..], 2));
    assert!(server.input.is_empty());
}

#[test]
fn handshake_messages_may_be_spread_over_small_records_before_and_after() {
    let root = Authority::root("Root");
    let contoso = Site::new(&root.leaf(&Leaf::named("sip.contoso.example")), &[&root]);
    let theirs = root.leaf(&Leaf::named("sip.fabrikam.example"));
    for (version, piece) in [(&TLS12, WHOLE), (&TLS13, WHOLE), (&TLS12, 7), (&TLS13, 7)] {
        let mut config = bare::config(&[version], Some(&theirs));
        config.max_fragment_size = Some(64);
        let mut client = Bare::connect(&config, "sip.contoso.example");
        let mut server = End::server(&contoso.build(), Class::Federation);
        run(&mut client, &mut server, piece);
        client.send(b"MESSAGE");
        run(&mut client, &mut server, piece);
        assert_eq!(server.plaintext, b"MESSAGE");
    }
    // Tickets in records of 64 bytes, cut off in the middle while we write.
    let material = contoso.build();
    let mut client = End::client(&material, Class::Federation, "sip.fabrikam.example");
    let mut server = Bare::accept(&theirs, Some(64));
    let hello = client.take_out();
    server.receive(&hello, WHOLE);
    let flight = server.take_out();
    client.receive(&flight, WHOLE);
    let finished = client.take_out();
    server.receive(&finished, WHOLE);
    let tickets = server.take_out();
    let mut sent = 0;
    for part in tickets.chunks(50) {
        client.receive(part, WHOLE);
        client.send(b"x");
        sent += 1;
    }
    run(&mut client, &mut server, WHOLE);
    assert!(client.is_established() && client.input.is_empty() && sent > 5);
    assert_eq!(server.plaintext, vec![b'x'; sent]);
}

#[test]
fn keys_are_renewed_when_the_peer_wants_it() {
    let root = Authority::root("Root");
    let contoso = Site::new(&root.leaf(&Leaf::named("sip.contoso.example")), &[&root]);
    let theirs = root.leaf(&Leaf::named("sip.fabrikam.example"));
    let mut client = Bare::connect(&bare::config(&[&TLS13], Some(&theirs)), "contoso.example");
    let mut server = End::server(&contoso.build(), Class::Federation);
    run(&mut client, &mut server, WHOLE);
    for round in 1..=3 {
        client.connection.refresh_traffic_keys().unwrap();
        client.send(b"a");
        run(&mut client, &mut server, WHOLE);
        server.send(b"b");
        run(&mut client, &mut server, WHOLE);
        assert_eq!((server.plaintext.len(), client.plaintext.len()), (round, round));
    }
}

#[test]
fn no_bytes_of_a_peer_bring_the_session_down() {
    let (contoso, fabrikam) = two_edges();
    let (contoso, fabrikam) = (contoso.build(), fabrikam.build());
    let mut seed: u64 = 0x5eed;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..300 {
        let mut server = End::server(&contoso, Class::Federation);
        let mut client = End::client(&fabrikam, Class::Federation, "sip.contoso.example");
        for _ in 0..6 {
            for flip in [false, true] {
                let (from, to) = match flip {
                    false => (&mut client, &mut server),
                    true => (&mut server, &mut client),
                };
                if from.is_established() {
                    from.send(b"MESSAGE");
                }
                let mut bytes = from.take_out();
                if !bytes.is_empty() && random(4) == 0 {
                    match random(4) {
                        0 => bytes.truncate(random(bytes.len())),
                        1 => bytes.extend_from_within(..random(bytes.len())),
                        2 => drop(bytes.drain(..random(bytes.len()))),
                        _ => {}
                    }
                    for _ in 0..random(3) {
                        if !bytes.is_empty() {
                            let at = random(bytes.len());
                            bytes[at] ^= 1 << random(8);
                        }
                    }
                }
                to.receive(&bytes, 1 + random(700));
                let mut out = Vec::new();
                let _ = to.session.seal(b"200 OK", &mut out);
                assert!(to.input.len() <= limits::TLS_RECORD_WIRE_BYTES_MAX);
            }
        }
        client.session.close_notify(&mut client.out);
        server.session.close_notify(&mut server.out);
    }
}

#[test]
fn a_message_behind_the_last_handshake_bytes_is_delivered_with_them() {
    let (mut client, mut server) = connecting();
    let hello = client.take_out();
    server.receive(&hello, WHOLE);
    let flight = server.take_out();
    client.receive(&flight, WHOLE);
    client.send(b"early bird");
    let finished_and_data = client.take_out();
    server.receive(&finished_and_data, WHOLE);
    assert!(server.is_established());
    assert_eq!(server.plaintext, b"early bird");
}

#[test]
fn a_long_message_becomes_records_of_16_kib() {
    let (mut client, mut server) = connected();
    let long: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    client.send(&long);
    run(&mut client, &mut server, 4096);
    assert_eq!(server.plaintext, long);
    assert_eq!(server.records, 100_000_usize.div_ceil(limits::TLS_RECORD_BYTES_MAX));
}

#[test]
fn nothing_is_sealed_for_nothing() {
    let (mut client, _) = connected();
    client.send(b"");
    assert!(client.out.is_empty());
}

#[test]
fn s6_1_close_notify_ends_reading_and_leaves_writing_to_the_other_side() {
    let (mut client, mut server) = connected();
    client.send(b"last words");
    client.session.close_notify(&mut client.out);
    client.out.extend_from_slice(b"what comes behind a close is ignored");
    run(&mut client, &mut server, WHOLE);
    assert_eq!(server.outcome, Ok(State::PeerClosed));
    assert_eq!(server.plaintext, b"last words");
    assert!(server.input.is_empty());
    server.send(b"farewell");
    assert_eq!(client.session.seal(b"more", &mut Vec::new()), Err(Fault::NotOpen));
    server.session.close_notify(&mut server.out);
    let closed = server.out.len();
    server.session.close_notify(&mut server.out);
    assert_eq!(server.out.len(), closed, "one close is enough");
}

#[test]
fn nothing_is_sealed_or_closed_before_the_handshake() {
    let (mut client, _) = connecting();
    let mut out = Vec::new();
    assert_eq!(client.session.seal(b"too early", &mut out), Err(Fault::NotOpen));
    client.session.close_notify(&mut out);
    assert!(out.is_empty());
}

#[test]
fn a_broken_record_ends_the_session_with_an_alert() {
    let (mut client, mut server) = connected();
    client.send(b"MESSAGE");
    *client.out.last_mut().unwrap() ^= 1;
    let bytes = client.take_out();
    server.receive(&bytes, WHOLE);
    assert_eq!(server.outcome, Err(Fault::BadRecord));
    assert_eq!(Fault::BadRecord.blame(), Blame::PeerMisbehaved);
    let again = server.session.feed(&mut [], &mut Vec::new(), |_| ());
    assert_eq!(again, Err(Fault::NotOpen));
    let alert = server.take_out();
    client.receive(&alert, WHOLE);
    assert_eq!(
        client.outcome.unwrap_err().to_string(),
        "the peer refused with the alert \"bad record mac\""
    );
}

#[test]
fn s5_2_a_record_that_is_too_long_is_refused_from_its_header() {
    let (_, mut server) = connected();
    let too_long = u16::try_from(limits::TLS_RECORD_BYTES_MAX + 2049).unwrap().to_be_bytes();
    server.receive(&[23, 3, 3, too_long[0], too_long[1]], WHOLE);
    assert_eq!(server.outcome, Err(Fault::OversizedRecord));
}

#[test]
fn plain_sip_on_a_tls_port_is_named() {
    let (_, mut server) = connecting();
    server.receive(b"OPTIONS sip:contoso.example SIP/2.0\r\n", WHOLE);
    assert_eq!(server.outcome, Err(Fault::NotTls));
    assert!(!server.out.is_empty(), "an alert answers it");
}

#[test]
fn a_handshake_that_does_not_end_is_cut_off() {
    let (_, mut server) = connecting();
    // A hello of 65,535 bytes that comes in records of 64.
    let mut sent = 0;
    let mut header = vec![1, 0, 0xff, 0xff];
    while server.outcome.is_ok() {
        let mut record = vec![22, 3, 1, 0, 64];
        record.append(&mut header);
        record.resize(5 + 64, 0);
        sent += record.len();
        server.receive(&record, WHOLE);
        assert!(sent <= limits::HANDSHAKE_BYTES_MAX + 69, "the bound is a bound");
    }
    assert_eq!(server.outcome, Err(Fault::HandshakeTooLarge));
}

#[test]
fn a_peer_with_suites_of_another_age_is_named_with_them() {
    let (contoso, _) = two_edges();
    let material = contoso.build();
    let mut server = End::server(&material, Class::Federation);
    server.receive(&hello::tests::hello(0x0303, &[0x002f, 0x0035], None), WHOLE);
    let sentence = server.outcome.unwrap_err().to_string();
    assert_eq!(
        sentence,
        "no cipher suite in common; the peer offers TLS_RSA_WITH_AES_128_CBC_SHA, \
         TLS_RSA_WITH_AES_256_CBC_SHA for TLS 1.2"
    );
    let mut server = End::server(&material, Class::Federation);
    server.receive(&hello::tests::hello(0x0301, &[0x002f, 0x0035], None), 1);
    let fault = server.outcome.unwrap_err();
    assert_eq!(fault.to_string(), "no TLS version in common; the peer speaks TLS 1.0");
    assert_eq!(fault.blame(), Blame::PeerIncompatible);
}

#[test]
fn tls_1_2_is_refused_where_1_3_is_the_least() {
    let (mut contoso, _) = two_edges();
    contoso.plan.min_tls13 = true;
    let mut client = Bare::connect(&bare::config(&[&TLS12], None), "sip.contoso.example");
    let mut server = End::server(&contoso.build(), Class::RemoteUsers);
    run(&mut client, &mut server, WHOLE);
    let sentence = server.outcome.unwrap_err().to_string();
    assert_eq!(sentence, "no TLS version in common; the peer speaks TLS 1.2");
}

#[test]
fn a_federation_peer_without_a_certificate_is_refused() {
    let (contoso, _) = two_edges();
    for version in [&TLS12, &TLS13] {
        let mut client = Bare::connect(&bare::config(&[version], None), "sip.contoso.example");
        let mut server = End::server(&contoso.build(), Class::Federation);
        run(&mut client, &mut server, WHOLE);
        assert_eq!(server.outcome, Err(Fault::NoCertificate));
    }
}

#[test]
fn a_remote_user_is_not_asked_for_a_certificate() {
    let (contoso, fabrikam) = two_edges();
    let mut client = End::client(&fabrikam.build(), Class::Federation, "sip.contoso.example");
    let mut server = End::server(&contoso.build(), Class::RemoteUsers);
    run(&mut client, &mut server, WHOLE);
    assert!(server.is_established() && server.session.peer().is_none());
    assert_eq!(server.session.rejudge(contoso.build().trust(), pki::NOW_UNIX_S), Ok(None));
}

#[test]
fn only_remote_users_resume_and_only_under_the_same_material() {
    let (contoso, _) = two_edges();
    let root = Authority::root("Another root");
    let theirs = root.leaf(&Leaf::named("sip.fabrikam.example"));
    let contoso_trusting = Site::new(&root.leaf(&Leaf::named("sip.contoso.example")), &[&root]);
    for version in [&TLS12, &TLS13] {
        let connect = |config: &_, material: &Material, class| {
            let mut client = Bare::connect(config, "sip.contoso.example");
            let mut server = End::server(material, class);
            run(&mut client, &mut server, WHOLE);
            assert!(server.is_established(), "{:?}", server.outcome);
            client.resumed()
        };
        let (config, material) = (bare::config(&[version], None), contoso.build());
        assert!(!connect(&config, &material, Class::RemoteUsers));
        assert!(connect(&config, &material, Class::RemoteUsers));
        assert!(!connect(&config, &contoso.build(), Class::RemoteUsers));

        let config = bare::config(&[version], Some(&theirs));
        let material = contoso_trusting.build();
        for _ in 0..3 {
            assert!(!connect(&config, &material, Class::Federation));
        }
    }
}

#[test]
fn a_client_keeps_its_certificate_from_a_server_it_does_not_trust() {
    let (contoso, _) = two_edges();
    let other_root = Authority::root("Another root");
    let theirs = other_root.leaf(&Leaf::named("sip.fabrikam.example"));
    let stranger = Site::new(&theirs, &[&other_root]);
    let mut client = End::client(&stranger.build(), Class::Federation, "sip.contoso.example");
    let mut server = End::server(&contoso.build(), Class::Federation);
    run(&mut client, &mut server, WHOLE);
    let fault = client.outcome.unwrap_err();
    assert_eq!(fault, Fault::CertificateUntrusted { why: Distrust::UnknownIssuer });
    assert_eq!(fault.connect_failure(), ConnectFailure::CertificateUntrusted);
    assert_eq!(
        server.outcome.unwrap_err().to_string(),
        "the peer refused with the alert \"unknown ca\""
    );
    assert!(server.session.peer().is_none());
}
