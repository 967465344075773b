"""The A/V Edge: its sections of a configuration, and the credentials that its users are told."""

import base64
import hashlib
import hmac
import json
import re
import time

from lab import edge
from lab.world import BALANCER, EDGE

SECRET = "a-secret-shared-with-an-issuer"
# What comes by the pool's address arrives here, and is told to come to 3478.
POOL_PORT = 3479


def listeners(external):
    """Where clients come in by the node's address, and by that of the balancer before the pool."""
    return f"""[[av_listener]]
address = "{external}:3478"
[[av_listener]]
address = "{external}:{POOL_PORT}"
node = "{external}:3478"
vip = "{BALANCER}:3478"
"""


def balance(world, *addresses):
    """Has the balancer send each new flow that comes by the pool's address to one of these, in
    turn."""
    each = ", ".join(f"{place} : {address}" for place, address in enumerate(addresses))
    world.run("balancer", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    world.run("balancer", ["nft", "-f", world.file("balancer.nft", f"""
table ip balancer
delete table ip balancer
table ip balancer {{
  chain in {{
    type nat hook prerouting priority dstnat;
    udp dport 3478 dnat to numgen inc mod {len(addresses)} map {{ {each} }} :{POOL_PORT}
  }}
  chain out {{
    type nat hook postrouting priority srcnat;
    udp dport {POOL_PORT} masquerade
  }}
}}
""")])


def sections(world, external, internal, streams_at=443, more=""):
    """The A/V Edge at these two addresses: UDP at 3478, and streams at another port; `more` is
    keys of its own section."""
    secrets = world.file("turn-secrets.txt", SECRET + "\n")
    sides = "".join(f"""
[[av_listener]]
address = "{address}:3478"
side = "{side}"
[[av_listener]]
address = "{address}:{streams_at}"
transport = "tcp"
identity = "{side}"
side = "{side}"
""" for side, address in (("external", external), ("internal", internal)))
    return f"""
[av]
relayed = ["{external}"]
secrets = "{secrets}"
poller = "{world.poller}"
{more}{sides}"""


def start(world, number=1, streams_at=443, more="", **how):
    """Starts an edge of the pool with a relay and an admin socket."""
    av = sections(world, edge.EXTERNAL[number], edge.INTERNAL[number], streams_at, more)
    text = edge.configuration(world, number, more=av, **how)
    socket = f'[management]\nsocket = "{world.folder}/admin{number}.sock"'
    return edge.start(world, number, text=text.replace("[management]", socket))


def credentials(user):
    """A username and its password for the next hour, by the TURN REST convention."""
    username = f"{int(time.time()) + 3600}:{user}"
    mac = hmac.new(SECRET.encode(), username.encode(), hashlib.sha1)
    return username, base64.b64encode(mac.digest()).decode()


def coturn(world, where, server, peer, *how, proof=(), clients=1, packets=40):
    """Runs uclient to its end; returns what it printed and whether every packet came back.

    `peer`: an address and port that send back what comes; `proof`: by what it says who it is, else
    credentials of our secret.
    """
    done = world.run(where, [
        "turnutils_uclient", *(proof or ("-W", SECRET, "-u", "alice")),
        "-e", peer[0], "-r", str(peer[1]), "-m", str(clients), "-n", str(packets), "-l", "160",
        "-z", "5", *how, server], seconds=60, check=False)
    text = done.stdout + done.stderr
    counts = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", text)
    whole = bool(counts) and counts[-1][0] == counts[-1][1] and int(counts[-1][0]) > 0
    return text, whole and "Total lost packets 0 " in text


def allocations(world, number=1):
    """The relay's allocations as an operator lists them."""
    done = world.run(edge.WHERE.get(number, EDGE), [
        edge.BINARY, "ctl", "--socket", f"{world.folder}/admin{number}.sock", "--json", "relay",
        "list"])
    return json.loads(done.stdout)["listed"]
