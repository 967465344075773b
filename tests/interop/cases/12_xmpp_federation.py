"""Users of ours, behind a SIP registrar, and users of four XMPP servers: proxy and gateway between."""

from lab import edge, peers, users, xmpp

HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp.RECORDS


def talk(world, alice, contact):
    """Messages both ways, unasked; typing and receipts."""
    name = contact.jid.split("@")[0]
    with world.check(f"{contact.jid} writes to a user of ours, who answers"):
        contact.do("say", to=alice.aor, text=f"hello from {name}")
        alice.saw("message", 15, sender=contact.jid, text=f"hello from {name}")
        alice.do("say", to=contact.jid, text=f"hello {name}")
        contact.saw("message", 15, text=f"hello {name}",
                    sender=lambda sender: sender.split("/")[0] == alice.aor)
        alice.saw("answer", method="MESSAGE", status=200, to=contact.jid)
    with world.check(f"{contact.jid} and a user of ours see each other type"):
        contact.do("say", to=alice.aor, state="composing")
        alice.saw("message", sender=contact.jid, composing="active")
        alice.do("typing", to=contact.jid, state="active")
        contact.saw("message", state="composing")
    with world.check(f"receipts between {contact.jid} and a user of ours"):
        alice.do("say", to=contact.jid, text="did you get it", imdn=f"r-{name}")
        came = contact.saw("message", text="did you get it", request="yes")
        contact.do("say", to=alice.aor, received=came["id"])
        alice.saw("message", sender=contact.jid, delivered=f"r-{name}")
        contact.do("say", to=alice.aor, text="and you", receipt=True, id=f"x-{name}")
        heard = alice.saw("message", sender=contact.jid, text="and you")
        alice.do("delivered", to=contact.jid, id=heard["imdn"])
        contact.saw("message", received=f"x-{name}")


def watch(world, alice, contact):
    """Presence both ways, from the question to the end."""
    of_alice = {"sender": lambda sender: sender.split("/")[0] == alice.aor}
    with world.check(f"a user of ours watches {contact.jid}"):
        alice.do("watch", to=contact.jid)
        contact.saw("presence", 15, type="subscribe", **of_alice)
        contact.do("bare", to=alice.aor, type="subscribed")
        alice.saw("notify", 10, sender=contact.jid, state="active", basic="open")
        contact.do("presence", show="away", status="out for lunch")
        alice.saw("notify", sender=contact.jid, note="out for lunch")
        alice.do("unwatch", to=contact.jid)
        alice.saw("notify", sender=contact.jid, state="terminated")
    with world.check(f"{contact.jid} watches a user of ours"):
        alice.do("policy", answer="approve")
        contact.do("bare", to=alice.aor, type="subscribe")
        alice.saw("subscribe", 15, sender=contact.jid)
        contact.saw("presence", 10, type="subscribed", **of_alice)
        contact.saw("presence", type="available", **of_alice)
        alice.do("publish", basic="closed")
        contact.saw("presence", type="unavailable", **of_alice)
        alice.do("publish", basic="open", note="back again")
        contact.saw("presence", status="back again", **of_alice)
        contact.do("bare", to=alice.aor, type="unsubscribe")
        alice.saw("subscribe", sender=contact.jid, expires=0)
    with world.check(f"{contact.jid} is denied"):
        alice.do("policy", answer="deny")
        contact.do("bare", to=alice.aor, type="subscribe")
        contact.saw("presence", 10, type="unsubscribed", **of_alice)
        alice.do("policy", answer="approve")


def run(world):
    servers = [xmpp.prosody(world, "woodgrove", "external", ["carol"]),
               xmpp.ejabberd(world, "northwind", ["dave"]),
               xmpp.prosody(world, "tailspin", "dialback", ["erin"]),
               xmpp.prosody(world, "lucerne", "clear", ["frank"])]
    edge.start(world, text=xmpp.configuration(world))
    peers.pool(world)
    alice = users.sip_user(world, "alice")
    contacts = [users.xmpp_user(world, server, name)
                for server, name in zip(servers, ("carol", "dave", "erin", "frank"))]
    for contact in contacts:
        talk(world, alice, contact)
    for contact in contacts:
        watch(world, alice, contact)
