"""A private world: hosts in network namespaces, two switches, name servers and processes.

    partner, partner-users, stranger, remote   198.51.100.20-     (the Internet)
    balancer                                   198.51.100.60      (in front of the edges)
    edge                       198.51.100.10 | 203.0.113.10       (this process, both switches)
    pool, pool-users                           203.0.113.20-      (the organisation)

The process that builds it was started by `run` in fresh network, mount and process namespaces, so
that every port is free, nothing leaves, and everything ends with it. Nothing routes between the
two sides: what passes, passes through the edge.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import time

EDGE = "edge"
EDGE_EXTERNAL = "198.51.100.10"
EDGE_INTERNAL = "203.0.113.10"
SECOND_EXTERNAL = "198.51.100.11"
SECOND_INTERNAL = "203.0.113.11"
BALANCER = "198.51.100.60"
PUBLIC_DNS = "198.51.100.53"
# Says to setns that it is about the network (linux/sched.h).
CLONE_NEWNET = 0x40000000
# How long what is left at the end of a case has to close its files.
END_SECONDS = 0.5
# Every other host: its switch and its address.
HOSTS = {
    "partner": ("ext0", "198.51.100.20"),
    "partner-users": ("ext0", "198.51.100.21"),
    "stranger": ("ext0", "198.51.100.30"),
    "remote": ("ext0", "198.51.100.40"),
    "balancer": ("ext0", BALANCER),
    "pool": ("int0", "203.0.113.20"),
    "pool-users": ("int0", "203.0.113.21"),
}
ADDRESS = {name: address for name, (_, address) in HOSTS.items()}

HERE = os.path.dirname(os.path.abspath(__file__))
INTEROP = os.path.dirname(HERE)
REPOSITORY = os.path.dirname(os.path.dirname(INTEROP))


class Failed(Exception):
    """What a case found to be wrong, in words."""


def sh(*argv, check=True, timeout=20):
    """Runs a short command of the lab itself and returns what it printed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def ip(*lines, where=None):
    """Runs lines of `ip` by one process, in the namespace `where` or in this one."""
    argv = ["ip", *(["-n", where] if where else []), "-batch", "-"]
    done = subprocess.run(argv, input="\n".join(lines) + "\n", capture_output=True, text=True,
                          timeout=20, check=False)
    if done.returncode != 0:
        raise Failed(f"ip in {where}: {done.stderr.strip()}")


def enter(namespace):
    """Takes this thread into the network namespace that a file stands for."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns of {namespace.name}")


def wait_until(what, condition, seconds=10.0):
    """Waits for `condition()` to be true; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


class Process:
    """A peer, its log, and its end."""

    def __init__(self, name, log, child):
        self.name, self.log, self.child = name, log, child

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def expect(self, needle, seconds=5.0, times=1):
        """Waits until the log holds `needle` so many times."""
        wait_until(
            f"{needle!r} in the log of {self.name}",
            lambda: self.text().count(needle) >= times or self._gone_without(needle, times),
            seconds,
        )

    def _gone_without(self, needle, times):
        if self.child.poll() is not None and self.text().count(needle) < times:
            raise Failed(f"{self.name} ended ({self.child.returncode}) without {needle!r}")
        return False

    def wait(self, seconds=30.0):
        """Waits for the process to end by itself; returns its status."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end within {seconds:g} s") from None

    def running(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def stop(self, seconds=5.0):
        """Ends the process politely, then without asking."""
        if self.running():
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(5)


class World:
    """One case's surroundings: `folder` takes everything it writes, `pki` holds certificates."""

    def __init__(self, folder, pki, poller, stand_in):
        self.folder, self.pki, self.poller, self.stand_in = folder, pki, poller, stand_in
        self.processes = []
        self.passed = 0
        self.failed = 0
        # Every sample of an edge's metrics that was seen, and whether it was ever more than 0.
        self.series = {}

    def build(self, sip_address=EDGE_EXTERNAL, partners=(), hosts=(), records=()):
        """Wires hosts, starts name servers; `sip_address` is where the world finds us.

        `partners`: further edges outside, each its name and the host it lives on. `hosts`: further
        hosts as in HOSTS; `records`: further records of the public DNS, as dnsmasq has them.
        """
        sh("mount", "-t", "tmpfs", "none", "/run")
        os.makedirs("/run/netns")
        os.makedirs("/run/lock")  # where the edge locks its addresses, which are this world's alone
        more = dict(hosts)
        ADDRESS.update({name: address for name, (_, address) in more.items()})
        self._wire({**HOSTS, **more})
        self._own_resolver_files()
        # A flow's Record-Route names the node that has the connection, so its name is public too.
        public = [f"host-record=sip.contoso.example,{sip_address}",
                  f"host-record=edge1.contoso.example,{EDGE_EXTERNAL}"]
        for domain, host in (("fabrikam", "partner"), ("litware", "stranger")):
            public.append(f"host-record=sip.{domain}.example,{ADDRESS[host]}")
        for name, host in partners:
            public.append(f"host-record={name},{ADDRESS[host]}")
        for domain in ("contoso", "fabrikam", "litware"):
            public.append(f"srv-host=_sipfederationtls._tcp.{domain}.example,"
                          f"sip.{domain}.example,5061,0,0")
        public += records
        self.public_names = self.name_server(
            "partner", [PUBLIC_DNS, "127.0.0.53"], ["log-queries", *public])
        outside = [name for name, (switch, _) in more.items() if switch == "ext0"]
        for host in ("partner-users", "stranger", "remote", *outside):
            self.name_server(host, ["127.0.0.53"], public)
        internal = [
            f"host-record=edge1.contoso.example,{EDGE_INTERNAL}",
            f"host-record=edge2.contoso.example,{SECOND_INTERNAL}",
            f"host-record=lsedge.contoso.example,{EDGE_INTERNAL}",
            f"host-record=gw.contoso.example,{EDGE_INTERNAL}",
            f"host-record=gw2.contoso.example,{SECOND_INTERNAL}",
            f"host-record=pool.contoso.example,{ADDRESS['pool']}",
        ]
        for host in ("pool", "pool-users"):
            self.name_server(host, ["127.0.0.53"], internal)

    @staticmethod
    def _wire(hosts):
        lines = ["link set lo up"]
        # A switch that got no address of its own would have the lowest of its ports', and another
        # one whenever a case moves a port: neighbours would go on sending to the one it had.
        for switch, own, addresses in (
                ("ext0", "02:00:00:00:00:e0", [EDGE_EXTERNAL, SECOND_EXTERNAL]),
                ("int0", "02:00:00:00:00:10", [EDGE_INTERNAL, SECOND_INTERNAL])):
            lines += [f"link add {switch} address {own} type bridge",
                      *[f"addr add {address}/24 dev {switch}" for address in addresses],
                      f"link set {switch} up"]
        for name, (switch, _) in hosts.items():
            lines += [f"netns add {name}",
                      f"link add p-{name} type veth peer name eth0 netns {name}",
                      f"link set p-{name} master {switch} up"]
        ip(*lines)
        for name, (switch, address) in hosts.items():
            own = [f"addr add {address}/24 dev eth0"]
            if name == "partner":
                own.append(f"addr add {PUBLIC_DNS}/24 dev eth0")
            # Media finds a route, so that user agents go on, and ends at the edge, which forwards
            # none.
            edge = EDGE_EXTERNAL if switch == "ext0" else EDGE_INTERNAL
            ip(*own, "link set eth0 up", "link set lo up", f"route add default via {edge}",
               where=name)

    def _own_resolver_files(self):
        """Every namespace asks its own 127.0.0.53; the machine's files stay as they are."""
        texts = {
            "resolv.conf": "nameserver 127.0.0.53\noptions timeout:1 attempts:2\n",
            "hosts": f"127.0.0.1 localhost {socket.gethostname()}\n",
            "nsswitch.conf": "hosts: files dns\n",
        }
        for name, text in texts.items():
            path = f"/run/{name}"
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            if os.path.exists(f"/etc/{name}"):
                sh("mount", "--bind", path, f"/etc/{name}")

    def name_server(self, where, addresses, records):
        path = self.file(f"dns-{where}.conf", "\n".join([
            "no-daemon", "port=53", "bind-interfaces", "no-resolv", "no-hosts", "local=/#/",
            "local-ttl=5", "except-interface=lo" if "127.0.0.53" not in addresses else "",
            *[f"listen-address={a}" for a in addresses], *records, "",
        ]))
        return self.spawn(where, f"dns-{where}", ["dnsmasq", "-k", "-C", path], ready="started")

    def asked(self, name, source=None):
        """How often the public name server was asked about `name` or what is below it, by
        `source` alone if one is given."""
        found = re.findall(r" query\[\w+\] (\S+) from (\S+)", self.public_names.text())
        return sum((q == name or q.endswith(f".{name}")) and source in (None, by)
                   for q, by in found)

    def file(self, name, text):
        """Writes a file of this case; returns its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    @staticmethod
    def within(where, argv):
        """`argv` as run in the namespace `where`."""
        return argv if where == EDGE else ["nsenter", f"--net=/run/netns/{where}", "--", *argv]

    @staticmethod
    def opened(where, make):
        """What `make` opens in the namespace `where`: a socket stays in the one it is opened in."""
        if where == EDGE:
            return make()
        with open("/proc/thread-self/ns/net", "rb") as home, \
                open(f"/run/netns/{where}", "rb") as there:
            enter(there)
            try:
                return make()
            finally:
                enter(home)

    def spawn(self, where, name, argv, ready=None, env=None, stdin=subprocess.DEVNULL, seconds=10):
        """Starts a peer; with `ready`, waits for those words in its log."""
        log = os.path.join(self.folder, f"{name}.log")
        with open(log, "wb") as out:
            child = subprocess.Popen(
                self.within(where, argv), stdout=out, stderr=subprocess.STDOUT, stdin=stdin,
                env={**os.environ, "TERM": "dumb", **(env or {})}, cwd=self.folder)
        process = Process(name, log, child)
        self.processes.append(process)
        if ready is not None:
            process.expect(ready, seconds)
        return process

    def run(self, where, argv, seconds=20, check=True, text=None, env=None):
        """Runs a command to its end; returns the completed process."""
        done = subprocess.run(
            self.within(where, argv), capture_output=True, text=True, timeout=seconds,
            input=text, check=False, cwd=self.folder, env={**os.environ, **(env or {})})
        if check and done.returncode != 0:
            raise Failed(f"{argv[0]}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def wait_listening(self, where, address, port, process, seconds=10):
        """Waits until a socket listens, by the kernel's table: a probe would show in logs."""
        def listening():
            if not process.running():
                raise Failed(f"{process.name} ended with {process.child.returncode}")
            table = self.run(where, ["ss", "-Hltn"]).stdout
            wanted = {f"{address}:{port}", f"*:{port}", f"0.0.0.0:{port}"}
            return any(line.split()[3] in wanted for line in table.splitlines())
        wait_until(f"{process.name} to listen at {address}:{port}", listening, seconds)

    @contextlib.contextmanager
    def check(self, rule):
        """One thing the case shows; a failure is told and the case goes on."""
        started = time.monotonic()
        try:
            yield
        except (Failed, AssertionError, OSError, subprocess.SubprocessError) as why:
            self.failed += 1
            print(f"    FAILED  {rule}: {type(why).__name__}: {why}", flush=True)
        else:
            self.passed += 1
            print(f"    ok      {rule} ({time.monotonic() - started:.1f} s)", flush=True)

    def end(self):
        """Ends what is left: all are asked at once, and nobody is waited for who drains."""
        left = [process for process in self.processes if process.running()]
        for process in left:
            process.child.terminate()
        end = time.monotonic() + END_SECONDS
        for process in reversed(left):
            process.stop(max(0.0, end - time.monotonic()))


def expect(condition, words):
    """Like assert, but with words and never compiled out."""
    if not condition:
        raise Failed(words)


TERMINATE, HANGUP = signal.SIGTERM, signal.SIGHUP
