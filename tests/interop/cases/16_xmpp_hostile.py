"""XMPP peers who mean harm, and a user who notices nothing: the RFC's own error for each."""

import time

from lab import edge, peers, users, xmpp, xmpp_raw
from lab.world import EDGE_EXTERNAL, expect, wait_until
from lab.xmpp_raw import EXTERNAL, STARTTLS, Stream, header

HOSTS, RECORDS = xmpp.HOSTS.items(), xmpp.RECORDS
ALICE = "alice@contoso.example"
# XMPP_HALF_OPEN_MAX of the product.
HALF_OPEN_MAX = 256
ESTABLISHMENT_S = 6

# What comes before anybody is authenticated, whole, and the stream error it gets.
BEFORE = {
    "a document type": ("<!DOCTYPE s [<!ENTITY lol 'lol'>]>" + header("woodgrove.example"),
                        "restricted-xml"),
    "a comment": ("<!-- -->" + header("woodgrove.example"), "restricted-xml"),
    "a processing instruction": ("<?php x ?>" + header("woodgrove.example"), "restricted-xml"),
    "another root than a stream": (
        header("woodgrove.example").replace("<stream:stream", "<stream:html"), "bad-format"),
    "a stream of clients": (header("woodgrove.example", space="jabber:client"),
                            "invalid-namespace"),
    "another namespace of the stream": (
        header("woodgrove.example").replace("etherx.jabber.org", "etherx.example"),
        "invalid-namespace"),
    "a header for nobody": (header("woodgrove.example", None), "improper-addressing"),
    "a header from nobody": (header(None), "improper-addressing"),
    "a header for a domain that is not ours": (header("woodgrove.example", "adatum.example"),
                                               "host-unknown"),
    "a domain that is not listed": (header("adatum.example"), "policy-violation"),
    "bytes that are not UTF-8": (header("woodgrove.example").encode().replace(b"wood", b"\xff"),
                                 "unsupported-encoding"),
    "another encoding": (header("woodgrove.example").replace(
        "<?xml version='1.0'?>", "<?xml version='1.0' encoding='ISO-8859-1'?>"),
        "unsupported-encoding"),
    "a header without end": ("<stream:stream xmlns:stream='" + "x" * 8192, "policy-violation"),
    "a stanza at once": (header("woodgrove.example") + "<message from='a@woodgrove.example' "
                         f"to='{ALICE}'><body>x</body></message>", "not-authorized"),
    "an element too large": (header("woodgrove.example") + "<a>" + "x" * 20_000,
                             "policy-violation"),
    "more bytes than anybody needs": (
        header("woodgrove.example") + f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' "
        f"mechanism='{'P' * 9000}'/>" * 8, "policy-violation"),
    "elements too deep": (header("woodgrove.example") + "<a>" * 20, "policy-violation"),
    "an element unknown there": (header("woodgrove.example") + "<a xmlns='urn:b'/>",
                                 "not-authorized"),
    "tags that do not match": (header("woodgrove.example") + "<a><b></a>", "not-well-formed"),
}


def message(inside="<body>x</body>", frm="mallory@northwind.example", to=f"to='{ALICE}'"):
    return f"<message from='{frm}' {to}>{inside}</message>"


# The same from one who proved to be northwind.example.
AFTER = {
    "a stanza in another partner's name": (message(frm="carol@woodgrove.example"), "invalid-from"),
    "a stanza in our own name": (message(frm="bob@contoso.example"), "invalid-from"),
    "a stanza without from": (message().replace("from='mallory@northwind.example'", ""),
                              "improper-addressing"),
    "a stanza without to": (message(to=""), "improper-addressing"),
    "a stanza for somebody elsewhere": (message(to="to='dave@adatum.example'"), "host-unknown"),
    "a stanza over the limit": (message("<body>" + "x" * 300_000 + "</body>"), "policy-violation"),
    "elements within elements": (message("<a>" * 80 + "</a>" * 80), "policy-violation"),
    "an entity": (message("<body>&lol;</body>"), "restricted-xml"),
    "a document type amid": ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + message(), "restricted-xml"),
    "a comment amid": (message("<!-- x -->"), "restricted-xml"),
    "a processing instruction amid": (message("<?a b?>"), "restricted-xml"),
    "a prefix without declaration": (message("<a:b/>"), "bad-namespace-prefix"),
    "an attribute twice": (message("<a b='1' b='2'/>"), "not-well-formed"),
    "a forbidden character": (message("<body>&#1;</body>"), "not-well-formed"),
    "attributes without end": (message("<a " + " ".join(f"b{n}='1'" for n in range(200)) + "/>"),
                               "policy-violation"),
    "namespaces without end": (message("".join(f"<a xmlns:b{n}='urn:{n}'>" for n in range(90))),
                               "policy-violation"),
    "text between stanzas": ("hello" + message(), "bad-format"),
    "a first-level element that is no stanza": ("<a xmlns='jabber:server'/>",
                                                "unsupported-stanza-type"),
    "tags that do not match": (message("<a><b></a></b>"), "not-well-formed"),
}


def stranger(world):
    return Stream(world, "stranger", EDGE_EXTERNAL)


def northwind(world):
    """A stream of northwind's, proved by its certificate."""
    stream = Stream(world, "northwind", EDGE_EXTERNAL).greet("northwind.example")
    return stream.encrypt("northwind").authenticate("northwind.example")


def counted(world, name, before, least=1):
    wait_until(f"entente_xmpp_proxy_{name} to count",
               lambda: edge.metric(world, f"entente_xmpp_proxy_{name}") >= before + least, 5)


def grammar(world):
    """Everything of BEFORE and AFTER."""
    malformed = edge.metric(world, "entente_xmpp_proxy_malformed_total")
    for what, (text, condition) in BEFORE.items():
        with world.check(f"before authentication, {what}: {condition}"):
            stranger(world).send(text).ends_with(condition)
    for what, (text, condition) in AFTER.items():
        with world.check(f"after authentication, {what}: {condition}"):
            northwind(world).send(text).ends_with(condition)
    with world.check("all of it was counted, and none of it reached anybody"):
        counted(world, "malformed_total", malformed, 20)
        counted(world, "forged_total", 0, 2)
        expect(world.asked("adatum.example") == 0, "an unlisted domain was asked about")


def papers(world):
    """Who proves nothing, or something else."""
    with world.check("a good certificate of another name does not open the door"):
        stream = stranger(world).greet("woodgrove.example").encrypt("trey")
        stream.greet("woodgrove.example")
        expect("EXTERNAL" not in stream.heard, stream.heard)
        for _ in range(3):
            stream.send(EXTERNAL)
        stream.ends_with("policy-violation")
        expect(stream.heard.count("<not-authorized") == 3, stream.heard)
        counted(world, "sasl_refused_total", 0, 3)
    with world.check("nor does one of an authority that nobody trusts, or none"):
        for shown in ("forged", None):
            stream = stranger(world).greet("woodgrove.example").encrypt(shown)
            stream.greet("woodgrove.example")
            expect("EXTERNAL" not in stream.heard, stream.heard)
            stream.send(message(frm="carol@woodgrove.example")).ends_with("not-authorized")
    with world.check("SASL in the clear is refused where TLS is required"):
        stream = stranger(world).greet("woodgrove.example").send(EXTERNAL)
        stream.read("<encryption-required")
        stream.close()
    with world.check("an authorisation identity of another domain is refused"):
        stream = Stream(world, "northwind", EDGE_EXTERNAL).greet("northwind.example")
        stream.encrypt("northwind").greet("northwind.example")
        # woodgrove.example
        stream.send(EXTERNAL.replace(">=<", ">d29vZGdyb3ZlLmV4YW1wbGU=<")).read("<invalid-authzid")
        stream.close()
    with world.check("what was sent behind <starttls/> does not count as encrypted"):
        stream = stranger(world).greet("woodgrove.example")
        stream.send(STARTTLS + header("woodgrove.example") + EXTERNAL)
        heard = stream.read(None)
        expect("<success" not in heard, heard)
        stream.close()


def dialback(world):
    """Keys that the claimed domain's own server, a real one, does not know."""
    key = "0123456789abcdef" * 4
    result = "<db:result from='{0}' to='contoso.example'>" + key + "</db:result>"
    denied = edge.metric(world, "entente_xmpp_proxy_dialback_denied_total")
    with world.check("a dialback key over TLS that Prosody denies"):
        stream = stranger(world).greet("tailspin.example").encrypt().greet("tailspin.example")
        stream.send(result.format("tailspin.example")).ends_with("not-authorized")
        expect("type='invalid'" in stream.heard, stream.heard)
    with world.check("a dialback key in the clear that Prosody denies"):
        stream = stranger(world).greet("lucerne.example")
        stream.send(result.format("lucerne.example")).ends_with("not-authorized")
        expect("type='invalid'" in stream.heard, stream.heard)
        counted(world, "dialback_denied_total", denied, 2)
    with world.check("dialback for a domain that is not listed is refused without a question"):
        stream = stranger(world).greet("lucerne.example")
        stream.send(result.format("adatum.example")).read("type='error'")
        expect(world.asked("adatum.example") == 0, "an unlisted domain was asked about")
        stream.close()
    with world.check("dialback for a partner that does not do it is refused"):
        stream = stranger(world).greet("lucerne.example")
        stream.send(result.format("woodgrove.example")).read("type='error'")
        stream.close()
    with world.check("a key of ours that we never made is denied"):
        stream = stranger(world).greet("lucerne.example")
        stream.send("<db:verify from='lucerne.example' to='contoso.example' id='x'>"
                    f"{key}</db:verify>").read("type='invalid'")
        stream.close()
        counted(world, "dialback_keys_invalid_total", 0)


def time_and_number(world, carol, alice):
    """Slow ones and many."""
    with world.check("a header that comes byte by byte ends with its time"):
        stream = stranger(world)
        for letter in "<?xml version='1.0'?><stream:":
            stream.send(letter)
            time.sleep(0.05)
        stream.ends_with("connection-timeout", ESTABLISHMENT_S + 4)
    with world.check("a flood of connections gets resource-constraint, none is served longer"):
        # Every source of the outside, since one may have 100 that are half open.
        flood = []
        for where in ("stranger", "remote", "balancer", "partner-users"):
            # Silent ones would not get as far as the proxy; the shard ends them by themselves.
            flood += [Stream(world, where, EDGE_EXTERNAL).send("<?xml") for _ in range(80)]
        flood[-1].ends_with("resource-constraint")
        counted(world, "refused_by_limit_total", 0, 4 * 80 - HALF_OPEN_MAX)
        talks(carol, alice, "amid the connections")
        for stream in flood[:-1]:
            stream.read(None, ESTABLISHMENT_S + 6)
            stream.close()


def floods_of_one(world, carol, alice):
    """A partner who proved who he is and sends more than anybody reads."""
    with world.check("a flood of subscriptions is answered, and does not hold up others"):
        stream = northwind(world)
        refused = edge.metric(world, "entente_xmpp_proxy_refused_by_rate_total")
        stream.send("".join(f"<presence from='u{n}@northwind.example' to='{ALICE}' "
                            "type='subscribe'/>" for n in range(2000)))
        talks(carol, alice, "amid the flood")
        counted(world, "refused_by_rate_total", refused, 1000)
    with world.check("presence is not amplified: what nobody asked for goes nowhere"):
        seen = len(alice.events())
        stream.send("".join(f"<presence from='v{n}@northwind.example/a' to='{ALICE}'/>"
                            for n in range(100)))
        talks(carol, alice, "behind the presence")
        noticed = [event for event in alice.events()[seen:] if event["saw"] == "notify"]
        expect(not noticed, f"alice was told {noticed[:3]}")
        stream.close()


def talks(carol, alice, words):
    """Both ways, while something happens."""
    carol.do("say", to=alice.aor, text=f"hello {words}")
    alice.saw("message", sender=carol.jid, text=f"hello {words}")
    alice.do("say", to=carol.jid, text=f"so you say {words}")
    carol.saw("message", text=f"so you say {words}")


def run(world):
    woodgrove = xmpp.prosody(world, "woodgrove", "external", ["carol"])
    xmpp.prosody(world, "tailspin", "dialback", ["erin"])
    xmpp.prosody(world, "lucerne", "clear", ["frank"])
    process = edge.start(world, text=xmpp.configuration(
        world, limits=f"establishment_s = {ESTABLISHMENT_S}\npartner_stanzas_per_s = 200"))
    pool = peers.pool(world)
    alice = users.sip_user(world, "alice")
    carol = users.xmpp_user(world, woodgrove, "carol")
    with world.check("carol and alice talk"):
        talks(carol, alice, "first")
    grammar(world)
    papers(world)
    dialback(world)
    with world.check("carol and alice talk as if nothing had happened"):
        talks(carol, alice, "then")
    time_and_number(world, carol, alice)
    floods_of_one(world, carol, alice)
    with world.check("carol's streams have been the same all the time"):
        talks(carol, alice, "last")
        complete = woodgrove.log().count("s2s connection woodgrove.example->contoso.example comple")
        expect(complete == 1, f"{complete} streams out of woodgrove")
        expect("Destroying" not in woodgrove.log(), "a stream of woodgrove's ended")
    with world.check("the log says it in sentences, and the edge still runs"):
        log = process.text()
        for words in ("the peer sent a document type", "the peer sent a stanza that is too large",
                      "its domain's own server denies the key", "no domain was authenticated in",
                      "a stanza from woodgrove.example, which was not authenticated"):
            expect(words in log, f"{words} is not in the edge's log")
        expect("panicked" not in log, "a panic")
        expect(process.running(), "the edge ended")
        expect("from=sip:mallory" not in pool.log, "mallory came through")
