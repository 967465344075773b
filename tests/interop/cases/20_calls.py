"""Calls with audio by the relays: over two organisations' edges, within one, on bad lines, and when
a relay dies.

Both organisations have an edge of ours. Signalling crosses both Access Edges, and says by ICE where
the media is: at relayed addresses alone. Contoso's second edge is there for its relay; it is the
one that dies. A remote user of contoso is behind a line that delays, reorders and loses.
"""

import json
import signal
import subprocess
import sys
import time

from lab import edge, fabrikam, peers, relay, users
from lab.world import (ADDRESS, EDGE, EDGE_EXTERNAL, EDGE_INTERNAL, INTEROP, SECOND_EXTERNAL,
                       SECOND_INTERNAL, expect, ip, wait_until)

STAND_IN = False
FAR = "far"
ADDRESS[FAR] = "198.51.100.70"
PACKETS, EVERY_MS = 100, 5
LOSE_EVERY = 10
# Longer than any packet is under way here, the line's jitter included.
SILENCE_S = 0.3


class Line:
    """A line of the Internet; `ends` are namespaces and devices as the shuttle has them."""

    def __init__(self, world, name, *ends):
        self.process = world.spawn(EDGE, name, [
            sys.executable, f"{INTEROP}/lab/shuttle.py", *ends],
            ready="READY", stdin=subprocess.PIPE)
        self.times = 0

    @classmethod
    def to_remote_user(cls, world):
        """The one that the remote user's host is at."""
        ip(f"netns add {FAR}")
        line = cls(world, "shuttle", "", "p-far", FAR, "eth0")
        ip("link set p-far master ext0 up")
        ip(f"addr add {ADDRESS[FAR]}/24 dev eth0", "link set eth0 up", "link set lo up",
           where=FAR)
        return line

    @classmethod
    def between_edges(cls, world):
        """One that the other organisation's edge is moved behind, with everything at its address."""
        line = cls(world, "shuttle-between", "", "near", "", "beyond")
        ip("link add ext1 address 02:00:00:00:00:e1 type bridge", "link set ext1 up",
           "link set near master ext0 up", "link set beyond master ext1 up",
           "link set p-partner nomaster", "link set p-partner master ext1")
        return line

    def set(self, **how):
        self.process.child.stdin.write(json.dumps(how).encode() + b"\n")
        self.process.child.stdin.flush()
        self.times += 1
        self.process.expect("SET", times=self.times)


def user(world, name, server, port=3478, transport="udp", **where):
    """Registers a user that has its media by the relay at `server`."""
    one = users.sip_user(world, name, kind="media_user", **where)
    use(one, server, port, transport)
    return one


def use(one, server, port=3478, transport="udp"):
    username, password = relay.credentials(one.aor)
    one.do("relay", server=server, port=port, transport=transport, username=username,
           password=password)


def connected(one, address, since=None):
    """Both candidates in use are relayed, the other's by `address`."""
    one.saw("media", 10, since=since, local="relay", remote="relay", address=address)


def talk(*both):
    """All talk at once; returns what each has heard when nothing comes any more."""
    begin(both, PACKETS)
    for one in both:
        one.saw("talked", 10)
    return [settled(one) for one in both]


def begin(both, packets):
    """Lets all talk, once all have forgotten what they heard before."""
    for one in both:
        one.do("reset").saw("heard", distinct=0)
    for one in both:
        one.do("talk", packets=packets, every_ms=EVERY_MS)


def report(one):
    return one.do("report").saw("heard")


def settled(one):
    """What was heard once all of it was, or nothing more comes."""
    last = {"heard": None, "at": 0.0}

    def done():
        heard, now = report(one), time.monotonic()
        if heard != last["heard"]:
            last.update(heard=heard, at=now)
        return heard["distinct"] == PACKETS or now - last["at"] > SILENCE_S
    wait_until("the last packets", done, 10)
    return last["heard"]


def whole(heard):
    expect(heard["distinct"] == PACKETS, f"{heard}")
    clean(heard)
    expect(heard["late"] == 0, f"{heard}")


def clean(heard):
    """Nothing came twice or changed."""
    expect(heard["twice"] == 0 and heard["damaged"] == 0, f"{heard}")


def between_organisations(world, alice, bob):
    with world.check("an INVITE crosses both Access Edges, and its media has relayed ends alone"):
        alice.do("call", to=bob.aor)
        bob.saw("call", 10, what="invited", sender=alice.aor,
                trust=lambda trust: trust and "AutoFederation" in trust)
        alice.saw("call", 10, what="accepted")
        connected(alice, ADDRESS["partner"])
        connected(bob, SECOND_EXTERNAL)
    with world.check("what each says reaches the other from relay to relay, all of it in order"):
        for heard in talk(alice, bob):
            whole(heard)
        listed = relay.allocations(world, 2)
        expect(len(listed) == 1 and listed[0]["datagrams_to_peers"] >= PACKETS
               and listed[0]["datagrams_to_client"] >= PACKETS, f"{listed}")
    with world.check("loss between the relays is loss to the users, and nothing else"):
        rules = world.file("loss.nft", f"""
table inet loss {{
  chain in {{
    type filter hook input priority 0;
    ip saddr {SECOND_EXTERNAL} udp dport 50000-59999 numgen inc mod {LOSE_EVERY} 0 drop;
  }}
}}
""")
        world.run("partner", ["nft", "-f", rules])
        at_alice, at_bob = talk(alice, bob)
        world.run("partner", ["nft", "delete", "table", "inet", "loss"])
        whole(at_alice)
        clean(at_bob)
        lost = PACKETS - at_bob["distinct"]
        # Consent checks of ICE may be among those that are dropped.
        expect(PACKETS // LOSE_EVERY - 3 <= lost <= PACKETS // LOSE_EVERY, f"{at_bob}")
    with world.check("on a line between the edges that reorders all of it comes, both ways"):
        line = Line.between_edges(world)
        line.set(delay_ms=5, jitter_ms=60)
        for heard in talk(alice, bob):
            clean(heard)
            expect(heard["distinct"] == PACKETS and heard["late"] > 0, f"{heard}")
        line.set(delay_ms=5, jitter_ms=0)
        for heard in talk(alice, bob):
            whole(heard)
        line.set(delay_ms=0)


def killed_relay(world, alice, bob, second):
    with world.check("when a relay is killed both fall silent, and signalling goes on"):
        begin((alice, bob), 20 * PACKETS)
        for one in (alice, bob):
            wait_until("voices", lambda one=one: report(one)["distinct"] >= 20, 5)
        second.signal(signal.SIGKILL)
        second.wait(5)
        silent = [settled(one)["distinct"] for one in (alice, bob)]
        expect(all(20 <= heard < 20 * PACKETS for heard in silent), f"{silent}")
    with world.check("the call goes on by the pool's other relay"):
        use(alice, EDGE_INTERNAL)
        since = [len(one.events()) for one in (alice, bob)]
        alice.do("move", to=bob.aor)
        alice.saw("call", 10, what="moved")
        bob.saw("call", 10, since=since[1], what="moved", sender=alice.aor)
        connected(alice, ADDRESS["partner"])
        connected(bob, EDGE_EXTERNAL, since[1])
        expect(len(relay.allocations(world)) == 1, f"{relay.allocations(world)}")
        for heard in talk(alice, bob):
            whole(heard)
    with world.check("bob hangs up, and no relay keeps anything"):
        bob.do("bye", to=alice.aor)
        alice.saw("call", what="ended", since=0)
        wait_until("contoso's relay to be empty", lambda: not relay.allocations(world), 5)


def within_one_organisation(world, alice, dave, line):
    with world.check("a remote user and one inside call each other by one edge"):
        for caller, callee in ((dave, alice), (alice, dave)):
            since = [len(one.events()) for one in (caller, callee)]
            caller.do("call", to=callee.aor)
            callee.saw("call", 10, since=since[1], what="invited", sender=caller.aor)
            for one, mark in zip((caller, callee), since):
                connected(one, EDGE_EXTERNAL, mark)
            for heard in talk(caller, callee):
                whole(heard)
            if callee is alice:
                callee.do("bye", to=caller.aor)
                caller.saw("call", what="ended", since=since[0])
    with world.check("on a line that reorders all of it comes, late or not, and unchanged"):
        line.set(delay_ms=5, jitter_ms=60)
        for heard in talk(alice, dave):
            clean(heard)
            expect(heard["distinct"] == PACKETS and heard["late"] > 0, f"{heard}")
    with world.check("on a line that loses the rest comes"):
        line.set(delay_ms=5, jitter_ms=0, lose_every=LOSE_EVERY)
        for heard in talk(alice, dave):
            clean(heard)
            lost = PACKETS - heard["distinct"]
            expect(PACKETS // LOSE_EVERY - 3 <= lost <= PACKETS // LOSE_EVERY + 1, f"{heard}")
        line.set(delay_ms=0, lose_every=0)
    with world.check("the edge carried it inside itself, and keeps nothing of it afterwards"):
        wait_until("what went within to be counted", lambda: edge.metric(
            world, "entente_relay_within_total") >= 6 * PACKETS, 5)
        dave.do("bye", to=alice.aor)
        alice.saw("call", what="ended")
        wait_until("the relay to be empty", lambda: not relay.allocations(world), 5)


def run(world):
    line = Line.to_remote_user(world)
    first = relay.start(world, streams_at=3478, remote_users=True)
    second = relay.start(world, 2)
    theirs = fabrikam.start(world)
    peers.pool(world)
    alice = user(world, "alice", SECOND_INTERNAL)
    bob = user(world, "bob", fabrikam.EDGE_INTERNAL, where=fabrikam.INSIDE,
               registrar=fabrikam.INSIDE, domain="fabrikam.example")
    dave = user(world, "dave", EDGE_EXTERNAL, where=FAR, registrar=EDGE_EXTERNAL,
                more=[f"{world.pki}/ca.pem"])
    between_organisations(world, alice, bob)
    killed_relay(world, alice, bob, second)
    within_one_organisation(world, alice, dave, line)
    with world.check("nothing went wrong beside it"):
        for one in (alice, bob, dave):
            one.never_saw("failed")
        for process in (first, theirs):
            expect(process.running() and "panicked" not in process.text(), process.name)
