use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::xmpp::{Node, Read, Reader, Stanza, StanzaError, StreamHeader, ns};

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).unwrap()
}

/// A link whose two ends are in one place.
struct Link {
    gateway: GatewayEnd<u32>,
    edge: EdgeEnd,
    to_edge: Vec<u8>,
    to_gateway: Vec<u8>,
}

/// What came out of the two ends.
#[derive(Default)]
struct Heard {
    at_edge: Vec<(u64, String)>,
    at_gateway: Vec<(String, Origin)>,
    /// Numbers of those that the gateway is not done with.
    undone: Vec<u64>,
    again: usize,
    taken: Vec<u32>,
    bounced: Vec<(u32, StanzaError)>,
    gateways: Vec<String>,
}

impl Link {
    fn new() -> Self {
        let mut to_edge = Vec::new();
        let gateway =
            GatewayEnd::connect(&domain("gw.contoso.example"), &domain("edge.x"), &mut to_edge);
        let edge = EdgeEnd::accept(domain("edge.x"), "s1".to_owned());
        Self { gateway, edge, to_edge, to_gateway: Vec::new() }
    }

    fn up() -> Self {
        let mut link = Self::new();
        link.run(&mut Heard::default());
        assert!(link.gateway.is_up() && link.edge.is_up());
        link
    }

    /// Lets both ends read until nothing is on its way.
    fn run(&mut self, heard: &mut Heard) {
        while self.edge_reads(heard) || self.gateway_reads(heard) {}
    }

    fn edge_reads(&mut self, heard: &mut Heard) -> bool {
        let consumed = match self.edge.read(&self.to_edge, &mut self.to_gateway).unwrap() {
            FromGateway::NeedMore(_) => return false,
            FromGateway::Done { consumed }
            | FromGateway::Named { consumed, .. }
            | FromGateway::Up { consumed }
            | FromGateway::Ended { consumed } => consumed,
            FromGateway::Stanza { element, number, consumed } => {
                heard.at_edge.push((number, element.id().unwrap().into_owned()));
                consumed
            }
        };
        self.to_edge.drain(..consumed);
        true
    }

    fn gateway_reads(&mut self, heard: &mut Heard) -> bool {
        let consumed = match self.gateway.read(&self.to_gateway, &mut self.to_edge).unwrap() {
            FromEdge::NeedMore(_) => return false,
            FromEdge::Done { consumed }
            | FromEdge::Up { consumed }
            | FromEdge::Ended { consumed } => consumed,
            FromEdge::Stanza { element, origin, number, again, consumed } => {
                heard.undone.push(number);
                heard.again += usize::from(again == Again::Yes);
                heard.at_gateway.push((element.id().unwrap().into_owned(), origin));
                consumed
            }
            FromEdge::Gateways { names, consumed } => {
                heard.gateways = names.iter().map(ToString::to_string).collect();
                consumed
            }
            FromEdge::Taken { stanza, consumed } => {
                heard.taken.push(stanza.tag);
                consumed
            }
            FromEdge::Bounced { stanza, error, consumed } => {
                heard.bounced.push((stanza.tag, error.condition));
                consumed
            }
        };
        self.to_gateway.drain(..consumed);
        true
    }

    fn send(&mut self, id: u32) -> Result<u64, (Full, u32)> {
        self.gateway.send(&message(id), id, &mut self.to_edge)
    }
}

fn message(id: u32) -> Node {
    Node::stanza(Stanza::Message)
        .with("from", "kim@contoso.example")
        .with("to", "john@fabrikam.example")
        .with("id", id.to_string())
}

fn origin() -> Origin {
    Origin {
        partner: domain("fabrikam.example"),
        kind: XmppKind::PublicVerified,
        proof: Proof::DialbackClear,
    }
}

/// Runs `work` with the stanza that `text` is on a partner's stream.
fn with_element<R>(head: &str, text: &str, work: impl FnOnce(&Element<'_>) -> R) -> R {
    let mut reader = Reader::new(Bounds::authenticated(10_000));
    assert!(matches!(reader.read(head.as_bytes()), Ok(Read::Header { .. })));
    match reader.read(text.as_bytes()) {
        Ok(Read::Element { element, .. }) => work(&element),
        other => panic!("no element: {other:?}"),
    }
}

fn head() -> String {
    let mut head = Vec::new();
    StreamHeader::between("fabrikam.example", "contoso.example").write(&mut head);
    String::from_utf8(head).unwrap()
}

fn outgoing(id: u32) -> Outgoing {
    let text = format!(
        "<message from='john@fabrikam.example' to='kim@contoso.example' id='{id}'><body>Hi\
         </body></message>"
    );
    let number = 1_000 + u64::from(id);
    with_element(&head(), &text, |element| Outgoing::of(element, &origin(), number).unwrap())
}

#[test]
fn the_gateway_speaks_first_and_its_name_is_told() {
    let mut link = Link::new();
    let named = link.edge.read(&link.to_edge, &mut link.to_gateway).unwrap();
    let FromGateway::Named { gateway, .. } = named else { panic!("{named:?}") };
    assert_eq!(gateway, domain("gw.contoso.example"));
    assert!(!link.edge.is_up());
    let text = String::from_utf8(link.to_gateway).unwrap();
    assert!(text.contains("<link xmlns='urn:entente:link:2' stanzas='4096'"), "{text}");
}

#[test]
fn nothing_is_sent_before_the_link_is_up() {
    let mut link = Link::new();
    assert_eq!(link.send(1), Err((Full, 1)));
    assert!(link.edge.send(outgoing(1), &mut link.to_gateway).is_err());
    let mut stray = EdgeEnd::accept(domain("edge.x"), "s2".to_owned());
    let mut out = Vec::new();
    let mut head = head().into_bytes();
    stray.read(&head, &mut out).unwrap();
    head.clear();
    let fault = stray.read(b"<message from='a@a' to='b@b'/>", &mut out).unwrap_err();
    assert_eq!(fault, LinkFault::Unexpected);
}

#[test]
fn reports_come_one_by_one_in_any_order() {
    let (mut link, mut heard) = (Link::up(), Heard::default());
    for id in 1..=3 {
        assert_eq!(link.send(id), Ok(u64::from(id)));
    }
    link.run(&mut heard);
    assert_eq!(heard.at_edge, [(1, "1".into()), (2, "2".into()), (3, "3".into())]);
    link.edge.taken(3, &mut link.to_gateway);
    link.edge.bounced(1, StanzaError::RemoteServerTimeout, Some("no"), &mut link.to_gateway);
    link.run(&mut heard);
    assert_eq!(heard.taken, [3]);
    assert_eq!(heard.bounced, [(1, StanzaError::RemoteServerTimeout)]);
    let left: Vec<_> = link.gateway.into_unreported().map(|stanza| stanza.tag).collect();
    assert_eq!(left, [2]);
}

#[test]
fn a_partners_stanza_says_who_it_is_from_and_how_that_was_proved() {
    let (mut link, mut heard) = (Link::up(), Heard::default());
    link.edge.send(outgoing(7), &mut link.to_gateway).unwrap();
    link.run(&mut heard);
    assert_eq!(heard.at_gateway, [("7".to_owned(), origin())]);
}

#[test]
fn an_edge_keeps_a_stanza_until_the_gateway_is_done_with_it_in_any_order() {
    let (mut link, mut heard) = (Link::up(), Heard::default());
    for id in 1..=3 {
        link.edge.send(outgoing(id), &mut link.to_gateway).unwrap();
    }
    link.run(&mut heard);
    assert_eq!((&*heard.undone, link.edge.kept()), (&[1_001, 1_002, 1_003][..], 3));
    link.gateway.done(&[1_003, 1_001], &mut link.to_edge);
    link.run(&mut heard);
    let mut next = Link::up();
    for stanza in link.edge.into_kept() {
        next.edge.send(stanza.again(), &mut next.to_gateway).unwrap();
    }
    let text = String::from_utf8(next.to_gateway.clone()).unwrap();
    assert!(text.starts_with("<message entente:again='yes' from="), "{text}");
    let mut heard = Heard::default();
    next.run(&mut heard);
    assert_eq!((&*heard.undone, heard.again), (&[1_002][..], 1), "it keeps its number");
}

#[test]
fn a_gateway_that_is_done_with_what_it_was_not_sent_ends_the_link() {
    for n in ["7", "x", "-1"] {
        let mut link = Link::up();
        let text = format!("<done xmlns='urn:entente:link:2' n='{n}'/>");
        let fault = link.edge.read(text.as_bytes(), &mut Vec::new()).unwrap_err();
        assert_eq!(fault, LinkFault::Accounting);
    }
    let mut link = Link::up();
    let fault = link.edge.read(b"<a xmlns='urn:xmpp:sm:3' h='0'/>", &mut Vec::new()).unwrap_err();
    assert_eq!(fault, LinkFault::Unexpected);
}

#[test]
fn an_edge_that_sends_more_than_the_window_is_cut_off() {
    let mut link = Link::up();
    let mut heard = Heard::default();
    for id in 0..u32::try_from(limits::XMPP_LINK_STANZAS_MAX).unwrap() {
        link.edge.send(outgoing(id), &mut link.to_gateway).unwrap();
    }
    assert!(link.edge.send(outgoing(9_999_999), &mut link.to_gateway).is_err());
    link.run(&mut heard);
    let mut more = Vec::new();
    Link::up().edge.send(outgoing(9_999_999), &mut more).unwrap();
    let fault = link.gateway.read(&more, &mut Vec::new()).unwrap_err();
    assert_eq!(fault, LinkFault::Window);
}

#[test]
fn marks_of_the_link_cannot_be_made_by_a_partner() {
    let forged = "<message xmlns:entente='urn:entente:link:2' entente:partner='a' from='a@b' \
                  to='c@d'/>";
    assert!(with_element(&head(), forged, |e| Outgoing::of(e, &origin(), 1)).is_none());
    let other = head().replace(" from=", " xmlns:entente='urn:entente:link:2' from=");
    let forged = "<message entente:partner='a' from='a@b' to='c@d'/>";
    assert!(with_element(&other, forged, |e| Outgoing::of(e, &origin(), 1)).is_none());
    let within = "<message from='a@b' to='c@d'><x xmlns:entente='u' entente:n='1'/></message>";
    assert!(with_element(&head(), within, |e| Outgoing::of(e, &origin(), 1)).is_some());
}

#[test]
fn the_window_bounds_what_is_on_its_way() {
    let mut link = Link::up();
    for id in 0..limits::XMPP_LINK_STANZAS_MAX {
        link.send(u32::try_from(id).unwrap()).unwrap();
    }
    assert_eq!(link.send(9_999_999), Err((Full, 9_999_999)));
    let mut heard = Heard::default();
    link.run(&mut heard);
    link.edge.taken(5, &mut link.to_gateway);
    link.run(&mut heard);
    assert!(link.send(9_999_999).is_ok());
}

#[test]
fn a_number_out_of_turn_ends_the_link() {
    let mut link = Link::up();
    let text = "<message xmlns:entente='urn:entente:link:2' entente:n='2' from='a@b' to='c@d'/>";
    let fault = link.edge.read(text.as_bytes(), &mut Vec::new()).unwrap_err();
    assert_eq!(fault, LinkFault::Accounting);
    let fault = link
        .gateway
        .read(b"<taken xmlns='urn:entente:link:2' n='8'/>", &mut Vec::new())
        .unwrap_err();
    assert_eq!(fault, LinkFault::Accounting);
}

#[test]
fn an_edge_of_another_version_is_refused() {
    let mut out = Vec::new();
    let mut gateway: GatewayEnd<()> =
        GatewayEnd::connect(&domain("gw.x"), &domain("edge.x"), &mut out);
    let mut head = Vec::new();
    StreamHeader::between("edge.x", "gw.x").with_id("1").write(&mut head);
    gateway.read(&head, &mut out).unwrap();
    let features = b"<stream:features><link xmlns='urn:entente:link:3'/></stream:features>";
    let fault = gateway.read(features, &mut out).unwrap_err();
    assert_eq!(fault, LinkFault::Version);
    out.clear();
    gateway.refuse(fault, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("unsupported-version") && text.ends_with("</stream:stream>"), "{text}");
}

#[test]
fn what_is_sent_is_a_server_stanza_wherever_its_namespace_was_said() {
    let mut link = Link::up();
    let explicit = Node::new("message", ns::SERVER)
        .with("from", "a@b.example")
        .with("to", "c@d.example")
        .with("id", "1");
    link.gateway.send(&explicit, 1, &mut link.to_edge).unwrap();
    let mut heard = Heard::default();
    link.run(&mut heard);
    assert_eq!(heard.at_edge.len(), 1);
}

#[derive(Clone, Debug)]
enum Act {
    SendOut,
    SendIn,
    EdgeReads,
    GatewayReads,
    Report,
    Bounce,
    Done,
    Die,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::SendOut),
        6 => Just(Act::SendIn),
        8 => Just(Act::EdgeReads),
        8 => Just(Act::GatewayReads),
        4 => Just(Act::Report),
        1 => Just(Act::Bounce),
        5 => Just(Act::Done),
        1 => Just(Act::Die),
    ];
    prop::collection::vec(act, 0..300)
}

proptest! {
    /// Symptom looked for: a stanza that nobody has any more. Both sides send by one link until it
    /// dies at any byte, then by the next.
    #[test]
    fn no_stanza_is_lost_unsaid_and_twice_only_across_the_loss_of_a_link(acts in acts()) {
        let (mut link, mut heard) = (Link::up(), Heard::default());
        let (mut next, mut epoch) = (0_u32, 0_u32);
        let mut sent_in: BTreeMap<u32, u32> = BTreeMap::new();
        let mut sent_out: BTreeMap<u32, u32> = BTreeMap::new();
        let mut settled = 0;
        let mut ended: Vec<u32> = Vec::new();
        for act in acts {
            match act {
                Act::SendOut => {
                    next += 1;
                    link.send(next).unwrap();
                    sent_out.insert(next, epoch);
                }
                Act::SendIn => {
                    next += 1;
                    link.edge.send(outgoing(next), &mut link.to_gateway).unwrap();
                    sent_in.insert(next, epoch);
                }
                Act::EdgeReads => {
                    link.edge_reads(&mut heard);
                }
                Act::GatewayReads => {
                    link.gateway_reads(&mut heard);
                }
                Act::Report | Act::Bounce => {
                    let Some((number, _)) = heard.at_edge.get(settled).cloned() else { continue };
                    settled += 1;
                    match act {
                        Act::Bounce => {
                            let error = StanzaError::RemoteServerTimeout;
                            link.edge.bounced(number, error, None, &mut link.to_gateway);
                        }
                        _ => link.edge.taken(number, &mut link.to_gateway),
                    }
                }
                Act::Done => {
                    let some = heard.undone.len() / 2;
                    let numbers: Vec<u64> = heard.undone.drain(some..).collect();
                    link.gateway.done(&numbers, &mut link.to_edge);
                }
                Act::Die => {
                    epoch += 1;
                    let Link { gateway, edge, .. } = std::mem::replace(&mut link, Link::up());
                    // What the dead link's edge did not report on, it cannot any more.
                    settled = heard.at_edge.len();
                    heard.undone.clear();
                    for stanza in gateway.into_unreported() {
                        sent_out.insert(stanza.tag, epoch);
                        link.gateway.send_bytes(stanza.bytes, stanza.tag, &mut link.to_edge)
                            .unwrap();
                    }
                    for stanza in edge.into_kept() {
                        link.edge.send(stanza.again(), &mut link.to_gateway).unwrap();
                    }
                }
            }
        }
        link.run(&mut heard);
        for (number, _) in heard.at_edge.split_off(settled) {
            link.edge.taken(number, &mut link.to_gateway);
        }
        link.run(&mut heard);
        link.gateway.done(&heard.undone, &mut link.to_edge);
        link.run(&mut heard);
        ended.extend(&heard.taken);
        ended.extend(heard.bounced.iter().map(|(id, _)| id));
        let distinct: BTreeSet<u32> = ended.iter().copied().collect();
        prop_assert_eq!(distinct.len(), ended.len(), "each is reported on once");
        prop_assert_eq!(distinct.len(), sent_out.len(), "each is reported on");
        let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
        for (id, _) in &heard.at_gateway {
            *seen.entry(id.parse().unwrap()).or_default() += 1;
        }
        for id in sent_in.keys() {
            let times = seen.get(id).copied().unwrap_or(0);
            prop_assert!(times >= 1, "{} is lost", id);
            prop_assert!(times == 1 || epoch > 0, "{} came twice over one link", id);
        }
        prop_assert_eq!(link.edge.kept(), 0);
    }
}
