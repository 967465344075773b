"""The XMPP servers of the lab among themselves, and the SIP users of ours: sound without us."""

from lab import peers, users, xmpp

STAND_IN = True
POLLERS = 1
HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp.RECORDS


def run(world):
    servers = [xmpp.prosody(world, "woodgrove", "external", ["carol"]),
               xmpp.ejabberd(world, "northwind", ["dave"]),
               xmpp.prosody(world, "tailspin", "dialback", ["erin"]),
               xmpp.prosody(world, "lucerne", "clear", ["frank"])]
    people = [users.xmpp_user(world, server, name)
              for server, name in zip(servers, ("carol", "dave", "erin", "frank"))]
    carol, dave, erin, frank = people
    for one, other in ((carol, dave), (erin, frank)):
        for a, b in ((one, other), (other, one)):
            with world.check(f"{a.jid} writes to {b.jid}, with a receipt"):
                a.do("say", to=b.jid, text=f"hello from {a.jid}", receipt=True)
                came = b.saw("message", 10, text=f"hello from {a.jid}", request="yes")
                b.do("say", to=came["sender"], received=came["id"])
                a.saw("message", received=came["id"])
            with world.check(f"{a.jid} watches {b.jid}"):
                a.do("bare", to=b.jid, type="subscribe")
                b.saw("presence", sender=a.jid, type="subscribe")
                b.do("bare", to=a.jid, type="subscribed")
                a.saw("presence", sender=b.jid, type="subscribed")
                a.saw("presence", type="available", sender=lambda s, b=b: s.startswith(b.jid))
    with world.check("a partner without trusted papers does not get in by them"):
        erin.do("say", to=carol.jid, text="hello from nobody")
        erin.saw("message", 12, type="error")
        carol.never_saw("message", text="hello from nobody")
    peers.pool(world)
    alice = users.sip_user(world, "alice")
    bob = users.sip_user(world, "bob", port=5082)
    with world.check("SIP users of ours write to each other and type"):
        alice.do("say", to=bob.aor, text="hello bob", imdn="m1")
        bob.saw("message", sender=alice.aor, text="hello bob", imdn="m1")
        alice.saw("answer", method="MESSAGE", status=200)
        alice.do("typing", to=bob.aor, state="active")
        bob.saw("message", sender=alice.aor, composing="active")
    with world.check("SIP users of ours watch each other, are denied and given up"):
        bob.do("policy", answer="pending")
        alice.do("watch", to=bob.aor)
        alice.saw("notify", sender=bob.aor, state="pending")
        bob.do("policy", answer="approve")
        alice.saw("notify", sender=bob.aor, state="active", basic="open")
        bob.do("publish", basic="closed", note="gone home")
        alice.saw("notify", sender=bob.aor, basic="closed", note="gone home")
        alice.do("unwatch", to=bob.aor)
        alice.saw("notify", sender=bob.aor, state="terminated")
        bob.do("policy", answer="deny")
        alice.do("watch", to=bob.aor)
        alice.saw("notify", sender=bob.aor, state="terminated", reason="rejected")
