//! The federation rules of the product this edge stands in for, as its planning and management
//! documents state them: who is found how (sections 4.2 and 5.1), what is stamped (5.2), which list
//! wins (5.4), what the sender is told (12). The numbers are those of our notes on them.

use std::net::IpAddr;
use std::sync::Arc;

use entente::dns::{Answer, Cache, Domain, Question, Target};
use entente::policy::{
    Anchors, Decision, ExpectedNames, FederationSwitches, Inbound, NameCheck, NextHop, Outbound,
    PartnerRule, PeerNames, Permit, Refusal, RemoteUserSwitches, RevocationState, Rules, Snapshot,
    SrvTarget, Verification, compile,
};
use entente::time::Now;

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a domain")
}

/// Contoso's rules with these partners; discovery as stated.
pub(crate) fn contoso(partners: Vec<PartnerRule>, discovery: bool) -> Rules {
    Rules {
        federation: FederationSwitches { discovery, ..FederationSwitches::default() },
        blocked: vec![domain("litware.example").into()],
        partners,
        internal_names: vec![domain("pool.contoso.example")],
        next_hops: vec![NextHop::new(domain("pool.contoso.example"))],
        ..Rules::new(
            domain("edge1.contoso.example"),
            domain("sip.contoso.example"),
            domain("lsedge.contoso.example"),
            vec![domain("contoso.example")],
        )
    }
}

fn allowed_domain(of: &str) -> PartnerRule {
    PartnerRule::allowed_domain(domain(of))
}

pub(crate) fn peer(names: &[&str]) -> PeerNames {
    PeerNames {
        dns_names: names.iter().map(|name| domain(name)).collect(),
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint: [7; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
        xmpp: None,
    }
}

/// DNS in which `_sipfederationtls._tcp.<of>` names these hosts.
fn dns(of: &str, hosts: &[&str]) -> Cache {
    let address: IpAddr = "9.9.9.9".parse().expect("an address");
    let target = |host: &&str| Target {
        fqdn: domain(host),
        port: 5061,
        priority: 0,
        weight: 0,
        addresses: vec![address],
        direct_tls: true,
    };
    let question = Question::Federation(domain(of));
    let outcome = Ok(hosts.iter().map(target).collect());
    let mut cache = Cache::new([1, 2]);
    cache.put(Now::default(), &Arc::new(Answer { question, outcome, ttl_s: 300 }));
    cache
}

struct Edge {
    policy: Snapshot,
    dns: Cache,
}

impl Edge {
    fn new(rules: Rules, dns: Cache) -> Self {
        Self { policy: compile(rules, 1).expect("no contradiction"), dns }
    }

    fn inbound(&self, peer: &PeerNames, from: &str) -> Decision {
        let (from, to) = (domain(from), domain("contoso.example"));
        self.policy.inbound(Now::default(), &Inbound { peer, from: &from, to: &to }, &self.dns)
    }

    fn outbound(&self, to: &str) -> Decision {
        let (from, to) = (domain("contoso.example"), domain(to));
        self.policy.outbound(Now::default(), &Outbound { from: &from, to: &to }, &self.dns)
    }
}

#[track_caller]
fn permitted(decision: Decision) -> Permit {
    match decision {
        Decision::Permit(permit) => permit,
        other => panic!("not permitted: {other:?}"),
    }
}

#[track_caller]
fn refused(decision: Decision) -> Refusal {
    match decision {
        Decision::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn refused_with(decision: Decision, status: u16, diagnostics: u16) {
    let refusal = refused(decision);
    let answer = (refusal.status(), refusal.diagnostics());
    assert_eq!(answer, (status, diagnostics), "{}", refusal.sentence());
}

/// 4.2 rule 1.
#[test]
fn s4_2_1_the_edge_of_a_partner_without_a_stated_one_is_asked_for_by_srv() {
    let edge =
        Edge::new(contoso(vec![allowed_domain("fabrikam.example")], false), Cache::new([1, 2]));
    match edge.outbound("fabrikam.example") {
        Decision::Ask(question) => {
            assert_eq!(question, Question::Federation(domain("fabrikam.example")));
        }
        other => panic!("asks nothing: {other:?}"),
    }
}

/// 4.2 rules 2 and 3, with the examples given there.
#[test]
fn s4_2_3_an_srv_target_lies_exactly_one_label_below_the_sip_domain() {
    let cases = [
        ("sip.fabrikam.example", true),
        ("sipfed.fabrikam.example", true),
        ("access.fabrikam.example", true),
        ("sip.fabrikam-edge.example", false),
        ("sip.it.fabrikam.example", false),
        ("fabrikam.example", false),
        ("vcse.example", false),
    ];
    for (host, counts) in cases {
        for (partners, discovery) in
            [(vec![allowed_domain("fabrikam.example")], false), (vec![], true)]
        {
            let edge = Edge::new(contoso(partners, discovery), dns("fabrikam.example", &[host]));
            let decisions = [
                edge.inbound(&peer(&[host]), "fabrikam.example"),
                edge.outbound("fabrikam.example"),
            ];
            for decision in decisions {
                if counts {
                    permitted(decision);
                } else {
                    refused_with(decision, 504, 1009);
                }
            }
        }
    }
}

#[test]
fn s4_2_3_a_listed_partner_may_loosen_the_rule_and_a_discovered_one_may_not() {
    let host = "sip.it.fabrikam.example";
    for srv_target in [SrvTarget::SameDomain, SrvTarget::Names(vec![domain(host)])] {
        let rule = PartnerRule { srv_target, ..allowed_domain("fabrikam.example") };
        let edge = Edge::new(contoso(vec![rule], true), dns("fabrikam.example", &[host]));
        permitted(edge.outbound("fabrikam.example"));
    }
    let edge = Edge::new(contoso(Vec::new(), true), dns("fabrikam.example", &[host]));
    refused_with(edge.outbound("fabrikam.example"), 504, 1009);
}

/// 4.2 rule 6: the SIP domain itself need not be in the certificate, and does not help.
#[test]
fn s4_2_6_the_certificate_carries_the_host_found_not_the_sip_domain() {
    let rules = contoso(vec![allowed_domain("fabrikam.example")], false);
    let edge = Edge::new(rules, dns("fabrikam.example", &["sip.fabrikam.example"]));
    permitted(edge.inbound(&peer(&["sip.fabrikam.example"]), "fabrikam.example"));
    refused_with(edge.inbound(&peer(&["fabrikam.example"]), "fabrikam.example"), 403, 1016);
    let permit = permitted(edge.outbound("fabrikam.example"));
    let route = permit.route().expect("a way out");
    let expected = route.expected_names(&route.targets()[0], &domain("fabrikam.example"));
    assert_eq!(expected, ExpectedNames::host(domain("sip.fabrikam.example")));
}

/// 4.2 rule 8: one partner may not send in another's name. The product answers a bare 504; we say
/// 403, because trying again elsewhere cannot help.
#[test]
fn s4_2_8_the_from_domain_is_looked_up_and_the_peer_must_be_its_edge() {
    let partners = vec![allowed_domain("fabrikam.example"), allowed_domain("northwind.example")];
    let edge =
        Edge::new(contoso(partners, false), dns("fabrikam.example", &["sip.fabrikam.example"]));
    refused_with(edge.inbound(&peer(&["sip.northwind.example"]), "fabrikam.example"), 403, 1016);
}

/// 4.2 rule 11.
#[test]
fn s4_2_11_a_stated_edge_needs_no_srv_and_may_lie_anywhere() {
    let host = domain("edge.fabrikam-hosting.example");
    let rule = PartnerRule::allowed_server(domain("fabrikam.example"), host.clone(), 5061);
    let edge = Edge::new(contoso(vec![rule], false), Cache::new([1, 2]));
    permitted(edge.inbound(&peer(&["edge.fabrikam-hosting.example"]), "fabrikam.example"));
    match edge.outbound("fabrikam.example") {
        Decision::Ask(question) => assert_eq!(question, Question::Host { fqdn: host, port: 5061 }),
        other => panic!("asks nothing: {other:?}"),
    }
}

/// 5.2: what the inside is told of the sender.
#[test]
fn s5_2_each_kind_has_its_source_type() {
    let host = domain("sip.fabrikam.example");
    let server = PartnerRule::allowed_server(domain("fabrikam.example"), host, 5061);
    let cases = [
        (vec![server], false, "DirectPartner"),
        (vec![allowed_domain("fabrikam.example")], false, "AutoFederation"),
        (Vec::new(), true, "AutoFederation"),
    ];
    for (partners, discovery, source_type) in cases {
        let found = dns("fabrikam.example", &["sip.fabrikam.example"]);
        let edge = Edge::new(contoso(partners, discovery), found);
        let permit = permitted(edge.inbound(&peer(&["sip.fabrikam.example"]), "fabrikam.example"));
        assert_eq!(permit.source_type(), source_type);
    }
    let edge = Edge::new(contoso(Vec::new(), false), Cache::new([1, 2]));
    let permit = permitted(edge.policy.remote_user(&domain("contoso.example"), None));
    assert_eq!(permit.source_type(), "InternetUser");
}

/// 5.2, verification levels: a sender not marked is unverified unless always verifiable.
#[test]
fn s5_2_verification_follows_the_level_of_the_entry() {
    for (verification, marked, unmarked) in [
        (Verification::Always, true, true),
        (Verification::Source, true, false),
        (Verification::Never, false, false),
    ] {
        let rule = PartnerRule { verification, ..allowed_domain("fabrikam.example") };
        let found = dns("fabrikam.example", &["sip.fabrikam.example"]);
        let edge = Edge::new(contoso(vec![rule], false), found);
        let permit = permitted(edge.inbound(&peer(&["sip.fabrikam.example"]), "fabrikam.example"));
        assert_eq!(
            (permit.source_verified(true), permit.source_verified(false)),
            (marked, unmarked)
        );
    }
}

/// 5.4: "any connection from or to a denied domain is dropped", discovered ones too.
#[test]
fn s5_4_the_blocked_list_wins_over_discovery_in_both_directions() {
    let edge =
        Edge::new(contoso(Vec::new(), true), dns("litware.example", &["sip.litware.example"]));
    refused_with(edge.inbound(&peer(&["sip.litware.example"]), "litware.example"), 403, 1005);
    refused_with(edge.outbound("litware.example"), 403, 1005);
}

/// 5.4: the lists match exactly; a subdomain is another domain.
#[test]
fn s5_4_a_subdomain_of_a_listed_domain_is_not_listed() {
    let rules = contoso(vec![allowed_domain("fabrikam.example")], false);
    let edge = Edge::new(rules, Cache::new([1, 2]));
    refused_with(edge.outbound("it.fabrikam.example"), 403, 1005);
    let edge = Edge::new(contoso(Vec::new(), true), Cache::new([1, 2]));
    assert!(matches!(edge.outbound("it.litware.example"), Decision::Ask(_)));
}

/// 5.4: "a domain can be on one list only (creation fails otherwise)".
#[test]
fn s5_4_a_domain_on_both_lists_is_a_contradiction() {
    let rules = contoso(vec![allowed_domain("litware.example")], false);
    let contradictions = compile(rules, 1).expect_err("on both lists");
    assert_eq!(
        contradictions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["litware.example is both allowed (partner[0]) and blocked (blocked[0])"]
    );
}

/// 5.4: with discovery off only the allowed list federates, and DNS is not asked for strangers.
#[test]
fn s5_4_without_discovery_only_listed_domains_federate() {
    let rules = contoso(vec![allowed_domain("fabrikam.example")], false);
    let edge = Edge::new(rules, Cache::new([1, 2]));
    refused_with(edge.outbound("northwind.example"), 403, 1005);
    refused_with(edge.inbound(&peer(&["sip.northwind.example"]), "northwind.example"), 403, 1005);
}

/// 5.5: the organisation's gate is above every list.
#[test]
fn s5_5_nothing_federates_while_the_organisation_does_not() {
    let mut rules = contoso(vec![allowed_domain("fabrikam.example")], true);
    rules.federation.enabled = false;
    let edge = Edge::new(rules, dns("fabrikam.example", &["sip.fabrikam.example"]));
    refused_with(edge.outbound("fabrikam.example"), 403, 1002);
    refused_with(edge.inbound(&peer(&["sip.fabrikam.example"]), "fabrikam.example"), 403, 1002);
}

/// 5.5: remote and anonymous users have gates of their own.
#[test]
fn s5_5_remote_and_anonymous_users_have_their_own_gates() {
    let anonymous = domain("anonymous.invalid");
    let own = domain("contoso.example");
    for (enabled, allowed) in [(true, true), (true, false), (false, true)] {
        let mut rules = contoso(Vec::new(), false);
        rules.remote_users = RemoteUserSwitches { enabled, anonymous: allowed };
        let edge = Edge::new(rules, Cache::new([1, 2]));
        let user = edge.policy.remote_user(&own, Some(&own));
        let guest = edge.policy.remote_user(&anonymous, Some(&own));
        assert_eq!(matches!(user, Decision::Permit(_)), enabled);
        assert_eq!(matches!(guest, Decision::Permit(_)), enabled && allowed);
    }
}

/// 12.2, 1017: own domains are not claimed from outside, and the edge is no relay.
#[test]
fn s12_2_own_to_own_and_foreign_to_foreign_do_not_pass() {
    let edge = Edge::new(contoso(Vec::new(), true), Cache::new([1, 2]));
    refused_with(edge.inbound(&peer(&["sip.contoso.example"]), "contoso.example"), 403, 1017);
    refused_with(edge.outbound("contoso.example"), 403, 1017);
    let (from, to) = (domain("fabrikam.example"), domain("northwind.example"));
    let q = Outbound { from: &from, to: &to };
    refused_with(edge.policy.outbound(Now::default(), &q, &edge.dns), 403, 1017);
}

/// RFC 5922 section 7 as an alternative or an extra demand per partner.
#[test]
fn rfc5922_the_sip_domain_in_the_certificate_counts_by_setting() {
    let with_domain = peer(&["fabrikam.example"]);
    let with_both = peer(&["fabrikam.example", "sip.fabrikam.example"]);
    for (names, domain_alone) in [(NameCheck::SipDomain, true), (NameCheck::Both, false)] {
        let rule = PartnerRule { names, ..allowed_domain("fabrikam.example") };
        let found = dns("fabrikam.example", &["sip.fabrikam.example"]);
        let edge = Edge::new(contoso(vec![rule], false), found);
        let decision = edge.inbound(&with_domain, "fabrikam.example");
        assert_eq!(matches!(decision, Decision::Permit(_)), domain_alone);
        permitted(edge.inbound(&with_both, "fabrikam.example"));
    }
}
