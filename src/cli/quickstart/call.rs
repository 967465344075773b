//! alice and bob call each other: the signalling crosses both Access Edges, the media both relays.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};

use super::act::{ALICE, Act, BOB};
use super::dialog::Dialog;
use super::event::{Event, Passed, Way};
use super::media::{MediaEnd, PACKETS, talk};
use super::story::{Story, expect_status};

impl Story {
    pub(super) async fn act_of_call(&mut self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::Call => self.call().await,
            Act::Voice => self.talk().await,
            Act::HangUp => self.hang_up().await,
            _ => bail!("{act:?} is no act of a call"),
        }
    }

    /// Each user gets an address at its own relay and tells the other by SDP.
    async fn call(&mut self) -> anyhow::Result<()> {
        let at_alice = self.allocate(ALICE).await?;
        let at_bob = self.allocate(BOB).await?;
        self.bob.answer_calls_with(description(self.bob.user(), at_bob.relayed()));
        let mut request = self.alice.request("INVITE", self.bob.user());
        let offer = description(self.alice.user(), at_alice.relayed());
        request.set_body("application/sdp", &offer);
        let response = self.alice.send(request.clone()).await?;
        expect_status(&response, 200)?;
        let arrived = self.check_arrival(ALICE, &request)?;
        let mut caller = Dialog::of_caller(&request, &response)?;
        let callee = self.begun_at_bob(&request)?;
        self.alice.acknowledge(&mut caller).await?;
        self.session = Some((caller, callee));
        self.await_ack().await?;
        // Each knows of the other what its SDP said.
        at_alice.bind(relayed_of(&response.body)?).await?;
        at_bob.bind(relayed_of(&arrived.body)?).await?;
        self.media = Some([at_alice, at_bob]);
        Ok(())
    }

    async fn allocate(&mut self, party: usize) -> anyhow::Result<MediaEnd> {
        self.tell(party, Way::Sent, Passed::Relay("Allocate".to_owned()));
        let name = if party == ALICE { "alice" } else { "bob" };
        let unix_s = self.clock.now().unix_s;
        let end = MediaEnd::allocate(&self.relays[party], name, unix_s).await?;
        let port = end.relayed().port();
        self.tell(party, Way::Received, Passed::Relay(format!("port {port}")));
        Ok(end)
    }

    async fn talk(&mut self) -> anyhow::Result<()> {
        let [alice, bob] = self.media.as_ref().context("there is no call")?;
        let voices = talk(&self.clock, [alice, bob]).await?;
        let lost = voices.sent - voices.received();
        self.voices = Some(voices);
        for (speaker, listener) in [(ALICE, BOB), (BOB, ALICE)] {
            self.tell(speaker, Way::Sent, Passed::Rtp(PACKETS));
            self.tell(listener, Way::Received, Passed::Rtp(PACKETS));
        }
        ensure!(lost == 0, "{lost} packets of RTP were lost on this machine");
        Ok(())
    }

    async fn hang_up(&mut self) -> anyhow::Result<()> {
        self.bye().await?;
        let ends = self.media.take().context("there is no media")?;
        for (end, party) in ends.into_iter().zip([ALICE, BOB]) {
            self.tell(party, Way::Sent, Passed::Relay("Refresh 0".to_owned()));
            end.release().await?;
        }
        Ok(())
    }

    fn tell(&mut self, party: usize, way: Way, what: Passed) {
        self.drain_events();
        self.seen.push(Event { party, way, what });
    }
}

/// Returns an offer or answer of audio by a relayed address alone (RFC 8839).
fn description(user: &str, relayed: SocketAddr) -> String {
    let name = user.split('@').next().unwrap_or_default();
    let (ip, port) = (relayed.ip(), relayed.port());
    format!(
        "v=0\r\no={name} 0 0 IN IP4 {ip}\r\ns=call\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ice-ufrag:{name}\r\n\
         a=ice-pwd:a-password-of-quickstart\r\n\
         a=candidate:1 1 UDP 16777215 {ip} {port} typ relay raddr 0.0.0.0 rport 0\r\n"
    )
}

/// Returns the relayed candidate of a description.
fn relayed_of(description: &str) -> anyhow::Result<SocketAddr> {
    let mut candidates = description.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let relayed = candidates.find(|candidate| candidate.contains(" typ relay "));
    let relayed = relayed.context("a description without a relayed candidate")?;
    let mut words = relayed.split(' ').skip(4);
    let (ip, port) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(SocketAddr::new(ip.parse()?, port.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relayed_candidate_of_a_description_is_found() {
        let relayed = SocketAddr::from(([127, 0, 20, 1], 20_003));
        let description = description("bob@fabrikam.example", relayed);
        assert_eq!(relayed_of(&description).unwrap(), relayed);
        assert!(relayed_of(&description.replace("typ relay", "typ host")).is_err());
    }
}
