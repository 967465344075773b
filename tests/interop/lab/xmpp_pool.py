"""A pool of edges that are XMPP proxies, and one or two gateways on the inside.

`together`: the edge is an Access Edge too and leads the pool's requests to the gateways, which know
of each other.
"""

from lab import edge, xmpp
from lab.world import ADDRESS, EDGE_INTERNAL, PUBLIC_DNS, SECOND_EXTERNAL, SECOND_INTERNAL

# Their numbers, after those of the edges, and where they take SIP.
GATEWAY, SECOND_GATEWAY = 3, 4
GATEWAY_SIP = (EDGE_INTERNAL, 5062)
SECOND_GATEWAY_SIP = (SECOND_INTERNAL, 5062)
POOL = f"""
[[next_hop]]
name = "pool.contoso.example"
port = 5061
addresses = ["{ADDRESS['pool']}"]
dialect = "simple"
"""
BY_SIP = f"""gateway_sip = [
  "gw.contoso.example:{GATEWAY_SIP[1]}",
  "gw2.contoso.example:{SECOND_GATEWAY_SIP[1]}",
]
gateway_addresses = ["{GATEWAY_SIP[0]}", "{SECOND_GATEWAY_SIP[0]}"]
"""
SECRET = "0123456789abcdef" * 4


def records():
    """The public DNS names both edges, the first of them first."""
    return [*xmpp.records(), f"host-record=xmpp2.contoso.example,{SECOND_EXTERNAL}",
            "srv-host=_xmpp-server._tcp.contoso.example,xmpp2.contoso.example,5269,10,0"]


def _common(world, node, number, papers, peers=()):
    names = ", ".join(f'"{name}.contoso.example"' for name in ("pool", *peers))
    return f"""
[edge]
node = "{node}.contoso.example"
external_fqdn = "sip.contoso.example"
internal_fqdn = "{node}.contoso.example"
domains = ["contoso.example"]
poller = "{world.poller}"
drain_notice_s = 1
drain_timeout_s = 5
secrets = "{world.file('secrets.toml', f'[[secret]]{chr(10)}id = 1{chr(10)}key = "{SECRET}"')}"

[tls]
trust = ["{world.pki}/ca.pem"]

[internal]
names = [{names}]

[addresses]
allow_networks = ["198.51.100.0/24", "203.0.113.0/24", "127.0.0.0/8"]

[dns]
servers = ["{PUBLIC_DNS}:53"]

[management]
listen = ["{edge.management_address(number)}"]
allow = ["127.0.0.0/8"]

[log]
format = "text"
level = "info"

[[identity]]
name = "internal"
certificate = "{world.pki}/{papers}.pem"
key = "{world.pki}/{papers}.key"
""" + "".join(f'\n[[xmpp_partner]]\ndomain = "{name}.example"\nkind = "federated"\n{methods}\n'
              for name, methods in xmpp.PARTNERS.items())


def proxy(world, number, together=False):
    """Starts one of the edges."""
    inside = f"""{POOL}
[[listener]]
address = "{edge.INTERNAL[number]}:5061"
class = "internal"
identity = "internal"
""" if together else ""
    peers = ("gw", "gw2") if together else ()
    text = _common(world, f"edge{number}", number, "edge-internal", peers) + f"""{inside}
[[identity]]
name = "external"
certificate = "{world.pki}/edge-external.pem"
key = "{world.pki}/edge-external.key"

[[listener]]
address = "{edge.EXTERNAL[number]}:5269"
class = "xmpp"
identity = "external"

[[listener]]
address = "{edge.INTERNAL[number]}:23456"
class = "xmpp_link"
identity = "internal"

[xmpp]
gateways = ["gw.contoso.example", "gw2.contoso.example"]
{BY_SIP if together else ""}
"""
    return edge.start(world, number, text=text, listens=(edge.INTERNAL[number], 23456))


def gateway(world, number=GATEWAY, edges=(1, 2), together=False):
    """Starts a gateway, linked with the edges."""
    listens = GATEWAY_SIP if number == GATEWAY else SECOND_GATEWAY_SIP
    node = "gw" if number == GATEWAY else "gw2"
    peers = ("gw", "gw2", *(f"edge{one}" for one in edges)) if together else ()
    text = _common(world, node, number, "gateway", peers) + (
        f"\n[xmpp]\n{BY_SIP}" if together else "") + f"""
[gateway]
listen = ["{listens[0]}:{listens[1]}"]
identity = "internal"
store = "{world.folder}/{node}.redb"
{POOL}
""" + "".join(f"""
[[gateway_edge]]
name = "edge{one}.contoso.example"
addresses = ["{edge.INTERNAL[one]}"]
""" for one in edges)
    return edge.start(world, number, text=text, listens=listens)
