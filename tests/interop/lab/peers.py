"""Kamailio, SIPp and baresip: how each is started, driven and judged."""

import json
import os
import re
import subprocess

from lab.world import ADDRESS, EDGE_INTERNAL, INTEROP, Failed, wait_until

SCENARIOS = os.path.join(INTEROP, "sipp")


class Kamailio:
    """An organisation's registrar and edge, or the pool behind our edge."""

    def __init__(self, world, process, address):
        self.world, self.process, self.address = world, process, address

    @property
    def log(self):
        return self.process.text()

    def saw(self, needle, seconds=3.0, times=1):
        self.process.expect(needle, seconds, times)


def kamailio(world, name, where, domain, fqdn, certificate, extra=(), port=5061):
    """Starts Kamailio with `organisation.cfg`; TLS at `port`, UDP for its own users at 5060."""
    address = ADDRESS[where]
    home = os.path.join(world.folder, name)
    os.makedirs(home)
    tls = "".join(
        f"[{side}:default]\nmethod = TLSv1.2+\nverify_certificate = yes\n"
        f"require_certificate = yes\nprivate_key = {world.pki}/{certificate}.key\n"
        f"certificate = {world.pki}/{certificate}.pem\nca_list = {world.pki}/ca.pem\n"
        for side in ("server", "client"))
    world.file(f"{name}/tls.cfg", tls)
    argv = ["kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-w", home, "-Y", home,
            "-P", f"{home}/pid", "-A", f'DOMAIN="{domain}"', "-A", f'FQDN="{fqdn}"',
            "-A", f"ADDRESS={address}", "-A", f'TLSCFG="{home}/tls.cfg"',
            "-A", f"TLSPORT={port}"]
    for define in extra:
        argv += ["-A", define]
    argv += ["-f", os.path.join(INTEROP, "kamailio", "organisation.cfg")]
    process = world.spawn(where, name, argv)
    world.wait_listening(where, address, port, process)
    return Kamailio(world, process, address)


def partner(world):
    """Fabrikam: Kamailio as the partner's edge, which finds us by SRV."""
    return kamailio(world, "fabrikam", "partner", "fabrikam.example", "sip.fabrikam.example",
                    "fabrikam")


def pool(world, edge=f"sip:{EDGE_INTERNAL}:5061;transport=tls", name="pool", patience_ms=8000):
    """Contoso's next hop: Kamailio with the edge as its only way out."""
    return kamailio(world, name, "pool", "contoso.example", "pool.contoso.example", "pool",
                    extra=(f'EDGE="{edge}"', f"FR_TIMER={patience_ms}"))


class Sipp:
    """One SIPp process with one scenario."""

    def __init__(self, process, trace, errors):
        self.process, self.trace, self.errors = process, trace, errors

    def done(self, seconds=40.0):
        """Waits for the scenario's success; its own words say what went wrong."""
        status = self.process.wait(seconds)
        if status != 0:
            raise Failed(f"SIPp {self.process.name}: status {status}: {self.why()}")

    def why(self):
        try:
            with open(self.errors, encoding="utf-8", errors="replace") as file:
                return file.read()[-1500:]
        except OSError:
            return self.process.text()[-800:]

    def messages(self):
        """Everything sent and received, as text."""
        with open(self.trace, encoding="utf-8", errors="replace") as file:
            return file.read()

    def received(self):
        """Messages received, each as text with LF line ends."""
        parts = re.split(r"^-{20,}.*$", self.messages().replace("\r\n", "\n"), flags=re.M)
        return [p.split("\n\n", 1)[-1] if "received" in p.split("\n", 2)[1] else ""
                for p in parts if p.count("\n") > 2]


def sipp(world, where, scenario, address, port, remote, keys=None, calls=1, seconds=30,
         transport="u1", name=None, rate=10, status=None):
    """Starts SIPp at `address:port`, talking to `remote` (its organisation's Kamailio).

    `status`: what STATUS stands for in the scenario, which SIPp takes from no variable.
    """
    name = name or f"sipp-{scenario}-{where}-{port}"
    trace = os.path.join(world.folder, f"{name}.msg")
    errors = os.path.join(world.folder, f"{name}.err")
    path = os.path.join(SCENARIOS, f"{scenario}.xml")
    if status is not None:
        with open(path, encoding="utf-8") as file:
            path = world.file(f"{name}.xml", file.read().replace("STATUS", str(status)))
    argv = ["sipp", remote, "-sf", path, "-i", address,
            "-p", str(port), "-t", transport, "-m", str(calls), "-r", str(rate), "-nostdin",
            "-timeout", f"{seconds}s", "-timeout_error", "-trace_msg", "-message_file", trace,
            "-trace_err", "-error_file", errors, "-cid_str", f"%u-%p@{name}"]
    for key, value in (keys or {}).items():
        argv += ["-key", key, value]
    process = world.spawn(where, name, argv)
    if transport.startswith("u"):
        wait_until(f"{name} to bind", lambda: not process.running() or f"{address}:{port}" in
                   world.run(where, ["ss", "-Hlun"]).stdout, 5)
    return Sipp(process, trace, errors)


class Users:
    """SIPp user agents of one organisation."""

    def __init__(self, world, where, registrar, domain):
        self.world, self.where, self.address = world, where, ADDRESS[where]
        self.registrar, self.domain = f"{ADDRESS[registrar]}:5060", domain
        self.next_port = 15000  # SIPp takes ports from 6000 for media

    def _start(self, scenario, keys, **more):
        self.next_port += 2
        return sipp(self.world, self.where, scenario, self.address, self.next_port,
                    self.registrar, {"domain": self.domain, **keys}, **more)

    def answer(self, scenario, user, **more):
        """Registers `user` at a new port and answers there with `scenario`."""
        register = self._start("register", {"user": user, "contact": str(self.next_port + 4)})
        register.done()
        return self._start(scenario, {"user": user}, **more)

    def call(self, scenario, user, to, **more):
        """Runs `scenario` from `user` to the address of record `to`."""
        return self._start(scenario, {"user": user, "peer": to}, **more)

    def refused(self, user, to, status):
        """Sends a MESSAGE that must be refused with `status`."""
        self.call("message_refused", user, to, status=status).done()


class Baresip:
    """A baresip with its JSON control port."""

    def __init__(self, process, world, where, address):
        self.process, self.world, self.where, self.address = process, world, where, address

    def command(self, command, params="", seconds=1.0):
        """Sends one command; returns every event and answer of the next `seconds`."""
        script = os.path.join(INTEROP, "lab", "baresip_control.py")
        done = self.world.run(self.where, [
            "python3", script, self.address, command, params, str(seconds)], seconds=seconds + 5)
        return [json.loads(line) for line in done.stdout.splitlines()]


def ours(world):
    """Contoso's users, behind the pool."""
    return Users(world, "pool-users", "pool", "contoso.example")


def theirs(world):
    """Fabrikam's users, behind the partner's edge."""
    return Users(world, "partner-users", "partner", "fabrikam.example")


def baresip(world, where, name, aor, outbound, certificate=None, contact=None):
    """Starts baresip for `aor`; without `certificate` it shows none."""
    address = ADDRESS[where]
    home = os.path.join(world.folder, name)
    os.makedirs(home)
    lines = [
        "poll_method epoll", f"sip_listen {address}:5070", "sip_trans_def tls",
        f"sip_cafile {world.pki}/ca.pem", "call_max_calls 4",
        f"audio_player aufile,{home}/out.wav", "audio_source ausine,440",
        f"audio_alert aufile,{home}/alert.wav", "ausrc_srate 48000", "ausrc_channels 2",
        "auplay_srate 48000",
        "module_path /usr/lib/baresip/modules", "module stdio.so", "module g711.so",
        "module ausine.so", "module aufile.so", "module_tmp uuid.so", "module_tmp account.so",
        "module_app contact.so", "module_app menu.so", "module_app presence.so",
        "module_app ctrl_tcp.so", f"ctrl_tcp_listen {address}:4444", f"net_interface {address}",
    ]
    if certificate:
        lines.append(f"sip_certificate {world.pki}/{certificate}.both.pem")
    world.file(f"{name}/config", "\n".join(lines) + "\n")
    world.file(f"{name}/accounts", f'<sip:{aor};transport=tls>;regint=300;auth_pass=x;'
                                   f'outbound="{outbound}";answermode=auto\n')
    world.file(f"{name}/contacts", f'"peer" <sip:{contact}>;presence=p2p\n' if contact else "\n")
    # It ends when its standard input does, so the pipe stays open for as long as it lives.
    process = world.spawn(where, name, ["baresip", "-f", home, "-s"], stdin=subprocess.PIPE)
    world.wait_listening(where, address, 4444, process)
    return Baresip(process, world, where, address)


def header(message, name):
    """The values of a header in a message with LF line ends."""
    return re.findall(rf"^{re.escape(name)}\s*:\s*(.*)$", message, flags=re.M | re.I)


__all__ = ["Baresip", "Kamailio", "Sipp", "Users", "baresip", "header", "kamailio", "ours",
           "partner", "pool", "sipp", "theirs"]
