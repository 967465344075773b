"""baresip, an ordinary user agent, behind both sides: registration, messages, presence, calls."""

from lab import edge, peers
from lab.world import ADDRESS, expect

STAND_IN = True


def run(world):
    fabrikam = peers.partner(world)
    pool = peers.pool(world)
    edge.start(world)
    alice = peers.baresip(
        world, "pool-users", "alice", "alice@contoso.example",
        f"sip:{ADDRESS['pool']}:5061;transport=tls", "alice", "bob@fabrikam.example")
    bob = peers.baresip(
        world, "partner-users", "bob", "bob@fabrikam.example",
        f"sip:{ADDRESS['partner']}:5061;transport=tls", "bob", "alice@contoso.example")
    with world.check("both register with their own organisation over TLS"):
        alice.process.expect("200 OK")
        bob.process.expect("200 OK")
    ways = [("out", alice, bob, "bob@fabrikam.example"),
            ("in", bob, alice, "alice@contoso.example")]
    for way, caller, callee, aor in ways:
        with world.check(f"MESSAGE {way}: the text shows at the other end"):
            caller.command("message", f"sip:{aor} hello {way} of bounds")
            callee.process.expect(f"hello {way} of bounds")
        with world.check(f"INVITE {way}: established, and ended by the called side"):
            events = caller.command("dial", f"sip:{aor}", 3)
            kinds = [e.get("type") for e in events]
            expect("CALL_ESTABLISHED" in kinds, f"events were {kinds}")
            events = callee.command("hangup", "", 2)
            caller.process.expect("terminated")
    with world.check("presence: each watches the other across the border"):
        fabrikam.saw("IN SUBSCRIBE sip:bob@fabrikam.example from=sip:alice@contoso.example")
        fabrikam.saw("REPLY 200 NOTIFY")
        pool.saw("IN SUBSCRIBE sip:alice@contoso.example from=sip:bob@fabrikam.example")
        pool.saw("REPLY 200 NOTIFY")
    users = peers.theirs(world)
    with world.check("SIPp calls and messages baresip"):
        users.call("message_plain_out", "carol", "alice@contoso.example").done()
        users.call("call_out", "carol", "alice@contoso.example").done()
