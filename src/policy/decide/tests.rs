use std::sync::Arc;

use super::super::fixture::{Answers, UNTIL, domain, peer, rules, snapshot, target};
use super::super::{
    Date, DefaultRoute, PartnerKind, PartnerRule, Pattern, ProviderKind, ProviderRule, Revocation,
    RevocationState, Rules, SourceNetwork, SrvTarget,
};
use super::*;
use crate::dns::{Failure, Target};

const GLOBAL: &str = "9.9.9.1";

fn inbound(snapshot: &Snapshot, peer: &PeerNames, from: &str, to: &str, dns: &Answers) -> Decision {
    let (from, to) = (domain(from), domain(to));
    snapshot.inbound(Now::default(), &Inbound { peer, from: &from, to: &to }, dns)
}

fn outbound(snapshot: &Snapshot, from: &str, to: &str, dns: &Answers) -> Decision {
    let (from, to) = (domain(from), domain(to));
    snapshot.outbound(Now::default(), &Outbound { from: &from, to: &to }, dns)
}

#[track_caller]
fn permit(decision: Decision) -> Permit {
    match decision {
        Decision::Permit(permit) => permit,
        Decision::Refuse(refusal) => panic!("refused: {}", refusal.sentence()),
        Decision::Ask(question) => panic!("asks {question:?}"),
    }
}

#[track_caller]
fn refusal(decision: Decision) -> Refusal {
    match decision {
        Decision::Refuse(refusal) => refusal,
        Decision::Permit(permit) => panic!("permitted: {}", permit.rule().sentence()),
        Decision::Ask(question) => panic!("asks {question:?}"),
    }
}

#[track_caller]
fn asked(decision: Decision) -> Question {
    match decision {
        Decision::Ask(question) => question,
        other => panic!("asks nothing: {other:?}"),
    }
}

/// One refusal with its answer on the wire and its sentence.
#[track_caller]
fn refused(decision: Decision, rule: RefusalRule, status: u16, diagnostics: u16, sentence: &str) {
    let refusal = refusal(decision);
    assert_eq!(refusal.rule(), rule);
    assert_eq!((refusal.status(), refusal.diagnostics()), (status, diagnostics));
    assert_eq!(refusal.sentence(), sentence);
    assert_eq!(refusal.epoch(), 7);
}

fn allowed_domain() -> Rules {
    rules(vec![PartnerRule::allowed_domain(domain("fabrikam.example"))])
}

fn allowed_server() -> Rules {
    let edge = domain("edge.fabrikam-hosting.example");
    rules(vec![PartnerRule::allowed_server(domain("fabrikam.example"), edge, 5061)])
}

fn discovery() -> Rules {
    let mut rules = rules(Vec::new());
    rules.federation.discovery = true;
    rules
}

fn fabrikam() -> Answers {
    Answers::srv("fabrikam.example", &[target("sip.fabrikam.example", &[GLOBAL])])
}

fn stated(outcome: Result<Vec<Target>, Failure>) -> Answers {
    let fqdn = domain("edge.fabrikam-hosting.example");
    Answers::of(Question::Host { fqdn, port: 5061 }, outcome)
}

#[test]
fn an_allowed_domain_may_speak_when_its_certificate_carries_the_srv_target() {
    let peer = peer(&["sip.fabrikam.example"]);
    let snapshot = snapshot(allowed_domain());
    let permit =
        permit(inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam()));
    assert_eq!(permit.rule().sentence(), "allowed partner domain fabrikam.example");
    assert_eq!(permit.rule().place(), "partner[0]");
    assert_eq!(permit.kind(), PartnerKind::AllowedDomain);
    assert_eq!(permit.partner(), PartnerKey::Listed(0));
    assert_eq!(permit.source_type(), "AutoFederation");
    assert_eq!(permit.valid_until(), UNTIL);
    assert_eq!(permit.epoch(), 7);
    assert!(permit.route().is_none());
}

#[test]
fn an_allowed_domain_is_asked_for_in_dns_before_it_may_speak() {
    let peer = peer(&["sip.fabrikam.example"]);
    let snapshot = snapshot(allowed_domain());
    let none = Answers::default();
    let decision = inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &none);
    assert_eq!(asked(decision), Question::Federation(domain("fabrikam.example")));
}

#[test]
fn a_certificate_without_the_srv_target_may_not_speak_for_an_allowed_domain() {
    let peer = peer(&["sip.northwind.example", "fabrikam.example"]);
    let snapshot = snapshot(allowed_domain());
    let decision = inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam());
    refused(
        decision,
        RefusalRule::CertificateNameMismatch,
        403,
        1016,
        "the certificate does not carry sip.fabrikam.example, which speaks for fabrikam.example \
         (rule partner[0])",
    );
}

#[test]
fn an_allowed_server_needs_no_dns_to_speak() {
    let peer = peer(&["edge.fabrikam-hosting.example"]);
    let snapshot = snapshot(allowed_server());
    let none = Answers::default();
    let permit = permit(inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &none));
    assert_eq!(
        permit.rule().sentence(),
        "allowed partner server edge.fabrikam-hosting.example of fabrikam.example"
    );
    assert_eq!(permit.source_type(), "DirectPartner");
    assert_eq!(permit.kind(), PartnerKind::AllowedServer);
    assert_eq!(permit.valid_until(), Monotonic(u64::MAX));
}

#[test]
fn another_certificate_may_not_speak_for_an_allowed_server() {
    let peer = peer(&["sip.fabrikam.example"]);
    let snapshot = snapshot(allowed_server());
    let decision =
        inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &Answers::default());
    assert_eq!(refusal(decision).rule(), RefusalRule::CertificateNameMismatch);
}

#[test]
fn a_blocked_domain_wins_over_everything_from_before_to() {
    let mut rules = discovery();
    rules.blocked.push(domain("adatum.example").into());
    let snapshot = snapshot(rules);
    let (peer, none) = (peer(&["sip.litware.example"]), Answers::default());
    let sentence = "litware.example is blocked (rule blocked[0])";
    let rule = RefusalRule::Blocked;
    let decision = inbound(&snapshot, &peer, "litware.example", "contoso.example", &none);
    refused(decision, rule, 403, 1005, sentence);
    let decision = inbound(&snapshot, &peer, "litware.example", "adatum.example", &none);
    refused(decision, rule, 403, 1005, sentence);
    let decision = outbound(&snapshot, "contoso.example", "litware.example", &none);
    refused(decision, rule, 403, 1005, sentence);
    let decision = inbound(&snapshot, &peer, "northwind.example", "adatum.example", &none);
    refused(decision, rule, 403, 1005, "adatum.example is blocked (rule blocked[1])");
}

#[test]
fn nothing_passes_when_federation_is_off() {
    let mut rules = allowed_domain();
    rules.federation.enabled = false;
    let snapshot = snapshot(rules);
    let peer = peer(&["sip.fabrikam.example"]);
    let sentence = "federation is switched off (rule federation.enabled)";
    let decision = inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam());
    refused(decision, RefusalRule::FederationOff, 403, 1002, sentence);
    let decision = outbound(&snapshot, "contoso.example", "fabrikam.example", &fabrikam());
    refused(decision, RefusalRule::FederationOff, 403, 1002, sentence);
}

#[test]
fn the_edge_is_no_relay_between_outsiders() {
    let peer = peer(&["sip.fabrikam.example"]);
    let snapshot = snapshot(allowed_domain());
    let decision = inbound(&snapshot, &peer, "fabrikam.example", "northwind.example", &fabrikam());
    let sentence = "northwind.example is not a domain of this organisation";
    refused(decision, RefusalRule::DestinationNotOurs, 404, 1005, sentence);
}

#[test]
fn an_own_domain_claimed_from_outside_is_refused_with_1017() {
    let peer = peer(&["sip.contoso.example", "contoso.example"]);
    let snapshot = snapshot(allowed_domain());
    let none = Answers::default();
    let decision = inbound(&snapshot, &peer, "contoso-emea.example", "contoso.example", &none);
    let sentence = "the own domain contoso-emea.example is claimed from outside";
    refused(decision, RefusalRule::OwnDomainFromOutside, 403, 1017, sentence);
}

#[test]
fn a_next_hop_may_send_for_own_domains_only_and_to_others_only() {
    let snapshot = snapshot(allowed_domain());
    let decision = outbound(&snapshot, "northwind.example", "fabrikam.example", &fabrikam());
    let sentence =
        "a next hop sends for northwind.example, which is not a domain of this organisation";
    refused(decision, RefusalRule::SenderNotOurs, 403, 1017, sentence);
    let decision = outbound(&snapshot, "contoso.example", "contoso-emea.example", &fabrikam());
    let sentence = "a next hop sends to the own domain contoso-emea.example by way of the edge";
    refused(decision, RefusalRule::DestinationIsOurs, 403, 1017, sentence);
}

#[test]
fn a_domain_not_listed_is_refused_without_a_dns_question_when_discovery_is_off() {
    let snapshot = snapshot(allowed_domain());
    let (peer, none) = (peer(&["sip.northwind.example"]), Answers::default());
    let sentence = "northwind.example is no listed partner and discovery is off \
                    (rule federation.discovery)";
    let decision = inbound(&snapshot, &peer, "northwind.example", "contoso.example", &none);
    refused(decision, RefusalRule::UnknownDomain, 403, 1005, sentence);
    let decision = outbound(&snapshot, "contoso.example", "northwind.example", &none);
    refused(decision, RefusalRule::UnknownDomain, 403, 1005, sentence);
}

#[test]
fn a_discovered_domain_may_speak_when_discovery_is_on() {
    let snapshot = snapshot(discovery());
    let peer = peer(&["sip.fabrikam.example"]);
    let decision = inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam());
    let permit = permit(decision);
    assert_eq!(permit.kind(), PartnerKind::Discovered);
    assert_eq!(permit.rule().sentence(), "discovered partner domain fabrikam.example");
    assert_eq!(permit.source_type(), "AutoFederation");
    assert!(matches!(permit.partner(), PartnerKey::Discovered(_)));
}

#[test]
fn the_key_of_a_discovered_partner_depends_on_its_domain_and_the_secret() {
    let keyed = |key| snapshot(discovery()).keyed(key);
    let (one, same, other) = (keyed([1, 2]), keyed([1, 2]), keyed([3, 4]));
    let fabrikam = domain("fabrikam.example");
    assert_eq!(one.domain_key(&fabrikam), same.domain_key(&fabrikam));
    assert_ne!(one.domain_key(&fabrikam), other.domain_key(&fabrikam));
    assert_ne!(one.domain_key(&fabrikam), one.domain_key(&domain("adatum.example")));
}

/// lync-federation 4.2 rules 2 and 3, and what an entry may loosen.
#[test]
fn srv_targets_count_by_the_rule_of_the_entry() {
    let strict = SrvTarget::Strict;
    let same_domain = SrvTarget::SameDomain;
    let names = SrvTarget::Names(vec![domain("sip.contoso-edge.example")]);
    let cases = [
        // (target, strict, same_domain, names)
        ("sip.fabrikam.example", true, true, false),
        ("access.fabrikam.example", true, true, false),
        ("fabrikam.example", false, true, false),
        ("sip.it.fabrikam.example", false, true, false),
        ("sip.contoso-edge.example", false, false, true),
        ("sip.notfabrikam.example", false, false, false),
        ("notfabrikam.example", false, false, false),
        ("example", false, false, false),
        ("vcse.example", false, false, false),
    ];
    let fabrikam = domain("fabrikam.example");
    for (target, by_strict, by_same_domain, by_names) in cases {
        let target = domain(target);
        assert_eq!(strict.admits(&fabrikam, &target), by_strict, "strict {target}");
        assert_eq!(same_domain.admits(&fabrikam, &target), by_same_domain, "same {target}");
        assert_eq!(names.admits(&fabrikam, &target), by_names, "names {target}");
    }
}

#[test]
fn a_target_outside_the_domain_is_refused_with_1009_both_ways() {
    let dns = Answers::srv("fabrikam.example", &[target("sip.adatum.example", &[GLOBAL])]);
    let peer = peer(&["sip.adatum.example"]);
    let place = " (rule partner[0])";
    for (rules, place) in [(allowed_domain(), place), (discovery(), "")] {
        let snapshot = snapshot(rules);
        let sentence = format!(
            "the SRV record of fabrikam.example names sip.adatum.example, which may not be its \
             edge{place}"
        );
        let rule = RefusalRule::SrvTargetOutsideDomain;
        let decision = inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &dns);
        refused(decision, rule, 504, 1009, &sentence);
        let decision = outbound(&snapshot, "contoso.example", "fabrikam.example", &dns);
        refused(decision, rule, 504, 1009, &sentence);
    }
}

#[test]
fn an_entry_may_name_its_srv_targets() {
    let mut rules = allowed_domain();
    rules.partners[0].srv_target = SrvTarget::Names(vec![domain("sip.adatum.example")]);
    let snapshot = snapshot(rules);
    let dns = Answers::srv("fabrikam.example", &[target("sip.adatum.example", &[GLOBAL])]);
    let peer = peer(&["sip.adatum.example"]);
    permit(inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &dns));
    permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
}

#[test]
fn of_several_targets_only_those_that_pass_count() {
    let dns = Answers::srv(
        "fabrikam.example",
        &[target("sip.adatum.example", &[GLOBAL]), target("sip.fabrikam.example", &[GLOBAL])],
    );
    let snapshot = snapshot(allowed_domain());
    let stranger = peer(&["sip.adatum.example"]);
    let decision = inbound(&snapshot, &stranger, "fabrikam.example", "contoso.example", &dns);
    assert_eq!(refusal(decision).rule(), RefusalRule::CertificateNameMismatch);
    let permit = permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
    let route = permit.route().unwrap();
    assert_eq!(route.targets(), [target("sip.fabrikam.example", &[GLOBAL])]);
}

#[test]
fn every_failure_of_dns_has_its_answer() {
    let cases = [
        (Failure::NoSuchService, RefusalRule::NoSuchService, 1008),
        (Failure::ServiceRefused, RefusalRule::ServiceRefused, 1008),
        (Failure::NoAddress, RefusalRule::NoAddress, 1014),
        (Failure::ServerFailure, RefusalRule::SrvLookupFailed, 1008),
        (Failure::Timeout, RefusalRule::SrvLookupFailed, 1008),
    ];
    let snapshot = snapshot(allowed_domain());
    let peer = peer(&["sip.fabrikam.example"]);
    for (failure, rule, diagnostics) in cases {
        let dns = Answers::of(Question::Federation(domain("fabrikam.example")), Err(failure));
        for decision in [
            inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &dns),
            outbound(&snapshot, "contoso.example", "fabrikam.example", &dns),
        ] {
            let refusal = refusal(decision);
            assert_eq!(refusal.rule(), rule, "{failure:?}");
            assert_eq!((refusal.status(), refusal.diagnostics()), (504, diagnostics));
            assert_eq!(refusal.valid_until(), UNTIL);
        }
    }
}

#[test]
fn every_failure_to_find_a_stated_edge_is_one_of_addresses() {
    let cases = [
        (Failure::NoSuchService, RefusalRule::NoAddress),
        (Failure::NoAddress, RefusalRule::NoAddress),
        (Failure::ServerFailure, RefusalRule::HostLookupFailed),
        (Failure::Timeout, RefusalRule::HostLookupFailed),
    ];
    let snapshot = snapshot(allowed_server());
    for (failure, rule) in cases {
        let dns = stated(Err(failure));
        let refusal = refusal(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
        assert_eq!((refusal.rule(), refusal.diagnostics()), (rule, 1014), "{failure:?}");
    }
}

#[test]
fn a_stated_edge_is_connected_to_wherever_its_name_lies() {
    let snapshot = snapshot(allowed_server());
    let fqdn = domain("edge.fabrikam-hosting.example");
    let decision = outbound(&snapshot, "contoso.example", "fabrikam.example", &Answers::default());
    assert_eq!(asked(decision), Question::Host { fqdn, port: 5061 });
    let dns = stated(Ok(vec![target("edge.fabrikam-hosting.example", &[GLOBAL])]));
    let permit = permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
    assert_eq!(permit.route().unwrap().targets()[0].addresses.len(), 1);
}

#[test]
fn addresses_that_fail_the_address_rule_are_left_out() {
    let snapshot = snapshot(allowed_domain());
    let dns = Answers::srv(
        "fabrikam.example",
        &[
            target("a.fabrikam.example", &["10.0.0.1", "::ffff:9.9.9.1", "127.0.0.1"]),
            target("b.fabrikam.example", &["fd00::1"]),
        ],
    );
    let permit = permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
    assert_eq!(permit.route().unwrap().targets(), [target("a.fabrikam.example", &[GLOBAL])]);
}

#[test]
fn a_partner_with_no_permitted_address_is_refused_like_one_without_any() {
    let snapshot = snapshot(allowed_domain());
    let dns = Answers::srv("fabrikam.example", &[target("sip.fabrikam.example", &["192.168.1.1"])]);
    let decision = outbound(&snapshot, "contoso.example", "fabrikam.example", &dns);
    let sentence = "the edge of fabrikam.example is refused: 192.168.1.1 is not globally \
                    routable (rule partner[0])";
    refused(decision, RefusalRule::AddressesRefused, 504, 1014, sentence);
    let dns = Answers::srv("fabrikam.example", &[target("sip.fabrikam.example", &[])]);
    let refusal = refusal(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
    assert_eq!(refusal.rule(), RefusalRule::NoAddress);
}

#[test]
fn an_entry_may_have_networks_of_its_own() {
    let mut rules = allowed_domain();
    rules.partners[0].allow_networks = vec!["192.168.1.0/24".parse().unwrap()];
    let snapshot = snapshot(rules);
    let dns = Answers::srv("fabrikam.example", &[target("sip.fabrikam.example", &["192.168.1.1"])]);
    permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
}

#[test]
fn an_answer_that_passes_whole_is_shared_not_copied() {
    let (snapshot, dns) = (snapshot(allowed_domain()), fabrikam());
    let permit = permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &dns));
    let question = Question::Federation(domain("fabrikam.example"));
    let answer = dns.look(Now::default(), &question).unwrap();
    assert!(Arc::ptr_eq(&permit.route().unwrap().targets, &answer));
}

#[test]
fn names_may_demand_the_sip_domain_instead_or_as_well() {
    let both = peer(&["sip.fabrikam.example", "fabrikam.example"]);
    let host = peer(&["sip.fabrikam.example"]);
    let sip_domain = PeerNames { sip_domains: vec![domain("fabrikam.example")], ..peer(&[]) };
    let cases = [
        (NameCheck::Fqdn, [true, true, false]),
        (NameCheck::SipDomain, [true, false, true]),
        (NameCheck::Both, [true, false, false]),
    ];
    for (names, passes) in cases {
        let mut rules = allowed_domain();
        rules.partners[0].names = names;
        let snapshot = snapshot(rules);
        let route = permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &fabrikam()));
        let route = route.route().unwrap();
        for (peer, passes) in [&both, &host, &sip_domain].into_iter().zip(passes) {
            let decision =
                inbound(&snapshot, peer, "fabrikam.example", "contoso.example", &fabrikam());
            assert_eq!(matches!(decision, Decision::Permit(_)), passes, "{names:?} {peer:?}");
            let target = &route.targets()[0];
            let expected = route.expected_names(target, &domain("fabrikam.example"));
            let accepts = expected.missing_from(peer).is_empty();
            assert_eq!(accepts, passes, "outgoing {names:?} {peer:?}");
        }
    }
}

#[test]
fn the_sip_domain_in_the_certificate_needs_no_dns() {
    let mut rules = allowed_domain();
    rules.partners[0].names = NameCheck::SipDomain;
    let snapshot = snapshot(rules);
    let peer = peer(&["fabrikam.example"]);
    let none = Answers::default();
    permit(inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &none));
}

#[test]
fn an_outgoing_leg_expects_the_target_or_the_sip_domain_or_both() {
    let (host, fabrikam_domain) = (domain("sip.fabrikam.example"), domain("fabrikam.example"));
    let cases = [
        (NameCheck::Fqdn, Some(&host), None),
        (NameCheck::Both, Some(&host), Some(&fabrikam_domain)),
        (NameCheck::SipDomain, None, Some(&fabrikam_domain)),
    ];
    for (names, host, sip_domain) in cases {
        let mut rules = allowed_domain();
        rules.partners[0].names = names;
        let snapshot = snapshot(rules);
        let permit =
            permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &fabrikam()));
        let route = permit.route().unwrap();
        let names = route.expected_names(&route.targets()[0], &fabrikam_domain);
        assert_eq!((names.host.as_ref(), names.sip_domain.as_ref()), (host, sip_domain));
    }
}

#[test]
fn hard_wants_to_know_that_the_certificate_is_not_revoked() {
    use RevocationState::{Good, Unknown};
    for (demand, state, passes) in [
        (Revocation::Off, Unknown, true),
        (Revocation::Soft, Unknown, true),
        (Revocation::Soft, Good, true),
        (Revocation::Hard, Good, true),
        (Revocation::Hard, Unknown, false),
    ] {
        let peer = PeerNames { revocation: state, ..peer(&["sip.fabrikam.example"]) };
        let mut listed = allowed_domain();
        listed.partners[0].revocation = demand;
        let mut found = discovery();
        found.federation.revocation = demand;
        for (rules, place) in [(listed, "partner[0]"), (found, "tls.revocation")] {
            let snapshot = snapshot(rules);
            let decision =
                inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam());
            if passes {
                permit(decision);
            } else {
                let sentence = format!(
                    "it is not known whether the certificate of fabrikam.example has been \
                     revoked, which its entry demands (rule {place})"
                );
                refused(decision, RefusalRule::RevocationUnknown, 504, 1010, &sentence);
            }
            // Going out, TLS judges by the same demand.
            let permit =
                permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &fabrikam()));
            let route = permit.route().unwrap();
            let expected = route.expected_names(&route.targets()[0], &domain("fabrikam.example"));
            assert_eq!(expected.revocation, demand);
        }
    }
}

#[test]
fn whoever_is_not_the_partner_is_refused_for_that_and_not_for_want_of_a_list() {
    let mut rules = allowed_domain();
    rules.partners[0].revocation = Revocation::Hard;
    let snapshot = snapshot(rules);
    let decide = |host| {
        let peer = PeerNames { revocation: RevocationState::Unknown, ..peer(&[host]) };
        inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam())
    };
    let of_stranger = decide("sip.tailspin.example");
    assert!(!of_stranger.minds_revocation());
    let Decision::Refuse(refusal) = of_stranger else { panic!("{of_stranger:?}") };
    assert_eq!(refusal.rule(), RefusalRule::CertificateNameMismatch);
    assert!(decide("sip.fabrikam.example").minds_revocation(), "its list is worth fetching");
}

#[test]
fn the_common_name_counts_only_by_setting() {
    let common_name = Some(domain("sip.fabrikam.example"));
    let peer = PeerNames { common_name, ..peer(&[]) };
    for common_name in [false, true] {
        let mut rules = allowed_domain();
        rules.partners[0].common_name = common_name;
        let snapshot = snapshot(rules);
        let decision =
            inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam());
        assert_eq!(matches!(decision, Decision::Permit(_)), common_name);
        let permit =
            permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &fabrikam()));
        let route = permit.route().unwrap();
        let expected = route.expected_names(&route.targets()[0], &domain("fabrikam.example"));
        assert_eq!(expected.missing_from(&peer).is_empty(), common_name, "outgoing");
    }
}

#[test]
fn a_certificate_without_client_usage_passes_unless_the_entry_demands_it() {
    let peer = PeerNames { client_auth: false, ..peer(&["sip.fabrikam.example"]) };
    let snapshot_without = snapshot(allowed_domain());
    permit(inbound(&snapshot_without, &peer, "fabrikam.example", "contoso.example", &fabrikam()));
    let mut rules = allowed_domain();
    rules.partners[0].require_client_eku = true;
    let snapshot = snapshot(rules);
    let decision = inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam());
    let sentence = "the certificate of fabrikam.example lacks the clientAuth usage its entry \
                    demands (rule partner[0])";
    refused(decision, RefusalRule::ClientUsageMissing, 504, 1010, sentence);
}

#[test]
fn anchors_of_a_partner_speak_for_it_alone() {
    let mut with_two = allowed_domain();
    with_two.partners[0].anchors = Some(3);
    with_two.partners.push(PartnerRule::allowed_domain(domain("northwind.example")));
    with_two.federation.discovery = true;
    let snapshot = snapshot(with_two);
    let names = ["sip.fabrikam.example", "sip.northwind.example", "sip.adatum.example"];
    let own = PeerNames { anchors: Anchors::OfPartner(3), ..peer(&names) };
    let other = PeerNames { anchors: Anchors::OfPartner(2), ..peer(&names) };
    let general = peer(&names);
    let none = Answers::default();
    // (peer, From domain, passes the check of the anchors)
    let cases = [
        (&own, "fabrikam.example", true),
        (&other, "fabrikam.example", false),
        (&general, "fabrikam.example", false),
        (&own, "northwind.example", false),
        (&general, "northwind.example", true),
        (&own, "adatum.example", false),
        (&general, "adatum.example", true),
    ];
    for (peer, from, passes) in cases {
        match inbound(&snapshot, peer, from, "contoso.example", &none) {
            Decision::Ask(_) => assert!(passes, "{from} {:?}", peer.anchors),
            Decision::Refuse(refusal) => {
                assert!(!passes, "{from} {:?}", peer.anchors);
                assert_eq!(refusal.rule(), RefusalRule::AnchorsOfAnother);
                assert_eq!((refusal.status(), refusal.diagnostics()), (403, 1016));
            }
            Decision::Permit(_) => panic!("permitted without an answer"),
        }
    }
}

#[test]
fn verification_follows_the_entry() {
    let cases = [
        (Verification::Always, [true, true]),
        (Verification::Source, [true, false]),
        (Verification::Never, [false, false]),
    ];
    let peer = peer(&["sip.fabrikam.example"]);
    for (verification, [asserted, unmarked]) in cases {
        let mut rules = allowed_domain();
        rules.partners[0].verification = verification;
        let snapshot = snapshot(rules);
        let permit =
            permit(inbound(&snapshot, &peer, "fabrikam.example", "contoso.example", &fabrikam()));
        assert_eq!(permit.source_verified(true), asserted);
        assert_eq!(permit.source_verified(false), unmarked);
    }
}

#[test]
fn a_route_carries_the_entrys_anchors_and_the_connections() {
    let mut rules = allowed_domain();
    rules.partners[0].anchors = Some(2);
    rules.federation.connections_per_partner = 3;
    let snapshot = snapshot(rules);
    let permit = permit(outbound(&snapshot, "contoso.example", "fabrikam.example", &fabrikam()));
    let route = permit.route().unwrap();
    assert_eq!((route.anchors, route.connections), (Some(2), 3));
}

#[test]
fn a_remote_user_is_one_of_ours_and_may_address_anybody_not_blocked() {
    let snapshot = snapshot(allowed_domain());
    let own = domain("contoso.example");
    for to in [None, Some("contoso.example"), Some("fabrikam.example"), Some("adatum.example")] {
        let to = to.map(domain);
        let permit = permit(snapshot.remote_user(&own, to.as_ref()));
        assert_eq!(permit.source_type(), "InternetUser");
        assert_eq!(permit.kind(), PartnerKind::RemoteUser);
        assert_eq!(permit.partner(), PartnerKey::NextHop);
        assert_eq!(permit.rule().sentence(), "remote user of contoso.example");
        assert!(!permit.source_verified(true), "the pool has yet to ask who it is");
    }
    let blocked = domain("litware.example");
    let decision = snapshot.remote_user(&own, Some(&blocked));
    assert_eq!(refusal(decision).rule(), RefusalRule::Blocked);
    let sentence =
        "a remote user claims fabrikam.example, which is not a domain of this organisation";
    let decision = snapshot.remote_user(&domain("fabrikam.example"), Some(&own));
    refused(decision, RefusalRule::NotOurUser, 403, 4004, sentence);
}

#[test]
fn remote_users_may_be_switched_off() {
    let mut rules = allowed_domain();
    rules.remote_users.enabled = false;
    let decision = snapshot(rules).remote_user(&domain("contoso.example"), None);
    let sentence = "remote users are switched off (rule remote_users.enabled)";
    refused(decision, RefusalRule::RemoteUsersOff, 403, 4003, sentence);
}

#[test]
fn an_anonymous_user_joins_own_conferences_when_that_is_allowed() {
    let anonymous = domain("anonymous.invalid");
    let own = domain("contoso.example");
    let decision = snapshot(allowed_domain()).remote_user(&anonymous, Some(&own));
    let sentence = "anonymous users are switched off (rule remote_users.anonymous)";
    refused(decision, RefusalRule::AnonymousOff, 403, 4004, sentence);
    let mut rules = allowed_domain();
    rules.remote_users.anonymous = true;
    let snapshot = snapshot(rules);
    let permit = permit(snapshot.remote_user(&anonymous, Some(&own)));
    assert_eq!(permit.rule(), &Rule::Anonymous);
    assert!(!permit.source_verified(true));
    let partner = domain("fabrikam.example");
    let refusal = refusal(snapshot.remote_user(&anonymous, Some(&partner)));
    assert_eq!(refusal.rule(), RefusalRule::DestinationNotOurs);
}

#[test]
fn every_refusal_has_an_answer_of_its_own_class_and_a_label() {
    let mut labels: Vec<&str> = RefusalRule::ALL.iter().map(|rule| rule.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), RefusalRule::ALL.len());
    let snapshot = snapshot(allowed_domain());
    for rule in RefusalRule::ALL {
        let refusal = snapshot.refusal(rule, &domain("fabrikam.example"));
        assert!([403, 404, 504].contains(&refusal.status()), "{rule:?}");
        assert!(!refusal.reason().contains("fabrikam"));
        assert!(!refusal.sentence().is_empty());
    }
}

mod kinds;
