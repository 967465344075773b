"""Two gateways behind one edge: that of a pair of domains dies, and the other one takes over."""

import signal

from lab import edge, peers, users, xmpp, xmpp_pool
from lab.world import expect, wait_until

HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp.RECORDS
# Which gateway serves contoso and woodgrove follows from the names alone.
ACTIVE, OTHER = xmpp_pool.SECOND_GATEWAY, xmpp_pool.GATEWAY
SIP = {xmpp_pool.GATEWAY: xmpp_pool.GATEWAY_SIP,
       xmpp_pool.SECOND_GATEWAY: xmpp_pool.SECOND_GATEWAY_SIP}


POLLERS = 1


def sip(number):
    """A gateway as the next hop's way out, which has to be the one that the pair falls to."""
    address, port = SIP[number]
    return f"sip:{address}:{port};transport=tls"


def counted(world, name, number):
    return edge.metric(world, f"entente_gateway_{name}", number=number)


def talks(carol, alice, words):
    """Both ways."""
    carol.do("say", to=alice.aor, text=f"hello {words}")
    alice.saw("message", 15, sender=carol.jid, text=f"hello {words}")
    alice.do("say", to=carol.jid, text=f"so you say {words}")
    carol.saw("message", 15, text=f"so you say {words}")


def watches(carol, alice):
    """Both watch each other."""
    alice.do("watch", to=carol.jid)
    carol.saw("presence", 15, type="subscribe", sender=alice.aor)
    carol.do("bare", to=alice.aor, type="subscribed")
    alice.saw("notify", sender=carol.jid, state="active", basic="open")
    carol.do("bare", to=alice.aor, type="subscribe")
    carol.saw("presence", type="subscribed", sender=alice.aor)


def run(world):
    woodgrove = xmpp.prosody(world, "woodgrove", "external", ["carol"])
    proxy = xmpp_pool.proxy(world, 1)
    gateways = {number: xmpp_pool.gateway(world, number, edges=(1,)) for number in SIP}
    pool = peers.pool(world, edge=sip(ACTIVE))
    wait_until("both to be linked", lambda: all(
        edge.metric(world, "entente_gateway_links", number=number) for number in SIP), 10)
    alice = users.sip_user(world, "alice")
    carol = users.xmpp_user(world, woodgrove, "carol")
    with world.check("what a contact says comes by the gateway that the pair falls to, always"):
        for number in range(5):
            talks(carol, alice, f"number {number}")
        wait_until("it to count", lambda: counted(
            world, "messages_to_sip_total", ACTIVE) == 5, 5)
        expect(counted(world, "messages_to_sip_total", OTHER) == 0, "both serve the pair")
    with world.check("each sees the other"):
        watches(carol, alice)
        alice.do("publish", basic="open", note="alice first")
        carol.saw("presence", status="alice first")
    gateways[ACTIVE].signal(signal.SIGKILL)
    gateways[ACTIVE].wait(5)
    proxy.expect("gw2.contoso.example", 5)
    wait_until("the edge to notice", lambda: edge.metric(
        world, "entente_xmpp_proxy_links_lost_total") >= 1, 5)
    # Kamailio as it is set up here has one way out, and forgets who is registered.
    pool.process.stop()
    peers.pool(world, edge=sip(OTHER), name="pool-again")
    alice.do("register")
    alice.saw("answer", method="REGISTER", status=200)
    with world.check("when it dies, the other one takes over"):
        talks(carol, alice, "after the death")
        wait_until("it to count", lambda: counted(
            world, "messages_to_sip_total", OTHER) >= 1, 5)
    with world.check("a contact who signs in again sees our user, who is subscribed to anew"):
        carol.do("logout")
        carol.saw("offline")
        heard = len(alice.events())
        carol = users.xmpp_user(world, woodgrove, "carol")
        alice.saw("subscribe", 15, since=heard, sender=carol.jid)
        carol.saw("presence", 15, type="available", status="alice first")
        alice.do("publish", basic="open", note="alice again")
        carol.saw("presence", status="alice again")
    with world.check("our user sees the contact again, who is not asked anew"):
        alice.do("watch", to=carol.jid)
        alice.saw("answer", method="SUBSCRIBE", status=lambda status: status >= 400)
        alice.do("watch", to=carol.jid)
        alice.saw("notify", 10, sender=carol.jid, state="active", basic="open")
        carol.never_saw("presence", type="subscribe")
    with world.check("edge and gateway still run"):
        expect(proxy.running() and gateways[OTHER].running(), "something ended")
