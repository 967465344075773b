"""Fabrikam with an edge of our own in its namespace: a second organisation, media included.

    partner, 198.51.100.20 | 192.0.2.20 (its edge) --- 192.0.2.21, fabrikam-inside (pool and users)
"""

from lab import edge, peers, relay
from lab.world import ADDRESS, PUBLIC_DNS, ip

INSIDE = "fabrikam-inside"
EDGE_INTERNAL = "192.0.2.20"
ADDRESS[INSIDE] = "192.0.2.21"
# Contoso's edges have theirs in another namespace; a number of its own keeps logs apart.
MANAGEMENT = "127.0.0.9:9464"


def configuration(world):
    """The whole configuration of its edge."""
    external = ADDRESS["partner"]
    return f"""
[edge]
node = "edge1.fabrikam.example"
external_fqdn = "sip.fabrikam.example"
internal_fqdn = "lsedge.fabrikam.example"
domains = ["fabrikam.example"]
poller = "{world.poller}"
drain_notice_s = 1
drain_timeout_s = 5

[[listener]]
address = "{external}:5061"
class = "federation"
identity = "external"

[[listener]]
address = "{EDGE_INTERNAL}:5061"
class = "internal"
identity = "internal"

[[identity]]
name = "external"
certificate = "{world.pki}/fabrikam.pem"
key = "{world.pki}/fabrikam.key"

[[identity]]
name = "internal"
certificate = "{world.pki}/fabrikam-internal.pem"
key = "{world.pki}/fabrikam-internal.key"

[tls]
trust = ["{world.pki}/ca.pem"]

[internal]
names = ["pool.fabrikam.example"]

[[next_hop]]
name = "pool.fabrikam.example"
port = 5061
addresses = ["{ADDRESS[INSIDE]}"]

[[partner]]
domain = "contoso.example"
kind = "allowed_domain"

[addresses]
allow_networks = ["198.51.100.0/24", "192.0.2.0/24", "127.0.0.0/8"]

[dns]
servers = ["{PUBLIC_DNS}:53"]

[management]
listen = ["{MANAGEMENT}"]
allow = ["127.0.0.0/8"]

[log]
format = "text"
level = "info"
""" + relay.sections(world, external, EDGE_INTERNAL)


def start(world):
    """Wires the inside, starts pool and edge; returns the edge's process."""
    ip(f"netns add {INSIDE}")
    ip(f"link add inner type veth peer name eth0 netns {INSIDE}",
       f"addr add {EDGE_INTERNAL}/24 dev inner", "link set inner up", where="partner")
    ip(f"addr add {ADDRESS[INSIDE]}/24 dev eth0", "link set eth0 up", "link set lo up",
       f"route add default via {EDGE_INTERNAL}", where=INSIDE)
    world.name_server(INSIDE, ["127.0.0.53"], [
        f"host-record=edge1.fabrikam.example,{EDGE_INTERNAL}",
        f"host-record=lsedge.fabrikam.example,{EDGE_INTERNAL}",
        f"host-record=pool.fabrikam.example,{ADDRESS[INSIDE]}"])
    peers.kamailio(world, "fabrikam-pool", INSIDE, "fabrikam.example", "pool.fabrikam.example",
                   "fabrikam-pool", extra=(f'EDGE="sip:{EDGE_INTERNAL}:5061;transport=tls"',))
    path = world.file("fabrikam.toml", configuration(world))
    process = world.spawn("partner", "fabrikam-edge", [edge.BINARY, "run", "-c", path, "--explain"],
                          env={"RUST_BACKTRACE": "1"})
    world.wait_listening("partner", EDGE_INTERNAL, 5061, process)
    return process
