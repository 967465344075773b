"""Users that a case drives by commands and judges by what they saw: XMPP and SIP ones alike."""

import json
import os
import subprocess

from lab.world import ADDRESS, INTEROP, Failed, expect, wait_until

# Debian's, for which its slixmpp is installed; another Python in the PATH has none.
PYTHON = "/usr/bin/python3"


class User:
    """A process that takes commands and tells events, one JSON object a line."""

    def __init__(self, process):
        self.process = process
        self.mark = 0

    def do(self, what, **how):
        """Gives one command. What is awaited without a `since` from now on happened after it."""
        self.mark = len(self.events())
        try:
            self.process.child.stdin.write(json.dumps({"do": what, **how}).encode() + b"\n")
            self.process.child.stdin.flush()
        except OSError as why:
            raise Failed(f"{self.process.name}: {why}") from None
        return self

    def events(self):
        """Everything seen so far."""
        lines = self.process.text().splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"saw"')]

    def saw(self, kind, seconds=5.0, since=None, **what):
        """Waits until an event of `kind` holds all of `what`; a value may be a predicate.

        `since`: a count of events; without it those since this user's last command count.
        """
        since = self.mark if since is None else since
        def fits(event):
            return event["saw"] == kind and all(
                test(event.get(name)) if callable(test) else event.get(name) == test
                for name, test in what.items())

        def found():
            return next((event for event in self.events()[since:] if fits(event)), None)
        try:
            return wait_until(f"{self.process.name} to see {kind} {what}", found, seconds)
        except Failed as why:
            last = [str(event)[:300] for event in self.events()[-3:]]
            raise Failed(f"{why}; the last it saw: {last}") from None

    def never_saw(self, kind, since=0, **what):
        """None of what was seen so far is that."""
        for event in self.events()[since:]:
            hit = event["saw"] == kind and all(event.get(n) == v for n, v in what.items())
            expect(not hit, f"{self.process.name} saw {event}")

    def end(self):
        """Ends the user's client without a word."""
        self.process.child.kill()
        self.process.child.wait(5)


def _start(world, where, name, argv, env=None):
    return User(world.spawn(where, name, argv, stdin=subprocess.PIPE, env=env))


def script(world, where, name, kind, *argv, env=None):
    """Starts a user whose script in `lab` is `kind`."""
    path = os.path.join(INTEROP, "lab", f"{kind}.py")
    return _start(world, where, name, [PYTHON, path, *argv], env)


def xmpp_user(world, server, name):
    """Logs a user in at an XMPP server of `lab.xmpp`; its password is its name."""
    jid = f"{name}@{server.domain}"
    user = _start(world, server.where, f"{name}-{server.where}-{len(world.processes)}", [
        PYTHON, os.path.join(INTEROP, "lab", "xmpp_user.py"), jid, name, server.address,
        f"{world.pki}/{server.authority}.pem"])
    user.saw("online", 15)
    user.jid = jid
    return user


def sip_user(world, name, where="pool-users", registrar="pool", domain="contoso.example",
             port=5080, kind="sip_user", more=()):
    """Registers a SIP user agent with its organisation; `kind` is its script, `more` what else it
    is told. `registrar` may be an address."""
    aor = f"{name}@{domain}"
    user = _start(world, where, f"{name}-{where}-{len(world.processes)}", [
        PYTHON, os.path.join(INTEROP, "lab", f"{kind}.py"), aor, ADDRESS[where], str(port),
        ADDRESS.get(registrar, registrar), *more])
    user.saw("answer", 15, method="REGISTER", status=200)
    user.aor = aor
    return user


def talk(contact, user, words):
    """A contact and a user of ours write to each other, and each sees what the other wrote."""
    contact.do("say", to=user.aor, text=f"hello {words}")
    user.saw("message", 15, sender=contact.jid, text=f"hello {words}")
    user.do("say", to=contact.jid, text=f"so you say {words}")
    contact.saw("message", 15, text=f"so you say {words}")
