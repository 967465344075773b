"""Two peer connections in headless Chromium that may use nothing but the relay, by every transport.

Each carries a data channel and Opus both ways. A fourth call has a wrong credential and gets
nothing. The calls are held at the same time, in one page.
"""

import base64
import hashlib
import json
import subprocess

from lab import edge, relay, users
from lab.world import EDGE_EXTERNAL, INTEROP, expect, wait_until

STAND_IN = False
BROWSER_SECONDS = 25
# By address: the browser looks up no names in a world without an Internet.
WAYS = {
    "UDP": f"turn:{EDGE_EXTERNAL}:3478?transport=udp",
    "TCP": f"turn:{EDGE_EXTERNAL}:443?transport=tcp",
    "TLS": f"turns:{EDGE_EXTERNAL}:443?transport=tcp",
}
WRONG = "a wrong credential"


def fingerprint(world, leaf):
    """The hash of a certificate's public key, by which Chromium is told to trust it."""
    pem = subprocess.run(["openssl", "x509", "-in", f"{world.pki}/{leaf}.pem", "-noout",
                          "-pubkey"], capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=pem,
                         capture_output=True, check=True).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def browse(world):
    """Holds every call; returns what came of each."""
    ways = {}
    for way, url in {**WAYS, WRONG: WAYS["UDP"]}.items():
        username, credential = relay.credentials(way.lower().replace(" ", "-"))
        ways[way] = {"url": url, "username": username, "credential": credential}
    ways[WRONG]["credential"] = "wrong"
    with open(f"{INTEROP}/lab/relay_calls.js", encoding="utf-8") as file:
        script = f"const ways = {json.dumps(ways)};\n{file.read()}"
    done = world.run("remote", [
        users.PYTHON, f"{INTEROP}/lab/browser.py", world.folder, str(BROWSER_SECONDS),
        fingerprint(world, "edge-external")], text=script, seconds=BROWSER_SECONDS + 10,
        env={"HOME": world.folder})
    return json.loads(done.stdout.splitlines()[-1])


def run(world):
    relay.start(world)
    came = browse(world)
    for way in WAYS:
        call = came[way]
        with world.check(f"both connections have relayed candidates alone and use them, by {way}"):
            expect(call["candidates"] and set(call["candidates"]) == {"relay"}, f"{call}")
            for pair in call["pairs"]:
                expect(pair == {"local": "relay", "remote": "relay", "address": EDGE_EXTERNAL,
                                "protocol": way.lower()}, f"{pair}")
        with world.check(f"words go there and back, by {way}"):
            expect(call["words"] == ["there", "and back"], f"{call}")
        with world.check(f"each hears the other, by {way}"):
            expect([one["lost"] for one in call["audio"]] == [0, 0], f"{call}")
    with world.check("with a wrong credential there is no candidate, and Chromium is told why"):
        call = came[WRONG]
        expect(not call["candidates"] and not call["words"] and 401 in call["errors"], f"{call}")
    with world.check("the relay carried it inside itself, and keeps nothing of it"):
        wait_until("what went within to be counted", lambda: edge.metric(
            world, "entente_relay_within_total") > 200, 5)
        wait_until("the relay to be empty", lambda: not relay.allocations(world), 10)
