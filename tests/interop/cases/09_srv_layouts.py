"""Partners by their federation SRV records: right and wrong layouts, both ways.

The zones are the planning guide's (lync-federation 4.2), served by hickory-server; the edges at the
other end are Kamailio's. Each outcome is asserted by status, diagnostics, log and metric.
"""

from lab import edge, names, peers
from lab.world import expect, wait_until

# Names and hosts of the partners' edges; the first speaks for many.
EDGES = {
    "layouts": ("sip.northwind.example", "partner", 5061),
    "proseware": ("sip.proseware.example", "stranger", 5443),
    "hoster": ("sipfed.hoster.example", "remote", 5061),
    "wingtip": ("edge.wingtip.example", "partner-users", 5061),
}
PARTNERS = [(fqdn, host) for fqdn, host, _ in EDGES.values()]

# Listed without anything beside the domain: kind allowed_domain, strict rule.
LISTED = ["northwind", "tailspin", "proseware", "relecloud", "lucerne", "margie", "lakeshore",
          "adatum", "alpine", "blueyonder", "emea.bellows", "cityline", "coho", "cronus", "nod",
          "fineart", "graphic", "humongous", "lamna", "munson", "trey", "southridge", "liar",
          "wideworld", "tasmanian"]

ENTRIES = """
[[partner]]
domain = "woodgrove.example"
srv_target = "same_domain"

[[partner]]
domain = "fourthcoffee.example"
srv_target = ["edge.datacentre.example"]

[[partner]]
domain = "wingtip.example"
kind = "allowed_server"
edge = "edge.wingtip.example"

[[provider]]
name = "hoster"
kind = "hosting"
edge = "sipfed.hoster.example"
enabled = true

[[provider]]
name = "closed"
kind = "hosting"
edge = "sipfed.closed.example"
enabled = false
""" + "".join(f'[[partner]]\ndomain = "{domain}.example"\n' for domain in LISTED)

# Refused on the way out: domain, what is wrong, status, ErrorId, sentence.
NOT_OUT = [
    ("adatum", "two labels below", 504, 1009,
     "names sip.it.adatum.example, which may not be its edge"),
    ("alpine", "another domain", 504, 1009,
     "names sip.alpine-edge.example, which may not be its edge"),
    ("blueyonder", "our own edge", 504, 1009,
     "names sip.contoso.example, which may not be its edge"),
    ("emea.bellows", "the parent domain", 504, 1009,
     "names sip.bellows.example, which may not be its edge"),
    ("trey", "a provider that is not enabled", 504, 1009,
     "names sipfed.closed.example, the edge of provider closed, which is not enabled"),
    ("coho", "the service refused by a dot", 504, 1008,
     "coho.example publishes that it does not federate"),
    ("cronus", "only _sips._tcp", 504, 1008,
     "cronus.example publishes no federation SRV record"),
    ("nod", "no record beside the host", 504, 1008,
     "nod.example publishes no federation SRV record"),
    ("wideworld", "SERVFAIL", 504, 1008,
     "the name servers did not answer for the SRV record of wideworld.example"),
    ("tasmanian", "no answer", 504, 1008,
     "the name servers did not answer for the SRV record of tasmanian.example"),
    ("liar", "answers about somebody else", 504, 1008,
     "liar.example publishes no federation SRV record"),
    ("fineart", "a host without an address", 504, 1014,
     "the edge of fineart.example has no address in DNS"),
    ("cityline", "an address for a name, which therefore has none", 504, 1014,
     "the edge of cityline.example has no address in DNS"),
    ("adventure", "right, but nobody lists it", 403, 1005,
     "adventure.example is no listed partner and discovery is off"),
]
# The same, but not on the way in: an address matters only to who connects, and for a domain
# that nobody lists a stranger makes us ask no name server.
ONLY_OUT = [
    ("graphic", "a private address", 504, 1014, "10.1.2.3 is not globally routable"),
    ("munson", "an address of our inside", 504, 1014, "203.0.113.20 is not globally routable"),
    ("humongous", "an address of this edge", 504, 1014, "198.51.100.10 is an address of this edge"),
    ("lamna", "an address of its management", 504, 1014, "127.0.0.9 is in a management network"),
    ("vanarsdel", "a provider's customer that nobody lists", 403, 1028,
     "vanarsdel.example is hosted by a provider, is not listed, and discovery is off"),
]
# Forwarded on the way out: domain, why, to which of the edges.
OUT = [
    ("northwind", "a host one label below, whatever liars say", "layouts"),
    ("proseware", "a port of its own", "proseware"),
    ("tailspin", "the best target that lives", "layouts"),
    ("relecloud", "a hosting provider's edge", "hoster"),
    ("wingtip", "a stated edge, without a record", "wingtip"),
    ("woodgrove", "two labels below, where the entry permits it", "layouts"),
    ("fourthcoffee", "a name that the entry permits", "layouts"),
    ("lucerne", "a host that is an alias", "layouts"),
    ("margie", "the one address of three that may be connected to", "layouts"),
    ("lakeshore", "an answer that takes its time", "layouts"),
]
# The same on the way in; its address does not matter, its name does.
IN = OUT + [("graphic", "a private address, which nobody connects to", "layouts")]
# Refused on the way in although nothing is wrong with the record: from which edge.
NOT_IN = [
    ("southridge", "an edge without the name of the record", "layouts", 403, 1016,
     "the certificate does not carry sip.southridge.example, which speaks for southridge.example"),
    ("relecloud", "a provider's customer, by another edge", "layouts", 403, 1016,
     "the certificate does not carry sipfed.hoster.example, which speaks for relecloud.example"),
    ("northwind", "a provider, for somebody else's domain", "hoster", 403, 1016,
     "provider hoster sends for northwind.example, which does not resolve to it"),
    ("vanarsdel", "a provider's customer that nobody lists", "hoster", 403, 1028,
     "vanarsdel.example is hosted by a provider, is not listed, and discovery is off"),
    ("vanarsdel", "a domain that nobody lists, by a stranger", "layouts", 403, 1005,
     "vanarsdel.example is no listed partner and discovery is off"),
    ("wingtip", "a stated partner, by another edge", "layouts", 403, 1016,
     "the certificate does not carry edge.wingtip.example, which speaks for wingtip.example"),
]


def configuration(world, name_server, dns="", more=""):
    """The edge of the case; its own addresses are not among the networks that it may go to."""
    text = edge.configuration(world, more=ENTRIES + more)
    for before, after in [
            ('["198.51.100.0/24", "203.0.113.0/24", "127.0.0.0/8"]',
             '["198.51.100.16/28", "198.51.100.32/27"]'),
            ('level = "info"', 'level = "info,entente::control::notes=debug"'),
            ("[dns]\n", f"[dns]\ntimeout_ms = 1000\nattempts = 1\n{dns}\n"),
            ('servers = ["198.51.100.53:53"]', f'servers = ["{name_server.address}:53"]')]:
        expect(before in text, f"the configuration has no {before}")
        text = text.replace(before, after)
    return text


def run(world):
    case = Case(world)
    case.refused_out()
    case.wrong_name_out()
    case.forwarded_out()
    case.forwarded_in()
    case.refused_in()
    case.discovered()
    case.by_the_record_of_rfc_3263()


class Case:
    """The world of the case: four edges of partners, ours, users behind all of them."""

    def __init__(self, world):
        self.world = world
        self.names = names.start(
            world, "remote", mute="tasmanian.example.", fails="wideworld.example.",
            slow="lakeshore.example.:300", lies="liar.example.:@lies.zone")
        reached = [domain for domain, _, _ in OUT] + ["adventure", "vanarsdel", "cronus"]
        hosted = (f'HOSTED="^({"|".join(reached)})\\.example$"',)
        self.edges = {
            name: peers.kamailio(world, name, host, f"{name}.example", fqdn, name, hosted, port)
            for name, (fqdn, host, port) in EDGES.items()}
        self.pool = peers.pool(world)
        self.process = edge.start(world, text=configuration(world, self.names))
        self.ours = peers.ours(world)
        self.next_port = 20000

    def users(self, domain, name):
        """SIPp users of a partner's domain, behind one of the edges."""
        _, host, _ = EDGES[name]
        users = peers.Users(self.world, "partner-users", host, f"{domain}.example")
        users.next_port = self.next_port
        self.next_port += 20
        return users

    def metric(self, name, *labels):
        return edge.metric(self.world, f"entente_{name}", labels)

    def grew(self, before, **by):
        """Waits until each counter of the Access Edge has grown by exactly so much."""
        def seen():
            return {name: self.metric(f"access_{name}_total") - before[name] for name in by}
        try:
            wait_until("counters", lambda: seen() == by, 4)
        except Exception:
            expect(seen() == by, f"counters grew by {seen()}, not by {by}")

    def counters(self):
        names_of = ["refused_by_policy", "refused_unreachable", "requests_to_partners",
                    "requests_to_inside", "connects", "connect_failures"]
        return {name: self.metric(f"access_{name}_total") for name in names_of}

    def refused_out(self):
        before = self.counters()
        table = NOT_OUT + ONLY_OUT
        for domain, why, status, diagnostics, sentence in table:
            with self.world.check(f"out, {why}: {status} with {diagnostics}"):
                self.out_refused(domain, status, diagnostics, sentence)
        with self.world.check("out: each refusal is counted, and nobody was connected to"):
            self.grew(before, refused_by_policy=len(table), connects=0, requests_to_partners=0)

    def out_refused(self, domain, status, diagnostics, sentence):
        sent = self.ours.call("message_refused", "alice", f"bob@{domain}.example", status=status)
        sent.done()
        expect(f"ms-diagnostics: {diagnostics};" in sent.messages(), sent.messages()[-800:])
        self.process.expect(sentence)

    def wrong_name_out(self):
        before = self.counters()
        with self.world.check("out, an edge without the name of the record: 504 with 1010"):
            self.out_refused("southridge", 504, 1010,
                             "no connection to sip.southridge.example: the peer's certificate does "
                             "not carry the name that was expected")
            self.grew(before, refused_unreachable=1, connect_failures=1)
            failed = self.metric("shard_connects_failed_total", 'reason="name_mismatch"')
            expect(failed == 1, f"{failed} connections failed for the name")

    def answering(self, name, calls):
        return self.users(name, name).answer("message_in_plain", "bob", calls=calls)

    def forwarded_out(self):
        before = self.counters()
        answering = [self.answering(name, sum(by == name for _, _, by in OUT))
                     for name in EDGES]
        for domain, why, name in OUT:
            with self.world.check(f"out, {why}: 200"):
                self.out_forwarded(domain, name)
        with self.world.check("out: each is counted as forwarded, the dead target as such"):
            for answers in answering:
                answers.done()
            self.grew(before, requests_to_partners=len(OUT), refused_by_policy=0,
                      refused_unreachable=0)
            self.process.expect("no connection to access1.tailspin.example: no address of the peer "
                                "accepts a connection")
            failed = self.metric("shard_connects_failed_total", 'reason="unreachable"')
            expect(failed >= 1, "no connection failed")
        with self.world.check("out: for the stated edge no record was asked for"):
            asked = self.names.asked("_sipfederationtls._tcp.wingtip.example")
            expect(asked == 0, f"asked {asked} times")

    def out_forwarded(self, domain, name):
        self.ours.call("message_plain_out", "alice", f"bob@{domain}.example").done()
        self.edges[name].saw(f"IN MESSAGE sip:bob@{domain}.example from=sip:alice@contoso.example")
        self.forwarded("inside to partner", domain)

    def forwarded(self, way, domain):
        """The log says that a message was forwarded, and by which rule."""
        rule = {"relecloud": "hosting provider hoster for relecloud.example (provider[0])",
                "vanarsdel": "hosting provider hoster for vanarsdel.example (provider[0])",
                "adventure": "discovered partner domain adventure.example (federation.discovery)",
                "wingtip": "allowed partner server edge.wingtip.example of wingtip.example (",
                }.get(domain, f"allowed partner domain {domain}.example (partner[")
        self.process.expect(f"MESSAGE forwarded, {way}: {rule}")

    def forwarded_in(self):
        before = self.counters()
        answering = self.ours.answer("message_in_plain", "alice", calls=len(IN))
        for domain, why, name in IN:
            with self.world.check(f"in, {why}: 200"):
                users = self.users(domain, name)
                users.call("message_plain_out", "bob", "alice@contoso.example").done()
                self.pool.saw(f"from=sip:bob@{domain}.example")
                self.forwarded("partner to inside", domain)
        with self.world.check("in: each is counted as forwarded"):
            answering.done()
            self.grew(before, requests_to_inside=len(IN), refused_by_policy=0)

    def refused_in(self):
        before = self.counters()
        table = [(domain, why, "layouts", *rest) for domain, why, *rest in NOT_OUT] + NOT_IN
        for domain, why, name, status, diagnostics, sentence in table:
            with self.world.check(f"in, {why}: {status} with {diagnostics}"):
                self.in_refused(domain, name, status, diagnostics, sentence)
        with self.world.check("in: each refusal is counted, and nothing reached the pool"):
            self.grew(before, refused_by_policy=len(table), requests_to_inside=0)
            expect("sip:mallory@" not in self.pool.log, "a refused message came through")

    def in_refused(self, domain, name, status, diagnostics, sentence):
        times = self.process.text().count(sentence)
        sent = self.users(domain, name).call(
            "message_refused", "mallory", "alice@contoso.example", status=status)
        sent.done()
        seen = sent.messages()
        expect(f"ms-diagnostics-public: {diagnostics};" in seen, seen[-800:])
        expect(sentence not in seen, "a partner is told the sentence")
        self.process.expect(sentence, times=times + 1)

    def discovered(self):
        text = configuration(self.world, self.names, more="[federation]\ndiscovery = true\n")
        edge.reload(self.world, self.process, text)
        with self.world.check("with discovery: who is not listed passes, both ways"):
            bob = self.answering("layouts", 1)
            self.out_forwarded("adventure", "layouts")
            bob.done()
            alice = self.ours.answer("message_in_plain", "alice")
            self.users("adventure", "layouts").call(
                "message_plain_out", "bob", "alice@contoso.example").done()
            alice.done()
        with self.world.check("with discovery: a provider's customer needs no entry"):
            bob = self.answering("hoster", 1)
            self.out_forwarded("vanarsdel", "hoster")
            bob.done()
        with self.world.check("with discovery: the strict rule holds for who is not listed"):
            self.out_refused("consolidated", 504, 1009,
                             "names sip.it.consolidated.example, which may not be its edge")

    def by_the_record_of_rfc_3263(self):
        with self.world.check("_sips._tcp counts where the setting says so, both ways"):
            self.process.child.kill()
            self.process.child.wait(5)
            text = configuration(self.world, self.names, dns="sips_srv = true")
            self.process = edge.start(self.world, text=text)
            bob = self.answering("layouts", 1)
            self.out_forwarded("cronus", "layouts")
            bob.done()
            alice = self.ours.answer("message_in_plain", "alice")
            self.users("cronus", "layouts").call(
                "message_plain_out", "bob", "alice@contoso.example").done()
            alice.done()
        with self.world.check("the edge still runs"):
            expect(self.process.running(), "the edge ended")
