"""Two edges and two gateways behind them: the gateway that has a pair of domains stops in the middle
of what is written both ways and is killed; then so is the last one."""

import signal

from lab import edge, peers, users, xmpp, xmpp_pool
from lab.world import expect, wait_until

HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp_pool.records()
EDGES = (1, 2)
# Which gateway has contoso and woodgrove follows from the names alone.
ACTIVE, OTHER = xmpp_pool.SECOND_GATEWAY, xmpp_pool.GATEWAY
GATEWAYS = (ACTIVE, OTHER)
# What each writes while the gateway answers nothing any more.
WRITTEN = 5

POLLERS = 1


class Case:
    """The parties, some of whom change."""

    def __init__(self, world):
        self.world = world
        servers = [xmpp.prosody(world, "woodgrove", "external", ["carol"]),
                   xmpp.prosody(world, "tailspin", "dialback", ["erin"]),
                   xmpp.prosody(world, "lucerne", "clear", ["frank"])]
        self.edges = [xmpp_pool.proxy(world, number, together=True) for number in EDGES]
        self.gateways = {}
        for number in GATEWAYS:
            self.begin(number)
        self.linked(GATEWAYS)
        self.pool = peers.pool(world, patience_ms=40_000)
        self.alice = users.sip_user(world, "alice")
        self.people = [users.xmpp_user(world, server, name)
                       for server, name in zip(servers, ("carol", "erin", "frank"))]
        self.carol = self.people[0]

    def begin(self, number):
        self.gateways[number] = xmpp_pool.gateway(self.world, number, edges=EDGES, together=True)

    def linked(self, numbers):
        wait_until("both edges to be linked with each", lambda: all(
            edge.metric(self.world, "entente_gateway_links", number=number) == len(EDGES)
            for number in numbers), 20)

    def kill(self, number):
        self.gateways[number].signal(signal.SIGKILL)
        self.gateways[number].wait(5)

    def watches(self, contact):
        """Each sees the other."""
        self.alice.do("watch", to=contact.jid)
        contact.saw("presence", 15, type="subscribe")
        contact.do("bare", to=self.alice.aor, type="subscribed")
        self.alice.saw("notify", 10, sender=contact.jid, state="active", basic="open")
        contact.do("bare", to=self.alice.aor, type="subscribe")
        contact.saw("presence", 10, type="subscribed")

    def noticed(self, words):
        """What alice publishes reaches each."""
        marks = [len(contact.events()) for contact in self.people]
        self.alice.do("publish", basic="open", note=words)
        for contact, mark in zip(self.people, marks):
            contact.saw("presence", 15, since=mark, status=words)

    def notices(self, words):
        """What each says of himself reaches alice."""
        for contact in self.people:
            contact.do("presence", show="away", status=words)
            self.alice.saw("notify", 15, since=0, sender=contact.jid, note=words)

    def of_edges(self, name):
        return sum(edge.metric(self.world, f"entente_xmpp_proxy_{name}", number=number)
                   for number in EDGES)

    def handed_over(self, words, number):
        """Carol writes to a gateway that has stopped, until the edges have handed it over."""
        before = self.of_edges("messages_in_total")
        for one in range(number):
            self.carol.do("say", to=self.alice.aor, text=f"{words} {one}", id=f"{words}-{one}")
        wait_until("the edges to have handed it over",
                   lambda: self.of_edges("messages_in_total") >= before + number, 10)


def run(world):
    case = Case(world)
    alice, carol = case.alice, case.carol
    with world.check("users of three partners talk with ours"):
        for contact in case.people:
            users.talk(contact, case.alice, "first")
    for contact in case.people:
        with world.check(f"{contact.jid} and a user of ours see each other"):
            case.watches(contact)
    with world.check("each sees what changes"):
        case.noticed("alice first")
        case.notices("first")
    asked = [len(contact.events()) for contact in case.people]

    again = case.of_edges("sent_again_total")
    with world.check("what a gateway had when it died arrives by the other one"):
        case.gateways[ACTIVE].signal(signal.SIGSTOP)
        case.handed_over("amid", WRITTEN)
        case.kill(ACTIVE)
        for one in range(WRITTEN):
            alice.saw("message", 20, since=0, sender=carol.jid, text=f"amid {one}")
        wait_until("the edges to count what they sent again",
                   lambda: case.of_edges("sent_again_total") >= again + WRITTEN, 5)
        carol.never_saw("message", type="error")
    with world.check("both directions go on with each"):
        for contact in case.people:
            users.talk(contact, case.alice, "after the death")
    with world.check("contacts see our user as before, and none of them is asked anew"):
        case.noticed("alice after the death")
        for contact, mark in zip(case.people, asked):
            contact.never_saw("presence", since=mark, type="unavailable")
            contact.never_saw("presence", since=mark, type="subscribe")
    with world.check("our user's client refreshes what she watches, and sees them too"):
        for contact in case.people:
            alice.do("watch", to=contact.jid, renews=True)
            alice.saw("answer", 40, method="SUBSCRIBE", status=200, to=contact.jid)
        case.notices("after the death")

    with world.check("what the last gateway had waits for its next start, and nobody gets an error"):
        case.gateways[OTHER].signal(signal.SIGSTOP)
        case.handed_over("waits", WRITTEN)
        case.kill(OTHER)
        case.begin(OTHER)
        for one in range(WRITTEN):
            alice.saw("message", 20, since=0, sender=carol.jid, text=f"waits {one}")
        carol.never_saw("message", type="error")
    case.begin(ACTIVE)
    case.linked(GATEWAYS)
    with world.check("when both are back all goes on"):
        for contact in case.people:
            users.talk(contact, case.alice, "with both again")
        case.noticed("alice with both again")
    with world.check("no message came twice but what a gateway had when it died"):
        heard = [(event["sender"], event.get("text")) for event in alice.events()
                 if event["saw"] == "message"]
        heard = [(who, text) for who, text in heard if text.split()[0] not in ("amid", "waits")]
        expect(len(heard) == len(set(heard)), f"alice heard {heard}")
    with world.check("edges and gateways still run"):
        processes = [*case.edges, *case.gateways.values()]
        expect(all(one.running() for one in processes), "something ended")
        expect(not any("panicked" in one.text() for one in processes), "a panic")
