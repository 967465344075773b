"""TURN as no client speaks it: from any address and port of a host, others' too, by raw sockets."""

import hashlib
import hmac
import os
import select
import socket
import struct
import time

from lab import relay
from lab.world import EDGE, World

SERVER_PORT = 3478
TRIES, TRY_S = 10, 1

ALLOCATE, CREATE_PERMISSION, CHANNEL_BIND = 0x003, 0x008, 0x009
SEND_INDICATION, DATA_INDICATION = 0x016, 0x017
USERNAME, INTEGRITY, ERROR_CODE, CHANNEL_NUMBER, PEER, DATA, REALM, NONCE = (
    0x06, 0x08, 0x09, 0x0c, 0x12, 0x13, 0x14, 0x15)
RELAYED, TRANSPORT, ALTERNATE_SERVER = 0x16, 0x19, 0x8023
UDP = (TRANSPORT, bytes([17, 0, 0, 0]))
COOKIE = struct.pack("!I", 0x2112A442)


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind, transaction, attributes):
    body = b"".join(attribute(*one) for one in attributes)
    return struct.pack("!HH", kind, len(body)) + COOKIE + transaction + body


def xored(address, port):
    """An address as XOR-PEER-ADDRESS has it."""
    masked = bytes(a ^ b for a, b in zip(socket.inet_aton(address), COOKIE))
    return struct.pack("!HH", 1, port ^ 0x2112) + masked


def unxored(value):
    """The address and port of such an attribute."""
    address = bytes(a ^ b for a, b in zip(value[4:], COOKIE))
    return socket.inet_ntoa(address), struct.unpack("!H", value[2:4])[0] ^ 0x2112


def plain(value):
    """The address and port of an attribute that is not masked."""
    return socket.inet_ntoa(value[4:]), struct.unpack("!H", value[2:4])[0]


def read(message):
    """The attributes of a message by their kind."""
    found, rest = {}, message[20:]
    while rest:
        kind, length = struct.unpack("!HH", rest[:4])
        found[kind], rest = rest[4:4 + length], rest[4 + length + -length % 4:]
    return found


def apart(train):
    """The messages of a train, which a raw socket sees as one datagram."""
    while len(train) >= 20:
        length = 20 + struct.unpack("!H", train[2:4])[0]
        yield train[:length]
        train = train[length:]


def error(message):
    """The number of an error response; `None`: it is a success."""
    code = read(message).get(ERROR_CODE)
    return code and code[2] * 100 + code[3]


class Raw:
    """Sends from `own` at `port`, whoever has it, to `server`, and sees what comes from there."""

    def __init__(self, own, port, server, where=EDGE):
        self.own, self.port, self.server = own, port, server
        self.proof = None
        self.raw = World.opened(where, lambda: socket.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP))
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        # Not connected: it is not to hear of ports that nobody has.
        self.raw.bind((own, 0))

    def send(self, payload, port=None, to=SERVER_PORT):
        header = struct.pack("!HHHH", port or self.port, to, 8 + len(payload), 0)
        self.raw.sendto(header + payload, (self.server, 0))

    def came(self, seconds):
        """The server's next datagram: hops left, from which port, payload; None if none comes."""
        while select.select([self.raw], [], [], seconds)[0]:
            packet, (source, _) = self.raw.recvfrom(65536)
            if source == self.server:
                udp = packet[(packet[0] & 15) * 4:]
                return packet[8], struct.unpack("!H", udp[:2])[0], udp[8:]
        return None

    def ask(self, method, attributes, tries=TRIES):
        """Asks, with a proof once there is one; returns what is said."""
        transaction = os.urandom(12)
        request = message(method, transaction, attributes)
        if self.proof:
            username, password, realm, nonce = self.proof
            key = hashlib.md5(b":".join((username, realm, password))).digest()
            named = [(USERNAME, username), (REALM, realm), (NONCE, nonce)]
            request = message(method, transaction, [*attributes, *named])
            length = struct.pack("!H", len(request) - 20 + 24)
            covered = request[:2] + length + request[4:]
            request = covered + attribute(
                INTEGRITY, hmac.new(key, covered, hashlib.sha1).digest())
        for _ in range(tries):
            self.send(request)
            end = time.monotonic() + TRY_S
            while time.monotonic() < end:
                came = self.came(TRY_S)
                if came and came[1] == SERVER_PORT and came[2][4:20] == COOKIE + transaction:
                    return came[2]
        raise TimeoutError(f"no answer from {self.server}")

    def allocate(self, user, tries=TRIES):
        """Asks for an allocation as `user`; returns what is said once it knows who asks."""
        told = read(self.ask(ALLOCATE, [UDP], tries))
        username, password = relay.credentials(user)
        self.proof = (username.encode(), password.encode(), told[REALM], told[NONCE])
        return self.ask(ALLOCATE, [UDP], tries)

    def bind(self, peer, channel):
        """Asks for a channel to a peer; returns what is said."""
        return self.ask(CHANNEL_BIND, [(CHANNEL_NUMBER, struct.pack("!HH", channel, 0)),
                                       (PEER, xored(*peer))])

    def permit(self, address):
        """Asks for a permission; returns what is said."""
        return self.ask(CREATE_PERMISSION, [(PEER, xored(address, 0))])

    def send_data(self, peer, payload):
        """Sends a peer data without a channel, which nobody answers."""
        self.send(message(SEND_INDICATION, os.urandom(12),
                          [(PEER, xored(*peer)), (DATA, payload)]))

    def echo(self, ends):
        """Sends peers back what they send, until `ends` is set."""
        while not ends.is_set():
            came = self.came(0.1)
            for one in apart(came[2]) if came else ():
                if one[:2] == struct.pack("!H", DATA_INDICATION):
                    found = read(one)
                    self.send_data(unxored(found[PEER]), found[DATA])
