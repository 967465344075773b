//! Providers that speak for many domains: what one connection carries, and what the inside is told.

use super::world::{
    World, domain, header, request, request_with, respond, respond_with, rules, status,
};
use crate::edge::ConnectFailure;
use crate::policy::{ProviderKind, ProviderRule, Rules};

const KIM: &str = "kim@contoso.example";
const EDGE: &str = "sipfed.hoster.example";

fn with_provider(kind: ProviderKind) -> Rules {
    let mut provider = ProviderRule::new(kind, "hoster", domain(EDGE));
    provider.domains = vec![domain("tailspin.example")];
    provider.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
    Rules { providers: vec![provider], ..rules() }
}

/// Some users of contoso.example live with the provider.
fn shared() -> Rules {
    let mut rules = with_provider(ProviderKind::Hosting);
    rules.providers[0].shared = vec![domain("contoso.example")];
    rules
}

/// The provider's edge also speaks for a listed domain, by that domain's SRV record.
fn listed_too(mut rules: Rules) -> Rules {
    let mut fabrikam =
        crate::policy::PartnerRule::allowed_server(domain("adatum.example"), domain(EDGE), 5061);
    fabrikam.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
    rules.partners.push(fabrikam);
    rules
}

#[test]
fn s4_2_10_a_connection_carries_the_kind_of_its_first_request_and_no_other() {
    let mut world = World::with(listed_too(with_provider(ProviderKind::Public)));
    let edge = world.partner(EDGE);
    world.send(edge, &request("MESSAGE", "tim@tailspin.example", KIM, "k1"));
    if !world.questions.is_empty() {
        world.resolve(EDGE);
    }
    let pool = world.grant();
    assert!(world.read(pool).starts_with("MESSAGE "));
    world.send(edge, &request("MESSAGE", "ann@adatum.example", KIM, "k2"));
    let answer = world.read(edge);
    assert_eq!(status(&answer), 403, "{answer}");
    assert!(header(&answer, "ms-diagnostics-public").unwrap().starts_with("1016;"), "{answer}");
    let other = world.partner(EDGE);
    world.send(other, &request("MESSAGE", "ann@adatum.example", KIM, "k3"));
    assert!(world.read(pool).contains("Call-ID: k3"), "on a connection of its own it passes");
}

/// Symptom: calls passed to and from a provider whose entry refuses them. Cause: the switch was
/// read for the provider's own domains only. Scenario: a user of ours who lives with the provider
/// calls.
#[test]
fn s8_2_a_provider_without_audio_and_video_has_none_in_a_shared_domain_either() {
    for (audio_video, passes) in [(true, true), (false, false)] {
        let mut rules = shared();
        rules.providers[0].audio_video = audio_video;
        let mut world = World::with(rules);
        let edge = world.partner(EDGE);
        let text = String::from_utf8(request("INVITE", "tim@contoso.example", KIM, "c1")).unwrap();
        let body = "v=0\r\nm=audio 50000 RTP/AVP 0\r\n";
        let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let call = text.replace("Content-Length: 2\r\n\r\nhi", &length);
        world.send(edge, call.as_bytes());
        if passes {
            let pool = world.grant();
            assert!(world.read(pool).starts_with("INVITE "));
        } else {
            assert_eq!(status(&world.read(edge)), 488);
        }
    }
}

/// What the inside is told when the peer of these rules gives a failure without a reason, cannot be
/// reached, and refuses TLS.
fn codes(rules: &Rules, to: &str, from: &str) -> Vec<String> {
    let told = |answer: &str| {
        let line = header(answer, "ms-diagnostics").unwrap_or_default();
        line.split(';').next().unwrap_or_default().to_owned()
    };
    let ask = || {
        let mut world = World::with(rules.clone());
        let pool = world.pool();
        world.send(pool, &request("MESSAGE", KIM, to, "k1"));
        world.resolve(from);
        (world, pool)
    };
    let (mut world, pool) = ask();
    let out = world.grant();
    let sent = world.read(out);
    world.send(out, respond(&sent, 404).as_bytes());
    let mut codes = vec![told(&world.read(pool))];
    for why in [ConnectFailure::Unreachable, ConnectFailure::TlsFailed] {
        let (mut world, pool) = ask();
        world.deny(why);
        codes.push(told(&world.read(pool)));
    }
    let (mut world, pool) = ask();
    let out = world.grant();
    let sent = world.read(out);
    world.send(out, respond(&sent, 503).as_bytes());
    codes.push(told(&world.read(pool)));
    codes
}

#[test]
fn a10_diagnostics_tell_partners_public_services_and_shared_peers_apart() {
    let single = |mut rules: Rules| {
        rules.federation.connections_per_partner = 1;
        rules
    };
    let partner = single(rules());
    assert_eq!(
        codes(&partner, "ann@northwind.example", "edge.northwind.example"),
        ["1034", "1039", "1047", "1042"]
    );
    let public = single(with_provider(ProviderKind::Public));
    assert_eq!(codes(&public, "tim@tailspin.example", EDGE), ["1035", "1040", "1048", "1043"]);
    let shared = single(shared());
    assert_eq!(codes(&shared, "tim@contoso.example", EDGE), ["1036", "1039", "1047", "1042"]);
    // Towards the next hop they are the codes of servers, and the partner reads no reason.
    let mut world = World::with(partner);
    let edge = world.partner("edge.northwind.example");
    world.send(edge, &request("MESSAGE", "ann@northwind.example", KIM, "k1"));
    if !world.questions.is_empty() {
        world.resolve("edge.northwind.example");
    }
    let pool = world.grant();
    let sent = world.read(pool);
    world.send(pool, respond(&sent, 503).as_bytes());
    let answer = world.read(edge);
    assert!(header(&answer, "ms-diagnostics-public").unwrap().starts_with("1041;"), "{answer}");
}

#[test]
fn a3_what_the_edge_says_itself_to_the_inside_is_marked_as_its_own() {
    let mut world = World::new();
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, "a@litware.example", "k1"));
    let answer = world.read(pool);
    assert_eq!(status(&answer), 403);
    let trust = header(&answer, "ms-edge-proxy-message-trust").unwrap_or_default();
    assert!(
        trust.starts_with("ms-source-type=EdgeProxyGenerated;ms-ep-fqdn=lsedge.contoso.example;"),
        "{answer}"
    );
    let partner = world.partner("sip.litware.example");
    world.send(partner, &request("MESSAGE", "a@litware.example", KIM, "k2"));
    assert_eq!(header(&world.read(partner), "ms-edge-proxy-message-trust"), None);
}

#[test]
fn a5_only_the_peer_of_a_shared_address_space_sends_and_gets_split_domain_information() {
    const NAME: &str = "ms-split-domain-info";
    const LINE: &str = "ms-split-domain-info: ms-traffic-type=SplitIntra\r\n";
    let info = |message: &str| header(message, NAME).map(str::to_owned);
    let split = Some("ms-traffic-type=SplitIntra".to_owned());
    for (theirs, expected) in [("tim@contoso.example", split), ("tim@tailspin.example", None)] {
        let mut world = World::with(shared());
        let edge = world.partner(EDGE);
        world.send(edge, &request_with("MESSAGE", theirs, KIM, "k1", LINE));
        let pool = world.grant();
        let forwarded = world.read(pool);
        assert_eq!(info(&forwarded), expected, "{forwarded}");
        world.send(pool, respond_with(&forwarded, 200, LINE).as_bytes());
        let answer = world.read(edge);
        assert_eq!((status(&answer), info(&answer)), (200, expected.clone()), "{answer}");

        world.send(pool, &request_with("MESSAGE", KIM, theirs, "k2", LINE));
        world.resolve(EDGE);
        let out = world.grant();
        let forwarded = world.read(out);
        assert_eq!(info(&forwarded), expected, "{forwarded}");
        world.send(out, respond_with(&forwarded, 404, LINE).as_bytes());
        let answer = world.read(pool);
        assert_eq!((status(&answer), info(&answer)), (404, expected.clone()), "{answer}");
    }
}

#[test]
fn the_inside_is_told_which_public_service_it_comes_from() {
    let mut world = World::with(with_provider(ProviderKind::Public));
    let edge = world.partner(EDGE);
    world.send(edge, &request("MESSAGE", "tim@tailspin.example", KIM, "k1"));
    if !world.questions.is_empty() {
        world.resolve(EDGE);
    }
    let pool = world.grant();
    let forwarded = world.read(pool);
    let trust = header(&forwarded, "ms-edge-proxy-message-trust").unwrap();
    assert_eq!(
        trust,
        "ms-source-type=AuthorizedServer;ms-ep-fqdn=lsedge.contoso.example;\
         ms-source-verified-user=unverified;ms-source-network=publiccloud;\
         ms-remote-fqdn=sipfed.hoster.example"
    );
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(edge)), 200);
}
