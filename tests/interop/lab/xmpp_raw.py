"""A peer that speaks to a server of XMPP byte by byte: what no XMPP server would send."""

import ctypes
import re
import socket
import ssl
import threading
import time

from lab.world import EDGE, Failed, expect

CLONE_NEWNET = 0x40000000
HEADER = ("<?xml version='1.0'?><stream:stream xmlns='{space}' "
          "xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' "
          "{frm}{to} version='1.0'>")
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
EXTERNAL = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"


def header(frm, to="contoso.example", space="jabber:server"):
    """A stream header; without `frm` or `to` the attribute is missing."""
    return HEADER.format(space=space, frm=f"from='{frm}' " if frm else "",
                         to=f"to='{to}'" if to else "")


def socket_in(where):
    """A TCP socket of the namespace `where`, which a socket keeps whatever thread uses it."""
    made = []

    def make():
        if where != EDGE:
            with open(f"/run/netns/{where}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    return
        made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    expect(made, f"no socket in {where}")
    return made[0]


class Stream:
    """One connection from `where`; nothing is sent by itself."""

    def __init__(self, world, where, address, port=5269):
        self.world = world
        self.socket = socket_in(where)
        self.socket.settimeout(10)
        self.socket.connect((address, port))
        self.heard = ""

    def send(self, text):
        """Sends `text`, or as much as the peer takes before it hangs up."""
        try:
            self.socket.sendall(text.encode() if isinstance(text, str) else text)
        except OSError:
            pass  # What it said before that is still to be read.
        return self

    def read(self, wanted=None, seconds=10.0):
        """Reads until `wanted` (a pattern) was heard; without one, until the peer hangs up."""
        end = time.monotonic() + seconds
        while wanted is None or not re.search(wanted, self.heard):
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = self.socket.recv(65536)
            except TimeoutError:
                raise Failed(f"waited {seconds:g} s for {wanted or 'the end'} behind "
                             f"{self.heard[-300:]!r}") from None
            except OSError:
                piece = b""
            if not piece:
                expect(wanted is None, f"the end came before {wanted}: {self.heard[-300:]!r}")
                return self.heard
            self.heard += piece.decode(errors="replace")
        return self.heard

    def greet(self, frm, to="contoso.example"):
        """Opens the stream and hears the features."""
        self.heard = ""
        self.send(header(frm, to))
        self.read("</stream:features>|<stream:features/>")
        return self

    def encrypt(self, papers=None):
        """STARTTLS, showing the certificate `papers` or none."""
        self.heard = ""
        self.send(STARTTLS)
        self.read("<proceed [^>]*>")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(f"{self.world.pki}/ca.pem")
        if papers:
            context.load_cert_chain(f"{self.world.pki}/{papers}.pem",
                                    f"{self.world.pki}/{papers}.key")
        self.socket.settimeout(10)
        self.socket = context.wrap_socket(self.socket)
        return self

    def authenticate(self, domain):
        """SASL EXTERNAL for `domain`, whose certificate was shown; the stream is open then."""
        self.greet(domain)
        self.send(EXTERNAL).read("<success ")
        return self.greet(domain)

    def ends_with(self, condition, seconds=10.0):
        """The peer says this stream error, ends the stream and hangs up."""
        heard = self.read(None, seconds)
        said = re.findall(r"<stream:error><([a-z-]+) ", heard)
        expect(said == [condition], f"{condition} was wanted: {heard[-300:]!r}")
        expect(heard.rstrip().endswith("</stream:stream>"), f"no end: {heard[-300:]!r}")
        self.socket.close()

    def close(self):
        self.socket.close()
