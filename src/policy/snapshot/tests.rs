use super::super::fixture::{domain, peer, rules, snapshot};
use super::super::{
    DefaultRoute, Listed, PartnerRule, Pattern, ProviderKind, ProviderRule, SrvTarget, Verification,
};
use super::*;
use crate::limits;

/// Compiles and returns what it complains of, as an operator reads it.
fn complaints(change: impl FnOnce(&mut Rules)) -> Vec<String> {
    let mut rules = rules(vec![PartnerRule::allowed_domain(domain("fabrikam.example"))]);
    change(&mut rules);
    match compile(rules, 1) {
        Ok(_) => Vec::new(),
        Err(contradictions) => contradictions.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn rules_without_contradiction_compile() {
    assert_eq!(complaints(|_| {}), Vec::<String>::new());
}

#[test]
fn what_a_disabled_provider_served_may_be_listed() {
    let found = complaints(|rules| {
        let domains = vec![domain("fabrikam.example")];
        let disabled = ProviderRule { domains, ..provider(ProviderKind::Public) };
        rules.providers.push(ProviderRule { enabled: false, ..disabled });
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn contradictions_between_lists_are_told_with_their_places() {
    let fabrikam = || domain("fabrikam.example");
    let cases: [(&str, Vec<String>); 7] = [
        (
            "fabrikam.example is both allowed (partner[0]) and blocked (blocked[1])",
            complaints(|rules| rules.blocked.push(fabrikam().into())),
        ),
        (
            "partner fabrikam.example is listed twice (partner[0] and partner[1])",
            complaints(|rules| rules.partners.push(PartnerRule::allowed_domain(fabrikam()))),
        ),
        (
            "litware.example is blocked twice (blocked[0] and blocked[1])",
            complaints(|rules| rules.blocked.push(domain("litware.example").into())),
        ),
        (
            "own domain contoso.example is blocked (blocked[1])",
            complaints(|rules| rules.blocked.push(domain("contoso.example").into())),
        ),
        (
            "own domain contoso.example is listed as a partner (partner[1])",
            complaints(|rules| {
                let rule = PartnerRule::allowed_domain(domain("contoso.example"));
                rules.partners.push(rule);
            }),
        ),
        (
            "own domain contoso.example is stated twice",
            complaints(|rules| rules.own_domains.push(domain("contoso.example"))),
        ),
        (
            "no own domain is stated: every request would be refused",
            complaints(|rules| rules.own_domains.clear()),
        ),
    ];
    for (sentence, told) in cases {
        assert_eq!(told, [sentence]);
    }
}

#[test]
fn contradictions_within_an_entry_are_told() {
    let edge = || domain("sip.fabrikam.example");
    let cases: [(&str, Vec<String>); 3] = [
        (
            "partner fabrikam.example accepts no SRV target: its list of names is empty",
            complaints(|rules| rules.partners[0].srv_target = SrvTarget::Names(Vec::new())),
        ),
        (
            "fabrikam.example has port 0",
            complaints(|rules| {
                rules.partners[0].kind = Listed::AllowedServer { edge: edge(), port: 0 };
            }),
        ),
        (
            "partner fabrikam.example states its edge, so a rule about SRV targets cannot apply \
             to it",
            complaints(|rules| {
                rules.partners[0].kind = Listed::AllowedServer { edge: edge(), port: 5061 };
                rules.partners[0].srv_target = SrvTarget::SameDomain;
            }),
        ),
    ];
    for (sentence, told) in cases {
        assert_eq!(told, [sentence]);
    }
}

#[test]
fn contradictions_between_next_hops_are_told() {
    let second = |rules: &mut Rules| {
        let mut second = rules.next_hops[0].clone();
        second.name = domain("pool2.contoso.example");
        rules.next_hops.push(second);
    };
    let cases: [(&str, Vec<String>); 5] = [
        (
            "next hops pool.contoso.example and pool2.contoso.example both serve every other own \
             domain",
            complaints(second),
        ),
        (
            "own domain contoso.example has two next hops, pool.contoso.example and \
             pool2.contoso.example",
            complaints(|rules| {
                second(rules);
                rules.next_hops[0].domains = vec![domain("contoso.example")];
                rules.next_hops[1].domains = vec![domain("contoso.example")];
            }),
        ),
        (
            "next hop pool.contoso.example serves adatum.example, which is not an own domain",
            complaints(|rules| rules.next_hops[0].domains = vec![domain("adatum.example")]),
        ),
        (
            "next hop pool.contoso.example has 5 connections; 1 to 4 are possible",
            complaints(|rules| rules.next_hops[0].connections = 5),
        ),
        (
            "a partner has 0 connections; 1 to 4 are possible",
            complaints(|rules| rules.federation.connections_per_partner = 0),
        ),
    ];
    for (sentence, told) in cases {
        assert_eq!(told, [sentence]);
    }
}

fn provider(kind: ProviderKind) -> ProviderRule {
    ProviderRule::new(kind, "online", domain("sipfed.online.example"))
}

#[test]
fn contradictions_of_providers_are_told() {
    let cases: [(&str, Vec<String>); 8] = [
        (
            "two providers are called online (provider[0] and provider[1])",
            complaints(|rules| {
                rules.providers.push(provider(ProviderKind::Hosting));
                let edge = domain("sip.other.example");
                rules.providers.push(ProviderRule { edge, ..provider(ProviderKind::Public) });
            }),
        ),
        (
            "providers provider[0] and provider[1] have the same edge, sipfed.online.example",
            complaints(|rules| {
                rules.providers.push(provider(ProviderKind::Hosting));
                let name = "other".to_owned();
                rules.providers.push(ProviderRule { name, ..provider(ProviderKind::Public) });
            }),
        ),
        (
            "the edge of provider online is this edge itself (provider[0])",
            complaints(|rules| {
                let edge = rules.external_fqdn.clone();
                rules.providers.push(ProviderRule { edge, ..provider(ProviderKind::Public) });
            }),
        ),
        (
            "online has port 0",
            complaints(|rules| {
                rules.providers.push(ProviderRule { port: 0, ..provider(ProviderKind::Public) });
            }),
        ),
        (
            "fabrikam.example is stated by provider online (provider[0]) and by partner[0]",
            complaints(|rules| {
                let domains = vec![domain("fabrikam.example")];
                rules.providers.push(ProviderRule { domains, ..provider(ProviderKind::Hosting) });
            }),
        ),
        (
            "provider online states the own domain contoso.example: share it instead \
             (provider[0])",
            complaints(|rules| {
                let domains = vec![domain("contoso.example")];
                rules.providers.push(ProviderRule { domains, ..provider(ProviderKind::Hosting) });
            }),
        ),
        (
            "provider online shares tenant.example, which is not an own domain (provider[0])",
            complaints(|rules| {
                let shared = vec![domain("tenant.example")];
                rules.providers.push(ProviderRule { shared, ..provider(ProviderKind::Hosting) });
            }),
        ),
        (
            "provider online is public and cannot share a domain of ours (provider[0])",
            complaints(|rules| {
                let shared = vec![domain("contoso.example")];
                rules.providers.push(ProviderRule { shared, ..provider(ProviderKind::Public) });
            }),
        ),
    ];
    for (sentence, told) in cases {
        assert_eq!(told, [sentence]);
    }
}

/// lync-federation 5.4.
#[test]
fn a_default_route_excludes_what_finds_edges_itself() {
    let route = || Some(DefaultRoute::new(domain("hub.clearing.example")));
    let discovery = complaints(|rules| {
        rules.default_route = route();
        rules.federation.discovery = true;
    });
    assert_eq!(discovery, ["a default route and discovery of partners exclude each other"]);
    let with_provider = complaints(|rules| {
        rules.default_route = route();
        rules.providers.push(provider(ProviderKind::Public));
    });
    let sentence = "a default route and provider online (provider[0]) exclude each other";
    assert_eq!(with_provider, [sentence]);
    let with_disabled = complaints(|rules| {
        rules.default_route = route();
        rules.providers.push(ProviderRule { enabled: false, ..provider(ProviderKind::Public) });
    });
    assert_eq!(with_disabled, Vec::<String>::new());
    let to_us = complaints(|rules| {
        rules.default_route = Some(DefaultRoute::new(domain("sip.contoso.example")));
    });
    assert_eq!(to_us, ["the default route leads to this edge itself"]);
}

#[test]
fn patterns_contradict_only_what_is_the_same() {
    let below = |name: &str| Pattern::Below(domain(name));
    let same = complaints(|rules| {
        rules.partners.push(PartnerRule::allowed_domain(below("adatum.example")));
        rules.blocked.push(below("adatum.example"));
    });
    let sentence = "*.adatum.example is both allowed (partner[1]) and blocked (blocked[1])";
    assert_eq!(same, [sentence]);
    let overlapping = complaints(|rules| {
        rules.partners.push(PartnerRule::allowed_domain(below("adatum.example")));
        rules.blocked.push(domain("bad.adatum.example").into());
        rules.blocked.push(below("fabrikam.example"));
    });
    assert_eq!(overlapping, Vec::<String>::new());
    let own = complaints(|rules| rules.blocked.push(below("example")));
    assert_eq!(own.len(), 2, "both own domains lie below it: {own:?}");
    assert_eq!(own[0], "own domain contoso.example is blocked (blocked[1])");
}

#[test]
fn a_list_of_contradictions_has_an_end() {
    let told = complaints(|rules| {
        for _ in 0..limits::CONTRADICTIONS_MAX + 5 {
            rules.blocked.push(domain("litware.example").into());
        }
    });
    assert_eq!(told.len(), limits::CONTRADICTIONS_MAX + 1);
    assert_eq!(told.last().map(String::as_str), Some("and 5 more"));
}

#[test]
fn own_domains_are_known_in_any_case_and_exactly() {
    let snapshot = snapshot(rules(Vec::new()));
    for own in ["contoso.example", "CONTOSO.Example", "contoso.example.", "contoso-emea.example"] {
        assert!(snapshot.is_own(own.as_bytes()), "{own}");
    }
    for other in ["sip.contoso.example", "example", "", ".", "fabrikam.example"] {
        assert!(!snapshot.is_own(other.as_bytes()), "{other}");
    }
}

#[test]
fn a_request_goes_to_the_next_hop_of_its_domain_or_to_the_one_for_the_rest() {
    let mut rules = rules(Vec::new());
    let mut emea = rules.next_hops[0].clone();
    emea.name = domain("pool-emea.contoso.example");
    emea.domains = vec![domain("contoso-emea.example")];
    rules.next_hops.push(emea);
    let snapshot = snapshot(rules);
    assert_eq!(snapshot.next_hop_for(&domain("contoso.example")), Some(0));
    assert_eq!(snapshot.next_hop_for(&domain("contoso-emea.example")), Some(1));
    assert_eq!(snapshot.next_hop_for(&domain("fabrikam.example")), None);
    assert_eq!(snapshot.next_hops().len(), 2);
}

#[test]
fn an_own_domain_that_no_next_hop_serves_has_none() {
    let mut rules = rules(Vec::new());
    rules.next_hops[0].domains = vec![domain("contoso.example")];
    let snapshot = snapshot(rules);
    assert_eq!(snapshot.next_hop_for(&domain("contoso-emea.example")), None);
}

#[test]
fn internal_servers_are_known_by_their_host_names_only() {
    let snapshot = snapshot(rules(Vec::new()));
    assert!(snapshot.is_internal_name(&peer(&["fe1.contoso.example", "pool.contoso.example"])));
    assert!(!snapshot.is_internal_name(&peer(&["sip.fabrikam.example"])));
    let common_name = Some(domain("pool.contoso.example"));
    assert!(!snapshot.is_internal_name(&PeerNames { common_name, ..peer(&[]) }));
}

#[test]
fn a_partner_keeps_its_key_over_a_reload_by_its_domain() {
    let entry = |name: &str| PartnerRule::allowed_domain(domain(name));
    let older = snapshot(rules(vec![entry("a.example"), entry("b.example"), entry("c.example")]));
    let newer = snapshot(rules(vec![entry("c.example"), entry("b.example")]));
    let carried = |index| newer.carry_over(&older, PartnerKey::Listed(index));
    assert_eq!(carried(0), None);
    assert_eq!(carried(1), Some(PartnerKey::Listed(1)));
    assert_eq!(carried(2), Some(PartnerKey::Listed(0)));
    assert_eq!(carried(9), None);
    for key in [PartnerKey::Discovered(5), PartnerKey::Subdomain(5), PartnerKey::NextHop] {
        assert_eq!(newer.carry_over(&older, key), Some(key));
    }
    assert_eq!(newer.partner_domain(PartnerKey::Listed(0)), Some("c.example"));
    assert_eq!(newer.partner_domain(PartnerKey::Discovered(0)), None);
}

#[test]
fn a_provider_keeps_its_key_over_a_reload_by_its_name() {
    let with = |providers: Vec<ProviderRule>| {
        let mut rules = rules(Vec::new());
        rules.providers = providers;
        snapshot(rules)
    };
    let named = |name: &str| {
        let edge = domain(&format!("sip.{name}.example"));
        ProviderRule::new(ProviderKind::Hosting, name, edge)
    };
    let older = with(vec![named("a"), named("b"), named("c")]);
    let newer = with(vec![named("c"), ProviderRule { enabled: false, ..named("b") }]);
    let carried = |index| newer.carry_over(&older, PartnerKey::Provider(index));
    assert_eq!(carried(0), None);
    assert_eq!(carried(1), None, "not enabled");
    assert_eq!(carried(2), Some(PartnerKey::Provider(0)));
    assert_eq!(older.partner_domain(PartnerKey::Provider(2)), Some("c"));
    assert_eq!(newer.carry_over(&older, PartnerKey::DefaultRoute), None);
}

#[test]
fn a_listed_domain_costs_at_most_64_bytes() {
    let names = 100_000;
    let partners = (0..names)
        .map(|i| {
            let mut rule = PartnerRule::allowed_domain(domain(&format!("partner{i}.example")));
            if i % 2 == 0 {
                rule.verification = Verification::Always;
            }
            rule
        })
        .collect();
    let snapshot = snapshot(rules(partners));
    assert_eq!(snapshot.partners(), names);
    let per_domain = snapshot.memory_bytes() / names;
    assert!(per_domain <= 64, "{per_domain} bytes");
}
