"""A pool of two edges that are XMPP proxies alone, and one or two gateways on the inside."""

from lab import edge, xmpp
from lab.world import ADDRESS, EDGE_INTERNAL, PUBLIC_DNS, SECOND_EXTERNAL, SECOND_INTERNAL

# Their numbers, after those of the edges, and where they take SIP.
GATEWAY, SECOND_GATEWAY = 3, 4
GATEWAY_SIP = (EDGE_INTERNAL, 5062)
SECOND_GATEWAY_SIP = (SECOND_INTERNAL, 5062)
SECRET = "0123456789abcdef" * 4


def records():
    """The public DNS names both edges, the first of them first."""
    return [*xmpp.records(), f"host-record=xmpp2.contoso.example,{SECOND_EXTERNAL}",
            "srv-host=_xmpp-server._tcp.contoso.example,xmpp2.contoso.example,5269,10,0"]


def _common(world, node, number, papers):
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
names = ["pool.contoso.example"]

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


def proxy(world, number):
    """Starts one of the edges."""
    text = _common(world, f"edge{number}", number, "edge-internal") + f"""
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
"""
    return edge.start(world, number, text=text, listens=(edge.INTERNAL[number], 23456))


def gateway(world, number=GATEWAY, edges=(1, 2)):
    """Starts a gateway, linked with the edges."""
    listens = GATEWAY_SIP if number == GATEWAY else SECOND_GATEWAY_SIP
    node = "gw" if number == GATEWAY else "gw2"
    text = _common(world, node, number, "gateway") + f"""
[gateway]
listen = ["{listens[0]}:{listens[1]}"]
identity = "internal"
store = "{world.folder}/{node}.redb"

[[next_hop]]
name = "pool.contoso.example"
port = 5061
addresses = ["{ADDRESS['pool']}"]
dialect = "simple"
""" + "".join(f"""
[[gateway_edge]]
name = "edge{one}.contoso.example"
addresses = ["{edge.INTERNAL[one]}"]
""" for one in edges)
    return edge.start(world, number, text=text, listens=listens)
