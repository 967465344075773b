use super::super::*;
use super::world::*;
use crate::stun::Proof;
use crate::stun::ms::{AttributeType, Builder, Key, Message, MessageType, TransactionId};

struct Lync {
    world: World,
    client: Client,
    token: Token,
    ids: u8,
}

impl Lync {
    fn new() -> Self {
        Self::in_world(World::new())
    }

    fn in_world(world: World) -> Self {
        let client = world.client(1);
        let token = MrasKey::new(b"new").issue("sip:alice@contoso.example", 1_700_030_000);
        Self { world, client, token, ids: 0 }
    }

    fn key(&self) -> Key {
        Key::long_term(&self.token.username, REALM.as_bytes(), &self.token.password)
    }

    fn id(&mut self) -> TransactionId {
        self.ids += 1;
        TransactionId([self.ids; 16])
    }

    fn nonce(&mut self) -> Vec<u8> {
        let mut bare = Vec::new();
        let id = self.id();
        Builder::new(&mut bare, MessageType::ALLOCATE, id).number(AttributeType::MS_VERSION, 1);
        let Came::Answer(answer) = self.world.send_to(self.client, address(VIP), &bare) else {
            panic!("no challenge")
        };
        assert!(answer.len() <= limits::MS_TURN_UNAUTHENTICATED_BYTES_MAX, "{}", answer.len());
        let message = Message::read(&answer).unwrap();
        assert_eq!(message.kind(), MessageType::ALLOCATE_ERROR);
        let server = message.attribute(AttributeType::ALTERNATE_SERVER).unwrap();
        let node = self.world.relay.setup.listeners[0].node;
        assert_eq!(server.address(), Some(node), "whatever address it came by");
        message.attribute(AttributeType::NONCE).unwrap().value.to_vec()
    }

    fn ask(&mut self, kind: MessageType, build: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
        self.ask_as(1, kind, build)
    }

    fn ask_as(
        &mut self,
        version: u32,
        kind: MessageType,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Vec<u8> {
        let nonce = self.nonce();
        let mut wire = Vec::new();
        let id = self.id();
        let mut request = Builder::new(&mut wire, kind, id);
        request.number(AttributeType::MS_VERSION, version);
        build(&mut request);
        request.attribute(AttributeType::USERNAME, &self.token.username);
        request.attribute(AttributeType::NONCE, &nonce);
        request.attribute(AttributeType::REALM, REALM.as_bytes());
        request.integrity(&self.key());
        let Came::Answer(answer) = self.world.send(self.client, &wire) else { panic!() };
        answer
    }

    fn allocate(&mut self) -> RelayPort {
        let answer = self.ask(MessageType::ALLOCATE, |_| {});
        let message = Message::read(&answer).unwrap();
        assert_eq!(message.kind(), MessageType::ALLOCATE_RESPONSE);
        assert_eq!(message.integrity(&self.key()), Proof::Good);
        let mapped = message.attribute(AttributeType::MAPPED_ADDRESS).unwrap().address().unwrap();
        assert_eq!(mapped.ip().to_string(), RELAYED);
        assert_eq!(message.attribute(AttributeType::LIFETIME).unwrap().number(), Some(600));
        assert_eq!(message.attribute(AttributeType::MS_SEQUENCE_NUMBER).unwrap().value.len(), 24);
        RelayPort { address: 0, port: mapped.port() }
    }

    fn send_request(&mut self, peer: &str, data: &[u8]) -> Came {
        let mut wire = Vec::new();
        let id = self.id();
        Builder::new(&mut wire, MessageType::SEND, id)
            .address(AttributeType::DESTINATION_ADDRESS, address(peer))
            .attribute(AttributeType::DATA, data);
        self.world.send(self.client, &wire)
    }
}

#[test]
fn e_6_an_allocation_is_made_in_two_steps_and_sends_permit_answers() {
    let mut lync = Lync::new();
    let port = lync.allocate();
    let peer = address(PEER);
    let early = lync.world.peer_sends(port, peer, b"x");
    assert_eq!(early, Came::Dropped(Dropped::NoPermission));
    let sent = lync.send_request(PEER, b"abc");
    assert_eq!(sent, Came::ToPeer(port, peer, b"abc".to_vec()));
    let Came::ToClient(to, wire) = lync.world.peer_sends(port, peer, b"defg") else { panic!() };
    assert_eq!(to, lync.client);
    let message = Message::read(&wire).unwrap();
    assert_eq!(message.kind(), MessageType::DATA_INDICATION);
    assert_eq!(message.attribute(AttributeType::DATA).unwrap().value, b"defg");
    let from = message.attribute(AttributeType::REMOTE_ADDRESS).unwrap();
    assert_eq!(from.address(), Some(peer));
}

#[test]
fn e_4_data_of_the_active_destination_has_no_header() {
    let mut lync = Lync::new();
    let port = lync.allocate();
    let peer = address(PEER);
    let rtp = [0x80, 0x60, 1, 2, 3];
    let client = lync.client;
    assert_eq!(lync.world.send(client, &rtp), Came::Dropped(Dropped::Malformed));
    let answer = lync.ask(MessageType::SET_ACTIVE_DESTINATION, |request| {
        request.address(AttributeType::DESTINATION_ADDRESS, peer);
    });
    let message = Message::read(&answer).unwrap();
    assert_eq!(message.kind(), MessageType::SET_ACTIVE_DESTINATION_RESPONSE);
    assert_eq!(lync.world.send(client, &rtp), Came::ToPeer(port, peer, rtp.to_vec()));
    let back = lync.world.peer_sends(port, peer, &rtp);
    assert_eq!(back, Came::ToClient(client, rtp.to_vec()));
    // Others come with a header still.
    let other = "93.184.216.35:7000";
    lync.send_request(other, b"x");
    let Came::ToClient(_, wire) = lync.world.peer_sends(port, address(other), b"y") else {
        panic!()
    };
    assert!(Message::is_likely(&wire));
    lync.ask(MessageType::SET_ACTIVE_DESTINATION, |_| {});
    assert_eq!(lync.world.send(client, &rtp), Came::Dropped(Dropped::Malformed), "cleared");
}

#[test]
fn a_lifetime_of_zero_gives_the_address_back() {
    let mut lync = Lync::new();
    lync.allocate();
    let again = lync.allocate();
    assert_eq!(lync.world.relay.allocations(), 1, "a second request prolongs");
    lync.ask(MessageType::ALLOCATE, |request| {
        request.number(AttributeType::LIFETIME, 0);
    });
    assert_eq!(lync.world.relay.allocations(), 0);
    assert!(!lync.world.open.contains(&again));
}

#[test]
fn wrong_tokens_are_refused_and_the_key_before_still_counts() {
    let error = |token: Token| {
        let mut lync = Lync::new();
        lync.token = token;
        let answer = lync.ask(MessageType::ALLOCATE, |_| {});
        let message = Message::read(&answer).unwrap();
        let code = message.attribute(AttributeType::ERROR_CODE)?.value;
        Some(u16::from(code[2]) * 100 + u16::from(code[3]))
    };
    let issue = |secret: &[u8], ends| MrasKey::new(secret).issue("sip:alice@contoso.example", ends);
    assert_eq!(error(issue(b"old", 1_700_030_000)), None);
    assert_eq!(error(issue(b"new", 1_699_999_999)), Some(401), "it has ended");
    assert_eq!(error(issue(b"foreign", 1_700_030_000)), Some(401));
    let mut forged = issue(b"new", 1_700_030_000);
    forged.password[0] ^= 1;
    assert_eq!(error(forged), Some(401));
}

#[test]
fn peers_of_the_inside_are_refused_in_this_dialect_too() {
    let mut lync = Lync::new();
    lync.allocate();
    for peer in ["127.0.0.1:80", "169.254.169.254:80", "10.0.0.1:5061"] {
        assert_eq!(lync.send_request(peer, b"x"), Came::Dropped(Dropped::PeerRefused));
        let answer = lync.ask(MessageType::SET_ACTIVE_DESTINATION, |request| {
            request.address(AttributeType::DESTINATION_ADDRESS, address(peer));
        });
        let message = Message::read(&answer).unwrap();
        assert_eq!(message.kind(), MessageType::SET_ACTIVE_DESTINATION_ERROR);
    }
}

/// The number of an error, proven unless it is for a stranger, and which message it is.
fn error(lync: &Lync, answer: &[u8]) -> (MessageType, u16) {
    let message = Message::read(answer).unwrap();
    let code = message.attribute(AttributeType::ERROR_CODE).expect("an error").value;
    let number = u16::from(code[2]) * 100 + u16::from(code[3]);
    let proof = message.integrity(&lync.key());
    let expected = if number == 401 || number == 438 { Proof::Absent } else { Proof::Good };
    assert_eq!(proof, expected, "{number}");
    (message.kind(), number)
}

#[test]
fn unknown_attributes_that_must_be_understood_are_420_and_named() {
    let mut lync = Lync::new();
    let unknown = |request: &mut Builder<'_>| {
        request.attribute(AttributeType(0x7ABC), b"?");
        request.attribute(AttributeType(0x7ABD), b"!");
        request.attribute(AttributeType(0xFABC), b"one that need not be");
    };
    let answer = lync.ask(MessageType::ALLOCATE, unknown);
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 420));
    let message = Message::read(&answer).unwrap();
    let named = message.attribute(AttributeType::UNKNOWN_ATTRIBUTES).expect("they are named");
    assert_eq!(named.value, [0x7A, 0xBC, 0x7A, 0xBD]);
    assert_eq!(lync.world.relay.allocations(), 0);
    lync.allocate();
    let answer = lync.ask(MessageType::SET_ACTIVE_DESTINATION, |request| {
        request.address(AttributeType::DESTINATION_ADDRESS, address(PEER));
        unknown(request);
    });
    assert_eq!(error(&lync, &answer), (MessageType::SET_ACTIVE_DESTINATION_ERROR, 420));
    let bare = [0x80, 0x60, 1];
    let client = lync.client;
    assert_eq!(lync.world.send(client, &bare), Came::Dropped(Dropped::Malformed), "none is set");
}

#[test]
fn an_allocation_too_many_is_486_or_508_and_one_that_is_not_there_437() {
    let mut quotas = setup();
    quotas.quotas.allocations_per_user = 1;
    quotas.quotas.allocations = 2;
    let mut lync = Lync::in_world(World::of(quotas));
    let none = lync.ask(MessageType::ALLOCATE, |request| {
        request.number(AttributeType::LIFETIME, 0);
    });
    assert_eq!(error(&lync, &none), (MessageType::ALLOCATE_ERROR, 437), "nothing to give back");
    let none = lync.ask(MessageType::SET_ACTIVE_DESTINATION, |_| {});
    assert_eq!(error(&lync, &none), (MessageType::SET_ACTIVE_DESTINATION_ERROR, 437));
    lync.allocate();
    let first = lync.client;
    lync.client = lync.world.client(2);
    let second = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &second), (MessageType::ALLOCATE_ERROR, 486), "his quota");
    let other = lync.world.client(3);
    lync.world.allocate(other);
    lync.token = MrasKey::new(b"new").issue("sip:bob@contoso.example", 1_700_030_000);
    let third = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &third), (MessageType::ALLOCATE_ERROR, 508), "everybody's");
    lync.client = first;
    let foreign = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &foreign), (MessageType::ALLOCATE_ERROR, 441), "it is alice's");
    assert_eq!(lync.world.relay.allocations(), 2);
}

#[test]
fn ports_that_have_run_out_are_508_and_one_given_back_is_given_again() {
    let mut few = setup();
    few.ports = Ports::Range { first: 50_000, count: 1 };
    let mut lync = Lync::in_world(World::of(few));
    let port = lync.allocate();
    let first = lync.client;
    lync.client = lync.world.client(2);
    let none = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &none), (MessageType::ALLOCATE_ERROR, 508));
    lync.world.relay.kill(&first, &mut lync.world.out);
    assert_eq!(lync.allocate(), port);
    // A kernel that gives no socket is told alike.
    let mut lync = Lync::new();
    lync.world.kernel_fails = Opened::Failed;
    let none = lync.ask(MessageType::ALLOCATE, |_| {});
    assert_eq!(error(&lync, &none), (MessageType::ALLOCATE_ERROR, 508));
}

#[test]
fn an_address_of_ipv6_is_for_who_speaks_version_4() {
    for (version, family, expected) in [(1, 2, RELAYED), (4, 1, RELAYED), (4, 2, "2001:db8::20")] {
        let mut lync = Lync::new();
        let answer = lync.ask_as(version, MessageType::ALLOCATE, |request| {
            request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[0, 0, 0, family]);
        });
        let message = Message::read(&answer).unwrap();
        assert_eq!(message.kind(), MessageType::ALLOCATE_RESPONSE);
        let mapped = message.attribute(AttributeType::MAPPED_ADDRESS).unwrap().address().unwrap();
        assert_eq!(mapped.ip().to_string(), expected, "version {version}, family {family}");
    }
    let mut v4 = setup();
    v4.relayed.truncate(1);
    let mut lync = Lync::in_world(World::of(v4));
    let answer = lync.ask_as(4, MessageType::ALLOCATE, |request| {
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[0, 0, 0, 2]);
    });
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 440), "there is none");
    assert_eq!(lync.world.relay.allocations(), 0);
}

#[test]
fn data_goes_both_ways_between_addresses_of_ipv6() {
    let mut lync = Lync::new();
    let answer = lync.ask_as(4, MessageType::ALLOCATE, |request| {
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2]);
    });
    let message = Message::read(&answer).unwrap();
    let mapped = message.attribute(AttributeType::MAPPED_ADDRESS).unwrap().address().unwrap();
    let port = RelayPort { address: 1, port: mapped.port() };
    let peer = "[2600:1900::1]:5000";
    assert_eq!(lync.send_request(PEER, b"x"), Came::Dropped(Dropped::NoPermission), "of IPv4");
    let sent = lync.send_request(peer, b"abc");
    assert_eq!(sent, Came::ToPeer(port, address(peer), b"abc".to_vec()));
    let Came::ToClient(_, wire) = lync.world.peer_sends(port, address(peer), b"d") else {
        panic!()
    };
    let message = Message::read(&wire).unwrap();
    let from = message.attribute(AttributeType::REMOTE_ADDRESS).unwrap();
    assert_eq!(from.address(), Some(address(peer)), "in the clear");
}

/// Over UDP the next request has to come to this node: a balancer may send it to another one.
#[test]
fn e_6_a_challenge_names_the_public_address_of_this_node_by_whatever_address_it_came() {
    let public = "198.51.100.7:3478";
    let mut behind = setup();
    // Bound to an address of its own, NAT before it, and the pool's address before both.
    behind.listeners = vec![Listener { node: address(public), vip: Some(address(VIP)) }];
    let mut lync = Lync::in_world(World::of(behind));
    let expired = [b'x'; 40];
    for addressed in [VIP, NODE, "10.0.0.12:3478"] {
        for (nonce, number) in [(None, 401), (Some(&expired[..]), 438)] {
            let mut wire = Vec::new();
            let id = lync.id();
            let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
            request.number(AttributeType::MS_VERSION, 1);
            if let Some(nonce) = nonce {
                request.attribute(AttributeType::USERNAME, &lync.token.username);
                request.attribute(AttributeType::NONCE, nonce);
                request.attribute(AttributeType::REALM, REALM.as_bytes());
                request.integrity(&lync.key());
            }
            let came = lync.world.send_to(lync.client, address(addressed), &wire);
            let Came::Answer(answer) = came else { panic!("no answer: {came:?}") };
            assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, number));
            let message = Message::read(&answer).unwrap();
            assert_eq!(message.transaction(), id);
            let server = message.attribute(AttributeType::ALTERNATE_SERVER).unwrap();
            assert_eq!(server.address(), Some(address(public)), "{addressed}");
            let realm = message.attribute(AttributeType::REALM).unwrap();
            assert_eq!(realm.value, REALM.as_bytes());
            assert!(message.attribute(AttributeType::NONCE).is_some());
        }
    }
}

#[test]
fn a_proven_request_by_the_address_of_the_pool_is_sent_to_the_node() {
    let mut lync = Lync::new();
    let nonce = lync.nonce();
    let mut wire = Vec::new();
    let id = lync.id();
    let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
    request.number(AttributeType::MS_VERSION, 1);
    request.attribute(AttributeType::USERNAME, &lync.token.username);
    request.attribute(AttributeType::NONCE, &nonce);
    request.attribute(AttributeType::REALM, REALM.as_bytes());
    request.integrity(&lync.key());
    let Came::Answer(answer) = lync.world.send_to(lync.client, address(VIP), &wire) else {
        panic!()
    };
    assert_eq!(error(&lync, &answer), (MessageType::ALLOCATE_ERROR, 300));
    let message = Message::read(&answer).unwrap();
    let server = message.attribute(AttributeType::ALTERNATE_SERVER).unwrap();
    assert_eq!(server.address(), Some(address(NODE)));
    assert_eq!(lync.world.relay.allocations(), 0);
}

#[test]
fn what_a_request_lacks_is_told_by_its_own_number() {
    let mut lync = Lync::new();
    let nonce = lync.nonce();
    for (lacks, number) in
        [(AttributeType::USERNAME, 432), (AttributeType::REALM, 434), (AttributeType::NONCE, 435)]
    {
        let mut wire = Vec::new();
        let id = lync.id();
        let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
        for (kind, value) in [
            (AttributeType::USERNAME, &lync.token.username[..]),
            (AttributeType::NONCE, &nonce),
            (AttributeType::REALM, REALM.as_bytes()),
        ] {
            if kind != lacks {
                request.attribute(kind, value);
            }
        }
        request.integrity(&lync.key());
        let Came::Answer(answer) = lync.world.send(lync.client, &wire) else { panic!() };
        let message = Message::read(&answer).unwrap();
        let code = message.attribute(AttributeType::ERROR_CODE).unwrap().value;
        assert_eq!(u16::from(code[2]) * 100 + u16::from(code[3]), number);
        assert!(answer.len() <= limits::MS_TURN_UNAUTHENTICATED_BYTES_MAX);
    }
}

/// Every beginning of a good request, with its length as it was and with one that fits.
#[test]
fn a_request_cut_short_or_without_its_cookie_gets_nothing() {
    let mut lync = Lync::new();
    let nonce = lync.nonce();
    let mut wire = Vec::new();
    let id = lync.id();
    let mut request = Builder::new(&mut wire, MessageType::ALLOCATE, id);
    request.attribute(AttributeType::USERNAME, &lync.token.username);
    request.attribute(AttributeType::NONCE, &nonce);
    request.attribute(AttributeType::REALM, REALM.as_bytes());
    request.integrity(&lync.key());
    let client = lync.client;
    for length in 0..wire.len() {
        let came = lync.world.send(client, &wire[..length]);
        assert!(matches!(came, Came::Dropped(_)), "{length}: {came:?}");
    }
    let mut other = wire.clone();
    other[25] ^= 1;
    let came = lync.world.send(client, &other);
    assert_eq!(came, Came::Dropped(Dropped::Malformed), "the cookie is another");
    assert_eq!(lync.world.relay.allocations(), 0);
    assert!(matches!(lync.world.send(client, &wire), Came::Answer(_)), "whole, it is answered");
    assert_eq!(lync.world.relay.allocations(), 1);
}
