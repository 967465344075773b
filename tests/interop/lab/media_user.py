"""A SIP user agent whose calls have audio, by relayed candidates alone (ICE of aioice).

    media_user.py AOR ADDRESS PORT REGISTRAR [AUTHORITY]

As `lync_user.py`, over UDP or, with the file of an authority, by one TLS connection to REGISTRAR at
443. `relay` (server, port, transport, username, password) names the relay from now on; `call` (to)
and `bye` (to) begin and end a call, `move` (to) takes it to the relay named last, `talk` (packets,
every_ms) sends RTP, `report` tells what was heard so far and `reset` forgets it first. Events besides:
`call` (sender, what: invited, accepted, moved, ended), `media` (local, remote: kinds of the
candidates in use, address: the other's), `talked` (packets), `heard` (distinct, late, twice,
damaged).
"""

import asyncio
import hashlib
import re
import socket
import ssl
import struct
import sys
import threading

import aioice
from lync_user import LyncAgent
from relay_only import RelayOnly
from sip_user import CRLF, Dialog, Headers, tag_of, tell, uri_of, user_of

SDP = """v=0
o=- 0 {version} IN IP4 {host}
s=call
c=IN IP4 {host}
t=0 0
m=audio {port} RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=ice-ufrag:{ufrag}
a=ice-pwd:{password}
a=candidate:{candidate}
"""
PAYLOAD_BYTES = 160


def payload(sequence):
    return hashlib.sha256(sequence.to_bytes(2, "big")).digest() * (PAYLOAD_BYTES // 32)


def rtp(sequence):
    header = struct.pack("!BBHII", 0x80, 0, sequence, sequence * PAYLOAD_BYTES, 0x5EED)
    return header + payload(sequence)


class Media:
    """What a call has of its relay, and what was heard there."""

    def __init__(self, relay, heard, controlling):
        host, port, transport, username, password = relay
        self.ice = RelayOnly(ice_controlling=controlling, turn_server=(host, port),
                             turn_transport="udp" if transport == "udp" else "tcp",
                             turn_ssl=transport == "tls", turn_username=username,
                             turn_password=password)
        self.heard = heard

    async def describe(self, version):
        await self.ice.gather_candidates()
        candidate, = self.ice.local_candidates
        text = SDP.format(version=version, host=candidate.host, port=candidate.port,
                          ufrag=self.ice.local_username, password=self.ice.local_password,
                          candidate=candidate.to_sdp())
        return text.replace("\n", CRLF).encode()

    async def join(self, sdp):
        """Meets the other side, whose description is `sdp`, and listens until the call ends."""
        def line(name):
            return re.search(rf"^a={name}:(.*?)\r?$", sdp, flags=re.M).group(1)
        self.ice.remote_username, self.ice.remote_password = line("ice-ufrag"), line("ice-pwd")
        await self.ice.add_remote_candidate(aioice.Candidate.from_sdp(line("candidate")))
        await self.ice.add_remote_candidate(None)
        await self.ice.connect()
        pair = self.ice._nominated[1]
        tell("media", local=pair.local_candidate.type, remote=pair.remote_candidate.type,
             address=pair.remote_candidate.host)
        try:
            while True:
                self.heard.take(await self.ice.recv())
        except ConnectionError:
            return  # the call is over

    async def talk(self, packets, every_ms):
        for sequence in range(packets):
            try:
                await self.ice.send(rtp(sequence))
            except ConnectionError:
                break  # the call is over, or goes on by another relay
            await asyncio.sleep(every_ms / 1000)
        tell("talked", packets=packets)


class Heard:
    """Counts of what came since the last `reset`."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.sequences, self.late, self.twice, self.damaged = set(), 0, 0, 0

    def forget(self):
        self.reset()
        self.tell()

    def take(self, packet):
        sequence = struct.unpack("!H", packet[2:4])[0] if len(packet) > 12 else -1
        if sequence < 0 or packet != rtp(sequence):
            self.damaged += 1
        elif sequence in self.sequences:
            self.twice += 1
        else:
            self.late += bool(self.sequences) and sequence < max(self.sequences)
            self.sequences.add(sequence)

    def tell(self):
        tell("heard", distinct=len(self.sequences), late=self.late, twice=self.twice,
             damaged=self.damaged)


class Stream:
    """A TLS connection to the edge that looks like the socket of an agent over UDP."""

    def __init__(self, address, server, authority):
        context = ssl.create_default_context(cafile=authority)
        plain = socket.create_connection((server, 443), 5, source_address=(address, 0))
        self.tls = context.wrap_socket(plain, server_hostname="sip.contoso.example")
        self.tls.setblocking(False)
        self.waiting = b""

    def fileno(self):
        return self.tls.fileno()

    def sendto(self, data, _):
        self.tls.setblocking(True)
        self.tls.sendall(data)
        self.tls.setblocking(False)

    def messages(self):
        """Every whole message there is."""
        try:
            while piece := self.tls.recv(65536):
                self.waiting += piece
            sys.exit("the edge has closed the connection")
        except ssl.SSLWantReadError:
            pass
        while self.waiting:
            self.waiting = self.waiting.lstrip(b"\r\n")
            head, found, rest = self.waiting.partition(b"\r\n\r\n")
            if not found:
                return
            length = int(Headers(head + found).get("content-length") or 0)
            if len(rest) < length:
                return
            yield head + found + rest[:length], None
            self.waiting = rest[length:]


class MediaAgent(LyncAgent):
    """One endpoint with at most one call at a time."""

    def __init__(self, aor, address, port, registrar, authority=None):
        super().__init__(aor, address, port, registrar)
        if authority is not None:
            self.transport = "TLS"
            self.socket.close()
            self.socket = Stream(address, registrar, authority)
            self.contact = self.contact.replace(">", ";transport=tls>")
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.heard, self.relay, self.media, self.version = Heard(), None, None, 0

    def arrivals(self):
        return super().arrivals() if self.transport == "UDP" else self.socket.messages()

    def begin(self, coroutine):
        """Begins something on the loop of the media; what goes wrong there is told."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)

        def ended(future):
            if not future.cancelled() and (why := future.exception()) is not None:
                tell("failed", why=repr(why))
        future.add_done_callback(ended)
        return future

    def end_media(self):
        """Gives the allocation back, if its relay still lives; nobody waits for it."""
        if self.media is not None:
            asyncio.run_coroutine_threadsafe(self.media.ice.close(), self.loop)
            self.media = None

    def describe(self, controlling):
        """Leaves the relay there was, allocates at the one named last, and returns the SDP."""
        self.end_media()
        self.version += 1
        self.media = Media(self.relay, self.heard, controlling)
        return self.begin(self.media.describe(self.version)).result(10)

    def obey(self, command):
        what, to = command["do"], command.get("to")
        if what == "relay":
            self.relay = tuple(command[part] for part in (
                "server", "port", "transport", "username", "password"))
        elif what == "call":
            body = self.describe(True)
            sent = self.send("INVITE", f"sip:{to}", to, ["Content-Type: application/sdp"], body)
            self.inviting[sent.get("call-id")] = Dialog(
                sent.get("call-id"), sent.get("from"), None, None, [])
        elif what == "move":
            dialog = self.sessions[to]
            self.inviting[dialog.call_id] = dialog
            self.send("INVITE", dialog.target, to, ["Content-Type: application/sdp"],
                      self.describe(True), dialog)
        elif what == "talk":
            self.begin(self.media.talk(command["packets"], command["every_ms"]))
        elif what == "report":
            self.loop.call_soon_threadsafe(self.heard.tell)
        elif what == "reset":
            self.loop.call_soon_threadsafe(self.heard.forget)
        else:
            super().obey(command)
            if what == "bye":
                self.end_media()

    def invite_answered(self, message, status, to, sent):
        dialog = self.inviting[message.get("call-id")]
        if status >= 300:
            super().invite_answered(message, status, to, sent)
            return
        del self.inviting[dialog.call_id]
        moved = dialog.remote is not None
        if not moved:
            dialog.remote = message.get("to")
            dialog.routes = message.all("record-route")[::-1]
        dialog.target = uri_of(message.get("contact"))
        self.send("ACK", dialog.target, to, dialog=dialog)
        self.sessions[to] = dialog
        tell("call", sender=to, what="moved" if moved else "accepted")
        self.begin(self.media.join(message.body.decode()))

    def request(self, message, sender):
        method = message.start.split()[0]
        branch = re.search(r"branch=([^;,\s]+)", message.get("via") or "")
        again = (branch and branch.group(1), method) in self.answered
        who = user_of(message.get("from"))
        dialog = self.sessions.get(who)
        ours = dialog is not None and dialog.call_id == message.get("call-id")
        if method == "INVITE" and ours and not again:
            tell("call", sender=who, what="moved")
            self.accept(message, sender, tag_of(dialog.local))
            dialog.target = uri_of(message.get("contact"))
        else:
            super().request(message, sender)
            if method == "BYE" and ours and not again:
                tell("call", sender=who, what="ended")
                self.end_media()

    def invited(self, message, sender, who):
        tell("call", sender=who, what="invited",
             trust=message.get("ms-edge-proxy-message-trust"))
        ours = self.accept(message, sender, None)
        self.sessions[who] = Dialog(message.get("call-id"), ours.get("to"), message.get("from"),
                                    uri_of(message.get("contact")), message.all("record-route"))

    def accept(self, message, sender, tag):
        """Answers an offer with an address of the relay named last."""
        body = self.describe(False)
        ours = self.respond(message, 200, "OK", ["Content-Type: application/sdp"], sender, tag,
                            body)
        self.begin(self.media.join(message.body.decode()))
        return ours


if __name__ == "__main__":
    MediaAgent(*sys.argv[1:]).run()
