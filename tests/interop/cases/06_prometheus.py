"""Prometheus scrapes the edge with the files an operator takes from tuning/prometheus."""

import json
import os
import time

from lab import edge, peers
from lab.world import EDGE, REPOSITORY, expect, wait_until

RULES = os.path.join(REPOSITORY, "tuning", "prometheus")


def run(world):
    peers.partner(world)
    peers.pool(world)
    edge.start(world)
    prometheus = world.spawn(EDGE, "prometheus", [
        "prometheus", f"--config.file={RULES}/scrape.yml", "--web.listen-address=127.0.0.9:9090",
        f"--storage.tsdb.path={world.folder}/tsdb"])
    ours, theirs = peers.ours(world), peers.theirs(world)
    with world.check("traffic to be counted"):
        answering = ours.answer("message_in", "alice", calls=30)
        theirs.call("message_out", "bob", "alice@contoso.example", calls=30, rate=50).done()
        answering.done()
    time.sleep(1.5)  # counters are copied to the exporter once a second
    with world.check("promtool finds nothing to say about /metrics"):
        status, text = edge.management(world, "/metrics")
        expect(status == 200, f"/metrics answered {status}")
        world.file("metrics.txt", text)
        done = world.run(EDGE, ["promtool", "check", "metrics"], text=text, check=False)
        expect(done.returncode == 0 and not done.stderr.strip(), done.stdout + done.stderr)
    with world.check("health answers"):
        expect(edge.management(world, "/livez")[0] == 200, "/livez")
        expect(edge.management(world, "/readyz")[0] == 200, "/readyz")
    with world.check("addresses that are not listed are refused"):
        done = world.run("stranger", ["curl", "-s", "-m", "3", "http://198.51.100.10:9464/metrics"],
                         check=False)
        expect(done.returncode != 0, "a stranger could ask for metrics")

    def ask(query):
        done = world.run(EDGE, ["curl", "-s", "-m", "5", "--data-urlencode", f"query={query}",
                                "http://127.0.0.9:9090/api/v1/query"], check=False)
        return json.loads(done.stdout)["data"]["result"] if done.returncode == 0 else []

    world.wait_listening(EDGE, "127.0.0.9", 9090, prometheus, 15)
    with world.check("Prometheus has scraped the edge"):
        wait_until("up == 1", lambda: ask('up{job="entente"} == 1'), 30)
    with world.check("the recording rules yield series"):
        wait_until("a recorded series", lambda: ask('{__name__=~"entente:.+"}'), 45)
    with world.check("no alert fires at an edge that is well"):
        firing = ask('ALERTS{alertstate="firing"}')
        expect(not firing, f"{[a['metric']['alertname'] for a in firing]}")
