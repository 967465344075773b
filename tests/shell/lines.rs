//! A core whose messages are lines of text that say what to do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use entente::dns::{Domain, Question, SharedAnswer};
use entente::edge::{
    Class, CloseReason, Command, Connect, ConnectFailure, Core, Drain, Effects, Fed, Kind, LegId,
    Lost, Mail, MailRoute, Opened, OutletId, Secured, SlotRef,
};
use entente::policy::{ExpectedNames, Snapshot};
use entente::time::{Monotonic, Now};

/// What the core was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Opened {
        leg: LegId,
        class: Class,
        outlet: Option<OutletId>,
        peer: Option<String>,
        remote: SocketAddr,
    },
    /// STARTTLS is through: the peer's name if its certificate proves one, and why not.
    Secured {
        leg: LegId,
        peer: Option<String>,
        doubt: Option<String>,
    },
    Doubted {
        leg: LegId,
        doubt: String,
    },
    Line {
        leg: LegId,
        text: String,
    },
    Closed {
        leg: LegId,
        lost: Lost,
        unsent: usize,
    },
    ConnectFailed {
        outlet: OutletId,
        why: ConnectFailure,
    },
    Resolved {
        question: Question,
        ok: bool,
    },
    Mail(String),
    MailRefused {
        shard: u16,
    },
    Adopted {
        epoch: u64,
    },
    Drain(Drain),
}

/// What a test sees of a core, from whatever thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(u16, Event)>>>);

impl Seen {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().iter().map(|(_, event)| event.clone()).collect()
    }

    pub(crate) fn by_shard(&self) -> Vec<(u16, Event)> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.all().iter().filter(|event| wanted(event)).count()
    }

    fn push(&self, shard: u16, event: Event) {
        self.0.lock().unwrap().push((shard, event));
    }
}

/// The core. Each line names an act:
///
/// * `echo TEXT`: TEXT comes back on the same leg;
/// * `check`: "ok" comes back; a leg that says nothing else is probed;
/// * `thrice TEXT`: TEXT comes back three times;
/// * `big N`: a line of N bytes comes back;
/// * `tell LEG N`: a line of N bytes goes to the first leg of that index;
/// * `bye`: "bye" comes back, then the leg is closed;
/// * `tls NAME`: "proceed" comes back, then TLS is to begin; `tls then bye`: and the leg is closed;
/// * `admit`: the peer has proven who it is;
/// * `dial CLASS NAME ADDRESS...`: opens an outgoing leg; what comes on it goes to the asker;
/// * `forward TEXT`: TEXT goes out on the last outgoing leg; "proceed" from there begins TLS;
/// * `ask NAME`, `mail SHARD`, `unmatched SHARD`, `hold`, `release`.
pub(crate) struct Lines {
    shard: u16,
    seen: Seen,
    snapshot: Arc<Snapshot>,
    outgoing: Option<LegId>,
    asker: Option<LegId>,
    next_outlet: u32,
    next_slot: u32,
    pending: usize,
    /// Lines longer than this are past understanding.
    longest: usize,
    /// Mailed requests are answered, or forgotten.
    answers: bool,
    timer: Option<Monotonic>,
    /// Legs that said something else than `check`.
    spoken: BTreeSet<LegId>,
}

impl Lines {
    pub(crate) fn new(shard: u16, seen: Seen, snapshot: Arc<Snapshot>) -> Self {
        Self {
            shard,
            seen,
            snapshot,
            outgoing: None,
            asker: None,
            next_outlet: 0,
            next_slot: 0,
            pending: 0,
            longest: 2_000_000,
            answers: true,
            timer: None,
            spoken: BTreeSet::new(),
        }
    }

    fn told(&self, event: Event) {
        self.seen.push(self.shard, event);
    }

    fn act(&mut self, now: Now, leg: LegId, line: &str, effects: &mut Effects) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb != "check" {
            self.spoken.insert(leg);
        }
        match verb {
            "check" => say(effects, leg, b"ok"),
            "echo" => say(effects, leg, rest.as_bytes()),
            "thrice" => {
                for _ in 0..3 {
                    say(effects, leg, rest.as_bytes());
                }
            }
            "big" => say(effects, leg, &vec![b'x'; rest.parse().unwrap()]),
            "tell" => {
                let (index, bytes) = rest.split_once(' ').unwrap();
                let other = LegId { index: index.parse().unwrap(), generation: 0 };
                say(effects, other, &vec![b't'; bytes.parse().unwrap()]);
            }
            "bye" => {
                say(effects, leg, b"bye");
                effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
            }
            "tls" => {
                say(effects, leg, b"proceed");
                effects.commands.push(begin_tls(leg));
                if rest == "then bye" {
                    let reason = CloseReason::NotPermitted;
                    effects.commands.push(Command::Close { leg, reason });
                }
            }
            "admit" => effects.commands.push(Command::Admitted { leg }),
            "dial" => {
                self.asker = Some(leg);
                effects.commands.push(self.dial(rest));
            }
            "forward" => {
                self.asker = Some(leg);
                if let Some(outgoing) = self.outgoing {
                    say(effects, outgoing, rest.as_bytes());
                }
            }
            "ask" => {
                let domain = Domain::parse(rest.as_bytes()).unwrap();
                effects.commands.push(Command::Ask(Question::Federation(domain)));
            }
            "mail" => self.mail_request(rest.parse().unwrap(), effects),
            "unmatched" => {
                let bytes = bytes::Bytes::from_static(b"cancel");
                let mail = Mail::Unmatched { from_shard: self.shard, leg, key: 1, bytes };
                effects.commands.push(Command::Mail { shard: rest.parse().unwrap(), mail });
            }
            "silent" => self.answers = false,
            "hold" => self.pending += 1,
            "release" => self.pending -= 1,
            "timer" => self.timer = Some(now.monotonic.plus_ms(rest.parse().unwrap())),
            _ => {}
        }
    }

    fn dial(&mut self, text: &str) -> Command {
        let mut words = text.split(' ');
        let class = match words.next().unwrap() {
            "internal" => Class::Internal,
            "xmpp" => Class::Xmpp,
            _ => Class::Federation,
        };
        let server_name = Domain::parse(words.next().unwrap().as_bytes()).unwrap();
        let outlet = OutletId { index: self.next_outlet, generation: 0 };
        self.next_outlet += 1;
        Command::Connect(Connect {
            outlet,
            class,
            expected_names: ExpectedNames::host(server_name.clone()),
            server_name,
            addresses: words.map(|address| address.parse().unwrap()).collect(),
            anchors: None,
        })
    }

    fn mail_request(&mut self, shard: u16, effects: &mut Effects) {
        let origin = SlotRef { shard: self.shard, index: self.next_slot, generation: 0 };
        self.next_slot += 1;
        let domain = Domain::parse(b"fabrikam.example").unwrap();
        let route = MailRoute::Partner { domain, call_id_hash: 1 };
        let bytes = bytes::Bytes::from_static(b"request");
        let mail = Mail::Request { origin, route, bytes };
        effects.commands.push(Command::Mail { shard, mail });
    }
}

fn begin_tls(leg: LegId) -> Command {
    Command::StartTls { leg, name: Domain::parse(b"contoso.example").unwrap() }
}

fn say(effects: &mut Effects, leg: LegId, text: &[u8]) {
    if let Some(staging) = effects.stage(leg, Kind::Response, text.len() + 1) {
        staging.extend_from_slice(text);
        staging.push(b'\n');
    }
}

impl Core for Lines {
    fn leg_opened(&mut self, _now: Now, leg: LegId, opened: Opened, _effects: &mut Effects) {
        if opened.outlet.is_some() {
            self.outgoing = Some(leg);
        }
        let peer = opened.peer.and_then(|peer| peer.dns_names.first().map(ToString::to_string));
        let (class, outlet, remote) = (opened.class, opened.outlet, opened.remote);
        self.told(Event::Opened { leg, class, outlet, peer, remote });
    }

    fn leg_secured(&mut self, _: Now, leg: LegId, secured: Secured, _: &mut Effects) {
        let peer = secured.peer.and_then(|peer| peer.dns_names.first().map(ToString::to_string));
        let doubt = secured.doubt.map(|doubt| doubt.to_string());
        self.told(Event::Secured { leg, peer, doubt });
    }

    fn leg_doubted(&mut self, _: Now, leg: LegId, doubt: Arc<str>, _: &mut Effects) {
        self.told(Event::Doubted { leg, doubt: doubt.to_string() });
    }

    fn feed(&mut self, now: Now, leg: LegId, input: &[u8], effects: &mut Effects) -> Fed {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            if input.len() > self.longest {
                effects.commands.push(Command::Close { leg, reason: CloseReason::FramingLost });
                return Fed::Dead;
            }
            return Fed::NeedMore(input.len() + 1);
        };
        let line = String::from_utf8_lossy(&input[..end]).into_owned();
        if Some(leg) == self.outgoing && line == "proceed" {
            effects.commands.push(begin_tls(leg));
        } else if Some(leg) == self.outgoing {
            if let Some(asker) = self.asker {
                say(effects, asker, &input[..end]);
            }
        } else {
            self.act(now, leg, &line, effects);
        }
        self.told(Event::Line { leg, text: line });
        Fed::Consumed(end + 1)
    }

    fn leg_closed(&mut self, _: Now, leg: LegId, lost: Lost, unsent: usize, _: &mut Effects) {
        if self.outgoing == Some(leg) {
            self.outgoing = None;
        }
        self.told(Event::Closed { leg, lost, unsent });
    }

    fn connect_failed(&mut self, _: Now, outlet: OutletId, why: ConnectFailure, _: &mut Effects) {
        self.told(Event::ConnectFailed { outlet, why });
    }

    fn resolved(&mut self, _: Now, answer: SharedAnswer, _: &mut Effects) {
        let ok = answer.outcome.is_ok();
        self.told(Event::Resolved { question: answer.question.clone(), ok });
    }

    fn mail(&mut self, _: Now, mail: Mail, effects: &mut Effects) {
        match mail {
            Mail::Request { origin, bytes, .. } => {
                self.told(Event::Mail("request".to_owned()));
                if self.answers {
                    let mail = Mail::Final { slot: origin, bytes };
                    effects.commands.push(Command::Mail { shard: origin.shard, mail });
                }
            }
            Mail::Final { slot, .. } => self.told(Event::Mail(format!("final {}", slot.index))),
            Mail::Unmatched { .. } => self.told(Event::Mail("unmatched".to_owned())),
            _ => {}
        }
    }

    fn mail_refused(&mut self, _: Now, shard: u16, _mail: Mail, _: &mut Effects) {
        self.told(Event::MailRefused { shard });
    }

    fn adopt(&mut self, _: Now, snapshot: Arc<Snapshot>, _: &mut Effects) -> Arc<Snapshot> {
        self.told(Event::Adopted { epoch: snapshot.epoch });
        std::mem::replace(&mut self.snapshot, snapshot)
    }

    fn drain(&mut self, _: Now, stage: Drain, _: &mut Effects) {
        self.told(Event::Drain(stage));
    }

    fn expire(&mut self, now: Now, _: &mut Effects) {
        if self.timer.is_some_and(|timer| timer <= now.monotonic) {
            self.timer = None;
            self.told(Event::Mail("timer".to_owned()));
        }
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.timer
    }

    fn pending(&self) -> usize {
        self.pending
    }

    fn only_probed(&self, leg: LegId) -> bool {
        !self.spoken.contains(&leg)
    }
}
