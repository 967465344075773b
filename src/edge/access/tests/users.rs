//! What single users may do beyond the organisation (lync-federation 5.5), and what partners are
//! told of them (5.6).

use std::sync::Arc;

use super::world::{World, domain, header, headers, request, request_with, respond, rules, status};
use crate::edge::LegId;
use crate::policy::users::{AccessPolicy, DirectoryBuilder, Home, MarksCount};
use crate::policy::{
    ArchivingNotice, DefaultRoute, Outgoing, ProviderKind, ProviderRule, Rules, Snapshot, compile,
};

const JOHN: &str = "john@fabrikam.example";
/// Granted everything.
const KIM: &str = "kim@contoso.example";
/// Granted nothing.
const LEE: &str = "lee@contoso.example";
/// Nobody has named him; everybody may sign in from outside and no more.
const MAX: &str = "max@contoso.example";

fn snapshot(marks: MarksCount) -> Snapshot {
    let policy = |name: &str, federation, outside| AccessPolicy {
        name: name.to_owned(),
        federation,
        outside,
        ..AccessPolicy::default()
    };
    let policies = vec![
        policy("global", false, true),
        policy("all", true, true),
        policy("none", false, false),
    ];
    let mut builder = DirectoryBuilder::new([1, 2], policies, marks, 2);
    builder.add("kim", "contoso.example", "", "all", Home::Pool).unwrap();
    builder.add("lee", "contoso.example", "", "none", Home::Pool).unwrap();
    let snapshot = compile(rules(), 2).expect("no contradiction");
    snapshot.with_directory(Arc::new(builder.finish()))
}

fn world(marks: MarksCount) -> (World, LegId, LegId) {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    world.publish(snapshot(marks));
    (world, partner, pool)
}

#[test]
fn s5_5_a_partner_reaches_only_users_whose_policy_opens_federation() {
    let (mut world, partner, pool) = world(MarksCount::Decide);
    world.send(partner, &request("MESSAGE", JOHN, KIM, "m1"));
    assert!(world.read(pool).starts_with("MESSAGE sip:kim@"));
    for (user, id) in
        [(LEE, "m2"), (MAX, "m3"), ("LEE@Contoso.example", "m4"), ("le%65@contoso.example", "m5")]
    {
        world.send(partner, &request("MESSAGE", JOHN, user, id));
        let answer = world.read(partner);
        assert_eq!(status(&answer), 403, "{user}: {answer}");
        let diagnostics = header(&answer, "ms-diagnostics-public").unwrap();
        let expected = "1002;reason=\"User not authorized for federation\";";
        assert!(diagnostics.starts_with(expected), "{diagnostics}");
        assert_eq!(world.read(pool), "");
    }
    let told = &world.notes.last().unwrap().sentence;
    assert!(told.contains("the external access policy none granted to that user"), "{told}");
    assert!(!told.contains("lee"), "no user part is told: {told}");
}

#[test]
fn a_candidate_policy_is_asked_about_users_too() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let live = compile(rules(), 2).expect("no contradiction");
    world.publish(live.shadowed_by(Some(Arc::new(snapshot(MarksCount::Decide)))));
    for (user, id) in [(KIM, "m1"), (LEE, "m2"), (MAX, "m3")] {
        world.send(partner, &request("MESSAGE", JOHN, user, id));
        assert!(world.read(pool).starts_with("MESSAGE"), "traffic is untouched");
    }
    let counters = world.access.counters();
    assert_eq!((counters.shadow_would_refuse_user, counters.shadow_would_permit_user), (2, 0));
    world.publish(
        snapshot(MarksCount::Decide)
            .shadowed_by(Some(Arc::new(compile(rules(), 2).expect("no contradiction")))),
    );
    world.send(partner, &request("MESSAGE", JOHN, LEE, "m4"));
    assert_eq!(status(&world.read(partner)), 403);
    assert_eq!(world.access.counters().shadow_would_permit_user, 1);
}

#[test]
fn s12_3_an_own_user_who_may_not_federate_is_told_so() {
    let (mut world, _, _) = world(MarksCount::Decide);
    let pool = world.pool();
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m1"));
    assert!(world.read(pool).is_empty(), "it is on its way");
    world.send(pool, &request("MESSAGE", LEE, JOHN, "m2"));
    let answer = world.read(pool);
    assert_eq!(status(&answer), 403);
    let diagnostics = header(&answer, "ms-diagnostics").unwrap();
    assert!(diagnostics.starts_with("1012;reason=\"the external access policy none"), "{answer}");
}

#[test]
fn s5_2_the_marks_of_an_inner_server_count_and_do_not_leave() {
    let marked = |user, mark: &str, id| {
        let line = format!("ms-user-data: ms-publiccloud=true;ms-federation={mark}\r\n");
        request_with("MESSAGE", user, JOHN, id, &line)
    };
    for (marks, closed_but_marked) in [(MarksCount::Decide, true), (MarksCount::Restrict, false)] {
        let (mut world, _, _) = world(marks);
        let pool = world.pool();
        world.send(pool, &marked(KIM, "false", "m1"));
        let answer = world.read(pool);
        assert_eq!(status(&answer), 403, "{marks:?}");
        assert!(header(&answer, "ms-diagnostics").unwrap().starts_with("1002;"), "{answer}");
        world.send(pool, &marked(LEE, "true", "m2"));
        assert_eq!(world.read(pool).is_empty(), closed_but_marked, "{marks:?}");
        if closed_but_marked {
            let out = world.grant();
            let forwarded = world.read(out);
            assert_eq!(header(&forwarded, "Call-ID"), Some("m2"));
            assert_eq!(header(&forwarded, "ms-user-data"), None);
        }
    }
}

#[test]
fn a_mark_closes_although_there_is_no_policy() {
    let mut world = World::new();
    world.fabrikam();
    let pool = world.pool();
    let line = "ms-user-data: ms-federation=FALSE\r\n";
    world.send(pool, &request_with("MESSAGE", KIM, JOHN, "m1", line));
    assert_eq!(status(&world.read(pool)), 403);
}

#[test]
fn a_partners_mark_says_nothing() {
    let (mut world, partner, pool) = world(MarksCount::Decide);
    let line = "ms-user-data: ms-federation=true\r\n";
    world.send(partner, &request_with("MESSAGE", JOHN, LEE, "m1", line));
    assert_eq!(status(&world.read(partner)), 403);
    let line = "ms-user-data: ms-federation=false\r\n";
    world.send(partner, &request_with("MESSAGE", JOHN, KIM, "m2", line));
    assert!(world.read(pool).starts_with("MESSAGE sip:kim@"));
}

#[test]
fn s5_5_only_users_whose_policy_opens_it_sign_in_from_outside() {
    let (mut world, _, pool) = world(MarksCount::Decide);
    let phone = world.user();
    world.send(phone, &request("REGISTER", MAX, MAX, "r1"));
    assert!(world.read(pool).starts_with("REGISTER "));
    world.send(phone, &request("REGISTER", LEE, LEE, "r2"));
    let answer = world.read(phone);
    assert_eq!(status(&answer), 403, "{answer}");
    let told = header(&answer, "ms-diagnostics-public").unwrap();
    assert!(told.starts_with("4003;"), "{answer}");
    assert!(!answer.contains("policy none"), "who is outside reads nothing of our policies");
}

#[test]
fn a_policy_is_judged_for_every_message_also_in_a_dialog() {
    let (mut world, partner, pool) = world(MarksCount::Decide);
    let contact = "Contact: <sip:john@198.51.100.7>\r\n";
    world.send(partner, &request_with("INVITE", JOHN, KIM, "d1", contact));
    let invited = world.read(pool);
    let routes: Vec<String> =
        headers(&invited, "Record-Route").iter().rev().map(|r| format!("Route: {r}\r\n")).collect();
    world.send(pool, respond(&invited, 200).as_bytes());
    world.read(partner);
    let info = |number| {
        let via = format!("Via: SIP/2.0/TLS 198.51.100.7;branch=z9hG4bKi{number}\r\n");
        format!(
            "INFO sip:kim@10.0.0.5 SIP/2.0\r\n{via}{}Max-Forwards: 70\r\n\
             From: <sip:{JOHN}>;tag=fd1\r\nTo: <sip:{KIM}>;tag=t\r\n\
             Call-ID: d1\r\nCSeq: {number} INFO\r\nContent-Length: 0\r\n\r\n",
            routes.concat()
        )
    };
    world.send(partner, info(2).as_bytes());
    assert!(world.read(pool).starts_with("INFO "));
    // Kim loses the right while they talk.
    let policies = vec![AccessPolicy { name: "global".to_owned(), ..AccessPolicy::default() }];
    let directory = DirectoryBuilder::new([1, 2], policies, MarksCount::Decide, 0).finish();
    let closed = compile(rules(), 3).expect("no contradiction");
    world.publish(closed.with_directory(Arc::new(directory)));
    world.send(partner, info(3).as_bytes());
    assert_eq!(status(&world.read(partner)), 403);
}

/// A public provider at sip.skype.example with the domain skype.example, and what users may do.
fn public(audio_video: bool, public_im: bool, public_av: bool) -> (World, LegId, LegId) {
    let mut rules = rules();
    let edge = domain("sip.skype.example");
    let mut provider = ProviderRule::new(ProviderKind::Public, "skype", edge);
    provider.domains = vec![domain("skype.example")];
    provider.audio_video = audio_video;
    rules.providers.push(provider);
    with_public_gates(rules, public_im, public_av)
}

/// What users may do with public services, one of which is at sip.skype.example.
fn with_public_gates(rules: Rules, public_im: bool, public_av: bool) -> (World, LegId, LegId) {
    let global = AccessPolicy {
        name: "global".to_owned(),
        federation: true,
        public_im,
        public_av,
        ..AccessPolicy::default()
    };
    let directory = DirectoryBuilder::new([1, 2], vec![global], MarksCount::Decide, 0).finish();
    let mut world = World::new();
    let (_, pool) = world.fabrikam();
    let snapshot = compile(rules, 2).expect("no contradiction");
    world.publish(snapshot.with_directory(Arc::new(directory)));
    let provider = world.partner("sip.skype.example");
    (world, provider, pool)
}

fn call(from: &str, media: &str) -> Vec<u8> {
    let body = format!("v=0\r\nm=message 5060 sip null\r\n{media}");
    let text = String::from_utf8(request("INVITE", from, KIM, "c1")).unwrap();
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    text.replace("Content-Length: 2\r\n\r\nhi", &length).into_bytes()
}

#[test]
fn s5_5_public_im_and_its_audio_have_gates_of_their_own() {
    const ECHO: &str = "echo@skype.example";
    const AUDIO: &str = "m=audio 50000 RTP/AVP 0\r\n";
    const NO_AUDIO: &str = "m=audio 0 RTP/AVP 0\r\n";
    for (audio_video, public_im, public_av, media, told) in [
        (true, false, false, "", Some((403, "1001"))),
        (true, true, false, "", None),
        (true, true, false, NO_AUDIO, None),
        (true, true, false, AUDIO, Some((403, "1001"))),
        (true, true, true, AUDIO, None),
        (false, true, true, AUDIO, Some((488, ""))),
        (false, true, true, "", None),
    ] {
        let (mut world, provider, pool) = public(audio_video, public_im, public_av);
        world.send(provider, &call(ECHO, media));
        if !world.questions.is_empty() {
            world.resolve("sip.skype.example");
        }
        let answer = world.read(provider);
        let case = (audio_video, public_im, public_av, media);
        match told {
            None => assert!(world.read(pool).starts_with("INVITE "), "{case:?}: {answer}"),
            Some((code, diagnostics)) => {
                assert_eq!(status(&answer), code, "{case:?}: {answer}");
                let header = header(&answer, "ms-diagnostics-public").unwrap_or_default();
                assert!(header.starts_with(diagnostics), "{case:?}: {answer}");
            }
        }
    }
}

/// Symptom: users without the right to public IM wrote to public services. Cause: the gate was
/// chosen by the kind of partner. Scenario: a clearing house for public services as default route.
#[test]
fn s5_5_what_comes_by_a_public_default_route_is_public() {
    const AUDIO: &str = "m=audio 50000 RTP/AVP 0\r\n";
    for (public_im, public_av, media, passes) in [
        (false, true, "", false),
        (true, false, "", true),
        (true, false, AUDIO, false),
        (true, true, AUDIO, true),
    ] {
        let mut rules = rules();
        rules.default_route =
            Some(DefaultRoute { public: true, ..DefaultRoute::new(domain("sip.skype.example")) });
        let (mut world, hub, pool) = with_public_gates(rules, public_im, public_av);
        world.send(hub, &call("echo@anybody.example", media));
        let (answer, forwarded) = (world.read(hub), world.read(pool));
        let case = (public_im, public_av, media);
        assert_eq!(forwarded.starts_with("INVITE "), passes, "{case:?}: {answer}");
        if !passes {
            assert_eq!(status(&answer), 403, "{case:?}");
            assert!(header(&answer, "ms-diagnostics-public").unwrap().starts_with("1001;"));
        }
    }
}

fn sent_with(outgoing: Outgoing, method: &str) -> String {
    let mut world = World::new();
    world.fabrikam();
    world.publish(compile(rules(), 2).expect("no contradiction").with_outgoing(outgoing));
    let pool = world.pool();
    world.send(pool, &request(method, KIM, JOHN, "m1"));
    let partner = world.grant();
    world.read(partner)
}

#[test]
fn s5_6_messages_to_partners_carry_the_notice_where_it_is_configured() {
    let notice = || ArchivingNotice::new("X-Archiving-Notice", "may be archived");
    let outgoing = || Outgoing { archiving_notice: notice(), ..Outgoing::default() };
    for (method, carries) in [("MESSAGE", true), ("INVITE", true), ("SUBSCRIBE", false)] {
        let forwarded = sent_with(outgoing(), method);
        let expected = carries.then_some("may be archived");
        assert_eq!(header(&forwarded, "X-Archiving-Notice"), expected, "{forwarded}");
    }
    assert_eq!(header(&sent_with(Outgoing::default(), "MESSAGE"), "X-Archiving-Notice"), None);
}

#[test]
fn s6_1_senders_are_marked_verified_unless_that_is_switched_off() {
    let mark = |mark_verifiable| {
        let outgoing = Outgoing { mark_verifiable, ..Outgoing::default() };
        let forwarded = sent_with(outgoing, "MESSAGE");
        header(&forwarded, "ms-asserted-verification-level").map(str::to_owned)
    };
    assert_eq!(mark(true).as_deref(), Some("ms-source-verified-user=verified"));
    assert_eq!(mark(false), None);
}
