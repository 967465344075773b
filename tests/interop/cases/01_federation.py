"""Kamailio as the partner's edge over mutual TLS, found by SRV; SIPp users behind both."""

from lab import edge, peers
from lab.world import ADDRESS, EDGE_EXTERNAL, EDGE_INTERNAL, expect

STAND_IN = True


def run(world):
    fabrikam = peers.partner(world)
    pool = peers.pool(world)
    edge.start(world, shards=2)
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
        expect(f"src=tls:{ADDRESS['partner']}" not in pool.log, "the partner reached the pool")
    if not world.stand_in:
        federated(world, pool, exchange, both)


def federated(world, pool, exchange, both):
    """What only a federation edge does, beyond relaying."""
    with world.check("in: our own trust header arrives; a forged one and ms-subnet do not"):
        _, answering = exchange(both[1], "message")
        pool.saw("trust=<ms-source-type=")
        expect("ms-edge-proxy-message-trust" in answering.messages().lower(), "no trust header")
        hidden(answering, "verified-user=forged", "ms-subnet")
    with world.check("out: no trust header, no ms-subnet, no inner name of the edge"):
        _, answering = exchange(both[0], "message")
        hidden(answering, "ms-edge-proxy", "ms-subnet", "edge1.contoso", EDGE_INTERNAL)


def hidden(answering, *secrets):
    """None of `secrets` stands in what the answering user agent received."""
    seen = answering.messages().lower()
    expect("message sip:" in seen, "nothing was traced")
    for secret in secrets:
        lines = [line for line in seen.splitlines() if secret in line]
        expect(not lines, f"{secret}: {lines[:2]}")
