//! What an operator hears of files that cannot be used, and which identity is presented.

use super::pki::Pair;
use super::*;

fn root_and_pair() -> (Authority, Pair) {
    let root = Authority::root("Root");
    let pair = root.leaf(&Leaf::named("sip.contoso.example"));
    (root, pair)
}

/// The sentence that refuses an edge which has `chain` and `key` in its files.
fn refusal(chain: &str, key: &str) -> String {
    let (root, _) = root_and_pair();
    let pair = Pair { chain: chain.to_owned(), key: key.to_owned() };
    Site::new(&pair, &[&root]).refusal()
}

#[test]
fn what_is_wrong_with_an_identity_is_said_with_its_file() {
    let (root, pair) = root_and_pair();
    let other = root.leaf(&Leaf::named("sip.contoso.example"));
    assert_eq!(refusal("", &pair.key), "access.pem: holds no certificate");
    assert_eq!(refusal(&pair.chain, ""), "access.key: holds no private key in PEM form");
    assert_eq!(refusal(&pair.chain, &pair.chain), "access.key: holds no private key in PEM form");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(refusal(&pair.chain, encrypted).contains("the private key is encrypted"));
    assert_eq!(
        refusal(&pair.chain, &other.key),
        "access.key: is not the private key of access.pem"
    );
    let cut = &pair.chain[..pair.chain.len() - 40];
    assert!(
        refusal(cut, &pair.key).starts_with("access.pem: the line "),
        "{}",
        refusal(cut, &pair.key)
    );
    let broken = pair.chain.replace("MII", "!!!");
    assert!(refusal(&broken, &pair.key).starts_with("access.pem: "));
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refusal(not_der, &pair.key).starts_with("access.pem: certificate 1 cannot be used"));
}

#[test]
fn a_chain_must_be_whole_and_in_order() {
    let root = Authority::root("Root");
    let intermediate = root.intermediate("Intermediate");
    let lower = intermediate.intermediate("Lower");
    let pair = lower.leaf(&Leaf::named("sip.contoso.example"));
    let certificates: Vec<String> =
        pair.chain.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect();
    let order = |order: &[usize]| -> String {
        let chain: String = order.iter().map(|&i| certificates[i].as_str()).collect();
        refusal(&chain, &pair.key)
    };
    assert_eq!(
        order(&[1, 0, 2]),
        "access.pem: the certificate of the key is number 2; it must come first, then its issuers \
         in order"
    );
    assert_eq!(
        order(&[0, 2]),
        "access.pem: certificate 2 (CN=Intermediate) did not issue the one before it, which names \
         CN=Lower as its issuer"
    );
    Site::new(&pair, &[&root]).build();
}

#[test]
fn an_identity_out_of_its_time_is_refused_while_loading() {
    let root = Authority::root("Root");
    for (years, words) in [((2001, 2002), "expired on"), ((4000, 4001), "is not valid before")] {
        let leaf = Leaf { years: Some(years), ..Leaf::named("sip.contoso.example") };
        let sentence = Site::new(&root.leaf(&leaf), &[&root]).refusal();
        assert!(sentence.starts_with("access.pem: certificate 1 (CN=A peer) "), "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
    }
}

#[test]
fn files_that_are_missing_or_of_another_kind_are_named() {
    let (root, pair) = root_and_pair();
    let mut site = Site::new(&pair, &[&root]);
    let absent = site.file("gone.crl", "");
    std::fs::remove_file(&absent).unwrap();
    site.plan.crl = vec![absent];
    assert!(site.refusal().starts_with("gone.crl: cannot be read: "));
    site.plan.crl = vec![site.file("root.crl", &root.pem)];
    assert_eq!(site.refusal(), "root.crl: holds no revocation list");
    site.plan.crl = Vec::new();
    site.plan.trust = vec![TrustSource::File(site.file("trust.pem", &pair.key))];
    assert_eq!(site.refusal(), "trust.pem: holds no certificate");
    site.plan.trust = Vec::new();
    assert!(site.refusal().contains("no trust anchor is configured"), "{}", site.refusal());
}

#[test]
fn contradictions_of_a_plan_are_refused() {
    let (root, pair) = root_and_pair();
    let mut site = Site::new(&pair, &[&root]);
    site.plan.listeners[1].identity = "web".to_owned();
    assert_eq!(site.refusal(), "a listener uses the identity \"web\", which is not defined");
    site.identity("web", &pair, &[]);
    site.build();
    site.plan.identities[0].client = true;
    site.build();
    site.identity("out", &pair, &[]);
    site.identity("out2", &pair, &[]);
    for identity in &mut site.plan.identities[1..] {
        identity.client = true;
    }
    site.plan.identities[0].client = false;
    assert!(site.refusal().contains("both marked as the client identity"), "{}", site.refusal());
    site.plan.identities[3].name = "out".to_owned();
    assert_eq!(site.refusal(), "two identities are called \"out\"");

    let mut site = Site::new(&pair, &[&root]);
    let shared = Authority::root("Shared");
    let files = [site.file("a.pem", &shared.pem), site.file("b.pem", &shared.pem)];
    site.partner_trust(&[(1, &files[0]), (2, &files[1])]);
    assert_eq!(
        site.refusal().replace(&site.file("a.pem", &shared.pem).display().to_string(), "a.pem"),
        "b.pem: the authority CN=Shared is also in a.pem; give both partners the same list"
    );
}

#[test]
fn the_identity_is_chosen_by_sni_and_by_default_is_the_listeners() {
    let root = Authority::root("Root");
    let leaf = |name| root.leaf(&Leaf::named(name));
    let (access, web, inner) =
        (leaf("sip.contoso.example"), leaf("*.web.contoso.example"), leaf("in.contoso.example"));
    let mut site = Site::new(&access, &[&root]);
    site.identity("web", &web, &["northwind.example"]);
    site.identity("inner", &inner, &[]);
    site.plan.listeners[2].identity = "inner".to_owned();
    let material = site.build();
    let shown = |class, sni| {
        let mut client = Bare::connect(&bare::config(&[&TLS13], None), sni);
        let mut server = End::server(&material, class);
        run(&mut client, &mut server, WHOLE);
        [("access", &access), ("web", &web), ("inner", &inner)]
            .into_iter()
            .find(|(_, pair)| client.saw(pair))
            .map(|(name, _)| name)
    };
    assert_eq!(shown(Class::Federation, "sip.contoso.example"), Some("access"));
    assert_eq!(shown(Class::Federation, "unknown.example"), Some("access"));
    assert_eq!(shown(Class::Federation, "northwind.example"), Some("web"));
    assert_eq!(shown(Class::RemoteUsers, "A.Web.contoso.example"), Some("web"));
    assert_eq!(shown(Class::RemoteUsers, "a.b.web.contoso.example"), Some("access"));
    // What only the inside presents is not shown outside, even to who guesses its name.
    assert_eq!(shown(Class::Federation, "in.contoso.example"), Some("access"));
    assert_eq!(shown(Class::Internal, "anything.example"), Some("inner"));
}

#[test]
fn of_two_identities_with_one_name_the_peer_gets_the_one_it_can_verify() {
    let root = Authority::root("Root");
    let ecdsa = root.leaf(&Leaf::named("sip.contoso.example"));
    let rsa = root.leaf(&Leaf { rsa: true, ..Leaf::named("sip.contoso.example") });
    let mut site = Site::new(&ecdsa, &[&root]);
    site.identity("rsa", &rsa, &[]);
    let material = site.build();
    let mut server = End::server(&material, Class::RemoteUsers);
    let mut client = Bare::connect(&bare::rsa_only(), "sip.contoso.example");
    run(&mut client, &mut server, WHOLE);
    assert!(server.is_established() && client.saw(&rsa));
}

#[test]
fn outgoing_legs_present_the_identity_marked_for_them() {
    let root = Authority::root("Root");
    let leaf = |name| root.leaf(&Leaf::named(name));
    let mut site = Site::new(&leaf("sip.contoso.example"), &[&root]);
    let seen = |site: &Site| {
        let material = site.build();
        let mut server = End::server(&material, Class::Federation);
        let mut client = End::client(&material, Class::Federation, "sip.contoso.example");
        run(&mut client, &mut server, WHOLE);
        server.session.peer().unwrap().dns_names[0].as_str().to_owned()
    };
    assert_eq!(seen(&site), "sip.contoso.example");
    site.identity("out", &leaf("out.contoso.example"), &[]);
    assert_eq!(seen(&site), "sip.contoso.example");
    site.plan.identities[1].client = true;
    assert_eq!(seen(&site), "out.contoso.example");
    site.plan.identities[0].client = true;
    assert_eq!(seen(&site), "sip.contoso.example");
}

#[test]
fn session_keys_are_written_only_where_a_log_is_asked_for() {
    let (root, pair) = root_and_pair();
    let mut site = Site::new(&pair, &[&root]);
    let log = site.file("keys.log", "");
    site.plan.key_log = Some(log.clone());
    let material = site.build();
    let mut server = End::server(&material, Class::Federation);
    let mut client = End::client(&material, Class::Federation, "sip.contoso.example");
    run(&mut client, &mut server, WHOLE);
    let text = std::fs::read_to_string(log).unwrap();
    let secrets = text.lines().filter(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 "));
    assert_eq!(secrets.count(), 2, "one for each end of the connection");
}
