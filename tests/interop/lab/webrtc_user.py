"""A WebRTC endpoint (aiortc over aioice) that has relayed candidates alone, driven from outside.

    webrtc_user.py

Commands and events are JSON objects, one a line, as those of `sip_user.py`; `call` names one of
several calls at once. A command has `do`: `offer` (call, url, username, password), `answer` (the
same and sdp), `accept` (call, sdp), `say` (call, text), `close` (call). An event has `saw`:
`offer` and `answer` (call, sdp, candidates), `open` (call), `message` (call, text), `audio`
(call, frames, peak: once that many frames were heard), `pair` (call, local, remote, address).
"""

import array
import asyncio
import fractions
import json
import math
import re
import sys

import av
from aiortc import (RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription,
                    rtcicetransport)
from aiortc.mediastreams import MediaStreamTrack
from relay_only import RelayOnly

SAMPLE_RATE, FRAME_SAMPLES, TONE_HZ, TONE_PEAK = 48_000, 960, 440, 12_000
# What must be heard before it counts: half a second, since a decoder needs a little to begin.
FRAMES_HEARD = 25


rtcicetransport.Connection = RelayOnly


class Tone(MediaStreamTrack):
    """A sine, in real time."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.frames, self.begun = 0, None

    async def recv(self):
        now = asyncio.get_running_loop().time()
        self.begun = self.begun or now
        await asyncio.sleep(self.begun + self.frames * FRAME_SAMPLES / SAMPLE_RATE - now)
        first = self.frames * FRAME_SAMPLES
        wave = array.array("h", (
            int(TONE_PEAK * math.sin(2 * math.pi * TONE_HZ * (first + n) / SAMPLE_RATE))
            for n in range(FRAME_SAMPLES)))
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(wave.tobytes())
        frame.pts, frame.sample_rate = first, SAMPLE_RATE
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self.frames += 1
        return frame


def tell(saw, **what):
    print(json.dumps({"saw": saw, **what}), flush=True)


class Call:
    """One peer connection."""

    def __init__(self, name, command):
        self.name = name
        server = RTCIceServer(command["url"], command["username"], command["password"])
        self.connection = RTCPeerConnection(RTCConfiguration([server]))
        self.connection.addTrack(Tone())
        self.channel = None
        self.connection.on("datachannel", self.has)
        self.connection.on("track", lambda track: asyncio.ensure_future(self.hear(track)))

    def has(self, channel):
        self.channel = channel
        channel.on("message", lambda text: tell("message", call=self.name, text=text))
        if channel.readyState == "open":
            self.opened()
        else:
            channel.on("open", self.opened)

    def opened(self):
        tell("open", call=self.name)
        transport = self.connection.sctp.transport.transport
        pair = next(iter(transport._connection._nominated.values()))
        local, remote = pair.local_candidate, pair.remote_candidate
        tell("pair", call=self.name, local=local.type, remote=remote.type, address=remote.host)

    async def hear(self, track):
        peak = 0
        for _ in range(FRAMES_HEARD):
            frame = await track.recv()
            peak = max(peak, *array.array("h", bytes(frame.planes[0])))
        tell("audio", call=self.name, frames=FRAMES_HEARD, peak=peak)

    async def describe(self, kind):
        make = {"offer": self.connection.createOffer, "answer": self.connection.createAnswer}
        await self.connection.setLocalDescription(await make[kind]())
        sdp = self.connection.localDescription.sdp
        candidates = sorted(set(re.findall(r"^a=candidate:.* typ (\w+)", sdp, flags=re.M)))
        tell(kind, call=self.name, sdp=sdp, candidates=candidates)

    async def obey(self, command):
        what = command["do"]
        if what in ("answer", "accept"):
            kind = {"answer": "offer", "accept": "answer"}[what]
            await self.connection.setRemoteDescription(
                RTCSessionDescription(command["sdp"], kind))
        if what == "offer":
            self.has(self.connection.createDataChannel("words"))
        if what in ("offer", "answer"):
            await self.describe(what)
        if what == "say":
            self.channel.send(command["text"])
        if what == "close":
            await self.connection.close()
            tell("closed", call=self.name)


async def main():
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell("ready")
    calls = {}

    async def obey(command):
        try:
            await calls[command["call"]].obey(command)
        except Exception as why:  # whatever it is, the case is to hear of it
            tell("failed", call=command["call"], do=command["do"], why=repr(why))
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] in ("offer", "answer"):
            calls[command["call"]] = Call(command["call"], command)
        asyncio.ensure_future(obey(command))


asyncio.run(main())
