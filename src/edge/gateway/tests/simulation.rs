//! A seeded world in which everything comes and goes, judged by what must hold whatever happens.

use std::collections::BTreeMap;

use super::world::*;
use crate::edge::Core;
use crate::edge::gateway::Setup;
use crate::xmpp::StanzaError;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What was asked, and how often it was answered for good.
#[derive(Default)]
struct Book {
    asked: BTreeMap<String, u32>,
    answered: BTreeMap<String, u32>,
    written: u32,
}

impl Book {
    /// Looks at what servers inside were sent; each request is answered by the dice.
    fn read(&mut self, world: &mut World, dice: &mut Dice) {
        for said in std::mem::take(&mut world.said) {
            if let Some(status) = said.text.strip_prefix("SIP/2.0 ") {
                if !status.starts_with('1') {
                    *self.answered.entry(header(&said.text, "Call-ID")).or_default() += 1;
                }
                continue;
            }
            if said.text.starts_with("ACK") {
                continue;
            }
            let status = match dice.roll(12) {
                0 => continue,
                1 => "480 Not Here",
                2 => "481 Nothing Known",
                3 => "503 Busy",
                4 => "403 No",
                _ => "200 OK",
            };
            let lines = "Contact: <sip:fe1>\r\nExpires: 120\r\n";
            world.answer(&said, status, lines, "v=0\r\nm=message 5060 sip null\r\n");
        }
    }

    fn ask(&mut self, world: &mut World, dice: &mut Dice) {
        self.written += 1;
        let call = format!("sim{}", self.written);
        let to = format!("<sip:u{}@fabrikam.example>", dice.roll(6));
        let from = ["sip:kim@simple.example", "sip:kim@contoso.example"][dice.roll(2) as usize];
        let lines = "Event: presence\r\nContact: <sip:fe1>\r\nExpires: 300\r\n";
        let text = match dice.roll(3) {
            0 => request("MESSAGE", from, &to, "Content-Type: text/plain\r\n", "Hello"),
            1 => request("SUBSCRIBE", from, &to, lines, ""),
            _ => {
                let lines = "Contact: <sip:fe1>\r\nContent-Type: application/sdp\r\n";
                request("INVITE", from, &to, lines, "v=0\r\nm=message 5060 sip null\r\n")
            }
        };
        *self.asked.entry(call.clone()).or_default() += 1;
        world.sip(&text.replace("call1", &call));
    }
}

fn contact_says(world: &mut World, dice: &mut Dice) {
    if world.edges.first().is_none_or(|edge| !edge.end.is_up()) {
        return;
    }
    let from = format!("u{}@fabrikam.example", dice.roll(6));
    let to = ["kim@simple.example", "kim@contoso.example"][dice.roll(2) as usize];
    let kinds = ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "unavailable"];
    let text = match dice.roll(9) {
        kind @ 0..6 => {
            format!("<presence from='{from}' to='{to}' type='{}'/>", kinds[kind as usize])
        }
        6 => format!("<presence from='{from}/x' to='{to}'><show>away</show></presence>"),
        7 => chat(&(from + "/x"), to, "s", "<gone xmlns='http://jabber.org/protocol/chatstates'/>"),
        _ => chat(&(from + "/x"), to, "m", "<body>Hi</body>"),
    };
    world.stanza(&text);
}

fn disturb(world: &mut World, dice: &mut Dice) {
    match dice.roll(5) {
        0 if !world.edges.is_empty() => {
            let at = dice.roll(world.edges.len() as u64) as usize;
            let leg = world.edges[at].leg;
            world.lose(leg);
        }
        1 => {
            if let Some(leg) = world.own_sip_leg() {
                world.lose(leg);
            }
        }
        2 => world.connected = !world.connected,
        3 if !world.connects.is_empty() => world.deny(),
        _ => {
            let conduct = [
                Conduct::Takes,
                Conduct::Silent,
                Conduct::Bounces(StanzaError::RemoteServerTimeout),
                Conduct::Bounces(StanzaError::ItemNotFound),
            ][dice.roll(4) as usize];
            world.conduct = conduct;
            for edge in &mut world.edges {
                edge.conduct = conduct;
            }
        }
    }
}

fn simulate(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let setup = Setup { chat_idle_s: 60, subscription_refresh_s: 90, ..two_edges() };
    let mut world = World::of(setup);
    let mut book = Book::default();
    for _ in 0..300 {
        match dice.roll(10) {
            0..4 => book.ask(&mut world, &mut dice),
            4..8 => contact_says(&mut world, &mut dice),
            8 => disturb(&mut world, &mut dice),
            _ => {
                let for_ms = dice.roll(20_000);
                world.pass(for_ms);
            }
        }
        book.read(&mut world, &mut dice);
        world.gateway.check();
    }
    // Everybody is there again and answers; then all that waits ends by itself.
    world.connected = true;
    world.conduct = Conduct::Takes;
    world.run();
    // An edge that was silent owes reports that it will not give.
    for leg in world.edges.iter().map(|edge| edge.leg).collect::<Vec<_>>() {
        world.lose(leg);
    }
    for _ in 0..100 {
        world.pass(1_000);
        book.read(&mut world, &mut dice);
        world.gateway.check();
    }
    for (call, times) in &book.asked {
        let answered = book.answered.get(call).copied().unwrap_or(0);
        assert_eq!(answered, *times, "seed {seed}: {call} was answered {answered} times");
    }
    let kept = world.store.len();
    let known = world.gateway.authorisations();
    assert_eq!(known, kept, "seed {seed}: the store knows what the gateway knows");
    for _ in 0..200 {
        world.pass(2_000);
        for said in std::mem::take(&mut world.said) {
            if !said.text.starts_with("SIP/2.0") && !said.text.starts_with("ACK") {
                world.answer(&said, "403 No", "", "");
            }
        }
    }
    assert_eq!(world.gateway.pending(), 0, "seed {seed}: nothing waits");
    let [_, watches, subscriptions, chats] = world.gateway.held();
    assert_eq!((watches, subscriptions, chats), (0, 0, 0), "seed {seed}: all dialogs have ended");
    assert_eq!(world.gateway.held()[0], world.gateway.contacts_authorised(), "seed {seed}");
}

#[test]
fn whatever_comes_and_goes_each_request_is_answered_once_and_nothing_is_left() {
    for seed in 1..=60 {
        simulate(seed);
    }
}
