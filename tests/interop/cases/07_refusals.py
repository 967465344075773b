"""Who must not pass: blocked domains, foreign authorities, wrong names, no certificate at all."""

from lab import edge, peers
from lab.world import ADDRESS, EDGE_EXTERNAL, expect


def run(world):
    peers.partner(world)
    pool = peers.pool(world)
    process = edge.start(world)
    ours, theirs = peers.ours(world), peers.theirs(world)
    litware = peers.kamailio(world, "litware", "stranger", "litware.example",
                             "sip.litware.example", "litware")
    blocked = peers.Users(world, "stranger", "stranger", "litware.example")

    with world.check("a blocked domain with a good certificate gets 403"):
        blocked.refused("mallory", "alice@contoso.example", 403)
    with world.check("our user gets 403 towards a blocked domain, which hears nothing"):
        ours.refused("alice", "mallory@litware.example", 403)
        expect("from=sip:alice@contoso.example" not in litware.log, "litware was asked")
    with world.check("a domain that nobody allowed gets 403 inside, without a connection"):
        ours.refused("alice", "somebody@adatum.example", 403)
    litware.process.stop()

    with world.check("the right name from a foreign authority does not get through the handshake"):
        forger = peers.kamailio(world, "forger", "stranger", "fabrikam.example",
                                "sip.fabrikam.example", "forged")
        forging = peers.Users(world, "stranger", "stranger", "fabrikam.example")
        sent = forging.call("message_plain_out", "bob", "alice@contoso.example", seconds=12)
        expect(sent.process.wait(20) != 0, "the forger's message was answered with 200")
        forger.process.stop()
    with world.check("a good certificate with another name may not speak for the partner"):
        impostor = peers.kamailio(world, "impostor", "stranger", "fabrikam.example",
                                  "sip.litware.example", "litware")
        forging.refused("bob", "alice@contoso.example", 403)
        impostor.process.stop()
    with world.check("a partner may not claim our own domain"):
        claiming = peers.Users(world, "partner-users", "partner", "contoso.example")
        claiming.next_port = 16000
        claiming.refused("alice", "dave@contoso.example", 403)
    with world.check("no certificate: the handshake fails"):
        done = world.run("stranger", [
            "openssl", "s_client", "-connect", f"{EDGE_EXTERNAL}:5061", "-tls1_2",
            "-CAfile", f"{world.pki}/ca.pem", "-servername", "sip.contoso.example"],
            check=False, text="")
        expect("alert" in done.stderr and done.returncode != 0, done.stderr[-300:])
    with world.check("an unlisted internal name cannot come in by the internal side"):
        done = world.run("pool-users", [
            "openssl", "s_client", "-connect", "203.0.113.10:5061", "-tls1_2",
            "-cert", f"{world.pki}/alice.pem", "-key", f"{world.pki}/alice.key",
            "-CAfile", f"{world.pki}/ca.pem"], check=False, text="")
        expect("alert" in done.stderr and done.returncode != 0, done.stderr[-300:])
    with world.check("the partner's users are unharmed by all of it"):
        answering = ours.answer("message_in", "alice")
        theirs.call("message_out", "bob", "alice@contoso.example").done()
        answering.done()
    with world.check("the log says each refusal in a sentence"):
        log = process.text()
        for word in ("litware.example", "adatum.example"):
            expect(word in log, f"{word} is not in the edge's log")
        expect(f"{ADDRESS['stranger']}" in log, "the stranger's address is not in the log")
    with world.check("nothing of the refused reached the pool, and the edge still runs"):
        expect("from=sip:mallory" not in pool.log, "mallory came through")
        expect(process.running(), "the edge ended")
