use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[track_caller]
fn passes(text: &str) {
    let rule = AddressRule::default();
    assert!(permitted(&rule, &[], ip(text)).is_ok(), "{text} is refused");
}

#[track_caller]
fn is_not_routable(text: &str) {
    let refused = permitted(&AddressRule::default(), &[], ip(text));
    assert!(matches!(refused, Err(AddressRefusal::NotGloballyRoutable(_))), "{text}: {refused:?}");
}

/// First and last address of every block, and its neighbours outside (RFC 6890 and successors).
#[test]
fn every_special_ipv4_block_is_refused_and_its_neighbours_pass() {
    let blocks = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ];
    let blocks: Vec<ipnet::Ipv4Net> = blocks.iter().map(|block| block.parse().unwrap()).collect();
    let special = |ip: u32| blocks.iter().any(|block| block.contains(&Ipv4Addr::from_bits(ip)));
    for block in &blocks {
        let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
        for bits in [first, first + 1, last - 1, last, first.wrapping_sub(1), last.wrapping_add(1)]
        {
            let text = Ipv4Addr::from_bits(bits).to_string();
            if special(bits) { is_not_routable(&text) } else { passes(&text) }
        }
    }
}

#[test]
fn only_global_unicast_ipv6_passes() {
    for global in ["2000::1", "2600::1", "2001:200::1", "2a00:1450::1", "3ffe::1"] {
        passes(global);
    }
    for special in [
        "::",
        "::1",
        "::9.9.9.9",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fdff::1",
        "ff02::1",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "64:ff9b:1::1",
        "1fff::1",
    ] {
        is_not_routable(special);
    }
}

#[test]
fn an_ipv4_address_in_another_dress_is_judged_as_itself() {
    for dress in ["::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1"] {
        is_not_routable(dress);
    }
    for dress in ["::ffff:9.9.9.9", "64:ff9b::9.9.9.9", "2002:909:909::1"] {
        passes(dress);
    }
    let rule = AddressRule::default();
    assert_eq!(permitted(&rule, &[], ip("::ffff:9.9.9.9")), Ok(ip("9.9.9.9")));
    assert_eq!(permitted(&rule, &[], ip("64:ff9b::9.9.9.9")), Ok(ip("64:ff9b::9.9.9.9")));
}

#[test]
fn own_listeners_and_management_are_refused_in_every_dress() {
    let rule = AddressRule {
        own: vec![ip("9.9.9.9"), ip("2600::1")],
        management: vec![net("8.8.8.0/24"), net("2002:808:404::/48")],
        ..AddressRule::default()
    };
    for own in ["9.9.9.9", "::ffff:9.9.9.9", "64:ff9b::9.9.9.9", "2600::1"] {
        let refused = permitted(&rule, &[], ip(own));
        assert!(matches!(refused, Err(AddressRefusal::OwnListener(_))), "{own}: {refused:?}");
    }
    for management in ["8.8.8.1", "64:ff9b::8.8.8.1", "2002:808:404::1"] {
        let refused = permitted(&rule, &[], ip(management));
        assert!(matches!(refused, Err(AddressRefusal::Management(_))), "{management}");
    }
}

#[test]
fn an_exception_permits_what_it_names_and_nothing_beside() {
    let rule = AddressRule {
        allow_networks: vec![net("127.0.0.0/8")],
        own: vec![ip("127.0.0.1")],
        ..AddressRule::default()
    };
    let partner = [net("10.1.0.0/16")];
    assert_eq!(permitted(&rule, &partner, ip("127.0.0.1")), Ok(ip("127.0.0.1")));
    assert_eq!(permitted(&rule, &partner, ip("10.1.2.3")), Ok(ip("10.1.2.3")));
    assert!(permitted(&rule, &partner, ip("10.2.0.1")).is_err());
    assert!(permitted(&rule, &[], ip("10.1.2.3")).is_err());
    assert!(permitted(&rule, &[], ip("::1")).is_err());
}

/// What the standard library can tell of an address, which the rule must agree with.
fn naive_special(ip: Ipv4Addr) -> bool {
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || ip.is_unspecified()
}

proptest! {
    #[test]
    fn whatever_the_standard_library_calls_special_is_refused(bits: u32) {
        let v4 = Ipv4Addr::from_bits(bits);
        let verdict = permitted(&AddressRule::default(), &[], IpAddr::V4(v4));
        if naive_special(v4) {
            prop_assert!(verdict.is_err());
        }
        let mapped = permitted(&AddressRule::default(), &[], IpAddr::V6(v4.to_ipv6_mapped()));
        prop_assert_eq!(mapped, verdict);
    }

    #[test]
    fn the_rule_is_stable_on_its_own_result(bits: u128) {
        // Half of all inputs in the shapes that carry IPv4.
        let shaped = match bits % 4 {
            0 => (0x0064_ff9b_u128 << 96) | (bits >> 96),
            1 => (0x2002_u128 << 112) | (bits >> 16),
            2 => (0xffff_u128 << 32) | (bits >> 96),
            _ => bits,
        };
        let rule = AddressRule::default();
        let address = IpAddr::V6(Ipv6Addr::from_bits(shaped));
        if let Ok(canonical) = permitted(&rule, &[], address) {
            prop_assert_eq!(permitted(&rule, &[], canonical), Ok(canonical));
            let own = AddressRule { own: vec![canonical], ..AddressRule::default() };
            prop_assert!(permitted(&own, &[], address).is_err());
            let listed = [IpNet::from(canonical)];
            prop_assert_eq!(permitted(&own, &listed, address), Ok(canonical));
        }
    }
}
