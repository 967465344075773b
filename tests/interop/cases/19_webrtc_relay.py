"""WebRTC by the relay alone (aiortc over aioice): a remote user and one inside, by every transport.

Neither side has any candidate but its relayed one. Each call carries a data channel and Opus, both
ways at once; the calls by UDP, TCP and TLS are held at the same time.
"""

from lab import edge, relay, users
from lab.world import EDGE_EXTERNAL, EDGE_INTERNAL, expect, wait_until

STAND_IN = False
# How each side reaches its listener, whose name is what its certificate is checked for.
WAYS = {
    "UDP": "turn:{name}:3478?transport=udp",
    "TCP": "turn:{name}:443?transport=tcp",
    "TLS": "turns:{name}:443?transport=tcp",
}
NAMES = {"remote": "sip.contoso.example", "pool-users": "lsedge.contoso.example"}


class Side:
    """One endpoint, and how it gets to its relay."""

    def __init__(self, world, where):
        self.where = where
        self.user = users.script(world, where, f"webrtc-{where}", "webrtc_user",
                                 env={"SSL_CERT_FILE": f"{world.pki}/ca.pem"})

    def do(self, what, way, **how):
        if what in ("offer", "answer"):
            username, password = relay.credentials(self.where)
            how.update(url=WAYS[way].format(name=NAMES[self.where]), username=username,
                       password=password)
        return self.user.do(what, call=way, **how)

    def saw(self, kind, way, **what):
        return self.user.saw(kind, 15, since=0, call=way, **what)


def run(world):
    relay.start(world)
    caller, callee = Side(world, "remote"), Side(world, "pool-users")
    for side in (caller, callee):
        side.user.saw("ready", 15, since=0)
    for way in WAYS:
        caller.do("offer", way)
    with world.check("each side is offered relayed candidates alone, by every transport"):
        for way in WAYS:
            offer = caller.saw("offer", way)
            callee.do("answer", way, sdp=offer["sdp"])
            answer = callee.saw("answer", way)
            caller.do("accept", way, sdp=answer["sdp"])
            for description in (offer, answer):
                expect(description["candidates"] == ["relay"], f"{description['candidates']}")
                expect(EDGE_EXTERNAL in description["sdp"], "no address of the relay")
    for way in WAYS:
        with world.check(f"both reach each other from relay to relay, both by {way}"):
            for side in (caller, callee):
                side.saw("pair", way, local="relay", remote="relay", address=EDGE_EXTERNAL)
    for way in WAYS:
        with world.check(f"the data channel carries words both ways, by {way}"):
            caller.do("say", way, text=f"out by {way}")
            callee.saw("message", way, text=f"out by {way}")
            callee.do("say", way, text=f"and back by {way}")
            caller.saw("message", way, text=f"and back by {way}")
        with world.check(f"each hears the other's tone, by {way}"):
            for side in (caller, callee):
                side.saw("audio", way, peak=lambda peak: peak and peak > 6_000)
    with world.check("the relay had them as streams and datagrams, and nothing went outside"):
        listed = relay.allocations(world)
        kinds = {one["transport"] for one in listed}
        expect(kinds == {"udp", "stream"}, f"{kinds}")
        wait_until("what went within to be counted", lambda: edge.metric(
            world, "entente_relay_within_total") > 100, 5)
    with world.check("when the calls end nothing is left"):
        for side in (caller, callee):
            for way in WAYS:
                side.do("close", way)
        wait_until("the relay to be empty", lambda: not relay.allocations(world), 10)
    for side in (caller, callee):
        side.user.never_saw("failed")
