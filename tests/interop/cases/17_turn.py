"""TURN with coturn's own clients: outside, inside, from one to the other, and by a pool's address.

UDP, TCP and TLS, with TURN REST credentials and with those that the edge hands out itself.
`turnutils_uclient` allocates, permits, binds channels and counts what comes back from
`turnutils_peer`; `turnutils_stunclient` asks for its own address. Two edges stand behind one
address of a balancer, which passes datagrams on with nft.
"""

import concurrent.futures
import contextlib
import json
import re
import subprocess

from lab import edge
from lab import relay as lab_relay
from lab.world import (ADDRESS, BALANCER, EDGE, EDGE_EXTERNAL, EDGE_INTERNAL, INTEROP,
                       SECOND_EXTERNAL, TERMINATE, Failed, expect, wait_until)

SECRET = "a-secret-shared-with-an-issuer"
PEER_PORT = 3480
CREDENTIALS_PORT = 5062
# Packets of one client, and clients at once.
PACKETS, CLIENTS = 40, 3
# Bytes of one that no way here carries whole.
CUT = ("-l", "3000")


def relay(world, number=1, more=""):
    """The sections of the A/V Edge for one edge of the pool."""
    external, internal = edge.EXTERNAL[number], edge.INTERNAL[number]
    secrets = world.file("turn-secrets.txt", SECRET + "\n")
    media = world.file("media-secrets.toml", f'[[secret]]\nid = 1\nkey = "{"5a" * 32}"\n')
    return f"""
[[listener]]
address = "{internal}:{CREDENTIALS_PORT}"
class = "credentials"
identity = "internal"
[av]
relayed = ["{external}"]
realm = "contoso.example"
secrets = "{secrets}"
credentials_secrets = "{media}"
external_fqdn = "av.contoso.example"
poller = "{world.poller}"
{more}
{lab_relay.listeners(external)}[[av_listener]]
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


def client(world, where, server, *how, secret=SECRET, given=None):
    """Runs uclient to its end; returns what it printed and whether every packet came back.

    `given`: username and password as they are; without, those that `secret` makes.
    """
    proof = ["-u", given[0], "-w", given[1]] if given else ["-W", secret, "-u", "alice"]
    return lab_relay.coturn(world, where, server, (ADDRESS["partner"], PEER_PORT), *how,
                            proof=proof, clients=CLIENTS, packets=PACKETS)


def relayed(world, where, server, *how):
    text, whole = client(world, where, server, *how)
    expect(whole, text[-600:])


def credentials(world, papers, user="kim@contoso.example", location=""):
    """Has a server inside ask for credentials; returns what it was told."""
    pki = world.pki
    done = world.run("pool", [
        "python3", f"{INTEROP}/lab/mras.py", EDGE_INTERNAL, str(CREDENTIALS_PORT),
        "lsedge.contoso.example", f"{pki}/ca.pem", f"{pki}/{papers}.pem", f"{pki}/{papers}.key",
        user, location])
    return json.loads(done.stdout)


def handed_out(world):
    with world.check("a server inside gets credentials, and coturn's client allocates with them"):
        told = credentials(world, "pool", location="internet")
        expect(told.get("reason") == "OK" and told["duration"] == "480", f"{told}")
        expect(told["relays"] == [{"location": "internet", "hostName": "av.contoso.example",
                                   "udpPort": "3478", "tcpPort": "443"}], f"{told}")
        given = (told["username"], told["password"])
        for how in ((), ("-t", "-S", "-p", "443")):
            text, whole = client(world, "remote", EDGE_EXTERNAL, *how, given=given)
            expect(whole, text[-600:])
        text, whole = client(world, "remote", EDGE_EXTERNAL, "-c", given=(given[0], given[0][:28]))
        expect(not whole and "Cannot complete Allocation" in text, text[-600:])
    with world.check("both sides are told their relay, and others get no credentials"):
        told = credentials(world, "pool")
        where = [(relay["location"], relay.get("directIPAddress")) for relay in told["relays"]]
        expect(where == [("internet", None), ("intranet", EDGE_INTERNAL)], f"{told}")
        told = credentials(world, "pool", "kim@fabrikam.example")
        expect(told["reason"] == "Forbidden" and told["username"] is None, f"{told}")
        told = credentials(world, "fabrikam")
        expect(told["status"].startswith("closed"), f"{told}")


def metric(world, name, labels="", number=1):
    _, text = edge.management(world, "/metrics", number)
    found = re.search(rf"^{name}{re.escape(labels)} (\d+)", text, re.M)
    return int(found.group(1)) if found else 0


# All clients are one user's.
ROOM = "allocations_per_user = 200\nuser_kbit_s = 100000\n"
# More clients at once would be more strangers in a second than are answered of one network.
AT_ONCE = 5
# What is checked of clients that run at once, for they mostly wait: rule, host, server, how.
PEER = "a remote user reaches a peer by"
OUTSIDE = [
    *[(f"{PEER} {words}", "remote", EDGE_EXTERNAL, *how) for words, how in (
        ("channels", ()), ("Send and Data indications", ("-s",)),
        ("requests again and again", ("-G",)), ("no second port", ("-c",)),
        ("two allocations in one", ("-c", "-X")), ("channels, in fragments", CUT),
        ("Send and Data indications, in fragments", ("-s", *CUT)))],
    *[(f"{PEER} {words}", "remote", EDGE_EXTERNAL, *how, "-p", "443") for words, how in (
        ("TCP", ("-t",)), ("TLS", ("-t", "-S")), ("TCP, with indications", ("-t", "-s")),
        ("TLS, with indications", ("-t", "-S", "-s")))],
]
BESIDE = [
    ("two clients on TLS reach each other", "remote", EDGE_EXTERNAL, "-t", "-S", "-y", "-c", "-p",
     "443"),
    *[(f"two clients reach each other by TCP relayed, {words}", "remote", EDGE_EXTERNAL, *how,
       "-p", "443") for words, how in (("from one relayed port to the other", ("-T",)),
                                       ("the same over TLS", ("-T", "-S")))],
    ("a client that moves takes its allocation along", "remote", EDGE_EXTERNAL, "-M", "-c"),
    ("two clients of one edge reach each other", "remote", EDGE_EXTERNAL, "-y", "-c"),
    ("a user inside reaches a peer outside by the internal side", "pool-users", EDGE_INTERNAL),
    ("a user inside reaches a peer outside by TLS", "pool-users", EDGE_INTERNAL, "-t", "-S", "-p",
     "443"),
]


def together(world, clients):
    """Runs every client at once, and judges each by its own rule."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        came = [pool.submit(relayed, world, *how) for _, *how in clients]
    for (rule, *_), one in zip(clients, came):
        with world.check(rule):
            one.result()


def own_address(world):
    """What the client prints that asks for it; it asks once, and its datagram may be lost."""
    for _ in range(3):
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = world.run("remote", ["turnutils_stunclient", "-p", "3478", EDGE_EXTERNAL],
                             seconds=5)
            return done.stdout + done.stderr
    raise Failed("no answer in three tries")


def listed(world, number=1):
    done = world.run(EDGE, [edge.BINARY, "ctl", "--socket", f"{world.folder}/admin{number}.sock",
                            "--json", "relay", "list"])
    return json.loads(done.stdout)


def run(world):
    if world.stand_in:
        return
    first = start(world, more=ROOM)
    world.spawn("partner", "peer", ["turnutils_peer", "-L", ADDRESS["partner"],
                                    "-p", str(PEER_PORT)])
    with world.check("a client learns its own address"):
        said = own_address(world)
        expect(f"UDP reflexive addr: {ADDRESS['remote']}:" in said, said)
    together(world, OUTSIDE)
    before = metric(world, "entente_relay_within_total")
    together(world, BESIDE)
    with world.check("what clients of one edge sent each other went within"):
        wait_until("it to be counted", lambda: metric(
            world, "entente_relay_within_total") > before, 5)
    with world.check("who has another secret gets nothing"):
        text, whole = client(world, "remote", EDGE_EXTERNAL, "-c", secret="another-secret-altogether")
        expect(not whole and "Cannot complete Allocation" in text, text[-600:])
    handed_out(world)
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
    shared(world)
    pool(world)
    drain(world, first)


# As many as there are allocations at once in a call of the client, for each is permitted the address
# that all are relayed by.
SHARED = f"shared_ports = {list(range(3490, 3506))}\n"


def shared(world):
    """TCP relayed by ports that allocations share, on an edge that has no others."""
    second = start(world, 2, more=ROOM + SHARED)
    for words, how in (("", ("-T",)), (" over TLS", ("-T", "-S"))):
        with world.check(f"two clients reach each other by TCP relayed at shared ports{words}"):
            relayed(world, "remote", SECOND_EXTERNAL, *how, "-p", "443")
    with world.check("TCP that was relayed at shared ports was counted as such"):
        made = metric(world, "entente_relay_allocations_made_total", '{dialect="rfc_tcp"}', 2)
        contended = metric(world, "entente_relay_contended_total", '{what="permission"}', 2)
        expect(made >= 2 * CLIENTS and contended == 0, f"{made} made, {contended} contended")
    second.stop()


def pool(world):
    """Two edges, one address; whoever comes by it is sent to the one he has met."""
    start(world, 2)
    lab_relay.balance(world, EDGE_EXTERNAL, SECOND_EXTERNAL)

    def made():
        name, labels = "entente_relay_allocations_made_total", '{dialect="rfc"}'
        return {n: metric(world, name, labels, n) for n in (1, 2)}
    with world.check("clients of the pool's address are served by both of its edges"):
        before = made()
        with concurrent.futures.ThreadPoolExecutor(4) as at_once:
            for one in [at_once.submit(relayed, world, "remote", BALANCER) for _ in range(4)]:
                one.result()
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
