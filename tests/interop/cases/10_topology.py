"""federation.hide_topology with Kamailio as partner and pool: calls both ways, nothing inner shows."""

from lab import edge, peers
from lab.world import ADDRESS, EDGE_INTERNAL, expect

STAND_IN = False
HIDDEN = "[federation]\nhide_topology = true\n"


def run(world):
    peers.partner(world)
    peers.pool(world)
    edge.start(world, shards=2, more=HIDDEN)
    ours = peers.ours(world)
    theirs = peers.theirs(world)
    both = [("out", ours, "alice", theirs, "bob"), ("in", theirs, "bob", ours, "alice")]

    def exchange(way, scenario):
        _, caller, user, callee, peer = way
        answering = callee.answer(f"{scenario}_in", peer)
        calling = caller.call(f"{scenario}_out", user, f"{peer}@{callee.domain}")
        calling.done()
        answering.done()
        return {"out": answering, "in": calling}[way[0]]

    for way in both:
        for scenario in ["message", "subscribe", "dialog", "cancel"]:
            with world.check(f"{scenario} {way[0]}: it goes on as without; nothing inner shows"):
                unseen(exchange(way, scenario))
    with world.check("no seal was refused"):
        for counter in ["bad_seals", "bad_route_tokens"]:
            expect(edge.metric(world, f"entente_access_{counter}_total") == 0, counter)


def unseen(agent):
    """What a user of the partner received names no server of ours in Via or Record-Route."""
    lines = [line.lower() for line in agent.messages().splitlines()]
    routing = [line for line in lines
               if line.startswith(("via:", "record-route:", "route:"))]
    expect(routing, "nothing was traced")
    for secret in ["pool.contoso", "lsedge", "edge1", EDGE_INTERNAL, ADDRESS["pool"]]:
        shown = [line for line in routing if secret in line]
        expect(not shown, f"{secret}: {shown[:2]}")
