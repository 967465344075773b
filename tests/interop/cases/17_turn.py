"""TURN with coturn's own clients: outside, inside, from one to the other, and by a pool's address.

UDP, TCP and TLS. `turnutils_uclient` allocates, permits, binds channels and counts what comes back from
`turnutils_peer`; `turnutils_stunclient` asks for its own address. Two edges stand behind one
address of a balancer, which passes datagrams on with nft.
"""

import json
import re

from lab import edge
from lab.world import (ADDRESS, BALANCER, EDGE, EDGE_EXTERNAL, EDGE_INTERNAL, SECOND_EXTERNAL,
                       TERMINATE, expect, wait_until)

SECRET = "a-secret-shared-with-an-issuer"
PEER_PORT = 3480
# What comes by the pool's address arrives here.
POOL_PORT = 3479
# Packets of one client, and clients at once.
PACKETS, CLIENTS = 40, 3


def relay(world, number=1, more=""):
    """The sections of the A/V Edge for one edge of the pool."""
    external, internal = edge.EXTERNAL[number], edge.INTERNAL[number]
    secrets = world.file("turn-secrets.txt", SECRET + "\n")
    return f"""
[av]
relayed = ["{external}"]
realm = "contoso.example"
secrets = "{secrets}"
poller = "{world.poller}"
{more}
[[av_listener]]
address = "{external}:3478"
[[av_listener]]
address = "{external}:{POOL_PORT}"
node = "{external}:3478"
vip = "{BALANCER}:3478"
[[av_listener]]
address = "{external}:443"
transport = "tcp"
identity = "external"
[[av_listener]]
address = "{internal}:3478"
side = "internal"
[[av_listener]]
address = "{internal}:443"
transport = "tcp"
side = "internal"
"""


def start(world, number=1, more=""):
    socket = f'socket = "{world.folder}/admin{number}.sock"'
    text = edge.configuration(world, number, more=relay(world, number, more))
    return edge.start(world, number, text=text.replace("[management]", f"[management]\n{socket}"))


def client(world, where, server, *how, secret=SECRET):
    """Runs uclient to its end; returns what it printed and whether every packet came back."""
    done = world.run(where, [
        "turnutils_uclient", *how, "-W", secret, "-u", "alice", "-e", ADDRESS["partner"],
        "-r", str(PEER_PORT), "-m", str(CLIENTS), "-n", str(PACKETS), "-l", "160", "-z", "5",
        server], seconds=60, check=False)
    text = done.stdout + done.stderr
    counts = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", text)
    whole = bool(counts) and counts[-1][0] == counts[-1][1] and int(counts[-1][0]) > 0
    return text, whole and "Total lost packets 0 " in text


def relayed(world, where, server, *how):
    text, whole = client(world, where, server, *how)
    expect(whole, text[-600:])


def metric(world, name, labels="", number=1):
    _, text = edge.management(world, "/metrics", number)
    found = re.search(rf"^{name}{re.escape(labels)} (\d+)", text, re.M)
    return int(found.group(1)) if found else 0


def listed(world, number=1):
    done = world.run(EDGE, [edge.BINARY, "ctl", "--socket", f"{world.folder}/admin{number}.sock",
                            "--json", "relay", "list"])
    return json.loads(done.stdout)


def run(world):
    if world.stand_in:
        return
    first = start(world)
    world.spawn("partner", "peer", ["turnutils_peer", "-L", ADDRESS["partner"],
                                    "-p", str(PEER_PORT)])
    with world.check("a client learns its own address"):
        done = world.run("remote", ["turnutils_stunclient", "-p", "3478", EDGE_EXTERNAL])
        expect(f"UDP reflexive addr: {ADDRESS['remote']}:" in done.stdout + done.stderr,
               done.stdout + done.stderr)
    for words, how in (("channels", ()), ("Send and Data indications", ("-s",)),
                       ("requests again and again", ("-G",)), ("no second port", ("-c",)),
                       ("two allocations in one", ("-c", "-X"))):
        with world.check(f"a remote user reaches a peer by {words}"):
            relayed(world, "remote", EDGE_EXTERNAL, *how)
    for words, how in (("TCP", ("-t",)), ("TLS", ("-t", "-S")),
                       ("TCP, with indications", ("-t", "-s")),
                       ("TLS, with indications", ("-t", "-S", "-s"))):
        with world.check(f"a remote user reaches a peer by {words}"):
            relayed(world, "remote", EDGE_EXTERNAL, *how, "-p", "443")
    with world.check("two clients on TLS reach each other"):
        relayed(world, "remote", EDGE_EXTERNAL, "-t", "-S", "-y", "-c", "-p", "443")
    for words, how in (("from one relayed port to the other", ("-T",)),
                       ("the same over TLS", ("-T", "-S"))):
        with world.check(f"two clients reach each other by TCP relayed, {words}"):
            relayed(world, "remote", EDGE_EXTERNAL, *how, "-p", "443")
    with world.check("a client that moves takes its allocation along"):
        relayed(world, "remote", EDGE_EXTERNAL, "-M", "-c")
    with world.check("two clients of one edge reach each other"):
        before = metric(world, "entente_relay_within_total")
        relayed(world, "remote", EDGE_EXTERNAL, "-y", "-c")
        wait_until("what went within to be counted", lambda: metric(
            world, "entente_relay_within_total") > before, 5)
    with world.check("a user inside reaches a peer outside by the internal side"):
        relayed(world, "pool-users", EDGE_INTERNAL)
        relayed(world, "pool-users", EDGE_INTERNAL, "-t", "-S", "-p", "443")
    with world.check("who has another secret gets nothing"):
        text, whole = client(world, "remote", EDGE_EXTERNAL, "-c", secret="another-secret-altogether")
        expect(not whole and "Cannot complete Allocation" in text, text[-600:])
    with world.check("allocations are counted, listed and ended by an operator"):
        made = metric(world, "entente_relay_allocations_made_total", '{dialect="rfc"}')
        expect(made >= 5 * CLIENTS, f"{made} allocations")
        holder = world.spawn("remote", "holder", [
            "turnutils_uclient", "-c", "-W", SECRET, "-u", "bob", "-e", ADDRESS["partner"],
            "-r", str(PEER_PORT), "-n", "2000", "-l", "160", EDGE_EXTERNAL])

        def busy():
            return [a for a in listed(world)["listed"] if a["datagrams_to_client"] > 20]
        wait_until("its datagrams", busy, 20)
        for allocation in busy():
            done = world.run(EDGE, [edge.BINARY, "ctl", "--socket", f"{world.folder}/admin1.sock",
                                    "relay", "kill", allocation["client"]])
            expect("was ended" in done.stdout, done.stdout)
        expect(not busy(), f"{busy()}")
        holder.stop()
    pool(world)
    drain(world, first)


def pool(world):
    """Two edges, one address; whoever comes by it is sent to the one he has met."""
    start(world, 2)
    world.run("balancer", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    rules = world.file("balancer.nft", f"""
table ip balancer {{
  chain in {{
    type nat hook prerouting priority dstnat;
    udp dport 3478 dnat to numgen inc mod 2 map {{ 0 : {EDGE_EXTERNAL}, 1 : {SECOND_EXTERNAL} }} \
:{POOL_PORT}
  }}
  chain out {{
    type nat hook postrouting priority srcnat;
    udp dport {POOL_PORT} masquerade
  }}
}}
""")
    world.run("balancer", ["nft", "-f", rules])

    def made():
        name, labels = "entente_relay_allocations_made_total", '{dialect="rfc"}'
        return {n: metric(world, name, labels, n) for n in (1, 2)}
    with world.check("clients of the pool's address are served by both of its edges"):
        before = made()
        for _ in range(4):
            relayed(world, "remote", BALANCER)
        wait_until("allocations of both", lambda: all(
            made()[n] > before[n] for n in (1, 2)), 5)


def drain(world, process):
    with world.check("an edge that drains takes nobody new and ends"):
        world.run(EDGE, [edge.BINARY, "ctl", "--socket", f"{world.folder}/admin1.sock", "relay",
                         "drain"])
        text, whole = client(world, "remote", EDGE_EXTERNAL, "-c")
        expect(not whole and "508" in text, text[-600:])
        process.signal(TERMINATE)
        expect(process.wait(30) == 0, f"status {process.child.returncode}")
