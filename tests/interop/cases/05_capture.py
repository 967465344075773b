"""tshark reads the decrypted capture of a real exchange: no malformed frame, no leak."""

import os
import time

from lab import edge, peers
from lab.world import EDGE, EDGE_EXTERNAL, expect, wait_until

DISPLAY = ["sip.Request-Line", "sip.Status-Line", "ip.src", "ip.dst", "sip.Via"]


def run(world):
    peers.partner(world)
    peers.pool(world)
    edge.start(world, key_log=True)
    capture = os.path.join(world.folder, "edge.pcapng")
    tshark = world.spawn(EDGE, "tshark", [
        "tshark", "-q", "-i", "ext0", "-i", "int0", "-f",
        f"tcp port 5061 and (host {EDGE_EXTERNAL} or net 203.0.113.0/24)", "-w", capture])
    wait_until("tshark to capture", lambda: "Capturing on" in tshark.text() and
               os.path.exists(capture) and os.path.getsize(capture) > 0, 15)
    ours, theirs = peers.ours(world), peers.theirs(world)
    with world.check("traffic both ways while the capture runs"):
        for caller, user, callee, peer in ((ours, "alice", theirs, "bob"),
                                           (theirs, "bob", ours, "alice")):
            for scenario in ("message", "dialog", "subscribe"):
                answering = callee.answer(f"{scenario}_in", peer)
                caller.call(f"{scenario}_out", user, f"{peer}@{callee.domain}").done()
                answering.done()
    time.sleep(1)
    tshark.signal(2)
    tshark.wait(10)

    def read(filter_text, *fields):
        argv = ["tshark", "-r", capture, "-o", f"tls.keylog_file:{world.folder}/keys.txt",
                "-d", "tcp.port==5061,tls", "-Y", filter_text]
        if fields:
            argv += ["-T", "fields", "-E", "separator=|"]
            for field in fields:
                argv += ["-e", field]
        return world.run(EDGE, argv, seconds=60).stdout.splitlines()

    with world.check("every kind of message is decrypted and read as SIP"):
        lines = read("sip", *DISPLAY)
        seen = "\n".join(lines)
        for word in ("MESSAGE sip:", "INVITE sip:", "SUBSCRIBE sip:", "NOTIFY sip:", "BYE sip:",
                     "INFO sip:", "ACK sip:", "SIP/2.0 200", "SIP/2.0 180"):
            expect(word in seen, f"{word} was not seen in {len(lines)} SIP frames")
    with world.check("no frame is malformed and none draws an expert error"):
        bad = read("_ws.malformed || _ws.expert.severity >= 6291456")
        expect(not bad, "\n".join(bad[:10]))
    with world.check("outside, the edge calls itself by the pool's external name only"):
        lines = read(f"sip.Request-Line && ip.src == {EDGE_EXTERNAL}", "sip.Via.sent-by.address")
        expect(lines, "the edge sent no SIP outside")
        names = {line.split(",")[0] for line in lines}
        expect(names == {"sip.contoso.example"}, f"top Vias were {names}")
    with world.check("the handshakes are TLS 1.3 or 1.2 with a client certificate asked"):
        versions = read("tls.handshake.type == 2 && tls.handshake.extensions.supported_version",
                        "tls.handshake.extensions.supported_version")
        expect(versions and set(versions) <= {"0x0304", "0x0303"}, f"{versions}")
