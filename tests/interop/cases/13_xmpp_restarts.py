"""Each party starts anew in the middle, or leaves: what users saw, and that nobody is asked twice."""

import signal
import time

from lab import edge, peers, users, xmpp
from lab.world import EDGE_EXTERNAL, EDGE_INTERNAL, Failed, expect, wait_until

POLLERS = 1
HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp.RECORDS
# Listed, and in no DNS.
VOID = "void"
# Kamailio waits as long as the gateway does, which waits for the partner's server.
PATIENCE_MS = 40_000


def of(user):
    return {"sender": lambda sender: sender.split("/")[0] == user.aor}


class Case:
    """The parties, some of whom change."""

    def __init__(self, world):
        self.world = world
        self.woodgrove = xmpp.prosody(world, "woodgrove", "external", ["carol"])
        self.text = xmpp.configuration(
            world, partners={**xmpp.PARTNERS, VOID: xmpp.PARTNERS["woodgrove"]},
            gateway="answer_timeout_s = 5")
        self.edge = edge.start(world, text=self.text)
        self.pool = peers.pool(world, patience_ms=PATIENCE_MS)
        self.alice = users.sip_user(world, "alice")
        self.carol = users.xmpp_user(world, self.woodgrove, "carol")

    def watches(self):
        """Both watch each other, and both were asked."""
        alice, carol = self.alice, self.carol
        alice.do("watch", to=carol.jid)
        carol.saw("presence", 15, type="subscribe", **of(alice))
        carol.do("bare", to=alice.aor, type="subscribed")
        alice.saw("notify", sender=carol.jid, state="active", basic="open")
        carol.do("bare", to=alice.aor, type="subscribe")
        alice.saw("subscribe", sender=carol.jid)
        carol.saw("presence", type="subscribed", **of(alice))
        carol.saw("presence", type="available", **of(alice))

    def notices(self, words, seconds=5.0):
        """Each sees the other's new status."""
        self.alice.do("publish", basic="open", note=f"alice {words}")
        self.carol.saw("presence", seconds, status=f"alice {words}", **of(self.alice))
        self.carol.do("presence", show="away", status=f"carol {words}")
        self.alice.saw("notify", seconds, sender=self.carol.jid, note=f"carol {words}")

    def carol_again(self):
        self.carol = users.xmpp_user(self.world, self.woodgrove, "carol")


def again(writer, reader, text, seconds=10):
    """A user writes the same until it arrives, as people do whose message came back."""
    end = time.monotonic() + seconds
    while True:
        writer.do("say", to=reader.aor, text=text)
        try:
            return reader.saw("message", 0.5, text=text)
        except Failed:
            if time.monotonic() > end:
                raise


def unreachable(case):
    """Servers that are not there: one soon, one after half a minute."""
    with case.world.check("a message to a domain in no DNS comes back at once"):
        case.alice.do("say", to="nobody@void.example", text="anybody")
        case.alice.saw("answer", method="MESSAGE", status=404, to="nobody@void.example")
    case.alice.do("say", to="erin@tailspin.example", text="are you there")


def xmpp_server(case):
    """The partner's server ends and begins."""
    alice = case.alice
    with case.world.check("a message for a server that restarts is delivered when it is back"):
        case.woodgrove.process.stop()
        case.carol.end()
        alice.do("say", to=case.carol.jid, text="while you were away")
        wait_until("the proxy to queue it", lambda: edge.metric(
            case.world, "entente_xmpp_proxy_queued_bytes") > 0, 5)
        case.woodgrove.start()
        case.carol_again()
        case.carol.saw("message", 20, text="while you were away")
        alice.saw("answer", 10, method="MESSAGE", status=200, to=case.carol.jid)
    with case.world.check("who signs in again sees and is seen as before"):
        case.carol.saw("presence", type="available", **of(alice))
        alice.saw("notify", sender=case.carol.jid, basic="open")
        users.talk(case.carol, case.alice, "after the server's restart")
        case.notices("after the server's restart")
        case.carol.never_saw("presence", type="subscribe")


def sip_server(case):
    """The next hop ends and begins."""
    with case.world.check("a message while the next hop is away comes back to its writer"):
        case.pool.process.stop()
        case.carol.do("say", to=case.alice.aor, text="is anybody there")
        case.carol.saw("message", 15, type="error", condition="remote-server-timeout")
    with case.world.check("when the next hop is back, all goes on"):
        case.pool = peers.pool(case.world, name="pool-again", patience_ms=PATIENCE_MS)
        case.alice.do("register")
        case.alice.saw("answer", method="REGISTER", status=200)
        # The gateway leaves a next hop that it did not reach in peace for a second.
        again(case.carol, case.alice, "are you back")
        users.talk(case.carol, case.alice, "after the pool's restart")
        case.notices("after the pool's restart")


def the_edge(case):
    """The edge is killed without a word."""
    world, alice, carol = case.world, case.alice, case.carol
    with world.check("while the edge is away, each side's server says so"):
        case.edge.signal(signal.SIGKILL)
        case.edge.wait(5)
        # What is written to a connection whose end is not known yet is lost, whoever writes.
        for where, address in (("pool", EDGE_INTERNAL), ("woodgrove", EDGE_EXTERNAL)):
            wait_until(f"{where} to notice", lambda w=where, a=address: not world.run(
                w, ["ss", "-Htn", "state", "established", "dst", a]).stdout, 5)
        alice.do("say", to=carol.jid, text="nobody carries this")
        alice.saw("answer", 20, method="MESSAGE", status=lambda status: status >= 400)
        carol.do("say", to=alice.aor, text="nor this")
        carol.saw("message", 15, type="error")
    marks = len(alice.events()), len(carol.events())
    case.edge = edge.start(world, text=case.text)
    with world.check("the gateway subscribes to whom a contact may see, and he sees him again"):
        alice.saw("subscribe", 15, since=marks[0], sender=carol.jid)
        carol.saw("presence", 15, since=marks[1], type="available", **of(alice))
    with world.check("a user's dialog of before is gone, and a new one shows the contact unasked"):
        alice.do("watch", to=carol.jid)
        alice.saw("answer", method="SUBSCRIBE", status=481)
        alice.do("watch", to=carol.jid)
        alice.saw("notify", 15, since=marks[0], sender=carol.jid, state="active", basic="open")
        users.talk(case.carol, case.alice, "after the edge's death")
        case.notices("after the edge's death")
    with world.check("nobody was asked anew"):
        carol.never_saw("presence", since=marks[1], type="subscribe")
        carol.never_saw("presence", since=marks[1], type="unsubscribed")
        alice.never_saw("notify", since=marks[0], state="pending")


def partings(case):
    """Each leaves in order."""
    world, alice, carol = case.world, case.alice, case.carol
    with world.check("a contact who signs out is seen to, and to come back"):
        carol.do("logout")
        alice.saw("notify", sender=carol.jid, basic="closed")
        carol.saw("offline")
        mark = len(alice.events())
        case.carol_again()
        carol = case.carol
        alice.saw("notify", since=mark, sender=carol.jid, basic="open")
        carol.saw("presence", type="available", **of(alice))
    with world.check("a contact who does not want to see our user any more does not"):
        mark = len(alice.events())
        carol.do("bare", to=alice.aor, type="unsubscribe")
        alice.saw("subscribe", since=mark, sender=carol.jid, expires=0)
        seen = len(carol.events())
        alice.do("publish", basic="open", note="for nobody")
        users.talk(case.carol, case.alice, "behind what is for nobody")
        carol.never_saw("presence", since=seen, status="for nobody")
    with world.check("a contact who takes back his word is seen no more"):
        mark = len(alice.events())
        carol.do("bare", to=alice.aor, type="unsubscribed")
        alice.saw("notify", since=mark, sender=carol.jid, state="terminated")
    with world.check("he is asked again, since his word is taken back"):
        mark = len(carol.events())
        alice.do("watch", to=carol.jid)
        alice.saw("notify", sender=carol.jid, state="pending")
        carol.saw("presence", since=mark, type="subscribe", **of(alice))
    with world.check("a message for a user who has signed out comes back as to nobody"):
        alice.do("unregister")
        alice.saw("answer", method="REGISTER", status=200)
        carol.do("say", to=alice.aor, text="are you gone")
        carol.saw("message", type="error", condition="item-not-found")
    with world.check("a message for one who does not answer comes back in time"):
        bob = users.sip_user(world, "bob", port=5082)
        bob.do("mute")
        carol.do("say", to=bob.aor, text="are you asleep")
        carol.saw("message", 12, type="error", condition="remote-server-timeout")


def run(world):
    case = Case(world)
    with world.check("carol and alice talk and watch each other"):
        users.talk(case.carol, case.alice, "first")
        case.watches()
        case.notices("first")
    unreachable(case)
    xmpp_server(case)
    sip_server(case)
    with world.check("a message for a server that stays away comes back after half a minute"):
        case.alice.saw("answer", 40, method="MESSAGE", status=504, to="erin@tailspin.example")
        wait_until("it to count", lambda: edge.metric(
            world, "entente_xmpp_proxy_bounced_timeout_total") >= 1, 5)
    the_edge(case)
    partings(case)
    with world.check("the edge still runs"):
        expect(case.edge.running(), "the edge ended")
        expect("panicked" not in case.edge.text(), "a panic")
