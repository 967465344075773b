use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Class, Message, Method};

#[test]
fn rfc8656_9_nothing_passes_without_permission() {
    let mut world = World::new();
    let client = world.client(1);
    let port = world.allocate(client);
    let peer = address(PEER);
    assert_eq!(world.send_data(client, peer, b"x"), Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.peer_sends(port, peer, b"x"), Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.permit(client, peer).error, None);
    assert_eq!(world.send_data(client, peer, b"x"), Came::ToPeer(port, peer, b"x".to_vec()));
    // By address: another port of the same peer may answer.
    let other_port = SocketAddr::new(peer.ip(), 7);
    assert!(matches!(world.peer_sends(port, other_port, b"y"), Came::ToClient(..)));
    let other = address("93.184.216.35:5000");
    assert_eq!(world.peer_sends(port, other, b"y"), Came::Dropped(Dropped::NoPermission));
    world.pass(limits::TURN_PERMISSION_MS);
    assert_eq!(world.peer_sends(port, peer, b"y"), Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.send_data(client, peer, b"x"), Came::Dropped(Dropped::NoPermission));
}

#[test]
fn rfc8656_11_3_data_comes_as_an_indication_with_its_peer() {
    let mut world = World::new();
    let client = world.client(1);
    let port = world.allocate(client);
    let peer = address(PEER);
    world.permit(client, peer);
    for data in [&b""[..], b"a", b"abcd", b"abcdefg"] {
        let Came::ToClient(to, wire) = world.peer_sends(port, peer, data) else { panic!() };
        assert_eq!(to, client);
        let message = Message::read(&wire).expect("a message with its padding");
        assert_eq!(message.kind().class, Class::Indication);
        assert_eq!(message.kind().method, Method::DATA);
        assert_eq!(message.attribute(AttributeType::DATA).unwrap().value, data);
        let from = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
        assert_eq!(from.xor_address(message.transaction()), Some(peer));
    }
}

#[test]
fn rfc8656_12_a_channel_carries_both_ways_for_ten_minutes() {
    let mut world = World::new();
    let client = world.client(1);
    let port = world.allocate(client);
    let peer = address(PEER);
    let bound = 0x4001;
    let nothing = world.send(client, &channel(bound, b"x"));
    assert_eq!(nothing, Came::Dropped(Dropped::NoChannel));
    assert_eq!(world.bind(client, bound, peer).error, None);
    let sent = world.send(client, &channel(bound, b"hello"));
    assert_eq!(sent, Came::ToPeer(port, peer, b"hello".to_vec()));
    let back = world.peer_sends(port, peer, b"there");
    assert_eq!(back, Came::ToClient(client, channel(bound, b"there")));
    // The permission ends before the channel does, and nothing passes then.
    world.pass(limits::TURN_PERMISSION_MS);
    let sent = world.send(client, &channel(bound, b"hello"));
    assert_eq!(sent, Came::Dropped(Dropped::NoPermission));
    world.bind(client, bound, peer);
    let sent = world.send(client, &channel(bound, b"hello"));
    assert_eq!(sent, Came::ToPeer(port, peer, b"hello".to_vec()));
    world.ask(client, Method::REFRESH, |_| {});
    world.pass(limits::TURN_CHANNEL_MS - 1_000);
    world.permit(client, peer);
    world.pass(1_000);
    let ended = world.send(client, &channel(bound, b"hello"));
    assert_eq!(ended, Came::Dropped(Dropped::NoAllocation), "the allocation had ten minutes too");
}

#[test]
fn rfc8656_12_2_a_channel_means_one_peer_and_a_peer_one_channel() {
    let mut world = World::new();
    let client = world.client(1);
    world.allocate(client);
    let (peer, other) = (address(PEER), address("93.184.216.35:5000"));
    assert_eq!(world.bind(client, 0x4001, peer).error, None);
    assert_eq!(world.bind(client, 0x4001, peer).error, None, "again, to prolong it");
    assert_eq!(world.bind(client, 0x4001, other).error, Some(400));
    assert_eq!(world.bind(client, 0x4002, peer).error, Some(400));
    assert_eq!(world.bind(client, 0x3FFF, other).error, Some(400));
    assert_eq!(world.bind(client, 0x8000, other).error, Some(400));
    assert_eq!(world.bind(client, 0x7FFF, other).error, None);
}

#[test]
fn peers_that_the_address_rule_refuses_are_403() {
    let mut rule = setup();
    rule.peers.rule.own = vec!["93.184.216.40".parse().unwrap()];
    rule.peers.rule.management = vec!["93.184.217.0/24".parse().unwrap()];
    rule.peers.external = vec!["10.0.0.0/8".parse().unwrap()];
    let mut world = World::of(rule);
    let client = world.client(1);
    world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    for refused in [
        "127.0.0.1:5000",
        "0.0.0.0:5000",
        "169.254.169.254:80",
        "192.168.1.1:5000",
        "224.0.0.1:5000",
        "93.184.216.40:3478",
        "93.184.217.9:9090",
        "[::1]:5000",
        "[::ffff:127.0.0.1]:5000",
        "[64:ff9b::7f00:1]:5000",
        "[2002:7f00:1::]:5000",
        "[fe80::1]:5000",
    ] {
        assert_eq!(world.permit(client, address(refused)).error, Some(403), "{refused}");
        assert_eq!(world.bind(client, 0x4000, address(refused)).error, Some(403), "{refused}");
    }
    assert_eq!(world.permit(client, address("10.1.2.3:5000")).error, None, "the office");
    assert_eq!(world.permit(client, address("[::ffff:93.184.216.34]:5000")).error, None);
}

#[test]
fn one_refused_peer_refuses_all_of_a_request() {
    let mut world = World::new();
    let client = world.client(1);
    let port = world.allocate(client);
    let answer = world.ask(client, Method::CREATE_PERMISSION, |request| {
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, address(PEER));
        request.xor_address(AttributeType::XOR_PEER_ADDRESS, address("127.0.0.1:1"));
    });
    assert_eq!(answer.error, Some(403));
    assert_eq!(world.peer_sends(port, address(PEER), b"x"), Came::Dropped(Dropped::NoPermission));
    assert_eq!(world.ask(client, Method::CREATE_PERMISSION, |_| {}).error, Some(400));
}

#[test]
fn permissions_run_out_with_508_and_come_back() {
    let mut world = World::new();
    let client = world.client(1);
    world.allocate(client);
    let peer = |n: usize| SocketAddr::new([93, 184, 0, n as u8].into(), 1);
    for n in 0..limits::TURN_PERMISSIONS_MAX {
        assert_eq!(world.permit(client, peer(n)).error, None);
        world.pass(1_000);
    }
    assert_eq!(world.permit(client, peer(200)).error, Some(508));
    assert_eq!(world.permit(client, peer(5)).error, None, "one that is there is prolonged");
    world.pass(limits::TURN_PERMISSION_MS);
    assert_eq!(world.permit(client, peer(200)).error, None);
}

/// An internal and a remote user in one call: each is the other's peer by its relayed address.
#[test]
fn two_clients_of_one_relay_reach_each_other_within_it_under_both_permissions() {
    let mut world = World::new();
    let (alice, bob) = (world.client(1), world.client(2));
    let (of_alice, of_bob) = (world.allocate(alice), world.allocate(bob));
    let at = |port: RelayPort| SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    world.bind(alice, 0x4001, at(of_bob));
    let lonely = world.send(alice, &channel(0x4001, b"ring"));
    assert_eq!(lonely, Came::Dropped(Dropped::NoPermission), "bob has not permitted alice");
    assert_eq!(world.relay.counters().within, 0, "he was given nothing");
    world.bind(bob, 0x4002, at(of_alice));
    let rung = world.send(alice, &channel(0x4001, b"ring"));
    assert_eq!(rung, Came::ToClient(bob, channel(0x4002, b"ring")));
    let answered = world.send(bob, &channel(0x4002, b"yes"));
    assert_eq!(answered, Came::ToClient(alice, channel(0x4001, b"yes")));
    assert_eq!(world.relay.counters().within, 2);
    world.relay.kill(&bob, &mut world.out);
    world.out.closes.clear();
    let gone = world.send(alice, &channel(0x4001, b"ring"));
    assert_eq!(gone, Came::Dropped(Dropped::NoPermission));
    let counters = world.relay.counters();
    assert_eq!((counters.within, counters.dropped[Dropped::NoPermission as usize]), (2, 2));
}

#[test]
fn an_allocation_that_points_at_itself_gets_its_own_data_and_no_more() {
    let mut world = World::new();
    let client = world.client(1);
    let port = world.allocate(client);
    let itself = SocketAddr::new(RELAYED.parse().unwrap(), port.port);
    assert_eq!(world.bind(client, 0x4000, itself).error, None);
    let echoed = world.send(client, &channel(0x4000, b"loop"));
    assert_eq!(echoed, Came::ToClient(client, channel(0x4000, b"loop")), "one datagram for one");
}

#[test]
fn the_rate_of_an_allocation_is_bounded() {
    let mut slow = setup();
    slow.quotas.allocation_kbit_s = 80;
    let mut world = World::of(slow);
    let client = world.client(1);
    world.allocate(client);
    world.bind(client, 0x4000, address(PEER));
    let mut passed = 0;
    for _ in 0..1_000 {
        if matches!(world.send(client, &channel(0x4000, &[0; 1_000])), Came::ToPeer(..)) {
            passed += 1_000;
        }
        world.pass(10);
    }
    let granted = 10 * 10_000 + 5_000;
    assert!((granted - 10_000..=granted + 1_000).contains(&passed), "{passed}");
}

#[test]
fn clients_of_each_side_have_peers_of_their_own() {
    let mut two = setup();
    two.listeners.push(Listener { node: address("10.0.0.9:3478"), vip: None });
    two.peers.external = vec!["100.64.0.0/16".parse().unwrap()];
    two.peers.internal = vec!["10.0.0.0/8".parse().unwrap()];
    two.peers.inside = vec![1];
    let mut world = World::of(two);
    let outside = world.client(1);
    let inside = Client { listener: 1, ..world.client(2) };
    for client in [outside, inside] {
        world.allocate(client);
    }
    let (office, carrier) = (address("10.1.2.3:5000"), address("100.64.1.1:5000"));
    assert_eq!(world.permit(outside, office).error, Some(403), "nothing to seek inside");
    assert_eq!(world.permit(inside, office).error, None);
    assert_eq!(world.permit(outside, carrier).error, None);
    assert_eq!(world.permit(inside, carrier).error, Some(403));
    for client in [outside, inside] {
        assert_eq!(world.permit(client, address(PEER)).error, None, "the Internet");
    }
}
