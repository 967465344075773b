//! Presence across a gateway, both sides of each subscription.
//!
//! ```text
//!              partner's server             gateway              next hop
//!  by contact   presence subscribe   ──>      │      SUBSCRIBE   ──>   200, NOTIFY
//!               presence subscribed  <──      │
//!               presence             <──      │      NOTIFY      <──   (an update out)
//!  by user      presence subscribe   <──      │      SUBSCRIBE   <──
//!               presence subscribed  ──>      │      NOTIFY      ──>   200
//!               presence             ──>      │      NOTIFY      ──>   (an update in)
//! ```
//!
//! One update is under way on a subscription at a time: the gateway may skip what is out of date
//! before it is told, and that is no loss.

use super::super::Across;
use super::super::compose::{Stanza, push_stanza, push_subscription};
use super::super::subscriptions::{By, Phase, Purpose, Shown, Subscriptions};
use super::super::units::{Mark, Plan, Way, Work};
use super::super::xml;
use super::{Engine, OPENING_MAX, RETRY_NS};
use crate::net::{ConnId, Net};
use crate::options;
use crate::sip::{self, Message, Name};
use crate::traffic::compose::{Answer, Branch, Dialog, Initial, Sdp};

/// Makes room for the subscriptions that the options ask for.
pub(super) fn subscriptions(
    across: Across,
    options: &options::Xmpp,
    domains: &[String],
) -> Subscriptions {
    if across == Across::Proxy {
        return Subscriptions::default();
    }
    let sides = |share: f64, asked: fn(Way) -> By| -> Vec<By> {
        let ways = [Way::In, Way::Out].into_iter().filter(|way| options.way.has(*way));
        ways.filter(|_| share > 0.0).map(asked).collect()
    };
    // What goes in was asked for by our user; a life goes the way of its question.
    let standing = sides(options.presence(), |way| match way {
        Way::In => By::User,
        Way::Out => By::Contact,
    });
    let lives = sides(options.subscriptions, |way| match way {
        Way::In => By::Contact,
        Way::Out => By::User,
    });
    Subscriptions::new(domains, options.users.max(1), &standing, &lives)
}

impl Engine<'_> {
    /// Returns how many subscriptions stand, of how many.
    pub(super) fn standing(&self) -> (usize, usize) {
        let all = self.subscriptions.standing();
        let stands =
            |at: &usize| self.subscriptions.get(*at).is_some_and(|one| one.phase == Phase::Granted);
        (all.clone().filter(stands).count(), all.len())
    }

    /// Whether all do.
    pub(super) fn all_stand(&self) -> bool {
        let (stand, wanted) = self.standing();
        stand == wanted
    }

    /// Asks for what is to stand and does not.
    pub(super) fn subscribe(&mut self, net: &mut Net, now_ns: u64) {
        let patience_ns = (self.options.common.measured.timeout * 1e9) as u64;
        let mut begun = 0;
        for at in self.subscriptions.standing() {
            let Some(one) = self.subscriptions.get(at) else { return };
            begun += usize::from(one.phase == Phase::Asked);
            let waits = now_ns < one.retry_at_ns || one.phase == Phase::Granted;
            if waits || begun >= OPENING_MAX || !self.reaches(net, at) {
                continue;
            }
            if let Some(one) = self.subscriptions.get_mut(at) {
                one.retry_at_ns = now_ns + patience_ns.max(RETRY_NS);
            }
            begun += usize::from(self.ask(net, at));
        }
    }

    /// Whether both sides of a subscription have a connection with room.
    fn reaches(&self, net: &Net, at: usize) -> bool {
        let partner = self.subscriptions.get(at).map_or(0, |one| one.partner);
        self.open_to(net, partner, Way::In) && self.open_to(net, partner, Way::Out)
    }

    /// Whether a unit may begin on a subscription.
    pub(super) fn is_free(&self, net: &Net, plan: Plan, at: usize) -> bool {
        let Some(one) = self.subscriptions.get(at) else { return false };
        let (by, phase) = match (plan.work, plan.way) {
            (Work::Subscription, Way::In) => (By::Contact, Phase::Idle),
            (Work::Subscription, Way::Out) => (By::User, Phase::Idle),
            (_, Way::In) => (By::User, Phase::Granted),
            (_, Way::Out) => (By::Contact, Phase::Granted),
        };
        let tells = plan.work == Work::Subscription || by == By::User || one.dialog.is_some();
        let rested = plan.work == Work::Presence || self.clock.now_ns() >= one.retry_at_ns;
        let free = one.by == by && one.phase == phase && one.mark.is_none();
        free && tells && rested && self.reaches(net, at)
    }

    /// Begins the life of a subscription. Returns whether its question was sent.
    pub(super) fn live(&mut self, net: &mut Net, at: usize, mark: Mark) -> bool {
        if let Some(one) = self.subscriptions.get_mut(at) {
            one.mark = Some(mark);
        }
        self.ask(net, at)
    }

    fn ask(&mut self, net: &mut Net, at: usize) -> bool {
        let serial = self.serial();
        let Some(one) = self.subscriptions.get_mut(at) else { return false };
        (one.phase, one.dialog, one.asked_on) = (Phase::Asked, None, None);
        one.shown = Shown::No;
        let (by, partner) = (one.by, one.partner);
        if by == By::Contact {
            return self.say(net, at, "subscribe");
        }
        let Some(conn) = self.conn_of(partner, Way::Out) else { return false };
        let sent_by = net.local_address(conn).map(|a| a.to_string()).unwrap_or_default();
        let Some(one) = self.subscriptions.get(at) else { return false };
        let contact = format!("sip:{}", one.contact);
        let initial = Initial {
            method: "SUBSCRIBE",
            uri: &contact,
            sent_by: &sent_by,
            branch: Branch { slot: at as u32, serial },
            from: &self.party,
            to: &contact,
            run: self.run,
        };
        let mut out = Vec::with_capacity(1024);
        initial.push_subscribe(&mut out);
        net.send(conn, &out)
    }

    /// Distinguishes requests of one subscription.
    fn serial(&mut self) -> u32 {
        self.requests = self.requests.wrapping_add(1);
        self.requests
    }

    /// Sends presence about a subscription from the partner's user.
    fn say(&mut self, net: &mut Net, at: usize, kind: &str) -> bool {
        let Some(one) = self.subscriptions.get(at) else { return false };
        let Some(conn) = self.conn_of(one.partner, Way::In) else { return false };
        let mut out = Vec::with_capacity(128);
        push_subscription(kind, (&one.contact, &self.user), &mut out);
        net.send(conn, &out)
    }

    /// Tells presence by a standing subscription. Returns whether it was sent.
    pub(super) fn update(&mut self, net: &mut Net, at: usize, mark: Mark) -> bool {
        let bytes = self.options.bytes;
        let Some(one) = self.subscriptions.get_mut(at) else { return false };
        one.mark = Some(mark);
        if one.by == By::Contact {
            let mut note = Vec::with_capacity(24);
            mark.push(&mut note);
            return self.notify(net, at, (&note, bytes));
        }
        let (partner, from) = (one.partner, format!("{}/desk", one.contact));
        let Some(conn) = self.conn_of(partner, Way::In) else { return false };
        let mut out = Vec::with_capacity(bytes);
        push_stanza(Stanza::Presence, (&from, &self.user), None, mark, bytes, &mut out);
        net.send(conn, &out)
    }

    /// Sends a NOTIFY: of the first one on the connection that the question came on, so that the
    /// gateway has its answer before.
    fn notify(&mut self, net: &mut Net, at: usize, note: (&[u8], usize)) -> bool {
        let serial = self.serial();
        let inside = self.inside.conn.filter(|_| self.inside.ready);
        let Some(one) = self.subscriptions.get_mut(at) else { return false };
        let Some(conn) = one.asked_on.take().or(inside) else { return false };
        let Some(dialog) = &mut one.dialog else { return false };
        let sent_by = net.local_address(conn).map(|a| a.to_string()).unwrap_or_default();
        let branch = Branch { slot: at as u32, serial };
        let mut out = Vec::with_capacity(1024);
        dialog.push_notify(&mut out, &sent_by, branch, &self.party.contact, note);
        net.send(conn, &out)
    }

    /// The other side has said yes.
    fn granted(&mut self, net: &mut Net, at: usize) {
        let Some(one) = self.subscriptions.get_mut(at) else { return };
        one.phase = Phase::Granted;
        let (mark, by) = (one.mark, one.by);
        if one.purpose == Purpose::Stands {
            return;
        }
        if let Some(unit) = mark.and_then(|mark| self.units.get(mark)).copied() {
            self.time(&unit);
        }
        let goes_on = match by {
            By::Contact => {
                if let Some(one) = self.subscriptions.get_mut(at) {
                    one.phase = Phase::Ending;
                }
                self.say(net, at, "unsubscribe")
            }
            By::User => self.refresh(net, at),
        };
        if let (false, Some(mark)) = (goes_on, mark) {
            self.finish(mark, Err("the connection was lost".into()));
        }
    }

    /// Our user goes on to watch; when that is granted, the contact takes his word back.
    fn refresh(&mut self, net: &mut Net, at: usize) -> bool {
        let serial = self.serial();
        let Some(one) = self.subscriptions.get_mut(at) else { return false };
        let Some(conn) = self.inside.conn.filter(|_| self.inside.ready) else { return false };
        let Some(dialog) = &mut one.dialog else { return false };
        let sent_by = net.local_address(conn).map(|a| a.to_string()).unwrap_or_default();
        let branch = Branch { slot: at as u32, serial };
        let mut out = Vec::with_capacity(1024);
        dialog.push_refresh(&mut out, &sent_by, branch, &self.party.contact);
        net.send(conn, &out)
    }

    /// A unit has ended: its subscription is free again, after a rest if it ended badly.
    pub(super) fn released(&mut self, at: usize, mark: Mark, well: bool) {
        let rest_ns = self.clock.now_ns() + RETRY_NS;
        let Some(one) = self.subscriptions.get_mut(at) else { return };
        if one.mark == Some(mark) {
            one.mark = None;
            if one.purpose == Purpose::Lives {
                (one.phase, one.dialog) = (Phase::Idle, None);
                one.retry_at_ns = if well { 0 } else { rest_ns };
            }
        }
    }

    /// A subscription is no more, or was not granted.
    fn fell(&mut self, at: usize, why: &str) {
        let rest_ns = self.clock.now_ns() + RETRY_NS;
        let Some(one) = self.subscriptions.get_mut(at) else { return };
        (one.phase, one.dialog, one.retry_at_ns) = (Phase::Idle, None, rest_ns);
        match one.mark {
            Some(mark) => self.finish(mark, Err(why.to_owned())),
            None => self.last_failure = why.to_owned(),
        }
    }

    /// Presence came out at a partner's server.
    pub(super) fn presence_arrived(&mut self, net: &mut Net, element: &[u8]) {
        let kind = xml::attribute(element, "type");
        let contact = xml::attribute(element, "to").unwrap_or_default();
        let find = |by| self.subscriptions.find(by, contact);
        let found = match kind {
            Some(b"subscribe") => find(By::User),
            _ => find(By::Contact),
        };
        let held = found.and_then(|at| Some((at, self.subscriptions.get(at)?.phase)));
        match (kind, held) {
            (Some(b"subscribe"), Some((at, _))) => {
                self.say(net, at, "subscribed");
            }
            (Some(b"subscribed"), Some((at, Phase::Asked))) => self.granted(net, at),
            (Some(b"unsubscribed"), Some((at, Phase::Ending))) => self.ended_well(at),
            (Some(b"unsubscribed"), Some((at, Phase::Asked | Phase::Granted))) => {
                self.fell(at, "the gateway has ended it");
            }
            (Some(b"error"), Some((at, Phase::Asked))) => self.fell(at, "the question bounced"),
            (None | Some(b"error"), _) => self.arrived(element),
            _ => {}
        }
    }

    fn ended_well(&mut self, at: usize) {
        if let Some(mark) = self.subscriptions.get(at).and_then(|one| one.mark) {
            self.finish(mark, Ok(()));
        }
    }

    /// A SUBSCRIBE of the gateway, for one of the partner's users: granted at once.
    pub(super) fn subscribed(&mut self, net: &mut Net, conn: ConnId, request: &Message<'_>) {
        let mut tag = Vec::new();
        sip::push_hex(&mut tag, u64::from(self.serial()), 10);
        let ends = request.first(Name::Expires) == Some(b"0");
        let contact = self.party.contact.clone();
        let mut answer = Answer {
            status: "200 OK",
            tag: &tag,
            contact: Some(&contact),
            fields: if ends { "Expires: 0\r\n" } else { "Expires: 3600\r\n" },
            sdp: Sdp::Without,
        };
        let from = request.first(Name::From).map(sip::uri).unwrap_or_default();
        let found = self.subscriptions.find(By::Contact, from);
        let fresh = request.first(Name::To).and_then(sip::tag).is_none();
        let held = found.and_then(|at| self.subscriptions.get_mut(at));
        let known = held.filter(|one| fresh || one.dialog.is_some());
        if let Some(one) = known {
            if fresh {
                one.dialog = Dialog::of_callee(request, &tag);
            }
            one.asked_on = Some(conn);
        } else {
            answer.status = "404 Not Found";
        }
        let mut out = Vec::with_capacity(1024);
        answer.push(&mut out, request);
        net.send(conn, &out);
        if let Some(at) = found {
            if ends {
                self.last_notify(net, conn, at);
            } else {
                self.notify(net, at, (b"here", self.options.bytes));
            }
        }
    }

    fn last_notify(&mut self, net: &mut Net, conn: ConnId, at: usize) {
        let serial = self.serial();
        let Some(one) = self.subscriptions.get_mut(at) else { return };
        let Some(mut dialog) = one.dialog.take() else { return };
        let sent_by = net.local_address(conn).map(|a| a.to_string()).unwrap_or_default();
        let branch = Branch { slot: at as u32, serial };
        let mut out = Vec::with_capacity(1024);
        dialog.push_last_notify(&mut out, &sent_by, branch, &self.party.contact);
        net.send(conn, &out);
    }

    /// A NOTIFY of the gateway about one of the partner's users; it was answered.
    pub(super) fn notified(&mut self, net: &mut Net, request: &Message<'_>) {
        let from = request.first(Name::From).map(sip::uri).unwrap_or_default();
        let Some(at) = self.subscriptions.find(By::User, from) else { return };
        let Some(one) = self.subscriptions.get(at) else { return };
        let state = request.first(Name::SubscriptionState).unwrap_or_default();
        if state.starts_with(b"terminated") {
            return match one.phase {
                Phase::Ending => self.ended_well(at),
                Phase::Asked | Phase::Granted => self.fell(at, "the gateway has ended it"),
                Phase::Idle => {}
            };
        }
        if state.starts_with(b"active") {
            if one.phase == Phase::Asked {
                // It may overtake the answer to SUBSCRIBE, on another connection.
                match one.dialog {
                    Some(_) => self.granted(net, at),
                    None => self.shown(at),
                }
            }
            if Mark::find(request.bytes()) == self.subscriptions.get(at).and_then(|one| one.mark) {
                self.arrived(request.bytes());
            }
        }
    }

    fn shown(&mut self, at: usize) {
        if let Some(one) = self.subscriptions.get_mut(at) {
            one.shown = Shown::Yes;
        }
    }

    /// A request of a subscription was answered.
    pub(super) fn subscription_answered(
        &mut self,
        net: &mut Net,
        (method, branch): (&[u8], Branch),
        status: u16,
        response: &Message<'_>,
    ) {
        let at = branch.slot as usize;
        let Some(one) = self.subscriptions.get_mut(at) else { return };
        let refused = status >= 300;
        match (method, one.by) {
            (b"SUBSCRIBE", By::User) if refused => self.fell(at, &format!("SUBSCRIBE: {status}")),
            (b"SUBSCRIBE", By::User) if one.phase == Phase::Asked => {
                one.dialog = Dialog::of_caller(response);
                if one.shown == Shown::Yes {
                    self.granted(net, at);
                }
            }
            (b"SUBSCRIBE", By::User) if one.purpose == Purpose::Lives => {
                one.phase = Phase::Ending;
                self.say(net, at, "unsubscribed");
            }
            (b"NOTIFY", By::Contact) if refused && one.purpose == Purpose::Stands => {
                self.fell(at, &format!("NOTIFY: {status}"));
            }
            _ => {}
        }
    }
}
