"""Two gateways behind one edge, which leads both ways to the one that a pair of domains has: it dies,
the other one takes over, and gives back when it returns."""

import signal

from lab import edge, peers, users, xmpp, xmpp_pool
from lab.world import expect, wait_until

HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp.RECORDS
# Which gateway has contoso and woodgrove follows from the names alone.
ACTIVE, OTHER = xmpp_pool.SECOND_GATEWAY, xmpp_pool.GATEWAY
GATEWAYS = (ACTIVE, OTHER)


POLLERS = 1


def lasting(expires):
    """A subscription that is begun, not ended."""
    return expires > 0


def counted(world, name, number):
    return edge.metric(world, f"entente_gateway_{name}", number=number)


def watches(carol, alice):
    """Both watch each other."""
    alice.do("watch", to=carol.jid)
    # Shorter than she asks: so long she may see what a dead gateway told her last.
    alice.saw("answer", 15, method="SUBSCRIBE", status=200, expires="600")
    carol.saw("presence", 15, type="subscribe", sender=alice.aor)
    carol.do("bare", to=alice.aor, type="subscribed")
    alice.saw("notify", sender=carol.jid, state="active", basic="open")
    carol.do("bare", to=alice.aor, type="subscribe")
    carol.saw("presence", type="subscribed", sender=alice.aor)


def serves(world, number, others, messages):
    """One gateway has had so many messages in each direction, and the others had none."""
    for way in ("sip", "xmpp"):
        name = f"messages_to_{way}_total"
        wait_until(f"{name} to count", lambda: counted(world, name, number) == messages, 5)
        expect(all(counted(world, name, one) == 0 for one in others), "both serve the pair")


def linked(world):
    wait_until("all to be linked", lambda: all(
        edge.metric(world, "entente_gateway_links", number=number) for number in GATEWAYS), 15)


def run(world):
    woodgrove = xmpp.prosody(world, "woodgrove", "external", ["carol", "mallory"])
    proxy = xmpp_pool.proxy(world, 1, together=True)
    gateways = {number: xmpp_pool.gateway(world, number, edges=(1,), together=True)
                for number in GATEWAYS}
    pool = peers.pool(world)
    linked(world)
    alice = users.sip_user(world, "alice")
    carol = users.xmpp_user(world, woodgrove, "carol")
    with world.check("both directions take the gateway that the pair falls to, always"):
        for number in range(5):
            users.talk(carol, alice, f"number {number}")
        serves(world, ACTIVE, [OTHER], 5)
    with world.check("each sees the other"):
        watches(carol, alice)
        alice.do("publish", basic="open", note="alice first")
        carol.saw("presence", status="alice first")
    carol.mark, alice.mark = len(carol.events()), len(alice.events())
    gateways[ACTIVE].signal(signal.SIGKILL)
    gateways[ACTIVE].wait(5)
    with world.check("when it dies, the other one subscribes to our user for the contact, who sees "
                     "him again, and neither of them has done anything"):
        alice.saw("subscribe", 10, sender=carol.jid, expires=lasting)
        carol.saw("presence", 10, type="available", status="alice first")
        carol.never_saw("presence", since=carol.mark, type="unavailable")
        carol.never_saw("presence", since=carol.mark, type="unsubscribed")
    with world.check("what they write takes the other one, and nobody has to lead it there"):
        users.talk(carol, alice, "after the death")
        serves(world, OTHER, [], 1)
    proxy.expect("gw2.contoso.example", 5)
    with world.check("a contact who signs in again sees our user"):
        carol.do("logout")
        carol.saw("offline")
        carol = users.xmpp_user(world, woodgrove, "carol")
        carol.saw("presence", 15, type="available", status="alice first")
        alice.do("publish", basic="open", note="alice again")
        carol.saw("presence", status="alice again")
    with world.check("our user's client refreshes, is refused, subscribes anew, and sees the contact, "
                     "who is not asked again"):
        alice.do("watch", to=carol.jid, renews=True)
        alice.saw("answer", method="SUBSCRIBE", status=lambda status: status >= 400)
        alice.saw("notify", 10, sender=carol.jid, state="active", basic="open")
        carol.never_saw("presence", type="subscribe")
    with world.check("what is decided while one is away"):
        mallory = users.xmpp_user(world, woodgrove, "mallory")
        mallory.do("bare", to=alice.aor, type="subscribe")
        mallory.saw("presence", type="subscribed", sender=alice.aor)
    carol.mark, alice.mark = len(carol.events()), len(alice.events())
    gateways[ACTIVE] = xmpp_pool.gateway(world, ACTIVE, edges=(1,), together=True)
    linked(world)
    with world.check("the one that is back learns it, has its pair again, and users see each other"):
        for contact in (carol, mallory):
            alice.saw("subscribe", 10, sender=contact.jid, expires=lasting)
        alice.saw("notify", 10, sender=carol.jid, state="terminated")
        wait_until("the other one to let go", lambda: counted(
            world, "given_back_total", OTHER) == 2, 5)
        users.talk(carol, alice, "after the return")
        # Her client would send it again, and a pool that has forgotten it takes it for another one.
        alice.saw("answer", 10, method="MESSAGE", status=200)
        wait_until("it to count", lambda: counted(world, "messages_to_sip_total", ACTIVE) == 1, 5)
        alice.do("watch", to=carol.jid)
        alice.saw("notify", 10, sender=carol.jid, state="active", basic="open")
        alice.do("publish", basic="open", note="alice back")
        for contact in (carol, mallory):
            contact.saw("presence", since=0, status="alice back")
        carol.never_saw("presence", type="unavailable")
        carol.never_saw("presence", type="subscribe")
    with world.check("what the pool sends to the wrong gateway is handed over"):
        pool.process.stop()
        address, port = xmpp_pool.GATEWAY_SIP
        peers.pool(world, edge=f"sip:{address}:{port};transport=tls", name="pool-again")
        alice.do("register")
        alice.saw("answer", method="REGISTER", status=200)
        before = counted(world, "messages_to_xmpp_total", ACTIVE)
        users.talk(carol, alice, "by the wrong door")
        wait_until("it to count", lambda: counted(
            world, "messages_to_xmpp_total", ACTIVE) == before + 1, 5)
        expect(counted(world, "handed_over_total", OTHER) >= 1, "nothing was handed over")
    with world.check("edge and gateways still run"):
        expect(proxy.running() and all(one.running() for one in gateways.values()),
               "something ended")
