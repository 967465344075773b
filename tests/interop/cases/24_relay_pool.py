"""The A/V pool's file: two edges whose clients reach each other from relay to relay, and nothing
else of each other.

Each edge is in a namespace of its own, with a relayed address that the address rule refuses. Users
with media (aiortc) and coturn's client talk from one edge's relay to the other's; raw sockets ask
for what no client would, also as the other edge itself. The file is changed while a call goes on.
Both edges stand behind one address of a balancer; one drains, then it is killed.
"""

import concurrent.futures
import contextlib
import json
import re
import signal
import threading
import time

from lab import edge, relay, relay_pool, users
from lab.raw_turn import ALTERNATE_SERVER, RELAYED, TRIES, Raw, error, plain, read, unxored
from lab.relay_pool import EXTERNAL, FIRST_PORT, SECOND
from lab.world import ADDRESS, BALANCER, EDGE, expect, wait_until

STAND_IN = False
HOSTS = relay_pool.HOSTS.items()
PEER_PORT = 3480
# Where users are, by the edge whose relay they have.
USERS = {1: "remote", 2: "partner-users"}
SIBLING = relay_pool.RELAYED[2]
REACHED = (SIBLING, FIRST_PORT[2])
# Counters are left once a second.
COUNTED_S = 1.2
# A listener of another edge, at an address that the address rule lets through.
LISTENER = (EXTERNAL[2], 3478)


class Call:
    """Two users, each by the relay of another edge."""

    def __init__(self, world):
        self.world = world
        self.sides = {number: users.script(world, where, f"webrtc-{where}", "webrtc_user")
                      for number, where in USERS.items()}
        for one in self.sides.values():
            one.saw("ready", 15, since=0)

    def begin(self):
        offer = self.describe(1, "offer")
        answer = self.describe(2, "answer", sdp=offer["sdp"])
        self.sides[1].do("accept", call="call", sdp=answer["sdp"])
        for number, one in self.sides.items():
            one.saw("pair", 15, since=0, local="relay", remote="relay",
                    address=relay_pool.RELAYED[3 - number])
            one.saw("audio", 15, since=0, peak=lambda peak: peak and peak > 6_000)

    def describe(self, number, kind, **how):
        username, password = relay.credentials(USERS[number])
        one = self.sides[number].do(kind, call="call", username=username, password=password,
                                    url=f"turn:{EXTERNAL[number]}:3478?transport=udp", **how)
        return one.saw(kind, 15)

    def goes_on(self, words):
        """Words go both ways, and both allocations are those of the beginning."""
        for number, one in self.sides.items():
            one.do("say", call="call", text=f"{number} {words}")
        for number, one in self.sides.items():
            one.saw("message", 10, since=0, text=f"{3 - number} {words}")


def held(world, number=1):
    """The clients of an edge and what they were given."""
    return sorted((one["client"], one["relayed_ports"]) for one in relay.allocations(world, number))


def raw(number, where, port, user):
    """A client of edge `number` at a port of a host, with an allocation."""
    one = Raw(ADDRESS[where], port, EXTERNAL[number], where)
    given = one.allocate(user)
    expect(error(given) is None, f"{error(given)}")
    one.relayed = unxored(read(given)[RELAYED])
    return one


def explained(world, peer):
    done = world.run(EDGE, [edge.BINARY, "explain", "relay", peer, "-c", "entente1.toml", "--json"],
                     check=False)
    told, = json.loads(done.stdout)
    expect(done.returncode == (0 if told["permitted"] else 1), f"status {done.returncode}")
    return told


def findings(world, number=1):
    """What `check` finds about the pool's file, with its place in it."""
    done = world.run(edge.WHERE.get(number, EDGE), [
        edge.BINARY, "check", "--running", "--json", "-c", f"entente{number}.toml"], check=False)
    told = json.loads(done.stdout)["findings"]
    return [(one["code"], one["place"].removeprefix(f"{world.folder}/"), one["sentence"])
            for one in told if one["code"].startswith("relay-pool")]


def files(world):
    with world.check("check finds nothing about the file on either edge, and tells what differs"):
        for number in EXTERNAL:
            expect(findings(world, number) == [], f"{findings(world, number)}")
        whole = "".join(relay_pool.listed(number) for number in (1, 2, 3))
        relay_pool.pool_file(world, text=whole.replace("50000-50499", "50000-50999"))
        expected = [
            ("relay-pool-own-differs", "pool.toml:4", "the others are told that edge1.contoso."
             "example relays at 50000-50999, and it does at 50000-50499"),
            ("relay-pool-members-differ", "pool.toml:1",
             "3 edges relay, and the pool has 2 (edge.pool_members)"),
            ("relay-pool-not-planned", "pool.toml:12",
             "edge3.contoso.example relays for the pool, and no [[plan_node]] is it")]
        expect(findings(world) == expected, f"{findings(world)}")
        relay_pool.pool_file(world, 2)
        found = findings(world)
        expect([code for code, *_ in found] == ["relay-pool-own-missing"], f"{found}")
        relay_pool.pool_file(world, 1, 2)
    with world.check("plan has each edge's relayed address with the ports that it has"):
        done = world.run(EDGE, [edge.BINARY, "plan", "-c", "entente1.toml", "-s", "firewall",
                                "--side", "external"])
        lines = [line for line in done.stdout.splitlines() if re.search(r"5\d{4}-", line)]
        for number in EXTERNAL:
            own = [line for line in lines if relay_pool.ports(number) in line]
            others = [line for line in own if relay_pool.RELAYED[3 - number] in line]
            expect(own and not others and all(relay_pool.RELAYED[number] in line for line in own),
                   f"{lines}")


def told_rules(world):
    with world.check("explain names the file's rule for what it allows and what it refuses"):
        for peer, permitted, rule, line in (
                (SIBLING, True, "sibling", 8), (f"{SIBLING}:{FIRST_PORT[2]}", True, "sibling", 8),
                (f"{SIBLING}:{FIRST_PORT[1]}", False, "sibling_port", 8),
                ("%s:%d" % LISTENER, False, "sibling_listener", 10),
                (relay_pool.RELAYED[3], False, "not_global", None)):
            told = explained(world, peer)
            expect((told["permitted"], told["rule"]) == (permitted, rule), f"{told}")
            expect(line is None or told["place"] == f"pool.toml:{line}", f"{told}")
        sentence = explained(world, SIBLING)["sentence"]
        expect(sentence == "it is a relayed address of edge2.contoso.example, another edge of the "
               f"pool; its relayed ports {relay_pool.ports(2)} may be reached, and nothing else "
               "there", sentence)


@contextlib.contextmanager
def echo(one):
    """A client whose peers get back what they send."""
    ends = threading.Event()
    thread = threading.Thread(target=one.echo, args=(ends,))
    thread.start()
    try:
        yield one.relayed
    finally:
        ends.set()
        thread.join()


def relay_to_relay(world, call):
    with world.check("users of two edges call each other from relay to relay"):
        call.begin()
        call.goes_on("hello")
    with world.check("coturn's clients of each edge reach clients of the other by their relays, "
                     "and all comes back"):
        with concurrent.futures.ThreadPoolExecutor(2) as at_once:
            begun = [at_once.submit(echoed, world, number) for number in USERS]
        for text, whole in (one.result() for one in begun):
            expect(whole, text[-600:])


def echoed(world, number):
    """Coturn's client at edge `number`, whose peer is a client of the other edge."""
    other = 3 - number
    one = raw(other, USERS[other], 40000 + number, "echo")
    expect(error(one.permit(relay_pool.RELAYED[number])) is None, "no permission")
    with echo(one) as there:
        return relay.coturn(world, USERS[number], EXTERNAL[number], there, "-c")


def refused(world, client):
    with world.check("at a sibling's addresses nothing but its relayed ports is reached: 403"):
        expect(error(client.bind(REACHED, 0x4000)) is None, "its relayed port")
        for peer in ((SIBLING, 22), (SIBLING, FIRST_PORT[1]), (SIBLING, FIRST_PORT[2] - 1),
                     LISTENER, (relay_pool.RELAYED[3], FIRST_PORT[3])):
            expect(error(client.bind(peer, 0x4001)) == 403, f"{peer}")
        expect(error(client.permit(relay_pool.RELAYED[3])) == 403, "an address of nobody")
    with world.check("what is sent to its listener without a channel is dropped and counted"):
        # A permission is for the address, and others may be at it.
        expect(error(client.permit(LISTENER[0])) is None, "its address")

        def dropped():
            return edge.metric(world, "entente_relay_dropped_total", ['reason="peer_refused"'])
        before = dropped()
        for _ in range(3):
            client.send_data(LISTENER, b"x")
        wait_until("what was dropped", lambda: dropped() == before + 3, 5)
    with world.check("who comes from a sibling's listener or relayed port gets no allocation: 403"):
        for own, port in ((EXTERNAL[2], 3478), (SIBLING, FIRST_PORT[2] + relay_pool.PORTS - 1)):
            forged = Raw(own, port, EXTERNAL[1], SECOND)
            expect(error(forged.allocate("mallory")) == 403, f"{own}:{port}")
        beside = Raw(SIBLING, FIRST_PORT[2] + relay_pool.PORTS, EXTERNAL[1], SECOND)
        expect(error(beside.allocate("mallory")) is None, "somebody beside it")


def changed_live(world, call, client, first):
    before, epoch = held(world), edge.metric(world, "entente_control_config_epoch")
    with world.check("an edge is taken out of the file: diff says so, and its relay is no peer"):
        relay_pool.pool_file(world, 1)
        sentence = "edge2.contoso.example relays for the pool no more\n"
        expect(relay_pool.ctl(world, 1, "diff").stdout == sentence, "diff")
        expect(relay_pool.order(world, 1, "reload").startswith(sentence), "reload")
        expect(error(client.bind((SIBLING, FIRST_PORT[2] + 1), 0x4002)) == 403, "a peer still")
        expect(explained(world, SIBLING)["rule"] == "not_global", "another rule")
        call.goes_on("without the other edge")
    with world.check("a broken file changes nothing, and is told with its line"):
        text = relay_pool.listed(1) + relay_pool.listed(2).replace("51000-51499", "51499-51000")
        relay_pool.pool_file(world, text=text)
        done = relay_pool.ctl(world, 1, "reload", check=False)
        told = done.stdout + done.stderr
        expect(done.returncode == 1, f"status {done.returncode}")
        for words in ("pool.toml:9", "`51499-51000` is not a port range",
                      "pool.toml has a problem; nothing was changed"):
            expect(words in told, told)
        expect(edge.metric(world, "entente_control_config_epoch") == epoch + 1, "an epoch more")
        expect(error(client.bind((SIBLING, FIRST_PORT[2] + 1), 0x4002)) == 403, "a peer again")
        log = first.text()
        expect("pool.toml:9" in log and "is not a port range" in log, "not in the log")
        call.goes_on("with a broken file")
    with world.check("with it and a third edge in the file both are peers"):
        relay_pool.pool_file(world, 1, 2, 3)
        added = relay_pool.ctl(world, 1, "diff").stdout.splitlines()
        expect(added == [
            f"edge{number}.contoso.example relays for the pool, at {relay_pool.ports(number)} of "
            f"{relay_pool.RELAYED[number]} with clients at 198.51.100.1{number}:3478"
            for number in (2, 3)], f"{added}")
        relay_pool.order(world, 1, "reload")
        for number, channel in ((2, 0x4002), (3, 0x4003)):
            peer = (relay_pool.RELAYED[number], FIRST_PORT[number] + 1)
            expect(error(client.bind(peer, channel)) is None, f"{peer}")
        call.goes_on("with three")
    with world.check("no allocation was lost by it"):
        expect(held(world) == before and len(before) >= 2, f"{held(world)} after {before}")


def newcomer(server, port, tries=TRIES):
    """What somebody new is told who asks for an allocation: its error, and where else to go."""
    told = Raw(ADDRESS["remote"], port, server, "remote").allocate("newcomer", tries)
    alternate = read(told).get(ALTERNATE_SERVER)
    return error(told), alternate and plain(alternate)


def by_pool(first_port, count=4):
    """What several newcomers by the pool's address are told; the balancer takes edges in turn."""
    return sorted(newcomer(BALANCER, first_port + n) for n in range(count))


def made(world):
    """How many allocations each edge has made until it was asked."""
    time.sleep(COUNTED_S)
    return {number: edge.metric(world, "entente_relay_allocations_made_total", number=number)
            for number in EXTERNAL}


def served(world, by, other):
    """Coturn's clients that come by the pool's address get what they want of edge `by` alone."""
    before = made(world)
    with concurrent.futures.ThreadPoolExecutor(2) as at_once:
        begun = [at_once.submit(relay.coturn, world, "remote", BALANCER,
                                (ADDRESS["partner"], PEER_PORT), "-c") for _ in range(2)]
    for text, whole in (one.result() for one in begun):
        expect(whole, text[-600:])
    after = made(world)
    expect(after[by] >= before[by] + 2 and after[other] == before[other], f"{after} after {before}")


def behind_one_address(world, call):
    relay_pool.balance(world, 1, 2)
    there = {number: (300, (address, 3478)) for number, address in EXTERNAL.items()}
    with world.check("whoever comes by the pool's address is sent to the edge that it led to: 300"):
        told = by_pool(41000)
        expect(told == [there[1]] * 2 + [there[2]] * 2, f"{told}")
    with world.check("an edge that drains names the other one, which serves all that come anew"):
        relay_pool.order(world, 1, "relay", "drain")
        expect(newcomer(EXTERNAL[1], 41010) == there[2], "not sent on")
        told = by_pool(41020)
        expect(told == [there[2]] * 4, f"{told}")
        served(world, 2, 1)
        call.goes_on("while one edge drains")
        relay_pool.order(world, 1, "relay", "open")
        expect(newcomer(EXTERNAL[1], 41030) == (None, None), "not open again")
    with world.check("one that has no other to name says 508 and nothing else"):
        relay_pool.order(world, 2, "relay", "drain")
        expect(newcomer(EXTERNAL[2], 41040) == (508, None), "served, or sent on")
        call.goes_on("while the other edge drains")
        relay_pool.order(world, 2, "relay", "open")


def killed(world, second):
    with world.check("a killed edge answers nobody; the other one serves who comes anew"):
        second.signal(signal.SIGKILL)
        second.wait(5)
        silent = 0
        for n in range(2):
            try:
                told = newcomer(BALANCER, 41050 + n, tries=2)
                expect(told == (300, (EXTERNAL[1], 3478)), f"{told}")
            except TimeoutError:
                silent += 1
        expect(silent == 1, f"{silent} of 2 had no answer")
        # The balancer notices, and takes it out.
        relay_pool.balance(world, 1)
        text, whole = relay.coturn(world, "remote", BALANCER, (ADDRESS["partner"], PEER_PORT), "-c")
        expect(whole, text[-600:])


def run(world):
    relay_pool.build(world)
    relay_pool.pool_file(world, 1, 2)
    first = relay_pool.start(world, 1, more=f'drain_to = "{EXTERNAL[2]}:3478"')
    second = relay_pool.start(world, 2)
    world.spawn("partner", "peer", ["turnutils_peer", "-L", ADDRESS["partner"],
                                    "-p", str(PEER_PORT)])
    call = Call(world)
    files(world)
    told_rules(world)
    relay_to_relay(world, call)
    client = raw(1, "remote", 40010, "kim")
    refused(world, client)
    changed_live(world, call, client, first)
    behind_one_address(world, call)
    killed(world, second)
    with world.check("nothing went wrong beside it"):
        for process in (first, second):
            expect("panicked" not in process.text(), process.name)
        expect(first.running(), first.name)
