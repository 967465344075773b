use super::super::fixture::{domain, rules};
use super::super::{DefaultRoute, Version, compile};
use super::*;

fn today() -> Date {
    Date::parse("2026-07-01").unwrap()
}

/// Returns code and sentence of each warning about changed rules.
fn warnings(change: impl FnOnce(&mut Rules)) -> Vec<(&'static str, String, String)> {
    let mut rules = rules(vec![PartnerRule::allowed_domain(domain("fabrikam.example"))]);
    change(&mut rules);
    assert!(compile(rules.clone(), 1).is_ok(), "a warning is about rules that hold");
    let surroundings = Surroundings {
        today: today(),
        pool_by_dns: true,
        client_usage: Some(false),
        xmpp: XmppServed::Nothing,
    };
    let told = |warning: Warning| (warning.code, warning.place.to_string(), warning.sentence);
    lint(&rules, &surroundings).into_iter().map(told).collect()
}

#[track_caller]
fn one(code: &str, place: &str, sentence: &str, change: impl FnOnce(&mut Rules)) {
    let told = warnings(change);
    let expected = [(code, place, sentence)];
    let told: Vec<(&str, &str, &str)> =
        told.iter().map(|(code, place, text)| (*code, place.as_str(), text.as_str())).collect();
    assert_eq!(told, expected);
}

fn below(name: &str) -> Pattern {
    Pattern::Below(domain(name))
}

fn provider(kind: ProviderKind) -> ProviderRule {
    ProviderRule::new(kind, "online", domain("sipfed.online.example"))
}

#[test]
fn sound_rules_give_no_warning() {
    assert_eq!(warnings(|_| {}), []);
}

#[test]
fn w101_nobody_is_allowed() {
    let sentence = "federation is on, but nobody is allowed and discovery is off";
    one("W101", "federation.discovery", sentence, |rules| rules.partners.clear());
    assert_eq!(
        warnings(|rules| {
            rules.partners.clear();
            rules.federation.discovery = true;
        }),
        []
    );
}

#[test]
fn w102_a_blocked_entry_within_another() {
    let sentence = "litware.example is blocked, and so is all of *.example";
    // Own domains lie elsewhere then, or they would be blocked too.
    let told = warnings(|rules| {
        rules.own_domains = vec![domain("contoso.other")];
        rules.blocked.push(below("example"));
    });
    assert_eq!(told[0], ("W102", "blocked[0]".to_owned(), sentence.to_owned()));
}

#[test]
fn w103_an_allowed_domain_under_a_blocked_pattern() {
    let sentence = "it.fabrikam.example is allowed, but all of *.fabrikam.example is blocked";
    one("W103", "partner[1]", sentence, |rules| {
        rules.blocked.push(below("fabrikam.example"));
        let partner = PartnerRule::allowed_domain(domain("it.fabrikam.example"));
        rules.partners.push(partner);
    });
}

#[test]
fn w104_a_provider_behind_a_blocked_domain() {
    let sentence = "provider online is enabled, but sipfed.online.example is blocked";
    one("W104", "provider[0]", sentence, |rules| {
        rules.providers.push(provider(ProviderKind::Hosting));
        rules.blocked.push(below("online.example"));
    });
}

#[test]
fn w105_and_w106_entries_that_expire() {
    let expires = |text: &'static str| {
        move |rules: &mut Rules| {
            rules.federation.discovery = true;
            rules.partners[0].expires = Some(Date::parse(text).unwrap());
        }
    };
    let sentence = "fabrikam.example was allowed until 2026-06-30 and is refused";
    one("W105", "partner[0]", sentence, expires("2026-06-30"));
    let sentence = "fabrikam.example is allowed until 2026-07-01";
    one("W106", "partner[0]", sentence, expires("2026-07-01"));
    assert_eq!(warnings(expires("2026-08-01")), []);
}

#[test]
fn w107_a_provider_whose_announced_end_is_past() {
    let sentence = "provider online announced its end for 2014-06-30";
    one("W107", "provider[0]", sentence, |rules| {
        let announced_end = Date::new(2014, 6, 30);
        let provider = ProviderRule { announced_end, ..provider(ProviderKind::Public) };
        rules.providers.push(provider);
    });
}

#[test]
fn w108_an_allowed_pattern_as_wide_as_a_registry() {
    for (name, wide) in
        [("com", true), ("co.uk", true), ("fabrikam.example", false), ("it.uk", false)]
    {
        let told = warnings(|rules| rules.partners.push(PartnerRule::allowed_domain(below(name))));
        assert_eq!(told.iter().any(|(code, ..)| *code == "W108"), wide, "{name}");
    }
}

#[test]
fn w109_strangers_that_are_always_believed() {
    let sentence = "everybody with an SRV record may say who their users are, unverified";
    one("W109", "federation.discovered_verification", sentence, |rules| {
        rules.federation.discovery = true;
        rules.federation.discovered_verification = Verification::Always;
    });
    let sentence = "hub.example speaks for every domain, and is always believed";
    one("W109", "default_route", sentence, |rules| {
        let verification = Verification::Always;
        let route = DefaultRoute { verification, ..DefaultRoute::new(domain("hub.example")) };
        rules.default_route = Some(route);
    });
    let sentence =
        "provider online is open to everybody, and its word on its users is always believed";
    one("W109", "provider[0]", sentence, |rules| {
        let verification = Verification::Always;
        rules.providers.push(ProviderRule { verification, ..provider(ProviderKind::Public) });
    });
}

#[test]
fn w110_a_partner_that_may_be_anywhere() {
    let sentence = "the edge of fabrikam.example may have any address, our own included";
    one("W110", "partner[0]", sentence, |rules| {
        rules.partners[0].allow_networks = vec!["0.0.0.0/0".parse().unwrap()];
    });
}

#[test]
fn w111_a_partner_that_is_reached_at_a_providers_edge() {
    let sentence = "push.example is reached at sipfed.online.example, the edge of provider \
                    online: one connection cannot carry both";
    one("W111", "partner[1]", sentence, |rules| {
        rules.providers.push(provider(ProviderKind::Hosting));
        let edge = domain("sipfed.online.example");
        rules.partners.push(PartnerRule::allowed_server(domain("push.example"), edge, 5061));
    });
}

#[test]
fn w112_a_partner_that_does_not_follow_balancing_by_dns() {
    let sentence = "fabrikam.example stays with the first edge that answered, and fails with it: \
                    its version does not follow balancing by DNS";
    one("W112", "partner[0]", sentence, |rules| {
        rules.partners[0].version = Some(Version::Ocs2007R2);
    });
    assert_eq!(warnings(|rules| rules.partners[0].version = Some(Version::Lync2010)), []);
}

#[test]
fn w113_a_provider_that_wants_a_usage_our_certificate_lacks() {
    let sentence = "provider online demands the clientAuth usage, which our certificate lacks";
    one("W113", "provider[0]", sentence, |rules| {
        let needs_client_eku = true;
        rules.providers.push(ProviderRule { needs_client_eku, ..provider(ProviderKind::Public) });
    });
}

#[test]
fn w114_a_hosting_provider_whose_domains_nothing_lists() {
    let sentence = "provider online is enabled, but without discovery its domains must be \
                    listed, and none is";
    one("W114", "provider[0]", sentence, |rules| {
        rules.partners.clear();
        rules.providers.push(provider(ProviderKind::Hosting));
    });
}

#[test]
fn a_provider_that_is_not_enabled_gives_no_warning() {
    let told = warnings(|rules| {
        let off = ProviderRule { enabled: false, ..provider(ProviderKind::Public) };
        rules.providers.push(ProviderRule { announced_end: Date::new(2014, 6, 30), ..off });
    });
    assert_eq!(told, []);
}

#[test]
fn a_million_warnings_of_a_kind_are_counted_not_printed() {
    let told = warnings(|rules| {
        rules.federation.discovery = true;
        rules.partners.clear();
        for number in 0..limits::LINT_WARNINGS_MAX + 5 {
            let mut partner = PartnerRule::allowed_domain(domain(&format!("p{number}.example")));
            partner.expires = Date::new(2020, 1, 1);
            rules.partners.push(partner);
        }
    });
    assert_eq!(told.len(), limits::LINT_WARNINGS_MAX + 1);
    assert_eq!(told.last().unwrap().2, "and 5 more like it");
}

#[test]
fn codes_are_in_order_and_none_is_used_twice() {
    assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
}
