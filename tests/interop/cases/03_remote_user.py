"""Our own user outside (baresip, TLS without a certificate, port 443) and a partner's user.

One edge carries both ways: in from 443, through the pool, out by federation, and back by the flow
that the registration left.
"""

from lab import edge, peers
from lab.world import EDGE_EXTERNAL, expect


def run(world):
    peers.partner(world)
    pool = peers.pool(world)
    process = edge.start(world, remote_users=True, shards=2)
    alice = peers.baresip(
        world, "remote", "alice", "alice@contoso.example",
        f"sip:{EDGE_EXTERNAL}:443;transport=tls", None, "bob@fabrikam.example")
    theirs = peers.theirs(world)
    ours = peers.ours(world)
    with world.check("the remote user registers with the pool through the edge"):
        alice.process.expect("registered successfully", 8)
        pool.saw("IN REGISTER sip:contoso.example")
    with world.check("the pool is told that this user comes from the Internet"):
        pool.saw("trust=<ms-source-type=InternetUser")
    with world.check("remote user to a colleague inside: a call"):
        answering = ours.answer("call_in", "dave")
        events = alice.command("dial", "sip:dave@contoso.example", 4)
        expect("CALL_ESTABLISHED" in [e.get("type") for e in events], f"events were {events}")
        answering.done()
    with world.check("remote user to partner: MESSAGE"):
        answering = theirs.answer("message_in_plain", "bob")
        # baresip sends to its one contact, whoever stands in the text.
        alice.command("message", "sip:bob@fabrikam.example hello partner")
        answering.done()
        expect("hello partner" in answering.messages(), "the text did not arrive")
    with world.check("partner to remote user: MESSAGE by the flow"):
        theirs.call("message_plain_out", "bob", "alice@contoso.example").done()
        alice.process.expect("hello from bob by SIPp")
    with world.check("partner to remote user: a call, ended by the caller"):
        theirs.call("call_out", "bob", "alice@contoso.example").done()
    with world.check("remote user to partner: a call, ended by the called side"):
        answering = theirs.answer("call_in", "bob")
        events = alice.command("dial", "sip:bob@fabrikam.example", 4)
        expect("CALL_ESTABLISHED" in [e.get("type") for e in events], f"events were {events}")
        answering.done()
    with world.check("a remote user may not speak for a partner's domain"):
        mallory = peers.baresip(
            world, "stranger", "mallory", "mallory@fabrikam.example",
            f"sip:{EDGE_EXTERNAL}:443;transport=tls")
        mallory.process.expect("403", 8)
        expect("mallory" not in pool.log, "the pool saw the forged REGISTER")
    expect(process.running(), "the edge ended")
