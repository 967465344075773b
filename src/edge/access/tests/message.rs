//! A MESSAGE each way and what the edge does to its headers.

use super::world::{
    World, domain, header, headers, request, request_with, respond, respond_with, rules, snapshot,
    status,
};
use crate::policy::{self, RefusalRule};

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

#[test]
fn a_partners_message_reaches_the_pool_and_its_answer_the_partner() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    assert!(forwarded.starts_with("MESSAGE sip:kim@contoso.example SIP/2.0\r\n"), "{forwarded}");
    assert!(forwarded.ends_with("\r\n\r\nhi"));
    world.send(pool, respond(&forwarded, 200).as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(headers(&answer, "Via").len(), 1);
    assert_eq!(world.access.slots.unfinished(), 0);
}

#[test]
fn s16_6_max_forwards_goes_down_by_one_and_our_via_on_top() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    assert_eq!(header(&forwarded, "Max-Forwards"), Some("69"));
    let vias = headers(&forwarded, "Via");
    assert!(vias[0].starts_with("SIP/2.0/TLS edge1.contoso.example:5061;branch=z9hG4bK"));
    assert!(vias[1].contains(";received=192.0.2.77;ms-received-port="), "{}", vias[1]);
}

#[test]
fn s16_6_a_missing_max_forwards_becomes_70() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "m1")).unwrap();
    world.send(partner, text.replace("Max-Forwards: 70\r\n", "").as_bytes());
    assert_eq!(header(&world.read(pool), "Max-Forwards"), Some("70"));
}

#[test]
fn a4_a_forged_trust_header_vanishes_and_ours_is_stamped() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let forged = "ms-edge-proxy-message-trust: ms-source-type=InternetUser;ms-ep-fqdn=x\r\n\
                  P-Asserted-Identity: <sip:ceo@contoso.example>\r\n\
                  ms-user-logon-data: RemoteUser\r\n\
                  ms-asserted-verification-level: ms-source-verified-user=verified\r\n\
                  Ms-Conversation-ID: AcX\r\n";
    world.send(partner, &request_with("MESSAGE", JOHN, KIM, "m1", forged));
    let forwarded = world.read(pool);
    assert_eq!(
        headers(&forwarded, "ms-edge-proxy-message-trust"),
        ["ms-source-type=AutoFederation;ms-ep-fqdn=lsedge.contoso.example;\
          ms-source-verified-user=verified;ms-source-network=federation"]
    );
    for gone in ["P-Asserted-Identity", "ms-user-logon-data", "ms-asserted-verification-level"] {
        assert_eq!(header(&forwarded, gone), None, "{gone}");
    }
    assert_eq!(header(&forwarded, "Ms-Conversation-ID"), Some("AcX"));
}

#[test]
fn a4_without_the_senders_word_the_user_is_unverified() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let trust = world.read(pool);
    assert!(header(&trust, "ms-edge-proxy-message-trust").unwrap().contains("=unverified"));
}

#[test]
fn a4_an_allowed_server_is_stamped_as_a_direct_partner() {
    let mut world = World::new();
    let partner = world.partner("edge.northwind.example");
    world.send(partner, &request("MESSAGE", "n@northwind.example", KIM, "m1"));
    if !world.questions.is_empty() {
        world.resolve("edge.northwind.example");
    }
    let pool = world.grant();
    let trust = world.read(pool);
    assert!(trust.contains("ms-source-type=DirectPartner;"), "{trust}");
}

#[test]
fn an_own_users_message_reaches_the_partner_that_dns_names() {
    let mut world = World::new();
    let pool = world.pool();
    let inner = "ms-diagnostics: 1;reason=\"inner\"\r\nms-subnet: 10.0.0.0\r\n\
                 Proxy-Authorization: secret\r\n";
    world.send(pool, &request_with("MESSAGE", KIM, JOHN, "m1", inner));
    world.resolve("sip.fabrikam.example");
    assert_eq!(world.connects[0].server_name.as_str(), "sip.fabrikam.example");
    let partner = world.grant();
    let forwarded = world.read(partner);
    assert!(headers(&forwarded, "Via")[0].starts_with("SIP/2.0/TLS sip.contoso.example:5061;"));
    for inner in ["ms-diagnostics", "ms-subnet", "Proxy-Authorization"] {
        assert_eq!(header(&forwarded, inner), None, "{inner}");
    }
    assert_eq!(
        header(&forwarded, "ms-asserted-verification-level"),
        Some("ms-source-verified-user=verified")
    );
    world.send(partner, respond(&forwarded, 200).as_bytes());
    let answer = world.read(pool);
    assert_eq!(status(&answer), 200);
    assert!(header(&answer, "ms-edge-proxy-message-trust").is_some());
}

#[test]
fn a5_a_partners_silent_failure_gets_diagnostics_for_the_inside() {
    let mut world = World::new();
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    world.resolve("sip.fabrikam.example");
    let partner = world.grant();
    let forwarded = world.read(partner);
    world.send(
        partner,
        respond_with(&forwarded, 404, "ms-diagnostics: 1;source=\"in\"\r\n").as_bytes(),
    );
    let answer = world.read(pool);
    let diagnostics = headers(&answer, "ms-diagnostics");
    assert_eq!(diagnostics.len(), 1);
    assert!(diagnostics[0].starts_with("1034;"), "{answer}");
    assert!(diagnostics[0].contains("Domain=\"fabrikam.example\""));
}

#[test]
fn inner_diagnostics_never_leave() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    let lines =
        "ms-diagnostics: 4005;source=\"fe1\"\r\nms-diagnostics-public: 4005;reason=\"x\"\r\n";
    world.send(pool, respond_with(&forwarded, 404, lines).as_bytes());
    let answer = world.read(partner);
    assert_eq!(header(&answer, "ms-diagnostics"), None);
    assert_eq!(header(&answer, "ms-diagnostics-public"), Some("4005;reason=\"x\""));
}

#[test]
fn options_for_the_edge_is_answered_here_and_503_while_draining() {
    use crate::edge::{Core, Drain};
    let mut world = World::new();
    let probe = world.partner("balancer.contoso.example");
    let options = |host: &str, id: &str| {
        String::from_utf8(request("OPTIONS", "x@y.example", "z", id))
            .unwrap()
            .replace("OPTIONS sip:z ", &format!("OPTIONS sip:{host};transport=tls "))
            .into_bytes()
    };
    for (at, host) in ["sip.contoso.example:5061", "192.0.2.1:5061"].iter().enumerate() {
        world.send(probe, &options(host, &format!("o{at}")));
        assert_eq!(status(&world.read(probe)), 200, "{host}");
    }
    world.access.drain(world.now, Drain::Notice, &mut world.effects);
    world.send(probe, &options("sip.contoso.example", "o9"));
    let answer = world.read(probe);
    assert_eq!(status(&answer), 503);
    assert!(header(&answer, "Retry-After").is_some());
}

#[test]
fn a7_negotiate_with_max_forwards_0_is_declined_and_the_connection_kept() {
    let mut world = World::new();
    let partner = world.partner("sip.fabrikam.example");
    let text = "NEGOTIATE sip:192.0.2.1:5061 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.2:2616\r\n\
                CSeq: 1 NEGOTIATE\r\nCall-ID: aa\r\nFrom: <sip:192.0.2.2>;tag=1\r\n\
                To: <sip:192.0.2.1>\r\n\
                Compression: LZ77-8K\r\nMax-Forwards: 0\r\nContent-Length: 0\r\n\r\n";
    world.send(partner, text.as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 488, "{answer}");
    assert_eq!(header(&answer, "Compression"), None);
    assert!(world.closed.is_empty());
}

#[test]
fn benotify_passes_and_leaves_no_transaction() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("BENOTIFY", JOHN, KIM, "b1"));
    assert!(world.read(pool).starts_with("BENOTIFY "));
    assert_eq!(world.access.slots.unfinished(), 0);
    assert_eq!(world.read(partner), "");
}

#[test]
fn rfc5626_a_ping_is_answered_with_a_pong() {
    let mut world = World::new();
    let partner = world.partner("sip.fabrikam.example");
    world.send(partner, b"\r\n\r\n");
    assert_eq!(world.read(partner), "\r\n");
}

#[test]
fn rfc4320_neither_100_nor_408_to_a_message_goes_back() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    for (id, code) in [("m1", 180), ("m2", 408)] {
        world.send(partner, &request("MESSAGE", JOHN, KIM, id));
        let forwarded = world.read(pool);
        world.send(pool, respond(&forwarded, code).as_bytes());
        assert_eq!(world.read(partner), "", "{code}");
    }
}

#[test]
fn rfc4320_a_message_without_an_answer_ends_in_silence() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    let forwarded = world.read(pool);
    world.pass(crate::limits::TIMER_F_MS + 1);
    assert_eq!(world.read(partner), "");
    assert_eq!(world.access.slots.unfinished(), 0);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(world.read(partner), "", "a late answer is of no use");
}

#[test]
fn lync_style_input_without_branch_and_with_odd_contact_passes() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let text = String::from_utf8(request_with("MESSAGE", JOHN, KIM, "m1", "Contact: (null)\r\n"))
        .unwrap()
        .replace(
            "Via: SIP/2.0/TLS 198.51.100.7:5061;branch=z9hG4bKm1MESSAGE",
            "Via: SIP/2.0/tls 10.9.9.9:49801",
        );
    world.send(partner, text.as_bytes());
    let forwarded = world.read(pool);
    world.send(pool, respond(&forwarded, 200).as_bytes());
    assert_eq!(status(&world.read(partner)), 200);
}

#[test]
fn a_candidate_policy_is_asked_beside_the_one_in_force_and_changes_nothing() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let mut candidate = rules();
    candidate.partners.retain(|rule| rule.domain.name().as_str() != "fabrikam.example");
    candidate.blocked.push(domain("northwind.example").into());
    candidate.partners.retain(|rule| rule.domain.name().as_str() != "northwind.example");
    let live = policy::compile(rules(), 2).unwrap();
    world.publish(live.shadowed_by(Some(snapshot(candidate, 2))));
    for id in ["s1", "s2"] {
        world.send(partner, &request("MESSAGE", JOHN, KIM, id));
        assert!(world.read(pool).starts_with("MESSAGE "), "traffic is untouched");
    }
    assert_eq!(world.access.counters().shadow_would_refuse, 1, "once per verdict");
    let by_rule: Vec<u64> = world.access.by_rule().values().collect();
    let (refused, shadow) = by_rule.split_at(RefusalRule::ALL.len());
    assert_eq!(shadow[RefusalRule::UnknownDomain as usize], 1, "{shadow:?}");
    assert_eq!(refused.iter().sum::<u64>(), 0, "traffic is untouched");
    world.notes.clear();
    world.pass(1_000);
    let said = &world.notes[0].sentence;
    assert_eq!(
        said,
        "fabrikam.example to contoso.example: the candidate policy would refuse it: \
         fabrikam.example is no listed partner and discovery is off (rule federation.discovery)"
    );
}
