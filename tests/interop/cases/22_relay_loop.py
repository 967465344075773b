"""Two relays that take each other for clients: what goes round ends by its hop limit.

Who knows a password and can send from others' addresses has each of two relays give an allocation
to the other's relayed address (the loop attack of RFC 8656 section 21.1.7). What one sends to its
client is then data of a peer to the other, and round it goes. Both have one relayed port, so that
it is known before it is given; the attacker sees all that the relays send, and counts it.
"""

import hashlib
import hmac
import os
import select
import socket
import struct
import time

from lab import edge, relay
from lab.world import EDGE_EXTERNAL, SECOND_EXTERNAL, expect

STAND_IN = False
PORT = 50000
ONE_PORT = f"ports_first = {PORT}\nports_count = 1\n"
SERVER_PORT = 3478
CHANNEL = 0x4000
# What the kernel gives a new datagram.
HOPS = 64
# How long nothing comes once nothing is under way.
SILENCE_S = 0.5
# Counters are left once a second.
COUNTED_S = 1.2
TRIES, TRY_S = 10, 1

ALLOCATE, CHANNEL_BIND = 0x003, 0x009
USERNAME, INTEGRITY, CHANNEL_NUMBER, PEER, REALM, NONCE, RELAYED, TRANSPORT = (
    0x06, 0x08, 0x0c, 0x12, 0x14, 0x15, 0x16, 0x19)
COOKIE = struct.pack("!I", 0x2112A442)


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def xored(address, port):
    """An address as XOR-PEER-ADDRESS has it."""
    masked = bytes(a ^ b for a, b in zip(socket.inet_aton(address), COOKIE))
    return struct.pack("!HH", 1, port ^ 0x2112) + masked


def data(payload):
    return struct.pack("!HH", CHANNEL, len(payload)) + payload


class Spoofed:
    """Sends as one relay's relayed port to another relay, and sees what comes for it."""

    def __init__(self, own, server):
        self.own, self.server = own, server
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        # Not connected: it is not to hear of ports that nobody has.
        self.raw.bind((own, 0))

    def send(self, payload, port=PORT, to=SERVER_PORT):
        header = struct.pack("!HHHH", port, to, 8 + len(payload), 0)
        self.raw.sendto(header + payload, (self.server, 0))

    def came(self, seconds):
        """The server's next datagram: hops left, from which port, payload; None if none comes."""
        while select.select([self.raw], [], [], seconds)[0]:
            packet, (source, _) = self.raw.recvfrom(65536)
            if source == self.server:
                udp = packet[(packet[0] & 15) * 4:]
                return packet[8], struct.unpack("!H", udp[:2])[0], udp[8:]
        return None

    def ask(self, method, attributes, proof=None):
        """Asks with a proof (username, password, realm, nonce) or without; returns what is said."""
        transaction = os.urandom(12)
        body = b"".join(attribute(*one) for one in attributes)
        if proof:
            username, password, realm, nonce = proof
            key = hashlib.md5(b":".join((username, realm, password))).digest()
            body += attribute(USERNAME, username) + attribute(REALM, realm)
            body += attribute(NONCE, nonce)
            covered = struct.pack("!HH", method, len(body) + 24) + COOKIE + transaction + body
            body += attribute(INTEGRITY, hmac.new(key, covered, hashlib.sha1).digest())
        request = struct.pack("!HH", method, len(body)) + COOKIE + transaction + body
        for _ in range(TRIES):
            self.send(request)
            end = time.monotonic() + TRY_S
            while time.monotonic() < end:
                came = self.came(TRY_S)
                if came and came[1] == SERVER_PORT and came[2][4:20] == COOKIE + transaction:
                    return came[2]
        raise TimeoutError(f"no answer from {self.server}")

    def allocate(self):
        """Has the server give its relayed port to our address, with a channel to the other."""
        transport = (TRANSPORT, bytes([17, 0, 0, 0]))
        told = read(self.ask(ALLOCATE, [transport]))
        username, password = relay.credentials("mallory")
        proof = (username.encode(), password.encode(), told[REALM], told[NONCE])
        given = read(self.ask(ALLOCATE, [transport], proof))
        expect(given[RELAYED] == xored(self.server, PORT), f"{given}")
        channel = (CHANNEL_NUMBER, struct.pack("!HH", CHANNEL, 0))
        bound = self.ask(CHANNEL_BIND, [channel, (PEER, xored(self.own, SERVER_PORT))], proof)
        expect(bound[:2] == struct.pack("!H", 0x100 | CHANNEL_BIND), f"{bound}")


def read(message):
    """The attributes of a message by their kind."""
    found, rest = {}, message[20:]
    while rest:
        kind, length = struct.unpack("!HH", rest[:4])
        found[kind], rest = rest[4:4 + length], rest[4 + length + -length % 4:]
    return found


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
            one.allocate()
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
