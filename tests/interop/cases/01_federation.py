"""Kamailio as the partner's edge over mutual TLS, found by SRV; SIPp users behind both sides."""

from lab import edge, peers
from lab.world import ADDRESS, EDGE_EXTERNAL, EDGE_INTERNAL, expect

STAND_IN = True


def run(world):
    fabrikam = peers.partner(world)
    pool = peers.pool(world)
    edge.start(world)
    ours = peers.ours(world)
    theirs = peers.theirs(world)
    both = [("out", ours, "alice", theirs, "bob"), ("in", theirs, "bob", ours, "alice")]

    def exchange(way, scenario, calls=1):
        _, caller, user, callee, peer = way
        answering = callee.answer(f"{scenario}_in", peer, calls=calls)
        calling = caller.call(f"{scenario}_out", user, f"{peer}@{callee.domain}", calls=calls)
        calling.done()
        answering.done()
        return calling, answering

    for way in both:
        with world.check(f"MESSAGE {way[0]}: the body arrives, the 200 comes back"):
            exchange(way, "message", calls=20)
        with world.check(f"SUBSCRIBE {way[0]}: NOTIFYs arrive, unsubscribe ends it"):
            exchange(way, "subscribe")
        with world.check(f"INVITE {way[0]}: MESSAGE, INFO both ways, re-INVITE, BYE"):
            exchange(way, "dialog")
        with world.check(f"CANCEL {way[0]}: 200 for it, 487 for the INVITE"):
            exchange(way, "cancel")

    with world.check("the partner saw mutual TLS from our external address only"):
        fabrikam.saw(f"src=tls:{EDGE_EXTERNAL}")
        fabrikam.saw("cn=sip.contoso.example verified=1")
        expect(EDGE_INTERNAL not in fabrikam.log, "an internal address is in the partner's log")
    with world.check("the pool saw mutual TLS from our internal address only"):
        pool.saw(f"src=tls:{EDGE_INTERNAL}")
        expect(f"src=tls:{ADDRESS['partner']}" not in pool.log, "the partner reached the pool directly")
    if not world.stand_in:
        federated(world, pool, exchange, both)


def federated(world, pool, exchange, both):
    """What only a federation edge does, beyond relaying."""
    calling, answering = exchange(both[1], "message")
    with world.check("a message from outside carries the edge's trust header inwards"):
        pool.saw("trust=<ms-source-type=")
    with world.check("no internal Via, Record-Route or trust header leaves"):
        calling, answering = exchange(both[0], "dialog")
        seen = answering.messages()
        for secret in ("203.0.113.", "lsedge.contoso", "edge1.contoso", "ms-edge-proxy"):
            lines = [l for l in seen.splitlines() if secret in l and hides(l)]
            expect(not lines, f"{secret} in {lines[:2]}")
    with world.check("what the edge counts is what was sent"):
        expect(calling.messages().count("SIP/2.0 200") > 3, "no answers traced")


def hides(line):
    """Via and trust must hide the inside; Record-Route, Contact and SDP name their owners."""
    return line.lower().startswith(("via:", "ms-", "p-asserted"))
