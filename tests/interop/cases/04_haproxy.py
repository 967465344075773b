"""A pool of two edges behind HAProxy, run with the very file an operator takes: tuning/haproxy.cfg.

PROXY v2 carries the partner's address, SIP OPTIONS over mutual TLS is the health check, and an edge
that drains loses the balancer first and its port afterwards, while traffic goes on by the other.
"""

import csv
import io
import os
import socket
import time

from lab import edge, peers
from lab.world import (ADDRESS, BALANCER, EDGE, EDGE_EXTERNAL, REPOSITORY, SECOND_EXTERNAL,
                       TERMINATE, expect, wait_until)

SIP_ADDRESS = BALANCER


def servers(path):
    """The balancer's own view: {name: (status, check_status, last_chk)}."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        connection.sendall(b"show stat\n")
        text = b""
        while piece := connection.recv(65536):
            text += piece
    rows = csv.DictReader(io.StringIO(text.decode().lstrip("# ")))
    # A star says that the next check is under way.
    return {r["svname"]: (r["status"], r["check_status"].lstrip("* "), r["last_chk"]) for r in rows
            if r["pxname"] == "federation_edges" and r["svname"].startswith("edge")}


def run(world):
    peers.partner(world)
    peers.pool(world)
    edges = {n: edge.start(world, n, proxied=True) for n in (1, 2)}
    stats = os.path.join("/run", "haproxy.sock")
    balancer = world.spawn("balancer", "haproxy", [
        "haproxy", "-db", "-f", os.path.join(REPOSITORY, "tuning", "haproxy.cfg")], env={
            "ENTENTE_VIP": BALANCER, "ENTENTE_EDGE1": EDGE_EXTERNAL,
            "ENTENTE_EDGE2": SECOND_EXTERNAL, "ENTENTE_SOCKET": stats,
            "ENTENTE_CHECK_IDENTITY": f"{world.pki}/balancer.both.pem",
            "ENTENTE_CHECK_TRUST": f"{world.pki}/ca.pem"})
    world.wait_listening("balancer", BALANCER, 5061, balancer)
    with world.check("both edges answer the SIP health check with 200"):
        wait_until("both edges up by L7OK", lambda: all(
            s[:2] == ("UP", "L7OK") for s in servers(stats).values()), 10)
    ours, theirs = peers.ours(world), peers.theirs(world)
    with world.check("MESSAGE in through the balancer"):
        answering = ours.answer("message_in", "alice", calls=20)
        theirs.call("message_out", "bob", "alice@contoso.example", calls=20, rate=50).done()
        answering.done()
    refuse_wrong_headers(world)
    drain(world, stats, edges, ours, theirs)
    with world.check("the edge knew the partner by its own address"):
        # A leg is told of when it ends, and the balancer may have given the partner's to either.
        next(one for one in world.processes if one.name == "fabrikam").stop()
        told = f"federation leg from {ADDRESS['partner']}:"
        wait_until("the partner in a log",
                   lambda: told in edges[1].text() + edges[2].text())


def refuse_wrong_headers(world):
    url = f"https://{EDGE_EXTERNAL}:5061/"
    credentials = ["--cert", f"{world.pki}/fabrikam.both.pem", "-k", "-m", "5", "-v", "-sS"]
    with world.check("the balancer's address without a PROXY header is refused"):
        done = world.run("balancer", ["curl", *credentials, url], check=False)
        expect("SSL connection using" not in done.stderr, "a handshake was completed")
    with world.check("a PROXY header from anybody else is refused"):
        done = world.run("stranger", ["curl", "--haproxy-protocol", *credentials, url], check=False)
        expect("SSL connection using" not in done.stderr, "a handshake was completed")
    with world.check("the balancer's address with PROXY v1 is served"):
        done = world.run("balancer", ["curl", "--haproxy-protocol", *credentials, url],
                         check=False)
        expect("SSL connection using" in done.stderr, f"no handshake: {done.stderr}")


def drain(world, stats, edges, ours, theirs):
    """SIGTERM to the first edge under traffic; what the check, the partner and the process saw."""
    answering = ours.answer("message_in", "alice", calls=120, seconds=40)
    calling = theirs.call("message_out", "bob", "alice@contoso.example", calls=120, rate=10,
                          seconds=40)
    time.sleep(2)
    edges[1].signal(TERMINATE)
    with world.check("drain: the check fails by its answer while the port is still open"):
        def seen():
            return servers(stats)["edge1"]
        wait_until("the check to fail", lambda: seen()[1] != "L7OK", 6)
        status, check, last = seen()
        expect(check in ("L7RSP", "L7STS"), f"the check saw {status} {check} {last}")
        listening = world.run(EDGE, ["ss", "-Hltn"]).stdout
        expect(f"{EDGE_EXTERNAL}:5061" in listening, "the port closed before the check failed")
        wait_until("edge1 to be DOWN", lambda: seen()[0].startswith("DOWN"), 5)
        expect(edges[1].running(), "the process ended before the balancer left it")
    with world.check("drain: /readyz fails, /livez does not"):
        expect(edge.management(world, "/readyz")[0] == 503, "ready while draining")
        expect(edge.management(world, "/livez")[0] == 200, "not alive while draining")
    with world.check("drain: the edge ends with status 0 within its time"):
        expect(edges[1].wait(25) == 0, f"status {edges[1].child.returncode}")
    with world.check("drain: no message of the partner was lost"):
        calling.done(40)
        answering.done(40)
    with world.check("the other edge serves alone"):
        expect(servers(stats)["edge2"][0] == "UP", f"{servers(stats)}")
