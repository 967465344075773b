//! `federation.hide_topology`: what partners see of the inside, and what comes back.
//!
//! The oracle is the edge itself with the switch off: what the inside gets must not differ.

use super::world::{
    World, header, headers, request, request_with, respond, respond_with, rules, setup, snapshot,
    status,
};
use crate::edge::access::{Access, PoolKey, PoolKeys, Setup};
use crate::edge::{ConnectFailure, LegId};
use crate::limits;
use crate::policy::{Outgoing, compile};

const JOHN: &str = "john@fabrikam.example";
const KIM: &str = "kim@contoso.example";

/// What servers of the inside have put on a request before it comes to the edge.
const INNER: &str = "\
Via: SIP/2.0/TLS fe01.corp.example:5061;branch=z9hG4bKfe;ms-internal-info=\"a,b\"\r\n\
Subject: between\r\n\
Via: SIP/2.0/TLS 10.0.0.7:49801;ms-received-port=49801;ms-received-cid=1A2B00\r\n\
Record-Route: <sip:pool.contoso.example:5061;transport=tls;ms-fe=fe04.corp.example;lr>;tag=00\r\n\
Record-Route: <sip:fe01.corp.example;opaque=state:T;lr>, <sip:10.0.0.7:5061;lr>\r\n";

/// The same of those that a call from outside passes, nearest to the callee first.
const PASSED: &str = "\
Record-Route: <sip:fe09.corp.example;opaque=state:F;lr>;ms-rrsig=x\r\n\
Record-Route: <sip:pool.contoso.example:5061;lr>\r\n";

/// Parts of names and addresses of the inside that no partner may read. The partner's own address
/// is 198.51.100.99.
const NAMES: [&str; 6] = ["corp", "10.0.0.", "pool", "lsedge", "edge1", "198.51.100.7"];

fn reads_nothing_of_the_inside(message: &str) {
    for name in NAMES {
        assert!(!message.contains(name), "{name} in {message}");
    }
}

fn hide(world: &mut World, hide_topology: bool, epoch: u64) {
    let outgoing = Outgoing { hide_topology, ..Outgoing::default() };
    world.publish(compile(rules(), epoch).expect("no contradiction").with_outgoing(outgoing));
}

/// An edge that knows fabrikam.example, with a leg from it and the pool's.
fn edge(hides: bool) -> (World, LegId, LegId) {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    hide(&mut world, hides, 2);
    (world, partner, pool)
}

/// Another edge of the pool: a process of its own, with these keys.
fn other_edge(keys: &[u8], hides: bool) -> (World, LegId, LegId) {
    let key = |id: &u8| PoolKey { id: *id, key: if *id == 0 { [9; 16] } else { [*id; 16] } };
    let pool_keys = PoolKeys(keys.iter().map(key).collect());
    let mut world = World::new();
    let setup = Setup { process_key: [77, 78], pool_keys, seed: 99, ..setup() };
    world.access = Access::new(setup, snapshot(rules(), 1));
    let (partner, pool) = world.fabrikam();
    hide(&mut world, hides, 2);
    (world, partner, pool)
}

/// A request from inside on its way to the partner: what the partner's edge gets, and its leg.
fn sent_out(world: &mut World, pool: LegId, bytes: &[u8]) -> (LegId, String) {
    world.send(pool, bytes);
    let out = world.grant();
    let sent = world.read(out);
    (out, sent)
}

fn invite(id: &str) -> Vec<u8> {
    request_with("INVITE", KIM, JOHN, id, INNER)
}

/// A request within the dialog that `from` is in, by a route set.
fn in_dialog(method: &str, [from, to]: [&str; 2], tags: [&str; 2], route: &str) -> Vec<u8> {
    let id = "c1";
    String::from_utf8(request_with(method, from, to, id, &format!("Route: {route}\r\n")))
        .unwrap()
        .replace(&format!("<sip:{from}>;tag=f{id}"), &format!("<sip:{from}>;tag={}", tags[0]))
        .replace(&format!("To: <sip:{to}>"), &format!("To: <sip:{to}>;tag={}", tags[1]))
        .replace(";branch=z9hG4bK", ";branch=z9hG4bKd")
        .replace("198.51.100.7", "198.51.100.99")
        .into_bytes()
}

/// A call from inside, answered: what the partner got, what the pool got back.
fn call_out(hides: bool) -> (String, String) {
    let (mut world, _, pool) = edge(hides);
    let (out, sent) = sent_out(&mut world, pool, &invite("c1"));
    world.send(out, respond(&sent, 200).as_bytes());
    (sent, world.read(pool))
}

/// A call from outside, answered by somebody behind servers that record themselves: what the pool
/// got, what the partner got back.
fn call_in(hides: bool) -> (String, String) {
    let (mut world, partner, pool) = edge(hides);
    world.send(partner, &called_in());
    let got = world.read(pool);
    world.send(pool, passed(&respond(&got, 200)).as_bytes());
    (got, world.read(partner))
}

fn called_in() -> Vec<u8> {
    let line = "Record-Route: <sip:p.fabrikam.example;lr>\r\n";
    let bytes = request_with("INVITE", JOHN, KIM, "c1", line);
    String::from_utf8(bytes).unwrap().replace("198.51.100.7", "198.51.100.99").into_bytes()
}

/// A response as it comes out of servers that record themselves above all others.
fn passed(response: &str) -> String {
    response.replacen("Record-Route: ", &format!("{PASSED}Record-Route: "), 1)
}

fn set(message: &str, name: &str) -> String {
    headers(message, name).join(", ")
}

/// The same entries the other way round; no entry of these tests has a comma in it.
fn reversed(set: &str) -> String {
    set.split(", ").collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(", ")
}

#[test]
fn a_request_leaves_with_our_via_our_entry_and_a_seal_and_no_name_of_the_inside() {
    let (sent, _) = call_out(true);
    reads_nothing_of_the_inside(&sent);
    let vias = headers(&sent, "Via");
    assert_eq!(vias.len(), 1, "{sent}");
    assert!(vias[0].starts_with("SIP/2.0/TLS sip.contoso.example:5061;branch="), "{sent}");
    assert!(!sent.contains("received="), "where the pool connected from is its own business");
    let recorded = headers(&sent, "Record-Route");
    assert_eq!(recorded.len(), 2, "{sent}");
    assert!(recorded[0].starts_with("<sip:sip.contoso.example:5061;transport=tls;lr;et=00p"));
    assert!(recorded[1].starts_with("<sip:00q"), "{sent}");
    assert!(recorded[1].ends_with("@sip.contoso.example:5061;transport=tls;lr>"), "{sent}");
    assert_eq!(header(&sent, "Subject"), Some("between"), "what stands between two Vias stays");
}

#[test]
fn the_inside_gets_its_vias_and_its_record_route_back_byte_for_byte() {
    let (sent, hidden) = call_out(true);
    let (open, plain) = call_out(false);
    assert!(open.contains("fe01.corp.example"), "the oracle hides nothing");
    assert_ne!(set(&sent, "Record-Route"), set(&open, "Record-Route"));
    for name in ["Via", "Record-Route"] {
        assert_eq!(set(&hidden, name), set(&plain, name), "{name}");
    }
    assert_eq!(headers(&hidden, "Via").len(), 3);
    assert!(hidden.contains("branch=z9hG4bKfe;ms-internal-info=\"a,b\"\r\n"), "{hidden}");
    assert!(headers(&hidden, "Via")[0].contains(";ms-received-cid="), "{hidden}");
}

#[test]
fn a_dialog_begun_inside_goes_on_over_another_edge_of_the_pool() {
    let (sent, answer) = call_out(true);
    let (open, _) = call_out(false);
    let tags = ["t", "fc1"];
    let forwarded = |route: &str, keys: &[u8], hides| {
        let (mut world, partner, pool) = other_edge(keys, hides);
        world.send(partner, &in_dialog("BYE", [JOHN, KIM], tags, route));
        let answer = world.read(partner);
        assert_eq!(answer, "", "nothing is refused");
        world.read(pool)
    };
    let plain = forwarded(&set(&open, "Record-Route"), &[0], false);
    assert_eq!(headers(&plain, "Route").len(), 1, "the oracle puts them in one line: {plain}");
    // With the switch on, off again, and with the next key first.
    for (keys, hides) in [(&[0][..], true), (&[0], false), (&[2, 0], true)] {
        let bye = forwarded(&set(&sent, "Record-Route"), keys, hides);
        assert_eq!(set(&bye, "Route"), set(&plain, "Route"), "{keys:?} {hides}");
        assert!(set(&bye, "Route").starts_with("<sip:pool.contoso.example:5061;"), "{bye}");
    }
    // The caller's own way is as ever: what it got back has our two entries in it.
    let (mut world, _, pool) = other_edge(&[0], true);
    let route = reversed(&set(&answer, "Record-Route"));
    let ours = &route[route.find("<sip:lsedge").expect("our inner entry")..];
    let bye = in_dialog("BYE", [KIM, JOHN], ["fc1", "t"], ours);
    let bye = String::from_utf8(bye).unwrap().replace("198.51.100.99", "198.51.100.7");
    let (_, bye) = sent_out(&mut world, pool, bye.as_bytes());
    assert!(bye.starts_with("BYE "), "{bye}");
    assert_eq!(header(&bye, "Route"), None, "{bye}");
    reads_nothing_of_the_inside(&bye);
}

#[test]
fn a_dialog_begun_outside_goes_on_over_another_edge_of_the_pool() {
    let (got, answer) = call_in(true);
    let (_, open) = call_in(false);
    assert_eq!(headers(&got, "Record-Route").len(), 3, "nothing is hidden from the inside: {got}");
    reads_nothing_of_the_inside(&answer);
    assert!(open.contains("fe09.corp.example") && open.contains("lsedge"), "the oracle's is open");
    let recorded = headers(&answer, "Record-Route");
    assert_eq!(recorded.len(), 3, "{answer}");
    assert!(recorded[0].starts_with("<sip:00r"), "{answer}");
    assert!(recorded[1].contains("sip.contoso.example:5061;transport=tls;lr;et=00p"), "{answer}");
    assert_eq!(recorded[2], "<sip:p.fabrikam.example;lr>", "what the partner recorded stays");
    // The partner's own proxy takes its entry off before the request comes to us.
    let route = |answer: &str| {
        let set = reversed(&set(answer, "Record-Route"));
        set.split_once(", ").expect("three entries").1.to_owned()
    };
    let forwarded = |route: &str, hides| {
        let (mut world, partner, pool) = other_edge(&[2, 0], hides);
        world.send(partner, &in_dialog("BYE", [JOHN, KIM], ["fc1", "t"], route));
        (world.read(partner), world.read(pool))
    };
    let (_, plain) = forwarded(&route(&open), false);
    assert!(set(&plain, "Route").starts_with("<sip:pool.contoso.example:5061;lr>, <sip:fe09."));
    for hides in [true, false] {
        let (refused, bye) = forwarded(&route(&answer), hides);
        assert_eq!(refused, "");
        assert_eq!(set(&bye, "Route"), set(&plain, "Route"), "{bye}");
        assert!(bye.contains(";ms-rrsig=x"), "parameters behind the bracket too: {bye}");
    }
    // A dialog from before the switch was turned on.
    let (refused, bye) = forwarded(&route(&open), true);
    assert_eq!((refused.as_str(), set(&bye, "Route")), ("", set(&plain, "Route")));
}

#[test]
fn responses_of_one_dialog_have_the_same_route_set() {
    let (mut world, partner, pool) = edge(true);
    world.send(partner, &called_in());
    let got = world.read(pool);
    let mut sets = Vec::new();
    for status in [180, 200, 200] {
        world.send(pool, passed(&respond(&got, status)).as_bytes());
        sets.push(set(&world.read(partner), "Record-Route"));
    }
    assert_eq!(sets.len(), 3);
    assert!(sets.iter().all(|set| *set == sets[0] && !set.is_empty()), "{sets:?}");
}

#[test]
fn s16_4_a_strict_router_brings_the_seal_back_too() {
    let (_, answer) = call_in(true);
    let route = reversed(&set(&answer, "Record-Route"));
    let [_, ours, sealed] = route.split(", ").collect::<Vec<_>>()[..] else { panic!("{route}") };
    let target = "sip:10.0.0.5:5061;transport=tls";
    let request = in_dialog("BYE", [JOHN, KIM], ["fc1", "t"], &format!("{sealed}, <{target}>"));
    let uri = ours.trim_start_matches('<').trim_end_matches('>');
    let request =
        String::from_utf8(request).unwrap().replace("BYE sip:kim@contoso.example", "BYE URI");
    let (mut world, partner, pool) = other_edge(&[0], true);
    world.send(partner, request.replace("BYE URI", &format!("BYE {uri}")).as_bytes());
    let bye = world.read(pool);
    assert!(bye.starts_with(&format!("BYE {target} SIP/2.0")), "{bye}");
    assert!(set(&bye, "Route").starts_with("<sip:pool.contoso.example:5061;lr>, <sip:fe09."));
}

#[test]
fn a_seal_that_is_not_of_this_dialog_and_pool_is_481() {
    let (_, answer) = call_in(true);
    let route = reversed(&set(&answer, "Record-Route"));
    let route = route.split_once(", ").expect("three entries").1;
    let (ours, sealed) = route.split_once(", ").expect("two entries");
    let (mut world, partner, pool) = other_edge(&[0], true);
    let swap = |at: usize, with: &str| {
        let mut text = sealed.to_owned();
        text.replace_range(at..=at, with);
        text
    };
    let at = sealed.find("@sip").expect("a user part");
    let other = if &sealed[40..41] == "A" { "B" } else { "A" };
    let bad = [
        swap(40, other),
        swap(at - 1, "*"),
        sealed.replacen("00r", "00q", 1),
        sealed.replacen("00r", "07r", 1),
        sealed.replacen(&sealed[30..at], &sealed[30..at - 8], 1),
    ];
    for (count, sealed) in bad.iter().enumerate() {
        let route = format!("{ours}, {sealed}");
        world.send(partner, &in_dialog("BYE", [JOHN, KIM], ["fc1", "t"], &route));
        let answer = world.read(partner);
        assert_eq!(status(&answer), 481, "{sealed}: {answer}");
        assert!(header(&answer, "ms-diagnostics-public").unwrap().starts_with("1004;"));
        assert_eq!(world.read(pool), "", "{sealed}");
        assert_eq!(world.access.counters().bad_seals, count as u64 + 1);
    }
    // Under a token of its own dialog, but with the seal of another.
    let (mut world, partner, pool) = edge(true);
    let text = String::from_utf8(called_in()).unwrap().replace("c1", "c2");
    world.send(partner, text.as_bytes());
    let got = world.read(pool);
    world.send(pool, respond(&got, 200).as_bytes());
    let recorded = world.read(partner);
    let token = headers(&recorded, "Record-Route")[1].to_owned();
    let route = format!("{token}, {sealed}");
    let bye = in_dialog("BYE", [JOHN, KIM], ["fc2", "t"], &route);
    let bye = String::from_utf8(bye).unwrap().replace("Call-ID: c1", "Call-ID: c2");
    world.send(partner, bye.as_bytes());
    assert_eq!(status(&world.read(partner)), 481);
    assert_eq!(world.access.counters().bad_route_tokens, 0);
}

#[test]
fn a_seal_without_a_good_token_opens_nothing() {
    let (_, answer) = call_in(true);
    let sealed = headers(&answer, "Record-Route")[0].to_owned();
    let (mut world, partner, pool) = other_edge(&[0], true);
    world.send(partner, &in_dialog("BYE", [JOHN, KIM], ["fc1", "t"], &sealed));
    let bye = world.read(pool);
    assert_eq!(header(&bye, "Route"), None, "{bye}");
}

#[test]
fn a_response_whose_seal_was_tampered_with_is_dropped_and_counted() {
    let (mut world, _, pool) = edge(true);
    let (out, sent) = sent_out(&mut world, pool, &invite("c1"));
    let good = respond(&sent, 200);
    let at = good.find("<sip:00q").expect("a seal") + 60;
    let mut bad = good.clone();
    let other = if &good[at..=at] == "A" { "B" } else { "A" };
    bad.replace_range(at..=at, other);
    for response in [bad.clone(), bad.replace("200 Whatever", "180 Whatever")] {
        world.send(out, response.as_bytes());
        assert_eq!(world.read(pool), "");
    }
    assert_eq!(world.access.counters().bad_seals, 2);
    world.send(out, good.as_bytes());
    assert_eq!(status(&world.read(pool)), 200, "the transaction still waits");
    // What is no seal of ours is the partner's affair.
    let (mut world, _, pool) = edge(true);
    let (out, sent) = sent_out(&mut world, pool, &invite("c1"));
    let foreign = "Record-Route: <sip:00qabc@sip.fabrikam.example;lr>\r\n";
    let response =
        respond(&sent, 200).replacen("Record-Route", &format!("{foreign}Record-Route"), 1);
    world.send(out, response.as_bytes());
    assert!(set(&world.read(pool), "Record-Route").contains("00qabc@sip.fabrikam.example"));
}

#[test]
fn a_list_in_one_line_is_restored_in_its_place() {
    let (mut world, _, pool) = edge(true);
    let (out, sent) = sent_out(&mut world, pool, &invite("c1"));
    let listed = format!("<sip:p.fabrikam.example;lr>,{}", set(&sent, "Record-Route"));
    let response = respond(&sent, 200);
    let (head, _) = response.split_once("Record-Route: ").expect("recorded");
    let to = header(&response, "To").expect("a To");
    let text = format!(
        "{head}Record-Route: {listed}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: c1\r\n\
         CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
        header(&response, "From").expect("a From"),
    );
    world.send(out, text.as_bytes());
    let answer = world.read(pool);
    let (_, plain) = call_out(false);
    let expected = format!("<sip:p.fabrikam.example;lr>, {}", set(&plain, "Record-Route"));
    assert_eq!(set(&answer, "Record-Route").replace(">,<", ">, <"), expected, "{answer}");
}

#[test]
fn what_was_hidden_comes_back_after_the_switch_is_turned_off_and_the_other_way_round() {
    for before in [true, false] {
        let (mut world, partner, pool) = edge(before);
        let (out, sent) = sent_out(&mut world, pool, &invite("c1"));
        world.send(
            partner,
            &String::from_utf8(called_in()).unwrap().replace("c1", "c2").into_bytes(),
        );
        let got = world.read(pool);
        hide(&mut world, !before, 3);
        world.send(out, respond(&sent, 200).as_bytes());
        let answer = world.read(pool);
        let (_, plain) = call_out(false);
        for name in ["Via", "Record-Route"] {
            assert_eq!(set(&answer, name), set(&plain, name), "{before} {name}");
        }
        world.send(pool, passed(&respond(&got, 200)).as_bytes());
        let answer = world.read(partner);
        assert_eq!(status(&answer), 200);
        assert_eq!(answer.contains("corp"), before, "the switch of the moment counts: {answer}");
    }
}

#[test]
fn responses_of_the_edge_itself_carry_the_vias_of_the_inside() {
    let (mut world, _, pool) = edge(true);
    world.send(pool, &invite("c1"));
    world.deny(ConnectFailure::Unreachable);
    let answer = world.read(pool);
    assert_eq!(status(&answer), 504);
    let (_, plain) = call_out(false);
    assert_eq!(set(&answer, "Via"), set(&plain, "Via"));
}

#[test]
fn cancel_and_the_ack_to_a_failure_carry_our_via_alone() {
    let (mut world, _, pool) = edge(true);
    let (out, sent) = sent_out(&mut world, pool, &invite("c1"));
    world.send(out, respond(&sent, 180).as_bytes());
    world.read(pool);
    let cancel = String::from_utf8(request("CANCEL", KIM, JOHN, "c1")).unwrap();
    world.send(pool, cancel.replace("c1CANCEL", "c1INVITE").as_bytes());
    assert_eq!(status(&world.read(pool)), 200);
    let cancel = world.read(out);
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
    world.send(out, respond(&sent, 487).as_bytes());
    let ack = world.read(out);
    assert!(ack.starts_with("ACK "), "{ack}");
    for text in [&cancel, &ack] {
        reads_nothing_of_the_inside(text);
        assert_eq!(headers(text, "Via"), headers(&sent, "Via"));
    }
    let answer = world.read(pool);
    let (_, plain) = call_out(false);
    assert_eq!((status(&answer), set(&answer, "Via")), (487, set(&plain, "Via")));
    let ack = String::from_utf8(request("ACK", KIM, JOHN, "c1")).unwrap();
    world.send(pool, ack.replace("c1ACK", "c1INVITE").as_bytes());
    assert_eq!(world.access.slots.unfinished(), 0);
}

#[test]
fn the_next_target_gets_the_same_without_names_and_its_answer_finds_back() {
    let (mut world, _, pool) = edge(true);
    world.pass(61_000);
    world.read(pool);
    world.send(pool, &invite("c1"));
    world.resolve_to(&["sip.fabrikam.example", "sip2.fabrikam.example"]);
    let first = world.grant();
    reads_nothing_of_the_inside(&world.read(first));
    world.lose(first, 0);
    let second = world.grant();
    let sent = world.read(second);
    reads_nothing_of_the_inside(&sent);
    world.send(second, respond(&sent, 200).as_bytes());
    let (_, plain) = call_out(false);
    assert_eq!(set(&world.read(pool), "Via"), set(&plain, "Via"));
}

#[test]
fn what_nobody_answers_keeps_nothing() {
    for method in ["BENOTIFY", "MESSAGE", "NOTIFY", "SUBSCRIBE"] {
        let (mut world, _, pool) = edge(true);
        let bytes = request_with(method, KIM, JOHN, "m1", INNER);
        let (out, sent) = sent_out(&mut world, pool, &bytes);
        reads_nothing_of_the_inside(&sent);
        let own = usize::from(method == "SUBSCRIBE");
        assert_eq!(headers(&sent, "Record-Route").len(), 1 + own, "{sent}");
        world.send(out, respond(&sent, 200).as_bytes());
        let answer = world.read(pool);
        assert_eq!(headers(&answer, "Via").len(), if method == "BENOTIFY" { 0 } else { 3 });
        assert_eq!(world.access.slots.unfinished(), 0);
    }
}

#[test]
fn more_than_a_seal_holds_is_refused_and_not_sent_in_the_open() {
    let line = format!("Record-Route: <sip:fe01.corp.example;lr;x={}>\r\n", "y".repeat(1000));
    let (mut world, _, pool) = edge(true);
    let many = line.repeat(limits::SEALED_ROUTES_BYTES_MAX / line.len() + 1);
    world.send(pool, &request_with("INVITE", KIM, JOHN, "c1", &many));
    assert_eq!(status(&world.read(pool)), 513);
    assert!(world.connects.is_empty());
    let few = line.repeat(limits::SEALED_ROUTES_BYTES_MAX / line.len() - 1);
    let (_, sent) = sent_out(&mut world, pool, &request_with("INVITE", KIM, JOHN, "c2", &few));
    reads_nothing_of_the_inside(&sent);
    assert!(sent.lines().all(|line| line.len() < limits::SIP_HEADER_BYTES_MAX));

    let (mut world, partner, pool) = edge(true);
    world.send(partner, &called_in());
    let got = world.read(pool);
    let add = |status| {
        let response = respond(&got, status);
        response.replacen("Record-Route: ", &format!("{many}Record-Route: "), 1)
    };
    world.send(pool, add(180).as_bytes());
    assert_eq!(world.read(partner), "", "a provisional one is dropped");
    world.send(pool, add(200).as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 500);
    reads_nothing_of_the_inside(&answer);
    assert_eq!(world.access.counters().bad_seals, 2);
    world.send(partner, &String::from_utf8(called_in()).unwrap().replace("c1", "c3").into_bytes());
    let got = world.read(pool);
    let response = respond(&got, 486);
    let failure = response.replacen("Record-Route: ", &format!("{many}Record-Route: "), 1);
    world.send(pool, failure.as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 486, "a failure begins no dialog and needs no way back");
    reads_nothing_of_the_inside(&answer);
}

#[test]
fn a_response_that_lost_entries_shows_none_of_those_it_has() {
    let (mut world, partner, pool) = edge(true);
    world.send(partner, &called_in());
    let got = world.read(pool);
    let response = respond(&got, 200);
    let recorded = headers(&got, "Record-Route");
    let kept = recorded[0];
    let response = recorded[1..]
        .iter()
        .fold(response, |text, other| text.replace(&format!("Record-Route: {other}\r\n"), ""));
    assert!(response.contains(kept));
    world.send(pool, response.as_bytes());
    let answer = world.read(partner);
    assert_eq!(status(&answer), 200);
    reads_nothing_of_the_inside(&answer);
}

#[test]
fn registration_paths_do_not_cross() {
    let lines = "Path: <sip:pool.contoso.example;lr>\r\nservice-route: <sip:fe01.corp.example>\r\n";
    let (mut world, partner, pool) = edge(true);
    let bytes = request_with("MESSAGE", KIM, JOHN, "m1", lines);
    let (_, sent) = sent_out(&mut world, pool, &bytes);
    assert!(sent.starts_with("MESSAGE "), "{sent}");
    reads_nothing_of_the_inside(&sent);
    world.send(partner, &called_in());
    let got = world.read(pool);
    world.send(pool, respond_with(&got, 200, lines).as_bytes());
    reads_nothing_of_the_inside(&world.read(partner));
}

#[test]
fn warnings_and_public_diagnostics_never_name_the_inside_hidden_or_not() {
    let lines = "Warning: 399 fe01.corp.example:5061 \"fe01.corp.example gave up\", \
                 370 10.0.0.7 \"Insufficient Bandwidth\"\r\n\
                 Warning: nonsense of fe01.corp.example\r\n\
                 ms-diagnostics: 1034;reason=\"x\";source=\"fe01.corp.example\"\r\n\
                 ms-diagnostics-public: 10404;reason=\"said no\";GatewayFqdn=\"10.0.0.7\"\r\n\
                 Server: RTC/6.0\r\nUser-Agent: RTCC/6.0.0.0 UAS\r\n";
    for hides in [true, false] {
        let (mut world, partner, pool) = edge(hides);
        world.send(partner, &called_in());
        let got = world.read(pool);
        world.send(pool, respond_with(&got, 486, lines).replace("lsedge", "own").as_bytes());
        let answer = world.read(partner);
        assert_eq!(
            set(&answer, "Warning"),
            "399 sip.contoso.example \"hidden gave up\", \
             370 sip.contoso.example \"Insufficient Bandwidth\""
        );
        assert_eq!(headers(&answer, "Warning").len(), 1, "{answer}");
        assert_eq!(header(&answer, "ms-diagnostics-public"), Some("10404;reason=\"said no\""));
        assert_eq!(header(&answer, "ms-diagnostics"), None);
        assert_eq!(header(&answer, "Server"), Some("RTC/6.0"), "what software it is stays");
        assert_eq!(header(&answer, "User-Agent"), Some("RTCC/6.0.0.0 UAS"));
        for name in ["corp", "10.0.0."] {
            assert!(!answer.contains(name), "{answer}");
        }
        // A BYE may say why, too.
        let bytes = request_with("BYE", KIM, JOHN, "m1", lines);
        let (_, sent) = sent_out(&mut world, pool, &bytes);
        assert_eq!(header(&sent, "ms-diagnostics-public"), Some("10404;reason=\"said no\""));
        assert!(!sent.contains("corp"), "{sent}");
        // What a partner says is the inside's to read.
        let (out, sent) = sent_out_again(&mut world, pool);
        world.send(out, respond_with(&sent, 486, lines).as_bytes());
        assert!(
            world.read(pool).contains("399 fe01.corp.example:5061 \"fe01.corp.example gave up")
        );
    }
}

fn sent_out_again(world: &mut World, pool: LegId) -> (LegId, String) {
    world.send(pool, &request("MESSAGE", KIM, JOHN, "m9"));
    let out = LegId { index: 2, generation: 1 };
    (out, world.read(out))
}

#[test]
fn no_refusal_of_the_edge_names_the_inside_to_a_partner() {
    let mut rules = rules();
    rules.next_hops[0].addresses = vec!["192.0.2.10".parse().unwrap()];
    let mut world = World::with(rules);
    let (partner, pool) = world.fabrikam();
    let plain = |method: &str, to: &str, id: &str| {
        let bytes = request(method, JOHN, to, id);
        String::from_utf8(bytes).unwrap().replace("198.51.100.7", "198.51.100.99")
    };
    let message = plain("MESSAGE", KIM, "r");
    let bad = [
        plain("REGISTER", KIM, "r1"),
        plain("NEGOTIATE", KIM, "r2"),
        plain("MESSAGE", "x@elsewhere.example", "r3"),
        message.replace("Max-Forwards: 70", "Max-Forwards: 0"),
        message.replace("sip:kim@contoso.example SIP", "tel:+1 SIP"),
        message.replace("john@fabrikam.example", "kim@contoso.example"),
        message.replace("john@fabrikam.example", "x@litware.example"),
        message.replace("CSeq: 1 MESSAGE", "CSeq: 1 INVITE"),
        message.replace("Content-Type", "Proxy-Require: x\r\nContent-Type"),
        plain("CANCEL", KIM, "r4"),
        message.replace("To: ", "Route: <sip:lsedge.contoso.example;et=00p;lr>\r\nTo: "),
    ];
    for request in bad {
        world.send(partner, request.as_bytes());
        let answer = world.read(partner);
        assert!(status(&answer) >= 400, "{request}\n{answer}");
        reads_nothing_of_the_inside(&answer);
    }
    // The pool is gone, and cannot be reached.
    world.lose(pool, 0);
    world.send(partner, message.as_bytes());
    world.deny(ConnectFailure::CertificateNameMismatch);
    let answer = world.read(partner);
    assert_eq!(status(&answer), 504, "{answer}");
    reads_nothing_of_the_inside(&answer);
}
