//! What a discovered partner may do in a time, and a listed one too where the rules say so
//! (lync-federation 5.3).

use super::world::{World, header, headers, request, request_with, respond, rules, status};
use crate::dns::Question;
use crate::edge::{Core as _, Drain, LegId, Severity};
use crate::policy::scores::Holder;
use crate::policy::{Limits, PartnerKind, Rules, Throttles};

const KIM: &str = "kim@contoso.example";
const SUE: &str = "sue@contoso.example";
const JOHN: &str = "john@tailspin.example";

fn discovering() -> Rules {
    let mut rules = rules();
    rules.federation.discovery = true;
    // Where the lab's edges are, which nobody could connect to otherwise.
    rules.addresses.allow_networks = vec!["192.0.2.0/24".parse().unwrap()];
    rules
}

/// A world that discovers tailspin.example, whose edge has connected and is known.
struct Discovered {
    world: World,
    partner: LegId,
    pool: LegId,
    sent: usize,
}

impl Discovered {
    fn new(limits: Limits) -> Self {
        let mut world = World::with(discovering());
        let throttles = Throttles { discovered: limits, ..Throttles::default() };
        world.limit(discovering(), throttles, 2);
        let partner = world.partner("sip.tailspin.example");
        world.send(partner, &request("MESSAGE", JOHN, KIM, "warm"));
        world.resolve("sip.tailspin.example");
        let pool = world.grant();
        let forwarded = world.read(pool);
        world.send(pool, respond(&forwarded, 486).as_bytes());
        world.read(partner);
        world.pass(2_000);
        Self { world, partner, pool, sent: 0 }
    }

    fn message(&mut self, to: &str) -> String {
        self.message_on(self.partner, JOHN, to)
    }

    /// Sends a MESSAGE and returns its Call-ID.
    fn message_on(&mut self, leg: LegId, from: &str, to: &str) -> String {
        self.sent += 1;
        let id = format!("m{}", self.sent);
        self.world.send(leg, &request("MESSAGE", from, to, &id));
        self.resolve();
        id
    }

    /// Answers what is asked of DNS: the edge of a domain is the host `sip` in it.
    fn resolve(&mut self) {
        while let Some(Question::Federation(domain)) = self.world.questions.first() {
            let host = format!("sip.{domain}");
            self.world.resolve(&host);
        }
    }

    /// Answers whatever reached the pool; returns the Call-IDs in their order.
    fn answer(&mut self, with: u16) -> Vec<String> {
        let forwarded = self.world.read(self.pool);
        // After silence the edge's own ping may stand in front.
        let forwarded = forwarded.trim_start_matches("\r\n");
        let messages = forwarded.split("\r\n\r\nhi").filter(|message| !message.is_empty());
        let messages: Vec<String> = messages.map(|m| format!("{m}\r\n\r\nhi")).collect();
        for message in &messages {
            self.world.send(self.pool, respond(message, with).as_bytes());
        }
        messages.iter().map(|m| header(m, "Call-ID").unwrap_or_default().to_owned()).collect()
    }

    /// Sends to `to`, lets the pool answer, and returns what the partner is told.
    fn told(&mut self, to: &str, with: u16) -> u16 {
        self.message(to);
        self.answer(with);
        let answer = self.world.read(self.partner);
        status(&answer)
    }
}

fn strict() -> Limits {
    Limits { hold_ms: 0, ..Limits::default() }
}

#[test]
fn s5_3_of_a_thousand_and_one_users_only_the_last_is_blocked() {
    let mut tailspin = Discovered::new(strict());
    // One is addressed already.
    for number in 0..999 {
        tailspin.world.pass(100);
        assert_eq!(tailspin.told(&format!("user{number}@contoso.example"), 200), 200, "{number}");
    }
    tailspin.message("one.more@contoso.example");
    let refused = tailspin.world.read(tailspin.partner);
    assert_eq!(status(&refused), 480, "{refused}");
    let retry_after: u64 = header(&refused, "Retry-After").unwrap().parse().unwrap();
    assert_eq!(retry_after, 3_600);
    assert!(header(&refused, "ms-diagnostics-public").unwrap().starts_with("1007;"));
    assert_eq!(tailspin.answer(200), Vec::<String>::new());
    assert_eq!(tailspin.told("user7@contoso.example", 200), 200);
    assert_eq!(tailspin.told("USER7@Contoso.example", 200), 200, "the same user in another case");
    assert_eq!(tailspin.told(KIM, 200), 200);
    assert_eq!(tailspin.world.access.counters().users_blocked, 1);
}

#[test]
fn s5_3_users_are_counted_over_connections_and_nobody_spends_them_for_others() {
    let mut tailspin = Discovered::new(Limits { users: 2, ..strict() });
    assert_eq!(tailspin.told("a@contoso.example", 200), 200);
    // A peer that may not speak for the domain spends none of its users.
    let forger = tailspin.world.partner("sip2.tailspin.example");
    tailspin.message_on(forger, JOHN, "b@contoso.example");
    assert_eq!(status(&tailspin.world.read(forger)), 403);
    assert_eq!(tailspin.told("a@contoso.example", 200), 200);
    assert_eq!(tailspin.told("b@contoso.example", 200), 480);
    // Another connection with the same certificate is the same partner.
    let other = tailspin.world.partner("sip.tailspin.example");
    tailspin.message_on(other, JOHN, "b@contoso.example");
    assert_eq!(status(&tailspin.world.read(other)), 480);
}

#[test]
fn s5_3_a_request_in_a_dialog_addresses_nobody_new() {
    let mut tailspin = Discovered::new(Limits { users: 1, ..strict() });
    let invite = request_with("INVITE", SUE, JOHN, "d1", "Contact: <sip:sue@10.0.0.9>\r\n");
    let inside = tailspin.world.pool();
    tailspin.world.send(inside, &invite);
    let partner = tailspin.world.grant();
    let invited = tailspin.world.read(partner);
    let routes: Vec<String> =
        headers(&invited, "Record-Route").iter().map(|r| format!("Route: {r}\r\n")).collect();
    assert_eq!(routes.len(), 2);
    // An own user has called; the partner's BYE goes to somebody it never addressed.
    let bye = format!(
        "BYE sip:sue@contoso.example SIP/2.0\r\nVia: SIP/2.0/TLS 198.51.100.7;branch=z9hG4bKb\r\n\
         {}Max-Forwards: 70\r\nFrom: <sip:{JOHN}>;tag=t\r\nTo: <sip:{SUE}>;tag=fd1\r\n\
         Call-ID: d1\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
        routes.concat()
    );
    tailspin.world.send(tailspin.partner, bye.as_bytes());
    assert!(tailspin.world.read(tailspin.pool).starts_with("BYE "));
    assert_eq!(tailspin.told(SUE, 200), 480, "outside of it she is one too many");
}

/// Symptom: calls of a busy partner ended after 32 s. Cause: their ACKs were beyond its rate, and
/// what refuses an ACK is silent. Scenario: the partner's rate is used up when its call is
/// answered.
#[test]
fn s5_3_an_ack_of_a_call_that_stands_pays_and_is_not_refused() {
    let mut tailspin = Discovered::new(Limits { messages_per_s: 2, ..strict() });
    let contact = "Contact: <sip:john@198.51.100.7>\r\n";
    tailspin.world.send(tailspin.partner, &request_with("INVITE", JOHN, KIM, "c1", contact));
    let invited = tailspin.world.read(tailspin.pool);
    tailspin.world.send(tailspin.pool, respond(&invited, 200).as_bytes());
    tailspin.world.read(tailspin.partner);
    assert_eq!(tailspin.told(KIM, 200), 200);
    assert_eq!(tailspin.told(KIM, 200), 480, "the rate is used up");
    let routes: Vec<String> =
        headers(&invited, "Record-Route").iter().rev().map(|r| format!("Route: {r}\r\n")).collect();
    let in_dialog = |method: &str| {
        format!(
            "{method} sip:kim@10.0.0.5 SIP/2.0\r\n\
             Via: SIP/2.0/TLS 198.51.100.7;branch=z9hG4bKa{method}\r\n\
             {}Max-Forwards: 70\r\nFrom: <sip:{JOHN}>;tag=fc1\r\nTo: <sip:{KIM}>;tag=t\r\n\
             Call-ID: c1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n",
            routes.concat()
        )
    };
    tailspin.world.send(tailspin.partner, in_dialog("ACK").as_bytes());
    let ack = tailspin.world.read(tailspin.pool);
    assert!(ack.starts_with("ACK sip:kim@10.0.0.5"), "{ack}");
    tailspin.world.send(tailspin.partner, in_dialog("BYE").as_bytes());
    assert_eq!(status(&tailspin.world.read(tailspin.partner)), 480, "nothing else is spared");
    // One of no dialog is a message like any other, and its end is told.
    let stray = request("ACK", JOHN, KIM, "stray");
    tailspin.world.send(tailspin.partner, &stray);
    assert_eq!(tailspin.world.read(tailspin.pool), "");
    assert_eq!(tailspin.world.access.counters().acks_dropped, 1);
    let told = &tailspin.world.notes.last().expect("the log is told").sentence;
    assert!(told.starts_with("ACK dropped: the partner sends more messages"), "{told}");
}

#[test]
fn s5_3_what_comes_too_fast_is_held_and_leaves_in_its_order() {
    let mut tailspin = Discovered::new(Limits { hold_ms: 500, ..Limits::default() });
    let sent: Vec<String> = (0..35).map(|_| tailspin.message(KIM)).collect();
    assert_eq!(tailspin.answer(200), sent[..20]);
    let answers = tailspin.world.read(tailspin.partner);
    // 20 at once, 10 more within half a second, and 5 that would have to wait longer.
    assert_eq!(answers.matches("SIP/2.0 480 ").count(), 5, "{answers}");
    assert!(answers.contains("Retry-After: 1\r\n"));
    assert_eq!(tailspin.world.access.counters().held, 10);
    tailspin.world.pass(49);
    assert_eq!(tailspin.answer(200), Vec::<String>::new());
    tailspin.world.pass(1);
    assert_eq!(tailspin.answer(200), sent[20..21]);
    tailspin.world.pass(450);
    assert_eq!(tailspin.answer(200), sent[21..30]);
    assert_eq!(tailspin.world.access.held.len(), 0);
}

#[test]
fn s5_3_one_rate_over_all_connections_and_others_are_unharmed() {
    let mut tailspin = Discovered::new(strict());
    let other = tailspin.world.partner("sip.tailspin.example");
    for number in 0..60 {
        let leg = if number % 2 == 0 { tailspin.partner } else { other };
        tailspin.message_on(leg, JOHN, KIM);
    }
    assert_eq!(tailspin.answer(200).len(), 20);
    let listed = tailspin.world.partner("sip.fabrikam.example");
    let fabrikam = "john@fabrikam.example";
    tailspin.message_on(listed, fabrikam, KIM);
    for _ in 0..200 {
        tailspin.message_on(listed, fabrikam, KIM);
    }
    assert_eq!(tailspin.answer(200).len(), 201, "a listed partner has no limits");
}

#[test]
fn s5_3_guessing_makes_suspicious_and_time_heals() {
    let mut tailspin = Discovered::new(strict());
    for number in 0..20 {
        tailspin.told(&format!("guess{number}@contoso.example"), 404);
    }
    tailspin.world.pass(10_000);
    assert_eq!(tailspin.told(KIM, 200), 200);
    assert_eq!(tailspin.told(KIM, 200), 480, "one a second");
    tailspin.world.pass(1_000);
    assert_eq!(tailspin.told(KIM, 200), 200);
    assert_eq!(tailspin.world.access.counters().suspicions, 1);
    let warned = tailspin.world.notes.iter().find(|note| note.severity == Severity::Warn);
    let sentence = &warned.expect("somebody is told").sentence;
    assert!(sentence.starts_with("tailspin.example is suspicious: 50 %"), "{sentence}");
    let scores = tailspin.world.access.scores.scores(tailspin.world.now);
    assert_eq!(scores[0].holder, Holder::Domain("tailspin.example".to_owned()));
    assert!(scores[0].suspicious && scores[0].failures == 20, "{:?}", scores[0]);
    // A half-life halves what is counted to fewer than say anything.
    tailspin.world.pass(300_000);
    let pings = tailspin.world.read(tailspin.pool);
    assert_eq!(pings.trim(), "", "what was silent for so long is pinged");
    let sent: Vec<u16> = (0..5).map(|_| tailspin.told(KIM, 200)).collect();
    assert_eq!(sent, [200; 5]);
}

/// Symptom: a partner's rate stayed used up by messages that it was told had been refused. Cause: a
/// message without room to be held kept the place it had paid for. Scenario: many large messages.
#[test]
fn s5_3_what_cannot_be_held_does_not_pay() {
    let mut tailspin = Discovered::new(Limits { messages_per_s: 1, ..Limits::default() });
    assert_eq!(tailspin.told(KIM, 200), 200);
    let body = "x".repeat(crate::limits::HELD_BYTES_PER_LEG_MAX);
    let text = String::from_utf8(request("MESSAGE", JOHN, KIM, "large")).unwrap();
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let large = text.replace("Content-Length: 2\r\n\r\nhi", &length);
    tailspin.world.send(tailspin.partner, large.as_bytes());
    assert_eq!(status(&tailspin.world.read(tailspin.partner)), 480);
    tailspin.world.pass(1_000);
    assert_eq!(tailspin.told(KIM, 200), 200, "the second is its own again");
}

/// Symptom: a held message paid twice, and was held twice. Cause: what had to wait for DNS after it
/// was held counted as new. Scenario: the answer about its sender runs out while it is held.
#[test]
fn s5_3_a_held_message_that_must_wait_for_dns_has_paid() {
    let mut tailspin = Discovered::new(Limits { messages_per_s: 1, ..Limits::default() });
    // The answer that the sender's domain rests on ends in a second.
    tailspin.world.pass(57_500);
    tailspin.world.read(tailspin.pool);
    assert_eq!(tailspin.told(KIM, 200), 200);
    tailspin.world.send(tailspin.partner, &request("MESSAGE", JOHN, KIM, "held"));
    tailspin.world.send(tailspin.partner, &request("MESSAGE", JOHN, KIM, "next"));
    assert_eq!(tailspin.world.access.held.len(), 2);
    tailspin.world.pass(1_000);
    assert_eq!(tailspin.world.questions.len(), 1, "it waits for DNS");
    tailspin.resolve();
    assert_eq!(tailspin.answer(200), ["held"]);
    tailspin.world.pass(1_000);
    assert_eq!(tailspin.answer(200), ["next"]);
    assert_eq!(tailspin.world.access.counters().held, 2, "each was held once");
}

#[test]
fn a_held_invite_can_be_cancelled_and_a_lost_leg_takes_its_own_along() {
    let mut tailspin = Discovered::new(Limits { messages_per_s: 1, ..Limits::default() });
    tailspin.message(KIM);
    tailspin.answer(200);
    tailspin.world.read(tailspin.partner);
    tailspin.world.send(tailspin.partner, &request("INVITE", JOHN, KIM, "c1"));
    let cancel = String::from_utf8(request("CANCEL", JOHN, KIM, "c1")).unwrap();
    let cancel = cancel.replace("z9hG4bKc1CANCEL", "z9hG4bKc1INVITE");
    tailspin.world.send(tailspin.partner, cancel.as_bytes());
    let answers = tailspin.world.read(tailspin.partner);
    assert!(answers.contains("SIP/2.0 200 OK") && answers.contains("SIP/2.0 487 "), "{answers}");
    tailspin.message(KIM);
    assert_eq!(tailspin.world.access.held.len(), 1);
    let partner = tailspin.partner;
    tailspin.world.lose(partner, 0);
    tailspin.world.pass(10_000);
    assert_eq!(tailspin.answer(200), Vec::<String>::new());
    assert_eq!(tailspin.world.access.held.len(), 0);
}

#[test]
fn a_closing_drain_waits_for_what_is_held() {
    let mut tailspin = Discovered::new(Limits { messages_per_s: 1, ..Limits::default() });
    assert_eq!(tailspin.told(KIM, 200), 200);
    tailspin.message(KIM);
    assert_eq!(tailspin.world.access.held.len(), 1);
    let now = tailspin.world.now;
    tailspin.world.access.drain(now, Drain::Closing, &mut tailspin.world.effects);
    tailspin.world.pass(500);
    assert!(!tailspin.world.closed.contains(&tailspin.partner));
    tailspin.world.pass(500);
    assert_eq!(tailspin.answer(200).len(), 1);
    assert_eq!(status(&tailspin.world.read(tailspin.partner)), 200);
}

#[test]
fn a_listed_partner_may_be_given_limits_of_its_own() {
    let mut world = World::new();
    let (partner, pool) = world.fabrikam();
    let throttles =
        Throttles { kinds: vec![(PartnerKind::AllowedDomain, strict())], ..Throttles::default() };
    let mut rules = rules();
    rules.partners[0].limits.messages_per_s = Some(3);
    world.limit(rules, throttles, 2);
    for number in 0..10 {
        let id = format!("m{number}");
        world.send(partner, &request("MESSAGE", "john@fabrikam.example", KIM, &id));
    }
    assert_eq!(world.read(pool).matches("MESSAGE sip:").count(), 3);
}
