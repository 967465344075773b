//! What goes wrong on purpose.

use std::sync::Arc;

use super::inside::{PARTNERS, Who, snapshot};
use super::partner::{Certificate, Keys, Opened};
use super::users::message;
use super::wires::End;
use super::{Event, WORKLOAD_MS, World};

impl World {
    /// Whether a partner may not hear of what came of its messages.
    pub(super) fn is_troubled(&self, at: usize) -> bool {
        let partner = &self.partners[at];
        partner.mute_until_ms > self.agenda.now_ms
            || partner.lost_until_ms > self.agenda.now_ms
            || partner.certificate != Certificate::Own
            || partner.keys != Keys::Right
    }

    /// Something breaks.
    pub(super) fn fault(&mut self) {
        if self.agenda.now_ms > WORKLOAD_MS {
            return self.heal();
        }
        let delay = 50 + self.chance.below(500);
        self.agenda.after(delay, Event::Fault);
        let at = self.any_partner();
        match self.chance.below(26) {
            0..4 => self.cut_something(),
            4..6 => self.stall_something(),
            6..8 => self.falls_silent(at),
            8..10 => self.is_not_found(at),
            10..12 => self.changes_certificate(at),
            12..14 => self.changes_keys(at),
            14..16 => self.restarts_streams(at),
            16..18 => self.opens_more(at),
            18 => self.floods(at),
            19..21 => self.forges_on_its_own(at),
            21 | 22 => self.reload(),
            23 | 24 => self.gateway_ails(),
            _ => self.proxy_dies(),
        }
    }

    /// Everything is well again.
    fn heal(&mut self) {
        self.note("everything is well again");
        for at in 0..self.partners.len() {
            let partner = &mut self.partners[at];
            (partner.mute_until_ms, partner.lost_until_ms) = (0, 0);
            (partner.certificate, partner.keys) = (Certificate::Own, Keys::Right);
            self.talk(at);
        }
    }

    fn cut_something(&mut self) {
        let open: Vec<(usize, [End; 2])> = self.open_connections().into_iter().collect();
        if open.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.chance.below(open.len() as u64)).expect("small");
        let (connection, ends) = open[chosen];
        self.note(&format!("connection {connection} is cut: {ends:?}"));
        self.cut(connection);
    }

    fn stall_something(&mut self) {
        let open: Vec<usize> = self.open_connections().into_keys().collect();
        if open.is_empty() {
            return;
        }
        let chosen = open[usize::try_from(self.chance.below(open.len() as u64)).expect("small")];
        let side = usize::try_from(self.chance.below(2)).expect("small");
        let until = self.agenda.now_ms + 100 + self.chance.below(5_000);
        self.note(&format!("side {side} of connection {chosen} stalls until {until}"));
        self.connections[chosen].stalled_until_ms[side] = until;
    }

    /// What is not decided of a partner's messages may never be told it.
    fn trouble(&mut self, at: usize, what: &str) {
        self.note(&format!("{} {what}", PARTNERS[at].0));
        self.oracle.excuse_in(|partner| partner == at);
    }

    fn falls_silent(&mut self, at: usize) {
        self.trouble(at, "falls silent");
        // Now and then until long after it was given up.
        let for_ms = if self.chance.percent(10) { 90_000 } else { self.chance.below(8_000) };
        self.partners[at].mute_until_ms = self.agenda.now_ms + for_ms;
    }

    fn is_not_found(&mut self, at: usize) {
        self.trouble(at, "is not found");
        self.partners[at].lost_until_ms = self.agenda.now_ms + self.chance.below(6_000);
    }

    fn changes_certificate(&mut self, at: usize) {
        let certificate = match (self.partners[at].certificate, self.chance.percent(50)) {
            (Certificate::Own, true) => Certificate::SomebodyElses,
            (Certificate::Own, false) => Certificate::Untrusted,
            _ => Certificate::Own,
        };
        self.trouble(at, &format!("shows its certificate: {certificate:?}"));
        self.partners[at].certificate = certificate;
    }

    fn changes_keys(&mut self, at: usize) {
        let keys = if self.partners[at].keys == Keys::Right { Keys::Wrong } else { Keys::Right };
        self.trouble(at, &format!("sends keys: {keys:?}"));
        self.partners[at].keys = keys;
    }

    fn restarts_streams(&mut self, at: usize) {
        self.note(&format!("{} ends its streams", PARTNERS[at].0));
        for connection in self.partners[at].ready() {
            if let Some(stream) = self.partners[at].streams.get_mut(&connection) {
                stream.ready = false;
            }
            self.partner_writes(at, connection, "</stream:stream>");
        }
    }

    fn opens_more(&mut self, at: usize) {
        let count = 1 + self.chance.below(6);
        self.note(&format!("{} opens {count} more streams", PARTNERS[at].0));
        for _ in 0..count {
            self.partner_connects(at, Opened::ToTalk);
        }
    }

    fn floods(&mut self, at: usize) {
        let domain = PARTNERS[at].0;
        self.note(&format!("{domain} floods"));
        for number in 0..60 {
            let kind = ["subscribe", "probe", "unsubscribe"][number % 3];
            let user = self.chance.below(20);
            let presence = format!(
                "<presence from='u{user}@{domain}' to='kim@contoso.example' type='{kind}'/>"
            );
            self.contact_says(at, presence);
            if number % 4 == 0 {
                let id = self.oracle.sends_in(at);
                self.contact_says(at, message(domain, id));
            }
        }
        if self.is_troubled(at) {
            self.oracle.excuse_in(|partner| partner == at);
        }
    }

    /// A partner speaks for another, on a stream that is its own.
    fn forges_on_its_own(&mut self, at: usize) {
        let Some(connection) = self.partners[at].ready().first().copied() else { return };
        let id = self.oracle.forges();
        let other = PARTNERS[(at + 1) % PARTNERS.len()].0;
        self.note(&format!("{} speaks for {other}: {id}", PARTNERS[at].0));
        if let Some(stream) = self.partners[at].streams.get_mut(&connection) {
            stream.ready = false;
        }
        self.partner_writes(at, connection, &message(other, id));
    }

    fn reload(&mut self) {
        self.note("everybody reloads");
        self.inside.epoch += 1;
        let now = self.agenda.now();
        for who in Who::ALL {
            let snapshot = Arc::clone(&snapshot(self.inside.epoch));
            self.inside.tell(who, |core, effects| {
                core.adopt(now, snapshot, effects);
            });
            self.collect(who);
        }
    }

    /// The pool is slow to read from the gateway, which dies soon: words of contacts are with it,
    /// or on their way from it.
    fn gateway_ails(&mut self) {
        let dies_in_ms = 20 + self.chance.below(600);
        let now_ms = self.agenda.now_ms;
        for held in self.connections.iter_mut().filter(|held| held.open) {
            let gateways = held.ends.iter().any(|end| matches!(end, End::Core(Who::Gateway, _)));
            let Some(pool) = held.ends.iter().position(|end| *end == End::Pool) else { continue };
            if gateways {
                held.stalled_until_ms[pool] = now_ms + self.chance.below(2 * dies_in_ms);
            }
        }
        self.agenda.after(dies_in_ms, Event::GatewayDies);
    }

    /// The gateway's process dies, with links and connections and what is under way on them. That
    /// excuses nothing: the proxy has what the gateway was not done with.
    pub(super) fn gateway_dies(&mut self) {
        self.note("the gateway dies");
        self.oracle.gateway_dies();
        let legs = std::mem::take(&mut self.inside.process(Who::Gateway).legs);
        self.inside.restart_gateway();
        for (connection, _) in legs.into_values() {
            self.sever(connection);
        }
    }

    /// The proxy's process dies with what it knows. What had come in and was not passed on is lost
    /// with it; what goes out is with the gateway until it is reported.
    fn proxy_dies(&mut self) {
        self.note("the proxy dies");
        self.oracle.excuse_in(|_| true);
        let legs = std::mem::take(&mut self.inside.process(Who::Proxy).legs);
        self.inside.restart_proxy();
        for (connection, _) in legs.into_values() {
            self.cut(connection);
        }
    }
}
