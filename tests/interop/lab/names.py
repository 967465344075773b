"""hickory-server with zones of the interop lab, where dnsmasq is too well-behaved."""

import os

from lab.world import ADDRESS, INTEROP, REPOSITORY

BINARY = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(REPOSITORY, "target")),
                      "ci", "entente-names")


class Names:
    """A running name server."""

    def __init__(self, process, address):
        self.process, self.address = process, address

    def asked(self, name):
        """How often anything was asked about `name` or what is below it."""
        questions = [line.split()[1] for line in self.process.text().splitlines()
                     if line.startswith("asked ")]
        return sum(q.endswith(f".{name}.") or q == f"{name}." for q in questions)


def start(world, where, **conduct):
    """Serves zones/example.zone and the root at port 53 of `where`, UDP and TCP.

    `conduct`: names below which the server misbehaves, by kind: `mute`, `fails`,
    `slow="NAME:MILLISECONDS"`, `lies="NAME:@FILE"`, a file beside the zone.
    """
    zones = os.path.join(INTEROP, "zones")
    words = [f"zone=.:{zones}/root.zone", f"zone=example.:{zones}/example.zone"]
    for kind, what in conduct.items():
        words.append(f"{kind}={what.replace('@', zones + '/')}")
    address = ADDRESS[where]
    process = world.spawn(where, "names", [BINARY, f"{address}:53", *words],
                          ready="serving names")
    return Names(process, address)
