"""A bad line: carries Ethernet frames between two hosts, late, out of order and not all of them.

    shuttle.py NAMESPACE DEVICE NAMESPACE DEVICE

Makes a TAP device in each namespace (an empty name is the one it runs in) and prints READY. Each
line of its standard input is a JSON object that sets `delay_ms`, `jitter_ms` (drawn for each frame
from 0 up, so that frames overtake each other) and `lose_every` (each so manieth frame of either
direction that is long enough to be media; 0 loses none). The kernel of the lab has no netem.
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0002, 0x1000, 0x40000000
FRAME_BYTES = 2048
# Longer than an acknowledgement of TCP and shorter than 160 bytes of audio in a datagram.
MEDIA_BYTES = 190
libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def tap(namespace, device):
    """Makes a device; whoever wired the lab gives it an address or a switch."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    if namespace:
        there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        enter(there)
        os.close(there)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    enter(home)
    os.close(home)
    return fd


class Line:
    """Two ends, and frames on their way."""

    def __init__(self, ends):
        self.ends, self.under_way, self.number = ends, [], 0
        self.how = {"delay_ms": 0, "jitter_ms": 0, "lose_every": 0}
        self.counted = [0, 0]
        self.random = random.Random(1)

    def take(self, end, now):
        for _ in range(64):
            try:
                frame = os.read(self.ends[end], FRAME_BYTES)
            except (BlockingIOError, OSError):
                return
            self.counted[end] += len(frame) >= MEDIA_BYTES
            every = self.how["lose_every"]
            if every and len(frame) >= MEDIA_BYTES and self.counted[end] % every == 0:
                continue
            late_ms = self.how["delay_ms"] + self.random.uniform(0, self.how["jitter_ms"])
            self.number += 1
            heapq.heappush(self.under_way, (now + late_ms / 1000, self.number, 1 - end, frame))

    def give(self, now):
        while self.under_way and self.under_way[0][0] <= now:
            _, _, end, frame = heapq.heappop(self.under_way)
            try:
                os.write(self.ends[end], frame)
            except OSError:
                pass  # a full or a downed device loses it, as a line does

    def run(self):
        waiting = b""
        while True:
            wait = max(0, self.under_way[0][0] - time.monotonic()) if self.under_way else None
            ready, _, _ = select.select([*self.ends, sys.stdin], [], [], wait)
            now = time.monotonic()
            for end, fd in enumerate(self.ends):
                if fd in ready:
                    self.take(end, now)
            self.give(now)
            if sys.stdin in ready:
                piece = sys.stdin.buffer.raw.read(4096)
                if not piece:
                    return
                waiting += piece
                while b"\n" in waiting:
                    said, _, waiting = waiting.partition(b"\n")
                    self.how.update(json.loads(said))
                    print("SET", said.decode(), flush=True)


def main():
    one, device, other, other_device = sys.argv[1:]
    line = Line([tap(one, device), tap(other, other_device)])
    print("READY", flush=True)
    line.run()


main()
