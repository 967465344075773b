//! Which certificates let a peer in, and as whom.

use rcgen::ExtendedKeyUsagePurpose as Purpose;

use super::pki::{NOW_UNIX_S, Pair};
use super::*;
use crate::policy::Anchors;
use crate::tls::ListenerPlan;

/// Lets a peer with `theirs` connect to `material`; returns what the server made of it.
pub(super) fn admit(material: &Material, class: Class, theirs: &Pair) -> End {
    let config = bare::config(&[&TLS13], Some(theirs));
    let mut client = Bare::connect(&config, "sip.contoso.example");
    let mut server = End::server(material, class);
    run(&mut client, &mut server, WHOLE);
    server
}

fn untrusted(why: Distrust) -> Result<State, Fault> {
    Err(Fault::CertificateUntrusted { why })
}

/// An edge whose own certificate comes from `root`, which it trusts.
pub(super) fn edge(root: &Authority) -> Site {
    Site::new(&root.leaf(&Leaf::named("sip.contoso.example")), &[root])
}

#[test]
fn s6_3_any_purpose_of_tls_or_sip_passes_and_client_auth_is_told() {
    let root = Authority::root("Root");
    let material = edge(&root).build();
    let sip_domain = Purpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20]);
    let cases = [
        (vec![], Some(true)),
        (vec![Purpose::ServerAuth], Some(false)),
        (vec![Purpose::ClientAuth], Some(true)),
        (vec![Purpose::ServerAuth, Purpose::ClientAuth], Some(true)),
        (vec![sip_domain], Some(false)),
        (vec![Purpose::Any], Some(true)),
        (vec![Purpose::CodeSigning, Purpose::ServerAuth], Some(false)),
        (vec![Purpose::CodeSigning], None),
        (vec![Purpose::EmailProtection, Purpose::OcspSigning], None),
    ];
    for (purposes, client_auth) in cases {
        let leaf = Leaf { purposes: purposes.clone(), ..Leaf::named("sip.fabrikam.example") };
        let server = admit(&material, Class::Federation, &root.leaf(&leaf));
        match client_auth {
            Some(expected) => {
                let peer = server.session.peer().expect("purposes pass");
                assert_eq!(peer.client_auth, expected, "{purposes:?}");
            }
            None => assert_eq!(server.outcome, untrusted(Distrust::WrongPurpose)),
        }
    }
}

#[test]
fn s6_3_names_are_read_from_the_certificate_without_wildcards() {
    let root = Authority::root("Root");
    let leaf = Leaf {
        names: vec!["Sip.Fabrikam.example", "*.fabrikam.example", "av.fabrikam.example"],
        uris: vec!["sip:fabrikam.example", "sip:bob@fabrikam.example", "https://fabrikam.example"],
        common_name: Some("edge.fabrikam.example"),
        years: Some((2020, 2030)),
        ..Leaf::default()
    };
    let server = admit(&edge(&root).build(), Class::Federation, &root.leaf(&leaf));
    let peer = server.session.peer().unwrap();
    assert_eq!(peer.dns_names, [domain("sip.fabrikam.example"), domain("av.fabrikam.example")]);
    assert_eq!(peer.sip_domains, [domain("fabrikam.example")]);
    assert_eq!(peer.common_name, Some(domain("edge.fabrikam.example")));
    assert_eq!(peer.expires_unix_s, 1_893_456_000, "2030-01-01");
    assert_eq!(peer.anchors, Anchors::General);
}

#[test]
fn a_chain_through_an_intermediate_passes_and_one_without_it_does_not() {
    let root = Authority::root("Root");
    let intermediate = root.intermediate("Intermediate");
    let theirs = intermediate.leaf(&Leaf::named("sip.fabrikam.example"));
    let material = edge(&root).build();
    assert!(admit(&material, Class::Federation, &theirs).is_established());
    let end = theirs.chain.find("-----END CERTIFICATE-----\n").unwrap() + 26;
    let alone = Pair { chain: theirs.chain[..end].to_owned(), key: theirs.key };
    let server = admit(&material, Class::Federation, &alone);
    assert_eq!(server.outcome, untrusted(Distrust::UnknownIssuer));
}

#[test]
fn an_endless_chain_is_not_searched() {
    let root = Authority::root("Root");
    let mut theirs = root.leaf(&Leaf::named("sip.fabrikam.example"));
    for n in 0..=limits::CHAIN_CERTIFICATES_MAX {
        theirs.chain.push_str(&Authority::root(&format!("Ballast {n}")).pem);
    }
    let server = admit(&edge(&root).build(), Class::Federation, &theirs);
    assert_eq!(server.outcome, untrusted(Distrust::TooComplex));
}

#[test]
fn certificates_out_of_their_time_are_refused_by_name() {
    let root = Authority::root("Root");
    let material = edge(&root).build();
    for (years, outcome) in
        [((2001, 2002), Err(Fault::Expired)), ((4000, 4001), untrusted(Distrust::NotYetValid))]
    {
        let leaf = Leaf { years: Some(years), ..Leaf::named("sip.fabrikam.example") };
        assert_eq!(admit(&material, Class::Federation, &root.leaf(&leaf)).outcome, outcome);
    }
}

#[test]
fn an_authority_is_no_peer() {
    let root = Authority::root("Root");
    let server = admit(&edge(&root).build(), Class::Federation, &root.own());
    assert_eq!(server.outcome, untrusted(Distrust::AuthorityAsPeer));
}

#[test]
fn a_revoked_peer_is_refused_and_another_of_the_same_issuer_is_not() {
    let root = Authority::root("Root");
    let other_root = Authority::root("Another root");
    let mut site = edge(&root);
    let extra = site.file("another.pem", &other_root.pem);
    site.plan.trust.push(TrustSource::File(extra));
    let list = site.file("root.crl", &root.revoke(&[66]));
    site.plan.crl.push(list);
    let material = site.build();
    let numbered = |authority: &Authority, serial| {
        let leaf = Leaf { serial, ..Leaf::named("sip.fabrikam.example") };
        admit(&material, Class::Federation, &authority.leaf(&leaf)).outcome
    };
    assert_eq!(numbered(&root, 66), Err(Fault::Revoked));
    assert_eq!(numbered(&root, 67), Ok(State::Established));
    // Where an issuer has no list the chain stands without.
    assert_eq!(numbered(&other_root, 66), Ok(State::Established));
}

#[test]
fn a_list_signed_by_someone_else_lets_nobody_of_that_issuer_in() {
    let root = Authority::root("Root");
    let impostor = Authority::root("Root");
    let mut site = edge(&root);
    let list = site.file("root.crl", &impostor.revoke(&[66]));
    site.plan.crl.push(list);
    let theirs = root.leaf(&Leaf::named("sip.fabrikam.example"));
    let server = admit(&site.build(), Class::Federation, &theirs);
    assert_eq!(server.outcome, untrusted(Distrust::BadRevocationList));
}

#[test]
fn a_partners_own_anchors_vouch_for_that_partner_alone() {
    let (root, of_fabrikam, of_litware) =
        (Authority::root("Root"), Authority::root("Fabrikam"), Authority::root("Litware"));
    let mut site = edge(&root);
    let files = [site.file("f.pem", &of_fabrikam.pem), site.file("l.pem", &of_litware.pem)];
    site.partner_trust(&[(70, &files[0]), (7, &files[1])]);
    let material = site.build();
    let anchors = |authority: &Authority| {
        let theirs = authority.leaf(&Leaf::named("sip.fabrikam.example"));
        let server = admit(&material, Class::Federation, &theirs);
        server.session.peer().map(|peer| peer.anchors)
    };
    assert_eq!(anchors(&root), Some(Anchors::General));
    assert_eq!(anchors(&of_fabrikam), Some(Anchors::OfPartner(70)));
    assert_eq!(anchors(&of_litware), Some(Anchors::OfPartner(7)));
    assert_eq!(anchors(&Authority::root("Nobody")), None);

    // Going out, only the set of the partner that was asked for counts.
    let theirs = of_litware.leaf(&Leaf::named("sip.litware.example"));
    let names = ExpectedNames::host(domain("sip.litware.example"));
    for (set, passes) in [(None, false), (Some(70), false), (Some(7), true)] {
        let mut client = End::client_for(&material, Class::Federation, set, &names).unwrap();
        run(&mut client, &mut Bare::accept(&theirs, None), WHOLE);
        assert_eq!(client.is_established(), passes, "{set:?}: {:?}", client.outcome);
    }
    let no_such = End::client_for(&material, Class::Federation, Some(2), &names);
    let mut client = no_such.unwrap();
    run(&mut client, &mut Bare::accept(&theirs, None), WHOLE);
    assert_eq!(client.outcome.unwrap_err().blame(), Blame::Local);
}

#[test]
fn an_internal_peer_must_carry_a_listed_name_and_the_internal_anchor() {
    let (root, inside) = (Authority::root("Root"), Authority::root("Inside"));
    let mut site = edge(&root);
    let path = site.file("inside.pem", &inside.pem);
    site.plan.internal_trust = vec![TrustSource::File(path)];
    site.plan.internal_names = vec![domain("pool.contoso.example"), domain("dir.contoso.example")];
    let material = site.build();
    let outcome = |authority: &Authority, name| {
        admit(&material, Class::Internal, &authority.leaf(&Leaf::named(name))).outcome
    };
    assert_eq!(outcome(&inside, "pool.contoso.example"), Ok(State::Established));
    assert_eq!(outcome(&inside, "dir.contoso.example"), Ok(State::Established));
    let Err(Fault::NameMismatch { presented, .. }) = outcome(&inside, "pc7.contoso.example") else {
        panic!("a name that is not listed is refused");
    };
    assert_eq!(*presented, [domain("pc7.contoso.example")]);
    let outside = outcome(&root, "pool.contoso.example");
    assert_eq!(outside, untrusted(Distrust::UnknownIssuer));
}

#[test]
fn who_asks_for_credentials_must_carry_a_name_of_a_list_of_its_own() {
    let root = Authority::root("Root");
    let mut site = edge(&root);
    let class = Class::Credentials;
    site.plan.listeners.push(ListenerPlan { class, identity: "access".to_owned() });
    site.plan.internal_names = vec![domain("pool.contoso.example")];
    site.plan.credentials_names = vec![domain("sba.contoso.example")];
    let material = site.build();
    let outcome = |class, name| admit(&material, class, &root.leaf(&Leaf::named(name))).outcome;
    assert_eq!(outcome(class, "sba.contoso.example"), Ok(State::Established));
    let refused = outcome(class, "pool.contoso.example");
    assert!(matches!(refused, Err(Fault::NameMismatch { .. })), "{refused:?}");
    assert_eq!(outcome(Class::Internal, "pool.contoso.example"), Ok(State::Established));
    let refused = outcome(Class::Internal, "sba.contoso.example");
    assert!(matches!(refused, Err(Fault::NameMismatch { .. })), "{refused:?}");
}

#[test]
fn a_server_must_carry_an_expected_name_whatever_was_sent_as_sni() {
    let root = Authority::root("Root");
    let material = edge(&root).build();
    let connect = |leaf: &Leaf, expected: &ExpectedNames| {
        let client = End::client_for(&material, Class::Federation, None, expected);
        let mut client = client.unwrap();
        run(&mut client, &mut Bare::accept(&root.leaf(leaf), None), WHOLE);
        client.outcome
    };
    let host = |name: &str| ExpectedNames::host(domain(name));
    let sip_domain =
        |name: &str| ExpectedNames { sip_domain: Some(domain(name)), ..ExpectedNames::default() };
    let plain = Leaf::named("sip.fabrikam.example");
    assert_eq!(connect(&plain, &host("sip.fabrikam.example")), Ok(State::Established));
    let mismatch = connect(&plain, &host("sip.litware.example")).unwrap_err();
    assert_eq!(mismatch.connect_failure(), ConnectFailure::CertificateNameMismatch);
    let by_uri = Leaf { uris: vec!["sip:fabrikam.example"], ..Leaf::default() };
    assert_eq!(connect(&by_uri, &sip_domain("fabrikam.example")), Ok(State::Established));
    // A SIP URI names a domain, not a host.
    assert!(connect(&by_uri, &host("fabrikam.example")).is_err());
    // RFC 5922 section 7.2: no wildcards.
    let wildcard = Leaf::named("*.fabrikam.example");
    assert!(connect(&wildcard, &host("sip.fabrikam.example")).is_err());
}

#[test]
fn a_server_must_carry_host_and_sip_domain_where_both_are_expected() {
    let root = Authority::root("Root");
    let material = edge(&root).build();
    let both = ExpectedNames {
        sip_domain: Some(domain("fabrikam.example")),
        ..ExpectedNames::host(domain("sip.fabrikam.example"))
    };
    let outcome = |leaf: &Leaf| {
        let client = End::client_for(&material, Class::Federation, None, &both);
        let mut client = client.unwrap();
        run(&mut client, &mut Bare::accept(&root.leaf(leaf), None), WHOLE);
        client.outcome
    };
    let mut leaf = Leaf::named("sip.fabrikam.example");
    let Err(Fault::NameMismatch { expected, .. }) = outcome(&leaf) else {
        panic!("the host alone does not do");
    };
    assert_eq!(*expected, [domain("fabrikam.example")], "what is lacking is told");
    leaf.uris = vec!["sip:fabrikam.example"];
    assert_eq!(outcome(&leaf), Ok(State::Established));
}

#[test]
fn the_common_name_of_a_server_counts_only_where_expected() {
    let root = Authority::root("Root");
    let material = edge(&root).build();
    let leaf = Leaf { common_name: Some("sip.fabrikam.example"), ..Leaf::default() };
    for common_name in [false, true] {
        let host = ExpectedNames::host(domain("sip.fabrikam.example"));
        let expected = ExpectedNames { common_name, ..host };
        let client = End::client_for(&material, Class::Federation, None, &expected);
        let mut client = client.unwrap();
        run(&mut client, &mut Bare::accept(&root.leaf(&leaf), None), WHOLE);
        assert_eq!(client.outcome.is_ok(), common_name);
    }
}

#[test]
fn an_open_leg_is_judged_again_by_what_counts_now() {
    let (root, of_fabrikam) = (Authority::root("Root"), Authority::root("Fabrikam"));
    let mut site = edge(&root);
    let path = site.file("f.pem", &of_fabrikam.pem);
    site.partner_trust(&[(7, &path)]);
    let leaf =
        Leaf { serial: 66, years: Some((2020, 2030)), ..Leaf::named("sip.fabrikam.example") };
    let mut general = admit(&site.build(), Class::Federation, &root.leaf(&leaf)).session;
    let mut own = admit(&site.build(), Class::Federation, &of_fabrikam.leaf(&leaf)).session;
    let again =
        |session: &mut Session, site: &Site, now| session.rejudge(site.build().trust(), now);
    assert_eq!(again(&mut general, &site, NOW_UNIX_S), Ok(None));
    assert_eq!(again(&mut own, &site, NOW_UNIX_S), Ok(None));
    assert_eq!(again(&mut general, &site, 1_893_456_001), Err(Fault::Expired));

    // Other partners' sets come and go.
    let nobody = site.file("n.pem", &Authority::root("Nobody").pem);
    site.partner_trust(&[(1, &nobody), (7, &path)]);
    assert_eq!(again(&mut own, &site, NOW_UNIX_S), Ok(None));
    // The partner's set has another name: the leg counted for whoever has the old one.
    site.partner_trust(&[(7, &nobody), (1, &path)]);
    assert_eq!(again(&mut own, &site, NOW_UNIX_S), Err(Fault::AnchorsChanged));

    let list = site.file("root.crl", &root.revoke(&[66]));
    site.plan.crl.push(list);
    assert_eq!(again(&mut general, &site, NOW_UNIX_S), Err(Fault::Revoked));

    let elsewhere = Site::new(&root.leaf(&leaf), &[&of_fabrikam]);
    let untrusted = Fault::CertificateUntrusted { why: Distrust::UnknownIssuer };
    assert_eq!(again(&mut general, &elsewhere, NOW_UNIX_S), Err(untrusted));
}

#[test]
fn a_leg_we_opened_by_a_partners_own_anchors_is_judged_again_by_these() {
    let (root, of_fabrikam) = (Authority::root("Root"), Authority::root("Fabrikam"));
    let mut site = edge(&root);
    let path = site.file("f.pem", &of_fabrikam.pem);
    let nobody = site.file("n.pem", &Authority::root("Nobody").pem);
    site.partner_trust(&[(7, &path)]);
    let theirs = of_fabrikam.leaf(&Leaf::named("sip.fabrikam.example"));
    let names = ExpectedNames::host(domain("sip.fabrikam.example"));
    let mut client = End::client_for(&site.build(), Class::Federation, Some(7), &names).unwrap();
    run(&mut client, &mut Bare::accept(&theirs, None), WHOLE);
    site.partner_trust(&[(1, &nobody), (7, &path)]);
    assert_eq!(client.session.rejudge(site.build().trust(), NOW_UNIX_S), Ok(None));
    site.partner_trust(&[(1, &path)]);
    let gone = client.session.rejudge(site.build().trust(), NOW_UNIX_S).unwrap_err();
    assert_eq!(gone.blame(), Blame::Local, "nobody has that set any more");
}

#[test]
fn a_leg_we_opened_is_judged_again_by_the_name_it_was_opened_for() {
    let root = Authority::root("Root");
    let site = edge(&root);
    let theirs = root.leaf(&Leaf::named("sip.fabrikam.example"));
    let mut client = End::client(&site.build(), Class::Federation, "sip.fabrikam.example");
    run(&mut client, &mut Bare::accept(&theirs, None), WHOLE);
    assert_eq!(client.session.rejudge(site.build().trust(), NOW_UNIX_S), Ok(None));
    client.session.close_notify(&mut client.out);
    assert_eq!(client.session.peer().unwrap().dns_names, [domain("sip.fabrikam.example")]);
}
