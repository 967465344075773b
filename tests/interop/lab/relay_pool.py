"""Two edges of one pool, each in a namespace of its own, with relayed addresses that are private.

    edge    198.51.100.10, relayed 10.77.1.1 --+
    second  198.51.100.12, relayed 10.77.1.2 --+-- ext0, the balancer at 198.51.100.60 before them

The address rule allows 198.51.100.0/24 and nothing of 10.0.0.0/8: only the pool's file makes one
edge's relayed addresses peers of the other's clients. Each has other relayed ports.
"""

from lab import edge, relay
from lab.world import BALANCER, EDGE, EDGE_EXTERNAL, ip

SECOND = "second"
EXTERNAL = {1: EDGE_EXTERNAL, 2: "198.51.100.12"}
RELAYED = {1: "10.77.1.1", 2: "10.77.1.2", 3: "10.77.1.3"}
FIRST_PORT, PORTS = {1: 50000, 2: 51000, 3: 52000}, 500
HOSTS = {SECOND: ("ext0", EXTERNAL[2])}
SECOND_INTERNAL = "203.0.113.12"


def ports(number):
    return f"{FIRST_PORT[number]}-{FIRST_PORT[number] + PORTS - 1}"


def listed(number):
    """What the pool's file says of an edge; the third one's clients come in somewhere else."""
    listener = f"{EXTERNAL.get(number, '198.51.100.13')}:3478"
    return f"""[[edge]]
name = "edge{number}.contoso.example"
relayed = ["{RELAYED[number]}"]
ports = "{ports(number)}"
listeners = ["{listener}"]
"""


def pool_file(world, *numbers, text=None):
    """Writes the pool's file, which every edge reads: these edges, or `text`."""
    return world.file("pool.toml", text or "".join(listed(number) for number in numbers))


def configuration(world, number, more=""):
    """The whole configuration of one edge; `more` is keys of [av]."""
    external = EXTERNAL[number]
    turn = world.file("turn-secrets.txt", relay.SECRET + "\n")
    secrets = world.file("secrets.toml", f'[[secret]]\nid = 1\nkey = "{"a5" * 32}"\n')
    nodes = "".join(f"""
[[plan_node]]
name = "edge{of}.contoso.example"
access = ["{EXTERNAL[of]}"]
av = ["{EXTERNAL[of]}"]
internal = ["{edge.INTERNAL[of]}"]
""" for of in EXTERNAL)
    text = edge.configuration(world, number, more=f"""
[av]
relayed = ["{RELAYED[number]}"]
ports_first = {FIRST_PORT[number]}
ports_count = {PORTS}
pool = "pool.toml"
secrets = "{turn}"
poller = "{world.poller}"
{more}
{relay.listeners(external)}
[plan]
topology = "pool_hlb"
{nodes}""")
    text = text.replace("[edge]\n", f'[edge]\npool_members = 2\nsecrets = "{secrets}"\n')
    return text.replace("[management]\n", f'[management]\nsocket = "{socket(world, number)}"\n')


def socket(world, number):
    return f"{world.folder}/admin{number}.sock"


def build(world):
    """Wires what both edges have beside the lab's own."""
    edge.EXTERNAL[2], edge.INTERNAL[2], edge.WHERE[2] = EXTERNAL[2], SECOND_INTERNAL, SECOND
    ip(f"addr add {RELAYED[1]}/24 dev ext0")
    ip(f"addr add {RELAYED[2]}/24 dev eth0", f"addr add {SECOND_INTERNAL}/32 dev lo", where=SECOND)
    # The peer answers both.
    ip("route add 10.77.1.0/24 dev eth0", where="partner")


def start(world, number, more=""):
    return edge.start(world, number, text=configuration(world, number, more))


def ctl(world, number, *what, check=True):
    """Has `entente ctl` ask an edge; returns the completed process."""
    return world.run(edge.WHERE.get(number, EDGE), [
        edge.BINARY, "ctl", "--socket", socket(world, number), *what], check=check)


def order(world, number, *what):
    """Has an edge do something and its relay know of it; returns what was said.

    A relay does in their order what it is told, so it has done that once it lists.
    """
    said = ctl(world, number, *what).stdout
    relay.allocations(world, number)
    return said


def balance(world, *numbers):
    """Has the balancer send each new flow to one of these edges, in turn."""
    relay.balance(world, *(EXTERNAL[number] for number in numbers))
