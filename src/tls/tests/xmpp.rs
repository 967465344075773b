//! Servers of XMPP, whose certificates may prove nothing, and the link with gateways, where one has
//! to.

use rustls::Connection;

use super::bare::Bare;
use super::pki::{Authority, Leaf, NOW_UNIX_S, Pair, Site, domain};
use super::*;

const XMPP: [Class; 2] = [Class::Xmpp, Class::XmppDirectTls];

/// An edge at contoso that trusts `root`, and whose gateway is gw.contoso.example.
fn contoso(root: &Authority) -> Site {
    let own = root.leaf(&Leaf::named("contoso.example"));
    Site::new(&own, &[root]).with_xmpp("gw.contoso.example")
}

/// The server's end of a connection from a peer that shows `pair`, or nothing.
fn served(material: &Material, class: Class, pair: Option<&Pair>) -> End {
    let mut config = bare::config(&[&TLS13], pair);
    config.alpn_protocols = vec![b"xmpp-server".to_vec()];
    let mut client = Bare::connect(&config, "contoso.example");
    let mut server = End::server(material, class);
    run(&mut client, &mut server, WHOLE);
    server
}

#[test]
fn an_xmpp_server_proves_itself_by_a_trusted_certificate() {
    let root = Authority::root("Root");
    let pair = root.leaf(&Leaf {
        names: vec!["xmpp.fabrikam.example"],
        xmpp_addresses: vec!["fabrikam.example"],
        ..Leaf::default()
    });
    for class in XMPP {
        let server = served(&contoso(&root).build(), class, Some(&pair));
        assert!(server.is_established(), "{:?}", server.outcome);
        let peer = server.session.peer().expect("it is somebody");
        assert!(peer.carries_xmpp_domain(&domain("fabrikam.example")));
        assert!(!peer.carries_xmpp_domain(&domain("contoso.example")));
        assert_eq!(server.session.doubt(), None);
    }
}

/// RFC 6120 section 13.7.1.2, RFC 4985: the service names the domain, and no other service does.
#[test]
fn a_service_name_and_a_wildcard_prove_a_domain_too() {
    let root = Authority::root("Root");
    let pair = root.leaf(&Leaf {
        names: vec!["xmpp.hosting.example", "*.tailspin.example"],
        services: vec!["_XMPP-server.fabrikam.example", "_xmpp-client.litware.example"],
        ..Leaf::default()
    });
    let server = served(&contoso(&root).build(), Class::Xmpp, Some(&pair));
    let peer = server.session.peer().expect("it is somebody");
    let cases = [
        ("fabrikam.example", true),
        ("im.fabrikam.example", false),
        ("litware.example", false),
        ("im.tailspin.example", true),
        ("tailspin.example", false),
        ("a.im.tailspin.example", false),
    ];
    for (name, carried) in cases {
        assert_eq!(peer.carries_xmpp_domain(&domain(name)), carried, "{name}");
    }
}

#[test]
fn one_that_nobody_trusts_is_let_in_as_nobody_and_told_why() {
    let (root, other) = (Authority::root("Root"), Authority::root("Other"));
    let strange = other.leaf(&Leaf::named("fabrikam.example"));
    let old = Leaf { years: Some((2020, 2021)), ..Leaf::named("fabrikam.example") };
    let cases = [
        (Some(strange), Some(Fault::CertificateUntrusted { why: Distrust::UnknownIssuer })),
        (Some(root.leaf(&old)), Some(Fault::Expired)),
        (None, None),
    ];
    for class in XMPP {
        for (pair, doubt) in &cases {
            let server = served(&contoso(&root).build(), class, pair.as_ref());
            assert!(server.is_established(), "{:?}", server.outcome);
            assert!(server.session.peer().is_none());
            let told = server.session.doubt().map(|told| told.to_string());
            assert_eq!(told, doubt.as_ref().map(Fault::to_string));
        }
    }
}

#[test]
fn as_client_the_edge_takes_whatever_an_xmpp_server_shows() {
    let (root, other) = (Authority::root("Root"), Authority::root("Other"));
    let material = contoso(&root).build();
    for (authority, is_somebody) in [(&root, true), (&other, false)] {
        let pair = authority.leaf(&Leaf::named("fabrikam.example"));
        let mut server = Bare::accept(&pair, None);
        let mut client = End::client(&material, Class::Xmpp, "fabrikam.example");
        run(&mut client, &mut server, WHOLE);
        assert!(client.is_established());
        assert_eq!(client.session.peer().is_some(), is_somebody);
        assert_eq!(client.session.doubt().is_none(), is_somebody);
    }
}

#[test]
fn only_a_gateway_with_a_listed_name_gets_the_link() {
    let root = Authority::root("Root");
    let material = contoso(&root).build();
    let server = |name: &'static str| {
        served(&material, Class::XmppLink, Some(&root.leaf(&Leaf::named(name))))
    };
    assert!(server("gw.contoso.example").is_established());
    assert!(matches!(server("pool.contoso.example").outcome, Err(Fault::NameMismatch { .. })));
    let nobody = served(&material, Class::XmppLink, None);
    assert!(nobody.outcome.is_err(), "{:?}", nobody.outcome);
    let strange = Authority::root("Other").leaf(&Leaf::named("gw.contoso.example"));
    let strange = served(&material, Class::XmppLink, Some(&strange));
    assert!(matches!(strange.outcome, Err(Fault::CertificateUntrusted { .. })));
}

#[test]
fn direct_tls_is_agreed_on_by_name_and_for_nothing_else() {
    let root = Authority::root("Root");
    let material = contoso(&root).build();
    let outcome = |offered: &[&[u8]]| {
        let mut config = bare::config(&[&TLS13], None);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut client = Bare::connect(&config, "contoso.example");
        let mut server = End::server(&material, Class::XmppDirectTls);
        run(&mut client, &mut server, WHOLE);
        let agreed = match &client.connection {
            Connection::Client(client) => client.alpn_protocol().map(<[u8]>::to_vec),
            Connection::Server(_) => None,
        };
        (server.is_established(), agreed)
    };
    assert_eq!(outcome(&[b"xmpp-server"]), (true, Some(b"xmpp-server".to_vec())));
    assert!(!outcome(&[b"xmpp-client"]).0, "RFC 7301 section 3.2");
    assert!(outcome(&[]).0, "XEP-0368 leaves it to the peer");
}

#[test]
fn whom_the_stream_asked_for_chooses_the_identity_where_tls_does_not_say() {
    let root = Authority::root("Root");
    let mut site = contoso(&root);
    site.identity("adatum", &root.leaf(&Leaf::named("adatum.example")), &["adatum.example"]);
    let material = site.build();
    let server = material.server(Class::Xmpp, listener(Class::Xmpp));
    let fabrikam = Site::new(&root.leaf(&Leaf::named("fabrikam.example")), &[&root]).build();
    for asked in ["adatum.example", "contoso.example"] {
        // An address is never sent as SNI.
        let mut config = bare::config(&[&TLS13], None);
        config.enable_sni = false;
        let mut client = Bare::connect(&config, asked);
        let session = Session::server_as(server, Some(domain(asked))).unwrap();
        let mut ours = End::new(session);
        run(&mut client, &mut ours, WHOLE);
        assert!(ours.is_established());
        let mut judged = End::client(&fabrikam, Class::Federation, asked);
        let mut again = End::new(Session::server_as(server, Some(domain(asked))).unwrap());
        run(&mut judged, &mut again, WHOLE);
        assert!(judged.is_established(), "{asked} shows its own certificate");
    }
}

#[test]
fn a_peer_that_does_not_count_any_more_is_doubted_where_it_need_not_count() {
    let (root, other) = (Authority::root("Root"), Authority::root("Other"));
    let pair = root.leaf(&Leaf::named("fabrikam.example"));
    let stranger = contoso(&other).build();
    let mut xmpp = served(&contoso(&root).build(), Class::Xmpp, Some(&pair));
    let fault = xmpp.session.rejudge(stranger.trust(), NOW_UNIX_S).unwrap_err();
    let doubt = xmpp.session.doubted(fault.clone()).unwrap();
    assert_eq!(doubt.as_deref(), Some(fault.to_string().as_str()));
    assert!(xmpp.session.peer().is_none());
    assert_eq!(xmpp.session.doubted(fault).unwrap(), None, "it is told once");
    xmpp.send(b"<presence/>");
    let gateway = root.leaf(&Leaf::named("gw.contoso.example"));
    let mut link = served(&contoso(&root).build(), Class::XmppLink, Some(&gateway));
    let fault = link.session.rejudge(stranger.trust(), NOW_UNIX_S).unwrap_err();
    assert!(link.session.doubted(fault).is_err(), "a gateway has to be somebody");
}

#[test]
fn what_is_in_the_clear_passes_as_it_is() {
    let mut session = Session::clear();
    let (mut out, mut heard) = (Vec::new(), Vec::new());
    assert!(session.is_clear());
    let fed = session.feed(&mut b"<stream>".to_vec(), &mut out, |bytes| heard.extend(bytes));
    assert_eq!(fed, Ok(Fed { consumed: 8, state: State::Established }));
    session.seal(b"<features/>", &mut out).unwrap();
    session.close_notify(&mut out);
    assert_eq!((heard.as_slice(), out.as_slice()), (&b"<stream>"[..], &b"<features/>"[..]));
    assert!(session.peer().is_none() && session.doubt().is_none());
}
