"""Two relays that take each other for clients: what goes round ends by its hop limit.

Who knows a password and can send from others' addresses has each of two relays give an allocation
to the other's relayed address (the loop attack of RFC 8656 section 21.1.7). What one sends to its
client is then data of a peer to the other, and round it goes. Both have one relayed port, so that
it is known before it is given; the attacker sees all that the relays send, and counts it.
"""

import struct
import time

from lab import edge, relay
from lab.raw_turn import RELAYED, SERVER_PORT, Raw, error, read, xored
from lab.world import EDGE_EXTERNAL, SECOND_EXTERNAL, expect

STAND_IN = False
PORT = 50000
ONE_PORT = f"ports_first = {PORT}\nports_count = 1\n"
CHANNEL = 0x4000
# What the kernel gives a new datagram.
HOPS = 64
# How long nothing comes once nothing is under way.
SILENCE_S = 0.5
# Counters are left once a second.
COUNTED_S = 1.2


def data(payload):
    return struct.pack("!HH", CHANNEL, len(payload)) + payload


class Spoofed(Raw):
    """Sends as one relay's relayed port to another relay, and sees what comes for it."""

    def __init__(self, own, server):
        super().__init__(own, PORT, server)

    def take(self):
        """Has the server give its relayed port to our address, with a channel to the other."""
        given = read(self.allocate("mallory"))
        expect(given.get(RELAYED) == xored(self.server, PORT), f"{given}")
        bound = self.bind((self.own, SERVER_PORT), CHANNEL)
        expect(error(bound) is None, f"{bound}")


def round_it_went(both):
    """The hops of all that is under way between both relays, until nothing is."""
    hops, quiet = [], False
    while not quiet:
        seen = [one.came(SILENCE_S / 2) for one in both]
        hops += [came[0] for came in seen if came]
        quiet = not any(seen)
    return sorted(hops, reverse=True)


def ended(world):
    """What both relays have counted as ended by its hop limit, once nothing is under way."""
    time.sleep(COUNTED_S)
    return sum(edge.metric(world, "entente_relay_dropped_total", ['reason="hop_limit"'], number)
               for number in (1, 2))


def run(world):
    relays = [relay.start(world, number, more=ONE_PORT) for number in (1, 2)]
    both = [Spoofed(EDGE_EXTERNAL, SECOND_EXTERNAL), Spoofed(SECOND_EXTERNAL, EDGE_EXTERNAL)]
    once, before = list(range(HOPS, 0, -1)), 0
    with world.check("two relays take each other for clients, and an answer of one goes round until "
                     "its hops are used up"):
        for one in both:
            one.take()
        # More than one may, those that the last channel meets on their way; what is together goes
        # as a train and is seen as one. Beside them requests and other answers go one way.
        hops = round_it_went(both)
        falls = all(hops.count(n) >= hops.count(n - 1) for n in once)
        expect(hops[-1] == 1 and falls, f"{len(hops)} datagrams: {hops[:9]}")
        before = ended(world)
        expect(before >= hops.count(1), f"{before} of {hops.count(1)}")
    with world.check("so does what one sends to its client"):
        for _ in range(3):
            both[1].send(b"round", port=SERVER_PORT, to=PORT)
            hops = round_it_went(both)
            expect(hops == once, f"{len(hops)} datagrams: {hops[:9]}")
        expect(ended(world) == before + 3, f"{ended(world)} after {before}")
    with world.check("and what it sends to its peer, whatever it is wrapped in"):
        nested = b"round"
        for _ in range(3 * HOPS):
            nested = data(nested)
        both[0].send(nested)
        hops = round_it_went(both)
        expect(hops == once, f"{len(hops)} datagrams: {hops[:9]}")
        expect(ended(world) == before + 4, f"{ended(world)} after {before}")
    with world.check("nothing went wrong beside it"):
        for process in relays:
            expect(process.running() and "panicked" not in process.text(), process.name)
