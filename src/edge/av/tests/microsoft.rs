use super::super::*;
use super::world::*;
use crate::stun::Proof;
use crate::stun::ms::{AttributeType, Builder, Key, Message, MessageType, TransactionId};

pub(super) struct Lync {
    pub(super) world: World,
    pub(super) client: Client,
    pub(super) token: Token,
    ids: u8,
}

impl Lync {
    pub(super) fn new() -> Self {
        Self::in_world(World::new())
    }

    pub(super) fn in_world(world: World) -> Self {
        let client = world.client(1);
        let token = MrasKey::new(b"new").issue("sip:alice@contoso.example", 1_700_030_000);
        Self { world, client, token, ids: 0 }
    }

    pub(super) fn key(&self) -> Key {
        Key::long_term(&self.token.username, REALM.as_bytes(), &self.token.password)
    }

    pub(super) fn id(&mut self) -> TransactionId {
        self.ids += 1;
        TransactionId([self.ids; 16])
    }

    pub(super) fn nonce(&mut self) -> Vec<u8> {
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

    pub(super) fn ask(
        &mut self,
        kind: MessageType,
        build: impl FnOnce(&mut Builder<'_>),
    ) -> Vec<u8> {
        self.ask_as(1, kind, build)
    }

    pub(super) fn ask_as(
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

    pub(super) fn allocate(&mut self) -> RelayPort {
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

    pub(super) fn send_request(&mut self, peer: &str, data: &[u8]) -> Came {
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

#[test]
fn tokens_of_one_domain_count_for_it_together() {
    let mut lync = Lync::new();
    lync.world.relay.setup.quotas.allocations_per_partner = 1;
    lync.allocate();
    lync.client = lync.world.client(2);
    let mut error = |identity: &str| {
        lync.token = MrasKey::new(b"new").issue(identity, 1_700_030_000);
        let answer = lync.ask(MessageType::ALLOCATE, |_| {});
        let message = Message::read(&answer).unwrap();
        let code = message.attribute(AttributeType::ERROR_CODE)?.value;
        Some(u16::from(code[2]) * 100 + u16::from(code[3]))
    };
    assert_eq!(error("sip:bob@contoso.example"), Some(486));
    assert_eq!(error("sip:bob@fabrikam.example"), None, "another one has room");
}
