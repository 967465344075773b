//! RFC 8656: TURN, dual-stack allocations (once RFC 6156) included.

use entente::edge::av::Dropped;
use entente::stun::{
    AttributeType, Builder, ChannelData, ChannelNumber, Class, ErrorCode, Message, Method, Type,
};

use super::turn::{Came, OTHER, PEER, PEER6, World, address, prove, prove_as, udp};

fn channel(number: u16, data: &[u8]) -> Vec<u8> {
    let number = ChannelNumber::new(number).expect("in its range");
    let length = u16::try_from(data.len()).expect("short");
    [&ChannelData::header(number, length)[..], data].concat()
}

fn families(request: &mut Builder<'_>, kind: AttributeType, family: u8) {
    udp(request);
    request.attribute(kind, &[family, 0, 0, 0]);
}

#[test]
fn s5_what_an_allocation_is_asked_by_must_come_from_its_own_five_tuple() {
    let mut world = World::new();
    world.allocate(World::client(1));
    let stranger = World::client(2);
    assert_eq!(world.permit(stranger, &[PEER]), Some(437));
    assert_eq!(world.bind(stranger, 0x4000, PEER), Some(437));
    assert_eq!(world.ask(stranger, Method::REFRESH, |_| {}).error, Some(437));
    let sent = world.indicate(stranger, PEER, b"x");
    assert_eq!(sent, Came::Dropped(Dropped::NoAllocation));
}

#[test]
fn s7_2_an_allocation_is_for_udp_and_lives_ten_minutes_unless_asked_for_longer() {
    let mut world = World::new();
    let client = World::client(1);
    assert_eq!(world.ask(client, Method::ALLOCATE, |_| {}).error, Some(400), "no transport");
    let sctp = world.ask(client, Method::ALLOCATE, |request| {
        request.attribute(AttributeType::REQUESTED_TRANSPORT, &[132, 0, 0, 0]);
    });
    assert_eq!(sctp.error, Some(442));
    let answer = world.ask(client, Method::ALLOCATE, udp);
    assert_eq!(answer.number(AttributeType::LIFETIME), Some(600));
    world.pass(599);
    assert_eq!(world.relay.allocations(), 1);
    world.pass(1);
    assert_eq!(world.relay.allocations(), 0);
}

#[test]
fn s7_2_a_second_allocate_is_437_and_the_same_one_again_gets_the_same_answer() {
    let mut world = World::new();
    let client = World::client(1);
    let (nonce, id) = (world.nonce(client), world.id());
    let mut wire = Vec::new();
    let kind = Type { method: Method::ALLOCATE, class: Class::Request };
    let mut request = Builder::new(&mut wire, kind, id);
    udp(&mut request);
    prove(&mut request, &nonce);
    let relayed = |came: Came| {
        let Came::Answer(answer) = came else { panic!("no answer") };
        let message = Message::read(&answer).expect("a message");
        let relayed = message.attribute(AttributeType::XOR_RELAYED_ADDRESS).expect("it is there");
        relayed.xor_address(message.transaction())
    };
    let first = relayed(world.send(client, &wire));
    assert_eq!(relayed(world.send(client, &wire)), first, "an answer that was lost");
    assert_eq!(world.ask(client, Method::ALLOCATE, udp).error, Some(437));
    // So it is for another user, even with the same transaction.
    let mut wire = Vec::new();
    let mut request = Builder::new(&mut wire, kind, id);
    udp(&mut request);
    prove_as("9999999999:mallory", &mut request, &nonce);
    let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
    let message = Message::read(&answer).expect("a message");
    let error = message.attribute(AttributeType::ERROR_CODE).and_then(|error| error.error());
    assert_eq!(error, Some(ErrorCode(437)), "441 is for other requests than Allocate (section 5)");
}

#[test]
fn s7_2_an_answer_that_was_lost_tells_the_token_once_more() {
    let mut world = World::new();
    let client = World::client(1);
    let wire = world.request(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::EVEN_PORT, &[0x80]);
    });
    let mut token = || {
        let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
        let message = Message::read(&answer).expect("a message");
        message.attribute(AttributeType::RESERVATION_TOKEN).map(|token| token.value.to_vec())
    };
    let first = token();
    assert!(first.is_some());
    assert_eq!(token(), first);
}

#[test]
fn s7_2_a_transport_of_another_length_is_400() {
    let mut world = World::new();
    for value in [&b""[..], &[17], &[17, 0, 0, 0, 0]] {
        let answer = world.ask(World::client(1), Method::ALLOCATE, |request| {
            request.attribute(AttributeType::REQUESTED_TRANSPORT, value);
        });
        assert_eq!(answer.error, Some(400), "{value:?}");
    }
}

#[test]
fn s7_2_one_family_of_two_is_given_with_the_error_for_the_other() {
    let mut world = World::with(|setup| setup.relayed.truncate(1));
    let additional = AttributeType::ADDITIONAL_ADDRESS_FAMILY;
    let answer =
        world.ask(World::client(1), Method::ALLOCATE, |request| families(request, additional, 2));
    assert_eq!((answer.error, answer.relayed().len()), (None, 1));
    let lacks = answer.message().attribute(AttributeType::ADDRESS_ERROR_CODE);
    assert_eq!(lacks.expect("it is there").value[..4], [2, 0, 4, 40], "no IPv6: 440");
}

#[test]
fn s8_1_one_address_of_two_ends_and_leaves_what_is_the_others() {
    let mut world = World::new();
    let client = World::client(1);
    let additional = AttributeType::ADDITIONAL_ADDRESS_FAMILY;
    let both =
        world.ask(client, Method::ALLOCATE, |request| families(request, additional, 2)).relayed();
    assert_eq!(both.len(), 2);
    assert_eq!(world.bind(client, 0x4000, PEER), None);
    assert_eq!(world.bind(client, 0x4001, PEER6), None);
    let end = |world: &mut World, family: u8| {
        world.ask(client, Method::REFRESH, |request| {
            request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
            request.number(AttributeType::LIFETIME, 0);
        })
    };
    let ended = end(&mut world, 2);
    assert_eq!((ended.error, ended.number(AttributeType::LIFETIME)), (None, Some(0)));
    assert_eq!(world.relay.allocations(), 1);
    let four = world.peer_sends(both[0], PEER, b"x");
    assert_eq!(four, Came::ToClient(client, channel(0x4000, b"x")), "as before");
    assert!(matches!(world.peer_sends(both[1], PEER6, b"x"), Came::Dropped(_)));
    assert_eq!(world.send(client, &channel(0x4001, b"x")), Came::Dropped(Dropped::NoChannel));
    assert_eq!(world.bind(client, 0x4001, PEER6), Some(443));
    assert_eq!(end(&mut world, 2).error, Some(443), "it has ended");
    assert_eq!(end(&mut world, 1).error, None);
    assert_eq!(world.relay.allocations(), 0);
}

#[test]
fn s7_2_families_one_the_other_or_both() {
    let mut world = World::new();
    let of = |world: &mut World, number, kind, family| {
        let client = World::client(number);
        let answer = world.ask(client, Method::ALLOCATE, |request| families(request, kind, family));
        match answer.error {
            Some(error) => Err(error),
            None => Ok(answer.relayed().iter().map(|port| port.address).collect::<Vec<u8>>()),
        }
    };
    let requested = AttributeType::REQUESTED_ADDRESS_FAMILY;
    let additional = AttributeType::ADDITIONAL_ADDRESS_FAMILY;
    assert_eq!(of(&mut world, 1, requested, 1), Ok(vec![0]));
    assert_eq!(of(&mut world, 2, requested, 2), Ok(vec![1]));
    assert_eq!(of(&mut world, 3, additional, 2), Ok(vec![0, 1]));
    assert_eq!(of(&mut world, 4, requested, 3), Err(440));
    assert_eq!(of(&mut world, 5, additional, 1), Err(400), "a second one is of IPv6");
    let both = world.ask(World::client(6), Method::ALLOCATE, |request| {
        families(request, requested, 1);
        request.attribute(additional, &[2, 0, 0, 0]);
    });
    assert_eq!(both.error, Some(400), "one attribute or the other");
}

#[test]
fn s7_2_an_even_port_and_the_next_one_kept_for_a_token() {
    let mut world = World::new();
    let answer = world.ask(World::client(1), Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::EVEN_PORT, &[0x80]);
    });
    let port = answer.relayed()[0].port;
    assert_eq!(port % 2, 0);
    let message = answer.message();
    let token = message.attribute(AttributeType::RESERVATION_TOKEN).expect("it is there");
    let next = world.ask(World::client(2), Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::RESERVATION_TOKEN, token.value);
    });
    assert_eq!(next.relayed()[0].port, port + 1);
    let both = world.ask(World::client(3), Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::EVEN_PORT, &[0]);
        request.attribute(AttributeType::RESERVATION_TOKEN, &[0; 8]);
    });
    assert_eq!(both.error, Some(400));
}

#[test]
fn s8_2_a_refresh_prolongs_or_ends_and_knows_its_families() {
    let mut world = World::new();
    let client = World::client(1);
    world.allocate(client);
    let refresh = |world: &mut World, seconds: u32| {
        world.ask(client, Method::REFRESH, |request| {
            request.number(AttributeType::LIFETIME, seconds);
        })
    };
    assert_eq!(refresh(&mut world, 1_200).number(AttributeType::LIFETIME), Some(1_200));
    world.pass(1_199);
    assert_eq!(world.relay.allocations(), 1);
    let other = world.ask(client, Method::REFRESH, |request| {
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    assert_eq!(other.error, Some(443));
    assert_eq!(refresh(&mut world, 0).number(AttributeType::LIFETIME), Some(0));
    assert_eq!(world.relay.allocations(), 0);
    assert_eq!(refresh(&mut world, 600).error, Some(437));
}

#[test]
fn s9_a_permission_is_of_an_address_without_port_and_lasts_five_minutes() {
    let mut world = World::new();
    let client = World::client(1);
    let port = world.allocate(client);
    let early = world.peer_sends(port, PEER, b"x");
    assert_eq!(early, Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.permit(client, &[PEER]), None);
    let other_port = "93.184.216.34:9";
    assert!(matches!(world.peer_sends(port, other_port, b"x"), Came::ToClient(..)));
    assert_eq!(world.peer_sends(port, OTHER, b"x"), Came::Dropped(Dropped::NoPermission));
    world.pass(299);
    assert!(matches!(world.peer_sends(port, PEER, b"x"), Came::ToClient(..)));
    world.pass(1);
    let late = world.peer_sends(port, PEER, b"x");
    assert_eq!(late, Came::Dropped(Dropped::NoPermission), "data does not prolong it");
}

#[test]
fn s10_2_a_permission_is_asked_for_all_peers_or_none() {
    let mut world = World::new();
    let client = World::client(1);
    let port = world.allocate(client);
    assert_eq!(world.permit(client, &[]), Some(400));
    assert_eq!(world.permit(client, &[PEER, PEER6]), Some(443), "no address of that family");
    assert_eq!(world.permit(client, &[PEER, "10.0.0.1:5000"]), Some(403));
    assert_eq!(world.peer_sends(port, PEER, b"x"), Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.permit(client, &[PEER, OTHER]), None);
    assert!(matches!(world.peer_sends(port, OTHER, b"x"), Came::ToClient(..)));
}

#[test]
fn s11_send_and_data_carry_both_ways_without_a_channel() {
    let mut world = World::new();
    let client = World::client(1);
    let port = world.allocate(client);
    let early = world.indicate(client, PEER, b"abc");
    assert_eq!(early, Came::Dropped(Dropped::NoPermission));
    world.permit(client, &[PEER]);
    let sent = world.indicate(client, PEER, b"abc");
    assert_eq!(sent, Came::ToPeer(port, address(PEER), b"abc".to_vec()));
    let Came::ToClient(to, wire) = world.peer_sends(port, PEER, b"hello") else {
        panic!("dropped")
    };
    assert_eq!(to, client);
    let message = Message::read(&wire).expect("a message");
    assert_eq!(message.kind(), Type { method: Method::DATA, class: Class::Indication });
    let from = message.attribute(AttributeType::XOR_PEER_ADDRESS).expect("it is there");
    assert_eq!(from.xor_address(message.transaction()), Some(address(PEER)));
    let data = message.attribute(AttributeType::DATA).expect("it is there");
    assert_eq!(data.value, b"hello");
}

#[test]
fn s12_a_channel_means_one_peer_and_lasts_ten_minutes() {
    let mut world = World::new();
    let client = World::client(1);
    let port = world.allocate(client);
    let unbound = world.send(client, &channel(0x4001, b"x"));
    assert_eq!(unbound, Came::Dropped(Dropped::NoChannel));
    assert_eq!(world.bind(client, 0x3FFF, PEER), Some(400));
    assert_eq!(world.bind(client, 0x4001, PEER), None);
    assert_eq!(world.bind(client, 0x4001, OTHER), Some(400), "the number is another's");
    assert_eq!(world.bind(client, 0x4002, PEER), Some(400), "the peer has another");
    assert_eq!(world.bind(client, 0x4001, PEER), None, "again is a refresh");
    let sent = world.send(client, &channel(0x4001, b"abc"));
    assert_eq!(sent, Came::ToPeer(port, address(PEER), b"abc".to_vec()));
    let back = world.peer_sends(port, PEER, b"defg");
    assert_eq!(back, Came::ToClient(client, channel(0x4001, b"defg")));
    world.ask(client, Method::REFRESH, |request| {
        request.number(AttributeType::LIFETIME, 3_600);
    });
    world.pass(599);
    world.permit(client, &[PEER]);
    assert!(matches!(world.send(client, &channel(0x4001, b"x")), Came::ToPeer(..)));
    world.pass(1);
    let late = world.send(client, &channel(0x4001, b"x"));
    assert_eq!(late, Came::Dropped(Dropped::NoChannel));
}

#[test]
fn s12_2_a_binding_permits_its_peer_for_five_minutes_only() {
    let mut world = World::new();
    let client = World::client(1);
    let port = world.allocate(client);
    world.bind(client, 0x4001, PEER);
    assert!(matches!(world.peer_sends(port, PEER, b"x"), Came::ToClient(..)));
    world.pass(300);
    let late = world.send(client, &channel(0x4001, b"x"));
    assert_eq!(late, Came::Dropped(Dropped::NoPermission));
}

#[test]
fn s12_6_channel_data_longer_than_its_datagram_is_dropped() {
    let mut world = World::new();
    let client = World::client(1);
    world.allocate(client);
    world.bind(client, 0x4001, PEER);
    let mut wire = channel(0x4001, b"abcd");
    wire.truncate(6);
    assert_eq!(world.send(client, &wire), Came::Dropped(Dropped::Malformed));
    wire = channel(0x4001, b"abc");
    wire.push(0);
    assert!(matches!(world.send(client, &wire), Came::ToPeer(_, _, data) if data == b"abc"));
}

#[test]
fn s10_2_what_the_address_rule_refuses_is_403() {
    let mut world = World::new();
    let client = World::client(1);
    world.allocate(client);
    for peer in ["127.0.0.1:80", "10.0.0.1:5061", "169.254.169.254:80", "0.0.0.0:1"] {
        assert_eq!(world.permit(client, &[peer]), Some(403), "{peer}");
        assert_eq!(world.bind(client, 0x4001, peer), Some(403), "{peer}");
    }
}
