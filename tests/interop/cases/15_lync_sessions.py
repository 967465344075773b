"""Users whose clients hold messages in sessions (INVITE, MESSAGE in it, INFO, BYE) and XMPP users."""

from lab import edge, peers, users, xmpp
from lab.world import expect, wait_until

POLLERS = 1
HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp.RECORDS
# The least that may be configured.
IDLE_S = 60


def bare(user):
    """A sender with or without a resource."""
    return lambda sender: sender.split("/")[0] == user.aor


def contact_begins(world, alice, carol):
    """A session that an XMPP user's first message opens."""
    with world.check("a contact's first message opens a session, and is said in it"):
        carol.do("say", to=alice.aor, text="hello alice", thread="t-1", state="active")
        invited = alice.saw("session", 15, sender=carol.jid, what="invited", media="message")
        expect("AutoFederation" in invited.get("trust", ""), f"trust: {invited}")
        alice.saw("session", sender=carol.jid, what="confirmed")
        alice.saw("message", sender=carol.jid, text="hello alice")
    with world.check("what our user says in it reaches the contact, in the same thread"):
        alice.do("say", to=carol.jid, text="hello carol")
        carol.saw("message", sender=bare(alice), text="hello carol", type="chat", thread="t-1")
        alice.saw("answer", method="MESSAGE", status=200)
    with world.check("further messages open no further session"):
        for number in range(5):
            carol.do("say", to=alice.aor, text=f"number {number}", thread="t-1")
        for number in range(5):
            alice.saw("message", sender=carol.jid, text=f"number {number}")
        invited = [e for e in alice.events() if e.get("what") == "invited"
                   and e["sender"] == carol.jid]
        expect(len(invited) == 1, f"{invited}")
    with world.check("each sees the other type and stop"):
        carol.do("say", to=alice.aor, state="composing", thread="t-1")
        alice.saw("typing", sender=carol.jid, status="type")
        carol.do("say", to=alice.aor, state="paused", thread="t-1")
        alice.saw("typing", sender=carol.jid, status="idle")
        alice.do("typing", to=carol.jid, status="type")
        carol.saw("message", sender=bare(alice), state="composing")
        alice.do("typing", to=carol.jid, status="idle")
        carol.saw("message", sender=bare(alice), state=lambda state: state != "composing")
    with world.check("formatted words keep their form, without what is dangerous"):
        alice.do("say", to=carol.jid, type="text/html; charset=UTF-8",
                 text="<html><body>so <b>bold</b><script>no()</script></body></html>")
        came = carol.saw("message", sender=bare(alice), text="so bold")
        expect("bold" in came.get("html", "") and "script" not in came["html"], f"{came}")
    with world.check("a receipt is the answer in the session"):
        carol.do("say", to=alice.aor, text="sure", receipt=True, id="r-1", thread="t-1")
        alice.saw("message", sender=carol.jid, text="sure")
        carol.saw("message", received="r-1")
    with world.check("a contact who leaves ends the session, and the next message opens another"):
        carol.do("say", to=alice.aor, state="gone", thread="t-1")
        alice.saw("session", sender=carol.jid, what="ended")
        alice.do("sessions", answer=200)
        carol.do("say", to=alice.aor, text="once more")
        alice.saw("session", sender=carol.jid, what="invited")
        alice.saw("message", sender=carol.jid, text="once more")


def agent_restarts(world, alice, carol):
    """The SIP side knows nothing of a session any more, or wants none."""
    with world.check("a session that our user's client has forgotten is opened anew"):
        alice.do("forget", to=carol.jid)
        carol.do("say", to=alice.aor, text="do you remember")
        alice.saw("session", sender=carol.jid, what="invited")
        alice.saw("message", sender=carol.jid, text="do you remember")
        events = [e for e in alice.events() if e.get("text") == "do you remember"]
        expect(len(events) == 1, f"{events}")
    with world.check("our user leaves: the contact's client is told, who understands it"):
        carol.do("say", to=alice.aor, text="still here", state="active")
        alice.saw("message", sender=carol.jid, text="still here")
        alice.do("bye", to=carol.jid)
        alice.saw("answer", method="BYE", status=200)
        carol.saw("message", sender=bare(alice), state="gone")
    with world.check("a session that is declined: the message comes back with the reason"):
        alice.do("sessions", answer=480)
        carol.do("say", to=alice.aor, text="not wanted")
        carol.saw("message", type="error", condition="recipient-unavailable")
        alice.do("sessions", answer=200)
        alice.never_saw("message", text="not wanted")


def user_begins(world, alice, carol):
    """A session that our user's INVITE opens."""
    with world.check("our user's session is accepted, and the words of its INVITE said once"):
        alice.do("invite", to=carol.jid, first="first words")
        alice.saw("session", 15, sender=carol.jid, what="accepted", media="message")
        carol.saw("message", sender=bare(alice), text="first words", type="chat")
        alice.do("say", to=carol.jid, text="first words")
        alice.saw("answer", method="MESSAGE", status=200)
        alice.do("say", to=carol.jid, text="and more")
        carol.saw("message", sender=bare(alice), text="and more")
        said = [e for e in carol.events() if e.get("text") == "first words"]
        expect(len(said) == 1, f"{said}")
    with world.check("the contact answers in it"):
        carol.do("say", to=alice.aor, text="I hear you", state="active")
        alice.saw("message", sender=carol.jid, text="I hear you")
        alice.do("bye", to=carol.jid)
        carol.saw("message", sender=bare(alice), state="gone")
    with world.check("a message for somebody who is not there is answered so"):
        alice.do("invite", to="nobody@woodgrove.example")
        alice.saw("session", sender="nobody@woodgrove.example", what="accepted")
        alice.do("say", to="nobody@woodgrove.example", text="anybody")
        alice.saw("answer", method="MESSAGE", status=lambda status: status in (403, 404))
    with world.check("a call is not for XMPP"):
        alice.do("invite", to=carol.jid, media="audio")
        alice.saw("session", 15, sender=carol.jid, what="refused",
                  status=lambda status: status >= 400)


def sipp_answers(world, carol):
    """Another user agent, which nobody of us wrote."""
    with world.check("SIPp accepts a session, hears its message and ends it"):
        answering = peers.ours(world).answer("session_in", "bob")
        carol.do("say", to="bob@contoso.example", text="said within the session",
                 state="active")
        answering.done()
        carol.saw("message", 10, sender="bob@contoso.example", state="gone")


def run(world):
    woodgrove = xmpp.prosody(world, "woodgrove", "external", ["carol", "frank"])
    process = edge.start(world, text=xmpp.configuration(
        world, dialect="lync", gateway=f"chat_idle_s = {IDLE_S}"))
    peers.pool(world)
    alice = users.sip_user(world, "alice", kind="lync_user")
    carol, frank = (users.xmpp_user(world, woodgrove, name) for name in ("carol", "frank"))
    with world.check("a session with frank begins"):
        frank.do("say", to=alice.aor, text="and then nothing")
        alice.saw("message", 15, sender=frank.jid, text="and then nothing")
    contact_begins(world, alice, carol)
    agent_restarts(world, alice, carol)
    user_begins(world, alice, carol)
    sipp_answers(world, carol)
    with world.check("a session in which nobody says anything ends"):
        alice.saw("session", IDLE_S + 15, since=0, sender=frank.jid, what="ended")
        wait_until("it to count", lambda: edge.metric(
            world, "entente_gateway_sessions_idle_total") >= 1, 5)
    with world.check("the edge still runs"):
        expect(process.running() and "panicked" not in process.text(), "the edge ended")
