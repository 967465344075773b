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

/// Parts of names that no partner may read. Via of the pool's leg and where it connected from among
/// them; the partner's own address is another.
const NAMES: [&str; 7] =
    ["corp", "10.0.0.", "pool", "lsedge", "edge1", "192.0.2.77", "198.51.100.7"];

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
    let (partner, _) = world.fabrikam();
    hide(&mut world, hides, 2);
    let pool = world.pool();
    (world, partner, pool)
}

/// Another edge of the pool: a process of its own, with these keys.
fn other_edge(keys: &[u8], hides: bool) -> (World, LegId, LegId) {
    let key = |id: &u8| PoolKey { id: *id, key: if *id == 1 { [9; 16] } else { [*id; 16] } };
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

/// A call from outside, answered by somebody behind servers that record themselves.
fn call_in(hides: bool) -> (String, String) {
    let (mut world, partner, _) = edge(hides);
    let bytes = request_with("INVITE", JOHN, KIM, "c1", "Record-Route: <sip:p.fabrikam.example;lr>\r\n");
    let outside = String::from_utf8(bytes).unwrap().replace("198.51.100.7", "198.51.100.99");
    world.send(partner, outside.as_bytes());
    let pool = world.grant_if_asked();
    let got = world.read(pool);
    let answer = respond(&got, 200).replacen("Record-Route: ", &format!("{PASSED}Record-Route: "), 1);
    world.send(pool, answer.as_bytes());
    (got, world.read(partner))
}

fn set(message: &str, name: &str) -> String {
    headers(message, name).join(", ")
}

/// The same entries the other way round; no entry of these tests has a comma in it.
fn reversed(set: &str) -> String {
    set.split(", ").collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(", ")
}
