//! The gateway and the XMPP proxy back to back, as two processes are: a partner's server on one
//! side, a SIP server on the other.

use std::sync::Arc;

use super::world::*;
use crate::dns::{Answer, Question, Target};
use crate::edge::gateway::Gateway;
use crate::edge::xmpp_proxy::{self, XmppProxy};
use crate::edge::{Class, Command, Connect, Core, Effects, Fed, LegId, Lost, Opened, OutletId};
use crate::policy::{PeerNames, Rules};
use crate::time::Now;
use crate::xmpp::StreamHeader;

/// One process: a core, what it wants, and what came for it and was not whole.
struct Process<C> {
    core: C,
    effects: Effects,
    connects: Vec<Connect>,
    questions: Vec<Question>,
    rest: std::collections::BTreeMap<LegId, Vec<u8>>,
    legs: u32,
}

impl<C: Core> Process<C> {
    fn new(core: C) -> Self {
        Self {
            core,
            effects: Effects::default(),
            connects: Vec::new(),
            questions: Vec::new(),
            rest: std::collections::BTreeMap::new(),
            legs: 0,
        }
    }

    fn open(
        &mut self,
        now: Now,
        class: Class,
        outlet: Option<OutletId>,
        peer: Option<Arc<PeerNames>>,
    ) -> LegId {
        self.legs += 1;
        let leg = LegId { index: self.legs, generation: 1 };
        self.effects.open(leg);
        let opened = Opened {
            class,
            outlet,
            peer,
            doubt: None,
            remote: "192.0.2.9:4000".parse().expect("an address"),
            local: "192.0.2.1:5269".parse().expect("an address"),
        };
        self.core.leg_opened(now, leg, opened, &mut self.effects);
        self.collect();
        leg
    }

    fn feed(&mut self, now: Now, leg: LegId, bytes: &[u8]) {
        let mut input = self.rest.remove(&leg).unwrap_or_default();
        input.extend_from_slice(bytes);
        let mut at = 0;
        while at < input.len() {
            match self.core.feed(now, leg, &input[at..], &mut self.effects) {
                Fed::Consumed(bytes) => at += bytes,
                Fed::NeedMore(_) => break,
                Fed::Dead => at = input.len(),
            }
            self.collect();
        }
        self.rest.insert(leg, input.split_off(at));
    }

    fn collect(&mut self) {
        for command in std::mem::take(&mut self.effects.commands) {
            match command {
                Command::Connect(connect) => self.connects.push(connect),
                Command::Ask(question) => self.questions.push(question),
                _ => {}
            }
        }
    }

    fn take(&mut self, leg: LegId) -> Vec<u8> {
        self.effects.staged_mut(leg).map(std::mem::take).unwrap_or_default()
    }

    fn expire(&mut self, now: Now) {
        if self.core.next_deadline().is_some_and(|due| due <= now.monotonic) {
            self.core.expire(now, &mut self.effects);
            self.collect();
        }
    }
}

struct Both {
    now: Now,
    gateway: Process<Gateway>,
    proxy: Process<XmppProxy>,
    /// The link, as the two call it.
    link: (LegId, LegId),
    pool: LegId,
}

fn edge_rules() -> Rules {
    let mut rules = rules();
    rules.internal_fqdn = domain("edge1.contoso.example");
    rules.addresses.allow_networks = vec!["192.0.2.0/24".parse().expect("a network")];
    rules.xmpp.gateways = vec![domain("gw.contoso.example")];
    rules
}

fn proxy() -> Process<XmppProxy> {
    let setup = xmpp_proxy::Setup::single([7, 9], b"s3cr3tf0rd14lb4ck");
    Process::new(XmppProxy::new(setup, snapshot(edge_rules(), 1)))
}

impl Both {
    fn new() -> Self {
        let now = Now { unix_s: 1_700_000_000, ..Now::default() };
        let mut gateway = Process::new(Gateway::new(setup(), snapshot(rules(), 1)));
        let pool = gateway.open(now, Class::Internal, None, Some(names("sip.simple.example")));
        let nowhere = LegId { index: 0, generation: 0 };
        let mut both = Self { now, gateway, proxy: proxy(), link: (nowhere, nowhere), pool };
        both.pass(0);
        both.connect();
        both
    }

    /// Lets the link that the gateway asks for come up.
    fn connect(&mut self) {
        let connect = self.gateway.connects.remove(0);
        assert_eq!(connect.class, Class::XmppLink);
        let at_proxy =
            self.proxy.open(self.now, Class::XmppLink, None, Some(names("gw.contoso.example")));
        let outlet = Some(connect.outlet);
        let edge = Some(names("edge1.contoso.example"));
        let at_gateway = self.gateway.open(self.now, Class::XmppLink, outlet, edge);
        self.link = (at_gateway, at_proxy);
        self.pump();
        assert_eq!(self.gateway.core.links(), 1);
    }

    /// Moves what the two say to each other until they are quiet.
    fn pump(&mut self) {
        loop {
            let (to_proxy, to_gateway) =
                (self.gateway.take(self.link.0), self.proxy.take(self.link.1));
            if to_proxy.is_empty() && to_gateway.is_empty() {
                return;
            }
            self.proxy.feed(self.now, self.link.1, &to_proxy);
            self.gateway.feed(self.now, self.link.0, &to_gateway);
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..=milliseconds {
            self.gateway.expire(self.now);
            self.proxy.expire(self.now);
            self.pump();
            self.now = self.now.plus_ms(1);
        }
    }

    /// One of our users writes.
    fn writes(&mut self, text: &str) {
        let request = message("sip:kim@simple.example", "sip:john@fabrikam.example", text);
        self.gateway.feed(self.now, self.pool, request.as_bytes());
        self.pump();
    }

    /// What our user's server is told.
    fn told(&mut self) -> String {
        String::from_utf8(self.gateway.take(self.pool)).expect("text")
    }

    /// The proxy finds the partner's server, which takes its certificate. Returns the leg, and what
    /// was said on it once the stream stood.
    fn reaches_partner(&mut self) -> (LegId, String) {
        if let Some(question) = self.proxy.questions.pop() {
            let target = Target {
                fqdn: domain("xmpp.fabrikam.example"),
                port: 5270,
                priority: 0,
                weight: 0,
                addresses: vec!["192.0.2.50".parse().expect("an address")],
                direct_tls: true,
            };
            let answer = Answer { question, outcome: Ok(vec![target]), ttl_s: 60 };
            self.proxy.core.resolved(self.now, answer.into(), &mut self.proxy.effects);
            self.proxy.collect();
        }
        let connect = self.proxy.connects.remove(0);
        let outlet = Some(connect.outlet);
        let leg = self.proxy.open(self.now, connect.class, outlet, Some(names("fabrikam.example")));
        self.proxy.take(leg);
        let external = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL\
                        </mechanism></mechanisms>";
        self.partner_says(leg, &(head("a1") + &features(external)));
        self.partner_says(leg, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        self.proxy.take(leg);
        self.partner_says(leg, &(head("a2") + &features("")));
        self.pump();
        (leg, String::from_utf8(self.proxy.take(leg)).expect("text"))
    }

    fn partner_says(&mut self, leg: LegId, text: &str) {
        self.proxy.feed(self.now, leg, text.as_bytes());
        self.pump();
    }

    /// The partner's server connects and shows its certificate.
    fn partner_connects(&mut self) -> LegId {
        let peer = Some(names("fabrikam.example"));
        let leg = self.proxy.open(self.now, Class::XmppDirectTls, None, peer);
        let mut header = Vec::new();
        StreamHeader::between("fabrikam.example", "simple.example").write(&mut header);
        let header = String::from_utf8(header).expect("text");
        self.partner_says(leg, &header);
        let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
        self.partner_says(leg, auth);
        self.partner_says(leg, &header);
        self.proxy.take(leg);
        leg
    }
}

fn head(id: &str) -> String {
    let mut out = Vec::new();
    StreamHeader::between("fabrikam.example", "simple.example").with_id(id).write(&mut out);
    String::from_utf8(out).expect("text")
}

fn features(content: &str) -> String {
    format!("<stream:features>{content}</stream:features>")
}

#[test]
fn a_message_goes_all_the_way_and_its_answer_all_the_way_back() {
    let mut both = Both::new();
    both.writes("Hello");
    let (_, said) = both.reaches_partner();
    assert!(said.contains("<body>Hello</body>") && !said.contains("entente:n="), "{said}");
    both.pass(10);
    assert_eq!(both.told(), "", "the contact's server may still say no");
    both.pass(300);
    assert!(both.told().starts_with("SIP/2.0 200 OK\r\n"));
}

#[test]
fn an_error_of_the_contacts_server_comes_back_as_the_answer() {
    let mut both = Both::new();
    both.writes("Hello");
    let (_, said) = both.reaches_partner();
    let id = attribute(&said, "id");
    both.pass(10);
    let leg = both.partner_connects();
    both.partner_says(
        leg,
        &format!(
            "<message from='john@fabrikam.example' to='kim@simple.example' id='{id}' type='error'>\
             <error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        ),
    );
    assert!(both.told().starts_with("SIP/2.0 403 "));
}

#[test]
fn a_domain_that_is_no_partner_is_not_found_by_either() {
    let mut both = Both::new();
    let mut open = rules();
    open.xmpp.partners.clear();
    both.gateway.core.adopt(both.now, snapshot(open, 2), &mut both.gateway.effects);
    let request = message("sip:kim@simple.example", "sip:j@nowhere.example", "Hello");
    both.gateway.feed(both.now, both.pool, request.as_bytes());
    both.pump();
    assert!(both.told().starts_with("SIP/2.0 404 "), "the edge says so");
}

#[test]
fn a_contacts_words_reach_our_users_server_with_how_they_were_proved() {
    let mut both = Both::new();
    let leg = both.partner_connects();
    let stanza = chat("john@fabrikam.example/x", "kim@simple.example", "m1", "<body>Hi</body>");
    both.partner_says(leg, &stanza);
    let connect = both.gateway.connects.remove(0);
    let outlet = Some(connect.outlet);
    let hop =
        both.gateway.open(both.now, Class::Internal, outlet, Some(names("sip.simple.example")));
    let request = String::from_utf8(both.gateway.take(hop)).expect("text");
    assert!(request.starts_with("MESSAGE sip:kim@simple.example "), "{request}");
    assert!(header(&request, "ms-edge-proxy-message-trust").contains("AutoFederation"));
}

#[test]
fn an_edge_killed_in_the_middle_costs_a_moment_and_no_message() {
    let mut both = Both::new();
    both.writes("Hello");
    // The edge dies before it has reached the partner, and comes back with nothing in its memory.
    both.proxy = proxy();
    both.gateway.effects.close(both.link.0);
    let (now, leg) = (both.now, both.link.0);
    both.gateway.core.leg_closed(now, leg, Lost::Reset, 0, &mut both.gateway.effects);
    both.link = (LegId { index: 9, generation: 9 }, LegId { index: 9, generation: 9 });
    both.pass(2_500);
    both.gateway.collect();
    both.connect();
    let (_, said) = both.reaches_partner();
    assert!(said.contains("<body>Hello</body>"), "{said}");
    both.pass(300);
    assert!(both.told().starts_with("SIP/2.0 200 OK\r\n"));
}
