use super::super::*;
use super::world::*;
use crate::stun::Method;

/// Asks for an allocation as `user` from `ip`; returns the error.
fn ask(world: &mut World, user: &str, ip: [u8; 4], port: u16) -> Option<u16> {
    let client =
        Client { listener: 0, transport: Transport::Udp, remote: SocketAddr::from((ip, port)) };
    let user = format!("9999999999:{user}");
    let request = world.request(client, Method::ALLOCATE, &user, b"new", udp);
    let Came::Answer(answer) = world.send(client, &request) else { panic!("no answer") };
    Answer::of(&answer, &user, b"new").error
}

fn world(quotas: Quotas) -> World {
    World::of(Setup { quotas, ..setup() })
}

#[test]
fn a_partner_has_so_many_allocations_whatever_its_users_are_called() {
    let mut world = world(Quotas { allocations_per_partner: 3, ..Quotas::default() });
    for n in 0..3 {
        let user = format!("user{n}@fabrikam.example");
        assert_eq!(ask(&mut world, &user, [203, 0, n, 1], 1), None);
    }
    assert_eq!(ask(&mut world, "new@Fabrikam.Example", [203, 0, 9, 1], 1), Some(486));
    assert_eq!(ask(&mut world, "new@contoso.example", [203, 0, 9, 1], 2), None);
    assert_eq!(ask(&mut world, "nobodys", [203, 0, 9, 1], 3), None);
    let gone = Client {
        listener: 0,
        transport: Transport::Udp,
        remote: SocketAddr::from(([203, 0, 0, 1], 1)),
    };
    assert!(world.relay.kill(&gone, &mut world.out));
    assert_eq!(ask(&mut world, "new@fabrikam.example", [203, 0, 9, 1], 4), None);
}

#[test]
fn a_source_network_has_so_many_allocations_whoever_asks() {
    let mut world = world(Quotas { allocations_per_source: 4, ..Quotas::default() });
    for n in 0..4_u8 {
        assert_eq!(ask(&mut world, &format!("user{n}"), [203, 0, 113, n], 1), None);
    }
    assert_eq!(ask(&mut world, "user9", [203, 0, 113, 200], 1), Some(486));
    assert_eq!(ask(&mut world, "user9", [203, 0, 114, 200], 1), None);
    world.pass(600_000);
    assert_eq!(world.relay.users(), 0, "nothing is kept of who has gone");
    assert_eq!(ask(&mut world, "user9", [203, 0, 113, 200], 1), None);
}

#[test]
fn the_rate_of_a_user_is_bounded_over_all_of_his_allocations() {
    // 10,000 bytes a second, and half a second's at once.
    let quotas = Quotas { user_kbit_s: 80, allocation_kbit_s: 1_000_000, ..Quotas::default() };
    let mut world = world(quotas);
    let clients: Vec<_> = (0..3).map(|n| world.client(n)).collect();
    for client in &clients {
        world.allocate(*client);
        world.bind(*client, 0x4000, address(PEER));
    }
    let mut passed = 0;
    for n in 0..600 {
        let sent = world.send(clients[n % 3], &channel(0x4000, &[0; 500]));
        passed += if matches!(sent, Came::ToPeer(..)) { 500 } else { 0 };
        world.pass(10);
    }
    let granted = 6 * 10_000 + 5_000;
    assert!((granted - 1_000..=granted).contains(&passed), "{passed}");
    assert!(world.relay.counters().dropped[Dropped::Bandwidth as usize] > 0);
}
