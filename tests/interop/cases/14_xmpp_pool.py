"""Two edges and a gateway behind them: one edge dies amid a conversation, then the other one."""

import signal

from lab import edge, peers, users, xmpp, xmpp_pool
from lab.world import expect, wait_until

HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp_pool.records()
EDGES = (1, 2)
# What alice writes while the edge that carries it answers nothing any more.
WRITTEN = 5


def counted(world, name, number):
    return edge.metric(world, f"entente_{name}", number=number)


class Case:
    """The parties, some of whom change."""

    def __init__(self, world):
        self.world = world
        self.servers = [xmpp.prosody(world, "woodgrove", "external", ["carol"]),
                        xmpp.prosody(world, "tailspin", "dialback", ["erin"]),
                        xmpp.prosody(world, "lucerne", "clear", ["frank"])]
        self.edges = {number: xmpp_pool.proxy(world, number) for number in EDGES}
        self.gateway = xmpp_pool.gateway(world)
        address, port = xmpp_pool.GATEWAY_SIP
        self.pool = peers.pool(world, edge=f"sip:{address}:{port};transport=tls",
                               patience_ms=40_000)
        self.alice = users.sip_user(world, "alice")
        self.people = [users.xmpp_user(world, server, name)
                       for server, name in zip(self.servers, ("carol", "erin", "frank"))]
        self.carol = self.people[0]
        self.linked()

    def linked(self, least=2):
        wait_until(f"{least} links", lambda: edge.metric(
            self.world, "entente_gateway_links", number=xmpp_pool.GATEWAY) >= least, 35)

    def notices(self, words):
        """Each sees the other's new status."""
        self.alice.do("publish", basic="open", note=f"alice {words}")
        self.carol.saw("presence", 15, status=f"alice {words}")
        self.carol.do("presence", show="away", status=f"carol {words}")
        self.alice.saw("notify", 15, sender=self.carol.jid, note=f"carol {words}")

    def kill(self, number):
        """Kills the edge that woodgrove's stream comes in by; its server notices."""
        destroyed = "Destroying outgoing session woodgrove.example->contoso.example"
        before = self.servers[0].log().count(destroyed)
        self.edges[number].signal(signal.SIGKILL)
        self.edges[number].wait(5)
        # What it writes before that is lost to it, which no edge can help.
        wait_until("woodgrove to notice", lambda: self.servers[0].log().count(destroyed) > before,
                   5)

    def carrier(self, contact):
        """The edge by which what alice writes to the contact goes."""
        before = {number: self.out(number) for number in EDGES}
        text = f"by which edge, {contact.jid}, after {len(contact.events())}"
        self.alice.do("say", to=contact.jid, text=text)
        contact.saw("message", 15, text=text)
        self.alice.saw("answer", method="MESSAGE", status=200, to=contact.jid)
        return wait_until("an edge to count it", lambda: next(
            (number for number in EDGES if self.out(number) > before[number]), None), 5)

    def out(self, number):
        return counted(self.world, "xmpp_proxy_messages_out_total", number) \
            if self.edges[number].running() else 0

    def watches(self):
        of_alice = {"sender": lambda sender: sender.split("/")[0] == self.alice.aor}
        self.alice.do("watch", to=self.carol.jid)
        self.carol.saw("presence", 15, type="subscribe", **of_alice)
        self.carol.do("bare", to=self.alice.aor, type="subscribed")
        self.alice.saw("notify", sender=self.carol.jid, state="active", basic="open")
        self.carol.do("bare", to=self.alice.aor, type="subscribe")
        self.carol.saw("presence", type="subscribed", **of_alice)


def dies(case, number, words):
    """The edge stops in the middle of what alice writes, and is killed."""
    world, alice, carol = case.world, case.alice, case.carol
    again = counted(world, "gateway_sent_again_total", xmpp_pool.GATEWAY)
    with world.check(f"what edge {number} took and did not report when it died goes by the other"):
        heard = len(alice.events())
        case.edges[number].signal(signal.SIGSTOP)
        for one in range(WRITTEN):
            alice.do("say", to=carol.jid, text=f"{words} {one}")
            carol.do("say", to=alice.aor, text=f"{words} too {one}", id=f"too-{one}")
        wait_until("the gateway to have handed them over", lambda: case.pool.log.count(
            f"IN MESSAGE sip:{carol.jid}") >= WRITTEN, 10)
        case.kill(number)
        for one in range(WRITTEN):
            carol.saw("message", 20, since=0, text=f"{words} {one}")
        wait_until("alice to hear of each", lambda: sum(
            event["saw"] == "answer" and event.get("status") == 200 and event["to"] == carol.jid
            for event in alice.events()[heard:]) >= WRITTEN, 20)
        wait_until("the gateway to count it", lambda: counted(
            world, "gateway_sent_again_total", xmpp_pool.GATEWAY) >= again + 1, 5)
    # A server that connects in the very moment of the death gives up at once and says so.
    with world.check(f"what edge {number} has not acknowledged goes again too, or comes back"):
        for one in range(WRITTEN):
            wait_until(f"{words} too {one} to arrive or to come back", lambda n=one: any(
                event.get("text") == f"{words} too {n}" for event in alice.events()) or any(
                event.get("id") == f"too-{n}" and event["type"] == "error"
                for event in carol.events()), 20)
    with world.check(f"both directions go on without edge {number}"):
        for contact in case.people:
            users.talk(contact, case.alice, f"without edge {number}")
    with world.check(f"and so does presence, for which nobody is asked anew"):
        case.notices(f"without edge {number}")
        carol.never_saw("presence", since=case.asked, type="subscribe")


def run(world):
    case = Case(world)
    with world.check("users of three partners talk with ours through the pool"):
        for contact in case.people:
            users.talk(contact, case.alice, "first")
    with world.check("carol and alice watch each other"):
        case.watches()
        case.notices("first")
    case.asked = len(case.carol.events())
    with world.check("a dialback key that one edge made is verified by the other"):
        ways = {contact.jid: case.carrier(contact) for contact in case.people}
        # Prosody asks the edge that DNS names first, whichever it was that came.
        proved = [counted(world, "xmpp_proxy_proved_dialback_total", number) for number in EDGES]
        expect(proved[1] >= 1, f"edge 2 proved nothing by dialback: {ways}")
        asked = counted(world, "xmpp_proxy_dialback_keys_valid_total", 1)
        expect(asked == sum(proved) == 2, f"edge 1 was asked {asked} times, of {proved}")
    first = case.carrier(case.carol)
    dies(case, first, "amid the first death")
    case.edges[first] = xmpp_pool.proxy(world, first)
    with world.check("the edge comes back, and its pairs with it"):
        case.linked()
        users.talk(case.carol, case.alice, "with both again")
        expect(case.carrier(case.carol) == first, "the pair did not return")
    other = next(number for number in EDGES if number != first)
    with world.check("an edge that carries nothing of theirs dies unnoticed"):
        case.kill(other)
        users.talk(case.carol, case.alice, f"without edge {other}")
        case.notices(f"without edge {other}")
    with world.check("no message came twice to anybody but what was on its way"):
        for contact in case.people:
            texts = [event.get("text") for event in contact.events() if event["saw"] == "message"]
            texts = [text for text in texts if text and not text.startswith("amid")]
            expect(len(texts) == len(set(texts)), f"{contact.jid} saw {texts}")
    with world.check("gateway and edge still run"):
        expect(case.gateway.running() and case.edges[first].running(), "something ended")
        expect("panicked" not in case.gateway.text(), "a panic")
