//! Providers, the default route, patterns and dates.

use super::*;

const ONLINE: &str = "sipfed.online.example";
const SKYPE: &str = "federation.skype.example";

fn online() -> ProviderRule {
    ProviderRule::new(ProviderKind::Hosting, "online", domain(ONLINE))
}

fn skype() -> ProviderRule {
    let domains = vec![domain("msn.example")];
    ProviderRule { domains, ..ProviderRule::new(ProviderKind::Public, "skype", domain(SKYPE)) }
}

/// `tenant.example` is hosted and not listed; `fabrikam.example` is listed.
fn with_providers(discovery: bool) -> Rules {
    let mut rules = allowed_domain();
    rules.federation.discovery = discovery;
    rules.providers = vec![online(), skype()];
    rules
}

fn behind(of: &str, edge: &str) -> Answers {
    let fqdn = domain(edge);
    let host = Answers::of(Question::Host { fqdn, port: 5061 }, Ok(vec![target(edge, &[GLOBAL])]));
    Answers::srv(of, &[target(edge, &[GLOBAL])]).and(host)
}

fn to_partner(snapshot: &Snapshot, to: &str, dns: &Answers) -> Decision {
    outbound(snapshot, "contoso.example", to, dns)
}

fn from_partner(snapshot: &Snapshot, edge: &str, from: &str, dns: &Answers) -> Decision {
    inbound(snapshot, &peer(&[edge]), from, "contoso.example", dns)
}

#[test]
fn a_domain_whose_record_names_a_hosting_provider_is_the_providers() {
    let snapshot = snapshot(with_providers(true));
    let dns = behind("tenant.example", ONLINE);
    for decision in [
        to_partner(&snapshot, "tenant.example", &dns),
        from_partner(&snapshot, ONLINE, "tenant.example", &dns),
    ] {
        let permit = permit(decision);
        assert_eq!(permit.kind(), PartnerKind::HostingProvider);
        assert_eq!(permit.partner(), PartnerKey::Provider(0));
        assert_eq!(permit.rule().sentence(), "hosting provider online for tenant.example");
        assert_eq!(permit.rule().place(), "provider[0]");
        assert_eq!(permit.source_type(), "AuthorizedServer");
        assert_eq!(permit.source_network(), SourceNetwork::Federation);
        assert_eq!(permit.valid_until(), UNTIL);
        assert!(permit.audio_video());
        assert!(permit.source_verified(true) && !permit.source_verified(false));
    }
}

#[test]
fn without_discovery_a_hosted_domain_must_be_listed() {
    let snapshot = snapshot(with_providers(false));
    let sentence = "tenant.example is hosted by a provider, is not listed, and discovery is off \
                    (rule provider[0])";
    let dns = behind("tenant.example", ONLINE);
    let rule = RefusalRule::HostedNotListed;
    refused(to_partner(&snapshot, "tenant.example", &dns), rule, 403, 1028, sentence);
    let decision = from_partner(&snapshot, ONLINE, "tenant.example", &dns);
    refused(decision, rule, 403, 1028, sentence);
    let dns = behind("fabrikam.example", ONLINE);
    let permit = permit(to_partner(&snapshot, "fabrikam.example", &dns));
    assert_eq!(permit.kind(), PartnerKind::HostingProvider);
    let route = permit.route().unwrap();
    assert_eq!(route.targets(), [target(ONLINE, &[GLOBAL])]);
}

#[test]
fn a_domain_whose_record_cannot_be_read_is_not_called_unknown() {
    let failed = |failure| {
        let dns = Answers::of(Question::Federation(domain("owner.example")), Err(failure));
        refusal(to_partner(&snapshot(with_providers(false)), "owner.example", &dns))
    };
    for failure in [Failure::ServerFailure, Failure::Timeout] {
        let refusal = failed(failure);
        assert_eq!(refusal.rule(), RefusalRule::SrvLookupFailed, "{failure:?}");
        assert_eq!((refusal.status(), refusal.diagnostics()), (504, 1008));
        assert_eq!(refusal.valid_until(), UNTIL);
    }
    assert_eq!(failed(Failure::NoSuchService).rule(), RefusalRule::UnknownDomain);
}

#[test]
fn a_public_provider_needs_no_list() {
    let snapshot = snapshot(with_providers(false));
    let dns = behind("owner.example", SKYPE);
    let permit = permit(to_partner(&snapshot, "owner.example", &dns));
    assert_eq!(permit.kind(), PartnerKind::PublicProvider);
    assert_eq!(permit.rule().sentence(), "public provider skype for owner.example");
    assert_eq!(permit.source_network(), SourceNetwork::PublicCloud);
    assert!(!permit.source_verified(true), "nothing counts as verified by default");
    assert!(!permit.audio_video());
    assert_eq!(permit.source_type(), "AuthorizedServer");
    assert_eq!(snapshot.remote_edge(permit.partner()), Some(&domain(SKYPE)));
}

#[test]
fn a_domain_that_a_providers_entry_states_needs_no_record() {
    let snapshot = snapshot(with_providers(false));
    let none = Answers::default();
    let permit = permit(from_partner(&snapshot, SKYPE, "msn.example", &none));
    assert_eq!(permit.kind(), PartnerKind::PublicProvider);
    assert_eq!(permit.valid_until(), Monotonic(u64::MAX));
    let fqdn = domain(SKYPE);
    let decision = to_partner(&snapshot, "msn.example", &none);
    assert_eq!(asked(decision), Question::Host { fqdn, port: 5061 });
    let decision = from_partner(&snapshot, "sip.msn.example", "msn.example", &none);
    let sentence = "the certificate does not carry federation.skype.example, which speaks for \
                    msn.example (rule provider[1])";
    refused(decision, RefusalRule::CertificateNameMismatch, 403, 1016, sentence);
}

/// lync-federation 4.2 rule 9.
#[test]
fn a_provider_speaks_only_for_domains_that_resolve_to_it() {
    let snapshot = snapshot(with_providers(true));
    let dns = fabrikam();
    let decision = from_partner(&snapshot, ONLINE, "fabrikam.example", &dns);
    let sentence = "provider online sends for fabrikam.example, which does not resolve to it \
                    (rule partner[0])";
    refused(decision, RefusalRule::ProviderOfAnother, 403, 1016, sentence);
    let dns = behind("tenant.example", SKYPE);
    let decision = from_partner(&snapshot, ONLINE, "tenant.example", &dns);
    let sentence = "provider online sends for tenant.example, which does not resolve to it \
                    (rule provider[1])";
    refused(decision, RefusalRule::ProviderOfAnother, 403, 1016, sentence);
}

#[test]
fn nobody_else_speaks_for_a_domain_with_a_stated_edge() {
    let mut rules = allowed_server();
    rules.federation.discovery = true;
    rules.providers = vec![online()];
    let snapshot = snapshot(rules);
    let dns = behind("fabrikam.example", ONLINE);
    let refusal = refusal(from_partner(&snapshot, ONLINE, "fabrikam.example", &dns));
    assert_eq!(refusal.rule(), RefusalRule::ProviderOfAnother);
    let decision = to_partner(&snapshot, "fabrikam.example", &dns);
    let fqdn = domain("edge.fabrikam-hosting.example");
    assert_eq!(asked(decision), Question::Host { fqdn, port: 5061 });
}

#[test]
fn an_entry_with_trust_of_its_own_is_not_left_to_a_provider() {
    let dns = behind("fabrikam.example", ONLINE);
    for change in [
        |rule: &mut PartnerRule| rule.anchors = Some(0),
        |rule: &mut PartnerRule| rule.names = NameCheck::Both,
    ] {
        let mut rules = with_providers(true);
        change(&mut rules.partners[0]);
        let refusal = refusal(to_partner(&snapshot(rules), "fabrikam.example", &dns));
        assert_eq!(refusal.rule(), RefusalRule::SrvTargetOutsideDomain);
    }
}

#[test]
fn a_provider_that_is_not_enabled_is_told_of_in_the_refusal() {
    let mut rules = with_providers(true);
    rules.providers[0].enabled = false;
    let snapshot = snapshot(rules);
    let dns = behind("tenant.example", ONLINE);
    let sentence = "the SRV record of tenant.example names sipfed.online.example, the edge of \
                    provider online, which is not enabled";
    let decision = to_partner(&snapshot, "tenant.example", &dns);
    refused(decision, RefusalRule::SrvTargetOutsideDomain, 504, 1009, sentence);
}

#[test]
fn strangers_get_no_dns_question_asked_and_a_provider_does() {
    let snapshot = snapshot(with_providers(false));
    let none = Answers::default();
    let decision = from_partner(&snapshot, "sip.adatum.example", "adatum.example", &none);
    assert_eq!(refusal(decision).rule(), RefusalRule::UnknownDomain);
    let decision = from_partner(&snapshot, ONLINE, "adatum.example", &none);
    assert_eq!(asked(decision), Question::Federation(domain("adatum.example")));
    let decision = to_partner(&snapshot, "adatum.example", &none);
    assert_eq!(asked(decision), Question::Federation(domain("adatum.example")));
    let dns = Answers::srv("adatum.example", &[target("sip.adatum.example", &[GLOBAL])]);
    let refusal = refusal(to_partner(&snapshot, "adatum.example", &dns));
    assert_eq!(refusal.rule(), RefusalRule::UnknownDomain);
    assert_eq!(refusal.valid_until(), UNTIL, "its record may name a provider some day");
}

#[test]
fn a_hosting_provider_may_speak_for_a_shared_own_domain_and_no_other() {
    let mut rules = with_providers(true);
    rules.providers[0].shared = vec![domain("contoso.example")];
    let snapshot = snapshot(rules);
    assert!(snapshot.shares(b"CONTOSO.example") && !snapshot.shares(b"contoso-emea.example"));
    let none = Answers::default();
    let permitted = permit(from_partner(&snapshot, ONLINE, "contoso.example", &none));
    assert!(permitted.is_split_domain());
    assert_eq!(permitted.kind(), PartnerKind::HostingProvider);
    let sentence = "hosting provider online for the shared own domain contoso.example";
    assert_eq!(permitted.rule().sentence(), sentence);
    let dns = behind("tenant.example", ONLINE);
    let to = |to: &str, dns| outbound(&snapshot, "contoso-emea.example", to, dns);
    assert_eq!(permit(to("contoso.example", &dns)).partner(), PartnerKey::Provider(0));
    let refused_with = |decision| refusal(decision).rule();
    assert_eq!(
        refused_with(from_partner(&snapshot, ONLINE, "contoso-emea.example", &none)),
        RefusalRule::OwnDomainFromOutside
    );
    assert_eq!(
        refused_with(from_partner(&snapshot, SKYPE, "contoso.example", &none)),
        RefusalRule::OwnDomainFromOutside
    );
    assert_eq!(refused_with(to("contoso-emea.example", &dns)), RefusalRule::DestinationIsOurs);
}

#[test]
fn a_default_route_takes_what_nothing_names() {
    let mut rules = allowed_server();
    rules.default_route = Some(DefaultRoute::new(domain("hub.clearing.example")));
    let snapshot = snapshot(rules);
    let none = Answers::default();
    let permitted =
        permit(from_partner(&snapshot, "hub.clearing.example", "adatum.example", &none));
    assert_eq!(permitted.kind(), PartnerKind::DefaultRoute);
    assert_eq!(permitted.partner(), PartnerKey::DefaultRoute);
    assert_eq!(
        permitted.rule().sentence(),
        "default route hub.clearing.example for adatum.example"
    );
    assert_eq!(permitted.rule().place(), "default_route");
    assert_eq!(permitted.source_type(), "AuthorizedServer");
    let decision = to_partner(&snapshot, "adatum.example", &none);
    let fqdn = domain("hub.clearing.example");
    assert_eq!(asked(decision), Question::Host { fqdn, port: 5061 });
    let decision = from_partner(&snapshot, "sip.adatum.example", "adatum.example", &none);
    assert_eq!(refusal(decision).rule(), RefusalRule::UnknownDomain);
    // It speaks for nobody who has an entry.
    let decision = from_partner(&snapshot, "hub.clearing.example", "fabrikam.example", &none);
    assert_eq!(refusal(decision).rule(), RefusalRule::CertificateNameMismatch);
    let decision = to_partner(&snapshot, "litware.example", &none);
    assert_eq!(refusal(decision).rule(), RefusalRule::Blocked);
}

#[test]
fn a_default_route_may_count_as_public() {
    let mut rules = allowed_server();
    let route = DefaultRoute::new(domain("hub.clearing.example"));
    rules.default_route = Some(DefaultRoute { public: true, ..route });
    let snapshot = snapshot(rules);
    let decision =
        from_partner(&snapshot, "hub.clearing.example", "adatum.example", &Answers::default());
    let permit = permit(decision);
    assert_eq!(permit.source_network(), SourceNetwork::PublicCloud);
    let remote = snapshot.remote_edge(permit.partner());
    assert_eq!(remote, Some(&domain("hub.clearing.example")));
    assert!(permit.source_verified(true));
}

#[test]
fn one_connection_carries_one_kind_of_federation() {
    let mut rules = with_providers(true);
    let edge = domain("edge.northwind.example");
    rules.partners.push(PartnerRule::allowed_server(domain("northwind.example"), edge, 5061));
    let first = snapshot(rules.clone());
    let permitted = |snapshot: &Snapshot, edge, from, dns| {
        permit(from_partner(snapshot, edge, from, dns)).connection()
    };
    let tenant = behind("tenant.example", ONLINE);
    let adatum = Answers::srv("adatum.example", &[target("sip.adatum.example", &[GLOBAL])]);
    let none = Answers::default();
    let found = fabrikam();
    let listed = permitted(&first, "sip.fabrikam.example", "fabrikam.example", &found);
    let discovered = permitted(&first, "sip.adatum.example", "adatum.example", &adatum);
    let direct = permitted(&first, "edge.northwind.example", "northwind.example", &none);
    let hosted = permitted(&first, ONLINE, "tenant.example", &tenant);
    let public = permitted(&first, SKYPE, "msn.example", &none);
    let judge = |held, next| first.one_kind(held, next, b"adatum.example");
    assert_eq!(judge(None, hosted).unwrap(), hosted);
    assert_eq!(judge(Some(listed), discovered).unwrap(), discovered, "both are found by SRV");
    for (held, next) in
        [(listed, direct), (direct, listed), (hosted, listed), (hosted, public), (public, hosted)]
    {
        let refusal = judge(Some(held), next).unwrap_err();
        assert_eq!(refusal.rule(), RefusalRule::OtherKindOnConnection);
        assert_eq!((refusal.status(), refusal.diagnostics()), (403, 1016));
        let sentence =
            "adatum.example comes on a connection that carries another kind of federation";
        assert_eq!(refusal.sentence(), sentence);
    }
    let later = super::super::super::compile(rules, 8).unwrap();
    let direct_later = permitted(&later, "edge.northwind.example", "northwind.example", &none);
    assert!(later.one_kind(Some(listed), direct_later, b"northwind.example").is_ok());
}

fn below(name: &str) -> Pattern {
    Pattern::Below(domain(name))
}

#[test]
fn the_narrowest_entry_counts_and_an_exact_one_before_all() {
    let server = |of: Pattern, edge: &str| PartnerRule::allowed_server(of, domain(edge), 5061);
    let snapshot = snapshot(rules(vec![
        server(below("adatum.example"), "wide.example"),
        server(below("it.adatum.example"), "narrow.example"),
        server(domain("hr.it.adatum.example").into(), "exact.example"),
    ]));
    let none = Answers::default();
    let cases = [
        ("a.adatum.example", "wide.example", Some(0)),
        ("a.b.adatum.example", "wide.example", Some(0)),
        ("it.adatum.example", "wide.example", Some(0)),
        ("a.it.adatum.example", "narrow.example", Some(1)),
        ("hr.it.adatum.example", "exact.example", Some(2)),
        ("adatum.example", "wide.example", None),
    ];
    for (from, edge, entry) in cases {
        let decision = from_partner(&snapshot, edge, from, &none);
        match entry {
            Some(index) => assert_eq!(permit(decision).partner(), PartnerKey::Listed(index)),
            None => assert_eq!(refusal(decision).rule(), RefusalRule::UnknownDomain),
        }
    }
}

#[test]
fn subdomains_found_by_srv_are_partners_apart() {
    let snapshot = snapshot(rules(vec![PartnerRule::allowed_domain(below("adatum.example"))]));
    let key = |of: &str| {
        let edge = format!("sip.{of}");
        let dns = Answers::srv(of, &[target(&edge, &[GLOBAL])]);
        let permit = permit(to_partner(&snapshot, of, &dns));
        assert_eq!(permit.kind(), PartnerKind::AllowedDomain);
        assert_eq!(permit.rule().place(), "partner[0]");
        permit.partner()
    };
    let one = key("it.adatum.example");
    assert!(matches!(one, PartnerKey::Subdomain(_)));
    assert_ne!(one, key("hr.adatum.example"));
}

#[test]
fn what_is_blocked_below_a_name_wins_over_exact_entries() {
    let mut rules = allowed_domain();
    rules.partners.push(PartnerRule::allowed_domain(domain("it.adatum.example")));
    rules.blocked.push(below("adatum.example"));
    let snapshot = snapshot(rules);
    let none = Answers::default();
    let decision = to_partner(&snapshot, "it.adatum.example", &none);
    let sentence = "it.adatum.example is blocked (rule blocked[1])";
    refused(decision, RefusalRule::Blocked, 403, 1005, sentence);
    assert_eq!(
        refusal(to_partner(&snapshot, "adatum.example", &none)).rule(),
        RefusalRule::UnknownDomain
    );
}

fn at(unix_s: u64) -> Now {
    Now { unix_s, ..Now::default() }
}

#[test]
fn an_expired_entry_refuses_and_one_that_will_bounds_the_permit() {
    let mut rules = allowed_domain();
    let day = Date::parse("2026-06-30").unwrap();
    rules.partners[0].expires = Some(day);
    // Neither discovery nor a provider takes what somebody wanted to end.
    rules.federation.discovery = true;
    rules.providers = vec![online()];
    let snapshot = snapshot(rules);
    let (from, to) = (domain("contoso.example"), domain("fabrikam.example"));
    let q = Outbound { from: &from, to: &to };
    let permit = permit(snapshot.outbound(at(day.end_unix_s() - 5), &q, &fabrikam()));
    assert_eq!(permit.valid_until(), Monotonic(5_000_000_000));
    let decision = snapshot.outbound(at(day.end_unix_s()), &q, &fabrikam());
    let sentence = "the entry of fabrikam.example expired after 2026-06-30 (rule partner[0])";
    refused(decision, RefusalRule::EntryExpired, 403, 1005, sentence);
}

#[test]
fn only_an_operators_date_ends_a_provider() {
    let day = Date::parse("2014-06-30").unwrap();
    let mut rules = with_providers(false);
    rules.providers[1].announced_end = Some(day);
    let (from, to) = (domain("msn.example"), domain("contoso.example"));
    let skype = peer(&[SKYPE]);
    let q = Inbound { peer: &skype, from: &from, to: &to };
    let none = Answers::default();
    let after = at(day.end_unix_s());
    permit(snapshot(rules.clone()).inbound(after, &q, &none));
    rules.providers[1].ends = Some(day);
    let snapshot = snapshot(rules);
    permit(snapshot.inbound(at(day.end_unix_s() - 1), &q, &none));
    let sentence = "the provider of msn.example was to be used until 2014-06-30 (rule provider[1])";
    let decision = snapshot.inbound(after, &q, &none);
    refused(decision, RefusalRule::ProviderEnded, 403, 1005, sentence);
}

#[test]
fn a_providers_own_demands_hold() {
    let mut rules = with_providers(false);
    rules.providers[1].require_client_eku = true;
    rules.providers[1].anchors = Some(4);
    let snapshot = snapshot(rules);
    let none = Answers::default();
    let refused_with = |peer: &PeerNames| {
        let decision = inbound(&snapshot, peer, "msn.example", "contoso.example", &none);
        refusal(decision).rule()
    };
    assert_eq!(refused_with(&peer(&[SKYPE])), RefusalRule::AnchorsOfAnother);
    let anchored = PeerNames { anchors: Anchors::OfPartner(4), ..peer(&[SKYPE]) };
    let servers_only = PeerNames { client_auth: false, ..anchored.clone() };
    assert_eq!(refused_with(&servers_only), RefusalRule::ClientUsageMissing);
    permit(inbound(&snapshot, &anchored, "msn.example", "contoso.example", &none));
}

#[test]
fn a_discovered_partner_is_believed_as_far_as_the_setting_goes() {
    let mut rules = discovery();
    rules.federation.discovered_verification = Verification::Never;
    let snapshot = snapshot(rules);
    let decision = from_partner(&snapshot, "sip.fabrikam.example", "fabrikam.example", &fabrikam());
    assert!(!permit(decision).source_verified(true));
}
