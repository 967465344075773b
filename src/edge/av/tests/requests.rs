use super::super::*;
use super::world::*;
use crate::stun::{AttributeType, Builder, Class, Message, Method, Type};

#[test]
fn rfc8656_5_a_client_is_challenged_and_then_gets_an_address() {
    let mut world = World::new();
    let client = world.client(1);
    let answer = world.ask(client, Method::ALLOCATE, udp);
    assert_eq!(answer.error, None);
    let relayed = answer.address(AttributeType::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(relayed.ip().to_string(), RELAYED);
    assert!((50_000..50_100).contains(&relayed.port()));
    assert_eq!(answer.address(AttributeType::XOR_MAPPED_ADDRESS), Some(client.remote));
    assert_eq!(answer.number(AttributeType::LIFETIME), Some(600));
    assert_eq!(world.open.len(), 1);
}

#[test]
fn answers_to_strangers_are_small_bare_and_few() {
    let mut long = setup();
    long.realm = "r".repeat(limits::TURN_REALM_BYTES_MAX);
    let mut world = World::of(long);
    let client = world.client(1);
    let mut bare = Vec::new();
    let kind = Type { method: Method::ALLOCATE, class: Class::Request };
    let id = world.id();
    Builder::new(&mut bare, kind, id).fingerprint();
    let mut answers = 0;
    for _ in 0..1_000 {
        match world.send(client, &bare) {
            Came::Answer(answer) => {
                answers += 1;
                assert!(answer.len() <= 128, "{}", answer.len());
                let message = Message::read(&answer).unwrap();
                assert!(message.attribute(AttributeType::SOFTWARE).is_none());
                assert!(message.attribute(AttributeType::FINGERPRINT).is_some());
            }
            other => assert_eq!(other, Came::Dropped(Dropped::AnswerRate)),
        }
    }
    assert_eq!(answers, limits::TURN_UNAUTHENTICATED_PER_SOURCE);
    assert_eq!(world.relay.allocations(), 0);
}

#[test]
fn a_binding_request_is_told_where_it_came_from() {
    let mut world = World::new();
    let mut wire = Vec::new();
    let kind = Type { method: Method::BINDING, class: Class::Request };
    let id = world.id();
    Builder::new(&mut wire, kind, id);
    let client = world.client(3);
    let Came::Answer(answer) = world.send(client, &wire) else { panic!() };
    let message = Message::read(&answer).unwrap();
    let mapped = message.attribute(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
    assert_eq!(mapped.xor_address(id), Some(client.remote));
    assert_eq!(answer.len(), 32);
}

#[test]
fn rfc8489_9_2_4_wrong_proofs_are_told_apart() {
    let mut world = World::new();
    let client = world.client(1);
    let nonce = world.nonce(client);
    let number = |user: &str, secret: &[u8], nonce: &[u8], world: &mut World| {
        let id = world.id();
        let wire = proven(id, Method::ALLOCATE, user, secret, nonce, udp);
        let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
        let message = Message::read(&answer).unwrap();
        message.attribute(AttributeType::ERROR_CODE).map(|error| error.error().unwrap().0)
    };
    assert_eq!(number(USER, b"wrong", &nonce, &mut world), Some(401));
    assert_eq!(number("1600000000:alice", b"new", &nonce, &mut world), Some(401), "it has ended");
    assert_eq!(number("alice", b"new", &nonce, &mut world), Some(401), "no time in it");
    assert_eq!(number(USER, b"new", b"foreign", &mut world), Some(438));
    assert_eq!(number(USER, b"old", &nonce, &mut world), None, "the secret before still counts");
    world.pass(3_601_000);
    assert_eq!(number(USER, b"old", &nonce, &mut world), Some(438), "the nonce is too old");
}

#[test]
fn what_a_proof_needs_must_be_there() {
    let mut world = World::new();
    let client = world.client(1);
    let nonce = world.nonce(client);
    for missing in [AttributeType::USERNAME, AttributeType::REALM, AttributeType::NONCE] {
        let kind = Type { method: Method::ALLOCATE, class: Class::Request };
        let mut wire = Vec::new();
        let id = world.id();
        let mut request = Builder::new(&mut wire, kind, id);
        for (kind, value) in [
            (AttributeType::USERNAME, USER.as_bytes()),
            (AttributeType::REALM, REALM.as_bytes()),
            (AttributeType::NONCE, &nonce[..]),
        ] {
            if kind != missing {
                request.attribute(kind, value);
            }
        }
        request.integrity_sha1(&key(USER, b"new"));
        let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
        assert_eq!(Answer::of(&answer, USER, b"new").error, Some(400), "{missing:?}");
    }
}

#[test]
fn rfc8489_9_2_4_sha256_is_used_by_those_who_have_seen_the_offer() {
    let mut world = World::new();
    let client = world.client(1);
    let nonce = world.nonce(client);
    let password = Secret::new(b"new").password(USER.as_bytes());
    let key =
        crate::stun::Key::long_term_sha256(USER.as_bytes(), REALM.as_bytes(), password.as_bytes());
    let send = |offer: &[u8], world: &mut World| {
        let kind = Type { method: Method::ALLOCATE, class: Class::Request };
        let mut wire = Vec::new();
        let id = world.id();
        let mut request = Builder::new(&mut wire, kind, id);
        udp(&mut request);
        request.attribute(AttributeType::USERNAME, USER.as_bytes());
        request.attribute(AttributeType::REALM, REALM.as_bytes());
        request.attribute(AttributeType::NONCE, &nonce);
        request.attribute(AttributeType::PASSWORD_ALGORITHMS, offer);
        request.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
        request.integrity_sha256(&key);
        let Came::Answer(answer) = world.send(client, &wire) else { panic!("no answer") };
        answer
    };
    let bid_down = send(&[0, 1, 0, 0], &mut world);
    let error = Message::read(&bid_down).unwrap().attribute(AttributeType::ERROR_CODE).unwrap();
    assert_eq!(error.error().unwrap().0, 400, "somebody took the better one out");
    let answer = send(&[0, 2, 0, 0, 0, 1, 0, 0], &mut world);
    let message = Message::read(&answer).unwrap();
    assert_eq!(message.kind().class, Class::Success);
    assert!(message.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256).is_some());
    assert_eq!(message.integrity(&key), crate::stun::Proof::Good);
}

#[test]
fn rfc8656_7_2_each_wrong_allocate_has_its_error() {
    let mut world = World::new();
    let client = world.client(1);
    let mut error = |build: &dyn Fn(&mut Builder<'_>)| {
        world.ask(client, Method::ALLOCATE, |request| build(request)).error
    };
    assert_eq!(error(&|_| {}), Some(400), "no transport");
    let sctp = |r: &mut Builder<'_>| {
        r.attribute(AttributeType::REQUESTED_TRANSPORT, &[132, 0, 0, 0]);
    };
    assert_eq!(error(&sctp), Some(442));
    let family = |value: u8| {
        move |r: &mut Builder<'_>| {
            udp(r);
            r.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[value, 0, 0, 0]);
        }
    };
    assert_eq!(error(&family(9)), Some(440));
    let both = |r: &mut Builder<'_>| {
        family(1)(r);
        r.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    };
    assert_eq!(error(&both), Some(400));
    let first = |r: &mut Builder<'_>| {
        udp(r);
        r.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0]);
    };
    assert_eq!(error(&first), Some(400));
    let unknown = |r: &mut Builder<'_>| {
        udp(r);
        r.attribute(AttributeType::DONT_FRAGMENT, &[]);
    };
    assert_eq!(error(&unknown), Some(420), "the bit cannot be promised");
    let token = |r: &mut Builder<'_>| {
        udp(r);
        r.attribute(AttributeType::RESERVATION_TOKEN, &[0; 8]);
    };
    assert_eq!(error(&token), Some(508), "nothing is kept under it");
    let token_even = |r: &mut Builder<'_>| {
        token(r);
        r.attribute(AttributeType::EVEN_PORT, &[0]);
    };
    assert_eq!(error(&token_even), Some(400));
    assert_eq!(world.relay.allocations(), 0);
    assert_eq!(world.relay.free_ports(), Some(100), "nothing is lost by what was refused");
}

#[test]
fn rfc8656_7_2_dual_stack_and_family() {
    let mut world = World::new();
    let client = world.client(1);
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    let message = answer.message();
    let relayed: Vec<_> = message
        .attributes()
        .filter(|attribute| attribute.kind == AttributeType::XOR_RELAYED_ADDRESS)
        .map(|attribute| attribute.xor_address(message.transaction()).unwrap())
        .collect();
    assert!(relayed[0].is_ipv4() && relayed[1].is_ipv6(), "{relayed:?}");
    let refresh = world.ask(client, Method::REFRESH, |request| {
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    assert_eq!(refresh.error, None);
    let other = world.client(2);
    world.allocate(other);
    let refresh = world.ask(other, Method::REFRESH, |request| {
        request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    assert_eq!(refresh.error, Some(443));
    assert_eq!(world.permit(other, address("[2a00:1450::1]:9")).error, Some(443));
}

#[test]
fn rfc8656_7_2_the_same_request_again_gets_the_same_address_and_another_one_437() {
    let mut world = World::new();
    let client = world.client(1);
    let request = world.request(client, Method::ALLOCATE, USER, b"new", udp);
    let Came::Answer(first) = world.send(client, &request) else { panic!() };
    let Came::Answer(again) = world.send(client, &request) else { panic!() };
    let of = |wire: &[u8]| world_relayed(wire);
    assert_eq!(of(&first), of(&again));
    assert_eq!(world.relay.allocations(), 1);
    assert_eq!(world.ask(client, Method::ALLOCATE, udp).error, Some(437));
    let none = world.client(2);
    assert_eq!(world.ask(none, Method::REFRESH, |_| {}).error, Some(437));
    assert_eq!(world.permit(none, address(PEER)).error, Some(437));
    assert_eq!(world.bind(none, 0x4000, address(PEER)).error, Some(437));
}

fn world_relayed(wire: &[u8]) -> Option<SocketAddr> {
    Answer::of(wire, USER, b"new").address(AttributeType::XOR_RELAYED_ADDRESS)
}

#[test]
fn rfc8656_5_another_user_may_not_speak_of_an_allocation() {
    let mut world = World::new();
    let client = world.client(1);
    world.allocate(client);
    let mallory = "9999999999:mallory";
    let request = world.request(client, Method::REFRESH, mallory, b"new", |_| {});
    let Came::Answer(answer) = world.send(client, &request) else { panic!() };
    assert_eq!(Answer::of(&answer, mallory, b"new").error, Some(441));
}

#[test]
fn quotas_and_ports_run_out_with_their_errors_and_recover() {
    let mut world = World::new();
    for number in 0..3 {
        let client = world.client(number);
        world.allocate(client);
    }
    let fourth = world.client(3);
    assert_eq!(world.ask(fourth, Method::ALLOCATE, udp).error, Some(486));
    // Others are not concerned, until there are no ports.
    let mut errors = Vec::new();
    for number in 0..90_u16 {
        let user = format!("9999999999:user{number}");
        let client = world.client(100 + number);
        let client =
            Client { remote: SocketAddr::new([203, 0, number as u8, 9].into(), 9), ..client };
        let request = world.request(client, Method::ALLOCATE, &user, b"new", udp);
        let Came::Answer(answer) = world.send(client, &request) else { panic!() };
        errors.push(Answer::of(&answer, &user, b"new").error);
    }
    assert_eq!(errors.iter().filter(|error| error.is_none()).count(), 77);
    assert!(errors.iter().flatten().all(|error| *error == 508));
    let counted = world.relay.counters().errors;
    assert_eq!((counted.of("486"), counted.of("508"), counted.of("401")), (1, 13, 0));
    let wrong = world.request(fourth, Method::ALLOCATE, "9999999999:mallory", b"guessed", udp);
    let challenged = world.relay.counters().errors.of("challenge");
    assert!(matches!(world.send(fourth, &wrong), Came::Answer(_)));
    assert_eq!(world.relay.counters().errors.of("401"), 1, "a wrong proof is no challenge");
    assert_eq!(world.relay.counters().errors.of("challenge"), challenged);
    let gone = world.client(0);
    assert_eq!(
        world
            .ask(gone, Method::REFRESH, |r| {
                r.number(AttributeType::LIFETIME, 0);
            })
            .error,
        None
    );
    assert_eq!(world.ask(fourth, Method::ALLOCATE, udp).error, None);
}

#[test]
fn the_domain_of_a_user_is_known_as_long_as_his_allocation_is_there() {
    let mut world = World::new();
    let (kim, lee) = ("9999999999:kim@contoso.example", "9999999999:lee");
    let [one, other] = [world.client(1), world.client(2)];
    let mut asks = |client, user: &str, method, lifetime_s| {
        let request = world.request(client, method, user, b"new", |r| {
            udp(r);
            r.number(AttributeType::LIFETIME, lifetime_s);
        });
        let Came::Answer(answer) = world.send(client, &request) else { panic!() };
        assert_eq!(Answer::of(&answer, user, b"new").error, None);
        world.relay.domain_of(&client).map(|domain| domain.to_string())
    };
    assert_eq!(asks(one, kim, Method::ALLOCATE, 600), Some("contoso.example".to_owned()));
    assert_eq!(asks(one, kim, Method::REFRESH, 0), None);
    assert_eq!(asks(other, lee, Method::ALLOCATE, 600), None, "nor is it who comes to its place");
}

#[test]
fn a_port_that_cannot_be_opened_is_508_and_given_back() {
    let mut world = World::new();
    world.kernel_fails = Opened::Failed;
    let client = world.client(1);
    assert_eq!(world.ask(client, Method::ALLOCATE, udp).error, Some(508));
    assert_eq!(world.relay.free_ports(), Some(100));
    world.kernel_fails = Opened::All;
    world.allocate(client);
}

#[test]
fn rfc8656_7_2_an_even_port_keeps_the_next_one_for_its_token() {
    let mut world = World::new();
    let client = world.client(1);
    let answer = world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::EVEN_PORT, &[0x80]);
    });
    let port = world.relayed(&answer);
    assert_eq!(port.port % 2, 0);
    let token = answer.message().attribute(AttributeType::RESERVATION_TOKEN).unwrap();
    let token = token.value.to_vec();
    let second = world.client(2);
    let claim = world.ask(second, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::RESERVATION_TOKEN, &token);
    });
    assert_eq!(world.relayed(&claim).port, port.port + 1);
    let third = world.client(3);
    let again = world.ask(third, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::RESERVATION_TOKEN, &token);
    });
    assert_eq!(again.error, Some(508), "a token is good once");
}

#[test]
fn a_reserved_port_nobody_claims_comes_back() {
    let mut world = World::new();
    let client = world.client(1);
    world.ask(client, Method::ALLOCATE, |request| {
        udp(request);
        request.attribute(AttributeType::EVEN_PORT, &[0x80]);
    });
    assert_eq!(world.relay.free_ports(), Some(98));
    world.pass(limits::TURN_RESERVATION_MS);
    assert_eq!(world.relay.free_ports(), Some(99));
}

#[test]
fn who_comes_by_the_pools_address_is_sent_to_the_node_once_known() {
    let mut world = World::new();
    let client = world.client(1);
    let request = world.request(client, Method::ALLOCATE, USER, b"new", udp);
    let Came::Answer(answer) = world.send_to(client, address(VIP), &request) else { panic!() };
    let answer = Answer::of(&answer, USER, b"new");
    assert_eq!(answer.error, Some(300));
    let alternate = answer.message().attribute(AttributeType::ALTERNATE_SERVER).unwrap();
    assert_eq!(alternate.address(), Some(address(NODE)));
    assert_eq!(world.relay.allocations(), 0);
}

#[test]
fn a_draining_relay_sends_new_clients_elsewhere_and_serves_the_old() {
    let mut world = World::new();
    let old = world.client(1);
    world.allocate(old);
    let other = address("198.51.100.7:3478");
    world.relay.admit(Admission::Draining { alternate: Some(other) });
    let new = world.client(2);
    let answer = world.ask(new, Method::ALLOCATE, udp);
    assert_eq!(answer.error, Some(300));
    let alternate = answer.message().attribute(AttributeType::ALTERNATE_SERVER).unwrap();
    assert_eq!(alternate.address(), Some(other));
    assert_eq!(world.ask(old, Method::REFRESH, |_| {}).error, None);
    world.relay.admit(Admission::Draining { alternate: None });
    assert_eq!(world.ask(new, Method::ALLOCATE, udp).error, Some(508));
}

#[test]
fn what_is_no_message_is_dropped_and_counted() {
    let mut world = World::new();
    let client = world.client(1);
    for datagram in [&b""[..], b"\x00", b"\x00\x03\x00\x00junk", b"GET / HTTP/1.1", &[0xFF; 100]] {
        let came = world.send(client, datagram);
        assert!(
            matches!(came, Came::Dropped(Dropped::Malformed | Dropped::NoAllocation)),
            "{came:?}"
        );
    }
    let mut success = Vec::new();
    let id = world.id();
    let kind = Type { method: Method::ALLOCATE, class: Class::Success };
    Builder::new(&mut success, kind, id);
    assert_eq!(world.send(client, &success), Came::Dropped(Dropped::Unexpected));
    assert_eq!(world.relay.counters().dropped.iter().sum::<u64>(), 6);
}
